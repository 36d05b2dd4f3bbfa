//! Results as text: scalars as they are, maps as keys and values, lists of maps as tables, as wide as the terminal.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use crate::report::style::Style;
use crate::script::outcome::PlanItem;
use crate::units::{Bytes, show_count, show_duration};

/// Rows and lines shown of a long list.
const SHOWN: usize = 20;

/// Characters shown of a long text.
const READ: usize = 2000;

/// Narrowest column worth having.
const COLUMN: usize = 7;

/// How results are laid out.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layout {
    /// Columns of the terminal.
    pub(super) width: usize,
    /// Colours.
    pub(super) style: Style,
    /// Nothing is left out.
    pub(super) all: bool,
}

/// Any value.
pub(super) fn value(value: &Value, layout: Layout) -> String {
    match plain(value) {
        Some(text) => short(text, layout) + "\n",
        None => match value {
            Value::Object(map) => rows(map, layout, 0),
            Value::Array(items) => list(items, layout),
            _ => String::new(),
        },
    }
}

/// A scalar as it is; none for maps and lists that need lines of their own.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::Null => Some("()".to_owned()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Number(number) => Some(number.to_string()),
        Value::String(text) => Some(text.clone()),
        Value::Object(map) => tagged(map).or_else(|| map.is_empty().then(|| "#{}".to_owned())),
        Value::Array(items) => items.is_empty().then(|| "[]".to_owned()),
    }
}

/// What is no data in JSON.
fn tagged(map: &Map<String, Value>) -> Option<String> {
    let (1, Some((key, inner))) = (map.len(), map.iter().next()) else { return None };
    let text = inner.as_str()?;
    match key.as_str() {
        "$char" | "$float" => Some(text.to_owned()),
        "$unknown" => Some("<known after run>".to_owned()),
        "$blob" => Some(format!("<{} bytes>", show_count(text.len() as u64 / 2))),
        _ => None,
    }
}

/// A value on one line; `name` tells its unit.
pub(super) fn cell(name: &str, value: &Value) -> String {
    let number = value.as_u64();
    match (value, number) {
        (_, Some(bytes)) if name.ends_with("_bytes") || name == "bytes" => {
            if bytes < 1024 {
                bytes.to_string()
            } else {
                format!("{bytes} ({})", Bytes(bytes))
            }
        }
        (_, Some(ms)) if name.ends_with("_ms") && !name.ends_with("_at_ms") && ms >= 1000 => {
            format!("{ms} ({})", show_duration(Duration::from_millis(ms)))
        }
        (Value::String(text), _) => text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"),
        (Value::Array(items), _) => {
            format!("[{}]", items.iter().map(|item| cell(name, item)).collect::<Vec<_>>().join(", "))
        }
        (Value::Object(map), _) => tagged(map).unwrap_or_else(|| {
            let pairs: Vec<String> = map.iter().map(|(key, value)| format!("{key}: {}", cell(key, value))).collect();
            format!("#{{{}}}", pairs.join(", "))
        }),
        (other, _) => plain(other).unwrap_or_default(),
    }
}

/// A text that is no longer than a person reads.
fn short(text: String, layout: Layout) -> String {
    let length = text.chars().count();
    if layout.all || length <= READ {
        return text;
    }
    let begin: String = text.chars().take(READ).collect();
    format!("{begin}… {} more characters (:all shows them)", show_count((length - READ) as u64))
}

fn fits(text: &str, room: usize) -> bool {
    text.chars().count() <= room
}

/// Keys and values, what is nested further to the right.
fn rows(map: &Map<String, Value>, layout: Layout, indent: usize) -> String {
    let width = map.keys().map(|key| key.chars().count()).max().unwrap_or(0);
    let room = layout.width.saturating_sub(indent + width + 2).max(COLUMN);
    let mut out = String::new();
    for (key, item) in map {
        let lead = " ".repeat(indent);
        let name = layout.style.hint(&format!("{key:<width$}"));
        let line = short(cell(key, item), layout);
        match item {
            Value::Object(inner) if !fits(&line, room) && tagged(inner).is_none() => {
                writeln!(out, "{lead}{}", layout.style.hint(key)).ok();
                out.push_str(&rows(inner, layout, indent + 2));
            }
            Value::Array(items) if !fits(&line, room) => {
                writeln!(out, "{lead}{name}  {} items", show_count(items.len() as u64)).ok();
                let inner = Layout { width: layout.width.saturating_sub(indent + 2), ..layout };
                for line in list(items, inner).lines() {
                    writeln!(out, "{lead}  {line}").ok();
                }
            }
            _ => {
                writeln!(out, "{lead}{name}  {line}").ok();
            }
        }
    }
    out
}

/// A list: on one line if it fits, maps as a table, everything else one a line.
fn list(items: &[Value], layout: Layout) -> String {
    let line = cell("", &Value::Array(items.to_vec()));
    let maps = items.iter().all(|item| item.as_object().is_some_and(|map| tagged(map).is_none() && !map.is_empty()));
    if !maps && fits(&line, layout.width) {
        return line + "\n";
    }
    let shown = if layout.all { items.len() } else { items.len().min(SHOWN) };
    let mut out = if maps {
        table(&items[..shown], layout)
    } else {
        items[..shown].iter().map(|item| format!("{}\n", short(cell("", item), layout))).collect()
    };
    if shown < items.len() {
        writeln!(out, "… {} more (:all shows them)", show_count((items.len() - shown) as u64)).ok();
    }
    out
}

