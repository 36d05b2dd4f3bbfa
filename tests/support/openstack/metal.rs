//! Volumes that are devices and servers that run: image files behind loop devices, and a real sshd on an address of its
//! own for every server, in a mount namespace with a `/dev`, users and homes of its own.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process};

use super::super::skip::needs_root;
use super::{Iron, Server, Volume};

const BOOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/openstack/boot.sh");
const PREFIX: &str = "decamp-metal-";

/// The iron of all clouds of one test.
pub(crate) struct Metal {
    home: PathBuf,
    /// Bytes of what the cloud calls a GiB.
    unit: u64,
    running: Mutex<BTreeMap<String, Running>>,
}

/// A server, and the loop device of every volume in it.
struct Running {
    sshd: Child,
    loops: BTreeMap<String, String>,
}

impl Metal {
    /// Where a GiB has `unit` bytes. `None`, and *skipped* said, without the right to make devices.
    pub(crate) fn new(unit: u64) -> Option<Self> {
        if !needs_root("making devices and servers") {
            return None;
        }
        clear_leftovers();
        let prefix = format!("{PREFIX}{}-", std::process::id());
        let home = tempfile::Builder::new().prefix(&prefix).tempdir().unwrap().keep();
        // sshd looks at who could write to where its keys are.
        fs::set_permissions(&home, fs::Permissions::from_mode(0o755)).unwrap();
        Some(Self { home, unit, running: Mutex::default() })
    }

    /// The file behind a volume.
    pub(crate) fn image(&self, volume: &str) -> PathBuf {
        self.home.join(format!("volume-{volume}"))
    }

    /// The configuration of a server's sshd.
    pub(crate) fn config(&self, server: &str) -> PathBuf {
        self.instance(server).join("sshd_config")
    }

    fn instance(&self, server: &str) -> PathBuf {
        self.home.join(format!("server-{server}"))
    }

    fn running(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start(&self, server: &str, address: &str, public_key: Option<&str>) -> (Child, String) {
        let home = self.instance(server);
        fs::create_dir_all(home.join("dev")).unwrap();
        run(Command::new("ssh-keygen").args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(home.join("host_key")));
        let files = [
            (
                "passwd",
                "root:x:0:0::/root:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n\
                        debian:x:4711:4711::/home/debian:/bin/bash\n"
                    .to_owned(),
                0o644,
            ),
            ("group", "root:x:0:\nnogroup:x:65534:\ndebian:x:4711:\n".to_owned(), 0o644),
            (
                "shadow",
                "root:*:19000:0:99999:7:::\nsshd:*:19000::::::\ndebian:*:19000:0:99999:7:::\n".to_owned(),
                0o640,
            ),
            ("sudoers", "Defaults !fqdn\ndebian ALL=(ALL) NOPASSWD: ALL\n".to_owned(), 0o440),
            ("authorized_keys", format!("{}\n", public_key.unwrap_or_default()), 0o600),
            (
                "sshd_config",
                format!(
                    "ListenAddress {address}:22\nHostKey {}\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin no\nPidFile none\n\
                 AuthorizedKeysFile .ssh/authorized_keys\nLogLevel ERROR\nMaxStartups 100\n",
                    home.join("host_key").display()
                ),
                0o644,
            ),
        ];
        for (name, text, mode) in files {
            fs::write(home.join(name), text).unwrap();
            fs::set_permissions(home.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        let log = File::create(home.join("log")).unwrap();
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "sh", BOOT]).arg(&home).process_group(0);
        let sshd = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        fs::write(home.join("pid"), sshd.id().to_string()).unwrap();
        let key = fs::read_to_string(home.join("host_key.pub")).unwrap();
        (sshd, key.trim().to_owned())
    }
}

/// An address that no other server of these tests has.
fn address() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("127.{}.{}.{}", 70 + std::process::id() % 150, number / 250, 1 + number % 250)
}

impl Iron for Metal {
    fn boot(&self, server: &Server, public_key: Option<&str>) -> (Vec<(String, bool)>, String) {
        let address = address();
        let (sshd, key) = self.start(&server.id, &address, public_key);
        self.running().insert(server.id.clone(), Running { sshd, loops: BTreeMap::new() });
        let console =
            format!("cloud-init: up\n-----BEGIN SSH HOST KEY KEYS-----\n{key}\n-----END SSH HOST KEY KEYS-----\n");
        (vec![(address, false)], console)
    }

    fn gone(&self, server: &Server) {
        let running = self.running().remove(&server.id);
        running.into_iter().for_each(end);
        fs::remove_dir_all(self.instance(&server.id)).ok();
    }

