//! A directory of the other end, as far as its listing has come, and the small files that were asked for in it.

use std::collections::{HashMap, HashSet, VecDeque};
use std::ffi::{CStr, CString};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use rustix::io::Errno;

use super::file::{Bytes, File, Small};
use super::piece::{Entry, Piece};
use super::roads::Roads;
use super::source::LOOK;
use super::words::{self, FIRST, INLINE, LAST, OVER, ask, corrupt, tell};
use crate::copy::listing::Listing;
use crate::copy::sys::xattr::Xattrs;
use crate::copy::sys::{Kind, Meta};
use crate::wire::{Broken, Put, Take};

/// So many small files of a directory are asked for ahead, and so many bytes of them, about.
const FILES_AHEAD: usize = 256;
const BYTES_AHEAD: u64 = 2 << 20;
/// A piece of a directory is never longer, from a peer that keeps to the rules.
const LONGEST_PIECE: usize = 128 << 20;

/// A directory of the other end.
pub(in crate::copy) struct Folder {
    id: u64,
    place: Option<(u64, CString)>,
    roads: Arc<Roads>,
    state: Mutex<State>,
    changed: Condvar,
}

impl std::fmt::Debug for Folder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Folder").field("id", &self.id).finish_non_exhaustive()
    }
}

/// What a directory says of itself.
#[derive(Clone)]
struct Head {
    meta: Meta,
    xattrs: Result<Xattrs, Errno>,
    fs_root: bool,
}

#[derive(Default)]
struct State {
    head: Option<Head>,
    /// It could not be opened, or nothing more comes.
    error: Option<Errno>,
    /// What has come and was not read yet; with the last part of a piece, how many entries it has.
    parts: VecDeque<(Vec<u8>, Option<u64>)>,
    /// Whole pieces among them.
    pieces: usize,
    /// Listing failed at the end of what came.
    trouble: Option<Errno>,
    weight: usize,
    /// The last piece has come; a further one was asked for.
    over: bool,
    expected: bool,
    /// The piece at hand, and how many there were.
    piece: Piece,
    read: usize,
    /// All names of a directory that came in several pieces.
    names: HashMap<CString, Kind>,
    wanted: HashSet<CString>,
    wanted_bytes: u64,
    files: HashMap<CString, Result<Small, Errno>>,
}

