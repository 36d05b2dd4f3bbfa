//! Where things run. Today that is this machine; an SSH host and a pod will answer to the same calls.

pub mod error;
pub mod local;
pub mod process;

pub use error::Error;
