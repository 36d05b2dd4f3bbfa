//! Words the failures of the engines: what, why, and what to do next.

use rustix::io::Errno;

use super::{Error, Exit, Kind};
use crate::cancel::{Cancelled, Reason};
use crate::copy::{self, error::Apart, options::Loss, report::Shortfall};
use crate::host;
use crate::progress::CheckpointError;
use crate::units::{ParseError, show_count};

impl From<ParseError> for Error {
    fn from(error: ParseError) -> Self {
        Self::new(Kind::Invalid, error.to_string())
    }
}

impl From<Cancelled> for Error {
    fn from(Cancelled(reason): Cancelled) -> Self {
        let why = match reason {
            Reason::Interrupt => "interrupted",
            Reason::Terminate => "terminated",
            Reason::HangUp => "stopped: the terminal hung up",
            Reason::Internal => "stopped, because another part of the work failed",
            Reason::Deadline => "stopped at its deadline",
        };
        Self::new(Kind::Cancelled, why).because(Cancelled(reason)).exit(Exit::of_reason(reason))
    }
}

impl From<CheckpointError> for Error {
    fn from(error: CheckpointError) -> Self {
        Self::new(Kind::Io, "progress could not be recorded")
            .because(error.0)
            .hint("make space in the state directory, or choose another with --state-dir")
            .exit(Exit::Journal)
    }
}

impl From<host::tree::Error> for Error {
    fn from(error: host::tree::Error) -> Self {
        match error {
            host::tree::Error::Agent(error) => error.into(),
            host::tree::Error::Tree(error) => error.into(),
        }
    }
}

impl From<copy::Error> for Error {
    fn from(error: copy::Error) -> Self {
        use copy::Error as E;
        let message = error.to_string();
        match error {
            E::Cancelled(cancelled) => cancelled.into(),
            E::Checkpoint(checkpoint) => checkpoint.into(),
            E::Io { op, path, source } => {
                Self::new(kind_of(source), format!("cannot {op} `{path}`")).because(std::io::Error::from(source))
            }
            E::NotFound { .. } => Self::new(Kind::NotFound, message)
                .hint("check the path, and that what should be mounted there is")
                .exit(Exit::Usage),
            E::NotDirectory { .. } => {
                Self::new(Kind::Invalid, message).hint("give directories: decamp moves whole trees")
            }
            E::SameDirectory { .. } | E::DestInsideSource { .. } | E::SourceInsideDest { .. } => {
                Self::new(Kind::Invalid, message).hint("give two directories of which neither holds the other")
            }
            E::RootChanged { path, expected, found } => {
                Self::new(Kind::Conflict, format!("`{path}` is no longer the directory it was"))
                    .because(format!("it was {expected}"))
                    .hint(format!("it is now {found}: mount what was there, then go on"))
            }
            E::EmptySource { .. } => Self::new(Kind::Conflict, message)
                .hint("check that the source is mounted")
                .hint("if it is meant to be empty: --accept empty-source")
                .exit(Exit::Usage),
            E::TooManyDeletes { would, limit, dest_entries } => {
                let all = show_count(dest_entries);
                Self::new(
                    Kind::Conflict,
                    format!(
                        "{} of the destination's {all} entries would be deleted, {} are allowed; nothing was deleted",
                        show_count(would),
                        show_count(limit)
                    ),
                )
                .hint("check that the source is the right one and complete")
                .hint(format!("if so: --max-delete {would}"))
            }
            E::Held { by } => held(by),
            E::BadMarker { path } => Self::new(
                Kind::Conflict,
                format!("`{path}` should name the run that holds this directory, and does not"),
            )
            .hint("look at the file; if no run is at work there, remove it")
            .exit(Exit::Held),
            E::ReadOnly { path, reason } => Self::new(Kind::Denied, format!("cannot write to `{path}`: {reason}"))
                .hint("mount it writable, or run as a user who may write there"),
            E::NoSpace { path } => Self::new(Kind::NoSpace, format!("no space left in `{path}`"))
                .hint("what was copied stays: make space there and run again"),
            E::CannotHold(shortfalls) => cannot_hold(&shortfalls),
            E::BackupElsewhere { .. } => {
                Self::new(Kind::Invalid, message).hint("choose a --backup-dir on the destination's file system")
            }
            E::BadPattern { .. } => {
                Self::new(Kind::Invalid, message).hint("patterns follow rsync's rules for --exclude")
            }
            E::BadRecord { .. } => Self::new(Kind::Internal, message)
                .hint("the state of this run was changed by another program; start a new run"),
            E::Apart(Apart::Cut(_)) => Self::new(Kind::Unreachable, message)
                .hint("what was copied stays: run again, and only the rest is sent"),
            E::Apart(Apart::Corrupt(_)) => Self::new(Kind::Io, message)
                .hint("nothing more of it was believed; look at both machines and at what connects them"),
            E::Apart(Apart::Refused(_)) => {
                Self::new(Kind::Unsupported, message).hint("use the same version of decamp at both ends")
            }
            E::CountMismatch { .. } => Self::new(Kind::Internal, message)
                .hint("compare both sides before you rely on this copy, and report the defect"),
        }
    }
}

