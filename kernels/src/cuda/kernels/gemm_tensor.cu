// For compute_80.
// Matrix products on tensor cores, C = A B: f16, bf16, or f32 rounded to tf32, summed in f32 in ascending k. How a core adds the
// products of one instruction is its own affair: the same bits each time on one device, others elsewhere.
//
// An operand lies along k or along its rows (A's m, B's n) in global and in shared memory alike; its lines begin at multiples of 16
// bytes, or gemm_tensor_pack_* has brought it into such a layout.
#include "tensor_tiles.cuh"

struct TensorGemm {
    i64 m, n, k, matrices;
    i64 a_pitch, b_pitch; // elements from a line to the next
    i64 part;             // of k, computed by blocks of the same y
    i32 single;           // C and the biases are f32, whatever the operands
    Strided a_at, b_at;   // of the batch: where matrix z starts
    Target target;
};

// ---- the result ----

// Four results of a row from (i, j) on, of which the matrix has `count`.
template <class T> DEVICE void finish_four(f32 (&value)[4], const Finish<T>& finish, const Target& target, i64 i, i64 j, i64 n) {
    T* const to = finish.c + i * target.row + j;
    const int count = n - j < 4 ? (int)(n - j) : 4;
    const f32 row_bias = finish.row_bias ? f32(widen(finish.row_bias[i])) : 0.f;
    Vector<T, 4> whole;
#pragma unroll
    for (int e = 0; e < 4; ++e) {
        if (e >= count) break;
        if (target.accumulate) value[e] = widen(to[e]) + value[e];
        if (finish.row_bias) value[e] = value[e] + row_bias;
        if (finish.column_bias) value[e] = value[e] + widen(finish.column_bias[j + e]);
        if (target.relu) value[e] = max_second(0.f, value[e]);
        whole.at[e] = narrow<T>(value[e]);
    }
    if (target.vectors && count == 4) {
        *reinterpret_cast<Vector<T, 4>*>(to) = whole;
    } else {
#pragma unroll
        for (int e = 0; e < 4; ++e)
            if (e < count) to[e] = whole.at[e];
    }
}

// Grid: tiles, parts of k (`parts` not null) or 1, matrices (striding).
template <class S>
DEVICE void tensor_gemm(const typename S::T* a, const typename S::T* b, const void* row_bias, const void* column_bias, void* c, f32* parts,
                        const TensorGemm& plan) {
    typedef typename S::T T;
    DYNAMIC_SHARED(u8, shared);
    const i64 m_tiles = (plan.m + S::BM - 1) / S::BM, n_tiles = (plan.n + S::BN - 1) / S::BN;
    i64 tile_m, tile_n;
    tile_at(blockIdx.x, m_tiles, n_tiles, tile_m, tile_n);
    const i64 i0 = tile_m * S::BM, j0 = tile_n * S::BN, m = plan.m, n = plan.n;
    const i64 begin = blockIdx.y * plan.part;
    const int depth = (int)(plan.k - begin < plan.part ? plan.k - begin : plan.part); // a part is below 2^31
    for (i64 z = blockIdx.z; z < plan.matrices; z += gridDim.z) {
        Copies<T, S::BM, S::A_ALONG_K, S::THREADS> copies_a(a + place_of(plan.a_at, z), i0, m, plan.a_pitch, begin);
        Copies<T, S::BN, S::B_ALONG_K, S::THREADS> copies_b(b + place_of(plan.b_at, z), j0, n, plan.b_pitch, begin);
        const int warp = threadIdx.x / 32;
        const Fragments<T, S::BM, S::A_ALONG_K, true> of_a(warp / S::NWARPS * S::WM);
        const Fragments<T, S::BN, S::B_ALONG_K, false> of_b(warp % S::NWARPS * S::WN);
        f32 sum[S::MT][2 * S::NT][4];
        tensor_sums<S>(sum, shared, copies_a, copies_b, of_a, of_b, depth);
        leave<S>(sum, shared, m - i0, n - j0, [&](f32(&four)[4], int row, int column) {
            const i64 i = i0 + row, j = j0 + column;
            if (parts) {
                f32* const to = parts + ((blockIdx.y * plan.matrices + z) * m + i) * n + j;
#pragma unroll
                for (int e = 0; e < 4; ++e)
                    if (j + e < n) to[e] = four[e];
            } else if (sizeof(T) == 4 || plan.single) {
                finish_four(four, Finish<f32>((const f32*)row_bias, (const f32*)column_bias, (f32*)c, plan.target, z), plan.target, i, j, n);
            } else {
                finish_four(four, Finish<T>((const T*)row_bias, (const T*)column_bias, (T*)c, plan.target, z), plan.target, i, j, n);
            }
        });
        __syncthreads(); // the buffers are used again
    }
}

