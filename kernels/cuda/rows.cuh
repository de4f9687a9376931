// Rows of a matrix, 16 bytes at a time: what the kernels that only pass over memory have in common.
#pragma once

#include <device.cuh>

// What a thread loads and stores at once.
template <typename T>
struct alignas(16) Pack {
    static constexpr uint32_t SIZE = 16 / sizeof(T);
    T values[SIZE];
};

// Whether a pack may be copied as one: it lies within the row, and on a multiple of 16 bytes.
template <typename T>
__device__ inline bool is_whole(const T* from, uint32_t column, uint32_t width) {
    return column + Pack<T>::SIZE <= width && reinterpret_cast<uintptr_t>(from) % sizeof(Pack<T>) == 0;
}

// The pack of a row at a column; zeros behind the row's end.
template <typename T>
__device__ inline Pack<T> load(const T* row, uint32_t column, uint32_t width) {
    const T* from = row + column;
    if (is_whole(from, column, width)) {
        return *reinterpret_cast<const Pack<T>*>(from);
    }
    Pack<T> pack;
#pragma unroll
    for (uint32_t i = 0; i < Pack<T>::SIZE; ++i) {
        pack.values[i] = column + i < width ? from[i] : narrow<T>(0.0f);
    }
    return pack;
}

// Puts a pack into a row, no further than its end.
template <typename T>
__device__ inline void store(T* row, uint32_t column, uint32_t width, const Pack<T>& pack) {
    T* to = row + column;
    if (is_whole(to, column, width)) {
        *reinterpret_cast<Pack<T>*>(to) = pack;
        return;
    }
#pragma unroll
    for (uint32_t i = 0; i < Pack<T>::SIZE; ++i) {
        if (column + i < width) {
            to[i] = pack.values[i];
        }
    }
}

// The first column of this thread, where the blocks of a row stand side by side along y.
template <typename T>
__device__ inline uint32_t own_column() {
    return (blockIdx.y * blockDim.x + threadIdx.x) * Pack<T>::SIZE;
}

// Row `index` of a matrix whose rows begin `stride` elements apart.
template <typename T>
__device__ inline T* row_of(T* data, int64_t stride, uint32_t index) {
    return data + index * stride;
}
