//! `Linear`: rows times a weight matrix transposed.
//!
//! The matrix is packed once at load into panels of [`PANEL`] outputs, whose weights for one input (a pair of inputs in
//! bfloat16) lie side by side: a vector's lanes are outputs, so each output is summed by one lane over the inputs in
//! rising order. That order depends on nothing but the input width; blocks of rows and panels only share loads.

#![expect(
    unsafe_code,
    reason = "the inner loop reads through pointers and threads write disjoint columns"
)]

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{CpuStorage, InplaceOp2, InplaceOp3, Layout, Result, Tensor, bail};

use crate::parallel::{Disjoint, split};
use crate::rows::{Element, Rows, output, with_element};
use crate::simd::{Kernel, Vector, dispatch};

/// Outputs of a panel: the lanes of the widest vector.
pub(crate) const PANEL: usize = 16;

/// A weight matrix, packed.
#[derive(Clone, Debug)]
pub struct Linear {
    panels: Tensor, // [panels, in / GROUP, PANEL * GROUP], `in` filled up with zeros
    num_inputs: usize,
    num_outputs: usize,
}

impl Linear {
    /// Packs a matrix of `[out, in]`, float32 or bfloat16.
    pub fn pack(weight: &Tensor) -> Result<Self> {
        let (num_outputs, num_inputs) = weight.dims2()?;
        let group = with_element!(weight.dtype(), T, T::GROUP);
        let (num_panels, num_groups) = (num_outputs.div_ceil(PANEL), num_inputs.div_ceil(group));
        let panels = weight
            .pad_with_zeros(0, 0, num_panels * PANEL - num_outputs)?
            .pad_with_zeros(1, 0, num_groups * group - num_inputs)?
            .reshape((num_panels, PANEL, num_groups, group))?
            .transpose(1, 2)?
            .contiguous()?
            .reshape((num_panels, num_groups, PANEL * group))?;
        Ok(Self {
            panels,
            num_inputs,
            num_outputs,
        })
    }

    /// `y = x` times the matrix transposed, accumulated in float32.
    ///
    /// `x`: `[rows, in]` of the matrix's dtype, `y`: `[rows, out]` of any dtype.
    pub fn forward(&self, x: &Tensor, y: &Tensor) -> Result<()> {
        y.inplace_op3(x, &self.panels, &Product(self))
    }

    /// `y =` the matrix's rows by index, as an embedding is read. `[indices, in]` of the matrix's dtype
    pub fn rows(&self, indices: &[u32], y: &Tensor) -> Result<()> {
        y.inplace_op2(
            &self.panels,
            &Gather {
                linear: self,
                indices,
            },
        )
    }

    /// The elements of the packed matrix.
    fn elements<'a, T: Element>(
        &self,
        storage: &'a CpuStorage,
        layout: &Layout,
    ) -> Result<&'a [T]> {
        let start = layout.start_offset();
        Ok(&storage.as_slice::<T>()?[start..start + layout.shape().elem_count()])
    }
}

struct Gather<'a> {
    linear: &'a Linear,
    indices: &'a [u32],
}

impl InplaceOp2 for Gather<'_> {
    fn name(&self) -> &'static str {
        "linear-rows"
    }

    fn cpu_fwd(&self, y: &mut CpuStorage, yl: &Layout, w: &CpuStorage, wl: &Layout) -> Result<()> {
        let Linear {
            num_inputs,
            num_outputs,
            ..
        } = *self.linear;
        with_element!(w.dtype(), T, {
            let elements = self.linear.elements::<T>(w, wl)?;
            let y = output::<T>(y, yl, (self.indices.len(), num_inputs))?;
            let panel_len = num_inputs.next_multiple_of(T::GROUP) * PANEL;
            for (&index, y) in self.indices.iter().zip(y.chunks_exact_mut(num_inputs)) {
                let index = index as usize;
                if index >= num_outputs {
                    bail!("row {index} of a matrix of {num_outputs}");
                }
                let groups = elements[index / PANEL * panel_len..][..panel_len]
                    .chunks_exact(PANEL * T::GROUP);
                let lane = index % PANEL * T::GROUP;
                for (y, group) in y.chunks_mut(T::GROUP).zip(groups) {
                    y.copy_from_slice(&group[lane..lane + y.len()]);
                }
            }
            Ok(())
        })
    }
}

struct Product<'a>(&'a Linear);

impl InplaceOp3 for Product<'_> {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        y: &mut CpuStorage,
        yl: &Layout,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<()> {
        let Linear {
            num_inputs,
            num_outputs,
            ..
        } = *self.0;
        with_element!(w.dtype(), T, {
            let x = Rows::<T>::new(x, xl)?;
            if x.width != num_inputs {
                bail!(
                    "linear: rows of {} inputs, weights for {num_inputs}",
                    x.width
                );
            }
            let elements = self.0.elements::<T>(w, wl)?;
            with_element!(y.dtype(), U, {
                let y = output::<U>(y, yl, (x.num_rows, num_outputs))?;
                product::<T, U>(x, elements, num_outputs, y);
            });
        });
        Ok(())
    }
}

