// Rows held in shared memory: read from global memory once, 16 bytes at a time, and then as often as sums need them. The sums
// are R3's (docs/adr/001): a warp adds the lanes, whoever brought the elements.
#pragma once
#include "fold.cuh"
#include "frames.cuh"

// The threads that share a row of up to 16,384 elements: the whole block (width > 32) or some neighbours in a warp, fewer than 32
// only if the row is no longer. `SCRATCH` bytes of the block's shared memory are theirs, then come the rows, `arrays` a team.
constexpr i32 SCRATCH = 128;
struct RowThreads {
    Team team;        // of a warp
    i32 rank, count;  // of those that share the row
    bool block;
    DEVICE explicit RowThreads(i32 width) : team(width < 32 ? width : 32), count(width), block(width > 32) {
        rank = block ? (i32)threadIdx.x : team.lane;
    }
    // Where this team's array `which` of `n` elements lies.
    template <class C> DEVICE C* array(unsigned char* shared, i32 n, i32 which, i32 arrays) const {
        const i32 team = block ? 0 : (i32)threadIdx.x / count;
        return reinterpret_cast<C*>(shared + SCRATCH) + (i64)(team * arrays + which) * ((n + 3) / 4 * 4);
    }
    DEVICE void sync() const {
        if (block) __syncthreads();
        else __syncwarp();
    }
    // The sum of at(0), .. at(n - 1), right for `known`; in a block warp `warp` finds it.
    template <class C, i32 AT_ONCE = 8, class At> DEVICE C sum(i32 n, i32 warp, const At& at) const {
        if (block && (i32)(threadIdx.x / 32) != warp) return C(0);
        return fold_chunk<C, AT_ONCE>(team, n, Sum<C>(0), at);
    }
    // What one warp's lane 0 found, to all. Two slots, `warp` and that of another, may be in use between two `sync`s.
    template <class C> DEVICE void tell(unsigned char* shared, i32 warp, C found) const {
        if (block && (i32)threadIdx.x == warp * 32) reinterpret_cast<C*>(shared)[8 + warp] = found;
    }
    template <class C> DEVICE C known(unsigned char* shared, i32 warp, C found) const {
        return block ? reinterpret_cast<C*>(shared)[8 + warp] : team.first(found);
    }
    // The largest, NaN above all; which of equal zeros is open. Includes a `sync`. For blocks of 256.
    template <class C> DEVICE C largest(unsigned char* shared, C x) const {
        for (i32 w = team.width >> 1; w > 0; w >>= 1) x = maximum(x, __shfl_xor_sync(WARP, x, w));
        if (!block) {
            __syncwarp();
            return x;
        }
        C* const slots = reinterpret_cast<C*>(shared);
        if (team.lane == 0) slots[threadIdx.x / 32] = x;
        __syncthreads();
#pragma unroll
        for (i32 i = 0; i < 8; ++i) x = maximum(x, slots[i]);
        return x;
    }
};

// `row` runs over the rows that this thread's team has; all of a warp go through the loop together, `have` being false where there is
// none left (then `row` is some other).
#define EACH_ROW(row, have, rows, width)                                                                                       \
    for (i64 row##_teams = blockDim.x / (width), row##_together = (width) < 32 ? 32 / (width) : 1,                             \
             row##_own = blockIdx.x * row##_teams + threadIdx.x / (width), row##_first = row##_own / row##_together * row##_together; \
         row##_first < (rows); row##_first += row##_teams * gridDim.x)                                                         \
        if (const i64 row##_mine = row##_first + row##_own % row##_together; true)                                             \
            if (const bool have = row##_mine < (rows); true)                                                                   \
                if (const i64 row = have ? row##_mine : (rows) - 1; true)

// `of(k, four)` gets the elements k .. k + 4 of a row, in groups; `one(k, x)` those that are left, or all where they don't lie at
// places for groups. Four groups are on their way at once.
template <class T, class G, class O> DEVICE void read_row(const T* from, i32 n, bool groups, const RowThreads& threads, const G& of, const O& one) {
    const i32 whole = groups ? n & ~3 : 0, step = threads.count * 4;
#pragma unroll 1
    for (i32 k = threads.rank * 4; k < whole; k += step * 4) {
        Four<T> x[4];
#pragma unroll
        for (i32 j = 0; j < 4; ++j)
            if (k + j * step < whole) x[j] = load(from + k + j * step);
#pragma unroll
        for (i32 j = 0; j < 4; ++j)
            if (k + j * step < whole) of(k + j * step, x[j]);
    }
#pragma unroll 2
    for (i32 k = whole + threads.rank; k < n; k += threads.count) one(k, from[k]);
}
