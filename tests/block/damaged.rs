//! A source that cannot be read in places: a loop device over a file on a file system that fails.

use decamp::block::{Endpoint, Error, Lost, OnReadError, Options};
use rustix::io::Errno;

use super::kit::{Disk, MIB, Memory, attach, copy, copy_with, detach, mixed};
use crate::support::faults::{Fail, Faulty, Op};
use crate::support::skip::needs_root;

#[test]
fn what_cannot_be_read_fails_the_copy_or_is_zeros_that_are_told_of() {
    if !needs_root("a loop device") {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let bytes = 8 * MIB;
    let mut held = mixed(1, bytes);
    let good = 5 * MIB + 3 * 4096;
    std::fs::write(home.path().join("image"), &held).unwrap();
    let Some(faulty) = Faulty::over(home.path()) else { return };
    let Some(source) = attach(&faulty.path().join("image"), &[]) else { return };
    faulty.fail(Fail::new(Op::Read, Errno::IO).on("image").after(good));
    let Some(target) = Disk::new(bytes) else { return };
    let failed = copy(&source, &target.path, &Options::default());
    let books = Memory::default();
    let options = Options { overwrite: true, on_read_error: OnReadError::Zero, ..Options::default() };
    let both = || (Endpoint::local(&source), Endpoint::local(&target.path));
    let filled = copy_with(both().0, both().1, &options, &books);
    let copied = target.holds();
    // The next pass reads what can be read by then.
    faulty.clear();
    let healed = copy_with(both().0, both().1, &options, &books);
    detach(&source);
    assert!(faulty.hits() > 0);
    let error = failed.unwrap_err();
    // Several extents are read at once: which of the bad ones is met first is not known.
    assert!(matches!(error, Error::Unreadable { source: Errno::IO, offset, .. } if offset >= 5 * MIB), "{error}");
    let report = filled.unwrap();
    let [Lost { offset, bytes: lost }] = report.lost[..] else { panic!("{:?}", report.lost) };
    assert_eq!(offset + lost, bytes);
    assert!(offset <= good && good - offset < 128 << 10, "lost from {offset} on, {good} could be read");
    let whole = held.clone();
    held[usize::try_from(offset).unwrap()..].fill(0);
    assert!(copied == held);
    let report = healed.unwrap();
    assert!(report.lost.is_empty() && target.holds() == whole, "{report:?}");
}
