//! `sample_rows`: the next token of each row, drawn where the logits lie.

use candle_core::{CpuStorage, CustomOp1, InplaceOp1, Layout, Result, Shape, Tensor, bail};

use super::{Candidate, Draw, Noise, Scores, best, nucleus_len};
use crate::rows::{Element, Rows, matrix};

/// How a row's token is drawn: min-p, then top-k, then top-p over what is left, then the best after noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowSampling {
    /// Whose noise.
    pub noise: Noise,
    /// The place that the token is drawn for.
    pub position: usize,
    /// Divides the logits; at 0 the best token is taken.
    pub temperature: f32,
    /// Drops tokens less likely than this share of the best one; 0 keeps all.
    pub min_p: f32,
    /// Keeps the k best tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the smallest set of best tokens whose probability reaches this; 1 keeps all.
    pub top_p: f32,
}

/// What a request's biases and penalties make of a token's logit: the bias is added; then a positive one is divided and
/// any other multiplied by `repetition`; then `frequency` and `presence` are taken away.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LogitChange {
    /// The row.
    pub row: u32,
    /// The token's id.
    pub token: u32,
    /// 0 where there is none.
    pub bias: f32,
    /// 1 where there is none.
    pub repetition: f32,
    /// The penalty times the token's occurrences.
    pub frequency: f32,
    /// The penalty, if the token occurred.
    pub presence: f32,
}

/// The next token of each row. `changes` name a row's token once at most, and leave `logits` as they are.
///
/// `logits`: `[rows, vocab]`, float32.
pub fn sample_rows(
    logits: &Tensor,
    rows: &[RowSampling],
    changes: &[LogitChange],
) -> Result<Vec<u32>> {
    let draw = SampleRows { rows };
    if changes.is_empty() {
        return logits.apply_op1_no_bwd(&draw)?.to_vec1();
    }
    let changed = logits.copy()?;
    changed.inplace_op1(&ChangeLogits { changes })?;
    changed.apply_op1_no_bwd(&draw)?.to_vec1()
}

struct SampleRows<'a> {
    rows: &'a [RowSampling],
}

impl SampleRows<'_> {
    fn check(&self, layout: &Layout) -> Result<()> {
        let (num_rows, vocab, _) = matrix(layout)?;
        if num_rows != self.rows.len() || vocab == 0 {
            bail!(
                "sample_rows: {num_rows} rows of {vocab} logits for {} draws",
                self.rows.len()
            );
        }
        Ok(())
    }
}

impl CustomOp1 for SampleRows<'_> {
    fn name(&self) -> &'static str {
        "sample_rows"
    }

    fn cpu_fwd(&self, logits: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        self.check(layout)?;
        let logits = Rows::<f32>::new(logits, layout)?;
        let draws = self.rows.iter().enumerate();
        let tokens = draws.map(|(index, row)| row.sample(logits.row(index)));
        Ok((CpuStorage::U32(tokens.collect()), self.rows.len().into()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        logits: &candle_core::CudaStorage,
        layout: &Layout,
    ) -> Result<(candle_core::CudaStorage, Shape)> {
        self.check(layout)?;
        let tokens = crate::cuda::sample_rows((logits, layout), self.rows)?;
        Ok((tokens, self.rows.len().into()))
    }
}

impl RowSampling {
    /// A score's distance to the best one's, below which min-p drops a token.
    pub(crate) fn ln_min_p(&self) -> f32 {
        match self.min_p > 0.0 {
            true => self.min_p.ln(),
            false => f32::NEG_INFINITY,
        }
    }

    fn sample(&self, logits: &[f32]) -> u32 {
        let likeliest = best(logits);
        if self.temperature == 0.0 {
            return likeliest.token;
        }
        let scores = Scores {
            logits,
            temperature: self.temperature,
        };
        let score = likeliest.score / self.temperature;
        let floor = score + self.ln_min_p();
        if self.top_k == 0 && self.top_p >= 1.0 {
            let draw = Draw {
                scores,
                best: Candidate { score, ..likeliest },
                floor,
                noise: self.noise,
                position: self.position,
            };
            return draw.before(Candidate::LAST).token;
        }
        let k = match self.top_k {
            0 => logits.len(),
            k => k as usize,
        };
        let mut candidates = scores.top_k(k, floor);
        if self.top_p < 1.0 {
            candidates.truncate(nucleus_len(&candidates, self.top_p));
        }
        let perturbed = candidates.iter().map(|candidate| Candidate {
            score: candidate.score + self.noise.at(self.position, candidate.token),
            ..*candidate
        });
        perturbed
            .min_by(Candidate::order)
            .map_or(likeliest.token, |candidate| candidate.token)
    }
}

struct ChangeLogits<'a> {
    changes: &'a [LogitChange],
}

impl ChangeLogits<'_> {
    fn check(&self, layout: &Layout) -> Result<()> {
        let (num_rows, vocab, _) = matrix(layout)?;
        for &LogitChange { row, token, .. } in self.changes {
            if row as usize >= num_rows || token as usize >= vocab {
                bail!("token {token} of row {row}, in {num_rows} rows of {vocab} logits");
            }
        }
        Ok(())
    }
}

impl InplaceOp1 for ChangeLogits<'_> {
    fn name(&self) -> &'static str {
        "change_logits"
    }

    fn cpu_fwd(&self, logits: &mut CpuStorage, layout: &Layout) -> Result<()> {
        self.check(layout)?;
        let (_, _, stride) = matrix(layout)?;
        let logits = &mut f32::slice_mut(logits)?[layout.start_offset()..];
        for change in self.changes {
            let logit = &mut logits[change.row as usize * stride + change.token as usize];
            *logit += change.bias;
            match *logit > 0.0 {
                true => *logit /= change.repetition,
                false => *logit *= change.repetition,
            }
            *logit -= change.frequency;
            *logit -= change.presence;
        }
        Ok(())
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, logits: &mut candle_core::CudaStorage, layout: &Layout) -> Result<()> {
        self.check(layout)?;
        crate::cuda::change_logits((logits, layout), self.changes)
    }
}
