//! Devices at the far side, through a real agent.

use std::path::Path;

use decamp::agent::Client;
use decamp::block::{self, Endpoint, Error, Options, Work};
use decamp::cancel::Cancel;
use decamp::progress::{Forgetful, Silent};
use decamp::wire::Broken;
use rustix::process::{Pid, Signal, kill_process};

use super::process::{Agent, join};

/// An image of 24 MiB: something, a hole, something else.
fn image(path: &Path) -> Vec<u8> {
    let mut state = 88_172_645_463_325_252u64;
    let mut content = vec![0; 24 << 20];
    for (at, byte) in content.iter_mut().enumerate() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        if !(8 << 20..12 << 20).contains(&at) {
            *byte = state as u8;
        }
    }
    std::fs::write(path, &content).unwrap();
    content
}

fn copy(source: Endpoint, target: Endpoint) -> Result<block::Report, Error> {
    let (cancel, options) = (Cancel::new(), Options { create: true, ..Options::default() });
    block::copy(source, target, &options, &Work { progress: &Silent, checkpoint: &Forgetful, cancel: &cancel })
}

fn far(client: &Client, role: &str, path: &Path) -> Endpoint {
    Endpoint::remote(path, client.open_many(role, b"", client.streams()).unwrap())
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
    assert_eq!(report.bytes, 24 << 20);
    assert!(std::fs::read(dir.join("b")).unwrap() == content);
    copy(Endpoint::local(dir.join("b")), far(&client, "block-target", &dir.join("c"))).unwrap();
    assert!(std::fs::read(dir.join("c")).unwrap() == content);
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
