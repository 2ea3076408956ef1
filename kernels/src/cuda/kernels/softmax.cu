// Softmax, its logarithm and cross entropy over the middle of contiguous [outer, size, inner] (kernels/src/cpu/softmax). A row that
// fits into shared memory is one kernel's; of others the maxima are found by `reduce`, the sums of exponentials chunk by chunk here
// and then by `reduce_tree`.
#include "row.cuh"
#include "math.cuh"
#include "transform.cuh"

// log(x) of a sum of exponentials: at least 1, or NaN. In f64, so that f32 is rounded once.
template <class C> DEVICE C log_sum(C x) { return x - x == C(0) ? (C)log_of((f64)x) : x; }

// What becomes of a row x with the maximum m, e = exp(x - m) and their sum s: e / s (0), (x - m) - log(s) (1), log(s) - (x[t] - m), one
// element a row (2), (e / s - [it is t]) * w (3).
enum Form { QUOTIENT, LOGARITHM, LOSS, GRADIENT };

// All that an element of the result is made of; s is log(s) where that is asked for. `I` counts a row's elements; a target that is
// none of them is -1 (and told of by `softmax_classes`).
template <class C, class I> struct Known {
    C m, s, weight;
    I target;
    i32 form;
    DEVICE Known(C m, C s, i32 form) : m(m), s(form == LOGARITHM || form == LOSS ? log_sum(s) : s), weight(C(1)), target(-1), form(form) {}
    template <class T> DEVICE void look(const i64* targets, const T* weights, i64 row, i64 step, I n) {
        if (targets != nullptr) {
            const i64 found = targets[row];
            target = (u64)found < (u64)n ? (I)found : I(-1);
        }
        if (weights != nullptr) weight = widen(weights[row * step]);
    }
    // Element k, from its exponential, or from itself for the logarithm.
    template <class T> DEVICE T of(C e, I k) const {
        if (form == LOGARITHM) return narrow<T>((e - m) - s);
        C y = e / s;
        if (form == GRADIENT) y = (y - (k == target ? C(1) : C(0))) * weight;
        return narrow<T>(y);
    }
    // A row's loss.
    template <class T> DEVICE T loss(const T* x) const { return narrow<T>(s - ((target >= 0 ? widen(x[target]) : C(0)) - m)); }
};

template <class T>
DEVICE void softmax_rows(const T* __restrict__ x, const i64* __restrict__ targets, const T* __restrict__ weight, T* __restrict__ out, i32 n,
                         i64 rows, i32 width, i32 form, i64 step) {
    typedef typename Compute<T>::type C;
    DYNAMIC_SHARED(unsigned char, shared);
    const RowThreads threads(width);
    C* const row = threads.array<C>(shared, n, 0, 1);
    const bool neat = n % 4 == 0 && aligned(x) && aligned(out);
#pragma unroll 1
    EACH_ROW(line, have, rows, width) {
        const T* const from = x + line * n;
        // A NaN among the elements makes their sum NaN, and so all of the row, whatever the maximum is said to be.
        C most = least<C>(false);
        read_row(
            from, n, neat, threads,
            [&](i32 k, const Four<T>& f) {
                const Four<C> v{widen(f.x), widen(f.y), widen(f.z), widen(f.w)};
                most = larger(most, larger(larger(v.x, v.y), larger(v.z, v.w)));
                put(row + k, v);
            },
            [&](i32 k, T f) {
                most = larger(most, widen(f));
                row[k] = widen(f);
            });
        const C m = threads.largest(shared, most);
#pragma unroll 2
        for (i32 k = threads.rank; k < n; k += threads.count) row[k] = math::exp(row[k] - m);
        threads.sync();
        const C sum = threads.sum<C>(n, 0, [=](i32 k) { return row[k]; });
        threads.tell(shared, 0, sum);
        threads.sync();
        const C s = threads.known(shared, 0, sum);
        if (have) {
            Known<C, i32> known(m, s, opaque(form)); // else the compiler copies what follows for each
            known.look(targets, weight, line, step, n);
            T* const to = out + line * n;
            if (known.form == LOSS) {
                if (threads.rank == 0) out[line] = known.loss(from);
            } else if (neat) {
#pragma unroll 1
                for (i32 k = threads.rank * 4; k < n; k += threads.count * 4) {
                    Four<C> e = load((const C*)row + k);
                    if (known.form == LOGARITHM) { // the caches still have it
                        const Four<T> f = load(from + k);
                        e = Four<C>{widen(f.x), widen(f.y), widen(f.z), widen(f.w)};
                    }
                    store(to + k, Four<T>{known.template of<T>(e.x, k), known.template of<T>(e.y, k + 1), known.template of<T>(e.z, k + 2),
                                          known.template of<T>(e.w, k + 3)});
                }
            } else {
#pragma unroll 1
                for (i32 k = threads.rank; k < n; k += threads.count)
                    to[k] = known.template of<T>(known.form == LOGARITHM ? widen(from[k]) : row[k], k);
            }
        }
        threads.sync(); // the row is written again
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

// The result with the maxima and sums known; n elements, of the loss one a row.
template <class T, class C>
DEVICE void softmax_finish(const T* __restrict__ x, const C* __restrict__ maxima, const C* __restrict__ sums, const i64* __restrict__ targets,
                           const T* __restrict__ weight, T* __restrict__ out, i64 size, i64 inner, i64 n, i32 form, i64 step) {
    const i64 plane = form == LOSS ? 1 : size * inner;
#pragma unroll 1
    GRID_STRIDE(i, n) {
        const i64 outer = divided(i, plane), rest = i - outer * plane, k = divided(rest, inner), place = outer * inner + (rest - k * inner);
        Known<C, i64> known(maxima[place], sums[place], form);
        known.look(targets, weight, place, step, size);
        if (form == LOSS) {
            out[i] = known.loss(x + place * size);
        } else {
            const C value = widen(x[i]);
            out[i] = known.template of<T>(form == LOGARITHM ? value : math::exp(value - known.m), k);
        }
    }
}

// bad = rows - the first row whose target is no class; it starts as 0.
KERNEL(softmax_classes, const i64* targets, u64* bad, i64 rows, i64 classes) {
#pragma unroll 1
    GRID_STRIDE(i, rows) if ((u64)targets[i] >= (u64)classes) atomicMax(bad, (u64)(rows - i));
}

#define SOFTMAX(T, resident)                                                                                                        \
    KERNEL_RESIDENT(256, resident, softmax_rows_##T, const T* x, const i64* targets, const T* weight, T* out, i32 n, i64 rows, i32 width, i32 form, \
                   i64 step) {                                                                                             \
        softmax_rows(x, targets, weight, out, n, rows, width, form, step);                                                 \
    }                                                                                                                      \
    KERNEL_BOUNDED(256, softmax_sums_##T, const T* x, const Compute<T>::type* maxima, Compute<T>::type* sums, const SumPlan plan) { \
        softmax_sums(x, maxima, sums, plan);                                                                               \
    }                                                                                                                      \
    KERNEL_BOUNDED(256, softmax_finish_##T, const T* x, const Compute<T>::type* maxima, const Compute<T>::type* sums, const i64* targets, \
                   const T* weight, T* out, i64 size, i64 inner, i64 n, i32 form, i64 step) {                              \
        softmax_finish(x, maxima, sums, targets, weight, out, size, inner, n, form, step);                                 \
    }
SOFTMAX(f32, 4) SOFTMAX(f64, 2) SOFTMAX(f16, 4) SOFTMAX(bf16, 4)
