//! The matrix product.

use candle_core::DType;
use foretoken_kernels::Linear;

use crate::support::{DTYPES, bits, matrix, same_in_any_company, unit_roundoff, wide, written};

#[test]
fn linear_is_a_matrix_product_row_by_row() {
    for dtype in DTYPES {
        for (rows, width, outputs) in [
            (40, 1, 1),
            (40, 7, 3),
            (40, 64, 33),
            (65, 173, 90),
            (35, 256, 1030),
        ] {
            let (x, w) = (
                matrix(rows, width, 1, dtype),
                matrix(outputs, width, 2, dtype),
            );
            let linear = Linear::pack(&w).unwrap();
            let y = wide(&written((rows, outputs), DType::F32, |y| {
                linear.forward(&x, y)
            }));
            let (xs, ws) = (wide(&x), wide(&w));
            for (x, y) in xs.iter().zip(&y) {
                for (w, y) in ws.iter().zip(y) {
                    let exact: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                    let size: f64 = x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum();
                    // Each product and each of at most `width` additions rounds once. Numbers below the least normal
                    // one, 1.2e-38, may count as zero; the largest factor is 60.
                    let bound =
                        (width + 2) as f64 * (unit_roundoff(DType::F32) * size + 60.0 * 1.2e-38);
                    assert!(
                        (y - exact).abs() <= bound,
                        "{dtype:?} {width}: {y} not {exact}, bound {bound}"
                    );
                }
            }
            same_in_any_company("linear", rows, |start, len| {
                written((len, outputs), dtype, |y| {
                    linear.forward(&x.narrow(0, start, len)?, y)
                })
            });
        }
    }
}

#[test]
fn linear_gives_its_rows_as_they_were() {
    for dtype in DTYPES {
        let w = matrix(35, 9, 1, dtype);
        let linear = Linear::pack(&w).unwrap();
        let rows = written((5, 9), dtype, |y| linear.rows(&[34, 0, 16, 15, 0], y));
        let (w, rows) = (bits(&w), bits(&rows));
        for (row, index) in rows.iter().zip([34, 0, 16, 15, 0]) {
            assert_eq!(row, &w[index]);
        }
        let y = matrix(1, 9, 1, dtype);
        assert!(linear.rows(&[35], &y).is_err());
    }
}

#[test]
fn linear_splits_large_outputs_over_threads() {
    let x = matrix(40, 256, 1, DType::BF16);
    let linear = Linear::pack(&matrix(2050, 256, 2, DType::BF16)).unwrap();
    same_in_any_company("linear", 40, |start, len| {
        written((len, 2050), DType::F32, |y| {
            linear.forward(&x.narrow(0, start, len)?, y)
        })
    });
}
