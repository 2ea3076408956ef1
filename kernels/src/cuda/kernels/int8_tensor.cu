// For compute_80.
// Products of codes on tensor cores (mma.sync on i8): the same integers as int8_dot_*. B's columns are copied as they are; A's windows
// 16 codes at a time where they lie so, else gathered code by code.
#include "int8.cuh"
#include "tensor_tiles.cuh"

// Slices of A: as Copies, of windows.
template <int ROWS, int THREADS> struct WindowCopies {
    static constexpr int STEP = THREADS / (LINE / 16), COUNT = ROWS / STEP;
    static_assert(STEP % 8 == 0 && ROWS % STEP == 0, "one place in the line for all chunks");
    const u8* x;
    const Windows& w;
    const Window* windows; // of the tile, in shared memory
    i32 k;                 // of this thread's chunk of the next slice
    int to;

    static DEVICE int line() { return threadIdx.x / (LINE / 16); }
    DEVICE WindowCopies(const u8* x, const Windows& w, const Window* windows, i32 begin) : x(x), w(w), windows(windows) {
        const int chunk = threadIdx.x % (LINE / 16);
        k = begin + chunk * 16;
        to = line() * LINE + swizzled<s8, true>(line(), chunk) * 16;
    }
    DEVICE void begin(u8* slice, int) {
        if (w.width != 16) {
#pragma unroll 1
            for (int u = 0; u < COUNT; ++u)
                *reinterpret_cast<Chunk*>(slice + to + u * STEP * LINE) = gathered(x, w, windows[line() + u * STEP], k);
        } else {
            const Window tap = tap_at(w, k);
#pragma unroll
            for (int u = 0; u < COUNT; ++u) {
                u8* const place = slice + to + u * STEP * LINE;
                const Window& row = windows[line() + u * STEP];
                if (k < w.k && !inside(w, row, tap)) *reinterpret_cast<Chunk*>(place) = filled(row.fill);
                else copy_async_16(place, x + (k < w.k ? row.at + tap.at : 0), k < w.k ? 16 : 0);
            }
        }
        k += LINE;
    }
};

// A's fragments, made i8.
template <int ROWS> struct SignedFragments {
    Fragments<s8, ROWS, true, true> codes;
    u32 flip;
    DEVICE void load(u32 (&value)[4], const u8* slice, int tile, int step) const {
        codes.load(value, slice, tile, step);
#pragma unroll
        for (int e = 0; e < 4; ++e) value[e] ^= flip;
    }
};

// Grid: tiles, parts of k, groups (striding). Dynamic shared memory: the slices, then the tile's windows.
template <class S> DEVICE void tensor_product(const u8* x, const s8* weight, i32* parts, const Windows& w, const Product& p, const Ending& end) {
    DYNAMIC_SHARED(u8, shared);
    static_assert(S::BM * S::LDC * 4 <= STAGES * S::STAGE, "sums leave over the slices");
    Window* const windows = reinterpret_cast<Window*>(shared + STAGES * S::STAGE);
    i64 tile_m, tile_n;
    tile_at(blockIdx.x, (w.rows + S::BM - 1) / S::BM, (p.n + S::BN - 1) / S::BN, tile_m, tile_n);
    const i64 i0 = tile_m * S::BM;
    const i32 j0 = (i32)tile_n * S::BN, begin = blockIdx.y * p.part, depth = p.k - begin < p.part ? p.k - begin : p.part;
    for (int r = threadIdx.x; r < S::BM; r += S::THREADS) windows[r] = window_at(w, i0 + r);
    __syncthreads();
    const int warp = threadIdx.x / 32;
    const SignedFragments<S::BM> of_a{Fragments<s8, S::BM, true, true>(warp / S::NWARPS * S::WM), w.flip};
    const Fragments<s8, S::BN, true, false> of_b(warp % S::NWARPS * S::WN);
#pragma unroll 1
    for (i32 group = blockIdx.z; group < p.groups; group += gridDim.z) {
        WindowCopies<S::BM, S::THREADS> copies_a(x + (i64)group * w.channels, w, windows, begin);
        Copies<s8, S::BN, true, S::THREADS> copies_b(weight + group * p.n * p.pitch, j0, p.n, p.pitch, begin);
        i32 sum[S::MT][2 * S::NT][4];
        tensor_sums<S>(sum, shared, copies_a, copies_b, of_a, of_b, depth);
        leave<S>(sum, shared, w.rows - i0, p.n - j0, [&](i32(&four)[4], int row, int column) {
            leave_four(end, p, parts, w.rows, four, i0 + row, j0 + column, group);
        });
        __syncthreads(); // the buffers are used again
    }
}

#define PRODUCT(size, ...)                                                                                                              \
    KERNEL_OF_REGISTERS((Tensors<s8, true, true, __VA_ARGS__>::THREADS), int8_tensor_##size, const u8* __restrict__ x,                  \
                        const s8* __restrict__ weight, i32* parts, const Windows w, const Product p, const Ending end) {                \
        tensor_product<Tensors<s8, true, true, __VA_ARGS__>>(x, weight, parts, w, p, end);                                              \
    }
PRODUCT(large, 128, 128, 64, 32)
PRODUCT(small, 64, 64, 32, 32)
