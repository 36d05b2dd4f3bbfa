//! Directories, and the small files in them.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::{Hand, Road, Sending, lock};
use crate::copy::data;
use crate::copy::far::words::{self, CONTENT, FIRST, INLINE, LAST, LIST, NAMES, OVER, tell};
use crate::copy::listing::{Item, Listing};
use crate::copy::names;
use crate::copy::sys::xattr::{self, Xattrs};
use crate::copy::sys::{self, Kind, Meta, Target};
use crate::wire::{Broken, Put};

/// A message of entries or files is sent when it is about so long.
const ENOUGH: usize = 256 << 10;
/// With a listing goes at most so much content: the rest is asked for when it is the turn of it.
const CONTENT_ROOM: u64 = 1 << 20;

/// A directory that is open for the other end.
pub(super) struct Opened {
    pub fd: OwnedFd,
    listing: Mutex<()>,
    flags: u8,
}

/// What goes over of one small file.
struct Small {
    meta: Meta,
    xattrs: Result<Xattrs, Errno>,
    /// It did not change while it was read.
    whole: bool,
}

impl Sending {
    pub(super) fn open_folder(
        &self,
        road: &Road,
        hand: &mut Hand,
        id: u64,
        (parent, name): (u64, &CStr),
        flags: u8,
    ) -> Result<(), Broken> {
        let opened = if parent == 0 {
            sys::open_dir(&self.root, name)
        } else {
            self.folder(parent).and_then(|parent| sys::open_dir(&parent.fd, name))
        };
        let found = opened.and_then(|fd| sys::stat_fd(&fd).map(|meta| (fd, meta)));
        let (fd, meta) = match found {
            Ok(found) => found,
            Err(errno) => return road.lost(id, errno),
        };
        let folder = Arc::new(Opened { fd, listing: Mutex::new(()), flags });
        {
            let mut folders = lock(&self.folders);
            if folders.len() >= self.most_open {
                drop(folders);
                return road.lost(id, Errno::MFILE);
            }
            folders.insert(id, folder.clone());
        }
        let mut put = Put::of(tell::ENTRIES);
        put.number(id);
        let mut head = Put::default();
        words::put_meta(&mut head, &meta, None);
        words::put_xattrs(&mut head, &xattr::read(Target::Fd(folder.fd.as_fd()), &mut hand.scratch));
        head.flag(names::is_fs_root(folder.fd.as_fd(), &meta));
        if flags & LIST == 0 {
            put.byte(FIRST | LAST | OVER).raw(&head.0);
            words::put_errno(&mut put, None);
            put.number(0);
            return road.send(&[&put.0]);
        }
        self.list(road, hand, id, &folder, head, FIRST)
    }

    /// Sends the next piece of a directory. `head` is what goes before the entries of its first message.
    pub(super) fn list(
        &self,
        road: &Road,
        hand: &mut Hand,
        id: u64,
        folder: &Opened,
        head: Put,
        first: u8,
    ) -> Result<(), Broken> {
        // Pieces come in order, whoever asks.
        let _alone = lock(&folder.listing);
        let mut listing = Listing::default();
        let dir = folder.fd.as_fd();
        let (more, trouble) = match listing.read(dir, &mut hand.buffer, |_, _| true) {
            Ok(more) => (more, None),
            Err(errno) => (false, Some(errno)),
        };
        if trouble.is_some() {
            listing.clear();
        }
        let mut order: Vec<&Item> = listing.items.iter().collect();
        if folder.flags & NAMES == 0 {
            // Directories first; then by inode, which is near the order on the disk. The other end works in this order.
            order.sort_unstable_by_key(|item| (item.kind != Kind::Dir, item.ino));
        }
        let last = LAST | if more { 0 } else { OVER };
        let (mut flags, mut head) = (first, if first == FIRST { head } else { Put::default() });
        let (mut body, mut last_name, mut last_meta) = (Put::default(), Vec::new(), None);
        let mut room = if folder.flags & CONTENT != 0 { CONTENT_ROOM } else { 0 };
        let send = |flags: u8, head: &Put, body: &Put, trouble: Option<Errno>| {
            let mut start = Put::of(tell::ENTRIES);
            start.number(id).byte(flags);
            start.raw(&head.0);
            words::put_errno(&mut start, trouble);
            if flags & LAST != 0 {
                start.number(listing.items.len() as u64);
            }
            road.send(&[&start.0, &body.0])
        };
        for item in order {
            let name = listing.name(item);
            words::put_next_name(&mut body, name, &last_name);
            last_name = name.to_bytes().to_vec();
            if folder.flags & NAMES != 0 {
                body.byte(item.kind.letter()).number(item.ino).flag(false);
            } else {
                put_entry(&mut body, dir, name, item, &mut last_meta, &mut room, hand);
            }
            if body.0.len() >= ENOUGH {
                send(flags, &head, &body, None)?;
                (flags, last_meta) = (0, None);
                head.0.clear();
                body.0.clear();
                last_name.clear();
            }
        }
        send(flags | last, &head, &body, trouble)
    }

