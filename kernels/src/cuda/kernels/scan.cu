// Scans along a dim (kernels/src/cpu/scan.rs): the chain of each line runs in ascending index, carried in f64 (integers: i64), each
// element rounded from it. A block takes some lines, of each a piece at a time: all its threads bring it to shared memory and
// take the results back; between, one thread a line runs the chain.
#include "fold.cuh"

constexpr i32 MOST = 32, ROOM = 2048 + MOST;

struct ScanPlan {
    Strided x, y; // where each line starts; y: the second operand of a linear scan
    i64 x_step, y_step, n, lines, inner;
    i32 together, columns; // lines and elements of each at a time; together * columns <= 2048
    i32 across;            // neighbours in memory are lines
    i32 how;
};

// What the lines of a block share.
struct Starts {
    i64 x[MOST], y[MOST], out[MOST];
};

template <class T> struct Carried {
    typedef f64 type;
};
template <> struct Carried<i64> {
    typedef i64 type;
};

// For each group of lines: `start` by the line's thread; for each piece `bring` by all, `run` by the line's thread, `take` by all. Each
// gets a place in shared memory or elements and their number.
template <class Start, class Bring, class Run, class Take>
DEVICE void each_piece(const ScanPlan& plan, Starts& starts, const Start& start, const Bring& bring, const Run& run, const Take& take) {
    const i32 own = threadIdx.x, pitch = plan.columns + 1;
    for (i64 first = blockIdx.x * (i64)plan.together; first < plan.lines; first += (i64)gridDim.x * plan.together) {
        const i32 lines = plan.lines - first < plan.together ? (i32)(plan.lines - first) : plan.together;
        if (own < lines) {
            const i64 line = first + own, outer = line / plan.inner;
            starts.x[own] = place_of(plan.x, line);
            starts.y[own] = place_of(plan.y, line);
            starts.out[own] = outer * plan.n * plan.inner + (line - outer * plan.inner);
            start();
        }
        __syncthreads();
        for (i64 at = 0; at < plan.n; at += plan.columns) {
            const i32 width = plan.n - at < plan.columns ? (i32)(plan.n - at) : plan.columns;
            const auto all = [&](const auto& body) {
#pragma unroll 1
                for (i32 e = own; e < plan.together * plan.columns; e += blockDim.x) {
                    const i32 line = plan.across != 0 ? e % plan.together : e / plan.columns;
                    const i32 k = plan.across != 0 ? e / plan.together : e - line * plan.columns;
                    if (line < lines && k < width) body(line, line * pitch + k, at + k);
                }
            };
            all(bring);
            __syncthreads();
            if (own < lines) run(own * pitch, width, at);
            __syncthreads();
            all(take);
            __syncthreads();
        }
    }
}

// Sums (how: 0) or products.
template <class T> DEVICE void chain(const T* __restrict__ x, T* __restrict__ out, const ScanPlan& plan, Starts& starts, T* tile) {
    typedef typename Carried<T>::type C;
    C carry = C(0);
    each_piece(
        plan, starts, [&]() { carry = plan.how == 0 ? C(0) : C(1); },
        [&](i32 line, i32 place, i64 k) { tile[place] = x[starts.x[line] + k * plan.x_step]; },
        [&](i32 place, i32 width, i64) {
            if (plan.how == 0) {
#pragma unroll 8
                for (i32 k = 0; k < width; ++k) tile[place + k] = (T)(carry = plus(carry, (C)tile[place + k]));
            } else {
#pragma unroll 8
                for (i32 k = 0; k < width; ++k) tile[place + k] = (T)(carry = times(carry, (C)tile[place + k]));
            }
        },
        [&](i32 line, i32 place, i64 k) { out[starts.out[line] + k * plan.inner] = tile[place]; });
}
#define CHAIN(T)                                                                               \
    KERNEL_BOUNDED(256, scan_chain_##T, const T* x, T* out, const ScanPlan plan) { \
        __shared__ T tile[ROOM];                                                               \
        __shared__ Starts starts;                                                              \
        chain(x, out, plan, starts, tile);                                                     \
    }
CHAIN(f32) CHAIN(f64) CHAIN(i64)

// s = a * s + b, product and sum each rounded.
template <class T>
DEVICE void linear(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ out, const ScanPlan& plan, Starts& starts, T* tile, T* second) {
    f64 carry = 0.0;
    each_piece(
        plan, starts, [&]() { carry = 0.0; },
        [&](i32 line, i32 place, i64 k) {
            tile[place] = a[starts.x[line] + k * plan.x_step];
            second[place] = b[starts.y[line] + k * plan.y_step];
        },
        [&](i32 place, i32 width, i64) {
#pragma unroll 8
            for (i32 k = 0; k < width; ++k) tile[place + k] = (T)(carry = (f64)tile[place + k] * carry + (f64)second[place + k]);
        },
        [&](i32 line, i32 place, i64 k) { out[starts.out[line] + k * plan.inner] = tile[place]; });
}
#define LINEAR(T)                                                                                              \
    KERNEL_BOUNDED(256, scan_linear_##T, const T* a, const T* b, T* out, const ScanPlan plan) { \
        __shared__ T tile[ROOM];                                                                               \
        __shared__ T second[ROOM];                                                                             \
        __shared__ Starts starts;                                                                              \
        linear(a, b, out, plan, starts, tile, second);                                                         \
    }
LINEAR(f32) LINEAR(f64)

// The largest so far (how: 0) or the smallest, and where it stands; NaN wins, the last of equals.
template <class T>
DEVICE void extremes(const T* __restrict__ x, T* __restrict__ out, i64* __restrict__ indices, const ScanPlan& plan, Starts& starts, T* tile, u32* places) {
    T best = T(0);
    u32 index = 0;
    each_piece(
        plan, starts, [&]() { index = 0; },
        [&](i32 line, i32 place, i64 k) { tile[place] = x[starts.x[line] + k * plan.x_step]; },
        [&](i32 place, i32 width, i64 at) {
            if (at == 0) best = tile[place];
#pragma unroll 1
            for (i32 k = 0; k < width; ++k) {
                const T value = tile[place + k];
                const bool as_good = plan.how == 0 ? value >= best : value <= best;
                if (is_nan(value) || (as_good && !is_nan(best))) best = value, index = (u32)(at + k);
                tile[place + k] = best;
                places[place + k] = index;
            }
        },
        [&](i32 line, i32 place, i64 k) {
            out[starts.out[line] + k * plan.inner] = tile[place];
            indices[starts.out[line] + k * plan.inner] = (i64)places[place];
        });
}
#define EXTREMES(T)                                                                                               \
    KERNEL_BOUNDED(256, scan_extremes_##T, const T* x, T* out, i64* indices, const ScanPlan plan) { \
        __shared__ T tile[ROOM];                                                                                  \
        __shared__ u32 places[ROOM];                                                                              \
        __shared__ Starts starts;                                                                                 \
        extremes(x, out, indices, plan, starts, tile, places);                                                    \
    }
EXTREMES(f32) EXTREMES(f64) EXTREMES(i64)
