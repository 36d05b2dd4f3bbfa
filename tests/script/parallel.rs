//! Several items at once: results in order, failures, replay, undo.

use super::support::{log, run, run_id, script};

#[test]
fn branches_run_side_by_side_and_results_come_in_order() {
    // Each branch waits for a file of another: one after the other they would wait for ever.
    let call = script(
        r#"let got = parallel(["a", "b", "c"], #{ max: 3 }, |name| {
               let next = #{ a: "b", b: "c", c: "a" }[name];
               step("tell", || host::local().exec(["touch", name]));
               wait_until("heard", #{ timeout: "60s", every: "10ms" }, ||
                   host::local().exec(["test", "-e", next], #{ read_only: true, ok_codes: [0, 1] }).code == 0);
               step("last", || say(name));
               name + "!"
           });
           step("all", || say(got.reduce(|all, one| all + one, "")));"#,
    );
    run(&call).stdout_has("parallel[b]/heard").run();
    let mut lines = log(&call);
    assert_eq!(lines.pop().unwrap(), "a!b!c!");
    lines.sort();
    assert_eq!(lines, ["a", "b", "c"]);
}

const FAILING: &str = r#"
    let got = parallel(["a", "b", "c", "d"], #{ max: 1, name: "each" }, |name| {
        step("do", || say(name));
        if name == "b" && p.arg == "" { throw #{ kind: "denied", message: "not b" }; }
        name
    });
    step("all", || say(got.reduce(|all, one| all + one, "")));
"#;

#[test]
fn a_failure_lets_no_further_branch_begin_and_resume_does_the_rest() {
    let call = script(FAILING);
    let ran = run(&call).status(1).stderr_has("error: not b").stderr_has("did not begin: `c`, `d`").run();
    // The failure is shown where it stands in the script.
    assert!(ran.stderr.contains("s.rhai:8") && ran.stderr.contains("not b"), "{}", ran.stderr);
    assert_eq!(log(&call), ["a", "b"]);
    call.again().args(["resume", "--set", "arg=x"]).stderr_has("= each[a]/do (done before)").run();
    assert_eq!(log(&call), ["a", "b", "c", "d", "abcd"]);
}

#[test]
fn branches_that_run_go_on_to_their_end_when_another_fails() {
    let call = script(
        r#"parallel(["a", "b"], |name| {
               if name == "a" {
                   wait_until("b", #{ timeout: "60s", every: "10ms" }, ||
                       host::local().exec(["test", "-e", "begun"], #{ read_only: true, ok_codes: [0, 1] }).code == 0);
                   throw "a is broken";
               }
               step("one", || host::local().exec(["sh", "-c", "touch begun; sleep 0.3"]));
               step("two", || say("two"));
           });"#,
    );
    run(&call).status(1).stderr_has("a is broken").run();
    assert_eq!(log(&call), ["two"]);
}

