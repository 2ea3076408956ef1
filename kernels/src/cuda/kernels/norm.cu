// Layer normalisation of contiguous [rows, n] and its adjoints (kernels/src/cpu/norm). `stats` is [rows, 2]: mean and rstd. Rows that
// fit into shared memory are one kernel's; of others the sums are found chunk by chunk and then by `reduce_tree`.
#include "row.cuh"

// The two values of a row's statistics.
template <class C> DEVICE C mean_of(C sum, C count) { return sum / count; }
template <class C> DEVICE C rstd_of(C sum, C count, C eps) { return C(1) / square_root(sum / count + eps); }

// (x - mean) * rstd, * weight, + bias.
template <class C> DEVICE C normal(C x, C mean, C rstd) { return (x - mean) * rstd; }
template <class C> DEVICE C affine(C y, const C* weight, const C* bias, i64 k) {
    if (weight != nullptr) y = y * weight[k];
    if (bias != nullptr) y = y + bias[k];
    return y;
}

template <class C>
DEVICE void norm_rows(const C* __restrict__ x, const C* __restrict__ weight, const C* __restrict__ bias, C* __restrict__ out,
                      C* __restrict__ stats, i32 n, i64 rows, i32 width, C eps) {
    DYNAMIC_SHARED(unsigned char, shared);
    const RowThreads threads(width);
    C* const row = threads.array<C>(shared, n, 0, 1);
    const C count = (C)n;
    const bool neat = n % 4 == 0 && aligned(x) && aligned(out) && aligned(weight) && aligned(bias);
#pragma unroll 1
    EACH_ROW(line, have, rows, width) {
        read_row(x + line * n, n, neat, threads, [=](i32 k, const Four<C>& v) { put(row + k, v); }, [=](i32 k, C v) { row[k] = v; });
        threads.sync();
        const C sum = threads.sum<C>(n, 0, [=](i32 k) { return row[k]; });
        threads.tell(shared, 0, sum);
        threads.sync();
        const C mean = mean_of(threads.known(shared, 0, sum), count);
        const C squares = threads.sum<C>(n, 1, [=](i32 k) {
            const C centered = row[k] - mean;
            return centered * centered;
        });
        threads.tell(shared, 1, squares);
        threads.sync();
        const C rstd = rstd_of(threads.known(shared, 1, squares), count, eps);
        if (have) {
            C* const to = out + line * n;
            if (threads.rank == 0) stats[2 * line] = mean, stats[2 * line + 1] = rstd;
            if (neat) {
#pragma unroll 1
                for (i32 k = threads.rank * 4; k < n; k += threads.count * 4) {
                    const Four<C> v = load((const C*)row + k);
                    Four<C> y{normal(v.x, mean, rstd), normal(v.y, mean, rstd), normal(v.z, mean, rstd), normal(v.w, mean, rstd)};
                    if (weight != nullptr) {
                        const Four<C> w = load(weight + k);
                        y = Four<C>{y.x * w.x, y.y * w.y, y.z * w.z, y.w * w.w};
                    }
                    if (bias != nullptr) {
                        const Four<C> b = load(bias + k);
                        y = Four<C>{y.x + b.x, y.y + b.y, y.z + b.z, y.w + b.w};
                    }
                    store(to + k, y);
                }
            } else {
#pragma unroll 1
                for (i32 k = threads.rank; k < n; k += threads.count) to[k] = affine(normal(row[k], mean, rstd), weight, bias, k);
            }
        }
        threads.sync(); // the row is written again
    }
}

// out = ((v - means[0]) - x^ * means[1]) * rstd
template <class C> DEVICE C projected(C v, C normal, C first, C second, C rstd) { return ((v - first) - normal * second) * rstd; }

