// Reductions in the order R3 of docs/adr/001, and the place of an extreme. Results are of the type that is computed with
// (f32 for 2-byte floats, i64 for integers; what has no kernel here is cast to that first); what is cut into chunks becomes partial results for `reduce_tree`.
#include "fold.cuh"

// A group that holds the innermost dim: out[row * chunks + chunk], a team (see Team) a chunk.
struct RowPlan {
    Strided outer; // where the rows start
    i64 step, n, chunks, tasks;
    i32 width, code;
};

template <template <class> class F, class T>
DEVICE void rows(const T* __restrict__ x, typename Compute<T>::type* __restrict__ out, const RowPlan& plan) {
    typedef typename Compute<T>::type C;
    const F<C> f(plan.code);
    const Team team(plan.width);
    const i64 teams = blockDim.x / plan.width, all = teams * gridDim.x;
    const i64 in_warp = 32 / plan.width;
    const i64 own = blockIdx.x * teams + threadIdx.x / plan.width;
#pragma unroll 1
    for (i64 first = own / in_warp * in_warp; first < plan.tasks; first += all) {
        const i64 task = first + own % in_warp;
        const i64 known = task < plan.tasks ? task : plan.tasks - 1;
        const i64 row = known / plan.chunks, start = known % plan.chunks * CHUNK;
        const i32 n = plan.n - start < CHUNK ? (i32)(plan.n - start) : CHUNK;
        const i64 step = plan.step;
        const T* const from = x + place_of(plan.outer, row) + start * step;
        const C found = fold_chunk<C>(team, n, f, [=](i32 k) { return widen(from[k * step]); });
        if (team.lane == 0 && task < plan.tasks) out[task] = found;
    }
}

// As `rows`, where a row's elements lie one after the other, each chunk from a multiple of 16 bytes on.
template <template <class> class F, class T>
DEVICE void lines(const T* __restrict__ x, typename Compute<T>::type* __restrict__ out, const RowPlan& plan) {
    typedef typename Compute<T>::type C;
    constexpr i32 WIDTH = 64 / Pack<T>::LEN, IN_WARP = 32 / WIDTH;
    const F<C> f(plan.code);
    const i32 part = (i32)(threadIdx.x % 32) / WIDTH;
    const i64 all = (i64)gridDim.x * (blockDim.x / WIDTH);
#pragma unroll 1
    for (i64 first = (i64)blockIdx.x * (blockDim.x / WIDTH) + threadIdx.x / 32 * IN_WARP; first < plan.tasks; first += all) {
        const i64 task = first + part;
        const i64 known = task < plan.tasks ? task : plan.tasks - 1;
        const i64 row = divided(known, plan.chunks), start = (known - row * plan.chunks) * CHUNK;
        const i32 n = plan.n - start < CHUNK ? (i32)(plan.n - start) : CHUNK;
        const C found = fold_line<C>(x + place_of(plan.outer, row) + start, n, f);
        if (threadIdx.x % WIDTH == 0 && task < plan.tasks) out[task] = found;
    }
}

// As `rows`, where neighbours are rows, not elements of one: blocks of 32 rows x 8 threads, of 8 lanes each.
template <template <class> class F, class T>
DEVICE void across(const T* __restrict__ x, typename Compute<T>::type* __restrict__ out, const RowPlan& plan,
                   typename Compute<T>::type (*sums)[32], u32 (*zeros)[32]) {
    typedef typename Compute<T>::type C;
    const F<C> f(plan.code);
    const i32 column = threadIdx.x, y = threadIdx.y;
    const i64 rows = plan.tasks / plan.chunks, tiles = (rows + 31) / 32;
    for (i64 tile = blockIdx.x; tile < tiles * plan.chunks; tile += gridDim.x) {
        const i64 row = tile % tiles * 32 + column, chunk = tile / tiles, start = chunk * CHUNK;
        const i32 n = plan.n - start < CHUNK ? (i32)(plan.n - start) : CHUNK;
        const T* const from = x + place_of(plan.outer, row < rows ? row : rows - 1) + start * plan.step;
        C acc[8];
        u32 zero = NO_ZERO;
#pragma unroll
        for (i32 j = 0; j < 8; ++j) acc[j] = f.start();
#pragma unroll 1
        for (i32 k = y; k < n; k += 64) {
#pragma unroll
            for (i32 j = 0; j < 8; ++j) {
                if (k + 8 * j < n) {
                    const C value = widen(from[(k + 8 * j) * plan.step]);
                    if (F<C>::PICKS) zero = zero_at(zero, value, k + 8 * j);
                    acc[j] = f.join(acc[j], value);
                }
            }
        }
#pragma unroll
        for (i32 w = 4; w > 0; w >>= 1)
#pragma unroll
            for (i32 j = 0; j < w; ++j) acc[j] = f.join(acc[j], acc[j + w]);
        sums[y][column] = acc[0];
        zeros[y][column] = zero;
        __syncthreads();
        for (i32 w = 4; w > 0; w >>= 1) {
            if (y < w) {
                sums[y][column] = f.join(sums[y][column], sums[y + w][column]);
                zeros[y][column] = lower(zeros[y][column], zeros[y + w][column]);
            }
            __syncthreads();
        }
        if (y == 0 && row < rows) {
            const C found = sums[0][column];
            out[row * plan.chunks + chunk] = F<C>::PICKS ? first_zero(found, zeros[0][column]) : found;
        }
        __syncthreads(); // both are used again
    }
}

