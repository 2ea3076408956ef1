// Products of matrices, C = A B, in the order R2 of docs/adr/001-order-of-every-sum.md: k is cut into blocks of KC; a block's sum is
// one chain of fused multiply-adds in ascending k from +0; the first block's sum is stored, the others are added to it in order.
// gemm.cu gives it strided operands, conv.cu gathered ones.
//
// A block of threads computes a tile of C. Slices of A and B, BK long in k, go through shared memory, two buffers in turn; a warp
// reads them as 16-byte vectors; a thread keeps two tiles of registers, the chains and the total of finished blocks.
#pragma once
#include "common.cuh"

constexpr int KC = 256;

// How a tile is divided: MW x NW warps, LM x (32 / LM) lanes a warp, TM x TN elements a thread.
template <class Element, int MW, int NW, int LM, int TM_, int TN_, int BK_> struct Tiling {
    typedef Element T;
    typedef typename Compute<T>::type C;
    static constexpr int LN = 32 / LM, TM = TM_, TN = TN_, BK = BK_, NWARPS = NW, LMS = LM;
    static constexpr int BM = MW * LM * TM, BN = NW * LN * TN, THREADS = 32 * MW * NW;
    static constexpr int V = 16 / (int)sizeof(C);
    static constexpr int VM = TM < V ? TM : V, VN = TN < V ? TN : V;
    // Rows of a slice, in elements: 16 bytes longer, for fewer bank conflicts.
    static constexpr int LDA = BM + V, LDB = BN + V;
};

template <class T, int N> struct alignas(N * sizeof(T)) Vector {
    T at[N];
};

// A kernel whose registers count more than how many blocks a multiprocessor holds: it may use all of them.
#ifdef CUDA_EMU
#define KERNEL_OF_REGISTERS(threads, name, ...) KERNEL(name, __VA_ARGS__)
#else
#define KERNEL_OF_REGISTERS(threads, name, ...) extern "C" __global__ void __launch_bounds__(threads, 1) name(__VA_ARGS__)
#endif

// n / d for n < 2^31 by a multiplication; magic and shift come from the host.
struct Divisor {
    u32 d, magic, shift;
};
DEVICE u32 quotient(u32 n, const Divisor& by) { return (__umulhi(n, by.magic) + n) >> by.shift; }

// ---- slices ----

// A slice of ROWS x BK elements of an operand, on its way to shared memory as slice[k][row]. A thread takes units, elements or
// vectors of them, THREADS units apart: either its row or its k is the same for all of them.
template <int ROWS, int BK, int THREADS, int WIDTH> struct Units {
    static constexpr int COUNT = ROWS * BK / WIDTH > THREADS ? ROWS * BK / WIDTH / THREADS : 1;
    int row, k;
    bool used; // false for threads that the slice has no unit for
    DEVICE Units(bool along_rows) : used(ROWS * BK / WIDTH >= THREADS || threadIdx.x < ROWS * BK / WIDTH) {
        const int near = (along_rows ? ROWS : BK) / WIDTH, across = threadIdx.x / near, along = (threadIdx.x - across * near) * WIDTH;
        row = along_rows ? along : across;
        k = along_rows ? across : along;
    }
    static DEVICE int row_step(bool along_rows) { return along_rows ? 0 : THREADS / (BK / WIDTH); }
    static DEVICE int k_step(bool along_rows) { return along_rows ? THREADS / (ROWS / WIDTH) : 0; }
};

// How strided operands are loaded: along the dim whose elements lie together; as vectors if those are aligned and whole.
enum Mode { ALONG_K = 0, ALONG_ROWS = 1, VECTORS = 2 };

