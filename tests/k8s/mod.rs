//! `k8s::` on a real cluster.

mod changes;
mod connect;
mod faults;
mod objects;
mod relations;
mod support;
mod waits;
