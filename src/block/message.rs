//! What is asked of an end and what it answers: in this process as values, over a line as messages.

use rustix::io::Errno;

use super::buffer::Buffer;
use super::codec::Compress;
use super::digest::{Digest, Grains};
use super::error::{Error, Lost};
use super::facts::{Facts, Identity, string};
use super::geometry::{EXTENT, Geometry, Mask, all, grain, grains};
use crate::wire::{Broken, Malformed, Outbox, Put, Take};

/// Grows with every change that an older end would not understand.
pub(super) const VERSION: u64 = 1;

/// What the target is known to have in one extent; `None`: nothing is known.
pub(super) type Have = Option<Grains>;

/// How an end is to be held.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Begin {
    /// Bytes that are copied: no extent reaches beyond.
    pub(super) length: u64,
    /// Nobody else may have it meanwhile.
    pub(super) exclusive: bool,
    /// What cannot be read is taken for zeros, and reported.
    pub(super) zero_unreadable: bool,
    /// What the file system on it does not use is taken for zeros.
    pub(super) used_only: bool,
    /// How data is packed for a line.
    pub(super) compress: Compress,
    /// Make the image.
    pub(super) create: bool,
    /// What was found there when it was opened.
    pub(super) identity: Identity,
}

/// What is asked of an end.
#[derive(Debug)]
pub(super) enum Request {
    /// Open it and say what it is; nothing is changed or held.
    Open { path: Vec<u8> },
    /// Hold it.
    Begin(Begin),
    /// What of an extent the other side does not have?
    Read { index: u64, have: Have },
    /// What does the device itself hold of an extent?
    Digest { index: u64 },
    /// Write it.
    Write { index: u64, body: Body },
    /// Make everything that was answered as written durable.
    Sync,
}

/// What an end answers.
#[derive(Debug)]
pub(super) enum Reply {
    Opened(Facts),
    /// Held; with its identity, which an image that was just made did not have before.
    Begun {
        identity: Identity,
    },
    Extent {
        index: u64,
        body: Body,
    },
    Grains {
        index: u64,
        grains: Grains,
    },
    Written {
        index: u64,
    },
    Synced,
    Failed(Error),
}

/// What changes in one extent: some grains become data, some become zeros, the others stay.
#[derive(Debug)]
pub(super) struct Body {
    /// Grains whose data follows, one behind the other.
    pub(super) data: Mask,
    /// Grains that become zeros.
    pub(super) zero: Mask,
    /// The digests of the data.
    pub(super) digests: Vec<Digest>,
    /// The data is compressed.
    pub(super) packed: bool,
    pub(super) payload: Payload,
    /// What could not be read.
    pub(super) lost: Vec<Lost>,
}

/// Where data is.
#[derive(Debug)]
pub(super) enum Payload {
    Nothing,
    /// In memory of this process: what its digests were made of.
    Buffer(Buffer, usize),
    /// The rest of a message, from there on: whatever somebody sent.
    Message(Vec<u8>, usize),
}

impl Payload {
    pub(super) fn bytes(&self) -> &[u8] {
        match self {
            Self::Nothing => &[],
            Self::Buffer(buffer, len) => &buffer[..*len],
            Self::Message(message, from) => message.get(*from..).unwrap_or_default(),
        }
    }
}

impl Body {
    /// Nothing changes.
    pub(super) fn is_empty(&self) -> bool {
        self.data | self.zero == 0
    }

    /// Bytes of data before it was packed, in an extent of `bytes`.
    pub(super) fn raw_len(&self, bytes: u64) -> u64 {
        (0..grains(bytes)).filter(|index| self.data & (1 << index) != 0).map(|index| grain(bytes, index).len()).sum()
    }

    fn put(&self, put: &mut Put) {
        put.number(u64::from(self.data)).number(u64::from(self.zero)).raw(self.digests.as_flattened());
        put.number(self.lost.len() as u64);
        for lost in &self.lost {
            put.number(lost.offset).number(lost.bytes);
        }
        put.flag(self.packed);
    }

    fn take(take: &mut Take<'_>, bytes: u64, start: u64) -> Result<Self, Malformed> {
        let (data, zero): (Mask, Mask) = (take.small()?, take.small()?);
        if data & zero != 0 || (data | zero) & !all(grains(bytes)) != 0 {
            return Err(Malformed::Range);
        }
        let digests = (0..data.count_ones()).map(|_| take.array()).collect::<Result<_, _>>()?;
        let lost = super::facts::list(take, |take| {
            let lost = Lost { offset: take.number()?, bytes: take.number()? };
            let end = lost.offset.checked_add(lost.bytes).ok_or(Malformed::Range)?;
            if lost.offset < start || end > start + bytes { Err(Malformed::Range) } else { Ok(lost) }
        })?;
        let packed = take.flag()?;
        let body = Self { data, zero, digests, packed, payload: Payload::Nothing, lost };
        let (raw, sent) = (body.raw_len(bytes), take.0.len() as u64);
        let fits = if packed { sent < raw } else { sent == raw };
        if fits { Ok(body) } else { Err(Malformed::Range) }
    }
}

