//! The attention of a few rows of one sequence over one head of keys and values.

#![expect(unsafe_code, reason = "threads write disjoint rows")]

use std::ops::Range;

use super::keys::{score_tile, turn, words_as};
use super::scratch::Scratch;
use super::values::Values;
use super::{SPAN, Unit};
use crate::linear::PANEL;
use crate::linear::weight::Float;
use crate::paging::Paging;
use crate::parallel::Disjoint;
use crate::rows::{Element, Rows};
use crate::simd::{Kernel, LINE, Vector, prefetch};

/// Heads of a model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) head_dim: usize,
    pub(crate) kv_heads: usize,
    /// Query heads for each head of keys and values.
    pub(crate) group: usize,
}

#[cfg(any(test, feature = "cuda"))]
impl Shape {
    /// What the device multiplies scores with: their softmax takes powers of two.
    pub(crate) fn scale(&self) -> f32 {
        std::f32::consts::LOG2_E / (self.head_dim as f32).sqrt()
    }
}

/// The attention of some units.
pub(crate) struct Attend<'a, T> {
    pub(crate) paging: &'a Paging,
    pub(crate) shape: Shape,
    pub(crate) q: Rows<'a, T>,
    pub(crate) cache: Rows<'a, T>,
    pub(crate) units: &'a [Unit],
    pub(crate) out: &'a Disjoint<T>,
}

impl<T: Element + Float> Kernel for Attend<'_, T> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let mut scratch = Scratch::take();
        for unit in self.units {
            self.unit::<V>(unit, &mut scratch);
        }
        scratch.keep();
    }
}

