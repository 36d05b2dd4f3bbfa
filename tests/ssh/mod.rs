//! Hosts over SSH, against real servers.

mod block;
mod connect;
mod exec;
mod files;
mod job;
mod keys;
mod place;
mod script;
mod support;
mod tree;
