// Selection by index and its adjoints (kernels/src/cpu/gather). No sum depends on which thread is first: elements that meet are
// combined by one thread, in ascending order of the source. An index outside its dim is noted, not used.
#include "fold.cuh"

// True if `chosen` names one of `size` places; else `fault` gets the lowest position of such an index (its complement, so that 0 means
// none).
DEVICE bool inside(i64 chosen, i64 size, i64 position, u64* fault) {
    if ((u64)chosen < (u64)size) return true;
    atomicMax(fault, ~(u64)position);
    return false;
}
DEVICE i64 quotient(i64 a, i64 b) { return ((u64)a | (u64)b) >> 32 == 0 ? (i64)((u32)a / (u32)b) : a / b; }

KERNEL(index_check, const i64* index, const Strided layout, i64 n, i64 size, u64* fault) {
    GRID_STRIDE(i, n) inside(index[place_of(layout, i)], size, i, fault);
}

struct alignas(16) b128 {
    u64 half[2];
};
#define EACH_SIZE(macro) macro(1, u8) macro(2, u16) macro(4, u32) macro(8, u64)

// out[i] = x[rest(i) + index(i) * step]
#define GATHER(bytes, T)                                                                                                    \
    KERNEL(index_gather_##bytes, const T* __restrict__ x, const Strided rest, i64 step, i64 size, const i64* __restrict__ index, \
           const Strided layout, T* __restrict__ out, i64 n, u64* fault) {                                                  \
        _Pragma("unroll 1") GRID_STRIDE(i, n) {                                                                                                 \
            const i64 chosen = index[place_of(layout, i)];                                                                  \
            if (inside(chosen, size, i, fault)) out[i] = x[place_of(rest, i) + chosen * step];                              \
        }                                                                                                                   \
    }
EACH_SIZE(GATHER)

// out[a][k][b] = x[a][index[k]][b], `width` elements b.
#define SELECT(bytes, T)                                                                                                    \
    KERNEL(index_select_##bytes, const T* __restrict__ x, const Strided rest, i64 step, i64 size, const i64* __restrict__ index, \
           i64 index_step, i64 count, i64 width, T* __restrict__ out, i64 n, u64* fault) {                                  \
        _Pragma("unroll 1") GRID_STRIDE(i, n) {                                                                                                 \
            const i64 line = quotient(i, width), k = line - quotient(line, count) * count;                                  \
            const i64 chosen = index[k * index_step];                                                                       \
            if (inside(chosen, size, k, fault)) out[i] = x[place_of(rest, i) + chosen * step];                              \
        }                                                                                                                   \
    }
EACH_SIZE(SELECT)
SELECT(16, b128)

// ---- elements that meet ----

// What an element does to the one that is there: adds, multiplies, the larger or the smaller stays (NaN wins).
template <class T> DEVICE T met(T there, T x, i32 how) {
    switch (how) {
        case 0: return plus(there, x);
        case 1: return times(there, x);
        case 2: return x > there || is_nan(x) ? x : there;
        default: return x < there || is_nan(x) ? x : there;
    }
}

// A thread a line along the dim that is indexed. `inner`: elements beyond that dim; 0: the index is one vector for all lines.
struct Lines {
    Strided x, index, out;
    i64 x_step, index_step, out_step, n, lines, size, inner;
    i32 how;
};

template <class T> DEVICE void lines(const T* __restrict__ x, const i64* __restrict__ index, T* __restrict__ out, const Lines& plan, u64* fault) {
#pragma unroll 1
    GRID_STRIDE(line, plan.lines) {
        const T* const from = x + place_of(plan.x, line);
        const i64* const at = index + place_of(plan.index, line);
        T* const to = out + place_of(plan.out, line);
#pragma unroll 1
        for (i64 k = 0; k < plan.n; ++k) {
            const i64 chosen = at[k * plan.index_step];
            if ((u64)chosen < (u64)plan.size) {
                T* const place = to + chosen * plan.out_step;
                *place = met(*place, from[k * plan.x_step], plan.how);
            } else {
                const i64 outer = plan.inner > 0 ? line / plan.inner : 0;
                inside(chosen, plan.size, plan.inner > 0 ? (outer * plan.n + k) * plan.inner + line % plan.inner : k, fault);
            }
        }
    }
}
#define LINES(T)                                                                                                \
    KERNEL(index_lines_##T, const T* x, const i64* index, T* out, const Lines plan, u64* fault) { \
        lines(x, index, out, plan, fault);                                                                      \
    }
