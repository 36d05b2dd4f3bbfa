//! The program as a person or a script meets it: help, misuse, streams, exit codes, terminals, signals.

mod agent;
mod cache;
mod check;
mod compare;
mod completions;
mod copy;
mod doctor;
mod execute;
mod export;
mod faults;
mod follow;
mod full_disk;
mod help;
mod lost;
mod man;
mod output;
mod plan_file;
mod prune;
mod rate;
mod refusals;
mod runs;
mod signals;
mod site;
mod terminal;
mod usage;
