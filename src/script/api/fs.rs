//! What stands behind the functions of a host that read and write its files: the agent's answers as plain maps.

use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rhai::{Blob, Dynamic, Map, NativeCallContext};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::before::Before;
use super::ctx::Ctx;
use super::effect::{Effect, Planned, Unfinished};
use super::error::Fail;
use super::far::{absolute, at, unless_planned};
use super::host::Host;
use super::options::Options;
use super::paths;
use super::secret::{self, Given};
use crate::agent::machine::{Device, FileSystem, Mount, Stat};
use crate::agent::{Client, Error as AgentError, Files, WriteOptions};
use crate::error::{Error, Kind};
use crate::host::ssh::Far;
use crate::journal::Class;
use crate::redact;
use crate::script::profile::Profile;
use crate::script::value;
use crate::units::{Bytes, Stamp, path_text};

type Answer = Result<Value, Fail>;

/// More of a file is not handed to a script.
const MOST: u64 = 16 << 20;

/// Whoever answers for a host.
pub(super) enum Answering {
    /// This process.
    Here(Arc<Client>),
    /// The agent there.
    There(Arc<Far>),
}

impl Answering {
    pub(super) fn of(ctx: &Ctx, host: &Host) -> Result<Self, Fail> {
        match host {
            Host::Ssh(remote) => Ok(Self::There(remote.far(ctx)?)),
            Host::Local => {
                let mut state = ctx.state();
                let here = match &state.here {
                    Some(here) => Arc::clone(here),
                    None => {
                        let here = crate::agent::serve::here(&ctx.call.cancel).map_err(Error::from)?;
                        Arc::clone(state.here.insert(Arc::new(here)))
                    }
                };
                Ok(Self::Here(here))
            }
        }
    }

    pub(super) fn files(&self) -> Result<Files<'_>, Error> {
        match self {
            Self::Here(client) => Ok(client.files()),
            Self::There(far) => Ok(far.files()?),
        }
    }
}

/// The raw bytes of a path on a host, absolute.
fn bytes(host: &Host, text: &str) -> Result<Vec<u8>, Error> {
    let path = paths::path(text)?;
    if matches!(host, Host::Ssh(_)) {
        absolute(&path)?;
    }
    let path = std::path::absolute(&path).map_err(|error| {
        Error::new(Kind::Io, format!("cannot tell where `{text}` is from the working directory")).because(error)
    })?;
    Ok(path.as_os_str().as_bytes().to_vec())
}

