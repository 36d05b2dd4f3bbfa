//! A test that cannot run on a machine says so, and on CI that is a failure.

use std::io::Write;

/// Says that a test, or a part of one, did not run; the reason is seen even when the test passes.
///
/// # Panics
/// With `CI` in the environment: there nothing is skipped.
pub(crate) fn skipped(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "skipped on CI, where nothing may be: {reason}");
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    // The print macros are captured by the test harness; the stream is not.
    writeln!(std::io::stderr(), "skipped: {reason} [{name}]").ok();
}

/// Whether the tests run as the super-user.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether they do; says *skipped* if not.
pub(crate) fn needs_root(what: &str) -> bool {
    if !is_root() {
        skipped(&format!("{what} needs root"));
    }
    is_root()
}
