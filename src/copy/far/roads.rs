//! What goes over the lines: directories that are asked for before somebody works on them, and answers that find whom
//! they are for.
//!
//! **Directories ahead.** The pool tells the subdirectories it has found; they are asked for, the newest first, as long
//! as what is on its way and what lies here unused stays below a bound; and each goes to the pool when it has arrived.
//! So no worker waits for a round trip, and memory stays flat however large the tree is.

use std::collections::{HashMap, VecDeque};
use std::ffi::{CStr, CString};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};

use rustix::io::Errno;

use super::folder::Folder;
use super::source::LOOK;
use super::words::{self, WINDOW, ask, corrupt, tell};
use crate::cancel::Cancel;
use crate::copy::Error;
use crate::copy::children::Child;
use crate::copy::dir::Dir;
use crate::copy::error::Apart;
use crate::copy::sys::Meta;
use crate::wire::{Broken, Inbox, Outbox, Put, Take};

/// So many directories may be on their way or lie here.
const MOST_AHEAD: usize = 256;
/// So many bytes of listings and small files may lie here unused, about.
const BYTES_AHEAD: usize = 32 << 20;
/// The other end hears of so many closed directories at once.
const CLOSE_AT_ONCE: usize = 64;
/// Devices of another machine get this bit, so that none is taken for one of ours.
const ELSEWHERE: u64 = 1 << 63;

/// Who is given a directory when it has arrived.
pub(in crate::copy) trait Deliver: Send + Sync {
    fn deliver(&self, parent: Arc<Dir>, child: Child);
}

/// The lines, and who waits for what.
pub(in crate::copy) struct Roads {
    out: Mutex<Vec<Arc<Road>>>,
    next: AtomicU64,
    elsewhere: bool,
    pub(super) most_open: usize,
    pub(super) cancel: Cancel,
    broken: Mutex<Option<Apart>>,
    ahead: Mutex<Ahead>,
    folders: Mutex<HashMap<u64, Weak<Folder>>>,
    /// Directories that are not used any more, and of which the other end has not heard yet.
    closed: Mutex<Vec<u64>>,
    boxes: Mutex<HashMap<u64, Arc<Letters>>>,
    received: AtomicU64,
    sent: AtomicU64,
    turn: AtomicUsize,
    /// We have said goodbye.
    closing: AtomicBool,
}

/// One line out.
pub(super) struct Road(Mutex<Option<Box<dyn Outbox>>>);

/// Letters for one who asked.
#[derive(Default)]
pub(super) struct Letters {
    waiting: Mutex<VecDeque<(u8, Vec<u8>)>>,
    changed: Condvar,
}

/// A directory to be asked for.
struct Wish {
    from: Arc<Folder>,
    parent: Arc<Dir>,
    child: Child,
    flags: u8,
    to: Arc<dyn Deliver>,
}

/// A directory that is on its way.
struct Coming {
    folder: Arc<Folder>,
    /// `None`: somebody waits for it.
    wish: Option<(Arc<Dir>, Child, Arc<dyn Deliver>)>,
    /// It stays open until the other end has opened the one below it.
    _from: Option<Arc<Folder>>,
}