impl From<host::Error> for Error {
    fn from(error: host::Error) -> Self {
        use host::Error as E;
        let message = error.to_string();
        let made = |kind: Kind| Self::new(kind, message.clone());
        match error {
            E::Empty => made(Kind::Invalid).hint("name a program and its arguments"),
            E::Start { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                made(Kind::NotFound).because(source).hint("the program must be on PATH or named with its full path")
            }
            E::Start { source, .. } if source.kind() == std::io::ErrorKind::PermissionDenied => {
                made(Kind::Denied).because(source)
            }
            E::Start { source, .. } | E::Lost { source, .. } => made(Kind::Io).because(source),
            E::Timeout { .. } => made(Kind::Timeout).hint("give it more time with the option `timeout`"),
            E::Cancelled { source, .. } => Self::from(source).because(source),
        }
    }
}

fn held(by: Option<copy::claim::Marker>) -> Error {
    let Some(marker) = by else {
        return Error::new(Kind::Conflict, "another run is at work in this destination")
            .hint("wait until it is over")
            .exit(Exit::Held);
    };
    let error = Error::new(Kind::Conflict, format!("this destination is held by {marker}")).exit(Exit::Held);
    if marker.run == BY_HAND {
        return error
            .hint("wait until that copy is over")
            .hint("if it was killed: run it again, or remove the file `.decamp-run` in the destination");
    }
    error.hint(format!("on {}, as the user who started it:", marker.host)).hints(ways_out(&marker.run))
}

pub use crate::copy::claim::BY_HAND;

/// The failure of a destination that cannot hold what the source has: each thing with the word that accepts it.
#[must_use]
pub fn cannot_hold(shortfalls: &[Shortfall]) -> Error {
    let kind = if shortfalls.iter().all(|s| s.loss.is_some()) { Kind::Unsupported } else { Kind::NoSpace };
    let lines: Vec<String> = shortfalls
        .iter()
        .map(|s| {
            let entries = if s.entries > 0 { format!(" ({} entries)", show_count(s.entries)) } else { String::new() };
            match s.loss {
                Some(loss) => format!("\n  {:<12}{}{entries}", loss.name(), s.reason),
                None => format!("\n  {:<12}{}{entries}", "-", s.reason),
            }
        })
        .collect();
    let words: Vec<&str> = shortfalls.iter().filter_map(|s| s.loss).map(Loss::name).collect();
    let mut error = Error::new(kind, format!("the destination cannot hold all that the source has:{}", lines.concat()));
    if !words.is_empty() {
        error = error.hint(format!("to lose it knowingly: --accept {}", words.join(",")));
    }
    if words.len() < shortfalls.len() {
        error = error.hint("what is marked - cannot be accepted: it needs another destination, or more room there");
    }
    error.exit(Exit::Usage)
}

/// The kind of a failed system call.
#[must_use]
pub fn kind_of(errno: Errno) -> Kind {
    match errno {
        Errno::NOENT => Kind::NotFound,
        Errno::EXIST => Kind::Exists,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Kind::Denied,
        Errno::NOSPC | Errno::DQUOT => Kind::NoSpace,
        Errno::OPNOTSUPP | Errno::NOSYS => Kind::Unsupported,
        Errno::INVAL | Errno::NAMETOOLONG | Errno::NOTDIR | Errno::ISDIR => Kind::Invalid,
        Errno::TIMEDOUT => Kind::Timeout,
        Errno::STALE | Errno::BUSY => Kind::Conflict,
        Errno::HOSTUNREACH | Errno::NETUNREACH | Errno::CONNREFUSED => Kind::Unreachable,
        _ => Kind::Io,
    }
}

