// Products of integer matrices (kernels/src/cpu/gemm/integers.rs): sums wrap, so their order is of no importance. Tiles of A and B go
// through shared memory; a thread computes four elements of a column.
#include "common.cuh"

constexpr int TILE = 32, THREADS = 256, EACH = TILE * TILE / THREADS;

struct Product {
    i64 m, n, k, matrices;
    i64 a_row, a_k, b_k, b_column;
    Strided a_at, b_at; // of the batch: where matrix z starts
};

// U: an unsigned type to compute in, whose low bits are T's.
template <class T, class U> DEVICE void multiply(const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ c, const Product& p) {
    __shared__ U left[TILE][TILE + 1], right[TILE][TILE + 1];
    const int x = threadIdx.x % TILE, y = threadIdx.x / TILE; // rows y, y + 8, ...
    const i64 tiles = (p.n + TILE - 1) / TILE, i0 = blockIdx.x / tiles * TILE, j0 = blockIdx.x % tiles * TILE;
#pragma unroll 1
    for (i64 z = blockIdx.y; z < p.matrices; z += gridDim.y) {
        const T* const from_a = a + place_of(p.a_at, z);
        const T* const from_b = b + place_of(p.b_at, z);
        U sum[EACH] = {};
#pragma unroll 1
        for (i64 k0 = 0; k0 < p.k; k0 += TILE) {
#pragma unroll
            for (int e = 0; e < EACH; ++e) {
                const int row = y + e * (TILE / EACH);
                const i64 i = i0 + row, k = k0 + row;
                left[row][x] = i < p.m && k0 + x < p.k ? (U)from_a[i * p.a_row + (k0 + x) * p.a_k] : U(0);
                right[row][x] = k < p.k && j0 + x < p.n ? (U)from_b[k * p.b_k + (j0 + x) * p.b_column] : U(0);
            }
            __syncthreads();
#pragma unroll 8
            for (int k = 0; k < TILE; ++k)
#pragma unroll
                for (int e = 0; e < EACH; ++e) sum[e] += left[y + e * (TILE / EACH)][k] * right[k][x];
            __syncthreads(); // the tiles are used again
        }
#pragma unroll
        for (int e = 0; e < EACH; ++e) {
            const i64 i = i0 + y + e * (TILE / EACH);
            if (i < p.m && j0 + x < p.n) c[(z * p.m + i) * p.n + j0 + x] = (T)sum[e];
        }
    }
}

#define INTEGERS(T, U)                                                                                                \
    KERNEL_BOUNDED(256, integers_matmul_##T, const T* __restrict__ a, const T* __restrict__ b, T* __restrict__ c, const Product p) { \
        multiply<T, U>(a, b, c, p);                                                                                   \
    }
INTEGERS(i8, u32) INTEGERS(u8, u32) INTEGERS(i32, u32) INTEGERS(i64, u64)
