//! The other side may be anybody: what cannot be is refused, and nothing is written outside of what was agreed on.

use decamp::block::{self, Endpoint, Error, Options};
use decamp::wire::{Broken, Line, Outbox, Put, Take, pair};
use proptest::prelude::*;

use super::kit::{Disk, MIB, content, copy_with, disks, joined};

/// An end that speaks by hand.
struct Hand {
    line: Line,
    thread: std::thread::JoinHandle<Result<(), Broken>>,
}

impl Hand {
    /// Talks to a target, and begins as one does: `length` bytes are agreed on.
    fn on_target(target: &std::path::Path, length: u64) -> Self {
        let (near, far) = pair(8);
        let mut hand = Self { line: near, thread: std::thread::spawn(move || block::serve_target(vec![far])) };
        let mut open = Put::of(1);
        open.number(1).bytes(target.as_os_str().as_encoded_bytes());
        let opened = hand.ask(&open.0);
        assert_eq!(opened[0], 1);
        let mut take = Take(&opened[1..]);
        let (_, _, _) = (take.bytes().unwrap(), take.byte().unwrap(), take.number().unwrap());
        let identity = take.bytes().unwrap().to_vec();
        let mut begin = Put::of(2);
        begin.number(length).flag(true).flag(false).flag(false).byte(0).flag(false).bytes(&identity);
        assert_eq!(hand.ask(&begin.0)[0], 2);
        hand
    }

    fn ask(&mut self, message: &[u8]) -> Vec<u8> {
        self.line.outbox.send(&[message]).unwrap();
        self.line.outbox.flush().unwrap();
        let mut answer = Vec::new();
        assert!(self.line.inbox.receive(&mut answer).unwrap());
        answer
    }

    /// What became of the far side.
    fn end(self) -> Result<(), Broken> {
        let Line { mut outbox, inbox } = self.line;
        outbox.finish().ok();
        drop(outbox);
        // The far side says that it is done to somebody who still listens.
        let ended = joined(self.thread);
        drop(inbox);
        ended
    }
}

/// A request to write: extent, masks, digests, whether packed, data.
fn write(index: u64, data: u64, zero: u64, digests: &[[u8; 16]], packed: bool, bytes: &[u8]) -> Vec<u8> {
    let mut put = Put::of(5);
    put.number(index).number(data).number(zero).raw(digests.as_flattened()).number(0).flag(packed).raw(bytes);
    put.0
}

fn digest(bytes: &[u8]) -> [u8; 16] {
    blake3::hash(bytes).as_bytes()[..16].try_into().unwrap()
}

#[test]
fn a_target_writes_nothing_of_what_cannot_be() {
    // The device is larger than what was agreed on.
    let Some(target) = Disk::new(4 * MIB) else { return };
    let before = target.holds();
    let grain = vec![7; 65_536];
    let good = digest(&grain);
    let bomb = zstd::bulk::compress(&vec![7; 1 << 20], 1).unwrap();
    let cases: [(&str, Vec<u8>); 9] = [
        ("behind what was agreed on", write(2, 1, 0, &[good], false, &grain)),
        ("far behind the end", write(u64::MAX, 1, 0, &[good], false, &grain)),
        ("a digest that is another's", write(0, 1, 0, &[[0; 16]], false, &grain)),
        ("fewer bytes than were told of", write(0, 1, 0, &[good], false, &grain[1..])),
        ("more bytes than were told of", write(0, 1, 0, &[good], false, &vec![7; 65_537])),
        ("data and zeros at one place", write(0, 1, 1, &[good], false, &grain)),
        ("more grains than there are", write(0, 1 << 16, 0, &[good], false, &grain)),
        ("packed data that is more than it says", write(0, 1, 0, &[good], true, &bomb)),
        ("packed data that is none", write(0, 1, 0, &[good], true, b"none")),
    ];
    for (what, message) in cases {
        let mut hand = Hand::on_target(&target.path, 2 * MIB);
        let answer = hand.ask(&message);
        assert_eq!(answer[0], 7, "{what}");
        hand.end().ok();
        assert!(target.holds() == before, "{what}");
    }
    let mut hand = Hand::on_target(&target.path, 2 * MIB);
    assert_eq!(hand.ask(&write(1, 1 << 15, 1, &[good], false, &grain))[0], 5);
    hand.end().unwrap();
    let now = target.holds();
    assert!(
        now[2 * MIB as usize - 65_536..2 * MIB as usize] == grain[..]
            && now[2 * MIB as usize..] == before[2 * MIB as usize..]
    );
}

