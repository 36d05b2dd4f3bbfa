//! Words the failures of the journal: what, why, and what to do next.

use std::sync::Arc;

use rustix::io::Errno;

use super::engines::{kind_of, ways_out};
use super::{Error, Exit, Kind};
use crate::journal;
use crate::units::Bytes;

impl From<journal::Error> for Error {
    fn from(error: journal::Error) -> Self {
        use journal::Error as E;
        let message = error.to_string();
        match error {
            E::Full { space, .. } => {
                let need = space.map(|(free, need)| format!(" ({} free, {} needed)", Bytes(free), Bytes(need)));
                Self::new(Kind::NoSpace, format!("{message}{}", need.unwrap_or_default()))
                    .hint("make space there, or choose another place with --state-dir; then resume")
                    .exit(Exit::Journal)
            }
            E::Corrupt { path, .. } if path.ends_with("progress.db") => {
                let run = path.parent().and_then(|dir| dir.file_name()).unwrap_or_default().to_string_lossy();
                Self::new(Kind::Io, message)
                    .hint("without it what the run made cannot be told from what was there before")
                    .hint("put all files of its directory back as they were together, from a backup")
                    .hint(format!("or look at the targets and give the run up: decamp abandon {run}"))
                    .exit(Exit::Journal)
            }
            E::Gone { .. } => Self::new(Kind::Io, message)
                .hint("make it anew from that copy: decamp doctor --rebuild")
                .hint("or, if the runs are not wanted any more, move the copies away")
                .exit(Exit::Journal),
            E::Corrupt { .. } | E::Lost { .. } => Self::new(Kind::Io, message)
                .hint("it was left as it is; nothing was moved or deleted")
                .hint("see what is wrong, and with what: decamp doctor")
                .hint("make it anew from its copies and the event files of its runs: decamp doctor --rebuild")
                .exit(Exit::Journal),
            E::Kept { run, .. } => Self::new(Kind::Conflict, message)
                .hint(format!("see what it is at: decamp show {run}"))
                .exit(Exit::Held),
            E::Incomplete { run, .. } => Self::new(Kind::Conflict, message)
                .hint("it cannot be resumed or undone: what was done might be done again")
                .hint(format!("see what is known of it, and look at its targets: decamp show {run}"))
                .hint(format!("then give it up: decamp abandon {run}"))
                .exit(Exit::InDoubt),
            E::NotLocal { .. } => Self::new(Kind::Unsupported, message)
                .hint("choose a directory on a local disk with --state-dir or DECAMP_STATE_DIR")
                .exit(Exit::Journal),
            E::Newer { .. } => Self::new(Kind::Unsupported, message).hint("use that newer decamp").exit(Exit::Journal),
            E::Older { .. } => Self::new(Kind::Unsupported, message)
                .hint("the next `decamp run` or `decamp resume` makes a copy of it and brings it up to date")
                .exit(Exit::Journal),
            E::Sqlite { .. } => {
                Self::new(Kind::Unsupported, message).hint("build decamp with its own SQLite").exit(Exit::Journal)
            }
            E::Held { run, .. } => Self::new(Kind::Conflict, message).hints(ways_out(run.as_str())).exit(Exit::Held),
            E::Live { run, .. } => Self::new(Kind::Conflict, message)
                .hint(format!("see how far it is: decamp show {run}"))
                .hint("or stop it with Ctrl-C (SIGINT); it saves its state")
                .exit(Exit::Held),
            E::Superseded { run, .. } => {
                Self::new(Kind::Conflict, message).hint(format!("see who has it: decamp show {run}")).exit(Exit::Held)
            }
            E::NotFound { .. } => {
                Self::new(Kind::NotFound, message).hint("list the runs: decamp runs").exit(Exit::Usage)
            }
            E::Ambiguous { candidates, .. } => {
                let all: Vec<&str> = candidates.iter().map(journal::RunId::as_str).collect();
                Self::new(Kind::Invalid, message).hint(format!("name one of {}", all.join(", ")))
            }
            E::NotInDoubt { run, in_doubt, .. } => {
                let hint = if in_doubt.is_empty() {
                    format!("no step of it is: decamp resume {run}")
                } else {
                    format!("in doubt are: {}", in_doubt.join(", "))
                };
                Self::new(Kind::Invalid, message).hint(hint)
            }
            E::InputsChanged { was, now, .. } => Self::new(Kind::Conflict, message)
                .because(format!("it ran with {was}, it would run with {now}"))
                .hint("undo the run and start a new one, or give the step the inputs it had"),
            E::RequestChanged(change) => Self::new(Kind::Conflict, message)
                .because(format!(
                    "recorded: {} on {} {}; asked for: {} on {} {}",
                    change.function, change.target, change.was, change.now.0, change.now.1, change.now.2
                ))
                .hint("take the change of the script back, or undo the run and start a new one"),
            E::DuplicateKey { .. } => {
                Self::new(Kind::Invalid, message).hint("give each a key: step(name, #{ key: … }, …)")
            }
            E::AfterPivot { .. } => Self::new(Kind::Conflict, message).hint("move the new step behind that point"),
            E::Unsettled { run, .. } => Self::new(Kind::Conflict, message)
                .hint(format!("see which: decamp show {run}"))
                .hint(
                    "a step the script no longer comes to is not settled: put it back into the script, or undo the run",
                )
                .exit(Exit::InDoubt),
            E::Illegal(_) | E::Stopped => Self::new(Kind::Internal, message).exit(Exit::Journal),
            E::Busy { .. } => Self::new(Kind::Conflict, message).hint("try again").exit(Exit::Journal),
            E::Io { ref source, .. } => {
                let kind = source.raw_os_error().map_or(Kind::Io, |code| kind_of(Errno::from_raw_os_error(code)));
                Self::new(kind, message).because(Arc::clone(source)).hint(STATE_HINT).exit(Exit::Journal)
            }
            E::Sql { source, .. } => Self::new(Kind::Io, message).because(source).hint(STATE_HINT).exit(Exit::Journal),
        }
    }
}