    fn made(&self, volume: &Volume) {
        File::create_new(self.image(&volume.id)).unwrap().set_len(volume.gib * self.unit).unwrap();
    }

    fn lost(&self, volume: &Volume) {
        fs::remove_file(self.image(&volume.id)).unwrap();
    }

    fn attached(&self, server: &Server, volume: &Volume) {
        let mut running = self.running();
        // A server that was there from the beginning is none.
        let Some(running) = running.get_mut(&server.id) else { return };
        let mut command = Command::new("losetup");
        command.args(["--find", "--show"]).args(volume.read_only.then_some("--read-only")).arg(self.image(&volume.id));
        let device = run(&mut command);
        let number = device.trim_start_matches("/dev/loop").to_owned();
        let letter = char::from(b'b' + u8::try_from(running.loops.len()).unwrap());
        let text = format!(
            "mknod /dev/vd{letter} b 7 {number} && ln -s ../../vd{letter} /dev/disk/by-id/virtio-{}",
            &volume.id[..20]
        );
        // The instance has its own /dev a moment after it was started.
        let ready = format!(
            "until [ -d /home/debian/.ssh ] && [ -d /dev/disk/by-id ] && [ -d /run/sshd ]; do sleep 0.01; done; {text}"
        );
        run(Command::new("nsenter").args(["-t", &running.sshd.id().to_string(), "-m", "sh", "-c", &ready]));
        running.loops.insert(volume.id.clone(), device);
    }

    fn detached(&self, server: &Server, volume: &Volume) {
        let mut running = self.running();
        let Some(running) = running.get_mut(&server.id) else { return };
        let Some(device) = running.loops.remove(&volume.id) else { return };
        let text = format!("l=/dev/disk/by-id/virtio-{}; rm -f \"$(readlink -f $l)\" $l", &volume.id[..20]);
        Command::new("nsenter").args(["-t", &running.sshd.id().to_string(), "-m", "sh", "-c", &text]).status().ok();
        run(Command::new("losetup").args(["--detach", &device]));
    }
}

fn end(mut running: Running) {
    for device in running.loops.values() {
        Command::new("losetup").args(["--detach", device]).status().ok();
    }
    kill_process_group(Pid::from_child(&running.sshd), Signal::KILL).ok();
    running.sshd.wait().ok();
}

impl Drop for Metal {
    fn drop(&mut self) {
        std::mem::take(&mut *self.running()).into_values().for_each(end);
        fs::remove_dir_all(&self.home).ok();
    }
}

/// Ends what tests left behind that were killed.
fn clear_leftovers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        for item in fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten() {
            let name = item.file_name();
            let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else { continue };
            let owner = rest.split('-').next().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
            if owner.is_some_and(|pid| test_kill_process(pid).is_err()) {
                clear(&item.path());
            }
        }
    });
}

fn clear(home: &Path) {
    for item in fs::read_dir(home).into_iter().flatten().flatten() {
        let pid =
            fs::read_to_string(item.path().join("pid")).ok().and_then(|pid| pid.parse().ok()).and_then(Pid::from_raw);
        // A number may belong to somebody else by now: only an sshd of this very instance is ended.
        let ours = |pid: &Pid| {
            let line = fs::read(format!("/proc/{}/cmdline", pid.as_raw_nonzero())).unwrap_or_default();
            String::from_utf8_lossy(&line).contains(&*item.path().to_string_lossy())
        };
        if let Some(pid) = pid.filter(ours) {
            kill_process_group(pid, Signal::KILL).ok();
        }
        let devices = Command::new("losetup")
            .args(["--noheadings", "--output", "NAME", "--associated"])
            .arg(item.path())
            .output();
        for device in devices.map(|output| output.stdout).unwrap_or_default().split(|byte| *byte == b'\n') {
            if !device.is_empty() {
                Command::new("losetup").arg("--detach").arg(String::from_utf8_lossy(device).trim()).status().ok();
            }
        }
    }
    fs::remove_dir_all(home).ok();
}

/// What a command says.
fn run(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Whether two files have the same first bytes.
pub(crate) fn same_content(left: &Path, right: &Path, bytes: u64) -> bool {
    let (left, right) = (File::open(left).unwrap(), File::open(right).unwrap());
    let (mut one, mut other) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    while at < bytes {
        let size = usize::try_from((bytes - at).min(1 << 20)).unwrap();
        left.read_exact_at(&mut one[..size], at).unwrap();
        right.read_exact_at(&mut other[..size], at).unwrap();
        if one[..size] != other[..size] {
            return false;
        }
        at += size as u64;
    }
    true
}
