//! How the branches of a `parallel` are told apart, how each ended, and what that makes of the whole.

use rhai::{Array, Dynamic, EvalAltResult, Map};

use super::ctx::{Ctx, Halt};
use super::error::{self, Fail, Stop, Token};
use super::step::Failed;
use crate::error::{Error, Exit, Kind};

/// The key an item has of itself.
pub(super) fn own_key(item: &Dynamic) -> Option<String> {
    if let Some(map) = item.read_lock::<Map>() {
        return ["key", "id", "name"].iter().find_map(|field| plain_key(map.get(*field)?));
    }
    plain_key(item)
}

/// A key that is a text, a whole number or a flag. What would spoil the path of a step is escaped.
pub(super) fn plain_key(value: &Dynamic) -> Option<String> {
    if let Ok(number) = value.as_int() {
        return Some(number.to_string());
    }
    if let Ok(flag) = value.as_bool() {
        return Some(flag.to_string());
    }
    let text = value.clone().into_string().ok()?;
    let escaped = |c: char| match c {
        '[' | ']' | '\\' => format!("\\x{:02x}", u32::from(c)),
        c if c.is_control() => format!("\\x{:02x}", u32::from(c)),
        c => c.to_string(),
    };
    Some(text.chars().map(escaped).collect())
}

/// How a branch ended.
pub(super) enum End {
    /// With a result.
    Done(Dynamic),
    /// With a failure that a script may handle.
    Failed(Failed),
    /// The script ends here.
    Stopped(Stop),
    /// It was not its turn any more.
    NotBegun,
}

impl End {
    /// The end of a branch with this result; what ends the whole script keeps others from beginning further steps.
    pub(super) fn of(ctx: &Ctx, result: Result<Dynamic, Fail>) -> Self {
        let end = match result {
            Ok(result) => Self::Done(result),
            Err(Fail::Stop(stop)) => Self::Stopped(stop),
            Err(Fail::Error(error)) => Self::Failed(Failed::Native(Fail::Error(error))),
            Err(Fail::Rhai(error)) => match taken(&error) {
                Some(stop) => Self::Stopped(stop),
                None => Self::Failed(Failed::Rhai(error)),
            },
        };
        // Everybody sees a cancelled run; a deadline ends the step around, and the run goes on.
        if matches!(&end, Self::Stopped(Stop::Error(error)) if error.kind != Kind::Cancelled) {
            ctx.halt(Halt::Question);
        }
        end
    }
}

/// The reason in the token of a script that was ended.
fn taken(error: &EvalAltResult) -> Option<Stop> {
    let EvalAltResult::ErrorTerminated(token, _) = error.unwrap_inner() else { return None };
    let token = token.clone().try_cast::<Token>()?;
    token.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take()
}

/// How all branches ended, in the order of the items.
pub(super) struct Ends {
    pub(super) keys: Vec<String>,
    pub(super) ends: Vec<End>,
    /// Whether any of them changed anything.
    pub(super) changed: bool,
}

impl Ends {
    /// What ends the script, if a branch was ended from outside: the gravest reason, and all questions in one.
    pub(super) fn stop(&mut self) -> Option<Stop> {
        let mut stops = Vec::new();
        for end in &mut self.ends {
            if matches!(end, End::Stopped(_))
                && let End::Stopped(stop) = std::mem::replace(end, End::NotBegun)
            {
                stops.push(stop);
            }
        }
        // A stable order: of equally grave ones the first in the order of the items stays.
        stops.sort_by_key(gravity);
        let mut stops = stops.into_iter();
        let first = stops.next()?;
        let Stop::Error(mut first) = first else { return Some(first) };
        if is_question(&first) {
            for other in stops {
                match other {
                    Stop::Error(other) if is_question(&other) => {
                        first.message = format!("{}; {}", first.message, other.message);
                        let known = |hint: &String| first.hints.contains(hint);
                        let new: Vec<String> = other.hints.into_iter().filter(|hint| !known(hint)).collect();
                        first.hints.extend(new);
                    }
                    _ => {}
                }
            }
            // The command that goes on comes after all that must be said before it.
            first.hints.sort_by_key(|hint| hint.contains("decamp resume"));
        }
        Some(Stop::Error(first))
    }

    /// The failure of the first item that failed, with what became of the others. With `collect` only what a script may
    /// not handle at all.
    pub(super) fn failure(&mut self, collect: bool) -> Option<Failed> {
        let fails = |end: &End| match end {
            End::Failed(Failed::Rhai(error)) => !collect || !error.unwrap_inner().is_catchable(),
            End::Failed(Failed::Native(_)) => !collect,
            _ => false,
        };
        let at = self.ends.iter().position(fails)?;
        let names = |wanted: fn(&End) -> bool| {
            let which =
                self.ends.iter().zip(&self.keys).enumerate().filter(|(index, (end, _))| *index != at && wanted(end));
            which.map(|(_, (_, key))| format!("`{key}`")).collect::<Vec<_>>().join(", ")
        };
        let mut hints = vec![format!("it failed for `{}`, one of {} items", self.keys[at], self.ends.len())];
        for (what, names) in [
            ("failed as well", names(|end| matches!(end, End::Failed(_)))),
            ("did not begin", names(|end| matches!(end, End::NotBegun))),
        ] {
            if !names.is_empty() {
                hints.push(format!("{what}: {names}"));
            }
        }
        let End::Failed(failed) = std::mem::replace(&mut self.ends[at], End::NotBegun) else { return None };
        Some(match failed {
            Failed::Native(Fail::Error(error)) => Failed::Native(Fail::Error(error.hints(hints))),
            Failed::Rhai(mut error) => {
                add_hints(&mut error, hints);
                Failed::Rhai(error)
            }
            other => other,
        })
    }

