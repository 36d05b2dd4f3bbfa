//! Secrets reach the commands they are given to, and nothing else: neither what is shown nor what is kept.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};

use super::support::{log, run, run_id, script, whole};
use crate::support::env::{Decamp, Ran};

/// It has what escapes itself in JSON, shells and URLs.
const VALUE: &str = r#"Sesam"öffne'dich \$ 100%/+x"#;

/// The body of a script with the secret in `token`, and its value as a text in `raw`, read before anybody knew that it is
/// one: the way in which scripts get hold of what they should not.
fn with_token(body: &str) -> Decamp {
    let head = r#"let h = host::local();
        let raw = h.exec(["cat", "token"], #{ read_only: true }).stdout;
        let name = "TOKEN";
        let token = secret(`env:${name}`);
        let tmp = h.exec(["pwd"], #{ read_only: true }).stdout; tmp.trim();
    "#;
    let call = script(&format!("{head}{body}")).file("token", VALUE).env("TOKEN", VALUE);
    std::fs::set_permissions(call.dir().join("token"), std::fs::Permissions::from_mode(0o600)).unwrap();
    call
}

/// What `VALUE` may look like, each long enough to be no accident.
fn forms() -> Vec<Vec<u8>> {
    let json = serde_json::Value::from(VALUE).to_string();
    let twice = serde_json::Value::from(json.as_str()).to_string();
    let percent: String = VALUE
        .bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02X}") })
        .collect();
    let hex: String = VALUE.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut forms: Vec<String> = vec![
        VALUE.to_owned(),
        json[1..json.len() - 1].to_owned(),
        twice[3..twice.len() - 3].to_owned(),
        percent.clone(),
        percent.to_lowercase(),
        VALUE.replace('\'', r"'\''"),
        VALUE.escape_debug().to_string(),
        hex.to_uppercase(),
        hex,
    ];
    for before in ["", "a", "ab"] {
        // The characters at the ends hold bits of what stands around.
        for text in [STANDARD.encode(format!("{before}{VALUE}")), URL_SAFE_NO_PAD.encode(format!("{before}{VALUE}"))] {
            forms.push(text[4..text.len() - 4].to_owned());
        }
    }
    // Nobody would be helped by a value that is left but for one character.
    forms.push(VALUE.chars().take(9).collect());
    forms.push(VALUE.chars().rev().take(9).collect::<Vec<_>>().into_iter().rev().collect());
    forms.into_iter().map(String::into_bytes).collect()
}

/// Where in `bytes` a form of the value is.
fn leak(bytes: &[u8]) -> Option<String> {
    forms().into_iter().find_map(|form| {
        let starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == form[0]);
        let at = starts.map(|(at, _)| at).find(|at| bytes[*at..].starts_with(&form))?;
        let around = &bytes[at.saturating_sub(80)..(at + form.len() + 20).min(bytes.len())];
        Some(String::from_utf8_lossy(around).into_owned())
    })
}

/// Every file below `dir`.
fn files(dir: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.symlink_metadata().unwrap().is_dir() { open.push(path) } else { all.push(path) }
        }
    }
    all
}

/// Looks for the value in everything that was kept: every file of the state directory, the log beside the database
/// among them, and what the database keeps compressed.
#[track_caller]
fn nothing_kept(call: &Decamp) {
    let files = files(&call.state());
    assert!(files.iter().any(|file| file.ends_with("events.ndjson")), "{files:?}");
    // The reserve for a full disk is nothing but zeros.
    for file in files.into_iter().filter(|file| !file.ends_with("ballast")) {
        let bytes = std::fs::read(&file).unwrap();
        if let Some(found) = leak(&bytes) {
            panic!("{} holds {found:?}", file.display());
        }
    }
    let sql = rusqlite::Connection::open(call.state().join("journal.db")).unwrap();
    let mut statement = sql.prepare("SELECT zstd FROM blob").unwrap();
    let blobs: Vec<Vec<u8>> =
        statement.query_map([], |row| row.get(0)).unwrap().collect::<rusqlite::Result<_>>().unwrap();
    assert!(!blobs.is_empty());
    for blob in blobs {
        let plain = zstd::decode_all(blob.as_slice()).unwrap();
        assert_eq!(leak(&plain), None, "a blob");
    }
}

