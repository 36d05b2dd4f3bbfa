//! What begins with a colon: one table, from which help and completion are made.

use crate::error::{Error, Exit, Kind};
use crate::script::session::nearest;

/// What can follow a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    /// Nothing.
    Nothing,
    /// The name of a function.
    Function,
    /// Any word.
    Text,
    /// A line of script.
    Line,
    /// A file.
    File,
    /// A run.
    Run,
}

/// One command.
pub(super) struct Command {
    /// Its name, without the colon.
    pub(super) name: &'static str,
    /// How its argument is called.
    pub(super) argument: &'static str,
    pub(super) takes: Takes,
    pub(super) help: &'static str,
}

const fn command(name: &'static str, argument: &'static str, takes: Takes, help: &'static str) -> Command {
    Command { name, argument, takes, help }
}

/// Every command, in the order of the help.
pub(super) const ALL: [Command; 19] = [
    command("help", "[NAME]", Takes::Function, "this list, or the documentation of a function"),
    command("doc", "NAME", Takes::Function, "the documentation of a function; NAME? does the same"),
    command("apropos", "WORD", Takes::Text, "functions whose documentation has this word"),
    command("vars", "", Takes::Nothing, "variables with type and value"),
    command("type", "LINE", Takes::Line, "the type of a value"),
    command("json", "LINE", Takes::Line, "a value as JSON"),
    command("time", "LINE", Takes::Line, "a value, and how long it took"),
    command("all", "", Takes::Nothing, "the last result with nothing left out"),
    command("plan", "[LINE]", Takes::Line, "show changes and do not do them: from here on, or for one line"),
    command("live", "[LINE]", Takes::Line, "do changes, journalled as a run: from here on, or for one line"),
    command("do", "", Takes::Nothing, "do what the last line planned"),
    command("save", "FILE", Takes::File, "write the session as a script; :save! replaces a file"),
    command("load", "FILE", Takes::File, "evaluate a file in this session"),
    command("runs", "", Takes::Nothing, "runs in the journal"),
    command("show", "RUN", Takes::Run, "one run: its steps, effects, sources"),
    command("log", "RUN", Takes::Run, "what happened in a run"),
    command("reset", "", Takes::Nothing, "forget variables, functions and imports"),
    command("clear", "", Takes::Nothing, "clear the screen"),
    command("quit", "", Takes::Nothing, "leave; so does Ctrl-D"),
];

/// The command of a line, the rest of the line, and whether a `!` insists.
///
/// # Errors
/// `not_found` with the nearest command; `invalid` if an argument is missing or not taken.
pub(super) fn parse(line: &str) -> Result<(&'static Command, &str, bool), Error> {
    let rest = line.trim_start().trim_start_matches(':');
    let (word, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    let (name, insists) = word.strip_suffix('!').map_or((word, false), |name| (name, true));
    let found = ALL.iter().find(|command| command.name == name || name == "q" && command.name == "quit");
    let Some(command) = found else {
        let error = Error::new(Kind::NotFound, format!("there is no command `:{name}`")).exit(Exit::Usage);
        let near = nearest(name, ALL.iter().map(|command| command.name));
        return Err(match near.first() {
            Some(near) => error.hint(format!("did you mean `:{near}`?")),
            None => error.hint("list them: :help"),
        });
    };
    let rest = rest.trim();
    let usage = || format!("write :{} {}", command.name, command.argument);
    if rest.is_empty() && !command.argument.is_empty() && !command.argument.starts_with('[') {
        return Err(Error::new(Kind::Invalid, format!("`:{name}` needs an argument")).hint(usage()).exit(Exit::Usage));
    }
    if !rest.is_empty() && command.takes == Takes::Nothing && command.name != "runs" {
        return Err(Error::new(Kind::Invalid, format!("`:{name}` takes no argument")).exit(Exit::Usage));
    }
    if insists && command.name != "save" {
        return Err(Error::new(Kind::Invalid, format!("`:{name}` takes no `!`")).exit(Exit::Usage));
    }
    Ok((command, rest, insists))
}

/// The list of commands.
pub(super) fn help() -> String {
    let calls: Vec<String> = ALL.iter().map(|command| format!(":{} {}", command.name, command.argument)).collect();
    let width = calls.iter().map(String::len).max().unwrap_or(0);
    let mut out = String::from(
        "A line is evaluated as in a script; `_` is the last result, `_3` the third, `_err` the last failure.\n\n",
    );
    for (call, command) in calls.iter().zip(&ALL) {
        out.push_str(&format!("  {call:<width$}  {}\n", command.help));
    }
    out + "\nTab completes, Ctrl-R searches what was typed, Ctrl-C stops a line. A line that begins with a blank is not kept.\n"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn commands_are_found_and_misuse_is_named() {
        let (command, rest, insists) = parse(":save! a.rhai ").unwrap();
        assert_eq!((command.name, rest, insists), ("save", "a.rhai", true));
        assert_eq!(parse(":q").unwrap().0.name, "quit");
        let wrong = |line: &str| parse(line).err().unwrap();
        assert_eq!(wrong(":pln x").hints, ["did you mean `:plan`?"]);
        assert_eq!(wrong(":type").hints, ["write :type LINE"]);
        assert!(wrong(":vars x").message.contains("takes no argument"));
        assert!(wrong(":vars!").message.contains("takes no `!`"));
    }

    #[test]
    fn help_names_every_command() {
        assert!(ALL.iter().all(|command| help().contains(&format!("  :{} ", command.name))));
    }
}
