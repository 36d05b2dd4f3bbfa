//! How a run ended, as text for people and as JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use crate::error::Exit;
use crate::report::notes::{section, show, table};
use crate::report::style::Style;
use crate::script::outcome::{Outcome, PlanItem, StepLine};
use crate::units::show_duration;

/// For people: the head, then the steps or the plan, the notes, and what was left.
pub(crate) fn text(done: &Outcome, style: Style) -> String {
    let mut out = String::new();
    if !done.plan.is_empty() || done.status == "planned" {
        writeln!(out, "{}", style.bold(&format!("plan of {} (nothing was changed)", done.script))).ok();
        out.push_str(&plan(&done.plan));
        if let Some(why) = &done.plan_stops {
            writeln!(out, "{} {why}", style.warn("the plan stops here:")).ok();
        }
    } else {
        out.push_str(&steps(&done.steps));
    }
    let mut notes = done.notes.iter().peekable();
    while let Some((heading, value)) = notes.next() {
        // Notes of one section that follow each other share its heading.
        let mut text = section(&style.bold(heading), value);
        while let Some((_, value)) = notes.next_if(|(next, _)| next == heading) {
            for line in show(value).lines() {
                writeln!(text, "  {line}").ok();
            }
        }
        out.push_str(&text);
    }
    if !done.left.is_empty() {
        writeln!(out, "{}", style.warn("left as it is")).ok();
        done.left.iter().for_each(|line| {
            writeln!(out, "  {line}").ok();
        });
    }
    if let Some(stopped) = &done.stopped {
        writeln!(out, "{}", style.warn(stopped)).ok();
    }
    let span = show_duration(Duration::from_millis(done.elapsed_ms));
    let status = done.status.replace('_', " ");
    let status = if done.exit == Exit::Success { style.good(&status) } else { style.warn(&status) };
    match &done.run {
        Some(run) => writeln!(out, "{}: {status} in {span} (run {run})", done.script).ok(),
        None => writeln!(out, "{}: {status} in {span}", done.script).ok(),
    };
    out
}

fn steps(steps: &[StepLine]) -> String {
    if steps.is_empty() {
        return String::new();
    }
    let rows: Vec<Vec<String>> = steps
        .iter()
        .map(|step| {
            let changed = if step.changed { "changed" } else { "-" };
            let span = show_duration(Duration::from_millis(step.elapsed_ms));
            vec![step.key.clone(), step.state.to_owned(), changed.to_owned(), span]
        })
        .collect();
    table(&["step", "state", "changed", "time"].map(str::to_owned), &rows)
}

fn plan(items: &[PlanItem]) -> String {
    if items.is_empty() {
        return "  nothing to do\n".to_owned();
    }
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|item| {
            let changes = match item.changes {
                Some(true) => "will change",
                Some(false) => "no change",
                None => "may change",
            };
            [&item.step, &item.function, &item.target, changes, item.certainty, &item.summary].map(Into::into).to_vec()
        })
        .collect();
    table(&["step", "action", "target", "effect", "certainty", "what"].map(str::to_owned), &rows)
}

/// For programs.
pub(crate) fn json(done: &Outcome) -> Value {
    let steps: Value = done
        .steps
        .iter()
        .map(|s| json!({ "step": s.key, "state": s.state, "changed": s.changed, "elapsed_ms": s.elapsed_ms }))
        .collect();
    let plan: Value = done
        .plan
        .iter()
        .map(|item| {
            json!({
                "step": item.step,
                "function": item.function,
                "target": item.target,
                "certainty": item.certainty,
                "changes": item.changes,
                "summary": item.summary,
                "data": item.data,
            })
        })
        .collect();
    let notes: Value =
        done.notes.iter().map(|(section, value)| json!({ "section": section, "value": value })).collect();
    json!({
        "run": done.run,
        "script": done.script,
        "status": done.status,
        "exit_code": done.exit.code(),
        "elapsed_ms": done.elapsed_ms,
        "steps": steps,
        "plan": plan,
        "plan_stops": done.plan_stops,
        "stopped": done.stopped,
        "notes": notes,
        "result": done.result,
        "left": done.left,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_reads_like_this() {
        let done = Outcome {
            run: Some("0198".into()),
            script: "move-tree".into(),
            status: "succeeded",
            steps: vec![StepLine { key: "pass[1]".into(), state: "done", changed: true, elapsed_ms: 1_500 }],
            notes: vec![
                ("passes".into(), json!("first: 10 files")),
                ("passes".into(), json!("second: 1 file")),
                ("evidence".into(), json!({ "source": { "files": 1 }, "dest": { "files": 1 } })),
            ],
            elapsed_ms: 2_000,
            ..Outcome::default()
        };
        insta::assert_snapshot!(text(&done, Style::plain()), @r"
        step     state  changed  time
        pass[1]  done   changed  1.5 s
        passes
          first: 10 files
          second: 1 file
        evidence
                 source     dest
          files  1       =  1
        move-tree: succeeded in 2.0 s (run 0198)
        ");
    }

    #[test]
    fn a_plan_says_how_sure_it_is() {
        let item = PlanItem {
            step: "swap".into(),
            function: "copy::tree".into(),
            target: "/srv".into(),
            certainty: "maybe",
            changes: None,
            summary: "3 files".into(),
            data: Value::Null,
        };
        let done = Outcome { script: "x".into(), status: "planned", plan: vec![item], ..Outcome::default() };
        let text = text(&done, Style::plain());
        assert!(text.starts_with("plan of x (nothing was changed)\n"), "{text}");
        assert!(text.contains("may change") && text.contains("maybe"), "{text}");
        assert_eq!(json(&done)["plan"][0]["changes"], Value::Null);
    }
}
