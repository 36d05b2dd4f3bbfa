//! `openstack-volume`, run against the real client and a stand-in for the clouds.

mod kills;
mod machines;
mod refusals;
mod whole;
mod world;
