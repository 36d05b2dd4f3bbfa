//! A stand-in for the APIs of OpenStack: Keystone, Nova, Cinder, and as much of Glance and Neutron as making a server
//! asks for. It keeps state, takes its time in looks instead of seconds, and misbehaves when told to.
//!
//! Volumes and servers are paper unless an [`Iron`] makes devices and instances of them, as [`Metal`] does.

mod cinder;
mod client;
mod glance;
mod http;
mod keystone;
mod metal;
mod nova;
mod selftest;
mod state;
mod things;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use client::Client;
pub(crate) use metal::{Metal, same_content};
pub(crate) use state::{Iron, Paper, Refusal, State};
pub(crate) use things::{Server, Status, Volume};

use http::{Answer, Request};

/// One cloud.
pub(crate) struct Cloud {
    state: Arc<Mutex<State>>,
    iron: Arc<dyn Iron>,
    server: http::Server,
}

impl Cloud {
    /// A cloud of this name, with nothing in it.
    pub(crate) fn start(name: &str, iron: Arc<dyn Iron>) -> Self {
        let state = Arc::new(Mutex::new(State::new(name)));
        let (shared, metal) = (Arc::clone(&state), Arc::clone(&iron));
        let server = http::Server::start(Arc::new(move |request| answer(&shared, &*metal, &request)));
        lock(&state).port = server.port();
        Self { state, iron, server }
    }

    /// Its state, to be looked at and changed.
    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// Makes a volume that is there from the beginning; its id.
    pub(crate) fn plant(&self, name: &str, gib: u64) -> String {
        let mut state = self.state();
        let id = state.id();
        let volume = cinder::planted(id.clone(), name, gib);
        self.iron.made(&volume);
        state.volumes.insert(id.clone(), volume);
        id
    }

    /// Makes a server that is there from the beginning, with the volume attached to it; its id.
    pub(crate) fn plant_server(&self, name: &str, volume: &str) -> String {
        let mut state = self.state();
        let id = state.id();
        let server = Server {
            id: id.clone(),
            name: name.into(),
            status: Status::is("ACTIVE"),
            metadata: Default::default(),
            key_name: None,
            image: None,
            flavor: "small".into(),
            user_data: None,
            groups: Vec::new(),
            addresses: Vec::new(),
            console: String::new(),
            root: None,
        };
        let attachment = state.id();
        let at = things::Attachment { id: attachment, server: id.clone(), device: "/dev/vdb".into() };
        if let Some(volume) = state.volumes.get_mut(volume) {
            volume.attachments.push(at);
            volume.status = Status::is("in-use");
            self.iron.attached(&server, volume);
        }
        state.places.insert((volume.into(), id.clone()));
        state.servers.insert(id.clone(), server);
        id
    }

    /// What stands in `clouds.yaml` for it.
    pub(crate) fn yaml(&self) -> String {
        let name = self.state().name.clone();
        format!(
            "  {name}:\n    region_name: {name}\n    identity_api_version: 3\n    auth:\n      auth_url: \
             http://127.0.0.1:{}/identity/v3\n      username: mover\n      password: {}\n      project_name: moves\n      \
             user_domain_name: Default\n      project_domain_name: Default\n",
            self.server.port(),
            keystone::PASSWORD
        )
    }

    /// Requests of one kind that were made so far and not refused: `POST`, and a part of the path.
    pub(crate) fn asked(&self, method: &str, path: &str) -> usize {
        let fits = |line: &&String| line.starts_with(method) && line.contains(path) && line.contains(" -> 2");
        self.state().log.iter().filter(fits).count()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn answer(state: &Mutex<State>, iron: &dyn Iron, request: &Request) -> Answer {
    let mut state = lock(state);
    let told = (!request.path.starts_with("/identity")).then(|| state.refusal(request)).flatten();
    let answer = match told {
        Some((answer, false)) => answer,
        Some((answer, true)) => {
            // What is done all the same is recorded as what it was.
            let done = served(&mut state, iron, request);
            record(&mut state, request, &done);
            return answer;
        }
        None => served(&mut state, iron, request),
    };
    record(&mut state, request, &answer);
    answer
}

fn record(state: &mut State, request: &Request, answer: &Answer) {
    if request.method != "GET" || answer.status >= 400 {
        let line = format!("{} {} -> {}", request.method, request.path, answer.status);
        state.log.push(line);
    }
}

fn served(state: &mut State, iron: &dyn Iron, request: &Request) -> Answer {
    let service = request.parts().first().map(|part| (*part).to_owned()).unwrap_or_default();
    // Versions are told to everyone.
    let open = service == "identity" || request.parts().len() <= 2;
    if !open && !keystone::admits(state, request) {
        return Answer::error(401, "The request you have made requires authentication.");
    }
    match service.as_str() {
        "identity" => keystone::answer(state, request),
        "compute" => nova::answer(state, iron, request),
        "volume" => cinder::answer(state, iron, request),
        "image" => glance::images(state, request),
        "network" => glance::networks(state, request),
        _ => Answer::error(404, "no such service"),
    }
}
