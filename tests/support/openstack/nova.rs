//! Servers, what is attached to them, and key pairs.

use serde_json::{Value, json};

use super::cinder::texts;
use super::glance::IMAGE;
use super::http::{Answer, Request};
use super::keystone::{PROJECT, version};
use super::state::{Iron, State};
use super::things::{Attachment, Server, Status};

pub(super) fn answer(state: &mut State, iron: &dyn Iron, request: &Request) -> Answer {
    let parts = request.parts();
    let own = match &parts[1..] {
        [] | ["v2.1"] => {
            let version = version(state, "compute/v2.1", "v2.1", Some(("2.1", "2.90")));
            return Answer::ok(json!({ "version": version }));
        }
        ["v2.1", own @ ..] => own,
        _ => return Answer::error(404, "no such page"),
    };
    match (request.method.as_str(), own) {
        ("GET", ["servers"] | ["servers", "detail"]) => list(state, iron, request),
        ("POST", ["servers"]) => create(state, iron, &request.body["server"]),
        ("GET", ["servers", id]) => match look(state, iron, id) {
            Some(server) => Answer::ok(json!({ "server": server })),
            None => missing(id),
        },
        ("DELETE", ["servers", id]) => delete(state, iron, id),
        ("POST", ["servers", id, "action"]) => act(state, id, &request.body),
        ("GET", ["servers", id, "os-volume_attachments"]) => attachments(state, id),
        ("POST", ["servers", id, "os-volume_attachments"]) => {
            attach(state, iron, id, request.body["volumeAttachment"]["volumeId"].as_str().unwrap_or_default())
        }
        ("DELETE", ["servers", id, "os-volume_attachments", volume]) => detach(state, id, volume),
        ("GET", ["servers", _, "os-interface"]) => Answer::ok(json!({ "interfaceAttachments": [] })),
        ("GET", ["servers", _, "os-security-groups"]) => Answer::ok(json!({ "security_groups": [] })),
        ("GET", ["flavors"] | ["flavors", "detail"]) => Answer::ok(json!({ "flavors": [flavor("small")] })),
        ("GET", ["flavors", "small"]) => Answer::ok(json!({ "flavor": flavor("small") })),
        ("GET", ["flavors", _, "os-extra_specs"]) => Answer::ok(json!({ "extra_specs": {} })),
        ("GET", ["flavors", id]) => Answer::error(404, &format!("Flavor {id} could not be found.")),
        ("GET", ["os-keypairs"]) => {
            let pairs = state.key_pairs.iter().map(|(name, key)| json!({ "keypair": pair(name, key) }));
            Answer::ok(json!({ "keypairs": pairs.collect::<Vec<_>>() }))
        }
        ("POST", ["os-keypairs"]) => key_pair(state, &request.body["keypair"]),
        ("GET", ["os-keypairs", name]) => match state.key_pairs.get(*name) {
            Some(key) => Answer::ok(json!({ "keypair": pair(name, key) })),
            None => Answer::error(404, &format!("Keypair {name} not found for user user")),
        },
        ("DELETE", ["os-keypairs", name]) => match state.key_pairs.remove(*name) {
            Some(_) => Answer::new(204, Value::Null),
            None => Answer::error(404, &format!("Keypair {name} not found for user user")),
        },
        ("GET", ["limits"]) => Answer::ok(json!({ "limits": { "rate": [], "absolute": limits(state) } })),
        ("GET", ["os-quota-sets", id]) => Answer::ok(json!({ "quota_set": {
            "id": id, "instances": state.limits.instances, "cores": state.limits.cores, "ram": state.limits.ram_mib,
            "key_pairs": state.limits.key_pairs, "server_groups": 10, "server_group_members": 10, "metadata_items": 128 } })),
        ("GET", ["os-availability-zone"]) => Answer::ok(json!({ "availabilityZoneInfo": [
            { "zoneName": "nova", "zoneState": { "available": true }, "hosts": null }] })),
        _ => Answer::error(404, "no such page"),
    }
}

fn missing(id: &str) -> Answer {
    Answer::error(404, &format!("Instance {id} could not be found."))
}

fn flavor(name: &str) -> Value {
    json!({ "id": name, "name": name, "original_name": name, "vcpus": 1, "ram": 1024, "disk": 10, "swap": 0, "links": [],
            "OS-FLV-EXT-DATA:ephemeral": 0, "ephemeral": 0, "rxtx_factor": 1.0, "os-flavor-access:is_public": true,
            "OS-FLV-DISABLED:disabled": false, "description": null, "extra_specs": {} })
}

fn pair(name: &str, key: &str) -> Value {
    json!({ "id": 1, "name": name, "public_key": key, "fingerprint": "00:11", "type": "ssh", "user_id": "user",
            "deleted": false, "created_at": "2026-01-01T00:00:00", "deleted_at": null, "updated_at": null })
}

fn shown(state: &State, server: &Server) -> Value {
    server.json(PROJECT, &flavor(&server.flavor), &state.volumes_in(&server.id))
}

