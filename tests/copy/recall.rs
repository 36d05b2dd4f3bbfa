//! What an earlier pass has proved is not looked at again, and nothing that changed since is overlooked for it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use decamp::cancel::Cancel;
use decamp::copy::exclude::Exclude;
use decamp::copy::options::{Equality, Loss, Options};
use decamp::copy::{self, Work};
use decamp::progress::{Event, Forgetful, Progress};
use rustix::io::Errno;

use super::kit::{sh, write};
use super::passes::{attempt, deleting, idle_pass, pass};
use crate::support::check::{Check, assert_same};
use crate::support::dress::{stamp, xattr};
use crate::support::faults::{Fail, Faulty, Op};
use crate::support::skip::needs_root;
use crate::support::volume::{FileSystem, Volume};

/// What was changed less than 2 s before a pass is not remembered by it.
const SETTLED: Duration = Duration::from_millis(2_100);

struct World {
    base: tempfile::TempDir,
    src: PathBuf,
    dst: PathBuf,
}

impl World {
    /// A source of one entry of each sort, of an age to be remembered.
    fn new() -> Self {
        Self::in_dir(&std::env::temp_dir())
    }

    fn in_dir(dir: &Path) -> Self {
        let world = Self::empty(dir);
        write(world.src.join("file"), "file");
        write(world.src.join("dir/below"), "below");
        sh(&world.src, "ln -s file link; mkfifo pipe; ln file twin; setfattr -n user.a -v 1 file dir");
        sh(&world.src, "find . -exec touch -h -d '2001-02-03 04:05:06' {} +");
        std::thread::sleep(SETTLED);
        world
    }

    fn empty(dir: &Path) -> Self {
        let base = tempfile::tempdir_in(dir).unwrap();
        let (src, dst) = (base.path().join("src"), base.path().join("dst"));
        fs::create_dir(&src).unwrap();
        fs::create_dir(&dst).unwrap();
        Self { base, src, dst }
    }

    fn options(&self) -> Options {
        Options { recall: Some(self.base.path().join("sets")), ..Options::default() }
    }

    fn pass(&self) {
        pass(&self.src, &self.dst, &self.options());
    }

    fn file(&self) -> PathBuf {
        only_file(&self.base.path().join("sets"))
    }
}

