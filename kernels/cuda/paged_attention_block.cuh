// The work of a block of paged_attention.cu that computes with tensor cores.
#pragma once

#include <paged_attention.cuh>

namespace {

// One block's work on heads of at most DIM dimensions and at most 16 * TILES queries.
template <int DIM, int TILES>
struct Attention {
    static constexpr int QUERIES = 16 * TILES;
    static constexpr int STRIDE = DIM + 8;  // rows 16 bytes further round the banks, each
    static constexpr int WEIGHTS_STRIDE = SPAN + 8;
    static constexpr int COLUMNS = DIM / 8 / WARPS;  // tiles of 8 dimensions, by warp

    struct Shared {
        alignas(16) bf16 queries[QUERIES][STRIDE];
        bf16 cache[2][2][SPAN][STRIDE];  // two stages of keys and values
        bf16 weights[QUERIES][WEIGHTS_STRIDE];
        float largest[WARPS][QUERIES];
        float totals[WARPS][QUERIES];
        int64_t slots[2][SPAN];  // negative where a key is missing
        Row rows[QUERIES];
        uint8_t row_of[QUERIES];
    };
    static_assert(sizeof(Shared) == (2 * ((QUERIES + 4 * SPAN) * STRIDE + QUERIES * WEIGHTS_STRIDE) +
                                     8 * WARPS * QUERIES + 16 * SPAN + (sizeof(Row) + 1) * QUERIES + 15) /
                                        16 * 16,
                  "args.rs says so to the launch");

    // Sums of a split, a thread's elements. Softmaxes are by query.
    struct Sums {
        float largest[2 * TILES];
        float totals[2 * TILES];
        float values[TILES][COLUMNS][4];

        __device__ void clear() {
            for (int i = 0; i < 2 * TILES; ++i) {
                largest[i] = NONE;
                totals[i] = 0.0f;
            }
            for (int tile = 0; tile < TILES; ++tile) {
                for (int column = 0; column < COLUMNS; ++column) {
                    for (int i = 0; i < 4; ++i) {
                        values[tile][column][i] = 0.0f;
                    }
                }
            }
        }
    };

    const Args& args;
    Shared& shared;
    const Item item;
    const uint32_t kv_head;
    const Rows rows;
    const int num_queries;
    const int warp;
    const int lane;
    Sums split;
    // What the item's splits before have come to, by query.
    float folded_largest[2 * TILES];
    float folded_totals[2 * TILES];

    __device__ Attention(const Args& args, Shared& shared)
        : args(args),
          shared(shared),
          item(args.items[blockIdx.x]),
          kv_head(blockIdx.y),
          rows{shared.rows, static_cast<int>(item.num_rows)},
          num_queries(item.num_rows * args.group),
          warp(threadIdx.x / 32),
          lane(threadIdx.x % 32) {
        for (int i = 0; i < 2 * TILES; ++i) {
            folded_largest[i] = NONE;
            folded_totals[i] = 0.0f;
        }
    }

    __device__ void run() {
        load_rows();
        const int end_span = item.end_split * SPANS_PER_SPLIT;
        Pass pass = rows.next({static_cast<int>(item.first_split) * SPANS_PER_SPLIT, Pass::ALL - 1}, end_span);
        Pass ahead = pass;
        if (pass.span < end_span) {
            locate(pass, 0);
            __syncthreads();
            load(0);
            ahead = rows.next(pass, end_span);
            locate(ahead, 1);
        }
        split.clear();
        for (int stage = 0; pass.span < end_span; stage ^= 1) {
            device::wait_for_copies<0>();
            // This stage has arrived for all, and nobody reads the other any more.
            __syncthreads();
            Pass further = ahead;
            if (ahead.span < end_span) {
                load(stage ^ 1);
                further = rows.next(ahead, end_span);
                locate(further, stage);
            }
            attend(pass, stage);
            const int split_index = pass.span / SPANS_PER_SPLIT;
            if (ahead.span / SPANS_PER_SPLIT != split_index) {
                end_split(split_index);
            }
            pass = ahead;
            ahead = further;
        }
    }