template <class T, int ROWS, int BK, int THREADS, int LD> struct StridedSlice {
    typedef typename Compute<T>::type C;
    static constexpr int V = sizeof(T) == 8 ? 2 : 4, E = Units<ROWS, BK, THREADS, 1>::COUNT;
    static constexpr bool VECTOR = E % V == 0; // else the slice is too small for all threads
    typedef Units<ROWS, BK, THREADS, 1> Elements;
    typedef Units<ROWS, BK, THREADS, V> Wholes;
    const T* x; // this thread's first unit at k = 0
    i64 k_stride, step;
    i64 rows;
    int row, k, to;
    bool along_rows, vectors, used;

    // The tile's rows begin at `x`; `rows` of them are left.
    DEVICE StridedSlice(const T* x, i64 rows, i64 row_stride, i64 k_stride, i32 mode)
        : k_stride(k_stride), rows(rows), along_rows(mode & ALONG_ROWS), vectors(VECTOR && (mode & VECTORS)) {
        const Elements element(along_rows);
        const Wholes whole(along_rows);
        row = vectors ? whole.row : element.row;
        k = vectors ? whole.k : element.k;
        used = vectors || element.used;
        step = row_stride * (vectors ? Wholes::row_step(along_rows) : Elements::row_step(along_rows)) +
               k_stride * (vectors ? Wholes::k_step(along_rows) : Elements::k_step(along_rows));
        this->x = x + row * row_stride + k * k_stride;
        to = k * LD + row;
    }
    // What lies beyond the matrix is 0: it goes into no element of C. `ks`: how much there is in k.
    DEVICE u32 load(C (&value)[E], i64 k0, int ks) const {
        const T* from = x + k0 * k_stride;
        const i64 limit = along_rows ? ks : rows;
        const bool inside = used && (along_rows ? row < rows : k < ks);
        int at = along_rows ? k : row;
        if (VECTOR && vectors) {
#pragma unroll
            for (int u = 0; u < E / V; ++u, from += step) {
                Vector<T, V> whole = {};
                if (inside && at < limit) whole = *reinterpret_cast<const Vector<T, V>*>(from);
#pragma unroll
                for (int j = 0; j < V; ++j) value[u * V + j] = widen(whole.at[j]);
                at += along_rows ? Wholes::k_step(true) : Wholes::row_step(false);
            }
        } else {
#pragma unroll
            for (int e = 0; e < E; ++e, from += step) {
                value[e] = C(0);
                if (inside && at < limit) value[e] = widen(*from);
                at += along_rows ? Elements::k_step(true) : Elements::row_step(false);
            }
        }
        return 0;
    }
    DEVICE void store(const C (&value)[E], C* slice) const {
        slice += to;
        if (!VECTOR || !vectors) {
            if (!used) return;
            const int apart = along_rows ? Elements::k_step(true) * LD : Elements::row_step(false);
#pragma unroll
            for (int e = 0; e < E; ++e) slice[e * apart] = value[e];
        } else if (along_rows) {
#pragma unroll
            for (int u = 0; u < E / V; ++u)
#pragma unroll
                for (int j = 0; j < V; ++j) slice[u * Wholes::k_step(true) * LD + j] = value[u * V + j];
        } else {
#pragma unroll
            for (int u = 0; u < E / V; ++u)
#pragma unroll
                for (int j = 0; j < V; ++j) slice[u * Wholes::row_step(false) + j * LD] = value[u * V + j];
        }
    }
};

// A slice whose elements `Gather` finds: by what it knows of a row, and of a place in k. An element that is not there is 0, and
// skipped: marked by a bit for the exact sums.
template <class T, class Gather, int ROWS, int BK, int THREADS, int LD, bool ALONG> struct GatheredSlice {
    typedef typename Compute<T>::type C;
    typedef Units<ROWS, BK, THREADS, 1> Elements;
    static constexpr int E = Elements::COUNT;
    const T* x;
    const Gather& gather;
    i64 first, rows; // the tile's first row, and how many are left
    int row, k;

    DEVICE GatheredSlice(const T* x, const Gather& gather, i64 first, i64 rows) : x(x), gather(gather), first(first), rows(rows) {
        const Elements element(ALONG);
        row = element.row;
        k = element.k;
    }
    DEVICE u32 load(C (&value)[E], i64 k0, int ks) const {
        u32 missing = 0;
        const typename Gather::Row own_row = gather.row((u32)(first + (row < rows ? row : 0)));
        const typename Gather::Tap own_tap = gather.tap((u32)(k0 + (k < ks ? k : 0)));
#pragma unroll
        for (int e = 0; e < E; ++e) {
            const int r = row + e * Elements::row_step(ALONG), l = k + e * Elements::k_step(ALONG);
            const bool inside = r < rows && l < ks;
            const typename Gather::Row at_row = ALONG || !inside ? own_row : gather.row((u32)(first + r));
            const typename Gather::Tap at_tap = !ALONG || !inside ? own_tap : gather.tap((u32)(k0 + l));
            i64 place;
            const bool there = gather.at(at_row, at_tap, place);
            value[e] = C(0);
            if (inside && there) value[e] = widen(x[place]);
            missing |= there ? 0u : 1u << e;
        }
        return missing;
    }
    DEVICE void store(const C (&value)[E], C* slice) const {
#pragma unroll
        for (int e = 0; e < E; ++e) slice[(k + e * Elements::k_step(ALONG)) * LD + row + e * Elements::row_step(ALONG)] = value[e];
    }
    DEVICE void mark(u32 missing, u8* marks) const {
#pragma unroll
        for (int e = 0; e < E; ++e)
            marks[(k + e * Elements::k_step(ALONG)) * ROWS + row + e * Elements::row_step(ALONG)] = missing >> e & 1;
    }
};