/// What can be done about an unfinished run.
pub(super) fn ways_out(run: &str) -> [String; 3] {
    [
        format!("go on with it: decamp resume {run}"),
        format!("put back what it did: decamp undo {run}"),
        format!("or give it up and leave everything as it is: decamp abandon {run}"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::copy::claim::Marker;
    use crate::copy::identity::RootId;

    fn id(ino: u64) -> RootId {
        RootId { dev: 1, ino, fsid: 3, fs_type: 4 }
    }

    fn path() -> String {
        "/srv/a".to_owned()
    }

    fn marker(run: &str) -> Option<Marker> {
        Some(Marker { run: run.into(), host: "ada".into(), at: "today".into() })
    }

    fn lost(loss: Option<Loss>) -> Shortfall {
        Shortfall { loss, entries: 3, reason: "it cannot".into() }
    }

    /// Every variant with its kind, its exit code, and words that must be in what is shown.
    #[test]
    fn every_failure_of_the_tree_engine_has_kind_code_and_words() {
        use copy::Error as E;
        let pair = || (path(), "/srv/b".to_owned());
        let cases: Vec<(E, Kind, u8, &[&str])> = vec![
            (Cancelled(Reason::Interrupt).into(), Kind::Cancelled, 130, &["interrupted"]),
            (Cancelled(Reason::Terminate).into(), Kind::Cancelled, 143, &["terminated"]),
            (Cancelled(Reason::HangUp).into(), Kind::Cancelled, 129, &["hung up"]),
            (Cancelled(Reason::Internal).into(), Kind::Cancelled, 1, &["another part"]),
            (CheckpointError("disk full".into()).into(), Kind::Io, 8, &["progress", "disk full", "--state-dir"]),
            (
                E::Io { op: "open", path: path(), source: Errno::ACCESS },
                Kind::Denied,
                1,
                &["cannot open `/srv/a`\n  1: Permission denied"],
            ),
            (E::NotFound { path: path() }, Kind::NotFound, 2, &["`/srv/a`", "mounted"]),
            (E::NotDirectory { path: path() }, Kind::Invalid, 2, &["`/srv/a`", "directories"]),
            (E::SameDirectory { src: pair().0, dst: pair().1 }, Kind::Invalid, 2, &["/srv/a", "/srv/b", "hint:"]),
            (E::DestInsideSource { src: pair().0, dst: pair().1 }, Kind::Invalid, 2, &["inside", "hint:"]),
            (E::SourceInsideDest { src: pair().0, dst: pair().1 }, Kind::Invalid, 2, &["inside", "hint:"]),
            (
                E::RootChanged { path: path(), expected: id(10), found: id(11) },
                Kind::Conflict,
                1,
                &["`/srv/a`", "1:a:3:4", "1:b:3:4", "mount"],
            ),
            (E::EmptySource { src: pair().0, dst: pair().1 }, Kind::Conflict, 2, &["--accept empty-source", "mounted"]),
            (
                E::TooManyDeletes { would: 1_500, limit: 50, dest_entries: 2_000 },
                Kind::Conflict,
                1,
                &["1,500", "50", "2,000", "nothing was deleted", "--max-delete 1500"],
            ),
            (E::Held { by: None }, Kind::Conflict, 6, &["at work", "wait"]),
            (
                E::Held { by: marker("0198-run") },
                Kind::Conflict,
                6,
                &["0198-run", "ada", "decamp resume 0198-run", "decamp undo 0198-run", "decamp abandon 0198-run"],
            ),
            (E::Held { by: marker(BY_HAND) }, Kind::Conflict, 6, &["wait until that copy is over"]),
            (E::BadMarker { path: path() }, Kind::Conflict, 6, &["`/srv/a`", "remove it"]),
            (
                E::ReadOnly { path: path(), reason: "it is mounted read-only".into() },
                Kind::Denied,
                1,
                &["`/srv/a`", "mounted read-only", "hint:"],
            ),
            (E::NoSpace { path: path() }, Kind::NoSpace, 1, &["`/srv/a`", "stays", "run again"]),
            (
                E::CannotHold(vec![lost(Some(Loss::Owner)), lost(Some(Loss::Acl))]),
                Kind::Unsupported,
                2,
                &["owner", "acl", "3 entries", "--accept owner,acl"],
            ),
            (E::CannotHold(vec![lost(None)]), Kind::NoSpace, 2, &["it cannot", "cannot be accepted"]),
            (E::BackupElsewhere { backup: path() }, Kind::Invalid, 2, &["/srv/a", "--backup-dir"]),
            (E::BadPattern { pattern: "[".into(), reason: "no end" }, Kind::Invalid, 2, &["`[`", "no end", "rsync"]),
            (E::BadRecord { what: "moves" }, Kind::Internal, 1, &["moves", "new run"]),
            (E::Apart(Apart::Cut("cut".into())), Kind::Unreachable, 4, &["reached", "cut", "run again"]),
            (E::Apart(Apart::Corrupt("odd".into())), Kind::Io, 1, &["trusted", "odd", "both machines"]),
            (E::Apart(Apart::Refused("no".into())), Kind::Unsupported, 1, &["refuses", "no", "same version"]),
            (E::CountMismatch { listed: 5, accounted: 4 }, Kind::Internal, 1, &["5", "4", "compare both sides"]),
        ];
        for (error, kind, code, words) in cases {
            let name = format!("{error:?}");
            let error = Error::from(error);
            let text = error.render(false);
            assert_eq!((error.kind, error.exit_code().code()), (kind, code), "{name}\n{text}");
            for word in words {
                assert!(text.contains(word), "{name} lacks {word:?}:\n{text}");
            }
            assert!(!error.message.ends_with('.') && text.starts_with("error: "), "{text}");
        }
    }

    #[test]
    fn a_loss_without_a_word_is_not_offered_for_acceptance() {
        let text = cannot_hold(&[lost(None), lost(Some(Loss::Xattr))]).render(false);
        assert!(text.contains("--accept xattr\n"), "{text}");
        assert!(text.contains("marked - cannot be accepted"), "{text}");
    }
}
