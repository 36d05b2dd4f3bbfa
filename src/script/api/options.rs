//! The trailing map of a native: every key is known, every value has its type, or the error says which.

use std::time::Duration;

use rhai::{Array, Dynamic, FnPtr, Map};

use super::unknown::Unknown;
use crate::error::{Error, Kind};
use crate::script::near;
use crate::units;

/// Options of one call, taken out one by one; [`Options::done`] refuses what is left.
pub(crate) struct Options<'a> {
    function: &'a str,
    map: Map,
    known: Vec<&'static str>,
}

impl<'a> Options<'a> {
    /// The options `map` of a call of `function`.
    pub(crate) fn new(function: &'a str, map: Map) -> Self {
        Self { function, map, known: Vec::new() }
    }

    fn take(&mut self, key: &'static str) -> Option<Dynamic> {
        self.known.push(key);
        self.map.remove(key).map(Dynamic::flatten).filter(|value| !value.is_unit())
    }

    fn wrong(&self, key: &str, expected: &str, found: &Dynamic) -> Error {
        let function = self.function;
        let found = match found.type_name() {
            "i64" => "whole number",
            "f64" => "number",
            name => name.rsplit("::").next().unwrap_or(name),
        };
        Error::new(Kind::Invalid, format!("option `{key}` of {function} must be {expected}, not a {found}"))
    }

    /// A text.
    pub(crate) fn text(&mut self, key: &'static str) -> Result<Option<String>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.clone().into_string().map(Some).map_err(|_| self.wrong(key, "a text", &value))
    }

    /// A text, or a whole number as text.
    pub(crate) fn key(&mut self, key: &'static str) -> Result<Option<String>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_int().ok().and_then(|number| u64::try_from(number).ok());
        let text = number.map_or_else(|| value.clone().into_string(), |number| Ok(number.to_string()));
        text.map(Some).map_err(|_| self.wrong(key, "a text or a whole number of at least 0", &value))
    }

    /// A flag; `false` if it is not given.
    pub(crate) fn flag(&mut self, key: &'static str) -> Result<bool, Error> {
        let Some(value) = self.take(key) else { return Ok(false) };
        value.as_bool().map_err(|_| self.wrong(key, "true or false", &value))
    }

    /// A whole number that is not negative.
    pub(crate) fn count(&mut self, key: &'static str) -> Result<Option<u64>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.as_int().ok().and_then(|number| u64::try_from(number).ok());
        number.map(Some).ok_or_else(|| self.wrong(key, "a whole number of at least 0", &value))
    }

    /// A duration: `"90s"` or whole seconds.
    pub(crate) fn duration(&mut self, key: &'static str) -> Result<Option<Duration>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        duration(&value).map(Some).ok_or_else(|| self.wrong(key, "a duration such as \"90s\" or whole seconds", &value))
    }

    /// A list of texts; a single text, or one with commas, counts as a list.
    pub(crate) fn texts(&mut self, key: &'static str) -> Result<Vec<String>, Error> {
        let Some(value) = self.take(key) else { return Ok(Vec::new()) };
        if let Ok(text) = value.clone().into_string() {
            return Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect());
        }
        let items = value
            .read_lock::<Array>()
            .map(|items| items.iter().map(|item| item.clone().into_string()).collect::<Result<Vec<_>, _>>());
        match items {
            Some(Ok(items)) => Ok(items),
            _ => Err(self.wrong(key, "a list of texts", &value)),
        }
    }

    /// A closure.
    pub(crate) fn closure(&mut self, key: &'static str) -> Result<Option<FnPtr>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.clone().try_cast::<FnPtr>().map(Some).ok_or_else(|| self.wrong(key, "a closure such as || …", &value))
    }

    /// A map of any values.
    pub(crate) fn map(&mut self, key: &'static str) -> Result<Option<Map>, Error> {
        let Some(value) = self.take(key) else { return Ok(None) };
        value.clone().try_cast::<Map>().map(Some).ok_or_else(|| self.wrong(key, "a map #{ … }", &value))
    }

    /// The same; one that a plan does not know yet is as good as none.
    pub(crate) fn map_if_known(&mut self, key: &'static str) -> Result<Option<Map>, Error> {
        if self.map.get(key).is_some_and(Dynamic::is::<Unknown>) {
            self.take(key);
        }
        self.map(key)
    }

    /// Any value.
    pub(crate) fn any(&mut self, key: &'static str) -> Option<Dynamic> {
        self.take(key)
    }

    /// Refuses options that nobody asked for.
    pub(crate) fn done(self) -> Result<(), Error> {
        #[cfg(test)]
        tests::note(self.function, &self.known);
        let Some(unknown) = self.map.keys().next() else { return Ok(()) };
        let error = Error::new(Kind::Invalid, format!("{} has no option `{unknown}`", self.function));
        Err(match near::hint(unknown, self.known.iter().copied()) {
            Some(hint) => error.hint(hint),
            None => error,
        })
    }
}

/// A duration given as text or as whole seconds.
pub(crate) fn duration(value: &Dynamic) -> Option<Duration> {
    match value.as_int() {
        Ok(seconds) => u64::try_from(seconds).ok().map(Duration::from_secs),
        Err(_) => units::parse_duration(&value.clone().into_string().ok()?).ok(),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::cell::RefCell;
    use std::collections::{BTreeMap, BTreeSet};

    thread_local! {
        /// Every option that functions asked for on this thread.
        static ASKED: RefCell<BTreeMap<String, BTreeSet<&'static str>>> = RefCell::default();
    }

    pub(super) fn note(function: &str, known: &[&'static str]) {
        ASKED.with_borrow_mut(|asked| asked.entry(function.to_owned()).or_default().extend(known));
    }

    /// What `function` asked for so far.
    pub(crate) fn asked(function: &str) -> BTreeSet<&'static str> {
        ASKED.with_borrow(|asked| asked.get(function).cloned().unwrap_or_default())
    }

    #[test]
    fn an_unknown_option_names_the_nearest() {
        let map = Map::from([("retires".into(), 3_i64.into())]);
        let mut options = Options::new("step", map);
        assert_eq!(options.count("retries").unwrap(), None);
        let error = options.done().unwrap_err();
        assert_eq!(error.message, "step has no option `retires`");
        assert_eq!(error.hints, ["did you mean `retries`?"]);
    }

    #[test]
    fn a_value_of_another_type_is_refused() {
        let map = Map::from([("timeout".into(), "soon".into()), ("jobs".into(), Dynamic::from(-1_i64))]);
        let mut options = Options::new("host.exec", map);
        assert!(options.duration("timeout").unwrap_err().message.contains("must be a duration"));
        assert!(options.count("jobs").is_err());
    }
}
