// Softmax and its logarithm over the middle of contiguous [outer, size, inner] (kernels/src/cpu/softmax). A row of up to 16,384
// elements is one kernel's; of others the maxima are found by `reduce`, the sums of exponentials chunk by chunk here and then
// by `reduce_tree`.
#include "fold.cuh"
#include "math.cuh"
#include "transform.cuh"

// log(x) of a sum of exponentials: at least 1, or NaN. In f64, so that f32 is rounded once.
template <class C> DEVICE C log_sum(C x) { return x - x == C(0) ? (C)log_of((f64)x) : x; }

// One element of the result.
template <class T, class C> DEVICE T normalized(C x, C m, C s, bool log) { return narrow<T>(log ? (x - m) - s : math::exp(x - m) / s); }

// Rows of n elements, one after the other; n <= 16,384; a team a row.
template <class T> DEVICE void softmax_rows(const T* __restrict__ x, T* __restrict__ out, i64 n, i64 rows, i32 width, i32 log) {
    typedef typename Compute<T>::type C;
    const Team team(width);
    const i64 teams = blockDim.x / width, all = teams * gridDim.x, in_warp = 32 / width;
    const i64 own = blockIdx.x * teams + threadIdx.x / width;
#pragma unroll 1
    for (i64 first = own / in_warp * in_warp; first < rows; first += all) {
        const i64 row = first + own % in_warp;
        const T* const from = x + (row < rows ? row : rows - 1) * n;
        const C m = team.first(fold_chunk<C>(team, (i32)n, Pick<C>(0), [=](i32 k) { return widen(from[k]); }));
        C s = team.first(fold_chunk<C, 2>(team, (i32)n, Sum<C>(0), [=](i32 k) { return math::exp(widen(from[k]) - m); }));
        if (row >= rows) continue; // all that remains is each thread's own
        if (log != 0) s = log_sum(s);
#pragma unroll 1
        for (i32 k = team.lane; k < (i32)n; k += width) out[row * n + k] = normalized<T>(widen(from[k]), m, s, log != 0);
    }
}

// sums[(a * chunks + chunk) * inner + b]: of exp(x - m) over a chunk of [outer, size, inner]; inner == 1: as R3 has a row, by warps.
struct SumPlan {
    i64 size, inner, chunks, tasks;
};

template <class T, class C>
DEVICE void softmax_sums(const T* __restrict__ x, const C* __restrict__ maxima, C* __restrict__ sums, const SumPlan& plan) {
    if (plan.inner == 1) {
        const Team team(32);
        const i64 warps = blockDim.x / 32;
#pragma unroll 1
        for (i64 task = blockIdx.x * warps + threadIdx.x / 32; task < plan.tasks; task += warps * gridDim.x) {
            const i64 row = task / plan.chunks, start = task % plan.chunks * CHUNK;
            const i32 n = plan.size - start < CHUNK ? (i32)(plan.size - start) : CHUNK;
            const T* const from = x + row * plan.size + start;
            const C m = maxima[row];
            const C sum = fold_chunk<C, 2>(team, n, Sum<C>(0), [=](i32 k) { return math::exp(widen(from[k]) - m); });
            if (team.lane == 0) sums[task] = sum;
        }
        return;
    }
#pragma unroll 1
    GRID_STRIDE(i, plan.tasks) {
        const i64 b = i % plan.inner, line = i / plan.inner, a = line / plan.chunks, start = line % plan.chunks * ROWS;
        const i32 n = plan.size - start < ROWS ? (i32)(plan.size - start) : ROWS;
        const T* const from = x + (a * plan.size + start) * plan.inner + b;
        const C m = maxima[a * plan.inner + b];
        C sum = C(0);
#pragma unroll 2
        for (i32 k = 0; k < n; ++k) sum = sum + math::exp(widen(from[k * plan.inner]) - m);
        sums[i] = sum;
    }
}

// out = softmax(x), with the maxima and sums known.
template <class T, class C>
DEVICE void softmax_finish(const T* __restrict__ x, const C* __restrict__ maxima, const C* __restrict__ sums, T* __restrict__ out, i64 size,
                           i64 inner, i64 n, i32 log) {
#pragma unroll 1
    GRID_STRIDE(i, n) {
        const i64 place = i / (size * inner) * inner + i % inner;
        const C s = sums[place];
        out[i] = normalized<T>(widen(x[i]), maxima[place], log != 0 ? log_sum(s) : s, log != 0);
    }
}

#define SOFTMAX(T)                                                                                                         \
    KERNEL_BOUNDED(256, softmax_rows_##T, const T* x, T* out, i64 n, i64 rows, i32 width, i32 log) {                       \
        softmax_rows(x, out, n, rows, width, log);                                                                         \
    }                                                                                                                      \
    KERNEL_BOUNDED(256, softmax_sums_##T, const T* x, const Compute<T>::type* maxima, Compute<T>::type* sums, const SumPlan plan) { \
        softmax_sums(x, maxima, sums, plan);                                                                               \
    }                                                                                                                      \
    KERNEL_BOUNDED(256, softmax_finish_##T, const T* x, const Compute<T>::type* maxima, const Compute<T>::type* sums, T* out,     \
                   i64 size, i64 inner, i64 n, i32 log) {                                                                  \
        softmax_finish(x, maxima, sums, out, size, inner, n, log);                                                         \
    }
SOFTMAX(f32) SOFTMAX(f64) SOFTMAX(f16) SOFTMAX(bf16)