// ---- the sums ----

template <class S> struct Shared {
    Vector<typename S::C, S::V> a[2][S::BK * S::LDA / S::V], b[2][S::BK * S::LDB / S::V];
};
// For each element of a slice of B: skipped?
template <class S, bool SKIPS> struct Marks {
    u8 skipped[S::BK][S::BN];
};
template <class S> struct Marks<S, false> {};

// Where a thread's elements begin in the tile; they go on V by V, LM * V (LN * V) apart.
template <class S> DEVICE int first_row() { return threadIdx.x / 32 / S::NWARPS * S::LMS * S::TM + threadIdx.x % 32 / S::LN * S::VM; }
template <class S> DEVICE int first_column() { return threadIdx.x / 32 % S::NWARPS * S::LN * S::TN + threadIdx.x % 32 % S::LN * S::VN; }
template <class S> DEVICE int row_of(int i) { return i / S::VM * S::LMS * S::VM + i % S::VM; }
template <class S> DEVICE int column_of(int j) { return j / S::VN * S::LN * S::VN + j % S::VN; }

template <class S, bool SKIPS>
DEVICE void step(typename S::C (&sum)[S::TM][S::TN], const typename S::C* a, const typename S::C* b, const u8* skipped) {
    typename S::C left[S::TM], right[S::TN];
#pragma unroll
    for (int i = 0; i < S::TM; i += S::VM) {
        const auto v = *reinterpret_cast<const Vector<typename S::C, S::VM>*>(a + row_of<S>(i));
#pragma unroll
        for (int e = 0; e < S::VM; ++e) left[i + e] = v.at[e];
    }
#pragma unroll
    for (int j = 0; j < S::TN; j += S::VN) {
        const auto v = *reinterpret_cast<const Vector<typename S::C, S::VN>*>(b + column_of<S>(j));
#pragma unroll
        for (int e = 0; e < S::VN; ++e) right[j + e] = v.at[e];
    }
#pragma unroll
    for (int j = 0; j < S::TN; ++j) {
        if (SKIPS && skipped[column_of<S>(j)]) continue;
#pragma unroll
        for (int i = 0; i < S::TM; ++i) sum[i][j] = fma(left[i], right[j], sum[i][j]);
    }
}

template <class C> DEVICE bool is_finite(C x) { return x - x == C(0); }

