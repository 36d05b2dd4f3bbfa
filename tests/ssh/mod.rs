//! Hosts over SSH, against real servers.

mod block;
mod connect;
mod exec;
mod files;
mod job;
mod keys;
mod move_tree;
mod narrow;
mod place;
mod plain;
mod script;
mod support;
mod tree;
