//! Vectors of 64-bit ARM.

use std::arch::aarch64::*;

use half::bf16;

use super::{Kernel, Vector};

/// # Safety
/// The processor has NEON.
#[target_feature(enable = "neon")]
pub(super) unsafe fn neon<K: Kernel>(kernel: K) {
    kernel.run::<Neon>();
}

#[derive(Clone, Copy)]
pub(crate) struct Neon(float32x4_t);

// SAFETY of this block: `Neon` is only used below `neon`.
impl Vector for Neon {
    const LANES: usize = 4;

    type Pairs = uint32x4_t;

    #[inline(always)]
    fn zero() -> Self {
        Self::splat(0.0)
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self(unsafe { vdupq_n_f32(value) })
    }

    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        Self(unsafe { vfmaq_f32(self.0, a.0, b.0) })
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        unsafe { vaddvq_f32(self.0) }
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        // The maximum instructions would give NaN, or the number beside it.
        Self(unsafe { vbslq_f32(vcgtq_f32(self.0, other.0), self.0, other.0) })
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe { vmaxvq_f32(self.0) }
    }

    #[inline(always)]
    unsafe fn load(data: *const f32) -> Self {
        Self(unsafe { vld1q_f32(data) })
    }

    #[inline(always)]
    unsafe fn load_bf16(data: *const bf16) -> Self {
        unsafe {
            let wide = vshll_n_u16::<16>(vld1_u16(data.cast()));
            Self(vreinterpretq_f32_u32(wide))
        }
    }

    #[inline(always)]
    unsafe fn load_pairs(data: *const bf16) -> Self::Pairs {
        unsafe { vreinterpretq_u32_u16(vld1q_u16(data.cast())) }
    }

    #[inline(always)]
    fn splat_pair([first, second]: [bf16; 2]) -> Self::Pairs {
        let bits = u32::from(second.to_bits()) << 16 | u32::from(first.to_bits());
        unsafe { vdupq_n_u32(bits) }
    }

    #[inline(always)]
    fn add_products(self, a: Self::Pairs, b: Self::Pairs) -> Self {
        unsafe {
            let first = |pairs| Self(vreinterpretq_f32_u32(vshlq_n_u32::<16>(pairs)));
            let mask = vdupq_n_u32(0xffff_0000);
            let second = |pairs| Self(vreinterpretq_f32_u32(vandq_u32(pairs, mask)));
            self.mul_add(first(a), first(b))
                .mul_add(second(a), second(b))
        }
    }

    #[inline(always)]
    unsafe fn store(self, data: *mut f32) {
        unsafe { vst1q_f32(data, self.0) }
    }

    type Ints = int32x4_t;
    type Quads = int8x16_t;
    type SplatQuad = int8x16_t;
    const BIAS: u8 = 0;

    #[inline(always)]
    fn zero_ints() -> Self::Ints {
        unsafe { vdupq_n_s32(0) }
    }

    #[inline(always)]
    unsafe fn load_quads(data: *const i8) -> Self::Quads {
        unsafe { vld1q_s8(data) }
    }

    #[inline(always)]
    fn splat_quad(quad: [i8; 4]) -> Self::SplatQuad {
        let bits = u32::from_ne_bytes(quad.map(|byte| byte as u8));
        unsafe { vreinterpretq_s8_u32(vdupq_n_u32(bits)) }
    }

    #[inline(always)]
    fn add_quads(sums: Self::Ints, a: Self::SplatQuad, b: Self::Quads) -> Self::Ints {
        unsafe {
            // A product of two bytes fills 16 bits, so pairs are added in 32.
            let low = vpaddlq_s16(vmull_s8(vget_low_s8(a), vget_low_s8(b)));
            let high = vpaddlq_s16(vmull_high_s8(a, b));
            vaddq_s32(sums, vpaddq_s32(low, high))
        }
    }

    #[inline(always)]
    unsafe fn store_ints(sums: Self::Ints, data: *mut i32) {
        unsafe { vst1q_s32(data, sums) }
    }
}