// Any other group: out[(a * chunks + chunk) * columns + column], a thread a column of a chunk.
struct ColumnPlan {
    Strided outer, inner;
    i64 step, rows, chunks, columns, tasks;
    i32 code;
};

template <template <class> class F, class T>
DEVICE void columns(const T* __restrict__ x, typename Compute<T>::type* __restrict__ out, const ColumnPlan& plan) {
    typedef typename Compute<T>::type C;
    const F<C> f(plan.code);
#pragma unroll 1
    GRID_STRIDE(i, plan.tasks) {
        const i64 line = i / plan.columns, start = line % plan.chunks * ROWS;
        const i32 n = plan.rows - start < ROWS ? (i32)(plan.rows - start) : ROWS;
        const T* from = x + place_of(plan.outer, line / plan.chunks) + place_of(plan.inner, i % plan.columns);
        from += start * plan.step;
        C sum = f.start();
        i32 k = 0;
#pragma unroll 1
        for (; k + 8 <= n; k += 8) {
            C value[8];
#pragma unroll
            for (i32 j = 0; j < 8; ++j) value[j] = widen(from[(k + j) * plan.step]);
#pragma unroll
            for (i32 j = 0; j < 8; ++j) sum = f.join(sum, value[j]);
        }
#pragma unroll 1
        for (; k < n; ++k) sum = f.join(sum, widen(from[k * plan.step]));
        out[i] = sum;
    }
}

// The pair tree's lowest four levels: out[line][group][column] of x[line][count][column], groups of 16.
template <class F, class C>
DEVICE void tree(const C* __restrict__ x, C* __restrict__ out, i64 lines, i64 count, i64 columns, const F& f) {
    const i64 groups = (count + 15) / 16;
#pragma unroll 1
    GRID_STRIDE(i, lines * groups * columns) {
        const i64 first = i / columns % groups * 16, line = i / columns / groups;
        const i32 n = count - first < 16 ? (i32)(count - first) : 16;
        const C* const from = x + (line * count + first) * columns + i % columns;
        C v[16];
#pragma unroll
        for (i32 j = 0; j < 16; ++j) v[j] = j < n ? from[j * columns] : f.start();
#pragma unroll
        for (i32 w = 1; w < 16; w *= 2)
#pragma unroll
            for (i32 j = 0; j < 16; j += 2 * w)
                if (j + w < n) v[j] = f.join(v[j], v[j + w]); // an odd last one is carried over
        out[i] = v[0];
    }
}

#define REDUCE(op, F, T)                                                                                       \
    KERNEL_BOUNDED(256, reduce_rows_##op##_##T, const T* x, Compute<T>::type* out, const RowPlan plan) {        \
        rows<F>(x, out, plan);                                                                                 \
    }                                                                                                          \
    KERNEL_BOUNDED(256, reduce_across_##op##_##T, const T* x, Compute<T>::type* out, const RowPlan plan) {      \
        __shared__ Compute<T>::type sums[8][32];                                                                \
        __shared__ u32 zeros[8][32];                                                                           \
        across<F>(x, out, plan, sums, zeros);                                                                  \
    }                                                                                                          \
    KERNEL_BOUNDED(256, reduce_columns_##op##_##T, const T* x, Compute<T>::type* out, const ColumnPlan plan) {  \
        columns<F>(x, out, plan);                                                                              \
    }
