//! The agent itself: the file that is embedded, and what it does over real streams.

mod block;
mod file;
mod process;
mod tree;
