// Softmax, its logarithm and cross entropy over the middle of contiguous [outer, size, inner] (kernels/src/cpu/softmax). A row that
// fits into shared memory is one kernel's; of others the maxima are found by `reduce`, the sums of exponentials chunk by chunk here
// and then by `reduce_tree`.
#include "row.cuh"
#include "math.cuh"

// log(x) of a sum of exponentials: at least 1, or NaN. In f64, so that f32 is rounded once (kernels/src/cpu/random/transform.rs).
DEVICE f64 log_of(f64 x) {
    const u64 bits = bits_of(x);
    const i32 high = (i32)(u32)(bits >> 32) - 0x3fe6a09e;
    const u64 fraction = (u64)(u32)((high & 0xfffff) + 0x3fe6a09e);
    const f64 f = float_of(fraction << 32 | (bits & 0xffffffffull)) - 1.0;
    const f64 k = (f64)(high >> 20);
    const f64 s = f / (2.0 + f), z = s * s;
    f64 r = 1.4798198605116586e-1;
    r = fma(r, z, 1.5313837699209373e-1);
    r = fma(r, z, 1.818357216161805e-1);
    r = fma(r, z, 2.2222198432149784e-1);
    r = fma(r, z, 2.857142874366239e-1);
    r = fma(r, z, 3.999999999940942e-1);
    r = fma(r, z, 6.666666666666735e-1);
    r *= z;
    const f64 half = 0.5 * f * f;
    return k * 6.931471803691238e-1 - ((half - (s * (half + r) + k * 1.9082149292705877e-10)) - f);
}
template <class C> DEVICE C log_sum(C x) { return x - x == C(0) ? (C)log_of((f64)x) : x; }

// What becomes of a row x with the maximum m, e = exp(x - m) and their sum s: e / s (0), (x - m) - log(s) (1), log(s) - (x[t] - m), one
// element a row (2), (e / s - [it is t]) * w (3).
enum Form { QUOTIENT, LOGARITHM, LOSS, GRADIENT };

// All that an element of the result is made of; s is log(s) where that is asked for.
template <class C> struct Known {
    C m, s, weight;
    i64 target;
    i32 form;
    DEVICE Known(C m, C s, const i64* targets, i64 row, i32 form, C weight) : m(m), weight(weight), form(form) {
        this->s = form == LOGARITHM || form == LOSS ? log_sum(s) : s;
        target = targets != nullptr ? targets[row] : -1;
    }
    // Element k, from its exponential, or from itself for the logarithm.
    template <class T> DEVICE T of(C e, i64 k) const {
        if (form == LOGARITHM) return narrow<T>((e - m) - s);
        const C y = e / s;
        return narrow<T>(form == GRADIENT ? (y - (k == target ? C(1) : C(0))) * weight : y);
    }
    // A row's loss. (A target that is no class is told of by `softmax_classes`.)
    template <class T> DEVICE T loss(const T* x, i64 n) const {
        return narrow<T>(s - (((u64)target < (u64)n ? widen(x[target]) : C(0)) - m));
    }
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
        C most = least<C>(false);
        read_row(
            from, n, neat, threads,
            [&](i32 k, const Four<T>& f) {
                const Four<C> v{widen(f.x), widen(f.y), widen(f.z), widen(f.w)};
                most = maximum(most, maximum(maximum(v.x, v.y), maximum(v.z, v.w)));
                store(row + k, v);
            },
            [&](i32 k, T f) {
                most = maximum(most, widen(f));
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
            const Known<C> known(m, s, targets, line, form, weight != nullptr ? widen(weight[line * step]) : C(1));
            T* const to = out + line * n;
            if (form == LOSS) {
                if (threads.rank == 0) out[line] = known.loss(from, n);
            } else if (neat) {
#pragma unroll 1
                for (i32 k = threads.rank * 4; k < n; k += threads.count * 4) {
                    Four<C> e = load((const C*)row + k);
                    if (form == LOGARITHM) { // the caches still have it
                        const Four<T> f = load(from + k);
                        e = Four<C>{widen(f.x), widen(f.y), widen(f.z), widen(f.w)};
                    }
                    store(to + k, Four<T>{known.template of<T>(e.x, k), known.template of<T>(e.y, k + 1), known.template of<T>(e.z, k + 2),
                                          known.template of<T>(e.w, k + 3)});
                }
            } else {
#pragma unroll 1
                for (i32 k = threads.rank; k < n; k += threads.count)
                    to[k] = known.template of<T>(form == LOGARITHM ? widen(from[k]) : row[k], k);
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
        const Known<C> known(maxima[place], sums[place], targets, place, form, weight != nullptr ? widen(weight[place * step]) : C(1));
        if (form == LOSS) {
            out[i] = known.loss(x + place * size, size);
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

#define SOFTMAX(T)                                                                                                         \
    KERNEL_BOUNDED(256, softmax_rows_##T, const T* x, const i64* targets, const T* weight, T* out, i32 n, i64 rows, i32 width, i32 form, \
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
SOFTMAX(f32) SOFTMAX(f64) SOFTMAX(f16) SOFTMAX(bf16)
