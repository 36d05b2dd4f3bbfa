//! What a plan cannot know: the result of something that was not done. It can be passed on and printed; anything that
//! depends on it ends the plan there, with the reason.

use rhai::{Dynamic, Engine, EvalAltResult, Position};

use super::error::{Fail, Stop};

/// A value that is known only after the run.
#[derive(Debug, Clone)]
pub(crate) struct Unknown(pub(crate) String);

impl Unknown {
    fn ends(&self) -> Box<EvalAltResult> {
        let why = format!("it depends on {}, which is known only after the run", self.0);
        Fail::from(Stop::PlanEnds(why)).into_rhai(Position::NONE)
    }
}

/// Lets scripts print an unknown value, and ends the plan where they use it.
pub(super) fn register(engine: &mut Engine) {
    type Result = std::result::Result<Dynamic, Box<EvalAltResult>>;
    engine.register_type_with_name::<Unknown>("unknown");
    engine.register_fn("to_string", |_: &mut Unknown| "<known after run>".to_owned());
    engine.register_fn("to_debug", |_: &mut Unknown| "<known after run>".to_owned());
    engine.register_indexer_get(|unknown: &mut Unknown, _: &str| -> Result { Err(unknown.ends()) });
    engine.register_indexer_get(|unknown: &mut Unknown, _: rhai::INT| -> Result { Err(unknown.ends()) });
    for operator in ["==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "%"] {
        engine.register_fn(operator, |left: Unknown, _: Dynamic| -> Result { Err(left.ends()) });
        engine.register_fn(operator, |_: Dynamic, right: Unknown| -> Result { Err(right.ends()) });
        engine.register_fn(operator, |left: Unknown, _: Unknown| -> Result { Err(left.ends()) });
    }
}
