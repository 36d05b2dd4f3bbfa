//! The far side of decamp, and the near side's way to it.
//!
//! Both speak frames over any pair of byte streams (`frame`): the pipes of an ssh channel, of an exec into a pod, a socket.
//! A `link` carries many conversations over one pair, each a [`crate::wire::Line`]; an agent may have several links, so
//! that more than one ssh channel feeds one process. [`Client`] is the near side of all links of one agent, `serve` the
//! far side: what conversations there are is one table in `serve/mod.rs`. [`compress`] wraps a line so that its messages
//! are compressed as far as that is faster.
//!
//! A connection that is cut looks like the end of a file. So every conversation ends with a frame that counts what was
//! sent, every link with another, and anything else is [`crate::wire::Broken::Cut`].

mod client;
pub mod compress;
mod fault;
mod files;
mod frame;
mod link;
pub mod machine;
pub mod serve;

pub use client::{Client, Ticket};
pub use fault::{Error, Fault, Sort};
pub use files::{Files, WriteOptions};
pub use link::{Options, Shut};
pub use serve::command::main;

/// The version both sides must have: what is spoken may change with every one.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
