//! Devices at the far side, through a real agent.

use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use decamp::agent::Client;
use decamp::block::{self, Compress, Endpoint, Error, Options, Work};
use decamp::cancel::Cancel;
use decamp::progress::{Checkpoint, Forgetful, Silent};
use decamp::wire::Broken;
use rustix::process::{Pid, Signal, kill_process};

use super::process::{Agent, join};
use crate::block::kit::Memory;
use crate::support::rng::Rng;

const MIB: u64 = 1 << 20;
const LINES: usize = 2;

/// An image of 24 MiB: noise, a hole, noise.
fn image(path: &Path) -> Vec<u8> {
    let mut content = Rng::new(9).bytes(24 << 20);
    content[8 << 20..12 << 20].fill(0);
    std::fs::write(path, &content).unwrap();
    content
}

fn copy_with(source: Endpoint, target: Endpoint, checkpoint: &dyn Checkpoint) -> Result<block::Report, Error> {
    // What hangs fails.
    let cancel = Cancel::new().until(Instant::now() + Duration::from_secs(100));
    let options = Options { create: true, compress: Compress::Never, ..Options::default() };
    block::copy(source, target, &options, &Work { progress: &Silent, checkpoint, cancel: &cancel })
}

fn copy(source: Endpoint, target: Endpoint) -> Result<block::Report, Error> {
    copy_with(source, target, &Forgetful)
}

fn far(client: &Client, room: &str, path: &Path) -> Endpoint {
    Endpoint::remote(path, client.open_many(room, b"", client.streams()).unwrap())
}

#[test]
fn a_device_is_copied_from_and_to_the_far_side_over_several_streams() {
    let mut agent = Agent::new(&[]);
    let client = agent.client(60_000).unwrap();
    let tickets = client.tickets(3).unwrap();
    let mut joined: Vec<_> = tickets.iter().map(|ticket| join(&agent, &client, ticket).unwrap()).collect();
    let dir = agent.home.path().to_owned();
    let content = image(&dir.join("a"));
    let report = copy(far(&client, "block-source", &dir.join("a")), Endpoint::local(dir.join("b"))).unwrap();
    assert_eq!(report.bytes, 24 * MIB);
    assert!(std::fs::read(dir.join("b")).unwrap() == content);
    copy(Endpoint::local(dir.join("b")), far(&client, "block-target", &dir.join("c"))).unwrap();
    assert!(std::fs::read(dir.join("c")).unwrap() == content);
    // Both at the far side: what is read there goes through here.
    copy(far(&client, "block-source", &dir.join("c")), far(&client, "block-target", &dir.join("d"))).unwrap();
    assert!(std::fs::read(dir.join("d")).unwrap() == content);
    client.close().unwrap();
    assert_eq!(agent.ended(), Some(0));
    for (child, _) in &mut joined {
        child.wait().unwrap();
    }
}

#[test]
fn an_agent_that_is_killed_ends_no_copy() {
    let mut agent = Agent::new(&[]);
    let client = agent.client(60_000).unwrap();
    let dir = agent.home.path().to_owned();
    image(&dir.join("a"));
    let source = far(&client, "block-source", &dir.join("a"));
    kill_process(Pid::from_child(&agent.child), Signal::KILL).unwrap();
    let told = copy(source, Endpoint::local(dir.join("b"))).unwrap_err();
    assert!(matches!(told, Error::Broken { broken: Broken::Cut, .. }), "{told:?}");
}

/// What goes to an agent: counted, and the agent killed when so much has.
struct Fuse {
    to: Box<dyn Write + Send>,
    sent: Arc<AtomicU64>,
    limit: u64,
    agent: Pid,
}

impl Write for Fuse {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.to.write(bytes)?;
        if self.sent.fetch_add(count as u64, Ordering::SeqCst) + count as u64 >= self.limit {
            kill_process(self.agent, Signal::KILL).ok();
        }
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.to.flush()
    }
}

/// Killed in the middle, and gone on with by another agent: no more is sent again than one extent of each line.
#[test]
fn a_copy_whose_agent_is_killed_goes_on_with_another() {
    for at in [3, 7, 12, 17] {
        let books = Memory::default();
        let sent = Arc::new(AtomicU64::new(0));
        let mut first = Agent::new(&[]);
        let dir = first.home.path().to_owned();
        let content = image(&dir.join("a"));
        let attempt = |agent: &mut Agent, limit: u64| {
            let pid = Pid::from_child(&agent.child);
            let sent = Arc::clone(&sent);
            let client = agent.client_over(60_000, |to| Box::new(Fuse { to, sent, limit, agent: pid })).unwrap();
            let target = Endpoint::remote(dir.join("b"), client.open_many("block-target", b"", LINES).unwrap());
            copy_with(Endpoint::local(dir.join("a")), target, &books)
        };
        let told = attempt(&mut first, at * MIB).unwrap_err();
        assert!(matches!(told, Error::Broken { .. }), "{told:?}");
        let report = attempt(&mut Agent::new(&[]), u64::MAX).unwrap();
        assert!(std::fs::read(dir.join("b")).unwrap() == content);
        let again = sent.load(Ordering::SeqCst).saturating_sub(20 * MIB);
        println!("killed after {at} MiB: {again} bytes of 20 MiB were sent again; {} found", report.found);
        // Frames and requests have some bytes of their own.
        assert!(again <= LINES as u64 * MIB + MIB / 4, "{again} bytes were sent again after {at} MiB: {report:?}");
    }
}
