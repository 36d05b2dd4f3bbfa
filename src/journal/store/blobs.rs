//! Content by its hash: sources, large results, before-images.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension};

use crate::journal::error::Error;

const LEVEL: i32 = 3;

/// Keeps `plain` and returns its name; the same content is kept once.
pub(crate) fn keep(sql: &Connection, kind: &str, plain: &[u8]) -> Result<String, Error> {
    let hash = blake3::hash(plain).to_hex().to_string();
    let known = sql.prepare_cached("SELECT 1 FROM blob WHERE hash = ?1")?.exists([&hash])?;
    if !known {
        let packed = zstd::bulk::compress(plain, LEVEL).map_err(|error| damaged(error.into()))?;
        let size = i64::try_from(plain.len()).unwrap_or(i64::MAX);
        sql.prepare_cached("INSERT INTO blob (hash, kind, bytes, zstd) VALUES (?1, ?2, ?3, ?4)")?
            .execute((&hash, kind, size, packed))?;
    }
    Ok(hash)
}

/// The content of that name, checked against it.
pub(crate) fn load(sql: &Connection, hash: &str) -> Result<Option<Vec<u8>>, Error> {
    let packed: Option<Vec<u8>> =
        sql.prepare_cached("SELECT zstd FROM blob WHERE hash = ?1")?.query_row([hash], |row| row.get(0)).optional()?;
    let Some(packed) = packed else { return Ok(None) };
    let plain = zstd::decode_all(packed.as_slice()).map_err(|error| damaged(error.into()))?;
    if blake3::hash(&plain).to_hex().as_str() != hash {
        return Err(damaged("its content does not fit its hash".into()).into());
    }
    Ok(Some(plain))
}

/// The content of that name, which a row says is there.
pub(crate) fn need(sql: &Connection, hash: &str) -> Result<Vec<u8>, Error> {
    load(sql, hash)?.ok_or_else(|| damaged(format!("blob {hash} is missing").into()).into())
}

fn damaged(cause: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(0, Type::Blob, cause)
}
