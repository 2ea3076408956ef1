// Sorting along a dim, stable, and searching in sorted rows (kernels/src/cpu/sort.rs, search.rs). Elements become unsigned keys that
// order like them. Rows of up to 2048 keys are sorted in shared memory, longer ones 8 bits at a time.
#include "common.cuh"

// ---- keys ----

// Signed integers that order like the number, NaN last and zeros equal; then unsigned.
DEVICE u32 key_of(f32 x) {
    const i32 bits = (i32)bits_of(x + 0.0f);
    return (u32)(is_nan(x) ? 0x7fffffff : bits < 0 ? bits ^ 0x7fffffff : bits) ^ 0x80000000u;
}
DEVICE u64 key_of(f64 x) {
    const i64 bits = (i64)bits_of(x + 0.0), most = (i64)~(1ull << 63);
    return (u64)(is_nan(x) ? most : bits < 0 ? bits ^ most : bits) ^ 1ull << 63;
}
DEVICE u32 half_key(u32 bits, u32 infinity) {
    const u32 rest = bits & 0x7fff;
    if (rest > infinity) return 0xffff;
    return (bits >> 15) != 0 ? 0x8000 - rest : 0x8000 + rest;
}
DEVICE u32 key_of(f16 x) { return half_key(x.bits, 0x7c00); }
DEVICE u32 key_of(bf16 x) { return half_key(x.bits, 0x7f80); }
DEVICE u32 key_of(i8 x) { return (u32)(u8)x ^ 0x80u; }
DEVICE u32 key_of(u8 x) { return x; }
DEVICE u32 key_of(i32 x) { return (u32)x ^ 0x80000000u; }
DEVICE u64 key_of(i64 x) { return (u64)x ^ 1ull << 63; }

// keys[line * n + k] of element k of each line; all bits of `flip` are turned.
#define KEYS(T, K)                                                                                                        \
    KERNEL(sort_keys_##T, const T* __restrict__ x, const Strided lines, i64 step, i64 n, K* __restrict__ keys, i64 total, u64 flip) { \
        _Pragma("unroll 1") GRID_STRIDE(i, total) {                                                                                           \
            const i64 line = i / n;                                                                                       \
            keys[i] = key_of(x[place_of(lines, line) + (i - line * n) * step]) ^ (K)flip;                                 \
        }                                                                                                                 \
    }
KEYS(f32, u32) KEYS(f16, u32) KEYS(bf16, u32) KEYS(i8, u32) KEYS(u8, u32) KEYS(i32, u32)
KEYS(f64, u64) KEYS(i64, u64)

// ---- short rows ----

constexpr i32 SHORT = 2048;

// Sorts `tile` keys a block, some whole rows of n keys, each filled up to `padded`: a bitonic network of keys with their places, of
// which no two are equal. `order` gets the places.
template <class K> DEVICE void sort_short(K* keys, u32* order, i64 rows, i32 n, i32 padded, i32 tile, K* key, u16* place) {
    const i64 in_tile = tile / padded;
    for (i64 first = blockIdx.x * in_tile; first < rows; first += gridDim.x * in_tile) {
        for (i32 e = threadIdx.x; e < tile; e += blockDim.x) {
            const i64 row = first + e / padded;
            const i32 k = e & (padded - 1);
            key[e] = row < rows && k < n ? keys[row * n + k] : ~K(0);
            place[e] = (u16)k;
        }
        __syncthreads();
        for (i32 size = 2; size <= padded; size *= 2) {
            for (i32 apart = size / 2; apart > 0; apart /= 2) {
                for (i32 t = threadIdx.x; t < tile / 2; t += blockDim.x) {
                    const i32 low = 2 * t - (t & (apart - 1)), high = low + apart;
                    const bool up = (low & (padded - 1) & size) == 0;
                    const K a = key[low], b = key[high];
                    const u16 p = place[low], q = place[high];
                    if ((a > b || (a == b && p > q)) == up) {
                        key[low] = b, key[high] = a;
                        place[low] = q, place[high] = p;
                    }
                }
                __syncthreads();
            }
        }
        for (i32 e = threadIdx.x; e < tile; e += blockDim.x) {
            const i64 row = first + e / padded;
            const i32 k = e & (padded - 1);
            if (row < rows && k < n) {
                keys[row * n + k] = key[e];
                order[row * n + k] = place[e];
            }
        }
        __syncthreads();
    }
}
#define SORT_SHORT(K)                                                                                                \
    KERNEL_BOUNDED(256, sort_short_##K, K* keys, u32* order, i64 rows, i32 n, i32 padded, i32 tile) {   \
        __shared__ K key[SHORT];                                                                                     \
        __shared__ u16 place[SHORT];                                                                                 \
        sort_short(keys, order, rows, n, padded, tile, key, place);                                                  \
    }
