//! `decamp run NAME --explain`: what every parameter would be, where that comes from, and what it won over.

use serde_json::{Value, json};

use super::ctx::Ctx;
use crate::error::Exit;
use crate::report::notes::{one_line, table};
use crate::script::params::{Origin, Settled};

pub(crate) fn run(ctx: &Ctx, settled: &[Settled]) -> Exit {
    ctx.result(|| text(settled), || json!({ "params": settled.iter().map(data).collect::<Value>() }));
    Exit::Success
}

fn text(settled: &[Settled]) -> String {
    if settled.is_empty() {
        return "no parameters\n".to_owned();
    }
    let rows: Vec<Vec<String>> = settled
        .iter()
        .map(|one| {
            let lost: Vec<String> =
                one.lost.iter().map(|(origin, value)| format!("{} ({origin})", one_line("", value))).collect();
            vec![one.param.name.clone(), one_line("", &one.value), one.origin.to_string(), lost.join(", ")]
        })
        .collect();
    table(&["parameter", "value", "from", "instead of"].map(str::to_owned), &rows)
}

fn data(one: &Settled) -> Value {
    let lost: Value = one.lost.iter().map(|(origin, value)| json!({ "value": value, "from": from(origin) })).collect();
    json!({ "name": one.param.name, "type": one.param.kind.name(), "value": one.value, "from": from(&one.origin), "lost": lost })
}

fn from(origin: &Origin) -> Value {
    match origin {
        Origin::Flag => json!({ "kind": "flag" }),
        Origin::Set => json!({ "kind": "set" }),
        Origin::Site { file, line, section } => {
            json!({ "kind": "site", "file": file, "line": line, "section": section })
        }
        Origin::Default => json!({ "kind": "default" }),
        Origin::Missing => json!({ "kind": "missing" }),
    }
}
