//! Follows a script through its functions, closures and modules without running it.
//!
//! Every branch is taken, every loop turned twice, every function entered where it is called, with what is known of its
//! arguments. That is what the rules need that look over the edges of one function: whether something is changed outside
//! a step, whether a branch around a step depends on a live read, which parameters are read, which options are given.

mod call;
mod exec;
mod expr;
mod hooks;
mod native;
pub(super) mod value;

use std::collections::{BTreeMap, BTreeSet};

use rhai::Position;

use self::value::{Live, Place, Value};
use super::program::{Def, Module, Program};
use super::report::Report;
use crate::script::shape::Native;

/// So many expressions are looked at in one script.
const FUEL: u32 = 400_000;

/// Where in the life of a run something happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Within {
    /// In `run`, outside any step.
    Run,
    /// In a step, or a closure that is called like one.
    Step,
    /// In a fact.
    Fact,
    /// In a function nobody calls here: it may be called in a step.
    Anywhere,
}

/// What surrounds the place that is looked at.
#[derive(Clone)]
struct Around {
    within: Within,
    /// Names of the steps around.
    path: String,
    /// Loops around, since the innermost step.
    loops: u32,
    /// It is reached in every case.
    certain: bool,
    /// Branches and loops around that depend on a live read, and where they are.
    guards: Vec<(Live, Place)>,
}

/// A call that is being followed.
struct Frame<'p> {
    module: usize,
    def: Option<&'p Def>,
    called_at: Place,
    vars: Vec<(String, Value)>,
    result: Option<Value>,
    /// How many guards stood around the call.
    guards: usize,
}

/// A `return` or `break` in a branch on a live read.
struct Exit {
    guard: (Live, Place),
    /// It leaves the function, not only the loop.
    function: bool,
}

/// What was seen of the parameters.
#[derive(Default)]
pub(super) struct Reads {
    /// Names that are read, with the places.
    pub(super) read: BTreeMap<String, Vec<Place>>,
    /// Names that are asked for and may be missing.
    pub(super) asked: BTreeSet<String>,
    /// All are passed on at once.
    pub(super) whole: bool,
}

/// The walk through one program.
pub(super) struct Flow<'p, 'r> {
    program: &'p Program,
    natives: &'p [Native],
    report: &'r mut Report,
    frames: Vec<Frame<'p>>,
    around: Around,
    /// Places behind which everything depends on a live read: a `return` or `break` in a branch on one.
    exits: Vec<Exit>,
    /// Steps that are reached in every case.
    steps: BTreeMap<String, Place>,
    /// Functions that were entered.
    entered: BTreeSet<(usize, Position)>,
    /// How many live reads and steps were met.
    met: Met,
    fuel: u32,
    pub(super) reads: Reads,
}

/// Counts of what was met, to see what a part of the script has.
#[derive(Debug, Clone, Copy, Default)]
struct Met {
    live: u32,
    steps: u32,
    once: u32,
}

impl<'p, 'r> Flow<'p, 'r> {
    pub(super) fn new(program: &'p Program, natives: &'p [Native], report: &'r mut Report) -> Self {
        Self {
            program,
            natives,
            report,
            frames: Vec::new(),
            around: outside(Within::Run),
            exits: Vec::new(),
            steps: BTreeMap::new(),
            entered: BTreeSet::new(),
            met: Met::default(),
            fuel: FUEL,
            reads: Reads::default(),
        }
    }

    /// Follows `run`, then every function that was not reached from it.
    pub(super) fn all(&mut self) {
        let program = self.program;
        let main = program.modules.iter().position(|module| module.name == program.main().name).unwrap_or(0);
        if let Some(run) = program.main().def("run", 1).filter(|_| program.is_script()) {
            let params = Value { params: true, ..Value::default() };
            self.enter(main, None, Place { module: main, at: Position::NONE }, Vec::new());
            self.frame_body(&program.main().top);
            self.frames.pop();
            self.follow(main, run, vec![params]);
        }
        for (number, module) in program.modules.iter().enumerate().filter(|(_, module)| module.own()) {
            for def in module.defs.iter().filter(|def| !def.anonymous() && def.name != "params") {
                if !self.entered.contains(&(number, def.at)) {
                    self.around = outside(Within::Anywhere);
                    self.steps.clear();
                    self.follow(number, def, vec![Value::default(); def.params.len()]);
                }
            }
        }
        if self.fuel == 0 {
            let message = "the script is too entangled to be followed: some mistakes may stay unseen".to_owned();
            let hint = "split it into functions that call each other less often".to_owned();
            self.report.add(program.main(), Position::NONE, "check-incomplete", message, Some(hint));
        }
    }

