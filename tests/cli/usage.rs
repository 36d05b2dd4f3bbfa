//! A command line that cannot be understood: exit code 2, the nearest name, nothing on standard output, nothing done.

use crate::support::env::Decamp;

#[track_caller]
fn misuse(args: &[&str], words: &[&str]) {
    let dirs = Decamp::new();
    let mut call = dirs.again().args(args.iter().copied()).status(2).stdout("");
    for word in words {
        call = call.stderr_has(*word);
    }
    let ran = call.run();
    assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    assert_eq!(std::fs::read_dir(dirs.state()).unwrap().count(), 0, "something was written for {args:?}");
}

#[test]
fn near_names_are_given() {
    misuse(&["cpoy", "a", "b"], &["`cpoy`", "did you mean `copy`?"]);
    misuse(&["copy", "a", "b", "--exclud", "x"], &["`--exclud`", "did you mean `--exclude`?"]);
    misuse(&["copy", "a", "b", "--accept", "ownr"], &["`ownr`", "did you mean `owner`?"]);
    misuse(&["compare", "a", "b", "--acept", "owner"], &["did you mean `--accept`?"]);
    misuse(&["runs", "--output", "jsn"], &["`jsn`", "`json`"]);
    misuse(&["scripts", "lst"], &["did you mean `list`?"]);
    misuse(&["run", "move-tree", "--plna"], &["hint: "]);
}

#[test]
fn values_of_the_wrong_type_are_refused() {
    misuse(&["copy", "a", "b", "--jobs", "many"], &["--jobs", "many"]);
    misuse(&["copy", "a", "b", "--jobs", "0"], &["--jobs"]);
    misuse(&["copy", "a", "b", "--delete", "--max-delete", "lots"], &["count such as 100", "share such as 5%"]);
    misuse(&["copy", "a", "b", "--max-delete", "5"], &["--delete"]);
    misuse(&["compare", "a", "b", "--content", "some"], &["none, sample"]);
    misuse(&["compare", "a", "b", "--content", "sample:0"], &["1 to 100"]);
    misuse(&["decide", "a", "b", "perhaps"], &["happened, retry"]);
    misuse(&["completions", "cmd.exe"], &["bash"]);
}

#[test]
fn what_is_missing_is_said() {
    misuse(&["copy", "a"], &["<DST>"]);
    misuse(&["scan"], &["<DIR>"]);
    misuse(&["run"], &["NAME"]);
    misuse(&["run", "--plan"], &["NAME"]);
    misuse(&["check"], &["<FILES>"]);
    misuse(&["resume", "x", "--exit-code"], &["--plan"]);
}

#[test]
fn an_unknown_script_is_named() {
    misuse(&["run", "no-such-script"], &["no-such-script", "decamp scripts list"]);
    misuse(&["run", "--output", "text", "no-such-script", "--anything"], &["no-such-script"]);
    misuse(&["run", "./no-such-file.rhai"], &["no-such-file.rhai"]);
    misuse(&["scripts", "show", "no-such-script"], &["no-such-script"]);
}

#[test]
fn an_unknown_function_is_named() {
    misuse(&["docs", "no_such_function_at_all"], &["no_such_function_at_all", "decamp docs"]);
}

#[test]
fn programs_get_the_error_as_json_too() {
    for (format, line) in [("json", 0), ("ndjson", 0)] {
        let ran = Decamp::new().args(["cpoy", "--output", format]).status(2).stderr_has("error: ").run();
        let error = if format == "json" { ran.json() } else { ran.json_lines()[line].clone() };
        assert_eq!(error["schema"], 1);
        assert_eq!((&error["error"]["kind"], &error["error"]["exit_code"]), (&"invalid".into(), &2.into()), "{error}");
        assert_eq!(error["error"]["hints"][0], "did you mean `copy`?");
    }
}
