//! The block engine on real loop devices and images, here and over lines that break.

mod copying;
mod damaged;
pub(crate) mod kit;
mod lies;
mod maps;
mod passes;
mod ranged;
mod refusals;
mod resume;
