//! The one integration binary.
#![allow(clippy::unwrap_used, reason = "a test that panics is a test that fails")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a test says what it counted or skipped")]

mod agent;
mod architecture;
mod bench;
mod block;
mod cli;
mod copy;
mod journal;
mod k8s;
mod readme;
mod repl;
mod script;
mod ssh;
mod support;
