//! `host::`: where commands run. What acts on a host is a method of its handle.
//!
//! The method is `exec`, not `run`: every script has a function `run(p)`, and Rhai takes a script's own function before a
//! native one also where it is called as a method.

use rhai::plugin::*;

/// This machine.
#[derive(Debug, Clone)]
pub(crate) struct Host;

#[export_module]
#[allow(
    clippy::needless_pass_by_value,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "Rhai hands values over, wants `pub`, and makes the code"
)]
pub(crate) mod host {
    use super::super::command;
    use super::*;
    use crate::script::api::error::raise_data;
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
        Host
    }

    /// Runs a program with arguments, without a shell, and returns how it ended.
    ///
    /// # Shape
    /// host.exec(argv: list, [opts: map]) -> map
    /// opts   cwd: path, env: map of strings and secrets, stdin: string or secret = "", timeout: duration,
    ///        ok_codes: list of int = [0], read_only: bool = false (a read)
    /// result #{ code, stdout, stderr, elapsed_ms }
    ///
    /// # Units
    /// `elapsed_ms` milliseconds. Of more than 1 MiB of output the end is kept.
    ///
    /// # Effects
    /// Once: an attempt whose end is not known is asked about, never repeated. A plan lists it and does not run it. With
    /// `read_only` it is a read: not recorded, run in plans too, allowed outside steps. The journal keeps the words, of
    /// `stdin` and `env` a hash or the reference of the secret. What the command prints of a secret comes back as
    /// `[secret REF]`.
    ///
    /// # Errors
    /// `invalid` for a secret among the words, where every user of the machine could read it. `not_found` if there is no
    /// such program, `remote_failed` if it ends with another code than `ok_codes` or by a signal,
    /// `timeout`.
    ///
    /// # Source
    /// execve(2); src/host/local.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// assert_eq(h.exec(["echo", "hello"], #{ read_only: true }).stdout, "hello\n");
    /// ```
    #[rhai_fn(name = "exec", global, return_raw, volatile)]
    pub fn exec_plain(context: NativeCallContext, host: &mut Host, argv: Array) -> Result<Dynamic> {
        let _this_machine = host;
        raise_data(&context, command::run(&context, argv, Map::new()))
    }

    #[rhai_fn(name = "exec", global, return_raw, volatile)]
    pub fn exec_with(context: NativeCallContext, host: &mut Host, argv: Array, opts: Map) -> Result<Dynamic> {
        let _this_machine = host;
        raise_data(&context, command::run(&context, argv, opts))
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
    /// None.
    ///
    /// # Source
    /// execvp(3), access(2); src/host/local.rs
    ///
    /// # Example
    /// ```rhai
    /// let h = host::local();
    /// assert_eq(h.which("no such program"), ());
    /// ```
    #[rhai_fn(name = "which", global, volatile)]
    pub fn which(host: &mut Host, program: &str) -> Dynamic {
        let _this_machine = host;
        crate::host::local::which(program).map_or(Dynamic::UNIT, |path| super::super::paths::text(&path).into())
    }
}
