//! Bad input gets a clear error and changes nothing.

use std::fs;
use std::path::Path;

use decamp::copy::claim::{self, Marker};

use crate::support::env::Decamp;
use crate::support::skip::needs_root;

fn call() -> Decamp {
    Decamp::new().file("src/a", "one").file("src/d/b", "two")
}

/// Every name, type, size and time below a directory: what must not change.
fn picture(dir: &Path) -> Vec<String> {
    use std::os::unix::fs::MetadataExt;
    let mut all = Vec::new();
    let mut open = vec![dir.to_path_buf()];
    while let Some(path) = open.pop() {
        let m = fs::symlink_metadata(&path).unwrap();
        all.push(format!("{} {:o} {} {}.{}", path.display(), m.mode(), m.size(), m.mtime(), m.mtime_nsec()));
        if m.is_dir() {
            open.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    all.sort();
    all
}

#[track_caller]
fn refused(call: &Decamp, args: &[&str], status: i32, words: &[&str]) {
    let before = picture(&call.dir());
    let mut one = call.again().args(args.iter().copied()).status(status).stdout("");
    for word in words {
        one = one.stderr_has(*word);
    }
    one.run();
    assert_eq!(picture(&call.dir()), before, "{args:?} changed something");
}

#[test]
fn roots_that_are_missing_or_no_directories() {
    let call = call();
    refused(&call, &["copy", "gone", "dst"], 2, &["`gone` does not exist"]);
    refused(&call, &["copy", "src", "no/where/dst"], 2, &["no/where"]);
    refused(&call, &["copy", "src/a", "dst"], 2, &["`src/a` is not a directory"]);
    refused(&call, &["copy", "src", "src/a"], 2, &["`src/a` is not a directory"]);
    refused(&call, &["scan", "gone"], 2, &["`gone`"]);
    refused(&call, &["scan", "src/a"], 2, &["`src/a`"]);
    refused(&call, &["compare", "src", "gone"], 2, &["`gone`"]);
}

#[test]
fn roots_that_overlap() {
    let call = call();
    std::os::unix::fs::symlink("src", call.dir().join("link")).unwrap();
    let src = call.dir().join("src");
    refused(&call, &["copy", "src", "src"], 2, &["same directory"]);
    refused(&call, &["copy", "src", "src/d/.."], 2, &["same directory"]);
    refused(&call, &["copy", "src", "link"], 2, &["same directory"]);
    refused(&call, &["copy", "src", src.to_str().unwrap()], 2, &["same directory"]);
    refused(&call, &["copy", "src", "src/d"], 2, &["inside the source"]);
    refused(&call, &["copy", "src", "link/new"], 2, &["inside the source"]);
    refused(&call, &["copy", "src/d", "src"], 2, &["inside the destination"]);
    refused(&call, &["copy", "src", "src/d", "--dry-run"], 2, &["inside the source"]);
}

#[test]
fn the_same_directory_through_a_bind_mount() {
    if !needs_root("mounting") {
        return;
    }
    let call = call();
    let bound = call.dir().join("bound");
    fs::create_dir(&bound).unwrap();
    rustix::mount::mount_bind(call.dir().join("src"), &bound).unwrap();
    let same = call.again().args(["copy", "src", "bound"]).status(2).stderr_has("same directory");
    let inside = call.again().args(["copy", "bound", "src/d"]).status(2).stderr_has("inside the source");
    let ran = std::panic::catch_unwind(|| {
        same.run();
        inside.run();
    });
    rustix::mount::unmount(&bound, rustix::mount::UnmountFlags::empty()).unwrap();
    ran.unwrap();
}

#[test]
fn an_empty_source_against_a_full_destination() {
    let call = Decamp::new().file("dst/a", "one").file("dst/b", "two");
    fs::create_dir(call.dir().join("src")).unwrap();
    refused(&call, &["copy", "src", "dst", "--delete"], 2, &["is empty", "--accept empty-source"]);
    call.again()
        .args(["copy", "src", "dst", "--delete", "--max-delete", "100%", "--accept", "empty-source"])
        .absent("dst/a")
        .run();
}

#[test]
fn patterns_that_cannot_be_read() {
    refused(&call(), &["copy", "src", "dst", "--exclude", ""], 2, &["pattern"]);
    refused(&call(), &["scan", "src", "--exclude", "a*\\"], 2, &["`a*\\`"]);
}

#[test]
fn a_destination_another_run_holds() {
    let call = call().file("dst/x", "x");
    let marker = Marker { run: "0198-other".into(), host: "ada".into(), at: "today".into() };
    let held = claim::take(&call.dir().join("dst"), &marker).unwrap();
    let words = ["0198-other", "ada", "decamp resume 0198-other", "decamp undo", "decamp abandon"];
    refused(&call, &["copy", "src", "dst"], 6, &words);
    // Its process died: the marker stays, and still refuses.
    drop(held);
    refused(&call, &["copy", "src", "dst"], 6, &words);
    fs::write(call.dir().join("dst/.decamp-run"), "who knows").unwrap();
    refused(&call, &["copy", "src", "dst"], 6, &[".decamp-run", "remove it"]);
    fs::remove_file(call.dir().join("dst/.decamp-run")).unwrap();
    call.again().args(["copy", "src", "dst"]).run();
}

#[test]
fn a_destination_to_be_made_in_one_that_another_run_holds() {
    let call = call().file("dst/x", "x");
    let marker = Marker { run: decamp::error::BY_HAND.into(), host: "ada".into(), at: "today".into() };
    let held = claim::take(&call.dir().join("dst"), &marker).unwrap();
    let before = picture(&call.dir().join("dst"));
    refused(&call, &["copy", "src", "dst/new"], 6, &["ada"]);
    refused(&call, &["run", "move-tree", "--source", "src", "--dest", "dst/new"], 6, &["ada"]);
    assert_eq!(picture(&call.dir().join("dst")), before);
    held.release().unwrap();
    call.again().args(["copy", "src", "dst/new"]).run();
}

#[test]
fn a_copy_by_hand_that_was_killed_does_not_stop_the_next() {
    let call = call().file("dst/x", "x");
    let marker = Marker { run: decamp::error::BY_HAND.into(), host: "ada".into(), at: "today".into() };
    drop(claim::take(&call.dir().join("dst"), &marker).unwrap());
    call.again().args(["copy", "src", "dst"]).file_is("dst/a", "one").absent("dst/.decamp-run").run();
}

#[test]
fn a_destination_that_is_read_only() {
    if !needs_root("mounting") {
        return;
    }
    let call = call();
    let dst = call.dir().join("dst");
    fs::create_dir(&dst).unwrap();
    let flags = rustix::mount::MountFlags::RDONLY;
    rustix::mount::mount("none", &dst, "tmpfs", flags, c"").unwrap();
    let one = call.again().args(["copy", "src", "dst"]).status(1).stdout("").stderr_has("cannot write to `dst`");
    let below = call.again().args(["copy", "src", "dst/new"]).status(1).stdout("").stderr_has("dst/new");
    let ran = std::panic::catch_unwind(|| {
        one.run();
        below.run();
    });
    rustix::mount::unmount(&dst, rustix::mount::UnmountFlags::empty()).unwrap();
    ran.unwrap();
}

#[test]
fn a_destination_that_gets_full_keeps_what_it_has() {
    if !needs_root("mounting") {
        return;
    }
    let call = call().file("src/z-big", vec![7; 8 << 20]);
    let dst = call.dir().join("dst");
    fs::create_dir(&dst).unwrap();
    rustix::mount::mount("none", &dst, "tmpfs", rustix::mount::MountFlags::empty(), c"size=4m").unwrap();
    let full = call.again().args(["copy", "src", "dst"]);
    let ran = std::panic::catch_unwind(|| {
        // Seen before it starts where the destination is empty, met on the way where it is not.
        full.clone().status(2).stdout("").stderr_has("the destination has 4.00 MiB free").absent("dst/a").run();
        fs::write(call.dir().join("dst/there"), "").unwrap();
        full.status(1).stdout("").stderr_has("no space left in `dst`").stderr_has("what was copied stays").run();
        rustix::mount::mount_remount(&dst, rustix::mount::MountFlags::empty(), c"size=32m").unwrap();
        call.again().args(["copy", "src", "dst"]).file_is("dst/a", "one").run();
    });
    rustix::mount::unmount(&dst, rustix::mount::UnmountFlags::empty()).unwrap();
    ran.unwrap();
}

#[test]
fn scripts_are_ejected_once() {
    let call = Decamp::new();
    let listed = call.again().args(["scripts", "list", "--output", "json"]).run().json();
    let Some(name) = listed["scripts"][0]["name"].as_str() else { return };
    call.again().args(["scripts", "eject", name]).stdout_has(format!("./{name}.rhai")).run();
    let text = fs::read_to_string(call.dir().join(format!("{name}.rhai"))).unwrap();
    call.again().args(["scripts", "show", name]).stdout(text).run();
    refused(&call, &["scripts", "eject", name], 2, &["not overwritten"]);
    refused(&call, &["scripts", "eject", name, "no/where"], 2, &["make the directory first"]);
}
