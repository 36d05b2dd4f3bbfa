//! `decamp compare` and `decamp scan` on real trees.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::env::Decamp;

fn call() -> Decamp {
    let call = Decamp::new().file("a/x", "one").file("a/d/y", "two");
    call.again().args(["copy", "a", "b"]).run();
    call
}

#[test]
fn equal_trees_have_equal_digests() {
    let call = call();
    call.again().args(["compare", "a", "b"]).stdout_has("no difference").stdout_has("digest").run();
    let scan = |dir| call.again().args(["scan", dir, "--content", "--output", "json"]).run().json()["digest"].clone();
    assert_eq!(scan("a"), scan("b"));
    fs::write(call.dir().join("b/x"), "ONE").unwrap();
    assert_ne!(scan("a"), scan("b"));
}

#[test]
fn every_difference_is_named_and_ends_with_twelve() {
    let call = call().file("b/extra", "x");
    fs::set_permissions(call.dir().join("b/d/y"), fs::Permissions::from_mode(0o600)).unwrap();
    let ran = call.again().args(["compare", "a", "b"]).status(12).stdout_has("extra: only-right").run();
    assert!(ran.stdout.contains("d/y: mode"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("no difference"), "{}", ran.stdout);
    let found = call.again().args(["compare", "a", "b", "--output", "json"]).status(12).run().json();
    assert_eq!(found["equal"], false);
    assert_eq!(found["differences"].as_u64().unwrap() as usize, found["named"].as_array().unwrap().len());
}

#[test]
fn content_is_read_only_as_far_as_asked() {
    let call = call();
    let path = call.dir().join("b/x");
    let times = fs::metadata(&path).unwrap().modified().unwrap();
    fs::write(&path, "ONE").unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(times).unwrap();
    call.again().args(["compare", "a", "b", "--content", "none"]).run();
    call.again().args(["compare", "a", "b", "--content", "sample:100"]).status(12).stdout_has("x: content").run();
    call.again().args(["compare", "a", "b"]).status(12).stdout_has("x: content").run();
    call.again().args(["compare", "a", "b", "--exclude", "/x"]).stdout_has("no difference").run();
}
