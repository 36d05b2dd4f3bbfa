//! What stands behind `host::ssh`: its options, the connection a run shares among all handles of one host, and what is
//! recorded of it.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use rhai::{Map, NativeCallContext};
use serde_json::{Value, json};

use super::ctx::Ctx;
use super::error::Fail;
use super::options::Options;
use super::paths::path;
use crate::error::{Error, Kind};
use crate::host::ssh::{self, Dest, Far, NoAgent, Sudo, Trust};
use crate::journal::Level;
use crate::progress::Event;
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
    far: Mutex<Option<Arc<Far>>>,
}

/// `host::ssh(dest, opts)`.
pub(super) fn remote(context: &NativeCallContext<'_>, dest: &str, opts: Map) -> Result<Arc<Remote>, Fail> {
    let ctx = Ctx::of(context)?;
    let dest = Dest::parse(dest).map_err(Error::from)?;
    Ok(Wanted::read(&ctx, "host::ssh", opts)?.remote(&ctx, dest)?)
}

/// Options of a host, whichever it is.
pub(super) struct Wanted {
    user: Option<String>,
    port: Option<u16>,
    ssh: ssh::Options,
    password: Option<Secret>,
    sudo: bool,
    sudo_password: Option<Secret>,
}

impl Wanted {
    /// Reads the options of a call of `function`.
    pub(super) fn read(ctx: &Ctx, function: &'static str, opts: Map) -> Result<Self, Error> {
        let mut options = Options::new(function, opts);
        let user = options.text("user")?;
        let mut own_port = None;
        if let Some(port) = options.count("port")? {
            let port = u16::try_from(port).ok().filter(|port| *port > 0);
            own_port = Some(port.ok_or_else(|| Error::new(Kind::Invalid, "`port` is a number from 1 to 65535"))?);
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
            Some("first_use") => Trust::FirstUse { file: pinned(ctx) },
            Some(other) => {
                return Err(
                    Error::new(Kind::Invalid, format!("`trust` cannot be `{other}`")).hint("known: known, first_use")
                );
            }
        };
        if let Some(jump) = options.text("jump")? {
            for hop in jump.split(',') {
                Dest::parse(hop)?;
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
            wanted.sessions =
                sessions.ok_or_else(|| Error::new(Kind::Invalid, "`sessions` is a number from 1 to 1000"))?;
        }
        let password = secret(&mut options, "password")?;
        let sudo_password = secret(&mut options, "sudo_password")?;
        let sudo = options.flag("sudo")?;
        options.done()?;
        Ok(Self { user, port: own_port, ssh: wanted, password, sudo, sudo_password })
    }

    /// The host `dest` with these options: the same one for everybody who asks for the same.
    pub(super) fn remote(self, ctx: &Ctx, mut dest: Dest) -> Result<Arc<Remote>, Error> {
        let Self { user, port, ssh: options, password, sudo, sudo_password } = self;
        if let Some(user) = user {
            dest = Dest::parse(&Dest { user: Some(user), ..dest }.to_string())?;
        }
        dest.port = port.or(dest.port);
        let same = format!(
            "{dest} {options:?} {sudo} {:?} {:?}",
            password.as_ref().map(Secret::reference),
            sudo_password.as_ref().map(Secret::reference)
        );
        let (host, told, far) = (OnceLock::new(), AtomicBool::new(false), Mutex::default());
        let made = Remote { dest, options, password, sudo, sudo_password, host, told, far };
        Ok(Arc::clone(ctx.state().hosts.entry(same).or_insert_with(|| Arc::new(made))))
    }
}

/// Where the run keeps the keys it was told to believe. A plan keeps nothing.
fn pinned(ctx: &Ctx) -> PathBuf {
    let kept = ctx.kept().filter(|_| ctx.profile() != Profile::Plan);
    kept.map_or_else(|| PathBuf::from("/dev/null"), |dir| dir.join("known_hosts"))
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

    /// Which host, and as whom.
    pub(crate) fn dest(&self) -> &Dest {
        &self.dest
    }

    /// By what the machine is known, whatever it is called: its key, where ssh tells.
    pub(crate) fn machine(&self, ctx: &Ctx) -> Result<String, Fail> {
        let key = self.host(ctx)?.host_key(&ctx.cancel()).map_err(Error::from)?;
        Ok(key.map_or_else(|| self.name(), |key| key.fingerprint))
    }

    /// The agent on it: sent when it is first needed, and again when it is gone. In a plan it is a file nowhere.
    pub(crate) fn far(&self, ctx: &Ctx) -> Result<Arc<Far>, Fail> {
        Ok(self.agent(ctx)??)
    }

    /// The same; within: why there can be none, where other means may do.
    pub(crate) fn agent(&self, ctx: &Ctx) -> Result<Result<Arc<Far>, Error>, Fail> {
        // Held meanwhile: other branches wait for the same agent.
        let mut held = self.far.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(far) = held.as_ref().filter(|far| far.check().is_ok()) {
            return Ok(Ok(Arc::clone(far)));
        }
        held.take();
        let (host, sudo) = (self.host(ctx)?, self.sudo(ctx, None)?);
        let plan = ctx.profile() == Profile::Plan;
        let reached = host.reach(plan, sudo.as_ref(), &ctx.call.cancel, &ctx.cancel());
        let far = match reached {
            Ok(far) => Arc::new(far),
            Err(NoAgent::Host(ssh::Error::NoProgram { .. })) if plan => {
                let why = format!(
                    "a plan puts no file on `{}`, and there is no python or perl to start the agent from memory",
                    self.name()
                );
                return Ok(Err(Error::new(Kind::Unsupported, why)));
            }
            // Where it may lie was not said: then it need not be there at all.
            Err(NoAgent::Host(
                error @ (ssh::Error::OtherMachine { .. }
                | ssh::Error::NoPlace { dir: None, .. }
                | ssh::Error::NoSession { .. }),
            )) => {
                return Ok(Err(error.into()));
            }
            Err(error) => return Err(Error::from(error).into()),
        };
        let place = far.path().map_or_else(|| "in memory".to_owned(), |path| format!("as {path}"));
        let root = if sudo.is_some() { ", by sudo" } else { "" };
        let text = format!("decamp-agent runs there {place}{root}, until this run ends");
        let name = self.name();
        ctx.progress().event(Event::Notice { path: name.as_bytes(), text: &text });
        if let Some(run) = &ctx.run {
            let step = Ctx::frame().and_then(|frame| frame.step);
            let data = json!({ "host": name, "path": far.path(), "sudo": sudo.is_some() });
            run.event(Level::Info, "agent.placed", step, data)?;
        }
        *held = Some(Arc::clone(&far));
        Ok(Ok(far))
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
