// The exponential of kernels/src/math.rs, operation by operation, so that it has the same bits. The intrinsics keep the
// compiler from contracting a product and a sum into one rounding.
#pragma once

#include <device.cuh>

// e^x, within 2 units in the last place; inputs beyond the range of normal numbers are clamped to it.
__device__ inline float exponential(float x) {
    constexpr float ROUND = 12582912.0f;  // 1.5 * 2^23: adding and taking away rounds to the nearest integer
    // Not fminf and fmaxf, which turn what is not a number into one.
    x = x < -87.0f ? -87.0f : x;
    x = x > 88.0f ? 88.0f : x;
    const float shifted = __fadd_rn(__fmul_rn(x, 1.44269504f), ROUND);
    const float n = __fsub_rn(shifted, ROUND);
    const float r = __fsub_rn(__fsub_rn(x, __fmul_rn(n, 0.6933594f)), __fmul_rn(n, -2.1219444e-4f));
    float p = 1.9875691e-4f;
    p = __fadd_rn(__fmul_rn(p, r), 1.3981999e-3f);
    p = __fadd_rn(__fmul_rn(p, r), 8.333452e-3f);
    p = __fadd_rn(__fmul_rn(p, r), 4.1665796e-2f);
    p = __fadd_rn(__fmul_rn(p, r), 0.16666665f);
    p = __fadd_rn(__fmul_rn(p, r), 0.5f);
    const float y = __fadd_rn(__fadd_rn(__fmul_rn(p, __fmul_rn(r, r)), r), 1.0f);
    // The integer stands in the last bits of the shifted number already.
    const uint32_t exponent = __float_as_uint(shifted) - __float_as_uint(ROUND);
    return __fmul_rn(y, __uint_as_float((exponent + 127) << 23));
}
