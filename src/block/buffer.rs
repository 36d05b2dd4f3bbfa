//! Memory that a device can read into and write from without the page cache: aligned, and used again.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, PoisonError};

use super::geometry::EXTENT;

/// Any device takes addresses that are multiples of this.
pub(super) const ALIGN: usize = 4096;
const LEN: usize = EXTENT as usize;
/// More are given back to the system.
const KEPT: usize = 64;

/// Buffers that wait to be used again; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Pool(Arc<Mutex<Vec<Vec<u8>>>>);

impl Pool {
    /// A buffer of one extent; what it holds is of no account.
    pub(super) fn get(&self) -> Buffer {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let bytes = kept.unwrap_or_else(|| vec![0; LEN + ALIGN]);
        let at = bytes.as_ptr().addr().next_multiple_of(ALIGN) - bytes.as_ptr().addr();
        Buffer { bytes, at, home: self.clone() }
    }
}

/// One extent of memory, aligned.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    at: usize,
    home: Pool,
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[self.at..self.at + LEN]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.at..self.at + LEN]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut kept = self.home.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < KEPT {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_aligned_and_used_again() {
        let pool = Pool::default();
        let mut first = pool.get();
        assert_eq!((first.as_ptr().addr() % ALIGN, first.len()), (0, LEN));
        first[LEN - 1] = 7;
        let at = first.as_ptr().addr();
        drop(first);
        let again = pool.get();
        assert_eq!((again.as_ptr().addr(), again[LEN - 1]), (at, 7));
        assert_ne!(pool.get().as_ptr().addr(), at);
    }
}
