//! An end as whoever leads the work sees it: requests go in, answers come out in any order, wherever it is.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use super::end::{End, Role, Worker};
use super::error::Error;
use super::facts::Facts;
use super::geometry::Geometry;
use super::message::{Reply, Request};
use super::serve::workers;
use crate::units::path_text;
use crate::wire::{Broken, Inbox, Line, Outbox};

/// One end of a piece of work: a device or image here, or behind lines to a process that serves it.
pub struct Endpoint {
    /// The device or image, as its own machine knows it.
    pub path: PathBuf,
    /// Lines to where [`super::serve_source`] or [`super::serve_target`] runs; none: it is here.
    pub lines: Vec<Line>,
    /// What it is called in reports and errors; none: its path.
    pub name: Option<String>,
}

impl Endpoint {
    /// A device or image of this machine.
    #[must_use]
    pub fn local(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), lines: Vec::new(), name: None }
    }

    /// A device or image behind lines.
    #[must_use]
    pub fn remote(path: impl Into<PathBuf>, lines: Vec<Line>) -> Self {
        Self { path: path.into(), lines, name: None }
    }

    /// The same under another name in reports and errors: the same path may be on two machines.
    #[must_use]
    pub fn called(self, name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..self }
    }

    /// Its path as bytes.
    pub(super) fn bytes(&self) -> &[u8] {
        std::os::unix::ffi::OsStrExt::as_bytes(self.path.as_os_str())
    }
}

/// Which of the two ends.
pub(super) type Side = usize;

/// What an end answered, and over which of its lanes.
pub(super) struct Event {
    pub(super) side: Side,
    pub(super) lane: usize,
    pub(super) reply: Result<Reply, Error>,
}

struct Lane {
    requests: Option<Sender<Request>>,
    /// Requests without an answer.
    open: usize,
    /// One of them writes. There is no second one before its answer: of what a lane carries, no more than that is lost
    /// with it.
    writing: bool,
}

pub(super) struct Port {
    lanes: Vec<Lane>,
    /// Writes that wait for a lane.
    writes: VecDeque<Request>,
    threads: Vec<JoinHandle<()>>,
    /// Nothing more is to be done.
    stop: Arc<AtomicBool>,
    cut: Arc<OnceLock<Geometry>>,
    /// The end itself, where it is here.
    end: Option<Arc<End>>,
}

impl Port {
    /// Connects to an end. `feeds`: the end here whose data goes out over these lines.
    pub(super) fn new(
        side: Side,
        role: Role,
        endpoint: Endpoint,
        feeds: Option<&Arc<End>>,
        outgoing: usize,
        events: &Sender<Event>,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let cut = Arc::new(OnceLock::new());
        let path = endpoint.name.clone().unwrap_or_else(|| path_text(endpoint.bytes()));
        let (mut lanes, mut threads) = (Vec::new(), Vec::new());
        let mut end = None;
        if endpoint.lines.is_empty() {
            let own = Arc::new(End::new(role, outgoing));
            let (requests, waiting) = channel();
            let waiting = Arc::new(Mutex::new(waiting));
            for _ in 0..workers() {
                let (own, waiting, stop) = (own.clone(), waiting.clone(), stop.clone());
                let tell = Tell { side, lane: 0, path: path.clone(), events: events.clone() };
                threads.push(std::thread::spawn(move || work(&own, &waiting, &stop, &tell)));
            }
            lanes.push(Lane { requests: Some(requests), open: 0, writing: false });
            end = Some(own);
        }
        for (lane, line) in endpoint.lines.into_iter().enumerate() {
            let (requests, waiting) = channel();
            let tell = Tell { side, lane, path: path.clone(), events: events.clone() };
            let (feeds, quiet, told) = (feeds.cloned(), stop.clone(), tell.clone());
            threads.push(std::thread::spawn(move || write(line.outbox, &waiting, feeds.as_deref(), &quiet, &told)));
            let cut = cut.clone();
            threads.push(std::thread::spawn(move || read(line.inbox, &cut, &tell)));
            lanes.push(Lane { requests: Some(requests), open: 0, writing: false });
        }
        Self { lanes, writes: VecDeque::new(), threads, stop, cut, end }
    }

    pub(super) fn end(&self) -> Option<&Arc<End>> {
        self.end.as_ref()
    }

    /// Lanes of it, over which requests go side by side.
    pub(super) fn is_local(&self) -> bool {
        self.end.is_some()
    }

    /// Agrees on the cut, by which answers are read.
    pub(super) fn agree(&self, cut: Geometry) {
        self.cut.set(cut).ok();
    }

