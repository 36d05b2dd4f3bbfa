//! What the tests of this room share: runs, steps and effects made with few words.

use std::path::Path;

use decamp::journal::{
    Begun, Class, EffectId, Entered, Journal, LeaseMode, Mode, NewEffect, NewRun, NewStep, Run, Source, StepId,
    StepKind, StepOutcome, Target, TargetKind,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A state directory of its own.
pub(crate) fn state() -> TempDir {
    tempfile::Builder::new().prefix("decamp-journal-").tempdir().unwrap()
}

/// A state directory in memory where there is room: for tests that kill processes, but not the machine, many times.
pub(crate) fn state_in_memory() -> TempDir {
    let memory = Path::new("/dev/shm");
    let room = rustix::fs::statvfs(memory).is_ok_and(|stat| stat.f_bavail * stat.f_frsize > 512 << 20);
    let place = if room { memory.to_path_buf() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("decamp-journal-").tempdir_in(place).unwrap()
}

pub(crate) fn open(dir: &Path) -> Journal {
    Journal::open(dir).unwrap()
}

pub(crate) fn sources() -> Vec<Source> {
    vec![
        Source { module: "main".into(), text: "fn run(p) { step(\"a\", || 1); }".into() },
        Source { module: "std/passes".into(), text: "fn hot() {}".into() },
    ]
}

pub(crate) fn new_run() -> NewRun {
    NewRun {
        script: "move-tree".into(),
        script_path: None,
        params: json!({ "source": "/a", "dest": "/b" }),
        mode: Mode::Run,
        sources: sources(),
        operator: "root".into(),
        tool_version: "0.1.0".into(),
        argv: vec!["decamp".into(), "run".into(), "move-tree".into()],
    }
}

pub(crate) fn new_step(key: &str) -> NewStep {
    NewStep {
        key: key.into(),
        parent: None,
        name: key.rsplit('/').next().unwrap_or(key).into(),
        kind: StepKind::Step,
        inputs: None,
        captured: json!({}),
        body_hash: "body".into(),
        source: "main".into(),
        line: 7,
        deadline_ms: None,
    }
}

pub(crate) fn new_effect(step: StepId, seq: u32, class: Class) -> NewEffect {
    NewEffect {
        step,
        seq,
        function: "host::run".into(),
        target: "local".into(),
        class,
        request: json!({ "argv": ["touch", "x"] }),
        undo: None,
        before: None,
    }
}

/// Enters a step whose body must run.
pub(crate) fn start(run: &Run, key: &str) -> StepId {
    match run.enter(new_step(key)).unwrap() {
        Entered::Run { step, .. } => step,
        other => panic!("{key} should run its body: {other:?}"),
    }
}

pub(crate) fn done(run: &Run, step: StepId, result: Value) {
    run.leave(step, StepOutcome::Done { result, changed: true }).unwrap();
}

pub(crate) fn fail(run: &Run, step: StepId, error: Value) {
    run.leave(step, StepOutcome::Failed { error }).unwrap();
}

/// Begins an effect that must act.
pub(crate) fn act(run: &Run, new: NewEffect) -> EffectId {
    match run.begin(new).unwrap() {
        Begun::Act { effect, .. } => effect,
        other => panic!("the effect should act: {other:?}"),
    }
}

pub(crate) fn tree(path: &str, mode: LeaseMode) -> Target {
    Target { kind: TargetKind::Tree, key: format!("tree:{path}"), path: path.as_bytes().to_vec(), mode }
}
