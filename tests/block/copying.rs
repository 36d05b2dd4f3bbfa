//! What is copied is what was there: devices, images, file systems, larger targets, odd sizes, over lines and without.

use decamp::block::{self, CompareOptions, Compress, Content, Endpoint, Options, Verify, Work};
use decamp::cancel::Cancel;
use decamp::progress::{Forgetful, Silent};

use super::kit::{
    Disk, Far, MIB, Watch, attach, content, copy, copy_with, detach, disks, feed, mixed, run, same, size, stored, write,
};

#[test]
fn a_device_is_copied_and_every_count_adds_up() {
    let Some((source, target, held)) = disks(1, size()) else { return };
    let report = copy(&source.path, &target.path, &Options::default()).unwrap();
    assert!(target.holds() == held);
    assert_eq!((report.extents, report.bytes), (size() / MIB, size()));
    assert_eq!(report.sent + report.zero, report.extents);
    assert_eq!(report.verified, report.extents);
    assert!(report.zero > 0 && report.raw_bytes < report.bytes, "zeros are no data: {report:?}");
    assert_eq!((report.pass, report.same, report.already, report.tail_bytes), (1, 0, 0, 0));
    let compared = compare(&source, &target);
    assert!(compared.equal && compared.left_digest == report.digest && compared.right_digest == report.digest);
    target.write(3 * MIB + 5, b"x");
    let compared = compare(&source, &target);
    assert_eq!((compared.equal, compared.differing), (false, 1));
    assert_eq!(compared.ranges[0].start, 3 * MIB);
    assert_ne!(compared.left_digest, compared.right_digest);
}

fn compare(left: &Disk, right: &Disk) -> block::Comparison {
    let cancel = Cancel::new();
    let work = Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel };
    let (left, right) = (Endpoint::local(&left.path), Endpoint::local(&right.path));
    block::compare(left, right, &CompareOptions::default(), &work).unwrap()
}

#[test]
fn old_content_of_the_target_is_gone_where_the_source_has_zeros() {
    let Some((source, target, held)) = disks(2, 16 * MIB) else { return };
    target.write(0, &mixed(3, 16 * MIB));
    copy(&source.path, &target.path, &Options { overwrite: true, ..Options::default() }).unwrap();
    assert!(target.holds() == held);
}

#[test]
fn over_lines_it_is_the_same_in_every_direction_and_smaller_on_the_way() {
    let Some((source, target, held)) = disks(4, 16 * MIB) else { return };
    for lines in [1, 2, 4] {
        for (far_source, far_target) in [(true, false), (false, true), (true, true)] {
            for compress in [Compress::Auto, Compress::Never, Compress::Level(3)] {
                target.write(0, &vec![7; 16 << 20]);
                let watch = Watch::new();
                let near = |path| Endpoint::local(path);
                let (from, from_end) = match far_source {
                    true => Far::only_source(&source.path, lines, &watch),
                    false => (Far::default(), near(&source.path)),
                };
                let (to, to_end) = match far_target {
                    true => Far::only_target(&target.path, lines, &watch),
                    false => (Far::default(), near(&target.path)),
                };
                let options = Options { compress, ..Options::default() };
                let report = copy_with(from_end, to_end, &options, &Forgetful).unwrap();
                assert!(from.gone() && to.gone());
                assert!(target.holds() == held, "{lines} {far_source} {far_target} {compress:?}");
                let links = u64::from(far_source) + u64::from(far_target);
                assert!(watch.bytes() < links * (report.wire_bytes + 16 * 1024 * 8), "{} {report:?}", watch.bytes());
                let packed = report.wire_bytes < report.raw_bytes * 3 / 4;
                assert_eq!(packed, compress != Compress::Never, "{report:?}");
            }
        }
    }
}

#[test]
fn a_larger_target_keeps_its_tail_and_says_so() {
    let Some((source, ..)) = disks(5, 16 * MIB) else { return };
    feed("sfdisk", &["--label", "gpt", source.path.to_str().unwrap()], ",4M\n,\n");
    let held = source.holds();
    let Some(target) = Disk::new(20 * MIB) else { return };
    target.write(18 * MIB, b"old");
    target.write(20 * MIB - 512, b"EFI PART");
    let report = copy(&source.path, &target.path, &Options { overwrite: true, ..Options::default() }).unwrap();
    let now = target.holds();
    assert!(now[..16 << 20] == held[..] && now[18 << 20..][..3] == *b"old");
    assert_eq!((report.tail_bytes, report.gpt_backup_misplaced), (4 * MIB, true));
    assert_eq!(report.tail_signatures.iter().map(|one| &*one.name).collect::<Vec<_>>(), ["gpt-backup"]);
}

