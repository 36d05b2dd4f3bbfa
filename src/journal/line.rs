//! One line of `events.ndjson`: an event, the number of the one before it, the rows its transaction changed, and a sum
//! over all that, so that a changed byte or a missing line is seen.

use serde_json::{Map, Value, json};

use super::model::Level;
use super::store::images::{self, Image, Named};
use super::view::EventRow;

/// How many hexadecimal digits of BLAKE3 a line carries.
const SUM: usize = 16;

/// A line that was read.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) event: EventRow,
    /// The event before it in this file, 0 for the first; none in files of the first format.
    pub(super) prev: Option<i64>,
    pub(super) rows: Vec<Named>,
}

/// The line of an event, with its line break.
pub(super) fn render(event: &EventRow, prev: i64, rows: &[Named]) -> Vec<u8> {
    let mut line = json!(event);
    line["prev"] = prev.into();
    if !rows.is_empty() {
        let mut tables: Map<String, Value> = Map::new();
        for (table, image) in rows {
            let all = tables.entry(*table).or_insert_with(|| Value::Array(Vec::new()));
            if let Some(all) = all.as_array_mut() {
                all.push(Value::Object(image.clone()));
            }
        }
        line["rows"] = Value::Object(tables);
    }
    let text = line.to_string();
    let sum = sum(text.as_bytes());
    let body = text.strip_suffix('}').unwrap_or(&text);
    format!("{body},\"sum\":\"{sum}\"}}\n").into_bytes()
}

/// Reads a line without its break; what is wrong with it otherwise.
pub(super) fn parse(text: &[u8]) -> Result<Line, &'static str> {
    let Some((body, said)) = summed(text) else {
        // Of the first format, which had neither sums nor rows.
        return decode(text).filter(|line| line.prev.is_none()).ok_or("it is no event");
    };
    let whole = [body, b"}"].concat();
    if sum(&whole).as_bytes() != said {
        return Err("its sum does not fit its content");
    }
    decode(&whole).filter(|line| line.prev.is_some()).ok_or("it is no event")
}

/// Content, without its closing brace, and sum of a line that carries one.
fn summed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let rest = text.strip_suffix(b"\"}")?;
    let (rest, said) = rest.split_at_checked(rest.len().checked_sub(SUM)?)?;
    Some((rest.strip_suffix(b",\"sum\":\"")?, said))
}

fn sum(content: &[u8]) -> String {
    blake3::hash(content).to_hex()[..SUM].to_owned()
}

fn decode(text: &[u8]) -> Option<Line> {
    let mut line: Value = serde_json::from_slice(text).ok()?;
    let event = EventRow {
        seq: line["seq"].as_i64()?,
        at: line["at"].as_i64()?,
        level: Level::from_name(line["level"].as_str()?)?,
        kind: line["kind"].as_str()?.to_owned(),
        step: line["step"].as_str().map(str::to_owned),
        data: line["data"].take(),
    };
    let mut rows = Vec::new();
    if let Some(tables) = line["rows"].as_object() {
        for (table, all) in tables {
            let (table, _) = images::known(table)?;
            for image in all.as_array()? {
                let image: &Image = image.as_object()?;
                rows.push((table, image.clone()));
            }
        }
    }
    let prev = match line.get("prev") {
        Some(prev) => Some(prev.as_i64()?),
        None => None,
    };
    Some(Line { event, prev, rows })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn line() -> Vec<u8> {
        let event = EventRow {
            seq: 7,
            at: 1,
            level: Level::Warn,
            kind: "step.done".into(),
            step: Some("a \u{1}\"}".into()),
            data: json!({ "x": [1, 2.5, null] }),
        };
        let image = json!({ "id": 3, "path": { "base64": "AAE=" }, "text": "\",\"sum\":\"0123456789abcdef\"}" });
        render(&event, 5, &[("step", image.as_object().unwrap().clone())])
    }

    #[test]
    fn a_line_is_read_as_it_was_written() {
        let text = line();
        let read = parse(text.strip_suffix(b"\n").unwrap()).unwrap();
        assert_eq!((read.event.seq, read.prev, read.event.level), (7, Some(5), Level::Warn));
        assert_eq!(render(&read.event, 5, &read.rows), text);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let text = line();
        let text = text.strip_suffix(b"\n").unwrap();
        for at in 0..text.len() * 8 {
            let mut bad = text.to_vec();
            bad[at / 8] ^= 1 << (at % 8);
            assert!(parse(&bad).is_err(), "bit {at}: {}", String::from_utf8_lossy(&bad));
        }
        for len in 0..text.len() {
            assert!(parse(&text[..len]).is_err(), "{len} bytes of it");
        }
    }

    #[test]
    fn a_line_of_the_first_format_is_read() {
        let text = br#"{"seq":7,"at":1,"level":"info","kind":"run.created","step":null,"data":{}}"#;
        let read = parse(text).unwrap();
        assert_eq!((read.event.seq, read.prev, read.rows.len()), (7, None, 0));
    }
}
