//! On a real terminal: typing, completing, stopping, remembering.

use std::os::unix::fs::PermissionsExt;

use crate::support::env::Decamp;
use crate::support::pty::{CTRL_C, CTRL_D, CTRL_R, ENTER, Pty, TAB, UP};

const PLAN: &str = "decamp (plan)>";
const LIVE: &str = "decamp (LIVE)>";

fn place() -> Decamp {
    Decamp::new().file("data/a", "one").file("data/sub/b", "two").arg("repl")
}

fn open(call: &Decamp) -> Pty {
    let pty = Pty::start(call, 30, 100);
    pty.last(PLAN);
    pty
}

fn leave(mut pty: Pty) -> String {
    pty.type_keys(CTRL_D);
    let (status, screen) = pty.ends();
    assert_eq!(status, 0, "{screen}");
    screen
}

#[test]
fn a_line_is_typed_and_its_result_shown() {
    let mut pty = open(&place());
    pty.line("40 + 2");
    pty.says("42");
    pty.line("_ * 2");
    pty.says("84");
    pty.line("copy::scan(\"data\").counts");
    pty.says("entries   4");
    pty.line(":vars");
    pty.says("_1    i64   42");
    // A failure is shown with its place, and the session goes on.
    pty.line("_2 + nope");
    pty.has("undefined variable: nope");
    pty.line("copy::scn(1)");
    let screen = pty.says("hint: did you mean `copy::scan`?");
    assert!(screen.contains(" 1 │ copy::scn(1)\n   ·       ───"), "{screen}");
    pty.line("_err.kind");
    pty.says("invalid");
    pty.line("quit");
    assert_eq!(pty.ends().0, 0);
}

#[test]
fn names_options_keys_and_paths_are_completed() {
    let mut pty = open(&place());
    pty.type_keys("copy::sca");
    pty.type_keys(TAB);
    pty.last(&format!("{PLAN} copy::scan("));
    pty.type_keys("\"da");
    pty.type_keys(TAB);
    pty.last(&format!("{PLAN} copy::scan(\"data/"));
    pty.type_keys("\", #{ con");
    pty.type_keys(TAB);
    pty.last(&format!("{PLAN} copy::scan(\"data/\", #{{ content:"));
    pty.type_keys("true })");
    pty.type_keys(ENTER);
    pty.has("elapsed_ms");
    pty.line("let r = _;");
    pty.type_keys("r.counts.di");
    pty.type_keys(TAB);
    pty.last(&format!("{PLAN} r.counts.dirs"));
    pty.type_keys(ENTER);
    pty.says("2");
    // Several: a menu with what each of them is.
    pty.type_keys("copy::");
    pty.type_keys(TAB);
    let menu = pty.has("copy::compare(left: endpoint, right: endpoint");
    assert!(menu.contains("tree(") && menu.contains("scan("), "{menu}");
    pty.type_keys(CTRL_C);
    pty.last(PLAN);
    pty.type_keys("import \"std/ver");
    pty.type_keys(TAB);
    pty.has("import \"std/verify");
    pty.type_keys("\" as v;");
    pty.type_keys(ENTER);
    pty.last(PLAN);
    pty.type_keys("v::tre");
    pty.type_keys(TAB);
    pty.last(&format!("{PLAN} v::trees("));
}

#[test]
fn a_line_that_is_not_over_goes_on_in_the_next() {
    let mut pty = open(&place());
    pty.line("let d = #{");
    pty.last("...");
    pty.line("  a: `x");
    pty.line("y`,");
    pty.line("};");
    pty.last(PLAN);
    pty.line("d.a.len()");
    pty.says("3");
    pty.line("fn twice(x) {");
    pty.line("x * 2 }");
    pty.line("twice(21)");
    pty.says("42");
}

