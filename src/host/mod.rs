//! Where things run: this machine, and hosts over SSH; a pod will answer to the same calls.

pub mod endpoint;
pub mod error;
pub mod local;
pub mod process;
pub mod ssh;
pub mod tree;

pub use endpoint::Endpoint;
pub use error::Error;
