//! One code path per process: vectors of the widest kind that this processor has, chosen once.
//!
//! Sums differ between kinds of vector, so the choice may never depend on anything but the processor.

#![expect(
    unsafe_code,
    reason = "vector instructions; each is reached only after its processor flag was seen"
)]

use std::sync::OnceLock;

use half::bf16;

/// A vector of `f32` lanes. `mul_add` may or may not round between multiplication and addition, but always the same.
pub(crate) trait Vector: Copy {
    const LANES: usize;

    /// Two bfloat16 numbers in each lane.
    type Pairs: Copy;

    fn zero() -> Self;
    fn splat(value: f32) -> Self;
    /// `self + a * b`
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// The lanes' sum, in one fixed order.
    fn sum(self) -> f32;
    /// # Safety
    /// `LANES` elements from `data` on are readable.
    unsafe fn load(data: *const f32) -> Self;
    /// # Safety
    /// `LANES` elements from `data` on are readable.
    unsafe fn load_bf16(data: *const bf16) -> Self;
    /// # Safety
    /// `2 * LANES` elements from `data` on are readable.
    unsafe fn load_pairs(data: *const bf16) -> Self::Pairs;
    /// The same pair in every lane.
    fn splat_pair(pair: [bf16; 2]) -> Self::Pairs;
    /// `self + a.0 * b.0 + a.1 * b.1`, in an order and with roundings that are the processor's, but always the same.
    fn add_products(self, a: Self::Pairs, b: Self::Pairs) -> Self;
    /// # Safety
    /// `LANES` elements from `data` on are writable.
    unsafe fn store(self, data: *mut f32);
}

/// Work that is compiled once for each kind of vector. `run` has to be `#[inline(always)]`.
pub(crate) trait Kernel {
    fn run<V: Vector>(self);
}

/// Runs a kernel with this processor's vectors.
pub(crate) fn dispatch(kernel: impl Kernel) {
    match isa() {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` saw the flags.
        Isa::Avx512Bf16 => unsafe { x86::avx512_bf16(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` saw the flags.
        Isa::Avx512 => unsafe { x86::avx512(kernel) },
        #[cfg(target_arch = "x86_64")]
        // SAFETY: `isa` saw the flags.
        Isa::Avx2 => unsafe { x86::avx2(kernel) },
        Isa::Portable => kernel.run::<Portable>(),
    }
}

#[derive(Clone, Copy)]
enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16,
}

fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            let avx512 = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq");
            if avx512 && is_x86_feature_detected!("avx512bf16") {
                return Isa::Avx512Bf16;
            }
            if avx512 {
                return Isa::Avx512;
            }
            if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
                return Isa::Avx2;
            }
        }
        Isa::Portable
    })
}

/// Most lanes that a vector has.
pub(crate) const MAX_LANES: usize = 16;

/// The last, partial vector of a row, zeros behind.
#[inline(always)]
pub(crate) fn padded<T: Copy + Default>(tail: &[T]) -> [T; MAX_LANES] {
    let mut lanes = [T::default(); MAX_LANES];
    lanes[..tail.len()].copy_from_slice(tail);
    lanes
}

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
}

