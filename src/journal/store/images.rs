//! Rows as JSON: what `events.ndjson` says beside each event, so that the tables can be made again from it.
//!
//! Which rows a transaction changed is noted by temporary triggers of the writer's own connection: no function that
//! changes a row has to say so, and none can forget to.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rusqlite::types::{Type, Value as Cell, ValueRef};
use rusqlite::{Connection, Row, ToSql};
use serde_json::{Map, Value};

use crate::journal::error::Error;
use crate::journal::model::RunId;

/// One row: its columns by name. Bytes are `{"base64": "…"}`.
pub(crate) type Image = Map<String, Value>;

/// A row and the name of its table.
pub(crate) type Named = (&'static str, Image);

/// A table whose rows belong to a run.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// Its key, as its `PRIMARY KEY` has it.
    pub(crate) key: &'static [&'static str],
    /// Which rows are those of the run `?1`.
    of_run: &'static str,
    /// Columns that name a blob.
    blobs: &'static [&'static str],
}

/// Every table with rows of a run but `event`, which the file holds as its lines.
pub(crate) const TABLES: &[Table] = &[
    Table { name: "run", key: &["id"], of_run: "id = ?1", blobs: &[] },
    Table { name: "incarnation", key: &["run_id", "epoch"], of_run: "run_id = ?1", blobs: &[] },
    Table { name: "run_source", key: &["run_id", "epoch", "module"], of_run: "run_id = ?1", blobs: &["blob_hash"] },
    Table { name: "step", key: &["id"], of_run: "run_id = ?1", blobs: &["result_blob"] },
    Table {
        name: "effect",
        key: &["id"],
        of_run: "step_id IN (SELECT id FROM step WHERE run_id = ?1)",
        blobs: &["before_blob", "result_blob"],
    },
    Table { name: "signal", key: &["run_id", "name"], of_run: "run_id = ?1", blobs: &[] },
    Table { name: "lease", key: &["run_id", "target", "path"], of_run: "run_id = ?1", blobs: &[] },
];

/// Tables that belong to no run, and are said with the runs that need them.
const SHARED: &[(&str, &[&str])] = &[("blob", &["hash"]), ("meta", &["key"])];

