//! Values between Rhai and JSON: what the journal keeps and gives back must be the same value again.
//!
//! Plain data only: a handle or a function cannot be kept, and the error says where in the value it stands. What JSON
//! lacks is tagged: `{"$char": "x"}`, `{"$unknown": "what"}` (plans only), `{"$blob": "00ff"}`, `{"$float": "NaN"}`; a map with such a key is wrapped as
//! `{"$map": …}`.

use rhai::{Array, Blob, Dynamic, FLOAT, INT, ImmutableString, Map};
use serde_json::{Map as JsonMap, Value, json};

use super::api::unknown::Unknown;
use super::secret::Secret;
use crate::redact;

/// A value that cannot be kept, and where it stands: `result`, `result.items[3].session`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotData {
    /// A handle or a function.
    #[error("`{at}` is a {what}, which cannot be kept; return plain data (numbers, text, maps, arrays)")]
    Handle { at: String, what: String },
    /// A secret.
    #[error("`{at}` is a secret, which is never kept; return something that does not hold it")]
    Secret { at: String },
    /// Text that holds the value of a secret.
    #[error("`{at}` holds the value of {label}, which is never kept; return something that does not hold it")]
    Value { at: String, label: String },
}

/// What a secret becomes where it stands in a value.
type Sealed<'s> = dyn Fn(&Secret) -> Option<Value> + 's;

/// The JSON form of `value`; `at` names it in errors. Nothing in it is a secret or the value of one.
pub(crate) fn encode(value: &Dynamic, at: &str) -> Result<Value, NotData> {
    checked(value, at, &|_| None)
}

/// The same for what is only compared: of a secret the reference and a hash are kept.
pub(crate) fn encode_inputs(value: &Dynamic, at: &str) -> Result<Value, NotData> {
    checked(value, at, &|secret| Some(secret.sealed()))
}

fn checked(value: &Dynamic, at: &str, sealed: &Sealed<'_>) -> Result<Value, NotData> {
    let json = walk(value, at, sealed)?;
    match redact::held_in(&json, at) {
        Some((at, label)) => Err(NotData::Value { at, label }),
        None => Ok(json),
    }
}

fn walk(value: &Dynamic, at: &str, sealed: &Sealed<'_>) -> Result<Value, NotData> {
    let value = value.flatten_clone();
    if value.is_unit() {
        return Ok(Value::Null);
    }
    if let Some(flag) = value.clone().try_cast::<bool>() {
        return Ok(Value::Bool(flag));
    }
    if let Some(number) = value.clone().try_cast::<INT>() {
        return Ok(number.into());
    }
    if let Some(number) = value.clone().try_cast::<FLOAT>() {
        return Ok(
            serde_json::Number::from_f64(number).map_or_else(|| json!({ "$float": number.to_string() }), Value::Number)
        );
    }
    if let Some(text) = value.clone().try_cast::<ImmutableString>() {
        return Ok(Value::String(text.to_string()));
    }
    if let Some(one) = value.clone().try_cast::<char>() {
        return Ok(json!({ "$char": one.to_string() }));
    }
    if let Some(unknown) = value.clone().try_cast::<Unknown>() {
        return Ok(json!({ "$unknown": unknown.0 }));
    }
    if let Some(bytes) = value.clone().try_cast::<Blob>() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        return Ok(json!({ "$blob": hex }));
    }
    if let Some(items) = value.read_lock::<Array>() {
        let items = items.iter().enumerate().map(|(index, item)| walk(item, &format!("{at}[{index}]"), sealed));
        return items.collect::<Result<_, _>>().map(Value::Array);
    }
    if let Some(map) = value.read_lock::<Map>() {
        let mut out = JsonMap::new();
        for (key, item) in map.iter() {
            out.insert(key.to_string(), walk(item, &format!("{at}.{key}"), sealed)?);
        }
        let tagged = out.keys().any(|key| key.starts_with('$'));
        return Ok(if tagged { json!({ "$map": out }) } else { Value::Object(out) });
    }
    if let Some(secret) = value.read_lock::<Secret>() {
        return sealed(&secret).ok_or_else(|| NotData::Secret { at: at.to_owned() });
    }
    Err(NotData::Handle { at: at.to_owned(), what: type_word(&value) })
}

/// What a value that is no data is called: `host`, `Fn`.
fn type_word(value: &Dynamic) -> String {
    value.type_name().rsplit("::").next().unwrap_or("value").to_lowercase()
}

/// The JSON form of `value` for display: what cannot be kept is named instead.
pub(crate) fn describe(value: &Dynamic) -> Value {
    walk(value, "value", &|_| Some("<secret>".into())).unwrap_or_else(|not| match not {
        NotData::Handle { what, .. } => format!("<{what}>").into(),
        NotData::Secret { .. } | NotData::Value { .. } => "<secret>".into(),
    })
}

/// Data of others, in which nothing is one of our own forms, in the form that [`decode`] gives back as it was.
pub(crate) fn foreign(json: Value) -> Value {
    match json {
        Value::Array(items) => items.into_iter().map(foreign).collect(),
        Value::Object(map) => {
            let odd = map.keys().any(|key| key.starts_with('$'));
            let map: JsonMap<_, _> = map.into_iter().map(|(key, item)| (key, foreign(item))).collect();
            if odd { json!({ "$map": map }) } else { Value::Object(map) }
        }
        other => other,
    }
}

/// What an object of others cannot hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Odd {
    /// Something that a plan does not know.
    Unknown(String),
    /// A value of a form of ours.
    Form(&'static str),
}

