//! Files of any size, in pieces, as far as the other end has room; with holes left out, and with what the other end
//! has already.

use std::ffi::CStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;

use super::folder::Opened;
use super::{Hand, Road, Sending, lock};
use crate::copy::data;
use crate::copy::extents::Extents;
use crate::copy::far::words::{self, GRAIN, MARK, WINDOW, tell};
use crate::copy::sys::xattr;
use crate::copy::sys::{self, Kind, Meta, Target};
use crate::wire::{Broken, Put};

/// A piece of content in one message.
const PIECE: u64 = 256 << 10;

/// A file that is being sent.
pub(super) struct Stream {
    id: u64,
    file: OwnedFd,
    before: Meta,
    state: Mutex<State>,
    ears: Arc<Ears>,
}

/// Where it is heard what the other end says of a stream; there before the stream itself is.
#[derive(Default)]
pub(super) struct Ears {
    heard: Mutex<Heard>,
}

/// How far it has got; of whoever works on it.
struct State {
    at: u64,
    end: u64,
    sent: u64,
    /// So many bytes may still be sent before the other end has taken some.
    room: u64,
    grains: Option<Grains>,
    /// Of everything up to `at`, holes included, where parts are not sent.
    sum: Option<blake3::Hasher>,
}

/// What the other end has said meanwhile. Never locked while something is sent: whoever takes requests must not wait.
#[derive(Default)]
struct Heard {
    taken: u64,
    marks: Vec<u8>,
    /// No more marks come.
    told: bool,
    /// There is something in here that was not looked at.
    news: bool,
    /// Nobody works on it, nor will before there is something to hear.
    asleep: bool,
}

/// What the other end has of the file, as far as it has told.
struct Grains {
    marks: Vec<u8>,
    /// The place of the first of them in the file.
    at: u64,
    /// No more come.
    told: bool,
}

/// What a turn came to.
enum Step {
    Sent,
    Wait,
    Over,
}

impl Stream {
    pub(super) fn open(
        folder: &Opened,
        name: &CStr,
        (id, start, size): (u64, u64, u64),
        delta: bool,
        ears: &Arc<Ears>,
    ) -> Result<Arc<Self>, Errno> {
        let file = sys::open_read(&folder.fd, name)?;
        let before = sys::stat_fd(&file)?;
        if before.kind != Kind::File {
            return Err(Errno::LOOP);
        }
        let end = size.min(before.size);
        let sum = delta.then(blake3::Hasher::new);
        let grains = delta.then(|| Grains { marks: Vec::new(), at: 0, told: false });
        let state = State { at: start.min(end), end, sent: 0, room: WINDOW, grains, sum };
        Ok(Arc::new(Self { id, file, before, state: Mutex::new(state), ears: ears.clone() }))
    }

    /// Takes over what was heard.
    fn hear(&self, state: &mut State) {
        let mut heard = lock(&self.ears.heard);
        heard.news = false;
        state.room = state.room.saturating_add(std::mem::take(&mut heard.taken)).min(WINDOW);
        let marks = std::mem::take(&mut heard.marks);
        if let Some(grains) = &mut state.grains {
            grains.marks.extend(marks);
            grains.told |= heard.told;
        }
    }

    /// Whether it can be put away until something is heard.
    fn rests(&self) -> bool {
        let mut heard = lock(&self.ears.heard);
        heard.asleep = !heard.news;
        heard.asleep
    }
}

impl Ears {
    /// The other end has taken so many bytes. Returns whether somebody must go on with the stream.
    pub(super) fn taken(&self, bytes: u64) -> bool {
        let mut heard = lock(&self.heard);
        heard.taken = heard.taken.saturating_add(bytes);
        heard.news = true;
        std::mem::take(&mut heard.asleep)
    }

    /// The other end has told what it has. Returns whether somebody must go on with the stream.
    pub(super) fn marks(&self, marks: &[u8], last: bool) -> bool {
        let mut heard = lock(&self.heard);
        heard.marks.extend_from_slice(&marks[..marks.len() / MARK * MARK]);
        heard.told |= last;
        heard.news = true;
        std::mem::take(&mut heard.asleep)
    }
}

impl State {
    fn add(&mut self, content: &[u8]) {
        if let Some(sum) = &mut self.sum {
            sum.update(content);
        }
    }

    /// There is nothing up to `to`.
    fn hole(&mut self, to: u64) {
        if let Some(sum) = &mut self.sum {
            super::super::zeros(sum, to.saturating_sub(self.at));
        }
        self.at = self.at.max(to);
    }
}

impl Sending {
    /// Goes on with a stream as far as there is room.
    pub(super) fn turn(&self, road: &Road, hand: &mut Hand, stream: &Arc<Stream>) -> Result<(), Broken> {
        // Others have a turn as well.
        let mut state = lock(&stream.state);
        for _ in 0..8 {
            stream.hear(&mut state);
            let step = match stream.step(road, hand, &mut state) {
                Ok(step) => step?,
                Err(errno) => {
                    lock(&road.streams).remove(&stream.id);
                    return road.failed(stream.id, errno);
                }
            };
            match step {
                Step::Wait if stream.rests() => return Ok(()),
                Step::Sent | Step::Wait => {}
                Step::Over => {
                    lock(&road.streams).remove(&stream.id);
                    return Ok(());
                }
            }
        }
        drop(state);
        if road.ears(stream.id).is_some() {
            road.again(stream);
        }
        Ok(())
    }
}

