//! `decamp check`: mistakes in scripts, found without running them.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::ctx::Ctx;
use crate::error::{Error, Exit};
use crate::report::human::count;
use crate::report::notes::table;
use crate::report::style::Style;
use crate::script;
use crate::script::check::rules::RULES;
use crate::script::check::{Finding, Severity};

/// Find mistakes in scripts without running them
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Exits with 10 if there are errors; with --strict 11 if there are only warnings. A finding is allowed by a \
                        comment on its line or the one above: // check: allow RULE reason\n\nExamples:\n  decamp check \
                        ./my-move.rhai\n  decamp check --strict scripts\n  decamp check --list-rules"
)]
pub(crate) struct Args {
    /// Scripts, and directories of scripts
    #[arg(required_unless_present = "list_rules")]
    files: Vec<PathBuf>,

    /// Exit with 11 if there are warnings
    #[arg(long)]
    strict: bool,

    /// List the rules: what is looked for, and how bad it is
    #[arg(long, conflicts_with_all = ["files", "strict"])]
    list_rules: bool,
}

pub(crate) fn run(ctx: &Ctx, args: Args) -> Result<Exit, Error> {
    if args.list_rules {
        rules(ctx);
        return Ok(Exit::Success);
    }
    let (files, found) = script::check(&args.files)?;
    let of = |severity| found.iter().filter(|finding| finding.severity == severity).count() as u64;
    let (errors, warnings) = (of(Severity::Error), of(Severity::Warning));
    ctx.result(|| text(&found, files as u64, ctx.out), || data(&found, files, errors, warnings));
    Ok(match (errors, warnings) {
        (0, 0) => Exit::Success,
        (0, _) if args.strict => Exit::CheckWarnings,
        (0, _) => Exit::Success,
        _ => Exit::CheckFailed,
    })
}

fn rules(ctx: &Ctx) {
    let rows = || {
        let row = |text: &str| text.to_owned();
        RULES.iter().map(|rule| vec![row(rule.name), row(rule.severity.name()), row(rule.summary)]).collect::<Vec<_>>()
    };
    let data = || {
        let rule = |rule: &script::check::rules::Rule| json!({ "rule": rule.name, "severity": rule.severity.name(), "summary": rule.summary });
        RULES.iter().map(rule).collect::<Value>()
    };
    ctx.result(|| table(&[], &rows()), || json!({ "rules": data() }));
}

fn text(found: &[Finding], files: u64, style: Style) -> String {
    let mut out = String::new();
    for f in found {
        let severity = match f.severity {
            Severity::Error => style.bad("error"),
            Severity::Warning => style.warn("warning"),
        };
        out.push_str(&format!("{}: {severity}: {} [{}]\n", f.place(), f.message, f.rule));
        if !f.snippet.is_empty() {
            out.push_str(f.snippet.trim_end());
            out.push('\n');
        }
        if let Some(hint) = &f.hint {
            out.push_str(&format!("{} {hint}\n", style.hint("hint:")));
        }
    }
    let of = |severity| found.iter().filter(|finding| finding.severity == severity).count() as u64;
    let errors = count(of(Severity::Error), "error", "errors");
    let warnings = count(of(Severity::Warning), "warning", "warnings");
    out + &format!("{} checked: {errors}, {warnings}\n", count(files, "file", "files"))
}

fn data(found: &[Finding], files: usize, errors: u64, warnings: u64) -> Value {
    let findings: Value = found
        .iter()
        .map(|f| {
            json!({
                "file": f.file,
                "line": f.line,
                "column": f.column,
                "range": {
                    "start": { "line": f.line, "column": f.column },
                    "end": { "line": f.line, "column": f.end_column },
                },
                "severity": f.severity.name(),
                "rule": f.rule,
                "message": f.message,
                "hint": f.hint,
            })
        })
        .collect();
    json!({ "files": files, "errors": errors, "warnings": warnings, "findings": findings })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_like_a_compiler_error() {
        let finding = Finding {
            file: "a.rhai".into(),
            line: 3,
            column: 5,
            end_column: 8,
            severity: Severity::Error,
            rule: "unknown-function",
            message: "no function `stp`".into(),
            hint: Some("did you mean `step`?".into()),
            snippet: "3 | stp()\n  | ^".into(),
        };
        let text = text(&[finding], 1, Style::plain());
        assert_eq!(
            text,
            "a.rhai:3:5: error: no function `stp` [unknown-function]\n3 | stp()\n  | ^\nhint: did you mean `step`?\n1 file \
             checked: 1 error, 0 warnings\n"
        );
    }
}