    /// Sends small files of a directory, whole.
    pub(super) fn files(
        &self,
        road: &Road,
        hand: &mut Hand,
        id: u64,
        names: &[std::ffi::CString],
    ) -> Result<(), Broken> {
        let folder = self.folder(id);
        let mut put = Put::of(tell::FILES);
        put.number(id);
        let start = put.0.len();
        for name in names {
            put.bytes(name.to_bytes());
            let small = match &folder {
                Ok(folder) => sys::open_read(&folder.fd, name).and_then(|fd| small(&fd, INLINE, hand)),
                Err(errno) => Err(*errno),
            };
            put_small(&mut put, small, hand);
            if put.0.len() >= ENOUGH {
                road.send(&[&put.0])?;
                put.0.truncate(start);
            }
        }
        if put.0.len() > start { road.send(&[&put.0]) } else { Ok(()) }
    }
}

/// One entry of a listing: what it is, and as much of what it holds as there is room for.
fn put_entry(
    put: &mut Put,
    dir: BorrowedFd<'_>,
    name: &CStr,
    item: &Item,
    last: &mut Option<Meta>,
    room: &mut u64,
    hand: &mut Hand,
) {
    put.byte(item.kind.letter()).number(item.ino).flag(true);
    if item.kind == Kind::File && *room > 0 {
        let opened = sys::open_read(dir, name).and_then(|fd| small(&fd, (*room).min(INLINE), hand));
        if let Ok(small) = opened {
            *room -= if small.whole { small.meta.size } else { 0 };
            words::put_errno(put, None);
            words::put_meta(put, &small.meta, last.as_ref());
            words::put_xattrs(put, &small.xattrs);
            put.flag(small.whole);
            if small.whole {
                put.bytes(&hand.content);
            }
            *last = Some(small.meta);
            return;
        }
    }
    let meta = match sys::stat_at(dir, name) {
        Ok(meta) => meta,
        Err(errno) => return words::put_errno(put, Some(errno)),
    };
    words::put_errno(put, None);
    words::put_meta(put, &meta, last.as_ref());
    *last = Some(meta);
    if meta.kind != Kind::Dir {
        // A directory tells its own when it is opened.
        words::put_xattrs(put, &xattr::read(Target::Name(dir, name), &mut hand.scratch));
    }
    match meta.kind {
        Kind::Link => words::put_link(put, &sys::read_link(dir, name)),
        Kind::File => {
            put.flag(false);
        }
        _ => {}
    }
}

/// Reads a file up to `most` bytes into the hand's content; a longer one, or one with holes, is not read.
fn small(fd: &OwnedFd, most: u64, hand: &mut Hand) -> Result<Small, Errno> {
    let mut meta = sys::stat_fd(fd)?;
    if meta.kind != Kind::File {
        return Err(Errno::LOOP);
    }
    let mut whole = false;
    for _ in 0..2 {
        if meta.size > most || meta.blocks.saturating_mul(512) < meta.size {
            break;
        }
        hand.content.resize(meta.size as usize, 0);
        let count = data::fill(fd, &mut hand.content, 0)?;
        let after = sys::state_fd(fd)?;
        whole = count as u64 == meta.size && after.same_state(&meta);
        if whole {
            break;
        }
        meta = sys::stat_fd(fd)?;
    }
    let xattrs = xattr::read(Target::Fd(fd.as_fd()), &mut hand.scratch);
    Ok(Small { meta, xattrs, whole })
}

fn put_small(put: &mut Put, small: Result<Small, Errno>, hand: &Hand) {
    words::put_errno(put, small.as_ref().err().copied());
    if let Ok(small) = small {
        words::put_meta(put, &small.meta, None);
        words::put_xattrs(put, &small.xattrs);
        put.flag(small.whole);
        if small.whole {
            put.bytes(&hand.content);
        }
    }
}
