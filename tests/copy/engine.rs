//! Passes: what arrives, what a second pass finds, what is deleted and what never is.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use decamp::copy::Error;
use decamp::copy::claim::{self, BY_HAND, Marker};
use decamp::copy::options::{CompareOptions, Content, Equality, Foreign, Loss, MaxDelete, Options};
use decamp::copy::report::Report;
use decamp::progress::{Event, Forgetful, Progress};

use super::kit::{Memory, Pair, compare, deleting, furnish, is_root, scan, sh, write};

/// A marker of a run.
const MARKER: &str = "decamp run 1\nrun r\nhost h\nat now\n";

#[test]
fn everything_arrives_and_a_second_pass_finds_nothing_to_do() {
    let pair = Pair::new();
    furnish(&pair.src);
    let first = pair.copy_all(&Options::default());
    // The root existed and only its metadata was set.
    assert_eq!(first.created.entries() + 1, first.listed.entries());
    assert_eq!(first.meta_updated, 1);
    pair.assert_same();
    assert_eq!(scan(&pair.src).digest, compare(&pair.src, &pair.dst, &CompareOptions::default()).left.digest);
    let second = pair.copy_all(&deleting());
    assert_eq!(second.unchanged, second.listed.entries());
    assert_eq!((second.copied_bytes, second.deleted), (0, 0));
    assert!(fs::metadata(pair.dst.join("sparse")).unwrap().blocks() < 1000);
}

#[test]
fn a_missing_destination_is_made_and_its_parent_is_not() {
    let pair = Pair::new();
    furnish(&pair.src);
    fs::remove_dir(&pair.dst).unwrap();
    let report = pair.copy_all(&Options::default());
    assert_eq!(report.created, report.listed);
    pair.assert_same();
    fs::remove_dir_all(&pair.dst).unwrap();
    let lost = Pair { dst: pair.dst.join("below"), ..pair };
    assert!(matches!(lost.copy(&Options::default()), Err(Error::NotFound { .. })));
}

#[test]
fn the_umask_and_the_destinations_inheritance_do_not_leak() {
    let pair = Pair::new();
    furnish(&pair.src);
    sh(&pair.dst, "chmod 2777 .; setfacl -d -m u:4321:rwx . || true");
    // The root's own ACL goes at the end of the pass, after everything was made below it.
    pair.copy_all(&Options::default());
    pair.assert_same();
}

#[test]
fn a_change_of_any_single_property_is_found_by_the_next_pass() {
    let pair = Pair::new();
    furnish(&pair.src);
    pair.copy_all(&Options::default());
    let mut changes = vec![
        ("touch -d '2011-01-01 00:00:00.000000001' plain", "updated"),
        ("printf 'other' > dir/empty", "updated"),
        ("chmod 0640 dir/sub/file", "meta"),
        ("chmod 0700 none", "meta"),
        ("setfattr -n user.colour -v red dir/sub/file", "meta"),
        ("setfattr -x user.colour dir/sub/file", "meta"),
        ("setfacl -m u:77:rw dir/sub/file", "meta"),
        ("touch -h -d 2003-03-03 link", "meta"),
        ("ln -sfn elsewhere link", "updated"),
    ];
    if is_root() {
        changes.push(("chown 5:6 dir/sub/file", "meta"));
        changes.push(("chown -h 7:8 dir/dangling", "meta"));
        changes.push(("setcap cap_kill+ep dir/sub/file", "meta"));
        changes.push(("rm null; mknod null c 1 5", "updated"));
    }
    for (change, kind) in changes {
        sh(&pair.src, change);
        let planned = pair.copy_all(&Options { dry_run: true, ..Options::default() });
        let report = pair.copy_all(&Options::default());
        let counts = |report: &Report| (report.updated, report.meta_updated, report.copied_bytes);
        assert_eq!(counts(&planned), counts(&report), "{change}");
        match kind {
            "meta" => assert!(report.updated == 0 && report.meta_updated > 0, "{change}: {report:?}"),
            _ => assert!(report.updated > 0, "{change}: {report:?}"),
        }
        pair.assert_same();
    }
}

