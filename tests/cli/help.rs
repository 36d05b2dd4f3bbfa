//! Help is part of the interface: every page is kept, and a change of it is seen.

use decamp::error::Exit;

use crate::support::env::Decamp;

const SUBCOMMANDS: [&str; 18] = [
    "",
    "run",
    "resume",
    "undo",
    "abandon",
    "decide",
    "runs",
    "show",
    "log",
    "scripts",
    "scripts list",
    "scripts show",
    "scripts eject",
    "check",
    "docs",
    "completions",
    "copy",
    "compare",
];

fn help_of(subcommand: &str) -> String {
    Decamp::new().args(subcommand.split_whitespace()).arg("--help").stderr("").run().stdout
}

#[test]
fn help_of_every_subcommand() {
    for subcommand in SUBCOMMANDS.into_iter().chain(["scan"]) {
        let name = format!("help {subcommand}").trim_end().replace(' ', "_");
        insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!(name, help_of(subcommand));
        });
    }
}

#[test]
fn help_lists_every_subcommand_and_every_exit_code() {
    let help = help_of("");
    for subcommand in SUBCOMMANDS.iter().filter(|name| !name.is_empty() && !name.contains(' ')) {
        assert!(help.contains(&format!("\n  {subcommand} ")), "{subcommand} is not in\n{help}");
    }
    for (exit, meaning) in Exit::TABLE {
        assert!(help.contains(&format!("{:>3}  {meaning}", exit.code())), "{exit:?}");
    }
}

/// One sentence, said as a command, without a full stop: what operators read in lists.
#[test]
fn first_lines_are_imperative_and_have_no_full_stop() {
    for subcommand in SUBCOMMANDS.iter().filter(|name| !name.is_empty()) {
        let help = help_of(subcommand);
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
    for shell in ["bash", "zsh", "fish"] {
        let text = Decamp::new().args(["completions", shell]).stderr("").run().stdout;
        for word in ["resume", "copy", "max-delete", "exit-code", "approve"] {
            assert!(text.contains(word), "{shell} lacks {word}");
        }
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
