//! Who writes: whoever has something to say takes the stream, writes, and gives it back. What must never wait (grants,
//! refusals, beats) is only noted down, and written by whoever has the stream or by the one who noted it.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, PoisonError};

use super::super::frame::{Frame, FrameWriter, Kind, Totals};
use super::{LOOK, Link, held};
use crate::wire::{Broken, Put};

pub(super) struct Writer {
    state: Mutex<State>,
    free: Condvar,
    seed: AtomicU64,
}

struct State {
    /// Not there while somebody writes, and never again once writing failed.
    output: Option<FrameWriter>,
    noted: VecDeque<(Kind, u32, Vec<u8>)>,
    failed: bool,
}

impl Writer {
    pub(super) fn new(to: Box<dyn Write + Send>) -> Self {
        let state = State { output: Some(FrameWriter::new(to)), noted: VecDeque::new(), failed: false };
        Self { state: Mutex::new(state), free: Condvar::new(), seed: AtomicU64::new(0) }
    }

    pub(super) fn seed(&self) -> u64 {
        self.seed.load(Ordering::Relaxed)
    }

    /// Writes what is no frame, and gives the frames that follow a seed. A failure is left to be noticed by reading: there
    /// may be words about it.
    pub(super) fn plain(&self, link: &Link, text: &[u8], seed: u64) -> Result<(), Broken> {
        self.seed.store(seed, Ordering::Relaxed);
        let mut output = self.take(link)?;
        output.seed(seed);
        if output.plain(text).is_ok() {
            return self.give_back(link, output, Ok(()));
        }
        held(&self.state).failed = true;
        Ok(())
    }

    /// Writes frames, in order, with nothing between them.
    pub(super) fn write(&self, link: &Link, frames: &[Frame<'_>]) -> Result<(), Broken> {
        let mut output = self.take(link)?;
        let done = output.write(frames);
        self.give_back(link, output, done)
    }

    /// Notes a small frame, and writes it if nobody else is about to.
    pub(super) fn post(&self, link: &Link, kind: Kind, channel: u32, body: Vec<u8>) {
        self.note(kind, channel, body);
        self.pump(link);
    }

    /// Notes a small frame.
    pub(super) fn note(&self, kind: Kind, channel: u32, body: Vec<u8>) {
        held(&self.state).noted.push_back((kind, channel, body));
    }

    /// Writes what is noted, if nobody else is about to.
    pub(super) fn pump(&self, link: &Link) {
        let output = held(&self.state).output.take();
        if let Some(output) = output {
            // A link that is broken has told everybody.
            self.give_back(link, output, Ok(())).ok();
        }
    }

    /// Writes the last frame, with the totals of all before it.
    pub(super) fn close(&self, link: &Link) -> Result<(), Broken> {
        let mut output = self.take(link)?;
        let noted: Vec<_> = held(&self.state).noted.drain(..).collect();
        let mut done = write_noted(link, &mut output, noted);
        if done.is_ok() {
            let Totals { frames, bytes } = output.totals;
            let mut body = Put::default();
            body.number(frames).number(bytes);
            done = output.write(&[link.frame(Kind::Bye, 0, &[&body.0])]);
        }
        self.give_back(link, output, done)
    }

    pub(super) fn wake(&self) {
        self.free.notify_all();
    }

    fn take(&self, link: &Link) -> Result<FrameWriter, Broken> {
        let mut state = held(&self.state);
        loop {
            link.check()?;
            if state.failed {
                return Err(Broken::Cut);
            }
            if let Some(output) = state.output.take() {
                return Ok(output);
            }
            state = self.free.wait_timeout(state, LOOK).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn give_back(&self, link: &Link, mut output: FrameWriter, mut done: std::io::Result<()>) -> Result<(), Broken> {
        while done.is_ok() {
            let mut state = held(&self.state);
            if state.noted.is_empty() {
                link.spoke();
                state.output = Some(output);
                self.free.notify_one();
                return Ok(());
            }
            let noted: Vec<_> = state.noted.drain(..).collect();
            drop(state);
            done = write_noted(link, &mut output, noted);
        }
        held(&self.state).failed = true;
        drop(output);
        let Err(error) = done else { return Ok(()) };
        let gone = matches!(error.kind(), std::io::ErrorKind::BrokenPipe | std::io::ErrorKind::ConnectionReset);
        if gone {
            // Whoever went away may have said why: the thread that reads comes to it, or to the end.
            link.last_words();
        }
        link.fail(if gone { Broken::Cut } else { error.into() });
        link.check()
    }
}

fn write_noted(link: &Link, output: &mut FrameWriter, noted: Vec<(Kind, u32, Vec<u8>)>) -> std::io::Result<()> {
    let bodies: Vec<[&[u8]; 1]> = noted.iter().map(|(_, _, body)| [body.as_slice()]).collect();
    let frames: Vec<Frame<'_>> =
        noted.iter().zip(&bodies).map(|((kind, channel, _), body)| link.frame(*kind, *channel, body)).collect();
    output.write(&frames)
}
