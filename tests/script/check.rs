//! Every planted mistake is found at its place with a hint; what only looks like one is not.

use serde_json::Value;

use crate::support::env::Decamp;
use crate::support::rust::repository;

/// What every script of these tests begins with; the body begins in line 5.
const HEAD: &str = r#"fn say(word) { host::local().exec(["echo", word]) }
fn params() { #{ a: #{ type: "path", required: true, help: "a directory" } } }
fn run(p) {
    step("first", || say(p.a));
"#;

fn with(body: &str) -> String {
    format!("{HEAD}{body}\n}}\n")
}

/// The findings in a script and the modules beside it.
fn check(text: &str, modules: &[(&str, &str)]) -> Vec<Value> {
    let call = modules.iter().fold(Decamp::new().file("s.rhai", text), |call, (name, text)| call.file(name, text));
    let ran = call.args(["check", "s.rhai", "--output", "json"]).spawn().wait();
    assert!([0, 10].contains(&ran.status), "{}", ran.stderr);
    ran.json()["findings"].as_array().unwrap().clone()
}

/// Rule, line and column of every finding.
fn found(body: &str) -> Vec<(String, u64, u64)> {
    places(&check(&with(body), &[]))
}

fn places(findings: &[Value]) -> Vec<(String, u64, u64)> {
    let place = |f: &Value| {
        (f["rule"].as_str().unwrap().to_owned(), f["line"].as_u64().unwrap(), f["column"].as_u64().unwrap())
    };
    findings.iter().map(place).collect()
}

#[track_caller]
fn planted(rule: &str, body: &str, line: u64, column: u64) {
    let seen = found(body);
    assert!(seen.contains(&(rule.to_owned(), line, column)), "{rule} at {line}:{column} in\n{body}\nfound: {seen:?}");
}

#[track_caller]
fn clean(body: &str) {
    assert_eq!(found(body), [], "{body}");
}

#[test]
fn an_option_that_does_not_exist_is_found() {
    planted("unknown-option", r#"step("x", #{ retires: 3 }, || say("x"));"#, 5, 14);
    planted("unknown-option", r#"copy::scan(p.a, #{ contents: true });"#, 5, 20);
    planted("unknown-option", "let o = #{ readonly: true };\nhost::local().exec([\"true\"], o);", 5, 12);
    planted("unknown-option", r#"host::local().exec(["true"], #{ read_only: true } + #{ cwdd: "/" });"#, 5, 56);
    planted("unknown-option", "let o = #{};\no.sampel = 3;\ncopy::compare(p.a, p.a, o);", 6, 3);
    planted("missing-option", r#"wait_until("x", #{ every: "1s" }, || true);"#, 5, 1);
    let hint = &check(&with(r#"step("x", #{ retires: 3 }, || say("x"));"#), &[])[0]["hint"];
    assert_eq!(hint, "did you mean `retries`?");
    // A map that is put together elsewhere, and one that is nobody's options.
    clean(r#"step("x", parse_json(p.a), || say("x"));"#);
    clean("let o = #{ retires: 3 };\nstep(\"x\", || say(o.retires));");
    clean(r#"copy::scan(p.a, #{ content: true, exclude: "a,b", jobs: 2 });"#);
}

#[test]
fn an_option_of_another_type_is_found() {
    planted("option-type", r#"step("x", #{ retries: "3" }, || 1);"#, 5, 23);
    planted("option-type", r#"step("x", #{ backoff: "fixd" }, || 1);"#, 5, 23);
    planted("option-type", r#"step("x", #{ deadline: "soon" }, || 1);"#, 5, 24);
    planted("option-type", r#"copy::scan(p.a, #{ content: "yes" });"#, 5, 29);
    planted("option-type", r#"host::local().exec(["true"], #{ read_only: true, ok_codes: 1 });"#, 5, 60);
    planted("option-type", r#"step("x", #{ undo: "say" }, || 1);"#, 5, 20);
    clean(r#"step("x", #{ backoff: "fixed", deadline: 90, base: "2s", key: `${p.a}` }, || say("x"));"#);
    clean("let n = 3;\nstep(\"x\", #{ deadline: n * 60, inputs: [n] }, || say(\"x\"));");
    clean(r#"host::local().exec(["true"], #{ read_only: true, ok_codes: [0, -1], cwd: () });"#);
}

#[test]
fn an_argument_of_another_type_and_a_function_that_is_not_called_are_found() {
    planted("argument-type", r#"host::local().exec("ls -l", #{ read_only: true });"#, 5, 20);
    let hint = &check(&with(r#"step("x", || host::local().exec("ls -l"));"#), &[])[0]["hint"];
    assert_eq!(hint, "write a list: [\"ls\", \"-l\"]");
    planted("argument-type", r#"copy::scan([p.a]);"#, 5, 12);
    planted("argument-type", r#"step(1, || say("x"));"#, 5, 6);
    planted("uncalled-function", "let r = copy::root;\nstep(\"x\", || r);", 5, 9);
    clean("let words = [\"ls\", p.a];\nhost::local().exec(words, #{ read_only: true });\nsleep(0.5);\nsleep(\"1s\");");
}

#[test]
fn a_change_outside_a_step_is_found() {
    let rule = "effect-outside-step";
    planted(rule, r#"host::local().exec(["true"]);"#, 5, 15);
    planted(rule, r#"say("x");"#, 5, 1);
    planted(rule, "let f = || say(\"x\");\nf.call();", 5, 12);
    planted(rule, r#"["x"].for_each(|| say(this));"#, 5, 19);
    planted(rule, r#"fact("x", || say("x"));"#, 5, 14);
    planted(rule, r#"wait_until("x", #{ timeout: "1s" }, || copy::root(p.a));"#, 5, 40);
    planted(rule, r#"parallel([1, 2], #{ key: |i| copy::root(`${p.a}/${i}`) }, |i| i);"#, 5, 30);
    planted(rule, r#"copy::tree(p.a, p.a, #{ dry_run: false });"#, 5, 1);
    planted(rule, r#"if is_plan() { copy::root(p.a); }"#, 5, 16);
    clean(r#"step("x", || say("x"));"#);
    clean("let f = || say(\"x\");\nstep(\"x\", f);");
    clean(r#"step("x", #{ undo: |r| say("y"), release: |r| say("z") }, || step("y", || say("x")));"#);
    clean(r#"host::local().exec(["true"], #{ read_only: true });"#);
    clean(r#"copy::tree(p.a, p.a, #{ delete: true } + #{ dry_run: true });"#);
    // Whether it is one is not known before the run.
    clean(r#"copy::tree(p.a, p.a, #{ dry_run: p.a == "x" });"#);
}

#[test]
fn a_change_outside_a_step_is_found_through_modules() {
    let lib =
        "fn act() { host::local().exec([\"true\"]) }\nfn inside(f) { step(\"in\", f) }\nfn outside(f) { f.call() }";
    let text =
        with("lib::act();\nlib::inside(|| say(\"x\"));\nlib::outside(|| say(\"y\"));\nstep(\"z\", || lib::act());");
    let seen = check(&format!("import \"./lib\" as lib;\n{text}"), &[("lib.rhai", lib)]);
    let seen = places(&seen);
    assert_eq!(seen, [("effect-outside-step".to_owned(), 6, 1), ("effect-outside-step".to_owned(), 8, 1)]);
    // A module on its own may be called in a step.
    assert_eq!(check(lib, &[]), Vec::<Value>::new());
}

#[test]
fn a_branch_on_a_live_read_around_a_step_is_found() {
    let rule = "live-branch";
    planted(rule, r#"if copy::scan(p.a).counts.files > 0 { step("x", || say("x")); }"#, 5, 1);
    planted(
        rule,
        "let n = copy::scan(p.a);\nfor f in n.errors { step(\"x\", #{ key: f.path }, || say(\"x\")); }",
        6,
        1,
    );
    planted(rule, "let n = copy::scan(p.a).bytes + 1;\nlet m = `${n}`;\nif m == \"1\" { pivot(\"x\"); }", 7, 1);
    planted(rule, "while copy::probe(p.a).writable { step(\"x\", #{ key: p.a + 1 }, || say(\"x\")); }", 5, 1);
    planted(rule, "switch host::local().which(\"x\") { () => step(\"x\", || say(\"x\")), _ => () }", 5, 1);
    // Through a flag, an early end, a list that is filled, and a failure.
    planted(
        rule,
        "let found = false;\nif copy::probe(p.a).writable { found = true; }\nif found { step(\"x\", || say(\"x\")); }",
        7,
        1,
    );
    planted(rule, "if copy::scan(p.a).bytes == 0 { return; }\nstep(\"x\", || say(\"x\"));", 5, 1);
    planted(
        rule,
        "let l = [];\nl.push(copy::scan(p.a));\nfor x in l { step(\"x\", #{ key: x.digest }, || say(\"x\")); }",
        7,
        1,
    );
    planted(
        rule,
        "let there = true;\ntry { copy::probe(p.a); } catch { there = false; }\nif there { approve(\"x\"); }",
        7,
        1,
    );
    planted(
        rule,
        "loop { if copy::scan(p.a).bytes == 0 { break; } step(\"x\", #{ key: p.a + 1 }, || say(\"x\")); }",
        5,
        8,
    );
    planted(rule, "copy::scan(p.a).errors.for_each(|| step(\"x\", #{ key: this.path }, || say(\"x\")));", 5, 24);
    planted(rule, "let t = timestamp();\nif t.elapsed > 1.0 { step(\"x\", || say(\"x\")); }", 6, 1);
}

#[test]
fn a_method_is_that_of_the_handle_it_is_called_on() {
    let connect = "let k = k8s::connect();\n";
    planted(
        "live-branch",
        &format!("{connect}if k.get(\"cm/x\").kind == \"y\" {{ step(\"x\", || say(\"x\")); }}"),
        6,
        1,
    );
    clean("let m = #{ a: 1 };\nif m.get(\"a\") == 1 { step(\"x\", || say(\"x\")); }");
    // Both have a list, of other options.
    clean(&format!("{connect}let all = k.list(\"pods\", #{{ labels: \"a=b\" }});\nnote(\"all\", all);"));
    planted("unknown-option", &format!("{connect}k.list(\"pods\", #{{ lables: \"a=b\" }});"), 6, 19);
    planted("effect-outside-step", &format!("{connect}k.scale(\"deploy/web\", 0);"), 6, 3);
    planted("missing-option", &format!("{connect}step(\"x\", || k.delete(\"pod/x\", #{{}}));"), 6, 16);
}

#[test]
fn a_branch_on_what_is_kept_is_none_on_a_live_read() {
    clean("let n = fact(\"n\", || copy::scan(p.a));\nif n.counts.files > 0 { step(\"x\", || say(\"x\")); }");
    clean(
        "let n = step(\"n\", || copy::scan(p.a));\nfor f in n.errors { step(\"x\", #{ key: f.path }, || say(\"x\")); }",
    );
    clean("if p.a == \"x\" || is_plan() { step(\"x\", || say(\"x\")); }");
    clean("try { step(\"x\", || say(\"x\")); } catch (e) { step(\"y\", || say(e.message)); }");
    // No step in it; or it ends the run.
    clean("if copy::scan(p.a).bytes == 0 { print(\"empty\"); }\nstep(\"x\", || say(\"x\"));");
    clean("if copy::scan(p.a).bytes == 0 { throw \"empty\"; }\nstep(\"x\", || say(\"x\"));");
    clean("for f in copy::scan(p.a).errors { if f.path == \"x\" { break; } }\nstep(\"x\", || say(\"x\"));");
    clean("step(\"x\", || { if copy::scan(p.a).bytes == 0 { say(\"empty\"); } });");
    clean("let n = copy::scan(p.a);\nn = 3;\nif n == 3 { step(\"x\", || say(\"x\")); }");
    clean("step(\"x\", || say(`${copy::scan(p.a).bytes}`));");
}

#[test]
fn a_live_read_is_followed_through_functions_and_modules() {
    let lib = "fn files(a) { copy::scan(a).counts.files }\nfn kept(a) { fact(\"k\", || files(a)) }\nfn act(n) { if n > 0 { step(\"act\", || n); } }";
    let body = |call: &str| format!("import \"./lib\" as lib;\n{}", with(call));
    let seen = |call: &str| places(&check(&body(call), &[("lib.rhai", lib)]));
    assert_eq!(seen("if lib::files(p.a) > 0 { step(\"x\", || say(\"x\")); }"), [("live-branch".to_owned(), 6, 1)]);
    assert_eq!(seen("if lib::kept(p.a) > 0 { step(\"x\", || say(\"x\")); }"), []);
    assert_eq!(seen("lib::act(lib::kept(p.a));"), []);
    let through = check(&body("lib::act(lib::files(p.a));"), &[("lib.rhai", lib)]);
    assert!(through[0]["file"].as_str().unwrap().ends_with("lib.rhai") && through[0]["line"] == 3, "{through:?}");
    // What stands in a function of a standard module is followed, too.
    let standard = format!(
        "import \"std/preflight\" as pre;\n{}",
        with(
            "let o = #{ exclude: [], accept: [], jobs: 0 };\nlet f = pre::tree(p.a, p.a, o);\nif f.missing.len() == 0 { step(\"x\", || say(\"x\")); }",
        )
    );
    assert_eq!(places(&check(&standard, &[])), [("live-branch".to_owned(), 8, 1)]);
}

#[test]
fn steps_that_would_be_refused_are_found() {
    planted("step-body", r#"step("x", { say("x") });"#, 5, 11);
    // One mistake is one finding.
    assert_eq!(found(r#"step("x", copy::root(p.a));"#), [("step-body".to_owned(), 5, 11)]);
    planted("step-body", r#"step("x", "y");"#, 5, 11);
    planted("step-body", r#"fact("x", copy::scan(p.a));"#, 5, 11);
    planted("closure-parameters", r#"step("x", |a| say(a));"#, 5, 11);
    planted("closure-parameters", r#"step("x", #{ undo: || say("y") }, || say("x"));"#, 5, 20);
    planted("closure-parameters", "let n = 1;\nstep(\"x\", #{ undo: |a, b| say(`${n}`) }, || say(\"x\"));", 6, 20);
    planted("step-in-loop", r#"for n in 0..3 { step("x", || say(`${n}`)); }"#, 5, 17);
    planted("step-in-loop", r#"for n in 0..3 { step("x", #{ key: "k" }, || say(`${n}`)); }"#, 5, 17);
    planted("step-in-loop", r#"for n in 0..3 { pivot("x"); print(n); }"#, 5, 17);
    planted("step-in-loop", r#"[1, 2].for_each(|| step("x", || say("x")));"#, 5, 20);
    planted("duplicate-step", "step(\"x\", || say(\"x\"));\nstep(\"x\", || say(\"y\"));", 6, 1);
    planted("duplicate-step", "approve(\"x\");\npivot(\"x\");", 6, 1);
    planted("duplicate-step", "let f = |n| step(\"x\", || say(n));\nf.call(\"a\");\nf.call(\"b\");", 5, 13);
    clean("if p.a == \"x\" { step(\"x\", || say(\"x\")); } else { step(\"x\", || say(\"y\")); }");
    clean("for n in 0..3 { step(\"x\", #{ key: `${n}` }, || { step(\"in\", || say(\"y\")); }); }");
    clean("step(\"x\", #{ key: \"a\" }, || say(\"x\"));\nstep(\"x\", #{ key: \"b\" }, || say(\"y\"));");
    clean("step(\"x\", || step(\"y\", || say(\"y\")));\nstep(\"y\", || say(\"y\"));");
}

#[test]
fn a_second_call_of_a_function_with_a_step_is_found() {
    let text = format!("fn one() {{ step(\"x\", || say(\"x\")); }}\n{}", with("one();\none();"));
    assert_eq!(places(&check(&text, &[])), [("duplicate-step".to_owned(), 7, 1)]);
    let text =
        format!("fn one(k) {{ step(\"x\", #{{ key: k }}, || say(\"x\")); }}\n{}", with("one(\"a\");\none(\"b\");"));
    assert_eq!(places(&check(&text, &[])), []);
    let looped = format!("fn one() {{ step(\"x\", || say(\"x\")); }}\n{}", with("for n in 0..2 { one(); }"));
    assert_eq!(places(&check(&looped, &[])), [("step-in-loop".to_owned(), 1, 12)]);
}

#[test]
fn branches_side_by_side_are_followed_like_steps() {
    planted("live-branch", "parallel(copy::scan(p.a).errors, |f| step(\"x\", || say(f.path)));", 5, 1);
    planted(
        "live-branch",
        "let n = parallel([\"a\"], |f| copy::scan(f).bytes);\nif n[0] > 1 { step(\"x\", || say(\"x\")); }",
        6,
        1,
    );
    planted("effect-outside-step", "parallel([\"a\"], |f| say(f));", 5, 21);
    planted("closure-parameters", "parallel([\"a\"], || step(\"x\", || say(\"x\")));", 5, 17);
    planted("option-type", "parallel([\"a\"], #{ on_error: \"go on\" }, |f| step(\"x\", || say(f)));", 5, 30);
    planted("duplicate-step", "parallel([1], |f| print(f));\nparallel([2], |f| print(f));", 6, 1);
    planted("lost-assignment", "let n = 0;\nparallel([1], |f| { n += f; });\nprint(n);", 6, 21);
    clean("parallel([\"a\", \"b\"], #{ max: 2, key: |f| f }, |f| { step(\"x\", || say(f)); step(\"y\", || say(f)) });");
    clean(
        "let n = parallel([\"a\"], |f| step(\"n\", || copy::scan(f).bytes));\nif n[0] > 1 { step(\"x\", || say(\"x\")); }",
    );
    clean("for n in 0..2 { parallel([n], #{ name: `p${n}` }, |f| step(\"x\", || say(`${f}`))); }");
}

#[test]
fn a_text_that_is_not_filled_in_is_found() {
    planted("plain-interpolation", "let n = 1;\nstep(\"x\", || say(\"n is ${n}\"));", 6, 18);
    planted("plain-interpolation", "step(\"x\", || say(\"from ${p.a} on\"));", 5, 18);
    // What is no variable here is for a shell.
    clean("step(\"x\", || host::local().exec([\"sh\", \"-c\", \"echo ${HOME}\"]));");
    clean("let n = 1;\nstep(\"x\", || say(`${n} is $n`));");
}

#[test]
fn names_that_hide_others_are_found() {
    let with = |def: &str, call: &str| format!("{def}\n{}", with(call));
    let seen = |text: &str, modules: &[(&str, &str)]| places(&check(text, modules));
    assert_eq!(seen(&with("fn step(a, b) { b.call() }", ""), &[])[0], ("shadowed-function".to_owned(), 1, 4));
    let exec = with("fn exec(argv) { argv }", "print(exec([\"x\"]));");
    assert!(seen(&exec, &[]).contains(&("shadowed-function".to_owned(), 1, 4)));
    let trim = with("fn to_upper(a) { a }", "print(to_upper(\"x\"));");
    assert_eq!(seen(&trim, &[]), [("shadowed-standard".to_owned(), 1, 4)]);
    // Another number of parameters hides nothing, nor does the name of a function in a namespace.
    let near = with("fn step(a) { a }\nfn tree(a, b) { a + b }", "print(step(1));\nprint(tree(1, 2));");
    assert_eq!(seen(&near, &[]), []);
    let text = format!("import \"./lib\" as lib;\n{}", with("", "print(lib::one());"));
    let lib = "fn fact(a, b) { a + b }\nfn one() { fact(1, 2) }";
    let found = check(&text, &[("lib.rhai", lib)]);
    assert_eq!(places(&found), [("shadowed-function".to_owned(), 1, 4)]);
    assert!(found[0]["file"].as_str().unwrap().ends_with("lib.rhai"));
}

#[test]
fn parameters_are_compared_with_what_is_read() {
    let script = |params: &str, body: &str| format!("fn params() {{ #{{\n{params}\n}} }}\nfn run(p) {{\n{body}\n}}\n");
    let seen = |params: &str, body: &str| places(&check(&script(params, body), &[]));
    let two = "a: #{ type: \"string\" },\nb: #{ type: \"string\" },";
    assert_eq!(seen(two, "print(p.a);"), [("unused-parameter".to_owned(), 3, 1)]);
    assert_eq!(seen(two, "print(p.a + p.b + p.sorce);"), [("unknown-parameter".to_owned(), 6, 21)]);
    assert_eq!(seen(two, "print(p.a + p[\"b\"]);"), []);
    assert_eq!(seen(two, "print(p);"), []);
    assert_eq!(seen(two, "note(\"all\", p);"), []);
    assert_eq!(seen(two, "print(p.a);\nif \"b\" in p { print(p.get(\"c\") ?? 1); }"), []);
    assert_eq!(seen(two, "let q = p;\nlet f = |x| x.b;\nprint(q.a + f.call(q));"), []);
    assert_eq!(seen(two, "print(p.keys());"), []);
}

#[test]
fn what_is_not_used_is_found() {
    planted("unused-variable", "let n = 1;", 5, 5);
    planted("unused-variable", "let n = 1;\nn = 2;", 5, 5);
    clean("let _n = 1;\nlet m = 1;\nstep(\"x\", || say(`${m}`));\nfor i in 0..3 { print(\"turn\"); }");
    let first = |text: &str, modules: &[(&str, &str)]| places(&check(text, modules)).into_iter().next();
    let lonely = format!("fn lonely() {{ lonely() }}\n{}", with(""));
    assert_eq!(first(&lonely, &[]), Some(("unused-function".to_owned(), 1, 4)));
    let hook = format!("fn hook() {{ 1 }}\n{}", with("step(\"x\", hook);\nlet f = Fn(\"hook\");\nprint(f.call());"));
    assert_eq!(first(&hook, &[]), None);
    let import = format!("import \"std/verify\" as verify;\n{}", with(""));
    assert_eq!(first(&import, &[]), Some(("unused-import".to_owned(), 1, 1)));
    planted("unreachable-code", "return 1;\nprint(\"never\");", 6, 1);
    planted("unreachable-code", "for n in 0..3 { throw `${n}`; print(\"never\"); }", 5, 31);
    clean("if p.a == \"x\" { return; }\nprint(\"perhaps\");");
}

#[test]
fn failures_that_vanish_and_values_that_are_lost_are_found() {
    planted("empty-catch", "try { step(\"x\", || say(\"x\")); } catch {}", 5, 1);
    planted("swallowed-failure", "try { step(\"x\", || say(\"x\")); } catch (e) { print(\"no\"); }", 5, 1);
    clean("try { step(\"x\", || say(\"x\")); } catch (e) { if e.kind != \"denied\" { throw e; } }");
    clean("try { parse_json(p.a); } catch { print(\"no json\"); }");
    planted("lost-assignment", "let n = 0;\nstep(\"x\", || { n += 1; });\nprint(n);", 6, 16);
    planted("lost-assignment", "let l = [];\nstep(\"x\", || { l.push(1); });\nprint(l);", 6, 16);
    planted("lost-assignment", "let m = #{};\nstep(\"x\", || { m.done = true; });\nprint(m);", 6, 16);
    clean("let l = [];\nstep(\"x\", || { l.push(1); l });\n[1].for_each(|| l.push(this));\nprint(l);");
    clean("let n = 0;\nstep(\"x\", || { let n = 1; n += 1; say(`${n}`) });\nprint(n);");
    planted("retried-command", "step(\"x\", #{ retries: 3 }, || say(\"x\"));", 5, 14);
    clean("step(\"x\", #{ retries: 3 }, || copy::tree(p.a, p.a));\nstep(\"y\", #{ retries: 0 }, || say(\"y\"));");
}

#[test]
fn a_comment_allows_one_finding_and_says_why() {
    let same = "let n = 1; // check: allow unused-variable kept for the next version";
    clean(same);
    clean("// check: allow unused-variable kept for the next version\nlet n = 1;");
    planted("allow-without-reason", "let n = 1; // check: allow unused-variable", 5, 12);
    planted("unused-allow", "let n = 1; print(n); // check: allow unused-variable because", 5, 22);
    planted("unused-allow", "let n = 1; // check: allow unusd-variable because", 5, 12);
    planted("unused-variable", "let n = 1; // check: allow empty-catch because", 5, 5);
    clean("print(\"// check: allow unused-variable is a text\");");
    // What is allowed does not keep a script from running either.
    let live = "if copy::probe(p.a).writable { // check: allow live-branch a mount does not change\n step(\"x\", || say(\"x\")); }";
    clean(live);
    let call = Decamp::new().file("s.rhai", with(live));
    call.args(["run", "./s.rhai", "--a", "/tmp"]).run();
}

#[test]
fn words_rhai_keeps_for_itself_are_explained() {
    let seen = check(&with("print(p.default);"), &[]);
    assert_eq!(seen[0]["rule"], "syntax", "{seen:?}");
    assert!(seen[0]["hint"].as_str().is_some_and(|hint| hint.contains("[\"default\"]")), "{seen:?}");
    let seen = check(&with("let spawn = 1;"), &[]);
    assert!(seen[0]["hint"].as_str().is_some_and(|hint| hint.contains("another name")), "{seen:?}");
    let seen = check(&with("step(\"x\", #{ key: \"a\", key: \"b\" }, || 1);"), &[]);
    assert_eq!((&seen[0]["rule"], &seen[0]["line"]), (&"syntax".into(), &5.into()), "{seen:?}");
}

#[test]
fn several_mistakes_are_found_at_once() {
    let seen = found("stp(\"x\");\nlet n = 1;\ncopy::scan(p.a, p.a, p.a);\nsay(\"x\");");
    let rules: Vec<&str> = seen.iter().map(|(rule, ..)| rule.as_str()).collect();
    assert_eq!(rules, ["unknown-function", "unused-variable", "wrong-arity", "effect-outside-step"]);
}

#[test]
fn nothing_shipped_has_a_finding() {
    let shipped = ["scripts", "stdlib"].map(|dir| repository().join(dir));
    let ran = Decamp::new().arg("check").arg("--strict").args(shipped).spawn().wait();
    assert_eq!(ran.status, 0, "{}", ran.stdout);
}

#[test]
fn a_run_refuses_what_check_calls_an_error() {
    let call = Decamp::new().file("s.rhai", with("step(\"x\", #{ retires: 3 }, || say(\"x\"));\nstp();"));
    let run = || call.again().args(["run", "./s.rhai", "--a", "x"]);
    run()
        .status(2)
        .stderr_has("step has no option `retires` [unknown-option]")
        .stderr_has("did you mean `retries`?")
        .run();
    run().status(2).stderr_has("s.rhai:5:14").stderr_has("s.rhai:6:1: there is no function `stp`").run();
    run().arg("--plan").status(2).stderr_has("nothing was begun").run();
    call.again().arg("runs").stdout("no runs\n").run();
    // A warning keeps nothing from running.
    let call = Decamp::new().file("s.rhai", with("let n = 1;"));
    call.args(["run", "./s.rhai", "--a", "x"]).run();
}

#[test]
fn a_resume_refuses_an_edited_script_with_errors_and_undo_refuses_nothing() {
    let text = with("throw \"stop\";");
    let call = Decamp::new().file("s.rhai", &text);
    call.again().args(["run", "./s.rhai", "--a", "x"]).status(1).run();
    let call = call.file("s.rhai", text.replace("throw \"stop\"", "stp()"));
    call.again().args(["resume", "--yes"]).status(2).stderr_has("there is no function `stp`").run();
    let runs = call.again().args(["runs", "--output", "json"]).run().json();
    let id = runs["runs"][0]["id"].as_str().unwrap();
    call.again().args(["undo", id]).status(9).stdout_has("has no undo").run();
}
