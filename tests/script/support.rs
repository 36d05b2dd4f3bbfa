//! A script in a fresh directory, and the log its commands write.

use std::fs;

use crate::support::env::Decamp;

/// What every script of these tests begins with: `say(word)` appends a line to `log`, exactly once per call.
const HEAD: &str = r#"//! A test.
fn say(word) { host::local().exec(["sh", "-c", "echo \"$1\" >> log", "say", word]) }
"#;

/// A call in a fresh directory that holds `s.rhai`, whose `run(p)` has this body.
pub(super) fn script(body: &str) -> Decamp {
    whole(&format!(
        "fn params() {{ #{{ arg: #{{ type: \"string\", \"default\": \"\" }} }} }}\nfn run(p) {{\n{body}\n}}\n"
    ))
}

/// The same with everything but the head.
pub(super) fn whole(text: &str) -> Decamp {
    Decamp::new().file("s.rhai", format!("{HEAD}{text}"))
}

/// The lines written so far.
pub(super) fn log(call: &Decamp) -> Vec<String> {
    fs::read_to_string(call.dir().join("log")).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// The id of the only run.
pub(super) fn run_id(call: &Decamp) -> String {
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs}");
    runs["runs"][0]["id"].as_str().unwrap().to_owned()
}

/// `decamp run ./s.rhai`.
pub(super) fn run(call: &Decamp) -> Decamp {
    call.again().args(["run", "./s.rhai"])
}
