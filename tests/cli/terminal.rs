//! On a terminal: the bar, and questions.

use crate::support::env::Decamp;

fn many() -> Decamp {
    let mut call = Decamp::new();
    for n in 0..300 {
        call = call.file(format!("src/d{}/f{n}", n % 7), vec![7; 4096]);
    }
    call
}

#[test]
fn a_bar_is_shown_on_a_terminal_and_cleared() {
    let ran = many().args(["copy", "src", "dst"]).on_terminal().stdout_has("entries").stdout_has("copied").run();
    assert!(ran.stdout.contains("copy ") && ran.stdout.contains('\r'), "{:?}", ran.stdout);
    let last = ran.stdout.rsplit("\x1b[2K").next().unwrap();
    assert!(
        last.trim_start().trim_start_matches("\x1b[32m").starts_with("copied"),
        "the bar is not cleared before the report: {:?}",
        ran.stdout
    );
}

#[test]
fn no_bar_where_it_would_not_move() {
    let call = many();
    let ran = call.again().args(["copy", "src", "dst"]).run();
    assert!(!ran.stderr.contains('\r') && !ran.stderr.contains('\x1b'), "{:?}", ran.stderr);
    let ran = call.again().args(["copy", "src", "dst2"]).on_terminal().env("TERM", "dumb").run();
    assert!(!ran.stdout.contains('\x1b'), "{:?}", ran.stdout);
    let ran = call.again().args(["copy", "src", "dst3", "--progress", "none"]).on_terminal().run();
    assert!(!ran.stdout.contains("\x1b[2K"), "{:?}", ran.stdout);
}
