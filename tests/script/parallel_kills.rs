//! kill -9 while several trees move at once: resuming ends as an uninterrupted run.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use super::support::{log, whole};
use crate::support::check::Check;
use crate::support::env::{Decamp, Ran};
use crate::support::rng::Rng;
use crate::support::tree::Recipe;

const NAMES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

/// Moves trees; every one has a command before and one after that must run once.
fn mover(names: &[&str], max: usize) -> Decamp {
    whole(&format!(
        r#"fn params() {{ #{{}} }}
fn run(p) {{
    let trees = fact("trees", || {names:?});
    let got = parallel(trees, #{{ name: "move", max: {max} }}, |name| {{
        step("begin", || say(`begin ${{name}}`));
        step("root", || copy::root(`dst-${{name}}`));
        let report = step("copy", || copy::tree(`src/${{name}}`, `dst-${{name}}`));
        step("end", || say(`end ${{name}}`));
        `${{name}} ${{report.failed}}`
    }});
    step("results", || say(got.reduce(|all, one| all + one + ";", "")));
    got
}}
"#
    ))
}

fn finished(call: Decamp) -> Ran {
    call.spawn().wait()
}

/// Resumes with `next` until the run is over, saying of commands in doubt what the log tells.
fn go_on(call: &Decamp, mut next: impl FnMut(Decamp) -> Ran) -> (Ran, usize) {
    let mut asked = 0;
    for _ in 0..200 {
        let begun = finished(call.again().args(["runs", "--output", "json"])).stdout;
        if begun.contains("succeeded") {
            return (finished(call.again().args(["runs", "--output", "json"])), asked);
        }
        let start = if begun.contains("\"id\"") { vec!["resume"] } else { vec!["run", "./s.rhai"] };
        let ran = next(call.again().args(start));
        match ran.status {
            0 => return (ran, asked),
            137 => {}
            7 if ran.stderr.contains("still runs") => std::thread::sleep(Duration::from_millis(20)),
            7 => {
                asked += 1;
                // All that is in doubt is named at once.
                for line in ran.stderr.lines().filter(|line| line.ends_with("go on after it)")) {
                    let (_, decide) = line.split_once("decamp decide ").unwrap();
                    let (id, rest) = decide.split_once(" '").unwrap();
                    let step = rest.split_once('\'').unwrap().0;
                    let words = match (step.split_once('['), step.rsplit_once('/')) {
                        (Some((_, rest)), Some((_, verb))) => format!("{verb} {}", rest.split_once(']').unwrap().0),
                        _ => "a ".to_owned(),
                    };
                    let happened = log(call).iter().any(|line| line.starts_with(&words));
                    let answer = if happened { "happened" } else { "retry" };
                    let decided = finished(call.again().args(["decide", id, step, answer]));
                    assert_eq!(decided.status, 0, "{}", decided.stderr);
                }
            }
            code => panic!("{code}: {}{}", ran.stdout, ran.stderr),
        }
    }
    panic!("it does not come to an end");
}

fn judge(call: &Decamp, names: &[&str]) -> Vec<String> {
    let mut wrong = Vec::new();
    for name in names {
        let (src, dst) = (call.dir().join("src").join(name), call.dir().join(format!("dst-{name}")));
        wrong.extend(Check::new().differences(&src, &dst).iter().map(|difference| format!("{name}: {difference:?}")));
    }
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for line in log(call) {
        *counts.entry(line).or_default() += 1;
    }
    let results = names.iter().map(|name| format!("{name} 0;")).collect::<String>();
    let mut expected: BTreeMap<String, usize> = BTreeMap::from([(results, 1)]);
    for name in names {
        expected.extend([(format!("begin {name}"), 1), (format!("end {name}"), 1)]);
    }
    if counts != expected {
        wrong.push(format!("{counts:?}"));
    }
    wrong
}

fn small(src: &Path, names: &[&str]) {
    for name in names {
        // The same names everywhere: what is remembered of one tree must not be taken for another's.
        std::fs::create_dir_all(src.join(name).join("dir")).unwrap();
        std::fs::write(src.join(name).join("dir/file"), format!("content of {name}")).unwrap();
        std::fs::hard_link(src.join(name).join("dir/file"), src.join(name).join("linked")).unwrap();
    }
}

#[test]
fn eight_trees_killed_at_random_times_end_as_if_never_killed() {
    let seed = std::env::var("DECAMP_SEED").map_or(7, |seed| seed.parse().unwrap());
    let mut rng = Rng::new(seed);
    let mut kills = 0;
    for world in 0..3 {
        let call = mover(&NAMES, 8);
        std::fs::create_dir(call.dir().join("src")).unwrap();
        for (n, name) in NAMES.iter().enumerate() {
            Recipe::new(100 * world + n as u64, 250).grow(&call.dir().join("src").join(name));
        }
        let mut left = 8;
        let (ran, asked) = go_on(&call, |next| {
            if left == 0 {
                return finished(next);
            }
            left -= 1;
            let ran = next.spawn().kill_after(Duration::from_millis(rng.below(250) + 20));
            kills += usize::from(ran.status == 137);
            ran
        });
        println!("world {world}: {asked} times asked");
        assert_eq!(judge(&call, &NAMES), Vec::<String>::new(), "seed {seed}: {}", ran.stderr);
    }
    println!("killed {kills} times, seed {seed}");
    assert!(kills >= 10, "only {kills} kills");
}

#[test]
fn a_kill_at_every_boundary_of_a_parallel_ends_as_an_uninterrupted_run() {
    let names = &NAMES[..2];
    let world = |max| {
        let call = mover(names, max);
        small(&call.dir().join("src"), names);
        call
    };
    let count = |max| {
        let call = world(max);
        let file = call.dir().join("../points");
        let ran = finished(call.again().args(["run", "./s.rhai"]).env("DECAMP_CRASH_COUNT", &file));
        assert_eq!((ran.status, judge(&call, names)), (0, Vec::new()), "{}", ran.stderr);
        std::fs::read_to_string(file).unwrap().lines().count()
    };
    let killed = |max, at: usize| {
        let call = world(max);
        let mut first = true;
        go_on(&call, |next| {
            let next = if std::mem::take(&mut first) { next.env("DECAMP_CRASH_AT", at.to_string()) } else { next };
            finished(next)
        });
        judge(&call, names)
    };
    let all = count(1);
    let one_by_one = super::crash::each_point(all, |at| killed(1, at));
    assert_eq!(one_by_one, Vec::<String>::new());
    let mut rng = Rng::new(11);
    let many = count(4);
    let drawn: Vec<usize> = (0..16).map(|_| 1 + rng.below(many as u64) as usize).collect();
    let side_by_side = super::crash::each_point(drawn.len(), |which| killed(4, drawn[which - 1]));
    assert_eq!(side_by_side, Vec::<String>::new());
    println!("{all} crash points one by one, {} of {many} side by side", drawn.len());
    assert!(all > 60, "{all}");
}
