//! `host::`: where commands run. What acts on a host is a method of its handle.
//!
//! The method is `exec`, not `run`: every script has a function `run(p)`, and Rhai takes a script's own function before a
//! native one also where it is called as a method.

use std::fmt;
use std::sync::Arc;

use rhai::plugin::*;

use super::ssh::Remote;

/// A machine.
#[derive(Debug, Clone)]
pub(crate) enum Host {
    /// The one decamp runs on.
    Local,
    /// One over SSH.
    Ssh(Arc<Remote>),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local => f.write_str("local"),
            Self::Ssh(remote) => f.write_str(&remote.name()),
        }
    }
}

#[export_module]
#[allow(
    clippy::needless_pass_by_value,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "Rhai hands values over, wants `pub`, and makes the code"
)]
pub(crate) mod host {
    use super::super::{command, keys, ssh};
    use super::*;
    use crate::script::api::ctx::Ctx;
    use crate::script::api::error::{raise, raise_data};
    use rhai::{Array, Map};

    type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

    /// The machine decamp runs on.
    ///
    /// # Shape
    /// host::local() -> host
    ///
    /// # Errors
    /// None.
    ///
    /// # Source
    /// src/host/local.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// ```
    pub fn local() -> Host {
        Host::Local
    }

    /// A machine over SSH, by the system's own `ssh` with the user's configuration, keys, agent and jump hosts.
    ///
    /// # Shape
    /// host::ssh(dest: string, [opts: map]) -> host
    /// opts   user: string, port: int, key: path (a private key to log in with), password: secret, jump: string (as for
    ///        `ssh -J`), known_hosts: path, trust: "known" | "first_use" = "known", config: path (in place of the user's
    ///        and the system's), sudo: bool = false (commands run as root), sudo_password: secret,
    ///        timeout: duration = "30s" (to connect), keepalive: duration = "5s", sessions: int = 8 (at once),
    ///        agent_dir: path (there; where a program of decamp may run), agent_memory: bool = false (it runs from memory)
    ///
    /// `dest` is `[user@]host[:port]`, with or without `ssh://`. A host whose key is not in a known-hosts file is refused.
    /// With `trust: "first_use"` the key it shows is kept with the run and must stay the same; see `host_key`.
    ///
    /// # Effects
    /// None: it is connected to when it is first used, in plans as well. All handles of one host share a connection, and
    /// one that was lost is made again at the next use.
    ///
    /// # Errors
    /// `invalid` for a name or an option that cannot be used. What is called on the handle throws `unreachable`,
    /// `timeout`, or `denied`: for a login that is refused, and a key that is not known or another one.
    ///
    /// # Source
    /// ssh(1), ssh_config(5); src/host/ssh/mod.rs
    ///
    /// # Example
    /// ```rhai
    /// let db = host::ssh("deploy@db1.example.org:2222", #{ sudo: true });
    /// assert_eq(`${db}`, "deploy@db1.example.org:2222");
    /// ```
    #[rhai_fn(name = "ssh", return_raw, volatile)]
    pub fn ssh_plain(context: NativeCallContext, dest: &str) -> Result<Host> {
        raise(&context, ssh::remote(&context, dest, Map::new()).map(Host::Ssh))
    }

    #[rhai_fn(name = "ssh", return_raw, volatile)]
    pub fn ssh_with(context: NativeCallContext, dest: &str, opts: Map) -> Result<Host> {
        raise(&context, ssh::remote(&context, dest, opts).map(Host::Ssh))
    }

    /// Says by which key a host over SSH is known.
    ///
    /// # Shape
    /// host.host_key() -> map
    /// result #{ kind, fingerprint, first_use }; () for this machine, and where `ssh` does not tell
    ///
    /// `fingerprint` is as `ssh-keygen -l` shows it; `first_use` says that it was not known before this run.
    ///
    /// # Effects
    /// Reads only: it connects.
    ///
    /// # Errors
    /// As `host::ssh` says of its handle.
    ///
    /// # Source
    /// src/host/ssh/master.rs
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(host::local().host_key(), ());
    /// ```
    #[rhai_fn(name = "host_key", global, return_raw, volatile)]
    pub fn host_key(context: NativeCallContext, host: &mut Host) -> Result<Dynamic> {
        let key = match host {
            Host::Local => Ok(serde_json::Value::Null),
            Host::Ssh(remote) => Ctx::of(&context).and_then(|ctx| remote.host_key(&ctx)),
        };
        raise_data(&context, key)
    }

