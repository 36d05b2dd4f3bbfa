//! Failures between Rust and a script.
//!
//! What a script may handle is thrown as a map `#{kind, message, hint, hints, retryable, causes}`. What no script may swallow
//! (cancel, a lost lease, a journal that cannot be written, a plan at its end) ends the script with `ErrorTerminated`.

use rhai::{Dynamic, EvalAltResult, Map, NativeCallContext, Position};

use crate::cancel::{Cancelled, Reason};
use crate::error::{Error, Exit, Kind};
use crate::script::secret::Secret;
use crate::script::value;

/// Why a native did not return.
#[derive(Debug)]
pub(crate) enum Fail {
    /// The script may catch it.
    Error(Error),
    /// The script ends here.
    Stop(Stop),
    /// A failure of the script itself that passes through a native, with its positions.
    Rhai(Box<EvalAltResult>),
}

/// The end of a script that is no error of the script's.
#[derive(Debug)]
pub(crate) enum Stop {
    /// A failure no script may swallow: cancelled, journal, lease, in doubt, waiting for an approval.
    Error(Error),
    /// A plan cannot look further.
    PlanEnds(String),
    /// Undo has replayed everything that was done.
    ReplayEnds,
    /// The run was to go up to here.
    Reached(String),
    /// Another branch ended the run, and this one stops before its next step.
    Paused,
}

impl From<Error> for Fail {
    fn from(error: Error) -> Self {
        // A script that could catch a cancellation would go on after it.
        if error.kind == Kind::Cancelled { Self::Stop(Stop::Error(error)) } else { Self::Error(error) }
    }
}

impl From<Stop> for Fail {
    fn from(stop: Stop) -> Self {
        Self::Stop(stop)
    }
}

impl From<crate::journal::Error> for Fail {
    /// A journal that fails stops everything: no effect may start without its record.
    fn from(error: crate::journal::Error) -> Self {
        Self::Stop(Stop::Error(error.into()))
    }
}

/// A [`Stop`] on its way through Rhai, which only carries values that can be cloned.
#[derive(Debug, Clone)]
pub(crate) struct Token(pub(crate) std::sync::Arc<std::sync::Mutex<Option<Stop>>>);

impl Fail {
    /// The failure itself, where the caller hands it on in a form of its own.
    pub(crate) fn into_error(self) -> Error {
        match self {
            Self::Error(error) | Self::Stop(Stop::Error(error)) => error,
            Self::Stop(_) => Error::new(Kind::Internal, "a script ended inside a native"),
            Self::Rhai(error) => Error::new(Kind::Internal, error.to_string()),
        }
    }

    /// The form in which Rhai carries it.
    pub(crate) fn into_rhai(self, at: Position) -> Box<EvalAltResult> {
        match self {
            Self::Error(error) => EvalAltResult::ErrorRuntime(payload(&error).into(), at).into(),
            Self::Stop(stop) => EvalAltResult::ErrorTerminated(token(stop), at).into(),
            Self::Rhai(error) => error,
        }
    }
}

fn token(stop: Stop) -> Dynamic {
    Dynamic::from(Token(std::sync::Arc::new(std::sync::Mutex::new(Some(stop)))))
}

/// The token that ends a script with `error`.
pub(crate) fn stop_token(error: Error) -> Dynamic {
    token(Stop::Error(error))
}

/// Whether the token of an `ErrorTerminated` says that the deadline of a step passed.
pub(crate) fn stopped_by_deadline(token: &Dynamic) -> bool {
    let token = token.read_lock::<Token>();
    token.is_some_and(|token| match &*token.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner) {
        Some(Stop::Error(error)) => is_deadline(error),
        _ => false,
    })
}

/// Whether work failed because the deadline of its step passed.
pub(crate) fn is_deadline(error: &Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(at) = cause {
        if at.downcast_ref::<Cancelled>() == Some(&Cancelled(Reason::Deadline)) {
            return true;
        }
        cause = at.source();
    }
    false
}

/// Throws what a native failed with, at the place it was called.
pub(crate) fn raise<T>(context: &NativeCallContext<'_>, result: Result<T, Fail>) -> Result<T, Box<EvalAltResult>> {
    result.map_err(|fail| fail.into_rhai(context.call_position()))
}