/// The table of that name and its key, if its rows are kept in images.
pub(crate) fn known(name: &str) -> Option<(&'static str, &'static [&'static str])> {
    let own = TABLES.iter().map(|table| (table.name, table.key));
    own.chain(SHARED.iter().copied()).find(|(known, _)| *known == name)
}

/// What identifies a row in its table.
pub(crate) fn key(table: &str, image: &Image) -> String {
    let columns = known(table).map_or(&[][..], |(_, key)| key);
    let parts: Vec<Value> = columns.iter().map(|column| image.get(*column).cloned().unwrap_or_default()).collect();
    Value::Array(parts).to_string()
}

/// Begins to note which rows are changed over this connection.
pub(crate) fn watch(sql: &Connection) -> rusqlite::Result<()> {
    sql.execute_batch("PRAGMA temp_store = MEMORY; CREATE TEMP TABLE touched (tab TEXT, k0, k1, k2);")?;
    for table in TABLES {
        let keys: Vec<String> =
            (0..3).map(|at| table.key.get(at).map_or_else(|| "NULL".to_owned(), |key| format!("new.{key}"))).collect();
        for event in ["INSERT", "UPDATE"] {
            sql.execute_batch(&format!(
                "CREATE TEMP TRIGGER touch_{name}_{event} AFTER {event} ON main.{name}
                 BEGIN INSERT INTO touched VALUES ('{name}', {keys}); END;",
                name = table.name,
                keys = keys.join(", "),
            ))?;
        }
    }
    Ok(())
}

/// Forgets what was noted: a transaction begins.
pub(crate) fn forget(sql: &Connection) -> rusqlite::Result<()> {
    sql.prepare_cached("DELETE FROM temp.touched")?.execute([]).map(drop)
}

/// Whether a row was changed since [`forget`].
pub(crate) fn any(sql: &Connection) -> rusqlite::Result<bool> {
    sql.prepare_cached("SELECT 1 FROM temp.touched LIMIT 1")?.exists([])
}

/// The rows that were changed since [`forget`], as they are.
pub(crate) fn touched(sql: &Connection) -> Result<Vec<Named>, Error> {
    let mut rows = Vec::new();
    for table in TABLES {
        let on: Vec<String> = table.key.iter().enumerate().map(|(at, key)| format!("t.{key} = c.k{at}")).collect();
        let text = format!(
            "SELECT t.* FROM (SELECT DISTINCT k0, k1, k2 FROM temp.touched WHERE tab = '{name}') c
             CROSS JOIN main.{name} t ON {on} ORDER BY c.k0, c.k1, c.k2",
            name = table.name,
            on = on.join(" AND "),
        );
        rows.extend(select(sql, table.name, &text, &[])?);
    }
    Ok(rows)
}

/// Every row of a run.
pub(crate) fn of_run(sql: &Connection, run: &RunId) -> Result<Vec<Named>, Error> {
    let mut rows = Vec::new();
    for table in TABLES {
        let text = format!("SELECT * FROM {} WHERE {} ORDER BY {}", table.name, table.of_run, table.key.join(", "));
        rows.extend(select(sql, table.name, &text, &[&run.as_str()])?);
    }
    Ok(rows)
}

/// What makes the journal itself: its name and key.
pub(crate) fn meta(sql: &Connection) -> Result<Vec<Named>, Error> {
    select(sql, "meta", "SELECT * FROM meta ORDER BY key", &[])
}

/// The content of that name, packed as it is stored.
pub(crate) fn blob(sql: &Connection, hash: &str) -> Result<Option<Image>, Error> {
    Ok(select(sql, "blob", "SELECT * FROM blob WHERE hash = ?1", &[&hash])?.pop().map(|(_, image)| image))
}

/// Names of the blobs a row needs.
pub(crate) fn blobs_of(table: &str, image: &Image) -> Vec<String> {
    let columns = TABLES.iter().find(|known| known.name == table).map_or(&[][..], |table| table.blobs);
    columns.iter().filter_map(|column| image.get(*column)?.as_str().map(str::to_owned)).collect()
}

/// Writes a row over the one with its key.
pub(crate) fn put(sql: &Connection, table: &str, image: &Image) -> rusqlite::Result<()> {
    let columns: Vec<String> = image.keys().map(|name| format!("\"{}\"", name.replace('"', "\"\""))).collect();
    let marks: Vec<String> = (1..=image.len()).map(|at| format!("?{at}")).collect();
    let text = format!("INSERT OR REPLACE INTO {table} ({}) VALUES ({})", columns.join(", "), marks.join(", "));
    let cells: Vec<Cell> = image.values().map(cell).collect::<rusqlite::Result<_>>()?;
    sql.prepare_cached(&text)?.execute(rusqlite::params_from_iter(cells)).map(drop)
}

fn select(sql: &Connection, table: &'static str, text: &str, parameters: &[&dyn ToSql]) -> Result<Vec<Named>, Error> {
    let mut statement = sql.prepare_cached(text)?;
    let names: Vec<String> = statement.column_names().into_iter().map(str::to_owned).collect();
    let rows = statement.query_map(parameters, |row| Ok((table, image(row, &names)?)))?;
    Ok(rows.collect::<rusqlite::Result<_>>()?)
}

fn image(row: &Row<'_>, names: &[String]) -> rusqlite::Result<Image> {
    let value = |at: usize| -> rusqlite::Result<Value> {
        Ok(match row.get_ref(at)? {
            ValueRef::Null => Value::Null,
            ValueRef::Integer(number) => number.into(),
            ValueRef::Real(number) => number.into(),
            ValueRef::Text(text) => {
                // A text that is no text is damage, whatever SQLite thinks of the page.
                let text = str::from_utf8(text)
                    .map_err(|error| rusqlite::Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))?;
                text.into()
            }
            ValueRef::Blob(bytes) => Value::Object(Map::from_iter([("base64".into(), STANDARD.encode(bytes).into())])),
        })
    };
    names.iter().enumerate().map(|(at, name)| Ok((name.clone(), value(at)?))).collect()
}

fn cell(value: &Value) -> rusqlite::Result<Cell> {
    let wrong = || rusqlite::Error::ToSqlConversionFailure(format!("{value} is no cell of a table").into());
    Ok(match value {
        Value::Null => Cell::Null,
        Value::String(text) => Cell::Text(text.clone()),
        Value::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(whole), _) => Cell::Integer(whole),
            (None, Some(real)) => Cell::Real(real),
            (None, None) => return Err(wrong()),
        },
        Value::Object(bytes) => {
            let text = bytes.get("base64").and_then(Value::as_str).ok_or_else(wrong)?;
            Cell::Blob(STANDARD.decode(text).map_err(|_| wrong())?)
        }
        Value::Bool(_) | Value::Array(_) => return Err(wrong()),
    })
}