#[test]
fn ctrl_c_stops_what_runs_and_keeps_the_session() {
    let call = place();
    let mut pty = open(&call);
    pty.line("let kept = 7;");
    // While typing it only takes the line away.
    pty.type_keys("nonsense");
    pty.has("nonsense");
    pty.type_keys(CTRL_C);
    pty.last(PLAN);
    pty.line("let h = host::local();");
    pty.last(PLAN);
    let begun = std::time::Instant::now();
    pty.line("h.exec([\"sh\", \"-c\", \"touch started; sleep 50\"], #{ read_only: true })");
    while !call.dir().join("started").exists() {
        assert!(begun.elapsed().as_secs() < 40, "{}", pty.screen());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    pty.type_keys(CTRL_C);
    pty.has("stopping the line");
    pty.wait("the failure", |screen| screen.contains("error: ") && screen.trim_end().ends_with(PLAN));
    pty.line("kept * 6");
    pty.says("42");
    assert!(begun.elapsed().as_secs() < 45);
    // So does a native that only waits, in live mode.
    pty.line(":live");
    pty.last(LIVE);
    pty.line("sleep(\"50s\"); print(\"never\")");
    std::thread::sleep(std::time::Duration::from_millis(300));
    pty.type_keys(CTRL_C);
    pty.line("kept * 3");
    let screen = pty.says("21");
    assert!(!screen.lines().any(|line| line == "never"), "{screen}");
    leave(pty);
}

#[test]
fn what_was_typed_is_there_in_the_next_session() {
    let call = place();
    let mut pty = open(&call);
    pty.line("let first = \"alpha\";");
    pty.line("1 + 1");
    pty.says("2");
    pty.line(" \"secret line\".len()");
    pty.says("11");
    leave(pty);
    let file = call.state().join("history.db");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!call.state().join("journal.db").exists());
    for side in ["history.db", "history.db-wal"] {
        let bytes = std::fs::read(call.state().join(side)).unwrap_or_default();
        assert!(
            !bytes.windows(11).any(|window| window == b"secret line"),
            "{side} holds a line that began with a blank"
        );
    }
    let mut pty = open(&call);
    pty.type_keys(UP);
    pty.last(&format!("{PLAN} 1 + 1"));
    pty.type_keys(UP);
    pty.last(&format!("{PLAN} let first = \"alpha\";"));
    pty.type_keys(CTRL_C);
    pty.last(PLAN);
    pty.type_keys(CTRL_R);
    pty.has("search:");
    pty.type_keys("alph");
    pty.last(&format!("{PLAN} (search: alph) let first = \"alpha\";"));
    // Taken over first, so that it can be changed before it is done.
    pty.type_keys(ENTER);
    pty.last(&format!("{PLAN} let first = \"alpha\";"));
    pty.type_keys(ENTER);
    pty.last(PLAN);
    pty.line("first");
    pty.says("alpha");
    leave(pty);
}

#[test]
fn a_plan_is_done_on_demand() {
    let call = place();
    let mut pty = open(&call);
    pty.line("copy::root(\"moved\")");
    let screen = pty.says("nothing was changed; :do does it");
    assert!(screen.contains("would change: copy::root moved") && !call.dir().join("moved").exists(), "{screen}");
    pty.line(":do");
    pty.says("made   true");
    pty.line("let n = 1; let r = copy::tree(\"data\", \"moved\"); n += 1;");
    pty.has("would change: copy::tree data → moved");
    assert!(!call.dir().join("moved/a").exists());
    pty.line(":do");
    pty.last(PLAN);
    pty.line("[n, r.created.files]");
    pty.says("[2, 2]");
    call.again().args(["compare", "data", "moved"]).run();
    pty.line(":do");
    pty.has("the last line planned nothing");
    // A word that is mistyped keeps the plan.
    pty.line("host::local().exec([\"touch\", \"once\"]).code");
    pty.has("may change: host.exec touch once");
    pty.line(":do");
    pty.has("type `do it` to go on:");
    pty.line("doit");
    pty.has("was not confirmed");
    pty.line(":do");
    pty.wait("the question again", |screen| screen.matches("type `do it`").count() == 2);
    pty.line("do it");
    pty.says("0");
    assert!(call.dir().join("once").exists());
    pty.line(":clear");
    pty.last(PLAN);
    // What cannot be taken back takes a word.
    pty.line(":live");
    pty.last(LIVE);
    pty.line("host::local().exec([\"touch\", \"made\"]).code");
    pty.has("type `do it` to go on:");
    pty.line("y");
    pty.has("was not confirmed");
    assert!(!call.dir().join("made").exists());
    pty.line("host::local().exec([\"touch\", \"made\"]).code");
    pty.wait("the second question", |screen| screen.matches("type `do it`").count() == 2);
    pty.line("do it");
    pty.says("0");
    assert!(call.dir().join("made").exists());
    pty.line(":plan");
    pty.last(PLAN);
    pty.line(":runs");
    pty.has("running");
    let screen = leave(pty);
    assert!(screen.contains("it can be put back: decamp undo"), "{screen}");
}

#[test]
fn a_session_is_saved_checked_and_run() {
    let call = place();
    let mut pty = open(&call);
    pty.line("let found = copy::scan(\"./data\").counts;");
    pty.line("copy::root(\"./moved\")");
    pty.has("would change");
    pty.line("if found.files > 0 { copy::tree(\"./data\", \"./moved\"); }");
    pty.last(PLAN);
    pty.line(":save mine.rhai");
    pty.has("decamp check ./mine.rhai");
    leave(pty);
    call.again().args(["check", "mine.rhai"]).run();
    call.again().args(["run", "./mine.rhai", "--plan"]).absent("moved").run();
    call.again().args(["run", "./mine.rhai"]).file_is("moved/sub/b", "two").run();
}

#[test]
fn a_killed_session_is_listed_and_undone() {
    let call = place();
    let mut pty = open(&call);
    pty.line(":live copy::root(\"moved\").made");
    pty.says("true");
    pty.line(":live copy::tree(\"data\", \"moved\").created.files");
    pty.says("2");
    pty.signal(rustix::process::Signal::KILL);
    assert_eq!(pty.ends().0, 137);
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    assert_eq!(runs["runs"][0]["status"], "running");
    let run = runs["runs"][0]["id"].as_str().unwrap().to_owned();
    call.again().args(["undo", &run]).absent("moved").run();
}

