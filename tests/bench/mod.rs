//! Measures decamp against its peers: the same trees, the same places, runs in turn, and what each copier lost.
//!
//! | file | is |
//! |---|---|
//! | `main` `command` `args` | the program `cargo bench` runs, what it does with a command line, the command line |
//! | `scenarios` | what is measured: a tree, a place, what is done there, who takes part, what must be reached |
//! | `tree/` | the trees, from seeds |
//! | `place/` | where the two sides live: tmpfs, ext4 on an image, behind a latency, plain directories |
//! | `peers` `floor` | the copiers, and the least that any of them can do |
//! | `rounds` | the runs of a scenario, in turn, repeated where disturbed |
//! | `timed` `quiet` | one run with its time, processor time and memory; what others did to the machine meanwhile |
//! | `fidelity` | what a copier lost |
//! | `record` `table` `verdict` | the figures of a run; tables of them; whether what must be reached is |
#![allow(dead_code, reason = "the test of these modules uses the part it needs")]

pub(crate) mod args;
pub(crate) mod command;
pub(crate) mod fidelity;
pub(crate) mod floor;
pub(crate) mod peers;
pub(crate) mod place;
pub(crate) mod quiet;
pub(crate) mod record;
pub(crate) mod rounds;
pub(crate) mod scenarios;
#[cfg(test)]
mod smoke;
pub(crate) mod table;
pub(crate) mod timed;
pub(crate) mod tree;
pub(crate) mod verdict;

use std::fmt::Display;
use std::path::Path;

/// What went wrong, in words for who runs the command.
pub(crate) type Outcome<T> = Result<T, String>;

/// Names what an error of the system was about.
pub(crate) trait About<T> {
    fn about(self, what: &str) -> Outcome<T>;
    fn at(self, path: &Path) -> Outcome<T>;
}

impl<T, E: Display> About<T> for Result<T, E> {
    fn about(self, what: &str) -> Outcome<T> {
        self.map_err(|error| format!("{what}: {error}"))
    }

    fn at(self, path: &Path) -> Outcome<T> {
        self.map_err(|error| format!("{}: {error}", path.display()))
    }
}
