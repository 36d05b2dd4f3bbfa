//! Later passes: only what changed crosses, the target is not read where the books vouch for it, and not trusted where
//! somebody wrote to it.

use decamp::block::{Endpoint, Error, Options, Verify};

use super::kit::{Far, GRAIN, MIB, Memory, Watch, copy, copy_with, disks, size, write};
use crate::support::rng::Rng;

#[test]
fn a_second_pass_sends_what_changed_and_reads_the_target_nowhere_else() {
    let Some((source, target, mut held)) = disks(1, size()) else { return };
    let books = Memory::default();
    let local = |path: &std::path::Path| Endpoint::local(path);
    copy_with(local(&source.path), local(&target.path), &Options::default(), &books).unwrap();
    let mut rng = Rng::new(3);
    let grains = held.len() / GRAIN;
    let mut changed: Vec<usize> = (0..grains / 100).map(|_| rng.index(grains)).collect();
    changed.sort_unstable();
    changed.dedup();
    for grain in &changed {
        held[grain * GRAIN + 77] ^= 0x55;
    }
    source.write(0, &held);
    let watch = Watch::new();
    let (far, from, to) = Far::both(&source.path, &target.path, 2, &watch);
    let report = copy_with(from, to, &Options::default(), &books).unwrap();
    assert!(far.gone() && target.holds() == held);
    let extents = changed.iter().map(|grain| grain / 16).collect::<std::collections::BTreeSet<_>>().len() as u64;
    assert_eq!((report.pass, report.sent + report.zero, report.target_read), (2, extents, false));
    assert_eq!(report.verified, extents, "what was not written is not read");
    assert!(report.raw_bytes <= (changed.len() * GRAIN) as u64, "{report:?}");
    // Two links, each with the data and the digests of all.
    let digests = held.len() as u64 / 4096 + report.extents * 64;
    assert!(watch.bytes() < 2 * (report.wire_bytes + digests) + 65_536, "{} {report:?}", watch.bytes());
    // The third has nothing to do.
    let report = copy_with(local(&source.path), local(&target.path), &Options::default(), &books).unwrap();
    assert_eq!((report.pass, report.same, report.raw_bytes), (3, report.extents, 0));
}

#[test]
fn digests_in_a_file_serve_another_run_and_only_this_pair() {
    let Some((source, target, mut held)) = disks(2, 8 * MIB) else { return };
    let home = tempfile::tempdir().unwrap();
    let options = Options { digests: Some(home.path().join("digests")), ..Options::default() };
    copy(&source.path, &target.path, &options).unwrap();
    held[2 << 20] ^= 1;
    source.write(0, &held);
    let report = copy(&source.path, &target.path, &options).unwrap();
    assert_eq!((report.pass, report.sent, report.target_read), (2, 1, false), "{report:?}");
    assert!(target.holds() == held);
    // The other way round, and with a stranger.
    let error = copy(&target.path, &source.path, &options).unwrap_err();
    assert!(matches!(error, Error::Swapped { .. }), "{error}");
    let Some((stranger, ..)) = disks(9, 8 * MIB) else { return };
    let error = copy(&stranger.path, &target.path, &options).unwrap_err();
    assert!(matches!(error, Error::Other { role: "source", .. }), "{error}");
    assert!(target.holds() == held && source.holds() == held);
}

#[test]
fn a_target_somebody_wrote_to_is_noticed_and_left() {
    let Some((source, target, held)) = disks(3, 16 * MIB) else { return };
    let books = Memory::default();
    let again =
        |options: &Options| copy_with(Endpoint::local(&source.path), Endpoint::local(&target.path), options, &books);
    again(&Options::default()).unwrap();
    for at in [1024, 16 * MIB - 1] {
        let old = held[usize::try_from(at).unwrap()];
        write(&target.path, at, &[old ^ 1]);
        let before = target.holds();
        let error = again(&Options::default()).unwrap_err();
        assert!(matches!(error, Error::TargetChanged { offset, .. } if at - offset < MIB), "{error}");
        assert!(target.holds() == before);
        let report = again(&Options { overwrite: true, ..Options::default() }).unwrap();
        assert!(report.target_changed && report.target_read && target.holds() == held, "{report:?}");
        assert_eq!((report.sent + report.zero, report.same), (1, 15));
    }
}

#[test]
fn a_whole_verification_finds_what_the_probes_may_miss() {
    let Some((source, target, held)) = disks(4, 128 * MIB) else { return };
    let books = Memory::default();
    let again =
        |options: &Options| copy_with(Endpoint::local(&source.path), Endpoint::local(&target.path), options, &books);
    again(&Options::default()).unwrap();
    let at = 77 * MIB + 5;
    target.write(at, &[held[usize::try_from(at).unwrap()] ^ 1]);
    let error = again(&Options { verify: Verify::Whole, ..Options::default() }).unwrap_err();
    let found = matches!(error, Error::Mismatch { extents: 1, offset, .. } if offset == 77 * MIB)
        || matches!(error, Error::TargetChanged { offset, .. } if offset == 77 * MIB);
    assert!(found, "{error}");
    again(&Options { overwrite: true, ..Options::default() }).unwrap();
    assert!(target.holds() == held);
}

#[test]
fn a_source_that_grew_is_looked_at_anew() {
    let home = tempfile::tempdir().unwrap();
    let (source, target) = (home.path().join("source"), home.path().join("target"));
    std::fs::write(&source, super::kit::mixed(5, 3 * MIB)).unwrap();
    std::fs::write(&target, vec![0; 8 << 20]).unwrap();
    let books = Memory::default();
    let again = || copy_with(Endpoint::local(&source), Endpoint::local(&target), &Options::default(), &books);
    again().unwrap();
    std::fs::File::options().write(true).open(&source).unwrap().set_len(5 << 20).unwrap();
    let report = again().unwrap();
    assert_eq!((report.extents, report.same, report.target_read), (5, 5, true), "{report:?}");
    super::kit::same(&source, &target);
}

#[test]
fn what_is_not_relied_on_any_more_is_not_after_a_cut_either() {
    let Some((source, target, held)) = disks(6, 8 * MIB) else { return };
    for cut in (6..40).step_by(4) {
        let books = Memory::default();
        let plain = Options { overwrite: true, ..Options::default() };
        copy_with(Endpoint::local(&source.path), Endpoint::local(&target.path), &plain, &books).unwrap();
        // Found at the beginning, and also where nobody looks first.
        target.write(0, b"somebody");
        target.write(5 * MIB + 70_000, b"was here");
        let watch = Watch::new();
        watch.cut_after(cut);
        let options = Options { in_flight: 1, ..plain };
        let (far, from, to) = Far::both(&source.path, &target.path, 1, &watch);
        let first = copy_with(from, to, &options, &books);
        far.gone();
        if first.is_err() {
            copy_with(Endpoint::local(&source.path), Endpoint::local(&target.path), &options, &books).unwrap();
        }
        assert!(target.holds() == held, "cut after {cut}: {first:?}");
    }
}
