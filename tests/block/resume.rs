//! Cuts at any message, and what is done again after them.

use decamp::block::{Endpoint, Error, Options, Verify};

use super::kit::{Disk, Far, MIB, Memory, Watch, copy_with, disks};
use crate::support::rng::Rng;

/// Copies over lines that break after so many messages; then again, over whole ones.
fn cut_and_resume(source: &Disk, target: &Disk, held: &[u8], lines: usize, cut: i64, options: &Options) -> (bool, u32) {
    let (books, watch) = (Memory::default(), Watch::new());
    watch.cut_after(cut);
    let (far, from, to) = Far::both(&source.path, &target.path, lines, &watch);
    let first = copy_with(from, to, options, &books);
    let well = far.gone();
    if let Ok(report) = first {
        // Cut or not, what says that it is done is done.
        assert!(target.holds() == held, "cut after {cut}");
        assert_eq!(report.sent + report.zero + report.same + report.already, report.extents);
        return (false, 0);
    }
    assert!(matches!(first, Err(Error::Broken { .. })), "{first:?}");
    assert!(!well, "the far side took a cut for the end");
    watch.mend();
    let (far, from, to) = Far::both(&source.path, &target.path, lines, &watch);
    let report = copy_with(from, to, options, &books).unwrap();
    assert!(far.gone() && target.holds() == held, "cut after {cut}");
    assert_eq!(report.sent + report.zero + report.same + report.already, report.extents);
    (true, watch.again())
}

#[test]
fn a_cut_at_every_message_is_made_good_and_nothing_that_arrived_is_sent_again() {
    let Some((source, target, held)) = disks(1, 4 * MIB) else { return };
    let options = Options { in_flight: 3, ..Options::default() };
    let mut cuts = 0;
    for cut in 0.. {
        target.write(0, &vec![5; 4 << 20]);
        let (was_cut, again) = cut_and_resume(&source, &target, &held, 1, cut, &options);
        assert_eq!(again, 0, "cut after {cut}");
        cuts += u32::from(was_cut);
        if !was_cut {
            break;
        }
    }
    assert!(cuts > 30, "{cuts}");
}

#[test]
fn cuts_at_random_over_four_lines() {
    let Some((source, target, held)) = disks(2, 32 * MIB) else { return };
    let mut rng = Rng::new(7);
    let mut cuts = 0;
    for _ in 0..12 {
        target.write(0, &vec![5; 32 << 20]);
        let cut = 8 + i64::try_from(rng.below(150)).unwrap();
        let (was_cut, again) = cut_and_resume(&source, &target, &held, 4, cut, &Options::default());
        assert_eq!(again, 0, "cut after {cut}");
        cuts += u32::from(was_cut);
    }
    assert!(cuts > 6, "{cuts}");
}

#[test]
fn cut_again_and_again_it_still_ends_and_never_sends_what_is_there() {
    let Some((source, target, held)) = disks(3, 128 * MIB) else { return };
    let (books, watch) = (Memory::default(), Watch::new());
    for attempt in 0.. {
        assert!(attempt < 60, "no progress");
        watch.cut_after(200);
        let (far, to) = Far::only_target(&target.path, 2, &watch);
        let result = copy_with(Endpoint::local(&source.path), to, &Options::default(), &books);
        far.gone();
        match result {
            Err(Error::Broken { .. }) => {}
            Ok(report) => {
                assert!(attempt > 1 && report.already > 0, "{report:?}");
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(target.holds() == held);
    assert_eq!(watch.again(), 0);
}

#[test]
fn what_the_books_have_is_neither_read_nor_sent() {
    let Some((source, target, held)) = disks(4, 8 * MIB) else { return };
    let (books, watch) = (Memory::default(), Watch::new());
    let options = Options { verify: Verify::None, ..Options::default() };
    // Everything but the last word: the end of the pass cannot be entered.
    struct Full<'a>(&'a Memory, std::sync::atomic::AtomicU32);
    impl decamp::progress::Checkpoint for Full<'_> {
        fn put(&self, records: &[decamp::progress::Record<'_>]) -> Result<(), decamp::progress::CheckpointError> {
            use std::sync::atomic::Ordering::SeqCst;
            let header = records.iter().any(|record| record.kind == 64);
            if header && self.1.fetch_add(1, SeqCst) == 2 {
                return Err(decamp::progress::CheckpointError("full".into()));
            }
            self.0.put(records)
        }
        fn get(&self, kind: u8, key: &[u8]) -> Result<Option<Vec<u8>>, decamp::progress::CheckpointError> {
            self.0.get(kind, key)
        }
        fn visit(
            &self,
            kind: u8,
            prefix: &[u8],
            reverse: bool,
            visit: &mut decamp::progress::Visit<'_>,
        ) -> Result<(), decamp::progress::CheckpointError> {
            self.0.visit(kind, prefix, reverse, visit)
        }
        fn sync(&self) -> Result<(), decamp::progress::CheckpointError> {
            Ok(())
        }
    }
    let full = Full(&books, 0.into());
    let error = copy_with(Endpoint::local(&source.path), Endpoint::local(&target.path), &options, &full).unwrap_err();
    assert!(matches!(error, Error::Checkpoint(_)), "{error}");
    let (far, to) = Far::only_target(&target.path, 1, &watch);
    let report = copy_with(Endpoint::local(&source.path), to, &options, &books).unwrap();
    assert!(far.gone() && target.holds() == held);
    assert_eq!((report.already, report.sent, report.pass), (8, 0, 1), "{report:?}");
    assert_eq!(watch.arrived(), 0);
}

#[test]
fn a_source_that_changed_between_two_attempts_is_seen_where_it_was_in_doubt() {
    let Some((source, target, mut held)) = disks(5, 8 * MIB) else { return };
    let books = Memory::default();
    copy_with(Endpoint::local(&source.path), Endpoint::local(&target.path), &Options::default(), &books).unwrap();
    let old = held.clone();
    // The second pass writes something new and dies; then the source is as it was.
    let at = 5 << 20;
    held[at..at + 9].copy_from_slice(b"a change!");
    source.write(0, &held);
    let mut doubted = false;
    for cut in 8..60 {
        let watch = Watch::new();
        watch.cut_after(cut);
        let (far, from, to) = Far::both(&source.path, &target.path, 1, &watch);
        let result = copy_with(from, to, &Options::default(), &books);
        far.gone();
        doubted |= result.is_err() && target.holds() != old;
        if doubted {
            break;
        }
    }
    assert!(doubted, "no cut left the change on the target");
    source.write(0, &old);
    let report = copy_with(Endpoint::local(&source.path), Endpoint::local(&target.path), &Options::default(), &books);
    assert!(report.is_ok() && target.holds() == old, "{report:?}");
}
