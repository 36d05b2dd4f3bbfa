//! A plan reads, lists what would be done, and changes nothing.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::support::{log, run, script};

/// Every file below `root` with its times, size and content.
fn picture(root: &Path) -> BTreeMap<PathBuf, (i64, i64, i64, i64, Vec<u8>)> {
    let mut seen = BTreeMap::new();
    let mut open = vec![root.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            let content = if meta.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
            if meta.is_dir() {
                open.push(path.clone());
            }
            seen.insert(path, (meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec(), content));
        }
    }
    seen
}

#[test]
fn a_plan_lists_effects_and_leaves_everything_as_it_was() {
    let call =
        script(r#"let n = fact("n", || 3); for i in 0..n { step("do", #{ key: i.to_string() }, || say(`${i}`)); }"#);
    let before = picture(&call.dir());
    let plan = run(&call).args(["--plan", "--output", "json"]).run().json();
    assert_eq!(plan["plan"].as_array().unwrap().len(), 3, "{plan}");
    assert_eq!(picture(&call.dir()), before);
    assert!(!call.state().join("journal.db").exists());
    run(&call).args(["--plan", "--exit-code"]).status(3).run();
}

#[test]
fn a_plan_ends_where_it_depends_on_what_is_not_done() {
    let call = script(
        r#"let r = step("ask", || host::local().exec(["true"]));
           step("use", || say(`${r.code}`));
           if r.code == 0 { step("then", || say("then")); }"#,
    );
    let plan = run(&call).arg("--plan").run();
    assert!(plan.stdout.contains("known only after the run"), "{}", plan.stdout);
    assert!(plan.stdout.contains("<known after run>") && !plan.stdout.contains("then  "), "{}", plan.stdout);
    assert!(log(&call).is_empty());
}

#[test]
fn a_plan_of_a_half_done_run_begins_where_it_stands() {
    let call = script(r#"step("a", || say("a")); if p.arg == "" { throw "stop"; } step("b", || say("b"));"#);
    run(&call).status(1).run();
    let before = picture(&call.dir());
    call.again().args(["resume", "--plan"]).status(1).stderr_has("stop").run();
    assert_eq!(picture(&call.dir()), before);
    assert_eq!(log(&call), ["a"]);
}

#[test]
fn a_plan_fails_where_the_run_would_find_no_destination() {
    let call = script(r#"step("copy", || copy::tree("src", "dst"));"#).file("src/one", "1");
    run(&call).arg("--plan").status(1).stderr_has("`dst` does not exist").run();
    run(&call).status(1).stderr_has("`dst` does not exist").run();
    // Made by a step before, in a branch as well; or perhaps by a command.
    for (make, certainty) in [
        (r#"step("root", || copy::root("dst"))"#, "exact"),
        (r#"parallel(["dst"], |d| step("root", || copy::root(d)))"#, "exact"),
        (r#"step("root", || host::local().exec(["mkdir", "dst"]))"#, "maybe"),
    ] {
        let call = script(&format!(r#"{make}; step("copy", || copy::tree("src", "./dst"));"#)).file("src/one", "1");
        let plan = run(&call).args(["--plan", "--output", "json"]).run().json();
        assert_eq!(plan["plan"][1]["certainty"], certainty, "{plan}");
        assert!(!call.dir().join("dst").exists());
        run(&call).run();
        assert!(call.dir().join("dst/one").exists());
    }
}
