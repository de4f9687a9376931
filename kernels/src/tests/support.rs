//! Nasty inputs, and comparisons of bits.

use candle_core::{DType, Device, Result, Tensor};

pub(crate) const DTYPES: [DType; 2] = [DType::F32, DType::BF16];

/// Numbers of many magnitudes, outliers, zeros and denormals among them, the same everywhere.
pub(crate) fn nasty(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) + 1;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as u32
    };
    (0..len)
        .map(|_| {
            let unit = next() as f32 / (1u32 << 30) as f32 - 1.0;
            match next() % 23 {
                0 => unit * 60.0,
                1 => unit * 1e-20,
                2 => unit * 1e-39,
                3 => 0.0,
                _ => unit,
            }
        })
        .collect()
}

pub(crate) fn matrix(rows: usize, width: usize, seed: u64, dtype: DType) -> Tensor {
    let values = nasty(rows * width, seed);
    Tensor::from_vec(values, (rows, width), &Device::Cpu)
        .unwrap()
        .to_dtype(dtype)
        .unwrap()
}

/// What an op writes into a buffer of `[rows, width]`.
pub(crate) fn written(
    (rows, width): (usize, usize),
    dtype: DType,
    op: impl FnOnce(&Tensor) -> Result<()>,
) -> Tensor {
    let y = Tensor::zeros((rows, width), dtype, &Device::Cpu).unwrap();
    op(&y).unwrap();
    y
}

pub(crate) fn wide(tensor: &Tensor) -> Vec<Vec<f64>> {
    let rows: Vec<Vec<f32>> = tensor.to_dtype(DType::F32).unwrap().to_vec2().unwrap();
    rows.into_iter()
        .map(|row| row.into_iter().map(f64::from).collect())
        .collect()
}

pub(crate) fn bits(tensor: &Tensor) -> Vec<Vec<u32>> {
    let rows: Vec<Vec<f32>> = tensor.to_dtype(DType::F32).unwrap().to_vec2().unwrap();
    rows.into_iter()
        .map(|row| row.into_iter().map(f32::to_bits).collect())
        .collect()
}

/// One rounding to the stored type, relative to the result.
pub(crate) fn unit_roundoff(dtype: DType) -> f64 {
    match dtype {
        DType::BF16 => 2f64.powi(-8),
        _ => 2f64.powi(-24),
    }
}

pub(crate) fn with_threads<T: Send>(threads: usize, work: impl FnOnce() -> T + Send) -> T {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .unwrap()
        .install(work)
}

/// The op on all rows, on 1 and 2 threads, and on every window of some sizes, has the same bits.
pub(crate) fn same_in_any_company(
    name: &str,
    rows: usize,
    op: impl Fn(usize, usize) -> Tensor + Sync,
) {
    let whole = with_threads(1, || bits(&op(0, rows)));
    assert!(
        with_threads(2, || bits(&op(0, rows))) == whole,
        "{name}: two threads"
    );
    for size in [1, 2, 3, 5, 7, 16, 33, 64] {
        for start in (0..rows.saturating_sub(size - 1)).step_by(5 + size / 2) {
            assert!(
                bits(&op(start, size)) == whole[start..start + size],
                "{name}: rows {start}..{}",
                start + size
            );
        }
    }
}
