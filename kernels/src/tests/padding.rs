//! Rows that only fill a step up.

use candle_core::{DType, Tensor};

use super::attention::{attend, batch};
use super::support::{DTYPES, bits, matrix, written};
use crate::{Linear, Paging, rotate, write_kv};

/// A step of one layer in buffers with room for more rows, in which something lies: what its rows get, and the cache.
fn step(paging: &Paging, num_rows: usize, dtype: DType) -> (Vec<Vec<u32>>, Vec<Vec<u32>>) {
    let (head_dim, heads, kv_heads) = (24, 4, 2);
    let (q_width, width) = (heads * head_dim, (heads + 2 * kv_heads) * head_dim);
    let cache = matrix(1600, 2 * kv_heads * head_dim, 8, dtype);
    let (cos, sin) = (
        matrix(1100, 12, 3, DType::F32),
        matrix(1100, 12, 4, DType::F32),
    );
    let weight = Linear::pack(&matrix(width, 70, 5, dtype)).unwrap();
    let spoilt = Tensor::full(f32::NAN, (512, 70), cos.device()).unwrap();
    let spoilt = spoilt.to_dtype(dtype).unwrap();
    spoilt
        .slice_set(&matrix(num_rows, 70, 7, dtype), 0, 0)
        .unwrap();
    let x = spoilt.narrow(0, 0, paging.num_rows()).unwrap();
    let qkv = written((paging.num_rows(), width), dtype, |y| weight.forward(&x, y));
    rotate(&qkv, &cos, &sin, paging, heads + kv_heads).unwrap();
    let kv = qkv.narrow(1, q_width, width - q_width).unwrap();
    write_kv(&cache, &kv, paging).unwrap();
    let q = qkv.narrow(1, 0, q_width).unwrap();
    let y = attend(&q, &cache, paging, (head_dim, heads, kv_heads));
    (bits(&y.narrow(0, 0, num_rows).unwrap()), bits(&cache))
}

#[test]
fn rows_that_fill_a_step_up_change_no_bit_of_the_others_nor_of_the_cache() {
    let paging = batch(4);
    let num_rows = paging.num_rows();
    for dtype in DTYPES {
        let want = step(&paging, num_rows, dtype);
        for more in [1, 7, 200] {
            let got = step(&paging.padded(num_rows + more), num_rows, dtype);
            assert!(got == want, "{more} more in {dtype:?}");
        }
    }
}
