//! What differs between two states of an object, and how to put one thing back without touching what others changed.

use serde_json::{Map, Value, json};

/// A field that differs.
#[derive(Debug, Clone, PartialEq)]
pub struct Difference {
    /// Where it is: `["spec", "replicas"]`.
    pub path: Vec<String>,
    /// Null: it was not there.
    pub from: Value,
    /// Null: it is not there.
    pub to: Value,
}

/// What the server keeps for itself, at the top and in `metadata`.
const SERVERS: ([&str; 1], [&str; 7]) = (
    ["status"],
    [
        "creationTimestamp",
        "deletionGracePeriodSeconds",
        "deletionTimestamp",
        "generation",
        "managedFields",
        "resourceVersion",
        "selfLink",
    ],
);

/// The fields in which `to` differs from `from`, beside those that the server keeps for itself. A list is one field.
#[must_use]
pub fn differences(from: &Value, to: &Value) -> Vec<Difference> {
    let mut all = Vec::new();
    walk(&mut Vec::new(), from, to, &mut all);
    all
}

fn walk(path: &mut Vec<String>, from: &Value, to: &Value, all: &mut Vec<Difference>) {
    let empty = Map::new();
    let (from_map, to_map) = match (from, to) {
        _ if from == to => return,
        (Value::Object(from), Value::Object(to)) => (from, to),
        // A map that comes or goes is its fields.
        (Value::Object(from), Value::Null) if !path.is_empty() => (from, &empty),
        (Value::Null, Value::Object(to)) if !path.is_empty() => (&empty, to),
        _ => {
            all.push(Difference { path: path.clone(), from: from.clone(), to: to.clone() });
            return;
        }
    };
    let names = from_map.keys().chain(to_map.keys().filter(|key| !from_map.contains_key(*key)));
    for name in names {
        let own = match path.as_slice() {
            [] => SERVERS.0.contains(&name.as_str()),
            [top] if top == "metadata" => SERVERS.1.contains(&name.as_str()),
            _ => false,
        };
        if own {
            continue;
        }
        path.push(name.clone());
        walk(path, from_map.get(name).unwrap_or(&Value::Null), to_map.get(name).unwrap_or(&Value::Null), all);
        path.pop();
    }
}

impl Difference {
    /// Where it is, in a message: `spec.replicas`.
    #[must_use]
    pub fn place(&self) -> String {
        self.path.join(".")
    }

    /// A form of it that can be kept.
    #[must_use]
    pub fn record(&self) -> Value {
        json!({ "path": self.path, "from": self.from, "to": self.to })
    }

    /// What [`Difference::record`] gave.
    #[must_use]
    pub fn read(recorded: &Value) -> Option<Self> {
        let path = recorded["path"].as_array()?.iter().map(|part| part.as_str().map(str::to_owned));
        Some(Self { path: path.collect::<Option<_>>()?, from: recorded["from"].clone(), to: recorded["to"].clone() })
    }

    /// What is there in `object`.
    fn of<'o>(&self, object: &'o Value) -> &'o Value {
        self.path.iter().fold(object, |at, name| &at[name.as_str()])
    }
}

/// A merge patch that puts back in `now` what `made` differs in from before, and the places that it leaves, because they
/// are neither as they were made nor as they were.
#[must_use]
pub fn back(made: &[Difference], now: &Value) -> (Value, Vec<String>) {
    let (mut patch, mut left) = (json!({}), Vec::new());
    for one in made {
        let found = one.of(now);
        if *found == one.from {
            continue;
        }
        if *found != one.to {
            left.push(one.place());
            continue;
        }
        let mut at = &mut patch;
        for name in &one.path {
            at = &mut at[name.as_str()];
        }
        *at = one.from.clone();
    }
    (patch, left)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_differs_is_named_and_what_is_the_servers_is_not() {
        let from = json!({ "metadata": { "uid": "1", "resourceVersion": "5", "labels": { "a": "b" } }, "spec": { "replicas": 2, "list": [1] }, "status": { "x": 1 } });
        let to = json!({ "metadata": { "uid": "1", "resourceVersion": "6", "annotations": { "c/d": "e" } }, "spec": { "replicas": 0, "list": [1, 2] } });
        let all = differences(&from, &to);
        let seen: Vec<_> = all.iter().map(|one| (one.place(), one.from.clone(), one.to.clone())).collect();
        let expected = [
            ("metadata.labels.a".to_owned(), json!("b"), json!(null)),
            ("metadata.annotations.c/d".to_owned(), json!(null), json!("e")),
            ("spec.replicas".to_owned(), json!(2), json!(0)),
            ("spec.list".to_owned(), json!([1]), json!([1, 2])),
        ];
        assert_eq!(seen, expected);
        assert!(differences(&to, &to).is_empty());
        assert_eq!(all.iter().filter_map(|one| Difference::read(&one.record())).collect::<Vec<_>>(), all);
    }

    #[test]
    fn only_what_is_yet_as_it_was_made_is_put_back() {
        let before = json!({ "spec": { "replicas": 2, "paused": true, "deep": { "a": 1 } } });
        let after = json!({ "spec": { "replicas": 0, "deep": { "a": 2 }, "new": { "x": 1 } } });
        let made = differences(&before, &after);
        assert_eq!(
            back(&made, &after),
            (json!({ "spec": { "replicas": 2, "paused": true, "deep": { "a": 1 }, "new": { "x": null } } }), vec![])
        );
        // Somebody scaled it meanwhile, and something is back already.
        let now = json!({ "spec": { "replicas": 5, "deep": { "a": 1 }, "new": { "x": 1 }, "other": 3 } });
        let (patch, left) = back(&made, &now);
        assert_eq!(patch, json!({ "spec": { "paused": true, "new": { "x": null } } }));
        assert_eq!(left, ["spec.replicas"]);
    }
}
