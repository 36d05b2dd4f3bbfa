//! Devices between two machines, without OpenStack.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use super::world::ended;
use crate::script::support::run_id;
use crate::support::env::Decamp;
use crate::support::openstack::{Cloud, Iron, Metal, same_content};

const UNIT: u64 = 1 << 20;

/// Two machines with a device of so many MiB each, and what logs in to them.
struct Pair {
    cloud: Cloud,
    metal: Arc<Metal>,
    call: Decamp,
    volumes: [String; 2],
    addresses: [String; 2],
    key: PathBuf,
}

impl Pair {
    fn new(mib: [u64; 2]) -> Option<Self> {
        let metal = Arc::new(Metal::new(UNIT)?);
        let cloud = Cloud::start("bare", Arc::<Metal>::clone(&metal));
        let call = Decamp::new();
        let key = call.dir().join("key");
        let made = Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().unwrap();
        assert!(made.success());
        let public = std::fs::read_to_string(key.with_extension("pub")).unwrap();
        let volumes = [cloud.plant("one", mib[0]), cloud.plant("two", mib[1])];
        let mut known = String::new();
        let addresses = [0, 1].map(|which| {
            let id = cloud.plant_server(&format!("machine-{which}"), &volumes[which]);
            let mut state = cloud.state();
            let (addresses, console) = metal.boot(&state.servers[&id], Some(public.trim()));
            let line = console.lines().find(|line| line.starts_with("ssh-")).unwrap().to_owned();
            known.push_str(&format!("{} {line}\n", addresses[0].0));
            let mut volume = state.volumes[&volumes[which]].clone();
            volume.read_only = which == 0;
            metal.attached(&state.servers[&id], &volume);
            state.servers.get_mut(&id).unwrap().addresses = addresses.clone();
            addresses[0].0.clone()
        });
        let call = call.file("known", known);
        Some(Self { cloud, metal, call, volumes, addresses, key })
    }

    fn image(&self, which: usize) -> PathBuf {
        self.metal.image(&self.volumes[which])
    }

    fn server(&self, which: usize) -> String {
        let name = format!("machine-{which}");
        self.cloud.state().servers.values().find(|server| server.name == name).unwrap().id.clone()
    }

    fn device(&self, which: usize) -> String {
        format!("ssh://debian@{}/dev/disk/by-id/virtio-{}", self.addresses[which], &self.volumes[which][..20])
    }

    fn start(&self, source: &str, dest: &str) -> Decamp {
        let call = self.call.again().args([
            "run",
            "openstack-volume",
            "--source",
            source,
            "--dest",
            dest,
            "--sudo",
            "--known-hosts",
            "known",
            "--key",
        ]);
        call.arg(&self.key)
    }
}

fn noise(path: &PathBuf, bytes: usize) {
    let text: Vec<u8> = (0..bytes).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    std::fs::OpenOptions::new()
        .write(true)
        .open(path)
        .map(|file| std::os::unix::fs::FileExt::write_all_at(&file, &text, 0))
        .unwrap()
        .unwrap();
}

#[test]
fn a_device_is_copied_and_compared() {
    let Some(pair) = Pair::new([4, 5]) else { return };
    noise(&pair.image(0), 3 << 20);
    let ran = pair.start(&pair.device(0), &pair.device(1)).run();
    assert!(same_content(&pair.image(0), &pair.image(1), 4 << 20));
    assert!(ran.stdout.contains("source_digest") && ran.stdout.contains("unused_bytes"), "{}", ran.stdout);
    assert!(pair.cloud.state().log.is_empty());
}

#[test]
fn what_may_not_be_overwritten_is_refused_and_untouched() {
    let Some(pair) = Pair::new([4, 3]) else { return };
    let [source, dest] = [0, 1].map(|which| pair.device(which));
    noise(&pair.image(0), 1 << 20);
    let before = std::fs::read(pair.image(1)).unwrap();
    for (source, dest, words) in [
        (source.as_str(), dest.as_str(), "is 1048576 bytes too small"),
        (dest.as_str(), source.as_str(), "is read-only"),
        (source.as_str(), source.as_str(), "are the same storage"),
        (source.as_str(), "ssh://debian@127.69.1.1:9/dev/sda", "no connection to host"),
        (source.as_str(), "/dev/no-such-device", "does not exist"),
        (source.as_str(), "ssh://nothing", "names no place"),
    ] {
        let ran = ended(pair.start(source, dest));
        assert!(ran.status != 0 && ran.stderr.contains(words), "{words}: {} {}", ran.status, ran.stderr);
    }
    assert_eq!(std::fs::read(pair.image(1)).unwrap(), before);
}

#[test]
fn a_destination_with_something_on_it_takes_a_flag_and_an_approval() {
    let Some(pair) = Pair::new([4, 4]) else { return };
    let made = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(pair.image(1)).status().unwrap();
    assert!(made.success());
    let [source, dest] = [0, 1].map(|which| pair.device(which));
    pair.start(&source, &dest).status(2).stderr_has("holds ext4").run();
    pair.start(&source, &dest).args(["--overwrite", "--yes"]).status(5).run();
    assert!(!same_content(&pair.image(0), &pair.image(1), 4 << 20));
    pair.call.again().args(["resume", "--approve", "overwrite"]).run();
    assert!(same_content(&pair.image(0), &pair.image(1), 4 << 20));
}

/// What checks a file system finds faults in.
fn spoilt(path: &Path) {
    assert!(Command::new("mkfs.ext4").args(["-q", "-F"]).arg(path).status().unwrap().success());
    // Where the groups are described.
    let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 1024], 2048).unwrap();
}

