//! Errors of one end, told to the other: every kind keeps its kind, so that it is worded and counted as one from here.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use rustix::io::Errno;

use super::words::corrupt;
use crate::cancel::{Cancelled, Reason};
use crate::copy::Error;
use crate::copy::claim::Marker;
use crate::copy::error::Apart;
use crate::copy::identity::RootId;
use crate::copy::options::Loss;
use crate::copy::report::Shortfall;
use crate::progress::CheckpointError;
use crate::wire::{Broken, Put, Take};

/// The reasons, in the order of their numbers.
const REASONS: [Reason; 5] = [Reason::Interrupt, Reason::Terminate, Reason::HangUp, Reason::Internal, Reason::Deadline];

/// Writes an error.
pub(super) fn put(put: &mut Put, error: &Error) {
    match error {
        Error::Cancelled(Cancelled(reason)) => {
            let number = REASONS.iter().position(|other| other == reason).unwrap_or(3);
            put.byte(0).number(number as u64);
        }
        Error::Checkpoint(CheckpointError(text)) => texts(put.byte(1), &[&text.to_string()]),
        Error::Io { op, path, source } => {
            texts(put.byte(2), &[op, path]);
            put.number(source.raw_os_error() as u64);
        }
        Error::NotFound { path } => texts(put.byte(3), &[path]),
        Error::NotDirectory { path } => texts(put.byte(4), &[path]),
        Error::SameDirectory { src, dst } => texts(put.byte(5), &[src, dst]),
        Error::DestInsideSource { src, dst } => texts(put.byte(6), &[src, dst]),
        Error::SourceInsideDest { src, dst } => texts(put.byte(7), &[src, dst]),
        Error::RootChanged { path, expected, found } => {
            texts(put.byte(8), &[path, &expected.to_string(), &found.to_string()]);
        }
        Error::EmptySource { src, dst } => texts(put.byte(9), &[src, dst]),
        Error::TooManyDeletes { would, limit, dest_entries } => {
            put.byte(10).number(*would).number(*limit).number(*dest_entries);
        }
        Error::Held { by } => {
            put.byte(11).flag(by.is_some());
            if let Some(Marker { run, host, at }) = by {
                texts(put, &[run, host, at]);
            }
        }
        Error::BadMarker { path } => texts(put.byte(12), &[path]),
        Error::ReadOnly { path, reason } => texts(put.byte(13), &[path, reason]),
        Error::NoSpace { path } => texts(put.byte(14), &[path]),
        Error::CannotHold(shortfalls) => {
            put.byte(15).number(shortfalls.len() as u64);
            for Shortfall { loss, entries, reason } in shortfalls {
                texts(put, &[loss.map_or("", Loss::name), reason]);
                put.number(*entries);
            }
        }
        Error::BackupElsewhere { backup } => texts(put.byte(16), &[backup]),
        Error::BadPattern { pattern, reason } => texts(put.byte(17), &[pattern, reason]),
        Error::BadRecord { what } => texts(put.byte(18), &[what]),
        Error::CountMismatch { listed, accounted } => {
            put.byte(19).number(*listed).number(*accounted);
        }
        Error::Apart(apart) => {
            let (kind, text) = match apart {
                Apart::Cut(text) => (0, text),
                Apart::Corrupt(text) => (1, text),
                Apart::Refused(text) => (2, text),
            };
            texts(put.byte(20).byte(kind), &[text]);
        }
    }
}

fn texts(put: &mut Put, texts: &[&str]) {
    for text in texts {
        put.bytes(text.as_bytes());
    }
}

