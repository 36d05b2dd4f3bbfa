//! Conversations for tests, and an agent without a process of its own.
#![allow(clippy::unwrap_used)]

use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::{Arc, Mutex};

use super::own::Own;
use super::{Context, Serve};
use crate::wire::{Broken, Line, Put};

pub(super) const ROOMS: &[(&str, Serve)] =
    &[("echo", echo), ("fail", fail), ("count", count), ("together", together), ("stall", stall)];

pub(in super::super) fn serve(far: UnixStream) -> Result<(), Broken> {
    serve_counting(far, &Arc::default())
}

/// Also tells what the conversation `count` came to, if it came to its end.
pub(in super::super) fn serve_counting(far: UnixStream, counted: &Arc<Mutex<Option<u64>>>) -> Result<(), Broken> {
    let own = Own::new(Path::new("/no/such/agent"), None).unwrap();
    let context = Context::new(own);
    let ended = context.stream(Box::new(far.try_clone().unwrap()), Box::new(far.try_clone().unwrap()), None);
    context.end();
    far.shutdown(std::net::Shutdown::Both).ok();
    *counted.lock().unwrap() = *context.counted.lock().unwrap();
    ended
}

/// How a conversation of that name is opened.
pub(in super::super) fn opening(name: &str) -> Vec<u8> {
    let mut put = Put::default();
    put.bytes(name.as_bytes()).bytes(b"").number(0).number(0).number(1);
    put.0
}

fn echo(_: &Context, _: &[u8], mut lines: Vec<Line>) -> Result<(), Broken> {
    let mut message = Vec::new();
    while lines[0].inbox.receive(&mut message)? {
        lines[0].outbox.send(&[&message])?;
        lines[0].outbox.flush()?;
    }
    lines[0].outbox.finish()
}

fn fail(_: &Context, args: &[u8], _: Vec<Line>) -> Result<(), Broken> {
    assert!(args != b"panic", "at its wits' end");
    Err(Broken::Refused("out of ideas".into()))
}

fn count(context: &Context, _: &[u8], mut lines: Vec<Line>) -> Result<(), Broken> {
    let mut messages = 0u64;
    let mut message = Vec::new();
    while lines[0].inbox.receive(&mut message)? {
        messages += 1;
    }
    *context.counted.lock().unwrap() = Some(messages);
    lines[0].outbox.send(&[&messages.to_le_bytes()])?;
    lines[0].outbox.finish()
}

fn together(_: &Context, _: &[u8], lines: Vec<Line>) -> Result<(), Broken> {
    let count = lines.len() as u8;
    for (at, mut line) in (0..).zip(lines) {
        line.outbox.send(&[&[at], &[count]])?;
        line.outbox.finish()?;
    }
    Ok(())
}

fn stall(context: &Context, _: &[u8], _lines: Vec<Line>) -> Result<(), Broken> {
    Ok(context.cancel.sleep(std::time::Duration::from_secs(60))?)
}
