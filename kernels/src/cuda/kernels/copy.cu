// Copies between layouts, and fills. Only the size of an element matters: 1, 2, 4, 8 or 16 bytes; what is contiguous and
// aligned on both sides is copied as 16-byte elements.
#include "common.cuh"

struct alignas(16) b128 {
    u64 half[2];
};

// to[i] = from[i] in logical order, both strided: gathering, copy_into, a piece of a concatenation.
#define COPY_STRIDED(bytes, T)                                                                             \
    KERNEL(copy_strided_##bytes, const T* __restrict__ x, const Strided from, T* __restrict__ out, const Strided to, i64 n) { \
        GRID_STRIDE(i, n) out[place_of(to, i)] = x[place_of(from, i)];                                     \
    }

// to[i] = value
#define FILL(bytes, T)                                                       \
    KERNEL(copy_fill_##bytes, T* __restrict__ out, const Strided to, const T value, i64 n) { \
        GRID_STRIDE(i, n) out[place_of(to, i)] = value;                      \
    }

constexpr int TILE = 32;

// A stack of matrices, transposed: out[b][r][c] = x[b][c][r] with x contiguous along r, out along c. A tile goes through
// shared memory, so that both sides are walked along their contiguous dim. Blocks of 32 x 8 threads.
struct Transpose {
    Strided from, to; // of the stack: where matrix b starts on either side
    i64 rows, columns;
    i64 from_stride, to_stride; // from column to column of x, from row to row of out
    i64 matrices;
};

template <class T> DEVICE void transpose(const T* x, T* out, const Transpose& plan, T (*tile)[TILE + 1]) {
    const i64 row_tiles = (plan.rows + TILE - 1) / TILE, column_tiles = (plan.columns + TILE - 1) / TILE;
    const i64 tiles = row_tiles * column_tiles * plan.matrices;
    for (i64 t = blockIdx.x; t < tiles; t += gridDim.x) {
        const i64 matrix = t / (row_tiles * column_tiles), in_matrix = t % (row_tiles * column_tiles);
        const i64 row = in_matrix / column_tiles * TILE, column = in_matrix % column_tiles * TILE;
        const T* from = x + place_of(plan.from, matrix);
        T* to = out + place_of(plan.to, matrix);
        for (int k = threadIdx.y; k < TILE; k += blockDim.y)
            if (column + k < plan.columns && row + threadIdx.x < plan.rows)
                tile[k][threadIdx.x] = from[(column + k) * plan.from_stride + row + threadIdx.x];
        __syncthreads();
        for (int k = threadIdx.y; k < TILE; k += blockDim.y)
            if (row + k < plan.rows && column + threadIdx.x < plan.columns)
                to[(row + k) * plan.to_stride + column + threadIdx.x] = tile[threadIdx.x][k];
        __syncthreads(); // the tile is used again
    }
}

#define TRANSPOSE(bytes, T)                                                                            \
    KERNEL(copy_transpose_##bytes, const T* __restrict__ x, T* __restrict__ out, const Transpose plan) { \
        __shared__ T tile[TILE][TILE + 1];                                                             \
        transpose(x, out, plan, tile);                                                                 \
    }

#define EACH_SIZE(macro) macro(1, u8) macro(2, u16) macro(4, u32) macro(8, u64)
EACH_SIZE(COPY_STRIDED)
COPY_STRIDED(16, b128)
EACH_SIZE(FILL)
EACH_SIZE(TRANSPOSE)
