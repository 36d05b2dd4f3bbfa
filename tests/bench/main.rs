//! The command that measures decamp against its peers: `cargo bench --bench tree -- --help`.
#![allow(clippy::unwrap_used, reason = "what the tests stand on panics where a test would fail")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command prints")]

// Tests within these modules are no part of this program, and leave imports without use. The test binary has them too.
#[allow(unused_imports)]
#[path = "mod.rs"]
mod bench;
#[allow(unused_imports)]
#[path = "../support/mod.rs"]
mod support;

fn main() -> std::process::ExitCode {
    bench::command::main()
}