// total = the sums over begin..end, begin a multiple of KC. SKIPS: elements of B may be missing, and contribute nothing. They are
// zeros: the same, unless A's are not finite; a slice where one is not is computed by the marks.
template <class S, bool SKIPS, class A, class B>
DEVICE void sums(typename S::C (&total)[S::TM][S::TN], const A& a, const B& b, i64 begin, i64 end, Shared<S>& shared,
                 Marks<S, SKIPS>& marks) {
    typedef typename S::C C;
    C sum[S::TM][S::TN], next_a[A::E] = {}, next_b[B::E] = {};
#pragma unroll
    for (int i = 0; i < S::TM; ++i)
#pragma unroll
        for (int j = 0; j < S::TN; ++j) sum[i][j] = total[i][j] = C(0);
    const int row = first_row<S>(), column = first_column<S>();
    bool by_marks = false;
    u32 missing = 0;

    // To shared memory: the slice that starts at k, of which `length` is there.
    auto load = [&](i64 k, int length) {
        a.load(next_a, k, length);
        missing = b.load(next_b, k, length);
    };
    auto store = [&](int buffer) {
        a.store(next_a, reinterpret_cast<C*>(shared.a[buffer]));
        b.store(next_b, reinterpret_cast<C*>(shared.b[buffer]));
        if constexpr (SKIPS) {
            bool finite = true;
#pragma unroll
            for (int e = 0; e < A::E; ++e) finite = finite && is_finite(next_a[e]);
            by_marks = __syncthreads_or(!finite);
            if (by_marks) {
                b.mark(missing, &marks.skipped[0][0]);
                __syncthreads();
            }
        } else {
            __syncthreads();
        }
    };
    auto length_at = [&](i64 k) { return end - k < S::BK ? (int)(end - k) : S::BK; };

    int buffer = 1;
    bool first = true;
    // One step ahead of the sums: the first turn only loads.
#pragma unroll 1
    for (i64 k = begin - S::BK; k < end; k += S::BK) {
        const bool more = k + S::BK < end;
        if (more) load(k + S::BK, length_at(k + S::BK));
        const int length = k < begin ? 0 : length_at(k);
        const C* slice_a = reinterpret_cast<const C*>(shared.a[buffer]) + row;
        const C* slice_b = reinterpret_cast<const C*>(shared.b[buffer]) + column;
        if (SKIPS && by_marks) {
            if constexpr (SKIPS) {
#pragma unroll 1
                for (int l = 0; l < length; ++l)
                    step<S, true>(sum, slice_a + l * S::LDA, slice_b + l * S::LDB, &marks.skipped[l][column]);
            }
        } else if (length == S::BK) {
#pragma unroll 4
            for (int l = 0; l < S::BK; ++l) step<S, false>(sum, slice_a + l * S::LDA, slice_b + l * S::LDB, nullptr);
        } else {
#pragma unroll 1
            for (int l = 0; l < length; ++l) step<S, false>(sum, slice_a + l * S::LDA, slice_b + l * S::LDB, nullptr);
        }
        if (length > 0 && (!more || (k + S::BK) % KC == 0)) {
#pragma unroll
            for (int i = 0; i < S::TM; ++i)
#pragma unroll
                for (int j = 0; j < S::TN; ++j) {
                    total[i][j] = first ? sum[i][j] : total[i][j] + sum[i][j];
                    sum[i][j] = C(0);
                }
            first = false;
        }
        if (more) {
            buffer ^= 1;
            store(buffer);
        }
    }
}

// ---- the result ----

// Element (i, j) of matrix z is at z * matrix + i * row + j / group * group_stride + j % group * column.
struct Target {
    i64 row, column, matrix, group_stride;
    i64 row_bias, column_bias; // elements from a matrix's bias to the next's
    Divisor group;             // d == 0: one group
    i32 accumulate, relu, vectors;
};

DEVICE i64 place_in(const Target& target, i64 i, i64 j) {
    i64 place = i * target.row;
    if (target.group.d) {
        const u32 group = quotient((u32)j, target.group);
        place += group * target.group_stride;
        j -= (i64)group * target.group.d;
    }
    return place + j * target.column;
}

template <class T> struct Finish {
    typedef typename Compute<T>::type C;
    const T *row_bias, *column_bias; // or null
    T* c;
    DEVICE Finish(const T* row_bias, const T* column_bias, T* c, const Target& target, i64 z)
        : row_bias(row_bias ? row_bias + z * target.row_bias : nullptr),
          column_bias(column_bias ? column_bias + z * target.column_bias : nullptr), c(c + z * target.matrix) {}
};