template <class C>
DEVICE void norm_input_rows(const C* __restrict__ grad, const C* __restrict__ x, const C* __restrict__ stats, const C* __restrict__ weight,
                            C* __restrict__ out, i32 n, i64 rows, i32 width) {
    DYNAMIC_SHARED(unsigned char, shared);
    const RowThreads threads(width);
    C* const v = threads.array<C>(shared, n, 0, 2);
    C* const xs = threads.array<C>(shared, n, 1, 2);
    const C count = (C)n;
    const bool neat = n % 4 == 0 && aligned(x) && aligned(grad) && aligned(out) && aligned(weight);
#pragma unroll 1
    EACH_ROW(line, have, rows, width) {
        const C mean = stats[2 * line], rstd = stats[2 * line + 1];
        read_row(
            x + line * n, n, neat, threads,
            [=](i32 k, const Four<C>& f) {
                put(xs + k, Four<C>{normal(f.x, mean, rstd), normal(f.y, mean, rstd), normal(f.z, mean, rstd), normal(f.w, mean, rstd)});
            },
            [=](i32 k, C f) { xs[k] = normal(f, mean, rstd); });
        read_row(
            grad + line * n, n, neat, threads,
            [=](i32 k, Four<C> f) {
                if (weight != nullptr) {
                    const Four<C> w = load(weight + k);
                    f = Four<C>{f.x * w.x, f.y * w.y, f.z * w.z, f.w * w.w};
                }
                put(v + k, f);
            },
            [=](i32 k, C f) { v[k] = weight != nullptr ? f * weight[k] : f; });
        threads.sync();
        const C one = threads.sum<C>(n, 0, [=](i32 k) { return v[k]; });
        const C two = threads.sum<C>(n, 1, [=](i32 k) { return v[k] * xs[k]; });
        threads.tell(shared, 0, one);
        threads.tell(shared, 1, two);
        threads.sync();
        const C first = threads.known(shared, 0, one) / count, second = threads.known(shared, 1, two) / count;
        if (have) {
            C* const to = out + line * n;
            if (neat) {
#pragma unroll 1
                for (i32 k = threads.rank * 4; k < n; k += threads.count * 4) {
                    const Four<C> a = load((const C*)v + k), b = load((const C*)xs + k);
                    store(to + k, Four<C>{projected(a.x, b.x, first, second, rstd), projected(a.y, b.y, first, second, rstd),
                                          projected(a.z, b.z, first, second, rstd), projected(a.w, b.w, first, second, rstd)});
                }
            } else {
#pragma unroll 1
                for (i32 k = threads.rank; k < n; k += threads.count) to[k] = projected(v[k], xs[k], first, second, rstd);
            }
        }
        threads.sync(); // both are written again
    }
}

// out[chunk][column] = the sum over up to 256 rows of grad * x^.
template <class C>
DEVICE void norm_weight(const C* __restrict__ grad, const C* __restrict__ x, const C* __restrict__ stats, C* __restrict__ out, i64 rows,
                        i64 columns, i64 chunks) {
#pragma unroll 1
    GRID_STRIDE(i, chunks * columns) {
        const i64 chunk = i / columns, start = chunk * ROWS, first = start * columns + (i - chunk * columns);
        const i32 n = rows - start < ROWS ? (i32)(rows - start) : ROWS;
        const C *g = grad + first, *from = x + first, *stat = stats + 2 * start;
        C sum = C(0);
        i32 k = 0;
#pragma unroll 1
        for (; k + 8 <= n; k += 8, g += 8 * columns, from += 8 * columns, stat += 16) {
            C left[8], right[8];
#pragma unroll
            for (i32 j = 0; j < 8; ++j) left[j] = g[j * columns], right[j] = from[j * columns];
#pragma unroll
            for (i32 j = 0; j < 8; ++j) sum = sum + left[j] * normal(right[j], stat[2 * j], stat[2 * j + 1]);
        }
#pragma unroll 1
        for (; k < n; ++k, g += columns, from += columns, stat += 2) sum = sum + *g * normal(*from, stat[0], stat[1]);
        out[i] = sum;
    }
}

