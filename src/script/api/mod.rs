//! Every function a script can call: one file a namespace, and what stands behind it beside it.
//!
//! A native checks and converts its arguments, calls one engine function through [`ctx::Ctx`], converts the report and
//! the error, and does nothing else. Required values are positional, everything else is one trailing map in which an
//! unknown key is an error. Reads return plain maps; what changes something is an [`effect`] inside a step.

pub(crate) mod apart;
pub(crate) mod approve;
pub(crate) mod before;
pub(crate) mod block;
pub(crate) mod branch;
pub(crate) mod changing;
pub(crate) mod choices;
pub(crate) mod cluster;
pub(crate) mod command;
pub(crate) mod copy;
pub(crate) mod ctx;
pub(crate) mod disk;
pub(crate) mod effect;
pub(crate) mod error;
pub(crate) mod far;
pub(crate) mod files;
pub(crate) mod flow;
pub(crate) mod fs;
pub(crate) mod hold;
pub(crate) mod host;
pub(crate) mod k8s;
pub(crate) mod keys;
pub(crate) mod ledger;
pub(crate) mod look;
pub(crate) mod options;
pub(crate) mod own;
pub(crate) mod parallel;
pub(crate) mod paths;
pub(crate) mod place;
pub(crate) mod replay;
pub(crate) mod root;
pub(crate) mod secret;
pub(crate) mod ssh;
pub(crate) mod step;
pub(crate) mod tree;
pub(crate) mod unknown;
pub(crate) mod unmade;
pub(crate) mod wait;
pub(crate) mod waiting;
pub(crate) mod wanted;

use rhai::{Engine, Shared, exported_module};

/// Namespaces and their builders.
pub(super) fn register(engine: &mut Engine) {
    engine.register_type_with_name::<host::Host>("host");
    engine.register_fn("to_string", |host: &mut host::Host| host.to_string());
    engine.register_fn("to_debug", |host: &mut host::Host| host.to_string());
    engine.register_type_with_name::<far::Place>("endpoint");
    engine.register_fn("to_string", |place: &mut far::Place| place.to_string());
    engine.register_fn("to_debug", |place: &mut far::Place| place.to_string());
    engine.register_type_with_name::<k8s::Cluster>("cluster");
    engine.register_fn("to_string", |cluster: &mut k8s::Cluster| cluster.to_string());
    engine.register_fn("to_debug", |cluster: &mut k8s::Cluster| cluster.to_string());
    unknown::register(engine);
    secret::register(engine);
    engine.register_global_module(Shared::new(exported_module!(secret::flow)));
    engine.register_global_module(Shared::new(exported_module!(flow::flow)));
    engine.register_static_module("block", Shared::new(exported_module!(block::block)));
    engine.register_static_module("copy", Shared::new(exported_module!(copy::copy)));
    let mut hosts = exported_module!(host::host);
    hosts.combine(exported_module!(place::place));
    hosts.combine(exported_module!(files::files));
    engine.register_static_module("host", Shared::new(hosts));
    engine.register_static_module("k8s", Shared::new(exported_module!(k8s::k8s)));
}

/// The namespaces natives live in.
pub(super) const NAMESPACES: [&str; 4] = ["block", "copy", "host", "k8s"];

/// Puts back what the native of an effect recorded for its own undo; lines for people about what was left.
pub(super) fn undo_native(
    ctx: &ctx::Ctx,
    effect: &crate::journal::EffectRow,
    recorded: &serde_json::Value,
) -> Result<Vec<String>, error::Fail> {
    match effect.function.as_str() {
        before::NATIVE => before::undo(ctx, effect),
        function if unmade::is_ours(function) => unmade::undo(ctx, effect, recorded),
        _ => tree::undo(ctx, recorded),
    }
}
