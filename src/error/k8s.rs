//! Words what fails with clusters.

use super::{Error, Kind};
use crate::k8s;

impl From<k8s::Error> for Error {
    fn from(error: k8s::Error) -> Self {
        use k8s::Error as E;
        let message = error.to_string();
        let made = |kind: Kind| Self::new(kind, message.clone());
        match error {
            E::NoConfig => made(Kind::NotFound)
                .hint("name one: k8s::connect(#{ kubeconfig: \"…\" }), or set KUBECONFIG, or put it at ~/.kube/config"),
            E::Config { source, .. } => {
                made(Kind::Invalid).because(source).hint("see what kubectl makes of it: kubectl config view --minify")
            }
            E::NoContext { known, .. } => made(Kind::NotFound).hint(format!("it has: {}", known.join(", "))),
            E::Unreachable { source, .. } => made(Kind::Unreachable).because(source),
            E::Silent { last, .. } => {
                let error = made(Kind::Timeout).hint("give it more time: k8s::connect(#{ timeout: \"5m\" })");
                match last {
                    Some(last) => error.because(last),
                    None => error,
                }
            }
            E::Untrusted { source, .. } => made(Kind::Denied)
                .because(source)
                .hint("the kubeconfig names the authority (certificate-authority-data) that signs for it"),
            E::Login { source, .. } => made(Kind::Denied)
                .because(source)
                .hint("try it by hand: kubectl auth whoami")
                .hint("a plugin that asks for something is asked by nobody here: log in by hand first"),
            E::NoKind { known, .. } => made(Kind::NotFound).hint(match known.len() {
                0 => "the server names none at all".to_owned(),
                _ => "see what it has: kubectl api-resources".to_owned(),
            }),
            E::TooOld { .. } => made(Kind::Unsupported).hint("decamp needs Kubernetes 1.27 or later"),
            E::BadName { .. } => {
                made(Kind::Invalid).hint("write TYPE/NAME: deploy/web, pvc/data, issuers.cert-manager.io/site")
            }
            E::Refused { code, reason, said, .. } => {
                let error = made(refused(code, &reason)).because(said);
                match code {
                    401 => error.hint("log in again: kubectl auth whoami says who you are"),
                    403 => error.hint("see what is allowed: kubectl auth can-i --list"),
                    409 if reason != "AlreadyExists" => {
                        error.hint("somebody else changed it meanwhile: look at it, and do it again")
                    }
                    _ => error,
                }
            }
            E::Another { .. } => made(Kind::Conflict).hint("look at what is there now, and at who made it"),
            E::Answer { source, .. } => made(Kind::RemoteFailed)
                .because(source)
                .hint("see whether something between here and there answers for it"),
        }
    }
}

/// The kind of what a server refuses.
fn refused(code: u16, reason: &str) -> Kind {
    match (code, reason) {
        (401 | 403, _) => Kind::Denied,
        (404, _) => Kind::NotFound,
        (409, "AlreadyExists") => Kind::Exists,
        // A list that was forgotten, a budget that lets nothing go.
        (409 | 410 | 429, _) => Kind::Conflict,
        (405 | 406 | 415, _) => Kind::Unsupported,
        (400 | 413 | 422, _) => Kind::Invalid,
        (408 | 504, _) => Kind::Timeout,
        (502 | 503, _) => Kind::Unreachable,
        _ => Kind::RemoteFailed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn every_failure_of_a_cluster_has_kind_code_and_words() {
        use k8s::Error as E;
        let server = || "https://10.0.0.1:6443".to_owned();
        let io = || Box::new(std::io::Error::other("line cut"));
        let refused = |code, reason: &str| E::Refused {
            what: "get `pods/web`".into(),
            code,
            reason: reason.into(),
            said: "the server said so".into(),
        };
        let cases: Vec<(E, Kind, u8, &[&str])> = vec![
            (E::NoConfig, Kind::NotFound, 1, &["kubeconfig", "KUBECONFIG"]),
            (E::Config { from: "`k`".into(), source: io() }, Kind::Invalid, 2, &["`k`", "line cut", "config view"]),
            (
                E::NoContext { from: "`k`".into(), context: "prod".into(), known: vec!["dev".into(), "test".into()] },
                Kind::NotFound,
                1,
                &["`prod`", "dev, test"],
            ),
            (E::Unreachable { server: server(), source: io() }, Kind::Unreachable, 4, &["10.0.0.1", "line cut"]),
            (
                E::Silent { server: server(), after: Duration::from_secs(30), last: Some(io()) },
                Kind::Timeout,
                1,
                &["10.0.0.1", "within 30.0 s", "line cut", "timeout"],
            ),
            (E::Untrusted { server: server(), source: io() }, Kind::Denied, 1, &["trusted", "authority"]),
            (E::Login { server: server(), source: io() }, Kind::Denied, 1, &["log in", "whoami", "by hand"]),
            (
                E::NoKind { server: server(), name: "deploys".into(), known: vec!["deployments".into()] },
                Kind::NotFound,
                1,
                &["`deploys`", "api-resources"],
            ),
            (E::TooOld { server: server() }, Kind::Unsupported, 1, &["older", "1.27"]),
            (
                E::BadName { name: "web".into(), why: "it is no name" },
                Kind::Invalid,
                2,
                &["`web`", "it is no name", "TYPE/NAME"],
            ),
            (
                E::Answer { server: server(), what: "get `x`".into(), source: io() },
                Kind::RemoteFailed,
                1,
                &["proper", "between"],
            ),
            (E::Another { what: "`pods/web`".into() }, Kind::Conflict, 1, &["`pods/web`", "another", "who made it"]),
            (refused(401, "Unauthorized"), Kind::Denied, 1, &["cannot get `pods/web`", "said so", "log in"]),
            (refused(403, "Forbidden"), Kind::Denied, 1, &["can-i"]),
            (refused(404, "NotFound"), Kind::NotFound, 1, &["said so"]),
            (refused(409, "AlreadyExists"), Kind::Exists, 1, &["said so"]),
            (refused(409, "Conflict"), Kind::Conflict, 1, &["meanwhile"]),
            (refused(422, "Invalid"), Kind::Invalid, 2, &["said so"]),
            (refused(429, "TooManyRequests"), Kind::Conflict, 1, &["said so"]),
            (refused(500, "InternalError"), Kind::RemoteFailed, 1, &["said so"]),
            (refused(503, "ServiceUnavailable"), Kind::Unreachable, 4, &["said so"]),
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
