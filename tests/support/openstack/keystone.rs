//! Identity: tokens, the catalog, and the versions of every service.

use serde_json::{Value, json};

use super::http::{Answer, Request};
use super::state::State;

pub(super) const PROJECT: &str = "11111111111111111111111111111111";
pub(super) const PASSWORD: &str = "the-password-of-the-cloud";

/// Whether a request carries a token that is good.
pub(super) fn admits(state: &mut State, request: &Request) -> bool {
    let limit = state.behave.token_uses;
    let Some(token) = request.header("x-auth-token") else { return false };
    let Some(uses) = state.tokens.get_mut(token) else { return false };
    *uses += 1;
    limit.is_none_or(|limit| *uses <= limit)
}

pub(super) fn answer(state: &mut State, request: &Request) -> Answer {
    let parts = request.parts();
    match (request.method.as_str(), &parts[1..]) {
        ("GET", [] | ["v3"]) => Answer::ok(json!({ "version": version(state, "identity/v3", "v3.14", None) })),
        ("POST", ["v3", "auth", "tokens"]) => issue(state, &request.body),
        ("GET", ["v3", "projects", id]) => Answer::ok(json!({ "project": project(id) })),
        ("GET", ["v3", "projects"]) => Answer::ok(json!({ "projects": [project(PROJECT)], "links": {} })),
        _ => Answer::error(404, "no such page"),
    }
}

fn project(id: &str) -> Value {
    json!({ "id": id, "name": "moves", "domain_id": "default", "enabled": true, "description": "", "links": {} })
}

/// What a service says of itself.
pub(super) fn version(state: &State, path: &str, id: &str, micro: Option<(&str, &str)>) -> Value {
    let mut version = json!({ "id": id, "status": "CURRENT", "updated": "2026-01-01T00:00:00Z",
                              "links": [{ "rel": "self", "href": format!("{}/", state.url(path)) }] });
    if let Some((least, most)) = micro {
        version["min_version"] = least.into();
        version["version"] = most.into();
        version["max_version"] = most.into();
    }
    version
}

fn issue(state: &mut State, body: &Value) -> Answer {
    let given = &body["auth"]["identity"]["password"]["user"];
    if given["password"] != PASSWORD {
        return Answer::error(401, "The request you have made requires authentication.");
    }
    let token = state.id();
    state.tokens.insert(token.clone(), 0);
    let service = |kind: &str, path: &str| {
        let region = state.name.as_str();
        json!({ "type": kind, "name": kind, "id": kind, "endpoints": [{
            "id": kind, "interface": "public", "region": region, "region_id": region, "url": state.url(path) }] })
    };
    let body = json!({ "token": {
        "methods": ["password"], "expires_at": "2099-01-01T00:00:00.000000Z", "issued_at": "2026-01-01T00:00:00.000000Z",
        "user": { "id": "user", "name": "mover", "domain": { "id": "default", "name": "Default" } },
        "project": { "id": PROJECT, "name": "moves", "domain": { "id": "default", "name": "Default" } },
        "roles": [{ "id": "member", "name": "member" }], "audit_ids": ["a"], "is_domain": false,
        "catalog": [
            service("identity", "identity/v3"), service("compute", "compute/v2.1"),
            service("block-storage", &format!("volume/v3/{PROJECT}")), service("image", "image"), service("network", "network"),
        ],
    }});
    let mut answer = Answer::new(201, body);
    answer.headers.push(("X-Subject-Token", token));
    answer
}
