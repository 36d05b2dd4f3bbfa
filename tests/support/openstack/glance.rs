//! One image, one network and one security group: as much as is asked for to make a server.

use serde_json::{Value, json};

use super::http::{Answer, Request};
use super::keystone::{PROJECT, version};
use super::state::State;

pub(super) const IMAGE: &str = "33333333-3333-4333-8333-333333333333";
const NETWORK: &str = "44444444-4444-4444-8444-444444444444";
const GROUP: &str = "55555555-5555-4555-8555-555555555555";

pub(super) fn images(state: &State, request: &Request) -> Answer {
    match (request.method.as_str(), &request.parts()[1..]) {
        ("GET", [] | ["v2"]) => Answer::ok(json!({ "versions": [version(state, "image/v2", "v2.9", None)] })),
        ("GET", ["v2", "images"]) => {
            let name = request.asked("name").is_none_or(|name| name == "linux");
            Answer::ok(json!({ "images": if name { vec![image()] } else { Vec::new() } }))
        }
        ("GET", ["v2", "images", IMAGE]) => Answer::ok(image()),
        _ => Answer::error(404, "No image found"),
    }
}

fn image() -> Value {
    json!({ "id": IMAGE, "name": "linux", "status": "active", "visibility": "public", "size": 1, "min_disk": 0, "min_ram": 0,
            "disk_format": "raw", "container_format": "bare", "owner": PROJECT, "tags": [], "protected": false,
            "created_at": "2026-01-01T00:00:00Z", "updated_at": "2026-01-01T00:00:00Z", "checksum": null })
}

pub(super) fn networks(state: &State, request: &Request) -> Answer {
    let named = |name: &str, thing: Value| {
        let wanted = request.asked("name").is_none_or(|asked| asked == name)
            && request.asked("id").is_none_or(|asked| thing["id"] == asked);
        if wanted { vec![thing] } else { Vec::new() }
    };
    match (request.method.as_str(), &request.parts()[1..]) {
        ("GET", [] | ["v2.0"]) => Answer::ok(json!({ "versions": [version(state, "network/v2.0", "v2.0", None)] })),
        ("GET", ["v2.0", "networks"]) => Answer::ok(json!({ "networks": named("net", network()) })),
        ("GET", ["v2.0", "networks", NETWORK]) => Answer::ok(json!({ "network": network() })),
        ("GET", ["v2.0", "security-groups"]) => Answer::ok(json!({ "security_groups": named("ssh", group()) })),
        ("GET", ["v2.0", "security-groups", GROUP]) => Answer::ok(json!({ "security_group": group() })),
        ("GET", ["v2.0", "ports"]) => Answer::ok(json!({ "ports": [] })),
        ("GET", ["v2.0", "extensions"]) => Answer::ok(json!({ "extensions": [] })),
        ("GET", ["v2.0", "quotas", ..]) => Answer::ok(json!({ "quota": {
            "floatingip": 10, "network": 10, "port": 100, "router": 10, "security_group": 10, "security_group_rule": 100,
            "subnet": 10, "subnetpool": -1, "rbac_policy": 10 } })),
        _ => Answer::error(404, "The resource could not be found."),
    }
}

fn network() -> Value {
    json!({ "id": NETWORK, "name": "net", "status": "ACTIVE", "tenant_id": PROJECT, "project_id": PROJECT, "subnets": [],
            "admin_state_up": true, "shared": false, "router:external": false })
}

fn group() -> Value {
    json!({ "id": GROUP, "name": "ssh", "tenant_id": PROJECT, "project_id": PROJECT, "description": "",
            "security_group_rules": [], "tags": [] })
}
