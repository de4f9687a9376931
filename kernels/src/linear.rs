//! `Linear`: rows times a weight matrix transposed.
//!
//! The matrix is packed once at load into panels of [`PANEL`] outputs, whose weights for one input lie side by side:
//! a vector's lanes are outputs, so each output is summed by one lane over the inputs in rising order. That order
//! depends on nothing but the input width; blocks of rows and panels only share loads.

#![expect(
    unsafe_code,
    reason = "the inner loop reads through pointers and threads write disjoint columns"
)]

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, WithDType, bail,
};

use crate::parallel::{Disjoint, split};
use crate::rows::{Element, Rows, with_element};
use crate::simd::{Kernel, Vector, dispatch};

/// Outputs of a panel: the lanes of the widest vector.
pub(crate) const PANEL: usize = 16;

/// A weight matrix, packed.
#[derive(Clone, Debug)]
pub struct Linear {
    panels: Tensor, // [panels, in, PANEL]
    num_outputs: usize,
}

impl Linear {
    /// Packs a matrix of `[out, in]`, float32 or bfloat16.
    pub fn pack(weight: &Tensor) -> Result<Self> {
        let (num_outputs, num_inputs) = weight.dims2()?;
        let num_panels = num_outputs.div_ceil(PANEL);
        let padded = weight.pad_with_zeros(0, 0, num_panels * PANEL - num_outputs)?;
        let panels = padded
            .reshape((num_panels, PANEL, num_inputs))?
            .transpose(1, 2)?
            .contiguous()?;
        Ok(Self {
            panels,
            num_outputs,
        })
    }

    /// `x` times the matrix transposed, accumulated in float32.
    ///
    /// `x`: `[rows, in]` of the matrix's dtype. Gives `[rows, out]` of `out_dtype`.
    pub fn forward(&self, x: &Tensor, out_dtype: DType) -> Result<Tensor> {
        x.apply_op2_no_bwd(
            &self.panels,
            &Product {
                num_outputs: self.num_outputs,
                out_dtype,
            },
        )
    }

    /// The matrix's rows by index, as an embedding is read. `[indices, in]`
    pub fn rows(&self, indices: &[u32]) -> Result<Tensor> {
        self.panels.apply_op1_no_bwd(&Gather {
            indices,
            num_outputs: self.num_outputs,
        })
    }
}

/// Panels, inputs and the elements of a packed matrix.
fn panels<'a, T: Element>(storage: &'a CpuStorage, layout: &Layout) -> Result<(usize, &'a [T])> {
    let (num_panels, num_inputs, _) = layout.shape().dims3()?;
    let start = layout.start_offset();
    Ok((
        num_inputs,
        &storage.as_slice::<T>()?[start..start + num_panels * num_inputs * PANEL],
    ))
}

struct Gather<'a> {
    indices: &'a [u32],
    num_outputs: usize,
}

impl CustomOp1 for Gather<'_> {
    fn name(&self) -> &'static str {
        "linear-rows"
    }

    fn cpu_fwd(&self, w: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        with_element!(w.dtype(), T, {
            let (num_inputs, panels) = panels::<T>(w, layout)?;
            let mut rows = Vec::with_capacity(self.indices.len() * num_inputs);
            for &index in self.indices {
                if index as usize >= self.num_outputs {
                    bail!("row {index} of a matrix of {}", self.num_outputs);
                }
                let (panel, lane) = (index as usize / PANEL, index as usize % PANEL);
                let panel = &panels[panel * num_inputs * PANEL..][..num_inputs * PANEL];
                rows.extend(panel.iter().skip(lane).step_by(PANEL));
            }
            Ok((
                T::to_cpu_storage_owned(rows),
                Shape::from((self.indices.len(), num_inputs)),
            ))
        })
    }
}

struct Product {
    num_outputs: usize,
    out_dtype: DType,
}

impl CustomOp2 for Product {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        xl: &Layout,
        w: &CpuStorage,
        wl: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        with_element!(w.dtype(), T, {
            let x = Rows::<T>::new(x, xl)?;
            let (num_inputs, panels) = panels::<T>(w, wl)?;
            if x.width != num_inputs {
                bail!(
                    "linear: rows of {} inputs, weights for {num_inputs}",
                    x.width
                );
            }
            let shape = Shape::from((x.num_rows, self.num_outputs));
            let y = with_element!(self.out_dtype, U, {
                U::to_cpu_storage_owned(product::<T, U>(x, panels, self.num_outputs))
            });
            Ok((y, shape))
        })
    }
}

fn product<T: Element, U: Element>(x: Rows<'_, T>, panels: &[T], num_outputs: usize) -> Vec<U> {
    let (num_rows, num_inputs) = (x.num_rows, x.width);
    let mut wide = Vec::with_capacity(num_rows * num_inputs);
    for row in 0..num_rows {
        wide.extend(x.row(row).iter().map(|value| value.widen()));
    }
    let mut y = vec![U::default(); num_rows * num_outputs];
    let out = Disjoint::new(&mut y);
    let num_panels = num_outputs.div_ceil(PANEL);
    split(
        num_panels,
        BLOCK,
        num_rows * num_outputs * num_inputs,
        |range| {
            dispatch(Block {
                x: &wide,
                num_rows,
                num_inputs,
                panels,
                num_outputs,
                range,
                out: &out,
            });
        },
    );
    y
}

/// Panels that share the loads of a row.
const BLOCK: usize = 4;

/// The outputs of the panels `range`.
struct Block<'a, T, U> {
    x: &'a [f32],    // [rows, in]
    panels: &'a [T], // [panels, in, PANEL]
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
    /// All rows by `P` panels.
    #[inline(always)]
    fn rows<V: Vector, const P: usize>(&self, panel: usize) -> usize {
        let mut row = 0;
        while row < self.num_rows {
            row += match self.num_rows - row {
                6.. => self.tile::<V, 6, P>(row, panel),
                4.. => self.tile::<V, 4, P>(row, panel),
                2.. => self.tile::<V, 2, P>(row, panel),
                _ => self.tile::<V, 1, P>(row, panel),
            };
        }
        P
    }

    /// `R` rows by `P` panels. Plain loops, because a closure would not be compiled with the vector's instructions.
    #[inline(always)]
    fn tile<V: Vector, const R: usize, const P: usize>(&self, row: usize, panel: usize) -> usize {
        let stride = self.num_inputs * PANEL;
        let x = &self.x[row * self.num_inputs..][..R * self.num_inputs];
        let w = &self.panels[panel * stride..][..P * stride];
        // A panel is one vector of the widest kind, or several.
        for part in (0..PANEL).step_by(V::LANES) {
            let mut sums = [[V::zero(); P]; R];
            for input in 0..self.num_inputs {
                let mut weights = [V::zero(); P];
                for p in 0..P {
                    // SAFETY: `part + LANES <= PANEL`, so the load ends within panel `p` of the `P` in `w`.
                    weights[p] =
                        unsafe { T::load(w.as_ptr().add(p * stride + input * PANEL + part)) };
                }
                for r in 0..R {
                    // SAFETY: `x` holds `R` rows of `num_inputs`.
                    let x = V::splat(unsafe { *x.as_ptr().add(r * self.num_inputs + input) });
                    for p in 0..P {
                        sums[r][p] = sums[r][p].mul_add(x, weights[p]);
                    }
                }
            }
            for r in 0..R {
                for p in 0..P {
                    self.store(row + r, (panel + p) * PANEL + part, sums[r][p]);
                }
            }
        }
        R
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
