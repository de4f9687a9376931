// Stands in for cuda/device.cuh where there is no device: kernels compile for the host, and a block's threads take turns.
//
// Slow, and exact about what is easy to get wrong: which lane holds which element, barriers, what copies have arrived,
// what shared memory holds before it is written. Threads run in an order that the launch chooses.
#pragma once

#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <deque>
#include <functional>
#include <vector>

#define __device__
#define __forceinline__ inline
#define __shared__ static
#define KERNEL(name, Args, threads, blocks) extern "C" void name(const Args& args)
#define DYNAMIC_SHARED(name) unsigned char* name = emulator::block().shared.data()

using std::max;
using std::min;

struct Dimensions {
    unsigned x, y, z;
};

inline Dimensions threadIdx, blockIdx, blockDim, gridDim;

namespace emulator {

// A place where `expected` threads wait for each other.
struct Barrier {
    unsigned expected = 0, arrived = 0, generation = 0;
};

struct Copy {
    void* to;
    unsigned char bytes[16];
};

struct Thread {
    ucontext_t context;
    std::vector<unsigned char> stack;
    bool done = false;
    std::deque<std::vector<Copy>> groups;
    std::vector<Copy> copies;
    unsigned exchanges = 0;
};

// What a warp's lanes hand each other: two turns' worth, so that one barrier a turn is enough.
struct Warp {
    Barrier barrier;
    unsigned char values[2][32][64];
};

struct Block {
    std::vector<Thread> threads;
    std::vector<Warp> warps;
    std::vector<unsigned char> shared;
    Barrier barrier;
    ucontext_t scheduler;
    unsigned current = 0;
    std::function<void()> body;
};

inline Block& block() {
    static Block block;
    return block;
}

inline void wait(Barrier& barrier) {
    Block& b = block();
    const unsigned self = b.current, generation = barrier.generation;
    if (++barrier.arrived == barrier.expected) {
        barrier.arrived = 0;
        ++barrier.generation;
    }
    while (barrier.generation == generation) {
        swapcontext(&b.threads[self].context, &b.scheduler);
    }
}

// Every lane's value.
template <typename T>
const T* exchange(const T& value) {
    Block& b = block();
    static_assert(sizeof(T) <= 64);
    Warp& warp = b.warps[b.current / 32];
    unsigned char* values = warp.values[b.threads[b.current].exchanges++ % 2][0];
    std::memcpy(values + b.current % 32 * sizeof(T), &value, sizeof(T));
    wait(warp.barrier);
    return reinterpret_cast<const T*>(values);
}

inline void enter() {
    block().body();
    Block& b = block();
    b.threads[b.current].done = true;
    swapcontext(&b.threads[b.current].context, &b.scheduler);
}

// Runs one block's threads to their ends. False if they wait for each other for ever.
inline bool run(unsigned num_threads, unsigned shared_bytes, bool backwards) {
    Block& b = block();
    b.threads.resize(num_threads);
    b.warps.resize(num_threads / 32);
    b.shared.assign(shared_bytes, 0xff);  // no numbers
    b.barrier = {num_threads, 0, 0};
    for (Warp& warp : b.warps) {
        warp.barrier = {32, 0, 0};
    }
    for (Thread& thread : b.threads) {
        thread.stack.resize(64 << 10);
        thread.done = false;
        thread.groups.clear();
        thread.copies.clear();
        thread.exchanges = 0;
        getcontext(&thread.context);
        thread.context.uc_stack.ss_sp = thread.stack.data();
        thread.context.uc_stack.ss_size = thread.stack.size();
        makecontext(&thread.context, enter, 0);
    }
    unsigned left = num_threads;
    for (unsigned idle = 0; left > 0 && idle < 4; ++idle) {
        for (unsigned turn = 0; turn < num_threads; ++turn) {
            const unsigned index = backwards ? num_threads - 1 - turn : turn;
            Thread& thread = b.threads[index];
            if (thread.done) {
                continue;
            }
            b.current = index;
            threadIdx = {index, 0, 0};
            const auto progress = [&] {
                unsigned sum = b.barrier.generation + left + b.barrier.arrived;
                for (const Warp& warp : b.warps) {
                    sum += warp.barrier.generation + warp.barrier.arrived;
                }
                return sum;
            };
            const unsigned before = progress();
            swapcontext(&b.scheduler, &thread.context);
            left -= thread.done;
            if (progress() != before) {
                idle = 0;
            }
        }
    }
    return left == 0;
}

inline float of_bits(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
}

inline uint32_t to_bits(float value) {
    uint32_t bits;
    std::memcpy(&bits, &value, 4);
    return bits;
}

inline float low(uint32_t pair) {
    return of_bits(pair << 16);
}

inline float high(uint32_t pair) {
    return of_bits(pair & 0xffff0000u);
}

}  // namespace emulator

struct bf16 {
    uint16_t bits;
};

struct float2 {
    float x, y;
};

struct alignas(16) float4 {
    float x, y, z, w;
};

inline void __syncthreads() {
    emulator::wait(emulator::block().barrier);
}

inline void __threadfence() {}

inline float __ldcg(const float* data) {
    return *data;
}

template <typename T, typename U>
T atomicAdd(T* sum, U value) {
    const T before = *sum;
    *sum += value;
    return before;
}

template <typename T>
T atomicMax(T* largest, T value) {
    const T before = *largest;
    *largest = max(before, value);
    return before;
}

inline float __fadd_rn(float a, float b) {
    return a + b;
}

inline float __fsub_rn(float a, float b) {
    return a - b;
}

