//! What is refused, is refused before a byte is written.

use decamp::block::{Error, Identity, Options};

use super::kit::{Disk, MIB, attach, content, copy, detach, disks, feed, mixed, run, write};

/// Tries it, and sees that nothing has changed.
fn refused(source: &std::path::Path, target: &std::path::Path, options: &Options) -> Error {
    let before = content(target);
    let error = copy(source, target, options).unwrap_err();
    assert!(content(target) == before, "something was written: {error}");
    error
}

#[test]
fn a_target_smaller_by_a_sector() {
    let Some((source, ..)) = disks(1, 4 * MIB) else { return };
    let Some(target) = Disk::new(4 * MIB - 512) else { return };
    let error = refused(&source.path, &target.path, &Options::default());
    assert!(matches!(error, Error::Smaller { target: t, source_size: s, .. } if t + 512 == s), "{error}");
}

#[test]
fn a_target_that_is_mounted_or_used_in_other_ways() {
    let Some((source, target, _)) = disks(2, 64 * MIB) else { return };
    run("mkfs.ext4", &["-q", "-F"], &target.path);
    let place = tempfile::tempdir().unwrap();
    run("mount", &[target.path.to_str().unwrap()], place.path());
    let options = Options { overwrite: true, ..Options::default() };
    let error = copy(&source.path, &target.path, &options).unwrap_err();
    // The same device as a source would be copied in no state it ever was in.
    let live = copy(&target.path, &source.path, &options).unwrap_err();
    run("umount", &[], place.path());
    for error in [error, live] {
        let mounted = format!("mounted at {}", place.path().display());
        assert!(matches!(&error, Error::InUse { by, .. } if *by == [mounted]), "{error}");
    }
    run("mkswap", &[], &target.path);
    run("swapon", &[], &target.path);
    let error = copy(&source.path, &target.path, &options).unwrap_err();
    run("swapoff", &[], &target.path);
    assert!(matches!(&error, Error::InUse { by, .. } if by == &["used as swap"]), "{error}");
    // Held by another process, as by a mount in a namespace that cannot be seen.
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::EXCL;
    let held = rustix::fs::open(&target.path, flags, rustix::fs::Mode::empty()).unwrap();
    let error = refused(&source.path, &target.path, &options);
    assert!(matches!(&error, Error::InUse { by, .. } if by[0].contains("exclusively")), "{error}");
    drop(held);
    copy(&source.path, &target.path, &options).unwrap();
}

#[test]
fn a_live_source_is_copied_when_that_is_asked_for() {
    let (Some(source), Some(target)) = (Disk::new(64 * MIB), Disk::new(64 * MIB)) else { return };
    run("mkfs.ext4", &["-q", "-F"], &source.path);
    let place = tempfile::tempdir().unwrap();
    run("mount", &[source.path.to_str().unwrap()], place.path());
    let result = copy(&source.path, &target.path, &Options { live: true, ..Options::default() });
    run("umount", &[], place.path());
    result.unwrap();
}

#[test]
fn a_target_that_holds_something() {
    let Some((source, target, held)) = disks(3, 64 * MIB) else { return };
    run("mkfs.ext4", &["-q", "-F"], &target.path);
    let error = refused(&source.path, &target.path, &Options::default());
    assert!(matches!(&error, Error::Signature { found, .. } if found[0].name == "ext4"), "{error}");
    feed("sfdisk", &["--wipe", "always", "--label", "gpt", target.path.to_str().unwrap()], ",4M\n,\n");
    let error = refused(&source.path, &target.path, &Options::default());
    assert!(error.to_string().contains("gpt") && error.to_string().contains("gpt-backup"), "{error}");
    let report = copy(&source.path, &target.path, &Options { overwrite: true, ..Options::default() }).unwrap();
    assert!(target.holds() == held && report.overwritten.iter().any(|one| one.name == "gpt"));
}

#[test]
fn a_target_that_the_kernel_does_not_write_to() {
    let Some((source, target, _)) = disks(4, 4 * MIB) else { return };
    run("blockdev", &["--setro"], &target.path);
    let error = refused(&source.path, &target.path, &Options::default());
    run("blockdev", &["--setrw"], &target.path);
    assert!(matches!(error, Error::ReadOnly { .. }), "{error}");
}