#[track_caller]
fn nothing_shown(ran: &Ran) {
    for (name, text) in [("stdout", &ran.stdout), ("stderr", &ran.stderr)] {
        if let Some(found) = leak(text.as_bytes()) {
            panic!("{name} shows {found:?}\n{text}");
        }
    }
}

/// Runs a script with this form of output and looks everywhere afterwards.
#[track_caller]
fn keeps_quiet(body: &str, output: &str, status: i32, said: &str) -> Ran {
    let call = with_token(body);
    let ran = run(&call).args(["--output", output]).status(status).run();
    nothing_shown(&ran);
    nothing_kept(&call);
    let all = format!("{}{}", ran.stdout, ran.stderr);
    assert!(all.contains(said), "{said:?} is not in\n{all}");
    ran
}

/// The same in every form of output; what came out as text.
#[track_caller]
fn leaks_nothing(body: &str, status: i32, said: &str) -> Ran {
    for output in ["ndjson", "json"] {
        keeps_quiet(body, output, status, "");
    }
    keeps_quiet(body, "text", status, said)
}

#[test]
fn commands_get_the_value_and_what_they_say_of_it_is_replaced() {
    let body = r#"
        let r = step("say", || h.exec(["sh", "-c", "cat > from-stdin; printf %s \"$T\" > from-env; printf %s \"$T\"; printf %s \"$T\" >&2"],
            #{ stdin: token, env: #{ T: token } }));
        print(r.stdout + "|" + r.stderr);
        if r.stdout != "[secret env:TOKEN]" { throw "not replaced"; }
    "#;
    leaks_nothing(body, 0, "[secret env:TOKEN]|[secret env:TOKEN]");
    let call = with_token(body);
    run(&call).file_is("from-stdin", VALUE).file_is("from-env", VALUE).run();
    // The journal keeps the reference.
    let shown = call.again().args(["show", &run_id(&call), "--output", "json"]).run().json();
    let request = &shown["effects"][0]["request"];
    assert_eq!((&request["stdin"], &request["env"]["T"]), (&"secret:env:TOKEN".into(), &"secret:env:TOKEN".into()));
}

#[test]
fn a_secret_prints_as_one_and_has_no_data() {
    let body = r#"
        print(token); debug(token); print(`${token}`); print("" + token); print([token]); print(#{ a: token });
        print(type_of(token)); print(token.to_string()); print(#{ a: token }.to_json());
        if token != raw || !(token == raw) || token == "other" || token != secret(`env:${name}`) { throw "compared wrongly"; }
        note("kind", type_of(token));
    "#;
    let ran = leaks_nothing(body, 0, "Secret");
    assert!(ran.stderr.lines().filter(|line| line.contains("Secret")).count() >= 6, "{}", ran.stderr);
    for body in
        ["if token < token { }", "token.len()", "token[0]", "token.value", "for c in token { }", "token + token"]
    {
        leaks_nothing(&format!("{body};"), 1, "error:");
    }
}

#[test]
fn what_is_shown_holds_no_form_of_the_value() {
    leaks_nothing(r#"print(raw); print(`<${raw}>`); debug(raw); debug([raw, #{ k: raw }]);"#, 0, "[secret env:TOKEN]");
    // Escaped, encoded, and broken into lines.
    let tools = r#"
        let say = |line| print(h.exec(["sh", "-c", line], #{ stdin: token, read_only: true }).stdout);
        say.call("base64"); say.call("base64 -w0"); say.call("(printf a; cat) | base64"); say.call("(printf ab; cat; echo x) | base64");
        say.call("od -An -v -tx1"); say.call("od -An -v -tx1 | tr -d ' \n'"); say.call("od -An -v -tx1 | tr -d ' \n' | tr a-f A-F");
        say.call("od -An -v -tx1 | tr -d '\n' | tr ' ' %"); say.call("od -An -v -tx1 | tr -d '\n' | sed 's/ /\\\\x/g'");
        print(#{ k: raw }.to_json());
    "#;
    leaks_nothing(tools, 0, "[secret env:TOKEN]");
}

#[test]
fn what_is_kept_is_refused_or_replaced() {
    for (body, status, said) in [
        (r#"note("n", raw);"#, 2, "`value` holds the value of [secret env:TOKEN]"),
        (r#"note("n", #{ a: [1, token] });"#, 2, "`value.a[1]` is a secret"),
        (r#"note(raw, 1);"#, 0, "[secret env:TOKEN]"),
        (r#"step("s", || #{ deep: [raw] });"#, 2, "`result.deep[0]` holds the value of [secret env:TOKEN]"),
        (r#"step("s", || token);"#, 2, "`result` is a secret, which is never kept"),
        (r#"let m = #{}; m[raw] = 1; step("s", || m);"#, 2, "`result, a key` holds the value"),
        (r#"fact("s", || "x" + raw + "y");"#, 2, "`result` holds the value"),
        (r#"step("s", #{ inputs: raw }, || 1);"#, 2, "`inputs` holds the value"),
        (r#"step(raw, || 1);"#, 2, "`[secret env:TOKEN]` cannot be the name of a step"),
        (r#"step("s", #{ key: raw }, || 1);"#, 2, "the name of a step holds the value of [secret env:TOKEN]"),
        (r#"throw raw;"#, 1, "[secret env:TOKEN]"),
        (r#"throw token;"#, 1, "a secret was thrown"),
        (r#"throw #{ kind: "denied", message: raw, hint: raw };"#, 1, "[secret env:TOKEN]"),
        (r#"step("s", || { throw raw; });"#, 1, "[secret env:TOKEN]"),
        (
            r#"step("s", #{ retries: 1, base: "1ms" }, || { throw #{ kind: "unreachable", message: raw } });"#,
            4,
            "[secret env:TOKEN]",
        ),
        (r#"let kept = raw; step("s", || { kept.len(); 1 });"#, 0, "s: done"),
        (
            r#"step("s", || h.exec(["sh", "-c", "printf %s \"$T\" >&2; exit 3"], #{ env: #{ T: token } }));"#,
            1,
            "it said: [secret env:TOKEN]",
        ),
        (r#"step("s", || h.exec(["echo", raw]));"#, 2, "every user of the machine"),
        (r#"step("s", || h.exec(["echo", "--password=" + raw]));"#, 2, "#{ stdin: token }"),
        (r#"step("s", || h.exec(["echo", token]));"#, 2, "the secret `env:TOKEN` stands among the words of a command"),
        (r#"step("s", || h.exec(["cat"], #{ stdin: raw, env: #{ T: raw } }));"#, 0, "s: done"),
        (r#"step("s", || h.exec(["true"], #{ cwd: raw }));"#, 1, "cannot start"),
        (r#"step("s", || h.exec(["true"], #{ env: token }));"#, 2, "must be a map of texts and secrets"),
        (r#"copy::scan(raw);"#, 2, "a path holds the value of [secret env:TOKEN]"),
        (r#"step("s", || copy::root("/tmp/" + raw));"#, 2, "a path holds the value"),
        (r#"copy::compare(token, token);"#, 2, "error:"),
        (r#"approve("go", #{ summary: raw, show: [raw] });"#, 5, "[secret env:TOKEN]"),
        (r#"wait_until(raw, #{ timeout: "1ms" }, || false);"#, 2, "cannot be the name of a step"),
        (r#"h[raw];"#, 1, "error:"),
        (r#"secret(raw);"#, 2, "a secret is given as a reference"),
        (r#"raw"#, 0, "succeeded"),
        (r#"token"#, 0, "succeeded"),
    ] {
        // Text shows what JSON shows, and errors with their line on top.
        keeps_quiet(body, "text", status, said);
        keeps_quiet(body, "ndjson", status, "");
    }
}

#[test]
fn a_tree_with_the_value_in_its_names_is_shown_without_it() {
    let call = with_token(
        r#"step("make", || copy::root(tmp + "/b")); step("c", || copy::tree(tmp + "/a", tmp + "/b")); let seen = copy::compare(tmp + "/a", tmp + "/c"); print(seen); throw seen.named[0].path;"#,
    );
    let name = VALUE.replace('/', "");
    let call =
        call.env("TOKEN", &name).file("token", &name).file(format!("a/{name}"), "1").file("b/x", "1").file("c/x", "1");
    let ran = run(&call).args(["--output", "ndjson"]).status(1).run();
    assert!(ran.stdout.contains("[secret env:TOKEN]"), "{}", ran.stdout);
    for text in [&ran.stdout, &ran.stderr] {
        assert!(!text.contains("Sesam"), "{text}");
    }
}

#[test]
fn a_value_in_two_reads_and_at_the_cut_of_a_long_output_is_replaced() {
    leaks_nothing(
        r#"let r = step("split", || h.exec(["sh", "-c", "a=${T%dich*}; b=${T#\"$a\"}; printf %s \"$a\"; sleep 0.3; printf %s \"$b\""], #{ env: #{ T: token } }));
           print(r.stdout);"#,
        0,
        "[secret env:TOKEN]",
    );
    // 1 MiB is kept: somewhere in this row of values the cut lies within one.
    let ran = leaks_nothing(
        r#"let r = step("long", || h.exec(["sh", "-c", "head -c 3000001 /dev/zero | tr '\\0' .; printf %s%01048570d \"$T\" 7"], #{ env: #{ T: token } }));
           print(r.stdout.len()); print(r.stdout.sub_string(0, 40));"#,
        0,
        "[secret env:TOKEN]",
    );
    assert!(ran.stderr.contains("[secret env:TOKEN]00000"), "{}", &ran.stderr[..200]);
}

#[test]
fn a_parameter_that_is_the_value_is_refused_before_anything_is_kept() {
    let call = with_token(r#"secret("env:TOKEN");"#);
    let ran =
        run(&call).args(["--arg", VALUE]).status(2).stderr_has("the parameter `arg` holds the value of [secret").run();
    nothing_shown(&ran);
    assert!(!call.state().join("journal.db").exists());
    // Nor on resume.
    let call = with_token(r#"secret("env:TOKEN"); step("a", || 1); if p.arg == "" { throw "stop"; }"#);
    run(&call).status(1).run();
    nothing_shown(&call.again().args(["resume", "--set", &format!("arg={VALUE}")]).status(2).run());
    nothing_kept(&call);
}

#[test]
fn plans_undo_and_resume_keep_quiet_too() {
    let body = r#"
        step("make", #{ undo: |r| { h.exec(["sh", "-c", "cat > undone; printf %s \"$T\""], #{ stdin: token, env: #{ T: token } }); print(raw) } },
            || h.exec(["sh", "-c", "cat"], #{ stdin: token }).code);
        if p.arg == "" { throw "stop"; }
        step("more", || { print(raw); 1 });
    "#;
    let call = with_token(body);
    nothing_shown(&run(&call).args(["--plan", "--arg", "x"]).run());
    nothing_shown(&run(&call).status(1).run());
    let id = run_id(&call);
    nothing_shown(&call.again().args(["resume", "--set", "arg=x"]).run());
    nothing_shown(&call.again().args(["undo", &id]).file_is("undone", VALUE).run());
    nothing_kept(&call);
    for args in [&["show", &id][..], &["show", &id, "--output", "json"], &["log", &id], &["runs"]] {
        nothing_shown(&call.again().args(args).run());
    }
}

#[test]
fn undo_needs_a_secret_only_where_it_is_used() {
    let body = r#"
        step("one", #{ undo: |r| say("undo one") }, || say("one"));
        let t = secret("env:GONE");
        step("two", #{ undo: |r| say("undo two") }, || h_exec(t));
        step("three", #{ undo: |r| say("undo three") }, || say("three"));
    "#;
    let text = format!(
        "fn h_exec(t) {{ host::local().exec([\"cat\"], #{{ stdin: t }}).code }}\nfn params() {{ #{{}} }}\nfn run(p) {{ {body} }}"
    );
    let call = whole(&text);
    run(&call).env("GONE", "Gone-for-good").run();
    call.again().args(["undo", &run_id(&call)]).run();
    assert_eq!(log(&call), ["one", "three", "undo three", "undo two", "undo one"]);
}

#[test]
fn a_missing_secret_names_its_reference_and_the_run_can_go_on_with_it() {
    let call = script(r#"step("a", || say("a")); secret("env:NOT_THERE"); step("b", || say("b"));"#);
    run(&call).status(1).stderr_has("the secret `env:NOT_THERE` is not there").run();
    run(&call).arg("--plan").status(1).stderr_has("env:NOT_THERE").run();
    call.again().arg("resume").env("NOT_THERE", "Late-secret").run();
    assert_eq!(log(&call), ["a", "b"]);
    // What is given by name must be there before anything begins.
    let call = whole(
        "fn params() { #{ token: #{ type: \"secret\" } } }\nfn run(p) { step(\"a\", || say(\"a\")); secret(p.token); }",
    );
    run(&call).args(["--token", "env:NOT_THERE"]).status(2).stderr_has("it was given as --token").run();
    call.again().arg("runs").stdout("no runs\n").run();
    let refused = run(&call).args(["--token", "Literal-secret"]).status(2).nowhere("Literal-secret").run();
    assert!(refused.stderr.contains("env:NAME, file:PATH or command:WORDS"), "{}", refused.stderr);
    run(&call).args(["--token", "env:THERE"]).env("THERE", "There-it-is").nowhere("There-it-is").run();
}

#[test]
fn files_that_others_may_read_and_empty_values_are_refused() {
    let call = script(r#"secret("file:token");"#).file("token", "Too-open\n");
    std::fs::set_permissions(call.dir().join("token"), std::fs::Permissions::from_mode(0o640)).unwrap();
    run(&call).status(1).stderr_has("its mode is 0640").stderr_has("chmod 600").nowhere("Too-open").run();
    run(&script(r#"secret("env:E");"#)).env("E", "").status(2).stderr_has("`env:E` is empty").run();
}

#[test]
fn a_command_gives_its_first_line_and_a_plan_does_not_run_it() {
    let call = script(
        r#"let t = secret("command:sh -c 'echo x >> ran; echo Command-$((40+2)); echo more'");
           secret("command:sh -c 'echo x >> ran; echo Command-$((40+2)); echo more'");
           step("a", || host::local().exec(["sh", "-c", "cat > got"], #{ stdin: t }).code);"#,
    );
    run(&call).arg("--plan").absent("ran").run();
    run(&call).file_is("got", "Command-42").file_is("ran", "x\n").nowhere("Command-42").run();
    let call = script(r#"secret("command:sh -c 'echo Command-$((40+2)); echo no Command-$((40+2)) >&2; exit 9'");"#);
    run(&call)
        .status(2)
        .nowhere("Command-42")
        .stderr_has("ended with exit code 9")
        .stderr_has("it said: no [secret")
        .run();
    run(&script(r#"secret("command:no-such-program x");"#))
        .arg("--plan")
        .status(1)
        .stderr_has("there is no program")
        .run();
}

#[test]
fn a_short_value_is_warned_of_and_a_word_does_not_get_in_the_way() {
    let call =
        script(r#"let t = secret("env:PIN"); step("a", || "1234 and more"); step("b", || "1234");"#).env("PIN", "1234");
    run(&call).status(2).stderr_has("fewer than 6 bytes").stderr_has("! b: `result` holds the value").run();
    let body = r#"let t = secret("env:WORD"); step("a", || host::local().exec(["echo", "postgresql"]).stdout);
                  step("b", || "/srv/postgres/data"); step("c", || "postgres");"#;
    let call = script(body).env("WORD", "postgres");
    let ran = run(&call).status(1).stderr_has("`result` holds the value of [secret env:WORD]").run();
    assert!(ran.stderr.contains("b: done") && !ran.stderr.contains("c: done"), "{}", ran.stderr);
}

#[test]
fn inputs_may_hold_a_secret_and_another_value_is_noticed() {
    let call = script(
        r#"let t = secret("env:T"); step("a", #{ inputs: #{ t: t } }, || say("a")); if p.arg == "" { throw "stop"; }"#,
    );
    run(&call).env("T", "First-value").status(1).run();
    call.again().arg("resume").env("T", "First-value").status(1).stderr_has("stop").run();
    call.again().arg("resume").env("T", "Other-value").status(1).nowhere("error: stop").nowhere("-value").run();
    assert_eq!(log(&call), ["a"]);
}

#[test]
fn a_variable_that_is_a_secret_is_not_inherited_by_commands() {
    let call = with_token(
        r#"step("other", || h.exec(["sh", "-c", "env > other"]));
           step("given", || h.exec(["sh", "-c", "env > given"], #{ env: #{ TOKEN: token } }));
           h.exec(["sh", "-c", "env > looked"], #{ read_only: true });"#,
    );
    run(&call).env("PLAIN", "plain").run();
    let read = |name: &str| std::fs::read_to_string(call.dir().join(name)).unwrap();
    for name in ["other", "looked"] {
        let env = read(name);
        assert!(env.contains("PLAIN=plain") && !env.contains("TOKEN"), "{name}: {env}");
    }
    assert!(read("given").contains(&format!("TOKEN={VALUE}")));
}