/// Data for others of what [`encode`] gave: without forms of ours. The reverse of [`foreign`].
pub(crate) fn outward(json: Value) -> Result<Value, Odd> {
    let fields = |map: JsonMap<String, Value>| -> Result<Value, Odd> {
        map.into_iter()
            .map(|(key, item)| Ok((key, outward(item)?)))
            .collect::<Result<JsonMap<_, _>, _>>()
            .map(Value::Object)
    };
    match json {
        Value::Array(items) => items.into_iter().map(outward).collect(),
        Value::Object(mut map) if map.len() == 1 && map.keys().all(|key| key.starts_with('$')) => {
            let (key, inner) =
                map.iter_mut().next().map(|(key, inner)| (key.clone(), inner.take())).unwrap_or_default();
            match (&*key, inner) {
                ("$map", Value::Object(inner)) => fields(inner),
                ("$char", inner) => Ok(inner),
                ("$unknown", inner) => Err(Odd::Unknown(inner.as_str().unwrap_or_default().to_owned())),
                ("$float", _) => Err(Odd::Form("a number that is none")),
                ("$blob", _) => Err(Odd::Form("a blob")),
                (_, inner) => Ok(json!({ key: inner })),
            }
        }
        Value::Object(map) => fields(map),
        other => Ok(other),
    }
}

/// The value that [`encode`] turned into `json`; plain JSON from elsewhere is taken as it is.
pub(crate) fn decode(json: &Value) -> Dynamic {
    match json {
        Value::Null => Dynamic::UNIT,
        Value::Bool(flag) => (*flag).into(),
        Value::Number(number) => match number.as_i64() {
            Some(number) => number.into(),
            // Beyond i64 only a float can say it.
            None => number.as_f64().unwrap_or(FLOAT::NAN).into(),
        },
        Value::String(text) => text.as_str().into(),
        Value::Array(items) => items.iter().map(decode).collect::<Array>().into(),
        Value::Object(map) => decode_map(map),
    }
}

fn decode_map(map: &JsonMap<String, Value>) -> Dynamic {
    if let (1, Some((key, inner))) = (map.len(), map.iter().next()) {
        match (key.as_str(), inner) {
            ("$char", Value::String(text)) => {
                if let Some(one) = text.chars().next() {
                    return one.into();
                }
            }
            ("$unknown", Value::String(what)) => return Dynamic::from(Unknown(what.clone())),
            ("$float", Value::String(text)) => return text.parse::<FLOAT>().unwrap_or(FLOAT::NAN).into(),
            ("$blob", Value::String(hex)) => {
                let pairs = hex.as_bytes().chunks(2);
                let bytes = pairs.filter_map(|pair| u8::from_str_radix(str::from_utf8(pair).ok()?, 16).ok());
                return Dynamic::from_blob(bytes.collect::<Blob>());
            }
            ("$map", Value::Object(inner)) => return plain_map(inner),
            _ => {}
        }
    }
    plain_map(map)
}

fn plain_map(map: &JsonMap<String, Value>) -> Dynamic {
    map.iter().map(|(key, item)| (key.as_str().into(), decode(item))).collect::<Map>().into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn values() -> impl Strategy<Value = Dynamic> {
        let leaf = prop_oneof![
            Just(Dynamic::UNIT),
            any::<bool>().prop_map(Dynamic::from),
            any::<i64>().prop_map(Dynamic::from),
            (-1.0e300..1.0e300f64).prop_map(Dynamic::from),
            any::<char>().prop_map(Dynamic::from),
            ".{0,8}".prop_map(Dynamic::from),
            proptest::collection::vec(any::<u8>(), 0..8).prop_map(Dynamic::from_blob),
        ];
        leaf.prop_recursive(3, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(|items| Dynamic::from(items as Array)),
                proptest::collection::btree_map("[$a-c]{1,5}", inner, 0..4).prop_map(|map| {
                    let map: Map = map.into_iter().map(|(key, item)| (key.as_str().into(), item)).collect();
                    map.into()
                }),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_kept_comes_back(value in values()) {
            let json = encode(&value, "v").unwrap();
            let text = serde_json::to_string(&json).unwrap();
            let back = decode(&serde_json::from_str(&text).unwrap());
            prop_assert_eq!(format!("{value:?}"), format!("{back:?}"));
        }
    }

    #[test]
    fn data_of_others_has_no_forms_of_ours() {
        let data = json!({ "a": [{ "$float": "inf" }, { "$map": { "$blob": "00" } }], "b": { "c": 1 } });
        let map = decode(&foreign(data.clone())).cast::<Map>();
        let list = map["a"].read_lock::<Array>().unwrap();
        assert_eq!(list[0].read_lock::<Map>().unwrap()["$float"].to_string(), "inf");
        assert_eq!(list[1].read_lock::<Map>().unwrap()["$map"].read_lock::<Map>().unwrap()["$blob"].to_string(), "00");
        assert_eq!(map["b"].read_lock::<Map>().unwrap()["c"].as_int(), Ok(1));
        drop(list);
        // And the way back.
        let given: Dynamic = map.into();
        assert_eq!(outward(encode(&given, "v").unwrap()).unwrap(), data);
        let unknown = Dynamic::from(Unknown("the size".into()));
        assert_eq!(outward(encode(&unknown, "v").unwrap()), Err(Odd::Unknown("the size".into())));
    }

    #[test]
    fn a_handle_is_refused_and_its_place_named() {
        let mut map = Map::new();
        map.insert("items".into(), vec![Dynamic::ONE, Dynamic::from(std::time::Instant::now())].into());
        let refused = encode(&map.into(), "result").unwrap_err();
        assert!(matches!(refused, NotData::Handle { at, .. } if at == "result.items[1]"));
    }
}
