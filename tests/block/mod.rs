//! The block engine on real loop devices and images, here and over lines that break.

mod copying;
mod damaged;
mod kit;
mod lies;
mod maps;
mod passes;
mod refusals;
mod resume;