    /// Runs a program with arguments, without a shell, and returns how it ended.
    ///
    /// # Shape
    /// host.exec(argv: list, [opts: map]) -> map
    /// opts   cwd: path, env: map of strings and secrets, stdin: string or secret = "", timeout: duration,
    ///        ok_codes: list of int = [0], read_only: bool = false (a read), sudo: bool (over SSH; default: the host's),
    ///        key: string (over SSH), unless: || bool
    /// result #{ code, stdout, stderr, elapsed_ms }
    ///
    /// With a `key` the command goes on when the connection is lost, or decamp is: whoever comes back waits for it in place
    /// of starting it again, and a run that is resumed does so by itself. The key is of this run alone, and stands for one
    /// command.
    ///
    /// # Units
    /// `elapsed_ms` milliseconds. Of more than 1 MiB of output the end is kept.
    ///
    /// # Effects
    /// Once: an attempt whose end is not known is asked about, never repeated. A plan lists it and does not run it.
    /// `unless` looks whether what the command does is there already: then it is not run, and the result is the first of
    /// `ok_codes` and no output. So it can be repeated without harm after an attempt whose end is not known. The closure
    /// may not use the variable on which `exec` is called. With
    /// `read_only` it is a read: not recorded, run in plans too, allowed outside steps. The journal keeps the words, of
    /// `stdin` and `env` a hash or the reference of the secret. What the command prints of a secret comes back as
    /// `[secret REF]`. Without a `key`, a command over SSH is ended when the connection is.
    ///
    /// # Errors
    /// `invalid` for a secret among the words, where every user of the machine could read it. `not_found` if there is no
    /// such program or directory, `remote_failed` if it ends with another code than `ok_codes` or by a signal (over SSH a
    /// signal N is the code 128 + N), `timeout`, `unreachable` if the connection was lost in the middle, `denied` if sudo
    /// refuses.
    ///
    /// # Source
    /// execve(2); src/host/local.rs, src/host/ssh/run.rs, src/host/ssh/job.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// assert_eq(h.exec(["echo", "hello"], #{ read_only: true }).stdout, "hello\n");
    /// let is_there = || h.exec(["test", "-d", tmp + "/new"], #{ read_only: true, ok_codes: [0, 1] }).code == 0;
    /// step("make", || host::local().exec(["mkdir", tmp + "/new"], #{ unless: is_there }));
    /// ```
    #[rhai_fn(name = "exec", global, return_raw, volatile)]
    pub fn exec_plain(context: NativeCallContext, host: &mut Host, argv: Array) -> Result<Dynamic> {
        raise_data(&context, command::run(&context, host, argv, Map::new()))
    }

    #[rhai_fn(name = "exec", global, return_raw, volatile)]
    pub fn exec_with(context: NativeCallContext, host: &mut Host, argv: Array, opts: Map) -> Result<Dynamic> {
        raise_data(&context, command::run(&context, host, argv, opts))
    }

    /// Makes a pair of SSH keys at `path` and `path.pub`, and returns the public one. A pair that is there is kept.
    ///
    /// # Shape
    /// host::keypair(path: path) -> map
    /// result #{ path: string, public_key: string }
    ///
    /// # Effects
    /// Converge: the private key has no passphrase, and only its owner may read it. The journal keeps the public one.
    ///
    /// # Errors
    /// `not_found` without `ssh-keygen`; `io` or `invalid` if nothing can be written there.
    ///
    /// # Source
    /// ssh-keygen(1); src/host/ssh/keys.rs
    ///
    /// # Example
    /// ```rhai
    /// let key = step("key", || host::keypair(tmp + "/once"));
    /// assert_eq(key.public_key.starts_with("ssh-ed25519 "), true);
    /// ```
    #[rhai_fn(name = "keypair", return_raw, volatile)]
    pub fn keypair(context: NativeCallContext, path: &str) -> Result<Dynamic> {
        raise_data(&context, keys::keypair(&context, path))
    }

