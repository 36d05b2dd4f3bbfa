//! The manual does what it says: every command and every script in README.md is run.
//!
//! Conventions of the fenced blocks:
//!
//! - `console`: lines that begin with `$ ` are run by `sh`, in order, all blocks of the page in one directory, with
//!   `decamp` and `cargo run --release --` on the path meaning the program under test (a line that ends in `\` goes on
//!   in the next). The lines below a command are what it prints, both streams; `…` stands for anything in a line, and
//!   alone for any lines. Without such lines anything may be printed. A command must succeed, unless the output below it
//!   ends with a line `(exit N)`.
//! - `sh`: every line is a command; nothing is compared but success.
//! - either with `no-run` behind the language: not run. The block begins with a comment `# not run: reason`.
//! - `rhai`: must pass `decamp check`.
//! - `toml` with the name of a file behind it: written to that file, for the commands that follow.
//! - other `toml`, `json`, `text` and blocks without a language are not run.
//!
//! The directory holds a small tree `data/` to move; the home directory has a small `.cargo/registry` and
//! `.rustup/toolchains`, and `rustc --print sysroot` names a directory in the latter.

use std::fs;

use crate::support::env::{Decamp, program, wildcard};
use crate::support::rust::repository;

/// A fenced block: where it begins, the words behind the fence, its lines.
#[derive(Debug, PartialEq, Eq)]
struct Block {
    line: usize,
    words: Vec<String>,
    text: Vec<String>,
}

fn blocks(page: &str) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    let mut open = false;
    for (number, line) in (1..).zip(page.lines()) {
        if let Some(info) = line.trim_start().strip_prefix("```") {
            if !open {
                let words = info.split([' ', ',']).filter(|word| !word.is_empty()).map(str::to_owned).collect();
                found.push(Block { line: number, words, text: Vec::new() });
            }
            open = !open;
        } else if open {
            found.last_mut().unwrap().text.push(line.to_owned());
        }
    }
    assert!(!open, "a block is not closed");
    found
}

/// A command, and what it prints.
#[derive(Debug, PartialEq, Eq)]
struct Call {
    command: String,
    output: Option<String>,
    status: i32,
}

fn calls(block: &Block) -> Vec<Call> {
    let console = block.words[0] == "console";
    let mut all: Vec<Call> = Vec::new();
    let mut goes_on = false;
    for line in &block.text {
        let command =
            if console { line.strip_prefix("$ ") } else { Some(line.as_str()).filter(|line| !line.is_empty()) };
        match (command, all.last_mut()) {
            (_, Some(call)) if goes_on => {
                call.command.push('\n');
                call.command.push_str(line);
            }
            (Some(command), _) => all.push(Call { command: command.to_owned(), output: None, status: 0 }),
            (None, Some(call)) if console => {
                match line.strip_prefix("(exit ").and_then(|rest| rest.strip_suffix(')')) {
                    Some(code) => call.status = code.parse().expect("(exit N)"),
                    None => {
                        let output = call.output.get_or_insert_default();
                        output.push_str(line);
                        output.push('\n');
                    }
                }
            }
            _ => {}
        }
        goes_on = (command.is_some() || goes_on) && line.ends_with('\\');
    }
    all
}

