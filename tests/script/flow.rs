//! Steps, facts, retries, waits: what runs again and what does not.

use super::support::{log, run, script, whole};

#[test]
fn a_done_step_is_not_run_again_and_gives_its_result() {
    let call = script(
        r#"let a = step("a", || { say("a"); #{ n: 7, at: 'x', raw: blob(2, 255), f: 1.5 } });
           if p.arg == "" { throw "half way"; }
           step("b", || { say(`${a.n} ${a.at} ${a.raw.len()} ${a.f}`); });
        "#,
    )
    .file("unused", "");
    run(&call).status(1).stderr_has("half way").run();
    assert_eq!(log(&call), ["a"]);
    let text = std::fs::read_to_string(call.dir().join("s.rhai")).unwrap().replace("throw \"half way\";", "");
    std::fs::write(call.dir().join("s.rhai"), text).unwrap();
    call.again().args(["resume", "--yes"]).stderr_has("= a (done before)").run();
    assert_eq!(log(&call), ["a", "7 x 2 1.5"]);
}

#[test]
fn an_edited_script_is_shown_and_goes_on_only_if_somebody_says_so() {
    let call = script(r#"step("a", || say("a")); throw "stop";"#);
    run(&call).status(1).stderr_has("stop").run();
    let text = std::fs::read_to_string(call.dir().join("s.rhai")).unwrap().replace("throw \"stop\"", "42");
    std::fs::write(call.dir().join("s.rhai"), text).unwrap();
    call.again().arg("resume").status(2).stderr_has("-step(\"a\"").stderr_has("--yes").run();
    call.again().args(["resume", "--yes"]).stdout_has("succeeded").run();
    assert_eq!(log(&call), ["a"]);
}

#[test]
fn a_failure_the_script_handled_is_an_outcome() {
    let call = script(
        r#"try { step("bad", || { say("bad"); throw #{ kind: "denied", message: "no" } }); }
           catch (e) { step("instead", || say(`${e.kind}: ${e.message}`)); }
           throw "later";
        "#,
    );
    run(&call).status(1).run();
    // The handled failure takes the same branch again without trying; the unhandled one is tried again.
    call.again().arg("resume").status(1).stderr_has("later").run();
    assert_eq!(log(&call), ["bad", "denied: no"]);
}

#[test]
fn a_retryable_failure_is_tried_again_and_any_other_is_not() {
    let call = script(
        r#"step("flaky", #{ retries: 3, base: "10ms" }, || {
               let n = host::local().exec(["sh", "-c", "echo try >> log; wc -l < log"]).stdout.to_string();
               n.trim();
               if n != "3" { throw #{ kind: "unreachable", message: `try ${n}` } }
           });
           step("firm", #{ retries: 3, base: "10ms" }, || { say("firm"); throw #{ kind: "denied", message: "no" } });
        "#,
    );
    // Effects that are done are remembered over attempts: the command runs once, and its answer stays.
    run(&call).status(4).stderr_has("try 1").run();
    assert_eq!(log(&call), ["try"]);
    let call = script(
        r#"let n = 0;
           step("flaky", #{ retries: 3, base: "10ms" }, || {
               let n = host::local().exec(["sh", "-c", "echo try >> log; wc -l < log"], #{ read_only: true }).stdout;
               n.trim();
               if n != "3" { throw #{ kind: "unreachable", message: `try ${n}` } }
           });
           step("firm", #{ retries: 3, base: "10ms" }, || { say("firm"); throw #{ kind: "denied", message: "no" } });
        "#,
    );
    run(&call).status(1).stderr_has("attempt 3").stderr_has("no").run();
    assert_eq!(log(&call), ["try", "try", "try", "firm"]);
}

#[test]
fn captures_of_closures_made_in_a_loop_are_frozen() {
    let call = script(
        r#"for n in 1..4 { step("do", #{ key: n.to_string(), undo: |r| say(`undo ${n} ${r}`) }, || { say(`do ${n}`); n * 10 }); }"#,
    );
    run(&call).run();
    let id = super::support::run_id(&call);
    call.again().args(["undo", &id]).run();
    assert_eq!(log(&call), ["do 1", "do 2", "do 3", "undo 3 30", "undo 2 20", "undo 1 10"]);
}

#[test]
fn a_fact_is_read_once() {
    let call = script(
        r#"let now = fact("now", || host::local().exec(["date", "+%N"], #{ read_only: true }).stdout);
           step("keep", || say(now.len().to_string()));
           if fact("again", || now) != now { throw "changed"; }
           throw now;
        "#,
    );
    let first = run(&call).status(1).run().stderr;
    let second = call.again().arg("resume").status(1).run().stderr;
    let error = |text: &str| text.lines().find(|line| line.starts_with("error:")).unwrap().to_owned();
    assert_eq!(error(&first), error(&second));
}

#[test]
fn a_wait_has_a_deadline_that_outlives_the_process() {
    let call = script(r#"wait_until("never", #{ timeout: "2s", every: "50ms" }, || { say_nothing(); false });"#);
    std::fs::write(
        call.dir().join("s.rhai"),
        std::fs::read_to_string(call.dir().join("s.rhai")).unwrap().replace("say_nothing();", ""),
    )
    .unwrap();
    let begun = std::time::Instant::now();
    run(&call).status(1).stderr_has("`never` did not come within 2.0 s").run();
    assert!(begun.elapsed().as_secs_f64() >= 2.0);
    // The whole time is over: nothing is waited for again.
    let again = std::time::Instant::now();
    call.again().arg("resume").status(1).stderr_has("did not come").run();
    assert!(again.elapsed().as_secs_f64() < 2.0, "{:?}", again.elapsed());
}

#[test]
fn a_deadline_ends_a_step_and_leaves_the_run_resumable() {
    let call = script(
        r#"step("slow", #{ deadline: "200ms" }, || host::local().exec(["sleep", "60"], #{ read_only: true }));"#,
    );
    run(&call).status(1).stderr_has("step `slow` was not done within 0.2 s").run();
}

#[test]
fn a_second_step_of_one_name_is_refused_and_a_key_tells_them_apart() {
    let call = script(r#"step("a" + p.arg, || say("1")); step("a" + p.arg, || say("2"));"#);
    run(&call).status(1).stderr_has("a second step of the name `a`").run();
    assert_eq!(log(&call), ["1"]);
    let call = script(r#"step("a", #{ key: "x" }, || say("1")); step("a", #{ key: "y" }, || say("2"));"#);
    run(&call).run();
    assert_eq!(log(&call), ["1", "2"]);
}

#[test]
fn steps_nest_and_inner_results_are_kept() {
    let call = script(
        r#"step("outer", || { step("one", || say("one")); if p.arg == "" { throw "half"; } step("two", || say("two")); });"#,
    );
    run(&call).status(1).stderr_has("half").run();
    call.again().arg("resume").status(1).run();
    assert_eq!(log(&call), ["one"]);
}

#[test]
fn inputs_that_changed_stop_a_resume_and_captures_do_not() {
    let text = |n: u32| {
        format!(
            r#"fn params() {{ #{{}} }}
fn run(p) {{ let n = {n}; step("a", #{{ inputs: n }}, || say("a")); throw "stop"; }}"#
        )
    };
    let call = whole(&text(1));
    run(&call).status(1).run();
    let edited = std::fs::read_to_string(call.dir().join("s.rhai")).unwrap().replace("let n = 1", "let n = 2");
    std::fs::write(call.dir().join("s.rhai"), &edited).unwrap();
    call.again().args(["resume", "--yes"]).status(1).stderr_has("ran with 1").stderr_has("would run with 2").run();
    call.again().args(["resume", "--on-changed-inputs", "abort"]).status(1).stderr_has("redo").run();
    call.again().args(["resume", "--on-changed-inputs", "keep"]).status(1).stderr_has("keeps its result").run();
    assert_eq!(log(&call), ["a"]);
    call.again().args(["resume", "--on-changed-inputs", "redo"]).status(1).stderr_has("stop").run();
    assert_eq!(log(&call), ["a", "a"]);
    std::fs::write(call.dir().join("s.rhai"), edited.replace("inputs: n", "inputs: 1")).unwrap();
    call.again().args(["resume", "--yes", "--on-changed-inputs", "keep"]).status(1).stderr_has("stop").run();
    assert_eq!(log(&call), ["a", "a"]);
}

#[test]
fn a_result_that_is_no_data_names_its_place() {
    let call = script(r#"step("a", || #{ list: [1, host::local()] });"#);
    run(&call).status(2).stderr_has("`result.list[1]` is a host").run();
}

#[test]
fn what_changes_things_belongs_into_a_step() {
    let call = script(r#"say("outside");"#);
    run(&call).status(2).stderr_has("`host.exec` changes things and is called outside a step").run();
    assert!(log(&call).is_empty());
    // What cannot be seen beforehand is refused when it is called.
    let call = script(r#"host::local().exec(["sh", "-c", "echo outside >> log"], parse_json(p.arg));"#);
    run(&call).args(["--arg", "{}"]).status(2).stderr_has("host.exec changes things").run();
    assert!(log(&call).is_empty());
}

#[test]
fn an_approval_is_given_in_advance_by_its_name() {
    let call = script(r#"approve("go", #{ summary: "go on?" }); step("a", || say("a"));"#);
    run(&call).status(5).stderr_has("waiting for the approval `go`: go on?").run();
    assert!(log(&call).is_empty());
    call.again().args(["resume", "--approve", "og"]).status(2).stderr_has("did you mean `go`?").run();
    call.again().args(["resume", "--approve", "go"]).run();
    assert_eq!(log(&call), ["a"]);
    let call = script(r#"approve("go"); step("a", || say("a"));"#);
    run(&call).args(["--approve", "go"]).run();
    assert_eq!(log(&call), ["a"]);
}

#[test]
fn what_only_reads_changes_nothing() {
    for (body, what) in [
        (r#"fact("x", || say("acted"))"#, "`fact`"),
        (r#"wait_until("x", #{ timeout: "1s" }, || say("acted"))"#, "`wait_until`"),
        (r#"fact("x", || parallel([1], |i| say("acted")))"#, "`fact`"),
    ] {
        let call = script(&format!("// check: allow effect-outside-step as if the check had not seen it\n{body};"));
        let wanted = format!("host.exec changes things and is called in {what}, which only reads");
        run(&call).arg("--plan").status(2).stderr_has(&wanted).run();
        run(&call).status(2).stderr_has(&wanted).run();
        assert!(log(&call).is_empty(), "{body}");
    }
    let call = script(r#"step("x", || { fact("y", || 1); say("acted") })"#);
    run(&call).run();
    assert_eq!(log(&call), ["acted"]);
}

#[test]
fn a_key_may_be_a_number() {
    let call = script(r#"for n in 1..3 { step("do", #{ key: n }, || say(`${n}`)); }"#);
    run(&call).stderr_has("do[2]").run();
    assert_eq!(log(&call), ["1", "2"]);
}

#[test]
fn options_of_standard_functions_may_be_left_out() {
    let call = script(
        r#"import "std/verify" as verify; import "std/preflight" as preflight;
           fact("fits", || preflight::tree(".", ".", #{})); fact("same", || verify::trees(".", ".", "full", #{}).equal);"#,
    );
    run(&call).run();
}
