//! Crashes at every record, resuming inside a big file, and undo.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::Ordering;

use decamp::copy::Error;
use decamp::copy::options::{Foreign, Options};
use decamp::progress::{Event, Progress};
use decamp::units::Bytes;

use super::kit::{Memory, Pair, deleting, furnish, sh, state, write};

/// A destination with things of somebody else's.
fn occupied() -> Pair {
    let pair = Pair::new();
    furnish(&pair.src);
    write(pair.dst.join("plain"), "theirs");
    write(pair.dst.join("dir/theirs"), "extra");
    write(pair.dst.join("old/dir/file"), "extra too");
    fs::create_dir(pair.dst.join("old/none")).unwrap();
    sh(
        &pair.dst,
        "ln plain shared; chmod 700 dir; chmod 2750 old/dir; setfattr -n user.mine -v 1 old/dir; touch -d 2005-05-05 old/dir dir/theirs old dir .",
    );
    pair
}

fn keeping(pair: &Pair) -> Options {
    Options { foreign: Foreign::Backup(pair.base.path().join("kept")), ..deleting() }
}

#[test]
fn undo_brings_back_the_state_before() {
    let pair = occupied();
    let before = state(&pair.dst);
    let store = Memory::default();
    let report = pair.copy_with(&keeping(&pair), &store).unwrap();
    assert_eq!(report.failed, 0, "{:?}", report.errors);
    pair.assert_same();
    let undone = pair.undo(Some(&pair.base.path().join("kept")), &store).unwrap();
    assert_eq!((undone.left, undone.failed), (0, 0), "{undone:?}");
    assert!(undone.removed > 10 && undone.restored >= 5 && undone.meta_restored > 0, "{undone:?}");
    assert_eq!(state(&pair.dst), before);
    assert_eq!(fs::read_dir(pair.base.path().join("kept")).unwrap().count(), 0);
    let again = pair.undo(Some(&pair.base.path().join("kept")), &store).unwrap();
    assert_eq!((again.removed, again.restored, again.meta_restored, &again.named[..]), (0, 0, 0, &[][..]));
}

#[test]
fn undo_after_several_passes_knows_them_all() {
    let pair = occupied();
    let before = state(&pair.dst);
    let store = Memory::default();
    pair.copy_with(&keeping(&pair), &store).unwrap();
    sh(&pair.src, "printf more >> plain; rm dir/hard2; chmod 711 none; touch none/new; printf x > dir/empty; ln x x2");
    pair.copy_with(&keeping(&pair), &store).unwrap();
    sh(&pair.src, "rm -r none; ln -sfn there link; setfattr -n user.colour -v red dir/sub/file");
    let report = pair.copy_with(&keeping(&pair), &store).unwrap();
    assert_eq!(report.foreign, 0);
    pair.assert_same();
    let undone = pair.undo(Some(&pair.base.path().join("kept")), &store).unwrap();
    assert_eq!((undone.left, undone.failed), (0, 0), "{undone:?}");
    assert_eq!(state(&pair.dst), before);
}

#[test]
fn undo_leaves_what_others_have_changed() {
    let pair = Pair::new();
    furnish(&pair.src);
    let store = Memory::default();
    pair.copy_with(&Options::default(), &store).unwrap();
    sh(&pair.dst, "printf theirs >> dir/sub/file; chmod 600 x; touch none/theirs");
    let undone = pair.undo(None, &store).unwrap();
    let left: Vec<_> = undone.named.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect();
    for path in ["dir/sub/file", "x", "none"] {
        assert!(left.iter().any(|l| l == path), "{path} in {left:?}");
    }
    assert_eq!(sh(&pair.dst, "find . -type f | sort"), "./dir/sub/file\n./none/theirs\n./x\n");
}

