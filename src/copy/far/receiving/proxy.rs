//! What the engine tells and asks to have remembered, sent to the near side.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use super::{forms, news, order};
use crate::cancel::{Cancel, Reason};
use crate::copy::Error;
use crate::copy::far::errors;
use crate::copy::far::words::corrupt;
use crate::progress::{Checkpoint, CheckpointError, Event, Progress, Record, Visit};
use crate::rate::Rate;
use crate::units::Bytes;
use crate::wire::{Broken, Inbox, Outbox, Put, Take};

/// A part of an answer, and whether it is the last.
type Part = (Vec<u8>, bool);

/// The near side, as far as the engine can see it.
pub(super) struct Proxy {
    outbox: Mutex<Option<Box<dyn Outbox>>>,
    waiting: Mutex<HashMap<u64, Sender<Part>>>,
    next: AtomicU64,
    keeps: bool,
    rate: Rate,
    cancel: Cancel,
    broken: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Proxy {
    pub(super) fn new(outbox: Box<dyn Outbox>, keeps: bool, rate: Rate, cancel: Cancel) -> Arc<Self> {
        Arc::new(Self {
            outbox: Mutex::new(Some(outbox)),
            waiting: Mutex::default(),
            next: AtomicU64::new(1),
            keeps,
            rate,
            cancel,
            broken: Mutex::default(),
        })
    }

    /// Takes orders until the near side hangs up. One that is cut off cancels the work: nobody would remember it.
    pub(super) fn listen(self: &Arc<Self>, mut inbox: Box<dyn Inbox>) -> Result<JoinHandle<()>, Broken> {
        let proxy = self.clone();
        let thread = std::thread::Builder::new().stack_size(512 << 10).spawn(move || {
            let mut message = Vec::new();
            let ended = loop {
                match inbox.receive(&mut message) {
                    Ok(true) => {}
                    Ok(false) => break None,
                    Err(broken) => break Some(broken),
                }
                if let Err(broken) = proxy.take(&message) {
                    break Some(broken);
                }
            };
            if let Some(broken) = ended {
                lock(&proxy.broken).get_or_insert(broken.to_string());
                proxy.cancel.cancel(Reason::Internal);
            }
            lock(&proxy.waiting).clear();
        });
        Ok(thread?)
    }

    fn take(&self, message: &[u8]) -> Result<(), Broken> {
        let mut take = Take(message);
        match take.byte()? {
            order::CANCEL => self.cancel.cancel(match take.byte()? {
                0 => Reason::Interrupt,
                1 => Reason::Terminate,
                2 => Reason::HangUp,
                _ => Reason::Internal,
            }),
            order::LIMIT => self.rate.set(forms::optional(&mut take, |take| Ok(Bytes(take.number()?)))?),
            kind @ (order::ANSWER | order::PART) => {
                let id = take.number()?;
                let last = kind == order::ANSWER;
                let mut waiting = lock(&self.waiting);
                let Some(sender) = waiting.get(&id) else { return Err(corrupt("an answer to what was never asked")) };
                // Who asked may have had enough.
                sender.send((take.rest().to_vec(), last)).ok();
                if last {
                    waiting.remove(&id);
                }
                return Ok(());
            }
            kind => return Err(corrupt(format!("an order of unknown kind {kind}"))),
        }
        Ok(take.end()?)
    }

    fn send(&self, message: &[u8]) -> Result<(), Broken> {
        match &mut *lock(&self.outbox) {
            Some(outbox) => outbox.send(&[message]).and_then(|()| outbox.flush()),
            None => Err(Broken::Cut),
        }
    }

    /// Tells how it went, and that there is nothing more to tell.
    pub(super) fn tell(&self, done: Result<Put, Error>) -> Result<(), Broken> {
        let put = done.unwrap_or_else(|error| {
            let mut put = Put::of(news::FAILED);
            errors::put(&mut put, &error);
            put
        });
        self.send(&put.0)?;
        lock(&self.outbox).take().map_or(Ok(()), |mut outbox| outbox.finish())
    }

    fn ask(&self, kind: u8, question: impl FnOnce(&mut Put)) -> Result<Receiver<Part>, CheckpointError> {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = channel();
        lock(&self.waiting).insert(id, sender);
        let mut put = Put::of(kind);
        put.number(id);
        question(&mut put);
        self.send(&put.0).map_err(|broken| CheckpointError(broken.to_string().into()))?;
        Ok(receiver)
    }

    /// Reads an answer: what it says, or why the store failed.
    fn answer(&self, answers: &Receiver<Part>) -> Result<Part, CheckpointError> {
        let Ok((body, last)) = answers.recv() else {
            let why = lock(&self.broken).clone().unwrap_or_else(|| "the near side has hung up".into());
            return Err(CheckpointError(why.into()));
        };
        let mut take = Take(&body);
        match take.flag() {
            Ok(true) => Ok((take.rest().to_vec(), last)),
            Ok(false) => Err(CheckpointError(String::from_utf8_lossy(take.rest()).into_owned().into())),
            Err(malformed) => Err(CheckpointError(malformed.to_string().into())),
        }
    }
}

impl Progress for Proxy {
    fn event(&self, event: Event<'_>) {
        let mut put = Put::of(news::EVENT);
        match event {
            Event::Phase(name) => put.byte(0).bytes(name.as_bytes()),
            Event::Total { entries, bytes } => put.byte(1).number(entries).number(bytes),
            Event::Advance { entries, bytes } => put.byte(2).number(entries).number(bytes),
            Event::Workers { running, operations, held } => {
                put.byte(3).number(running as u64).number(operations);
                forms::put_held(&mut put, held);
                &mut put
            }
            Event::Failed { path, error } => put.byte(4).bytes(path).bytes(error.as_bytes()),
            // The near side has set it, and tells it itself.
            Event::Limit(_) => return,
            Event::Notice { path, text } => put.byte(5).bytes(path).bytes(text.as_bytes()),
        };
        // What cannot be told is counted in the report, and a near side that is gone cancels.
        self.send(&put.0).ok();
    }
}

impl Checkpoint for Proxy {
    fn put(&self, records: &[Record<'_>]) -> Result<(), CheckpointError> {
        let answers = self.ask(news::PUT, |put| {
            put.number(records.len() as u64);
            for Record { kind, key, value } in records {
                put.byte(*kind).bytes(key);
                forms::put_optional(put, *value, |put, value| {
                    put.bytes(value);
                });
            }
        })?;
        self.answer(&answers).map(|_| ())
    }

    fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, CheckpointError> {
        let answers = self.ask(news::GET, |put| {
            put.byte(kind).bytes(key);
        })?;
        let (body, _) = self.answer(&answers)?;
        let value = forms::optional(&mut Take(&body), |take| Ok(take.bytes()?.to_vec()));
        value.map_err(|broken| CheckpointError(broken.to_string().into()))
    }

    fn visit(&self, kind: u8, prefix: &[u8], reverse: bool, visit: &mut Visit<'_>) -> Result<(), CheckpointError> {
        let answers = self.ask(news::VISIT, |put| {
            put.byte(kind).bytes(prefix).flag(reverse);
        })?;
        loop {
            let (body, last) = self.answer(&answers)?;
            let mut take = Take(&body);
            while !take.0.is_empty() {
                let record = take.bytes().and_then(|key| Ok((key, take.bytes()?)));
                let (key, value) = record.map_err(|malformed| CheckpointError(malformed.to_string().into()))?;
                if !visit(key, value) {
                    return Ok(());
                }
            }
            if last {
                return Ok(());
            }
        }
    }

    fn sync(&self) -> Result<(), CheckpointError> {
        let answers = self.ask(news::SYNC, |_| ())?;
        self.answer(&answers).map(|_| ())
    }

    fn keeps(&self) -> bool {
        self.keeps
    }
}
