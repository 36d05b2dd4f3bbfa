//! Expressions: what is known of the value each one has.

use rhai::{Expr, FnPtr};

use super::Flow;
use super::value::{Closure, Given, Keys, Value};
use crate::script::check::program::{closure_of, start_of};
use crate::script::shape::Literal;

impl<'p> Flow<'p, '_> {
    /// Looks at an expression.
    pub(super) fn eval(&mut self, expr: &'p Expr) -> Value {
        if !self.burn() {
            return Value::default();
        }
        if let Some(closure) = self.closure(expr) {
            return Value { closures: vec![closure], ..Value::literal(Literal::Closure(None)) };
        }
        match expr {
            Expr::BoolConstant(value, _) => Value::literal(Literal::Bool(*value)),
            Expr::IntegerConstant(value, _) => Value::literal(Literal::Int(*value)),
            Expr::FloatConstant(..) => Value::literal(Literal::Float),
            Expr::StringConstant(text, _) => Value::literal(Literal::Text(Some(text.to_string()))),
            Expr::Unit(_) => Value::literal(Literal::Unit),
            Expr::InterpolatedString(parts, _) => {
                let mixed = self.mix(parts.iter());
                Value { literal: Some(Literal::Text(None)), ..mixed }
            }
            Expr::Array(items, _) => {
                let values: Vec<Value> = items.iter().map(|item| self.eval(item)).collect();
                values.iter().for_each(|value| self.consume(value));
                let literal = Literal::List(values.iter().map(Value::as_literal).collect());
                let mixed = values.iter().fold(Value::default(), Value::mixed);
                Value { literal: Some(literal), ..mixed }
            }
            Expr::Map(map, _) => {
                let mut whole = Value::default();
                let mut keys = Keys::default();
                for (key, part) in &map.0 {
                    let value = self.eval(part);
                    self.consume(&value);
                    keys.given.push(Given {
                        key: key.name.to_string(),
                        value: value.as_literal(),
                        at: self.place(key.pos),
                        value_at: self.place(start_of(part)),
                        closures: value.closures.clone(),
                        perhaps: false,
                    });
                    whole = whole.mixed(&value);
                }
                Value { keys: Some(keys), ..whole }
            }
            Expr::Variable(name, _, at) if name.2.is_empty() => match self.get(&name.1) {
                Some(value) => value.clone(),
                None => self.function_named(&name.1, *at),
            },
            Expr::Variable(name, ..) => {
                let full = format!("{}::{}", name.2, name.1);
                let imported = self.text(self.module()).import(name.2.root()).is_some();
                if !imported && self.natives.iter().any(|native| native.name() == full) {
                    let message = format!("`{full}` is a function, and is not called");
                    let hint = format!("call it: {full}(…), or hand on a closure that does: || {full}(…)");
                    self.add(self.place(name.2.position()), "uncalled-function", message, hint);
                }
                Value::default()
            }
            Expr::ThisPtr(_) => self.get("this").cloned().unwrap_or_default(),
            Expr::Stmt(block) => self.block(block.iter()),
            Expr::FnCall(call, at) => self.call(call, *at),
            Expr::Dot(pair, ..) => {
                let receiver = self.eval(&pair.lhs);
                let root = match &pair.lhs {
                    Expr::Variable(name, ..) => Some(name.1.as_str()),
                    _ => None,
                };
                self.member(receiver, root, &pair.rhs)
            }
            Expr::Index(pair, ..) => {
                let receiver = self.eval(&pair.lhs);
                self.index(receiver, &pair.rhs)
            }
            Expr::And(items, at) | Expr::Or(items, at) | Expr::Coalesce(items, at) => {
                let Some((first, others)) = items.split_first() else { return Value::default() };
                let mut value = self.eval(first);
                for item in others {
                    let guard = self.guarded(value.live.as_ref(), self.place(*at));
                    let other = self.branch(guard.as_ref(), |this| this.eval(item));
                    value = value.or(&other);
                }
                value
            }
            _ => Value::default(),
        }
    }

    /// What an expression made of `parts` depends on.
    fn mix(&mut self, parts: impl Iterator<Item = &'p Expr>) -> Value {
        let mut whole = Value::default();
        for part in parts {
            let value = self.eval(part);
            self.consume(&value);
            whole = whole.mixed(&value);
        }
        whole
    }

    /// The value goes where it cannot be followed.
    pub(super) fn consume(&mut self, value: &Value) {
        self.reads.whole |= value.params;
    }

    /// What stands behind a dot: a property, a method, or more of them.
    fn member(&mut self, receiver: Value, root: Option<&str>, rest: &'p Expr) -> Value {
        match rest {
            Expr::Property(property, at) => {
                if receiver.params {
                    let place = self.place(*at);
                    self.reads.read.entry(property.2.to_string()).or_default().push(place);
                }
                part(&receiver, Some(&property.2))
            }
            Expr::MethodCall(call, at) => self.method(receiver, root, call, *at),
            Expr::Dot(pair, ..) => {
                let inner = self.member(receiver, None, &pair.lhs);
                self.member(inner, None, &pair.rhs)
            }
            Expr::Index(pair, ..) => {
                let inner = self.member(receiver, None, &pair.lhs);
                self.index(inner, &pair.rhs)
            }
            other => {
                self.eval(other);
                receiver
            }
        }
    }

    /// What stands in brackets, and behind them.
    fn index(&mut self, receiver: Value, rest: &'p Expr) -> Value {
        match rest {
            // `a[b].c` is an index by `b`, of which `.c` is taken.
            Expr::Dot(pair, ..) => {
                let inner = self.index(receiver, &pair.lhs);
                self.member(inner, None, &pair.rhs)
            }
            Expr::StringConstant(key, at) => {
                if receiver.params {
                    let place = self.place(*at);
                    self.reads.read.entry(key.to_string()).or_default().push(place);
                }
                part(&receiver, Some(key))
            }
            other => {
                let key = self.eval(other);
                self.consume(&receiver);
                part(&receiver, None).and_live(key.live.as_ref())
            }
        }
    }

    /// A closure that is written here.
    fn closure(&mut self, expr: &'p Expr) -> Option<Closure> {
        let (name, captures) = closure_of(expr)?;
        let at = self.place(expr.start_position());
        let mut captured = Vec::new();
        if captures > 0
            && let Expr::Stmt(block) = expr
        {
            for stmt in block.iter() {
                let call = match stmt {
                    rhai::Stmt::FnCall(call, _) => call,
                    rhai::Stmt::Expr(inner) => match &**inner {
                        Expr::FnCall(call, _) => call,
                        _ => continue,
                    },
                    _ => continue,
                };
                captured = call.args.iter().skip(1).map(|arg| self.eval(arg)).collect();
            }
        }
        Some(Closure { module: at.module, name, captured, at })
    }

    /// A function that is named without being called.
    fn function_named(&mut self, name: &str, at: rhai::Position) -> Value {
        let module = self.module();
        let place = self.place(at);
        if !self.text(module).defs.iter().any(|def| def.name == name) || FnPtr::new(name).is_err() {
            return Value::default();
        }
        let closure = Closure { module, name: name.to_owned(), captured: Vec::new(), at: place };
        Value { closures: vec![closure], ..Value::default() }
    }
}

/// A part of a value: of a map that is written out what stands there, of anything else what is known of the whole.
fn part(whole: &Value, key: Option<&str>) -> Value {
    let given = key.and_then(|key| whole.keys.as_ref()?.get(key));
    let closures = given.map_or_else(|| whole.closures.clone(), |given| given.closures.clone());
    let literal = given.filter(|given| !given.perhaps).map(|given| given.value.clone());
    let literal = literal.filter(|literal| !matches!(literal, Literal::Unknown | Literal::Map));
    Value { live: whole.live.clone(), closures, literal, ..Value::default() }
}
