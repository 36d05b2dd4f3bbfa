//! The near side of a receiving end that is far away: has the journal, shows progress, and says when to stop.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::{Ground, Look, forms, news, order, scanned};
use crate::cancel::Reason;
use crate::copy::error::Apart;
use crate::copy::far::errors;
use crate::copy::far::words::{VERSION, corrupt};
use crate::copy::identity::RootId;
use crate::copy::options::{CompareOptions, Options, ScanOptions};
use crate::copy::report::{Comparison, Report, Scan, Undone};
use crate::copy::{Error, Work};
use crate::progress::{CheckpointError, Event, Record};
use crate::rate::Rate;
use crate::wire::{Broken, Inbox, Line, Outbox, Put, Take};

/// So often it is looked whether the work should stop or go at another rate.
const LOOK: Duration = Duration::from_millis(50);
/// Records are sent in messages of about this size.
const PIECE: usize = 256 << 10;

/// The line to a receiving end far away ([`super::receive`]). One of them serves one task.
pub struct Near(Line);

impl Near {
    /// Speaks over this line.
    #[must_use]
    pub fn new(control: Line) -> Self {
        Self(control)
    }

    /// Copies `src`, a path at the sending end, to `dst`, a path at the receiving end; as [`crate::copy::tree()`].
    ///
    /// # Errors
    /// As [`crate::copy::tree_from()`], from either end, and [`Error::Apart`] if the receiving end cannot be spoken with.
    pub fn tree(self, src: &Path, dst: &Path, options: &Options, work: &Work<'_>) -> Result<Report, Error> {
        let report = self.run(work, Some(&options.rate), forms::report, |put| {
            forms::put_path(put.byte(0), src);
            forms::put_path(put, dst);
            forms::put_options(put, options);
        })?;
        // Its own books were balanced there; what came here is balanced again.
        let (listed, accounted) = (report.listed.entries(), report.accounted());
        if listed > accounted { Err(Error::CountMismatch { listed, accounted }) } else { Ok(report) }
    }

    /// Compares `left` at the sending end with `right` at the receiving end; as [`crate::copy::compare()`].
    ///
    /// # Errors
    /// As [`crate::copy::compare_from()`], from either end.
    pub fn compare(
        self,
        left: &Path,
        right: &Path,
        options: &CompareOptions,
        work: &Work<'_>,
    ) -> Result<Comparison, Error> {
        self.run(work, None, forms::comparison, |put| {
            forms::put_path(put.byte(1), left);
            forms::put_path(put, right);
            forms::put_compare(put, options);
        })
    }

    /// Takes back what a run did to `dst` at the receiving end; as [`crate::copy::undo()`]. `src` helps if the receiving
    /// end was given lines to it.
    ///
    /// # Errors
    /// As [`crate::copy::undo()`], and [`Error::Apart`].
    pub fn undo(
        self,
        dst: &Path,
        src: Option<&Path>,
        backup: Option<&Path>,
        expect: Option<&RootId>,
        work: &Work<'_>,
    ) -> Result<Undone, Error> {
        self.run(work, None, forms::undone, |put| {
            forms::put_optional(put.byte(2), src, forms::put_path);
            forms::put_path(put, dst);
            forms::put_optional(put, backup, forms::put_path);
            forms::put_optional(put, expect, forms::put_root);
        })
    }

    /// Counts the tree at `path` at the receiving end, where it is; as [`crate::copy::scan()`].
    ///
    /// # Errors
    /// As [`crate::copy::scan()`], and [`Error::Apart`].
    pub fn scan(self, path: &Path, options: &ScanOptions, work: &Work<'_>) -> Result<Scan, Error> {
        self.run(work, None, scanned::read, |put| {
            forms::put_path(put.byte(3), path);
            forms::put_scan(put, options);
        })
    }

    /// What is at `path` at the receiving end; as [`Ground::look`].
    ///
    /// # Errors
    /// As [`Ground::look`], and [`Error::Apart`].
    pub fn look(self, path: &Path, how: Look, work: &Work<'_>) -> Result<Ground, Error> {
        self.run(work, None, Ground::read, |put| {
            forms::put_path(put.byte(4), path);
            put.byte(match how {
                Look::Id => 0,
                Look::Unnamed => 1,
                Look::Named => 2,
            });
        })
    }

