//! Every rule: its name, how bad a finding is, and what it finds.

use super::Severity::{self, Error, Warning};

/// A rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// Its name in findings and in `check: allow`.
    pub name: &'static str,
    /// How bad a finding is.
    pub severity: Severity,
    /// What it finds.
    pub summary: &'static str,
}

const fn rule(name: &'static str, severity: Severity, summary: &'static str) -> Rule {
    Rule { name, severity, summary }
}

/// All rules, errors first.
pub const RULES: [Rule; 32] = [
    rule("syntax", Error, "the script does not compile, or an import cannot be found"),
    rule("unreadable", Error, "the file cannot be read"),
    rule("params", Error, "`params()` declares something that is no parameter"),
    rule("unknown-function", Error, "a function that does not exist"),
    rule("wrong-arity", Error, "a function called with another number of parameters than it takes"),
    rule("uncalled-function", Error, "a function of decamp's without its parentheses"),
    rule("argument-type", Error, "an argument of another type than the function takes"),
    rule("shadowed-function", Error, "a function that hides one of decamp's own"),
    rule("unknown-option", Error, "an option the function does not have"),
    rule("option-type", Error, "an option with a value of another type than it takes"),
    rule("missing-option", Error, "an option that the function cannot do without"),
    rule("effect-outside-step", Error, "something is changed outside a step, or in a fact or a wait"),
    rule("live-branch", Error, "a branch or loop around a step that depends on what is read anew by every process"),
    rule("step-body", Error, "the body of a step is no closure, so that it would run before the step begins"),
    rule("closure-parameters", Error, "a closure that takes another number of parameters than it is given"),
    rule("step-in-loop", Error, "a step in a loop without a key of its own"),
    rule("duplicate-step", Error, "a second step of the same name"),
    rule("lost-assignment", Error, "a step changes a captured variable, of which it has only a copy"),
    rule("unknown-parameter", Error, "a parameter is read that `params()` does not declare"),
    rule("shadowed-standard", Warning, "a function that hides one of Rhai's own"),
    rule("unused-parameter", Warning, "a parameter that is declared and never read"),
    rule("unused-function", Warning, "a function that is never called"),
    rule("unused-variable", Warning, "a variable that is never read"),
    rule("unused-import", Warning, "a module that is imported and never used"),
    rule("unreachable-code", Warning, "code behind `return`, `throw`, `break` or `continue`"),
    rule("plain-interpolation", Warning, "`${…}` in a text with double quotes, which is left as it is"),
    rule("empty-catch", Warning, "a `catch` that does nothing"),
    rule("swallowed-failure", Warning, "a `catch` around a step that neither looks at the failure nor throws it again"),
    rule("retried-command", Warning, "`retries` around something whose repetition can be harmful"),
    rule("unused-allow", Warning, "a `check: allow` that silences nothing"),
    rule("allow-without-reason", Warning, "a `check: allow` that does not say why"),
    rule("check-incomplete", Warning, "the script is too entangled to be followed to its end"),
];

/// The rule of that name.
pub(super) fn find(name: &str) -> Option<&'static Rule> {
    RULES.iter().find(|rule| rule.name == name)
}