#define TENSOR_GEMM(size, layout, dtype, ...)                                                                                             \
    KERNEL_OF_REGISTERS((Tensors<dtype, __VA_ARGS__>::THREADS), gemm_tensor_##size##_##layout##_##dtype, const dtype* __restrict__ a,     \
                        const dtype* __restrict__ b, const void* __restrict__ row_bias, const void* __restrict__ column_bias, void* c,    \
                        f32* parts, const TensorGemm plan) {                                                                              \
        tensor_gemm<Tensors<dtype, __VA_ARGS__>>(a, b, row_bias, column_bias, c, parts, plan);                                            \
    }
// n: row-major, t: column-major.
#define LAYOUTS(size, dtype, ...)                              \
    TENSOR_GEMM(size, nn, dtype, true, false, __VA_ARGS__)  \
    TENSOR_GEMM(size, nt, dtype, true, true, __VA_ARGS__)   \
    TENSOR_GEMM(size, tn, dtype, false, false, __VA_ARGS__) \
    TENSOR_GEMM(size, tt, dtype, false, true, __VA_ARGS__)
// On H100 the slices of two large tiles a multiprocessor are more than its L2 cache delivers; of one huge tile they are 3/4 of that.
#define SIZES(dtype)                         \
    LAYOUTS(huge, dtype, 128, 256, 64, 64)  \
    LAYOUTS(large, dtype, 128, 128, 64, 64) \
    LAYOUTS(small, dtype, 64, 64, 32, 32)
SIZES(f32)
SIZES(f16)
SIZES(bf16)

// ---- operands brought into a layout that can be copied ----

struct Pack {
    i64 lines, length, stride; // elements of a line, and between them
    i64 pitch;                 // of the packed lines, a whole number of chunks; what is beyond the length is 0
    i32 vectors;               // 16 bytes of a line can be read at a time
    Strided at;                // where a line starts
};
template <class From, class To, class Convert> DEVICE void pack(const From* x, To* to, const Pack& plan, const Convert& convert) {
    constexpr int E = 16 / (int)sizeof(To), V = 16 / (int)sizeof(From);
    const i64 chunks = plan.pitch / E;
    GRID_STRIDE(unit, plan.lines * chunks) {
        const i64 line = unit / chunks, first = (unit - line * chunks) * E;
        const From* from = x + place_of(plan.at, line) + first * plan.stride;
        Vector<To, E> chunk = {};
        if (plan.vectors && first + E <= plan.length) {
#pragma unroll
            for (int v = 0; v < E; v += V) {
                const auto whole = *reinterpret_cast<const Vector<From, V>*>(from + v);
#pragma unroll
                for (int e = 0; e < V; ++e) chunk.at[v + e] = convert(whole.at[e]);
            }
        } else {
#pragma unroll
            for (int e = 0; e < E; ++e)
                if (first + e < plan.length) chunk.at[e] = convert(from[e * plan.stride]);
        }
        *reinterpret_cast<Vector<To, E>*>(to + line * plan.pitch + first) = chunk;
    }
}
#define PACK(name, From, To, convert) \
    KERNEL(gemm_tensor_pack_##name, const From* __restrict__ x, To* to, const Pack plan) { pack(x, to, plan, [](From x) { return convert; }); }
PACK(2, u16, u16, x)
PACK(4, u32, u32, x)
PACK(bf16, f32, bf16, to_bf16(x))
