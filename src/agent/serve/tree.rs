//! The ends of a tree ([`crate::copy::far`]), behind lines that are compressed as far as that is faster.

use super::Context;
use crate::agent::compress;
use crate::copy::far;
use crate::wire::{Broken, Line};

/// Lets the near side, or whoever it leads here, read one tree.
pub(super) fn source(_: &Context, _: &[u8], lines: Vec<Line>) -> Result<(), Broken> {
    far::serve(compress::all(lines)?)
}

/// Does one task next to a tree, and above all: writes it. The first line is the near side's, the others lead to the
/// source.
pub(super) fn dest(context: &Context, _: &[u8], lines: Vec<Line>) -> Result<(), Broken> {
    far::receive(compress::all(lines)?, &context.cancel)
}