fn only_file(dir: &Path) -> PathBuf {
    let mut all: Vec<_> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

/// How many hashes a file holds.
fn hashes(file: &Path) -> u64 {
    (fs::metadata(file).unwrap().len() - 80) / 16
}

/// One pass, and what it had to say beside its report.
fn told(src: &Path, dst: &Path, options: &Options) -> Vec<String> {
    #[derive(Default)]
    struct Notices(Mutex<Vec<String>>);
    impl Progress for Notices {
        fn event(&self, event: Event<'_>) {
            if let Event::Notice { text, .. } = event {
                self.0.lock().unwrap().push(text.to_owned());
            }
        }
    }
    let (notices, cancel) = (Notices::default(), Cancel::new());
    copy::tree(src, dst, options, &Work { progress: &notices, checkpoint: &Forgetful, cancel: &cancel }).unwrap();
    notices.0.into_inner().unwrap()
}

/// Attributes of these names cannot be looked at from here on.
fn close_eyes(faulty: &Faulty, names: &[&str]) {
    for name in names {
        faulty.fail(Fail::new(Op::GetXattr, Errno::IO).on(name));
    }
}

#[test]
fn nothing_proved_is_looked_at_again() {
    let world = World::new();
    let (Some(left), Some(right)) = (Faulty::over(&world.src), Faulty::over(&world.dst)) else { return };
    let names = ["dir", "below", "link", "pipe"];
    let copy = |options: &Options| attempt(left.path(), right.path(), options).unwrap().failed;
    assert_eq!(copy(&world.options()), 0);
    // The names of a hard link were made one after the other, so what was remembered of the first no longer fits.
    assert_eq!(hashes(&world.file()), 6);
    for side in [&left, &right] {
        close_eyes(side, &names);
        assert_eq!(copy(&Options { dry_run: true, ..world.options() }), 0);
        assert_eq!(copy(&Options { equality: Equality::Content, ..world.options() }), 0);
        assert_eq!(copy(&world.options()), 0);
        assert_eq!(side.hits(), 0);
        assert_eq!(copy(&Options::default()), 4, "without it, they are looked at");
        side.clear();
    }
    std::thread::sleep(SETTLED);
    assert_eq!(copy(&world.options()), 0);
    assert_eq!(hashes(&world.file()), 6);
    close_eyes(&left, &["file", "twin"]);
    assert_eq!(copy(&world.options()), 0);
    // An entry that goes is forgotten.
    left.clear();
    fs::remove_file(world.src.join("pipe")).unwrap();
    pass(left.path(), right.path(), &Options { recall: world.options().recall, ..deleting() });
    std::thread::sleep(SETTLED);
    assert_eq!(copy(&world.options()), 0);
    assert_eq!(hashes(&world.file()), 5);
}

#[test]
fn every_change_after_a_pass_is_found() {
    if !needs_root("capabilities and trusted attributes") {
        return;
    }
    let changes = [
        "setfattr -n user.a -v 2 file",
        "setfattr -x user.a file",
        "setfattr -n user.b -v 1 dir/below",
        "setfattr -n user.b -v 1 dir",
        "setfattr -x user.b dir",
        "setfattr -h -n trusted.l -v 1 link",
        "setfattr -n trusted.p -v 1 pipe",
        "setfattr -n user.t -v 1 twin",
        "setfacl -m u:1234:rw dir/below",
        "setfacl -b dir/below",
        "setfacl -m g:77:r file",
        "setfacl -d -m u:1234:rwx dir",
        "setfacl -k dir",
        "setcap cap_net_bind_service+ep dir/below",
        "chmod 0751 dir dir/below",
        "chmod 0600 pipe file",
        "chown -h 12:34 link",
        "chown 12:34 dir/below dir twin",
    ];
    for kind in FileSystem::ALL {
        let Some(volume) = Volume::new(kind, 0) else { return };
        let world = World::in_dir(volume.path());
        world.pass();
        world.pass();
        for change in changes {
            sh(&world.src, change);
            world.pass();
            assert_same(&world.src, &world.dst);
            idle_pass(&world.src, &world.dst, &world.options());
        }
        for change in changes {
            // What it would be set to is there on some of them already, so it is undone first by somebody else.
            sh(&world.dst, "setfattr -h -x trusted.l link 2>/dev/null || true; setfacl -b -k dir dir/below");
            sh(&world.dst, change.replace(" -x ", " -v 9 -n ").as_str());
            world.pass();
            assert_same(&world.src, &world.dst);
            idle_pass(&world.src, &world.dst, &world.options());
        }
    }
}

#[test]
fn every_name_more_or_less_after_a_pass_is_found() {
    // What is done to a directory of the source or of the destination that holds a file `below`.
    let changes = [
        ("dst", "touch extra"),
        ("dst", "mkdir extra"),
        ("dst", "mv below other"),
        ("dst", "rm below"),
        ("dst", "ln below again"),
        ("dst", "touch .decamp-tmp-0000000000000001"),
        ("src", "rm below"),
        ("src", "mv below other"),
        ("src", "mkdir sub; touch sub/file"),
    ];
    for kind in FileSystem::ALL {
        let Some(volume) = Volume::new(kind, 0) else { return };
        let world = World::empty(volume.path());
        for (number, _) in changes.iter().enumerate() {
            write(world.src.join(number.to_string()).join("below"), "below");
        }
        std::thread::sleep(SETTLED);
        let options = Options { recall: world.options().recall, ..deleting() };
        pass(&world.src, &world.dst, &options);
        // As the pass has left them that made them, and as one has that found nothing to do.
        for round in 0..2 {
            for (number, (side, change)) in changes.iter().enumerate() {
                let root = if *side == "src" { &world.src } else { &world.dst };
                sh(&root.join(number.to_string()), change);
            }
            pass(&world.src, &world.dst, &options);
            assert_same(&world.src, &world.dst);
            idle_pass(&world.src, &world.dst, &options);
            if round == 0 {
                sh(&world.src, "rm -rf 8/sub; for d in *; do rm -f $d/*; touch $d/below; done");
                std::thread::sleep(SETTLED);
                pass(&world.src, &world.dst, &options);
                std::thread::sleep(SETTLED);
                pass(&world.src, &world.dst, &options);
            }
        }
    }
}

#[test]
fn a_name_that_was_left_out_is_found_when_it_no_longer_is() {
    let world = World::new();
    world.pass();
    write(world.dst.join("dir/extra"), "");
    let exclude = Exclude::parse(&["/dir/extra".into()]).unwrap();
    for _ in 0..2 {
        // The first sets the times of the directory, the second finds nothing to do.
        std::thread::sleep(SETTLED);
        pass(&world.src, &world.dst, &Options { exclude: exclude.clone(), ..world.options() });
    }
    pass(&world.src, &world.dst, &Options { recall: world.options().recall, ..deleting() });
    assert_same(&world.src, &world.dst);
}

#[test]
fn a_change_right_after_a_pass_is_found() {
    let world = World::new();
    for number in 0..150 {
        let (side, name) = match number % 4 {
            0 => (&world.src, "file"),
            1 => (&world.dst, "dir/below"),
            2 => (&world.dst, "dir"),
            _ => (&world.dst, "twin"),
        };
        world.pass();
        xattr(&side.join(name), "user.round", format!("{number}").as_bytes());
        world.pass();
        assert_same(&world.src, &world.dst);
    }
}

/// The clocks of most file systems go in ticks of up to 10 ms; where tests run, they may be finer.
#[test]
fn a_change_in_the_tick_of_the_making_is_found() {
    let world = World::empty(&std::env::temp_dir());
    let names: Vec<String> = (0..8).map(|number| format!("file{number}")).collect();
    for name in &names {
        write(world.src.join(name), "x");
        stamp(&world.src.join(name), 1_000_000_000, 0);
    }
    stamp(&world.src, 1_000_000_000, 0);
    std::thread::sleep(SETTLED);
    let Some(right) = Faulty::over(&world.dst) else { return };
    right.set(|faults| faults.time_step = Some(10_000_000));
    let mut remembered = 0;
    for round in 0..40 {
        for name in &names {
            fs::remove_file(world.dst.join(name)).ok();
        }
        pass(&world.src, right.path(), &world.options());
        remembered += hashes(&world.file());
        for name in &names {
            xattr(&world.dst.join(name), "user.round", format!("{round}").as_bytes());
        }
        pass(&world.src, right.path(), &world.options());
        assert_same(&world.src, &world.dst);
    }
    assert!(remembered > 200, "{remembered} were remembered at all");
}

#[test]
fn a_source_changed_twice_in_a_second_is_found_where_times_are_whole_seconds() {
    let world = World::empty(&std::env::temp_dir());
    let Some(left) = Faulty::over(&world.src) else { return };
    left.set(|faults| faults.time_step = Some(1_000_000_000));
    for round in 0..3 {
        write(world.src.join("file"), "x");
        stamp(&world.src.join("file"), 1_000_000_000, 0);
        let part = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().subsec_nanos();
        std::thread::sleep(Duration::from_nanos(1_020_000_000 - u64::from(part)));
        for value in ["first", "second"] {
            xattr(&world.src.join("file"), "user.a", format!("{value} {round}").as_bytes());
            pass(left.path(), &world.dst, &world.options());
        }
        Check::new().ignoring("mtime").assert_same(&world.src, &world.dst);
    }
}

#[test]
fn whole_seconds_in_the_destination_are_not_trusted() {
    let world = World::new();
    let Some(right) = Faulty::over(&world.dst) else { return };
    right.set(|faults| faults.time_step = Some(1_000_000_000));
    for round in 0..3 {
        fs::remove_file(world.dst.join("dir/below")).ok();
        pass(&world.src, right.path(), &world.options());
        xattr(&world.dst.join("dir/below"), "user.round", format!("{round}").as_bytes());
        pass(&world.src, right.path(), &world.options());
        assert_same(&world.src, &world.dst);
    }
}

#[test]
fn an_entry_that_took_the_place_of_another_is_found() {
    let world = World::new();
    let other = world.base.path().join("other");
    write(&other, "below");
    stamp(&other, 981_173_106, 0);
    fs::set_permissions(&other, fs::metadata(world.src.join("dir/below")).unwrap().permissions()).unwrap();
    let acts: [&dyn Fn(&Path); 4] = [
        &|place| drop(sh(place, "cp -a ../../other below")),
        &|place| drop(sh(place, "cp -a ../../other new; mv new below")),
        // The same inode number, if the file system is so inclined.
        &|place| drop(sh(place, "rm below; cp -a ../../other below")),
        &|place| drop(sh(place, "ln -f below before; cp -a ../../other new; mv new below; rm before")),
    ];
    for act in acts {
        for side in [&world.src, &world.dst] {
            world.pass();
            world.pass();
            xattr(&other, "user.other", if side == &world.src { b"source" } else { b"dest" });
            stamp(&other, 981_173_106, 0);
            act(&side.join("dir"));
            world.pass();
            assert_same(&world.src, &world.dst);
        }
    }
}

#[test]
fn what_a_mount_says_it_has_not_is_not_proved_for_another_mount() {
    let world = World::new();
    let Some(left) = Faulty::over(&world.src) else { return };
    left.set(|faults| faults.no_xattrs = true);
    pass(left.path(), &world.dst, &world.options());
    idle_pass(left.path(), &world.dst, &world.options());
    left.clear();
    pass(left.path(), &world.dst, &world.options());
    assert_same(&world.src, &world.dst);
}

#[test]
fn what_was_accepted_is_not_proved() {
    let world = World::new();
    let Some(right) = Faulty::over(&world.dst) else { return };
    right.fail(Fail::new(Op::SetXattr, Errno::OPNOTSUPP));
    let accept = [Loss::Xattr].into();
    pass(&world.src, right.path(), &Options { accept, ..world.options() });
    right.clear();
    pass(&world.src, right.path(), &world.options());
    assert_same(&world.src, &world.dst);
}

#[test]
fn a_file_that_is_not_what_was_written_is_not_believed() {
    let world = World::new();
    world.pass();
    let file = world.file();
    let good = fs::read(&file).unwrap();
    assert_eq!(told(&world.src, &world.dst, &world.options()), Vec::<String>::new());
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 4;
        bytes
    };
    let bad = [flipped(0), flipped(20), flipped(60), flipped(good.len() - 1), good[..70].to_vec(), Vec::new()];
    for bytes in bad {
        fs::write(&file, bytes).unwrap();
        xattr(&world.dst.join("dir/below"), "user.other", b"x");
        let notices = told(&world.src, &world.dst, &world.options());
        assert!(notices.len() == 1 && notices[0].contains("not believed"), "{notices:?}");
        assert_same(&world.src, &world.dst);
        assert_eq!(told(&world.src, &world.dst, &world.options()), Vec::<String>::new());
    }
    sh(world.base.path(), "chmod go+w sets/*");
    assert!(told(&world.src, &world.dst, &world.options())[0].contains("others could have written it"));
    // A set of other trees under the name of this one.
    let other = World::new();
    other.pass();
    fs::copy(other.file(), &file).unwrap();
    assert!(told(&world.src, &world.dst, &world.options())[0].contains("about something else"));
}

