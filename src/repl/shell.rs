//! One session with a person or a pipe: what a line does, and what is shown of it.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::interrupt::Interrupt;
use super::quiet::Lines;
use super::show::{self, Layout};
use super::{Form, Input, Setup, command, plain, save, word};
use crate::cancel::Cancel;
use crate::error::{Error, Exit, Kind};
use crate::report::live::Live;
use crate::report::output::tell;
use crate::script::outcome::{Ask, Call, Say};
use crate::script::session::{self, Answer, Mode, Session, Word};
use crate::units::show_duration;

/// Whether there is a next line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    /// Yes.
    Go,
    /// No.
    Leave,
}

/// Width of results where no terminal says one.
const WIDTH: usize = 100;

/// A session, and how it shows itself.
pub(super) struct Shell<'s> {
    pub(super) setup: &'s Setup<'s>,
    pub(super) interrupt: Arc<Interrupt>,
    pub(super) session: Session,
    pub(super) mode: Mode,
    /// The last result, for `:all`.
    last: Value,
    /// Results for programs, where they come as one document.
    results: Vec<Value>,
}

/// What is done with the value of a line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Value,
    Type,
    Json,
    Time,
}

impl<'s> Shell<'s> {
    pub(super) fn new(setup: &'s Setup<'s>, interrupt: &Arc<Interrupt>) -> Self {
        let interrupt = Arc::clone(interrupt);
        Self { setup, interrupt, session: Session::new(), mode: setup.mode, last: Value::Null, results: Vec::new() }
    }

    /// The first lines on a terminal.
    pub(super) fn greet(&self) {
        let mode = match (self.setup.read_only, self.mode) {
            (true, _) => "nothing can be changed",
            (_, Mode::Plan) => "changes are shown and not done (:do does the last, :live all)",
            (_, Mode::Live) => "changes are done, and journalled as a run",
        };
        tell(&format!("decamp {}: {mode}; :help lists commands, Tab completes", env!("CARGO_PKG_VERSION")));
    }

    /// What stands before a line.
    pub(super) fn prompt(&self) -> String {
        format!("decamp ({})> ", self.mode_name())
    }

