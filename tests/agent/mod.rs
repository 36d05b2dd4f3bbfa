//! The agent itself: the file that is embedded, and what it does over real streams.

mod file;
mod process;
mod tree;