#[test]
fn content_that_metadata_does_not_betray_is_found_by_reading() {
    let pair = Pair::new();
    write(pair.src.join("f"), "same size A");
    pair.copy_all(&Options::default());
    sh(pair.base.path(), "printf 'same size B' > dst/f; touch -r src/f dst/f");
    assert_eq!(pair.copy_all(&Options::default()).updated, 0);
    let content = Options { equality: Equality::Content, ..Options::default() };
    assert_eq!(pair.copy_all(&content).updated, 1);
    assert_eq!(pair.copy_all(&content).unchanged, 2);
    sh(&pair.src, "touch -d 2010-01-01 f");
    assert_eq!(pair.copy_all(&content).meta_updated, 1);
    pair.assert_same();
}

#[test]
fn a_dry_run_changes_nothing_and_counts_what_a_real_run_does() {
    let pair = Pair::new();
    furnish(&pair.src);
    write(pair.dst.join("plain"), "in the way");
    write(pair.dst.join("dir/sub/extra/deep"), "extra");
    write(pair.dst.join("link/now/a/directory"), "x");
    write(pair.dst.join("none"), "a file where a directory goes");
    let before = sh(&pair.dst, "find . -printf '%p %i %T@ %C@ %m %u %s\\n' | sort");
    let plan = pair.copy(&Options { dry_run: true, ..deleting() }).unwrap();
    assert_eq!(before, sh(&pair.dst, "find . -printf '%p %i %T@ %C@ %m %u %s\\n' | sort"));
    assert!(plan.planned);
    let real = pair.copy(&deleting()).unwrap();
    let flat = |report: Report| {
        let counts = (report.listed, report.created, report.updated, report.meta_updated, report.unchanged);
        (counts, report.deleted, report.foreign, report.failed, report.copied_bytes, report.dest_entries)
    };
    assert_eq!(flat(plan), flat(real));
    pair.assert_same();
}

#[test]
fn a_dry_run_without_a_destination_counts_everything() {
    let pair = Pair::new();
    furnish(&pair.src);
    fs::remove_dir(&pair.dst).unwrap();
    let plan = pair.copy(&Options { dry_run: true, ..Options::default() }).unwrap();
    assert!(!pair.dst.exists());
    let real = pair.copy_all(&Options::default());
    assert_eq!((plan.created, plan.copied_bytes), (real.created, real.copied_bytes));
}

#[test]
fn the_guard_refuses_before_anything_is_deleted() {
    let pair = Pair::new();
    write(pair.src.join("new"), "n");
    for number in 0..20 {
        write(pair.dst.join(format!("old/{number}")), "o");
    }
    let options = Options { delete: true, max_delete: MaxDelete::Count(20), ..Options::default() };
    match pair.copy(&options) {
        Err(Error::TooManyDeletes { would: 21, limit: 20, dest_entries: 21 }) => {}
        other => panic!("{other:?}"),
    }
    assert_eq!(fs::read_dir(pair.dst.join("old")).unwrap().count(), 20);
    assert!(pair.dst.join("new").exists());
    let report = pair.copy_all(&Options { max_delete: MaxDelete::Count(21), ..options });
    assert_eq!(report.deleted, 21);
    pair.assert_same();
}

#[test]
fn an_empty_source_is_not_believed() {
    let pair = Pair::new();
    write(pair.dst.join("precious"), "p");
    write(pair.src.join(".decamp-run"), MARKER);
    assert!(matches!(pair.copy(&deleting()), Err(Error::EmptySource { .. })));
    assert!(pair.dst.join("precious").exists());
    let accept = [Loss::EmptySource].into();
    assert_eq!(pair.copy_all(&Options { accept, ..deleting() }).deleted, 1);
}

#[test]
fn the_runs_marker_is_neither_copied_nor_deleted_nor_compared() {
    let pair = Pair::new();
    write(pair.src.join("a"), "a");
    write(pair.src.join("sub/.decamp-run"), "data like any other");
    write(pair.dst.join(".decamp-run"), MARKER);
    pair.copy_all(&deleting());
    pair.assert_same();
    assert_eq!(fs::read_to_string(pair.dst.join(".decamp-run")).unwrap(), MARKER);
    assert!(pair.dst.join("sub/.decamp-run").exists());
}