/// Dies at the `n`th record of a pass; then resumes, or undoes, with a second death on the way.
#[test]
fn a_death_at_any_record_can_be_resumed_and_undone() {
    let mut points = 0;
    for credit in 0.. {
        let pair = occupied();
        let before = state(&pair.dst);
        let mut store = Memory::default();
        store.with_credit(credit);
        let died = pair.copy_with(&keeping(&pair), &store).is_err();
        store.heal();
        if credit % 2 == 0 {
            let report = pair.copy_with(&keeping(&pair), &store).unwrap();
            assert_eq!(report.failed, 0, "credit {credit}: {:?}", report.errors);
            pair.assert_same();
        }
        store.with_credit(credit / 3);
        let kept = pair.base.path().join("kept");
        let kept = kept.exists().then_some(kept.as_path());
        pair.undo(kept, &store).ok();
        store.heal();
        let undone = pair.undo(kept, &store).unwrap();
        assert_eq!((undone.left, undone.failed), (0, 0), "credit {credit}: {undone:?}");
        assert_eq!(state(&pair.dst), before, "credit {credit}");
        points += 1;
        if !died {
            break;
        }
    }
    assert!(points > 10, "{points}");
}

/// Makes the store fail when so many bytes were copied.
struct After<'a>(u64, std::sync::atomic::AtomicU64, &'a decamp::cancel::Cancel);

impl Progress for After<'_> {
    fn event(&self, event: Event<'_>) {
        if let Event::Advance { bytes, .. } = event
            && self.1.fetch_add(bytes, Ordering::SeqCst) + bytes > self.0
        {
            self.2.cancel(decamp::cancel::Reason::Interrupt);
        }
    }
}