#[test]
fn a_terminal_that_goes_away_ends_the_session_and_its_run() {
    let call = place();
    let mut pty = open(&call);
    pty.line(":live copy::root(\"moved\").made");
    pty.says("true");
    pty.signal(rustix::process::Signal::HUP);
    assert_eq!(pty.ends().0, 129);
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    assert_eq!(runs["runs"][0]["status"], "succeeded");
}

#[test]
fn a_terminal_that_is_closed_ends_the_session_and_its_run() {
    for term in ["xterm", "dumb"] {
        let call = place().env("TERM", term);
        let mut pty = open(&call);
        pty.line(":live copy::root(\"moved\").made");
        pty.says("true");
        assert_eq!(pty.hang_up(), 129, "{term}");
        let runs = call.again().args(["runs", "--output", "json"]).run().json();
        assert_eq!(runs["runs"][0]["status"], "succeeded", "{term}");
    }
}

#[test]
fn a_line_is_stopped_by_the_end_of_its_terminal() {
    let call = place();
    let mut pty = open(&call);
    pty.line(":live");
    pty.last(LIVE);
    pty.line("copy::root(\"moved\"); sleep(\"50s\")");
    pty.wait("the line", |_| call.dir().join("moved").exists());
    assert_eq!(pty.hang_up(), 129);
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    assert_ne!(runs["runs"][0]["status"], "running");
}

#[test]
fn the_value_of_a_secret_is_not_kept_in_the_history() {
    let call = place().env("TOK", "Zebra-99-quill");
    let mut pty = open(&call);
    pty.line("let early = \"Zebra-99-quill\";");
    pty.last(PLAN);
    pty.line("let t = secret(\"env:TOK\");");
    pty.has("not kept in the history");
    pty.line("let late = \"Zebra-99-quill\";");
    pty.last(PLAN);
    let kept = || {
        ["history.db", "history.db-wal"].iter().any(|file| {
            let bytes = std::fs::read(call.state().join(file)).unwrap_or_default();
            bytes.windows(14).any(|window| window == b"Zebra-99-quill")
        })
    };
    assert!(!kept());
    pty.line("1 + 1");
    pty.says("2");
    let screen = leave(pty);
    assert_eq!(screen.matches("not kept in the history").count(), 1, "{screen}");
    assert!(!kept());
    let mut pty = open(&call);
    for line in ["1 + 1", "let t = secret(\"env:TOK\");"] {
        pty.type_keys(UP);
        pty.last(&format!("{PLAN} {line}"));
    }
}

#[test]
fn results_keep_within_a_narrow_terminal() {
    let call = place();
    let mut pty = Pty::start(&call, 40, 34);
    pty.has("decamp (plan)>");
    pty.line("[#{ name: \"one\", words: \"a b c d e f g h i j k l m n o p q r\" }]");
    let screen =
        pty.wait("the table", |screen| screen.contains("name") && screen.contains("words") && screen.contains("q r"));
    // Wrapped in its own column, not by the terminal.
    let at = screen.lines().find(|line| line.starts_with("one")).unwrap().find('a');
    assert!(screen.lines().any(|line| line.find("q r").is_some() && line.starts_with(' ')), "{screen}");
    assert!(at.is_some());
    pty.resize(40, 110);
    pty.line("[#{ name: \"two\", words: \"a b c d e f g h i j k l m n o p q r\" }]");
    pty.says("two   a b c d e f g h i j k l m n o p q r");
    leave(pty);
}

#[test]
fn long_lists_are_cut_and_shown_on_demand() {
    let mut pty = Pty::start(&place(), 60, 100);
    pty.last(PLAN);
    pty.line("let l = []; for n in 0..30 { l.push(#{ number: n }); } l");
    pty.says("… 10 more (:all shows them)");
    pty.line(":all");
    pty.says("29");
    leave(pty);
}

#[test]
fn colours_are_only_where_they_are_wanted() {
    let colored = |call: &Decamp| {
        let mut pty = open(call);
        pty.line("let x = 40 + 2; x");
        pty.says("42");
        let colored = pty.colored();
        leave(pty);
        colored
    };
    assert!(colored(&place()));
    assert!(!colored(&place().env("NO_COLOR", "1")));
}

#[test]
fn a_dumb_terminal_gets_lines_and_nothing_else() {
    let mut pty = open(&place().env("TERM", "dumb"));
    pty.line("let d = #{");
    pty.last("...");
    pty.line("a: 42 };");
    pty.last(PLAN);
    pty.line("d.a");
    pty.says("42");
    pty.line("nope");
    pty.has("undefined variable: nope");
    assert!(!pty.raw().contains('\x1b'), "{:?}", pty.raw());
    leave(pty);
}

#[test]
fn progress_is_shown_and_goes_away() {
    let call = place();
    let mut pty = open(&call);
    pty.line("print(\"a line of the script\"); wait_until(\"x\", #{ timeout: \"1s\" }, || true)");
    pty.says("a line of the script");
    pty.line("copy::scan(\"data\").counts.files");
    let screen = pty.says("2");
    assert!(!screen.contains("scan:"), "{screen}");
    leave(pty);
}