#[test]
fn types_change_both_ways() {
    let pair = Pair::new();
    write(pair.src.join("a"), "file");
    write(pair.src.join("b/inner"), "x");
    symlink("t", pair.src.join("c")).unwrap();
    write(pair.dst.join("a/x/y"), "directory");
    write(pair.dst.join("b"), "file");
    fs::create_dir(pair.dst.join("c")).unwrap();
    let report = pair.copy(&Options::default()).unwrap();
    assert_eq!(report.failed, 1);
    assert_eq!(report.errors[0].path, b"a");
    let report = pair.copy_all(&deleting());
    assert_eq!((report.updated, report.deleted), (1, 3));
    pair.assert_same();
}

#[test]
fn hard_links_follow_the_source_exactly() {
    let pair = Pair::new();
    // a-b-c are one inode on the source; d and e are two. In the destination it is the other way round.
    sh(&pair.src, "printf one > a; ln a b; mkdir s; ln a s/c; printf two > d; printf two > e; touch -r a b d e s/c");
    pair.copy_all(&Options::default());
    pair.assert_same();
    sh(&pair.dst, "rm b; cp -p a b; rm s/c; cp -p a s/c; rm e; ln d e");
    assert!(compare(&pair.src, &pair.dst, &CompareOptions::default()).differences >= 2);
    pair.copy_all(&Options::default());
    pair.assert_same();
    // Dissolved on the source.
    sh(&pair.src, "cp -p b b2; mv b2 b");
    pair.copy_all(&Options::default());
    pair.assert_same();
}

#[test]
fn a_file_shared_with_the_world_outside_is_not_changed_in_place() {
    let pair = Pair::new();
    write(pair.src.join("f"), "content");
    pair.copy_all(&Options::default());
    let outside = pair.base.path().join("outside");
    fs::hard_link(pair.dst.join("f"), &outside).unwrap();
    let before = fs::metadata(&outside).unwrap().mode();
    fs::set_permissions(pair.src.join("f"), fs::Permissions::from_mode(0o711)).unwrap();
    pair.copy_all(&Options::default());
    pair.assert_same();
    assert_eq!(fs::metadata(&outside).unwrap().mode(), before);
}

#[test]
fn many_names_of_many_inodes_meet_in_many_directories() {
    let pair = Pair::new();
    sh(
        &pair.src,
        "for f in 1 2 3 4 5 6 7 8; do echo $f > f$f; done
         for d in 1 2 3 4 5 6 7 8 9 10 11 12; do mkdir d$d; for f in 1 2 3 4 5 6 7 8; do ln f$f d$d/l$f; done; done",
    );
    pair.copy_all(&Options::default());
    pair.assert_same();
}

#[test]
fn sockets_are_counted_unless_accepted() {
    let pair = Pair::new();
    write(pair.src.join("a"), "a");
    let _socket = std::os::unix::net::UnixListener::bind(pair.src.join("sock")).unwrap();
    let report = pair.copy(&Options::default()).unwrap();
    assert_eq!((report.failed, &report.errors[0].path[..]), (1, &b"sock"[..]));
    let accept: std::collections::BTreeSet<_> = [Loss::Special].into();
    let report = pair.copy_all(&Options { accept: accept.clone(), ..Options::default() });
    assert_eq!(report.skipped, 1);
    let found = compare(&pair.src, &pair.dst, &CompareOptions { accept, ..CompareOptions::default() });
    assert_eq!((found.differences, found.left.digest), (0, found.right.digest));
}

#[test]
fn leftover_temporary_names_go_and_look_alikes_of_the_source_stay() {
    let pair = Pair::new();
    write(pair.src.join("a"), "a");
    write(pair.src.join(".decamp-tmp-0123456789abcdef"), "the source's own");
    write(pair.dst.join(".decamp-tmp-fedcba9876543210"), "left by a crash");
    write(pair.dst.join(".decamp-tmp-xyz"), "somebody's file");
    pair.copy_all(&Options::default());
    assert!(!pair.dst.join(".decamp-tmp-fedcba9876543210").exists());
    assert!(pair.dst.join(".decamp-tmp-xyz").exists());
    assert!(pair.dst.join(".decamp-tmp-0123456789abcdef").exists());
}

