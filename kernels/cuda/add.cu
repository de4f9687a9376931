// add: x += y, in float32, rounded once. Twin of add.rs, bit for bit.
//
// x, y: [rows, width] of one dtype.
// Blocks along x own a row, along y a run of its columns; a thread owns one pack of 16 bytes.
// Bound by memory: 3 elements move for each of x.
#include <rows.cuh>

constexpr uint32_t THREADS = 256;

struct Args {
    void* x;
    const void* y;
    int64_t y_stride;
    uint32_t width;
};

template <typename T>
__device__ void add(const Args& args) {
    const uint32_t column = own_column<T>();
    if (column >= args.width) {
        return;
    }
    T* row = row_of(static_cast<T*>(args.x), args.width, blockIdx.x);
    Pack<T> pack = load<T>(row, column, args.width);
    const Pack<T> addends = load(row_of(static_cast<const T*>(args.y), args.y_stride, blockIdx.x), column, args.width);
#pragma unroll
    for (uint32_t i = 0; i < Pack<T>::SIZE; ++i) {
        pack.values[i] = narrow<T>(__fadd_rn(widen(pack.values[i]), widen(addends.values[i])));
    }
    store(row, column, args.width, pack);
}

KERNEL(add_float32, Args, THREADS, 1) {
    add<float>(args);
}

KERNEL(add_bfloat16, Args, THREADS, 1) {
    add<bf16>(args);
}
