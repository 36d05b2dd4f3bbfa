//! A peer that lies, whichever end it is: it is found out, and nothing is written outside the destination, and nothing
//! is read outside the source.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant};

use decamp::cancel::Cancel;
use decamp::copy::error::Apart;
use decamp::copy::far::{Source, serve};
use decamp::copy::options::Options;
use decamp::copy::{Error, Work, tree_from};
use decamp::progress::{Forgetful, Silent};
use decamp::wire::{Broken, Line, Outbox, Put, Take, pair};

use super::kit::receive;
use crate::copy::kit::{Pair, furnish, write};
use crate::support::check::Snapshot;

/// Rewrites what the sending end says.
struct Lying<F> {
    inner: Box<dyn Outbox>,
    lie: F,
}

impl<F: FnMut(&[u8]) -> Vec<u8> + Send> Outbox for Lying<F> {
    fn send(&mut self, parts: &[&[u8]]) -> Result<(), Broken> {
        let message = (self.lie)(&parts.concat());
        self.inner.send(&[&message])
    }

    fn flush(&mut self) -> Result<(), Broken> {
        self.inner.flush()
    }

    fn finish(&mut self) -> Result<(), Broken> {
        self.inner.finish()
    }
}

fn copy_from_liar(src: &Path, dst: &Path, lie: impl FnMut(&[u8]) -> Vec<u8> + Send + 'static) -> Result<u64, Error> {
    let (near, far) = pair(64);
    let far = Line { outbox: Box::new(Lying { inner: far.outbox, lie }), inbox: far.inbox };
    let serving = std::thread::spawn(move || serve(vec![far]));
    // Whoever lies may as well say nothing at all: only the user knows how long to wait for that.
    let cancel = Cancel::new().until(Instant::now() + Duration::from_secs(5));
    let options = Options::default();
    let result = Source::open(src, vec![near], &options.exclude, &cancel).and_then(|source| {
        let work = Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel };
        tree_from(&source, dst, &options, &work).map(|report| report.failed)
    });
    // What it thinks of it does not matter here.
    drop(serving.join().expect("the sending end does not panic"));
    result
}

/// Puts `new` where `old` is, which must be as long.
fn swap(message: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    assert_eq!(old.len(), new.len());
    let mut out = message.to_vec();
    while let Some(at) = out.windows(old.len()).position(|part| part == old) {
        out[at..at + old.len()].copy_from_slice(new);
    }
    out
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for bad in ["../evil1", "/tmp/evl", "a/../b/c", "x\0y/zzzz"] {
        let pair = Pair::new();
        write(pair.src.join("innocent"), "x");
        let found = copy_from_liar(&pair.src, &pair.dst, move |message| swap(message, b"innocent", bad.as_bytes()));
        assert!(matches!(found, Err(Error::Apart(Apart::Corrupt(_)))), "{bad:?}: {found:?}");
        assert_eq!(fs::read_dir(&pair.dst).unwrap().count(), 0, "{bad:?}");
        assert_eq!(fs::read_dir(pair.base.path()).unwrap().count(), 2, "{bad:?}");
    }
    let pair = Pair::new();
    for name in ["aa", "bb"] {
        write(pair.src.join(name), "x");
    }
    let found = copy_from_liar(&pair.src, &pair.dst, |message| swap(message, b"aa", b"bb"));
    assert!(matches!(found, Err(Error::Apart(Apart::Corrupt(_)))), "{found:?}");
}

#[test]
fn bits_that_flip_never_lead_out_of_the_destination() {
    let outside = tempfile::tempdir().unwrap();
    let source = Pair::new();
    furnish(&source.src);
    fs::remove_file(source.src.join("sparse")).unwrap();
    let before = Snapshot::of(&source.src);
    for seed in 0..100_u64 {
        let pair = Pair::in_dir(outside.path());
        let mut count = 0;
        // Whatever comes of it: no panic, no end of waiting, and nothing beside the destination.
        let result = copy_from_liar(&source.src, &pair.dst, move |message| {
            let mut out = message.to_vec();
            count += 1;
            if count == 2 + seed % 9 && !out.is_empty() {
                let bit = (seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 13) as usize % (out.len() * 8);
                out[bit / 8] ^= 1 << (bit % 8);
            }
            out
        });
        drop(result);
        assert_eq!(fs::read_dir(pair.base.path()).unwrap().count(), 2, "seed {seed}");
    }
    before.assert_same(&Snapshot::of(&source.src));
}