/// Reads an error.
pub(super) fn read(take: &mut Take<'_>) -> Result<Error, Broken> {
    Ok(match take.byte()? {
        0 => {
            let reason = REASONS.get(take.small::<usize>()?).ok_or_else(|| corrupt("a reason that is none"))?;
            Error::Cancelled(Cancelled(*reason))
        }
        1 => Error::Checkpoint(CheckpointError(text(take)?.into())),
        2 => {
            let (op, path) = (word(&text(take)?), text(take)?);
            Error::Io { op, path, source: Errno::from_raw_os_error(i32::from(take.small::<u16>()?.clamp(1, 4095))) }
        }
        3 => Error::NotFound { path: text(take)? },
        4 => Error::NotDirectory { path: text(take)? },
        5 => Error::SameDirectory { src: text(take)?, dst: text(take)? },
        6 => Error::DestInsideSource { src: text(take)?, dst: text(take)? },
        7 => Error::SourceInsideDest { src: text(take)?, dst: text(take)? },
        8 => Error::RootChanged { path: text(take)?, expected: root(take)?, found: root(take)? },
        9 => Error::EmptySource { src: text(take)?, dst: text(take)? },
        10 => Error::TooManyDeletes { would: take.number()?, limit: take.number()?, dest_entries: take.number()? },
        11 => {
            let by =
                if take.flag()? { Some(Marker { run: text(take)?, host: text(take)?, at: text(take)? }) } else { None };
            Error::Held { by }
        }
        12 => Error::BadMarker { path: text(take)? },
        13 => Error::ReadOnly { path: text(take)?, reason: text(take)? },
        14 => Error::NoSpace { path: text(take)? },
        15 => {
            let mut shortfalls = Vec::new();
            for _ in 0..take.small::<u8>()? {
                let (loss, reason) = (Loss::from_name(&text(take)?), text(take)?);
                shortfalls.push(Shortfall { loss, entries: take.number()?, reason });
            }
            Error::CannotHold(shortfalls)
        }
        16 => Error::BackupElsewhere { backup: text(take)? },
        17 => Error::BadPattern { pattern: text(take)?, reason: word(&text(take)?) },
        18 => Error::BadRecord { what: word(&text(take)?) },
        19 => Error::CountMismatch { listed: take.number()?, accounted: take.number()? },
        20 => Error::Apart(match (take.byte()?, text(take)?) {
            (0, text) => Apart::Cut(text),
            (1, text) => Apart::Corrupt(text),
            (_, text) => Apart::Refused(text),
        }),
        kind => return Err(corrupt(format!("an error of unknown kind {kind}"))),
    })
}

/// Reads a text; what is not UTF-8 in it is replaced, for it is only shown.
pub(super) fn text(take: &mut Take<'_>) -> Result<String, Broken> {
    Ok(String::from_utf8_lossy(take.bytes()?).into_owned())
}

fn root(take: &mut Take<'_>) -> Result<RootId, Broken> {
    text(take)?.parse().map_err(|_| corrupt("an identity that is none"))
}

/// A word of the engine's own, such as what was tried. There are not many of them: a peer that sends more than that
/// gets one for all.
pub(super) fn word(text: &str) -> &'static str {
    const MOST: usize = 256;
    static WORDS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());
    let mut words = WORDS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = words.get(text) {
        return known;
    }
    if words.len() >= MOST || text.len() > 100 {
        return "handle";
    }
    let new: &'static str = String::leak(text.to_owned());
    words.insert(new);
    new
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn errors_survive_their_encoding() {
        let id = |ino| RootId { dev: 1, ino, fsid: 3, fs_type: 4 };
        let text = || "a `text`".to_owned();
        let marker = Marker { run: text(), host: text(), at: text() };
        let shortfall = |loss| Shortfall { loss, entries: 7, reason: text() };
        let all = [
            Error::Cancelled(Cancelled(Reason::HangUp)),
            Error::Checkpoint(CheckpointError(text().into())),
            Error::Io { op: "open", path: text(), source: Errno::IO },
            Error::NotFound { path: text() },
            Error::NotDirectory { path: text() },
            Error::SameDirectory { src: text(), dst: text() },
            Error::DestInsideSource { src: text(), dst: text() },
            Error::SourceInsideDest { src: text(), dst: text() },
            Error::RootChanged { path: text(), expected: id(1), found: id(2) },
            Error::EmptySource { src: text(), dst: text() },
            Error::TooManyDeletes { would: 1, limit: 2, dest_entries: 3 },
            Error::Held { by: None },
            Error::Held { by: Some(marker) },
            Error::BadMarker { path: text() },
            Error::ReadOnly { path: text(), reason: text() },
            Error::NoSpace { path: text() },
            Error::CannotHold(vec![shortfall(None), shortfall(Some(Loss::Acl))]),
            Error::BackupElsewhere { backup: text() },
            Error::BadPattern { pattern: text(), reason: "odd" },
            Error::BadRecord { what: "made" },
            Error::CountMismatch { listed: 1, accounted: 2 },
            Error::Apart(Apart::Corrupt(text())),
        ];
        for error in all {
            let mut written = Put::default();
            put(&mut written, &error);
            let mut take = Take(&written.0);
            let back = read(&mut take).unwrap();
            take.end().unwrap();
            assert_eq!(format!("{back:?}"), format!("{error:?}"));
        }
    }

    #[test]
    fn words_are_not_without_bound() {
        for number in 0..1_000 {
            word(&format!("word {number}"));
        }
        assert_eq!(word("one more"), "handle");
        assert_eq!(word(&"x".repeat(101)), "handle");
    }
}
