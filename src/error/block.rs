//! Words the failures of the block engine.

use super::{Error, Exit, Kind};
use crate::block;
use crate::units::Bytes;
use crate::wire::Broken;

impl From<block::Error> for Error {
    fn from(error: block::Error) -> Self {
        use block::Error as E;
        let message = error.to_string();
        let made = |kind: Kind| Self::new(kind, message.clone());
        match error {
            E::Cancelled(cancelled) => cancelled.into(),
            E::Checkpoint(checkpoint) => checkpoint.into(),
            E::Broken { broken: Broken::Cancelled(cancelled), .. } => cancelled.into(),
            E::Broken { path, broken } => {
                Self::new(Kind::Unreachable, format!("the end that has `{path}` cannot be reached any more"))
                    .because(broken)
                    .hint("what had been written stays written: run it again, and it goes on from there")
            }
            E::Io { op, path, source } => Self::new(super::engines::kind_of(source), format!("cannot {op} `{path}`"))
                .because(std::io::Error::from(source)),
            E::NotFound { .. } => made(Kind::NotFound)
                .hint("check the path; device letters change, names in /dev/disk/by-id do not")
                .hint("an image file is made with the option `create`"),
            E::NotBlock { .. } => made(Kind::Invalid).hint("give a block device such as /dev/vdb, or an image file"),
            E::Smaller { path, target, source_size } => Self::new(
                Kind::NoSpace,
                format!(
                    "the target `{path}` is {} bytes too small: it has {}, the source {}",
                    source_size - target.min(source_size),
                    Bytes(target),
                    Bytes(source_size)
                ),
            )
            .hint("give a target of the same size or larger, to the byte"),
            E::InUse { .. } => made(Kind::Conflict)
                .hint("unmount or release it first; for a source that must stay in use: the option `live`"),
            E::ReadOnly { .. } => made(Kind::Denied)
                .hint("is it the source of another copy? if not: blockdev --setrw, or attach it writable"),
            E::Signature { .. } => made(Kind::Exists)
                .hint("check that it is the right device; if what it holds can go: `overwrite: true`")
                .exit(Exit::Usage),
            E::Same { .. } => made(Kind::Invalid).hint("give two devices of which neither holds a part of the other"),
            E::Swapped { .. } => made(Kind::Conflict).hint("give them the other way round"),
            E::Other { .. } => {
                made(Kind::Conflict).hint("attach what was there before, or give its present path (see block::devices)")
            }
            E::Resized { .. } => made(Kind::Conflict).hint("let it come to rest, then run again"),
            E::TargetChanged { .. } => made(Kind::Conflict).hint("if somebody works with it already, stop here").hint(
                "if what was written there can go: `overwrite: true` compares everything and copies what differs",
            ),
            E::Unreadable { path, offset, length, source } => {
                Self::new(Kind::Io, format!("`{path}` cannot be read at byte {offset} ({})", Bytes(length)))
                    .because(std::io::Error::from(source))
                    .hint("to copy what can be read, with zeros for the rest: `on_read_error: \"zero\"`")
            }
            E::NoSpace { .. } => made(Kind::NoSpace).hint("make room where the image is, and run again"),
            E::Mismatch { .. } => made(Kind::Mismatch)
                .hint("run it again: what differs is copied anew; if it differs again, do not trust the device"),
            E::BadDigests { .. } => {
                made(Kind::Invalid).hint("give another file, or remove it: then all is copied anew")
            }
            E::NoMap { .. } => made(Kind::Unsupported).hint("copy it without `used_only`"),
            E::Lied { .. } => {
                made(Kind::Internal).hint("nothing of it was written; are both sides of the same version?")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rustix::io::Errno;

    use super::*;
    use crate::block::{Identity, Signature};
    use crate::cancel::{Cancelled, Reason};
    use crate::progress::CheckpointError;

    /// Every variant with its kind, its exit code, and words that must be in what is shown.
    #[test]
    fn every_failure_of_the_block_engine_has_kind_code_and_words() {
        use block::Error as E;
        let path = || "/dev/vdb".to_owned();
        let id = |text: &str| Identity(text.to_owned());
        let cases: Vec<(E, Kind, u8, &[&str])> = vec![
            (Cancelled(Reason::Interrupt).into(), Kind::Cancelled, 130, &["interrupted"]),
            (CheckpointError("disk full".into()).into(), Kind::Io, 8, &["progress", "disk full"]),
            (E::Broken { path: path(), broken: Broken::Cut }, Kind::Unreachable, 4, &["was cut", "run it again"]),
            (
                E::Broken { path: path(), broken: Broken::Cancelled(Cancelled(Reason::Terminate)) },
                Kind::Cancelled,
                143,
                &["terminated"],
            ),
            (E::Io { op: "sync", path: path(), source: Errno::IO }, Kind::Io, 1, &["cannot sync `/dev/vdb`"]),
            (E::NotFound { path: path() }, Kind::NotFound, 1, &["by-id", "`create`"]),
            (E::NotBlock { path: path() }, Kind::Invalid, 2, &["image file"]),
            (
                E::Smaller { path: path(), target: 512, source_size: 1024 },
                Kind::NoSpace,
                1,
                &["512 bytes too small", "larger"],
            ),
            (
                E::InUse { path: path(), by: vec!["mounted at /a".into()] },
                Kind::Conflict,
                1,
                &["mounted at /a", "live"],
            ),
            (E::ReadOnly { path: path() }, Kind::Denied, 1, &["read-only", "--setrw"]),
            (
                E::Signature { path: path(), found: vec![Signature { name: "xfs".into(), offset: 0 }] },
                Kind::Exists,
                2,
                &["xfs (at byte 0)", "overwrite: true"],
            ),
            (
                E::Same { source_path: path(), target: path(), how: "both are on b:7:0".into() },
                Kind::Invalid,
                2,
                &["same storage", "b:7:0"],
            ),
            (E::Swapped { path: path(), was: "target" }, Kind::Conflict, 1, &["swapped", "was the target"]),
            (
                E::Other { path: path(), role: "source", expected: id("disk:a"), found: id("disk:b") },
                Kind::Conflict,
                1,
                &["disk:a", "disk:b", "block::devices"],
            ),
            (E::Resized { path: path(), before: 2, now: 1 }, Kind::Conflict, 1, &["from 2 to 1"]),
            (E::TargetChanged { path: path(), offset: 7 }, Kind::Conflict, 1, &["byte 7", "overwrite: true"]),
            (
                E::Unreadable { path: path(), offset: 4096, length: 512, source: Errno::IO },
                Kind::Io,
                1,
                &["byte 4096", "on_read_error"],
            ),
            (E::NoSpace { path: path() }, Kind::NoSpace, 1, &["make room"]),
            (E::Mismatch { path: path(), extents: 3, offset: 9 }, Kind::Mismatch, 12, &["3 extents", "byte 9"]),
            (E::BadDigests { path: path(), why: "torn".into() }, Kind::Invalid, 2, &["torn", "remove it"]),
            (E::NoMap { path: path(), why: "it is xfs".into() }, Kind::Unsupported, 1, &["it is xfs", "used_only"]),
            (E::Lied { path: path(), what: "no".into() }, Kind::Internal, 1, &["cannot be: no", "nothing of it"]),
        ];
        for (error, kind, code, words) in cases {
            let name = format!("{error:?}");
            let error = Error::from(error);
            let text = error.render(false);
            assert_eq!((error.kind, error.exit_code().code()), (kind, code), "{name}\n{text}");
            for word in words {
                assert!(text.contains(word), "{name} lacks {word:?}:\n{text}");
            }
            assert!(!error.message.ends_with('.'), "{text}");
        }
    }
}
