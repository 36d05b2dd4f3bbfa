//! The program as a person or a script meets it: help, misuse, streams, exit codes, terminals, signals.

mod compare;
mod copy;
mod execute;
mod faults;
mod help;
mod output;
mod refusals;
mod runs;
mod signals;
mod terminal;
mod usage;