#[test]
fn a_directory_with_a_temporary_name_is_one_as_any_other() {
    let pair = Pair::new();
    write(pair.src.join("a"), "newer");
    write(pair.dst.join("a"), "old");
    write(pair.dst.join(".decamp-tmp-fedcba9876543210/file"), "somebody's");
    // The very name that the copy of `a` would have for a while.
    let taken = format!(".decamp-tmp-{}", &blake3::hash(b"a").to_hex()[..16]);
    fs::create_dir(pair.dst.join(&taken)).unwrap();
    let report = pair.copy_all(&Options::default());
    assert_eq!((report.updated, report.deleted), (1, 0));
    assert_eq!(fs::read_to_string(pair.dst.join("a")).unwrap(), "newer");
    assert!(pair.dst.join(".decamp-tmp-fedcba9876543210/file").exists() && pair.dst.join(&taken).is_dir());
    let report = pair.copy_all(&deleting());
    assert_eq!(report.deleted, 3);
    pair.assert_same();
}

#[test]
fn what_the_run_did_not_make_is_refused_kept_or_replaced() {
    let pair = Pair::new();
    write(pair.src.join("d/f"), "new");
    write(pair.dst.join("d/f"), "theirs");
    write(pair.dst.join("d/x"), "extra");
    let refuse = Options { foreign: Foreign::Refuse, ..deleting() };
    let report = pair.copy(&refuse).unwrap();
    assert_eq!((report.failed, report.foreign, report.deleted), (2, 2, 0));
    assert_eq!(fs::read_to_string(pair.dst.join("d/f")).unwrap(), "theirs");
    let backup = pair.base.path().join("backup");
    let keep = Options { foreign: Foreign::Backup(backup.clone()), ..deleting() };
    let report = pair.copy_all(&keep);
    assert_eq!((report.backed_up, report.foreign), (2, 2));
    assert_eq!(fs::read_to_string(backup.join("d/f")).unwrap(), "theirs");
    assert_eq!(fs::read_to_string(backup.join("d/x")).unwrap(), "extra");
    pair.assert_same();
}

#[test]
fn a_backup_directory_inside_the_destination_is_left_alone() {
    let pair = Pair::new();
    write(pair.src.join("a"), "new");
    write(pair.dst.join("a"), "older");
    write(pair.dst.join("b"), "gone");
    let keep = Options { foreign: Foreign::Backup(pair.dst.join("kept")), ..deleting() };
    pair.copy_all(&keep);
    assert_eq!(fs::read_to_string(pair.dst.join("kept/a")).unwrap(), "older");
    let again = pair.copy_all(&keep);
    assert_eq!((again.deleted, again.unchanged), (0, 2));
    assert_eq!(fs::read_to_string(pair.dst.join("kept/b")).unwrap(), "gone");
}

#[test]
fn a_backup_on_another_file_system_is_refused() {
    let pair = Pair::new();
    write(pair.src.join("a"), "new");
    let other = tempfile::tempdir_in("/dev/shm").unwrap();
    if fs::metadata(other.path()).unwrap().dev() == fs::metadata(&pair.dst).unwrap().dev() {
        return;
    }
    let keep = Options { foreign: Foreign::Backup(other.path().join("kept")), ..deleting() };
    assert!(matches!(pair.copy(&keep), Err(Error::BackupElsewhere { .. })));
}

#[test]
fn a_replaced_root_is_refused() {
    let pair = Pair::new();
    write(pair.src.join("a"), "a");
    let ids = (decamp::copy::root_id(&pair.src).unwrap(), decamp::copy::root_id(&pair.dst).unwrap());
    let options = Options { expect: Some(ids), ..deleting() };
    pair.copy_all(&options);
    sh(pair.base.path(), "mv src was; mkdir src; touch src/b");
    assert!(matches!(pair.copy(&options), Err(Error::RootChanged { .. })));
    assert!(pair.dst.join("a").exists());
}

/// Acts once when a phase begins.
struct At<F: Fn() + Send + Sync>(&'static str, AtomicBool, F);

impl<F: Fn() + Send + Sync> Progress for At<F> {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Phase(phase) if phase == self.0) && !self.1.swap(true, Ordering::SeqCst) {
            (self.2)();
        }
    }
}

#[test]
fn a_source_replaced_during_the_pass_deletes_nothing() {
    let pair = Pair::new();
    write(pair.src.join("a"), "a");
    pair.copy_all(&Options::default());
    write(pair.dst.join("extra"), "e");
    let base = pair.base.path().to_owned();
    let progress = At("copy", AtomicBool::new(false), move || {
        sh(&base, "mv src was; mkdir src");
    });
    let result = pair.copy_told(&deleting(), &Forgetful, &progress);
    assert!(matches!(result, Err(Error::RootChanged { .. })), "{result:?}");
    assert!(pair.dst.join("extra").exists() && pair.dst.join("a").exists());
}

