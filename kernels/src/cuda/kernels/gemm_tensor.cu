// For compute_80.
// Matrix products on tensor cores, C = A B: f16, bf16, or f32 rounded to tf32, summed in f32 in ascending k. How a core adds the
// products of one instruction is its own affair: the same bits each time on one device, others elsewhere.
//
// A block of threads computes a tile of C, a warp a part of it. Slices of A and B, 128 bytes long in k, are copied to a ring of
// STAGES buffers while earlier ones are multiplied. An operand lies along k or along its rows (A's m, B's n) in global and in
// shared memory alike; its lines begin at multiples of 16 bytes, or gemm_tensor_pack_* has brought it into such a layout. In
// shared memory the 16-byte chunks of a line are exchanged by `swizzled`, so that neither copies nor reads of fragments meet in a
// bank.
#include "product.cuh"
#include "tensor_core.cuh"

struct TensorGemm {
    i64 m, n, k, matrices;
    i64 a_pitch, b_pitch; // elements from a line to the next
    i64 part;             // of k, computed by blocks of the same y
    i32 single;           // C and the biases are f32, whatever the operands
    Strided a_at, b_at;   // of the batch: where matrix z starts
    Target target;
};

constexpr int STAGES = 3, LINE = 128, STEPS = 4; // steps: what one instruction takes of k, in a slice

template <class Element, bool A_ALONG_K_, bool B_ALONG_K_, int BM_, int BN_, int WM_, int WN_> struct Tensors {
    typedef Element T;
    static constexpr bool A_ALONG_K = A_ALONG_K_, B_ALONG_K = B_ALONG_K_;
    static constexpr int BM = BM_, BN = BN_, WM = WM_, WN = WN_, BK = LINE / (int)sizeof(T);
    static constexpr int NWARPS = BN / WN, THREADS = 32 * (BM / WM) * NWARPS;
    static constexpr int MT = WM / 16, NT = WN / 16; // tiles of 16 rows and of 16 columns a warp
    static constexpr int A_BYTES = BM * LINE, B_BYTES = BN * LINE, STAGE = A_BYTES + B_BYTES;
    static constexpr int LDC = BN + 8; // of the sums in shared memory: no two rows of an 8-byte store in one bank
};

// The place of a 16-byte chunk in its line.
template <class T, bool ALONG_K> DEVICE int swizzled(int line, int chunk) {
    return chunk ^ (ALONG_K || sizeof(T) == 2 ? line & 7 : (line & 3) << 1);
}

// ---- global to shared memory ----

template <class T, int ROWS, bool ALONG_K, int THREADS> struct Copies {
    static constexpr int E = 16 / (int)sizeof(T), BK = LINE / (int)sizeof(T);
    static constexpr int CHUNKS = ALONG_K ? LINE / 16 : ROWS / E, LINES = ALONG_K ? ROWS : BK; // of a slice
    static constexpr int STEP = THREADS / CHUNKS, COUNT = LINES / STEP;                        // a thread's: one in STEP lines
    static_assert(STEP % (ALONG_K || sizeof(T) == 2 ? 8 : 4) == 0 && LINES % STEP == 0, "one place in the line for all chunks");
    const u8* from; // this thread's first chunk of the next slice
    int pitch;      // bytes; LINE times as many are below 2^31
    int to, rows;   // the first chunk's place in the slice; rows that are left, at most ROWS

    static DEVICE int line() { return threadIdx.x / CHUNKS; } // of the first chunk
    static DEVICE int near() { return threadIdx.x % CHUNKS * E; }
    DEVICE Copies(const T* x, i64 row0, i64 rows_in_all, i64 elements, i64 k0) : pitch((int)elements * (int)sizeof(T)) {
        to = line() * CHUNKS * 16 + swizzled<T, ALONG_K>(line(), threadIdx.x % CHUNKS) * 16;
        rows = rows_in_all - row0 < ROWS ? (int)(rows_in_all - row0) : ROWS;
        from = (const u8*)(x + (ALONG_K ? (row0 + line()) * elements + k0 + near() : (k0 + line()) * elements + row0 + near()));
    }
    // The next slice, of which `depth` is there in k; the rest is 0.
    DEVICE void begin(u8* slice, int depth) {
        const int there = (ALONG_K ? depth : rows) - near(), lines = ALONG_K ? rows : depth;
        const int bytes = there <= 0 ? 0 : there >= E ? 16 : there * (int)sizeof(T);
        const u8* chunk = from;
#pragma unroll
        for (int u = 0; u < COUNT; ++u, chunk += STEP * pitch) {
            const int present = line() + u * STEP < lines ? bytes : 0;
            copy_async_16(slice + to + u * STEP * CHUNKS * 16, chunk, present); // of what is not present, nothing is read
        }
        from += ALONG_K ? LINE : BK * pitch;
    }
};