SORT_SHORT(u32) SORT_SHORT(u64)

// ---- long rows: 8 bits a pass, from the lowest on ----

constexpr i32 DIGITS = 256, WARPS = 8, ROUNDS = 16, PIECE = 32 * WARPS * ROUNDS;

// counts[row][digit][piece]: how many keys of a piece of 4096 have each digit. Blocks of 256 threads.
template <class K> DEVICE void sort_count(const K* keys, u32* counts, i64 n, i64 pieces, i64 tasks, i32 shift, u32* found) {
    for (i64 task = blockIdx.x; task < tasks; task += gridDim.x) {
        const i64 row = task / pieces, piece = task - row * pieces, start = piece * PIECE;
        const i32 len = n - start < PIECE ? (i32)(n - start) : PIECE;
        const K* const from = keys + row * n + start;
        found[threadIdx.x] = 0;
        __syncthreads();
        for (i32 e = threadIdx.x; e < len; e += blockDim.x) atomicAdd(&found[(u32)(from[e] >> shift) & (DIGITS - 1)], 1u);
        __syncthreads();
        counts[(row * DIGITS + threadIdx.x) * pieces + piece] = found[threadIdx.x];
        __syncthreads();
    }
}

// The sum over all lower lanes, and over all.
DEVICE u32 sum_before(u32 own, u32* all) {
    const u32 lane = threadIdx.x & 31;
    u32 sum = own;
    for (u32 by = 1; by < 32; by *= 2) {
        const u32 lower = __shfl_up_sync(WARP, sum, by);
        if (lane >= by) sum += lower;
    }
    *all = __shfl_sync(WARP, sum, 31);
    return sum - own;
}

// Over the pieces of each row and digit: how many keys come before; totals[row][digit]: how many there are. A warp a list.
KERNEL_BOUNDED(256, sort_offsets, u32* counts, u32* totals, i64 pieces, i64 lists) {
    const i64 lane = threadIdx.x & 31;
#pragma unroll 1
    for (i64 list = blockIdx.x * WARPS + threadIdx.x / 32; list < lists; list += gridDim.x * WARPS) {
        u32 before = 0;
#pragma unroll 1
        for (i64 first = 0; first < pieces; first += 32) {
            u32* const place = counts + list * pieces + first + lane;
            u32 all;
            const bool there = first + lane < pieces;
            const u32 offset = sum_before(there ? *place : 0, &all);
            if (there) *place = before + offset;
            before += all;
        }
        if (lane == 0) totals[list] = before;
    }
}

template <class K> struct Pass {
    const K* keys;
    const u32* order; // null: 0, 1, 2..
    K* keys_out;
    u32* order_out;
    const u32 *counts, *totals;
    i64 n, pieces, tasks;
    i32 shift;
};