#[test]
fn the_same_storage_under_two_names() {
    let Some(disk) = Disk::new(16 * MIB) else { return };
    disk.write(0, &mixed(5, 16 * MIB));
    let same = |source: &std::path::Path, target: &std::path::Path| {
        let error = refused(source, target, &Options { overwrite: true, live: true, ..Options::default() });
        assert!(matches!(error, Error::Same { .. }), "{} {}: {error}", source.display(), target.display());
    };
    same(&disk.path, &disk.path);
    let home = tempfile::tempdir().unwrap();
    let link = home.path().join("link");
    std::os::unix::fs::symlink(&disk.path, &link).unwrap();
    same(&disk.path, &link);
    same(&disk.path, &disk.image);
    same(&disk.image, &disk.path);
    let Some(second) = attach(&disk.image, &[]) else { return };
    same(&disk.path, &second);
    detach(&second);
    let Some(part) = attach(&disk.image, &["--offset", "8388608"]) else { return };
    same(&part, &disk.path);
    // A loop over a device that is a loop.
    let Some(upper) = attach(&disk.path, &["--offset", "1048576"]) else { return };
    same(&upper, &disk.path);
    same(&upper, &part);
    detach(&upper);
    // Two parts of one file that do not overlap are two things.
    let Some(other) = attach(&disk.image, &["--sizelimit", "8388608"]) else { return };
    let apart = copy(&other, &part, &Options { overwrite: true, ..Options::default() });
    detach(&part);
    detach(&other);
    assert!(apart.is_ok(), "{apart:?}");
}

#[test]
fn a_partition_and_its_disk() {
    let Some(disk) = Disk::new(16 * MIB) else { return };
    feed("sfdisk", &["--label", "gpt", disk.path.to_str().unwrap()], ",4M\n,4M\n");
    let Some(whole) = attach(&disk.image, &[]) else { return };
    // The kernel need not know the table: partx reads it.
    run("partx", &["--add"], &whole);
    let part = |n: u32| std::path::PathBuf::from(format!("{}p{n}", whole.display()));
    let options = Options { overwrite: true, ..Options::default() };
    let up = copy(&part(1), &whole, &options).unwrap_err();
    let apart = copy(&part(1), &part(2), &options);
    run("partx", &["--delete"], &whole);
    detach(&whole);
    assert!(matches!(up, Error::Same { .. }), "{up}");
    assert!(apart.is_ok(), "{apart:?}");
}

#[test]
fn ends_that_are_not_what_they_were() {
    let Some((source, target, _)) = disks(6, 4 * MIB) else { return };
    let report = copy(&source.path, &target.path, &Options::default()).unwrap();
    let were = (report.source.identity, report.target.identity);
    let options = Options { overwrite: true, expect: Some(were.clone()), ..Options::default() };
    let error = refused(&target.path, &source.path, &options);
    assert!(matches!(error, Error::Swapped { was: "target", .. }), "{error}");
    let Some(third) = Disk::new(4 * MIB) else { return };
    let error = refused(&source.path, &third.path, &options);
    assert!(matches!(&error, Error::Other { role: "target", expected, .. } if *expected == were.1), "{error}");
    let error = refused(&third.path, &target.path, &options);
    assert!(matches!(error, Error::Other { role: "source", .. }), "{error}");
    let stranger = (Identity("disk:x=1".into()), were.1);
    let error = refused(&source.path, &target.path, &Options { expect: Some(stranger), ..options.clone() });
    assert!(matches!(error, Error::Other { role: "source", .. }), "{error}");
    copy(&source.path, &target.path, &options).unwrap();
}

#[test]
fn what_is_no_device_and_no_image() {
    let Some((source, ..)) = disks(7, MIB) else { return };
    let home = tempfile::tempdir().unwrap();
    for path in [home.path(), std::path::Path::new("/dev/null")] {
        let error = copy(&source.path, path, &Options::default()).unwrap_err();
        assert!(matches!(error, Error::NotBlock { .. }), "{error}");
    }
    let error = copy(&home.path().join("none"), &source.path, &Options::default()).unwrap_err();
    assert!(matches!(error, Error::NotFound { .. }), "{error}");
    let error = copy(&source.path, &home.path().join("no/such/place"), &Options { create: true, ..Options::default() });
    assert!(matches!(error, Err(Error::NotFound { .. })), "{error:?}");
    // An image another process writes to.
    let image = home.path().join("image");
    write_new(&image);
    let held = std::fs::File::open(&image).unwrap();
    held.lock().unwrap();
    let error = refused(&source.path, &image, &Options::default());
    assert!(matches!(error, Error::InUse { .. }), "{error}");
}

fn write_new(image: &std::path::Path) {
    std::fs::write(image, vec![0; 1 << 20]).unwrap();
    write(image, 0, b"plain");
}