inline float __fmul_rn(float a, float b) {
    return a * b;
}

inline float __fdiv_rn(float a, float b) {
    return a / b;
}

inline float __fsqrt_rn(float value) {
    return std::sqrt(value);
}

inline float __fmaf_rn(float a, float b, float c) {
    return std::fma(a, b, c);
}

inline float __uint2float_rn(uint32_t value) {
    return static_cast<float>(value);
}

inline float __int2float_rn(int value) {
    return static_cast<float>(value);
}

inline float __uint_as_float(uint32_t bits) {
    return emulator::of_bits(bits);
}

inline uint32_t __float_as_uint(float value) {
    return emulator::to_bits(value);
}

inline uint32_t __umulhi(uint32_t a, uint32_t b) {
    return static_cast<uint64_t>(a) * b >> 32;
}

inline int __ffsll(long long value) {
    return __builtin_ffsll(value);
}

inline double __dmul_rn(double a, double b) {
    return a * b;
}

inline double __ull2double_rn(unsigned long long value) {
    return static_cast<double>(value);
}

namespace device {

inline void copy_async(void* to, const void* from, bool there) {
    emulator::Block& b = emulator::block();
    emulator::Copy copy = {to, {}};
    if (there) {
        std::memcpy(copy.bytes, from, 16);
    }
    b.threads[b.current].copies.push_back(copy);
}

inline void copies_begun() {
    emulator::Block& b = emulator::block();
    emulator::Thread& thread = b.threads[b.current];
    thread.groups.push_back(std::move(thread.copies));
    thread.copies.clear();
}

// Copies arrive as late as they may.
template <int LEFT>
void wait_for_copies() {
    emulator::Block& b = emulator::block();
    auto& groups = b.threads[b.current].groups;
    while (groups.size() > LEFT) {
        for (const emulator::Copy& copy : groups.front()) {
            std::memcpy(copy.to, copy.bytes, 16);
        }
        groups.pop_front();
    }
}

inline unsigned lane() {
    return emulator::block().current % 32;
}

inline void load_matrices(uint32_t (&matrices)[4], const bf16* row) {
    const bf16* const* rows = emulator::exchange(row);
    for (unsigned matrix = 0; matrix < 4; ++matrix) {
        const bf16* from = rows[8 * matrix + lane() / 4] + lane() % 4 * 2;
        matrices[matrix] = from[0].bits | static_cast<uint32_t>(from[1].bits) << 16;
    }
}

inline void load_transposed(uint32_t (&matrices)[2], const bf16* row) {
    const bf16* const* rows = emulator::exchange(row);
    for (unsigned matrix = 0; matrix < 2; ++matrix) {
        const bf16* const* first = rows + 8 * matrix + lane() % 4 * 2;
        matrices[matrix] = first[0][lane() / 4].bits | static_cast<uint32_t>(first[1][lane() / 4].bits) << 16;
    }
}

// By the layouts of the PTX manual, "Matrix fragments for mma.m16n8k16 with floating point type".
inline void multiply(float (&result)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, const float (&sums)[4]) {
    struct Fragments {
        uint32_t a[4], b[2];
    };
    const Fragments* lanes = emulator::exchange(Fragments{{a[0], a[1], a[2], a[3]}, {b0, b1}});
    const auto a_at = [&](unsigned row, unsigned k) {
        const uint32_t pair = lanes[row % 8 * 4 + k % 8 / 2].a[row / 8 + k / 8 * 2];
        return k % 2 == 0 ? emulator::low(pair) : emulator::high(pair);
    };
    const auto b_at = [&](unsigned k, unsigned column) {
        const uint32_t pair = lanes[column * 4 + k % 8 / 2].b[k / 8];
        return k % 2 == 0 ? emulator::low(pair) : emulator::high(pair);
    };
    for (unsigned i = 0; i < 4; ++i) {
        const unsigned row = lane() / 4 + i / 2 * 8, column = lane() % 4 * 2 + i % 2;
        double sum = sums[i];
        for (unsigned k = 0; k < 16; ++k) {
            sum += static_cast<double>(a_at(row, k)) * b_at(k, column);
        }
        result[i] = static_cast<float>(sum);
    }
}

template <typename T>
T exchange_xor(T value, int lanes) {
    return emulator::exchange(value)[lane() ^ lanes];
}

}  // namespace device

inline float widen(float value) {
    return value;
}

inline float widen(bf16 value) {
    return emulator::of_bits(static_cast<uint32_t>(value.bits) << 16);
}

template <typename T>
T narrow(float value);

template <>
inline float narrow<float>(float value) {
    return value;
}

template <>
inline bf16 narrow<bf16>(float value) {
    const uint32_t bits = emulator::to_bits(value);
    if (value != value) {
        return {static_cast<uint16_t>(bits >> 16 | 0x40)};
    }
    return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}

// Runs a grid. False if its threads wait for each other for ever.
extern "C" inline __attribute__((used, visibility("default"))) bool emulate(void (*kernel)(const void*), const void* args,
                                                                            const unsigned* launch, bool backwards) {
    gridDim = {launch[0], launch[1], launch[2]};
    blockDim = {launch[3], 1, 1};
    emulator::block().body = [=] { kernel(args); };
    for (unsigned z = 0; z < gridDim.z; ++z) {
        for (unsigned y = 0; y < gridDim.y; ++y) {
            for (unsigned x = 0; x < gridDim.x; ++x) {
                blockIdx = {x, y, z};
                if (!emulator::run(launch[3], launch[4], backwards)) {
                    return false;
                }
            }
        }
    }
    return true;
}
