//! What came out of a run, against what was expected.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;

use super::{Decamp, wildcard};

/// One expectation.
#[derive(Debug, Clone)]
pub(super) enum Wish {
    Status(i32),
    Stdout(String),
    StdoutLike(String),
    StdoutHas(String),
    Stderr(String),
    StderrLike(String),
    StderrHas(String),
    Nowhere(String),
    File(PathBuf, Vec<u8>),
    Absent(PathBuf),
}

/// A finished run.
#[derive(Debug, Clone)]
pub(crate) struct Ran {
    /// 128 and the number of the signal for one that was killed.
    pub(crate) status: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// The most memory it held, in bytes, as far as it was seen.
    pub(crate) peak_memory: u64,
}

impl Ran {
    /// The lines of standard output, each a JSON value.
    ///
    /// # Panics
    /// If one is not.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let read = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("not JSON ({error}): {line}"));
        self.stdout.lines().map(read).collect()
    }

    /// Standard output as one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.stdout))
    }

    #[track_caller]
    pub(super) fn check(self, call: &Decamp) -> Self {
        let wrong = self.mismatches(call);
        assert!(
            wrong.is_empty(),
            "{:?} {:?}\n{}\n--- stdout\n{}\n--- stderr\n{}\n---",
            call.program,
            call.args,
            wrong.join("\n"),
            self.stdout,
            self.stderr
        );
        self
    }

    /// Everything that is not as expected.
    pub(super) fn mismatches(&self, call: &Decamp) -> Vec<String> {
        let mut wrong = Vec::new();
        let wanted =
            call.wishes.iter().rev().find_map(|wish| if let Wish::Status(code) = wish { Some(*code) } else { None });
        if self.status != wanted.unwrap_or(0) {
            wrong.push(format!("status is {}, not {}", self.status, wanted.unwrap_or(0)));
        }
        let mut expect = |good: bool, what: String| {
            if !good {
                wrong.push(what);
            }
        };
        for wish in &call.wishes {
            match wish {
                Wish::Status(_) => {}
                Wish::Stdout(text) => expect(self.stdout == *text, format!("stdout is not {text:?}")),
                Wish::Stderr(text) => expect(self.stderr == *text, format!("stderr is not {text:?}")),
                Wish::StdoutLike(like) => {
                    expect(wildcard::matches(like, &self.stdout), format!("stdout is not like\n{like}"))
                }
                Wish::StderrLike(like) => {
                    expect(wildcard::matches(like, &self.stderr), format!("stderr is not like\n{like}"))
                }
                Wish::StdoutHas(text) => expect(self.stdout.contains(text), format!("stdout has no {text:?}")),
                Wish::StderrHas(text) => expect(self.stderr.contains(text), format!("stderr has no {text:?}")),
                Wish::Nowhere(text) => {
                    expect(!self.stdout.contains(text) && !self.stderr.contains(text), format!("{text:?} is there"));
                }
                Wish::File(path, content) => match fs::read(call.dir().join(path)) {
                    Ok(found) => {
                        let [found_text, wanted] = [&found, content].map(|bytes| String::from_utf8_lossy(bytes));
                        expect(found == *content, format!("{} holds {found_text:?}, not {wanted:?}", path.display()));
                    }
                    Err(error) => expect(false, format!("{}: {error}", path.display())),
                },
                Wish::Absent(path) => {
                    expect(call.dir().join(path).symlink_metadata().is_err(), format!("{} is there", path.display()));
                }
            }
        }
        wrong
    }
}
