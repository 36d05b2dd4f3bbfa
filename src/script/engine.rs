//! The Rhai engine as every script gets it: limits, strictness, natives, resolver, cancellation.

use std::sync::Arc;

use rhai::{Dynamic, Engine, OptimizationLevel};

use super::api::{self, ctx::Ctx};
use super::library::Resolver;
use super::outcome::Say;
use crate::error::Error;

/// Stack of the thread a script runs on: 128 levels of calls fit in it with room to spare.
pub(super) const STACK_BYTES: usize = 16 << 20;

/// An engine with the natives and nothing behind them: enough to compile, check and document.
pub(super) fn bare() -> Engine {
    let mut engine = Engine::new();
    engine
        // The defaults differ between debug and release builds.
        .set_max_call_levels(128)
        .set_max_expr_depths(256, 128)
        .set_max_string_size(64 << 20)
        .set_max_array_size(1 << 20)
        .set_max_map_size(1 << 20)
        .set_strict_variables(true)
        .set_fail_on_invalid_map_property(true)
        // `Full` would call natives with constant arguments while it compiles.
        .set_optimization_level(OptimizationLevel::Simple)
        .disable_symbol("eval")
        // Leaving a script is what `return` from `run` does; `exit` would leave a step unrecorded.
        .disable_symbol("exit");
    api::register(&mut engine);
    engine
}

/// An engine with `ctx` behind its natives.
pub(super) fn build(ctx: &Arc<Ctx>) -> Engine {
    let mut engine = bare();
    engine.set_default_tag(Dynamic::from(Arc::clone(ctx)));
    engine.set_module_resolver(Resolver(Arc::clone(&ctx.library)));
    let cancel = ctx.call.cancel.clone();
    // Called between operations of the script; natives look at the token themselves.
    engine.on_progress(move |_| {
        let stopped = Ctx::with_frame(|frame| frame.cancel.check()).unwrap_or_else(|| cancel.check());
        stopped.err().map(|stop| api::error::stop_token(Error::from(stop)))
    });
    let say = Arc::clone(&ctx.call.say);
    engine.on_print(move |text| say(Say::Line(text)));
    let say = Arc::clone(&ctx.call.say);
    engine.on_debug(move |text, source, at| {
        say(Say::Line(&format!("{}:{}: {text}", source.unwrap_or("main"), at.line().unwrap_or(0))));
    });
    engine
}