    /// Lets a public key in on a host over SSH, for the login of the handle, and returns what `revoke_key` needs.
    ///
    /// # Shape
    /// host.authorize_key(public_key: string, [opts: map]) -> map
    /// opts   restrict: string (options of the line, as in sshd(8): `restrict,from="10.0.0.0/8"`)
    /// result #{ line: string, added: bool, made: bool }
    ///
    /// One line is appended to `authorized_keys`, with the run as its comment; nothing else of the file changes. `added` is
    /// false if that very line was there, `made` is true if the file was not.
    ///
    /// # Effects
    /// Converge. Take it out again in the step's undo and release: `|key| h.revoke_key(key)`.
    ///
    /// # Errors
    /// `invalid` for what is no public key, `unsupported` on this machine, `remote_failed` if the file cannot be written;
    /// as `host::ssh` says of its handle.
    ///
    /// # Source
    /// sshd(8) AUTHORIZED_KEYS FILE FORMAT; src/host/ssh/keys.rs
    ///
    /// # Example
    /// ```rhai
    /// let db = host::ssh("deploy@db1.example.org");
    /// let let_in = |key| step("let in", #{ undo: |line| db.revoke_key(line) }, || db.authorize_key(key.public_key));
    /// ```
    #[rhai_fn(name = "authorize_key", global, return_raw, volatile)]
    pub fn authorize_plain(context: NativeCallContext, host: &mut Host, public_key: &str) -> Result<Dynamic> {
        raise_data(&context, keys::authorize(&context, host, public_key, Map::new()))
    }

    #[rhai_fn(name = "authorize_key", global, return_raw, volatile)]
    pub fn authorize_with(context: NativeCallContext, host: &mut Host, public_key: &str, opts: Map) -> Result<Dynamic> {
        raise_data(&context, keys::authorize(&context, host, public_key, opts))
    }

    /// Takes a key out again that `authorize_key` let in: exactly that line.
    ///
    /// # Shape
    /// host.revoke_key(key: map) -> map
    /// result #{ removed: bool, line: string }
    ///
    /// # Effects
    /// Converge. What was there before the run is left: `removed` is false then, and if it was gone already.
    ///
    /// # Errors
    /// As `authorize_key`.
    ///
    /// # Source
    /// src/host/ssh/keys.rs
    ///
    /// # Example
    /// ```rhai
    /// let db = host::ssh("deploy@db1.example.org");
    /// let take_out = |key| step("take out", || db.revoke_key(key).removed);
    /// ```
    #[rhai_fn(name = "revoke_key", global, return_raw, volatile)]
    pub fn revoke_key(context: NativeCallContext, host: &mut Host, key: Map) -> Result<Dynamic> {
        raise_data(&context, keys::revoke(&context, host, key))
    }

    /// Finds a program as `exec` would, and returns its path.
    ///
    /// # Shape
    /// host.which(program: string) -> path
    /// result the full path; () if there is no such program, or it cannot be run
    ///
    /// # Effects
    /// Reads only.
    ///
    /// # Errors
    /// None on this machine; otherwise as `host::ssh` says of its handle.
    ///
    /// # Source
    /// execvp(3), access(2); src/host/local.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// assert_eq(h.which("no such program"), ());
    /// ```
    #[rhai_fn(name = "which", global, return_raw, volatile)]
    pub fn which(context: NativeCallContext, host: &mut Host, program: &str) -> Result<Dynamic> {
        match host {
            Host::Local => {
                let found = crate::host::local::which(program);
                Ok(found.map_or(Dynamic::UNIT, |path| super::super::paths::text(&path).into()))
            }
            Host::Ssh(remote) => raise_data(&context, command::which(&context, remote, program)),
        }
    }
}
