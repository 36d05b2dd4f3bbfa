//! `host::` and its handle, the part about places: which machine a path is on.

use rhai::plugin::*;

#[export_module]
#[allow(
    clippy::needless_pass_by_value,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "Rhai hands values over, wants `pub`, and makes the code"
)]
pub(crate) mod place {
    use super::super::far::{self, Place};
    use super::super::host::Host;
    use super::*;
    use crate::script::api::error::raise;
    use rhai::Map;

    type Result<T> = std::result::Result<T, Box<EvalAltResult>>;

    /// A path on this host, as `block::` takes it for an end.
    ///
    /// # Shape
    /// host.at(path: path) -> endpoint
    /// result prints as `ssh://[user@]host[:port]/path`, or as the path on this machine
    ///
    /// It is a handle: to keep it in a result, keep its text.
    ///
    /// # Effects
    /// None: nothing is connected to.
    ///
    /// # Errors
    /// `invalid` for a relative path on another machine.
    ///
    /// # Source
    /// src/script/api/far.rs
    ///
    /// # Example
    /// ```rhai
    /// let db = host::ssh("deploy@db1.example.org", #{ sudo: true });
    /// assert_eq(`${db.at("/dev/vdb")}`, "ssh://deploy@db1.example.org/dev/vdb");
    /// ```
    #[rhai_fn(name = "at", global, return_raw, volatile)]
    pub fn at(context: NativeCallContext, host: &mut Host, path: &str) -> Result<Place> {
        raise(&context, far::at(host, path))
    }

    /// The place a text names, with options for the host it is on: what a parameter of the type `endpoint` becomes where the
    /// host needs more than its name.
    ///
    /// # Shape
    /// host::endpoint(text: string, [opts: map]) -> endpoint
    /// opts   user: string, port: int, key: path (a private key to log in with), password: secret, jump: string (as for
    ///        `ssh -J`), known_hosts: path, trust: "known" | "first_use" = "known", config: path (in place of the user's
    ///        and the system's), sudo: bool = false (the agent there runs as root), sudo_password: secret,
    ///        timeout: duration = "30s" (to connect), keepalive: duration = "5s", sessions: int = 8 (at once),
    ///        agent_dir: path (there; where a program of decamp may run), agent_memory: bool = false (it runs from memory)
    ///
    /// The options are those of `host::ssh`; for a path on this machine they are read and not used.
    ///
    /// # Effects
    /// None: nothing is connected to.
    ///
    /// # Errors
    /// `invalid` for a text that names no place, and as `host::ssh`; `unsupported` for a place in a pod.
    ///
    /// # Source
    /// src/host/endpoint.rs, src/script/api/far.rs
    ///
    /// # Example
    /// ```rhai
    /// let disk = host::endpoint("ssh://db1.example.org/dev/vdb", #{ user: "deploy", sudo: true });
    /// assert_eq(`${disk}`, "ssh://deploy@db1.example.org/dev/vdb");
    /// assert_eq(`${host::endpoint("/dev/vdb")}`, "/dev/vdb");
    /// ```
    #[rhai_fn(name = "endpoint", return_raw, volatile)]
    pub fn endpoint_plain(context: NativeCallContext, text: &str) -> Result<Place> {
        raise(&context, far::endpoint(&context, text, Map::new()))
    }

    #[rhai_fn(name = "endpoint", return_raw, volatile)]
    pub fn endpoint_with(context: NativeCallContext, text: &str, opts: Map) -> Result<Place> {
        raise(&context, far::endpoint(&context, text, opts))
    }

    /// The machine a place is on.
    ///
    /// # Shape
    /// host::of(place: endpoint) -> host
    ///
    /// # Effects
    /// None: nothing is connected to.
    ///
    /// # Errors
    /// As `host::endpoint`.
    ///
    /// # Source
    /// src/script/api/far.rs
    ///
    /// # Example
    /// ```rhai
    /// let disk = host::endpoint("ssh://db1.example.org/dev/vdb", #{ sudo: true });
    /// assert_eq(`${host::of(disk)}`, "db1.example.org");
    /// assert_eq(`${host::of("/dev/vdb")}`, "local");
    /// ```
    #[rhai_fn(name = "of", return_raw, volatile)]
    pub fn of(context: NativeCallContext, place: Dynamic) -> Result<Host> {
        raise(&context, far::host_of(&context, &place))
    }

    /// The path of a place on its own machine.
    ///
    /// # Shape
    /// host::path_of(place: endpoint) -> path
    ///
    /// # Effects
    /// None.
    ///
    /// # Errors
    /// As `host::endpoint`.
    ///
    /// # Source
    /// src/script/api/far.rs
    ///
    /// # Example
    /// ```rhai
    /// assert_eq(host::path_of("ssh://db1.example.org/dev/vdb"), "/dev/vdb");
    /// ```
    #[rhai_fn(name = "path_of", return_raw, volatile)]
    pub fn path_of(context: NativeCallContext, place: Dynamic) -> Result<String> {
        raise(&context, far::path_of(&context, &place))
    }
}