    // The item's rows, and their queries, filled up with zeros.
    __device__ void load_rows() {
        for (int row = threadIdx.x; row < rows.count; row += THREADS) {
            shared.rows[row] = args.rows[item.first_row + row];
        }
        constexpr int CHUNKS = DIM / 8;
        for (int i = threadIdx.x; i < QUERIES * CHUNKS; i += THREADS) {
            const int query = i / CHUNKS, at = i % CHUNKS * 8;
            const bool there = query < num_queries && at < static_cast<int>(args.head_dim);
            const int64_t head = kv_head * args.group + query % args.group;
            const int64_t row = item.first_row + query / args.group;
            const bf16* from = static_cast<const bf16*>(args.q);
            from += there ? row * args.q_stride + head * args.head_dim + at : 0;
            device::copy_async(&shared.queries[query][at], from, there);
            if (at == 0) {
                shared.row_of[query] = query / args.group;
            }
        }
        device::copies_begun();
        __syncthreads();
    }

    // Finds a pass's keys in the cache.
    __device__ void locate(const Pass& pass, int stage) {
        const int place = threadIdx.x;
        if (place < SPAN) {
            const int row = max(pass.row, 0);
            const bool there = pass.row == Pass::ALL || place < rows.seen(row, pass.span);
            // Past the last pass there is nothing to be found.
            const bool in_item = pass.span < static_cast<int>(item.end_split) * SPANS_PER_SPLIT;
            int64_t slot = -1;
            if (there && in_item) {
                const uint32_t position = pass.span * SPAN + place;
                const uint32_t own = pass.row == Pass::ALL ? position : slot_at(shared.rows[row], position);
                slot = cache_slot(args.blocks, args.block_size, shared.rows[row], own);
            }
            shared.slots[stage][place] = slot;
        }
    }

    // Begins to load a stage's keys and values; zeros where they are missing.
    __device__ void load(int stage) {
        constexpr int CHUNKS = DIM / 8;
        for (int i = threadIdx.x; i < 2 * SPAN * CHUNKS; i += THREADS) {
            const int part = i / (SPAN * CHUNKS), place = i / CHUNKS % SPAN, at = i % CHUNKS * 8;
            const int64_t slot = shared.slots[stage][place];
            const bool there = slot >= 0 && at < static_cast<int>(args.head_dim);
            const int64_t head = part * args.kv_heads + kv_head;
            const bf16* from = static_cast<const bf16*>(args.cache);
            from += there ? slot * args.cache_stride + head * args.head_dim + at : 0;
            device::copy_async(&shared.cache[stage][part][place][at], from, there);
        }
        device::copies_begun();
    }

    // True if some query of 16 takes part.
    __device__ bool tile_takes_part(const Pass& pass, int tile) const {
        const int first = 16 * tile, last = first + 15;
        if (pass.row == Pass::ALL) {
            return first < num_queries;
        }
        const int group = args.group;
        return pass.row * group <= last && first < (pass.row + 1) * group;
    }

    // The thread's query i.
    __device__ int query(int i) const {
        return lane / 4 + 8 * i;
    }