fn product<T: Element, U: Element>(x: Rows<'_, T>, panels: &[T], num_outputs: usize, y: &mut [U]) {
    let num_inputs = x.width.next_multiple_of(T::GROUP);
    let mut filled = vec![T::default(); x.num_rows * num_inputs];
    for (row, filled) in filled.chunks_exact_mut(num_inputs.max(1)).enumerate() {
        filled[..x.width].copy_from_slice(x.row(row));
    }
    let out = Disjoint::new(y);
    let num_panels = num_outputs.div_ceil(PANEL);
    split(
        num_panels,
        BLOCK,
        x.num_rows * num_outputs * num_inputs,
        |range| {
            dispatch(Block {
                x: &filled,
                panels,
                num_rows: x.num_rows,
                num_inputs,
                num_outputs,
                range,
                out: &out,
            });
        },
    );
}

/// Panels that share the loads of a row.
const BLOCK: usize = 4;

/// The outputs of the panels `range`.
struct Block<'a, T, U> {
    x: &'a [T],      // [rows, in]
    panels: &'a [T], // [panels, in / GROUP, PANEL * GROUP]
    num_rows: usize,
    num_inputs: usize,
    num_outputs: usize,
    range: Range<usize>,
    out: &'a Disjoint<U>, // [rows, out]
}

impl<T: Element, U: Element> Kernel for Block<'_, T, U> {
    #[inline(always)]
    fn run<V: Vector>(self) {
        let mut panel = self.range.start;
        while panel < self.range.end {
            panel += match self.range.end - panel {
                BLOCK.. => self.rows::<V, BLOCK>(panel),
                _ => self.rows::<V, 1>(panel),
            };
        }
    }
}

impl<T: Element, U: Element> Block<'_, T, U> {
    /// All rows by `P` panels, in tiles of at most 6 rows, as equal as can be.
    #[inline(always)]
    fn rows<V: Vector, const P: usize>(&self, panel: usize) -> usize {
        let num_tiles = self.num_rows.div_ceil(6).max(1);
        let mut row = 0;
        for tile in 1..=num_tiles {
            let end = self.num_rows * tile / num_tiles;
            match end - row {
                6 => self.tile::<V, 6, P>(row, panel),
                5 => self.tile::<V, 5, P>(row, panel),
                4 => self.tile::<V, 4, P>(row, panel),
                3 => self.tile::<V, 3, P>(row, panel),
                2 => self.tile::<V, 2, P>(row, panel),
                1 => self.tile::<V, 1, P>(row, panel),
                _ => {}
            }
            row = end;
        }
        P
    }

    /// `R` rows by `P` panels. Plain loops, because a closure would not be compiled with the vector's instructions.
    #[inline(always)]
    fn tile<V: Vector, const R: usize, const P: usize>(&self, row: usize, panel: usize) {
        let stride = self.num_inputs * PANEL;
        let x = &self.x[row * self.num_inputs..][..R * self.num_inputs];
        let w = &self.panels[panel * stride..][..P * stride];
        // A panel is one vector of the widest kind, or several.
        for part in (0..PANEL).step_by(V::LANES) {
            let mut sums = [[V::zero(); P]; R];
            for input in (0..self.num_inputs).step_by(T::GROUP) {
                // SAFETY: a group's weights end within their panel, a group of inputs within its row.
                unsafe {
                    let w = w.as_ptr().add(input * PANEL + part * T::GROUP);
                    let mut weights = [T::load_groups::<V>(w); P];
                    for (p, weights) in weights.iter_mut().enumerate() {
                        *weights = T::load_groups::<V>(w.add(p * stride));
                    }
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let x = T::splat_group::<V>(x.as_ptr().add(r * self.num_inputs + input));
                        for (sum, &weights) in sums.iter_mut().zip(&weights) {
                            *sum = T::add_products(*sum, x, weights);
                        }
                    }
                }
            }
            for (r, sums) in sums.into_iter().enumerate() {
                for (p, sums) in sums.into_iter().enumerate() {
                    self.store(row + r, (panel + p) * PANEL + part, sums);
                }
            }
        }
    }

    /// Writes the lanes that are outputs; the last panel may have fewer.
    #[inline(always)]
    fn store<V: Vector>(&self, row: usize, first: usize, sums: V) {
        let mut lanes = [0.0; PANEL];
        // SAFETY: no vector has more lanes than a panel.
        unsafe { sums.store(lanes.as_mut_ptr()) };
        let count = V::LANES.min(self.num_outputs.saturating_sub(first));
        // SAFETY: in this product, these columns are this thread's.
        let out = unsafe {
            self.out
                .write(row * self.num_outputs + first.min(self.num_outputs), count)
        };
        for (out, lane) in out.iter_mut().zip(lanes) {
            *out = U::narrow(lane);
        }
    }
}