#[test]
fn a_link_in_place_of_a_directory_is_not_followed() {
    // The destination's directory becomes a link to somewhere else between listing and writing: nothing goes there.
    let pair = Pair::new();
    write(pair.src.join("dir/file"), "x");
    let elsewhere = pair.base.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    write(pair.dst.join("dir/old"), "x");
    let (dst, target) = (pair.dst.clone(), elsewhere.clone());
    let mut count = 0;
    let result = copy_from_liar(&pair.src, &pair.dst, move |message| {
        count += 1;
        if count == 4 {
            fs::remove_dir_all(dst.join("dir")).unwrap();
            symlink(&target, dst.join("dir")).unwrap();
        }
        message.to_vec()
    });
    drop(result);
    assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0);
}

/// What a receiving end that keeps to no rules gets of the sending end.
fn ask(src: &Path, requests: &[Put]) -> (Vec<Vec<u8>>, Result<(), Broken>) {
    let (mut near, far) = pair(64);
    let serving = std::thread::spawn(move || serve(vec![far]));
    let mut hello = Put::of(0);
    hello.number(1).bytes(src.as_os_str().as_encoded_bytes()).flag(false);
    near.outbox.send(&[&hello.0]).unwrap();
    assert_eq!(receive(&mut *near.inbox)[..2], [20, 1]);
    for request in requests {
        // It may have hung up already.
        near.outbox.send(&[&request.0]).ok();
    }
    near.outbox.finish().ok();
    let mut answers = Vec::new();
    let mut message = Vec::new();
    while let Ok(true) = near.inbox.receive(&mut message) {
        answers.push(message.clone());
    }
    (answers, serving.join().expect("it does not panic"))
}

#[test]
fn nothing_outside_the_source_is_read() {
    let pair = Pair::new();
    write(pair.src.join("file"), "inside");
    write(pair.base.path().join("secret"), "outside");
    symlink(pair.base.path(), pair.src.join("out")).unwrap();
    symlink(pair.base.path().join("secret"), pair.src.join("link")).unwrap();
    let open = |name: &[u8]| {
        let mut put = Put::of(1);
        put.number(1).number(0).byte(1).bytes(name);
        put
    };
    for name in [&b".."[..], b".", b"/", b"a/b", b"x\0", &[b'x'; 256]] {
        let (answers, result) = ask(&pair.src, &[open(name)]);
        assert!(matches!(result, Err(Broken::Corrupt(_))), "{name:?}: {result:?}");
        assert_eq!(answers, Vec::<Vec<u8>>::new(), "{name:?}");
    }
    // A link is not followed, neither as a directory nor as a file.
    let mut files = Put::of(3);
    files.number(2).bytes(b"link").bytes(b"file");
    let mut root = Put::of(1);
    root.number(2).number(0).byte(0).bytes(b"");
    let (answers, result) = ask(&pair.src, &[open(b"out")]);
    result.unwrap();
    assert_eq!(answers.len(), 1);
    assert_eq!(answers[0][0], 22, "lost: {answers:?}");
    let (answers, result) = ask(&pair.src, &[root]);
    result.unwrap();
    assert_eq!(answers.len(), 1);
    let (mut near, far) = self::pair(64);
    let serving = std::thread::spawn(move || serve(vec![far]));
    let mut hello = Put::of(0);
    hello.number(1).bytes(pair.src.as_os_str().as_encoded_bytes()).flag(false);
    near.outbox.send(&[&hello.0]).unwrap();
    receive(&mut *near.inbox);
    let mut root = Put::of(1);
    root.number(2).number(0).byte(0).bytes(b"");
    near.outbox.send(&[&root.0]).unwrap();
    assert_eq!(receive(&mut *near.inbox)[0], 21);
    near.outbox.send(&[&files.0]).unwrap();
    let answer = receive(&mut *near.inbox);
    let mut take = Take(&answer);
    assert_eq!((take.byte().unwrap(), take.number().unwrap()), (23, 2));
    assert_eq!(take.bytes().unwrap(), b"link");
    assert_ne!(take.number().unwrap(), 0, "an error number");
    assert_eq!(take.bytes().unwrap(), b"file");
    assert_eq!(take.number().unwrap(), 0);
    assert!(!answer.windows(7).any(|part| part == b"outside"));
    near.outbox.finish().unwrap();
    serving.join().unwrap().unwrap();
}

#[test]
fn requests_that_cannot_be_end_it() {
    let pair = Pair::new();
    for bad in [vec![99, 1], vec![], vec![1, 5, 0, 1, 200], vec![7], vec![4, 1]] {
        let (_, result) = ask(&pair.src, &[Put(bad.clone())]);
        assert!(matches!(result, Err(Broken::Corrupt(_))), "{bad:?}: {result:?}");
    }
    // A directory that was never opened is no reason to stop: it may just have been closed.
    let mut more = Put::of(2);
    more.number(77);
    let (answers, result) = ask(&pair.src, &[more]);
    result.unwrap();
    assert_eq!(answers[0][0], 22);
}