// Writes a tile whose first element is (i0, j0).
template <class S>
DEVICE void write(typename S::C (&total)[S::TM][S::TN], const Finish<typename S::T>& finish, const Target& target, i64 i0, i64 j0, i64 m,
                  i64 n) {
    typedef typename S::T T;
    typedef typename S::C C;
    const i64 row = i0 + first_row<S>(), column = j0 + first_column<S>();
    i64 places[S::TN];
#pragma unroll
    for (int j = 0; j < S::TN; ++j) places[j] = place_in(target, row, column + column_of<S>(j));
    if (target.accumulate) {
#pragma unroll
        for (int i = 0; i < S::TM; ++i)
#pragma unroll
            for (int j = 0; j < S::TN; ++j)
                if (row + row_of<S>(i) < m && column + column_of<S>(j) < n)
                    total[i][j] = widen(finish.c[places[j] + row_of<S>(i) * target.row]) + total[i][j];
    }
    if (finish.row_bias) {
#pragma unroll
        for (int i = 0; i < S::TM; ++i) {
            const C bias = row + row_of<S>(i) < m ? C(widen(finish.row_bias[row + row_of<S>(i)])) : C(0);
#pragma unroll
            for (int j = 0; j < S::TN; ++j) total[i][j] = total[i][j] + bias;
        }
    }
    if (finish.column_bias) {
#pragma unroll
        for (int j = 0; j < S::TN; ++j) {
            const C bias = column + column_of<S>(j) < n ? C(widen(finish.column_bias[column + column_of<S>(j)])) : C(0);
#pragma unroll
            for (int i = 0; i < S::TM; ++i) total[i][j] = total[i][j] + bias;
        }
    }
    if (target.relu) {
#pragma unroll
        for (int i = 0; i < S::TM; ++i)
#pragma unroll
            for (int j = 0; j < S::TN; ++j) total[i][j] = max_second(C(0), total[i][j]);
    }
#pragma unroll
    for (int i = 0; i < S::TM; ++i) {
        if (row + row_of<S>(i) >= m) break;
        T* to = finish.c + row_of<S>(i) * target.row;
#pragma unroll
        for (int j = 0; j < S::TN; j += S::VN) {
            const i64 left = n - (column + column_of<S>(j));
            if (target.vectors && left >= S::VN) {
                Vector<T, S::VN> whole;
#pragma unroll
                for (int e = 0; e < S::VN; ++e) whole.at[e] = narrow<T>(total[i][j + e]);
                *reinterpret_cast<Vector<T, S::VN>*>(to + places[j]) = whole;
            } else {
#pragma unroll
                for (int e = 0; e < S::VN; ++e)
                    if (e < left) to[places[j + e]] = narrow<T>(total[i][j + e]);
            }
        }
    }
}

// Writes a tile of one block of k as it is, to parts[i][j].
template <class S>
DEVICE void write_part(const typename S::C (&total)[S::TM][S::TN], typename S::C* parts, i64 i0, i64 j0, i64 m, i64 n) {
    const i64 row = i0 + first_row<S>(), column = j0 + first_column<S>();
#pragma unroll
    for (int i = 0; i < S::TM; ++i)
#pragma unroll
        for (int j = 0; j < S::TN; ++j) {
            const i64 r = row + row_of<S>(i), c = column + column_of<S>(j);
            if (r < m && c < n) parts[r * n + c] = total[i][j];
        }
}

// The parts of all blocks of k, added in their order.
template <class T>
DEVICE void fold(const typename Compute<T>::type* parts, i64 blocks, const T* row_bias, const T* column_bias, T* c, const Target& target,
                 i64 m, i64 n, i64 matrices) {
    const i64 plane = m * n, len = plane * matrices;
    GRID_STRIDE(e, len) {
        const i64 z = e / plane, in_plane = e - z * plane, i = in_plane / n, j = in_plane - i * n;
        typename Compute<T>::type total = parts[e];
        for (i64 block = 1; block < blocks; ++block) total = total + parts[block * len + e];
        const Finish<T> finish(row_bias, column_bias, c, target, z);
        T* to = finish.c + place_in(target, i, j);
        if (target.accumulate) total = widen(*to) + total;
        if (finish.row_bias) total = total + widen(finish.row_bias[i]);
        if (finish.column_bias) total = total + widen(finish.column_bias[j]);
        if (target.relu) total = max_second(decltype(total)(0), total);
        *to = narrow<T>(total);
    }
}

// Tile `t` of m_tiles x n_tiles: eight rows of tiles at a time, so that what runs together shares operands in the cache.
DEVICE void tile_at(i64 t, i64 m_tiles, i64 n_tiles, i64& tile_m, i64& tile_n) {
    const i64 band = t / (8 * n_tiles), within = t - band * 8 * n_tiles;
    const i64 height = m_tiles - band * 8 < 8 ? m_tiles - band * 8 : 8;
    tile_n = within / height;
    tile_m = band * 8 + within - tile_n * height;
}