#[test]
fn sets_that_are_old_or_too_many_go() {
    let world = World::new();
    let sets = world.base.path().join("sets");
    for number in 0..70 {
        write(sets.join(format!("{number:032x}.seen")), "");
        stamp(&sets.join(format!("{number:032x}.seen")), 1_000_000_000_000 - number, 0);
    }
    let day = 24 * 60 * 60;
    let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap();
    for (name, age) in [("old.seen", 91), ("older.tmp", 2), ("young.tmp", 0), ("mine.txt", 400)] {
        write(sets.join(name), "");
        stamp(&sets.join(name), now - age * day, 0);
    }
    world.pass();
    let left: Vec<String> =
        fs::read_dir(&sets).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(left.iter().filter(|name| name.ends_with(".seen")).count(), 64, "{left:?}");
    for (name, stays) in [("old.seen", false), ("older.tmp", false), ("young.tmp", true), ("mine.txt", true)] {
        assert_eq!(left.iter().any(|found| found == name), stays, "{name}");
    }
}

#[test]
fn nothing_is_kept_inside_the_trees_or_of_a_dry_run() {
    let world = World::new();
    pass(&world.src, &world.dst, &Options { dry_run: true, ..world.options() });
    assert!(!world.base.path().join("sets").exists());
    for side in [&world.src, &world.dst] {
        let recall = Some(side.join("some/where"));
        pass(&world.src, &world.dst, &Options { recall, ..Options::default() });
        assert!(!side.join("some").exists());
    }
}

