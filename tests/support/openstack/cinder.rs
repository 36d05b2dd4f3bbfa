//! Volumes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::http::{Answer, Request};
use super::keystone::{PROJECT, version};
use super::state::{Iron, State};
use super::things::{Status, Volume};

pub(super) fn answer(state: &mut State, iron: &dyn Iron, request: &Request) -> Answer {
    let parts = request.parts();
    let own = match &parts[1..] {
        [] | ["v3"] => {
            let version = version(state, "volume/v3", "v3.0", Some(("3.0", "3.70")));
            return Answer::ok(json!({ "versions": [version] }));
        }
        ["v3", own @ ..] => own.strip_prefix(&[PROJECT]).unwrap_or(own),
        _ => return Answer::error(404, "no such page"),
    };
    match (request.method.as_str(), own) {
        ("GET", []) => Answer::ok(json!({ "versions": [version(state, "volume/v3", "v3.0", Some(("3.0", "3.70")))] })),
        ("GET", ["volumes"] | ["volumes", "detail"]) => list(state, request),
        ("POST", ["volumes"]) => create(state, iron, &request.body["volume"]),
        ("GET", ["limits"]) => Answer::ok(json!({ "limits": { "rate": [], "absolute": limits(state) } })),
        ("GET", ["os-quota-sets", id]) => Answer::ok(json!({ "quota_set": quota(state, id) })),
        ("GET", ["types"]) => Answer::ok(json!({ "volume_types": kinds() })),
        ("GET", ["types", id]) => match kinds().into_iter().find(|kind| kind["id"] == *id) {
            Some(kind) => Answer::ok(json!({ "volume_type": kind })),
            None => missing(id),
        },
        ("GET", ["snapshots"] | ["snapshots", "detail"]) => Answer::ok(json!({ "snapshots": [] })),
        ("GET", ["volumes", id]) => match look(state, iron, id) {
            Some(volume) => Answer::ok(json!({ "volume": volume })),
            None => missing(id),
        },
        ("PUT", ["volumes", id]) => with(state, id, |volume| {
            if let Some(name) = request.body["volume"]["name"].as_str() {
                volume.name = name.into();
            }
            Answer::ok(json!({ "volume": volume.json(PROJECT) }))
        }),
        ("POST", ["volumes", id, "metadata"]) => with(state, id, |volume| {
            volume.metadata.extend(texts(&request.body["metadata"]));
            Answer::ok(json!({ "metadata": volume.metadata }))
        }),
        ("DELETE", ["volumes", id, "metadata", key]) => with(state, id, |volume| {
            volume.metadata.remove(*key);
            Answer::ok(Value::Null)
        }),
        ("POST", ["volumes", id, "action"]) => with(state, id, |volume| act(volume, &request.body)),
        ("DELETE", ["volumes", id]) => delete(state, iron, id),
        _ => Answer::error(404, "no such page"),
    }
}

fn missing(id: &str) -> Answer {
    Answer::error(404, &format!("Volume {id} could not be found."))
}

fn with(state: &mut State, id: &str, act: impl FnOnce(&mut Volume) -> Answer) -> Answer {
    state.volumes.get_mut(id).map_or_else(|| missing(id), act)
}

/// One look at a volume: what is on its way comes nearer.
fn look(state: &mut State, iron: &dyn Iron, id: &str) -> Option<Value> {
    let volume = state.volumes.get_mut(id)?;
    let reached = volume.look();
    match volume.status.now.as_str() {
        "deleted" => {
            let gone = state.volumes.remove(id)?;
            iron.lost(&gone);
            return None;
        }
        "available" if reached => super::nova::left(state, iron, id),
        _ => {}
    }
    state.volumes.get(id).map(|volume| volume.json(PROJECT))
}

fn list(state: &State, request: &Request) -> Answer {
    let name = request.asked("name");
    let found = state.volumes.values().filter(|volume| name.is_none_or(|name| volume.name == name));
    Answer::ok(json!({ "volumes": found.map(|volume| volume.json(PROJECT)).collect::<Vec<_>>() }))
}

