//! The map of used blocks of ext2, ext3 and ext4, judged by the file system's own checker.

use decamp::block::{Error, Options, Verify};

use super::kit::{Disk, MIB, content, copy, mixed, run};

fn filled(options: &[&str], mib: u64) -> Option<Disk> {
    let disk = Disk::new(mib * MIB)?;
    // What is there before the file system is there after it, unused.
    disk.write(0, &mixed(1, mib * MIB));
    run("mkfs.ext4", &[&["-q", "-F", "-E", "nodiscard"], options].concat(), &disk.path);
    let place = tempfile::tempdir().unwrap();
    run("mount", &[disk.path.to_str().unwrap()], place.path());
    for file in 0..40 {
        std::fs::write(place.path().join(format!("{file}")), mixed(file, 200_000)).unwrap();
    }
    for file in (0..40).step_by(3) {
        std::fs::remove_file(place.path().join(format!("{file}"))).unwrap();
    }
    run("umount", &[], place.path());
    Some(disk)
}

#[test]
fn only_what_is_used_crosses_and_the_file_system_is_whole() {
    let kinds: [&[&str]; 5] =
        [&[], &["-b", "1024"], &["-O", "^64bit,^flex_bg"], &["-t", "ext3"], &["-t", "ext2", "-O", "^resize_inode"]];
    for kind in kinds {
        let Some(source) = filled(kind, 80) else { return };
        let Some(target) = Disk::new(80 * MIB) else { return };
        let whole = copy(&source.path, &target.path, &Options { overwrite: true, ..Options::default() }).unwrap();
        let Some(target) = Disk::new(80 * MIB) else { return };
        target.write(0, &vec![0xaa; 80 << 20]);
        let options = Options { used_only: true, verify: Verify::Whole, ..Options::default() };
        let report = copy(&source.path, &target.path, &options).unwrap();
        assert!(report.raw_bytes < whole.raw_bytes / 2, "{kind:?}: {} of {}", report.raw_bytes, whole.raw_bytes);
        run("e2fsck", &["-f", "-n"], &target.path);
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        run("mount", &["-o", "ro", source.path.to_str().unwrap()], from.path());
        run("mount", &["-o", "ro", target.path.to_str().unwrap()], to.path());
        let files = |place: &std::path::Path| -> Vec<_> {
            (0..40).filter_map(|file| std::fs::read(place.join(format!("{file}"))).ok()).collect()
        };
        let (left, right) = (files(from.path()), files(to.path()));
        run("umount", &[], from.path());
        run("umount", &[], to.path());
        assert!(left.len() == 26 && left == right, "{kind:?}");
        // Whatever is not the source's is zeros: nothing of the target's past is left.
        let (source, target) = (content(&source.path), content(&target.path));
        let other = source.chunks(4096).zip(target.chunks(4096)).filter(|(a, b)| a != b);
        assert!(other.clone().count() > 100 && other.clone().all(|(_, b)| b.iter().all(|byte| *byte == 0)), "{kind:?}");
    }
}

#[test]
fn a_map_that_cannot_be_relied_on_is_refused() {
    let Some(source) = filled(&[], 64) else { return };
    let Some(target) = Disk::new(64 * MIB) else { return };
    let options = Options { used_only: true, live: true, ..Options::default() };
    let refused = |why: &str| {
        let error = copy(&source.path, &target.path, &options).unwrap_err();
        assert!(matches!(&error, Error::NoMap { why: found, .. } if found.contains(why)), "{error}");
        assert!(target.holds().iter().all(|byte| *byte == 0));
    };
    let place = tempfile::tempdir().unwrap();
    run("mount", &[source.path.to_str().unwrap()], place.path());
    let error = copy(&source.path, &target.path, &options);
    run("umount", &[], place.path());
    assert!(matches!(&error, Err(Error::NoMap { why, .. }) if why.contains("mounted at")), "{error:?}");
    let superblock = content(&source.path)[1024..2048].to_vec();
    let with = |at: u64, bytes: &[u8]| source.write(1024 + at, bytes);
    with(0x3a, &[3, 0]);
    refused("errors");
    with(0x3a, &superblock[0x3a..0x3c]);
    with(0x60, &[superblock[0x60] | 4]);
    refused("journal");
    with(0x60, &superblock[0x60..0x61]);
    with(0x65, &[superblock[0x65] | 2]);
    refused("layout");
    with(0x65, &superblock[0x65..0x66]);
    // One bit of a bitmap: dumpe2fs says where the first one is.
    let told = std::process::Command::new("dumpe2fs").arg(&source.path).output().unwrap();
    let told = String::from_utf8_lossy(&told.stdout).into_owned();
    let at = told.lines().find_map(|line| line.trim().strip_prefix("Block bitmap at ")).unwrap();
    let block: u64 = at.split([' ', ',']).next().unwrap().parse().unwrap();
    let size: u64 = told.lines().find_map(|line| line.strip_prefix("Block size:")).unwrap().trim().parse().unwrap();
    let byte = content(&source.path)[usize::try_from(block * size).unwrap()];
    source.write(block * size, &[byte ^ 1]);
    refused("add up");
    source.write(block * size, &[byte]);
    copy(&source.path, &target.path, &Options { used_only: true, ..Options::default() }).unwrap();
}
