//! The measuring itself is tested: a small scenario with real copiers, copiers that lose something, tables, verdicts.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

use super::floor::{Act, floor};
use super::peers::{self, Tools};
use super::place::{Kind, Place};
use super::record::{self, Record};
use super::rounds::{Bench, Measured};
use super::scenarios::{self, ALL, Phase, Scenario};
use super::timed::Timed;
use super::tree::{Tree, touch};
use super::verdict::Must;
use super::{command, fidelity, table, verdict};
use crate::support::check::Snapshot;
use crate::support::env::{copy_program, program};
use crate::support::skip::needs_root;

const TINY: Tree = Tree::Small { files: 300, largest: 8 << 10 };

fn bench(dir: &TempDir, decamp: &Path) -> Bench {
    Bench {
        tools: Tools { decamp: decamp.to_owned(), own: None },
        dir: dir.path().to_owned(),
        runs: 1,
        scale: 1.0,
        only: Vec::new(),
        check_all: true,
        patience: Duration::ZERO,
        session: 1_700_000_000,
        machine: record::machine(),
        stop: Default::default(),
    }
}

fn scenario(phase: Phase, peers: &'static [&'static str]) -> Scenario {
    Scenario { tree: TINY, place: Kind::Plain, phase, peers, musts: &[Must::Ratio("cp-a", 1000.0)], ..ALL[0].clone() }
}

#[track_caller]
fn measure(decamp: &Path, scenario: &Scenario) -> Measured {
    let dir = tempfile::tempdir().unwrap();
    let measured = bench(&dir, decamp).measure(scenario, &mut |_| Ok(())).unwrap();
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "something is left behind");
    measured
}

fn lost(measured: &Measured, peer: &str) -> Vec<String> {
    let record = measured.records.iter().find(|record| record.peer == peer).unwrap();
    record.lost.as_ref().unwrap().keys().cloned().collect()
}

#[test]
fn copiers_are_measured_in_turn_and_checked() {
    if !needs_root("trees with many owners") {
        return;
    }
    for phase in [Phase::First, Phase::NoChange, Phase::Changed] {
        let scenario = scenario(phase, &["decamp", "cp-a", "rsync-a", "rsync-aHAX", "floor-4"]);
        let measured = measure(program(), &scenario);
        assert_eq!(measured.records.len(), 4, "{phase:?}");
        // Only the program of `cargo bench` has a floor.
        assert_eq!(measured.missing.len(), 1, "{:?}", measured.missing);
        assert!(measured.records.iter().all(|record| record.timed.status == 0 && record.entries > 400));
        assert!(measured.records.iter().all(|record| record.timed.synced >= record.timed.exit));
        assert_eq!((lost(&measured, "decamp"), lost(&measured, "cp-a")), (vec![], vec![]), "{phase:?}");
        assert_eq!(lost(&measured, "rsync-aHAX"), Vec::<String>::new(), "{phase:?}");
        assert!(lost(&measured, "rsync-a").contains(&"hardlink".to_owned()), "{phase:?}");
        assert_eq!(command::complaints(&measured.records), Vec::<String>::new());
        let rows = table::rows(&scenario, &measured.records);
        let text = table::text(&rows);
        assert!(text.contains("decamp copy") && text.contains("rsync -aHAX") && text.contains("hardlink"), "{text}");
        assert!(verdict::verdicts(&scenario, &rows)[0].ends_with(", met"), "{rows:?}");
        println!("{text}");
    }
}

#[test]
fn a_copier_that_loses_something_is_caught() {
    if !needs_root("trees with many owners") {
        return;
    }
    let spoils = [
        (
            "xattr",
            "f=$(getfattr -R --absolute-names -n user.tag \"$3\" 2>/dev/null | sed -n '1s/# file: //p'); setfattr -x user.tag \"$f\"",
        ),
        ("size", "truncate --no-create -s 1000 \"$f\"; touch -r \"$2/user000/${f##*/user000/}\" \"$f\""),
        ("mode", "chmod 611 \"$f\""),
        ("missing", "touch -r \"${f%/*}\" \"$3/../time\"; rm \"$f\"; touch -r \"$3/../time\" \"${f%/*}\""),
    ];
    for (property, spoil) in spoils {
        let dir = tempfile::tempdir().unwrap();
        let bad = copier(&dir, &format!("f=$(find \"$3/user000\" -type f -links 1 | head -1)\n{spoil}"));
        let measured = measure(&bad, &scenario(Phase::First, &["decamp"]));
        assert_eq!(lost(&measured, "decamp"), [property]);
        assert_eq!(measured.records[0].lost.as_ref().unwrap()[property], 1);
        assert_eq!(command::complaints(&measured.records).len(), 1);
    }
    let dir = tempfile::tempdir().unwrap();
    let measured = measure(&copier(&dir, ""), &scenario(Phase::First, &["decamp"]));
    assert_eq!(command::complaints(&measured.records), Vec::<String>::new());
}

