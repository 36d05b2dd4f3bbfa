//! A command that looks first whether what it does is there already can be repeated, and nobody is asked.

use std::fs;

use super::support::{log, run, script};
use crate::support::env::Decamp;

/// Makes `there` unless it is there, and writes that down.
const MAKE: &str = r#"
    let look = host::local();
    step("make", || host::local().exec(["sh", "-c", "echo made >> log; mkdir there"], #{
        unless: || look.exec(["test", "-d", "there"], #{ read_only: true, ok_codes: [0, 1] }).code == 0,
    }));
"#;

/// The number of the first point of this name.
fn point(call: &Decamp, name: &str) -> usize {
    let file = call.dir().join("../points");
    run(call).env("DECAMP_CRASH_COUNT", &file).run();
    fs::read_to_string(file).unwrap().lines().position(|line| line == name).unwrap() + 1
}

#[test]
fn what_is_there_already_is_not_done() {
    let call = script(MAKE);
    run(&call).arg("--plan").stdout_has("will run").run();
    run(&call).run();
    run(&call).run();
    assert_eq!(log(&call), ["made"]);
    run(&call).arg("--plan").stdout_has("is done already").run();
}

#[test]
fn what_is_in_doubt_is_looked_for_and_not_asked_about() {
    let at = point(&script(MAKE), "effect.acted").to_string();
    for (gone, made) in [(false, 1), (true, 2)] {
        let call = script(MAKE);
        run(&call).env("DECAMP_CRASH_AT", &at).status(137).run();
        if gone {
            fs::remove_dir(call.dir().join("there")).unwrap();
        }
        call.again().arg("resume").run();
        assert_eq!(log(&call).len(), made);
        assert!(call.dir().join("there").is_dir());
    }
}

#[test]
fn looking_may_change_nothing_and_gives_true_or_false() {
    let call = script(
        r#"let h = host::local(); step("a", || host::local().exec(["touch", "a"], #{ unless: || h.exec(["touch", "b"]) }));"#,
    );
    run(&call).status(1).stderr_has("called in `unless`, which only reads").absent("a").absent("b").run();
    let call = script(r#"step("a", || host::local().exec(["touch", "a"], #{ unless: || 7 }));"#);
    run(&call).status(1).stderr_has("must give true or false").absent("a").run();
}

#[test]
fn a_run_has_an_id_and_a_directory_of_its_own() {
    let call = script(
        r#"
        step("write", || host::local().exec(["sh", "-c", "echo \"$1\" > \"$2/file\"", "sh", run_id(), run_dir()]));
        note("dir", run_dir());
    "#,
    );
    run(&call).arg("--plan").run();
    assert!(!call.state().join("runs").exists());
    run(&call).run();
    let id = super::support::run_id(&call);
    let dir = call.state().join("runs").join(&id).join("own");
    assert_eq!(fs::read_to_string(dir.join("file")).unwrap(), format!("{id}\n"));
    assert_eq!(std::os::unix::fs::MetadataExt::mode(&fs::metadata(&dir).unwrap()) & 0o777, 0o700);
    call.again().arg("doctor").run();
}