#[test]
fn directories_swapped_for_links_never_lead_outside() {
    let pair = Pair::new();
    let outside = pair.base.path().join("outside");
    fs::create_dir(&outside).unwrap();
    for number in 0..300 {
        write(pair.src.join(format!("d{number}/e/f")), "x");
    }
    let stop = AtomicBool::new(false);
    let failed = Mutex::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::SeqCst) {
                for number in 0..300 {
                    for name in [format!("d{number}"), format!("d{number}/e")] {
                        let path = pair.dst.join(&name);
                        if fs::symlink_metadata(&path).is_ok_and(|meta| meta.is_dir())
                            && fs::rename(&path, pair.base.path().join("aside")).is_ok()
                        {
                            symlink(&outside, &path).ok();
                            std::thread::yield_now();
                            fs::remove_file(&path).ok();
                            fs::rename(pair.base.path().join("aside"), &path).ok();
                        }
                        fs::remove_dir_all(pair.base.path().join("aside")).ok();
                    }
                }
            }
        });
        for _ in 0..20 {
            if let Ok(report) = pair.copy(&deleting()) {
                *failed.lock().unwrap() += report.failed;
            }
        }
        stop.store(true, Ordering::SeqCst);
    });
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    fs::remove_dir_all(&pair.dst).unwrap();
    pair.copy_all(&Options::default());
    pair.assert_same();
}

#[test]
fn files_that_change_while_they_are_read_are_counted_and_copied_by_the_next_pass() {
    let pair = Pair::new();
    fs::write(pair.src.join("log"), vec![1; 40 << 20]).unwrap();
    struct Grows(std::path::PathBuf);
    impl Progress for Grows {
        fn event(&self, event: Event<'_>) {
            if matches!(event, Event::Advance { entries: 0, .. }) {
                let mut file = fs::File::options().append(true).open(&self.0).unwrap();
                std::io::Write::write_all(&mut file, b"more").unwrap();
            }
        }
    }
    let report = pair.copy_told(&Options::default(), &Forgetful, &Grows(pair.src.join("log"))).unwrap();
    assert_eq!(report.failed, 0);
    assert_eq!((report.changed, report.created.files), (1, 1));
    assert_eq!(pair.copy_all(&Options::default()).updated, 1);
    pair.assert_same();
}

#[test]
fn one_file_system_leaves_mounts_alone() {
    if !is_root() {
        return;
    }
    let pair = Pair::new();
    write(pair.src.join("a"), "a");
    fs::create_dir(pair.src.join("mnt")).unwrap();
    fs::create_dir(pair.dst.join("other")).unwrap();
    fs::create_dir(pair.dst.join("mnt")).unwrap();
    sh(
        pair.base.path(),
        "mount -t tmpfs none src/mnt; echo x > src/mnt/inside; mount -t tmpfs none dst/other; echo x > dst/other/inside",
    );
    let report = pair.copy(&Options { one_file_system: true, ..deleting() });
    let kept = (pair.dst.join("other/inside").exists(), pair.dst.join("mnt/inside").exists());
    sh(pair.base.path(), "umount src/mnt; umount dst/other");
    assert_eq!(report.unwrap().failed, 0);
    assert_eq!(kept, (true, false));
}

#[test]
fn an_unreadable_directory_of_the_source_deletes_nothing_in_the_destination() {
    let pair = Pair::new();
    write(pair.src.join("open/a"), "a");
    write(pair.src.join("closed/b"), "b");
    pair.copy_all(&Options::default());
    write(pair.dst.join("closed/extra"), "e");
    write(pair.dst.join("open/extra"), "e");
    fs::set_permissions(pair.src.join("closed"), fs::Permissions::from_mode(0o0)).unwrap();
    if is_root() {
        return unreadable_as_nobody(&pair);
    }
    let report = pair.copy(&deleting()).unwrap();
    assert_eq!((report.failed, report.deleted), (1, 1));
    assert!(pair.dst.join("closed/extra").exists());
}