impl Folder {
    pub(super) fn new(id: u64, place: Option<(u64, CString)>, roads: &Arc<Roads>) -> Arc<Self> {
        let state = State { expected: true, ..State::default() };
        Arc::new(Self { id, place, roads: roads.clone(), state: Mutex::new(state), changed: Condvar::new() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(in crate::copy) fn roads(&self) -> &Arc<Roads> {
        &self.roads
    }

    /// Under which name it was asked for ahead, and where.
    pub(super) fn place(&self) -> Option<(u64, CString)> {
        self.place.clone()
    }

    /// How many bytes of it lie here.
    pub(super) fn weight(&self) -> usize {
        self.state().weight
    }

    /// Takes a message for it. Returns whether the directory's first piece is there now.
    pub(super) fn take(&self, kind: u8, body: Vec<u8>) -> Result<bool, Broken> {
        let mut state = self.state();
        let first = state.head.is_none() && state.error.is_none();
        let mut take = Take(&body);
        match kind {
            tell::LOST => {
                state.error = Some(words::errno(&mut take)?.unwrap_or(Errno::IO));
                self.changed.notify_all();
                return Ok(first || state.read == 0);
            }
            tell::FILES => {
                while !take.0.is_empty() {
                    let name = words::name(&mut take)?;
                    let small = self.small(&mut take)?;
                    if !state.wanted.remove(&name) {
                        return Err(corrupt("a file that was not asked for"));
                    }
                    let size = small.as_ref().map_or(0, |small| small.meta.size.min(INLINE));
                    state.wanted_bytes = state.wanted_bytes.saturating_sub(size);
                    state.files.insert(name, small);
                }
                self.changed.notify_all();
                return Ok(false);
            }
            _ => {}
        }
        let flags = take.byte()?;
        if (flags & FIRST != 0) != first || !state.expected {
            return Err(corrupt("a part of a directory out of turn"));
        }
        if flags & FIRST != 0 {
            let mut meta = words::meta(&mut take, None)?;
            if meta.kind != Kind::Dir {
                return Err(corrupt("a directory that is none"));
            }
            self.roads.place(&mut meta);
            let xattrs = words::xattrs(&mut take)?;
            state.head = Some(Head { meta, xattrs, fs_root: take.flag()? });
        }
        state.trouble = words::errno(&mut take)?;
        let last = flags & LAST != 0;
        let count = if last { Some(take.number()?) } else { None };
        let rest = take.rest().to_vec();
        state.weight += rest.len();
        if state.weight > LONGEST_PIECE {
            return Err(corrupt("a piece of a directory without end"));
        }
        state.parts.push_back((rest, count));
        if !last {
            return Ok(false);
        }
        state.pieces += 1;
        state.expected = false;
        state.over = flags & OVER != 0;
        let complete = state.pieces == 1 && state.read == 0;
        self.changed.notify_all();
        Ok(complete)
    }

    fn small(&self, take: &mut Take<'_>) -> Result<Result<Small, Errno>, Broken> {
        if let Some(errno) = words::errno(take)? {
            return Ok(Err(errno));
        }
        let mut meta = words::meta(take, None)?;
        self.roads.place(&mut meta);
        let xattrs = words::xattrs(take)?;
        let mut content = None;
        if take.flag()? {
            let bytes = take.bytes()?;
            if bytes.len() as u64 != meta.size || meta.size > INLINE {
                return Err(corrupt("a file of another length than it has"));
            }
            content = Some(Bytes::of(bytes.to_vec()));
        }
        if meta.kind != Kind::File {
            return Err(corrupt("a file that is none"));
        }
        Ok(Ok(Small { meta, xattrs, content }))
    }

    /// Nothing more comes.
    pub(super) fn lost(&self, errno: Errno) {
        self.state().error.get_or_insert(errno);
        self.changed.notify_all();
    }

    fn wait<'s>(&'s self, state: MutexGuard<'s, State>) -> Result<MutexGuard<'s, State>, Errno> {
        if let Some(errno) = state.error {
            return Err(errno);
        }
        drop(state);
        self.roads.check()?;
        let state = self.state();
        Ok(self.changed.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0)
    }

    /// Waits until the first piece is there.
    pub(super) fn opened(self: Arc<Self>) -> Result<Arc<Self>, Errno> {
        let mut state = self.state();
        while state.pieces == 0 {
            state = self.wait(state)?;
        }
        drop(state);
        Ok(self)
    }

    fn head(&self) -> Result<Head, Errno> {
        self.state().head.clone().ok_or(Errno::STALE)
    }

    pub(in crate::copy) fn meta(&self) -> Result<Meta, Errno> {
        self.state().head.as_ref().map(|head| head.meta).ok_or(Errno::STALE)
    }

    pub(in crate::copy) fn own_xattrs(&self) -> Result<Xattrs, Errno> {
        self.head()?.xattrs
    }

    pub(in crate::copy) fn is_fs_root(&self) -> bool {
        self.state().head.as_ref().is_some_and(|head| head.fs_root)
    }

    /// Opens a directory below. The way up is not asked for: the other end would take that for an attempt to leave.
    pub(in crate::copy) fn dir(self: &Arc<Self>, name: &CStr) -> Result<Arc<Self>, Errno> {
        if name == c".." {
            return Err(Errno::STALE);
        }
        self.roads.open(Some(self), name, words::LIST)
    }

    /// Reads the next piece. Returns whether more may follow.
    pub(in crate::copy) fn list(
        &self,
        listing: &mut Listing,
        mut keep: impl FnMut(&CStr, Kind) -> bool,
    ) -> Result<bool, Errno> {
        listing.clear();
        let mut state = self.state();
        if state.over && state.pieces == 0 {
            return Ok(false);
        }
        while state.pieces == 0 {
            state = self.wait(state)?;
        }
        let (mut parts, mut count) = (Vec::new(), None);
        while count.is_none()
            && let Some((part, last)) = state.parts.pop_front()
        {
            parts.push(part);
            count = last;
        }
        state.pieces -= 1;
        state.read += 1;
        state.weight = 0;
        let over = state.over && state.pieces == 0;
        if over && let Some(errno) = state.trouble {
            return Err(errno);
        }
        let first = state.read == 1;
        let more = !over && !std::mem::replace(&mut state.expected, true);
        // Sending and reading may end in the connection being given up, which reaches for every directory.
        drop(state);
        if more && let Some(road) = self.roads.road() {
            let mut put = Put::of(ask::MORE);
            put.number(self.id);
            self.roads.send(&road, &put.0);
        }
        let piece = Piece::read(parts, count.unwrap_or(0), &self.roads).map_err(|broken| {
            self.roads.broke(broken);
            Errno::CONNABORTED
        })?;
        let several = !over || !first;
        let mut state = self.state();
        for (name, entry) in piece.entries() {
            if several {
                state.names.insert(name.to_owned(), entry.kind);
            }
            if keep(name, entry.kind) {
                listing.push(name, entry.kind, entry.ino);
            }
        }
        state.piece = piece;
        Ok(!over)
    }

    /// Takes in whatever pieces are left, so that every name is known.
    pub(in crate::copy) fn rest(&self) -> Result<(), Errno> {
        let mut listing = Listing::default();
        while self.list(&mut listing, |_, _| false)? {}
        Ok(())
    }

    /// Looks for a name in what has come. `Err`: only the other end can tell.
    fn find<T>(&self, name: &CStr, found: impl FnOnce(&mut Entry) -> T) -> Result<Option<T>, ()> {
        let mut state = self.state();
        let known = state.over && state.pieces == 0 && state.read == 1;
        match state.piece.find(name) {
            Some(entry) if !entry.bare => Ok(Some(found(entry))),
            None if known => Ok(None),
            _ => Err(()),
        }
    }

    /// What type a name has, if there is one: answered from the names that have come.
    pub(in crate::copy) fn kind_of(&self, name: &CStr) -> Result<Option<Kind>, Errno> {
        let mut state = self.state();
        if state.over && state.pieces == 0 {
            let found = state.names.get(name).copied();
            return Ok(found.or_else(|| state.piece.find(name).map(|entry| entry.kind)));
        }
        drop(state);
        match self.stat(name) {
            Ok(meta) => Ok(Some(meta.kind)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    pub(in crate::copy) fn stat(&self, name: &CStr) -> Result<Meta, Errno> {
        match self.find(name, |entry| entry.meta) {
            Ok(Some(meta)) => meta,
            Ok(None) => Err(Errno::NOENT),
            Err(()) => self.look(name, false).map(|looked| looked.meta),
        }
    }

    pub(in crate::copy) fn read_link(&self, name: &CStr) -> Result<CString, Errno> {
        match self.find(name, |entry| entry.link.clone()) {
            Ok(Some(Some(link))) => link,
            Ok(None) => Err(Errno::NOENT),
            _ => self.look(name, false)?.link.unwrap_or(Err(Errno::INVAL)),
        }
    }

    pub(in crate::copy) fn xattrs(&self, name: &CStr) -> Result<Xattrs, Errno> {
        match self.find(name, |entry| entry.xattrs.clone()) {
            Ok(Some(Some(xattrs))) => xattrs,
            Ok(None) => Err(Errno::NOENT),
            _ => self.look(name, false)?.xattrs,
        }
    }

    /// How many bytes of a file are data.
    pub(in crate::copy) fn data_length(&self, name: &CStr, meta: &Meta) -> Result<u64, Errno> {
        if crate::copy::extents::may_have_holes(meta) { Ok(self.look(name, true)?.data) } else { Ok(meta.size) }
    }

    pub(super) fn look(&self, name: &CStr, data: bool) -> Result<Looked, Errno> {
        let answer = self.roads.ask(|put, id| {
            put.0.push(ask::LOOK);
            put.number(id).number(self.id).bytes(name.to_bytes()).flag(data);
        })?;
        self.read(&answer, |take| {
            if let Some(errno) = words::errno(take)? {
                return Ok(Err(errno));
            }
            let mut meta = words::meta(take, None)?;
            self.roads.place(&mut meta);
            let (data, xattrs) = (take.number()?, words::xattrs(take)?);
            let link = if meta.kind == Kind::Link { Some(words::link(take)?) } else { None };
            Ok(Ok(Looked { meta, data, xattrs, link }))
        })
    }

    /// Asks for the digest of a part of a file; [`Folder::digest`] waits for it.
    pub(in crate::copy) fn ask_digest(&self, name: &CStr, (start, end): (u64, u64)) -> Result<Asked, Errno> {
        let begun = self.roads.begin(|put, id| {
            put.0.push(ask::DIGEST);
            put.number(id).number(self.id).bytes(name.to_bytes()).number(start).number(end);
        })?;
        Ok(Asked(begun))
    }

    /// The digest that was asked for, and of how many bytes it is.
    pub(in crate::copy) fn digest(&self, asked: Asked) -> Result<([u8; 32], u64), Errno> {
        let answer = self.roads.answer(asked.0)?;
        self.read(&answer, |take| {
            Ok(match words::errno(take)? {
                Some(errno) => Err(errno),
                None => Ok((take.array()?, take.number()?)),
            })
        })
    }

    fn read<T>(
        &self,
        answer: &[u8],
        read: impl FnOnce(&mut Take<'_>) -> Result<Result<T, Errno>, Broken>,
    ) -> Result<T, Errno> {
        let mut take = Take(answer);
        match read(&mut take).and_then(|found| Ok(take.end().map(|()| found)?)) {
            Ok(found) => found,
            Err(broken) => {
                self.roads.broke(broken);
                Err(Errno::CONNABORTED)
            }
        }
    }

    /// Asks for small files whose turn will come: `coming`, the nearest first.
    pub(in crate::copy) fn want<'n>(&self, coming: impl Iterator<Item = &'n CStr>) {
        let mut state = self.state();
        if state.wanted.len() + state.files.len() >= FILES_AHEAD / 2 || state.wanted_bytes >= BYTES_AHEAD / 2 {
            return;
        }
        let mut put = Put::of(ask::FILES);
        put.number(self.id);
        let mut any = false;
        for name in coming {
            if state.wanted.len() + state.files.len() >= FILES_AHEAD || state.wanted_bytes >= BYTES_AHEAD {
                break;
            }
            let size = match state.piece.find(name) {
                Some(Entry { kind: Kind::File, content: None, meta: Ok(meta), asked, .. })
                    if !*asked && is_small(meta) =>
                {
                    *asked = true;
                    meta.size
                }
                _ => continue,
            };
            state.wanted_bytes += size;
            state.wanted.insert(name.to_owned());
            put.bytes(name.to_bytes());
            any = true;
        }
        drop(state);
        if any && let Some(road) = self.roads.road() {
            self.roads.send(&road, &put.0);
        }
    }

    /// Opens a file: one that came with the listing or was asked for ahead, or else it is asked for.
    pub(in crate::copy) fn file(self: &Arc<Self>, name: &CStr) -> Result<File, Errno> {
        let mut state = self.state();
        if let Some(Entry { kind: Kind::File, meta, xattrs, content, .. }) = state.piece.find(name) {
            let small = content.take().map(|content| (content, *meta, xattrs.clone()));
            if let Some((content, meta, Some(xattrs))) = small {
                return Ok(File::new(self, name, Small { meta: meta?, xattrs, content: Some(content) }));
            }
            let large = !state.wanted.contains(name) && !state.files.contains_key(name);
            if large
                && let Some(Entry { meta: Ok(meta), xattrs: Some(xattrs), .. }) = state.piece.find(name)
                && !is_small(meta)
            {
                let small = Small { meta: *meta, xattrs: xattrs.clone(), content: None };
                return Ok(File::new(self, name, small));
            }
        }
        drop(state);
        self.fetch(name).map(|small| File::new(self, name, small))
    }

    /// Waits for a small file, and asks for it if that was not done.
    pub(super) fn fetch(&self, name: &CStr) -> Result<Small, Errno> {
        let mut state = self.state();
        if !state.files.contains_key(name) && state.wanted.insert(name.to_owned()) {
            drop(state);
            let mut put = Put::of(ask::FILES);
            put.number(self.id).bytes(name.to_bytes());
            let road = self.roads.road().ok_or(Errno::CONNABORTED)?;
            self.roads.send(&road, &put.0);
            state = self.state();
        }
        loop {
            if let Some(found) = state.files.remove(name) {
                return found;
            }
            state = self.wait(state)?;
        }
    }
}

/// Whether a file goes whole with others: it is short and has no holes.
fn is_small(meta: &Meta) -> bool {
    meta.size <= INLINE && meta.blocks.saturating_mul(512) >= meta.size
}

/// A digest that was asked for.
pub(in crate::copy) struct Asked((u64, Arc<super::roads::Letters>));

/// What one name is now.
pub(super) struct Looked {
    pub meta: Meta,
    pub data: u64,
    pub xattrs: Result<Xattrs, Errno>,
    pub link: Option<Result<CString, Errno>>,
}

impl Drop for Folder {
    fn drop(&mut self) {
        self.roads.close(self.id);
    }
}
