//! The runs of a scenario: every copier once a round, another one first each time, so that what changes on the machine
//! meanwhile meets all of them alike.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::fidelity::{self, Lost};
use super::peers::{self, Peer, Tools};
use super::place::{Kind, Place};
use super::quiet::{self, Foreign, Meter};
use super::record::Record;
use super::scenarios::{Phase, Scenario};
use super::timed::{Job, Timed};
use super::tree::{Grown, touch};
use super::{About, Outcome};

/// How often a run is tried that others disturb.
const TRIES: u32 = 3;

/// How scenarios are measured.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) tools: Tools,
    /// Where places are made.
    pub(crate) dir: PathBuf,
    /// Rounds that count.
    pub(crate) runs: u32,
    /// What sizes are multiplied by.
    pub(crate) scale: f64,
    /// Only these peers, if any are named.
    pub(crate) only: Vec<String>,
    /// Whether every run is checked, or only the first of each peer. Every one of decamp is.
    pub(crate) check_all: bool,
    /// How long to wait for a quiet machine before each run.
    pub(crate) patience: Duration,
    pub(crate) session: i64,
    pub(crate) machine: String,
    /// Set when the user wants to stop.
    pub(crate) stop: Arc<AtomicBool>,
}

/// What came of a scenario.
#[derive(Debug, Default)]
pub(crate) struct Measured {
    pub(crate) records: Vec<Record>,
    /// Peers that took no part, and why.
    pub(crate) missing: Vec<String>,
}

impl Bench {
    /// Measures one scenario. `tell` is told each run as it ends; its failure ends everything.
    pub(crate) fn measure(
        &self,
        scenario: &Scenario,
        tell: &mut dyn FnMut(&Record) -> Outcome<()>,
    ) -> Outcome<Measured> {
        let mut measured = Measured::default();
        let mut present = Vec::new();
        for name in scenario.peers {
            let peer = peers::peer(name)?;
            let maker = peers::peer(peer.made_by.unwrap_or(peer.name))?;
            if !self.only.is_empty() && !self.only.iter().any(|only| only == name) {
                continue;
            }
            match peer.missing(&self.tools) {
                Some(reason) => measured.missing.push(format!("{}: {reason}", peer.label)),
                None => present.push((peer, maker)),
            }
        }
        for size in scenario.sizes {
            let tree = scenario.tree.scaled(size * self.scale);
            let copies = if scenario.phase == Phase::First { 1 } else { present.len() as u64 };
            let mut place = Place::new(scenario.place, &self.dir, tree.room(), copies)?;
            let grown = tree.grow(&place.src_behind())?;
            let mut course = Course { bench: self, scenario, grown, changes: 0 };
            course.run(&mut place, &present, &mut |record| {
                tell(&record)?;
                measured.records.push(record);
                Ok(())
            })?;
        }
        Ok(measured)
    }

    pub(crate) fn stopped(&self) -> Outcome<()> {
        if self.stop.load(Ordering::Relaxed) { Err("interrupted".into()) } else { Ok(()) }
    }
}

/// The runs with one tree.
struct Course<'b> {
    bench: &'b Bench,
    scenario: &'b Scenario,
    grown: Grown,
    /// How often the tree was changed.
    changes: u64,
}

impl Course<'_> {
    fn run(
        &mut self,
        place: &mut Place,
        peers: &[(&Peer, &Peer)],
        keep: &mut dyn FnMut(Record) -> Outcome<()>,
    ) -> Outcome<()> {
        if self.scenario.phase != Phase::First {
            // Each has made what it re-syncs: nobody finds what another has left out.
            for (peer, maker) in peers {
                place.add_destination(peer.name)?;
                self.once(place, maker, peer.name)?;
            }
        }
        // What is warm must be warm for the first one as well.
        let warm = matches!(self.scenario.place, Kind::Tmpfs) && self.bench.runs > 1;
        let first = if warm { 0 } else { 1 };
        for run in first..=self.bench.runs {
            for at in 0..peers.len() {
                let (peer, _) = peers[(at + run as usize) % peers.len()];
                let (timed, foreign) = self.undisturbed(place, peer)?;
                if run == 0 {
                    continue;
                }
                let check = run == 1 || self.bench.check_all || peer.name.starts_with("decamp");
                let lost = (check && !peer.only_looks).then(|| self.lost(place, peer));
                keep(Record {
                    session: self.bench.session,
                    machine: self.bench.machine.clone(),
                    scenario: self.scenario.name.into(),
                    peer: peer.name.into(),
                    entries: self.grown.entries,
                    bytes: self.grown.bytes,
                    run,
                    disturbed: foreign.share(&timed) > 1.0,
                    timed,
                    foreign: foreign.cpu,
                    foreign_disk: foreign.disk,
                    lost,
                })?;
            }
        }
        Ok(())
    }

    /// A run, repeated while others disturb it; the least disturbed one if all are.
    fn undisturbed(&mut self, place: &mut Place, peer: &Peer) -> Outcome<(Timed, Foreign)> {
        let mut best: Option<(Timed, Foreign)> = None;
        for _ in 0..TRIES {
            match self.scenario.phase {
                Phase::First => place.new_destination(peer.name)?,
                Phase::NoChange => {}
                Phase::Changed => {
                    self.changes += 1;
                    touch::touch(&place.src_behind(), 10, self.changes)?;
                }
            }
            let (timed, foreign) = self.once(place, peer, peer.name)?;
            let share = foreign.share(&timed);
            if best.as_ref().is_none_or(|(timed, foreign)| share < foreign.share(timed)) {
                best = Some((timed, foreign));
            }
            if share <= 1.0 {
                break;
            }
        }
        best.ok_or_else(|| "no run was made".into())
    }

    /// One run, and what others did meanwhile.
    fn once(&self, place: &mut Place, peer: &Peer, dst: &str) -> Outcome<(Timed, Foreign)> {
        self.bench.stopped()?;
        place.forget()?;
        quiet::wait(self.bench.patience)?;
        let home = place.home();
        let state = home.join("state");
        fs::create_dir_all(&state).at(&state)?;
        let own = |name: &str| OsString::from(home.join(name));
        let job = Job {
            words: peer.command(&self.bench.tools, &place.src(), &place.dst(dst)),
            env: vec![("HOME", own("state")), ("DECAMP_STATE_DIR", own("state")), ("LC_ALL", "C.UTF-8".into())],
            synced: place.dst(dst),
            output: home.join("output"),
        };
        let meter = Meter::start(&place.devices())?;
        let timed = job.run(self.bench.tools.own.as_deref())?;
        let foreign = meter.foreign(&timed)?;
        self.bench.stopped()?;
        if timed.status != 0 && peer.name.starts_with("decamp") {
            let said = fs::read(&job.output).at(&job.output)?;
            let said = String::from_utf8_lossy(&said);
            return Err(format!("{} ended with {}:\n{said}", peer.label, timed.status));
        }
        Ok((timed, foreign))
    }

    fn lost(&self, place: &Place, peer: &Peer) -> Lost {
        fidelity::lost(&place.src_behind(), &place.dst_behind(peer.name))
    }
}