    /// Makes the root `path` at the receiving end for `run`; as [`super::make_root`].
    ///
    /// # Errors
    /// As [`super::make_root`], and [`Error::Apart`].
    pub fn make_root(self, path: &Path, run: &str, work: &Work<'_>) -> Result<bool, Error> {
        self.run(
            work,
            None,
            |take| Ok(take.flag()?),
            |put| {
                forms::put_path(put.byte(5), path);
                put.bytes(run.as_bytes());
            },
        )
    }

    /// Removes the root `path` at the receiving end if it is empty; as [`super::remove_root`].
    ///
    /// # Errors
    /// As [`super::remove_root`], and [`Error::Apart`].
    pub fn remove_root(self, path: &Path, work: &Work<'_>) -> Result<bool, Error> {
        self.run(work, None, |take| Ok(take.flag()?), |put| forms::put_path(put.byte(6), path))
    }

    fn run<T>(
        self,
        work: &Work<'_>,
        rate: Option<&Rate>,
        read: impl FnOnce(&mut Take<'_>) -> Result<T, Broken>,
        task: impl FnOnce(&mut Put),
    ) -> Result<T, Error> {
        let Line { outbox, mut inbox } = self.0;
        let outbox = Mutex::new(outbox);
        let mut put = Put::of(order::TASK);
        put.number(VERSION).flag(work.checkpoint.keeps());
        task(&mut put);
        let apart = |broken: Broken| Error::from(Apart::from(broken));
        send(&outbox, &put.0).map_err(apart)?;
        let over = AtomicBool::new(false);
        let done = std::thread::scope(|scope| {
            scope.spawn(|| watch(&outbox, &over, rate, work));
            let done = follow(&outbox, &mut *inbox, work);
            over.store(true, Ordering::Release);
            done
        });
        let message = match done {
            Ok(message) => message,
            // The stop was ours; that the other end does not answer any more is no news.
            Err(broken) => return Err(work.cancel.check().map_or_else(Error::from, |()| apart(broken))),
        };
        let mut take = Take(&message);
        let kind = take.byte().map_err(|malformed| apart(malformed.into()))?;
        let result = if kind == news::FAILED {
            Err(errors::read(&mut take).map_err(apart)?)
        } else {
            Ok(read(&mut take).and_then(|found| Ok(take.end().map(|()| found)?)).map_err(apart)?)
        };
        // Everything has been heard: that the other end hears the goodbye is its own affair.
        outbox.into_inner().unwrap_or_else(PoisonError::into_inner).finish().ok();
        if let (Err(Error::Cancelled(_)), Err(ours)) = (&result, work.cancel.check()) {
            return Err(ours.into());
        }
        result
    }
}

type Out = Mutex<Box<dyn Outbox>>;

fn send(outbox: &Out, message: &[u8]) -> Result<(), Broken> {
    let mut outbox = outbox.lock().unwrap_or_else(PoisonError::into_inner);
    outbox.send(&[message]).and_then(|()| outbox.flush())
}

/// Passes on, until the task is over, that the work should stop or go at another rate.
fn watch(outbox: &Out, over: &AtomicBool, rate: Option<&Rate>, work: &Work<'_>) {
    let mut limit = rate.and_then(Rate::limit);
    let mut cancelled = false;
    while !over.load(Ordering::Acquire) {
        let now = rate.and_then(Rate::limit);
        if now != limit {
            let mut put = Put::of(order::LIMIT);
            forms::put_optional(&mut put, now, |put, bytes| {
                put.number(bytes.0);
            });
            // That the line is broken is found where it is read.
            send(outbox, &put.0).ok();
            limit = now;
        }
        if !cancelled && let Some(reason) = work.cancel.reason() {
            let number = match reason {
                Reason::Interrupt => 0,
                Reason::Terminate => 1,
                Reason::HangUp => 2,
                Reason::Internal | Reason::Deadline => 3,
            };
            send(outbox, &[order::CANCEL, number]).ok();
            cancelled = true;
        }
        std::thread::sleep(LOOK);
    }
}

/// Hears what the receiving end tells and asks, until it says how it went.
fn follow(outbox: &Out, inbox: &mut dyn Inbox, work: &Work<'_>) -> Result<Vec<u8>, Broken> {
    let mut message = Vec::new();
    while inbox.receive(&mut message)? {
        let mut take = Take(&message);
        match take.byte()? {
            news::EVENT => event(&mut take, work)?,
            news::DONE | news::FAILED => return Ok(message),
            kind => {
                let id = take.number()?;
                question(outbox, kind, id, &mut take, work)?;
            }
        }
    }
    Err(Broken::Cut)
}

fn event(take: &mut Take<'_>, work: &Work<'_>) -> Result<(), Broken> {
    let text = errors::text;
    match take.byte()? {
        0 => work.progress.event(Event::Phase(&text(take)?)),
        1 => work.progress.event(Event::Total { entries: take.number()?, bytes: take.number()? }),
        2 => work.progress.event(Event::Advance { entries: take.number()?, bytes: take.number()? }),
        3 => {
            let (running, operations) = (take.small::<u32>()? as usize, take.number()?);
            work.progress.event(Event::Workers { running, operations, held: forms::held(take)? });
        }
        4 => work.progress.event(Event::Failed { path: take.bytes()?, error: &text(take)? }),
        5 => work.progress.event(Event::Notice { path: take.bytes()?, text: &text(take)? }),
        kind => return Err(corrupt(format!("an event of unknown kind {kind}"))),
    }
    Ok(())
}

fn question(outbox: &Out, kind: u8, id: u64, take: &mut Take<'_>, work: &Work<'_>) -> Result<(), Broken> {
    let store = work.checkpoint;
    let mut broken = None;
    let mut body = Put::default();
    let done: Result<(), CheckpointError> = match kind {
        news::PUT => {
            let mut records = Vec::new();
            for _ in 0..take.number()? {
                let (kind, key) = (take.byte()?, take.bytes()?);
                let value = if take.flag()? { Some(take.bytes()?) } else { None };
                records.push(Record { kind, key, value });
            }
            store.put(&records)
        }
        news::GET => store.get(take.byte()?, take.bytes()?).map(|found| {
            forms::put_optional(&mut body, found, |put, value| {
                put.bytes(&value);
            });
        }),
        news::VISIT => {
            let (kind, prefix, reverse) = (take.byte()?, take.bytes()?, take.flag()?);
            store.visit(kind, prefix, reverse, &mut |key, value| {
                if !body.0.is_empty() && body.0.len() + key.len() + value.len() > PIECE {
                    let mut put = Put::of(order::PART);
                    put.number(id).flag(true).raw(&body.0);
                    body.0.clear();
                    broken = send(outbox, &put.0).err();
                }
                body.bytes(key).bytes(value);
                broken.is_none()
            })
        }
        news::SYNC => store.sync(),
        kind => return Err(corrupt(format!("news of unknown kind {kind}"))),
    };
    if let Some(broken) = broken {
        return Err(broken);
    }
    let mut put = Put::of(order::ANSWER);
    put.number(id).flag(done.is_ok());
    match &done {
        Ok(()) => put.raw(&body.0),
        Err(error) => put.raw(error.to_string().as_bytes()),
    };
    send(outbox, &put.0)
}

/// Carries messages between two lines, both ways, until both sides have finished: for two far places that cannot reach
/// each other.
///
/// # Errors
/// [`Broken`] of the first line that broke; the other is then broken as well.
pub fn relay(one: Line, two: Line) -> Result<(), Broken> {
    fn carry(mut from: Box<dyn Inbox>, mut to: Box<dyn Outbox>) -> Result<(), Broken> {
        let mut message = Vec::new();
        while from.receive(&mut message)? {
            to.send(&[&message])?;
            to.flush()?;
        }
        to.finish()
    }
    std::thread::scope(|scope| {
        let there = scope.spawn(|| carry(one.inbox, two.outbox));
        let back = carry(two.inbox, one.outbox);
        let there = there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        there.and(back)
    })
}
