//! Keys, turned so that scores are a matrix product.

#![expect(unsafe_code, reason = "keys are read through pointers")]

use super::SPAN;
use crate::linear::PANEL;
use crate::linear::tile::{Ahead, sums};
use crate::linear::weight::{Float, Weight};
use crate::rows::Element;
use crate::simd::Vector;

/// Scores of `R` queries with all panels' keys.
#[inline(always)]
pub(crate) fn score_tile<T: Float, V: Vector, const R: usize>(
    queries: &[T],
    panels: &[T],
    stride: usize,
    num_panels: usize,
    scores: &mut [[f32; SPAN]],
) -> usize {
    let mut panel = 0;
    while panel < num_panels {
        panel += match num_panels - panel {
            4.. => score_panels::<T, V, R, 4>(queries, panels, stride, panel, scores),
            _ => score_panels::<T, V, R, 1>(queries, panels, stride, panel, scores),
        };
    }
    R
}

#[inline(always)]
fn score_panels<T: Float, V: Vector, const R: usize, const P: usize>(
    queries: &[T],
    panels: &[T],
    stride: usize,
    panel: usize,
    scores: &mut [[f32; SPAN]],
) -> usize {
    let x = &queries[..R * stride];
    let w = &panels[panel * stride * PANEL..][..P * stride * PANEL];
    for part in (0..PANEL).step_by(V::LANES) {
        let ahead = Ahead {
            data: x.as_ptr(),
            per_group: 0,
        };
        let w = w[part * T::GROUP..].as_ptr();
        // SAFETY: sliced to `R` rows and `P` panels.
        let sums = unsafe {
            sums::<T, V, R, P>((x.as_ptr(), stride), (w, stride * PANEL, 1), stride, ahead)
        };
        for (scores, sums) in scores.iter_mut().zip(sums) {
            for (p, sums) in sums.into_iter().enumerate() {
                let lanes = T::finish::<V>(&(), 0, 0, sums);
                let first = (panel + p) * PANEL + part;
                scores[first..first + V::LANES].copy_from_slice(&lanes[..V::LANES]);
            }
        }
    }
    P
}

/// Puts the same group of all keys side by side, as weights are packed. Lanes of missing keys hold anything.
#[inline(always)]
pub(crate) fn turn<'a, T: Element + Weight, V: Vector>(
    mut keys: impl Iterator<Item = &'a [T]>,
    panel: &mut [T],
) {
    let Some(first) = keys.next() else { return };
    let mut rows = [first.as_ptr(); PANEL];
    for (row, key) in rows[1..].iter_mut().zip(keys) {
        *row = key.as_ptr();
    }
    let num_words = first.len() / T::GROUP;
    let rest = num_words * T::GROUP;
    // SAFETY: each row is as long as a key, the panel holds a group of each for every word.
    unsafe {
        let words = rows.map(|row| row.cast::<u32>());
        V::turn(&words, num_words, panel.as_mut_ptr().cast());
        // The last group of an odd width ends with zeros.
        let last = panel[rest * PANEL..].chunks_exact_mut(T::GROUP);
        for (group, row) in last.zip(rows) {
            for (place, value) in group.iter_mut().enumerate() {
                let d = rest + place;
                *value = if d < first.len() {
                    *row.add(d)
                } else {
                    T::default()
                };
            }
        }
    }
}

/// Words of 32 bits as the elements that they hold.
pub(crate) fn words_as<T: Weight>(words: &mut [u32]) -> &mut [T] {
    let len = size_of_val(words) / size_of::<T>();
    // SAFETY: both are plain numbers, and words are aligned at least as well.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), len) }
}