// ---- shared memory to registers ----

// Fragments of 16 rows by 32 bytes of k: four 8x8 matrices (8x4 of f32), in the order that the operand has: A's change row first,
// B's k first (two 8-column operands).
template <class T, int ROWS, bool ALONG_K, bool LEFT> struct Fragments {
    int at, bits; // a lane's part of the address, and of the chunk's number
    DEVICE Fragments(int row0) {
        const int lane = threadIdx.x % 32;
        if (ALONG_K || sizeof(T) == 2) {
            const int r = lane % 8, row = LEFT ? lane / 8 % 2 : lane / 16, k = LEFT ? lane / 16 : lane / 8 % 2;
            at = ALONG_K ? (row0 + row * 8 + r) * LINE : (k * 8 + r) * ROWS * (int)sizeof(T);
            bits = ALONG_K ? k ^ r : row0 / 8 ^ row ^ r;
        } else { // matrices of 4-byte elements can't be transposed: they are read one by one
            const int r = lane / 4, k = lane % 4;
            at = k * ROWS * 4 + r % 4 * 4;
            bits = row0 / 4 ^ r / 4 ^ k << 1;
        }
    }
    DEVICE void load(u32 (&value)[4], const u8* slice, int tile, int step) const {
        if (ALONG_K) {
            load_matrices(value, slice + at + tile * 16 * LINE + (bits ^ 2 * step) * 16);
        } else if (sizeof(T) == 2) {
            load_transposed(value, slice + at + step * 16 * ROWS * 2 + (bits ^ 2 * tile) * 16);
        } else {
#pragma unroll
            for (int e = 0; e < 4; ++e) {
                const int row = LEFT ? e % 2 : e / 2, k = LEFT ? e / 2 : e % 2;
                value[e] = *reinterpret_cast<const u32*>(slice + at + (step * 8 + k * 4) * ROWS * 4 + (bits ^ (4 * tile + 2 * row)) * 16);
            }
        }
        if (sizeof(T) == 4) {
#pragma unroll
            for (int e = 0; e < 4; ++e) value[e] = to_tf32(float_of(value[e]));
        }
    }
};

DEVICE void multiply(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], f16) { multiply_16x8x16<HalfKind::F16>(d, a, b); }
DEVICE void multiply(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], bf16) { multiply_16x8x16<HalfKind::Bf16>(d, a, b); }
DEVICE void multiply(f32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], f32) { multiply_16x8x8_tf32(d, a, b); }

// ---- the sums of a tile ----

