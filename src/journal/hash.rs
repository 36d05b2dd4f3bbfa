//! Hashes of the journal: keyed with its own random key where the content could be guessed, over a canonical form
//! where the content is JSON.

use std::fmt::Write;

use serde_json::Value;

use super::model::RunId;

/// What makes the hashes of one journal its own.
#[derive(Clone)]
pub(super) struct Secret {
    pub(super) journal_id: String,
    pub(super) key: [u8; 32],
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Secret").field("journal_id", &self.journal_id).finish_non_exhaustive()
    }
}

/// Makes hashes that only one journal can make: equal texts are told, and none can be guessed from its hash elsewhere.
#[derive(Debug, Clone)]
pub struct Fingerprint(pub(super) Secret);

impl Fingerprint {
    /// The hash of `text`.
    #[must_use]
    pub fn of(&self, text: &str) -> String {
        self.0.of(&Value::from(text))
    }
}

impl Secret {
    /// Keyed hash of a JSON value, whatever the order of its keys.
    pub(super) fn of(&self, value: &Value) -> String {
        blake3::keyed_hash(&self.key, canonical(value).as_bytes()).to_hex().to_string()
    }

    /// The key an effect keeps over all attempts.
    pub(super) fn idem_key(&self, run: &RunId, step_key: &str, seq: u32) -> String {
        let mut hasher = blake3::Hasher::new();
        for part in [self.journal_id.as_bytes(), run.as_str().as_bytes(), step_key.as_bytes(), &seq.to_le_bytes()] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        hasher.finalize().to_hex().to_string()
    }
}

/// The one text of a JSON value: no spaces, keys sorted as bytes.
pub(super) fn canonical(value: &Value) -> String {
    let mut out = String::new();
    write_canonical(&mut out, value);
    out
}

fn write_canonical(out: &mut String, value: &Value) {
    match value {
        Value::Array(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(out, item);
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<&String> = map.keys().collect();
            keys.sort_unstable();
            out.push('{');
            for (at, key) in keys.into_iter().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                write_canonical(out, &Value::String(key.clone()));
                out.push(':');
                write_canonical(out, &map[key]);
            }
            out.push('}');
        }
        // Writing into a String cannot fail.
        plain => write!(out, "{plain}").unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde_json::json;

    fn secret(byte: u8) -> Secret {
        Secret { journal_id: "j".into(), key: [byte; 32] }
    }

    #[test]
    fn order_of_keys_does_not_matter_and_everything_else_does() {
        let a: Value = serde_json::from_str(r#"{"a":[1,{"x":1,"y":2}],"b":"\u0001\""}"#).unwrap();
        let b: Value = serde_json::from_str(r#"{"b":"\u0001\"","a":[1,{"y":2,"x":1}]}"#).unwrap();
        assert_eq!(canonical(&a), canonical(&b));
        let all = [
            json!(null),
            json!("null"),
            json!([]),
            json!({}),
            json!(1),
            json!(1.0),
            json!("1"),
            json!(["a", "b"]),
            json!(["a\",\"b"]),
        ];
        for (i, one) in all.iter().enumerate() {
            for other in &all[i + 1..] {
                assert_ne!(canonical(one), canonical(other));
            }
        }
    }

    #[test]
    fn hashes_are_keyed_and_idempotency_keys_are_unambiguous() {
        assert_ne!(secret(1).of(&json!("password")), secret(2).of(&json!("password")));
        let run = RunId("r".into());
        let one = secret(1);
        assert_eq!(one.idem_key(&run, "a", 1), one.idem_key(&run, "a", 1));
        assert_ne!(one.idem_key(&run, "a", 1), one.idem_key(&run, "a", 2));
        assert_ne!(one.idem_key(&run, "ab", 1), one.idem_key(&RunId("ra".into()), "b", 1));
    }
}
