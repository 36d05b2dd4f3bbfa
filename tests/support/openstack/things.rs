//! What a cloud has: volumes, servers, key pairs, and the states they go through.

use std::collections::BTreeMap;

use serde_json::{Value, json};

/// A state that is on its way to the next. It is reached after so many looks, so that no clock is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Status {
    pub(crate) now: String,
    next: Option<(u32, String)>,
}

impl Status {
    pub(crate) fn is(now: &str) -> Self {
        Self { now: now.into(), next: None }
    }

    pub(crate) fn then(now: &str, looks: u32, next: &str) -> Self {
        Self { now: now.into(), next: Some((looks, next.into())) }
    }

    fn next(&self) -> Option<&str> {
        self.next.as_ref().map(|(_, next)| next.as_str())
    }

    /// One look; whether the next state was reached by it.
    fn look(&mut self) -> bool {
        match &mut self.next {
            Some((0, next)) => {
                self.now = std::mem::take(next);
                self.next = None;
                true
            }
            Some((looks, _)) => {
                *looks -= 1;
                false
            }
            None => false,
        }
    }
}

/// A volume where it is, or is said to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    pub(crate) id: String,
    pub(crate) server: String,
    pub(crate) device: String,
}

#[derive(Debug, Clone)]
pub(crate) struct Volume {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) gib: u64,
    pub(crate) status: Status,
    pub(crate) kind: String,
    pub(crate) zone: String,
    pub(crate) bootable: bool,
    pub(crate) encrypted: bool,
    pub(crate) multiattach: bool,
    pub(crate) read_only: bool,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) image: BTreeMap<String, String>,
    pub(crate) attachments: Vec<Attachment>,
}

impl Volume {
    pub(crate) fn json(&self, project: &str) -> Value {
        let attached = |at: &Attachment| {
            json!({ "id": self.id, "volume_id": self.id, "attachment_id": at.id, "server_id": at.server,
                    "device": at.device, "host_name": null, "attached_at": "2026-01-01T00:00:00.000000" })
        };
        let mut metadata: serde_json::Map<String, Value> =
            self.metadata.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        if self.read_only {
            metadata.insert("readonly".into(), "True".into());
        }
        let mut volume = json!({
            "id": self.id, "name": self.name, "size": self.gib, "status": self.status.now, "volume_type": self.kind,
            "availability_zone": self.zone, "bootable": self.bootable.to_string(), "encrypted": self.encrypted,
            "multiattach": self.multiattach, "metadata": metadata, "description": null, "snapshot_id": null,
            "source_volid": null, "consistencygroup_id": null, "replication_status": null, "user_id": "user",
            "created_at": "2026-01-01T00:00:00.000000", "updated_at": null, "migration_status": null,
            "os-vol-tenant-attr:tenant_id": project, "links": [],
            // One that is on its way in is not shown.
            "attachments": self.attachments.iter().filter(|_| self.status.now != "attaching").map(attached).collect::<Vec<_>>(),
        });
        if !self.image.is_empty() {
            volume["volume_image_metadata"] = json!(self.image);
        }
        volume
    }

    /// One look at its state.
    pub(super) fn look(&mut self) -> bool {
        self.status.look()
    }
}

#[derive(Debug, Clone)]
pub(crate) struct Server {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) status: Status,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) key_name: Option<String>,
    pub(crate) image: Option<String>,
    pub(crate) flavor: String,
    pub(crate) user_data: Option<String>,
    pub(crate) groups: Vec<String>,
    /// Address and whether it is one of version 6.
    pub(crate) addresses: Vec<(String, bool)>,
    pub(crate) console: String,
    /// Volume that it boots from, which cannot be detached.
    pub(crate) root: Option<String>,
}

impl Server {
    /// What the cloud is doing with it: its state does not tell.
    pub(super) fn task(&self) -> Option<&'static str> {
        Some(match self.status.next()? {
            "SHUTOFF" => "powering-off",
            "DELETED" => "deleting",
            _ if self.status.now == "BUILD" => "spawning",
            _ => "powering-on",
        })
    }

    pub(crate) fn json(&self, project: &str, flavor: &Value, volumes: &[String]) -> Value {
        let address = |(text, six): &(String, bool)| {
            json!({ "addr": text, "version": if *six { 6 } else { 4 }, "OS-EXT-IPS:type": "fixed",
                    "OS-EXT-IPS-MAC:mac_addr": "fa:16:3e:00:00:01" })
        };
        json!({
            "id": self.id, "name": self.name, "status": self.status.now, "tenant_id": project, "user_id": "user",
            "metadata": self.metadata, "hostId": "host", "image": self.image.as_ref().map_or(json!(""), |id| json!({ "id": id })),
            "flavor": flavor, "created": "2026-01-01T00:00:00Z", "updated": "2026-01-01T00:00:00Z", "links": [],
            "addresses": { "net": self.addresses.iter().map(address).collect::<Vec<_>>() },
            "accessIPv4": "", "accessIPv6": "", "key_name": self.key_name, "config_drive": "", "progress": 0,
            "OS-DCF:diskConfig": "MANUAL", "OS-EXT-AZ:availability_zone": "nova", "OS-EXT-STS:power_state": 1,
            "OS-EXT-STS:task_state": self.task(), "OS-EXT-STS:vm_state": self.status.now.to_lowercase(), "tags": [],
            "OS-SRV-USG:launched_at": null, "OS-SRV-USG:terminated_at": null, "description": self.name, "locked": false,
            "security_groups": self.groups.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>(),
            "os-extended-volumes:volumes_attached": volumes.iter().map(|id| json!({ "id": id, "delete_on_termination": false })).collect::<Vec<_>>(),
        })
    }

    /// One look at its state.
    pub(super) fn look(&mut self) -> bool {
        self.status.look()
    }
}
