//! Attention of drafting rows over their text's context and their own branch, with gradients.

use candle_core::{CpuStorage, CustomOp3, D, Layout, Result, Shape, Tensor};
use foretoken_kernels::math::exp;
use rayon::prelude::*;

use super::example::{Anchor, Example};
use super::scores::{dot, rows};

/// Who sees whom. Keys are those of the context's rows, then those of the drafting rows.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    anchors: Vec<Anchor>,
    num_context: usize,
    num_steps: usize,
}

impl Sight {
    pub(super) fn new(example: &Example, num_steps: usize) -> Self {
        Self {
            anchors: example.anchors().to_vec(),
            num_context: example.tokens().len(),
            num_steps,
        }
    }

    fn num_rows(&self) -> usize {
        self.anchors.len() * self.num_steps
    }

    /// A row's keys: the context rows of its text up to its anchor, then its branch up to itself.
    fn keys(&self, row: usize) -> impl Iterator<Item = usize> + Clone + use<> {
        let (anchor, step) = (row / self.num_steps, row % self.num_steps);
        let first = self.num_context + anchor * self.num_steps;
        let anchor = self.anchors[anchor];
        (anchor.start..=anchor.row).chain(first..=first + step)
    }

    /// 0 where a row sees a key and minus infinity elsewhere. `[rows, keys]`
    fn mask(&self, like: &Tensor) -> Result<Tensor> {
        let (num_rows, num_keys) = (self.num_rows(), self.num_context + self.num_rows());
        let mut mask = vec![f32::NEG_INFINITY; num_rows * num_keys];
        for (row, mask) in mask.chunks_exact_mut(num_keys).enumerate() {
            self.keys(row).for_each(|key| mask[key] = 0.0);
        }
        Tensor::from_vec(mask, (num_rows, num_keys), like.device())
    }
}

/// Values mixed by attention. `q`: `[rows, heads * head_dim]`; `k`, `v`: `[keys, kv_heads * head_dim]`; all float32.
pub(super) fn attend(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    sight: Sight,
    head_dim: usize,
) -> Result<Tensor> {
    if !q.device().is_cpu() {
        return plain(q, k, v, &sight.mask(q)?, head_dim);
    }
    let (q_width, kv_width) = (q.dim(1)?, k.dim(1)?);
    let attention = Attention {
        num_kv_heads: kv_width / head_dim,
        group: q_width / kv_width,
        head_dim,
        sight,
    };
    q.apply_op3(k, v, attention)
}

/// The same out of the library's operations, every row against every key.
fn plain(q: &Tensor, k: &Tensor, v: &Tensor, mask: &Tensor, head_dim: usize) -> Result<Tensor> {
    let (num_rows, q_width) = q.dims2()?;
    let (num_keys, kv_width) = k.dims2()?;
    let (num_heads, num_kv_heads) = (q_width / head_dim, kv_width / head_dim);
    let group = num_heads / num_kv_heads;
    let by_head = |x: &Tensor| {
        x.reshape((num_keys, num_kv_heads, head_dim))?
            .transpose(0, 1)?
            .contiguous()
    };
    let (k, v) = (by_head(k)?, by_head(v)?);
    // Query heads of a group share their keys: [kv_heads, group * rows, head_dim]
    let q = q
        .reshape((num_rows, num_kv_heads, group, head_dim))?
        .permute((1, 2, 0, 3))?
        .reshape((num_kv_heads, group * num_rows, head_dim))?;
    let scores = (q.matmul(&k.t()?)? / (head_dim as f64).sqrt())?
        .reshape((num_heads, num_rows, num_keys))?
        .broadcast_add(mask)?;
    candle_nn::ops::softmax(&scores, D::Minus1)?
        .reshape((num_kv_heads, group * num_rows, num_keys))?
        .matmul(&v)?
        .reshape((num_kv_heads, group, num_rows, head_dim))?
        .permute((2, 0, 1, 3))?
        .reshape((num_rows, q_width))
}

/// Attention that touches only what each row sees: much less than all keys, since texts and branches are short.
struct Attention {
    sight: Sight,
    num_kv_heads: usize,
    /// Query heads of each head of keys and values.
    group: usize,
    head_dim: usize,
}

/// Queries, keys and values by row, or their gradients.
type Rows<'a> = [&'a [f32]; 3];

/// Gradients of one head of keys and values and of its queries.
struct HeadGradients {
    q: Vec<f32>, // [rows, group * head_dim]
    k: Vec<f32>, // [keys, head_dim]
    v: Vec<f32>, // [keys, head_dim]
}

impl Attention {
    fn q_width(&self) -> usize {
        self.num_kv_heads * self.group * self.head_dim
    }

    fn kv_width(&self) -> usize {
        self.num_kv_heads * self.head_dim
    }