impl<T: Element + Float> Attend<'_, T> {
    /// All spans, from the sequence's start on, of those rows that see them.
    #[inline(always)]
    fn unit<V: Vector>(&self, unit: &Unit, scratch: &mut Scratch) {
        let num_words = self.shape.head_dim.div_ceil(T::GROUP);
        scratch.start(unit.rows.len() * self.shape.group, self.shape, num_words);
        self.copy_queries(unit, scratch);
        let seq = self.paging.seqs[unit.rows.start];
        let context_len = self.paging.context_lens[seq];
        let positions = &self.paging.positions[unit.rows.clone()];
        let last = positions.iter().copied().max().unwrap_or_default();
        if last >= context_len {
            self.score_tree::<V>(unit, context_len, scratch);
        }
        let committed = |start: usize| start..context_len.min(last + 1).clamp(start, start + SPAN);
        self.paging.locate(seq, committed(0), &mut scratch.slots);
        for start in (0..=last).step_by(SPAN) {
            self.fetch(&scratch.slots, self.shape.kv_heads + unit.kv_head);
            self.score::<V>(unit, scratch);
            self.paging
                .locate(seq, committed(start + SPAN), &mut scratch.next_slots);
            self.fetch(&scratch.next_slots, unit.kv_head);
            // The rows whose keys in this span all lie in the same slots, and those that see some of them elsewhere,
            // or not all.
            let is_whole = |position: usize| start + SPAN <= context_len.min(position + 1);
            let mut row = 0;
            while row < positions.len() {
                let whole = positions[row..]
                    .iter()
                    .take_while(|&&position| is_whole(position));
                match whole.count() {
                    0 => {
                        self.mix_row::<V>(unit, row, start, scratch);
                        row += 1;
                    }
                    num_rows => {
                        let group = self.shape.group;
                        scratch.row_slots.clone_from(&scratch.slots);
                        self.mix::<V>(unit, row * group..(row + num_rows) * group, scratch);
                        row += num_rows;
                    }
                }
            }
            std::mem::swap(&mut scratch.slots, &mut scratch.next_slots);
        }
        self.finish(unit, scratch);
    }

    /// The unit's queries, one after another, filled up with zeros to whole groups.
    fn copy_queries(&self, unit: &Unit, scratch: &mut Scratch) {
        let Shape {
            head_dim, group, ..
        } = self.shape;
        let stride = head_dim.next_multiple_of(T::GROUP);
        let queries = words_as::<T>(&mut scratch.queries);
        let first = unit.kv_head * group * head_dim;
        for (row, queries) in unit
            .rows
            .clone()
            .zip(queries.chunks_exact_mut(group * stride))
        {
            let q = &self.q.row(row)[first..][..group * head_dim];
            for (q, query) in q
                .chunks_exact(head_dim)
                .zip(queries.chunks_exact_mut(stride))
            {
                query[..head_dim].copy_from_slice(q);
                query[head_dim..].fill(T::default());
            }
        }
    }

    /// Scores of all queries with the keys of the tree's slots.
    #[inline(always)]
    fn score_tree<V: Vector>(&self, unit: &Unit, context_len: usize, scratch: &mut Scratch) {
        let seen = unit.rows.clone().fold(0, |seen, row| {
            let in_tree = self.paging.positions[row] >= context_len;
            seen | if in_tree {
                self.paging.ancestors[row]
            } else {
                0
            }
        });
        let num_nodes = 64 - u64::leading_zeros(seen) as usize;
        let seq = self.paging.seqs[unit.rows.start];
        self.paging.locate(
            seq,
            context_len..context_len + num_nodes,
            &mut scratch.slots,
        );
        self.score::<V>(unit, scratch);
        std::mem::swap(&mut scratch.scores, &mut scratch.tree_scores);
    }

    /// Asks for what one head of keys or values holds in some slots. The processor does not foresee rows that lie so far
    /// apart.
    #[inline(always)]
    fn fetch(&self, slots: &[u32], head: usize) {
        let head_dim = self.shape.head_dim;
        for &slot in slots {
            let row = self.cache.row(slot as usize);
            let head = row[head * head_dim..][..head_dim].as_ptr().cast::<u8>();
            for line in (0..head_dim * size_of::<T>()).step_by(LINE) {
                prefetch(head.wrapping_add(line));
            }
        }
    }

    /// Scores of all queries with the keys of `scratch.slots`.
    #[inline(always)]
    fn score<V: Vector>(&self, unit: &Unit, scratch: &mut Scratch) {
        let Scratch {
            queries,
            panels,
            scores,
            slots,
            ..
        } = scratch;
        let head_dim = self.shape.head_dim;
        let stride = head_dim.next_multiple_of(T::GROUP);
        let panels = words_as::<T>(panels);
        let queries = words_as::<T>(queries);
        for (slots, panel) in slots
            .chunks(PANEL)
            .zip(panels.chunks_exact_mut(stride * PANEL))
        {
            let keys = slots
                .iter()
                .map(|&slot| &self.cache.row(slot as usize)[unit.kv_head * head_dim..][..head_dim]);
            turn::<T, V>(keys, panel);
        }
        let num_panels = slots.len().div_ceil(PANEL);
        let mut query = 0;
        while query < scores.len() {
            let scores = &mut scores[query..];
            let x = &queries[query * stride..];
            query += match scores.len() {
                6.. => score_tile::<T, V, 6>(x, panels, stride, num_panels, scores),
                3.. => score_tile::<T, V, 3>(x, panels, stride, num_panels, scores),
                2 => score_tile::<T, V, 2>(x, panels, stride, num_panels, scores),
                _ => score_tile::<T, V, 1>(x, panels, stride, num_panels, scores),
            };
        }
    }

    /// Takes in a span of which a row sees a part, or some keys where no other row has them.
    #[inline(always)]
    fn mix_row<V: Vector>(&self, unit: &Unit, index: usize, start: usize, scratch: &mut Scratch) {
        let row = unit.rows.start + index;
        let (seq, position) = (self.paging.seqs[row], self.paging.positions[row]);
        let context_len = self.paging.context_lens[seq];
        let count = (position + 1).saturating_sub(start).min(SPAN);
        if count == 0 {
            return;
        }
        let committed = context_len.saturating_sub(start).min(count);
        scratch.row_slots.clear();
        scratch
            .row_slots
            .extend_from_slice(&scratch.slots[..committed]);
        let queries = index * self.shape.group..(index + 1) * self.shape.group;
        // The tree's nodes above the row, by depth; those before this span were taken in with an earlier one.
        let mut mask = self.paging.ancestors[row];
        for _ in context_len..(start + committed).max(context_len) {
            mask &= mask - 1;
        }
        for place in committed..count {
            let node = mask.trailing_zeros() as usize;
            mask &= mask - 1;
            scratch
                .row_slots
                .push(self.paging.slot(seq, context_len + node));
            for query in queries.clone() {
                scratch.scores[query][place] = scratch.tree_scores[query][node];
            }
        }
        self.mix::<V>(unit, queries, scratch);
    }

    /// Weighs the queries' scores and adds the values of `scratch.row_slots` up.
    #[inline(always)]
    fn mix<V: Vector>(&self, unit: &Unit, queries: Range<usize>, scratch: &mut Scratch) {
        let count = scratch.row_slots.len();
        let head_dim = self.shape.head_dim;
        let scale = 1.0 / (head_dim as f32).sqrt();
        for query in queries.clone() {
            let factor = scratch.running[query].weigh(&mut scratch.scores[query], count, scale);
            if factor != 1.0 {
                for sum in &mut scratch.sums[query * head_dim..][..head_dim] {
                    *sum *= factor;
                }
            }
        }
        let first = (self.shape.kv_heads + unit.kv_head) * head_dim;
        let values = Values {
            cache: self.cache,
            first,
            slots: &scratch.row_slots,
            head_dim,
        };
        let mut query = queries.start;
        while query < queries.end {
            let weights = &scratch.scores[query..queries.end];
            let sums = &mut scratch.sums[query * head_dim..];
            query += match queries.end - query {
                4.. => values.add::<V, 4>(weights, sums),
                2.. => values.add::<V, 2>(weights, sums),
                _ => values.add::<V, 1>(weights, sums),
            };
        }
    }

    /// Weighted sums over the weights' total.
    fn finish(&self, unit: &Unit, scratch: &Scratch) {
        let Shape {
            head_dim, group, ..
        } = self.shape;
        let queries = scratch.sums.chunks_exact(head_dim).zip(&scratch.running);
        for (index, (sums, running)) in queries.enumerate() {
            let (row, head) = (unit.rows.start + index / group, index % group);
            let first = (unit.kv_head * group + head) * head_dim;
            // SAFETY: units are dealt out to threads without overlap.
            let out = unsafe { self.out.write(row * self.q.width + first, head_dim) };
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = T::narrow(sum / running.total);
            }
        }
    }
}