/// Asks a host something that changes nothing.
fn ask(
    context: &NativeCallContext<'_>,
    host: &Host,
    what: &str,
    question: impl FnOnce(Files<'_>) -> Result<Value, AgentError>,
) -> Answer {
    let ctx = Ctx::of(context)?;
    let asked = || -> Answer { Ok(question(Answering::of(&ctx, host)?.files()?).map_err(Error::from)?) };
    unless_planned(&ctx, &format!("{what} on {host}"), asked())
}

pub(super) fn is_missing(error: &AgentError) -> bool {
    matches!(error, AgentError::Fault(fault) if fault.errno == Some(rustix::io::Errno::NOENT.raw_os_error()))
}

/// `host.stat(path, opts)`.
pub(super) fn stat(context: &NativeCallContext<'_>, host: &Host, text: &str, opts: Map) -> Answer {
    let mut options = Options::new("host.stat", opts);
    let link = options.flag("link")?;
    options.done()?;
    let path = bytes(host, text)?;
    ask(context, host, &format!("what `{text}` is"), |files| {
        let found = if link { files.lstat(&path) } else { files.stat(&path) };
        match found {
            Ok(stat) => Ok(stat_map(&stat)),
            Err(error) if is_missing(&error) => Ok(Value::Null),
            Err(error) => Err(error),
        }
    })
}

/// `host.list(path)`.
pub(super) fn list(context: &NativeCallContext<'_>, host: &Host, text: &str) -> Answer {
    let path = bytes(host, text)?;
    ask(context, host, &format!("what is in `{text}`"), |files| {
        let mut entries = files.list(&path)?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        let entry = |entry: &crate::agent::machine::Entry| {
            let mut map = stat_map(&entry.stat);
            map["name"] = path_text(&entry.name).into();
            map
        };
        Ok(entries.iter().map(entry).collect())
    })
}

/// `host.statfs(path)`.
pub(super) fn statfs(context: &NativeCallContext<'_>, host: &Host, text: &str) -> Answer {
    let path = bytes(host, text)?;
    ask(context, host, &format!("how full `{text}` is"), |files| {
        let FileSystem { magic, total, available, inodes, inodes_free, name_max, read_only } = files.statfs(&path)?;
        Ok(json!({
            "magic": format!("{magic:x}"), "total_bytes": total, "free_bytes": available, "inodes": inodes,
            "free_inodes": inodes_free, "name_max_bytes": name_max, "read_only": read_only,
        }))
    })
}

/// `host.mounts()`.
pub(super) fn mounts(context: &NativeCallContext<'_>, host: &Host) -> Answer {
    let shown = |mount: &Mount| {
        json!({
            "path": path_text(&mount.point), "source": path_text(&mount.source), "root": path_text(&mount.root),
            "device": mount.device, "fs_type": mount.fs_type, "options": mount.options,
            "fs_options": mount.super_options,
        })
    };
    ask(context, host, "what is mounted", |files| Ok(files.mounts()?.iter().map(shown).collect()))
}

/// `host.block_devices()`.
pub(super) fn block_devices(context: &NativeCallContext<'_>, host: &Host) -> Answer {
    let shown = |device: &Device| {
        let mounts: Vec<String> = device.mounts.iter().map(|point| path_text(point)).collect();
        json!({
            "name": device.name, "path": device.path, "device": device.device, "size_bytes": device.size,
            "read_only": device.read_only, "part_of": device.parent, "serial": device.serial, "model": device.model,
            "label": device.label, "holders": device.holders, "mounts": mounts,
        })
    };
    ask(context, host, "the block devices", |files| Ok(files.block_devices()?.iter().map(shown).collect()))
}

/// `host.read(path, opts)`.
pub(super) fn read(context: &NativeCallContext<'_>, host: &Host, text: &str, opts: Map) -> Result<Dynamic, Fail> {
    let mut options = Options::new("host.read", opts);
    let (offset, length) = (options.count("offset_bytes")?.unwrap_or(0), options.count("length_bytes")?);
    let raw = options.flag("bytes")?;
    options.done()?;
    let path = bytes(host, text)?;
    let mut content = Vec::new();
    let most = length.map_or(MOST + 1, |length| length.min(MOST + 1));
    let asked = ask(context, host, &format!("what is in `{text}`"), |files| {
        files.read(&path, offset, Some(most), &mut content)?;
        Ok(Value::Null)
    })?;
    if !asked.is_null() {
        return Ok(value::decode(&asked));
    }
    if content.len() as u64 > MOST {
        return Err(Error::new(Kind::Invalid, format!("`{text}` on {host} is larger than {}", Bytes(MOST)))
            .hint("read a part of it: #{ offset_bytes: …, length_bytes: … }; data is copied, not read into a script")
            .into());
    }
    // What a script has may be kept and shown: the value of a secret is neither.
    let content = redact::tail(content, usize::try_from(MOST).unwrap_or(usize::MAX));
    if raw {
        return Ok(Dynamic::from_blob(Blob::from(content)));
    }
    let text_of = String::from_utf8(content).map_err(|_| {
        Error::new(Kind::Invalid, format!("`{text}` on {host} is no text"))
            .hint("#{ bytes: true } gives its bytes as a blob")
    })?;
    Ok(text_of.into())
}

/// `host.write(path, content, opts)`.
pub(super) fn write(context: &NativeCallContext<'_>, host: &Host, text: &str, content: &Dynamic, opts: Map) -> Answer {
    let ctx = Ctx::of(context)?;
    let mut options = Options::new("host.write", opts);
    let mode = options.text("mode")?.map(|text| mode(&text)).transpose()?;
    let owner = options.text("owner")?.map(|text| owner(&text)).transpose()?;
    let new = options.flag("only_new")?;
    options.done()?;
    let path = bytes(host, text)?;
    let place = at(host, text)?;
    let content: Given = secret::content(&ctx, content, ctx.profile() != Profile::Plan)?;
    let wanted = WriteOptions { mode, owner, new };
    let before = match ctx.profile() {
        Profile::Live => Before::look(Answering::of(&ctx, host)?.files()?, &path, &place, &content)?,
        _ => Before::default(),
    };
    let effect = Effect {
        function: "host.write",
        target: place.to_string(),
        class: Class::Converge,
        request: json!({ "path": place.to_string(), "content": content.template, "mode": mode, "owner": owner, "only_new": new }),
        undo: before.undo,
        before: before.image,
        happened: Value::Null,
    };
    let given = content.value.expose_secret().as_bytes();
    // Whether it is all there already: then nothing is written.
    let there = |files: Files<'_>| -> Result<Option<Stat>, AgentError> {
        let found = match files.lstat(&path) {
            Err(error) if is_missing(&error) => return Ok(None),
            found => found?,
        };
        let fits = found.letter == b'f'
            && found.size == given.len() as u64
            && mode.is_none_or(|mode| mode == found.mode)
            && owner.is_none_or(|owner| owner == (found.uid, found.gid));
        if !fits {
            return Ok(None);
        }
        let mut held = Vec::new();
        files.read(&path, 0, None, &mut held)?;
        Ok((held == given).then_some(found))
    };
    let size = Bytes(given.len() as u64);
    let plan = || {
        let unknown = |why: String| {
            let result = json!({ "$unknown": format!("what `{place}` is afterwards") });
            Planned { result, certainty: "unknown", changes: None, summary: why }
        };
        let answering = match Answering::of(&ctx, host).map_err(Fail::into_error) {
            Err(error) if error.kind == Kind::Unsupported => {
                return Ok(unknown(format!("will write; {}", error.message)));
            }
            answering => answering?,
        };
        match there(answering.files()?)? {
            Some(found) => Ok(Planned {
                result: written(&found, false),
                certainty: "exact",
                changes: Some(false),
                summary: "holds that already".into(),
            }),
            None => Ok(unknown(format!("will write {size}"))),
        }
    };
    let act = || -> Result<(Value, bool), Unfinished> {
        let answering = Answering::of(&ctx, host).map_err(Fail::into_error)?;
        let files = answering.files()?;
        // A file that must be new and holds just this was made by an attempt whose end is not known, or by somebody else;
        // both are told apart by nobody, and it is what was asked for.
        if let Some(found) = there(files).map_err(Error::from)? {
            return Ok((written(&found, false), false));
        }
        let stat = files.write(&path, &mut &*given, &wanted).map_err(Error::from)?;
        Ok((written(&stat, true), true))
    };
    ctx.effect(effect, plan, act)
}

