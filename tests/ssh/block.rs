//! Devices and images of other machines, through scripts: real servers, each a cloud of its own.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::support::until;
use crate::block::kit::{Disk, MIB, content, disks, mixed, run as program, size};
use crate::support::env::{Decamp, Ran};
use crate::support::rng::Rng;
use crate::support::ssh::{Setup, Sshd};

/// What a script needs to get to a server as its super-user.
pub(super) fn host(name: &str, server: &Sshd, opts: &str) -> String {
    format!(
        "let {name} = host::ssh(\"root@{}:{}\", #{{ key: \"{}\", known_hosts: \"{}\", {opts} }});\n",
        server.address(),
        server.port(),
        server.key().display(),
        server.known_hosts().display()
    )
}

pub(super) fn call(server: &Sshd, hosts: &str, body: &str) -> Decamp {
    let text = format!("//! A test.\nfn params() {{ #{{}} }}\nfn run(p) {{\n{hosts}{body}\n}}\n");
    Decamp::new().file("s.rhai", text).env("XDG_RUNTIME_DIR", server.dir())
}

pub(super) fn run(call: &Decamp) -> Decamp {
    call.again().args(["run", "./s.rhai", "--output", "json"])
}

pub(super) fn result(ran: &Ran) -> Value {
    ran.json()["result"].clone()
}

