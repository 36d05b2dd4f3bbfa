//! What a pass tells of its workers: in its report, and to progress while it goes on.

use std::num::NonZeroUsize;
use std::sync::Mutex;
use std::time::Duration;

use decamp::cancel::Cancel;
use decamp::copy::options::{CompareOptions, Options, ScanOptions};
use decamp::copy::{self, Work};
use decamp::progress::{Event, Forgetful, Held, Progress};

use super::kit::{Pair, deleting, write};

/// What was told of the workers in one phase.
#[derive(Default, Clone)]
struct Phase {
    name: String,
    running: Vec<usize>,
    operations: u64,
    held: Option<Held>,
}

#[derive(Default)]
struct Told(Mutex<Vec<Phase>>);

impl Told {
    fn phases(&self) -> Vec<String> {
        let told = self.0.lock().unwrap();
        told.iter().filter(|phase| !phase.running.is_empty()).map(|phase| phase.name.clone()).collect()
    }
}

impl Progress for Told {
    fn event(&self, event: Event<'_>) {
        let mut told = self.0.lock().unwrap();
        match event {
            Event::Phase(name) => told.push(Phase { name: name.to_owned(), ..Phase::default() }),
            Event::Workers { running, operations, held } => {
                let phase = told.last_mut().unwrap();
                phase.running.push(running);
                phase.operations += operations;
                phase.held = held;
            }
            _ => {}
        }
    }
}

#[test]
fn the_report_tells_the_effort_of_the_copying_walk() {
    let pair = Pair::new();
    for number in 0..200 {
        write(pair.src.join(format!("d{}/f{number}", number % 10)), "x");
    }
    write(pair.src.join("large"), vec![1; 1 << 20]);
    let told = Told::default();
    let options = Options { jobs: NonZeroUsize::new(3), ..deleting() };
    let effort = pair.copy_told(&options, &Forgetful, &told).unwrap().effort;
    assert_eq!((effort.workers, effort.held), (3, Some(Held::Given)));
    assert!((1..=3).contains(&effort.most_workers), "{effort:?}");
    assert!(effort.elapsed > Duration::ZERO);
    // Every file and directory is at least one, and the large file 16 for its content.
    assert!(effort.operations >= 201 * 2 + 11 + 16, "{effort:?}");
    let copying = told.0.lock().unwrap()[0].clone();
    assert_eq!((copying.name.as_str(), copying.operations, copying.held), ("copy", effort.operations, effort.held));
    assert_eq!(copying.running.iter().max(), Some(&effort.most_workers));
    // Nothing to do is less work, and work all the same.
    let again = pair.copy_all(&options).effort;
    assert!((202..effort.operations).contains(&again.operations), "{again:?} after {effort:?}");
}

#[test]
fn other_walks_tell_progress_as_well() {
    let pair = Pair::new();
    write(pair.src.join("d/f"), "x");
    write(pair.dst.join("extra"), "x");
    let (told, cancel) = (Told::default(), Cancel::new());
    let work = Work { progress: &told, checkpoint: &Forgetful, cancel: &cancel };
    copy::scan(&pair.src, &ScanOptions::default(), &work).unwrap();
    copy::tree(&pair.src, &pair.dst, &deleting(), &work).unwrap();
    copy::compare(&pair.src, &pair.dst, &CompareOptions::default(), &work).unwrap();
    assert_eq!(told.phases(), ["scan", "copy", "delete", "verify"]);
}

/// Each worker waits a while after every few entries, as for a server far away.
struct Far;

impl Progress for Far {
    fn event(&self, event: Event<'_>) {
        if matches!(event, Event::Advance { entries: 1.., .. }) {
            std::thread::sleep(Duration::from_millis(150));
        }
    }
}

#[test]
fn workers_become_more_where_that_helps() {
    let pair = Pair::new();
    for dir in 0..150 {
        for file in 0..64 {
            write(pair.src.join(format!("d{dir}/f{file}")), "");
        }
    }
    let effort = pair.copy_told(&Options::default(), &Forgetful, &Far).unwrap().effort;
    // More than a single trial adds to the first eight.
    assert!(effort.most_workers >= 16, "{effort:?}");
    pair.assert_same();
}