/// Like [`raise`], for a native that gives data.
pub(crate) fn raise_data(
    context: &NativeCallContext<'_>,
    result: Result<serde_json::Value, Fail>,
) -> Result<Dynamic, Box<EvalAltResult>> {
    raise(context, result.map(|data| value::decode(&data)))
}

/// The map a script catches.
pub(crate) fn payload(error: &Error) -> Map {
    let mut map = Map::new();
    map.insert("kind".into(), error.kind.name().into());
    map.insert("message".into(), error.message.as_str().into());
    map.insert("hint".into(), error.hints.join("; ").into());
    map.insert("hints".into(), error.hints.iter().cloned().map(Dynamic::from).collect::<rhai::Array>().into());
    map.insert("retryable".into(), error.kind.retryable().into());
    map.insert("causes".into(), error.causes().into_iter().map(Dynamic::from).collect::<rhai::Array>().into());
    if let Some(exit) = error.exit {
        map.insert("exit".into(), i64::from(exit.code()).into());
    }
    map
}

/// The failure in what a script threw: one of our maps, any other map with a `message`, or any value.
pub(crate) fn from_payload(thrown: &Dynamic) -> Error {
    let Some(map) = thrown.read_lock::<Map>() else {
        let text = if thrown.is::<Secret>() { "a secret was thrown".to_owned() } else { thrown.to_string() };
        return Error::new(Kind::Invalid, text).exit(Exit::Failed);
    };
    let text = |key: &str| map.get(key).filter(|value| !value.is_unit()).map(ToString::to_string).unwrap_or_default();
    let kind = Kind::from_name(&text("kind"));
    let message = map.get("message").map_or_else(|| value::describe(thrown).to_string(), ToString::to_string);
    let mut error = Error::new(kind.unwrap_or(Kind::Invalid), message);
    if kind.is_none() {
        error = error.exit(Exit::Failed);
    }
    let code = map.get("exit").and_then(|value| value.as_int().ok());
    if let Some((exit, _)) = Exit::TABLE.iter().find(|(exit, _)| Some(i64::from(exit.code())) == code) {
        error = error.exit(*exit);
    }
    match map.get("hints").and_then(|hints| hints.read_lock::<rhai::Array>()) {
        Some(hints) => error.hints.extend(hints.iter().map(ToString::to_string)),
        None if !text("hint").is_empty() => error = error.hint(text("hint")),
        None => {}
    }
    if let Some(causes) = map.get("causes").and_then(|value| value.read_lock::<rhai::Array>()) {
        let causes: Vec<String> = causes.iter().map(ToString::to_string).collect();
        error.source = Cause::chain(&causes);
    }
    error
}

/// A cause that has been through the journal or a script, where only its text survives.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
struct Cause {
    text: String,
    source: Option<Box<Self>>,
}

impl Cause {
    fn chain(texts: &[String]) -> Option<Box<dyn std::error::Error + Send + Sync>> {
        let mut chain: Option<Box<Self>> = None;
        for text in texts.iter().rev() {
            chain = Some(Box::new(Self { text: text.clone(), source: chain }));
        }
        chain.map(|cause| cause as Box<dyn std::error::Error + Send + Sync>)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_survives_the_way_through_a_script() {
        let cause = std::io::Error::other("input/output error");
        let error =
            Error::new(Kind::NoSpace, "`/data` is full").hint("make space").because(cause).exit(Exit::Incomplete);
        let back = from_payload(&payload(&error).into());
        assert_eq!((back.kind, back.message.as_str()), (Kind::NoSpace, "`/data` is full"));
        assert_eq!((back.hints.as_slice(), back.causes()), (["make space".to_owned()].as_slice(), error.causes()));
        assert_eq!(back.exit_code(), Exit::Incomplete);
    }

    #[test]
    fn anything_thrown_becomes_a_failure() {
        assert_eq!(from_payload(&"no users".into()).message, "no users");
        assert_eq!(from_payload(&"no users".into()).exit_code(), Exit::Failed);
    }
}
