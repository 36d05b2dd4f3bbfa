//! Manual pages: there is one for everything, each says every flag, and man's own programs accept them.

use std::path::Path;
use std::process::Command;

use crate::support::env::Decamp;

/// All pages, written to `man` in the working directory of the call.
fn written() -> (Decamp, Vec<String>) {
    let call = Decamp::new();
    call.again().args(["man", "--out", "man"]).stdout_has("pages to man").run();
    let mut names: Vec<String> = std::fs::read_dir(call.dir().join("man"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    (call, names)
}

/// A page as a reader sees it, without roff's escapes.
fn plain(roff: &str) -> String {
    roff.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "").replace("\\-", "-").replace('\\', "")
}

#[test]
fn every_flag_of_every_subcommand_has_its_page() {
    let (call, names) = written();
    let commands = call.again().arg("--help").run().stdout;
    let listed = commands.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let subcommands: Vec<&str> = listed
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty())
        .collect();
    assert!(subcommands.len() > 15, "{subcommands:?}");
    let pages = subcommands.into_iter().map(|name| (format!("decamp-{name}.1"), vec![name]));
    let script = ("decamp-run-move-tree.1".to_owned(), vec!["run", "move-tree"]);
    for (file, words) in pages.chain([script, ("decamp-scripts-eject.1".to_owned(), vec!["scripts", "eject"])]) {
        assert!(names.contains(&file), "{file} is not in {names:?}");
        let page = plain(&std::fs::read_to_string(call.dir().join("man").join(&file)).unwrap());
        let help = call.again().args(words).arg("--help").run().stdout;
        let flags = help
            .split_whitespace()
            .filter(|word| word.starts_with("--"))
            .map(|word| word.trim_matches(|c: char| c != '-' && !c.is_alphanumeric()));
        for flag in flags.filter(|flag| *flag != "--") {
            let flag = flag.split(['=', '[', ',', '.']).next().unwrap();
            assert!(page.contains(flag), "{file} lacks {flag}");
        }
        for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"] {
            assert!(
                page.contains(&format!(".SH {heading}")) || page.contains(&format!(".SH \"{heading}\"")),
                "{file} lacks {heading}"
            );
        }
    }
    let tree = plain(&std::fs::read_to_string(call.dir().join("man/decamp-run-move-tree.1")).unwrap());
    assert!(tree.contains("copies while the source is in use"), "the script's own text is missing: {tree}");
    assert!(
        tree.contains("\ndecamp run move-tree --dest [ssh://HOST]PATH --source [ssh://HOST]PATH [options]\n"),
        "{tree}"
    );
    let eject = plain(&std::fs::read_to_string(call.dir().join("man/decamp-scripts-eject.1")).unwrap());
    assert!(eject.contains("\ndecamp scripts eject [options] NAME [DIR]\n"), "{eject}");
    let main = plain(&std::fs::read_to_string(call.dir().join("man/decamp.1")).unwrap());
    assert!(main.contains("decamp-run-move-tree(1)") && main.contains("decamp-resume(1)"), "{main}");
}

#[test]
fn pages_are_sound_roff() {
    let (call, names) = written();
    let mut judges = 0;
    for (program, args) in [("mandoc", &["-Tlint", "-Werror"][..]), ("groff", &["-man", "-Tutf8", "-ww", "-z"])] {
        if Command::new(program).arg("--help").output().is_err() && Command::new(program).arg("-l").output().is_err() {
            continue;
        }
        judges += 1;
        for name in &names {
            let judged = Command::new(program).args(args).arg(call.dir().join("man").join(name)).output().unwrap();
            let said = String::from_utf8_lossy(&[judged.stdout, judged.stderr].concat()).into_owned();
            assert!(judged.status.success() && said.is_empty(), "{program} {name}: {said}");
        }
    }
    if judges == 0 {
        crate::support::skip::skipped("neither mandoc nor groff is installed");
    }
}

#[test]
fn one_page_is_printed_or_shown() {
    let call = Decamp::new();
    let main = call.again().arg("man").run().stdout;
    assert!(main.starts_with(".ie \\n(.g") || main.contains(".TH DECAMP 1"), "{main}");
    call.again().args(["man", "resume"]).stdout_has(".TH DECAMP-RESUME 1").run();
    call.again().args(["man", "resum"]).status(2).stderr_has("did you mean `decamp-resume`?").run();
    let page = call.again().args(["man", "run-move-tree", "--output", "json"]).run().json();
    assert_eq!(page["page"], "decamp-run-move-tree");
    if Path::new("/usr/bin/man").exists() {
        let shown = call.again().arg("man").on_terminal().env("MANPAGER", "cat").env("MANROFFOPT", "-c").run();
        assert!(shown.stdout.contains("DECAMP(1)") && !shown.stdout.contains(".SH"), "{}", shown.stdout);
    }
    assert_eq!(std::fs::read_dir(call.state()).unwrap().count(), 0);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let call = Decamp::new().file("file", "");
    call.again()
        .args(["man", "--out", "file/below"])
        .status(2)
        .stderr_has("cannot write the pages to `file/below`")
        .run();
}
