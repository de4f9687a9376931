// rotate: rotary position embedding of the first `num_heads` heads of each row, in place. Twin of rotary.rs, bit for bit.
//
// x: [rows, >= num_heads * 2 * half] of any dtype, cos, sin: [positions, half] in float32, positions: [rows].
// Element i of a head's first half pairs with element i of its second half.
// Blocks along x own a row, along y a run of its pairs; a thread owns one pair, so that no other thread reads what it
// writes, and a warp's pairs lie side by side in both halves. Bound by memory.
#include <rows.cuh>

constexpr uint32_t THREADS = 256;

struct Args {
    void* x;
    const float* cos;
    const float* sin;
    const uint32_t* positions;
    int64_t x_stride;
    int64_t cos_stride;
    int64_t sin_stride;
    uint32_t num_heads;
    uint32_t half;
};

template <typename T>
__device__ void rotate(const Args& args) {
    const uint32_t pair = blockIdx.y * blockDim.x + threadIdx.x;
    if (pair >= args.num_heads * args.half) {
        return;
    }
    const uint32_t head = pair / args.half, i = pair % args.half;
    const uint32_t position = args.positions[blockIdx.x];
    const float cos = row_of(args.cos, args.cos_stride, position)[i];
    const float sin = row_of(args.sin, args.sin_stride, position)[i];
    T* first = row_of(static_cast<T*>(args.x), args.x_stride, blockIdx.x) + head * 2 * args.half + i;
    T* second = first + args.half;
    const float x = widen(*first), y = widen(*second);
    *first = narrow<T>(__fsub_rn(__fmul_rn(x, cos), __fmul_rn(y, sin)));
    *second = narrow<T>(__fadd_rn(__fmul_rn(y, cos), __fmul_rn(x, sin)));
}

KERNEL(rotate_float32, Args, THREADS, 1) {
    rotate<float>(args);
}

KERNEL(rotate_bfloat16, Args, THREADS, 1) {
    rotate<bf16>(args);
}