/// Root reads everything; another user's view needs another user's thread.
fn unreadable_as_nobody(pair: &Pair) {
    sh(pair.base.path(), "chown -R 65534:65534 .; chmod 755 .");
    let report = std::thread::scope(|scope| {
        scope
            .spawn(|| {
                // Credentials are per thread for the kernel, and the workers inherit them.
                rustix::thread::set_thread_res_gid(
                    rustix::thread::Gid::from_raw(65534),
                    rustix::thread::Gid::from_raw(65534),
                    rustix::thread::Gid::from_raw(65534),
                )
                .unwrap();
                rustix::thread::set_thread_res_uid(
                    rustix::thread::Uid::from_raw(65534),
                    rustix::thread::Uid::from_raw(65534),
                    rustix::thread::Uid::from_raw(65534),
                )
                .unwrap();
                pair.copy(&deleting())
            })
            .join()
            .unwrap()
    })
    .unwrap();
    assert_eq!((report.failed, report.deleted), (1, 1), "{report:?}");
    assert_eq!(report.errors[0].path, b"closed");
    assert!(pair.dst.join("closed/extra").exists());
    assert!(!pair.dst.join("open/extra").exists());
}

#[test]
fn a_full_destination_is_said_and_the_next_pass_goes_on() {
    if !is_root() {
        return;
    }
    let pair = Pair::new();
    sh(pair.base.path(), "mount -t tmpfs -o size=2M none dst");
    for number in 0..40 {
        fs::write(pair.src.join(format!("f{number}")), vec![number as u8; 100_000]).unwrap();
    }
    let full = pair.copy(&Options::default());
    sh(pair.base.path(), "mount -o remount,size=20M dst");
    let after = pair.copy(&Options::default());
    let found = compare(&pair.src, &pair.dst, &CompareOptions::default());
    sh(pair.base.path(), "mount -o remount,ro dst");
    write(pair.src.join("late"), "l");
    let read_only = pair.copy(&Options::default());
    // Another test may be starting a program just now, and hold our descriptors for an instant.
    sh(pair.base.path(), "for _ in 1 2 3 4 5 6 7 8; do umount dst 2>/dev/null && exit 0; sleep 0.2; done; umount dst");
    assert!(matches!(full, Err(Error::NoSpace { .. })), "{full:?}");
    let after = after.unwrap();
    assert!(after.failed == 0 && after.unchanged > 0, "{after:?}");
    assert_eq!(found.differences, 0, "{:?}", found.named);
    assert!(matches!(read_only, Err(Error::ReadOnly { .. })), "{read_only:?}");
}

#[test]
fn samples_are_the_same_files_each_time() {
    let pair = Pair::new();
    for number in 0..200 {
        write(pair.src.join(format!("f{number}")), format!("{number}"));
    }
    pair.copy_all(&Options::default());
    let options = CompareOptions { content: Content::Sample(25), ..CompareOptions::default() };
    let (one, two) = (compare(&pair.src, &pair.dst, &options), compare(&pair.src, &pair.dst, &options));
    assert!(one.content_files > 20 && one.content_files < 90, "{}", one.content_files);
    assert_eq!((one.content_files, &one.left), (two.content_files, &two.left));
    assert_eq!(one.left, one.right);
}

#[test]
fn compare_names_every_sort_of_difference() {
    let pair = Pair::new();
    furnish(&pair.src);
    pair.copy_all(&Options::default());
    sh(
        &pair.dst,
        "rm dir/sub/file; mkdir only; echo x > only/x; chmod 600 dir/empty; touch -d 2020-01-01 'bad'*name
         printf 'PLAIN' > p; touch -r plain p; chmod --reference=plain p; rm hard1; mv p hard1
         rm link; mkdir link",
    );
    let found = compare(&pair.src, &pair.dst, &CompareOptions::default());
    let has = |what: &str, path: &str| found.named.iter().any(|d| d.what == what && d.path == path.as_bytes());
    for (what, path) in [
        ("only-left", "dir/sub/file"),
        ("only-right", "only"),
        ("only-right", "only/x"),
        ("content", "hard1"),
        ("type", "link"),
    ] {
        assert!(has(what, path), "{what} {path} in {:?}", found.named);
    }
    // Which name is met first, and so is the one the others differ from, is the workers' affair.
    assert!(found.named.iter().any(|difference| difference.what == "hardlink"));
    assert_eq!(found.named.len() as u64, found.differences);
    assert_ne!(found.left.digest, found.right.digest);
    assert_eq!(found.right.digest, scan(&pair.dst).digest);
}

