// Where rows find their keys and values in the paged cache: `Paging` of paging.rs, laid out for the device.
#pragma once

#include <device.cuh>

struct Row {
    uint64_t ancestors;    // the tree mask
    uint32_t position;     // place in the sequence
    uint32_t context_len;  // position of the sequence's tree root
    uint32_t table;        // where the sequence's block table starts
    uint32_t partials;     // where its partial sums start, see paged_attention.cu
    uint32_t lead;         // splits that its first partial sum holds
    uint32_t unused;
};

// The cache slot of a slot of the row's sequence.
__device__ inline int64_t cache_slot(const uint32_t* blocks, uint32_t block_size, const Row& row, uint32_t slot) {
    return static_cast<int64_t>(blocks[row.table + slot / block_size]) * block_size + slot % block_size;
}

// The slot of the sequence in which the row finds a position's key: that of the tree's nodes above the row, by depth,
// from the root's position on.
__device__ inline uint32_t slot_at(const Row& row, uint32_t position) {
    if (position < row.context_len) {
        return position;
    }
    uint64_t mask = row.ancestors;
    for (uint32_t depth = position - row.context_len; depth > 0; --depth) {
        mask &= mask - 1;
    }
    return row.context_len + __ffsll(static_cast<long long>(mask)) - 1;
}
