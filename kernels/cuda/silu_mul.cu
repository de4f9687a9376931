// silu_mul: y = silu(gate) * up with silu(g) = g / (1 + e^-g), in float32, rounded once. Twin of silu_mul.rs, bit for bit.
//
// x: [rows, 2 * width], in each row first the gate, then as much of up; y: [rows, width], of one dtype.
// Blocks along x own a row, along y a run of its columns; a thread owns one pack of 16 bytes of y.
// Bound by memory: 3 elements move for each of y.
#include <math.cuh>
#include <rows.cuh>

constexpr uint32_t THREADS = 256;

struct Args {
    const void* x;
    void* y;
    int64_t x_stride;
    uint32_t width;
};

template <typename T>
__device__ void silu_mul(const Args& args) {
    const uint32_t column = own_column<T>();
    if (column >= args.width) {
        return;
    }
    const T* row = row_of(static_cast<const T*>(args.x), args.x_stride, blockIdx.x);
    const Pack<T> gates = load(row, column, args.width);
    Pack<T> pack = load(row + args.width, column, args.width);
#pragma unroll
    for (uint32_t i = 0; i < Pack<T>::SIZE; ++i) {
        const float gate = widen(gates.values[i]);
        const float silu = __fdiv_rn(gate, __fadd_rn(1.0f, exponential(-gate)));
        pack.values[i] = narrow<T>(__fmul_rn(silu, widen(pack.values[i])));
    }
    store(row_of(static_cast<T*>(args.y), args.width, blockIdx.x), column, args.width, pack);
}

KERNEL(silu_mul_float32, Args, THREADS, 1) {
    silu_mul<float>(args);
}

KERNEL(silu_mul_bfloat16, Args, THREADS, 1) {
    silu_mul<bf16>(args);
}
