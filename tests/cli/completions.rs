//! What a shell gets when TAB is pressed: asked as the shells ask, and once through each real one.

use std::os::unix::fs::symlink;

use crate::support::env::{Decamp, program};

/// Candidates for the last of `words`, as bash asks for them.
fn candidates(call: &Decamp, words: &[&str]) -> Vec<String> {
    let ran = asked(call, "bash", words).run();
    ran.stdout.lines().map(str::to_owned).collect()
}

fn asked(call: &Decamp, shell: &str, words: &[&str]) -> Decamp {
    let asking = call.again().env("COMPLETE", shell).env("_CLAP_IFS", "\n");
    asking.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).args(["--", "decamp"]).args(words.iter().copied())
}

fn has(found: &[String], wanted: &[&str]) {
    assert!(wanted.iter().all(|one| found.iter().any(|other| other == one)), "{wanted:?} are not all in {found:?}");
}

/// A run that waits for an approval, one whose command is in doubt, one that succeeded, and one past its pivot; their
/// names in that order.
fn runs() -> (Decamp, [String; 4]) {
    let script = |body: &str| format!("fn params() {{ #{{}} }}\nfn run(p) {{ {body} }}\n");
    let call = Decamp::new()
        .file("waits.rhai", script("approve(\"cut over\");"))
        .file("doubt.rhai", script("step(\"say it\", || host::local().exec([\"sh\", \"-c\", \"kill -9 $PPID\"]));"))
        .file("over.rhai", script("step(\"go\", || host::local().exec([\"true\"]));"))
        .file("past.rhai", script("pivot(\"gone\"); step(\"go\", || host::local().exec([\"true\"]));"));
    call.again().args(["run", "./waits.rhai"]).status(5).run();
    call.again().args(["run", "./over.rhai"]).run();
    call.again().args(["run", "./doubt.rhai"]).status(137).run();
    call.again().args(["run", "./past.rhai"]).run();
    let all = call.again().args(["runs", "--output", "json"]).run().json();
    let name = |script: &str| {
        let run = all["runs"].as_array().unwrap().iter().find(|run| run["script"] == script).unwrap();
        run["id"].as_str().unwrap().to_owned()
    };
    let names = ["./waits.rhai", "./doubt.rhai", "./over.rhai", "./past.rhai"].map(name);
    // The next process sees that the outcome is not known.
    call.again().args(["resume", &names[1]]).status(7).run();
    (call, names)
}

#[test]
fn scripts_and_their_flags_are_known() {
    let call = Decamp::new().file("own.rhai", "fn params() { #{ depth: #{ type: \"int\" } } }\nfn run(p) {}\n");
    let call = call.file("notes.txt", "").file("below/x.rhai", "");
    let scripts = candidates(&call, &["run", ""]);
    has(&scripts, &["move-tree", "own.rhai", "below/"]);
    assert!(!scripts.iter().any(|one| one.contains("notes")), "{scripts:?}");
    has(&candidates(&call, &["plan", "mov"]), &["move-tree"]);
    has(&candidates(&call, &["--output", "json", "run", "--yes", "mo"]), &["move-tree"]);
    has(&candidates(&call, &["run", "move-tree", "--"]), &["--source", "--max-delete", "--max-rate", "--plan"]);
    has(&candidates(&call, &["run", "./own.rhai", "--d"]), &["--depth"]);
    assert!(!candidates(&call, &["run", "./own.rhai", "--"]).contains(&"--source".to_owned()));
    assert_eq!(candidates(&call, &["run", "move-tree", "--verify", ""]), ["none", "meta", "sample", "full"]);
    has(&candidates(&call, &["run", "move-tree", "--source", "b"]), &["below/"]);
    has(&candidates(&call, &["run", "move-tree", "--accept", "owner,xa"]), &["owner,xattr"]);
    has(&candidates(&call, &["run", "move-tree", "--set", "max"]), &["max_delete="]);
    has(&candidates(&call, &["run", "move-tree", "--approve", ""]), &["replace"]);
    has(&candidates(&call, &["copy", "a", "b", "--accept", "ac"]), &["acl"]);
    has(&candidates(&call, &["docs", "copy::t"]), &["copy::tree"]);
    has(&candidates(&call, &["scripts", "eject", ""]), &["move-tree"]);
    has(&candidates(&call, &["comp"]), &["compare", "completions"]);
}