    // Takes a pass's keys and values in.
    __device__ void attend(const Pass& pass, int stage) {
        float scores[TILES][2][4];
        score(pass, stage, scores);
        const int seen = pass.row == Pass::ALL ? SPAN : rows.seen(pass.row, pass.span);
        for (int tile = 0; tile < TILES; ++tile) {
            if (tile_takes_part(pass, tile)) {
                largest_of_warp(seen, tile, scores[tile]);
            }
        }
        __syncthreads();
        float factors[2 * TILES];
        bool takes_part[2 * TILES];
#pragma unroll
        for (int i = 0; i < 2 * TILES; ++i) {
            takes_part[i] = query(i) < num_queries && rows.takes_part(pass, shared.row_of[query(i)]);
            float largest = split.largest[i];
            for (int w = 0; w < WARPS; ++w) {
                largest = fmaxf(largest, shared.largest[w][query(i)]);
            }
            factors[i] = split.largest[i] == largest ? 1.0f : exp2f(split.largest[i] - largest);
            if (takes_part[i]) {
                split.largest[i] = largest;
            }
        }
        for (int tile = 0; tile < TILES; ++tile) {
            if (tile_takes_part(pass, tile)) {
                weigh(seen, tile, scores[tile]);
            }
        }
        __syncthreads();
#pragma unroll
        for (int i = 0; i < 2 * TILES; ++i) {
            if (takes_part[i]) {
                float total = 0.0f;
                for (int w = 0; w < WARPS; ++w) {
                    total += shared.totals[w][query(i)];
                }
                split.totals[i] = __fmaf_rn(split.totals[i], factors[i], total);
#pragma unroll
                for (int column = 0; column < COLUMNS; ++column) {
                    split.values[i / 2][column][i % 2 * 2] *= factors[i];
                    split.values[i / 2][column][i % 2 * 2 + 1] *= factors[i];
                }
            }
        }
        mix(pass, stage, takes_part);
    }

    // Scores of all queries with the warp's 16 keys, scaled.
    __device__ void score(const Pass& pass, int stage, float (&scores)[TILES][2][4]) {
        for (int tile = 0; tile < TILES; ++tile) {
            for (int i = 0; i < 8; ++i) {
                scores[tile][i / 4][i % 4] = 0.0f;
            }
        }
#pragma unroll
        for (int at = 0; at < DIM; at += 16) {
            uint32_t keys[4];
            device::load_matrices(keys,
                                  &shared.cache[stage][0][16 * warp + lane % 8 + lane / 16 * 8][at + lane / 8 % 2 * 8]);
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                if (tile_takes_part(pass, tile)) {
                    uint32_t queries[4];
                    device::load_matrices(queries, &shared.queries[16 * tile + lane % 16][at + lane / 16 * 8]);
                    device::multiply(scores[tile][0], queries, keys[0], keys[1], scores[tile][0]);
                    device::multiply(scores[tile][1], queries, keys[2], keys[3], scores[tile][1]);
                }
            }
        }
        const float scale = args.scale;
        for (int tile = 0; tile < TILES; ++tile) {
            for (int i = 0; i < 8; ++i) {
                scores[tile][i / 4][i % 4] *= scale;
            }
        }
    }

    // The key in the span that the thread's score i of 8 is of.
    __device__ int key(int i) const {
        return 16 * warp + i / 4 * 8 + lane % 4 * 2 + i % 2;
    }

    // The largest of the scores that a query has with the warp's keys.
    __device__ void largest_of_warp(int seen, int tile, const float (&scores)[2][4]) {
        for (int half = 0; half < 2; ++half) {
            float largest = NONE;
            for (int i = 0; i < 8; ++i) {
                if (i / 2 % 2 == half && key(i) < seen) {
                    largest = fmaxf(largest, scores[i / 4][i % 4]);
                }
            }
            largest = fmaxf(largest, device::exchange_xor(largest, 1));
            largest = fmaxf(largest, device::exchange_xor(largest, 2));
            if (lane % 4 == 0) {
                shared.largest[warp][query(2 * tile + half)] = largest;
            }
        }
    }

    // Turns scores into weights, and adds up those of the warp's keys. A missing key weighs nothing.
    __device__ void weigh(int seen, int tile, const float (&scores)[2][4]) {
        for (int half = 0; half < 2; ++half) {
            const int query = this->query(2 * tile + half);
            // Nobody looks at the weights of a query that takes no part.
            const float largest = split.largest[2 * tile + half];
            float total = 0.0f;
            for (int part = 0; part < 2; ++part) {
                for (int i = 0; i < 2; ++i) {
                    const int at = key(4 * part + i);
                    const float weight = at < seen ? exp2f(scores[part][2 * half + i] - largest) : 0.0f;
                    total += weight;
                    shared.weights[query][at] = narrow<bf16>(weight);
                }
            }
            total += device::exchange_xor(total, 1);
            total += device::exchange_xor(total, 2);
            if (lane % 4 == 0) {
                shared.totals[warp][query] = total;
            }
        }
    }

