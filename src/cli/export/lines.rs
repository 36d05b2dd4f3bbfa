//! Command lines of a run, and how they are kept out of an archive.
//!
//! A command line does not stay where it was given: a failure repeats it, a step's result or an approval may. So all that
//! are known are gathered first and then replaced wherever they stand, and what commands wrote is left out as well.

use serde_json::{Value, json};

/// What is put in the place of something that stays here.
const LEFT_OUT: &str = "(left out)";

/// Before what a failed command wrote, in the hints of its failure.
const SAID: &str = "it said: ";

/// How the failure of a command goes on behind its command line.
const ENDS: [&str; 3] = ["` ended with exit code ", "` was ended by signal ", "` ended without an exit code"];

/// The command lines that are known.
#[derive(Debug, Default)]
pub(super) struct Lines {
    /// Texts and what stands for each.
    texts: Vec<(String, String)>,
    argvs: Vec<Vec<Value>>,
    /// Texts that are told elsewhere and so are no secret of a command line.
    told: Vec<String>,
}

impl Lines {
    /// With texts that may be told, such as parameters that are paths.
    pub(super) fn except(told: Vec<String>) -> Self {
        Self { told, ..Self::default() }
    }

    /// A command line as a list of words or as text, or a list of such.
    pub(super) fn add(&mut self, value: &Value) {
        match value {
            Value::String(line) => self.line(line),
            Value::Array(items) => {
                let words: Option<Vec<&str>> = items.iter().map(Value::as_str).collect();
                match words {
                    None => items.iter().for_each(|item| self.add(item)),
                    Some(words) => {
                        self.line(&words.join(" "));
                        self.line(&shlex::try_join(words.iter().copied()).unwrap_or_default());
                        words.iter().skip(1).for_each(|word| self.word(word));
                        self.argvs.push(items.clone());
                    }
                }
            }
            _ => {}
        }
    }

    fn line(&mut self, line: &str) {
        if line.split_whitespace().nth(1).is_some() {
            self.text(line, &first_word(line));
        }
    }

    /// A word that is a line of its own, or an option with its value; others stand in any text by chance.
    pub(super) fn word(&mut self, word: &str) {
        if word.contains(|c: char| c.is_whitespace() || c == '=') {
            self.text(word, "…");
        }
    }

    fn text(&mut self, text: &str, instead: &str) {
        if self.told.iter().any(|told| told == text) {
            return;
        }
        // Also as it stands in quoted text.
        let quoted = json!(text).to_string();
        let forms = [text.to_owned(), quoted[1..quoted.len() - 1].to_owned(), text.replace('\'', r"'\''")];
        for form in forms {
            if !self.texts.iter().any(|(known, _)| *known == form) {
                self.texts.push((form, instead.to_owned()));
            }
        }
        // A line may hold others.
        self.texts.sort_by_key(|(text, _)| std::cmp::Reverse(text.len()));
    }

    /// Hides command lines below a value, and what commands wrote.
    pub(super) fn hide(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = self.clean(text),
            Value::Array(items) if self.argvs.contains(items) => *value = program(value),
            Value::Array(items) => items.iter_mut().for_each(|item| self.hide(item)),
            Value::Object(map) => {
                let command = map.get("function").and_then(Value::as_str) == Some("host.exec");
                for (name, value) in map {
                    match (name.as_str(), value.as_str()) {
                        ("argv", _) => *value = program(value),
                        // The same command line, as text.
                        ("target", Some(line)) if command => *value = json!(first_word(line)),
                        ("stdout" | "stderr", Some(text)) if !text.is_empty() => {
                            *value = json!(format!("({} bytes left out)", text.len()));
                        }
                        _ => self.hide(value),
                    }
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn clean(&self, text: &str) -> String {
        if text.starts_with("command:") {
            return first_word(text);
        }
        let mut text = text.to_owned();
        for (line, instead) in &self.texts {
            if text.contains(line) {
                text = text.replace(line, instead);
            }
        }
        // Commands that only read are not recorded: their lines are known from their failures alone.
        for end in ENDS {
            if let (Some(start), Some(end)) = (text.find('`'), text.rfind(end))
                && start < end
            {
                let short = first_word(&text[start + 1..end]);
                text.replace_range(start + 1..end, &short);
            }
        }
        if let Some(at) = text.find(SAID) {
            text.replace_range(at + SAID.len().., LEFT_OUT);
        }
        text
    }
}

/// The program of a command line, and how much follows it.
pub(super) fn program(value: &Value) -> Value {
    match value.as_array().and_then(|words| Some((words.first()?.as_str()?, words.len() - 1))) {
        Some((program, 0)) => json!([program]),
        Some((program, more)) => json!([program, format!("({more} words left out)")]),
        None if value.is_null() || value.as_array().is_some_and(Vec::is_empty) => value.clone(),
        None => json!(LEFT_OUT),
    }
}

fn first_word(line: &str) -> String {
    let mut words = line.split_whitespace();
    let first = words.next().unwrap_or_default();
    // What was shortened already stays as it is.
    if words.next().is_some() { format!("{first} …") } else { first.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_hidden_wherever_it_stands() {
        let mut lines = Lines::except(vec!["my data".into()]);
        lines.add(&json!(["sh", "-c", "echo \"hunter2\"", "my data", "--key=hunter2"]));
        let mut value = json!({
            "params": { "thaw": ["sh", "-c", "echo \"hunter2\"", "my data", "--key=hunter2"], "source": "my data" },
            "error": {
                "message": "step a: `sh -c 'echo \"hunter2\"' 'my data' --key=hunter2` ended with exit code 3",
                "hint": "it said: hunter2 is wrong; look",
            },
            "other": ["`curl -u hunter2 x` ended with exit code 1", "see: echo \"hunter2\"", "{\"a\":\"echo \\\"hunter2\\\"\"}"],
            "result": { "stdout": "hunter2", "code": 0 },
            "secret": "[secret x] command:pass hunter",
            "reference": "command:pass hunter2",
        });
        lines.hide(&mut value);
        let text = value.to_string();
        assert!(!text.contains("hunter2"), "{value:#}");
        assert_eq!(value["error"]["message"], "step a: `sh …` ended with exit code 3");
        assert_eq!(value["other"][0], "`curl …` ended with exit code 1");
        assert_eq!((&value["params"]["source"], &value["reference"]), (&json!("my data"), &json!("command:pass …")));
    }
}
