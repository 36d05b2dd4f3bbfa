//! Words the failures of a far side, and of the way to it.

use rustix::io::Errno;

use super::{Error, Kind, kind_of};
use crate::agent::{self, Fault, Sort};
use crate::wire::Broken;

impl From<Broken> for Error {
    fn from(broken: Broken) -> Self {
        let message = broken.to_string();
        match broken {
            Broken::Cancelled(cancelled) => cancelled.into(),
            Broken::Cut => Self::new(Kind::Unreachable, "the connection to the far side was cut")
                .hint("what had arrived is kept: look after the network and the machine there, then go on"),
            Broken::Silent(_) => Self::new(Kind::Unreachable, message)
                .hint("what had arrived is kept: look whether the machine there still works, then go on"),
            Broken::Io(source) => {
                let kind = Errno::from_io_error(&source).map_or(Kind::Io, kind_of);
                Self::new(kind, "the connection to the far side failed").because(source)
            }
            Broken::Corrupt(text) => Self::new(Kind::RemoteFailed, "what the far side sent cannot be")
                .because(text)
                .hint("nothing of it was used; if it happens again, something changes what is sent: report it"),
            Broken::Refused(text) => Self::new(Kind::RemoteFailed, format!("the far side gave up: {text}")),
        }
    }
}

impl From<agent::Error> for Error {
    fn from(error: agent::Error) -> Self {
        match error {
            agent::Error::Broken(broken) => broken.into(),
            agent::Error::Fault(fault) => fault_of(*fault),
            agent::Error::Near(source) => {
                let kind = Errno::from_io_error(&source).map_or(Kind::Io, kind_of);
                Self::new(kind, "content could not be read or written on this side").because(source)
            }
        }
    }
}

fn fault_of(fault: Fault) -> Error {
    let kind = match (fault.sort, fault.errno) {
        (Sort::System, Some(errno)) => kind_of(Errno::from_raw_os_error(errno)),
        (Sort::System, None) => Kind::Io,
        (Sort::Refused, _) => Kind::Conflict,
        (Sort::Unsupported, _) => Kind::Unsupported,
    };
    Error::new(kind, fault.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cancel::{Cancelled, Reason};

    #[test]
    fn every_failure_of_a_far_side_has_kind_code_and_words() {
        let system =
            |errno: i32| agent::Error::from(Fault::io("open", b"/x")(std::io::Error::from_raw_os_error(errno)));
        let cases: Vec<(agent::Error, Kind, u8, &[&str])> = vec![
            (Broken::Cut.into(), Kind::Unreachable, 4, &["cut", "kept"]),
            (Broken::Silent(std::time::Duration::from_secs(60)).into(), Kind::Unreachable, 4, &["60s", "kept"]),
            (Broken::Io(std::io::Error::from_raw_os_error(5)).into(), Kind::Io, 1, &["failed", "Input/output"]),
            (Broken::Corrupt("a sum".into()).into(), Kind::RemoteFailed, 1, &["cannot be", "a sum", "report"]),
            (Broken::Refused("no".into()).into(), Kind::RemoteFailed, 1, &["gave up: no"]),
            (Broken::Cancelled(Cancelled(Reason::Interrupt)).into(), Kind::Cancelled, 130, &["interrupted"]),
            (system(2), Kind::NotFound, 1, &["cannot open `/x`: No such file"]),
            (system(13), Kind::Denied, 1, &["Permission denied"]),
            (Fault::refused("write", b"/x", "it is a link").into(), Kind::Conflict, 1, &["it is a link"]),
            (
                agent::Error::Near(std::io::Error::from_raw_os_error(28)),
                Kind::NoSpace,
                1,
                &["on this side", "No space"],
            ),
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
