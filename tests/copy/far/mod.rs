//! Trees at two places: both ends in this process, with messages between them.

mod budget;
mod cuts;
mod deltas;
mod fidelity;
mod kit;
mod lies;
mod receiving;
