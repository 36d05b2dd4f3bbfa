//! A receiving end that is somewhere else: the near side has the journal and says what is to be done.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use decamp::cancel::{Cancel, Cancelled, Reason};
use decamp::copy::far::{Near, receive, relay, serve};
use decamp::copy::options::{CompareOptions, Foreign, MaxDelete, Options};
use decamp::copy::{Error, Work};
use decamp::progress::{Checkpoint, Event, Forgetful, Progress, Silent};
use decamp::rate::Rate;
use decamp::units::Bytes;
use decamp::wire::{Broken, Line, pair};

use crate::copy::kit::{Memory, Pair, deleting, furnish, state, write};

/// Runs `task` against a receiving end whose source is served by a third one.
fn with<T>(task: impl FnOnce(Near) -> Result<T, Error>) -> (Result<T, Error>, Result<(), Broken>) {
    let (near, control) = pair(16);
    let (data, source) = pair(16);
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve(vec![source]));
        let receiving = scope.spawn(|| receive(vec![control, data], &Cancel::new()));
        let done = task(Near::new(near));
        let received = receiving.join().unwrap();
        // A source that was never asked for anything hears no goodbye.
        drop(serving.join().unwrap());
        (done, received)
    })
}

fn work<'a>(checkpoint: &'a dyn Checkpoint, progress: &'a dyn Progress, cancel: &'a Cancel) -> Work<'a> {
    Work { progress, checkpoint, cancel }
}

#[test]
fn it_copies_compares_and_undoes_what_the_near_side_says() {
    let pair = Pair::new();
    furnish(&pair.src);
    write(pair.dst.join("dir/sub/file"), "what was there");
    write(pair.dst.join("own/file"), "stays");
    let backup = pair.base.path().join("backup");
    let before = state(&pair.dst);
    let (memory, cancel) = (Memory::default(), Cancel::new());
    let work = work(&memory, &Silent, &cancel);
    let options = Options { foreign: Foreign::Backup(backup.clone()), ..deleting() };
    let (report, received) = with(|near| near.tree(&pair.src, &pair.dst, &options, &work));
    received.unwrap();
    let report = report.unwrap();
    assert_eq!((report.failed, &report.errors[..]), (0, &[][..]));
    assert!(report.backed_up >= 2 && report.created.files > 5 && report.effort.operations > 0, "{report:#?}");
    pair.assert_same();
    let (found, _) = with(|near| near.compare(&pair.src, &pair.dst, &CompareOptions::default(), &work));
    let found = found.unwrap();
    let here = crate::copy::kit::compare(&pair.src, &pair.dst, &CompareOptions::default());
    assert_eq!((found.differences, found.failed, &found.named), (0, 0, &vec![]));
    assert_eq!((&found.left, &found.right), (&here.left, &here.right));
    assert_eq!((found.content_files, found.content_bytes), (here.content_files, here.content_bytes));
    write(pair.dst.join("dir/sub/file"), vec![8; 100_000]);
    let (found, _) = with(|near| near.compare(&pair.src, &pair.dst, &CompareOptions::default(), &work));
    let found = found.unwrap();
    assert!(found.named.iter().any(|difference| difference.what == "content"), "{:?}", found.named);
    std::fs::remove_file(pair.dst.join("dir/sub/file")).unwrap();
    let (undone, _) = with(|near| near.undo(&pair.dst, Some(&pair.src), Some(&backup), None, &work));
    let undone = undone.unwrap();
    assert_eq!(undone.failed, 0, "{undone:#?}");
    assert_eq!(state(&pair.dst), before);
}

#[test]
fn a_store_that_fails_ends_the_pass_and_the_next_one_goes_on() {
    let pair = Pair::new();
    furnish(&pair.src);
    let cancel = Cancel::new();
    let mut memory = Memory::default();
    memory.with_credit(3);
    let (report, _) = with(|near| near.tree(&pair.src, &pair.dst, &deleting(), &work(&memory, &Silent, &cancel)));
    assert!(matches!(report, Err(Error::Checkpoint(_))), "{report:?}");
    memory.heal();
    let (report, _) = with(|near| near.tree(&pair.src, &pair.dst, &deleting(), &work(&memory, &Silent, &cancel)));
    assert_eq!(report.unwrap().failed, 0);
    pair.assert_same();
    let (undone, _) = with(|near| near.undo(&pair.dst, Some(&pair.src), None, None, &work(&memory, &Silent, &cancel)));
    let undone = undone.unwrap();
    assert_eq!((undone.failed, undone.left), (0, 0), "{undone:#?}");
    assert_eq!(std::fs::read_dir(&pair.dst).unwrap().count(), 0);
}

