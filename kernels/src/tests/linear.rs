//! The matrix product.

use candle_core::{DType, Tensor};

use super::support::{
    DTYPES, bits, matrix, same_in_any_company, unit_roundoff, wide, with_threads, written,
};
use crate::Linear;
use crate::simd::on_every_kind;

/// Rows, inputs, outputs: less than a vector, not a multiple of one, several blocks.
const SHAPES: [(usize, usize, usize); 5] = [
    (40, 1, 1),
    (40, 7, 3),
    (40, 64, 33),
    (65, 173, 90),
    (35, 256, 1030),
];

fn product(linear: &Linear, x: &Tensor, dtype: DType, num_outputs: usize) -> Tensor {
    written((x.dims()[0], num_outputs), dtype, |y| linear.forward(x, y))
}

#[test]
fn linear_is_a_matrix_product() {
    on_every_kind(|kind| {
        for dtype in DTYPES {
            for (rows, width, outputs) in SHAPES {
                let (x, w) = (
                    matrix(rows, width, 1, dtype),
                    matrix(outputs, width, 2, dtype),
                );
                let linear = Linear::pack(&w).unwrap();
                let y = wide(&product(&linear, &x, DType::F32, outputs));
                let (xs, ws) = (wide(&x), wide(&w));
                for (x, y) in xs.iter().zip(&y) {
                    for (w, y) in ws.iter().zip(y) {
                        let exact: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                        let size: f64 = x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum();
                        // Each product and each of at most `width` additions rounds once. Numbers below the least
                        // normal one, 1.2e-38, may count as zero; the largest factor is 60.
                        let rounding = unit_roundoff(DType::F32) * size + 60.0 * 1.2e-38;
                        let bound = (width + 2) as f64 * rounding;
                        assert!(
                            (y - exact).abs() <= bound,
                            "{kind} {dtype:?} {width}: {y} not {exact}, bound {bound}"
                        );
                    }
                }
            }
        }
    });
}

#[test]
fn int8_is_as_close_as_its_steps() {
    for dtype in DTYPES {
        for (rows, width, outputs) in SHAPES {
            let (x, w) = (
                matrix(rows, width, 1, dtype),
                matrix(outputs, width, 2, dtype),
            );
            let linear = Linear::quantize(&w).unwrap();
            let y = wide(&product(&linear, &x, DType::F32, outputs));
            let (xs, ws) = (wide(&x), wide(&w));
            let largest = |row: &[f64]| {
                row.iter()
                    .fold(0.0_f64, |most, value| most.max(value.abs()))
            };
            for (x, y) in xs.iter().zip(&y) {
                for (w, y) in ws.iter().zip(y) {
                    let exact: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                    // Every factor is off by half a step at most, and a little for the float arithmetic around it.
                    let (most_x, most_w) = (largest(x), largest(w));
                    let (half_x, half_w) = (most_x / 254.0, most_w / 254.0);
                    let each = half_x * most_w + half_w * most_x + half_x * half_w;
                    let bound = 1.001 * width as f64 * each + 1e-30;
                    assert!(
                        (y - exact).abs() <= bound,
                        "{dtype:?} {width}: {y} not {exact}"
                    );
                }
            }
        }
    }
}

#[test]
fn int8_is_exact_so_that_every_kind_of_vector_gives_the_same_bits() {
    for dtype in DTYPES {
        for (rows, width, outputs) in SHAPES {
            let x = matrix(rows, width, 1, dtype);
            let linear = Linear::quantize(&matrix(outputs, width, 2, dtype)).unwrap();
            let mut first = None;
            on_every_kind(|kind| {
                let y = bits(&product(&linear, &x, dtype, outputs));
                assert!(
                    *first.get_or_insert_with(|| y.clone()) == y,
                    "{kind} {width}"
                );
            });
        }
    }
}

#[test]
fn a_row_is_the_same_in_any_company() {
    for dtype in DTYPES {
        for quantized in [false, true] {
            for (rows, width, outputs) in SHAPES.into_iter().chain([(200, 256, 2050)]) {
                let (x, w) = (
                    matrix(rows, width, 1, dtype),
                    matrix(outputs, width, 2, dtype),
                );
                let linear = match quantized {
                    false => Linear::pack(&w).unwrap(),
                    true => Linear::quantize(&w).unwrap(),
                };
                same_in_any_company("linear", rows, |start, len| {
                    product(&linear, &x.narrow(0, start, len).unwrap(), dtype, outputs)
                });
                assert_eq!(
                    product(&linear, &x.narrow(0, 0, 0).unwrap(), dtype, outputs).dims()[0],
                    0
                );
            }
        }
    }
}