#[test]
fn cancelling_stops_the_pass_and_leaves_no_half_written_file() {
    let pair = Pair::new();
    for number in 0..2_000 {
        write(pair.src.join(format!("d{}/f{number}", number % 50)), vec![1; 5_000]);
    }
    struct Stopper<'a>(&'a decamp::cancel::Cancel, std::sync::atomic::AtomicU64);
    impl Progress for Stopper<'_> {
        fn event(&self, event: Event<'_>) {
            if let Event::Advance { entries, .. } = event
                && self.1.fetch_add(entries, Ordering::SeqCst) > 300
            {
                self.0.cancel(decamp::cancel::Reason::Interrupt);
            }
        }
    }
    let cancel = decamp::cancel::Cancel::new();
    let progress = Stopper(&cancel, 0.into());
    let work = decamp::copy::Work { progress: &progress, checkpoint: &Forgetful, cancel: &cancel };
    // Each worker tells of 64 entries at once: of many workers all might be done before the first tells.
    let few = Options { jobs: std::num::NonZeroUsize::new(4), ..Options::default() };
    let result = decamp::copy::tree(&pair.src, &pair.dst, &few, &work);
    assert!(matches!(result, Err(Error::Cancelled(_))), "{result:?}");
    let partial = compare(&pair.src, &pair.dst, &CompareOptions::default());
    assert!(partial.named.iter().all(|d| d.what != "content" && d.what != "size"), "{:?}", partial.named);
    let report = pair.copy_all(&Options::default());
    assert!(report.unchanged > 0);
    pair.assert_same();
}

#[test]
fn passes_with_a_store_and_without_do_the_same() {
    let (one, two) = (Pair::new(), Pair::new());
    let store = Memory::default();
    for pair in [&one, &two] {
        furnish(&pair.src);
        fs::copy(Path::new("/proc/self/exe"), pair.src.join("exe")).unwrap();
    }
    one.copy_with(&Options::default(), &store).unwrap();
    two.copy_all(&Options::default());
    one.assert_same();
    two.assert_same();
    let again = one.copy_with(&deleting(), &store).unwrap();
    assert_eq!(again.unchanged, again.listed.entries());
}

#[test]
fn a_mount_in_the_destination_alone_is_named() {
    if !is_root() {
        return;
    }
    let pair = Pair::new();
    write(pair.src.join("mnt/inside"), "x");
    fs::create_dir(pair.dst.join("mnt")).unwrap();
    sh(pair.base.path(), "mount -t tmpfs none dst/mnt");
    let options = Options { one_file_system: true, ..Options::default() };
    let report = pair.copy(&options);
    let compared = CompareOptions { one_file_system: true, ..CompareOptions::default() };
    let seen = compare(&pair.src, &pair.dst, &compared);
    sh(pair.base.path(), "umount dst/mnt");
    let report = report.unwrap();
    assert_eq!((report.failed, report.errors[0].path.as_slice()), (1, &b"mnt"[..]), "{report:#?}");
    assert!(seen.differences > 0, "{seen:#?}");
}

#[test]
fn a_destination_inside_one_that_is_taken_is_refused() {
    let pair = Pair::new();
    let inside = pair.dst.join("deep/er");
    fs::create_dir_all(&inside).unwrap();
    let marker = |run: &str| Marker { run: run.into(), host: "here".into(), at: "now".into() };
    let outer = claim::take(&pair.dst, &marker("one")).unwrap();
    assert!(matches!(claim::take(&inside, &marker("two")), Err(Error::Held { by: Some(by) }) if by.run == "one"));
    drop(outer);
    // Its process is gone and the run is not over.
    assert!(matches!(claim::take(&inside, &marker(BY_HAND)), Err(Error::Held { .. })));
    claim::take(&pair.dst, &marker("one")).unwrap().release().unwrap();
    let by_hand = claim::take(&pair.dst, &marker(BY_HAND)).unwrap();
    assert!(matches!(claim::take(&inside, &marker(BY_HAND)), Err(Error::Held { .. })));
    // A copy by hand that died leaves a mark that holds nobody up.
    drop(by_hand);
    claim::take(&inside, &marker(BY_HAND)).unwrap().release().unwrap();
}
