//! Reading lines without an editor: from a pipe, and from a terminal that cannot move its cursor.

use std::io::{BufRead, Read, Write, stderr, stdin};

use super::reader::{Reader, hung_up};
use super::shell::{Flow, Shell};
use crate::cancel::Reason;
use crate::error::{Error, Kind};
use crate::script::session::incomplete;

fn unreadable(source: std::io::Error) -> Error {
    Error::new(Kind::Io, "cannot read standard input").because(source)
}

/// All of standard input, one input after the other; the first failure ends it.
pub(super) fn piped(shell: &mut Shell<'_>) -> Result<(), Error> {
    let mut text = String::new();
    stdin().lock().read_to_string(&mut text).map_err(unreadable)?;
    for (_, input) in inputs(&text) {
        if shell.line(&input)? == Flow::Leave {
            break;
        }
    }
    Ok(())
}

/// The lines of a text, those put together that belong together, each with the number of lines before it.
pub(super) fn inputs(text: &str) -> Vec<(usize, String)> {
    let mut all: Vec<(usize, String)> = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (number, line) in text.lines().enumerate() {
        let (before, input) = match open.take() {
            Some((before, begun)) => (before, format!("{begun}\n{line}")),
            None => (number, line.to_owned()),
        };
        if input.trim_start().starts_with(':') || !incomplete(&input) {
            all.push((before, input));
        } else {
            open = Some((before, input));
        }
    }
    all.extend(open);
    all.retain(|(_, input)| !input.trim().is_empty());
    all
}

/// A terminal that only takes lines: a prompt before each, and failures do not end the session.
pub(super) fn prompted(shell: &mut Shell<'_>) -> Result<(), Error> {
    shell.greet();
    let mut open = String::new();
    let reader = Reader::start(|prompt: String| {
        let mut out = stderr().lock();
        // A prompt that cannot be shown is no reason not to read on.
        out.write_all(prompt.as_bytes()).and_then(|()| out.flush()).ok();
        drop(out);
        let mut line = String::new();
        stdin().lock().read_line(&mut line).map(|length| (length > 0).then_some(line))
    })?;
    loop {
        let prompt = if open.is_empty() { shell.prompt() } else { "... ".to_owned() };
        let line = match reader.next(prompt, &shell.interrupt)? {
            None => return Ok(()),
            Some(Ok(Some(line))) => line,
            Some(_) if hung_up() => {
                shell.interrupt.end(Reason::HangUp);
                return Ok(());
            }
            Some(Ok(None)) => return Ok(()),
            Some(Err(source)) => return Err(unreadable(source)),
        };
        open.push_str(&line);
        if !open.trim_start().starts_with(':') && incomplete(open.trim_end()) {
            continue;
        }
        let input = std::mem::take(&mut open);
        if shell.typed(input.trim_end()) == Flow::Leave || shell.ended() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_know_their_line() {
        assert_eq!(inputs("1\n\n#{\n}\n2").into_iter().map(|(before, _)| before).collect::<Vec<_>>(), [0, 2, 4]);
    }

    #[test]
    fn lines_that_belong_together_are_one_input() {
        let text = "let a = #{\n  b: 1,\n};\n\na.b\n:vars\nlet t = `x\ny`;\n/* a\nb */ 1\nfoo(\n";
        let found: Vec<String> = inputs(text).into_iter().map(|(_, input)| input).collect();
        assert_eq!(found, ["let a = #{\n  b: 1,\n};", "a.b", ":vars", "let t = `x\ny`;", "/* a\nb */ 1", "foo("]);
    }
}