#[test]
fn passwords_are_taken_during_a_copy_and_no_more_when_it_failed_or_ended() {
    let Some(pair) = Pair::new([4, 4]) else { return };
    spoilt(&pair.image(0));
    let [source, dest] = [0, 1].map(|which| pair.device(which));
    let configs = [0, 1].map(|which| pair.metal.config(&pair.server(which)));
    let texts = || configs.each_ref().map(|config| std::fs::read_to_string(config).unwrap());
    let before = texts();
    // How often each was read by sshd with passwords taken, and without.
    let read = || {
        configs.each_ref().map(|config| {
            let seen = std::fs::read_to_string(config.with_file_name("seen")).unwrap();
            let open = seen.lines().filter(|line| *line == "PasswordAuthentication yes").count();
            (open, seen.lines().filter(|line| *line == "PasswordAuthentication no").count())
        })
    };
    let reload = "sh -c 'cat /etc/ssh/sshd_config >> /etc/ssh/seen; kill -HUP $(cat /etc/ssh/pid)'";
    let run = pair.start(&source, &dest).args(["--open-passwords", "--sshd-reload", reload]);
    run.status(12).stderr_has("e2fsck finds faults in the ext4").run();
    assert_eq!((texts(), read()), (before.clone(), [(1, 2), (1, 2)]));
    // What is to be accepted is said on resume; both are opened again for it.
    pair.call.again().args(["resume", "--set", "accept=unchecked"]).run();
    assert_eq!((texts(), read()), (before, [(2, 4), (2, 4)]));
    assert!(same_content(&pair.image(0), &pair.image(1), 4 << 20));
}

/// A script that only changes what sshd of the first machine lets in, and fails or not.
fn sshd(pair: &Pair, end: &str) -> Decamp {
    let config = pair.metal.config(&pair.server(0));
    let key = pair.key.display();
    let text = format!(
        r#"//! A test.
import "std/ssh" as ssh;
fn params() {{ #{{}} }}
fn run(p) {{
    let far = host::of(host::endpoint("{}", #{{ key: "{key}", known_hosts: "known", sudo: true }}));
    let sshd = #{{ config: "{}", reload: ["sh", "-c", "kill -HUP $(cat {}/../pid)"] }};
    let opts = sshd + #{{ was: fact("logins", || ssh::logins(far, sshd)) }};
    step("open", #{{ undo: |done| ssh::close_passwords(far, opts) }}, || ssh::open_passwords(far, opts));
    note("logins", fact("now", || ssh::logins(far, sshd)));
    {end}
}}
"#,
        pair.device(0),
        config.display(),
        config.with_file_name("dev").display(),
    );
    pair.call.again().file("sshd.rhai", text).args(["run", "./sshd.rhai"])
}

#[test]
fn passwords_are_let_in_and_kept_out_again_byte_for_byte() {
    let Some(pair) = Pair::new([1, 1]) else { return };
    let config = pair.metal.config(&pair.server(0));
    let before = std::fs::read_to_string(&config).unwrap();
    let ran = sshd(&pair, "").run();
    assert!(ran.stdout.contains("passwordauthentication  yes"), "{}", ran.stdout);
    let changed = std::fs::read_to_string(&config).unwrap();
    assert!(changed.starts_with("# begin decamp ") && changed.ends_with(&before), "{changed}");
    pair.call.again().args(["undo", &run_id(&pair.call)]).run();
    assert_eq!(std::fs::read_to_string(&config).unwrap(), before);
}

#[test]
fn a_kill_while_passwords_are_let_in_is_undone_byte_for_byte() {
    let Some(pair) = Pair::new([1, 1]) else { return };
    let config = pair.metal.config(&pair.server(0));
    let before = std::fs::read_to_string(&config).unwrap();
    let newest = || {
        let listed = ended(pair.call.again().args(["runs", "--output", "json"])).json();
        listed["runs"][0]["id"].as_str().unwrap().to_owned()
    };
    let undone = |id: &str| {
        loop {
            let ran = ended(pair.call.again().args(["undo", id]));
            if ran.status == 7 && ran.stderr.contains("still runs") {
                continue;
            }
            assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
            return;
        }
    };
    let file = pair.call.dir().join("../points");
    let ran = ended(sshd(&pair, "").env("DECAMP_CRASH_COUNT", &file));
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    undone(&newest());
    let names = std::fs::read_to_string(file).unwrap();
    let acted = names.lines().enumerate().filter(|(_, name)| *name == "effect.acted").map(|(at, _)| at + 1);
    let mut opened = 0;
    for at in acted {
        let killed = ended(sshd(&pair, "").env("DECAMP_CRASH_AT", at.to_string()));
        assert_eq!(killed.status, 137, "{}", killed.stderr);
        opened += usize::from(std::fs::read_to_string(&config).unwrap() != before);
        undone(&newest());
        assert_eq!(std::fs::read_to_string(&config).unwrap(), before, "{at} of {names}");
    }
    // Its configuration was written, and sshd was told to read it.
    assert_eq!(opened, 2, "{names}");
}

#[test]
fn sshd_that_does_otherwise_all_the_same_is_found_and_its_file_put_back() {
    let Some(pair) = Pair::new([1, 1]) else { return };
    let config = pair.metal.config(&pair.server(0));
    // A file that sshd cannot read is not put in place.
    std::fs::write(&config, format!("{}Nonsense yes\n", std::fs::read_to_string(&config).unwrap())).unwrap();
    let before = std::fs::read_to_string(&config).unwrap();
    let ran = ended(sshd(&pair, ""));
    assert_ne!(ran.status, 0);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), before);
}
