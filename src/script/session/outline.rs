//! What is in a value, as far as a person can go on typing from it.

use rhai::{Array, Dynamic, Engine, Map};

/// Keys looked at on each level, and levels.
const KEYS: usize = 200;
const LEVELS: usize = 6;

/// The names in a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outline {
    /// A map: its keys.
    Map(Vec<(String, Outline)>),
    /// A list: how long it is, and what its first item looks like.
    List(usize, Option<Box<Outline>>),
    /// Anything else: its type.
    One(String),
}

impl Outline {
    /// The type, as `:vars` shows it.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Self::Map(_) => "map".to_owned(),
            Self::List(..) => "array".to_owned(),
            Self::One(kind) => kind.clone(),
        }
    }
}

/// The outline of `value`; `engine` knows the names of types.
pub(super) fn of(engine: &Engine, value: &Dynamic) -> Outline {
    level(engine, value, LEVELS)
}

fn level(engine: &Engine, value: &Dynamic, left: usize) -> Outline {
    if let (Some(map), 1..) = (value.read_lock::<Map>(), left) {
        let keys = map.iter().take(KEYS).map(|(key, item)| (key.to_string(), level(engine, item, left - 1)));
        return Outline::Map(keys.collect());
    }
    if let (Some(items), 1..) = (value.read_lock::<Array>(), left) {
        return Outline::List(items.len(), items.first().map(|item| Box::new(level(engine, item, left - 1))));
    }
    let name = engine.map_type_name(value.type_name());
    Outline::One(name.rsplit("::").next().unwrap_or(name).to_lowercase())
}
