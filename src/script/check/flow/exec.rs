//! Statements: every branch is taken, every loop turned twice.

use rhai::{ASTFlags, Expr, Stmt};

use super::value::{Given, Keys, Live, Place, Value};
use super::{Exit, Flow, either};

impl<'p> Flow<'p, '_> {
    /// A function's body; gives back its value.
    pub(super) fn frame_body(&mut self, body: &'p [Stmt]) -> Value {
        let exits = self.exits.len();
        let last = self.block(body);
        let last = last.and_live(self.guard().cloned().as_ref());
        self.exits.truncate(exits);
        match self.frames.last_mut().and_then(|frame| frame.result.take()) {
            Some(returned) => returned.or(&last),
            None => last,
        }
    }

    /// Statements in a scope of their own; gives back the value of the last.
    pub(super) fn block(&mut self, body: impl IntoIterator<Item = &'p Stmt>) -> Value {
        let mark = self.frames.last().map_or(0, |frame| frame.vars.len());
        let mut last = Value::default();
        for stmt in body {
            last = self.exec(stmt);
        }
        if let Some(frame) = self.frames.last_mut() {
            frame.vars.truncate(mark);
        }
        last
    }

    fn exec(&mut self, stmt: &'p Stmt) -> Value {
        if !self.burn() {
            return Value::default();
        }
        match stmt {
            Stmt::Expr(expr) => return self.eval(expr),
            Stmt::FnCall(call, at) => return self.call(call, *at),
            Stmt::Block(block) => return self.block(block.iter()),
            Stmt::Var(var, ..) => {
                let value = self.eval(&var.1).and_live(self.guard().cloned().as_ref());
                self.declare(&var.0.name, value);
            }
            Stmt::Assignment(set) => {
                let mut value = self.eval(&set.1.rhs);
                if set.0.is_op_assignment() {
                    let before = self.eval(&set.1.lhs);
                    value = match (before.keys.clone(), value.keys.clone()) {
                        (Some(own), Some(over)) => Value { keys: Some(own.under(over)), ..before.mixed(&value) },
                        _ => before.mixed(&value),
                    };
                }
                self.assign(&set.1.lhs, value);
            }
            Stmt::If(flow, at) => {
                let cond = self.eval(&flow.expr);
                let guard = self.guarded(cond.live.as_ref(), self.place(*at));
                let before = self.vars();
                let one = self.branch(guard.as_ref(), |this| this.block(flow.body.iter()));
                let after = self.vars();
                self.set_vars(before);
                let other = self.branch(guard.as_ref(), |this| this.block(flow.branch.iter()));
                let vars = either(after, &self.vars());
                self.set_vars(vars);
                return one.or(&other).and_live(cond.live.as_ref());
            }
            Stmt::Switch(switch, at) => {
                let cond = self.eval(&switch.0);
                let guard = self.guarded(cond.live.as_ref(), self.place(*at));
                let before = self.vars();
                let (mut vars, mut value) = (before.clone(), None::<Value>);
                for case in &switch.1.expressions {
                    self.set_vars(before.clone());
                    let own = self.branch(guard.as_ref(), |this| {
                        this.eval(&case.lhs);
                        this.eval(&case.rhs)
                    });
                    vars = either(vars, &self.vars());
                    value = Some(value.map_or(own.clone(), |value| value.or(&own)));
                }
                self.set_vars(vars);
                return value.unwrap_or_default().and_live(cond.live.as_ref());
            }
            Stmt::While(flow, at) => {
                self.turns(|this| {
                    let cond = this.eval(&flow.expr);
                    let guard = this.guarded(cond.live.as_ref(), this.place(*at));
                    this.branch(guard.as_ref(), |this| this.block(flow.body.iter()));
                });
            }
            Stmt::Do(flow, _, at) => {
                let mut guard = None;
                self.turns(|this| {
                    this.branch(guard.as_ref(), |this| this.block(flow.body.iter()));
                    let cond = this.eval(&flow.expr);
                    guard = this.guarded(cond.live.as_ref(), this.place(*at));
                });
            }
            Stmt::For(each, at) => {
                let over = self.eval(&each.2.expr);
                let guard = self.guarded(over.live.as_ref(), self.place(*at));
                let item = Value { live: over.live, closures: over.closures, ..Value::default() };
                self.turns(|this| {
                    this.branch(guard.as_ref(), |this| {
                        let mark = this.vars().len();
                        this.declare(&each.0.name, item.clone());
                        if let Some(counter) = &each.1 {
                            this.declare(&counter.name, Value::default());
                        }
                        this.block(each.2.body.iter());
                        let mut vars = this.vars();
                        vars.truncate(mark);
                        this.set_vars(vars);
                        Value::default()
                    });
                });
            }
            Stmt::TryCatch(flow, at) => self.try_catch(flow, self.place(*at)),
            Stmt::BreakLoop(value, ..) => {
                if let Some(value) = value {
                    self.eval(value);
                }
                self.leave(false);
            }
            Stmt::Return(value, flags, _) => {
                let value = value.as_deref().map(|value| self.eval(value)).unwrap_or_default();
                // What throws ends the run: nothing goes on in another way.
                if !flags.contains(ASTFlags::BREAK) {
                    let value = value.and_live(self.guard().cloned().as_ref());
                    self.leave(true);
                    if let Some(frame) = self.frames.last_mut() {
                        let known = frame.result.take();
                        frame.result = Some(known.map_or(value.clone(), |known| known.or(&value)));
                    }
                }
            }
            _ => {}
        }
        Value::default()
    }

    fn try_catch(&mut self, flow: &'p rhai::FlowControl, at: Place) {
        let met = self.met;
        let before = self.vars();
        self.branch(None, |this| this.block(flow.body.iter()));
        // Whether a read fails is a live read too; a step that failed fails again on resume.
        let live = (self.met.live > met.live && self.met.steps == met.steps)
            .then(|| Live { what: "what is tried".into(), at });
        let guard = self.guarded(live.as_ref(), at);
        let after = self.vars();
        self.set_vars(either(before, &after));
        self.branch(guard.as_ref(), |this| {
            if let Expr::Variable(name, ..) = &flow.expr {
                this.declare(&name.1, Value::default().and_live(live.as_ref()));
            }
            this.block(flow.branch.iter())
        });
        let mut vars = either(after, &self.vars());
        vars.truncate(self.vars().len());
        self.set_vars(vars);
    }

    /// A guard for a branch at `at` that depends on `live`.
    pub(super) fn guarded(&self, live: Option<&Live>, at: Place) -> Option<(Live, Place)> {
        live.map(|live| (live.clone(), at))
    }

    /// Does `work` as something that is not reached in every case.
    pub(super) fn branch(&mut self, guard: Option<&(Live, Place)>, work: impl FnOnce(&mut Self) -> Value) -> Value {
        let (certain, guards) = (self.around.certain, self.around.guards.len());
        self.around.certain = false;
        self.around.guards.extend(guard.cloned());
        let value = work(self);
        self.around.certain = certain;
        self.around.guards.truncate(guards);
        value
    }

    /// Turns a loop twice: what the first turn leaves behind is there in the second.
    pub(super) fn turns(&mut self, mut turn: impl FnMut(&mut Self)) {
        let exits = self.exits.len();
        self.around.loops += 1;
        for _ in 0..2 {
            let before = self.vars();
            turn(self);
            let vars = either(self.vars(), &before);
            self.set_vars(vars);
        }
        self.around.loops -= 1;
        // Behind the loop it does not matter how it was left; but a `return` in it left the function.
        let mut at = 0;
        self.exits.retain(|exit| {
            at += 1;
            at <= exits || exit.function
        });
    }

    /// Everything behind here, in the function or the loop, depends on the branch that is left from.
    fn leave(&mut self, function: bool) {
        let own = self.frames.last().map_or(0, |frame| frame.guards);
        if self.around.guards.len() + self.exits.len() > own
            && let Some(guard) = self.around.guards.last().cloned()
        {
            self.exits.push(Exit { guard, function });
        }
    }

    fn assign(&mut self, target: &'p Expr, value: Value) {
        let value = value.and_live(self.guard().cloned().as_ref());
        match target {
            Expr::Variable(name, ..) => self.set(&name.1, value),
            Expr::Dot(pair, ..) | Expr::Index(pair, ..) => {
                self.eval(&pair.rhs);
                let Expr::Variable(name, _, at) = &pair.lhs else {
                    self.eval(&pair.lhs);
                    return;
                };
                let Some(mut whole) = self.get(&name.1).cloned() else { return };
                let key = match &pair.rhs {
                    Expr::Property(property, key_at) => Some((property.2.to_string(), *key_at)),
                    Expr::StringConstant(key, key_at) => Some((key.to_string(), *key_at)),
                    _ => None,
                };
                let place = self.place(*at);
                let keys = match (whole.keys.take(), key) {
                    (Some(keys), Some((key, key_at))) => {
                        let at = self.place(key_at);
                        let (literal, closures) = (value.as_literal(), value.closures.clone());
                        let given = Given { key, value: literal, at, value_at: place, closures, perhaps: false };
                        Some(keys.under(Keys { given: vec![given], open: false }))
                    }
                    (Some(keys), None) => Some(Keys { open: true, ..keys }),
                    (None, _) => None,
                };
                let params = whole.params;
                let whole = Value { keys, params, ..whole.mixed(&value) };
                self.set(&name.1, whole);
            }
            other => {
                self.eval(other);
            }
        }
    }
}