    /// The mode as the prompt shows it.
    pub(super) fn mode_name(&self) -> &'static str {
        match (self.setup.read_only, self.mode) {
            (true, _) => "read-only",
            (_, Mode::Plan) => "plan",
            (_, Mode::Live) => "LIVE",
        }
    }

    /// A line a person typed: a failure is shown, and the session goes on.
    pub(super) fn typed(&mut self, line: &str) -> Flow {
        self.line(line).unwrap_or_else(|error| {
            (self.setup.tell)(&error);
            Flow::Go
        })
    }

    /// Whether a signal has ended the session.
    pub(super) fn ended(&self) -> bool {
        self.interrupt.ended().is_some()
    }

    /// One line.
    ///
    /// # Errors
    /// As it failed.
    pub(super) fn line(&mut self, line: &str) -> Result<Flow, Error> {
        let text = line.trim();
        let words: Vec<&str> = text.split_whitespace().collect();
        match words.as_slice() {
            [] => return Ok(Flow::Go),
            ["exit" | "quit" | "exit()" | "quit()"] => return Ok(Flow::Leave),
            ["help"] => self.text(&command::help()),
            ["help", name] => self.doc(name)?,
            [name] if name.len() > 1 && name.ends_with('?') => self.doc(name.trim_end_matches('?'))?,
            _ if text.starts_with(':') => return self.command(text),
            _ => self.eval(self.mode, text, Wanted::Value)?,
        }
        Ok(Flow::Go)
    }

    fn command(&mut self, line: &str) -> Result<Flow, Error> {
        let (command, rest, insists) = command::parse(line)?;
        match command.name {
            "help" if rest.is_empty() => self.text(&command::help()),
            "help" | "doc" => self.doc(rest)?,
            "apropos" => self.apropos(rest)?,
            "vars" => self.vars(),
            "type" => self.eval(self.mode, rest, Wanted::Type)?,
            "json" => self.eval(self.mode, rest, Wanted::Json)?,
            "time" => self.eval(self.mode, rest, Wanted::Time)?,
            "all" => self.text(&show::value(&self.last, Layout { all: true, ..self.layout() })),
            "plan" if rest.is_empty() => self.mode = Mode::Plan,
            "plan" => self.eval(Mode::Plan, rest, Wanted::Value)?,
            "live" => {
                self.changeable()?;
                if rest.is_empty() { self.mode = Mode::Live } else { self.eval(Mode::Live, rest, Wanted::Value)? }
            }
            "do" => {
                self.changeable()?;
                self.evaluated(None, Wanted::Value, |session, call, word| session.redo(call, word))?;
            }
            "save" => self.save(rest, insists)?,
            "load" => self.load(rest)?,
            "runs" | "show" | "log" => {
                let words: Vec<&str> = std::iter::once(command.name).chain(rest.split_whitespace()).collect();
                (self.setup.command)(&words)?;
            }
            "reset" => self.session.reset(),
            "clear" => {
                if self.setup.redraws {
                    (self.setup.print)("\x1b[2J\x1b[3J\x1b[H");
                }
            }
            _ => return Ok(Flow::Leave),
        }
        Ok(Flow::Go)
    }

    fn changeable(&self) -> Result<(), Error> {
        if !self.setup.read_only {
            return Ok(());
        }
        Err(Error::new(Kind::Denied, "this session was started with --read-only: nothing can be changed in it"))
    }

    fn layout(&self) -> Layout {
        let width = match rustix::termios::tcgetwinsize(std::io::stdout()) {
            Ok(size) if size.ws_col > 0 => usize::from(size.ws_col),
            _ => WIDTH,
        };
        Layout { width, style: self.setup.out, all: self.setup.input != Input::Terminal }
    }

    /// Text for people; programs are given results only.
    fn text(&self, text: &str) {
        if self.setup.form == Form::Text {
            (self.setup.print)(text);
        }
    }

    fn doc(&self, name: &str) -> Result<(), Error> {
        let name = name.trim_end_matches("()");
        if let Some((_, signature)) = self.session.functions().iter().find(|(own, _)| own == name) {
            self.text(&format!("{signature}\n    defined in this session\n"));
            return Ok(());
        }
        // An alias stands for the module it was imported from.
        let imported = self.session.imported();
        let module = name.split_once("::").and_then(|(alias, rest)| {
            imported.iter().find(|module| module.alias == alias).map(|module| format!("{}::{rest}", module.module))
        });
        (self.setup.command)(&["docs", module.as_deref().unwrap_or(name)]).map(drop)
    }

    fn apropos(&self, word: &str) -> Result<(), Error> {
        let word = word.to_lowercase();
        let all = self.session.docs().iter();
        let found: Vec<Vec<String>> = all
            .filter(|doc| {
                let text = doc.sections.iter().map(|(_, text)| text.as_str());
                [doc.name.as_str(), doc.summary.as_str()]
                    .into_iter()
                    .chain(text)
                    .any(|text| text.to_lowercase().contains(&word))
            })
            .map(|doc| vec![doc.name.clone(), doc.summary.clone()])
            .collect();
        if found.is_empty() {
            return Err(Error::new(Kind::NotFound, format!("no documentation has the word `{word}`")));
        }
        self.text(&show::grid(&["function".to_owned(), "what it does".to_owned()], &found, self.layout()));
        Ok(())
    }

    fn vars(&self) {
        let layout = self.layout();
        let all = self.session.variables();
        let longest = |texts: &mut dyn Iterator<Item = usize>| texts.max().unwrap_or(0);
        let before = longest(&mut all.iter().map(|(name, _)| name.chars().count()))
            + longest(&mut all.iter().map(|(_, outline)| outline.kind().len()));
        // One line each: what a value looks like, not all of it.
        let room = layout.width.saturating_sub(before + 4).max(8);
        let row = |(name, outline): (String, session::Outline)| {
            let whole = show::cell(&name, &self.session.value(&name).unwrap_or_default());
            let short = if whole.chars().count() > room {
                whole.chars().take(room - 1).chain(['…']).collect()
            } else {
                whole
            };
            vec![name, outline.kind(), short]
        };
        let rows: Vec<Vec<String>> = all.into_iter().map(row).collect();
        if rows.is_empty() {
            self.text("no variables\n");
        } else {
            self.text(&show::grid(&["name", "type", "value"].map(str::to_owned), &rows, layout));
        }
    }

    fn eval(&mut self, mode: Mode, text: &str, wanted: Wanted) -> Result<(), Error> {
        self.evaluated(Some(text), wanted, |session, call, word| session.eval(mode, text, None, call, word))
    }

    fn load(&mut self, file: &str) -> Result<(), Error> {
        let path = std::path::Path::new(file);
        let text = std::fs::read_to_string(path).map_err(|error| {
            let kind = if error.kind() == std::io::ErrorKind::NotFound { Kind::NotFound } else { Kind::Io };
            Error::new(kind, format!("cannot read `{file}`")).because(error)
        })?;
        let mode = self.mode;
        for (before, input) in plain::inputs(&text) {
            // The lines before it are there as empty ones, so that a failure names its line of the file.
            let input = "\n".repeat(before) + &input;
            let work = |session: &mut Session, call: &Call, word| session.eval(mode, &input, Some(file), call, word);
            self.evaluated(None, Wanted::Value, work)?;
        }
        Ok(())
    }

    fn save(&mut self, file: &str, replace: bool) -> Result<(), Error> {
        let path = std::path::Path::new(file);
        let saved = save::script(&self.session, path)?;
        save::write(path, &saved.text, replace)?;
        let name = if file.contains('/') { file.to_owned() } else { format!("./{file}") };
        for (why, line) in &saved.left {
            tell(&format!("{} left out, {why}: {line}", self.setup.err.warn("note:")));
        }
        self.text(&format!("saved; look at it: decamp check {name}; then: decamp run {name} --plan\n"));
        Ok(())
    }

    /// Evaluates with progress, and shows what came of it.
    fn evaluated(
        &mut self,
        text: Option<&str>,
        wanted: Wanted,
        work: impl FnOnce(&mut Session, &Call, Option<Word>) -> Result<Answer, Error>,
    ) -> Result<(), Error> {
        let live = Arc::new((self.setup.live)());
        let cancel = self.interrupt.begin();
        let call = self.call(&live, &cancel);
        let word = (self.setup.input == Input::Terminal).then(|| word::asker(&live, &cancel));
        let answer = work(&mut self.session, &call, word);
        live.finish();
        self.interrupt.over();
        let answer = answer.map_err(|mut error| {
            if error.kind == Kind::Cancelled && error.exit.is_none() {
                error.exit = cancel.reason().map(Exit::of_reason);
            }
            error
        })?;
        self.shown(text.unwrap_or_default(), wanted, &answer);
        Ok(())
    }

    fn call(&self, live: &Arc<Live>, cancel: &Cancel) -> Call {
        let (shared, line) = (Arc::clone(live), self.setup.line);
        Call {
            approve: self.setup.approve.clone(),
            yes: self.setup.yes,
            progress: live.progress(),
            cancel: cancel.clone(),
            ask: (self.setup.ask)(live, cancel).map(|ask| Arc::new(Lines(ask)) as Arc<dyn Ask>),
            say: Arc::new(move |say: Say<'_>| {
                if matches!(say, Say::Begin { .. } | Say::End { .. } | Say::Failed { .. }) {
                    shared.rest();
                }
                shared.line(&line(say));
            }),
            argv: self.setup.argv.clone(),
            ..Call::quiet(self.setup.state.clone())
        }
    }

    fn shown(&mut self, text: &str, wanted: Wanted, answer: &Answer) {
        answer.warnings.iter().for_each(|warning| tell(&format!("{} {warning}", self.setup.err.warn("note:"))));
        self.last = answer.value.clone();
        if self.setup.form != Form::Text {
            let result = document(text, answer);
            match self.setup.form {
                Form::Ndjson => (self.setup.emit)(json!({ "event": "result", "result": result })),
                _ => self.results.push(result),
            }
            return;
        }
        let layout = self.layout();
        let mut out = show::plan(&answer.plan, layout);
        for (section, value) in &answer.notes {
            out.push_str(&format!("{}\n{}", layout.style.bold(section), show::value(value, layout)));
        }
        if let Some(why) = &answer.stops {
            out.push_str(&format!("{} {why}\n", layout.style.warn("the plan stops here:")));
        }
        let planned = !answer.plan.is_empty() || answer.stops.is_some();
        if planned && !self.setup.read_only && self.setup.input == Input::Terminal {
            out.push_str("nothing was changed; :do does it\n");
        } else if planned {
            out.push_str("nothing was changed\n");
        }
        match wanted {
            Wanted::Type => out.push_str(&format!("{}\n", answer.kind)),
            Wanted::Json => out.push_str(&format!("{:#}\n", answer.value)),
            Wanted::Value | Wanted::Time => {
                // What a change would return is guesswork: the change itself has been shown.
                if answer.number.is_some() && !planned {
                    out.push_str(&show::value(&answer.value, layout));
                }
            }
        }
        if wanted == Wanted::Time {
            out.push_str(&format!("took {}\n", span(answer.elapsed_ms)));
        }
        if !out.is_empty() {
            (self.setup.print)(&out);
        }
    }

    /// Ends the session: what it reads is over, `read` says how.
    ///
    /// # Errors
    /// The failure of the line that ended it, and what ending its run failed with.
    pub(super) fn close(&mut self, read: Result<(), Error>) -> Result<Exit, Error> {
        let live = Arc::new((self.setup.live)());
        let cancel = Cancel::new();
        let call = self.call(&live, &cancel);
        let run = self.session.run_id();
        let ended = self.interrupt.ended().map(Exit::of_reason);
        let exit = match &read {
            Err(error) => error.exit_code(),
            Ok(()) => ended.unwrap_or_default(),
        };
        let finished = self.session.finish(&call, exit);
        live.finish();
        if self.setup.form == Form::Json {
            let error = read.as_ref().err().map(Error::to_json);
            (self.setup.emit)(json!({ "run": run, "results": self.results, "error": error }));
        }
        let exit = match (finished?, run) {
            (Some(left), _) => {
                tell(&format!("run {} is left open; not known to be whole:", left.run));
                left.open.iter().for_each(|line| tell(&format!("  {line}")));
                tell(&format!("put it back: decamp undo {0}; or keep it as it is: decamp abandon {0}", left.run));
                left.exit
            }
            (None, Some(run)) => {
                tell(&format!("run {run} is over; it can be put back: decamp undo {run}"));
                Exit::Success
            }
            (None, None) => Exit::Success,
        };
        match read {
            // The document has it; people read it here.
            Err(error) if self.setup.form == Form::Json => {
                (self.setup.tell)(&error);
                Ok(error.exit_code())
            }
            Err(error) => Err(error),
            Ok(()) => Ok(ended.unwrap_or(exit)),
        }
    }
}

fn span(ms: u64) -> String {
    if ms < 1000 { format!("{ms} ms") } else { show_duration(Duration::from_millis(ms)) }
}

/// One result for programs.
fn document(text: &str, answer: &Answer) -> Value {
    let plan = answer.plan.iter().map(|item| {
        json!({
            "function": item.function, "target": item.target, "certainty": item.certainty,
            "changes": item.changes, "summary": item.summary, "data": item.data,
        })
    });
    let notes = answer.notes.iter().map(|(section, value)| json!({ "section": section, "value": value }));
    json!({
        "line": text,
        "type": answer.kind,
        "value": answer.value,
        "plan": plan.collect::<Value>(),
        "plan_stops": answer.stops,
        "notes": notes.collect::<Value>(),
        "changed": answer.changed,
        "elapsed_ms": answer.elapsed_ms,
    })
}

/// Runs to choose from.
pub(super) fn runs(setup: &Setup<'_>) -> Vec<(String, String, String)> {
    session::runs(&setup.state)
}
