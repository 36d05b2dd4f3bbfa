//! Scripts, run by the program itself against real commands.

mod approve;
mod block;
mod check;
mod crash;
mod doubt;
mod errors;
mod flow;
mod imports;
mod move_tree;
mod openstack;
mod own;
mod parallel;
mod parallel_kills;
mod place;
mod plan;
mod release;
mod secret;
mod site;
mod support;
mod undo;
mod unless;
mod until;
