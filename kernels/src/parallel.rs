//! Threads split what is written; no number is summed by two of them.

use std::ops::Range;

use rayon::prelude::*;

/// Multiply-adds that are worth waking a thread for; below, one thread does it all.
const WORTH_A_THREAD: usize = 1 << 19;

/// Cuts `0..len` into ranges for the threads of the current pool and runs `work` on each. `cost` is the whole's
/// multiply-adds, `unit` what all cuts but the last are multiples of.
pub(crate) fn split(len: usize, unit: usize, cost: usize, work: impl Fn(Range<usize>) + Sync) {
    let parts = rayon::current_num_threads()
        .min(cost / WORTH_A_THREAD)
        .max(1);
    if parts == 1 {
        return work(0..len);
    }
    let size = len.div_ceil(unit).div_ceil(parts) * unit;
    (0..parts)
        .into_par_iter()
        .with_max_len(1)
        .map(|part| (part * size).min(len)..((part + 1) * size).min(len))
        .for_each(&work);
}

/// A buffer that threads write disjoint parts of.
#[derive(Clone, Copy)]
pub(crate) struct Disjoint<T>(*mut T, usize);

#[expect(
    unsafe_code,
    reason = "the writers keep to disjoint ranges, as `write` demands"
)]
// SAFETY: only `write` touches the data, and its callers keep their ranges apart.
unsafe impl<T: Send> Sync for Disjoint<T> {}

impl<T> Disjoint<T> {
    pub(crate) fn new(data: &mut [T]) -> Self {
        Self(data.as_mut_ptr(), data.len())
    }

    /// A part of the buffer.
    ///
    /// # Safety
    /// The buffer is alive, and no two threads hold overlapping ranges.
    #[expect(unsafe_code, reason = "see Safety")]
    #[expect(
        clippy::mut_from_ref,
        reason = "disjoint parts of one buffer; see Safety"
    )]
    #[inline(always)]
    pub(crate) unsafe fn write(&self, start: usize, len: usize) -> &mut [T] {
        assert!(start + len <= self.1);
        // SAFETY: in bounds by the assertion, not aliased by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }
}