#[test]
fn a_source_is_never_written_to() {
    let Some((source, _, held)) = disks(1, MIB) else { return };
    let (mut near, far) = pair(8);
    let thread = std::thread::spawn(move || block::serve_source(vec![far]));
    let mut talk = |message: &[u8]| {
        near.outbox.send(&[message]).unwrap();
        let mut answer = Vec::new();
        near.inbox.receive(&mut answer).unwrap();
        answer
    };
    let mut open = Put::of(1);
    open.number(1).bytes(source.path.as_os_str().as_encoded_bytes());
    let opened = talk(&open.0);
    let mut take = Take(&opened[1..]);
    let (_, _, _) = (take.bytes().unwrap(), take.byte().unwrap(), take.number().unwrap());
    let identity = take.bytes().unwrap().to_vec();
    let mut begin = Put::of(2);
    begin.number(MIB).flag(true).flag(false).flag(false).byte(0).flag(false).bytes(&identity);
    assert_eq!(talk(&begin.0)[0], 2);
    let grain = vec![7; 65_536];
    assert_eq!(talk(&write(0, 1, 0, &[digest(&grain)], false, &grain))[0], 7);
    near.outbox.finish().unwrap();
    joined(thread).unwrap();
    assert!(source.holds() == held);
}

/// Makes another message of one.
type Lie = fn(&[u8]) -> Vec<u8>;

/// A source that answers well until it lies once.
struct Liar {
    inner: Box<dyn Outbox>,
    lie: Lie,
    told: bool,
}

impl Outbox for Liar {
    fn send(&mut self, parts: &[&[u8]]) -> Result<(), Broken> {
        let message = parts.concat();
        // The answer to a read.
        if message[0] == 3 && !self.told {
            self.told = true;
            return self.inner.send(&[&(self.lie)(&message)]);
        }
        self.inner.send(&[&message])
    }

    fn flush(&mut self) -> Result<(), Broken> {
        self.inner.flush()
    }

    fn finish(&mut self) -> Result<(), Broken> {
        self.inner.finish()
    }
}

#[test]
fn a_source_that_lies_is_found_out_before_its_lie_is_written() {
    let Some((source, _, _)) = disks(2, 2 * MIB) else { return };
    let lies: [(&str, Lie); 6] = [
        ("another extent", |m| [&[3, 77], &m[2..]].concat()),
        ("an extent it was not asked for again", |m| [&[3, (m[1] + 1) % 2], &m[2..]].concat()),
        ("a flipped byte", |m| {
            let mut m = m.to_vec();
            *m.last_mut().unwrap() ^= 1;
            m
        }),
        ("too short", |m| m[..m.len() - 1].to_vec()),
        ("only a part", |m| [&m[..2], &[0, 1, 0, 0]].concat()),
        ("an answer of another kind", |_| vec![6]),
    ];
    for (what, lie) in lies {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        std::fs::write(&target, vec![1; 2 << 20]).unwrap();
        let (near, far) = pair(8);
        let Line { outbox, inbox } = far;
        let far = Line { outbox: Box::new(Liar { inner: outbox, lie, told: false }), inbox };
        let thread = std::thread::spawn(move || block::serve_source(vec![far]));
        let options = Options { in_flight: 1, ..Options::default() };
        let from = Endpoint::remote(&source.path, vec![near]);
        let result = copy_with(from, Endpoint::local(&target), &options, &decamp::progress::Forgetful);
        assert!(matches!(result, Err(Error::Lied { .. })), "{what}: {result:?}");
        joined(thread).ok();
        assert!(content(&target).iter().all(|byte| *byte == 1), "{what}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn noise_is_refused_and_never_a_panic(noise: Vec<u8>, kind in 0u8..9) {
        let home = tempfile::tempdir().unwrap();
        let target = home.path().join("target");
        std::fs::write(&target, vec![1; 2 << 20]).unwrap();
        let mut hand = Hand::on_target(&target, 1 << 20);
        let message = [&[kind][..], &noise].concat();
        // A request that is one by chance is answered as one; only zeros can be written without a digest that fits.
        let answer = hand.ask(&message);
        prop_assert!((1..=7).contains(&answer[0]));
        let ended = hand.end();
        let now = content(&target);
        prop_assert!(now[1 << 20..].iter().all(|byte| *byte == 1));
        if answer[0] == 7 {
            prop_assert!(now.iter().all(|byte| *byte == 1), "{ended:?}");
        }
    }
}