fn create(state: &mut State, iron: &dyn Iron, asked: &Value) -> Answer {
    let gib = asked["size"].as_u64().unwrap_or(0);
    let used: i64 = state.volumes.values().map(|volume| volume.gib as i64).sum();
    if state.volumes.len() as i64 >= state.limits.volumes {
        return Answer::error(
            413,
            "VolumeLimitExceeded: Maximum number of volumes allowed exceeded for quota 'volumes'.",
        );
    }
    if used + gib as i64 > state.limits.gibibytes {
        return Answer::error(
            413,
            "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota.",
        );
    }
    let kind = asked["volume_type"].as_str().unwrap_or("plain");
    let Some(kind) = kinds().into_iter().find(|known| known["id"] == kind || known["name"] == kind) else {
        return Answer::error(404, "Volume type could not be found.");
    };
    let id = state.id();
    let last = if state.behave.volume_error { "error" } else { "available" };
    let volume = Volume {
        id: id.clone(),
        name: asked["name"].as_str().unwrap_or_default().into(),
        gib,
        status: state.on_way("creating", last),
        kind: kind["name"].as_str().unwrap_or_default().into(),
        zone: asked["availability_zone"].as_str().unwrap_or("nova").into(),
        bootable: false,
        encrypted: kind["name"] == "sealed",
        multiattach: false,
        read_only: false,
        metadata: texts(&asked["metadata"]),
        image: BTreeMap::new(),
        attachments: Vec::new(),
    };
    iron.made(&volume);
    let shown = volume.json(PROJECT);
    state.volumes.insert(id, volume);
    Answer::new(202, json!({ "volume": shown }))
}

fn act(volume: &mut Volume, body: &Value) -> Answer {
    let Some((what, how)) = body.as_object().and_then(|map| map.iter().next()) else {
        return Answer::error(400, "no action");
    };
    match what.as_str() {
        "os-update_readonly_flag" if volume.status.now != "available" => {
            let (id, status) = (&volume.id, &volume.status.now);
            let text = format!(
                "Volume {id} status must be available to update readonly flag, but current status is: {status}."
            );
            return Answer::error(400, &text);
        }
        "os-update_readonly_flag" => volume.read_only = how["readonly"].as_bool().unwrap_or(false),
        "os-set_bootable" => volume.bootable = how["bootable"].as_bool().unwrap_or(false),
        "os-set_image_metadata" => volume.image.extend(texts(&how["metadata"])),
        _ => return Answer::error(400, &format!("there is no action {what}")),
    }
    Answer::ok(Value::Null)
}

fn delete(state: &mut State, iron: &dyn Iron, id: &str) -> Answer {
    let status = state.on_way("deleting", "deleted");
    let looks = state.behave.looks;
    let Some(volume) = state.volumes.get_mut(id) else { return missing(id) };
    if !matches!(volume.status.now.as_str(), "available" | "error") {
        let message = "Invalid volume: Volume status must be available or error or error_restoring or error_extending or \
                       error_managing and must not be migrating, attached, belong to a group, have snapshots, awaiting a \
                       transfer, or be disassociated from snapshots after volume transfer.";
        return Answer::error(400, message);
    }
    volume.status = status;
    if looks == 0 {
        state.volumes.remove(id).iter().for_each(|gone| iron.lost(gone));
    }
    Answer::new(202, Value::Null)
}

fn limits(state: &State) -> Value {
    json!({
        "maxTotalVolumes": state.limits.volumes, "maxTotalVolumeGigabytes": state.limits.gibibytes,
        "totalVolumesUsed": state.volumes.len(),
        "totalGigabytesUsed": state.volumes.values().map(|volume| volume.gib).sum::<u64>(),
        "maxTotalSnapshots": 10, "totalSnapshotsUsed": 0, "maxTotalBackups": 10, "totalBackupsUsed": 0,
        "maxTotalBackupGigabytes": 1000, "totalBackupGigabytesUsed": 0,
    })
}

fn quota(state: &State, id: &str) -> Value {
    json!({ "id": id, "volumes": state.limits.volumes, "gigabytes": state.limits.gibibytes, "snapshots": 10,
            "backups": 10, "backup_gigabytes": 1000, "per_volume_gigabytes": -1, "groups": 10 })
}

fn kinds() -> Vec<Value> {
    ["plain", "fast", "sealed"]
        .iter()
        .map(|name| json!({ "id": format!("type-{name}"), "name": name, "is_public": true, "description": null, "extra_specs": {} }))
        .collect()
}

pub(super) fn texts(map: &Value) -> BTreeMap<String, String> {
    let items = map.as_object().into_iter().flatten();
    items.map(|(key, value)| (key.clone(), value.as_str().map_or_else(|| value.to_string(), str::to_owned))).collect()
}

/// A volume that is there from the beginning.
pub(super) fn planted(id: String, name: &str, gib: u64) -> Volume {
    Volume {
        id,
        name: name.into(),
        gib,
        status: Status::is("available"),
        kind: "plain".into(),
        zone: "nova".into(),
        bootable: false,
        encrypted: false,
        multiattach: false,
        read_only: false,
        metadata: BTreeMap::new(),
        image: BTreeMap::new(),
        attachments: Vec::new(),
    }
}
