//! `decamp docs`: every function a script can call, from the functions' own documentation.

use serde_json::{Value, json};

use super::ctx::Ctx;
use crate::error::{Error, Exit, Kind};
use crate::report::notes::table;
use crate::report::style::Style;
use crate::script;
use crate::script::docs::Doc;

/// Print the documentation of the functions scripts can call
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  decamp docs\n  decamp docs copy::tree\n  decamp docs copy\n  decamp docs std")]
pub(crate) struct Args {
    /// A function (`copy::tree`) or everything below a name (`copy`); without it, a list of all
    name: Option<String>,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    let all = script::docs();
    let Some(name) = args.name else {
        ctx.result(|| list(&all), || json!({ "functions": all.iter().map(data).collect::<Value>() }));
        return Ok(Exit::Success);
    };
    let name = name.trim_end_matches("()").trim_end_matches([':', '.', '/']);
    let below = |doc: &Doc| doc.name.strip_prefix(name).is_some_and(|rest| rest.starts_with([':', '.', '/']));
    let found: Vec<&Doc> = all.iter().filter(|doc| doc.name == name || below(doc) || last(doc) == name).collect();
    if found.is_empty() {
        let error = Error::new(Kind::NotFound, format!("no function `{name}`")).exit(Exit::Usage);
        let near = nearest(name, &all);
        return Err(match near.as_slice() {
            [] => error.hint("list them all: decamp docs"),
            near => error.hint(format!("did you mean {}?", near.join(" or "))),
        });
    }
    ctx.result(
        || found.iter().map(|doc| page(doc, ctx.out)).collect::<Vec<_>>().join("\n"),
        || json!({ "functions": found.iter().map(|doc| data(doc)).collect::<Value>() }),
    );
    Ok(Exit::Success)
}

/// A function's name without its namespace, a method's without its handle.
fn last(doc: &Doc) -> &str {
    doc.name.rsplit([':', '.']).next().unwrap_or(&doc.name)
}

/// Up to three names that look like `name`, best first; the part behind the last `::` counts as much as the whole.
fn nearest(name: &str, all: &[Doc]) -> Vec<String> {
    let likeness = |doc: &Doc| strsim::jaro_winkler(name, &doc.name).max(strsim::jaro_winkler(name, last(doc)));
    let mut scored: Vec<(f64, &Doc)> =
        all.iter().map(|doc| (likeness(doc), doc)).filter(|(score, _)| *score > 0.8).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(3).map(|(_, doc)| format!("`{}`", doc.name)).collect()
}

fn list(all: &[Doc]) -> String {
    let rows: Vec<Vec<String>> = all.iter().map(|doc| vec![doc.name.clone(), doc.summary.clone()]).collect();
    table(&[], &rows)
}

fn page(doc: &Doc, style: Style) -> String {
    let mut out = format!("{}\n", style.bold(&doc.name));
    for signature in &doc.signatures {
        out.push_str(&format!("    {signature}\n"));
    }
    out.push_str(&format!("\n{}\n", doc.summary));
    for (heading, text) in &doc.sections {
        out.push_str(&format!("\n{}\n", style.bold(&format!("# {heading}"))));
        for line in text.lines().filter(|line| !line.starts_with("```")) {
            out.push_str(format!("    {line}").trim_end());
            out.push('\n');
        }
    }
    out
}

fn data(doc: &Doc) -> Value {
    let sections: serde_json::Map<String, Value> =
        doc.sections.iter().map(|(heading, text)| (heading.to_lowercase(), text.clone().into())).collect();
    json!({ "name": doc.name, "signatures": doc.signatures, "summary": doc.summary, "sections": sections })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doc(name: &str) -> Doc {
        let sections = vec![("Errors".into(), "None.".into()), ("Example".into(), "```rhai\nf();\n```".into())];
        Doc { name: name.into(), signatures: vec![format!("{name}()")], summary: "Does it.".into(), sections }
    }

    #[test]
    fn near_names_are_found_with_and_without_their_namespace() {
        let all = [doc("copy::tree"), doc("copy::compare"), doc("step")];
        assert_eq!(nearest("copy::tre", &all)[0], "`copy::tree`");
        assert_eq!(nearest("comprae", &all), ["`copy::compare`"]);
        assert!(nearest("zzz", &all).is_empty());
    }

    #[test]
    fn a_page_shows_every_section() {
        let page = page(&doc("step"), Style::plain());
        assert_eq!(page, "step\n    step()\n\nDoes it.\n\n# Errors\n    None.\n\n# Example\n    f();\n");
    }
}