fn table(items: &[Value], layout: Layout) -> String {
    let mut heads: Vec<&String> = Vec::new();
    for key in items.iter().filter_map(Value::as_object).flat_map(Map::keys) {
        if !heads.contains(&key) {
            heads.push(key);
        }
    }
    if heads.len() * COLUMN > layout.width {
        // Too many columns for this terminal: one item below the other.
        let blocks = items.iter().filter_map(Value::as_object).map(|map| rows(map, layout, 0));
        return blocks.collect::<Vec<_>>().join("\n");
    }
    let cells = |item: &Value| -> Vec<String> {
        heads
            .iter()
            .map(|head| item.get(head.as_str()).map_or_else(String::new, |value| short(cell(head, value), layout)))
            .collect()
    };
    grid(
        &heads.iter().map(|head| (*head).clone()).collect::<Vec<_>>(),
        &items.iter().map(cells).collect::<Vec<_>>(),
        layout,
    )
}

/// A table without borders that keeps within the terminal.
pub(super) fn grid(heads: &[String], lines: &[Vec<String>], layout: Layout) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // Two columns are the space behind the last one, which is cut off below.
    table.set_width(u16::try_from(layout.width + 2).unwrap_or(u16::MAX));
    table.set_header(heads);
    lines.iter().for_each(|line| {
        table.add_row(line);
    });
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut out = String::new();
    for (number, line) in table.to_string().lines().enumerate() {
        let line = line.trim_end();
        let line = if number == 0 { layout.style.hint(line) } else { line.to_owned() };
        writeln!(out, "{line}").ok();
    }
    out
}

/// What a line would change.
pub(super) fn plan(items: &[PlanItem], layout: Layout) -> String {
    let mut out = String::new();
    for item in items {
        let effect = match item.changes {
            Some(true) => layout.style.warn("would change"),
            Some(false) => layout.style.good("no change"),
            None => layout.style.warn("may change"),
        };
        writeln!(out, "{effect}: {} {}", layout.style.bold(&item.function), item.target).ok();
        writeln!(out, "  {} ({})", item.summary, item.certainty).ok();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(width: usize) -> Layout {
        Layout { width, style: Style::plain(), all: false }
    }

    #[test]
    fn scalars_are_plain_and_quantities_are_readable() {
        assert_eq!(value(&json!("a\nb"), at(80)), "a\nb\n");
        assert_eq!(value(&json!(3.5), at(80)), "3.5\n");
        assert_eq!(value(&json!({ "$unknown": "x" }), at(80)), "<known after run>\n");
        let map = json!({ "elapsed_ms": 90_000, "disk_bytes": 1_572_864, "files": 12_000, "deep": { "a": [1, 2] } });
        assert_eq!(
            value(&map, at(80)),
            "elapsed_ms  90000 (1m 30s)\ndisk_bytes  1572864 (1.50 MiB)\nfiles       12000\ndeep        #{a: [1, 2]}\n"
        );
    }

    #[test]
    fn lists_of_maps_are_tables_within_the_terminal() {
        let items: Vec<Value> =
            (0..100).map(|n| json!({ "name": format!("entry {n}"), "note": "word ".repeat(12) })).collect();
        let wide = value(&json!(items), at(80));
        assert!(wide.starts_with("name      note\nentry 0   word"), "{wide}");
        assert!(wide.ends_with("… 80 more (:all shows them)\n"), "{wide}");
        for width in [80, 40, 24] {
            let shown = value(&json!(items), at(width));
            let longest = shown.lines().map(|line| line.chars().count()).max();
            assert!(longest <= Some(width.max(27)), "{width}: {longest:?}\n{shown}");
        }
        let all = value(&json!(items), Layout { all: true, ..at(80) });
        assert!(all.lines().count() >= 101 && !all.contains("more"), "{all}");
        // Twelve columns on 24 characters cannot be a table.
        let many: Map<String, Value> = (0..12).map(|n| (format!("k{n}"), json!(n))).collect();
        assert!(value(&json!([many]), at(24)).contains("\nk10  10\n"));
    }

    #[test]
    fn long_texts_are_cut_and_shown_on_demand() {
        let map = json!({ "out": "x".repeat(100_000), "code": 0 });
        for value in [value(&map, at(80)), value(&map["out"], at(80)), value(&json!([map]), at(80))] {
            assert!(value.replace('\n', " ").contains("(:all"), "{value}");
            assert!(value.len() < 6000, "{}", value.len());
        }
        assert!(value(&map, Layout { all: true, ..at(80) }).len() > 100_000);
    }

    #[test]
    fn a_nested_map_that_is_too_long_is_indented() {
        let map = json!({ "left": { "digest": "ab".repeat(20), "files": 3 } });
        assert_eq!(value(&map, at(40)), format!("left\n  digest  {}\n  files   3\n", "ab".repeat(20)));
    }
}
