//! The device's product against double precision, and against itself in other company.

use candle_core::{DType, Device, Tensor};
use half::bf16;

use super::Emulator;
use crate::linear::launches::{Args, Shape};
use crate::tests::support::{bits, matrix, wide};

/// The product on the emulated device, in float32.
fn product(emulator: &Emulator, x: &Tensor, w: &Tensor, backwards: bool) -> Tensor {
    let ((num_rows, num_inputs), num_outputs) = (x.dims2().unwrap(), w.dims()[0]);
    let shape = Shape {
        dtype: x.dtype(),
        num_rows,
        num_inputs,
        num_outputs,
        is_aligned: true,
    };
    let mut y = vec![f32::NAN; num_rows * num_outputs];
    let mut partials = vec![f32::NAN; shape.num_partials()];
    let mut arrived = vec![0_u32; shape.num_tiles()];
    let mut run = |x: *const u8, w: *const u8| {
        let args = Args {
            x: x as u64,
            w: w as u64,
            y: y.as_mut_ptr() as u64,
            partials: partials.as_mut_ptr() as u64,
            arrived: arrived.as_mut_ptr() as u64,
            x_stride: num_inputs as i64,
            num_rows: num_rows as u32,
            num_inputs: num_inputs as u32,
            num_outputs: num_outputs as u32,
            y_is_float: 1,
        };
        emulator.run(shape.launch().unwrap(), &args, backwards);
    };
    let flat = |tensor: &Tensor| tensor.flatten_all().unwrap();
    match x.dtype() {
        DType::F32 => {
            let (x, w) = (flat(x).to_vec1::<f32>(), flat(w).to_vec1::<f32>());
            run(x.unwrap().as_ptr().cast(), w.unwrap().as_ptr().cast());
        }
        _ => {
            let (x, w) = (flat(x).to_vec1::<bf16>(), flat(w).to_vec1::<bf16>());
            run(x.unwrap().as_ptr().cast(), w.unwrap().as_ptr().cast());
        }
    }
    assert!(arrived.iter().all(|&arrived| arrived == 0));
    Tensor::from_vec(y, (num_rows, num_outputs), &Device::Cpu).unwrap()
}

/// Rows, inputs, outputs.
const SHAPES: [(usize, usize, usize); 6] = [
    (3, 1, 1),
    (9, 173, 20),
    (20, 64, 33),
    (12, 1032, 130),
    (66, 72, 140),
    (3, 2304, 10),
];

#[test]
fn close_to_double_precision() {
    let Some(emulator) = Emulator::new("linear") else {
        return;
    };
    for dtype in [DType::F32, DType::BF16] {
        for (rows, width, outputs) in SHAPES {
            let (x, w) = (
                matrix(rows, width, 1, dtype),
                matrix(outputs, width, 2, dtype),
            );
            for backwards in [false, true] {
                let y = wide(&product(&emulator, &x, &w, backwards));
                for (x, y) in wide(&x).iter().zip(&y) {
                    for (w, y) in wide(&w).iter().zip(y) {
                        let exact: f64 = x.iter().zip(w).map(|(x, w)| x * w).sum();
                        let size: f64 = x.iter().zip(w).map(|(x, w)| (x * w).abs()).sum();
                        let bound = 1e-6 * size + 1e-30;
                        assert!(
                            (y - exact).abs() <= bound,
                            "{dtype:?} {width}: {y} not {exact}"
                        );
                    }
                }
            }
        }
    }
}

#[test]
fn a_row_is_the_same_in_any_company_and_what_is_no_number_stays_in_it() {
    let Some(emulator) = Emulator::new("linear") else {
        return;
    };
    for (rows, width, outputs) in [(66, 1032, 140), (20, 173, 9)] {
        let x = matrix(rows, width, 1, DType::BF16);
        let w = matrix(outputs, width, 2, DType::BF16);
        let want = bits(&product(&emulator, &x, &w, false));
        for size in [1, 9, 17, 33, 64] {
            for first in (0..rows.saturating_sub(size)).step_by(31) {
                let some = x.narrow(0, first, size).unwrap();
                let got = bits(&product(&emulator, &some, &w, true));
                assert!(got == want[first..first + size], "{size} rows from {first}");
            }
        }
        let bad = Tensor::full(f32::NAN, (1, width), &Device::Cpu).unwrap();
        let spoilt = [
            x.narrow(0, 0, 3).unwrap(),
            bad.to_dtype(DType::BF16).unwrap(),
        ];
        let got = bits(&product(
            &emulator,
            &Tensor::cat(&spoilt, 0).unwrap(),
            &w,
            false,
        ));
        assert!(got[..3] == want[..3]);
        assert!(got[3].iter().all(|&bits| f32::from_bits(bits).is_nan()));
    }
}