LINES(f32) LINES(f64) LINES(i64)

// keys[i] = the place in the result that element i goes to; these are sorted then, stably.
KERNEL(index_keys, const i64* __restrict__ index, const Strided layout, const Strided rest, i64 step, i64 size, u32* __restrict__ keys, i64 n,
       u64* fault) {
    GRID_STRIDE(i, n) {
        const i64 chosen = index[place_of(layout, i)];
        keys[i] = inside(chosen, size, i, fault) ? (u32)(place_of(rest, i) + chosen * step) : 0;
    }
}

// The elements of a source [outer, n, width] in the order of their sorted keys: who has the first of some equal keys takes them all.
struct Meeting {
    Strided rest; // of the source, without the dim of size n
    i64 step, n, width, size, total;
    i32 how;
};

template <class T>
DEVICE void meet(const T* __restrict__ x, const u32* __restrict__ keys, const u32* __restrict__ order, T* __restrict__ out, const Meeting& plan) {
#pragma unroll 1
    GRID_STRIDE(i, plan.total) {
        const i64 line = quotient(i, plan.width), outer = quotient(line, plan.n), first = line - outer * plan.n;
        const u32 key = keys[first];
        if (first > 0 && keys[first - 1] == key) continue;
        const T* const from = x + place_of(plan.rest, i);
        T* const to = out + (outer * plan.size + key) * plan.width + (i - line * plan.width);
        T sum = *to;
#pragma unroll 1
        for (i64 k = first; k < plan.n && keys[k] == key; ++k) sum = met(sum, from[order[k] * plan.step], plan.how);
        *to = sum;
    }
}
#define MEET(T)                                                                                                   \
    KERNEL(index_meet_##T, const T* x, const u32* keys, const u32* order, T* out, const Meeting plan) { \
        meet(x, keys, order, out, plan);                                                                          \
    }
MEET(f32) MEET(f64) MEET(i64)

// ---- the last one stays ----

// winner[place] = 1 + the last element that goes there.
KERNEL(index_claim, const i64* __restrict__ index, const Strided layout, const Strided rest, i64 step, i64 size, u32* winner, i64 n, u64* fault) {
    GRID_STRIDE(i, n) {
        const i64 chosen = index[place_of(layout, i)];
        if (inside(chosen, size, i, fault)) atomicMax(&winner[place_of(rest, i) + chosen * step], (u32)i + 1);
    }
}
#define LAST(bytes, T)                                                                                                 \
    KERNEL(index_last_##bytes, const T* __restrict__ x, const Strided from, const i64* __restrict__ index, const Strided layout, \
           const Strided rest, i64 step, i64 size, const u32* __restrict__ winner, T* __restrict__ out, i64 n) {       \
        _Pragma("unroll 1") GRID_STRIDE(i, n) {                                                                                            \
            const i64 chosen = index[place_of(layout, i)];                                                             \
            if ((u64)chosen >= (u64)size) continue;                                                                    \
            const i64 place = place_of(rest, i) + chosen * step;                                                       \
            if (winner[place] == (u32)i + 1) out[place] = x[place_of(from, i)];                                        \
        }                                                                                                              \
    }
EACH_SIZE(LAST)

// ---- windows that overlap ----

// out[a][p][b] = the sum of x[a][w][b][p - w * step] over windows w, ascending.
struct Windows {
    Strided rest; // of x in the shape of the result, without windows and taps
    i64 window_step, tap_step, windows, taps, step, size, width, total;
};

template <class T> DEVICE void fold(const T* __restrict__ x, T* __restrict__ out, const Windows& plan) {
#pragma unroll 1
    GRID_STRIDE(i, plan.total) {
        const i64 line = quotient(i, plan.width), p = line - quotient(line, plan.size) * plan.size;
        const i64 last = quotient(p, plan.step), end = last < plan.windows ? last + 1 : plan.windows;
        const T* const from = x + place_of(plan.rest, i);
        T sum = T(0);
#pragma unroll 1
        for (i64 w = p < plan.taps ? 0 : quotient(p - plan.taps, plan.step) + 1; w < end; ++w)
            sum = sum + from[w * plan.window_step + (p - w * plan.step) * plan.tap_step];
        out[i] = sum;
    }
}
#define FOLD(T) \
    KERNEL(index_fold_##T, const T* x, T* out, const Windows plan) { fold(x, out, plan); }
FOLD(f32) FOLD(f64)