#[test]
fn an_image_of_any_size_is_copied_and_stays_sparse() {
    let home = tempfile::tempdir().unwrap();
    let (source, target) = (home.path().join("source"), home.path().join("target"));
    for bytes in [0, 1, 511, 65_537, 3 * MIB + 4096, 9 * MIB + 12_345] {
        std::fs::write(&source, []).unwrap();
        std::fs::File::options().write(true).open(&source).unwrap().set_len(bytes).unwrap();
        let some = usize::try_from(bytes.min(70_000)).unwrap();
        write(&source, bytes - some as u64, &mixed(6, some as u64));
        std::fs::remove_file(&target).ok();
        let missing = copy(&source, &target, &Options::default()).unwrap_err();
        assert!(matches!(missing, block::Error::NotFound { .. }) && !target.exists(), "{missing}");
        let options = Options { create: true, verify: Verify::Whole, ..Options::default() };
        let report = copy(&source, &target, &options).unwrap();
        assert!(content(&target) == content(&source), "{bytes}");
        assert_eq!(report.verified, report.extents);
        assert!(stored(&target) <= 256 << 10, "{bytes}: {}", stored(&target));
    }
    // Over an image that is full of something.
    std::fs::write(&target, vec![1; 10 << 20]).unwrap();
    let report = copy(&source, &target, &Options { overwrite: true, ..Options::default() }).unwrap();
    assert_eq!(report.tail_bytes, (10 << 20) - report.bytes);
    same(&source, &target);
    assert!(stored(&target) <= 2 << 20, "{}", stored(&target));
}

#[test]
fn a_target_known_to_hold_zeros_is_not_written_zeros() {
    let Some((source, target, held)) = disks(7, 16 * MIB) else { return };
    let options = Options { content: Content::Zero, ..Options::default() };
    let report = copy(&source.path, &target.path, &options).unwrap();
    assert!(target.holds() == held);
    assert_eq!((report.zero, report.verified), (0, report.extents));
    // Who says so wrongly is found out.
    let Some(dirty) = Disk::new(16 * MIB) else { return };
    dirty.write(0, &vec![9; 16 << 20]);
    let error = copy(&source.path, &dirty.path, &options).unwrap_err();
    assert!(matches!(error, block::Error::Mismatch { .. }), "{error}");
}

#[test]
fn file_systems_are_the_same_on_the_other_side() {
    for (mkfs, options, mib) in [("mkfs.ext4", &["-q", "-F"][..], 64), ("mkfs.xfs", &["-q", "-f"], 300)] {
        let (Some(source), Some(target)) = (Disk::new(mib * MIB), Disk::new(mib * MIB)) else { return };
        run(mkfs, options, &source.path);
        let place = tempfile::tempdir().unwrap();
        run("mount", &[source.path.to_str().unwrap()], place.path());
        for file in 0..50 {
            std::fs::write(place.path().join(format!("{file}")), mixed(file, 40_000)).unwrap();
        }
        run("umount", &[], place.path());
        copy(&source.path, &target.path, &Options::default()).unwrap();
        same(&source.path, &target.path);
        let check: &[&str] = if mkfs == "mkfs.xfs" { &["-n"] } else { &["-f", "-n"] };
        run(if mkfs == "mkfs.xfs" { "xfs_repair" } else { "e2fsck" }, check, &target.path);
    }
}

#[test]
fn what_is_found_equal_on_the_target_does_not_cross() {
    let Some((source, target, mut held)) = disks(8, 16 * MIB) else { return };
    target.write(0, &held);
    held[5 << 20] ^= 1;
    source.write(0, &held);
    let watch = Watch::new();
    let (far, end) = Far::only_target(&target.path, 2, &watch);
    let options = Options { content: Content::Compare, ..Options::default() };
    let report = copy_with(Endpoint::local(&source.path), end, &options, &Forgetful).unwrap();
    assert!(far.gone() && target.holds() == held);
    assert_eq!((report.sent + report.zero, report.same, report.target_read), (1, 15, true));
    assert!(report.raw_bytes == 64 << 10 && watch.bytes() < 100 << 10, "{} {report:?}", watch.bytes());
}

#[test]
fn a_loop_over_a_part_of_a_file_has_the_size_of_the_part() {
    let Some(disk) = Disk::new(8 * MIB) else { return };
    write(&disk.image, 0, &mixed(9, 8 * MIB));
    let Some(part) = attach(&disk.image, &["--offset", "1048576", "--sizelimit", "4194304"]) else { return };
    let home = tempfile::tempdir().unwrap();
    let target = home.path().join("target");
    let result = copy(&part, &target, &Options { create: true, ..Options::default() });
    detach(&part);
    assert_eq!(result.unwrap().bytes, 4 * MIB);
    assert!(content(&target) == content(&disk.image)[1 << 20..5 << 20]);
}
