//! What stands behind `host::ssh`: its options, the connection a run shares among all handles of one host, and what is
//! recorded of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use rhai::{Map, NativeCallContext};
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::error::Fail;
use super::options::Options;
use super::paths::path;
use crate::error::{Error, Kind};
use crate::host::ssh::{self, Dest, Sudo, Trust};
use crate::journal::Level;
use crate::script::profile::Profile;
use crate::script::secret::Secret;

/// A host over SSH as a script has it. Connected to when it is first used.
#[derive(Debug)]
pub(crate) struct Remote {
    dest: Dest,
    options: ssh::Options,
    password: Option<Secret>,
    sudo: bool,
    sudo_password: Option<Secret>,
    host: OnceLock<Arc<ssh::Host>>,
    told: AtomicBool,
}

/// `host::ssh(dest, opts)`.
pub(super) fn remote(context: &NativeCallContext<'_>, dest: &str, opts: Map) -> Result<Arc<Remote>, Fail> {
    let ctx = Ctx::of(context)?;
    let mut dest = Dest::parse(dest).map_err(Error::from)?;
    let mut options = Options::new("host::ssh", opts);
    if let Some(user) = options.text("user")? {
        let text = Dest { user: Some(user), ..dest.clone() }.to_string();
        dest = Dest::parse(&text).map_err(Error::from)?;
    }
    if let Some(port) = options.count("port")? {
        let port = u16::try_from(port).ok().filter(|port| *port > 0);
        dest.port = Some(port.ok_or_else(|| Error::new(Kind::Invalid, "`port` is a number from 1 to 65535"))?);
    }
    let mut file = |key: &'static str| -> Result<Option<PathBuf>, Error> {
        options.text(key)?.map(|text| path(&text)).transpose()
    };
    let mut wanted = ssh::Options {
        key: file("key")?,
        known_hosts: file("known_hosts")?,
        config: file("config")?,
        ..ssh::Options::default()
    };
    wanted.trust = match options.text("trust")?.as_deref() {
        None | Some("known") => Trust::Known,
        Some("first_use") => Trust::FirstUse { file: pinned(&ctx) },
        Some(other) => {
            return Err(Error::new(Kind::Invalid, format!("`trust` cannot be `{other}`"))
                .hint("known: known, first_use")
                .into());
        }
    };
    if let Some(jump) = options.text("jump")? {
        for hop in jump.split(',') {
            Dest::parse(hop).map_err(Error::from)?;
        }
        wanted.jump = Some(jump);
    }
    if let Some(limit) = options.duration("timeout")? {
        wanted.connect_timeout = limit;
    }
    wanted.keepalive = options.duration("keepalive")?;
    wanted.place.dir = options.text("agent_dir")?;
    wanted.place.memory = options.flag("agent_memory")?;
    if let Some(sessions) = options.count("sessions")? {
        let sessions = usize::try_from(sessions).ok().filter(|sessions| (1..=1000).contains(sessions));
        wanted.sessions = sessions.ok_or_else(|| Error::new(Kind::Invalid, "`sessions` is a number from 1 to 1000"))?;
    }
    let password = secret(&mut options, "password")?;
    let sudo_password = secret(&mut options, "sudo_password")?;
    let sudo = options.flag("sudo")?;
    options.done()?;
    let same = format!(
        "{dest} {wanted:?} {sudo} {:?} {:?}",
        password.as_ref().map(Secret::reference),
        sudo_password.as_ref().map(Secret::reference)
    );
    let (host, told) = (OnceLock::new(), AtomicBool::new(false));
    let made = Remote { dest, options: wanted, password, sudo, sudo_password, host, told };
    Ok(Arc::clone(ctx.state().hosts.entry(same).or_insert_with(|| Arc::new(made))))
}

/// Where the run keeps the keys it was told to believe. A plan keeps nothing.
fn pinned(ctx: &Ctx) -> PathBuf {
    let run = ctx.run.as_ref().filter(|_| ctx.profile() != Profile::Plan);
    run.map_or_else(|| PathBuf::from("/dev/null"), |run| run.dir().join("known_hosts"))
}

fn secret(options: &mut Options<'_>, key: &'static str) -> Result<Option<Secret>, Error> {
    let Some(given) = options.any(key) else { return Ok(None) };
    given.try_cast::<Secret>().map(Some).ok_or_else(|| {
        Error::new(Kind::Invalid, format!("option `{key}` of host::ssh must be a secret"))
            .hint(format!("{key}: secret(\"env:NAME\"), or file:PATH, or command:WORDS"))
    })
}

impl Remote {
    /// Its name in messages and records.
    pub(crate) fn name(&self) -> String {
        self.dest.to_string()
    }

    /// The host behind it, connected.
    pub(crate) fn host(&self, ctx: &Ctx) -> Result<Arc<ssh::Host>, Fail> {
        let cancel = ctx.cancel();
        let host = match self.host.get() {
            Some(host) => host,
            None => {
                let mut options = self.options.clone();
                if let Some(password) = &self.password {
                    options.password = Some(password.value(&cancel)?.clone());
                }
                self.host.get_or_init(|| Arc::new(ssh::Host::new(self.dest.clone(), options)))
            }
        };
        host.connect(&cancel).map_err(Error::from)?;
        if !self.told.swap(true, Ordering::SeqCst)
            && let Some(run) = &ctx.run
        {
            let key = host.host_key(&cancel).map_err(Error::from)?;
            let step = Ctx::frame().and_then(|frame| frame.step);
            run.event(Level::Info, "host.connected", step, json!({ "host": self.name(), "key": shown(key.as_ref()) }))?;
        }
        Ok(Arc::clone(host))
    }

    /// How commands become another user; `wanted` is what a call says of it.
    pub(crate) fn sudo(&self, ctx: &Ctx, wanted: Option<bool>) -> Result<Option<Sudo>, Error> {
        if !wanted.unwrap_or(self.sudo) {
            return Ok(None);
        }
        let password = self.sudo_password.as_ref().map(|secret| secret.value(&ctx.cancel()).cloned()).transpose()?;
        Ok(Some(Sudo { password }))
    }

    /// `host.host_key()`.
    pub(super) fn host_key(&self, ctx: &Ctx) -> Result<Value, Fail> {
        let key = self.host(ctx)?.host_key(&ctx.cancel()).map_err(Error::from)?;
        Ok(shown(key.as_ref()))
    }
}

fn shown(key: Option<&ssh::HostKey>) -> Value {
    key.map_or(
        Value::Null,
        |key| json!({ "kind": key.kind, "fingerprint": key.fingerprint, "first_use": key.first_use }),
    )
}
