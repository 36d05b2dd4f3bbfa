//! Scripts, run by the program itself against real commands.

mod crash;
mod doubt;
mod errors;
mod flow;
mod imports;
mod move_tree;
mod plan;
mod release;
mod support;
mod undo;