    /// Asks, over the lane that has least to do. Over lines, a write waits until one of them carries none.
    pub(super) fn ask(&mut self, request: Request) {
        let writes = matches!(request, Request::Write { .. }) && !self.is_local();
        let lanes = self.lanes.iter_mut().filter(|lane| !(writes && lane.writing));
        let Some(lane) = lanes.min_by_key(|lane| lane.open) else {
            self.writes.push_back(request);
            return;
        };
        lane.open += 1;
        lane.writing |= writes;
        // Whoever does not listen any more has said why.
        if let Some(requests) = &lane.requests {
            requests.send(request).ok();
        }
    }

    /// An answer came over a lane; `written`: to a write.
    pub(super) fn answered(&mut self, lane: usize, written: bool) {
        if let Some(lane) = self.lanes.get_mut(lane) {
            lane.open = lane.open.saturating_sub(1);
            lane.writing &= !written;
        }
        if written && let Some(next) = self.writes.pop_front() {
            self.ask(next);
        }
    }

    /// Ends it: over lines, the other side is told that this is the end, and says so as well.
    pub(super) fn close(mut self) {
        self.lanes.iter_mut().for_each(|lane| lane.requests = None);
        for thread in std::mem::take(&mut self.threads) {
            thread.join().ok();
        }
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.lanes.iter_mut().for_each(|lane| lane.requests = None);
        // A write that was begun here is over before anybody hears that the work has failed. Threads at a line may be
        // stuck in it, and end with it.
        if self.is_local() {
            for thread in std::mem::take(&mut self.threads) {
                thread.join().ok();
            }
        }
    }
}

#[derive(Clone)]
struct Tell {
    side: Side,
    lane: usize,
    path: String,
    events: Sender<Event>,
}

impl Tell {
    fn tell(&self, reply: Result<Reply, Error>) -> bool {
        self.events.send(Event { side: self.side, lane: self.lane, reply }).is_ok()
    }

    fn broken(&self, broken: Broken) {
        self.tell(Err(Error::Broken { path: self.path.clone(), broken }));
    }
}

/// A thread that panics says so: nobody may wait for it.
impl Drop for Tell {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.broken(Broken::Refused("a thread panicked: a defect of decamp".to_owned()));
        }
    }
}

fn work(end: &End, waiting: &Mutex<Receiver<Request>>, stop: &AtomicBool, tell: &Tell) {
    let mut worker = Worker::default();
    loop {
        let request = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(request) = request else { return };
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let reply = match end.handle(&mut worker, request) {
            Reply::Failed(error) => Err(error),
            reply => Ok(reply),
        };
        if !tell.tell(reply) {
            return;
        }
    }
}

fn write(
    mut outbox: Box<dyn Outbox>,
    waiting: &Receiver<Request>,
    feeds: Option<&End>,
    stop: &AtomicBool,
    tell: &Tell,
) {
    let mut next = waiting.recv().ok();
    while let Some(request) = next {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let began = Instant::now();
        let mut sent = request.send(&mut *outbox);
        next = waiting.try_recv().ok();
        if sent.is_ok() && next.is_none() {
            sent = outbox.flush();
        }
        if let Err(broken) = sent {
            return tell.broken(broken);
        }
        if let (Some(end), Request::Write { index, body }) = (feeds, &request) {
            end.sent(*index, body, began.elapsed());
        }
        drop(request);
        if next.is_none() {
            next = waiting.recv().ok();
        }
    }
    if !stop.load(Ordering::Relaxed)
        && let Err(broken) = outbox.finish()
    {
        tell.broken(broken);
    }
}

fn read(mut inbox: Box<dyn Inbox>, cut: &OnceLock<Geometry>, tell: &Tell) {
    loop {
        let mut message = Vec::new();
        let reply = match inbox.receive(&mut message) {
            Ok(true) => Reply::read(message, cut.get().copied()).map_err(Error::malformed(&tell.path)),
            // Whoever still waits for an answer hears that none will come; at the end nobody does.
            Ok(false) => return tell.broken(Broken::Cut),
            Err(broken) => return tell.broken(broken),
        };
        let over = reply.is_err();
        let reply = match reply {
            Ok(Reply::Failed(error)) => Err(error.about(&tell.path)),
            Ok(Reply::Opened(facts)) => Ok(Reply::Opened(Facts { path: tell.path.clone(), ..facts })),
            reply => reply,
        };
        if !tell.tell(reply) || over {
            return;
        }
    }
}
