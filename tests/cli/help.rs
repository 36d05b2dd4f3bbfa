//! Help is part of the interface: every page is kept, and a change of it is seen.

use decamp::error::Exit;

use crate::support::env::Decamp;

fn help_of(subcommand: &str) -> String {
    Decamp::new().args(subcommand.split_whitespace()).arg("--help").stderr("").run().stdout
}

/// Every page of help: the program's own, and those of all subcommands it names, however deep.
fn pages() -> Vec<String> {
    let mut found = vec![String::new()];
    let mut at = 0;
    while let Some(page) = found.get(at).cloned() {
        let help = help_of(&page);
        let commands = help.split("\nCommands:\n").nth(1).map(|rest| rest.split("\n\n").next().unwrap());
        let lines =
            commands.unwrap_or_default().lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = lines.filter_map(|line| line.split_whitespace().next());
        found.extend(names.map(|name| format!("{page} {name}").trim().to_owned()));
        at += 1;
    }
    found
}

#[test]
fn help_of_every_subcommand() {
    let pages = pages();
    assert!(pages.len() > 20 && pages.contains(&"runs prune".to_owned()), "{pages:?}");
    for subcommand in pages {
        let name = format!("help {subcommand}").trim_end().replace(' ', "_");
        insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, help_of(&subcommand));
        });
    }
}

#[test]
fn help_lists_every_subcommand_and_every_exit_code() {
    let help = help_of("");
    for subcommand in ["run", "resume", "undo", "copy", "repl", "doctor", "man"] {
        assert!(help.contains(&format!("\n  {subcommand} ")), "{subcommand} is not in\n{help}");
    }
    for (exit, meaning) in Exit::TABLE {
        assert!(help.contains(&format!("{:>3}  {meaning}", exit.code())), "{exit:?}");
    }
}

/// One sentence, said as a command, without a full stop: what operators read in lists.
#[test]
fn first_lines_are_imperative_and_have_no_full_stop() {
    for subcommand in pages().into_iter().filter(|name| !name.is_empty()) {
        let help = help_of(&subcommand);
        let first = help.lines().next().unwrap_or_default();
        assert!(!first.ends_with('.') && first.starts_with(char::is_uppercase), "{subcommand}: {first}");
        let verb = first.split_whitespace().next().unwrap();
        assert!(!verb.ends_with('s'), "{subcommand}: {first}");
    }
}

#[test]
fn version_opens_no_journal() {
    let dirs = Decamp::new();
    dirs.again().arg("--version").stdout(format!("decamp {}\n", env!("CARGO_PKG_VERSION"))).stderr("").run();
    assert_eq!(std::fs::read_dir(dirs.state()).unwrap().count(), 0);
}

#[test]
fn completions_know_every_subcommand() {
    let pages = pages();
    for shell in ["bash", "zsh", "fish"] {
        let ask = |words: &[&str]| {
            let call = Decamp::new().env("COMPLETE", shell).env("_CLAP_IFS", "\n");
            let call = call.env("_CLAP_COMPLETE_INDEX", (words.len() - 1).to_string());
            call.arg("--").args(words.iter().copied()).stderr("").run().stdout
        };
        let (commands, flags) = (ask(&["decamp", ""]), ask(&["decamp", "copy", "--"]));
        for name in pages.iter().filter(|name| !name.is_empty() && !name.contains(' ')) {
            assert!(commands.contains(name.as_str()), "{shell} lacks {name}: {commands}");
        }
        assert!(flags.contains("--max-delete"), "{shell}: {flags}");
    }
}

/// It is run by every script and completion that looks what is installed: no engine is built, no journal opened.
#[test]
fn version_is_quick() {
    let fastest = |program: &std::path::Path, arg: &str| {
        let once = || {
            let start = std::time::Instant::now();
            assert!(std::process::Command::new(program).arg(arg).output().unwrap().status.success());
            start.elapsed()
        };
        (0..20).map(|_| once()).min().unwrap()
    };
    let (ours, least) = (fastest(crate::support::env::program(), "--version"), fastest("/bin/true".as_ref(), ""));
    assert!(ours <= least * 40, "--version takes {ours:?}, /bin/true {least:?}");
}
