//! The SQL, one file a noun: each function is one part of a transaction the writer makes, or a read.
//!
//! No status is written here that did not come out of [`super::step`].

pub(super) mod begin;
pub(super) mod blobs;
pub(super) mod effects;
pub(super) mod enter;
pub(super) mod events;
pub(super) mod images;
pub(super) mod incarnations;
pub(super) mod leases;
pub(super) mod prune;
pub(super) mod runs;
pub(super) mod signals;
pub(super) mod steps;

use rusqlite::types::Type;
use rusqlite::{Connection, Row};
use serde_json::Value;

use super::error::Error;

/// Results above this size go to the blob table.
const INLINE: usize = 16 * 1024;

/// A JSON column.
fn json(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Value>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| parse(&text)).transpose()
}

/// A JSON column that is never NULL.
fn json_always(row: &Row<'_>, column: &str) -> rusqlite::Result<Value> {
    json(row, column).map(Option::unwrap_or_default)
}

fn parse(text: &str) -> rusqlite::Result<Value> {
    serde_json::from_str(text)
        .map_err(|error| rusqlite::Error::FromSqlConversionFailure(0, Type::Text, Box::new(error)))
}

/// Text of an optional JSON value.
fn text(value: Option<&Value>) -> Option<String> {
    value.map(Value::to_string)
}

/// A result as it is stored: inline, or as the name of a blob.
fn keep_result(sql: &Connection, result: &Value) -> Result<(Option<String>, Option<String>), Error> {
    let text = result.to_string();
    if text.len() <= INLINE {
        return Ok((Some(text), None));
    }
    Ok((None, Some(blobs::keep(sql, "result", text.as_bytes())?)))
}

/// Reads back what [`keep_result`] stored.
fn load_result(sql: &Connection, inline: Option<Value>, blob: Option<String>) -> Result<Option<Value>, Error> {
    let Some(hash) = blob else { return Ok(inline) };
    let bytes = blobs::need(sql, &hash)?;
    Ok(Some(parse(&String::from_utf8_lossy(&bytes))?))
}
