//! Vectors of x86-64: AVX2, AVX-512, and AVX-512 with bfloat16.

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
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx512bf16,avx512vnni,avx2,fma")]
pub(super) unsafe fn avx512_bf16<K: Kernel>(kernel: K) {
    kernel.run::<Avx512<true>>();
}

/// # Safety
/// The processor has the features named.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn avx2<K: Kernel>(kernel: K) {
    kernel.run::<Avx2>();
}

/// `PRODUCTS`: the processor adds up products of bfloat16 pairs and int8 quads by itself.
#[derive(Clone, Copy)]
pub(crate) struct Avx512<const PRODUCTS: bool>(__m512);

// SAFETY of this block: these are only used below `avx512` and `avx512_bf16`, by whose features they are.
impl<const PRODUCTS: bool> Vector for Avx512<PRODUCTS> {
    const LANES: usize = 16;

    const PRODUCTS: bool = PRODUCTS;

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
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe {
            let low = _mm512_castps512_ps256(self.0);
            let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(self.0)));
            Avx2(_mm256_max_ps(low, high)).largest()
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
            if PRODUCTS {
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

    #[inline(always)]
    unsafe fn turn(rows: &[*const u32; 16], num_words: usize, out: *mut u32) {
        unsafe {
            for first in (0..num_words).step_by(16) {
                let count = (num_words - first).min(16);
                let mask = (0xffff_u32 >> (16 - count)) as u16;
                let mut words = [_mm512_setzero_si512(); 16];
                for (words, row) in words.iter_mut().zip(rows) {
                    *words = _mm512_maskz_loadu_epi32(mask, row.add(first).cast());
                }
                for (word, lanes) in turned(words).into_iter().take(count).enumerate() {
                    _mm512_storeu_si512(out.add((first + word) * 16).cast(), lanes);
                }
            }
        }
    }

    type Ints = __m512i;
    type Quads = __m512i;
    type SplatQuad = [__m512i; 2];
    const BIAS: u8 = if PRODUCTS { 0x80 } else { 0 };

    #[inline(always)]
    fn zero_ints() -> Self::Ints {
        unsafe { _mm512_setzero_si512() }
    }

    #[inline(always)]
    unsafe fn load_quads(data: *const i8) -> Self::Quads {
        unsafe { _mm512_loadu_si512(data.cast()) }
    }

    #[inline(always)]
    fn splat_quad(quad: [i8; 4]) -> Self::SplatQuad {
        unsafe {
            let quad = _mm512_set1_epi32(quad_bits(quad));
            match PRODUCTS {
                true => [quad; 2],
                false => Self::split(quad),
            }
        }
    }

    #[inline(always)]
    fn add_quads(sums: Self::Ints, a: Self::SplatQuad, b: Self::Quads) -> Self::Ints {
        unsafe {
            if PRODUCTS {
                return _mm512_dpbusd_epi32(sums, a[0], b);
            }
            let [even, odd] = Self::split(b);
            let sums = _mm512_add_epi32(sums, _mm512_madd_epi16(even, a[0]));
            _mm512_add_epi32(sums, _mm512_madd_epi16(odd, a[1]))
        }
    }

    #[inline(always)]
    unsafe fn store_ints(sums: Self::Ints, data: *mut i32) {
        unsafe { _mm512_storeu_si512(data.cast(), sums) }
    }
}