fn written(stat: &Stat, changed: bool) -> Value {
    let mut map = stat_map(stat);
    map["written"] = changed.into();
    map
}

/// Permissions as `chmod` takes them in digits.
fn mode(text: &str) -> Result<u32, Error> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o7777);
    mode.ok_or_else(|| {
        Error::new(Kind::Invalid, format!("`mode` cannot be `{text}`")).hint("give digits such as \"0644\"")
    })
}

/// Two numbers: names mean other users on another machine.
fn owner(text: &str) -> Result<(u32, u32), Error> {
    let parts = text.split_once(':').and_then(|(uid, gid)| Some((uid.parse().ok()?, gid.parse().ok()?)));
    parts.ok_or_else(|| {
        Error::new(Kind::Invalid, format!("`owner` cannot be `{text}`"))
            .hint("give numbers such as \"1000:1000\": names mean other users elsewhere")
    })
}

fn nanos(stamp: &Stamp) -> i64 {
    stamp.sec.saturating_mul(1_000_000_000).saturating_add(stamp.nsec.into())
}

fn stat_map(stat: &Stat) -> Value {
    let kinds = [
        (b'f', "file"),
        (b'd', "dir"),
        (b'l', "link"),
        (b'p', "fifo"),
        (b's', "socket"),
        (b'c', "char_device"),
        (b'b', "block_device"),
    ];
    let kind = kinds.iter().find(|(letter, _)| *letter == stat.letter).map_or("other", |(_, kind)| kind);
    json!({
        "kind": kind, "mode": format!("{:04o}", stat.mode), "uid": stat.uid, "gid": stat.gid, "links": stat.nlink,
        "size_bytes": stat.size, "mtime_ns": nanos(&stat.mtime), "ctime_ns": nanos(&stat.ctime),
        "target": stat.target.as_deref().map(path_text),
    })
}