/// One look at a server: what is on its way comes nearer.
fn look(state: &mut State, iron: &dyn Iron, id: &str) -> Option<Value> {
    let server = state.servers.get_mut(id)?;
    server.look();
    if server.status.now == "DELETED" {
        let gone = state.servers.remove(id)?;
        for volume in state.volumes_in(id) {
            release(state, iron, &gone, &volume);
        }
        iron.gone(&gone);
        return None;
    }
    state.servers.get(id).map(|server| shown(state, server))
}

/// Takes a volume out of a server that is gone.
fn release(state: &mut State, iron: &dyn Iron, server: &Server, volume: &str) {
    state.places.remove(&(volume.to_owned(), server.id.clone()));
    if let Some(volume) = state.volumes.get_mut(volume) {
        iron.detached(server, volume);
        volume.attachments.retain(|at| at.server != server.id);
        volume.status = Status::is("available");
    }
}

fn list(state: &mut State, iron: &dyn Iron, request: &Request) -> Answer {
    let ids: Vec<String> = state.servers.keys().cloned().collect();
    for id in ids {
        look(state, iron, &id);
    }
    let name = request.asked("name");
    let found = state.servers.values().filter(|server| name.is_none_or(|name| server.name.contains(name)));
    Answer::ok(json!({ "servers": found.map(|server| shown(state, server)).collect::<Vec<_>>(), "servers_links": [] }))
}

fn create(state: &mut State, iron: &dyn Iron, asked: &Value) -> Answer {
    if state.servers.len() as i64 >= state.limits.instances {
        return Answer::error(403, "Quota exceeded for instances: Requested 1, but already used all of it");
    }
    let key_name = asked["key_name"].as_str().map(str::to_owned);
    if key_name.as_ref().is_some_and(|name| !state.key_pairs.contains_key(name)) {
        return Answer::error(400, "Invalid key_name provided.");
    }
    if asked["imageRef"] != IMAGE || asked["flavorRef"] != "small" {
        return Answer::error(400, "Invalid imageRef or flavorRef provided.");
    }
    let id = state.id();
    let last = if state.behave.server_error { "ERROR" } else { "ACTIVE" };
    let groups = asked["security_groups"].as_array().into_iter().flatten();
    let mut server = Server {
        id: id.clone(),
        name: asked["name"].as_str().unwrap_or_default().into(),
        status: state.on_way("BUILD", last),
        metadata: texts(&asked["metadata"]),
        key_name,
        image: asked["imageRef"].as_str().map(str::to_owned),
        flavor: "small".into(),
        user_data: asked["user_data"].as_str().map(str::to_owned),
        groups: groups.filter_map(|group| group["name"].as_str()).map(str::to_owned).collect(),
        addresses: Vec::new(),
        console: String::new(),
        root: None,
    };
    let key = server.key_name.as_ref().and_then(|name| state.key_pairs.get(name));
    (server.addresses, server.console) = iron.boot(&server, key.map(String::as_str));
    state.servers.insert(id.clone(), server);
    Answer::new(
        202,
        json!({ "server": { "id": id, "links": [], "OS-DCF:diskConfig": "MANUAL", "security_groups": [],
                                         "adminPass": "Not-to-be-shown-7" } }),
    )
}

fn delete(state: &mut State, iron: &dyn Iron, id: &str) -> Answer {
    let (status, looks, undead) = (state.on_way("ACTIVE", "DELETED"), state.behave.looks, state.behave.undead);
    let Some(server) = state.servers.get_mut(id) else { return missing(id) };
    if !undead {
        server.status = status;
        if looks == 0 {
            look(state, iron, id);
        }
    }
    Answer::new(204, Value::Null)
}

fn act(state: &mut State, id: &str, body: &Value) -> Answer {
    let (stopping, starting) = (state.on_way("ACTIVE", "SHUTOFF"), state.on_way("SHUTOFF", "ACTIVE"));
    let silent = state.behave.silent_console;
    let Some(server) = state.servers.get_mut(id) else { return missing(id) };
    let what = body.as_object().and_then(|map| map.keys().next()).map(String::as_str);
    if let (Some("os-stop" | "os-start"), Some(task)) = (what, server.task()) {
        return Answer::error(409, &format!("Cannot do this to instance {id} while it is in task_state {task}"));
    }
    match what {
        Some("os-stop") if server.status.now == "ACTIVE" => server.status = stopping,
        Some("os-start") if server.status.now == "SHUTOFF" => server.status = starting,
        Some("os-stop" | "os-start") => {
            return Answer::error(
                409,
                &format!("Cannot do this to instance {id} while it is in vm_state {}", server.status.now),
            );
        }
        Some("os-getConsoleOutput") => {
            return Answer::ok(json!({ "output": if silent { "login: " } else { &server.console } }));
        }
        _ => return Answer::error(400, "there is no such action"),
    }
    Answer::new(202, Value::Null)
}