    /// A row's weights over its keys, for one query head.
    fn weights(
        &self,
        query: &[f32],
        k: &[f32],
        row: usize,
        kv_head: usize,
        weights: &mut Vec<f32>,
    ) {
        let scale = (self.head_dim as f32).sqrt().recip();
        weights.clear();
        let score = |key| scale * dot(query, self.of_key(k, key, kv_head));
        weights.extend(self.sight.keys(row).map(score));
        let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        weights
            .iter_mut()
            .for_each(|weight| *weight = exp(*weight - most));
        let sum: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= sum);
    }

    fn of_key<'a>(&self, rows: &'a [f32], key: usize, kv_head: usize) -> &'a [f32] {
        &rows[key * self.kv_width() + kv_head * self.head_dim..][..self.head_dim]
    }

    fn mix(&self, [q, k, v]: Rows<'_>, mixed: &mut [f32]) {
        let width = self.q_width();
        let rows = mixed.par_chunks_exact_mut(width).enumerate();
        rows.for_each_init(Vec::new, |weights, (row, mixed)| {
            for (head, mixed) in mixed.chunks_exact_mut(self.head_dim).enumerate() {
                let kv_head = head / self.group;
                let query = &q[row * width + head * self.head_dim..][..self.head_dim];
                self.weights(query, k, row, kv_head, weights);
                for (key, weight) in self.sight.keys(row).zip(weights.iter()) {
                    add(mixed, *weight, self.of_key(v, key, kv_head));
                }
            }
        });
    }

    /// One head's gradients, given those of what it mixed.
    fn gradients(&self, [q, k, v]: Rows<'_>, mixed: &[f32], kv_head: usize) -> HeadGradients {
        let (d, width) = (self.head_dim, self.q_width());
        let (num_rows, num_keys) = (q.len() / width, k.len() / self.kv_width());
        let mut gradients = HeadGradients {
            q: vec![0.0; num_rows * self.group * d],
            k: vec![0.0; num_keys * d],
            v: vec![0.0; num_keys * d],
        };
        let scale = (d as f32).sqrt().recip();
        let (mut weights, mut by_weight) = (Vec::new(), Vec::new());
        for (index, by_query) in gradients.q.chunks_exact_mut(d).enumerate() {
            let (row, head) = (
                index / self.group,
                kv_head * self.group + index % self.group,
            );
            let place = row * width + head * d;
            let (query, by_mixed) = (&q[place..][..d], &mixed[place..][..d]);
            self.weights(query, k, row, kv_head, &mut weights);
            let keys = self.sight.keys(row);
            by_weight.clear();
            by_weight.extend(
                keys.clone()
                    .map(|key| dot(by_mixed, self.of_key(v, key, kv_head))),
            );
            let mean = dot(&weights, &by_weight);
            for ((key, weight), by_weight) in keys.zip(&weights).zip(&by_weight) {
                let by_score = scale * weight * (by_weight - mean);
                add(by_query, by_score, self.of_key(k, key, kv_head));
                add(&mut gradients.k[key * d..][..d], by_score, query);
                add(&mut gradients.v[key * d..][..d], *weight, by_mixed);
            }
        }
        gradients
    }
}

/// `sum += factor * values`
fn add(sum: &mut [f32], factor: f32, values: &[f32]) {
    for (sum, value) in sum.iter_mut().zip(values) {
        *sum += factor * value;
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "drafting-attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (q, k, v) = (rows(q, q_layout)?, rows(k, k_layout)?, rows(v, v_layout)?);
        let mut mixed = vec![0.0; q.len()];
        self.mix([q, k, v], &mut mixed);
        Ok((CpuStorage::F32(mixed), q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        _mixed: &Tensor,
        by_mixed: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let values = |x: &Tensor| x.flatten_all()?.to_vec1::<f32>();
        let (q_values, k_values, v_values) = (values(q)?, values(k)?, values(v)?);
        let by_mixed = values(by_mixed)?;
        let heads: Vec<HeadGradients> = (0..self.num_kv_heads)
            .into_par_iter()
            .map(|head| self.gradients([&q_values, &k_values, &v_values], &by_mixed, head))
            .collect();
        let device = q.device();
        let join = |part: fn(&HeadGradients) -> &Vec<f32>, like: &Tensor| {
            let rows = like.dim(0)?;
            let parts = heads.iter().map(|head| {
                Tensor::from_slice(part(head), (rows, part(head).len() / rows), device)
            });
            Tensor::cat(&parts.collect::<Result<Vec<_>>>()?, 1).map(Some)
        };
        Ok((
            join(|head| &head.q, q)?,
            join(|head| &head.k, k)?,
            join(|head| &head.v, v)?,
        ))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Var};

    use super::*;

    #[test]
    fn what_is_not_seen_is_left_out_and_nothing_else_changes() {
        let mut example = Example::default();
        example.push(&[0; 6], 1..4);
        example.push(&[0; 9], 2..4);
        let (num_steps, head_dim, device) = (3, 4, &Device::Cpu);
        let sight = Sight::new(&example, num_steps);
        let (num_rows, num_keys) = (sight.num_rows(), 15 + sight.num_rows());
        let random = |rows: usize, width: usize| Var::randn(0f32, 1.0, (rows, width), device);
        let q = random(num_rows, 4 * head_dim).unwrap();
        let (k, v) = (
            random(num_keys, 2 * head_dim),
            random(num_keys, 2 * head_dim),
        );
        let (k, v) = (k.unwrap(), v.unwrap());
        let factor = random(num_rows, 4 * head_dim).unwrap().as_detached_tensor();
        let fused = attend(&q, &k, &v, sight.clone(), head_dim).unwrap();
        let plain = plain(&q, &k, &v, &sight.mask(&q).unwrap(), head_dim).unwrap();
        assert_close("mixed", &fused, &plain);
        let gradients = |mixed: &Tensor| (mixed * &factor).unwrap().sum_all().unwrap().backward();
        let (fused, plain) = (gradients(&fused).unwrap(), gradients(&plain).unwrap());
        for (name, x) in [("q", &q), ("k", &k), ("v", &v)] {
            assert_close(name, fused.get(x).unwrap(), plain.get(x).unwrap());
        }
    }

    fn assert_close(name: &str, a: &Tensor, b: &Tensor) {
        let apart = (a - b).unwrap().abs().unwrap().max_all().unwrap();
        let apart: f32 = apart.to_scalar().unwrap();
        assert!(apart < 1e-5, "{name} differs by {apart}");
    }
}
