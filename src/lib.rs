//! decamp moves data and the services around it from one home to another, and survives being interrupted at any
//! instant.
//!
//! # Map
//!
//! | room | what is in it |
//! |---|---|
//! | [`units`] [`cancel`] [`progress`] [`rate`] | quantities and paths · asking work to stop · how engines report and remember · how fast they may go |
//! | [`wire`] | messages between two ends of an engine |
//! | [`agent`] | the far side, and the way to it: frames, conversations, services |
//! | [`copy`] | the tree engine: walk, decide, copy, compare, undo |
//! | [`block`] | the block engine: devices and images, extents, digests, resume |
//! | `redact` | keeps the values of secrets out of what is shown and kept |
//! | `journal` | runs, steps, effects, leases: what a run remembers |
//! | `host` | where commands run |
//! | `k8s` | clusters: objects, waits, who holds and owns what |
//! | `script` | the Rhai side: engine, resolver, parameters, checks, diagnosis, documentation |
//! | `script::api` | every function a script can call, one file a namespace |
//! | `repl` | the functions of scripts, one line at a time |
//! | `report` | progress and results, for people and as JSON |
//! | `cli` | the command line, one file a subcommand |
//! | `error` | the one place that words errors for people and picks the exit code |
//!
//! Arrows point one way, and `tests/architecture.rs` holds them:
//! `main → cli → repl → script → {host k8s journal report}`; `script → {copy block} → {units cancel progress rate wire}`.
//!
//! The engines and what they stand on are synchronous, know nothing of scripts, terminals or databases, and compile
//! alone with `--no-default-features --features agent`.

#[cfg(not(target_os = "linux"))]
compile_error!("decamp runs on Linux only: it relies on Linux's own calls to keep every property of a file.");

pub mod agent;
pub mod block;
pub mod cancel;
pub mod copy;
pub mod progress;
pub mod rate;
pub mod units;
pub mod wire;

#[cfg(feature = "full")]
pub mod cli;
#[cfg(feature = "full")]
pub mod error;
#[cfg(feature = "full")]
pub mod host;
#[cfg(feature = "full")]
pub mod journal;
#[cfg(feature = "full")]
pub mod k8s;
#[cfg(feature = "full")]
pub mod redact;
#[cfg(feature = "full")]
pub mod repl;
#[cfg(feature = "full")]
pub mod report;
#[cfg(feature = "full")]
pub mod script;

/// The agent as one static file, which runs on any Linux of this machine's architecture: what is uploaded to a far side.
#[cfg(feature = "full")]
pub static AGENT: &[u8] = include_bytes!(env!("DECAMP_AGENT_FILE"));
