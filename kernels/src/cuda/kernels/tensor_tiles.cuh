// Tiles of products on tensor cores: what gemm_tensor.cu and int8_tensor.cu share.
//
// A block of threads computes a tile of C, a warp a part of it. Slices of A and B, 128 bytes long in k, are copied to a ring of
// STAGES buffers while earlier ones are multiplied. In shared memory the 16-byte chunks of a line are exchanged by `swizzled`, so
// that neither copies nor reads of fragments meet in a bank.
#pragma once
#include "product.cuh"
#include "tensor_core.cuh"

constexpr int STAGES = 3, LINE = 128, STEPS = 4; // steps: what one instruction takes of k, in a slice

// 1-byte codes, made signed where they are multiplied.
struct s8 {
    i8 code;
};
template <class T> struct SumOf { typedef f32 type; };
template <> struct SumOf<s8> { typedef i32 type; };

template <class Element, bool A_ALONG_K_, bool B_ALONG_K_, int BM_, int BN_, int WM_, int WN_> struct Tensors {
    typedef Element T;
    typedef typename SumOf<T>::type Sum;
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
DEVICE void multiply(i32 (&d)[4], const u32 (&a)[4], const u32 (&b)[2], s8) { multiply_16x8x32(d, a, b); }

// ---- the sums of a tile ----

// `a` and `b` begin to copy slices (Copies), `of_a` and `of_b` read them (Fragments).
template <class S, class A, class B, class OfA, class OfB>
DEVICE void tensor_sums(typename S::Sum (&sum)[S::MT][2 * S::NT][4], u8* shared, A& a, B& b, const OfA& of_a, const OfB& of_b, int depth) {
    typedef typename S::T T;
    // What is multiplied, and what is being read for the next turn: A 16 rows at a time.
    u32 left[2][4], right[2][S::NT][4];
    static_assert(S::MT % 2 == 0 && STEPS % 2 == 0, "a step begins with the first of each");
#pragma unroll
    for (int i = 0; i < S::MT; ++i)
#pragma unroll
        for (int j = 0; j < 2 * S::NT; ++j)
#pragma unroll
            for (int e = 0; e < 4; ++e) sum[i][j][e] = typename S::Sum(0);

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

// Sums leave by way of shared memory, so that rows are written 16 bytes at a time.
template <class S, class Write> DEVICE void leave(const typename S::Sum (&sum)[S::MT][2 * S::NT][4], u8* shared, i64 rows, i64 columns, const Write& write) {
    typedef typename S::Sum Sum;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    Sum* const tile = reinterpret_cast<Sum*>(shared);
    Sum* const own = tile + (warp / S::NWARPS * S::WM + lane / 4) * S::LDC + warp % S::NWARPS * S::WN + lane % 4 * 2;
    __syncthreads(); // the slices have been read
#pragma unroll
    for (int i = 0; i < S::MT; ++i)
#pragma unroll
        for (int j = 0; j < 2 * S::NT; ++j)
#pragma unroll
            for (int half = 0; half < 2; ++half)
                *reinterpret_cast<Vector<Sum, 2>*>(own + (i * 16 + half * 8) * S::LDC + j * 8) =
                    Vector<Sum, 2>{{sum[i][j][half * 2], sum[i][j][half * 2 + 1]}};
    __syncthreads();
#pragma unroll 1
    for (int e = threadIdx.x * 4; e < S::BM * S::BN; e += S::THREADS * 4) {
        const int row = e / S::BN, column = e % S::BN;
        if (row >= rows || column >= columns) continue;
        Vector<Sum, 4> four = *reinterpret_cast<const Vector<Sum, 4>*>(tile + row * S::LDC + column);
        write(four.at, row, column);
    }
}
