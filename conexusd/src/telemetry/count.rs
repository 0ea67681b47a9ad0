//! Count: a number that one thread at a time adds to while any may read it.

use super::sync::{AtomicU64, Ordering};

/// A number that only grows. Laid out as 64 bits and nothing else, in memory that may be shared with another process.
#[derive(Debug)]
#[repr(transparent)]
pub(crate) struct Count(AtomicU64);

impl Count {
    /// 0.
    pub(crate) fn zero() -> Self {
        Self(AtomicU64::new(0))
    }

    /// A load and a store: there is one writer, so nothing can be lost between them. `Release` lets a reader that sees an
    /// effect also see what the thread counted before it; on x86 it costs nothing.
    #[inline(always)]
    pub(crate) fn add(&self, amount: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Release);
    }

    /// What was added so far, and everything that its thread counted before.
    #[inline]
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// Adds the numbers of all tables to `sums`, from the last to the first.
///
/// A request's end stands behind its start, so whoever subtracts one from the other never finds more ends than starts.
pub(crate) fn add_up<'a>(sums: &mut [u64], tables: impl Iterator<Item = &'a [Count]> + Clone) {
    for (i, sum) in sums.iter_mut().enumerate().rev() {
        for table in tables.clone() {
            *sum = sum.wrapping_add(table[i].get());
        }
    }
}
