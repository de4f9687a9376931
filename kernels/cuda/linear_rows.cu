// linear_rows: a matrix's rows by index, as an embedding is read. Twin of `Linear::rows`, bit for bit.
//
// weight: [out, in] of y's dtype, or int8 with scales: [out]; indices: [rows]; y: [rows, in].
// Blocks along x own a row of y, along y a run of its columns; a thread owns one pack of 16 bytes of y.
// Bound by memory.
#include <rows.cuh>

constexpr uint32_t THREADS = 256;

struct Args {
    const void* weight;
    const float* scales;
    const uint32_t* indices;
    void* y;
    uint32_t width;
};

template <typename T>
__device__ void copied(const Args& args) {
    const uint32_t column = own_column<T>();
    if (column >= args.width) {
        return;
    }
    const T* from = row_of(static_cast<const T*>(args.weight), args.width, args.indices[blockIdx.x]);
    T* to = row_of(static_cast<T*>(args.y), args.width, blockIdx.x);
    store(to, column, args.width, load(from, column, args.width));
}

template <typename T>
__device__ void scaled(const Args& args) {
    const uint32_t column = own_column<T>(), index = args.indices[blockIdx.x];
    if (column >= args.width) {
        return;
    }
    const int8_t* from = row_of(static_cast<const int8_t*>(args.weight), args.width, index);
    Pack<T> pack;
#pragma unroll
    for (uint32_t i = 0; i < Pack<T>::SIZE; ++i) {
        const float whole = column + i < args.width ? static_cast<float>(from[column + i]) : 0.0f;
        pack.values[i] = narrow<T>(__fmul_rn(whole, args.scales[index]));
    }
    store(row_of(static_cast<T*>(args.y), args.width, blockIdx.x), column, args.width, pack);
}

KERNEL(linear_rows_float32, Args, THREADS, 1) {
    copied<float>(args);
}

KERNEL(linear_rows_bfloat16, Args, THREADS, 1) {
    copied<bf16>(args);
}

KERNEL(linear_rows_int8_float32, Args, THREADS, 1) {
    scaled<float>(args);
}

KERNEL(linear_rows_int8_bfloat16, Args, THREADS, 1) {
    scaled<bf16>(args);
}
