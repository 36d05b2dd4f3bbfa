//! Calls: of the script's own functions, of closures, of Rhai's functions. What natives mean stands in `native`.

use rhai::{FnCallExpr, Position};

use super::Flow;
use super::native::Called;
use super::value::{Closure, Keys, Live, Place, Value};
use crate::script::check::program::Def;
use crate::script::shape::{Literal, Native};

/// How deep calls are followed; a function that calls itself is entered twice.
const DEPTH: usize = 64;

impl<'p> Flow<'p, '_> {
    /// A call in the form `name(…)` or `alias::name(…)`.
    pub(super) fn call(&mut self, call: &'p FnCallExpr, at: Position) -> Value {
        let place = self.place(if call.namespace.is_empty() { at } else { call.namespace.position() });
        let name = call.name.as_str();
        let before = self.report.findings.len();
        let args: Vec<Value> = call.args.iter().map(|arg| self.eval(arg)).collect();
        if call.op_token.is_some() {
            return self.operator(name, args);
        }
        let module = self.module();
        if call.namespace.is_empty() {
            if let Some(def) = self.text(module).def(name, args.len()) {
                return self.enter_def(module, def, place, args, None);
            }
        } else if let Some(target) = self.text(module).import(call.namespace.root()) {
            let found = self.program.modules.iter().position(|module| module.name == target);
            if let Some((number, def)) = found.and_then(|at| Some((at, self.text(at).def(name, args.len())?))) {
                return self.enter_def(number, def, place, args, None);
            }
        }
        let full = if call.namespace.is_empty() { name.to_owned() } else { format!("{}::{name}", call.namespace) };
        let exprs = call.args.iter().map(Some).collect();
        let natives = self.natives;
        let found = natives.iter().find(|native| native.name() == full);
        // A method may be called like a function, its handle first.
        let handle = args.first().and_then(|first| first.handle.as_deref());
        let found = found.or_else(|| method_of(natives, name, handle).filter(|_| call.namespace.is_empty()));
        if let Some(native) = found {
            return self.native(&Called { native, place, args, exprs, before });
        }
        match (name, args.as_slice()) {
            ("Fn", [Value { literal: Some(Literal::Text(Some(name))), .. }]) => {
                let closure = Closure { module, name: name.clone(), captured: Vec::new(), at: place };
                return Value { closures: vec![closure], ..Value::default() };
            }
            // `"name" in p`, which Rhai turns round.
            ("contains", [Value { params: true, .. }, Value { literal: Some(Literal::Text(Some(key))), .. }]) => {
                self.reads.asked.insert(key.clone());
                return Value::default();
            }
            ("call", [function, rest @ ..]) => return self.call_all(function, place, rest),
            ("curry", [function, rest @ ..]) => return curried(function, rest),
            ("timestamp", []) => {
                self.met.live += 1;
                return Value::default().and_live(Some(&Live { what: "timestamp".into(), at: place }));
            }
            _ => {}
        }
        self.standard(args, place)
    }

    /// A call in the form `receiver.name(…)`; `root` is the variable the receiver is, if it is one.
    pub(super) fn method(&mut self, receiver: Value, root: Option<&str>, call: &'p FnCallExpr, at: Position) -> Value {
        let place = self.place(at);
        let name = call.name.as_str();
        let before = self.report.findings.len();
        let mut args: Vec<Value> = call.args.iter().map(|arg| self.eval(arg)).collect();
        let module = self.module();
        match (name, args.as_slice()) {
            ("call", rest) if !receiver.closures.is_empty() => return self.call_all(&receiver, place, rest),
            ("curry", rest) if !receiver.closures.is_empty() => return curried(&receiver, rest),
            // A parameter may be asked for in ways that allow it to be missing.
            ("get" | "contains", [Value { literal: Some(Literal::Text(Some(key))), .. }]) if receiver.params => {
                self.reads.asked.insert(key.clone());
                return Value::default();
            }
            _ => {}
        }
        if let Some(def) = self.text(module).def(name, args.len()) {
            return self.enter_def(module, def, place, args, Some(receiver));
        }
        if let Some(native) = method_of(self.natives, name, receiver.handle.as_deref()) {
            args.insert(0, receiver);
            let exprs = std::iter::once(None).chain(call.args.iter().map(Some)).collect();
            return self.native(&Called { native, place, args, exprs, before });
        }
        let known = receiver.clone();
        args.insert(0, receiver);
        let given: Vec<Value> = args[1..].to_vec();
        let result = self.standard(args, place);
        // Methods such as `push` put what they are given into the variable.
        if let Some(root) = root {
            let touched = given.iter().fold(known.clone(), Value::mixed);
            if touched.live != known.live || touched.closures != known.closures {
                self.set(root, touched);
            }
        }
        result
    }

    /// One of Rhai's own functions: the value depends on all arguments, closures are called on the spot.
    fn standard(&mut self, args: Vec<Value>, place: Place) -> Value {
        let whole = args.iter().fold(Value::default(), Value::mixed);
        args.iter().for_each(|arg| self.consume(arg));
        let plain = Value { closures: Vec::new(), ..whole.clone() };
        let closures: Vec<Closure> = args.iter().skip(1).flat_map(|arg| arg.closures.clone()).collect();
        // A list of closures stays one; a closure that is called on the spot does not come back.
        let kept = args.first().map(|first| first.closures.clone()).unwrap_or_default();
        let mut result = Value { closures: kept, ..whole };
        if !closures.is_empty() {
            // What the others hold is what the closure is given, item by item.
            let receiver = args.first().map(|first| Value { keys: None, literal: None, ..first.clone() });
            let item = receiver.unwrap_or(plain);
            let guard = self.guarded(item.live.as_ref(), place);
            self.turns(|this| {
                this.branch(guard.as_ref(), |this| {
                    for closure in &closures {
                        let given = this.call_closure(closure, place, |count| vec![item.clone(); count]);
                        result = result.clone().mixed(&given);
                    }
                    Value::default()
                });
            });
        }
        result
    }

    fn operator(&mut self, name: &str, args: Vec<Value>) -> Value {
        args.iter().filter(|_| !matches!(name, "==" | "!=")).for_each(|arg| self.consume(arg));
        let keys = match args.as_slice() {
            [one, other] if name == "+" => match (&one.keys, &other.keys) {
                (Some(own), Some(over)) => Some(own.clone().under(over.clone())),
                // A map that cannot be seen, with one over it that can.
                (Some(keys), None) | (None, Some(keys)) => Some(Keys { open: true, ..keys.clone() }),
                _ => None,
            },
            _ => None,
        };
        let text = |value: &Value| matches!(value.literal, Some(Literal::Text(_)));
        let literal = (name == "+" && args.iter().any(text)).then_some(Literal::Text(None));
        Value { keys, literal, ..args.iter().fold(Value::default(), Value::mixed) }
    }

    /// Calls every closure a value may be.
    fn call_all(&mut self, function: &Value, place: Place, args: &[Value]) -> Value {
        let mut result = Value::default().and_live(function.live.as_ref());
        for closure in &function.closures.clone() {
            let value = self.call_closure(closure, place, |_| args.to_vec());
            result = result.or(&value);
        }
        result
    }

    /// Calls a closure with the arguments that `args` makes for the number it takes.
    pub(super) fn call_closure(
        &mut self,
        closure: &Closure,
        place: Place,
        args: impl FnOnce(usize) -> Vec<Value>,
    ) -> Value {
        let Some(def) = self.text(closure.module).closure(&closure.name) else { return Value::default() };
        let takes = def.params.len().saturating_sub(closure.captured.len());
        let mut all = closure.captured.clone();
        let mut given = args(takes);
        given.resize(takes, Value::default());
        all.extend(given);
        self.enter_def(closure.module, def, place, all, None)
    }

    fn enter_def(&mut self, module: usize, def: &'p Def, place: Place, args: Vec<Value>, this: Option<Value>) -> Value {
        let same = self.frames.iter().filter(|frame| frame.def.is_some_and(|open| std::ptr::eq(open, def))).count();
        if same > 1 || self.frames.len() > DEPTH || self.fuel == 0 {
            return args.iter().fold(Value::default(), Value::mixed);
        }
        self.enter(module, Some(def), place, args);
        if let Some(this) = this {
            self.declare("this", this);
        }
        let value = self.frame_body(&def.body);
        self.frames.pop();
        value
    }
}

/// Methods of handles that other values have as well.
const OF_OTHERS: [&str; 1] = ["get"];

/// The method of that name of `handle`; of any, if it is not known which it is called on.
fn method_of<'n>(natives: &'n [Native], name: &str, handle: Option<&str>) -> Option<&'n Native> {
    let named = |native: &&Native| native.name().split_once('.').is_some_and(|(_, method)| method == name);
    let mut all = natives.iter().filter(named);
    match handle {
        Some(handle) => all.find(|native| native.name().split_once('.').is_some_and(|(of, _)| of == handle)),
        None if OF_OTHERS.contains(&name) => None,
        // Hosts are behind clusters, and are what most scripts have.
        None => all.next_back(),
    }
}

fn curried(function: &Value, args: &[Value]) -> Value {
    let closures = function.closures.iter().map(|closure| {
        let mut closure = closure.clone();
        closure.captured.extend(args.iter().cloned());
        closure
    });
    Value { closures: closures.collect(), ..Value::default() }
}