#[test]
fn passes_at_once_do_not_mix_their_sets() {
    let base = tempfile::tempdir().unwrap();
    let recall = Some(base.path().join("sets"));
    let worlds: Vec<World> = (0..4).map(|_| World::empty(base.path())).collect();
    for (number, world) in worlds.iter().enumerate() {
        for file in 0..=number * 50 {
            write(world.src.join(format!("{file}")), "x");
        }
    }
    std::thread::sleep(SETTLED);
    for _ in 0..3 {
        std::thread::scope(|scope| {
            for world in &worlds {
                let options = Options { recall: recall.clone(), ..Options::default() };
                scope.spawn(move || pass(&world.src, &world.dst, &options));
            }
        });
    }
    let mut found: Vec<u64> =
        fs::read_dir(base.path().join("sets")).unwrap().map(|entry| hashes(&entry.unwrap().path())).collect();
    found.sort_unstable();
    assert_eq!(found, [2, 52, 102, 152]);
}

/// A default ACL of the destination's directory is asked for only before something is made there.
#[test]
fn what_new_entries_inherit_is_taken_away() {
    let world = World::new();
    sh(&world.src, "mkdir way; echo new > way/late; mkdir way/dir; echo x > way/dir/x; mkfifo way/pipe");
    sh(&world.dst, "mkdir way; setfacl -d -m u:1234:rwx . way");
    world.pass();
    assert_same(&world.src, &world.dst);
    // A directory in the way of a file is removed, and the file made, after the directory around has got its own ACL.
    sh(&world.src, "setfacl -d -m u:1234:rwx way");
    sh(&world.dst, "rm way/late; mkdir way/late; touch way/late/x");
    let options = Options { recall: world.options().recall, ..deleting() };
    pass(&world.src, &world.dst, &options);
    assert_same(&world.src, &world.dst);
    // A root that the engine makes.
    sh(world.base.path(), "rm -r dst; setfacl -d -m u:1234:rwx .");
    pass(&world.src, &world.dst, &options);
    assert_same(&world.src, &world.dst);
}
