//! Kubernetes clusters: objects of any kind under the names that kubectl knows, waiting for them, who holds and who owns
//! what.
//!
//! Objects are JSON as the server gave it, so that kinds of operators work as built-in ones do, and no field is lost on
//! the way. Asynchronous: whoever calls waits in one place, where it can be stopped. The client's own retries are off,
//! since they repeat what must not be repeated; see [`client`].

mod access;
mod ask;
mod change;
mod client;
mod config;
mod difference;
mod error;
mod events;
mod holders;
mod kinds;
mod logs;
mod name;
mod objects;
mod owner;
mod ready;

pub use access::Question;
pub use change::{Deleted, MADE_BY, Mode, Owned};
pub use client::{Cluster, Version};
pub use config::Options;
pub use difference::{Difference, back, differences};
pub use error::Error;
pub use kinds::Kind;
pub use logs::LogOptions;
pub use name::At;
pub use objects::Select;
pub use ready::{State, Until};

pub(crate) use objects::text;