#[inline(always)]
fn widen(value: bf16) -> f32 {
    f32::from_bits(u32::from(value.to_bits()) << 16)
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;
    use std::mem::transmute;

    use half::bf16;

    use super::{Kernel, Vector};

    /// # Safety
    /// The processor has the features named.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
    pub(super) unsafe fn avx512<K: Kernel>(kernel: K) {
        kernel.run::<Avx512<false>>();
    }

    /// # Safety
    /// The processor has the features named.
    #[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx2,fma")]
    pub(super) unsafe fn avx512_bf16<K: Kernel>(kernel: K) {
        kernel.run::<Avx512<true>>();
    }

    /// # Safety
    /// The processor has the features named.
    #[target_feature(enable = "avx2,fma")]
    pub(super) unsafe fn avx2<K: Kernel>(kernel: K) {
        kernel.run::<Avx2>();
    }

    /// `BF16`: the processor multiplies pairs of bfloat16 numbers by itself.
    #[derive(Clone, Copy)]
    pub(crate) struct Avx512<const BF16: bool>(__m512);

    // SAFETY of this block: these are only used below `avx512` and `avx512_bf16`, by whose features they are.
    impl<const BF16: bool> Vector for Avx512<BF16> {
        const LANES: usize = 16;

        type Pairs = __m512i;

        #[inline(always)]
        fn zero() -> Self {
            Self(unsafe { _mm512_setzero_ps() })
        }

        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self(unsafe { _mm512_set1_ps(value) })
        }

        #[inline(always)]
        fn mul_add(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm512_fmadd_ps(a.0, b.0, self.0) })
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            unsafe {
                let low = _mm512_castps512_ps256(self.0);
                let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0)));
                Avx2(_mm256_add_ps(low, high)).sum()
            }
        }

        #[inline(always)]
        unsafe fn load(data: *const f32) -> Self {
            Self(unsafe { _mm512_loadu_ps(data) })
        }

        #[inline(always)]
        unsafe fn load_bf16(data: *const bf16) -> Self {
            unsafe {
                let wide = _mm512_cvtepu16_epi32(_mm256_loadu_si256(data.cast()));
                Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(wide)))
            }
        }

        #[inline(always)]
        unsafe fn load_pairs(data: *const bf16) -> Self::Pairs {
            unsafe { _mm512_loadu_si512(data.cast()) }
        }

        #[inline(always)]
        fn splat_pair(pair: [bf16; 2]) -> Self::Pairs {
            unsafe { _mm512_set1_epi32(bits(pair)) }
        }

        #[inline(always)]
        fn add_products(self, a: Self::Pairs, b: Self::Pairs) -> Self {
            unsafe {
                if BF16 {
                    // Vectors of bfloat16 have a type of their own, of the same bits.
                    let bf16s = |pairs| transmute::<__m512i, __m512bh>(pairs);
                    return Self(_mm512_dpbf16_ps(self.0, bf16s(a), bf16s(b)));
                }
                let first = |pairs| Self(_mm512_castsi512_ps(_mm512_slli_epi32::<16>(pairs)));
                let mask = _mm512_set1_epi32(SECOND);
                let second = |pairs| Self(_mm512_castsi512_ps(_mm512_and_si512(pairs, mask)));
                self.mul_add(first(a), first(b))
                    .mul_add(second(a), second(b))
            }
        }

        #[inline(always)]
        unsafe fn store(self, data: *mut f32) {
            unsafe { _mm512_storeu_ps(data, self.0) }
        }
    }

    /// The bits of a pair's second number.
    const SECOND: i32 = 0xffff_0000_u32 as i32;

    #[inline(always)]
    fn bits([first, second]: [bf16; 2]) -> i32 {
        (u32::from(second.to_bits()) << 16 | u32::from(first.to_bits())) as i32
    }

    #[derive(Clone, Copy)]
    pub(crate) struct Avx2(__m256);

    // SAFETY of this block: `Avx2` is only used below `avx2` and `avx512`.
    impl Vector for Avx2 {
        const LANES: usize = 8;

        type Pairs = __m256i;

        #[inline(always)]
        fn zero() -> Self {
            Self(unsafe { _mm256_setzero_ps() })
        }

        #[inline(always)]
        fn splat(value: f32) -> Self {
            Self(unsafe { _mm256_set1_ps(value) })
        }

        #[inline(always)]
        fn mul_add(self, a: Self, b: Self) -> Self {
            Self(unsafe { _mm256_fmadd_ps(a.0, b.0, self.0) })
        }

        #[inline(always)]
        fn sum(self) -> f32 {
            unsafe {
                let four = _mm_add_ps(
                    _mm256_castps256_ps128(self.0),
                    _mm256_extractf128_ps::<1>(self.0),
                );
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }

        #[inline(always)]
        unsafe fn load(data: *const f32) -> Self {
            Self(unsafe { _mm256_loadu_ps(data) })
        }

        #[inline(always)]
        unsafe fn load_bf16(data: *const bf16) -> Self {
            unsafe {
                let wide = _mm256_cvtepu16_epi32(_mm_loadu_si128(data.cast()));
                Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(wide)))
            }
        }

        #[inline(always)]
        unsafe fn load_pairs(data: *const bf16) -> Self::Pairs {
            unsafe { _mm256_loadu_si256(data.cast()) }
        }

        #[inline(always)]
        fn splat_pair(pair: [bf16; 2]) -> Self::Pairs {
            unsafe { _mm256_set1_epi32(bits(pair)) }
        }

        #[inline(always)]
        fn add_products(self, a: Self::Pairs, b: Self::Pairs) -> Self {
            unsafe {
                let first = |pairs| Self(_mm256_castsi256_ps(_mm256_slli_epi32::<16>(pairs)));
                let mask = _mm256_set1_epi32(SECOND);
                let second = |pairs| Self(_mm256_castsi256_ps(_mm256_and_si256(pairs, mask)));
                self.mul_add(first(a), first(b))
                    .mul_add(second(a), second(b))
            }
        }

        #[inline(always)]
        unsafe fn store(self, data: *mut f32) {
            unsafe { _mm256_storeu_ps(data, self.0) }
        }
    }
}
