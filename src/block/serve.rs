//! An end behind lines: what the far side runs.

use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::end::{End, Role, Worker};
use super::error::Error;
use super::message::{Reply, Request};
use crate::wire::{Broken, Inbox, Line, Outbox};

/// Serves a device to be read from, over all `lines` together, until the other side has finished on each of them.
///
/// Answers go out on the line their request came from. What cannot be done is an answer; the lines go on.
///
/// # Errors
/// [`Broken`] if a line ends without its end, or brings what cannot be. Nothing is read on account of the latter.
pub fn serve_source(lines: Vec<Line>) -> Result<(), Broken> {
    serve(Role::Source, lines)
}

/// Serves a device to be written to, as [`serve_source`] does. The device is held exclusively from the moment the other
/// side begins until this returns; what arrived whole by then was written, nothing else was.
///
/// # Errors
/// As [`serve_source`].
pub fn serve_target(lines: Vec<Line>) -> Result<(), Broken> {
    serve(Role::Target, lines)
}

/// How many requests are worked on at once.
pub(super) fn workers() -> usize {
    std::thread::available_parallelism().map_or(4, |cpus| cpus.get() * 2).clamp(4, 16)
}

type Jobs = Receiver<(usize, Request)>;
/// Where answers of one line go; taken away once it cannot take one, so that the other side hears of it.
type Out = Mutex<Option<Box<dyn Outbox>>>;

/// So many lines keep a machine busy without help: each does what it is asked before it takes the next request, and no
/// more than one extent of each has arrived without being written if this process is killed.
const ENOUGH: usize = 3;

fn serve(role: Role, lines: Vec<Line>) -> Result<(), Broken> {
    let end = End::new(role, lines.len());
    let helpers = if lines.len() < ENOUGH { workers() } else { 0 };
    let (outboxes, inboxes): (Vec<Out>, Vec<_>) =
        lines.into_iter().map(|line| (Mutex::new(Some(line.outbox)), line.inbox)).unzip();
    let (jobs, waiting) = sync_channel(0);
    let waiting = Mutex::new(waiting);
    let (end, outboxes_ref, waiting) = (&end, &outboxes, &waiting);
    let ended: Vec<Result<(), Broken>> = std::thread::scope(|scope| {
        let working: Vec<_> = (0..helpers).map(|_| scope.spawn(move || work(end, waiting, outboxes_ref))).collect();
        let receiving: Vec<_> = inboxes
            .into_iter()
            .enumerate()
            .map(|(line, inbox)| {
                let jobs = (helpers > 0).then(|| jobs.clone());
                scope.spawn(move || receive(end, line, inbox, jobs.as_ref(), outboxes_ref))
            })
            .collect();
        drop(jobs);
        let threads = receiving.into_iter().chain(working);
        threads
            .map(|thread| thread.join().unwrap_or_else(|_| Err(Broken::Refused("a worker panicked".into()))))
            .collect()
    });
    ended.into_iter().collect::<Result<(), _>>()?;
    for outbox in outboxes {
        let outbox = outbox.into_inner().unwrap_or_else(PoisonError::into_inner);
        outbox.ok_or(Broken::Cut)?.finish()?;
    }
    Ok(())
}

fn receive(
    end: &End,
    line: usize,
    mut inbox: Box<dyn Inbox>,
    jobs: Option<&SyncSender<(usize, Request)>>,
    outboxes: &[Out],
) -> Result<(), Broken> {
    let _guard = Guard(outboxes);
    let outbox = &outboxes[line];
    let mut worker = Worker::default();
    loop {
        let mut message = Vec::new();
        if !inbox.receive(&mut message)? {
            return Ok(());
        }
        match (Request::read(message, end.cut()), jobs) {
            (Ok(request), None) => answer(end, outbox, &end.handle(&mut worker, request))?,
            // Nobody takes jobs any more only after the line to answer on has failed, which the worker reports.
            (Ok(request), Some(jobs)) => {
                if jobs.send((line, request)).is_err() {
                    return Ok(());
                }
            }
            (Err(malformed), _) => {
                answer(end, outbox, &Reply::Failed(Error::lied("", malformed.to_string())))?;
                return Err(malformed.into());
            }
        }
    }
}

fn work(end: &End, waiting: &Mutex<Jobs>, outboxes: &[Out]) -> Result<(), Broken> {
    let _guard = Guard(outboxes);
    let mut worker = Worker::default();
    let mut broken = Ok(());
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((line, request)) = job else { return broken };
        // What came whole is done even if nobody can be told: it may be a write.
        let reply = end.handle(&mut worker, request);
        let answered = answer(end, &outboxes[line], &reply);
        broken = broken.and(answered);
    }
}

fn answer(end: &End, out: &Out, reply: &Reply) -> Result<(), Broken> {
    let mut out = out.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(outbox) = out.as_mut() else { return Err(Broken::Cut) };
    let began = Instant::now();
    let sent = reply.send(&mut **outbox).and_then(|()| outbox.flush());
    if sent.is_err() {
        *out = None;
    } else if let Reply::Extent { index, body } = reply {
        end.sent(*index, body, began.elapsed());
    }
    sent
}

/// Breaks every line if the thread that has it panics: nobody may wait for its answers.
struct Guard<'o>(&'o [Out]);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.iter().for_each(|out| *out.lock().unwrap_or_else(PoisonError::into_inner) = None);
        }
    }
}
