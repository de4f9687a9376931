// The device's own instructions, by name. Tests compile the kernels for the host with another header of this name.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

using bf16 = __nv_bfloat16;

// A kernel takes one argument, a struct that Rust mirrors.
#define KERNEL(name, Args, threads, blocks)                                                                            \
    extern "C" __global__ void __launch_bounds__(threads, blocks) name(const __grid_constant__ Args args)

// The shared memory whose size the launch says.
#define DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]

namespace device {

__device__ inline uint32_t shared_address(const void* data) {
    return static_cast<uint32_t>(__cvta_generic_to_shared(data));
}

// Begins to copy 16 bytes into shared memory; zeros if `there` is false, and then `from` is not read.
__device__ inline void copy_async(void* to, const void* from, bool there) {
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from),
                 "r"(there ? 16 : 0)
                 : "memory");
}

// Ends a group of copies.
__device__ inline void copies_begun() {
    asm volatile("cp.async.commit_group;" ::: "memory");
}

// Waits until all but this thread's last `LEFT` groups of copies are done.
template <int LEFT>
__device__ inline void wait_for_copies() {
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// Four matrices of 8 by 8: lane i names row i % 8 of matrix i / 8, and gets of each matrix the elements 2 * (lane % 4)
// and the next of row lane / 4.
__device__ inline void load_matrices(uint32_t (&matrices)[4], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(matrices[0]), "=r"(matrices[1]), "=r"(matrices[2]), "=r"(matrices[3])
                 : "r"(shared_address(row))
                 : "memory");
}

// Two matrices, named by the first 16 lanes, transposed: lane gets the elements 2 * (lane % 4) and the next of column
// lane / 4.
__device__ inline void load_transposed(uint32_t (&matrices)[2], const bf16* row) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0, %1}, [%2];"
                 : "=r"(matrices[0]), "=r"(matrices[1])
                 : "r"(shared_address(row))
                 : "memory");
}

// sums + a * b for a of 16 by 16, b of 16 by 8. Each sum depends on its own row of a and column of b alone.
//
// With g = lane / 4 and t = lane % 4, a lane holds of a the rows g, g + 8 in columns from 2t, then both in columns from
// 2t + 8 (two elements each); of b the rows from 2t and from 2t + 8 in column g; of the sums the columns 2t, 2t + 1 in
// row g, then in row g + 8.
__device__ inline void multiply(float (&result)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1,
                                const float (&sums)[4]) {
    asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
                 "{%10, %11, %12, %13};"
                 : "=f"(result[0]), "=f"(result[1]), "=f"(result[2]), "=f"(result[3])
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(sums[0]), "f"(sums[1]),
                   "f"(sums[2]), "f"(sums[3]));
}

// The value of the lane whose number differs in these bits.
template <typename T>
__device__ T exchange_xor(T value, int lanes) {
    return __shfl_xor_sync(0xffffffffu, value, lanes);
}

}  // namespace device

// Elements as the numbers that they are computed with, and back, rounded once.
__device__ inline float widen(float value) {
    return value;
}

__device__ inline float widen(bf16 value) {
    return __bfloat162float(value);
}

template <typename T>
__device__ T narrow(float value);

template <>
__device__ inline float narrow<float>(float value) {
    return value;
}

template <>
__device__ inline bf16 narrow<bf16>(float value) {
    return __float2bfloat16_rn(value);
}
