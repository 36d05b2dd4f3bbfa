//! Trees of a machine on which no agent can run: real servers, and the rsync that is there.

use std::fs;
use std::path::Path;

use serde_json::json;

use crate::copy::kit::{Pair, furnish, write};
use crate::support::check::assert_same;
use crate::support::env::Decamp;
use crate::support::ssh::{Setup, Sshd};

/// A server on which nothing may run that was sent there.
fn server(more: &[&'static str]) -> Option<Sshd> {
    let mut mounts = vec![
        "for d in /dev/shm /var/tmp /root; do mount -t tmpfs -o noexec,mode=1777 tmpfs $d; done",
        "mount --bind /tmp /tmp; mount -o remount,bind,noexec /tmp",
    ];
    mounts.extend(more);
    Sshd::with(Setup { mounts, ..Setup::default() })
}

fn there(path: &Path) -> String {
    format!("ssh://peer{}", path.display())
}

fn calls(server: &Sshd) -> impl Fn(&[&str]) -> Decamp {
    let config = server.config().display().to_string();
    let decamp = Decamp::new().env("XDG_RUNTIME_DIR", server.dir());
    move |words| decamp.again().args(words).args(["--ssh-config", &config])
}

#[test]
fn a_tree_is_copied_by_rsync_and_said_to_be() {
    let Some(server) = server(&[]) else { return };
    let with = calls(&server);
    for far in [true, false] {
        let pair = Pair::new();
        furnish(&pair.src);
        write(pair.src.join("of: two words"), "colon");
        let name = |far: bool, path: &Path| if far { there(path) } else { path.display().to_string() };
        let (src, dst) = (name(far, &pair.src), name(!far, &pair.dst));
        if far {
            fs::remove_dir(&pair.dst).unwrap();
        }
        let told = with(&["copy", &src, &dst, "--output", "json"]).stderr_has("degraded").run().json();
        assert_same(&pair.src, &pair.dst);
        assert_eq!(told["degraded"], json!(["ssh://peer"]), "{told}");
        let listed = told["listed"].clone();
        let again = with(&["copy", &src, &dst, "--output", "json"]).run().json();
        assert_eq!((&again["listed"], &again["updated"]), (&listed, &json!(0)), "{again}");
        write(pair.src.join("plain"), "something else");
        fs::remove_file(pair.src.join("x")).unwrap();
        let told = with(&["copy", &src, &dst, "--delete", "--max-delete", "50%", "--dry-run", "--output", "json"]);
        // A plan changes nothing and so runs from memory, which is possible here; a name of three is written through.
        let told = told.stderr_has("in memory").run().json();
        assert_eq!((&told["updated"], &told["deleted"]), (&json!(3), &json!(1)), "{told}");
        assert!(pair.dst.join("x").exists());
        with(&["copy", &src, &dst, "--delete", "--max-delete", "0"]).status(1).stderr_has("would be deleted").run();
        assert!(pair.dst.join("x").exists() && fs::read(pair.dst.join("plain")).unwrap() != b"something else");
        with(&["copy", &src, &dst, "--delete", "--max-delete", "1"]).run();
        assert_same(&pair.src, &pair.dst);
        assert!(!pair.dst.join(".decamp-run").exists());
    }
}

#[test]
fn what_is_left_out_and_what_cannot_be_read_is_told() {
    let Some(server) = server(&[]) else { return };
    let with = calls(&server);
    let pair = Pair::new();
    for name in ["keep/a", "keep/b.tmp", "gone/c"] {
        write(pair.src.join(name), name);
    }
    let (src, dst) = (there(&pair.src), pair.dst.display().to_string());
    with(&["copy", &src, &dst, "--exclude", "*.tmp", "--exclude", "/gone"]).run();
    let left = crate::copy::kit::sh(&pair.dst, "find . -type f");
    assert_eq!(left, "./keep/a\n");
    // A relative directory for backups is not one in the destination.
    write(pair.src.join("keep/a"), "newer");
    with(&["copy", &src, &dst, "--exclude", "*.tmp", "--exclude", "/gone", "--backup-dir", "kept"]).run();
    assert_eq!(crate::copy::kit::sh(&pair.dst, "find . -type f; cat keep/a"), "./keep/a\nnewer");
    let far = there(&pair.dst);
    with(&["copy", &pair.src.display().to_string(), &far, "--backup-dir", "kept"])
        .status(2)
        .stderr_has("whole path")
        .run();
    // An empty source is not believed.
    let empty = Pair::new();
    with(&["copy", &there(&empty.src), &dst, "--delete", "--max-delete", "100%"]).status(2).stderr_has("empty").run();
    assert!(pair.dst.join("keep/a").exists());
    with(&["copy", &there(&pair.base.path().join("none")), &dst]).status(1).stderr_has("No such file").run();
    with(&["copy", &src, &there(&pair.dst)]).status(1).stderr_has("one end of a copy must be here").run();
    // What proves things needs the agent.
    with(&["compare", &src, &dst]).status(1).stderr_has("need the agent at both ends").run();
}

#[test]
fn a_machine_without_rsync_is_named() {
    let Some(server) = server(&["mount --bind /bin/false /usr/bin/rsync"]) else { return };
    let with = calls(&server);
    let pair = Pair::new();
    furnish(&pair.src);
    let (src, dst) = (there(&pair.src), pair.base.path().join("new"));
    with(&["copy", &src, &dst.display().to_string()]).status(1).stderr_has("install rsync there").run();
    assert!(!dst.exists());
}