/// A square of 16 by 16 words, rows for columns.
///
/// # Safety
/// The processor has AVX-512.
#[inline(always)]
unsafe fn turned(rows: [__m512i; 16]) -> [__m512i; 16] {
    unsafe {
        let (mut pairs, mut quads, mut out) = (rows, rows, rows);
        for i in (0..16).step_by(2) {
            pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
            pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
        }
        // Quarter k of quads[4 * i + j] holds word 4 * k + j of the rows from 4 * i on.
        for i in (0..16).step_by(4) {
            quads[i] = _mm512_unpacklo_epi64(pairs[i], pairs[i + 2]);
            quads[i + 1] = _mm512_unpackhi_epi64(pairs[i], pairs[i + 2]);
            quads[i + 2] = _mm512_unpacklo_epi64(pairs[i + 1], pairs[i + 3]);
            quads[i + 3] = _mm512_unpackhi_epi64(pairs[i + 1], pairs[i + 3]);
        }
        for j in 0..4 {
            let even = _mm512_shuffle_i32x4::<0x88>(quads[j], quads[4 + j]);
            let odd = _mm512_shuffle_i32x4::<0xdd>(quads[j], quads[4 + j]);
            let even_below = _mm512_shuffle_i32x4::<0x88>(quads[8 + j], quads[12 + j]);
            let odd_below = _mm512_shuffle_i32x4::<0xdd>(quads[8 + j], quads[12 + j]);
            out[j] = _mm512_shuffle_i32x4::<0x88>(even, even_below);
            out[4 + j] = _mm512_shuffle_i32x4::<0x88>(odd, odd_below);
            out[8 + j] = _mm512_shuffle_i32x4::<0xdd>(even, even_below);
            out[12 + j] = _mm512_shuffle_i32x4::<0xdd>(odd, odd_below);
        }
        out
    }
}

impl<const PRODUCTS: bool> Avx512<PRODUCTS> {
    /// Every second byte as a 16-bit number, and the others: products of such pairs are added without saturation.
    #[inline(always)]
    fn split(bytes: __m512i) -> [__m512i; 2] {
        // SAFETY: as above.
        unsafe {
            let low = _mm512_slli_epi16::<8>(bytes);
            [_mm512_srai_epi16::<8>(low), _mm512_srai_epi16::<8>(bytes)]
        }
    }
}

impl Avx2 {
    /// Every second byte as a 16-bit number, and the others.
    #[inline(always)]
    fn split(bytes: __m256i) -> [__m256i; 2] {
        // SAFETY: as below.
        unsafe {
            let low = _mm256_slli_epi16::<8>(bytes);
            [_mm256_srai_epi16::<8>(low), _mm256_srai_epi16::<8>(bytes)]
        }
    }
}

#[inline(always)]
fn quad_bits(quad: [i8; 4]) -> i32 {
    i32::from_le_bytes(quad.map(|byte| byte as u8))
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
    fn max(self, other: Self) -> Self {
        Self(unsafe { _mm256_max_ps(self.0, other.0) })
    }

    #[inline(always)]
    fn largest(self) -> f32 {
        unsafe {
            let four = _mm_max_ps(
                _mm256_castps256_ps128(self.0),
                _mm256_extractf128_ps::<1>(self.0),
            );
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
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

    type Ints = __m256i;
    type Quads = __m256i;
    type SplatQuad = [__m256i; 2];
    const BIAS: u8 = 0;

    #[inline(always)]
    fn zero_ints() -> Self::Ints {
        unsafe { _mm256_setzero_si256() }
    }

    #[inline(always)]
    unsafe fn load_quads(data: *const i8) -> Self::Quads {
        unsafe { _mm256_loadu_si256(data.cast()) }
    }

    #[inline(always)]
    fn splat_quad(quad: [i8; 4]) -> Self::SplatQuad {
        unsafe { Self::split(_mm256_set1_epi32(quad_bits(quad))) }
    }

    #[inline(always)]
    fn add_quads(sums: Self::Ints, a: Self::SplatQuad, b: Self::Quads) -> Self::Ints {
        unsafe {
            let [even, odd] = Self::split(b);
            let sums = _mm256_add_epi32(sums, _mm256_madd_epi16(even, a[0]));
            _mm256_add_epi32(sums, _mm256_madd_epi16(odd, a[1]))
        }
    }

    #[inline(always)]
    unsafe fn store_ints(sums: Self::Ints, data: *mut i32) {
        unsafe { _mm256_storeu_si256(data.cast(), sums) }
    }
}
