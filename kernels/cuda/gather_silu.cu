// gather_silu: y = silu(first part of row a + second part of row b + third part of row c) with silu(s) = s / (1 + e^-s), in
// float32, rounded once. Twin of gather_silu.rs, bit for bit.
//
// table: [entries, 3 * width]; rows: [rows, 3], the entries a, b and c; y: [rows, width], of the table's dtype.
// Blocks along x own a row, along y a run of its columns; a thread owns one pack of 16 bytes of y.
// Bound by memory: 4 elements move for each of y.
#include <math.cuh>
#include <rows.cuh>

constexpr uint32_t THREADS = 256;
constexpr uint32_t PARTS = 3;

struct Args {
    const void* table;
    const uint32_t* rows;
    void* y;
    int64_t table_stride;
    uint32_t width;
};

template <typename T>
__device__ void gather_silu(const Args& args) {
    const uint32_t column = own_column<T>();
    if (column >= args.width) {
        return;
    }
    const uint32_t* entries = args.rows + PARTS * blockIdx.x;
    Pack<T> parts[PARTS];
#pragma unroll
    for (uint32_t part = 0; part < PARTS; ++part) {
        const T* row = row_of(static_cast<const T*>(args.table), args.table_stride, entries[part]);
        parts[part] = load(row + part * args.width, column, args.width);
    }
    Pack<T> pack;
#pragma unroll
    for (uint32_t i = 0; i < Pack<T>::SIZE; ++i) {
        const float first = __fadd_rn(widen(parts[0].values[i]), widen(parts[1].values[i]));
        const float sum = __fadd_rn(first, widen(parts[2].values[i]));
        pack.values[i] = narrow<T>(__fdiv_rn(sum, __fadd_rn(1.0f, exponential(-sum))));
    }
    store(row_of(static_cast<T*>(args.y), args.width, blockIdx.x), column, args.width, pack);
}

KERNEL(gather_silu_float32, Args, THREADS, 1) {
    gather_silu<float>(args);
}

KERNEL(gather_silu_bfloat16, Args, THREADS, 1) {
    gather_silu<bf16>(args);
}
