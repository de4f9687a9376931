// write_kv and move_kv: rows into the paged cache, and accepted rows to the front. Twin of kv.rs.
//
// cache: [slots, width], rows: [rows, width], of one dtype; slots: [rows].
// write_kv: blocks along x own a row, along y a run of its columns; a thread copies one pack of 16 bytes.
// move_kv: blocks along y own a run of columns, in which a thread owns one pack and makes all moves in order. It loads
// AT_ONCE rows before it stores them: the host sees to it that no move of a launch reads what an earlier one writes.
// Both are bound by memory where there is much to move, else by its latency.
#include <rows.cuh>

constexpr uint32_t THREADS = 256;
constexpr uint32_t MOST_MOVES = 64;
constexpr uint32_t AT_ONCE = 8;

struct WriteArgs {
    void* cache;
    const void* rows;
    const uint32_t* slots;
    int64_t cache_stride;
    int64_t rows_stride;
    uint32_t num_slots;
    uint32_t width;
};

struct MoveArgs {
    void* cache;
    int64_t cache_stride;
    uint32_t width;
    uint32_t num_moves;
    uint32_t moves[MOST_MOVES][2];  // from, to
};

template <typename T>
__device__ void write_kv(const WriteArgs& args) {
    const uint32_t column = own_column<T>(), slot = args.slots[blockIdx.x];
    // Rows that only fill up a step name no slot.
    if (column >= args.width || slot >= args.num_slots) {
        return;
    }
    const T* from = row_of(static_cast<const T*>(args.rows), args.rows_stride, blockIdx.x);
    T* to = row_of(static_cast<T*>(args.cache), args.cache_stride, slot);
    store(to, column, args.width, load(from, column, args.width));
}

template <typename T>
__device__ void move_kv(const MoveArgs& args) {
    const uint32_t column = own_column<T>();
    if (column >= args.width) {
        return;
    }
    T* cache = static_cast<T*>(args.cache);
    for (uint32_t first = 0; first < args.num_moves; first += AT_ONCE) {
        Pack<T> packs[AT_ONCE];
#pragma unroll
        for (uint32_t i = 0; i < AT_ONCE; ++i) {
            if (first + i < args.num_moves) {
                packs[i] = load<T>(row_of(cache, args.cache_stride, args.moves[first + i][0]), column, args.width);
            }
        }
#pragma unroll
        for (uint32_t i = 0; i < AT_ONCE; ++i) {
            if (first + i < args.num_moves) {
                store(row_of(cache, args.cache_stride, args.moves[first + i][1]), column, args.width, packs[i]);
            }
        }
    }
}

KERNEL(write_kv_float32, WriteArgs, THREADS, 1) {
    write_kv<float>(args);
}

KERNEL(write_kv_bfloat16, WriteArgs, THREADS, 1) {
    write_kv<bf16>(args);
}

KERNEL(move_kv_float32, MoveArgs, THREADS, 1) {
    move_kv<float>(args);
}

KERNEL(move_kv_bfloat16, MoveArgs, THREADS, 1) {
    move_kv<bf16>(args);
}