#[derive(Default)]
struct Ahead {
    /// The newest last.
    wishes: Vec<Wish>,
    coming: HashMap<u64, Coming>,
    /// Those that have arrived and that nobody has entered yet, by parent and name.
    arrived: HashMap<(u64, CString), Arc<Folder>>,
    /// What lies here.
    bytes: usize,
    /// About what one directory brings.
    usual: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Roads {
    pub(super) fn new(elsewhere: bool, most_open: usize, cancel: Cancel) -> Arc<Self> {
        Arc::new(Self {
            out: Mutex::default(),
            next: AtomicU64::new(1),
            elsewhere,
            most_open,
            cancel,
            broken: Mutex::default(),
            ahead: Mutex::default(),
            folders: Mutex::default(),
            closed: Mutex::default(),
            boxes: Mutex::default(),
            received: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            turn: AtomicUsize::new(0),
            closing: AtomicBool::new(false),
        })
    }

    pub(super) fn add(&self, outbox: Box<dyn Outbox>, inbox: Box<dyn Inbox>) -> Box<dyn Inbox> {
        lock(&self.out).push(Arc::new(Road(Mutex::new(Some(outbox)))));
        inbox
    }

    pub(super) fn is_here(&self) -> bool {
        !self.elsewhere
    }

    /// Makes metadata of the other end comparable with ours.
    pub(super) fn place(&self, meta: &mut Meta) {
        if self.elsewhere {
            meta.dev |= ELSEWHERE;
        }
    }

    pub(super) fn number(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// The line for a new piece of work.
    pub(super) fn road(&self) -> Option<Arc<Road>> {
        let out = lock(&self.out);
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        out.get(turn % out.len().max(1)).cloned()
    }

    /// Sends one message now.
    pub(super) fn send(&self, road: &Road, message: &[u8]) {
        self.sent.fetch_add(1, Ordering::Relaxed);
        let mut outbox = lock(&road.0);
        let sent = match &mut *outbox {
            Some(outbox) => outbox.send(&[message]).and_then(|()| outbox.flush()),
            None => return,
        };
        drop(outbox);
        if let Err(broken) = sent {
            self.broke(broken);
        }
    }

    /// Says goodbye on every line.
    pub(super) fn finish(&self) {
        self.closing.store(true, Ordering::Release);
        for road in lock(&self.out).iter() {
            if let Some(mut outbox) = lock(&road.0).take() {
                // Who hears nothing of us any more will notice; what we wanted has come.
                outbox.finish().ok();
            }
        }
    }

    pub(super) fn messages(&self) -> (u64, u64) {
        (self.received.load(Ordering::Relaxed), self.sent.load(Ordering::Relaxed))
    }

    /// Nothing more will come; says why.
    pub(super) fn broke(&self, broken: Broken) -> Error {
        let why = lock(&self.broken).get_or_insert_with(|| Apart::from(broken)).clone();
        // Whoever is to be given something must not wait for it: it finds out when it opens it.
        let mut ahead = lock(&self.ahead);
        let coming: Vec<Coming> = ahead.coming.drain().map(|(_, coming)| coming).collect();
        let wishes = std::mem::take(&mut ahead.wishes);
        drop(ahead);
        for Coming { folder, wish, .. } in coming {
            folder.lost(Errno::CONNABORTED);
            if let Some((parent, child, to)) = wish {
                to.deliver(parent, child);
            }
        }
        for wish in wishes {
            wish.to.deliver(wish.parent, wish.child);
        }
        why.into()
    }

    pub(super) fn lost(&self) -> Option<Error> {
        lock(&self.broken).clone().map(Error::from)
    }

    /// Whether who waits may go on waiting.
    pub(super) fn check(&self) -> Result<(), Errno> {
        if self.cancel.reason().is_some() {
            return Err(Errno::CANCELED);
        }
        if lock(&self.broken).is_some() { Err(Errno::CONNABORTED) } else { Ok(()) }
    }

    /// Asks for a directory that a worker will be given when it has arrived.
    pub(in crate::copy) fn wish(
        &self,
        from: &Arc<Folder>,
        parent: &Arc<Dir>,
        children: Vec<(Child, u8)>,
        to: &Arc<dyn Deliver>,
    ) {
        let mut ahead = lock(&self.ahead);
        ahead.wishes.extend(children.into_iter().map(|(child, flags)| Wish {
            from: from.clone(),
            parent: parent.clone(),
            child,
            flags,
            to: to.clone(),
        }));
        self.pump(ahead);
        let broken = lock(&self.broken).is_some();
        if broken {
            // It broke before these were known of.
            self.broke(Broken::Cut);
        }
    }

    /// Asks for as many of the directories that are wished for as there is room for.
    fn pump(&self, mut ahead: MutexGuard<'_, Ahead>) {
        if ahead.coming.len() > MOST_AHEAD / 2 {
            // A little later, and more at once.
            return;
        }
        let mut put = Put::of(ask::FOLDERS);
        let mut count = 0;
        loop {
            let (coming, lying) = (ahead.coming.len(), ahead.arrived.len());
            let bytes = ahead.bytes + coming * ahead.usual.max(4 << 10);
            if coming > 0 && (coming + lying >= MOST_AHEAD || bytes >= BYTES_AHEAD) || count >= MOST_AHEAD {
                break;
            }
            let Some(wish) = ahead.wishes.pop() else { break };
            let id = self.number();
            let folder = Folder::new(id, Some((wish.from.id(), wish.child.name.clone())), wish.from.roads());
            put.number(id).number(wish.from.id()).byte(wish.flags).bytes(wish.child.name.to_bytes());
            lock(&self.folders).insert(id, Arc::downgrade(&folder));
            let wanted = Some((wish.parent, wish.child, wish.to));
            ahead.coming.insert(id, Coming { folder, wish: wanted, _from: Some(wish.from) });
            count += 1;
        }
        drop(ahead);
        if count > 0
            && let Some(road) = self.road()
        {
            self.send(&road, &put.0);
        }
    }

    /// Opens a directory: one that has arrived, or else it is asked for and waited for.
    pub(super) fn open(
        self: &Arc<Self>,
        from: Option<&Arc<Folder>>,
        name: &CStr,
        flags: u8,
    ) -> Result<Arc<Folder>, Errno> {
        let parent = from.map_or(0, |from| from.id());
        let mut ahead = lock(&self.ahead);
        if let Some(folder) = ahead.arrived.remove(&(parent, name.to_owned())) {
            ahead.bytes = ahead.bytes.saturating_sub(folder.weight());
            self.pump(ahead);
            return folder.opened();
        }
        drop(ahead);
        self.check()?;
        let id = self.number();
        let folder = Folder::new(id, None, self);
        lock(&self.folders).insert(id, Arc::downgrade(&folder));
        let coming = Coming { folder: folder.clone(), wish: None, _from: from.cloned() };
        lock(&self.ahead).coming.insert(id, coming);
        let mut put = Put::of(ask::FOLDERS);
        put.number(id).number(parent).byte(flags).bytes(if name == c"." { b"" } else { name.to_bytes() });
        match self.road() {
            Some(road) => self.send(&road, &put.0),
            None => return Err(Errno::CONNABORTED),
        }
        folder.opened()
    }

    /// A directory is not used any more.
    pub(super) fn close(&self, id: u64) {
        lock(&self.folders).remove(&id);
        let mut closed = lock(&self.closed);
        closed.push(id);
        if closed.len() < CLOSE_AT_ONCE {
            return;
        }
        let mut put = Put::of(ask::CLOSE);
        closed.drain(..).for_each(|id| {
            put.number(id);
        });
        drop(closed);
        if let Some(road) = self.road() {
            self.send(&road, &put.0);
        }
    }

    /// Makes a place for letters.
    pub(super) fn letters(&self, id: u64) -> Arc<Letters> {
        let letters = Arc::new(Letters::default());
        lock(&self.boxes).insert(id, letters.clone());
        letters
    }

    pub(super) fn no_more_letters(&self, id: u64) {
        lock(&self.boxes).remove(&id);
    }

    /// Asks one question, and waits for the answer.
    pub(super) fn ask(&self, question: impl FnOnce(&mut Put, u64)) -> Result<Vec<u8>, Errno> {
        self.begin(question).and_then(|asked| self.answer(asked))
    }

    /// Asks one question.
    pub(super) fn begin(&self, question: impl FnOnce(&mut Put, u64)) -> Result<(u64, Arc<Letters>), Errno> {
        self.check()?;
        let id = self.number();
        let letters = self.letters(id);
        let mut put = Put::default();
        question(&mut put, id);
        let road = self.road().ok_or(Errno::CONNABORTED)?;
        self.send(&road, &put.0);
        Ok((id, letters))
    }

    /// Waits for the answer.
    pub(super) fn answer(&self, (id, letters): (u64, Arc<Letters>)) -> Result<Vec<u8>, Errno> {
        let answer = letters.take(self);
        self.no_more_letters(id);
        match answer? {
            (tell::ANSWER, body) => Ok(body),
            (tell::FAILED, body) => Err(words::errno(&mut Take(&body)).ok().flatten().unwrap_or(Errno::IO)),
            _ => {
                self.broke(corrupt("another answer than was asked for"));
                Err(Errno::CONNABORTED)
            }
        }
    }

    /// Takes messages in until the other end has finished.
    pub(super) fn take_in(&self, mut inbox: Box<dyn Inbox>) {
        let mut message = Vec::new();
        loop {
            match inbox.receive(&mut message) {
                Ok(true) => {}
                Ok(false) => {
                    // It has nothing more to say; before we had said so, that is too early.
                    if !self.closing.load(Ordering::Acquire) {
                        self.broke(Broken::Cut);
                    }
                    return;
                }
                Err(broken) => {
                    self.broke(broken);
                    return;
                }
            }
            self.received.fetch_add(1, Ordering::Relaxed);
            if let Err(broken) = self.take(&message) {
                self.broke(broken);
                return;
            }
        }
    }

    fn take(&self, message: &[u8]) -> Result<(), Broken> {
        let mut take = Take(message);
        let (kind, id) = (take.byte()?, take.number()?);
        if id == 0 || id >= self.next.load(Ordering::Relaxed) {
            return Err(corrupt("an answer to what was never asked"));
        }
        match kind {
            tell::ENTRIES | tell::LOST | tell::FILES => {
                // Who asked may have gone meanwhile.
                let Some(folder) = lock(&self.folders).get(&id).and_then(Weak::upgrade) else { return Ok(()) };
                let complete = folder.take(kind, take.0.to_vec())?;
                if complete {
                    self.arrived(id, &folder);
                }
                Ok(())
            }
            tell::DATA | tell::SAME | tell::END | tell::FAILED | tell::ANSWER => {
                if let Some(letters) = lock(&self.boxes).get(&id) {
                    let mut waiting = lock(&letters.waiting);
                    waiting.push_back((kind, take.0.to_vec()));
                    // Content is sent as far as there is room, and all else is short.
                    let lying: usize = waiting.iter().map(|(_, body)| body.len()).sum();
                    if lying as u64 > 2 * WINDOW {
                        return Err(corrupt("more of a file than there was room for"));
                    }
                    letters.changed.notify_all();
                }
                Ok(())
            }
            kind => Err(corrupt(format!("an answer of unknown kind {kind}"))),
        }
    }

    /// The first piece of a directory is there.
    fn arrived(&self, id: u64, folder: &Arc<Folder>) {
        let mut ahead = lock(&self.ahead);
        // Let go of only when nothing is locked any more: it may be the last to hold its directory.
        let Some(mut coming) = ahead.coming.remove(&id) else { return };
        let Some((parent, child, to)) = coming.wish.take() else { return drop(ahead) };
        let weight = folder.weight();
        ahead.usual = (ahead.usual * 7 + weight) / 8;
        ahead.bytes += weight;
        if let Some(place) = folder.place() {
            ahead.arrived.insert(place, folder.clone());
        }
        self.pump(ahead);
        drop(coming);
        to.deliver(parent, child);
    }
}

impl Letters {
    /// The next letter.
    pub(super) fn take(&self, roads: &Roads) -> Result<(u8, Vec<u8>), Errno> {
        let mut waiting = lock(&self.waiting);
        loop {
            if let Some(letter) = waiting.pop_front() {
                return Ok(letter);
            }
            roads.check()?;
            waiting = self.changed.wait_timeout(waiting, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