    // Adds weighted values up, in the warp's dimensions, for the queries that take part.
    __device__ void mix(const Pass& pass, int stage, const bool (&takes_part)[2 * TILES]) {
#pragma unroll
        for (int place = 0; place < SPAN; place += 16) {
            uint32_t weights[TILES][4];
#pragma unroll
            for (int tile = 0; tile < TILES; ++tile) {
                if (tile_takes_part(pass, tile)) {
                    device::load_matrices(weights[tile],
                                          &shared.weights[16 * tile + lane % 16][place + lane / 16 * 8]);
                }
            }
#pragma unroll
            for (int column = 0; column < COLUMNS; ++column) {
                uint32_t values[2];
                device::load_transposed(values,
                                        &shared.cache[stage][1][place + lane % 16][8 * (warp * COLUMNS + column)]);
#pragma unroll
                for (int tile = 0; tile < TILES; ++tile) {
                    if (tile_takes_part(pass, tile)) {
                        float (&own)[4] = split.values[tile][column];
                        float sums[4];
                        device::multiply(sums, weights[tile], values[0], values[1], own);
                        // Another row's values may be no numbers.
                        for (int i = 0; i < 4; ++i) {
                            own[i] = takes_part[2 * tile + i / 2] ? sums[i] : own[i];
                        }
                    }
                }
            }
        }
    }

    // Ends a split: folds its sums into those of the item's splits before it, which wait in the partial sums, and starts
    // anew. What has seen all its keys is written out instead.
    __device__ void end_split(int index) {
#pragma unroll
        for (int i = 0; i < 2 * TILES; ++i) {
            const int query = this->query(i);
            if (query >= num_queries || rows.seen(shared.row_of[query], index * SPANS_PER_SPLIT) == 0) {
                continue;
            }
            const Row& row = shared.rows[shared.row_of[query]];
            const Fold fold(folded_largest[i], split.largest[i]);
            folded_largest[i] = fold.largest;
            folded_totals[i] = fold.add(folded_totals[i], split.totals[i]);
            const uint32_t head = kv_head * args.group + query % args.group;
            const uint32_t place = item.first_split == 0 ? 0 : item.first_split + 1 - row.lead;
            float* sums = partial(args, row.partials + place, head);
            const bool is_last = index + 1u == min(item.end_split, num_splits(row));
            const bool is_complete = is_last && num_partials(row) == 1;
            if (is_last && !is_complete && warp == 0 && lane % 4 == 0) {
                sums[0] = folded_largest[i];
                sums[1] = folded_totals[i];
            }
            const int64_t y_row = item.first_row + shared.row_of[query];
            bf16* y = static_cast<bf16*>(args.y) + (y_row * args.kv_heads * args.group + head) * args.head_dim;
#pragma unroll
            for (int column = 0; column < COLUMNS; ++column) {
                for (int j = 0; j < 2; ++j) {
                    const uint32_t at = 8 * (warp * COLUMNS + column) + lane % 4 * 2 + j;
                    if (at < args.head_dim) {
                        const float older = index == static_cast<int>(item.first_split) ? 0.0f : sums[2 + at];
                        const float sum = fold.add(older, split.values[i / 2][column][i % 2 * 2 + j]);
                        if (is_complete) {
                            y[at] = narrow<bf16>(__fdiv_rn(sum, folded_totals[i]));
                        } else {
                            sums[2 + at] = sum;
                        }
                    }
                }
            }
        }
        split.clear();
    }
};

}  // namespace
