//! A piece of a directory of the other end, read and checked.

use std::ffi::{CStr, CString};
use std::sync::Arc;

use rustix::io::Errno;

use super::file::Bytes;
use super::roads::Roads;
use super::words::{self, corrupt};
use crate::copy::sys::xattr::Xattrs;
use crate::copy::sys::{Kind, Meta};
use crate::wire::{Broken, Take};

/// One entry.
#[derive(Debug)]
pub(super) struct Entry {
    name: CString,
    pub kind: Kind,
    pub ino: u64,
    /// Nothing but name and type came.
    pub bare: bool,
    pub meta: Result<Meta, Errno>,
    pub xattrs: Option<Result<Xattrs, Errno>>,
    pub link: Option<Result<CString, Errno>>,
    pub content: Option<Bytes>,
    /// It was asked for ahead, whether it has come or not.
    pub asked: bool,
}

/// The entries of a piece, in the order of their names.
#[derive(Debug, Default)]
pub(super) struct Piece {
    entries: Vec<Entry>,
    /// Places in the order in which they came.
    order: Vec<u32>,
}

impl Piece {
    /// Reads the parts of a piece, which has so many entries.
    pub(super) fn read(parts: Vec<Vec<u8>>, count: u64, roads: &Roads) -> Result<Self, Broken> {
        let mut entries = Vec::new();
        for part in parts {
            let part = Arc::new(part);
            let mut take = Take(&part);
            let (mut last_name, mut last_meta) = (Vec::new(), None);
            while !take.0.is_empty() {
                let name = words::next_name(&mut take, &mut last_name)?;
                let (kind, ino) = (words::kind(&mut take)?, take.number()?);
                let mut entry = Entry {
                    name,
                    kind,
                    ino,
                    bare: true,
                    meta: Err(Errno::NOENT),
                    xattrs: None,
                    link: None,
                    content: None,
                    asked: false,
                };
                if take.flag()? {
                    entry.rest(&mut take, &part, &mut last_meta, roads)?;
                }
                entries.push(entry);
            }
        }
        if entries.len() as u64 != count {
            return Err(corrupt(format!("{} entries of a directory where {count} were sent", entries.len())));
        }
        let mut places: Vec<u32> = (0..entries.len() as u32).collect();
        places.sort_unstable_by(|&a, &b| entries[a as usize].name.cmp(&entries[b as usize].name));
        if places.windows(2).any(|two| entries[two[0] as usize].name == entries[two[1] as usize].name) {
            return Err(corrupt("two entries of one name in a directory"));
        }
        let mut order = vec![0; entries.len()];
        for (place, &came) in places.iter().enumerate() {
            order[came as usize] = place as u32;
        }
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Ok(Self { entries, order })
    }

    pub(super) fn find(&mut self, name: &CStr) -> Option<&mut Entry> {
        let at = self.entries.binary_search_by(|entry| entry.name.as_c_str().cmp(name)).ok()?;
        self.entries.get_mut(at)
    }

    /// All entries as they came.
    pub(super) fn entries(&self) -> impl Iterator<Item = (&CStr, &Entry)> {
        self.order.iter().map(|&place| &self.entries[place as usize]).map(|entry| (entry.name.as_c_str(), entry))
    }
}

impl Entry {
    fn rest(
        &mut self,
        take: &mut Take<'_>,
        part: &Arc<Vec<u8>>,
        last: &mut Option<Meta>,
        roads: &Roads,
    ) -> Result<(), Broken> {
        self.bare = false;
        if let Some(errno) = words::errno(take)? {
            self.meta = Err(errno);
            return Ok(());
        }
        let mut meta = words::meta(take, last.as_ref())?;
        *last = Some(meta);
        roads.place(&mut meta);
        // What it is now counts; it may have been something else when it was listed.
        self.kind = meta.kind;
        self.meta = Ok(meta);
        if meta.kind != Kind::Dir {
            self.xattrs = Some(words::xattrs(take)?);
        }
        match meta.kind {
            Kind::Link => self.link = Some(words::link(take)?),
            Kind::File if take.flag()? => {
                let bytes = take.bytes()?;
                if bytes.len() as u64 != meta.size || meta.size > words::INLINE {
                    return Err(corrupt("a file of another length than it has"));
                }
                let end = part.len() - take.0.len();
                self.content = Some(Bytes { all: part.clone(), from: end - bytes.len(), to: end });
            }
            _ => {}
        }
        Ok(())
    }
}