#define TREE(op, F, T)                                                                                                   \
    KERNEL_BOUNDED(256, reduce_tree_##op##_##T, const T* x, T* out, i64 lines, i64 count, i64 columns, i32 code) { \
        tree(x, out, lines, count, columns, F<T>(code));                                                                 \
    }
#define EACH_TYPE(op, F) \
    REDUCE(op, F, f32) REDUCE(op, F, f64) REDUCE(op, F, i64) TREE(op, F, f32) TREE(op, F, f64) TREE(op, F, i64)
#define LINES(op, F, T) \
    KERNEL_BOUNDED(256, reduce_lines_##op##_##T, const T* x, Compute<T>::type* out, const RowPlan plan) { lines<F>(x, out, plan); }
EACH_TYPE(sum, Sum)
LINES(sum, Sum, f32) LINES(sum, Sum, f64) LINES(sum, Sum, f16) LINES(sum, Sum, bf16)
LINES(pick, Pick, f32) LINES(pick, Pick, f64)
REDUCE(sum, Sum, f16)
REDUCE(sum, Sum, bf16)
EACH_TYPE(prod, Prod)
EACH_TYPE(pick, Pick)

// ---- the place of an extreme ----

// out[row * chunks + chunk]: the index in its row of the best of up to `chunk` candidates. They are all elements of the row, or,
// in a second pass, those that the first one found in its chunks.
struct ArgPlan {
    Strided outer;
    i64 step, n, chunk, chunks, rows;
    i32 width, smallest;
};

template <class T> DEVICE void arg(const T* __restrict__ x, const i64* __restrict__ candidates, i64* __restrict__ out, const ArgPlan& plan) {
    typedef typename Compute<T>::type C;
    const Team team(plan.width);
    const i64 teams = blockDim.x / plan.width, all = teams * gridDim.x, tasks = plan.rows * plan.chunks;
    const i64 in_warp = 32 / plan.width;
    const i64 own = blockIdx.x * teams + threadIdx.x / plan.width;
    const auto beats = [&](C left, i64 at, C right, i64 other) { // the right one comes before the left one
        if (is_nan(left) || is_nan(right)) return is_nan(right) && (!is_nan(left) || other < at);
        if (left == right) return other < at;
        return plan.smallest != 0 ? right < left : right > left;
    };
#pragma unroll 1
    for (i64 first = own / in_warp * in_warp; first < tasks; first += all) {
        const i64 task = first + own % in_warp;
        const i64 known = task < tasks ? task : tasks - 1;
        const i64 row = known % plan.rows, chunk = known / plan.rows; // neighbours are rows
        const i64 start = chunk * plan.chunk, end = plan.n - start < plan.chunk ? plan.n : start + plan.chunk;
        const T* const from = x + place_of(plan.outer, row);
        const auto candidate = [&](i64 k) { return candidates != nullptr ? candidates[row * plan.n + k] : k; };
        const i64 begin = start + team.lane < end ? start + team.lane : end - 1;
        i64 at = candidate(begin);
        C best = widen(from[at * plan.step]);
#pragma unroll 2
        for (i64 k = begin + team.width; k < end; k += team.width) {
            const i64 other = candidate(k);
            const C value = widen(from[other * plan.step]);
            if (beats(best, at, value, other)) best = value, at = other;
        }
        for (i32 w = plan.width >> 1; w > 0; w >>= 1) {
            const C value = __shfl_down_sync(WARP, best, w);
            const i64 other = __shfl_down_sync(WARP, at, w);
            if (beats(best, at, value, other)) best = value, at = other;
        }
        if (team.lane == 0 && task < tasks) out[row * plan.chunks + chunk] = at;
    }
}

#define ARG(T)                                                                                                     \
    KERNEL_BOUNDED(256, reduce_arg_##T, const T* x, const i64* candidates, i64* out, const ArgPlan plan) { \
        arg(x, candidates, out, plan);                                                                             \
    }
ARG(f32) ARG(f64) ARG(i64)
