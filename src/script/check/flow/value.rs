//! What is known of a value without running the script.

use rhai::Position;

use crate::script::shape::Literal;

/// A place in one of the texts: its index, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::script::check) struct Place {
    pub(in crate::script::check) module: usize,
    pub(in crate::script::check) at: Position,
}

/// A read that every process makes anew.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::script::check) struct Live {
    /// The native: `copy::scan`.
    pub(in crate::script::check) what: String,
    pub(in crate::script::check) at: Place,
}

/// A closure, with the values it captured.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::script::check) struct Closure {
    pub(in crate::script::check) module: usize,
    pub(in crate::script::check) name: String,
    pub(in crate::script::check) captured: Vec<Value>,
    pub(in crate::script::check) at: Place,
}

/// A key of a map, as it is written.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::script::check) struct Given {
    pub(in crate::script::check) key: String,
    pub(in crate::script::check) value: Literal,
    pub(in crate::script::check) at: Place,
    /// Where the value stands.
    pub(in crate::script::check) value_at: Place,
    pub(in crate::script::check) closures: Vec<Closure>,
    /// Not there in every case.
    pub(in crate::script::check) perhaps: bool,
}

/// A map as far as it is written out.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::script::check) struct Keys {
    pub(in crate::script::check) given: Vec<Given>,
    /// There may be others.
    pub(in crate::script::check) open: bool,
}

impl Keys {
    pub(in crate::script::check) fn get(&self, key: &str) -> Option<&Given> {
        self.given.iter().find(|given| given.key == key)
    }

    /// These with `other` over them.
    pub(in crate::script::check) fn under(mut self, other: Self) -> Self {
        self.given.retain(|given| other.get(&given.key).is_none_or(|over| over.perhaps));
        self.given.extend(other.given);
        self.open |= other.open;
        self
    }

    /// What is known when it is one of two.
    fn or(mut self, other: Self) -> Self {
        for given in &mut self.given {
            given.perhaps |= other.get(&given.key).is_none();
        }
        for given in other.given {
            if self.get(&given.key).is_none() {
                self.given.push(Given { perhaps: true, ..given });
            }
        }
        self.open |= other.open;
        self
    }
}

/// A value.
#[derive(Debug, Clone, PartialEq, Default)]
pub(in crate::script::check) struct Value {
    /// It depends on a live read.
    pub(in crate::script::check) live: Option<Live>,
    /// It is one of these, or holds them.
    pub(in crate::script::check) closures: Vec<Closure>,
    /// It is what `run` was given.
    pub(in crate::script::check) params: bool,
    /// It is a map that is written out.
    pub(in crate::script::check) keys: Option<Keys>,
    /// It is a text or another constant that is written out.
    pub(in crate::script::check) literal: Option<Literal>,
    /// It is a handle of this name: `host`.
    pub(in crate::script::check) handle: Option<String>,
}

impl Value {
    /// A constant.
    pub(in crate::script::check) fn literal(literal: Literal) -> Self {
        Self { literal: Some(literal), ..Self::default() }
    }

    /// A value that depends on `live` too.
    pub(in crate::script::check) fn and_live(mut self, live: Option<&Live>) -> Self {
        if self.live.is_none() {
            self.live = live.cloned();
        }
        self
    }

    /// What is known of something made from both.
    pub(in crate::script::check) fn mixed(mut self, other: &Self) -> Self {
        self = self.and_live(other.live.as_ref());
        for closure in &other.closures {
            if !self.closures.contains(closure) {
                self.closures.push(closure.clone());
            }
        }
        (self.params, self.keys, self.literal, self.handle) = (false, None, None, None);
        self
    }

    /// What is known of something that is one of both.
    pub(in crate::script::check) fn or(self, other: &Self) -> Self {
        if self == *other {
            return self;
        }
        let params = self.params || other.params;
        let keys = match (self.keys.clone(), other.keys.clone()) {
            (Some(own), Some(others)) => Some(own.or(others)),
            _ => None,
        };
        let handle = self.handle.clone().filter(|own| other.handle.as_ref() == Some(own));
        Self { params, keys, handle, ..self.mixed(other) }
    }

    /// What it is as an option or argument.
    pub(in crate::script::check) fn as_literal(&self) -> Literal {
        match (&self.literal, &self.keys) {
            (Some(literal), _) => literal.clone(),
            (None, Some(_)) => Literal::Map,
            _ => Literal::Unknown,
        }
    }
}
