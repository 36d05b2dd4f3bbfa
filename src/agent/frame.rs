//! One frame: a head of 24 bytes, and a body.
//!
//! | bytes | what |
//! |---|---|
//! | 0–2 | length of the body |
//! | 3 | kind |
//! | 4–7 | channel; 0 is the link itself |
//! | 8–11 | sequence: how many frames went before, in this direction |
//! | 12–19 | sum of the body |
//! | 20–23 | sum of the head so far |
//!
//! Numbers are little-endian. The head has a sum of its own, so that a wrong length is noticed at once and not after
//! waiting for as many bytes. Both are XXH3 with a seed that this session and this direction alone have: frames that are
//! echoed, or are left over from another session, do not fit. They find damage; against a peer that lies they are no
//! help, which is why everything a body says is checked where it is read. Measured on one core: XXH3 23 GB/s on large
//! bodies and 6 ns for a head, BLAKE3 4 GB/s and 92 ns.

use std::io::{IoSlice, Read, Write};

use xxhash_rust::xxh3::{Xxh3, xxh3_64_with_seed};

use crate::wire::{Broken, LARGEST};

/// Bytes of a head.
pub(super) const HEAD: usize = 24;

/// No body is larger, bytes: the largest message, and what a wrapper of messages puts before it.
pub(super) const MOST: usize = LARGEST + 64;

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A conversation begins; only the near side says so.
    Open = 1,
    /// The body is one message.
    One = 2,
    /// The body is several messages, each behind its length.
    Many = 3,
    /// The other side may send so many bytes more.
    Grant = 4,
    /// No more messages will come; the body holds the totals.
    End = 5,
    /// No more messages will come, though they are not all there.
    Gone = 6,
    /// Messages are taken no more.
    Deaf = 7,
    /// The conversation, or on channel 0 the link, is given up; the body says why.
    Refuse = 8,
    /// Still there.
    Beat = 9,
    /// No more frames will come; the body holds the totals.
    Bye = 10,
}

impl Kind {
    fn from(byte: u8) -> Option<Self> {
        use Kind::{Beat, Bye, Deaf, End, Gone, Grant, Many, One, Open, Refuse};
        [Open, One, Many, Grant, End, Gone, Deaf, Refuse, Beat, Bye].into_iter().find(|kind| *kind as u8 == byte)
    }

    /// How large its body may be.
    fn most(self) -> usize {
        match self {
            Self::One | Self::Many => MOST,
            Self::Open => 64 << 10,
            Self::Refuse => 8 << 10,
            Self::Grant | Self::End | Self::Bye => 32,
            Self::Gone | Self::Deaf | Self::Beat => 0,
        }
    }
}

/// What a frame says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub kind: Kind,
    pub channel: u32,
    pub length: usize,
    sum: u64,
}

/// The sum of a body in `parts`.
pub(super) fn sum(seed: u64, parts: &[&[u8]]) -> u64 {
    match parts {
        [] => xxh3_64_with_seed(&[], seed),
        [one] => xxh3_64_with_seed(one, seed),
        many => {
            let mut sum = Xxh3::with_seed(seed);
            many.iter().for_each(|part| sum.update(part));
            sum.digest()
        }
    }
}

fn head_sum(seed: u64, head: &[u8]) -> u32 {
    xxh3_64_with_seed(head, seed) as u32
}

/// A frame to be written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Frame<'a> {
    pub kind: Kind,
    pub channel: u32,
    /// The body, put together.
    pub parts: &'a [&'a [u8]],
    /// The sum of the body.
    pub sum: u64,
}

impl Frame<'_> {
    fn length(&self) -> usize {
        self.parts.iter().map(|part| part.len()).sum()
    }
}

/// How much went one way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub frames: u64,
    /// Of bodies.
    pub bytes: u64,
}

/// The writing end of frames.
pub(super) struct FrameWriter {
    to: Box<dyn Write + Send>,
    seed: u64,
    pub totals: Totals,
}

impl FrameWriter {
    pub(super) fn new(to: Box<dyn Write + Send>) -> Self {
        Self { to, seed: 0, totals: Totals::default() }
    }

