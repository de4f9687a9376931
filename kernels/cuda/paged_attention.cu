// paged_attention: softmax attention of a flat batch of rows over keys and values in a paged cache; the twin of
// src/paged_attention/.
//
//   q, y     [rows, heads * head_dim]
//   cache    [slots, 2 * kv_heads * head_dim], in each slot the keys of all heads, then the values
//
// Tensor cores (bfloat16, head sizes that are multiples of 8). Positions are cut into spans of 64 and splits of four
// spans, counted from the sequence's start. A block owns an item, which is a few rows of one sequence and some splits, and
// one head of keys and values: the rows' query heads of its group, side by side, are the rows of its matrix products, so
// keys and values are read once for all of them. It makes one pass for each span over the rows that see it whole, and
// one for each row that sees a part of it, or some keys where no other row has them: their values are gathered by
// position, so that every row does the same arithmetic wherever its keys lie. Warp w computes the scores of keys
// 16w .. 16w + 16 and a quarter of the head's dimensions of the weighted values.
//
// A split's sums are folded into those of the splits before it one by one, in order, by the block if it has the leading
// splits and else by `paged_attention_fold`: by the same operations, so that it does not matter how splits are dealt out.
//
// Bound by the cache's bytes while the queries of an item are few, which is what speculative verification makes of
// decoding; then by the tensor cores.
#include <paged_attention_block.cuh>

namespace {

template <int DIM, int TILES>
__device__ void attend(const Args& args) {
    DYNAMIC_SHARED(memory);
    using Block = Attention<DIM, TILES>;
    if (blockIdx.x < *args.num_items) {
        Block block(args, *reinterpret_cast<typename Block::Shared*>(memory));
        block.run();
    }
}

// The cache's keys and values one after another, for any element type and head size.
template <typename T>
__device__ void attend_plainly(const Args& args) {
    constexpr int MOST = 8;  // dimensions of a thread
    __shared__ float scores[SPAN];
    __shared__ int64_t slots[SPAN];
    const Row& row = args.rows[blockIdx.x];
    const uint32_t head_dim = args.head_dim, head = blockIdx.y, kv_head = head / args.group;
    const T* q = static_cast<const T*>(args.q) + blockIdx.x * args.q_stride + head * head_dim;
    const T* keys = static_cast<const T*>(args.cache) + kv_head * head_dim;
    const T* values = keys + args.kv_heads * head_dim;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    float largest = NONE, total = 0.0f, sums[MOST] = {};
    for (uint32_t start = 0; start <= row.position; start += SPAN) {
        const int seen = min(row.position + 1 - start, static_cast<uint32_t>(SPAN));
        __syncthreads();
        if (static_cast<int>(threadIdx.x) < seen) {
            slots[threadIdx.x] = cache_slot(args.blocks, args.block_size, row, slot_at(row, start + threadIdx.x));
        }
        __syncthreads();
        for (int place = warp; place < seen; place += WARPS) {
            const T* key = keys + slots[place] * args.cache_stride;
            float score = 0.0f;
            for (uint32_t at = lane; at < head_dim; at += 32) {
                score = __fmaf_rn(widen(q[at]), widen(key[at]), score);
            }
            for (int lanes = 16; lanes > 0; lanes /= 2) {
                score += device::exchange_xor(score, lanes);
            }
            if (lane == 0) {
                scores[place] = score * args.scale;
            }
        }
        __syncthreads();
        const float before = largest;
        for (int place = 0; place < seen; ++place) {
            largest = fmaxf(largest, scores[place]);
        }
        const float factor = before == largest ? 1.0f : exp2f(before - largest);
        total *= factor;
        for (int i = 0; i < MOST; ++i) {
            sums[i] *= factor;
        }
        for (int place = 0; place < seen; ++place) {
            const float weight = exp2f(scores[place] - largest);
            const T* value = values + slots[place] * args.cache_stride;
            total += weight;
            for (int i = 0; i < MOST; ++i) {
                const uint32_t at = threadIdx.x + THREADS * i;
                if (at < head_dim) {
                    sums[i] = __fmaf_rn(weight, widen(value[at]), sums[i]);
                }
            }
        }
    }
    const int64_t heads = args.kv_heads * args.group;
    T* y = static_cast<T*>(args.y) + (blockIdx.x * heads + head) * head_dim;
    for (int i = 0; i < MOST; ++i) {
        const uint32_t at = threadIdx.x + THREADS * i;
        if (at < head_dim) {
            y[at] = narrow<T>(__fdiv_rn(sums[i], total));
        }
    }
}

}  // namespace

// Grid: items, heads of keys and values. Shared memory: `Shared`, as args.rs says.
KERNEL(paged_attention_64, Args, THREADS, 2) {
    attend<64, 4>(args);
}

KERNEL(paged_attention_96, Args, THREADS, 2) {
    attend<96, 4>(args);
}

KERNEL(paged_attention_128, Args, THREADS, 2) {
    attend<128, 4>(args);
}

KERNEL(paged_attention_256, Args, THREADS, 1) {
    attend<256, 2>(args);
}

// Folds the partial sums of rows that have several. Grid: rows, heads. A thread owns some dimensions.
KERNEL(paged_attention_fold, Args, THREADS, 8) {
    const Row& row = args.rows[blockIdx.x];
    const uint32_t num = num_partials(row);
    if (num == 1) {
        return;
    }
    const float* first = partial(args, row.partials, blockIdx.y);
    for (uint32_t at = threadIdx.x; at < args.head_dim; at += THREADS) {
        float largest = first[0], total = first[1], sum = first[2 + at];
        for (uint32_t index = 1; index < num; ++index) {
            const float* next = partial(args, row.partials + index, blockIdx.y);
            const Fold fold(largest, next[0]);
            largest = fold.largest;
            total = fold.add(total, next[1]);
            sum = fold.add(sum, next[2 + at]);
        }
        const int64_t heads = args.kv_heads * args.group;
        bf16* y = static_cast<bf16*>(args.y) + (blockIdx.x * heads + blockIdx.y) * args.head_dim;
        y[at] = narrow<bf16>(__fdiv_rn(sum, total));
    }
}

// Grid: rows, heads. A block owns a head of a row, for any element type and head size: the path of the oracle's dtype.
KERNEL(paged_attention_float32, Args, THREADS, 4) {
    attend_plainly<float>(args);
}

KERNEL(paged_attention_bfloat16, Args, THREADS, 4) {
    attend_plainly<bf16>(args);
}
