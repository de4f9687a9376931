// linear: rows times a weight matrix transposed; the twin of src/linear/.
//
//   x  [rows, in]    w  [out, in]    y  [rows, out]
//
// Tensor cores (bfloat16, widths that are multiples of 8). A block owns 128 outputs, 8 to 64 rows, and 1,024 inputs;
// a warp 16 of the outputs. Weights and rows come in stages of 64 inputs, two or three of them ahead. Where there are more
// inputs than a block has, its sums are partial, and the block that is done last adds them up in order. More than 64 rows
// make blocks enough: each does all the inputs, split by split, and adds up by itself. Splits do not depend on the shape,
// and a sum meets the same numbers in the same order whatever the rows beside it: so a row's bits are the same for every
// number of rows.
//
// Bound by the weights' bytes up to 64 rows: each is read once. With more rows, tiles of 64 follow each other, so that
// weights come from the second-level cache; then it is bound by the matrix cores' plain instructions.
#include <device.cuh>

namespace {

constexpr int OUTPUTS = 128;
constexpr int WARPS = OUTPUTS / 16;
constexpr int THREADS = 32 * WARPS;
constexpr int DEPTH = 64;  // inputs of a stage
constexpr int SPLIT = 1024;
constexpr int STRIDE = DEPTH + 8;  // rows 16 bytes further round the banks, each

struct Args {
    const void* x;
    const void* w;
    void* y;
    float* partials;    // [splits, rows, out]
    uint32_t* arrived;  // by tile of rows and outputs: blocks that are done; zeros before and after
    int64_t x_stride;
    uint32_t num_rows;
    uint32_t num_inputs;
    uint32_t num_outputs;
    uint32_t y_is_float;
};

__device__ void write(const Args& args, int64_t row, uint32_t output, float value) {
    const int64_t at = row * args.num_outputs + output;
    if (args.y_is_float) {
        static_cast<float*>(args.y)[at] = value;
    } else {
        static_cast<bf16*>(args.y)[at] = narrow<bf16>(value);
    }
}

// One block's work on 8 * TILES rows.
template <int TILES>
struct Product {
    static constexpr int ROWS = 8 * TILES;
    static constexpr int STAGES = TILES < 8 ? 4 : 3;  // what also smaller cards have shared memory for

    struct Stage {
        alignas(16) bf16 w[OUTPUTS][STRIDE];
        bf16 x[ROWS][STRIDE];
    };

    struct Shared {
        union {
            Stage stages[STAGES];
            float sums[ROWS][OUTPUTS + 4];  // when all stages are done with
        };
        bool is_last;
    };

    const Args& args;
    Shared& shared;
    const uint32_t first_row;
    const uint32_t first_output;
    const int warp;
    const int lane;

    __device__ Product(const Args& args, Shared& shared)
        : args(args),
          shared(shared),
          first_row(blockIdx.x * ROWS),
          first_output(blockIdx.y * OUTPUTS),
          warp(threadIdx.x / 32),
          lane(threadIdx.x % 32) {}

    // The block's one split of the inputs, or all of them if WHOLE.
    template <bool WHOLE>
    __device__ void run() {
        const uint32_t num_splits = WHOLE ? (args.num_inputs + SPLIT - 1) / SPLIT : 1;
        float totals[TILES][4];
        for (uint32_t split = 0; split < num_splits; ++split) {
            float sums[TILES][4] = {};
            add_split((WHOLE ? split : blockIdx.z) * SPLIT, sums);
            for (int i = 0; i < 4 * TILES; ++i) {
                float& total = totals[i / 4][i % 4];
                total = split == 0 ? sums[i / 4][i % 4] : total + sums[i / 4][i % 4];
            }
        }
        gather(totals);
        __syncthreads();
        WHOLE || gridDim.z == 1 ? write_sums() : write_partials();
    }