// Long rows. out[row * chunks + chunk], a warp a chunk: the sum of (x - mean)^2 (kind 0), v (1) or v * x^ (2), v = grad * weight.
struct ChunkPlan {
    i64 n, chunks, tasks;
    i32 kind;
};
template <class C>
DEVICE void norm_chunks(const C* __restrict__ x, const C* __restrict__ grad, const C* __restrict__ weight, const C* __restrict__ stats,
                        C* __restrict__ out, const ChunkPlan& plan) {
    const Team team(32);
    const i64 warps = blockDim.x / 32;
#pragma unroll 1
    for (i64 task = blockIdx.x * warps + threadIdx.x / 32; task < plan.tasks; task += warps * gridDim.x) {
        const i64 row = task / plan.chunks, start = task % plan.chunks * CHUNK;
        const i32 n = plan.n - start < CHUNK ? (i32)(plan.n - start) : CHUNK, kind = plan.kind;
        const C mean = stats[2 * row], rstd = stats[2 * row + 1];
        const C* const from = x + row * plan.n + start;
        const C* const g = grad + row * plan.n + start;
        const C* const w = weight + start;
        const bool weighted = weight != nullptr;
        const C sum = fold_chunk<C>(team, n, Sum<C>(0), [=](i32 k) {
            if (kind == 0) {
                const C centered = from[k] - mean;
                return centered * centered;
            }
            const C v = weighted ? g[k] * w[k] : g[k];
            return kind == 1 ? v : v * normal(from[k], mean, rstd);
        });
        if (team.lane == 0) out[task] = sum;
    }
}

// A row's mean (which 0), or its rstd (1), of its sum.
template <class C> DEVICE void norm_stats(const C* __restrict__ sums, C* __restrict__ stats, i64 rows, C count, C eps, i32 which) {
    GRID_STRIDE(i, rows) stats[2 * i + which] = which == 0 ? mean_of(sums[i], count) : rstd_of(sums[i], count, eps);
}

template <class C>
DEVICE void norm_finish(const C* __restrict__ x, const C* __restrict__ weight, const C* __restrict__ bias, const C* __restrict__ stats,
                        C* __restrict__ out, i64 n, i64 len) {
#pragma unroll 1
    GRID_STRIDE(i, len) {
        const i64 row = divided(i, n);
        out[i] = affine(normal(x[i], stats[2 * row], stats[2 * row + 1]), weight, bias, i - row * n);
    }
}

template <class C>
DEVICE void norm_project(const C* __restrict__ grad, const C* __restrict__ x, const C* __restrict__ stats, const C* __restrict__ weight,
                         const C* __restrict__ first, const C* __restrict__ second, C* __restrict__ out, i64 n, i64 len) {
    const C count = (C)n;
#pragma unroll 1
    GRID_STRIDE(i, len) {
        const i64 row = divided(i, n);
        const C v = weight != nullptr ? grad[i] * weight[i - row * n] : grad[i], rstd = stats[2 * row + 1];
        out[i] = projected(v, normal(x[i], stats[2 * row], rstd), first[row] / count, second[row] / count, rstd);
    }
}

#define NORM(T, resident)                                                                                                             \
    KERNEL_RESIDENT(256, resident, norm_rows_##T, const T* x, const T* weight, const T* bias, T* out, T* stats, i32 n, i64 rows, i32 width, T eps) { \
        norm_rows(x, weight, bias, out, stats, n, rows, width, eps);                                                         \
    }                                                                                                                        \
    KERNEL_RESIDENT(256, resident, norm_input_rows_##T, const T* grad, const T* x, const T* stats, const T* weight, T* out, i32 n, i64 rows, i32 width) { \
        norm_input_rows(grad, x, stats, weight, out, n, rows, width);                                                        \
    }                                                                                                                        \
    KERNEL_BOUNDED(256, norm_weight_##T, const T* grad, const T* x, const T* stats, T* out, i64 rows, i64 columns, i64 chunks) { \
        norm_weight(grad, x, stats, out, rows, columns, chunks);                                                             \
    }                                                                                                                        \
    KERNEL_BOUNDED(256, norm_chunks_##T, const T* x, const T* grad, const T* weight, const T* stats, T* out, const ChunkPlan plan) { \
        norm_chunks(x, grad, weight, stats, out, plan);                                                                      \
    }                                                                                                                        \
    KERNEL(norm_stats_##T, const T* sums, T* stats, i64 rows, T count, T eps, i32 which) { norm_stats(sums, stats, rows, count, eps, which); } \
    KERNEL(norm_finish_##T, const T* x, const T* weight, const T* bias, const T* stats, T* out, i64 n, i64 len) {            \
        norm_finish(x, weight, bias, stats, out, n, len);                                                                    \
    }                                                                                                                        \
    KERNEL(norm_project_##T, const T* grad, const T* x, const T* stats, const T* weight, const T* first, const T* second, T* out, i64 n, i64 len) { \
        norm_project(grad, x, stats, weight, first, second, out, n, len);                                                    \
    }
NORM(f32, 4) NORM(f64, 3)
