// Rows held in shared memory: read from global memory once, 16 bytes at a time, and then as often as sums need them. The sums
// are R3's (docs/adr/001): a warp adds the lanes, whoever brought the elements.
#pragma once
#include "fold.cuh"
#include "frames.cuh"

constexpr i32 SCRATCH = 128; // bytes of a block's shared memory before the rows
// One instruction, where it is open which of equal zeros is found and whether NaN counts.
#ifdef CUDA_EMU
template <class C> DEVICE C larger(C a, C b) { return a > b ? a : b; }
#else
DEVICE f32 larger(f32 a, f32 b) { return fmaxf(a, b); }
DEVICE f64 larger(f64 a, f64 b) { return fmax(a, b); }
#endif

// The threads that share a row of up to 16,384 elements: the whole block (width > 32) or some neighbours in a warp, fewer than 32
// only if the row is no longer. A team has `arrays` rows of shared memory.
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
    // The largest; which of equal zeros, and whether NaN counts, is open. Includes a `sync`. For blocks of 256.
    template <class C> DEVICE C largest(unsigned char* shared, C x) const {
        for (i32 w = team.width >> 1; w > 0; w >>= 1) x = larger(x, __shfl_xor_sync(WARP, x, w));
        if (!block) {
            __syncwarp();
            return x;
        }
        C* const slots = reinterpret_cast<C*>(shared);
        if (team.lane == 0) slots[threadIdx.x / 32] = x;
        __syncthreads();
#pragma unroll
        for (i32 i = 0; i < 8; ++i) x = larger(x, slots[i]);
        return x;
    }
};

// `row` runs over the rows that this thread's team has; all of a warp go through the loop together, `have` being false where there is
// none left (then `row` is some other).
#define EACH_ROW(row, have, rows, width)                                                                         \
    for (i64 row##_first = threadIdx.x / (width) + (i64)blockIdx.x * (blockDim.x / (width)),                     \
             row##_part = (width) < 32 ? threadIdx.x % 32 / (width) : 0;                                         \
         row##_first - row##_part < (rows); row##_first += (i64)gridDim.x * (blockDim.x / (width)))              \
        if (const bool have = row##_first < (rows); true)                                                        \
            if (const i64 row = have ? row##_first : (rows) - 1; true)

// Four neighbours into shared memory at once. (As a struct, the compiler would take it apart.)
DEVICE void put(f32* to, const Four<f32>& v) { *reinterpret_cast<float4*>(to) = float4{v.x, v.y, v.z, v.w}; }
DEVICE void put(f64* to, const Four<f64>& v) { store(to, v); }

// `of(k, four)` gets the elements k .. k + 4 of a row, in groups; `one(k, x)` those that are left, or all where they don't lie at
// places for groups. 64 bytes a thread are on their way at once.
template <class T, class G, class O> DEVICE void read_row(const T* from, i32 n, bool groups, const RowThreads& threads, const G& of, const O& one) {
    constexpr i32 AT_ONCE = sizeof(T) == 8 ? 2 : 4;
    const i32 whole = groups ? n & ~3 : 0, step = threads.count * 4;
#pragma unroll 1
    for (i32 k = threads.rank * 4; k < whole; k += step * AT_ONCE) {
        Four<T> x[AT_ONCE];
#pragma unroll
        for (i32 j = 0; j < AT_ONCE; ++j)
            if (k + j * step < whole) x[j] = load(from + k + j * step);
#pragma unroll
        for (i32 j = 0; j < AT_ONCE; ++j)
            if (k + j * step < whole) of(k + j * step, x[j]);
    }
#pragma unroll 2
    for (i32 k = whole + threads.rank; k < n; k += threads.count) one(k, from[k]);
}
