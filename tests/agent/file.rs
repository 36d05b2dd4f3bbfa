//! The embedded agent is one static file, made of the engines alone.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use crate::support::rust::repository;
use crate::support::skip::skipped;

/// Types of program headers and of entries of the dynamic section (elf.h).
const PT_DYNAMIC: u64 = 2;
const PT_INTERP: u64 = 3;
const DT_NEEDED: u64 = 1;

/// A little-endian number of an ELF file.
fn number(bytes: &[u8], at: u64, size: usize) -> u64 {
    let at = usize::try_from(at).unwrap();
    bytes[at..at + size].iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// Types of program headers, and how many libraries are needed, of a 64-bit little-endian ELF file.
fn headers(file: &[u8]) -> (Vec<u64>, usize) {
    assert_eq!(&file[..6], b"\x7fELF\x02\x01", "a 64-bit little-endian ELF file");
    let (start, size, count) = (number(file, 32, 8), number(file, 54, 2), number(file, 56, 2));
    let entries: Vec<u64> = (0..count).map(|at| start + at * size).collect();
    let mut needed = 0;
    for entry in entries.iter().filter(|entry| number(file, **entry, 4) == PT_DYNAMIC) {
        let (from, length) = (number(file, entry + 8, 8), number(file, entry + 32, 8));
        needed += (0..length / 16).filter(|at| number(file, from + at * 16, 8) == DT_NEEDED).count();
    }
    (entries.iter().map(|entry| number(file, *entry, 4)).collect(), needed)
}

/// The agent as a file that can be started, in a directory of its own.
pub(super) fn installed() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::Builder::new().prefix("decamp-agent-").tempdir().unwrap();
    let made = dir.path().join("made");
    fs::write(&made, decamp::AGENT).unwrap();
    let path = dir.path().join("decamp-agent");
    crate::support::env::copy_program(&made, &path);
    fs::remove_file(made).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    (dir, path)
}

#[test]
fn it_needs_no_loader_and_no_library() {
    let (types, needed) = headers(decamp::AGENT);
    assert!(!types.is_empty() && !types.contains(&PT_INTERP), "{types:?}");
    assert_eq!(needed, 0);
    // What is asked is answered otherwise for a file that is not static.
    let (types, needed) = headers(&fs::read("/bin/sh").unwrap());
    assert!(types.contains(&PT_INTERP) && needed > 0, "{types:?}, {needed}");
}

#[test]
fn it_answers_in_an_empty_directory() {
    let (dir, _) = installed();
    let mut command = Command::new("unshare");
    if !crate::support::skip::is_root() {
        if !Command::new("unshare").args(["-Ur", "true"]).status().unwrap().success() {
            skipped("user namespaces are off");
            return;
        }
        command.arg("-Ur");
    }
    let ran = command.arg("chroot").arg(dir.path()).args(["/decamp-agent", "--version"]).env_clear();
    let ran = ran.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stdout).into_owned();
    assert_eq!(said, format!("decamp-agent {}\n", env!("CARGO_PKG_VERSION")), "{ran:?}");
}

#[test]
fn it_is_made_of_the_engines_alone() {
    let tree = |features: &[&str]| {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(["tree", "--locked", "--offline", "--edges", "normal", "--prefix", "none"]).args(features);
        let ran = cargo.current_dir(repository()).output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    };
    let names = ["rhai ", "kube ", "rusqlite ", "clap ", "tokio ", "serde "];
    let of = |text: &str| names.iter().filter(|name| text.lines().any(|line| line.starts_with(*name))).count();
    let agent = tree(&["--no-default-features", "--features", "agent"]);
    assert_eq!(of(&agent), 0, "{agent}");
    assert!(agent.contains("rustix ") && of(&tree(&[])) >= 3);
}

/// A room that is missing there would be edited, and the old agent embedded.
#[test]
fn the_build_looks_at_everything_it_is_made_of() {
    let build = fs::read_to_string(repository().join("build.rs")).unwrap();
    for room in crate::architecture::ENGINES {
        let named = [format!("\"src/{room}\""), format!("\"src/{room}.rs\"")].iter().any(|path| build.contains(path));
        assert!(named, "build.rs does not look at {room}");
    }
}
