//! Signals during work: state is saved, what was copied stays, and the exit code says what came.

use std::fs;

use rustix::process::Signal;

use crate::support::check::assert_same;
use crate::support::env::Decamp;

/// A tree whose copy takes a while: the source is held up by one worker and many small files.
fn slow() -> Decamp {
    let call = Decamp::new();
    for n in 0..80 {
        fs::create_dir_all(call.dir().join(format!("src/d{n}"))).unwrap();
        for m in 0..100 {
            fs::write(call.dir().join(format!("src/d{n}/f{m}")), [7; 2048]).unwrap();
        }
    }
    call
}

#[test]
fn a_copy_stops_on_every_signal_and_the_next_one_finishes_it() {
    let call = slow();
    for (signal, status) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 129)] {
        fs::remove_dir_all(call.dir().join("dst")).ok();
        let args = ["copy", "src", "dst", "--jobs", "1", "--output", "ndjson"];
        let mut running = call.again().args(args).spawn();
        assert!(running.says("\"phase\":\"copy\""), "it ended before the signal");
        running.signal(signal);
        let ran = running.wait();
        assert_eq!(ran.status, status, "{ran:?}");
        assert!(ran.stderr.contains("error: "), "{}", ran.stderr);
        assert!(!call.dir().join("dst/.decamp-run").exists());
    }
    call.again().args(["copy", "src", "dst"]).run();
    assert_same(&call.dir().join("src"), &call.dir().join("dst"));
}

/// The first Ctrl-C waits for a program that does not listen; the second does not wait, and what was going on is in
/// doubt until a person has looked.
#[test]
fn a_second_ctrl_c_exits_at_once_and_leaves_a_doubt() {
    let script = r#"//! Call a program that does not listen.
fn params() { #{ nap: #{ type: "int", "default": 0, help: "how long it does not listen" } } }
fn run(p) {
    let host = host::local();
    step("call", || host.exec(["sh", "-c", `trap '' INT TERM; echo $$ > pid; echo begun >> log; for i in $(seq ${p.nap}); do sleep 1; test -e log || exit; done`]));
}
"#;
    let call = Decamp::new().file("stubborn.rhai", script);
    let mut running = call.again().args(["run", "stubborn.rhai", "--nap", "30"]).spawn();
    while !call.dir().join("log").exists() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    rustix::process::kill_process(running.pid(), Signal::INT).unwrap();
    assert!(running.says("Ctrl-C again"));
    rustix::process::kill_process(running.pid(), Signal::INT).unwrap();
    let asked = std::time::Instant::now();
    let ran = running.wait();
    assert_eq!(ran.status, 130, "{ran:?}");
    assert!(asked.elapsed() < std::time::Duration::from_secs(3), "it waited {:?}", asked.elapsed());
    assert!(!ran.stderr.contains("go on with"), "{ran:?}");

    call.again().arg("runs").stdout_has("interrupted").run();
    // It still runs, and nothing is said about it before it has ended.
    call.again().arg("resume").status(7).stdout("").stderr_has("still runs").run();
    let pid = fs::read_to_string(call.dir().join("pid")).unwrap().trim().parse().unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process_group(pid, Signal::KILL).unwrap();
    while fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| !stat.contains(") Z")) {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let doubt = call.again().arg("resume").status(7).stdout("").stderr_has("decamp decide").stderr_has("call").run();
    let line = doubt.stderr.lines().find(|line| line.contains("decamp decide")).unwrap();
    let run = line.split("decamp decide ").nth(1).unwrap().split(' ').next().unwrap();
    call.again().args(["show", run]).stdout_has("in_doubt").stdout_has(format!("decamp decide {run} call")).run();
    call.again().args(["decide", run, "other", "retry"]).status(2).stderr_has("in doubt are: call").run();
    call.again().args(["decide", run, "call", "happened"]).stdout_has(format!("decamp resume {run}")).run();
    call.again().args(["resume"]).stdout_has("succeeded").file_is("log", "begun\n").run();
}
