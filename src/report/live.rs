//! Progress while work goes on: one thread paints the tally, the engines never wait for it.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use indicatif::ProgressBar;
use serde_json::Value;

use super::bar::Bar;
use super::events::Events;
use super::output::{Output, tell};
use super::plain::Plain;
use super::tally::{News, Snapshot, Tally};
use crate::copy::report::NAMED;
use crate::progress::Progress;
use crate::redact;

/// How progress is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A bar on the terminal.
    Bar,
    /// A line now and then, for logs.
    Plain,
    /// JSON lines on standard output.
    Events,
    /// Nothing but what a script says.
    None,
}

/// Shows a tally. Called from the painting thread only.
pub(super) trait Painter: Send {
    /// A tenth of a second has gone by.
    fn tick(&mut self, seen: &Snapshot);
    /// Something to be shown once.
    fn news(&mut self, news: News, seen: &Snapshot);
    /// The work is over.
    fn end(&mut self, seen: &Snapshot);
}

/// Failures shown while the work goes on; the report names many more.
const NAMED_LIVE: u64 = 20;

const TICK: Duration = Duration::from_millis(100);

/// Progress being shown.
pub struct Live {
    tally: Arc<Tally>,
    news: Sender<News>,
    bar: Option<ProgressBar>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Live {
    /// Begins to show progress. A [`Mode::Bar`] needs a terminal on standard error.
    #[must_use]
    pub fn start(mode: Mode, output: Arc<Output>) -> Self {
        let (news, receiver) = channel();
        let named = if mode == Mode::Events { NAMED as u64 } else { NAMED_LIVE };
        let tally = Arc::new(Tally::new(named, news.clone()));
        let mut bar = None;
        let painter: Box<dyn Painter> = match mode {
            Mode::Bar => {
                let painter = Bar::new();
                bar = Some(painter.handle());
                Box::new(painter)
            }
            Mode::Plain => Box::new(Plain::new(tell)),
            Mode::Events => Box::new(Events::new(output)),
            Mode::None => Box::new(Quiet),
        };
        let seen = Arc::clone(&tally);
        let thread = std::thread::spawn(move || paint(painter, &receiver, &seen));
        Self { tally, news, bar, thread: Mutex::new(Some(thread)) }
    }

    /// Where engines send their events.
    #[must_use]
    pub fn progress(&self) -> Arc<dyn Progress> {
        Arc::clone(&self.tally) as Arc<dyn Progress>
    }

    /// Shows a line for people, in order with everything else.
    pub fn line(&self, text: &str) {
        self.send(News::Line(redact::text(text).into_owned()));
    }

    /// The phase is over and nothing is counted until the next one begins.
    pub fn rest(&self) {
        self.tally.rest();
    }

    /// Sends one JSON event; shown only as JSON lines.
    pub fn emit(&self, event: Value) {
        self.send(News::Event(event));
    }

    /// Takes the bar away while `f` talks to the person.
    pub fn suspend<R>(&self, f: impl FnOnce() -> R) -> R {
        match &self.bar {
            Some(bar) => bar.suspend(f),
            None => f(),
        }
    }

    /// Shows everything sent so far, stops, and returns the last numbers.
    pub fn finish(&self) -> Snapshot {
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread {
            self.send(News::Stop);
            // A painter that panicked has lost a picture, not the work.
            thread.join().ok();
        }
        self.tally.snapshot()
    }

    fn send(&self, news: News) {
        // Fails only after `finish`: there is nobody left to show it.
        self.news.send(news).ok();
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.finish();
    }
}

fn paint(mut painter: Box<dyn Painter>, news: &Receiver<News>, tally: &Tally) {
    loop {
        match news.recv_timeout(TICK) {
            Ok(News::Stop) | Err(RecvTimeoutError::Disconnected) => break,
            Ok(item) => painter.news(item, &tally.snapshot()),
            Err(RecvTimeoutError::Timeout) => painter.tick(&tally.snapshot()),
        }
    }
    painter.end(&tally.snapshot());
}

/// Shows only lines that a script or the host says.
struct Quiet;

impl Painter for Quiet {
    fn tick(&mut self, _: &Snapshot) {}

    fn news(&mut self, news: News, _: &Snapshot) {
        if let News::Line(line) = news {
            tell(&line);
        }
    }

    fn end(&mut self, _: &Snapshot) {}
}
