//! Replayed steps against eager ones, on a GPU. Where there is none the tests pass with a printed line.

use candle_core::{DType, Device, Result, Tensor};

use super::attention::{Sequence, bush, chain, paging};
use super::cuda::device;
use super::support::{DTYPES, bits, matrix};
use crate::graphs::{Common, Graphs};
use crate::{Linear, Paging, add, paged_attention, rms_norm, rotate, silu_mul, write_kv};

const HEAD_DIM: usize = 64;
const HEADS: usize = 4;
const KV_HEADS: usize = 2;
const WIDTH: usize = HEADS * HEAD_DIM;
const KV_WIDTH: usize = 2 * KV_HEADS * HEAD_DIM;
const NUM_SLOTS: usize = 16_000;

/// A layer, the buffers of its steps, and a cache.
struct Layer {
    norm: Tensor,    // [1, WIDTH]
    qkv: Linear,     // [WIDTH + KV_WIDTH, WIDTH]
    gate_up: Linear, // [2 * 1100, WIDTH]: sums over more than one split behind it
    down: Linear,    // [WIDTH, 1100]
    cos: Tensor,     // [positions, HEAD_DIM / 2]
    sin: Tensor,
    cache: Tensor,        // [NUM_SLOTS, KV_WIDTH]
    buffers: [Tensor; 6], // [1024, ..]
}

/// What the rows got, and all of the cache.
type Outcome = (Vec<Vec<u32>>, Vec<Vec<u32>>);

impl Layer {
    fn new(device: &Device, dtype: DType) -> Self {
        let there = |rows, width, seed, dtype| {
            let tensor: Tensor = matrix(rows, width, seed, dtype);
            tensor.to_device(device).unwrap()
        };
        let linear = |rows, width, seed| Linear::pack(&there(rows, width, seed, dtype)).unwrap();
        let buffer = |width| Tensor::zeros((1024, width), dtype, device).unwrap();
        Self {
            norm: there(1, WIDTH, 1, dtype),
            qkv: linear(WIDTH + KV_WIDTH, WIDTH, 2),
            gate_up: linear(2200, WIDTH, 3),
            down: linear(WIDTH, 1100, 4),
            cos: there(6000, HEAD_DIM / 2, 5, DType::F32),
            sin: there(6000, HEAD_DIM / 2, 6, DType::F32),
            cache: there(NUM_SLOTS, KV_WIDTH, 7, dtype),
            buffers: [WIDTH, WIDTH, WIDTH + KV_WIDTH, WIDTH, 2200, 1100].map(buffer),
        }
    }

    fn step(&self, paging: &Paging) -> Result<()> {
        let mut rows = Vec::new();
        for buffer in &self.buffers {
            rows.push(buffer.narrow(0, 0, paging.num_rows())?);
        }
        let [x, normed, qkv, mixed, gate_up, gated] = &rows[..] else {
            unreachable!("six buffers");
        };
        rms_norm(x, &self.norm, 1e-5, normed)?;
        self.qkv.forward(normed, qkv)?;
        rotate(qkv, &self.cos, &self.sin, paging, HEADS + KV_HEADS)?;
        write_kv(&self.cache, &qkv.narrow(1, WIDTH, KV_WIDTH)?, paging)?;
        let q = qkv.narrow(1, 0, WIDTH)?;
        paged_attention(&q, &self.cache, paging, HEAD_DIM, mixed)?;
        self.gate_up.forward(mixed, gate_up)?;
        silu_mul(gate_up, gated)?;
        self.down.forward(gated, normed)?;
        add(x, normed)
    }

    /// A step of rows that `seed` chooses.
    fn run(&self, graphs: &mut Graphs, paging: &Paging, seed: u64) -> Outcome {
        let (num_rows, x) = (paging.num_rows(), &self.buffers[0]);
        let rows = matrix(num_rows, WIDTH, seed, x.dtype());
        let rows = rows.to_device(x.device()).unwrap();
        x.slice_set(&rows, 0, 0).unwrap();
        let common = Common {
            cache: &self.cache,
            angles: &self.cos,
            rows: x,
        };
        graphs
            .run(paging, common, |paging| self.step(paging))
            .unwrap();
        let here = |tensor: &Tensor| bits(&tensor.to_device(&Device::Cpu).unwrap());
        (here(&x.narrow(0, 0, num_rows).unwrap()), here(&self.cache))
    }
}

/// Sequences of so many committed tokens, the last with a bush for its tree and the others with a chain.
fn batch(context_lens: &[usize], num_nodes: usize) -> Paging {
    let last = context_lens.len() - 1;
    let tree = |seq| match seq == last {
        true => bush()[..num_nodes].to_vec(),
        false => chain(num_nodes),
    };
    let sequences: Vec<_> = (context_lens.iter().enumerate())
        .map(|(seq, &context_len)| Sequence {
            context_len,
            first: context_len,
            tree: tree(seq),
        })
        .collect();
    paging(&sequences, 16, NUM_SLOTS / 16, 3)
}

/// Makes the same steps eagerly and with graphs, in two layers of the same weights and caches.
fn assert_same(device: &Device, dtype: DType, batches: &[Paging]) -> Graphs {
    let (eager, replayed) = (Layer::new(device, dtype), Layer::new(device, dtype));
    let mut graphs = Graphs::new(device);
    for (index, paging) in batches.iter().enumerate() {
        let seed = 100 + index as u64;
        let want = eager.run(&mut Graphs::default(), &paging.clone(), seed);
        let got = replayed.run(&mut graphs, &paging.clone(), seed);
        let num_rows = paging.num_rows();
        assert!(got.0 == want.0, "{dtype:?} step {index}: {num_rows} rows");
        assert!(got.1 == want.1, "{dtype:?} step {index}: the cache");
    }
    graphs
}

#[test]
fn a_replayed_step_is_an_eager_one_bit_for_bit() {
    let Some(device) = device() else { return };
    // The same launches for other contexts, blocks, positions and trees.
    let batches = [(700, 5), (710, 5), (705, 6), (745, 7), (699, 8)]
        .map(|(context_len, num_nodes)| batch(&[context_len, 30], num_nodes));
    for dtype in DTYPES {
        let graphs = assert_same(&device, dtype, &batches);
        // The first step tells how attention is launched, and is not recorded.
        assert_eq!(graphs.len(), 1, "{dtype:?}: {graphs:?}");
    }
}

#[test]
fn steps_of_many_shapes_alternate() {
    let Some(device) = device() else { return };
    let mut batches = Vec::new();
    for round in 0..4 {
        // Contexts grow by little, and memory for numbers and partial sums by much at once.
        batches.push(batch(&[40 + round], 1));
        batches.push(batch(&[300 + round, 250 + round], 3));
        batches.push(batch(&[10 + round, 20, 30], 45));
        batches.push(batch(&[5000 + round, 900], 1));
        batches.push(batch(&[round; 11], 60));
        batches.push(batch(&[2500 + round, 2600, 2700], 64));
    }
    for dtype in DTYPES {
        let graphs = assert_same(&device, dtype, &batches);
        // 660 rows are never recorded, and all others are replayed at last.
        assert_eq!(graphs.len(), 5, "{dtype:?}: {graphs:?}");
    }
}