template <class S>
DEVICE void tensor_sums(f32 (&sum)[S::MT][2 * S::NT][4], u8* shared, Copies<typename S::T, S::BM, S::A_ALONG_K, S::THREADS>& a,
                        Copies<typename S::T, S::BN, S::B_ALONG_K, S::THREADS>& b, int depth) {
    typedef typename S::T T;
    const int warp = threadIdx.x / 32;
    const Fragments<T, S::BM, S::A_ALONG_K, true> of_a(warp / S::NWARPS * S::WM);
    const Fragments<T, S::BN, S::B_ALONG_K, false> of_b(warp % S::NWARPS * S::WN);
    // What is multiplied, and what is being read for the next turn: A 16 rows at a time.
    u32 left[2][4], right[2][S::NT][4];
    static_assert(S::MT % 2 == 0 && STEPS % 2 == 0, "a step begins with the first of each");
#pragma unroll
    for (int i = 0; i < S::MT; ++i)
#pragma unroll
        for (int j = 0; j < 2 * S::NT; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[i][j][e] = 0.f;

    // The slice that `left` of k begins with, to a buffer.
    auto copy = [&](int left, int buffer) {
        if (left > 0) {
            u8* const slice = shared + buffer * S::STAGE;
            a.begin(slice, left < S::BK ? left : S::BK);
            b.begin(slice + S::A_BYTES, left < S::BK ? left : S::BK);
        }
        copy_async_commit(); // a group in any case: waits count them
    };
#pragma unroll 1
    for (int s = 0; s < STAGES - 1; ++s) copy(depth - s * S::BK, s);
    copy_async_wait<STAGES - 2>();
    __syncthreads();
    of_a.load(left[0], shared, 0, 0);
#pragma unroll
    for (int j = 0; j < S::NT; ++j) of_b.load(right[0][j], shared + S::A_BYTES, j, 0);
    int read = 0;
#pragma unroll 1
    for (; depth > 0; depth -= S::BK) {
        // Over the slice before this one, which all warps have left at the last barrier.
        copy(depth - (STAGES - 1) * S::BK, read == 0 ? STAGES - 1 : read - 1);
#pragma unroll
        for (int step = 0; step < STEPS; ++step) {
#pragma unroll
            for (int i = 0; i < S::MT; ++i) {
                if (i + 1 < S::MT) {
                    of_a.load(left[(i + 1) & 1], shared + read * S::STAGE, i + 1, step);
                } else {
                    const int next = (step + 1) % STEPS;
                    if (next == 0) { // in the next slice, which must have arrived
                        copy_async_wait<STAGES - 2>();
                        __syncthreads();
                        read = read + 1 == STAGES ? 0 : read + 1;
                    }
                    const u8* slice = shared + read * S::STAGE;
                    of_a.load(left[0], slice, 0, next);
#pragma unroll
                    for (int j = 0; j < S::NT; ++j) of_b.load(right[next & 1][j], slice + S::A_BYTES, j, next);
                }
#pragma unroll
                for (int j = 0; j < 2 * S::NT; ++j) {
                    const u32 pair[2] = {right[step & 1][j / 2][j % 2 * 2], right[step & 1][j / 2][j % 2 * 2 + 1]};
                    multiply(sum[i][j], left[i & 1], pair, T{});
                }
            }
        }
    }
    copy_async_wait<0>();
}

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

// Sums leave by way of shared memory, so that rows are written 16 bytes at a time.
template <class S, class Write> DEVICE void leave(const f32 (&sum)[S::MT][2 * S::NT][4], u8* shared, i64 rows, i64 columns, const Write& write) {
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    f32* const tile = reinterpret_cast<f32*>(shared);
    f32* const own = tile + (warp / S::NWARPS * S::WM + lane / 4) * S::LDC + warp % S::NWARPS * S::WN + lane % 4 * 2;
    __syncthreads(); // the slices have been read
#pragma unroll
    for (int i = 0; i < S::MT; ++i)
#pragma unroll
        for (int j = 0; j < 2 * S::NT; ++j)
#pragma unroll
            for (int half = 0; half < 2; ++half)
                *reinterpret_cast<Vector<f32, 2>*>(own + (i * 16 + half * 8) * S::LDC + j * 8) =
                    Vector<f32, 2>{{sum[i][j][half * 2], sum[i][j][half * 2 + 1]}};
    __syncthreads();
#pragma unroll 1
    for (int e = threadIdx.x * 4; e < S::BM * S::BN; e += S::THREADS * 4) {
        const int row = e / S::BN, column = e % S::BN;
        if (row >= rows || column >= columns) continue;
        Vector<f32, 4> four = *reinterpret_cast<const Vector<f32, 4>*>(tile + row * S::LDC + column);
        write(four.at, row, column);
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
        f32 sum[S::MT][2 * S::NT][4];
        tensor_sums<S>(sum, shared, copies_a, copies_b, depth);
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
