// Matrix products with any strides, batched: see product.cuh.
#include "product.cuh"

struct Gemm {
    i64 m, n, k, matrices;
    i64 a_row, a_k, b_column, b_k;
    i32 a_mode, b_mode; // see Mode
    Strided a_at, b_at; // of the batch: where matrix z starts
    Target target;
};

// Grid: tiles, blocks of k (`parts` not null) or 1, matrices (striding).
template <class S, class T>
DEVICE void gemm(const T* a, const T* b, const T* row_bias, const T* column_bias, T* c, typename S::C* parts, const Gemm& plan) {
    __shared__ Shared<S> shared;
    Marks<S, false> marks;
    const i64 m_tiles = (plan.m + S::BM - 1) / S::BM, n_tiles = (plan.n + S::BN - 1) / S::BN;
    i64 tile_m, tile_n;
    tile_at(blockIdx.x, m_tiles, n_tiles, tile_m, tile_n);
    const i64 i0 = tile_m * S::BM, j0 = tile_n * S::BN;
    const i64 begin = (i64)blockIdx.y * KC, end = parts && plan.k - begin > KC ? begin + KC : plan.k;
    for (i64 z = blockIdx.z; z < plan.matrices; z += gridDim.z) {
        const StridedSlice<T, S::BM, S::BK, S::THREADS, S::LDA> slice_a(
            a + place_of(plan.a_at, z) + i0 * plan.a_row, plan.m - i0, plan.a_row, plan.a_k, plan.a_mode);
        const StridedSlice<T, S::BN, S::BK, S::THREADS, S::LDB> slice_b(
            b + place_of(plan.b_at, z) + j0 * plan.b_column, plan.n - j0, plan.b_column, plan.b_k, plan.b_mode);
        typename S::C total[S::TM][S::TN];
        sums<S, false>(total, slice_a, slice_b, begin, end, shared, marks);
        if (parts) {
            write_part<S>(total, parts + (blockIdx.y * plan.matrices + z) * plan.m * plan.n, i0, j0, plan.m, plan.n);
        } else {
            write<S>(total, Finish<T>(row_bias, column_bias, c, plan.target, z), plan.target, i0, j0, plan.m, plan.n);
        }
        __syncthreads(); // the slices are used again
    }
}

#define GEMM(size, dtype, ...)                                                                                              \
    KERNEL_OF_REGISTERS((Tiling<dtype, __VA_ARGS__>::THREADS), gemm_##size##_##dtype, const dtype* __restrict__ a,               \
                   const dtype* __restrict__ b, const dtype* __restrict__ row_bias, const dtype* __restrict__ column_bias,  \
                   dtype* c, Compute<dtype>::type* parts, const Gemm plan) {                                                \
        gemm<Tiling<dtype, __VA_ARGS__>>(a, b, row_bias, column_bias, c, parts, plan);                                      \
    }
#define FOLD(dtype)                                                                                                         \
    KERNEL(gemm_fold_##dtype, const Compute<dtype>::type* __restrict__ parts, i64 blocks, const dtype* __restrict__ row_bias, \
           const dtype* __restrict__ column_bias, dtype* c, const Gemm plan) {                                              \
        fold<dtype>(parts, blocks, row_bias, column_bias, c, plan.target, plan.m, plan.n, plan.matrices);                   \
    }
// Warps, lanes along m, elements a thread, BK.
#define SMALLER(dtype)                     \
    GEMM(small, dtype, 1, 2, 8, 4, 4, 16)  /* 32 x 32 */ \
    GEMM(skinny, dtype, 1, 4, 1, 4, 1, 16) /* 4 x 128 */ \
    FOLD(dtype)
GEMM(large, f32, 2, 4, 8, 8, 8, 16)  // 128 x 128
GEMM(medium, f32, 2, 2, 8, 4, 8, 16) // 64 x 64
SMALLER(f32)
GEMM(large, f16, 2, 4, 8, 4, 4, 16) // 64 x 64
SMALLER(f16)
GEMM(large, bf16, 2, 4, 8, 4, 4, 16)
SMALLER(bf16)
GEMM(large, f64, 2, 4, 8, 4, 4, 16)  // 64 x 64
GEMM(small, f64, 1, 2, 8, 4, 4, 16)  // 32 x 32
GEMM(skinny, f64, 1, 2, 1, 4, 1, 16) // 4 x 64
FOLD(f64)