#[test]
fn every_kind_of_vector_gives_a_row_the_same_bits_in_tiles_of_any_shape() {
    on_every_kind(|kind| {
        for dtype in DTYPES {
            let (x, w) = (matrix(40, 173, 1, dtype), matrix(90, 173, 2, dtype));
            for linear in [Linear::pack(&w).unwrap(), Linear::quantize(&w).unwrap()] {
                let whole = bits(&product(&linear, &x, dtype, 90));
                for size in [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 33] {
                    let some = x.narrow(0, 3, size).unwrap();
                    let some = bits(&product(&linear, &some, dtype, 90));
                    assert!(some == whole[3..3 + size], "{kind} {dtype:?}: {size} rows");
                }
            }
        }
    });
}

#[test]
fn what_is_no_number_stays_in_its_row() {
    for dtype in DTYPES {
        let clean = matrix(3, 64, 1, dtype);
        let spoilt = |value: f32| {
            let bad = Tensor::full(value, (1, 64), clean.device()).unwrap();
            let bad = bad.to_dtype(dtype).unwrap();
            Tensor::cat(
                &[
                    &clean.narrow(0, 0, 1).unwrap(),
                    &bad,
                    &clean.narrow(0, 2, 1).unwrap(),
                ],
                0,
            )
        };
        let w = matrix(33, 64, 2, dtype);
        for linear in [Linear::pack(&w).unwrap(), Linear::quantize(&w).unwrap()] {
            let want = bits(&product(&linear, &clean, dtype, 33));
            for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0] {
                let got = bits(&product(&linear, &spoilt(value).unwrap(), dtype, 33));
                assert_eq!((&got[0], &got[2]), (&want[0], &want[2]), "{value}");
            }
        }
    }
}

#[test]
fn linear_gives_its_rows_as_they_were() {
    for dtype in DTYPES {
        let w = matrix(35, 9, 1, dtype);
        let linear = Linear::pack(&w).unwrap();
        let rows = written((5, 9), dtype, |y| linear.rows(&[34, 0, 16, 15, 0], y));
        let (exact, rows) = (bits(&w), bits(&rows));
        for (row, index) in rows.iter().zip([34, 0, 16, 15, 0]) {
            assert_eq!(row, &exact[index]);
        }
        let y = matrix(1, 9, 1, dtype);
        assert!(linear.rows(&[35], &y).is_err());

        let rounded = Linear::quantize(&w).unwrap();
        let rows = wide(&written((5, 9), dtype, |y| {
            rounded.rows(&[34, 0, 16, 15, 0], y)
        }));
        let exact = wide(&w);
        for (row, index) in rows.iter().zip([34, 0, 16, 15, 0]) {
            let largest = exact[index]
                .iter()
                .fold(0.0_f64, |most, value| most.max(value.abs()));
            for (got, want) in row.iter().zip(&exact[index]) {
                let bound = largest / 254.0 + 1.1 * unit_roundoff(dtype) * largest + 1e-30;
                assert!((got - want).abs() <= bound, "{got} not {want}");
            }
        }
    }
}

#[test]
fn int8_refuses_what_its_sums_cannot_hold() {
    let wide = Tensor::zeros((1, 65_537), DType::F32, &candle_core::Device::Cpu).unwrap();
    let error = Linear::quantize(&wide).unwrap_err().to_string();
    assert!(error.contains("65537"), "{error}");
    let ones = Tensor::ones((1, 65_536), DType::F32, &candle_core::Device::Cpu).unwrap();
    on_every_kind(|kind| {
        let y = wide_one(&product(
            &Linear::quantize(&ones).unwrap(),
            &ones,
            DType::F32,
            1,
        ));
        assert!((y / 65_536.0 - 1.0).abs() < 1e-6, "{kind}: {y}");
    });
}

fn wide_one(y: &Tensor) -> f64 {
    wide(y)[0][0]
}

#[test]
fn large_outputs_are_split_over_threads() {
    let x = matrix(40, 256, 1, DType::BF16);
    for linear in [Linear::pack, Linear::quantize]
        .map(|make| make(&matrix(2050, 256, 2, DType::BF16)).unwrap())
    {
        let alone = with_threads(1, || bits(&product(&linear, &x, DType::F32, 2050)));
        let shared = with_threads(2, || bits(&product(&linear, &x, DType::F32, 2050)));
        assert!(alone == shared);
    }
}
