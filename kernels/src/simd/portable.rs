//! Vectors in plain Rust.

use half::bf16;

use super::Vector;

/// Eight lanes in plain Rust: the specification, and the path of processors without a better one.
#[derive(Clone, Copy)]
pub(crate) struct Portable([f32; 8]);

impl Vector for Portable {
    const LANES: usize = 8;

    type Pairs = [[f32; 8]; 2];

    #[inline(always)]
    fn zero() -> Self {
        Self([0.0; 8])
    }

    #[inline(always)]
    fn splat(value: f32) -> Self {
        Self([value; 8])
    }

    #[inline(always)]
    fn mul_add(self, a: Self, b: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + a.0[i] * b.0[i]))
    }

    #[inline(always)]
    fn sum(self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.0;
        ((a + e) + (b + f)) + ((c + g) + (d + h))
    }

    #[inline(always)]
    fn max(self, other: Self) -> Self {
        let larger = |a, b| if a > b { a } else { b };
        Self(std::array::from_fn(|i| larger(self.0[i], other.0[i])))
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        self.0.into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    unsafe fn load(data: *const f32) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { data.cast::<[f32; 8]>().read_unaligned() })
    }

    #[inline(always)]
    unsafe fn load_bf16(data: *const bf16) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { data.cast::<[bf16; 8]>().read_unaligned() }.map(widen))
    }

    #[inline(always)]
    unsafe fn load_pairs(data: *const bf16) -> Self::Pairs {
        // SAFETY: the caller's promise.
        let pairs = unsafe { data.cast::<[[bf16; 2]; 8]>().read_unaligned() };
        [
            pairs.map(|pair| widen(pair[0])),
            pairs.map(|pair| widen(pair[1])),
        ]
    }

    #[inline(always)]
    fn splat_pair(pair: [bf16; 2]) -> Self::Pairs {
        pair.map(|value| [widen(value); 8])
    }

    #[inline(always)]
    fn add_products(self, a: Self::Pairs, b: Self::Pairs) -> Self {
        self.mul_add(Self(a[0]), Self(b[0]))
            .mul_add(Self(a[1]), Self(b[1]))
    }

    #[inline(always)]
    unsafe fn store(self, data: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { data.cast::<[f32; 8]>().write_unaligned(self.0) }
    }

    type Ints = [i32; 8];
    type Quads = [[i8; 4]; 8];
    type SplatQuad = [i8; 4];
    const BIAS: u8 = 0;

    #[inline(always)]
    fn zero_ints() -> Self::Ints {
        [0; 8]
    }

    #[inline(always)]
    unsafe fn load_quads(data: *const i8) -> Self::Quads {
        // SAFETY: the caller's promise.
        unsafe { data.cast::<Self::Quads>().read() }
    }

    #[inline(always)]
    fn splat_quad(quad: [i8; 4]) -> Self::SplatQuad {
        quad
    }

    #[inline(always)]
    fn add_quads(mut sums: Self::Ints, a: Self::SplatQuad, b: Self::Quads) -> Self::Ints {
        for (sum, b) in sums.iter_mut().zip(b) {
            for (a, b) in a.into_iter().zip(b) {
                *sum += i32::from(a) * i32::from(b);
            }
        }
        sums
    }

    #[inline(always)]
    unsafe fn store_ints(sums: Self::Ints, data: *mut i32) {
        // SAFETY: the caller's promise.
        unsafe { data.cast::<[i32; 8]>().write_unaligned(sums) }
    }
}

#[inline(always)]
fn widen(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}
