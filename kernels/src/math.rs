//! Exponential and logarithm out of fixed single-precision operations.
//!
//! The library's own differ between platforms; these give the same bits everywhere, CUDA included (where each
//! operation is written with its `__f*_rn` intrinsic), and loops over them vectorise. Polynomials: Cephes, `expf`
//! and `logf`.

const LN_2_HIGH: f32 = 0.693_359_4;
const LN_2_LOW: f32 = -2.121_944_4e-4;

/// e^x, within 2 units in the last place; inputs beyond the range of normal numbers are clamped to it.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    // Adding and taking away 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (x - n * LN_2_HIGH) - n * LN_2_LOW;
    let p = 1.987_569_1e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 0.166_666_65;
    let p = p * r + 0.5;
    let y = p * (r * r) + r + 1.0;
    // The integer stands in the last bits of the shifted number already.
    let exponent = shifted.to_bits().wrapping_sub(ROUND.to_bits());
    y * f32::from_bits(exponent.wrapping_add(127) << 23)
}

/// The natural logarithm of a positive normal number, within 2 units in the last place.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    // The mantissa in [sqrt(1/2), sqrt(2)), the exponent to match.
    let shifted = bits.wrapping_sub(0x3f35_04f3);
    let exponent = ((shifted as i32) >> 23) as f32;
    let f = f32::from_bits((shifted & 0x007f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
    let z = f * f;
    let p = 7.037_683_6e-2;
    let p = p * f - 0.115_146_1;
    let p = p * f + 0.116_769_99;
    let p = p * f - 0.124_201_41;
    let p = p * f + 0.142_493_23;
    let p = p * f - 0.166_680_58;
    let p = p * f + 0.200_007_15;
    let p = p * f - 0.249_999_94;
    let p = p * f + 0.333_333_3;
    let y = p * f * z + exponent * LN_2_LOW - 0.5 * z;
    (f + y) + exponent * LN_2_HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_and_ln_are_close_to_double_precision() {
        for step in -870..880 {
            let x = step as f32 * 0.1;
            let want = f64::from(x).exp();
            assert!((f64::from(exp(x)) / want - 1.0).abs() < 3e-7, "exp({x})");
        }
        for step in 1..4000 {
            let x = f32::from_bits(0x0080_0000 + step * 500_000);
            let want = f64::from(x).ln();
            let error = (f64::from(ln(x)) - want).abs();
            assert!(
                error < 2e-7 * want.abs().max(0.5),
                "ln({x}) = {} not {want}",
                ln(x)
            );
        }
    }

    #[test]
    fn exp_is_clamped_at_the_ends() {
        assert!(exp(f32::NEG_INFINITY) > 0.0);
        assert!(exp(1e9).is_finite());
    }
}
