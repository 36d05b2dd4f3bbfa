//! Gathers findings, each once, and silences those that a comment allows.
//!
//! `// check: allow RULE reason` stands on the line of the finding or on the one above it.

use rhai::Position;

use super::program::Module;
use super::rules::{RULES, find};
use super::{Finding, Severity};
use crate::script::{diagnose, near};

/// The findings so far.
#[derive(Default)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

impl Report {
    /// Adds a finding at a place of `module`, unless it is there already or belongs to nobody here.
    pub(super) fn add(
        &mut self,
        module: &Module,
        at: Position,
        rule: &'static str,
        message: String,
        hint: Option<String>,
    ) {
        let (line, column) = (at.line().unwrap_or(0), at.position().unwrap_or(0));
        let known = |f: &Finding| f.rule == rule && f.file == module.label && (f.line, f.column) == (line, column);
        if !module.own() || self.findings.iter().any(known) {
            return;
        }
        let severity = find(rule).map_or(Severity::Error, |rule| rule.severity);
        let (end_column, snippet) = match line {
            0 => (0, String::new()),
            _ => (column + diagnose::width(&module.text, at), diagnose::snippet(&module.label, &module.text, at)),
        };
        let file = module.label.clone();
        self.findings.push(Finding { file, line, column, end_column, severity, rule, message, hint, snippet });
    }

    /// Takes out what comments of `module` allow, and reports comments that allow nothing.
    pub(super) fn allow(&mut self, module: &Module) {
        for allowed in comments(&module.text) {
            let hits = |f: &Finding| {
                f.file == module.label
                    && f.rule == allowed.rule
                    && (f.line == allowed.line || f.line == allowed.line + 1)
            };
            let before = self.findings.len();
            self.findings.retain(|finding| !hits(finding));
            let at = position(allowed.line, allowed.column);
            if find(allowed.rule).is_none() {
                let message = format!("there is no rule `{}`", allowed.rule);
                let hint = near::hint(allowed.rule, RULES.iter().map(|rule| rule.name));
                let hint = hint.unwrap_or_else(|| "list them: decamp check --list-rules".into());
                self.add(module, at, "unused-allow", message, Some(hint));
            } else if self.findings.len() == before {
                let message = format!("nothing on this line or the next is a finding of `{}`", allowed.rule);
                self.add(module, at, "unused-allow", message, Some("take the comment out".into()));
            } else if allowed.reason.is_empty() {
                let hint = format!("write // check: allow {} REASON", allowed.rule);
                self.add(module, at, "allow-without-reason", "the comment does not say why".into(), Some(hint));
            }
        }
    }
}

/// A comment that allows a finding.
struct Allowed<'t> {
    line: usize,
    column: usize,
    rule: &'t str,
    reason: &'t str,
}

fn comments(text: &str) -> impl Iterator<Item = Allowed<'_>> {
    text.lines().enumerate().filter_map(|(number, line)| {
        let at = line.find("// check: allow ")?;
        let before = &line[..at];
        // Inside a text it is no comment.
        let closed = |quote: char| before.matches(quote).count() % 2 == 0;
        if !closed('"') || !closed('`') {
            return None;
        }
        let words = line[at..].trim_start_matches("// check: allow ").trim();
        let (rule, reason) = words.split_once(' ').unwrap_or((words, ""));
        Some(Allowed { line: number + 1, column: before.chars().count() + 1, rule, reason: reason.trim() })
    })
}

fn position(line: usize, column: usize) -> Position {
    // Rhai itself counts no further than this.
    let part = |number: usize| u16::try_from(number).unwrap_or(u16::MAX);
    Position::new(part(line), part(column))
}
