//! The far side: what conversations can be held, and how they are begun and ended.
//!
//! A new sort of conversation is one row of [`ROOMS`], and a file beside this one if it is no engine's.

pub mod command;
mod door;
mod files;
mod here;
mod own;
#[cfg(test)]
pub(super) mod testing;
mod tree;
mod write;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::link::{Accept, Channel, Far, Link, Options, Role, Tokens};
use crate::cancel::{Cancel, Reason};
use crate::wire::{Broken, Line, Take};
pub use here::here;
use own::Own;

/// Holds one conversation, of one line or several; `args` is what the near side opened it with. Whatever it returns or
/// drops, the near side is told how it ended.
pub type Serve = fn(context: &Context, args: &[u8], lines: Vec<Line>) -> Result<(), Broken>;

/// Every conversation there is.
const ROOMS: &[(&str, Serve)] = &[
    ("door", door::serve),
    ("files", files::serve),
    ("block-source", |_, _, lines| crate::block::serve_source(lines)),
    ("block-target", |_, _, lines| crate::block::serve_target(lines)),
    ("block-devices", |_, _, lines| crate::block::serve_devices(lines)),
    ("tree-source", tree::source),
    ("tree-dest", tree::dest),
];

/// So long the end waits for conversations to notice it: they have files to put away.
const GRACE: Duration = Duration::from_secs(5);

/// What all conversations of an agent share.
pub struct Context {
    /// Cancelled when the near side is gone: whatever is at work stops.
    pub cancel: Cancel,
    own: Mutex<Own>,
    tokens: Tokens,
    made: Mutex<files::Made>,
    groups: Mutex<HashMap<u64, Vec<Option<Arc<Channel>>>>>,
    active: Mutex<usize>,
    idle: Condvar,
    me: std::sync::Weak<Self>,
    #[cfg(test)]
    counted: Mutex<Option<u64>>,
}

fn held<T>(lock: &Mutex<T>) -> MutexGuard<'_, T> {
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Context {
    fn new(own: Own) -> Arc<Self> {
        Arc::new_cyclic(|me| Self {
            me: me.clone(),
            cancel: Cancel::new(),
            own: Mutex::new(own),
            tokens: Tokens::default(),
            made: Mutex::default(),
            groups: Mutex::default(),
            active: Mutex::new(0),
            idle: Condvar::new(),
            #[cfg(test)]
            counted: Mutex::default(),
        })
    }

    /// Serves one pair of streams until it is over; the first has no tokens.
    fn stream(
        self: &Arc<Self>,
        from: Box<dyn Read + Send>,
        to: Box<dyn Write + Send>,
        tokens: Option<Tokens>,
    ) -> Result<(), Broken> {
        let context = Arc::clone(self);
        let accept: Accept = Box::new(move |channel, body| {
            let (context, body) = (Arc::clone(&context), body.to_vec());
            *held(&context.active) += 1;
            // Not here: this thread must go on reading.
            std::thread::spawn(move || {
                context.opened(channel, &body);
                *held(&context.active) -= 1;
                context.idle.notify_all();
            });
        });
        let options = Options { cancel: self.cancel.clone(), ..Options::default() };
        let role = Role::Far(Far { sum: held(&self.own).sum.clone(), tokens });
        Link::start(from, to, role, options, Some(accept)).ended()
    }

    /// Begins what was opened, once all its lines are there.
    fn opened(&self, channel: Arc<Channel>, body: &[u8]) {
        let told = Arc::clone(&channel);
        let begun = Opening::of(body).map_err(|broken| broken.to_string()).and_then(|Opening { name, args, part }| {
            let room = ROOMS.iter().find(|(room, _)| room.as_bytes() == name);
            #[cfg(test)]
            let room = room.or_else(|| testing::ROOMS.iter().find(|(room, _)| room.as_bytes() == name));
            let (_, serve) =
                room.ok_or_else(|| format!("this agent holds no conversation `{}`", String::from_utf8_lossy(name)))?;
            let channels = self.gather(channel, part)?;
            Ok((*serve, args, channels))
        });
        match begun {
            Ok((serve, args, Some(channels))) => self.hold(serve, args, &channels),
            Ok((_, _, None)) => {}
            Err(why) => told.conclude(Some(&why)),
        }
    }

    /// All lines of a conversation, if this was the last that was missing.
    fn gather(&self, channel: Arc<Channel>, [group, at, count]: [u64; 3]) -> Result<Option<Vec<Arc<Channel>>>, String> {
        if count == 1 {
            return Ok(Some(vec![channel]));
        }
        let (at, count) = match (usize::try_from(at), usize::try_from(count)) {
            (Ok(at), Ok(count)) if at < count && count <= 256 => (at, count),
            _ => return Err(format!("line {at} of {count} cannot be")),
        };
        let mut groups = held(&self.groups);
        let lines = groups.entry(group).or_insert_with(|| vec![None; count]);
        if lines.len() != count || lines[at].replace(channel).is_some() {
            return Err("the lines of a conversation do not belong together".into());
        }
        if lines.iter().any(Option::is_none) {
            return Ok(None);
        }
        Ok(groups.remove(&group).map(|lines| lines.into_iter().flatten().collect()))
    }

    fn hold(&self, serve: Serve, args: &[u8], channels: &[Arc<Channel>]) {
        let lines = channels.iter().map(Channel::line).collect();
        let done = catch_unwind(AssertUnwindSafe(|| serve(self, args, lines)));
        let why = match done {
            Ok(Ok(())) => None,
            Ok(Err(broken)) => Some(broken.to_string()),
            Err(panic) => Some(format!("the agent failed, a defect of decamp: {}", words(&*panic))),
        };
        channels.iter().for_each(|channel| channel.conclude(why.as_deref()));
    }

    /// Lets everything that is at work stop, and waits for it for a while.
    fn end(&self) {
        self.cancel.cancel(Reason::Internal);
        let end = Instant::now() + GRACE;
        let mut active = held(&self.active);
        while *active > 0 && Instant::now() < end {
            active =
                self.idle.wait_timeout(active, Duration::from_millis(20)).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(active);
        held(&self.own).clean();
    }
}

/// What a conversation is opened with: its name, what it is told, and which line of how many this is.
struct Opening<'b> {
    name: &'b [u8],
    args: &'b [u8],
    part: [u64; 3],
}

impl<'b> Opening<'b> {
    fn of(body: &'b [u8]) -> Result<Self, Broken> {
        let mut take = Take(body);
        let (name, args) = (take.bytes()?, take.bytes()?);
        let part = [take.number()?, take.number()?, take.number()?];
        take.end()?;
        Ok(Self { name, args, part })
    }
}

/// What a panic said.
fn words(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(ToString::to_string);
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no words".into())
}
