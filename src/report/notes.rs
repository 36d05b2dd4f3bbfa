//! Any data as text for people: tables, and what a script noted. Quantities are read off the names: `_bytes`, `_ms`.

use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::{Map, Value};

use crate::units::{Bytes, show_count, show_duration};

/// A table without borders, as wide as it needs to be.
#[must_use]
pub fn table(heads: &[String], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    if heads.iter().any(|head| !head.is_empty()) {
        table.set_header(heads);
    }
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    let mut out = String::new();
    for line in table.to_string().lines() {
        writeln!(out, "{}", line.trim_end()).ok();
    }
    out
}

/// One section of notes: a heading and what was noted under it.
#[must_use]
pub fn section(heading: &str, value: &Value) -> String {
    let body = show(value);
    let mut out = format!("{heading}\n");
    for line in body.lines() {
        writeln!(out, "  {line}").ok();
    }
    out
}

/// Any data: a map as rows, its two sides beside each other, a list of maps as a table, everything else on one line.
#[must_use]
pub fn show(value: &Value) -> String {
    match value {
        Value::Object(map) => rows(map),
        Value::Array(items) if !items.is_empty() && items.iter().all(Value::is_object) => list(items),
        Value::Array(items) => items.iter().map(|item| one_line("", item) + "\n").collect(),
        other => one_line("", other) + "\n",
    }
}

/// Names under which scripts note what stands on either side.
const SIDES: [(&str, &str); 3] = [("source", "dest"), ("left", "right"), ("before", "after")];

/// Both sides of a map, if it has two.
fn sides(map: &Map<String, Value>) -> Option<[(&str, &Map<String, Value>); 2]> {
    SIDES.iter().find_map(|(one, other)| {
        let side = |name: &'static str| Some((name, map.get(name)?.as_object()?));
        Some([side(one)?, side(other)?])
    })
}

/// Two sides beside each other, with whether they agree in between.
fn columns(sides: [(&str, &Map<String, Value>); 2]) -> String {
    let flat = sides.map(|(_, side)| flat(side));
    let mut labels: Vec<&String> = Vec::new();
    for (label, _) in flat.iter().flatten() {
        if !labels.contains(&label) {
            labels.push(label);
        }
    }
    let cell = |side: &[(String, String)], label: &String| {
        side.iter().find(|(name, _)| name == label).map_or_else(|| "-".to_owned(), |(_, cell)| cell.clone())
    };
    let rows: Vec<Vec<String>> = labels
        .into_iter()
        .map(|label| {
            let [one, other] = [cell(&flat[0], label), cell(&flat[1], label)];
            let same = if one == other { "=" } else { "≠" };
            vec![label.clone(), one, same.to_owned(), other]
        })
        .collect();
    table(&["", sides[0].0, "", sides[1].0].map(str::to_owned), &rows)
}

/// Names and values of one side; what is nested is unfolded, and a digest takes two lines, so that two fit beside
/// each other.
fn flat(side: &Map<String, Value>) -> Vec<(String, String)> {
    let mut all = Vec::new();
    for (name, value) in side {
        match value {
            Value::Object(inner) => all.extend(flat(inner)),
            Value::String(digest) if digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit()) => {
                all.push((name.clone(), format!("{}\n{}", &digest[..32], &digest[32..])));
            }
            other => all.push((name.clone(), one_line(name, other))),
        }
    }
    all
}

fn rows(map: &Map<String, Value>) -> String {
    if let Some(sides) = sides(map) {
        let mut rest = map.clone();
        sides.iter().for_each(|(name, _)| {
            rest.remove(*name);
        });
        return columns(sides) + &rows(&rest);
    }
    let width = map.keys().map(String::len).max().unwrap_or(0);
    map.iter().map(|(key, value)| format!("{key:<width$}  {}\n", one_line(key, value))).collect()
}

fn list(items: &[Value]) -> String {
    let heads: Vec<String> = items[0].as_object().map(|first| first.keys().cloned().collect()).unwrap_or_default();
    let cell = |item: &Value, head: &String| item.get(head).map_or_else(String::new, |value| one_line(head, value));
    let rows: Vec<Vec<String>> = items.iter().map(|item| heads.iter().map(|head| cell(item, head)).collect()).collect();
    table(&heads, &rows)
}

/// One value on one line; `name` tells its unit.
#[must_use]
pub fn one_line(name: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => text.escape_debug().to_string().replace("\\\"", "\"").replace("\\'", "'"),
        Value::Number(number) => match number.as_u64() {
            Some(bytes) if name.ends_with("_bytes") || name == "bytes" => {
                format!("{} ({} bytes)", Bytes(bytes), show_count(bytes))
            }
            Some(ms) if name.ends_with("_ms") && !name.ends_with("_at_ms") => show_duration(Duration::from_millis(ms)),
            Some(count) => show_count(count),
            None => number.to_string(),
        },
        Value::Array(items) => items.iter().map(|item| one_line(name, item)).collect::<Vec<_>>().join(", "),
        Value::Object(map) => {
            map.iter().map(|(key, value)| format!("{key} {}", one_line(key, value))).collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn two_sides_stand_beside_each_other() {
        let side = |files: u64| json!({ "counts": { "files": files }, "size_bytes": 2048, "digest": "ab".repeat(32) });
        let evidence = json!({ "dest": side(1199), "differences": 1, "source": side(1200) });
        insta::assert_snapshot!(section("verification", &evidence), @r"
        verification
                      source                               dest
          files       1,200                             ≠  1,199
          size_bytes  2.00 KiB (2,048 bytes)            =  2.00 KiB (2,048 bytes)
          digest      abababababababababababababababab  =  abababababababababababababababab
                      abababababababababababababababab     abababababababababababababababab
          differences  1
        ");
    }

    #[test]
    fn units_follow_from_names() {
        assert_eq!(one_line("elapsed_ms", &json!(90_000)), "1m 30s");
        assert_eq!(one_line("files", &json!(90_000)), "90,000");
        assert_eq!(one_line("x", &json!({ "a": [1, true, null] })), "a 1, yes, -");
        assert_eq!(one_line("x", &json!("it's \"a\"\n")), "it's \"a\"\\n");
    }
}
