//! The end that writes, when it is the one far away: whoever has the journal (the *near* side) tells it what to do and
//! hears everything it would tell; the engine itself runs here, next to the destination.
//!
//! Two conversations: the first line is between this end and the near side, the others between this end and the sending
//! end, which may be the near side itself or a third place. What must be remembered goes to the near side and is
//! waited for, because an intent must be durable before what it announces.

mod forms;
mod ground;
mod holding;
mod near;
mod proxy;
mod scanned;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

pub use ground::{Ground, Look, make_root, remove_root};
pub use holding::Held;
pub use near::{Near, relay};

use self::proxy::Proxy;
use super::errors::text;
use super::source::{LOOK, Source};
use super::words::{VERSION, corrupt};
use crate::cancel::Cancel;
use crate::copy::options::{CompareOptions, Options, ScanOptions};
use crate::copy::{Error, Work, compare_from, scan, tree_from, undo_from};
use crate::rate::Rate;
use crate::wire::{Broken, Line, Put, Take};

/// From the near side.
mod order {
    pub(super) const TASK: u8 = 40;
    pub(super) const CANCEL: u8 = 41;
    pub(super) const LIMIT: u8 = 42;
    /// An answer to a question about what is remembered.
    pub(super) const ANSWER: u8 = 43;
    /// A part of the answer: more follows.
    pub(super) const PART: u8 = 44;
    /// In place of a task: a destination is to be held.
    pub(super) const CLAIM: u8 = 45;
    pub(super) const RELEASE: u8 = 46;
}

/// To the near side.
mod news {
    pub(super) const EVENT: u8 = 50;
    pub(super) const PUT: u8 = 51;
    pub(super) const GET: u8 = 52;
    pub(super) const VISIT: u8 = 53;
    pub(super) const SYNC: u8 = 54;
    pub(super) const DONE: u8 = 55;
    pub(super) const FAILED: u8 = 56;
}

/// What is to be done.
enum Task {
    Tree { src: PathBuf, dst: PathBuf, options: Box<Options> },
    Compare { left: PathBuf, right: PathBuf, options: CompareOptions },
    Undo { src: Option<PathBuf>, dst: PathBuf, backup: Option<PathBuf>, expect: Option<crate::copy::identity::RootId> },
    Scan { path: PathBuf, options: ScanOptions },
    Look { path: PathBuf, how: Look },
    Make { path: PathBuf, run: String },
    Remove { path: PathBuf },
}

/// Serves one near side: takes its order over the first line, reads the source over the others, and tells how it went.
/// `cancel`: of whoever runs this; the near side can cancel as well.
///
/// # Errors
/// [`Broken`] if the near side cannot be told, or ordered what cannot be. What goes wrong with the trees is told.
pub fn receive(lines: Vec<Line>, cancel: &Cancel) -> Result<(), Broken> {
    let mut lines = lines.into_iter();
    let Some(mut control) = lines.next() else { return Ok(()) };
    let mut message = Vec::new();
    if !control.inbox.receive(&mut message)? {
        return control.outbox.finish();
    }
    if message.first() == Some(&order::CLAIM) {
        let mut take = Take(&message[1..]);
        version(&mut take)?;
        let wanted = holding::Wanted::read(&mut take)?;
        take.end()?;
        return wanted.hold(control);
    }
    let rate = Rate::default();
    let (keeps, task) = Task::read(&message, &rate)?;
    // A token of its own: what the near side stops is this task, and not whatever else goes on here.
    let own = Cancel::new();
    let proxy = Proxy::new(control.outbox, keeps, rate, own.clone());
    let listening = proxy.listen(control.inbox)?;
    let over = AtomicBool::new(false);
    let told = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Acquire) {
                if let Some(reason) = cancel.reason() {
                    own.cancel(reason);
                }
                std::thread::sleep(LOOK);
            }
        });
        let work = Work { progress: &*proxy, checkpoint: &*proxy, cancel: &own };
        let done = task.run(lines.collect(), &work);
        let told = proxy.tell(done);
        over.store(true, Ordering::Release);
        told
    });
    // It ends when the near side has heard how it went, and hangs up.
    listening.join().map_err(|_| corrupt("the thread that listens has died"))?;
    told
}

fn version(take: &mut Take<'_>) -> Result<(), Broken> {
    match take.number()? {
        VERSION => Ok(()),
        other => Err(Broken::Refused(format!("the near side speaks version {other} of trees, this one {VERSION}"))),
    }
}

impl Task {
    fn read(message: &[u8], rate: &Rate) -> Result<(bool, Self), Broken> {
        let mut take = Take(message);
        if take.byte()? != order::TASK {
            return Err(corrupt("another order than a task"));
        }
        version(&mut take)?;
        let keeps = take.flag()?;
        let task = match take.byte()? {
            0 => {
                let (src, dst) = (forms::path(&mut take)?, forms::path(&mut take)?);
                let options = Box::new(forms::options(&mut take, rate.clone())?);
                Self::Tree { src, dst, options }
            }
            1 => {
                let (left, right) = (forms::path(&mut take)?, forms::path(&mut take)?);
                Self::Compare { left, right, options: forms::compare(&mut take)? }
            }
            2 => Self::Undo {
                src: forms::optional(&mut take, forms::path)?,
                dst: forms::path(&mut take)?,
                backup: forms::optional(&mut take, forms::path)?,
                expect: forms::optional(&mut take, forms::root)?,
            },
            3 => Self::Scan { path: forms::path(&mut take)?, options: forms::scan(&mut take)? },
            4 => {
                let path = forms::path(&mut take)?;
                let how = match take.byte()? {
                    0 => Look::Id,
                    1 => Look::Unnamed,
                    _ => Look::Named,
                };
                Self::Look { path, how }
            }
            5 => Self::Make { path: forms::path(&mut take)?, run: text(&mut take)? },
            6 => Self::Remove { path: forms::path(&mut take)? },
            kind => return Err(corrupt(format!("a task of unknown kind {kind}"))),
        };
        take.end()?;
        Ok((keeps, task))
    }

    fn run(self, lines: Vec<Line>, work: &Work<'_>) -> Result<Put, Error> {
        let mut put = Put::of(news::DONE);
        match self {
            Self::Tree { src, dst, options } => {
                let source = Source::open(&src, lines, &options.exclude, work.cancel)?;
                let report = tree_from(&source, &dst, &options, work)?;
                source.close()?;
                forms::put_report(&mut put, report);
            }
            Self::Compare { left, right, options } => {
                let source = Source::open(&left, lines, &options.exclude, work.cancel)?;
                let found = compare_from(&source, &right, &options, work)?;
                source.close()?;
                forms::put_comparison(&mut put, &found);
            }
            Self::Undo { src, dst, backup, expect } => {
                // Where the source cannot be reached, less can be recognised.
                let source = src.and_then(|src| Source::open(&src, lines, &Default::default(), work.cancel).ok());
                let undone = undo_from(source.as_ref(), &dst, backup.as_deref(), expect.as_ref(), work)?;
                forms::put_undone(&mut put, &undone);
            }
            Self::Scan { path, options } => scanned::put(&mut put, scan(&path, &options, work)?),
            Self::Look { path, how } => Ground::look(&path, how)?.put(&mut put),
            Self::Make { path, run } => _ = put.flag(make_root(&path, &run)?),
            Self::Remove { path } => _ = put.flag(remove_root(&path)?),
        }
        Ok(put)
    }
}
