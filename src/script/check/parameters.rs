//! What `params()` declares against what `run(p)` reads.

use rhai::{Expr, Position, Stmt};

use super::flow::Reads;
use super::program::{Node, Program, walk};
use super::report::Report;
use crate::script::near;
use crate::script::params::Param;

/// Parameters that are declared and never read, and read and not declared.
pub(super) fn compare(program: &Program, declared: &[Param], reads: &Reads, report: &mut Report) {
    let names: Vec<&str> = declared.iter().map(|param| param.name.as_str()).collect();
    for (name, places) in reads.read.iter().filter(|(name, _)| !names.contains(&name.as_str())) {
        for place in places {
            let message = format!("`params()` declares no parameter `{name}`");
            let hint = near::hint(name, names.iter().copied());
            let hint = hint.unwrap_or_else(|| format!("declare it: {name}: #{{ type: \"string\", help: \"…\" }}"));
            report.add(&program.modules[place.module], place.at, "unknown-parameter", message, Some(hint));
        }
    }
    if reads.whole {
        return;
    }
    for name in names.into_iter().filter(|name| !reads.read.contains_key(*name) && !reads.asked.contains(*name)) {
        let at = place_of(program, name);
        let message = format!("the parameter `{name}` is never read");
        report.add(program.main(), at, "unused-parameter", message, Some(format!("use p.{name}, or take it out")));
    }
}

/// Where `params()` declares `name`.
fn place_of(program: &Program, name: &str) -> Position {
    let Some(params) = program.main().def("params", 0) else { return Position::NONE };
    let mut found = None;
    walk(&params.body, &mut |path: &[Node<'_>]| {
        let map = match path {
            [Node::Stmt(Stmt::Expr(_)), Node::Expr(Expr::Map(map, _))] => map,
            [Node::Stmt(Stmt::Return(..)), Node::Expr(Expr::Map(map, _))] => map,
            _ => return,
        };
        found = found.or(map.0.iter().find(|(key, _)| key.name == name).map(|(key, _)| key.pos));
    });
    found.unwrap_or(params.at)
}
