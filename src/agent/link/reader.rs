//! The thread that reads: it takes frames apart, checks that each may come, and puts it where it belongs.

use std::io::{BufReader, Read};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::super::frame::{FrameReader, Head, Kind, Totals};
use super::greet::{self, Role};
use super::{CHANNELS, Channel, Link, held};
use crate::wire::{Broken, Take};

/// Notes when something was heard.
struct Hearing<'l> {
    from: Box<dyn Read + Send>,
    link: &'l Link,
}

impl Read for Hearing<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let count = self.from.read(into)?;
        self.link.heard.store(self.link.millis(), Ordering::Relaxed);
        Ok(count)
    }
}

pub(super) fn run(link: &Arc<Link>, from: Box<dyn Read + Send>, role: Role) {
    let far = matches!(role, Role::Far(_));
    let from = BufReader::with_capacity(128 << 10, Hearing { from, link });
    let done = greet::greet(link, from, role).and_then(|mut frames| read(link, &mut frames, far));
    match done {
        Ok(()) => {
            // What is not over by now never will be.
            let left: Vec<_> = held(&link.channels).open.drain().map(|(_, channel)| channel).collect();
            left.iter().for_each(|channel| {
                channel.unwanted(None);
                channel.gone();
            });
            if far {
                // Whoever closes the link waits for this. If it cannot be said, it is gone.
                link.close().ok();
            }
            {
                let _held = held(&link.lock);
                link.closed.set(()).ok();
            }
            link.wake();
        }
        Err(broken) => {
            if let (true, true, Broken::Corrupt(text)) = (far, link.greeting.get().is_some(), &broken) {
                // It should hear what was wrong, if it still listens; if it does not, that is not waited for.
                let (telling, text) = (Arc::clone(link), text.clone().into_bytes());
                let (told, heard) = std::sync::mpsc::channel();
                std::thread::spawn(move || {
                    telling.writer.post(&telling, Kind::Refuse, 0, text);
                    told.send(()).ok();
                });
                heard.recv_timeout(std::time::Duration::from_millis(300)).ok();
            }
            link.fail(broken);
            held(&link.channels).open.clear();
        }
    }
}

fn read<R: Read>(link: &Arc<Link>, frames: &mut FrameReader<R>, far: bool) -> Result<(), Broken> {
    loop {
        let before = frames.totals;
        let head = frames.head()?;
        match head.kind {
            Kind::One | Kind::Many => {
                let channel = link.channel(head.channel).ok_or_else(|| unknown(&head))?;
                channel.expects(&head)?;
                let mut body = link.buffer();
                frames.body(&head, &mut body)?;
                channel.data(head.kind, body);
                continue;
            }
            _ => {}
        }
        let mut body = Vec::new();
        frames.body(&head, &mut body)?;
        if head.kind == Kind::Bye {
            return bye(&body, before);
        }
        small(link, &head, &body, far)?;
    }
}

/// A frame that is not of messages.
fn small(link: &Arc<Link>, head: &Head, body: &[u8], far: bool) -> Result<(), Broken> {
    let text = || String::from_utf8_lossy(body).into_owned();
    match (head.kind, head.channel) {
        (Kind::Beat, 0) => return Ok(()),
        (Kind::Refuse, 0) => return Err(Broken::Refused(text())),
        (Kind::Open, number) if far => return open(link, number, body),
        (Kind::Open | Kind::Beat, _) | (_, 0) => return Err(unknown(head)),
        _ => {}
    }
    let Some(channel) = link.channel(head.channel) else {
        let over = head.channel <= held(&link.channels).last;
        // What was under way when it ended comes too late, and means nothing any more.
        return if over && head.kind != Kind::End { Ok(()) } else { Err(unknown(head)) };
    };
    match head.kind {
        Kind::Grant => {
            let mut take = Take(body);
            let bytes = take.number()?;
            take.end()?;
            channel.granted(bytes)?;
        }
        Kind::End => channel.whole(body)?,
        Kind::Gone => channel.gone(),
        Kind::Deaf => channel.unwanted(None),
        _ => channel.refused(text()),
    }
    Ok(())
}

fn open(link: &Arc<Link>, number: u32, body: &[u8]) -> Result<(), Broken> {
    let channel = {
        let mut channels = held(&link.channels);
        if number <= channels.last {
            return Err(Broken::Corrupt(format!("conversation {number} was opened twice")));
        }
        if channels.open.len() >= CHANNELS {
            return Err(Broken::Corrupt(format!("more than {CHANNELS} conversations at once")));
        }
        channels.last = number;
        let channel = Channel::new(Arc::clone(link), number, true);
        channels.open.insert(number, Arc::clone(&channel));
        channel
    };
    if let Some(accept) = &link.accept {
        accept(channel, body);
    }
    Ok(())
}

fn bye(body: &[u8], came: Totals) -> Result<(), Broken> {
    let mut take = Take(body);
    let sent = Totals { frames: take.number()?, bytes: take.number()? };
    take.end()?;
    if sent == came { Ok(()) } else { Err(Broken::Corrupt(format!("{came:?} came, {sent:?} were sent"))) }
}

fn unknown(head: &Head) -> Broken {
    Broken::Corrupt(format!("a frame of kind {:?} for conversation {}", head.kind, head.channel))
}