fn extent(take: &mut Take<'_>, cut: Option<Geometry>) -> Result<(u64, u64, u64), Malformed> {
    let index = take.number()?;
    // Before the length is agreed on, no extent can be meant.
    let range = cut.and_then(|cut| cut.range(index)).ok_or(Malformed::Range)?;
    Ok((index, range.start, range.len()))
}

/// Takes a message with a body apart; the data stays where it is.
fn body(mut message: Vec<u8>, cut: Option<Geometry>) -> Result<(u64, Body), Malformed> {
    let mut take = Take(&message[1..]);
    let (index, start, bytes) = extent(&mut take, cut)?;
    let mut body = Body::take(&mut take, bytes, start)?;
    let from = message.len() - take.0.len();
    if from < message.len() {
        body.payload = Payload::Message(std::mem::take(&mut message), from);
    }
    Ok((index, body))
}

impl Request {
    /// Sends it.
    ///
    /// # Errors
    /// As the line.
    pub(super) fn send(&self, outbox: &mut dyn Outbox) -> Result<(), Broken> {
        let mut put;
        let mut data: &[u8] = &[];
        match self {
            Self::Open { path } => {
                put = Put::of(1);
                put.number(VERSION).bytes(path);
            }
            Self::Begin(begin) => {
                put = Put::of(2);
                put.number(begin.length).flag(begin.exclusive).flag(begin.zero_unreadable).flag(begin.used_only);
                put.byte(begin.compress.code()).flag(begin.create).bytes(begin.identity.0.as_bytes());
            }
            Self::Read { index, have } => {
                put = Put::of(3);
                put.number(*index).flag(have.is_some());
                if let Some(grains) = have {
                    grains.put(&mut put);
                }
            }
            Self::Digest { index } => {
                put = Put::of(4);
                put.number(*index);
            }
            Self::Write { index, body } => {
                put = Put::of(5);
                put.number(*index);
                body.put(&mut put);
                data = body.payload.bytes();
            }
            Self::Sync => put = Put::of(6),
        }
        outbox.send(&[&put.0, data])
    }

    /// Reads one. `cut` is what was agreed on by [`Request::Begin`].
    ///
    /// # Errors
    /// [`Malformed`] for whatever is not exactly a request within the cut.
    pub(super) fn read(message: Vec<u8>, cut: Option<Geometry>) -> Result<Self, Malformed> {
        let mut take = Take(&message);
        let request = match take.byte()? {
            1 => {
                if take.number()? != VERSION {
                    return Err(Malformed::Range);
                }
                Self::Open { path: take.bytes()?.to_vec() }
            }
            2 => Self::Begin(Begin {
                length: take.number()?,
                exclusive: take.flag()?,
                zero_unreadable: take.flag()?,
                used_only: take.flag()?,
                compress: Compress::of_code(take.byte()?).ok_or(Malformed::Range)?,
                create: take.flag()?,
                identity: Identity(string(&mut take)?),
            }),
            3 => {
                let (index, _, bytes) = extent(&mut take, cut)?;
                let have = if take.flag()? { Some(Grains::take(&mut take, bytes)?) } else { None };
                Self::Read { index, have }
            }
            4 => Self::Digest { index: extent(&mut take, cut)?.0 },
            5 => {
                let (index, body) = body(message, cut)?;
                return Ok(Self::Write { index, body });
            }
            6 => Self::Sync,
            kind => return Err(Malformed::Kind(kind)),
        };
        take.end()?;
        Ok(request)
    }
}

impl Reply {
    /// Sends it.
    ///
    /// # Errors
    /// As the line.
    pub(super) fn send(&self, outbox: &mut dyn Outbox) -> Result<(), Broken> {
        let mut put;
        let mut data: &[u8] = &[];
        match self {
            Self::Opened(facts) => {
                put = Put::of(1);
                facts.put(&mut put);
            }
            Self::Begun { identity } => {
                put = Put::of(2);
                put.bytes(identity.0.as_bytes());
            }
            Self::Extent { index, body } => {
                put = Put::of(3);
                put.number(*index);
                body.put(&mut put);
                data = body.payload.bytes();
            }
            Self::Grains { index, grains } => {
                put = Put::of(4);
                put.number(*index);
                grains.put(&mut put);
            }
            Self::Written { index } => {
                put = Put::of(5);
                put.number(*index);
            }
            Self::Synced => put = Put::of(6),
            Self::Failed(error) => {
                put = Put::of(7);
                put_error(error, &mut put);
            }
        }
        outbox.send(&[&put.0, data])
    }