#[test]
fn collected_failures_are_data() {
    let call = script(
        r#"let got = parallel([1, 2, 3], #{ on_error: "collect" }, |n| {
               step("do", || { if n == 2 { throw #{ kind: "denied", message: "two" } } n * 10 })
           });
           step("all", || say(`${got[0].value} ${got[1].ok} ${got[1].error.kind} ${got[1].error.message} ${got[2].value}`));
           throw "later";"#,
    );
    run(&call).status(1).stderr_has("later").run();
    // What the script went past is an outcome: it is not tried again.
    call.again().arg("resume").status(1).stderr_has("later").nowhere("> parallel[2]/do").run();
    assert_eq!(log(&call), ["10 false denied two 30"]);
}

#[test]
fn a_failure_the_script_handled_stays_and_nothing_more_begins() {
    let call = script(
        r#"try { parallel(["a", "b", "c"], #{ max: 1 }, |name| { step("do", || { say(name); if name == "b" { throw "b" } }) }); }
           catch (e) { step("instead", || say("instead")); }
           throw "later";"#,
    );
    for call in [run(&call), call.again().arg("resume"), call.again().arg("resume")] {
        call.status(1).stderr_has("later").run();
    }
    assert_eq!(log(&call), ["a", "b", "instead"]);
}

#[test]
fn keys_must_tell_the_items_apart() {
    for (text, said) in [
        (r#"parallel([#{ size: 1 }], |x| x);"#, "item 0 of parallel has no key"),
        (r#"parallel(["a", "a"], |x| x);"#, "two items of parallel have the key `a`"),
        (r#"parallel([1], |x| x); parallel([2], |x| x);"#, "of the name `parallel`"),
        (r#"parallel([1], #{ max: 0 }, |x| x);"#, "must be at least 1"),
        (r#"parallel([1], #{ nmae: "x" }, |x| x);"#, "did you mean `name`?"),
        (r#"parallel(["a"], |x| say(x));"#, "changes things and is called outside a step"),
        (r#"let f = [|| 1]; parallel([1], f[0]);"#, "takes no parameters"),
    ] {
        let call = script(text);
        let ran = call.again().args(["run", "./s.rhai"]).spawn().wait();
        assert!(ran.status != 0 && ran.stderr.contains(said), "{text}: {} {}", ran.status, ran.stderr);
        assert_eq!(log(&call).len(), 0, "{text}");
    }
    let call = script(
        r#"parallel([#{ uid: "x" }, #{ uid: "y" }], #{ key: |item| item.uid }, |item| step("do", || say(item.uid)));"#,
    );
    run(&call).stderr_has("> parallel[x]/do").run();
}

#[test]
fn inside_a_step_every_branch_is_a_step_of_its_own() {
    let call = script(
        r#"let got = step("all", || {
               let got = parallel(["a", "b"], #{ max: 1 }, |name| { say(name); say(name + name); name });
               if p.arg == "" { throw "half"; }
               parallel(["a", "b"], #{ name: "again" }, |name| parallel([1, 2], |n| { say(`${name}${n}`); n }));
               got
           });
           step("end", || say(got[0] + got[1]));"#,
    );
    run(&call).status(1).stderr_has("half").run();
    assert_eq!(log(&call), ["a", "aa", "b", "bb"]);
    call.again().args(["resume", "--set", "arg=x"]).run();
    let mut lines = log(&call).split_off(4);
    assert_eq!(lines.pop().unwrap(), "ab");
    lines.sort();
    assert_eq!(lines, ["a1", "a2", "b1", "b2"]);
    let shown = call.again().args(["show", &run_id(&call), "--output", "json"]).run().json();
    let keys: Vec<&str> = shown["effects"].as_array().unwrap().iter().filter_map(|e| e["step"].as_str()).collect();
    assert!(keys.contains(&"all/again[b]/parallel[2]") && keys.contains(&"all/parallel[a]"), "{keys:?}");
}

#[test]
fn a_branch_that_failed_inside_a_step_is_tried_again() {
    let call = script(
        r#"step("all", || parallel(["a", "b"], |name| {
               say(name);
               if name == "a" && p.arg == "" { throw "a is broken"; }
               step("inner", || say(name + "!"));
           }));"#,
    );
    run(&call).status(1).stderr_has("a is broken").run();
    call.again().args(["resume", "--set", "arg=x"]).run();
    let mut lines = log(&call);
    lines.sort();
    // What was done is not done again.
    assert_eq!(lines, ["a", "a!", "b", "b!"]);
}

#[test]
fn a_plan_takes_the_branches_in_order_and_changes_nothing() {
    let call = script(r#"parallel(["c", "a", "b"], |name| step("do", || say(name)));"#);
    let plan = call.again().args(["run", "./s.rhai", "--plan", "--output", "json"]).run().json();
    let steps: Vec<&str> = plan["plan"].as_array().unwrap().iter().map(|item| item["step"].as_str().unwrap()).collect();
    assert_eq!(steps, ["parallel[c]/do", "parallel[a]/do", "parallel[b]/do"]);
    assert_eq!(log(&call).len(), 0);
}

#[test]
fn undo_goes_back_from_what_ended_last() {
    let call = script(
        r#"parallel(["slow", "quick"], |name| {
               if name == "slow" {
                   wait_until("quick", #{ timeout: "60s", every: "10ms" }, ||
                       host::local().exec(["grep", "-q", "quick 2", "log"], #{ read_only: true, ok_codes: [0, 1, 2] }).code == 0);
               }
               for n in [1, 2] {
                   step("do", #{ key: n.to_string(), undo: |r| say(`undo ${name} ${n}`) }, || say(`${name} ${n}`));
               }
           });
           throw "stop";"#,
    );
    run(&call).status(1).run();
    assert_eq!(log(&call), ["quick 1", "quick 2", "slow 1", "slow 2"]);
    call.again().args(["undo", &run_id(&call)]).run();
    assert_eq!(log(&call)[4..], ["undo slow 2", "undo slow 1", "undo quick 2", "undo quick 1"]);
}

#[test]
fn every_branch_that_waits_for_an_answer_is_named() {
    let call = script(
        r#"parallel(["a", "b", "c"], |name| {
               if name != "c" { approve(`go-${name}`, #{ summary: `move ${name}?` }); }
               step("do", || say(name));
           });"#,
    );
    let ran = run(&call).status(5).run();
    for text in
        ["`parallel[a]/go-a`: move a?", "`parallel[b]/go-b`: move b?", " 'parallel[a]/go-a'\n", " 'parallel[b]/go-b'\n"]
    {
        assert!(ran.stderr.contains(text), "{text}: {}", ran.stderr);
    }
    let id = run_id(&call);
    call.again().args(["approve", &id, "go-b"]).run();
    call.again().arg("resume").status(5).stderr_has("go-a").run();
    call.again().args(["approve", &id, "go-a"]).run();
    call.again().arg("resume").run();
    let mut lines = log(&call);
    lines.sort();
    assert_eq!(lines, ["a", "b", "c"]);
}

#[test]
fn a_signal_ends_every_branch() {
    let call = script(
        r#"parallel([1, 2, 3], |n| { step("say", || say(n.to_string())); sleep("60s"); step("no", || say("no")); });"#,
    );
    let running = run(&call).spawn();
    while log(&call).len() < 3 {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    running.signal(rustix::process::Signal::INT);
    assert_eq!(running.wait().status, 130);
    assert_eq!(log(&call).len(), 3);
}

#[test]
fn what_one_branch_holds_is_not_given_back_for_another_and_its_commands_run_once() {
    let call = script(
        r#"parallel(["a", "b"], #{ max: 1 }, |name| {
               step("hold", #{ release: |r| say(`release ${name}`) }, || say(`hold ${name}`));
               if name == "b" && p.arg == "" { throw "broken"; }
               step("do", || say(`do ${name}`));
               pivot(`over-${name}`);
               step("after", || say(`after ${name}`));
           });"#,
    );
    run(&call).status(1).stderr_has("broken").run();
    assert_eq!(log(&call), ["hold a", "do a", "after a", "hold b", "release b"]);
    call.again().args(["resume", "--set", "arg=x"]).run();
    assert_eq!(log(&call)[5..], ["hold b", "do b", "after b"]);
}

#[test]
fn two_branches_cannot_write_to_one_tree() {
    let call = script(r#"parallel(["one", "two"], |name| step("copy", || copy::tree(name, "dst")));"#);
    for dir in ["one", "two", "dst"] {
        std::fs::create_dir(call.dir().join(dir)).unwrap();
    }
    for n in 0..400 {
        for dir in ["one", "two"] {
            std::fs::write(call.dir().join(dir).join(format!("{dir}{n}")), vec![7; 20_000]).unwrap();
        }
    }
    run(&call).status(1).stderr_has("another branch writes to").run();
}

#[test]
fn what_one_branch_gives_back_makes_no_other_act_again() {
    let call = script(
        r#"let seen = |text| host::local().exec(["grep", "-q", text, "log"], #{ read_only: true, ok_codes: [0, 1, 2] }).code == 0;
           parallel(["held", "other"], |name| {
               if name == "held" {
                   step("hold", #{ release: |r| say("release") }, || say("hold"));
                   wait_until("acted", #{ timeout: "60s", every: "10ms" }, || seen.call("act"));
                   if p.arg == "" { throw "broken"; }
               } else {
                   wait_until("held", #{ timeout: "60s", every: "10ms" }, || seen.call("hold"));
                   step("act", || say("act"));
               }
           });"#,
    );
    run(&call).status(1).stderr_has("broken").run();
    call.again().args(["resume", "--set", "arg=x"]).run();
    assert_eq!(log(&call), ["hold", "act", "release", "hold"]);
}
