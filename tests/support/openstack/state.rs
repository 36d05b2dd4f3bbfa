//! The state of a cloud, and the ways in which it may misbehave.

use std::collections::{BTreeMap, BTreeSet};

use super::http::{Answer, Request};
use super::things::{Server, Status, Volume};

/// What makes instances of servers and devices of volumes. It is called while the state is locked: what it does is done
/// before anybody is told.
pub(crate) trait Iron: Send + Sync {
    /// A server was made: gives its addresses (text, whether of version 6) and the text of its console.
    fn boot(&self, server: &Server, public_key: Option<&str>) -> (Vec<(String, bool)>, String);
    /// It was deleted.
    fn gone(&self, server: &Server);
    /// A volume was made, by a user or by the test.
    fn made(&self, volume: &Volume);
    /// A volume was deleted.
    fn lost(&self, volume: &Volume);
    /// A volume is in a server from now on.
    fn attached(&self, server: &Server, volume: &Volume);
    /// It is not any more.
    fn detached(&self, server: &Server, volume: &Volume);
}

/// Servers and volumes without anything behind them.
pub(crate) struct Paper;

impl Iron for Paper {
    fn boot(&self, server: &Server, _: Option<&str>) -> (Vec<(String, bool)>, String) {
        let console = format!(
            "[   1.0] cloud-init: booting\n-----BEGIN SSH HOST KEY KEYS-----\nssh-ed25519 AAAAkeyof{} root@{}\n\
             -----END SSH HOST KEY KEYS-----\n",
            server.id.replace('-', ""),
            server.name
        );
        (vec![("fd00::5".into(), true), ("192.0.2.5".into(), false)], console)
    }
    fn gone(&self, _: &Server) {}
    fn made(&self, _: &Volume) {}
    fn lost(&self, _: &Volume) {}
    fn attached(&self, _: &Server, _: &Volume) {}
    fn detached(&self, _: &Server, _: &Volume) {}
}

/// An answer in the place of the right one.
#[derive(Debug, Clone)]
pub(crate) struct Refusal {
    pub(crate) method: &'static str,
    /// A part of the path.
    pub(crate) path: &'static str,
    /// 0 cuts the connection.
    pub(crate) status: u16,
    pub(crate) message: &'static str,
    /// How often.
    pub(crate) times: u32,
    /// What was asked is done all the same, only told wrongly.
    pub(crate) done: bool,
}

/// How the cloud misbehaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Behaviour {
    /// Looks until a state that is on its way is reached.
    pub(crate) looks: u32,
    pub(crate) refusals: Vec<Refusal>,
    /// A volume that is attached says it is at another device than it is.
    pub(crate) wrong_letter: bool,
    /// A volume that is to be attached ends in this server.
    pub(crate) wrong_server: Option<String>,
    pub(crate) stuck_attaching: bool,
    /// New servers end in state ERROR.
    pub(crate) server_error: bool,
    /// New volumes end in state error.
    pub(crate) volume_error: bool,
    /// A token is good for so many requests.
    pub(crate) token_uses: Option<u32>,
    /// A deleted server stays in the list, in state ACTIVE, for ever.
    pub(crate) undead: bool,
    /// The console says nothing of host keys.
    pub(crate) silent_console: bool,
}

/// What a project may have.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    pub(crate) instances: i64,
    pub(crate) cores: i64,
    pub(crate) ram_mib: i64,
    pub(crate) volumes: i64,
    pub(crate) gibibytes: i64,
    pub(crate) key_pairs: i64,
}

pub(crate) struct State {
    pub(crate) name: String,
    pub(crate) port: u16,
    pub(crate) volumes: BTreeMap<String, Volume>,
    pub(crate) servers: BTreeMap<String, Server>,
    /// Name and public key.
    pub(crate) key_pairs: BTreeMap<String, String>,
    pub(crate) behave: Behaviour,
    pub(crate) limits: Limits,
    /// Every request that was not a mere look: `POST /volume/…/volumes -> 202`.
    pub(crate) log: Vec<String>,
    /// Tokens and how often each was used.
    pub(super) tokens: BTreeMap<String, u32>,
    /// Where a volume really is: volume and server.
    pub(super) places: BTreeSet<(String, String)>,
    made: u64,
}

impl State {
    pub(super) fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            port: 0,
            volumes: BTreeMap::new(),
            servers: BTreeMap::new(),
            key_pairs: BTreeMap::new(),
            behave: Behaviour { looks: 1, ..Behaviour::default() },
            limits: Limits { instances: 10, cores: 20, ram_mib: 51_200, volumes: 10, gibibytes: 1000, key_pairs: 100 },
            log: Vec::new(),
            tokens: BTreeMap::new(),
            places: BTreeSet::new(),
            made: 0,
        }
    }

    pub(super) fn url(&self, service: &str) -> String {
        format!("http://127.0.0.1:{}/{service}", self.port)
    }

    /// An id that no other thing of any cloud has.
    pub(super) fn id(&mut self) -> String {
        self.made += 1;
        let text = blake3::hash(format!("{} {} {}", self.name, self.port, self.made).as_bytes()).to_hex();
        format!("{}-{}-4{}-8{}-{}", &text[..8], &text[8..12], &text[13..16], &text[17..20], &text[20..32])
    }

    pub(super) fn on_way(&self, now: &str, next: &str) -> Status {
        Status::then(now, self.behave.looks, next)
    }

    /// The answer a request gets in the place of the right one, and whether what it asks for is done all the same.
    pub(super) fn refusal(&mut self, request: &Request) -> Option<(Answer, bool)> {
        let fits = |refusal: &&mut Refusal| {
            refusal.times > 0 && refusal.method == request.method && request.path.contains(refusal.path)
        };
        let refusal = self.behave.refusals.iter_mut().find(fits)?;
        refusal.times -= 1;
        Some((Answer::error(refusal.status, refusal.message), refusal.done))
    }

    /// The volumes a server has, in the order of their ids.
    pub(super) fn volumes_in(&self, server: &str) -> Vec<String> {
        self.places.iter().filter(|(_, at)| at == server).map(|(volume, _)| volume.clone()).collect()
    }
}
