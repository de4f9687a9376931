//! A row in blocks: most of them are passed over after one look at their largest logit.

/// Tokens of a block.
pub(crate) const BLOCK: usize = 64;

/// Lanes that a maximum is kept in.
const LANES: usize = 16;

/// A row's blocks, each with its first token; minus infinity stands behind the end of the row.
#[inline(always)]
pub(crate) fn blocks(row: &[f32]) -> impl Iterator<Item = (u32, [f32; BLOCK])> {
    let (whole, rest) = row.as_chunks::<BLOCK>();
    let mut last = [f32::NEG_INFINITY; BLOCK];
    last[..rest.len()].copy_from_slice(rest);
    let last = (!rest.is_empty()).then_some(last);
    let first_tokens = (0..).step_by(BLOCK);
    first_tokens.zip(whole.iter().copied().chain(last))
}

/// The largest number; minus infinity where there are only NaNs.
#[inline(always)]
pub(crate) fn largest(block: &[f32; BLOCK]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for part in block.as_chunks::<LANES>().0 {
        lanes = std::array::from_fn(|lane| larger(part[lane], lanes[lane]));
    }
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            lanes[lane] = larger(lanes[lane + width], lanes[lane]);
        }
    }
    lanes[0]
}

/// `b` where `a` is NaN: one instruction, other than `f32::max`.
#[inline(always)]
fn larger(a: f32, b: f32) -> f32 {
    if a > b { a } else { b }
}