    // Adds the products of a split up.
    __device__ void add_split(uint32_t first_input, float (&sums)[TILES][4]) {
        const uint32_t end = min(args.num_inputs, first_input + SPLIT);
        for (int index = 0; index < STAGES - 1; ++index) {
            load(index, first_input, end);
        }
        for (int index = 0; first_input + index * DEPTH < end; ++index) {
            device::wait_for_copies<STAGES - 2>();
            // This stage has arrived for all, and nobody reads the one before it any more.
            __syncthreads();
            load(index + STAGES - 1, first_input, end);
            add_products(shared.stages[index % STAGES], sums);
        }
        device::wait_for_copies<0>();
        __syncthreads();
    }

    // Begins to load a stage of weights and rows; zeros where there are none.
    __device__ void load(int index, uint32_t first_input, uint32_t end) {
        const uint32_t first = first_input + index * DEPTH;
        if (first < end) {
            Stage& stage = shared.stages[index % STAGES];
            load_rows<OUTPUTS>(stage.w, args.w, args.num_inputs, first_output, args.num_outputs, first);
            load_rows<ROWS>(stage.x, args.x, args.x_stride, first_row, args.num_rows, first);
        }
        device::copies_begun();
    }

    template <int COUNT>
    __device__ void load_rows(bf16 (&to)[COUNT][STRIDE], const void* from, int64_t stride, uint32_t first, uint32_t end,
                              uint32_t first_input) {
        constexpr int CHUNKS = DEPTH / 8;
        for (int i = threadIdx.x; i < COUNT * CHUNKS; i += THREADS) {
            const uint32_t row = first + i / CHUNKS, input = first_input + i % CHUNKS * 8;
            const bool there = row < end && input < args.num_inputs;
            const int64_t at = there ? row * stride + input : 0;
            device::copy_async(&to[i / CHUNKS][i % CHUNKS * 8], static_cast<const bf16*>(from) + at, there);
        }
    }

    // The matrix cores' rows are outputs, their columns rows: few rows leave few of them idle.
    __device__ void add_products(const Stage& stage, float (&sums)[TILES][4]) {
#pragma unroll 1
        for (int at = 0; at < DEPTH; at += 32) {
            uint32_t first[4], second[4];
            const bf16* w = &stage.w[16 * warp + lane % 16][at + lane / 16 * 8];
            device::load_matrices(first, w);
            device::load_matrices(second, w + 16);
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                uint32_t x[4];
                device::load_matrices(x, &stage.x[8 * tile + lane % 8][at + lane / 8 * 8]);
                device::multiply(sums[tile], first, x[0], x[1], sums[tile]);
                device::multiply(sums[tile], second, x[2], x[3], sums[tile]);
            }
        }
    }

    // The block's sums, row by row.
    __device__ void gather(const float (&sums)[TILES][4]) {
        for (int tile = 0; tile < TILES; ++tile) {
            for (int i = 0; i < 4; ++i) {
                const int output = 16 * warp + lane / 4 + i / 2 * 8;
                shared.sums[8 * tile + lane % 4 * 2 + i % 2][output] = sums[tile][i];
            }
        }
    }

    // Hands out the block's rows and outputs.
    template <typename Body>
    __device__ void for_each_sum(Body body) {
        for (int i = threadIdx.x; i < ROWS * OUTPUTS; i += THREADS) {
            const uint32_t row = first_row + i / OUTPUTS, output = first_output + i % OUTPUTS;
            if (row < args.num_rows && output < args.num_outputs) {
                body(row, output, shared.sums[i / OUTPUTS][i % OUTPUTS]);
            }
        }
    }

    __device__ void write_sums() {
        for_each_sum([&](uint32_t row, uint32_t output, float sum) { write(args, row, output, sum); });
    }

    __device__ float* partial(uint32_t split, uint32_t row, uint32_t output) {
        return args.partials + (static_cast<int64_t>(split) * args.num_rows + row) * args.num_outputs + output;
    }