/// A copy with what is proved of it, between `src` and `dst` of the script.
const COPY: &str = r#"let pair = fact("pair", || block::pair(src, dst));
    let seen = step("copy", || block::copy(src, dst, #{ expect: pair, OPTS }));
    let same = block::compare(src, dst);
    #{ seen: seen, equal: same.equal, left: same.left_digest, right: same.right_digest }"#;

fn copy(opts: &str) -> String {
    COPY.replace("OPTS", opts)
}

pub(super) fn at(name: &str, path: &Path) -> String {
    format!("{name}.at(\"{}\")", path.display())
}

fn ends(src: &str, dst: &str) -> String {
    format!("let src = {src};\nlet dst = {dst};\n")
}

/// Asserts that nothing of decamp is left on a server.
#[track_caller]
pub(super) fn nothing_left(server: &Sshd) {
    until("no agent runs", || !server.runs("decamp-agent"));
    let left = |dir: &Path| {
        let items = fs::read_dir(dir).into_iter().flatten().flatten();
        items.filter(|item| item.file_name().to_string_lossy().contains("decamp-")).count()
    };
    // The first is where it is put if nothing else is said, the second the next that is the server's own.
    for dir in [server.seen(Path::new("/dev/shm")), server.home("root")] {
        until("no agent lies there", || left(&dir) == 0);
    }
}

#[test]
fn a_device_is_copied_between_any_two_places() {
    let (Some(one), Some(two)) = (Sshd::cloud(), Sshd::cloud()) else { return };
    let Some((source, target, held)) = disks(31, size()) else { return };
    let hosts = host("a", &one, "") + &host("b", &two, "");
    let local = |path: &Path| format!("host::local().at(\"{}\")", path.display());
    let ways = [
        (at("a", &source.path), at("b", &target.path), "streams: 2"),
        (local(&source.path), at("b", &target.path), ""),
        (at("a", &source.path), format!("\"{}\"", target.path.display()), "compress: \"none\", streams: 3"),
        (at("a", &source.path), at("a", &target.path), "verify: \"whole\""),
    ];
    for (src, dst, opts) in ways {
        target.write(0, &vec![5; 1 << 20]);
        let body = ends(&src, &dst) + &copy(opts);
        let seen = result(&run(&call(&one, &hosts, &body)).stderr_has("").run());
        assert!(target.holds() == held, "{src} to {dst}");
        assert_eq!((&seen["equal"], &seen["left"]), (&json!(true), &seen["right"]), "{src} to {dst}");
        assert_eq!(seen["seen"]["digest"], seen["left"]);
        let named = |end: &str| seen["seen"][end]["path"].as_str().unwrap().to_owned();
        let far = format!("ssh://root@{}:{}{}", one.address(), one.port(), source.path.display());
        assert!(named("source") == far || !src.starts_with('a'), "{seen}");
        for server in [&one, &two] {
            nothing_left(server);
        }
    }
}

#[test]
fn images_are_made_and_devices_listed_there() {
    let Some(server) = Sshd::start() else { return };
    let Some(source) = Disk::new(4 * MIB) else { return };
    let held = mixed(5, 4 * MIB);
    source.write(0, &held);
    let image = server.home("root").join("image");
    let body = format!(
        r#"let place = host::endpoint("ssh://{}:{}{}", #{{ user: "root", key: "{}", known_hosts: "{}" }});
           step("copy", || block::copy("{}", place, #{{ create: true }}));
           let h = host::of(place);
           let all = block::devices(h);
           #{{ there: all.some(|one| one.path == "{}" && one.size_bytes == 4194304), here: block::devices().len(), all: all.len(),
              path: host::path_of(place), name: `${{h}}` }}"#,
        server.address(),
        server.port(),
        image.display(),
        server.key().display(),
        server.known_hosts().display(),
        source.path.display(),
        source.path.display()
    );
    let seen = result(&run(&call(&server, "", &body)).stderr_has("decamp-agent runs there").run());
    assert_eq!(seen["there"], true, "{seen}");
    assert!(seen["all"].as_u64().unwrap() > 0 && seen["path"] == image.display().to_string(), "{seen}");
    assert!(content(&image) == held);
    nothing_left(&server);
}

/// What cuts a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// This process is killed.
    Decamp,
    /// The processes of the server that hold connections are.
    Sshd,
    /// The agent is.
    Agent,
    /// Nothing passes any more.
    Link,
}

pub(super) fn cut(how: Cut, server: &Sshd, running: &crate::support::env::Running) {
    match how {
        Cut::Decamp => running.signal(Signal::KILL),
        Cut::Sshd => server.signal_connections(Signal::KILL),
        Cut::Link => server.link(false),
        Cut::Agent => {
            for pid in server.processes() {
                if crate::support::ssh::command_line(pid).contains("decamp-agent serve") {
                    kill_process(Pid::from_raw(pid.cast_signed()).unwrap(), Signal::KILL).ok();
                }
            }
        }
    }
}

/// Extents that two devices have in common.
fn common(source: &[u8], target: &[u8]) -> u64 {
    source.chunks(1 << 20).zip(target.chunks(1 << 20)).filter(|(a, b)| a == b).count() as u64
}

/// Bytes of the devices that are cut.
const CUT: u64 = 24 * MIB;

fn cut_and_resume(how: Cut, channels: u64) {
    let Some(server) = Sshd::cloud() else { return };
    let (Some(source), Some(target)) = (Disk::new(CUT), Disk::new(CUT)) else { return };
    // Noise alone, so that it takes the same time everywhere.
    let held = Rng::new(41).bytes(CUT as usize);
    source.write(0, &held);
    let hosts = host("b", &server, "keepalive: 2");
    let dst = at("b", &target.path);
    let opts = format!("max_rate: \"1536KiB\", compress: \"none\", channels: {channels}, streams: 2");
    let body = ends(&format!("\"{}\"", source.path.display()), &dst) + &copy(&opts);
    let call = call(&server, &hosts, &body);
    let running = run(&call).spawn();
    let probe = fs::File::open(&target.path).unwrap();
    until("a quarter is written", || {
        let mut some = [0; 4096];
        probe.read_exact_at(&mut some, 6 * MIB).unwrap();
        some.iter().any(|byte| *byte != 0)
    });
    cut(how, &server, &running);
    let ran = running.wait();
    if how != Cut::Decamp {
        // A cut is told, and never an end.
        assert_eq!(ran.status, 4, "{how:?}: {}", ran.stderr);
        assert!(ran.stderr.contains("goes on from there") || ran.stdout.contains("unreachable"), "{}", ran.stderr);
    }
    if how == Cut::Link {
        server.link(true);
    }
    until("no agent runs", || !server.runs("decamp-agent serve"));
    let there = common(&held, &target.holds());
    assert!((5..24).contains(&there), "{how:?}: {there} extents were there: {}{}", ran.stdout, ran.stderr);
    let text = fs::read_to_string(call.dir().join("s.rhai")).unwrap().replace("1536KiB", "3GiB");
    let resumed = call.again().file("s.rhai", text).args(["resume", "--yes", "--output", "json"]).run();
    let seen = &resumed.json()["result"];
    assert!(target.holds() == held && seen["equal"] == true, "{how:?}: {seen}");
    let count = |key: &str| seen["seen"][key].as_u64().unwrap();
    // What was there was not sent again, and whatever was on its way is at most one extent of each channel.
    let again = (count("sent") + count("zero") + there).saturating_sub(24);
    assert!(again <= channels, "{how:?}: {again} of {there} extents were sent again: {seen}");
    assert!(count("already") > 0, "{how:?}: {seen}");
    nothing_left(&server);
}

#[test]
fn a_copy_goes_on_after_decamp_was_killed() {
    cut_and_resume(Cut::Decamp, 1);
}

#[test]
fn a_copy_goes_on_after_the_connection_was_killed() {
    cut_and_resume(Cut::Sshd, 2);
}

#[test]
fn a_copy_goes_on_after_the_agent_was_killed() {
    cut_and_resume(Cut::Agent, 2);
}

#[test]
fn a_copy_goes_on_after_the_link_was_down() {
    cut_and_resume(Cut::Link, 1);
}

/// What an attempt of before still holds is waited for, by whoever goes on with it alone.
#[test]
fn an_agent_that_has_not_noticed_yet_is_waited_for() {
    let Some(server) = Sshd::start() else { return };
    let Some((source, target, held)) = disks(43, 8 * MIB) else { return };
    let hosts = host("b", &server, "");
    let body = ends(&format!("\"{}\"", source.path.display()), &at("b", &target.path)) + &copy("max_rate: \"1MiB\"");
    let call = call(&server, &hosts, &body);
    let old = content(&target.path);
    let running = run(&call).spawn();
    until("something is written", || content(&target.path) != old);
    // It neither hears that its input has ended nor goes.
    let agent =
        server.processes().into_iter().find(|pid| crate::support::ssh::command_line(*pid).contains("agent serve"));
    let agent = Pid::from_raw(agent.unwrap().cast_signed()).unwrap();
    kill_process(agent, Signal::STOP).unwrap();
    running.signal(Signal::KILL);
    running.wait();
    // Another run is refused at once: nobody is waited for on its behalf.
    let mut resumed = call.again().arg("resume").spawn();
    assert!(resumed.says("waiting until the agent"), "{:?}", resumed.wait());
    kill_process(agent, Signal::CONT).unwrap();
    let ran = resumed.wait();
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert!(target.holds() == held);
}

#[test]
fn what_cannot_be_right_is_refused_and_nothing_written() {
    let (Some(one), Some(two)) = (Sshd::cloud(), Sshd::cloud()) else { return };
    let Some((source, target, held)) = disks(51, 4 * MIB) else { return };
    let (Some(small), Some(fs_disk)) = (Disk::new(2 * MIB), Disk::new(16 * MIB)) else { return };
    program("mkfs.ext4", &["-q"], &fs_disk.path);
    let formatted = fs_disk.holds();
    let hosts = host("a", &one, "") + &host("b", &two, "");
    let place = |name: &str, disk: &Disk| at(name, &disk.path);
    let body = format!(
        r#"let kinds = #{{}};
           let tried = |name, src, dst, opts| {{ try {{ step(name, || block::copy(src, dst, opts)); return "none"; }} catch (e) {{ return e.kind + ": " + e.message; }} }};
           let pair = block::pair({src}, {dst});
           kinds.smaller = tried.call("smaller", {src}, {small}, #{{}});
           kinds.signature = tried.call("signature", {src}, {fs}, #{{}});
           kinds.same = tried.call("same", {src}, {src_b}, #{{}});
           kinds.swapped = tried.call("swapped", {dst}, {src_b}, #{{ expect: pair }});
           kinds.missing = tried.call("missing", {src}, b.at("/no/such"), #{{}});
           let relative = || {{ try {{ b.at("image"); return "none"; }} catch (e) {{ return e.kind; }} }};
           kinds.relative = relative.call();
           kinds"#,
        src = place("a", &source),
        src_b = place("b", &source),
        dst = place("b", &target),
        small = place("b", &small),
        fs = place("b", &fs_disk),
    );
    let seen = result(&run(&call(&one, &hosts, &body)).run());
    let far = |server: &Sshd, disk: &Disk| {
        format!("ssh://root@{}:{}{}", server.address(), server.port(), disk.path.display())
    };
    for (key, kind, names) in [
        ("smaller", "no_space", far(&two, &small)),
        ("signature", "exists", far(&two, &fs_disk)),
        ("same", "invalid", far(&one, &source)),
        ("swapped", "conflict", far(&two, &target)),
        ("missing", "not_found", "/no/such".to_owned()),
        ("relative", "invalid", String::new()),
    ] {
        let text = seen[key].as_str().unwrap();
        assert!(text.starts_with(kind) && text.contains(&names), "{key}: {text}");
    }
    assert!(fs_disk.holds() == formatted && source.holds() == held && target.holds().iter().all(|byte| *byte == 0));
}

#[test]
fn a_target_that_is_mounted_there_or_held_is_refused() {
    let Some(disk) = Disk::new(16 * MIB) else { return };
    program("mkfs.ext4", &["-q"], &disk.path);
    let mount: &'static str = Box::leak(format!("mount {} /mnt", disk.path.display()).into_boxed_str());
    let Some(server) = Sshd::with(Setup { mounts: vec![mount], ..Setup::default() }) else { return };
    let Some(source) = Disk::new(8 * MIB) else { return };
    let body = ends(&format!("\"{}\"", source.path.display()), &at("b", &disk.path)) + &copy("overwrite: true");
    let refused = run(&call(&server, &host("b", &server, ""), &body));
    refused.status(1).stderr_has("mounted at /mnt").run();
}

#[test]
fn a_host_with_another_key_is_not_gone_on_with() {
    let Some(mut server) = Sshd::start() else { return };
    let Some((source, target, _)) = disks(61, 8 * MIB) else { return };
    let hosts = host("b", &server, "");
    let body = ends(&format!("\"{}\"", source.path.display()), &at("b", &target.path)) + &copy("max_rate: \"1MiB\"");
    let call = call(&server, &hosts, &body);
    let old = content(&target.path);
    let running = run(&call).spawn();
    until("something is written", || content(&target.path) != old);
    running.signal(Signal::KILL);
    running.wait();
    server.change_key();
    let before = target.holds();
    call.again().arg("resume").status(1).stderr_has("is not the key").run();
    assert!(target.holds() == before);
}

#[test]
fn a_plan_looks_and_puts_no_file_there() {
    // No file of ours could run there: what answers was never one.
    let Some(server) = closed(&[]) else { return };
    let Some((source, target, _)) = disks(71, 4 * MIB) else { return };
    let body = ends(&format!("\"{}\"", source.path.display()), &at("b", &target.path)) + &copy("");
    let plan = |server: &Sshd| call(server, &host("b", server, ""), &body).args(["plan", "./s.rhai"]);
    let ran = plan(&server).stdout_has("4.00 MiB to copy").stderr_has("decamp-agent runs there in memory").run();
    assert!(!ran.stderr.contains("degraded"), "{}", ran.stderr);
    // Where it cannot be run from memory, the machine's own programs look.
    let Some(server) = closed(&[
        "for d in /usr/local/bin /usr/bin; do for p in python3 python perl; do [ ! -e $d/$p ] || mount --bind /dev/null $d/$p; done; done",
    ]) else {
        return;
    };
    plan(&server).stdout_has("4.00 MiB to copy").stderr_has("a plan puts no file on").run();
    assert!(target.holds().iter().all(|byte| *byte == 0));
}

/// A server on which programs run from nowhere but the system's own directories.
fn closed(more: &[&'static str]) -> Option<Sshd> {
    let mut mounts = vec![
        "for d in /dev/shm /var/tmp; do mount -t tmpfs -o noexec,mode=1777 tmpfs $d; done",
        "mount --bind /tmp /tmp; mount -o remount,bind,noexec /tmp",
    ];
    mounts.extend(more);
    Sshd::with(Setup { mounts, cloud: true, ..Setup::default() })
}

#[test]
fn without_an_agent_the_machines_own_programs_do() {
    let Some(server) = closed(&[]) else { return };
    let Some((source, target, held)) = disks(81, 6 * MIB) else { return };
    let hosts = host("b", &server, "");
    let local = |path: &Path| format!("\"{}\"", path.display());
    let image = server.home("root").join("image");
    let ways = [
        (local(&source.path), at("b", &target.path), ""),
        (at("b", &target.path), at("b", &image), "create: true"),
        (at("b", &image), local(&source.path), "overwrite: true"),
    ];
    for (src, dst, opts) in ways {
        let body = ends(&src, &dst)
            + &copy(opts).replace("block::pair(src, dst)", &format!("block::pair(src, dst, #{{ {opts} }})"));
        let seen = result(&run(&call(&server, &hosts, &body)).stderr_has("degraded").run());
        assert_eq!((&seen["equal"], &seen["seen"]["digest"]), (&json!(true), &seen["left"]), "{src} to {dst}: {seen}");
        let degraded = seen["seen"]["degraded"].as_array().unwrap();
        assert_eq!(degraded.len(), [&src, &dst].iter().filter(|end| end.starts_with('b')).count(), "{seen}");
    }
    assert!(target.holds() == held && content(&image) == held && source.holds() == held);
    // A second pass sends what changed.
    source.write(3 << 20, b"changed");
    let body = ends(&local(&source.path), &at("b", &target.path))
        + r#"step("first", || block::copy(src, dst, #{ overwrite: true, content: "compare" }));
             step("second", || block::copy(src, dst, #{ overwrite: true }))"#;
    let seen = result(&run(&call(&server, &hosts, &body)).run());
    assert_eq!((&seen["sent"], &seen["pass"], &seen["same"]), (&json!(0), &json!(2), &json!(6)), "{seen}");
    assert!(target.holds() == source.holds());
    // What is mounted there is seen there.
    let Some(disk) = Disk::new(16 * MIB) else { return };
    program("mkfs.ext4", &["-q"], &disk.path);
    let refused = |opts: &str, words: &str| {
        let body = ends(&local(&target.path), &at("b", &disk.path)) + &copy(opts);
        run(&call(&server, &hosts, &body)).stderr_has(words).status(if opts.is_empty() { 2 } else { 1 }).run();
    };
    refused("", "holds ext4");
    let mnt = server.home("root").join("mnt");
    fs::create_dir(&mnt).unwrap();
    let mounted = call(
        &server,
        &hosts,
        &format!(r#"step("mount", || b.exec(["mount", "{}", "{}"]).code)"#, disk.path.display(), mnt.display()),
    );
    assert_eq!(result(&run(&mounted).run()), 0);
    refused("overwrite: true", "mounted at");
}