fn attachments(state: &State, id: &str) -> Answer {
    if !state.servers.contains_key(id) {
        return missing(id);
    }
    let all = state.volumes.values().flat_map(|volume| volume.attachments.iter().map(move |at| (volume, at)));
    let own = all.filter(|(_, at)| at.server == id).map(|(volume, at)| {
        json!({ "id": volume.id, "volumeId": volume.id, "serverId": id, "device": at.device, "tag": null,
                "delete_on_termination": false, "attachment_id": at.id, "bdm_uuid": at.id })
    });
    Answer::ok(json!({ "volumeAttachments": own.collect::<Vec<_>>() }))
}

fn attach(state: &mut State, iron: &dyn Iron, id: &str, volume_id: &str) -> Answer {
    if !state.servers.contains_key(id) {
        return missing(id);
    }
    let place = state.behave.wrong_server.clone().unwrap_or_else(|| id.to_owned());
    let taken = state.volumes_in(&place).len();
    let letter = |number: usize| format!("/dev/vd{}", char::from(b'b' + u8::try_from(number).unwrap_or(0)));
    let device = if state.behave.wrong_letter { letter(taken + 1) } else { letter(taken) };
    let (attachment, stuck, way) = (state.id(), state.behave.stuck_attaching, state.on_way("attaching", "in-use"));
    let Some(volume) = state.volumes.get_mut(volume_id) else {
        return Answer::error(404, &format!("Volume {volume_id} could not be found."));
    };
    if volume.status.now != "available" {
        let message = format!(
            "Invalid input received: Invalid volume: Volume {volume_id} status must be available or downloading to reserve, but the current status is {}.",
            volume.status.now
        );
        return Answer::error(400, &message);
    }
    volume.status = if stuck { Status::is("attaching") } else { way };
    volume.attachments.push(Attachment { id: attachment, server: place.clone(), device: device.clone() });
    if let (Some(server), false) = (state.servers.get(&place), stuck) {
        iron.attached(server, volume);
        state.places.insert((volume_id.to_owned(), place.clone()));
    }
    Answer::ok(json!({ "volumeAttachment": { "id": volume_id, "volumeId": volume_id, "serverId": id, "device": device,
                                             "tag": null, "delete_on_termination": false } }))
}

fn detach(state: &mut State, id: &str, volume_id: &str) -> Answer {
    let way = state.on_way("detaching", "available");
    let Some(server) = state.servers.get(id) else { return missing(id) };
    if server.root.as_deref() == Some(volume_id) && server.status.now != "SHUTOFF" {
        return Answer::error(403, "Cannot detach a root device volume");
    }
    let Some(volume) =
        state.volumes.get_mut(volume_id).filter(|volume| volume.attachments.iter().any(|at| at.server == id))
    else {
        return Answer::error(404, &format!("Volume {volume_id} is not attached to the instance {id}"));
    };
    if volume.status.now != "in-use" {
        return Answer::error(
            409,
            &format!("Invalid volume: Invalid input received: volume {volume_id} is {}", volume.status.now),
        );
    }
    volume.status = way;
    Answer::new(202, Value::Null)
}

/// A volume that has become available is in no server any more.
pub(super) fn left(state: &mut State, iron: &dyn Iron, volume_id: &str) {
    let places: Vec<_> = state.places.iter().filter(|(volume, _)| volume == volume_id).cloned().collect();
    for (_, server) in places {
        if let Some(server) = state.servers.get(&server).cloned() {
            release(state, iron, &server, volume_id);
        }
    }
}

fn key_pair(state: &mut State, asked: &Value) -> Answer {
    let name = asked["name"].as_str().unwrap_or_default().to_owned();
    let Some(key) = asked["public_key"].as_str() else { return Answer::error(400, "no public key") };
    if state.key_pairs.contains_key(&name) {
        return Answer::error(409, &format!("Key pair '{name}' already exists."));
    }
    if state.key_pairs.len() as i64 >= state.limits.key_pairs {
        return Answer::error(403, "Quota exceeded, too many key pairs.");
    }
    state.key_pairs.insert(name.clone(), key.to_owned());
    Answer::new(201, json!({ "keypair": pair(&name, key) }))
}

fn limits(state: &State) -> Value {
    let used = state.servers.len();
    json!({ "maxTotalInstances": state.limits.instances, "totalInstancesUsed": used, "maxTotalCores": state.limits.cores,
            "totalCoresUsed": used, "maxTotalRAMSize": state.limits.ram_mib, "totalRAMUsed": used * 1024,
            "maxTotalKeypairs": state.limits.key_pairs, "maxServerMeta": 128, "maxServerGroups": 10,
            "totalServerGroupsUsed": 0, "maxServerGroupMembers": 10, "maxImageMeta": 128, "maxPersonality": 5,
            "maxPersonalitySize": 10240, "maxSecurityGroups": 10, "maxSecurityGroupRules": 20, "maxTotalFloatingIps": 10,
            "totalFloatingIpsUsed": 0, "totalSecurityGroupsUsed": 1 })
}
