//! Of a large file that changed, only what changed goes over the line, and the whole is proved.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::atomic::Ordering;

use decamp::copy::options::Options;
use decamp::progress::{Forgetful, Silent};

use super::kit::{Between, copy};
use crate::copy::kit::{Pair, sh};

fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Copies `before`, changes it to what `change` makes of it, copies again; returns the bytes that the second pass sent.
fn second_pass(before: &[u8], change: impl FnOnce(&fs::File)) -> u64 {
    let pair = Pair::new();
    let big = pair.src.join("big");
    fs::write(&big, before).unwrap();
    copy(&pair.src, &pair.dst, &Options::default());
    let file = fs::File::options().read(true).write(true).open(&big).unwrap();
    change(&file);
    drop(file);
    sh(&pair.src, "touch -d '2030-01-01' big");
    let between = Between::lines(1);
    let report = between.copy(&pair.src, &pair.dst, &Options::default(), &Forgetful, &Silent).unwrap();
    assert_eq!((report.updated, report.failed), (1, 0), "{report:#?}");
    pair.assert_same();
    between.bytes.load(Ordering::SeqCst)
}

#[test]
fn a_changed_byte_costs_a_grain() {
    let sent = second_pass(&noise(24 << 20, 1), |file| file.write_all_at(b"changed", 5 << 20).unwrap());
    assert!(sent < 256 << 10, "{sent}");
}

#[test]
fn a_file_that_grew_or_shrank_or_got_a_hole_is_whole() {
    let content = noise((10 << 20) + 777, 2);
    let sent = second_pass(&content, |file| file.write_all_at(&noise(300_000, 3), content.len() as u64).unwrap());
    assert!(sent < 600 << 10, "{sent}");
    let sent = second_pass(&content, |file| file.set_len((9 << 20) + 5).unwrap());
    assert!(sent < 256 << 10, "{sent}");
    let sent = second_pass(&content, |file| {
        file.set_len(1 << 20).unwrap();
        file.set_len(12 << 20).unwrap();
        file.write_all_at(b"end", (12 << 20) - 3).unwrap();
    });
    assert!(sent < 256 << 10, "{sent}");
}

#[test]
fn a_file_of_which_nothing_is_the_same_is_whole() {
    let sent = second_pass(&noise(5 << 20, 4), |file| file.write_all_at(&noise(5 << 20, 8), 0).unwrap());
    assert!((5 << 20..6 << 20).contains(&sent), "{sent}");
}

#[test]
fn a_shifted_file_and_one_with_an_old_hole_are_whole() {
    let content = noise(6 << 20, 6);
    second_pass(&content, |file| {
        file.write_all_at(b"x", 0).unwrap();
        file.write_all_at(&content, 1).unwrap();
    });
    let mut holed = vec![0; 6 << 20];
    holed[3 << 20..4 << 20].copy_from_slice(&content[..1 << 20]);
    second_pass(&holed, |file| file.write_all_at(&content[..100], 0).unwrap());
}
