//! A row in blocks: most of them are passed over after one look at their largest logit.

use crate::simd::Vector;

/// Tokens of a block.
pub(crate) const BLOCK: usize = 64;

/// Hands out a row's blocks, each with its first token; minus infinity stands behind the end of the row.
#[inline(always)]
pub(crate) fn for_each_block(row: &[f32], mut body: impl FnMut(u32, &[f32; BLOCK])) {
    let (whole, rest) = row.as_chunks::<BLOCK>();
    let mut last = [f32::NEG_INFINITY; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let last = (!rest.is_empty()).then_some(&last);
    for (first_token, block) in (0..).step_by(BLOCK).zip(whole.iter().chain(last)) {
        body(first_token, block);
    }
}

/// The largest number; minus infinity where there are only NaNs.
#[inline(always)]
#[expect(unsafe_code, reason = "vector loads read through pointers")]
pub(crate) fn largest<V: Vector>(block: &[f32; BLOCK]) -> f32 {
    let mut largest = [V::splat(f32::NEG_INFINITY); 2];
    for lanes in block.chunks_exact(2 * V::LANES) {
        // SAFETY: there are twice as many numbers as a vector has.
        let pair = unsafe {
            [
                V::load(lanes.as_ptr()),
                V::load(lanes.as_ptr().add(V::LANES)),
            ]
        };
        largest = [pair[0].max(largest[0]), pair[1].max(largest[1])];
    }
    largest[0].max(largest[1]).largest()
}