    /// The results: as they are, or with `collect` each in a map that tells success from failure.
    pub(super) fn results(self, collect: bool) -> Dynamic {
        let all = self.ends.into_iter().map(|end| match end {
            End::Done(result) if !collect => result,
            End::Done(result) => Map::from([("ok".into(), true.into()), ("value".into(), result)]).into(),
            End::Failed(failed) => {
                let error = failed.error().unwrap_or_else(|| Error::new(Kind::Internal, "a branch failed"));
                Map::from([("ok".into(), false.into()), ("error".into(), error::payload(&error).into())]).into()
            }
            End::Stopped(_) | End::NotBegun => Dynamic::UNIT,
        });
        all.collect::<Array>().into()
    }
}

/// Which of several reasons to stop is told: the smaller number.
fn gravity(stop: &Stop) -> u8 {
    match stop {
        Stop::Error(error) if error.exit_code() == Exit::Journal => 0,
        Stop::Error(error) if error.kind == Kind::Cancelled => 1,
        Stop::Error(error) if !is_question(error) => 2,
        Stop::Error(error) if error.exit_code() == Exit::InDoubt => 3,
        Stop::Error(_) => 4,
        Stop::Reached(_) => 5,
        Stop::PlanEnds(_) => 6,
        Stop::ReplayEnds => 7,
        Stop::Paused => 8,
    }
}

/// Whether a person has to say something before the run can go on.
fn is_question(error: &Error) -> bool {
    matches!(error.exit_code(), Exit::Approval | Exit::InDoubt)
}

/// Adds hints to what a script threw, wherever in the chain of calls it stands.
fn add_hints(error: &mut EvalAltResult, hints: Vec<String>) {
    match error {
        EvalAltResult::ErrorInFunctionCall(_, _, inner, _) | EvalAltResult::ErrorInModule(_, inner, _) => {
            add_hints(inner, hints);
        }
        EvalAltResult::ErrorRuntime(thrown, _) => {
            let own = thrown.read_lock::<Map>().map(|map| map.clone());
            let mut map = own.unwrap_or_else(|| error::payload(&error::from_payload(thrown)));
            let known = map.get("hints").and_then(|known| known.read_lock::<Array>().map(|known| known.clone()));
            let mut all = known.unwrap_or_default();
            all.extend(hints.into_iter().map(Dynamic::from));
            map.insert("hints".into(), all.into());
            *thrown = map.into();
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn keys_come_from_the_item_and_cannot_spoil_a_path() {
        let map = |name: &str, value: Dynamic| Dynamic::from(Map::from([(name.into(), value)]));
        assert_eq!(own_key(&"/srv/a".into()).unwrap(), "/srv/a");
        assert_eq!(own_key(&7_i64.into()).unwrap(), "7");
        assert_eq!(own_key(&map("id", "x".into())).unwrap(), "x");
        assert_eq!(own_key(&map("name", "a]b[\\".into())).unwrap(), "a\\x5db\\x5b\\x5c");
        assert_eq!(own_key(&map("other", "x".into())), None);
        assert_eq!(own_key(&Dynamic::UNIT), None);
    }

    #[test]
    fn the_gravest_reason_is_told_and_all_questions_in_one() {
        let question = |name: &str| {
            let error = Error::new(Kind::Denied, format!("waiting for `{name}`")).exit(Exit::Approval);
            End::Stopped(Stop::Error(error.hint(format!("decamp approve 1 {name}")).hint("decamp resume 1")))
        };
        let keys = || (0..3).map(|n| n.to_string()).collect();
        let mut ends =
            Ends { keys: keys(), ends: vec![question("a"), End::Stopped(Stop::Paused), question("b")], changed: false };
        let Some(Stop::Error(error)) = ends.stop() else { panic!() };
        assert_eq!(error.message, "waiting for `a`; waiting for `b`");
        assert_eq!(error.hints, ["decamp approve 1 a", "decamp approve 1 b", "decamp resume 1"]);
        let cancelled = Stop::Error(Error::new(Kind::Cancelled, "interrupted"));
        let mut ends =
            Ends { keys: keys(), ends: vec![question("a"), End::Stopped(cancelled), End::NotBegun], changed: false };
        assert!(matches!(ends.stop(), Some(Stop::Error(error)) if error.kind == Kind::Cancelled));
    }

    #[test]
    fn the_failure_of_the_first_item_names_the_others() {
        let failed = |text: &str| End::Failed(Failed::Native(Error::new(Kind::Io, text).into()));
        let keys = ["a", "b", "c", "d"].map(str::to_owned).to_vec();
        let ends = vec![End::Done(1_i64.into()), failed("second"), failed("third"), End::NotBegun];
        let error = Ends { keys, ends, changed: false }.failure(false).unwrap().error().unwrap();
        assert_eq!(error.message, "second");
        assert_eq!(error.hints, ["it failed for `b`, one of 4 items", "failed as well: `c`", "did not begin: `d`"]);
    }
}