    fn follow(&mut self, module: usize, def: &'p Def, args: Vec<Value>) {
        let at = Place { module, at: def.at };
        self.exits.clear();
        self.enter(module, Some(def), at, args);
        self.frame_body(&def.body);
        self.frames.pop();
    }

    fn enter(&mut self, module: usize, def: Option<&'p Def>, called_at: Place, args: Vec<Value>) {
        if let Some(def) = def {
            self.entered.insert((module, def.at));
        }
        let names = def.map(|def| def.params.clone()).unwrap_or_default();
        let vars = names.into_iter().zip(args).collect();
        let guards = self.around.guards.len() + self.exits.len();
        self.frames.push(Frame { module, def, called_at, vars, result: None, guards });
    }

    fn module(&self) -> usize {
        self.frames.last().map_or(0, |frame| frame.module)
    }

    fn text(&self, module: usize) -> &'p Module {
        &self.program.modules[module]
    }

    fn place(&self, at: Position) -> Place {
        Place { module: self.module(), at }
    }

    fn add(&mut self, place: Place, rule: &'static str, message: String, hint: impl Into<String>) {
        let module = self.text(place.module);
        self.report.add(module, place.at, rule, message, Some(hint.into()));
    }

    /// `line 7`, with the text's name where it is another one.
    fn line(&self, place: Place, from: usize) -> String {
        let line = place.at.line().unwrap_or(0);
        if place.module == from { format!("line {line}") } else { format!("{}:{line}", self.text(place.module).label) }
    }

    /// The innermost live read that something here depends on.
    fn guard(&self) -> Option<&Live> {
        let own = self.frames.last().map_or(0, |frame| frame.guards);
        let all = self.around.guards.iter().chain(self.exits.iter().map(|exit| &exit.guard));
        // What stood around the call decides whether it is made, not what it gives back.
        if self.around.guards.len() + self.exits.len() <= own {
            return None;
        }
        all.last().map(|(live, _)| live)
    }

    fn get(&self, name: &str) -> Option<&Value> {
        let vars = &self.frames.last()?.vars;
        vars.iter().rev().find(|(known, _)| known == name).map(|(_, value)| value)
    }

    fn set(&mut self, name: &str, value: Value) {
        if let Some(frame) = self.frames.last_mut()
            && let Some((_, slot)) = frame.vars.iter_mut().rev().find(|(known, _)| known == name)
        {
            *slot = value;
        }
    }

    fn declare(&mut self, name: &str, value: Value) {
        if let Some(frame) = self.frames.last_mut() {
            frame.vars.push((name.to_owned(), value));
        }
    }

    fn vars(&self) -> Vec<(String, Value)> {
        self.frames.last().map(|frame| frame.vars.clone()).unwrap_or_default()
    }

    fn set_vars(&mut self, vars: Vec<(String, Value)>) {
        if let Some(frame) = self.frames.last_mut() {
            frame.vars = vars;
        }
    }

    /// Uses one unit of fuel; false if there is none left.
    fn burn(&mut self) -> bool {
        self.fuel = self.fuel.saturating_sub(1);
        self.fuel > 0
    }
}

/// Nothing around.
fn outside(within: Within) -> Around {
    Around { within, path: String::new(), loops: 0, certain: within == Within::Run, guards: Vec::new() }
}

/// Variables as they are after one of two ways.
fn either(one: Vec<(String, Value)>, other: &[(String, Value)]) -> Vec<(String, Value)> {
    let pairs = one.into_iter().enumerate();
    pairs
        .map(|(at, (name, value))| match other.get(at) {
            Some((_, others)) => (name, value.or(others)),
            None => (name, value),
        })
        .collect()
}
