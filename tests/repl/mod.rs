//! `decamp repl` as a person and as a script meets it: on a real pseudo-terminal, and without one.

mod lines;
mod live;
mod save;
mod terminal;
