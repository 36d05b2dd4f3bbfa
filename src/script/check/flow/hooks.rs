//! Options of natives, and the closures among them: hooks that run later, like steps.

use super::native::Called;
use super::value::{Keys, Value};
use super::{Flow, Within, outside};
use crate::script::near;
use crate::script::shape::{Literal, Type};

impl<'p> Flow<'p, '_> {
    /// Options that do not exist, have a value of another type, or are missing.
    pub(super) fn options(&mut self, called: &Called<'_, 'p>, keys: &Keys) {
        let native = called.native;
        let name = native.name();
        for given in &keys.given {
            let Some(option) = native.option(&given.key) else {
                let known = native.options.iter().map(|option| option.name.as_str());
                let message = format!("{name} has no option `{}`", given.key);
                let hint = near::hint(&given.key, known).unwrap_or_else(|| format!("see decamp docs {name}"));
                self.add(given.at, "unknown-option", message, hint);
                continue;
            };
            if let (Type::Closure(takes), false) = (&option.kind, given.closures.is_empty()) {
                let value = Value { closures: given.closures.clone(), ..Value::default() };
                self.closures(&value, *takes, name, Some(&given.key));
            } else if !option.kind.accepts(&given.value) {
                let wanted = option.kind.words();
                let message = format!("option `{}` of {name} must be {wanted}, not {}", given.key, given.value.words());
                let near = match (&option.kind, &given.value) {
                    (Type::Words(words), Literal::Text(Some(text))) => {
                        near::hint(text, words.iter().map(String::as_str))
                    }
                    _ => None,
                };
                let hint = near.unwrap_or_else(|| format!("{}: {}", option.name, option.text));
                self.add(given.value_at, "option-type", message, hint);
            }
        }
        let missing = native.options.iter().filter(|option| option.text.contains("(required)"));
        for option in missing.filter(|option| !keys.open && keys.get(&option.name).is_none()) {
            let message = format!("{name} needs the option `{}`", option.name);
            self.add(called.place, "missing-option", message, format!("{}: {}", option.name, option.text));
        }
    }

    /// Closures that take another number of parameters than they are given.
    pub(super) fn closures(&mut self, value: &Value, takes: usize, native: &str, option: Option<&str>) {
        for closure in &value.closures {
            let Some(def) = self.text(closure.module).closure(&closure.name) else { continue };
            let own = def.params.len().saturating_sub(closure.captured.len());
            if own == takes {
                continue;
            }
            let what = match option {
                Some(option) => format!("`{option}` of {native}"),
                None => format!("the body of `{native}`"),
            };
            let words = |count: usize| match count {
                0 => "no parameters".to_owned(),
                1 => "one parameter".to_owned(),
                count => format!("{count} parameters"),
            };
            let message = format!("{what} is called with {}, and takes {}", words(takes), words(own));
            let hint = match takes {
                0 => "write || …",
                _ => "write |x| …; `undo` and `release` are given the result of the step",
            };
            self.add(closure.at, "closure-parameters", message, hint);
        }
    }

    /// Closures given as options run later, each as a step.
    pub(super) fn hooks(&mut self, called: &Called<'_, 'p>, keys: &Keys) {
        for given in keys.given.iter().filter(|given| !given.closures.is_empty()) {
            // The key of a branch is asked for on the spot; what else is given runs later.
            let later = if given.key == "key" { self.around.within } else { Within::Step };
            let around = std::mem::replace(&mut self.around, outside(later));
            let exits = std::mem::take(&mut self.exits);
            self.around.certain = false;
            for closure in &given.closures {
                self.call_closure(closure, called.place, |count| vec![Value::default(); count]);
            }
            (self.around, self.exits) = (around, exits);
        }
    }
}
