// rms_norm: y = x / sqrt(mean(x^2) + eps) * weight, computed in float32 and rounded once. Twin of rms_norm.rs.
//
// x, y: [rows, width], weight: [1, width], of one dtype.
// A block owns a row; a thread every 256th pack of 16 bytes of it. Squares are summed by each thread over its packs in
// rising order, then over lanes and warps in a fixed order: which thread sums what follows from the width alone, and
// not from how a pack was loaded. The row is read twice, the second time out of the cache.
// Bound by the latency of one pass over a row for few rows, by memory for many.
#include <rows.cuh>

constexpr uint32_t THREADS = 256;
constexpr uint32_t LANES = 32;

struct Args {
    const void* x;
    const void* weight;
    void* y;
    int64_t x_stride;
    uint32_t width;
    float eps;
};

// The sum over the block's threads, the same in each.
__device__ inline float block_sum(float value) {
    __shared__ float of_warps[THREADS / LANES];
    for (int lanes = LANES / 2; lanes > 0; lanes /= 2) {
        value = __fadd_rn(value, device::exchange_xor(value, lanes));
    }
    if (threadIdx.x % LANES == 0) {
        of_warps[threadIdx.x / LANES] = value;
    }
    __syncthreads();
    float sum = 0.0f;
    for (float of_warp : of_warps) {
        sum = __fadd_rn(sum, of_warp);
    }
    return sum;
}

template <typename T>
__device__ void rms_norm(const Args& args) {
    const T* x = row_of(static_cast<const T*>(args.x), args.x_stride, blockIdx.x);
    const T* weight = static_cast<const T*>(args.weight);
    T* y = row_of(static_cast<T*>(args.y), args.width, blockIdx.x);
    const uint32_t first = threadIdx.x * Pack<T>::SIZE;
    constexpr uint32_t STEP = THREADS * Pack<T>::SIZE;

    float sum = 0.0f;
    for (uint32_t column = first; column < args.width; column += STEP) {
        const Pack<T> pack = load(x, column, args.width);
        for (T value : pack.values) {
            sum = __fmaf_rn(widen(value), widen(value), sum);
        }
    }
    const float mean = __fdiv_rn(block_sum(sum), static_cast<float>(args.width));
    const float scale = __fdiv_rn(1.0f, __fsqrt_rn(__fadd_rn(mean, args.eps)));

    for (uint32_t column = first; column < args.width; column += STEP) {
        Pack<T> pack = load(x, column, args.width);
        const Pack<T> weights = load(weight, column, args.width);
#pragma unroll
        for (uint32_t i = 0; i < Pack<T>::SIZE; ++i) {
            const float scaled = __fmul_rn(widen(pack.values[i]), scale);
            pack.values[i] = narrow<T>(__fmul_rn(scaled, widen(weights.values[i])));
        }
        store(y, column, args.width, pack);
    }
}

KERNEL(rms_norm_float32, Args, THREADS, 1) {
    rms_norm<float>(args);
}

KERNEL(rms_norm_bfloat16, Args, THREADS, 1) {
    rms_norm<bf16>(args);
}
