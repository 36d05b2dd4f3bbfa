//! Site files: values by precedence, names for secrets, mistakes shown where they stand.

use std::os::unix::fs::PermissionsExt;

use super::support::{log, run, run_id, whole};
use crate::support::env::Decamp;

const SCRIPT: &str = r#"
fn params() { #{
    name: #{ type: "string", "default": "none" },
    window: #{ type: "duration", "default": "5m" },
    limit: #{ type: "size", "default": 0 },
    jobs: #{ type: "int", "default": 1 },
    deep: #{ type: "bool" },
    dir: #{ type: "path" },
    skip: #{ type: "string", list: true },
    stop: #{ type: "argv" },
    token: #{ type: "secret" },
} }
fn run(p) {
    say(`${p.name} ${p.window} ${p.limit} ${p.jobs} ${p.deep} ${p.dir} ${p.skip} ${p.stop} ${p.token}`);
}
"#;

fn call(site: &str) -> Decamp {
    let text = SCRIPT.replace("say(", "step(\"say\", || say(").replace("`);", "`));");
    whole(&text).file("conf/site.toml", site)
}

/// The row of a parameter in `--explain`.
#[track_caller]
fn row(explained: &str, name: &str) -> String {
    let line = explained.lines().find(|line| line.starts_with(&format!("{name} ")));
    line.unwrap_or_else(|| panic!("no {name} in\n{explained}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn values_are_typed_as_in_toml_and_paths_stand_below_the_file() {
    let call = call(
        r#"[params]
name = "fleet"
window = "90s"
limit = "1KiB"
deep = true
dir = "data"
skip = ["a", "b c"]
stop = ["systemctl", "stop", "x y"]
token = "file:token"
[scripts.s]
jobs = 7
window = 30
"#,
    )
    .file("conf/token", "Site-secret-1");
    let token = call.dir().join("conf/token");
    std::fs::set_permissions(&token, std::fs::Permissions::from_mode(0o600)).unwrap();
    run(&call).args(["--site", "conf/site.toml"]).nowhere("Site-secret-1").run();
    let conf = call.dir().join("conf").display().to_string();
    let wanted = format!(
        "fleet 30 1024 7 true {conf}/data [\"a\", \"b c\"] [\"systemctl\", \"stop\", \"x y\"] file:{conf}/token"
    );
    assert_eq!(log(&call), std::slice::from_ref(&wanted));
    // The same by the variable.
    run(&call).env("DECAMP_SITE", "conf/site.toml").run();
    assert_eq!(log(&call), [wanted.clone(), wanted]);
}

#[test]
fn flags_win_over_set_over_the_script_s_section_over_params_over_defaults() {
    let call = call(
        "[params]\nname = \"p\"\njobs = 2\nwindow = \"1m\"\nlimit = 5\n[scripts.s]\nname = \"s\"\njobs = 3\nwindow = \"2m\"\n",
    );
    let line = ["--site", "conf/site.toml", "--explain"];
    let explained = run(&call).args(line).args(["--name", "flag", "--set", "name=set", "--set", "jobs=9"]).run().stdout;
    assert_eq!(
        row(&explained, "name"),
        "name flag flag set (--set), s (conf/site.toml:7 [scripts.s]), p (conf/site.toml:2 [params]), none (default)"
    );
    assert!(row(&explained, "jobs").starts_with("jobs 9 --set 3 (conf/site.toml:8 [scripts.s]), 2 (conf/site.toml:3"));
    assert!(
        row(&explained, "window")
            .starts_with("window 120 conf/site.toml:9 [scripts.s] 60 (conf/site.toml:4 [params]), 300 (default)")
    );
    assert_eq!(row(&explained, "limit"), "limit 5 conf/site.toml:5 [params] 0 (default)");
    assert_eq!(row(&explained, "deep"), "deep no default");
    let json = run(&call).args(line).args(["--output", "json", "--jobs", "4"]).run().json();
    let jobs = json["params"].as_array().unwrap().iter().find(|param| param["name"] == "jobs").unwrap();
    assert_eq!(
        (&jobs["value"], &jobs["from"]["kind"], &jobs["lost"][0]["from"]["line"]),
        (&4.into(), &"flag".into(), &8.into())
    );
    // Nothing was run, and nothing kept.
    assert!(log(&call).is_empty() && !call.state().join("journal.db").exists());
    run(&call).args(["--site", "conf/site.toml", "--name", "flag"]).run();
    assert!(log(&call)[0].starts_with("flag 120 5 3 "), "{:?}", log(&call));
}

#[test]
fn explain_names_what_is_required_and_not_given() {
    let call = whole("fn params() { #{ a: #{ type: \"int\", required: true } } }\nfn run(p) { }");
    assert_eq!(row(&run(&call).arg("--explain").run().stdout, "a"), "a - not given");
    let call = call.file("site.toml", "[params]\na = 1\n");
    run(&call).status(2).stderr_has("--a: is required").run();
    run(&call).args(["--site", "site.toml"]).run();
}

#[test]
fn mistakes_are_refused_with_their_place() {
    for (site, messages) in [
        ("[scripts.s]\nnmae = 1\n", &["`s` has no parameter `nmae`", "conf/site.toml:2:1", "did you mean `name`?"][..]),
        (
            "[params]\njobs = \"many\"\n",
            &["`jobs`: `many` is not a whole number", "conf/site.toml:2:1", "jobs = \"many\""],
        ),
        ("[params]\n\nwindow = true\n", &["`window`: expects a duration", "conf/site.toml:3:1"]),
        ("[params]\nskip = \"a\"\n", &["`skip`: takes a list", "conf/site.toml:2:1"]),
        ("[params]\nlimit = -1\n", &["`limit`: expects a size"]),
        ("[scrpts.s]\n", &["`scrpts` means nothing", "did you mean `scripts`?"]),
        ("[params\n", &["is no TOML", "conf/site.toml:1"]),
    ] {
        let call = call(site);
        let ran = run(&call).args(["--site", "conf/site.toml"]).status(2).run();
        messages
            .iter()
            .for_each(|message| assert!(ran.stderr.contains(message), "{message} is not in\n{}", ran.stderr));
        assert!(!call.state().join("journal.db").exists());
        // Help does not need the file.
        run(&call).arg("--help").env("DECAMP_SITE", "conf/site.toml").run();
    }
    run(&call(""))
        .args(["--site", "no/such.toml"])
        .status(2)
        .stderr_has("cannot read the site file `no/such.toml`")
        .run();
}

#[test]
fn what_no_known_script_has_is_warned_of_and_what_another_has_is_not() {
    let call = call("[params]\nverify = \"full\"\nwindw = \"1m\"\n[scripts.moev-tree]\n[scripts.mine]\nx = 1\n");
    let ran = run(&call).args(["--site", "conf/site.toml"]).run();
    let warnings: Vec<&str> = ran.stderr.lines().filter(|line| line.starts_with("warning:")).collect();
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    assert!(warnings[0].contains("conf/site.toml:3") && warnings[0].contains("did you mean `window`?"), "{warnings:?}");
    assert!(warnings[1].contains("[scripts.moev-tree]") && warnings[1].contains("`move-tree`"), "{warnings:?}");
}

#[test]
fn a_secret_in_a_site_file_is_a_reference_and_nothing_else() {
    for site in [
        "[params]\ntoken = \"Literal-secret\"\n",
        "[secrets]\ndb = \"Literal-secret\"\n",
        "[secrets]\ndb = Literal-secret\n",
    ] {
        run(&call(site))
            .args(["--site", "conf/site.toml"])
            .status(2)
            .stderr_has("conf/site.toml:2")
            .nowhere("Literal-secret")
            .run();
    }
}

#[test]
fn names_of_secrets_outlive_the_file_and_resume_takes_none() {
    let text = r#"fn params() { #{ more: #{ type: "bool" }, token: #{ type: "secret" } } }
fn run(p) {
    let db = secret("db");
    step("a", || 1);
    if !p.more { throw "stop"; }
    step("b", #{ undo: |r| host::local().exec(["sh", "-c", "cat > undone"], #{ stdin: db }) },
        || host::local().exec(["sh", "-c", "cat > got; printf %s \"$T\" > got-token"], #{ stdin: db, env: #{ T: secret(p.token) } }).code);
}"#;
    let call = whole(text)
        .file("site.toml", "[secrets]\ndb = \"env:DB\"\n[scripts.s]\ntoken = \"db\"\n")
        .env("DB", "Db-secret-1");
    run(&call).args(["--site", "site.toml"]).status(1).stderr_has("stop").run();
    let id = run_id(&call);
    let shown = call.again().args(["show", &id, "--output", "json"]).run().json();
    assert_eq!(shown["site"]["path"], call.dir().join("site.toml").display().to_string());
    assert_eq!(
        (shown["site"]["secrets"]["db"].as_str(), shown["site"]["blake3"].as_str().map(str::len)),
        (Some("env:DB"), Some(64))
    );
    call.again().args(["show", &id]).stdout_has("site file").stdout_has("site.toml").run();
    call.again()
        .args(["resume", "--site", "site.toml"])
        .status(2)
        .stderr_has("with the parameters it was started with")
        .run();
    std::fs::remove_file(call.dir().join("site.toml")).unwrap();
    call.again()
        .args(["resume", "--set", "more=true"])
        .file_is("got", "Db-secret-1")
        .file_is("got-token", "Db-secret-1")
        .run();
    call.again().args(["undo", &id]).file_is("undone", "Db-secret-1").nowhere("Db-secret-1").run();
}

#[test]
fn a_name_of_a_secret_that_is_not_there_is_not_repeated() {
    let call = whole("fn params() { #{} }\nfn run(p) { secret(\"databse\"); }")
        .file("site.toml", "[secrets]\ndatabase = \"env:DB\"\n");
    run(&call).args(["--site", "site.toml"]).status(2).stderr_has("did you mean `database` of the site file?").run();
}
