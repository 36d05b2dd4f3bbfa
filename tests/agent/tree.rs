//! Trees at the far side, through a real agent.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use decamp::agent::{Client, compress};
use decamp::cancel::Cancel;
use decamp::copy::error::Apart;
use decamp::copy::far::{Near, Source, serve};
use decamp::copy::options::{CompareOptions, Options};
use decamp::copy::report::Report;
use decamp::copy::{Error, Work, tree_from};
use decamp::progress::{Checkpoint, Event, Forgetful, Progress, Silent};
use decamp::wire::Line;
use rustix::process::{Pid, Signal, kill_process};

use super::process::{Agent, join};
use crate::copy::kit::{Memory, Pair, deleting, furnish, write};
use crate::support::check::assert_same;

fn lines(client: &Client, room: &str, count: usize) -> Vec<Line> {
    compress::all(client.open_many(room, b"", count).unwrap()).unwrap()
}

/// Reads there, writes here.
fn fetch(client: &Client, pair: &Pair, progress: &dyn Progress, checkpoint: &dyn Checkpoint) -> Result<Report, Error> {
    let (cancel, options) = (Cancel::new(), Options::default());
    let source = Source::open(&pair.src, lines(client, "tree-source", 3), &options.exclude, &cancel)?;
    let report = tree_from(&source, &pair.dst, &options, &Work { progress, checkpoint, cancel: &cancel })?;
    source.close()?;
    Ok(report)
}

/// Reads here, writes there.
fn send(client: &Client, pair: &Pair, progress: &dyn Progress, checkpoint: &dyn Checkpoint) -> Result<Report, Error> {
    let mut lines = lines(client, "tree-dest", 3);
    let data = lines.split_off(1);
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve(data));
        let near = Near::new(lines.pop().unwrap());
        let work = Work { progress, checkpoint, cancel: &cancel };
        let done = near.tree(&pair.src, &pair.dst, &deleting(), &work);
        let served = serving.join().unwrap();
        assert!(done.is_err() || served.is_ok(), "{served:?}");
        done
    })
}

type Way = fn(&Client, &Pair, &dyn Progress, &dyn Checkpoint) -> Result<Report, Error>;

const WAYS: [Way; 2] = [fetch, send];

fn seed(dir: &Path) {
    furnish(dir);
    write(dir.join("large"), (0..12 << 20).map(|at: u32| (at / 5) as u8).collect::<Vec<_>>());
    for number in 0..600 {
        write(dir.join(format!("many/{}/{number}", number % 7)), format!("{number} ").repeat(number));
    }
}

#[test]
fn a_tree_is_copied_both_ways_over_several_streams() {
    for way in WAYS {
        let mut agent = Agent::new(&[]);
        let client = agent.client(60_000).unwrap();
        let tickets = client.tickets(2).unwrap();
        let mut joined: Vec<_> = tickets.iter().map(|ticket| join(&agent, &client, ticket).unwrap()).collect();
        let before: Vec<u64> = joined.iter().map(|(_, through)| through.load(Ordering::SeqCst)).collect();
        let pair = Pair::new();
        seed(&pair.src);
        let report = way(&client, &pair, &Silent, &Forgetful).unwrap();
        assert_eq!((report.failed, &report.errors[..]), (0, &[][..]));
        assert_same(&pair.src, &pair.dst);
        let again = way(&client, &pair, &Silent, &Forgetful).unwrap();
        assert_eq!((again.created.entries(), again.updated, again.copied_bytes), (0, 0, 0), "{again:#?}");
        client.close().unwrap();
        assert_eq!(agent.ended(), Some(0));
        for ((child, through), before) in joined.iter_mut().zip(before) {
            child.wait().unwrap();
            // Back comes at least what is wanted of the source.
            assert!(through.load(Ordering::SeqCst) > before + 200, "a stream that carried nothing");
        }
    }
}

#[test]
fn trees_of_two_far_places_are_copied_compared_and_undone_through_this_one() {
    let (mut from, mut to) = (Agent::new(&[]), Agent::new(&[]));
    let (source, dest) = (from.client(60_000).unwrap(), to.client(60_000).unwrap());
    let pair = Pair::new();
    seed(&pair.src);
    let memory = Memory::default();
    let cancel = Cancel::new();
    let work = Work { progress: &Silent, checkpoint: &memory, cancel: &cancel };
    // Nothing is unpacked on the way.
    let with = |task: &dyn Fn(Near) -> Result<(), Error>| {
        let there = source.open_many("tree-source", b"", 2).unwrap();
        let mut here = dest.open_many("tree-dest", b"", 3).unwrap();
        let data = here.split_off(1);
        std::thread::scope(|scope| {
            for (one, two) in there.into_iter().zip(data) {
                scope.spawn(|| decamp::copy::far::relay(one, two).unwrap());
            }
            task(Near::new(compress::all(here).unwrap().pop().unwrap())).unwrap();
        });
    };
    with(&|near| near.tree(&pair.src, &pair.dst, &deleting(), &work).map(|report| assert_eq!(report.failed, 0)));
    assert_same(&pair.src, &pair.dst);
    with(&|near| {
        let found = near.compare(&pair.src, &pair.dst, &CompareOptions::default(), &work)?;
        assert_eq!((found.differences, found.failed), (0, 0), "{found:#?}");
        Ok(())
    });
    with(&|near| {
        let undone = near.undo(&pair.dst, Some(&pair.src), None, None, &work)?;
        assert_eq!((undone.failed, undone.left), (0, 0), "{undone:#?}");
        Ok(())
    });
    assert_eq!(std::fs::read_dir(&pair.dst).unwrap().count(), 0);
    source.close().unwrap();
    dest.close().unwrap();
    assert_eq!((from.ended(), to.ended()), (Some(0), Some(0)));
}

/// Kills the agent when so much was done.
struct Killing {
    agent: Pid,
    at: u64,
    seen: AtomicU64,
}

impl Progress for Killing {
    fn event(&self, event: Event<'_>) {
        if let Event::Advance { entries, .. } = event {
            let seen = self.seen.fetch_add(entries, Ordering::SeqCst) + entries;
            if seen >= self.at {
                kill_process(self.agent, Signal::KILL).ok();
            }
        }
    }
}

#[test]
fn an_agent_that_is_killed_ends_no_copy_and_the_next_one_goes_on() {
    for way in WAYS {
        let pair = Pair::new();
        seed(&pair.src);
        let memory = Memory::default();
        let mut agent = Agent::new(&[]);
        let client = agent.client(60_000).unwrap();
        let killing = Killing { agent: Pid::from_child(&agent.child), at: 100, seen: AtomicU64::new(0) };
        let told = way(&client, &pair, &killing, &memory);
        assert!(matches!(told, Err(Error::Apart(Apart::Cut(_)))), "{told:?}");
        drop(client);
        let before = std::fs::read_dir(pair.dst.join("many")).map_or(0, Iterator::count);
        let mut agent = Agent::new(&[]);
        let client = agent.client(60_000).unwrap();
        let report = way(&client, &pair, &Silent, &memory).unwrap();
        assert_eq!((report.failed, &report.errors[..]), (0, &[][..]));
        assert!(before == 0 || report.unchanged > 0, "{report:#?}");
        assert_same(&pair.src, &pair.dst);
        let undone = pair.undo(None, &memory).unwrap();
        assert_eq!((undone.failed, undone.left), (0, 0), "{undone:#?}");
        assert_eq!(std::fs::read_dir(&pair.dst).unwrap().count(), 0);
        client.close().unwrap();
        assert_eq!(agent.ended(), Some(0));
    }
}
