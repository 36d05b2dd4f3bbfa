//! What a call of a native means: a read, a change, a step; and what is asked of it: options, closures, names.

use rhai::{Expr, Position};

use super::value::{Keys, Live, Place, Value};
use super::{Flow, Within};
use crate::script::check::program::start_of;
use crate::script::shape::{Class, Literal, Native, Type};

/// A call of a native.
pub(super) struct Called<'n, 'p> {
    pub(super) native: &'n Native,
    pub(super) place: Place,
    /// Arguments, the handle of a method first.
    pub(super) args: Vec<Value>,
    /// How they are written.
    pub(super) exprs: Vec<Option<&'p Expr>>,
    /// How many findings there were before the arguments.
    pub(super) before: usize,
}

impl<'p> Called<'_, 'p> {
    /// Arguments with the types of the parameters they are for; a parameter in brackets may be left out.
    fn typed(&self) -> Vec<(&str, &Type, &Value, Option<&'p Expr>)> {
        let skip = usize::from(self.native.name().contains('.'));
        let given = self.args.len().saturating_sub(skip);
        let fits = |how: &&crate::script::shape::Signature| {
            let needed = how.args.iter().filter(|arg| !arg.optional).count();
            (needed..=how.args.len()).contains(&given)
        };
        let Some(how) = self.native.signatures.iter().find(fits) else { return Vec::new() };
        let all = given == how.args.len();
        let wanted = how.args.iter().filter(|arg| all || !arg.optional);
        let given = self.args.iter().zip(&self.exprs).skip(skip);
        wanted.zip(given).map(|(arg, (value, expr))| (arg.name.as_str(), &arg.kind, value, *expr)).collect()
    }

    /// The trailing map, if it is given.
    fn options(&self) -> Option<&Value> {
        self.typed().into_iter().find(|(name, ..)| *name == "opts").map(|(_, _, value, _)| value)
    }

    /// The options as far as they are written out; none given is none at all.
    pub(super) fn keys(&self) -> Keys {
        match self.options() {
            Some(value) => value.keys.clone().unwrap_or(Keys { given: Vec::new(), open: true }),
            None => Keys::default(),
        }
    }

    /// Its class, as far as options decide it; none if they cannot be seen.
    fn class(&self, keys: &Keys) -> Option<Class> {
        let class = self.native.class;
        for option in self.native.options.iter().filter(|option| option.reads && class.changes()) {
            match keys.get(&option.name) {
                Some(given) if given.value == Literal::Bool(true) && !given.perhaps => return Some(Class::Read),
                Some(given) if given.value == Literal::Bool(false) => {}
                Some(_) => return None,
                None if keys.open => return None,
                None => {}
            }
        }
        Some(class)
    }
}

