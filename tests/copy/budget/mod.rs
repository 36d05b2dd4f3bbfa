//! What a pass may cost, counted and not timed: requests to a file system far away, system calls on one at hand.
//!
//! Both count the program itself on the same tree of small files, for a first copy, a second pass with nothing changed,
//! and one with a file in a hundred changed.

mod calls;
mod homes;
mod requests;
