//! Hosts over SSH, against real servers.

mod connect;
mod exec;
mod job;
mod keys;
mod place;
mod script;
mod support;