#[test]
fn each_command_is_offered_the_runs_it_fits() {
    let (call, [waits, doubt, over, past]) = runs();
    let offered = |words: &[&str]| {
        let ids = candidates(&call, words);
        [&waits, &doubt, &over, &past].map(|run| ids.contains(run))
    };
    assert_eq!(offered(&["resume", ""]), [true, true, false, false]);
    assert_eq!(offered(&["undo", ""]), [true, true, true, false]);
    assert_eq!(offered(&["abandon", ""]), [true, true, false, false]);
    assert_eq!(offered(&["decide", ""]), [false, true, false, false]);
    assert_eq!(offered(&["rate", ""]), [true, true, false, false]);
    assert_eq!(offered(&["show", ""]), [true; 4]);
    assert_eq!(
        offered(&["log", &over[..30]]).iter().filter(|yes| **yes).count(),
        candidates(&call, &["log", &over[..30]]).len()
    );
    has(&candidates(&call, &["decide", &doubt, ""]), &[r"say\ it"]);
    has(&candidates(&call, &["decide", &doubt, "say it", ""]), &["happened", "retry"]);
    assert_eq!(candidates(&call, &["resume", &waits, "--approve", ""]), [r"cut\ over"]);
    assert_eq!(candidates(&call, &["resume", "--approve", ""]), [r"cut\ over"]);
    assert!(asked(&call, "zsh", &["resume", "--approve", ""]).run().stdout.starts_with("cut over:"));
    has(&candidates(&call, &["log", &over, "--step", ""]), &["go"]);
    let described = asked(&call, "fish", &["resume", ""]).run().stdout;
    assert!(described.contains(&format!("{doubt}\t./doubt.rhai, waiting, started ")), "{described}");
}

#[test]
fn nothing_is_written_and_nothing_is_said() {
    let call = Decamp::new();
    assert_eq!(candidates(&call, &["resume", ""]).iter().filter(|word| !word.starts_with('-')).count(), 0);
    assert_eq!(std::fs::read_dir(call.state()).unwrap().count(), 0, "a journal was made");
    std::fs::write(call.state().join("journal.db"), "no journal at all, and long enough to be looked at").unwrap();
    for words in [&["resume", ""][..], &["decide", "x", ""], &["run", "./broken.rhai", "--"], &["run", "\u{1}", "-"]] {
        let call = call.again().file("broken.rhai", "fn params( {");
        asked(&call, "bash", words).stderr("").run();
    }
    let ran = asked(&call, "csh", &["resume", ""]).status(1).stdout("").stderr("").run();
    assert_eq!(ran.status, 1);
    let files: Vec<_> = std::fs::read_dir(call.state()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["journal.db"]);
}

/// A call that finds the program on its path.
fn on_path() -> Decamp {
    let call = Decamp::new();
    let bin = call.dir().join("bin");
    std::fs::create_dir(&bin).unwrap();
    symlink(program(), bin.join("decamp")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    call.env("PATH", path)
}

fn installed(shell: &str) -> bool {
    let found = std::process::Command::new("sh").args(["-c", "command -v \"$0\"", shell]).output().unwrap();
    if !found.status.success() {
        crate::support::skip::skipped(&format!("{shell} is not installed"));
    }
    found.status.success()
}

#[test]
fn a_real_bash_completes_what_is_typed() {
    let typed = "source <(decamp completions bash)\ndecamp scripts sho\tmov\t> shown\ndecamp run move-tree --sou\tx --de\ty --plan --verify met\t2> said\nexit\n";
    let call = on_path();
    let shell = call.again().program("bash").args(["--noprofile", "--norc", "-i"]).on_terminal();
    let ran = shell.env("TERM", "xterm").stdin(typed).spawn().wait();
    let shown = std::fs::read_to_string(call.dir().join("shown")).unwrap_or_default();
    assert!(shown.contains("fn params()"), "{}", ran.stdout);
    let said = std::fs::read_to_string(call.dir().join("said")).unwrap_or_default();
    assert!(said.contains("work/x"), "{said}{}", ran.stdout);
}

#[test]
fn a_real_zsh_completes_what_is_typed() {
    if !installed("zsh") {
        return;
    }
    let typed = "autoload -U compinit; compinit -D -u\nsource <(decamp completions zsh)\ndecamp scripts sho\tmov\t> shown\nexit\n";
    let call = on_path();
    let ran = call.again().program("zsh").args(["-f", "-i"]).on_terminal().stdin(typed).spawn().wait();
    let shown = std::fs::read_to_string(call.dir().join("shown")).unwrap_or_default();
    assert!(shown.contains("fn params()"), "{}", ran.stdout);
}

#[test]
fn a_real_fish_completes_what_is_asked() {
    if !installed("fish") {
        return;
    }
    let line = "decamp completions fish | source; complete --do-complete 'decamp run mov'; complete --do-complete 'decamp run move-tree --verify '";
    let ran = on_path().program("fish").args(["--no-config", "-c", line]).run();
    assert!(ran.stdout.contains("move-tree\tMove a directory tree"), "{}", ran.stdout);
    assert!(ran.stdout.contains("sample"), "{}", ran.stdout);
}

#[test]
fn every_shell_gets_its_registration() {
    for (shell, word) in
        [("bash", "complete -o"), ("zsh", "compdef"), ("fish", "complete --keep-order"), ("elvish", "arg-completer")]
    {
        let call = Decamp::new();
        call.again().args(["completions", shell]).stdout_has(word).stdout_has("COMPLETE=").run();
        assert_eq!(std::fs::read_dir(call.state()).unwrap().count(), 0);
    }
    Decamp::new().args(["completions", "csh"]).status(2).stderr_has("bash").run();
}