impl<'p> Flow<'p, '_> {
    /// A call of a native.
    pub(super) fn native(&mut self, called: &Called<'_, 'p>) -> Value {
        called.args.iter().for_each(|arg| self.consume(arg));
        let keys = called.keys();
        self.options(called, &keys);
        self.arguments(called);
        let whole = called.args.iter().fold(Value::default(), Value::mixed);
        let plain = Value { closures: Vec::new(), ..whole };
        if called.native.class == Class::Flow || called.native.kept() {
            return self.flow(called, &keys);
        }
        let handle = called.native.signatures.iter().find_map(|how| match &how.result {
            Some(Type::Handle(name)) => Some(name.clone()),
            _ => None,
        });
        match called.class(&keys) {
            Some(Class::Read) => {
                self.met.live += 1;
                let live = Live { what: called.native.name().to_owned(), at: called.place };
                plain.and_live(Some(&live))
            }
            Some(class) if class.changes() => {
                self.met.once += u32::from(class == Class::Once);
                self.change(called);
                Value::default()
            }
            _ => Value { handle, ..plain },
        }
    }

    /// Arguments that are written out in their place and are of another type.
    fn arguments(&mut self, called: &Called<'_, 'p>) {
        for (name, kind, value, expr) in called.typed() {
            let Some(expr) = expr else { continue };
            let wrong = match expr {
                Expr::StringConstant(..) | Expr::InterpolatedString(..) => matches!(kind, Type::List(_)),
                Expr::IntegerConstant(..) | Expr::Array(..) => *kind == Type::Text,
                _ => false,
            };
            if !wrong {
                continue;
            }
            let (native, given) = (called.native.name(), value.as_literal());
            let message = format!("`{name}` of {native} must be {}, not {}", kind.words(), given.words());
            let hint = match (kind, &given) {
                (Type::List(_), Literal::Text(Some(text))) => {
                    let words: Vec<String> = text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
                    format!("write a list: [{}]", words.join(", "))
                }
                _ => format!("see decamp docs {native}"),
            };
            let place = Place { at: start_of(expr), ..called.place };
            self.add(place, "argument-type", message, hint);
        }
    }

    /// Something is changed here.
    fn change(&mut self, called: &Called<'_, 'p>) {
        let name = called.native.name();
        let (message, hint) = match self.around.within {
            Within::Step | Within::Anywhere => return,
            Within::Fact => (
                format!("`{name}` changes things and is called in `fact` or `wait_until`, which only read"),
                "do it in a step: step(\"name\", || { … })",
            ),
            Within::Run => (
                format!("`{name}` changes things and is called outside a step"),
                "wrap it: step(\"name\", || { … }), so that it is remembered and can be resumed and undone",
            ),
        };
        let (place, through) = self.outermost(called.place);
        let message = match through {
            Some(function) => format!("{message}, through `{function}` ({})", self.line(called.place, place.module)),
            None => message,
        };
        self.add(place, "effect-outside-step", message, hint);
    }

    /// The call in `run` itself that leads here, and the function it calls; `place` itself if there is none between.
    pub(super) fn outermost(&self, place: Place) -> (Place, Option<String>) {
        let between = self.frames.iter().skip(1).find_map(|frame| {
            let def = frame.def.filter(|def| !def.anonymous())?;
            Some((frame.called_at, Some(def.name.clone())))
        });
        between.unwrap_or((place, None))
    }

    /// What runs a closure under a name, or has a name and no closure.
    fn flow(&mut self, called: &Called<'_, 'p>, keys: &Keys) -> Value {
        let native = called.native;
        let typed: Vec<(Type, Value, Option<&'p Expr>)> = called
            .typed()
            .into_iter()
            .filter(|(name, ..)| *name != "opts")
            .map(|(_, kind, value, expr)| (kind.clone(), value.clone(), expr))
            .collect();
        let named = native.named();
        let first = typed.first().and_then(|(_, value, _)| value.literal.clone()).filter(|_| named);
        let name = match first.or_else(|| self.optional_name(native, keys)) {
            Some(Literal::Text(Some(name))) => Some(name),
            _ => None,
        };
        if native.class == Class::Flow {
            self.met.steps += 1;
            self.guards(called, name.as_deref());
        }
        self.unique(called, keys, name.as_deref());
        let own = Value { live: None, ..typed.first().map(|(_, value, _)| value.clone()).unwrap_or_default() };
        let over = typed.first().and_then(|(_, value, _)| value.live.clone()).filter(|_| !named);
        let mut result = Value::default();
        for (kind, value, expr) in &typed {
            let Type::Closure(takes) = kind else { continue };
            if value.closures.is_empty() {
                self.no_closure(called, value, *expr);
            }
            self.closures(value, *takes, native.name(), None);
            let around = self.around.clone();
            self.around.within = match (native.class, around.within) {
                (Class::Flow, within) if !named => within,
                (Class::Read, _) => Within::Fact,
                _ => Within::Step,
            };
            let step = name.as_deref().unwrap_or("…");
            self.around.path = format!("{}{step}/", around.path);
            self.around.loops = 0;
            self.around.certain &= named && name.is_some();
            let guard = self.guarded(over.as_ref(), called.place);
            self.around.guards.extend(guard);
            let (once, item) = (self.met.once, Value { closures: own.closures.clone(), ..Value::default() });
            for closure in &value.closures {
                let given = self.call_closure(closure, called.place, |count| vec![item.clone(); count]);
                // Under a name of its own the journal keeps what comes back; else it is what the branches read.
                if !named {
                    result = result.and_live(given.live.as_ref()).and_live(over.as_ref());
                }
            }
            self.around = around;
            let retries = keys.get("retries").filter(|given| !matches!(given.value, Literal::Int(0) | Literal::Unit));
            if let Some(retries) = retries.filter(|_| self.met.once > once) {
                let message = "what is retried here runs a command again each time it failed".to_owned();
                let hint = "retry only what may be repeated without harm, or retry inside the command itself";
                self.add(retries.at, "retried-command", message, hint);
            }
        }
        self.hooks(called, keys);
        result
    }

    /// Reports every branch around that depends on a live read.
    fn guards(&mut self, called: &Called<'_, 'p>, name: Option<&str>) {
        let exits = self.exits.iter().map(|exit| &exit.guard);
        let all: Vec<(Live, Place)> = self.around.guards.iter().chain(exits).cloned().collect();
        let what = match name {
            Some(name) => format!("{} `{name}`", called.native.name()),
            None => format!("`{}`", called.native.name()),
        };
        for (live, place) in all {
            let read = self.line(live.at, place.module);
            let reached = self.line(called.place, place.module);
            let message = format!(
                "this decides on what `{}` ({read}) reads anew in every process, and {what} ({reached}) depends on it",
                live.what
            );
            let hint = "keep what is read, so that a resume takes the same way: let seen = fact(\"name\", || …)";
            self.add(place, "live-branch", message, hint);
        }
    }

    /// The name of what has one among its options, as documented if it is not given.
    fn optional_name(&self, native: &Native, keys: &Keys) -> Option<Literal> {
        let option = native.option("name")?;
        match keys.get("name") {
            Some(given) => Some(given.value.clone()),
            None if keys.open => None,
            None => {
                let default = option.text.split('"').nth(1)?;
                Some(Literal::Text(Some(default.to_owned())))
            }
        }
    }

    /// Names must differ, in loops by a key.
    fn unique(&mut self, called: &Called<'_, 'p>, keys: &Keys, name: Option<&str>) {
        let Some(name) = name else { return };
        // A closure as `key` tells the items of one call apart, not one call from another.
        let keyed = called.native.option("key").is_some_and(|option| !matches!(option.kind, Type::Closure(_)));
        let keys = if keyed { keys.clone() } else { Keys::default() };
        let key = keys.get("key").map(|given| given.value.clone()).filter(|key| *key != Literal::Unit);
        let fixed = match &key {
            None => keys.get("key").is_none() && !keys.open,
            Some(key) => matches!(key, Literal::Text(Some(_)) | Literal::Int(_)),
        };
        if !fixed {
            return;
        }
        if self.around.loops > 0 {
            let what = called.native.name();
            let (message, hint) = match (&key, keyed) {
                (Some(_), _) => (
                    format!("the key of {what} `{name}` is the same in every turn of the loop"),
                    "take something of the item: #{ key: item.id }",
                ),
                (None, true) => (
                    format!("the {what} `{name}` in a loop has no key: the second turn would be refused"),
                    "give it a key of its own: #{ key: item.id }",
                ),
                (None, false) => (
                    format!("{what} `{name}` stands in a loop: the second turn would be refused"),
                    "take it out of the loop, or make its name of the item",
                ),
            };
            self.add(called.place, "step-in-loop", message, hint);
            return;
        }
        if !self.around.certain {
            return;
        }
        let id = format!("{}{name}[{}]", self.around.path, key.map(|key| key.words()).unwrap_or_default());
        let Some(first) = self.steps.insert(id, called.place) else { return };
        let (place, through) = if first == called.place { self.outermost(called.place) } else { (called.place, None) };
        let line = self.line(first, place.module);
        let what = if called.native.named() { "step".to_owned() } else { format!("{} or step", called.native.name()) };
        let message = match through {
            Some(function) => format!("a second {what} of the name `{name}`, through `{function}` ({line})"),
            None => format!("a second {what} of the name `{name}`; the first is in {line}"),
        };
        let hint = if keyed { "give one of them another name, or a `key`" } else { "give one of them another name" };
        self.add(place, "duplicate-step", message, hint);
    }

    /// The body is something else than a closure.
    fn no_closure(&mut self, called: &Called<'_, 'p>, value: &Value, expr: Option<&'p Expr>) {
        let certain = match expr {
            Some(Expr::Stmt(_)) => true,
            Some(Expr::FnCall(..) | Expr::Dot(..)) => self.around.within != Within::Anywhere && self.fuel > 0,
            _ => value.literal.is_some() || value.keys.is_some(),
        };
        if certain {
            // That it changes something outside a step follows from this.
            let mut number = 0;
            self.report.findings.retain(|finding| {
                number += 1;
                number <= called.before || finding.rule != "effect-outside-step"
            });
            let name = called.native.name();
            let at = expr.map_or(Position::NONE, start_of);
            let place = Place { at, ..called.place };
            let message = format!("the body of `{name}` is no closure: it would run before the step begins");
            let how = called.native.signatures.first().map(|how| {
                how.args.iter().find_map(|arg| match arg.kind {
                    Type::Closure(takes) => Some(takes),
                    _ => None,
                })
            });
            let bars = if how.flatten() == Some(1) { "|item|" } else { "||" };
            self.add(place, "step-body", message, format!("write it as a closure: {bars} {{ … }}"));
        }
    }
}