    /// Reads one. `cut` is what was agreed on.
    ///
    /// # Errors
    /// [`Malformed`] for whatever is not exactly an answer within the cut.
    pub(super) fn read(message: Vec<u8>, cut: Option<Geometry>) -> Result<Self, Malformed> {
        let mut take = Take(&message);
        let reply = match take.byte()? {
            1 => Self::Opened(Facts::take(&mut take)?),
            2 => Self::Begun { identity: Identity(string(&mut take)?) },
            3 => {
                let (index, body) = body(message, cut)?;
                return Ok(Self::Extent { index, body });
            }
            4 => {
                let (index, _, bytes) = extent(&mut take, cut)?;
                Self::Grains { index, grains: Grains::take(&mut take, bytes)? }
            }
            5 => Self::Written { index: extent(&mut take, cut)?.0 },
            6 => Self::Synced,
            7 => Self::Failed(take_error(&mut take)?),
            kind => return Err(Malformed::Kind(kind)),
        };
        take.end()?;
        Ok(reply)
    }
}

/// The errors an end can answer with; the others are made where the work is led.
fn put_error(error: &Error, put: &mut Put) {
    let mut write = |kind: u8, path: &str, text: &str, numbers: [u64; 2], errno: Option<Errno>| {
        put.byte(kind).bytes(path.as_bytes()).bytes(text.as_bytes()).number(numbers[0]).number(numbers[1]);
        put.signed(errno.map_or(0, |errno| i64::from(errno.raw_os_error())));
    };
    match error {
        Error::Io { op, path, source } => write(1, path, op, [0; 2], Some(*source)),
        Error::NotFound { path } => write(2, path, "", [0; 2], None),
        Error::NotBlock { path } => write(3, path, "", [0; 2], None),
        Error::InUse { path, by } => write(4, path, &by.join(", "), [0; 2], None),
        Error::ReadOnly { path } => write(5, path, "", [0; 2], None),
        Error::Resized { path, before, now } => write(6, path, "", [*before, *now], None),
        Error::Unreadable { path, offset, length, source } => write(7, path, "", [*offset, *length], Some(*source)),
        Error::NoSpace { path } => write(8, path, "", [0; 2], None),
        Error::NoMap { path, why } => write(9, path, why, [0; 2], None),
        Error::Lied { path, what } => write(10, path, what, [0; 2], None),
        Error::Other { path, expected, found, .. } => {
            write(11, path, &format!("{expected}\n{found}"), [0; 2], None);
        }
        Error::Broken { path, broken } => write(13, path, &broken.to_string(), [0; 2], None),
        other => write(12, "", &other.to_string(), [0; 2], None),
    }
}

/// What was tried, as one of the words this end knows.
const OPS: [&str; 10] = ["open", "stat", "read", "write", "zero", "sync", "create", "resize", "lock", "work on"];

fn take_error(take: &mut Take<'_>) -> Result<Error, Malformed> {
    let (kind, path, text) = (take.byte()?, string(take)?, string(take)?);
    let [first, second] = [take.number()?, take.number()?];
    // Another number is none of the kernel's.
    let errno = i32::try_from(take.signed()?).ok().filter(|errno| (1..4096).contains(errno));
    let errno = errno.map_or(Errno::IO, Errno::from_raw_os_error);
    let op = OPS.into_iter().find(|op| *op == text).unwrap_or("work on");
    Ok(match kind {
        1 => Error::Io { op, path, source: errno },
        2 => Error::NotFound { path },
        3 => Error::NotBlock { path },
        4 => Error::InUse { path, by: vec![text] },
        5 => Error::ReadOnly { path },
        6 => Error::Resized { path, before: first, now: second },
        7 => Error::Unreadable { path, offset: first, length: second, source: errno },
        8 => Error::NoSpace { path },
        9 => Error::NoMap { path, why: text },
        11 => {
            let (expected, found) = text.split_once('\n').unwrap_or((&text, ""));
            let [expected, found] = [expected, found].map(|text| Identity(text.to_owned()));
            Error::Other { path, role: "device", expected, found }
        }
        13 => Error::Broken { path, broken: Broken::Refused(text) },
        _ => Error::Lied { path, what: text },
    })
}

/// No message is larger than a line takes.
const _: () = assert!(EXTENT as usize + 64 * 1024 <= crate::wire::LARGEST);