/// A program that copies and then does something else.
fn copier(dir: &TempDir, spoil: &str) -> PathBuf {
    let [text, program] = ["text", "program"].map(|name| dir.path().join(name));
    fs::write(&text, format!("#!/bin/sh\nset -eu\ncp -aT \"$2\" \"$3\"\n{spoil}\n")).unwrap();
    fs::set_permissions(&text, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    copy_program(&text, &program);
    program
}

#[test]
fn a_run_that_fails_ends_it_all() {
    if !needs_root("trees with many owners") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let bad = copier(&dir, "echo no more >&2; exit 3");
    let places = tempfile::tempdir().unwrap();
    let bench = bench(&places, &bad);
    let failure = bench.measure(&scenario(Phase::First, &["decamp"]), &mut |_| Ok(())).unwrap_err();
    assert!(failure.contains("ended with 3") && failure.contains("no more"), "{failure}");
    assert_eq!(fs::read_dir(places.path()).unwrap().count(), 0, "something is left behind");
}

#[test]
fn a_cold_place_is_read_from_its_device() {
    if !needs_root("mounting") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut place = Place::new(Kind::Ext4, dir.path(), (10, 8 << 20), 1).unwrap();
    fs::write(place.src(), vec![1; 4 << 20]).unwrap();
    let device = place.devices().remove(0);
    let sectors = || {
        let stat = fs::read_to_string(Path::new("/sys/block").join(&device["/dev/".len()..]).join("stat")).unwrap();
        stat.split_whitespace().nth(2).unwrap().parse::<u64>().unwrap()
    };
    for cold in [true, false] {
        if cold {
            place.forget().unwrap();
        }
        let before = sectors();
        assert_eq!(fs::read(place.src()).unwrap().len(), 4 << 20);
        assert_eq!(sectors() - before >= (4 << 20) / 512, cold);
    }
}

#[test]
fn places_are_gone_afterwards() {
    if !needs_root("mounting") {
        return;
    }
    for place in [Kind::Tmpfs, Kind::Ext4, Kind::Latency(0)] {
        for phase in [Phase::First, Phase::Changed] {
            let scenario = Scenario { place, ..scenario(phase, &["decamp", "cp-a"]) };
            let measured = measure(program(), &scenario);
            assert_eq!((lost(&measured, "decamp"), lost(&measured, "cp-a")), (vec![], vec![]), "{place:?} {phase:?}");
        }
    }
}

#[test]
fn the_floor_keeps_all_but_hard_links() {
    if !needs_root("trees with many owners") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let [src, dst] = ["src", "dst"].map(|name| dir.path().join(name));
    let grown = TINY.grow(&src).unwrap();
    fs::create_dir(&dst).unwrap();
    let entries = floor(Act::Copy { xattrs: true }, 2, &src, &dst).unwrap();
    assert_eq!(entries, grown.entries);
    assert_eq!(fidelity::lost(&src, &dst).keys().collect::<Vec<_>>(), ["hardlink"]);
    for list in [true, false] {
        assert_eq!(floor(Act::Scan { list }, 4, &src, &dst).unwrap(), grown.entries);
    }
    // Its first failure ends it.
    assert!(floor(Act::Copy { xattrs: true }, 2, &src, &dst).unwrap_err().contains("exists"));
}

#[test]
fn trees_are_the_same_each_time() {
    if !needs_root("trees with many owners") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    for (number, tree) in
        [TINY, Tree::Mixed { files: 100, bytes: 8 << 20 }, Tree::Big { bytes: 3 << 20 }, Tree::Flat { files: 100 }]
            .into_iter()
            .enumerate()
    {
        let [left, right] = ["left", "right"].map(|name| dir.path().join(format!("{name}{number}")));
        let grown = tree.grow(&left).unwrap();
        assert_eq!(tree.grow(&right).unwrap(), grown);
        assert_eq!(fidelity::shown(Some(&fidelity::lost(&left, &right))), "nothing");
        // The root is not counted.
        assert_eq!(Snapshot::of(&left).len() as u64, grown.entries + 1, "{tree:?}");
        let permille = if matches!(tree, Tree::Big { .. }) { 1000 } else { 300 };
        let changed = touch::touch(&left, permille, 1).unwrap();
        let lost = fidelity::lost(&left, &right);
        // A change shows under every name of a file.
        assert!(lost.get("mtime").is_some_and(|differ| *differ >= changed && changed > 0), "{tree:?}: {lost:?}");
        // The same ones again: what was one change behind still is.
        touch::touch(&right, permille, 1).unwrap();
        assert!(fidelity::lost(&left, &right).keys().all(|property| property == "mtime"));
        assert_eq!(touch::touch(&left, permille, 2).unwrap(), changed);
    }
}

/// A record of a run that took so long.
fn record(scenario: &str, peer: &str, entries: u64, run: u32, synced: f64) -> Record {
    let timed = Timed { exit: synced / 2.0, synced, user: 1.0, system: 1.0, memory: 100 << 20, status: 0 };
    Record {
        session: 1_700_000_000,
        machine: "a machine".into(),
        scenario: scenario.into(),
        peer: peer.into(),
        entries,
        bytes: 0,
        run,
        timed,
        foreign: 0.0,
        foreign_disk: 0,
        disturbed: false,
        lost: Some(fidelity::Lost::new()),
    }
}

#[test]
fn medians_ratios_and_verdicts_are_right() {
    let mut records = Vec::new();
    for (run, decamp, cp) in [(1, 1.0, 4.0), (2, 3.0, 8.0), (3, 2.0, 6.0)] {
        records.push(record("tmpfs-first", "decamp", 500, run, decamp));
        records.push(record("tmpfs-first", "cp-a", 500, run, cp));
    }
    // Too long, but not its fault.
    records.push(Record { disturbed: true, ..record("tmpfs-first", "cp-a", 500, 4, 600.0) });
    let rows = table::rows(&ALL[0], &records);
    let figures: Vec<_> = rows.iter().map(|row| (&*row.peer, row.synced, row.range, row.disturbed)).collect();
    assert_eq!(figures, [("decamp", 2.0, (1.0, 3.0), 0), ("cp-a", 6.0, (4.0, 8.0), 1)]);
    let judged = |must| {
        let scenario = Scenario { musts: Box::leak(Box::new([must])), ..ALL[0].clone() };
        verdict::verdicts(&scenario, &rows).remove(0)
    };
    assert_eq!(judged(Must::Ratio("cp-a", 0.34)), "must be ≤ 0.34 of cp -a: 0.33, met");
    assert_eq!(judged(Must::Ratio("cp-a", 0.30)), "must be ≤ 0.3 of cp -a: 0.33, missed by 11 %");
    assert_eq!(judged(Must::Ratio("syq", 0.30)), "must be ≤ 0.3 of syq rsync -a: that was not measured");
    assert_eq!(judged(Must::Memory(100 << 20)), "must take ≤ 100 MiB: 100, met");
    let many = [record("many-first", "decamp", 1000, 1, 1.0), record("many-first", "decamp", 10_000, 1, 15.0)];
    let scenario = scenarios::chosen(&["many-first".into()]).unwrap().remove(0);
    let rows = table::rows(&scenario, &many);
    let said = verdict::verdicts(&scenario, &rows);
    assert_eq!(said[1], "must take ≤ 1.2 of the time per entry at 1000 entries: 1.50, missed by 25 %");
    assert!(table::text(&rows).contains("decamp copy, 10,000 entries"));
    records.extend(many);
    let page = table::markdown(&records);
    assert_eq!(page.lines().filter(|line| line.starts_with('|')).count(), 2 + 2 + 2, "{page}");
    assert!(page.contains("| cp -a † 1 of 4 | 6.00 | 3.00 | 4.00–8.00 | 0.33 | 2.00 | 100 | nothing |"), "{page}");
    assert!(page.contains("| tmpfs, small files, first copy: 500 entries, 0 MiB | **decamp copy** |"), "{page}");
    assert!(page.contains("measured 2023-11-14 on a machine."), "{page}");
}

#[test]
fn the_newest_records_are_found_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("records");
    let old = [record("mixed", "decamp", 1, 1, 1.0), record("big", "decamp", 1, 1, 1.0)];
    let new = [Record { session: 1_700_000_001, lost: None, ..record("mixed", "cp-a", 1, 1, 1.0) }];
    for record in old.iter().chain(&new) {
        record::append(&file, record).unwrap();
    }
    assert_eq!(record::newest(&file).unwrap(), [old[1].clone(), new[0].clone()]);
    fs::write(&file, "{}\n").unwrap();
    assert!(record::newest(&file).unwrap_err().contains(":1:"));
}

#[test]
fn scenarios_name_peers_that_take_part() {
    for scenario in ALL {
        for name in scenario.peers {
            let peer = peers::peer(name).unwrap();
            assert!(peers::peer(peer.made_by.unwrap_or(name)).is_ok(), "{name}");
        }
        for must in scenario.musts {
            if let Must::Ratio(of, _) = must {
                assert!(scenario.peers.contains(of), "{}: {of}", scenario.name);
            }
        }
        assert!(scenario.peers.contains(&"decamp"));
    }
    assert!(scenarios::chosen(&["nothing".into()]).is_err());
    assert_eq!(scenarios::chosen(&["ext4".into()]).unwrap().len(), 3);
    assert_eq!(scenarios::chosen(&[]).unwrap().len(), ALL.len());
    assert!(peers::peer("nobody").is_err());
}