    // Partial sums; the last block of these rows and outputs adds them up, in the order of the inputs.
    __device__ void write_partials() {
        for_each_sum(
            [&](uint32_t row, uint32_t output, float sum) { *partial(blockIdx.z, row, output) = sum; });
        __threadfence();
        __syncthreads();
        if (threadIdx.x == 0) {
            uint32_t* arrived = &args.arrived[blockIdx.y * gridDim.x + blockIdx.x];
            shared.is_last = atomicAdd(arrived, 1u) == gridDim.z - 1;
            if (shared.is_last) {
                *arrived = 0;
            }
        }
        __syncthreads();
        if (shared.is_last) {
            __threadfence();
            for_each_sum([&](uint32_t row, uint32_t output, float) {
                float sum = __ldcg(partial(0, row, output));
                for (uint32_t split = 1; split < gridDim.z; ++split) {
                    sum += __ldcg(partial(split, row, output));
                }
                write(args, row, output, sum);
            });
        }
    }
};

template <int TILES, bool WHOLE = false>
__device__ void multiply(const Args& args) {
    DYNAMIC_SHARED(memory);
    using Block = Product<TILES>;
    static_assert(sizeof(typename Block::Shared) == Block::STAGES * (OUTPUTS + 8 * TILES) * STRIDE * 2 + 16,
                  "args.rs says so to the launch");
    Block block(args, *reinterpret_cast<typename Block::Shared*>(memory));
    block.template run<WHOLE>();
}

// Any element type and width. A warp owns an output and 8 rows, a lane every 32nd input.
template <typename T>
__device__ void multiply_plainly(const Args& args) {
    constexpr int ROWS = 8;
    const uint32_t lane = threadIdx.x % 32;
    const uint32_t output = blockIdx.y * WARPS + threadIdx.x / 32, first_row = blockIdx.x * ROWS;
    if (output >= args.num_outputs) {
        return;
    }
    const T* w = static_cast<const T*>(args.w) + static_cast<int64_t>(output) * args.num_inputs;
    const T* x[ROWS];
    float sums[ROWS] = {};
    for (int row = 0; row < ROWS; ++row) {
        // The last row stands in for those behind it.
        const int64_t own = min(first_row + row, args.num_rows - 1);
        x[row] = static_cast<const T*>(args.x) + own * args.x_stride;
    }
    for (uint32_t input = lane; input < args.num_inputs; input += 32) {
        const float weight = widen(w[input]);
        for (int row = 0; row < ROWS; ++row) {
            sums[row] = __fmaf_rn(weight, widen(x[row][input]), sums[row]);
        }
    }
    for (int row = 0; row < ROWS; ++row) {
        for (int lanes = 16; lanes > 0; lanes /= 2) {
            sums[row] += device::exchange_xor(sums[row], lanes);
        }
        if (lane == 0 && first_row + row < args.num_rows) {
            write(args, first_row + row, output, sums[row]);
        }
    }
}

}  // namespace

// Grid: tiles of rows, tiles of 128 outputs, splits of 1,024 inputs. Shared memory: `Shared`, as args.rs says.
KERNEL(linear_8, Args, THREADS, 2) {
    multiply<1>(args);
}

KERNEL(linear_16, Args, THREADS, 2) {
    multiply<2>(args);
}

KERNEL(linear_32, Args, THREADS, 2) {
    multiply<4>(args);
}

KERNEL(linear_64, Args, THREADS, 2) {
    multiply<8>(args);
}

// Grid: tiles of 64 rows, tiles of 128 outputs.
KERNEL(linear_whole, Args, THREADS, 1) {
    multiply<8, true>(args);
}

// Grid: tiles of 8 rows, of 8 outputs.
KERNEL(linear_float32, Args, THREADS, 2) {
    multiply_plainly<float>(args);
}

KERNEL(linear_bfloat16, Args, THREADS, 2) {
    multiply_plainly<bf16>(args);
}
