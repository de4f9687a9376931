// What the kernels of paged_attention.cu share: how positions are cut, what a launch is told, and how sums over some keys
// are added to sums over others.
#pragma once

#include <paging.cuh>

namespace {

constexpr int SPAN = 64;
constexpr int SPANS_PER_SPLIT = 4;
constexpr int WARPS = 4;
constexpr int THREADS = 32 * WARPS;
constexpr float NONE = -INFINITY;

struct Item {
    uint32_t first_row;
    uint32_t num_rows;
    uint32_t first_split;
    uint32_t end_split;
};

struct Args {
    const void* q;
    const void* cache;
    void* y;
    float* partials;          // [partials, heads, 2 + head_dim]: the largest score, the weights' total, weighted values
    const uint32_t* num_items;  // a launch may have more blocks than there are items
    const Item* items;
    const Row* rows;
    const uint32_t* blocks;
    int64_t q_stride;
    int64_t cache_stride;
    uint32_t block_size;
    uint32_t kv_heads;
    uint32_t group;  // query heads for each head of keys and values
    uint32_t head_dim;
    float scale;
    uint32_t num_rows;
};

// What two softmaxes over different keys have to be multiplied by to be added up.
struct Fold {
    float largest;
    float older;
    float newer;

    __device__ Fold(float older_largest, float newer_largest)
        : largest(fmaxf(older_largest, newer_largest)),
          older(exp2f(__fsub_rn(older_largest, largest))),
          newer(exp2f(__fsub_rn(newer_largest, largest))) {}

    __device__ float add(float older_sum, float newer_sum) const {
        return __fmaf_rn(older_sum, older, __fmul_rn(newer_sum, newer));
    }
};

__device__ uint32_t num_splits(const Row& row) {
    return row.position / (SPAN * SPANS_PER_SPLIT) + 1;
}

__device__ uint32_t num_partials(const Row& row) {
    return num_splits(row) - row.lead + 1;
}

__device__ float* partial(const Args& args, uint32_t index, uint32_t head) {
    const uint32_t heads = args.kv_heads * args.group;
    return args.partials + (static_cast<int64_t>(index) * heads + head) * (2 + args.head_dim);
}

// Some keys for some rows: a span, and either all rows that see it whole (ALL), or one that does not.
struct Pass {
    static constexpr int ALL = -1;
    int span;
    int row;
};

// The rows of an item.
struct Rows {
    const Row* rows;
    int count;

    __device__ int seen(int row, int span) const {  // of the span's keys
        return min(max(static_cast<int>(rows[row].position) + 1 - span * SPAN, 0), SPAN);
    }

    __device__ bool whole(int row, int span) const {
        return seen(row, span) == SPAN && (span + 1) * SPAN <= static_cast<int>(rows[row].context_len);
    }

    __device__ bool takes_part(const Pass& pass, int row) const {
        return pass.row == Pass::ALL ? whole(row, pass.span) : row == pass.row;
    }

    __device__ bool is_needed(const Pass& pass) const {
        if (pass.row != Pass::ALL) {
            return seen(pass.row, pass.span) > 0 && !whole(pass.row, pass.span);
        }
        bool any = false;
        for (int row = 0; row < count; ++row) {
            any |= whole(row, pass.span);
        }
        return any;
    }

    __device__ Pass next(Pass pass, int end_span) const {
        do {
            if (++pass.row == count) {
                pass = {pass.span + 1, Pass::ALL};
            }
        } while (pass.span < end_span && !is_needed(pass));
        return pass;
    }
};

}  // namespace