    /// Frames from here on have this seed.
    pub(super) fn seed(&mut self, seed: u64) {
        self.seed = seed;
    }

    /// Writes what is no frame.
    pub(super) fn plain(&mut self, text: &[u8]) -> std::io::Result<()> {
        self.to.write_all(text)?;
        self.to.flush()
    }

    /// Writes frames in as few calls as can be.
    pub(super) fn write(&mut self, frames: &[Frame<'_>]) -> std::io::Result<()> {
        let heads: Vec<[u8; HEAD]> = frames.iter().map(|frame| self.head(frame)).collect();
        let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(frames.len() * 3);
        for (head, frame) in heads.iter().zip(frames) {
            slices.push(IoSlice::new(head));
            slices.extend(frame.parts.iter().filter(|part| !part.is_empty()).map(|part| IoSlice::new(part)));
        }
        let mut left = &mut slices[..];
        while !left.is_empty() {
            match self.to.write_vectored(left) {
                Ok(0) => return Err(std::io::ErrorKind::WriteZero.into()),
                Ok(count) => IoSlice::advance_slices(&mut left, count),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.to.flush()
    }

    fn head(&mut self, frame: &Frame<'_>) -> [u8; HEAD] {
        let length = frame.length();
        let mut head = [0; HEAD];
        head[..4].copy_from_slice(&(length as u32 | u32::from(frame.kind as u8) << 24).to_le_bytes());
        head[4..8].copy_from_slice(&frame.channel.to_le_bytes());
        head[8..12].copy_from_slice(&(self.totals.frames as u32).to_le_bytes());
        head[12..20].copy_from_slice(&frame.sum.to_le_bytes());
        let own = head_sum(self.seed, &head[..20]);
        head[20..].copy_from_slice(&own.to_le_bytes());
        self.totals.frames += 1;
        self.totals.bytes += length as u64;
        head
    }
}

/// The reading end of frames.
pub(super) struct FrameReader<R> {
    from: R,
    seed: u64,
    pub totals: Totals,
}

impl<R: Read> FrameReader<R> {
    pub(super) fn new(from: R, seed: u64) -> Self {
        Self { from, seed, totals: Totals::default() }
    }

    /// The head of the next frame.
    ///
    /// # Errors
    /// [`Broken::Cut`] at the end of the stream, wherever it is; [`Broken::Corrupt`] for what cannot be a head here.
    pub(super) fn head(&mut self) -> Result<Head, Broken> {
        let mut bytes = [0; HEAD];
        self.fill(&mut bytes)?;
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        if number(20) != head_sum(self.seed, &bytes[..20]) {
            return Err(Broken::Corrupt("the sum of a frame's head does not fit".into()));
        }
        if number(8) != self.totals.frames as u32 {
            return Err(Broken::Corrupt(format!("frame {} came where {} was due", number(8), self.totals.frames)));
        }
        let (length, kind) = (number(0) as usize & 0x00ff_ffff, (number(0) >> 24) as u8);
        let kind = Kind::from(kind).ok_or_else(|| Broken::Corrupt(format!("a frame of unknown kind {kind}")))?;
        if length > kind.most() {
            return Err(Broken::Corrupt(format!("a frame of {length} bytes, at most {} are allowed", kind.most())));
        }
        let sum = u64::from(number(12)) | u64::from(number(16)) << 32;
        self.totals.frames += 1;
        self.totals.bytes += length as u64;
        Ok(Head { kind, channel: number(4), length, sum })
    }

    /// The body of the frame with that head, in place of what `body` held.
    ///
    /// # Errors
    /// [`Broken::Cut`], [`Broken::Corrupt`] if it is not what was sent.
    pub(super) fn body(&mut self, head: &Head, body: &mut Vec<u8>) -> Result<(), Broken> {
        body.resize(head.length, 0);
        self.fill(body)?;
        if sum(self.seed, &[body]) != head.sum {
            return Err(Broken::Corrupt("the sum of a frame does not fit".into()));
        }
        Ok(())
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), Broken> {
        self.from.read_exact(bytes).map_err(|error| match error.kind() {
            std::io::ErrorKind::UnexpectedEof | std::io::ErrorKind::ConnectionReset => Broken::Cut,
            _ => Broken::Io(error),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::{Arc, Mutex};

    use proptest::prelude::*;

    use super::*;

    const SEED: u64 = 99;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// What is written for bodies, each in two parts.
    fn written(bodies: &[Vec<u8>]) -> Vec<u8> {
        let to = Shared::default();
        let mut writer = FrameWriter::new(Box::new(to.clone()));
        writer.seed(SEED);
        for (at, body) in bodies.iter().enumerate() {
            let (left, right) = body.split_at(body.len() / 2);
            let parts = [left, right];
            let frame = Frame { kind: Kind::One, channel: at as u32, parts: &parts, sum: sum(SEED, &parts) };
            writer.write(&[frame]).unwrap();
        }
        drop(writer);
        Arc::into_inner(to.0).unwrap().into_inner().unwrap()
    }

    /// Everything that can be read, and why no more could.
    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Broken) {
        let mut reader = FrameReader::new(bytes, SEED);
        let mut bodies = Vec::new();
        loop {
            let mut body = Vec::new();
            let read = reader.head().and_then(|head| reader.body(&head, &mut body));
            match read {
                Ok(()) => bodies.push(body),
                Err(broken) => return (bodies, broken),
            }
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(bodies: Vec<Vec<u8>>) {
            let (read, end) = read(&written(&bodies));
            prop_assert_eq!(read, bodies);
            prop_assert!(matches!(end, Broken::Cut));
        }

        #[test]
        fn a_flipped_bit_is_noticed(bodies in prop::collection::vec(any::<Vec<u8>>(), 1..5), bit: prop::sample::Index) {
            let mut bytes = written(&bodies);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let (read, end) = read(&bytes);
            prop_assert!(matches!(end, Broken::Corrupt(_)), "{end}");
            prop_assert!(read.len() < bodies.len() && read == bodies[..read.len()]);
        }

        #[test]
        fn a_cut_is_never_a_frame(bodies in prop::collection::vec(any::<Vec<u8>>(), 1..5), at: prop::sample::Index) {
            let bytes = written(&bodies);
            let (read, end) = read(&bytes[..at.index(bytes.len())]);
            prop_assert!(matches!(end, Broken::Cut));
            prop_assert!(read.len() < bodies.len() && read == bodies[..read.len()]);
        }

        #[test]
        fn noise_is_no_frame(bytes in prop::collection::vec(any::<u8>(), HEAD..200)) {
            let (read, end) = read(&bytes);
            prop_assert!(read.is_empty() && matches!(end, Broken::Corrupt(_)));
        }

        #[test]
        fn a_frame_left_out_or_sent_twice_is_noticed(count in 2usize..6, at: prop::sample::Index, twice: bool) {
            let whole: Vec<Vec<u8>> = (0..count).map(|at| vec![at as u8; 5]).collect();
            let bytes = written(&whole);
            let mut frames: Vec<&[u8]> = bytes.chunks(HEAD + 5).collect();
            let at = at.index(count - 1);
            if twice { frames.insert(at, frames[at]) } else { frames.remove(at); }
            let (_, end) = read(&frames.concat());
            prop_assert!(matches!(end, Broken::Corrupt(_)), "{end}");
        }
    }

    #[test]
    fn a_lie_about_the_length_is_refused_before_room_is_made() {
        for (kind, length) in [(Kind::One, MOST + 1), (Kind::Many, 0x00ff_ffff), (Kind::Beat, 1), (Kind::Grant, 33)] {
            let mut head = [0; HEAD];
            head[..4].copy_from_slice(&(length as u32 | u32::from(kind as u8) << 24).to_le_bytes());
            let own = head_sum(SEED, &head[..20]);
            head[20..].copy_from_slice(&own.to_le_bytes());
            let refused = FrameReader::new(&head[..], SEED).head();
            assert!(matches!(refused, Err(Broken::Corrupt(_))), "{kind:?}");
        }
    }

    #[test]
    fn frames_of_the_other_direction_do_not_fit() {
        let bytes = written(&[vec![1, 2, 3]]);
        assert!(matches!(FrameReader::new(&bytes[..], !SEED).head(), Err(Broken::Corrupt(_))));
    }
}