// Moves each key behind those with lower digits, and those with its own that come before it.
template <class K> DEVICE void sort_place(const Pass<K>& pass, u32 (*seen)[DIGITS], u32* sums, u16* ranks) {
    const u32 lane = threadIdx.x & 31, warp = threadIdx.x / 32;
    for (i64 task = blockIdx.x; task < pass.tasks; task += gridDim.x) {
        const i64 row = task / pass.pieces, piece = task - row * pass.pieces;
        const i64 first = piece * PIECE + warp * (32 * ROUNDS) + lane;
        const K* const keys = pass.keys + row * pass.n;
        u32 all;
        u32 start = sum_before(pass.totals[row * DIGITS + threadIdx.x], &all);
        if (lane == 0) sums[warp] = all;
        for (i32 w = 0; w < WARPS; ++w) seen[w][threadIdx.x] = 0;
        __syncthreads();
        for (u32 w = 0; w < warp; ++w) start += sums[w];
        start += pass.counts[(row * DIGITS + threadIdx.x) * pass.pieces + piece];
        u16* const rank = ranks + warp * (32 * ROUNDS) + lane;
#pragma unroll 1
        for (i32 r = 0; r < ROUNDS; ++r) {
            const i64 at = first + 32 * r;
            const bool there = at < pass.n;
            const u32 digit = there ? (u32)(keys[at] >> pass.shift) & (DIGITS - 1) : 0;
            u32 same = __ballot_sync(WARP, there);
#pragma unroll
            for (i32 bit = 0; bit < 8; ++bit) {
                const bool set = (digit >> bit & 1) != 0;
                const u32 votes = __ballot_sync(WARP, set);
                same &= set ? votes : ~votes;
            }
            const u32 lower = (u32)__popc(same & ((1u << lane) - 1));
            rank[32 * r] = (u16)(there ? seen[warp][digit] + lower : 0);
            __syncwarp();
            if (there && lower == 0) seen[warp][digit] += (u32)__popc(same);
            __syncwarp();
        }
        __syncthreads();
#pragma unroll 1
        for (i32 w = 0; w < WARPS; ++w) {
            const u32 count = seen[w][threadIdx.x];
            seen[w][threadIdx.x] = start;
            start += count;
        }
        __syncthreads();
#pragma unroll 2
        for (i32 r = 0; r < ROUNDS; ++r) {
            const i64 at = first + 32 * r;
            if (at < pass.n) {
                const K key = keys[at];
                const i64 to = row * pass.n + seen[warp][(u32)(key >> pass.shift) & (DIGITS - 1)] + rank[32 * r];
                pass.keys_out[to] = key;
                pass.order_out[to] = pass.order != nullptr ? pass.order[row * pass.n + at] : (u32)at;
            }
        }
        __syncthreads();
    }
}
#define SORT_LONG(K)                                                                                                        \
    KERNEL_BOUNDED(256, sort_count_##K, const K* keys, u32* counts, i64 n, i64 pieces, i64 tasks, i32 shift) { \
        __shared__ u32 found[DIGITS];                                                                                       \
        sort_count(keys, counts, n, pieces, tasks, shift, found);                                                           \
    }                                                                                                                       \
    KERNEL_BOUNDED(256, sort_place_##K, const Pass<K> pass) {                                                               \
        __shared__ u32 seen[WARPS][DIGITS];                                                                                 \
        __shared__ u32 sums[WARPS];                                                                                         \
        __shared__ u16 ranks[PIECE];                                                                                        \
        sort_place(pass, seen, sums, ranks);                                                                                       \
    }
SORT_LONG(u32) SORT_LONG(u64)

// ---- the results ----

// The elements in their order, and where along the dim they stood: of lines [a, b], b of `inner`, element k lies at [a][k][b].
#define APPLY(bytes, T)                                                                                                     \
    KERNEL(sort_apply_##bytes, const T* __restrict__ x, const Strided lines, i64 step, const u32* __restrict__ order,       \
           T* __restrict__ values, i64* __restrict__ indices, i64 n, i64 inner, i64 total) {                                \
        _Pragma("unroll 1") GRID_STRIDE(i, total) {                                                                                             \
            const i64 above = i / inner, outer = above / n, line = outer * inner + (i - above * inner);                     \
            const u32 chosen = order[line * n + (above - outer * n)];                                                       \
            values[i] = x[place_of(lines, line) + (i64)chosen * step];                                                      \
            indices[i] = (i64)chosen;                                                                                       \
        }                                                                                                                   \
    }
APPLY(1, u8) APPLY(2, u16) APPLY(4, u32) APPLY(8, u64)

// ---- searching ----

// How many elements of a row are smaller than each value (`right`: or equal), in the very steps of the CPU, which count where the row
// is not sorted. A comparison with NaN is false: a NaN is passed by nothing but the end.
template <class T>
DEVICE void search(const T* __restrict__ sorted, const T* __restrict__ values, i64* __restrict__ out, i64 n, i64 per_row, i64 total, i32 one,
                   i32 right) {
#pragma unroll 1
    GRID_STRIDE(i, total) {
        const T* const row = sorted + (one != 0 ? 0 : i / per_row * n);
        const auto value = widen(values[i]);
        const auto passed = [&](i64 k) {
            const auto x = widen(row[k]);
            return !(right != 0 ? x > value : x >= value);
        };
        i64 base = 0;
        for (i64 size = n; size > 1;) {
            const i64 half = size / 2;
            if (passed(base + half)) base += half;
            size -= half;
        }
        out[i] = base + (n > 0 && passed(base) ? 1 : 0);
    }
}
#define SEARCH(T)                                                                                                          \
    KERNEL(sort_search_##T, const T* sorted, const T* values, i64* out, i64 n, i64 per_row, i64 total, i32 one, i32 right) { \
        search(sorted, values, out, n, per_row, total, one, right);                                                        \
    }
SEARCH(f32) SEARCH(f64) SEARCH(f16) SEARCH(bf16) SEARCH(i8) SEARCH(u8) SEARCH(i32) SEARCH(i64)