const STATE_HINT: &str = "check the state directory, or choose another with --state-dir";

#[cfg(test)]
mod tests {
    use super::*;
    use std::io;
    use std::path::PathBuf;

    fn path() -> PathBuf {
        PathBuf::from("/var/decamp/journal.db")
    }

    /// Variants that need a run's name are covered where a journal can make one (tests/cli).
    #[test]
    fn every_failure_of_the_journal_has_kind_code_and_words() {
        use journal::Error as E;
        let denied = Arc::new(io::Error::from_raw_os_error(13));
        let cases: Vec<(E, Kind, u8, &[&str])> = vec![
            (
                E::Full { path: path(), space: Some((1 << 20, 64 << 20)) },
                Kind::NoSpace,
                8,
                &["journal.db", "1.00 MiB free, 64.0 MiB needed", "--state-dir"],
            ),
            (
                E::Corrupt { path: path(), detail: "page 7".into() },
                Kind::Io,
                8,
                &["page 7", "decamp doctor --rebuild", "left as"],
            ),
            (E::NotLocal { path: path(), fs: "nfs" }, Kind::Unsupported, 8, &["nfs", "DECAMP_STATE_DIR"]),
            (E::Newer { path: path(), found: 9, known: 1 }, Kind::Unsupported, 8, &["9", "1", "newer"]),
            (E::Older { path: path(), found: 1, known: 2 }, Kind::Unsupported, 8, &["older", "hint:"]),
            (E::Sqlite { found: "3.40.0" }, Kind::Unsupported, 8, &["3.40.0"]),
            (E::NotFound { what: "run `x`".into() }, Kind::NotFound, 2, &["run `x`", "decamp runs"]),
            (E::Ambiguous { what: "a".into(), candidates: vec![] }, Kind::Invalid, 2, &["`a`"]),
            (
                E::InputsChanged { key: "copy".into(), was: Box::new(1.into()), now: Box::new(2.into()) },
                Kind::Conflict,
                1,
                &["`copy`", "ran with 1", "run with 2", "undo"],
            ),
            (E::DuplicateKey { key: "copy".into() }, Kind::Invalid, 2, &["`copy`", "key: …"]),
            (E::AfterPivot { key: "new".into(), pivot: "gone".into() }, Kind::Conflict, 1, &["`new`", "`gone`"]),
            (E::Busy { path: path() }, Kind::Conflict, 8, &["journal.db", "try again"]),
            (
                E::Io { op: "open", path: path(), source: denied },
                Kind::Denied,
                8,
                &["open", "Permission denied", "hint:"],
            ),
            (E::Stopped, Kind::Internal, 8, &["writer"]),
        ];
        for (error, kind, code, words) in cases {
            let name = format!("{error:?}");
            let error = Error::from(error);
            let text = error.render(false);
            assert_eq!((error.kind, error.exit_code().code()), (kind, code), "{name}\n{text}");
            for word in words {
                assert!(text.contains(word), "{name} lacks {word:?}:\n{text}");
            }
        }
    }
}
