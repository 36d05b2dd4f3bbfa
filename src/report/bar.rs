//! Progress as a bar at the bottom of a terminal; lines scroll above it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::live::Painter;
use super::plain::{describe, say};
use super::tally::{News, Snapshot};

/// Characters between the ends of the bar.
const WIDTH: usize = 24;

pub(super) struct Bar {
    bar: ProgressBar,
}

impl Bar {
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        // The whole line is one message: two changes of look would be drawn one after the other. A template that does
        // not parse would be a mistake in this file; the bar then has another look.
        if let Ok(style) = ProgressStyle::with_template("{wide_msg}") {
            bar.set_style(style);
        }
        Self { bar }
    }

    /// The bar itself, for taking it away while somebody is asked something.
    pub(super) fn handle(&self) -> ProgressBar {
        self.bar.clone()
    }

    fn draw(&self, seen: &Snapshot) {
        self.bar.set_message(line(seen));
    }
}

impl Painter for Bar {
    fn tick(&mut self, seen: &Snapshot) {
        self.draw(seen);
    }

    fn news(&mut self, news: News, seen: &Snapshot) {
        if let Some(line) = say(&news) {
            self.bar.println(line);
        }
        // A phase of less than one tick is shown as well.
        if matches!(news, News::Phase(_)) {
            self.draw(seen);
        }
    }

    fn end(&mut self, seen: &Snapshot) {
        self.draw(seen);
        self.bar.finish_and_clear();
    }
}

/// `copy [=====>      ] 1,200/5,000 entries, …`; nothing while nothing is counted.
fn line(seen: &Snapshot) -> String {
    if seen.phase.is_empty() {
        return String::new();
    }
    match seen.fraction() {
        Some(fraction) => {
            let done = ((fraction * WIDTH as f64) as usize).min(WIDTH);
            let head = if done < WIDTH { ">" } else { "" };
            let rest = " ".repeat(WIDTH - done - head.len());
            format!("{} [{}{head}{rest}] {}", seen.phase, "=".repeat(done), describe(seen))
        }
        None => format!("{}: {}", seen.phase, describe(seen)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bar_is_as_full_as_the_work_is_done() {
        let at = |entries| line(&Snapshot { phase: "copy".into(), entries, total_entries: 100, ..Snapshot::default() });
        assert!(at(0).starts_with("copy [>                       ] 0/100 entries"), "{}", at(0));
        assert!(at(50).starts_with("copy [============>           ] 50/100"), "{}", at(50));
        assert!(at(100).starts_with("copy [========================] 100/100"), "{}", at(100));
        assert!(at(120).starts_with("copy [========================] 120/100"), "{}", at(120));
        assert_eq!(line(&Snapshot::default()), "");
    }
}
