// The arithmetic of src/sampling/ and the logarithm of src/math.rs, operation by operation, so that both give the same bits: the compiler
// may not contract what is written with intrinsics.
#pragma once

#include <math.cuh>

// A place in the order of candidates: by the score, highest first, then by the token.
using Place = uint64_t;

constexpr Place LAST = ~0ull;

__device__ inline Place place(float score, uint32_t token) {
    const uint32_t bits = __float_as_uint(__fadd_rn(score, 0.0f));  // minus zero is zero
    const uint32_t descending = bits >> 31 ? bits : ~bits & 0x7fffffffu;
    return static_cast<Place>(descending) << 32 | token;
}

__device__ inline uint32_t token_of(Place place) {
    return static_cast<uint32_t>(place);
}

__device__ inline float score_of(Place place) {
    const uint32_t descending = static_cast<uint32_t>(place >> 32);
    return __uint_as_float(descending >> 31 ? descending : ~descending & 0x7fffffffu);
}

// a * b + c, rounded twice.
__device__ inline float times_plus(float a, float b, float c) {
    return __fadd_rn(__fmul_rn(a, b), c);
}

__device__ inline float logarithm(float x) {
    const uint32_t shifted = __float_as_uint(x) - 0x3f3504f3u;
    const float exponent = __int2float_rn(static_cast<int32_t>(shifted) >> 23);
    const float f = __fsub_rn(__uint_as_float((shifted & 0x007fffffu) + 0x3f3504f3u), 1.0f);
    const float z = __fmul_rn(f, f);
    float p = 7.0376836e-2f;
    p = times_plus(p, f, -0.1151461f);
    p = times_plus(p, f, 0.11676999f);
    p = times_plus(p, f, -0.12420141f);
    p = times_plus(p, f, 0.14249323f);
    p = times_plus(p, f, -0.16668058f);
    p = times_plus(p, f, 0.20000715f);
    p = times_plus(p, f, -0.24999994f);
    p = times_plus(p, f, 0.3333333f);
    float y = __fadd_rn(__fmul_rn(__fmul_rn(p, f), z), __fmul_rn(exponent, -2.1219444e-4f));
    y = __fsub_rn(y, __fmul_rn(0.5f, z));
    return __fadd_rn(__fadd_rn(f, y), __fmul_rn(exponent, 0.6933594f));
}

struct Bits {
    uint32_t lanes[4];
};

// Philox4x32-10.
__device__ inline Bits philox(uint32_t c0, uint32_t c1, uint32_t c2, uint32_t c3, uint32_t k0, uint32_t k1) {
    // Not unrolled as a whole: the compiler would keep every round's keys for the next group, more than there are registers.
#pragma unroll 5
    for (int round = 0; round < 10; ++round) {
        const uint32_t a_high = __umulhi(c0, 0xd2511f53u), a_low = c0 * 0xd2511f53u;
        const uint32_t b_high = __umulhi(c2, 0xcd9e8d57u), b_low = c2 * 0xcd9e8d57u;
        c0 = b_high ^ c1 ^ k0;
        c1 = b_low;
        c2 = a_high ^ c3 ^ k1;
        c3 = a_low;
        k0 += 0x9e3779b9u;
        k1 += 0xbb67ae85u;
    }
    return {{c0, c1, c2, c3}};
}

// The largest noise.
constexpr float MOST_NOISE = 22.87386f;

// -ln(-ln u) of a uniform u with these bits.
__device__ inline float gumbel(uint32_t bits) {
    constexpr float SCALE = 1.0f / 4294967296.0f;
    if (bits >= 1u << 31) {
        const float v = __fmul_rn(__fadd_rn(__uint2float_rn(~bits), 0.5f), SCALE);
        return -logarithm(-logarithm(v));
    }
    const float v = __fmul_rn(__fadd_rn(__uint2float_rn(bits), 0.5f), SCALE);
    const float w = __fsub_rn(1.0f, v);
    const float e = w == 1.0f ? v : __fmul_rn(-logarithm(w), __fdiv_rn(v, __fsub_rn(1.0f, w)));
    return -logarithm(e);
}
