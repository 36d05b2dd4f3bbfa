//! Questions about one name.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::io::Errno;

use super::{Hand, Road, Sending};
use crate::copy::far::words::{self, tell};
use crate::copy::sys::xattr;
use crate::copy::sys::{self, Kind, Target};
use crate::copy::{data, extents};
use crate::wire::{Broken, Put};

/// A file is digested in pieces of this size.
const PIECE: usize = 256 << 10;

impl Sending {
    /// What a name is now; with `data`, how much of a file is no hole.
    pub(super) fn look(
        &self,
        road: &Road,
        hand: &mut Hand,
        id: u64,
        folder: u64,
        name: &CStr,
        data: bool,
    ) -> Result<(), Broken> {
        let found = self.folder(folder).and_then(|folder| {
            let meta = sys::stat_at(&folder.fd, name)?;
            let length = if data && meta.kind == Kind::File {
                extents::data_length(sys::open_read(&folder.fd, name)?.as_fd(), &meta)?
            } else {
                meta.size
            };
            Ok((folder, meta, length))
        });
        let mut put = Put::of(tell::ANSWER);
        put.number(id);
        words::put_errno(&mut put, found.as_ref().err().copied());
        if let Ok((folder, meta, length)) = found {
            words::put_meta(&mut put, &meta, None);
            put.number(length);
            words::put_xattrs(&mut put, &xattr::read(Target::Name(folder.fd.as_fd(), name), &mut hand.scratch));
            if meta.kind == Kind::Link {
                words::put_link(&mut put, &sys::read_link(&folder.fd, name));
            }
        }
        road.send(&[&put.0])
    }

    /// The digest of a part of a file, and how many bytes of it there are.
    pub(super) fn digest(
        &self,
        road: &Road,
        hand: &mut Hand,
        id: u64,
        folder: u64,
        name: &CStr,
        (start, end): (u64, u64),
    ) -> Result<(), Broken> {
        let mut sum = || -> Result<([u8; 32], u64), Errno> {
            let fd = sys::open_read(&self.folder(folder)?.fd, name)?;
            if sys::stat_fd(&fd)?.kind != Kind::File {
                return Err(Errno::LOOP);
            }
            hand.content.resize(PIECE, 0);
            let mut hasher = blake3::Hasher::new();
            let mut at = start;
            while at < end {
                let wanted = (end - at).min(PIECE as u64) as usize;
                let count = data::fill(&fd, &mut hand.content[..wanted], at)?;
                hasher.update(&hand.content[..count]);
                at += count as u64;
                if count < wanted {
                    break;
                }
            }
            Ok((*hasher.finalize().as_bytes(), at - start))
        };
        let found = sum();
        let mut put = Put::of(tell::ANSWER);
        put.number(id);
        words::put_errno(&mut put, found.as_ref().err().copied());
        if let Ok((digest, length)) = found {
            put.raw(&digest).number(length);
        }
        road.send(&[&put.0])
    }
}