/// Everything on the page that does not do what it says.
fn complaints(page: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    let place = Decamp::new().file("data/report.txt", "figures\n").file("data/photos/one.jpg", [0xff; 20_000]);
    let bin = place.state().with_file_name("bin");
    fs::create_dir(&bin).unwrap();
    let home = place.state().with_file_name("home");
    let sysroot = home.join(".rustup/toolchains/some");
    for dir in [home.join(".cargo/registry"), sysroot.clone()] {
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("file"), "of every user of Rust\n").unwrap();
    }
    let rustc = format!("#!/bin/sh\n[ \"$*\" = '--print sysroot' ] && echo '{}'\n", sysroot.display());
    let direct = format!("#!/bin/sh\nexec '{}' \"$@\"\n", program().display());
    let cargo = format!(
        "#!/bin/sh\n[ \"$1 $2 $3\" = 'run --release --' ] || {{ echo \"cargo $*: not in the sandbox\" >&2; exit 99; }}\nshift 3\nexec '{}' \"$@\"\n",
        program().display()
    );
    for (name, text) in [("decamp", direct), ("cargo", cargo), ("rustc", rustc)] {
        fs::write(bin.join(name), text).unwrap();
        fs::set_permissions(bin.join(name), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    for block in blocks(page) {
        let at = |what: String| format!("README.md:{}: {what}", block.line);
        let language = block.words.first().map_or("", String::as_str);
        let no_run = block.words.iter().any(|word| word == "no-run");
        match language {
            "console" | "sh" if no_run => {
                let first = block.text.first().map_or("", String::as_str);
                if first.strip_prefix("# not run:").is_none_or(|reason| reason.trim().is_empty()) {
                    wrong.push(at("a `no-run` block begins with `# not run: reason`".into()));
                }
            }
            "console" | "sh" => {
                for call in calls(&block) {
                    let sh = place.again().program("/bin/sh").env("PATH", &path);
                    let ran = sh.args(["-c", &format!("exec 2>&1\n{}", call.command)]).spawn().wait();
                    if ran.status != call.status {
                        let text =
                            format!("`{}` exits {}, not {}:\n{}", call.command, ran.status, call.status, ran.stdout);
                        wrong.push(at(text));
                    } else if call.output.as_ref().is_some_and(|output| !wildcard::matches(output, &ran.stdout)) {
                        let wanted = call.output.as_deref().unwrap_or_default();
                        wrong.push(at(format!("`{}` prints\n{}not\n{wanted}", call.command, ran.stdout)));
                    }
                }
            }
            "rhai" => {
                let call = place.again().file("block.rhai", format!("{}\n", block.text.join("\n")));
                let ran = call.args(["check", "block.rhai"]).spawn().wait();
                if ran.status != 0 {
                    wrong.push(at(format!("`decamp check` refuses it:\n{}{}", ran.stdout, ran.stderr)));
                }
            }
            "toml" if block.words.len() > 1 => {
                let text = block.text.join("\n") + "\n";
                fs::write(place.dir().join(&block.words[1]), text).unwrap();
            }
            "" | "toml" | "json" | "text" => {}
            other => wrong.push(at(format!("blocks of `{other}` have no convention in tests/readme.rs"))),
        }
    }
    wrong
}

#[test]
fn the_manual_does_what_it_says() {
    let page = fs::read_to_string(repository().join("README.md")).expect("README.md");
    assert!(blocks(&page).iter().any(|block| block.words.first().is_some_and(|word| word == "console")));
    let wrong = complaints(&page);
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

#[test]
fn what_a_page_promises_is_checked() {
    let good = "
```console
$ find data -type f | sort
data/photos/…
data/report.txt
$ echo one; echo two >&2; false
one
two
(exit 1)
$ echo split \\
    line > made
```
text
```sh
test -e made
cd data && ls
test -f $(rustc --print sysroot)/file -a -f ~/.cargo/registry/file
```
```console no-run
# not run: needs a cluster
$ rm -rf /
```
```text
$ false
```
```toml site.toml
[params]
a = 1
```
```console
$ cat site.toml
[params]
a = 1
```";
    let wrong = complaints(good);
    assert!(wrong.is_empty(), "{wrong:#?}");
    for bad in [
        "```console\n$ false\n```",
        "```console\n$ echo one\ntwo\n```",
        "```console\n$ true\n(exit 3)\n```",
        "```sh\ntrue\nfalse\n```",
        "```console no-run\n$ rm -rf /\n```",
        "```bash\ntrue\n```",
        "```console\n$ cargo publish\n```",
    ] {
        assert_eq!(complaints(bad).len(), 1, "{bad}");
    }
}

#[test]
fn scripts_on_a_page_are_checked() {
    let script = "```rhai\nfn params() { #{} }\nfn run(p) { 40 + 2 }\n```";
    assert_eq!(complaints(script), Vec::<String>::new());
    assert_eq!(complaints("```rhai\nfn run(p) { 40 + }\n```").len(), 1);
}