impl Stream {
    /// Sends one piece. The outer error is of the file, the inner one of the line.
    fn step(&self, road: &Road, hand: &mut Hand, state: &mut State) -> Result<Result<Step, Broken>, Errno> {
        if state.at >= state.end {
            return self.finish(road, hand, state).map(|sent| sent.map(|()| Step::Over));
        }
        if state.room == 0 {
            return Ok(Ok(Step::Wait));
        }
        if let Some(grains) = &mut state.grains {
            let known = grains.marks.len() / MARK;
            let from = ((state.at - grains.at) / GRAIN) as usize;
            if from < known {
                return self.grain(road, hand, state);
            }
            if !grains.told {
                grains.at = state.at;
                grains.marks.clear();
                return Ok(Ok(Step::Wait));
            }
            // Behind what the other end has, all is new.
            state.grains = None;
        }
        let mut extents = Extents::new(self.file.as_fd(), &self.before, state.at);
        let Some((first, last)) = extents.next()? else {
            state.hole(state.end);
            return Ok(Ok(Step::Sent));
        };
        let maybe_zeros = extents.maybe_zeros;
        let first = first.min(state.end);
        state.hole(first);
        if first == state.end {
            return Ok(Ok(Step::Sent));
        }
        let wanted = (last.min(state.end) - first).min(PIECE).min(state.room) as usize;
        hand.content.resize(wanted, 0);
        let count = data::fill(&self.file, &mut hand.content, first)?;
        if count == 0 {
            // It was cut short: the other end sees that by what it is afterwards.
            state.end = first;
            state.at = first;
            return Ok(Ok(Step::Sent));
        }
        state.at = first + count as u64;
        let content = &hand.content[..count];
        state.add(content);
        if maybe_zeros && content.iter().all(|&byte| byte == 0) {
            return Ok(Ok(Step::Sent));
        }
        state.room -= count as u64;
        state.sent += count as u64;
        Ok(self.data(road, first, content).map(|()| Step::Sent))
    }

    /// Compares one grain with what the other end has.
    fn grain(&self, road: &Road, hand: &mut Hand, state: &mut State) -> Result<Result<Step, Broken>, Errno> {
        let Some(grains) = &state.grains else { return Ok(Ok(Step::Wait)) };
        let (first, base) = (state.at, grains.at);
        let known = (grains.marks.len() / MARK) as u64;
        // As many equal ones as follow each other go in one message.
        let mut at = first;
        while at < state.end && (at - base) / GRAIN < known && at - first < 16 << 20 {
            let wanted = (state.end - at).min(GRAIN) as usize;
            hand.content.resize(wanted, 0);
            let count = data::fill(&self.file, &mut hand.content, at)?;
            if count < wanted {
                state.end = at + count as u64;
            }
            let place = ((at - base) / GRAIN) as usize * MARK;
            let same = words::mark(&hand.content[..count]) == grains.marks[place..place + MARK];
            if same && count > 0 {
                if let Some(sum) = &mut state.sum {
                    sum.update(&hand.content[..count]);
                }
                at += count as u64;
                continue;
            }
            break;
        }
        if at > first {
            state.at = at;
            let mut put = Put::of(tell::SAME);
            put.number(self.id).number(first).number(at - first);
            return Ok(road.send(&[&put.0]).map(|()| Step::Sent));
        }
        let count = hand.content.len().min((state.end - first) as usize);
        state.at = first + count as u64;
        let content = &hand.content[..count];
        state.add(content);
        if content.iter().all(|&byte| byte == 0) {
            return Ok(Ok(Step::Sent));
        }
        state.room = state.room.saturating_sub(count as u64);
        state.sent += count as u64;
        Ok(self.data(road, first, content).map(|()| Step::Sent))
    }

    fn data(&self, road: &Road, at: u64, content: &[u8]) -> Result<(), Broken> {
        let mut put = Put::of(tell::DATA);
        put.number(self.id).number(at);
        road.send(&[&put.0, content])
    }

    /// Tells how the file was and is, and its digest if parts of it were not sent.
    fn finish(&self, road: &Road, hand: &mut Hand, state: &mut State) -> Result<Result<(), Broken>, Errno> {
        let after = sys::stat_fd(&self.file)?;
        let mut put = Put::of(tell::END);
        put.number(self.id).number(state.sent).number(state.end).flag(state.sum.is_some());
        if let Some(sum) = &state.sum {
            put.raw(sum.finalize().as_bytes());
        }
        words::put_meta(&mut put, &self.before, None);
        words::put_meta(&mut put, &after, Some(&self.before));
        words::put_xattrs(&mut put, &xattr::read(Target::Fd(self.file.as_fd()), &mut hand.scratch));
        Ok(road.send(&[&put.0]))
    }
}