#[test]
fn errors_of_both_ends_keep_their_kind() {
    let pair = Pair::new();
    write(pair.src.join("x"), "x");
    for number in 0..10 {
        write(pair.dst.join(format!("{number}")), "x");
    }
    let cancel = Cancel::new();
    let work = work(&Forgetful, &Silent, &cancel);
    let options = Options { max_delete: MaxDelete::Count(3), ..deleting() };
    let tree = |src: &Path, dst: &Path| with(|near| near.tree(src, dst, &options, &work)).0.unwrap_err();
    let found = tree(&pair.src, &pair.dst);
    assert!(matches!(found, Error::TooManyDeletes { would: 10, limit: 3, .. }), "{found:?}");
    let found = tree(&pair.base.path().join("none"), &pair.dst);
    assert!(matches!(found, Error::NotFound { .. }), "{found:?}");
    let found = tree(&pair.src, Path::new("/proc/self/stat"));
    assert!(matches!(found, Error::NotDirectory { .. }), "{found:?}");
}

/// Remembers what it hears.
#[derive(Default)]
struct Heard(Mutex<Vec<String>>);

impl Progress for Heard {
    fn event(&self, event: Event<'_>) {
        self.0.lock().unwrap().push(format!("{event:?}"));
    }
}

#[test]
fn progress_is_heard_and_a_stop_and_a_limit_arrive() {
    let pair = Pair::new();
    write(pair.src.join("large"), vec![1; 4 << 20]);
    let heard = Heard::default();
    let cancel = Cancel::new();
    let rate = Rate::new(Some(Bytes(1 << 20)));
    let options = Options { rate: rate.clone(), ..Options::default() };
    let (report, _) = std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(600));
            cancel.cancel(Reason::Terminate);
        });
        with(|near| near.tree(&pair.src, &pair.dst, &options, &work(&Forgetful, &heard, &cancel)))
    });
    assert!(matches!(report, Err(Error::Cancelled(Cancelled(Reason::Terminate)))), "{report:?}");
    assert!(!pair.dst.join("large").exists());
    let heard = heard.0.into_inner().unwrap();
    assert!(heard.iter().any(|event| event.contains("Phase(\"copy\")")), "{heard:?}");
}

#[test]
fn two_far_places_meet_through_the_near_side() {
    let trees = Pair::new();
    furnish(&trees.src);
    let (near, control) = pair(16);
    let (data, to_receiver) = pair(16);
    let (to_sender, source) = pair(16);
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve(vec![source]));
        let relaying = scope.spawn(|| relay(to_receiver, to_sender));
        let receiving = scope.spawn(|| receive(vec![control, data], &Cancel::new()));
        let near = Near::new(near);
        let report = near.tree(&trees.src, &trees.dst, &deleting(), &work(&Forgetful, &Silent, &cancel)).unwrap();
        assert_eq!(report.failed, 0);
        receiving.join().unwrap().unwrap();
        relaying.join().unwrap().unwrap();
        serving.join().unwrap().unwrap();
    });
    trees.assert_same();
}

#[test]
fn a_near_side_that_is_gone_stops_the_work() {
    let trees = Pair::new();
    write(trees.src.join("large"), vec![1; 4 << 20]);
    let (near, control) = pair(16);
    let (data, source) = pair(16);
    let cancel = Cancel::new();
    std::thread::scope(|scope| {
        let serving = scope.spawn(|| serve(vec![source]));
        let receiving = scope.spawn(|| receive(vec![control, data], &cancel));
        drop::<Line>(near);
        assert!(receiving.join().unwrap().is_err());
        drop(serving.join().unwrap());
    });
    assert!(!trees.dst.join("large").exists());
}