#[test]
fn a_big_file_goes_on_where_it_stopped() {
    for replacing in [false, true] {
        let pair = Pair::in_dir(std::path::Path::new("/dev/shm"));
        let content: Vec<u8> = (0..64 << 20_u32).map(|at: u32| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        fs::write(pair.src.join("big"), &content).unwrap();
        if replacing {
            write(pair.dst.join("big"), "old");
        }
        let store = Memory::default();
        let options = Options { big_file: Some(Bytes(4 << 20)), ..Options::default() };
        let cancel = decamp::cancel::Cancel::new();
        let progress = After(30 << 20, 0.into(), &cancel);
        let work = decamp::copy::Work { progress: &progress, checkpoint: &store, cancel: &cancel };
        assert!(decamp::copy::tree(&pair.src, &pair.dst, &options, &work).is_err());
        assert_eq!(store.count(5), 1);
        assert_eq!(replacing, fs::read(pair.dst.join("big")).unwrap() == b"old");
        let report = pair.copy_with(&options, &store).unwrap();
        assert_eq!(report.failed, 0);
        assert!(report.copied_bytes < 48 << 20, "{}", report.copied_bytes);
        assert_eq!(store.count(5), 0);
        assert!(fs::read(pair.dst.join("big")).unwrap() == content);
        pair.assert_same();
        assert_eq!(fs::read_dir(&pair.dst).unwrap().count(), 1);
    }
}

/// Threads that share a file leave holes between what they wrote: it is no beginning of the source's any more.
#[test]
fn a_file_that_several_threads_had_begun_is_known_again() {
    let pair = Pair::in_dir(std::path::Path::new("/dev/shm"));
    let mut content = vec![7; 260 << 20];
    content.chunks_mut(4096).enumerate().for_each(|(at, page)| page[..4].copy_from_slice(&(at as u32).to_ne_bytes()));
    fs::write(pair.src.join("big"), &content).unwrap();
    let store = Memory::default();
    let cancel = decamp::cancel::Cancel::new();
    let progress = After(60 << 20, 0.into(), &cancel);
    let work = decamp::copy::Work { progress: &progress, checkpoint: &store, cancel: &cancel };
    // Slow enough that all of them are at work before it stops.
    let rate = decamp::rate::Rate::new(Some(Bytes(100 << 20)));
    let options = Options { rate, foreign: Foreign::Refuse, ..Options::default() };
    assert!(decamp::copy::tree(&pair.src, &pair.dst, &options, &work).is_err());
    let length = fs::metadata(pair.dst.join("big")).unwrap().len();
    assert!(length > 64 << 20, "only one thread was at work: {length}");
    let report = pair.copy_with(&Options { foreign: Foreign::Refuse, ..Options::default() }, &store).unwrap();
    assert_eq!((report.failed, &report.errors[..]), (0, &[][..]));
    assert!(fs::read(pair.dst.join("big")).unwrap() == content);
    pair.assert_same();
}

#[test]
fn a_big_file_that_changed_starts_over() {
    let pair = Pair::in_dir(std::path::Path::new("/dev/shm"));
    fs::write(pair.src.join("big"), vec![1; 64 << 20]).unwrap();
    let store = Memory::default();
    let options = Options { big_file: Some(Bytes(4 << 20)), ..Options::default() };
    let cancel = decamp::cancel::Cancel::new();
    let progress = After(30 << 20, 0.into(), &cancel);
    let work = decamp::copy::Work { progress: &progress, checkpoint: &store, cancel: &cancel };
    assert!(decamp::copy::tree(&pair.src, &pair.dst, &options, &work).is_err());
    fs::write(pair.src.join("big"), vec![2; 64 << 20]).unwrap();
    let report = pair.copy_with(&options, &store).unwrap();
    assert_eq!(report.copied_bytes, 64 << 20);
    pair.assert_same();
}

#[test]
fn undo_removes_what_was_only_begun() {
    let pair = Pair::in_dir(std::path::Path::new("/dev/shm"));
    fs::write(pair.src.join("big"), vec![1; 64 << 20]).unwrap();
    fs::set_permissions(&pair.dst, fs::Permissions::from_mode(0o711)).unwrap();
    let before = state(&pair.dst);
    let store = Memory::default();
    let options = Options { big_file: Some(Bytes(4 << 20)), ..Options::default() };
    let cancel = decamp::cancel::Cancel::new();
    let progress = After(30 << 20, 0.into(), &cancel);
    let work = decamp::copy::Work { progress: &progress, checkpoint: &store, cancel: &cancel };
    assert!(decamp::copy::tree(&pair.src, &pair.dst, &options, &work).is_err());
    assert!(pair.dst.join("big").exists());
    let undone = pair.undo(None, &store).unwrap();
    assert_eq!((undone.left, undone.failed, undone.removed), (0, 0, 1));
    assert_eq!(state(&pair.dst), before);
}

/// Records may be lost with the end of their store; what they told of is counted all the same, and nothing else is.
#[test]
fn undo_counts_what_no_record_tells_of() {
    for kinds in [&[2][..], &[4], &[2, 4]] {
        let pair = Pair::new();
        for n in 0..6 {
            write(pair.src.join(format!("new-{n}/file")), "new");
            write(pair.src.join(format!("there/new-{n}")), "new");
            write(pair.src.join(format!("both-{n}")), "a newer one");
            write(pair.dst.join(format!("both-{n}")), "old");
            write(pair.dst.join(format!("theirs-{n}")), "extra");
        }
        write(pair.src.join("same"), "same");
        write(pair.dst.join("there/own"), "own");
        write(pair.base.path().join("kept/another run's"), "not ours");
        sh(
            pair.base.path(),
            "touch -d 2005-05-05 src/same dst/same; printf same > dst/same; touch -d 2005-05-05 dst/same",
        );
        let list = |root: &std::path::Path| sh(root, "find . -type f -printf '%P\n' | sort");
        let before = list(&pair.dst);
        let store = Memory::default();
        assert_eq!(pair.copy_with(&keeping(&pair), &store).unwrap().failed, 0);
        for kind in kinds {
            store.forget_half(*kind);
        }
        let kept = pair.base.path().join("kept");
        for _ in 0..2 {
            let undone = pair.undo(Some(&kept), &store).unwrap();
            assert_eq!((undone.failed, undone.left as usize), (0, undone.named.len()), "{undone:?}");
            let named: Vec<String> =
                undone.named.iter().map(|(path, _)| String::from_utf8_lossy(path).into_owned()).collect();
            let mut left: Vec<String> = list(&pair.dst).lines().map(str::to_owned).collect();
            left.retain(|path| !before.lines().any(|old| old == path));
            left.extend(list(&kept).lines().filter(|path| *path != "another run's").map(str::to_owned));
            assert!(left.len() > 2, "{left:?}");
            for path in &left {
                assert!(named.contains(path), "{kinds:?}: {path} is left and not among {named:?}");
            }
            for path in &named {
                let there = pair.dst.join(path).exists() || kept.join(path).exists();
                assert!(there && !["same", "there"].contains(&path.as_str()), "{kinds:?}: {path}");
            }
        }
    }
}

/// What the run made is all there is once the backup is gone.
#[test]
fn undo_leaves_what_has_lost_its_backup() {
    let pair = occupied();
    write(pair.src.join("tree/file"), "new");
    write(pair.dst.join("tree"), "a file of theirs");
    write(pair.src.join("other"), "new");
    write(pair.dst.join("other"), "their old one");
    let store = Memory::default();
    assert_eq!(pair.copy_with(&keeping(&pair), &store).unwrap().failed, 0);
    let kept = pair.base.path().join("kept");
    // One is gone, one has another inode, one was edited in its place, one was no replacement.
    sh(&kept, "rm plain tree dir/theirs; cp other other2; mv other2 other; printf edited >> old/dir/file");
    let undone = pair.undo(Some(&kept), &store).unwrap();
    let named: Vec<_> =
        undone.named.iter().map(|(path, why)| format!("{}: {why}", String::from_utf8_lossy(path))).collect();
    for start in [
        "plain: its backup is gone",
        "tree: its backup is gone",
        "dir/theirs: its backup is gone",
        "other: its backup is gone: something else",
        "old/dir/file: it was changed in the backup directory",
    ] {
        assert_eq!(named.iter().filter(|line| line.starts_with(start)).count(), 1, "{start} in {named:?}");
    }
    assert_eq!(named.len(), 5, "{named:?}");
    assert_eq!(sh(&pair.dst, "cat plain tree/file other old/dir/file"), "plainnewnewextra tooedited");
    assert_eq!(undone.failed, 0);
    // Without the backup directory nothing is removed for what was in it.
    let pair = occupied();
    let store = Memory::default();
    pair.copy_with(&keeping(&pair), &store).unwrap();
    let undone = pair.undo(None, &store).unwrap();
    assert!(undone.left > 3, "{undone:?}");
    assert_eq!(sh(&pair.dst, "cat plain"), "plain");
}

/// A directory that the run had not come to remove yet is neither removed nor named.
#[test]
fn undo_says_nothing_of_a_directory_that_was_there_before() {
    for credit in 0.. {
        let pair = Pair::new();
        write(pair.src.join("way"), "a file");
        write(pair.src.join("void"), "a file");
        write(pair.dst.join("way/theirs/file"), "theirs");
        fs::create_dir(pair.dst.join("void")).unwrap();
        let before = state(&pair.dst);
        let mut store = Memory::default();
        store.with_credit(credit);
        let died = pair.copy_with(&keeping(&pair), &store).is_err();
        store.heal();
        let kept = pair.base.path().join("kept");
        for _ in 0..2 {
            let undone = pair.undo(Some(&kept), &store).unwrap();
            assert_eq!((undone.left, undone.failed), (0, 0), "credit {credit}: {undone:?}");
            assert_eq!(state(&pair.dst), before, "credit {credit}");
        }
        if !died {
            break;
        }
    }
}

#[test]
fn what_only_a_deleting_pass_removes_can_be_left_to_it() {
    let pair = Pair::new();
    write(pair.src.join("way"), "a file");
    sh(&pair.src, "ln way free; ln way another");
    write(pair.dst.join("way/theirs"), "theirs");
    assert_eq!(pair.copy(&Options::default()).unwrap().failed, 1);
    for dry_run in [true, false] {
        let options = Options { more_follow: true, dry_run, ..Options::default() };
        let report = pair.copy(&options).unwrap();
        assert_eq!((report.failed, report.skipped), (0, 1), "{report:?}");
    }
    assert_eq!(sh(&pair.dst, "cat way/theirs free another"), "theirsa filea file");
    let report = pair.copy(&Options { more_follow: true, ..deleting() }).unwrap();
    assert_eq!((report.failed, report.skipped), (0, 0), "{report:?}");
    pair.assert_same();
}

#[test]
fn data_with_the_name_of_the_marker_is_not_left_out_in_silence() {
    use decamp::copy::options::{CompareOptions, ScanOptions};
    for make in ["mkdir .decamp-run", "printf data > .decamp-run", "ln -s x .decamp-run", "mkfifo .decamp-run"] {
        let pair = Pair::new();
        sh(&pair.src, make);
        let cancel = decamp::cancel::Cancel::new();
        let checkpoint = &decamp::progress::Forgetful;
        let work = decamp::copy::Work { progress: &decamp::progress::Silent, checkpoint, cancel: &cancel };
        let bad =
            |result: Result<(), Error>| assert!(matches!(result, Err(Error::BadMarker { .. })), "{make}: {result:?}");
        bad(pair.copy(&Options::default()).map(|_| ()));
        bad(decamp::copy::scan(&pair.src, &ScanOptions::default(), &work).map(|_| ()));
        bad(decamp::copy::compare(&pair.src, &pair.dst, &CompareOptions::default(), &work).map(|_| ()));
    }
    let pair = Pair::new();
    sh(&pair.src, r"printf 'decamp run 1\nrun r\nhost h\nat now\n' > .decamp-run; touch file");
    pair.copy_all(&Options::default());
    pair.assert_same();
    assert!(!pair.dst.join(".decamp-run").exists());
}

/// What somebody changed, or put in the place of, an entry that the run made is theirs.
#[test]
fn what_others_changed_is_no_longer_the_runs() {
    let setup = || {
        let pair = Pair::new();
        for name in ["edited", "reused", "moded", "gone", "fine", "dir/fine"] {
            write(pair.src.join(name), "one");
        }
        sh(&pair.src, "ln fine linked; ln fine dir/linked; ln edited edited2; mkdir dir/sub");
        let store = Memory::default();
        pair.copy_with(&keeping(&pair), &store).unwrap();
        // Nothing changed: nothing is foreign, however often.
        for _ in 0..2 {
            assert_eq!(pair.copy_with(&keeping(&pair), &store).unwrap().foreign, 0);
        }
        sh(
            &pair.dst,
            "printf theirs > edited; chmod 600 moded; printf theirs >> gone
             rm reused; for i in $(seq 50); do printf 'their file' > reused.$i; done; mv reused.1 reused; rm reused.*",
        );
        sh(&pair.src, "for f in edited reused moded fine dir/fine; do printf 'source two' > $f; done; rm gone");
        sh(&pair.src, "printf 'source three' > reused; chmod 711 dir/sub");
        (pair, store)
    };
    let theirs = "theirstheirstheir fileoneonetheirs";
    let (pair, store) = setup();
    let report = pair.copy_with(&keeping(&pair), &store).unwrap();
    // Of `edited` both names.
    assert_eq!((report.failed, report.foreign, report.backed_up), (0, 5, 5), "{report:?}");
    pair.assert_same();
    let kept = pair.base.path().join("kept");
    assert_eq!(sh(&kept, "cat edited edited2 reused moded gone"), theirs);
    let undone = pair.undo(Some(&kept), &store).unwrap();
    assert_eq!((undone.failed, undone.left), (0, 0), "{undone:?}");
    assert_eq!(sh(&pair.dst, "cat edited edited2 reused moded gone"), theirs);

    let (pair, store) = setup();
    let report = pair.copy_with(&Options { foreign: Foreign::Refuse, ..deleting() }, &store).unwrap();
    assert_eq!((report.failed, report.foreign), (5, 5), "{report:?}");
    assert_eq!(sh(&pair.dst, "cat edited edited2 reused moded gone"), theirs);

    let (pair, store) = setup();
    let report = pair.copy_with(&deleting(), &store).unwrap();
    assert_eq!((report.failed, report.foreign), (0, 5), "{report:?}");
    pair.assert_same();
}

/// However a pass dies, the next ones know the work of their own run, hard links and changed metadata included.
#[test]
fn a_death_makes_nothing_foreign() {
    for credit in 0.. {
        let pair = Pair::new();
        furnish(&pair.src);
        let mut store = Memory::default();
        let refusing = Options { foreign: Foreign::Refuse, ..deleting() };
        store.with_credit(credit);
        let mut died = pair.copy_with(&refusing, &store).is_err();
        store.heal();
        let change = "for f in plain x dir/sub/file; do printf more >> $f; done; chmod 700 dir/empty; ln x x2";
        sh(&pair.src, change);
        store.with_credit(credit);
        died |= pair.copy_with(&refusing, &store).is_err();
        store.heal();
        sh(&pair.src, "ln x dir/x3; printf again >> plain; chmod 711 dir/empty");
        let report = pair.copy_with(&refusing, &store).unwrap();
        assert_eq!((report.failed, report.foreign), (0, 0), "credit {credit}: {report:?}");
        pair.assert_same();
        let report = pair.copy_with(&refusing, &store).unwrap();
        assert_eq!((report.foreign, report.updated), (0, 0), "credit {credit}: {report:?}");
        if !died {
            assert!(credit > 10);
            break;
        }
    }
}

/// What a process that died had begun in the run's own directories is the run's, whatever became of the source since.
#[test]
fn a_source_that_changes_after_a_death_makes_nothing_foreign() {
    // The finished directory belongs to somebody else, and others may write to it.
    let changes = "chown 1000:1000 sub; chmod 777 sub; printf 77 > sub/changed; printf 7 > sub/same-size; rm sub/gone; chmod 600 sub/moded
        printf new > new; mv new sub/replaced; rm sub/typed; ln -s x sub/typed
        printf 77 > changed; rm gone; rm -r gone-dir";
    let names = ["changed", "same-size", "gone", "moded", "replaced", "typed"];
    let mut known = 0;
    for (credit, undone) in (0..).flat_map(|credit| [(credit, false), (credit, true)]) {
        let pair = Pair::new();
        for name in names {
            write(pair.src.join(name), "1");
            write(pair.src.join("sub").join(name), "1");
        }
        write(pair.src.join("gone-dir/file"), "1");
        let before = state(&pair.dst);
        let mut store = Memory::default();
        let refusing = Options { foreign: Foreign::Refuse, ..deleting() };
        store.with_credit(credit);
        let died = pair.copy_with(&refusing, &store).is_err();
        store.heal();
        known += fs::read_dir(&pair.dst).unwrap().count();
        sh(&pair.src, changes);
        if undone {
            let report = pair.undo(None, &store).unwrap();
            assert_eq!((report.left, report.failed), (0, 0), "credit {credit}: {report:?}");
        } else {
            let report = pair.copy_with(&refusing, &store).unwrap();
            assert_eq!((report.failed, report.foreign), (0, 0), "credit {credit}: {report:?}");
            pair.assert_same();
            let report = pair.undo(None, &store).unwrap();
            assert_eq!((report.left, report.failed), (0, 0), "credit {credit}, after the next: {report:?}");
        }
        assert_eq!(state(&pair.dst), before, "credit {credit}");
        if !died && undone {
            break;
        }
    }
    assert!(known > 10, "{known}");
}

/// In a directory that others may write to, or that was not empty, it is theirs unless its content says otherwise.
#[test]
fn what_others_may_have_made_is_not_the_runs() {
    for (mode, before) in [("777", "true"), ("755", "touch there")] {
        let pair = Pair::new();
        write(pair.src.join("file"), "of the source");
        sh(&pair.dst, &format!("chmod {mode} .; {before}"));
        let mut store = Memory::default();
        for credit in 0..10 {
            store.with_credit(credit);
            assert!(pair.copy_with(&Options::default(), &store).is_err(), "{mode}: no intent was kept");
            if store.count(1) == 1 {
                break;
            }
        }
        store.heal();
        write(pair.dst.join("file"), "theirs");
        let undone = pair.undo(None, &store).unwrap();
        assert_eq!((undone.left, undone.removed), (1, 0), "{mode}: {undone:?}");
        let report = pair.copy_with(&Options { foreign: Foreign::Refuse, ..Options::default() }, &store).unwrap();
        assert_eq!((report.failed, report.foreign), (1, 1), "{mode}: {report:?}");
        assert_eq!(fs::read(pair.dst.join("file")).unwrap(), b"theirs");
    }
}

#[test]
fn undo_that_dies_twice_among_hard_links_still_knows_them() {
    for (first, second) in (0..8).flat_map(|first| (0..8).map(move |second| (first, second))) {
        for late in [(false, false), (false, true), (true, false), (true, true)] {
            let pair = Pair::new();
            write(pair.src.join("a"), "a");
            sh(&pair.src, "mkdir d; ln a b; ln a d/c; ln a d/e");
            let mut store = Memory::default();
            pair.copy_with(&keeping(&pair), &store).unwrap();
            for (credit, late) in [(first, late.0), (second, late.1)] {
                store.late = late;
                store.with_credit(credit);
                pair.undo(None, &store).ok();
            }
            store.heal();
            let undone = pair.undo(None, &store).unwrap();
            let deaths = format!("deaths at {first} and {second}, late {late:?}");
            assert_eq!((undone.left, undone.failed), (0, 0), "{deaths}: {undone:?}");
            assert_eq!(fs::read_dir(&pair.dst).unwrap().count(), 0, "{deaths}");
        }
    }
}
