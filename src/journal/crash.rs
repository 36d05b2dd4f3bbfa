//! Named points at which a test may kill this process, to prove that every one of them can be resumed from.
//!
//! Armed by environment variables and only in debug builds; in release builds nothing of it is left.
//! `DECAMP_CRASH_AT=n` kills with SIGKILL at the n-th point (from 1); `DECAMP_CRASH_COUNT=FILE` appends the name of
//! each point passed; `DECAMP_NO_PROBE=1` makes the journal forget that effects are in doubt, which must make a crash
//! test fail; `DECAMP_NO_FLOOR=1` makes it begin effects as long as the disk takes them, so that a full one is met in the
//! middle of a write; `DECAMP_WATCH_MS=n` makes it look after its space that often.

#[cfg(debug_assertions)]
mod armed {
    use std::env;
    use std::fs::{File, OpenOptions};
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    struct Plan {
        at: Option<u64>,
        names: Option<File>,
        probes_off: bool,
        floor_off: bool,
        interval: Option<Duration>,
    }

    static PASSED: AtomicU64 = AtomicU64::new(0);
    static PLAN: OnceLock<Plan> = OnceLock::new();

    fn plan() -> &'static Plan {
        PLAN.get_or_init(|| Plan {
            at: env::var("DECAMP_CRASH_AT").ok().and_then(|n| n.parse().ok()),
            names: env::var_os("DECAMP_CRASH_COUNT")
                .and_then(|path| OpenOptions::new().create(true).append(true).open(path).ok()),
            probes_off: env::var("DECAMP_NO_PROBE").is_ok_and(|on| on == "1"),
            floor_off: env::var("DECAMP_NO_FLOOR").is_ok_and(|on| on == "1"),
            interval: env::var("DECAMP_WATCH_MS").ok().and_then(|ms| ms.parse().ok()).map(Duration::from_millis),
        })
    }

    pub(super) fn point(name: &str) {
        let plan = plan();
        let number = PASSED.fetch_add(1, Ordering::SeqCst) + 1;
        if let Some(mut file) = plan.names.as_ref() {
            // A line that cannot be written shows as a point the driver does not know.
            file.write_all(format!("{name}\n").as_bytes()).ok();
        }
        if plan.at == Some(number) {
            rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL).ok();
            loop {
                std::thread::park();
            }
        }
    }

    pub(super) fn probes_off() -> bool {
        plan().probes_off
    }

    pub(super) fn floor_off() -> bool {
        plan().floor_off
    }

    pub(super) fn interval() -> Option<Duration> {
        plan().interval
    }
}

/// A place where the process may be killed by a test.
#[inline]
pub fn point(name: &str) {
    #[cfg(debug_assertions)]
    armed::point(name);
    #[cfg(not(debug_assertions))]
    let _ = name;
}

/// A [`point`] of a transaction; its name is only put together where it is used.
#[inline]
pub(super) fn point_in(transaction: &str, place: &str) {
    if cfg!(debug_assertions) {
        point(&format!("{transaction}: {place}"));
    }
}

/// Whether in-doubt effects are to be treated as if they had never begun: for proving that a crash test can fail.
#[must_use]
pub fn probes_off() -> bool {
    #[cfg(debug_assertions)]
    return armed::probes_off();
    #[cfg(not(debug_assertions))]
    false
}

/// The least space an effect begins with.
pub(super) fn floor(least: u64) -> u64 {
    #[cfg(debug_assertions)]
    return if armed::floor_off() { 0 } else { least };
    #[cfg(not(debug_assertions))]
    least
}

/// How often something is looked after.
pub(super) fn interval(usual: std::time::Duration) -> std::time::Duration {
    #[cfg(debug_assertions)]
    return armed::interval().unwrap_or(usual);
    #[cfg(not(debug_assertions))]
    usual
}
