// Recurrent layers (kernels/src/cpu/sequence): passes over the gates of one step, forward and backward; and for small steps of f32
// kernels that also compute the product over the state, in the order R2 of docs/adr/001-order-of-every-sum.md, so that a step is one launch.
#include "formulas.cuh"

constexpr int KC = 256;

// ---- one step, one unit of one row ----

// Of step t: the state goes from `before` to `h`, the cell state changes in place.
template <class T> struct Forward {
    const T* input;     // [batch, gates * hidden]: the input's products
    T *saved, *y;       // [batch, saved * hidden], [batch, hidden]
    const T* before;    // [batch, hidden], as h and c
    T *h, *c;           // y, before and h: not if projected
    const i64* lengths; // [batch], or null
    i64 batch, hidden, t;
    i32 projected, relu;
    DEVICE bool active(i64 row) const { return lengths == nullptr || t < lengths[row]; }
};

// Of step t; what is named as above is what the forward pass made.
template <class T> struct Backward {
    const T *y, *saved, *grad, *before;
    const T* cells; // LSTM: the cell states before, cells_stride apart
    T *gates, *hidden_gates, *dh, *dc;
    const i64* lengths;
    i64 batch, hidden, t, cells_stride;
    i32 projected, relu;
    DEVICE bool active(i64 row) const { return lengths == nullptr || t < lengths[row]; }
};

// `sum`: the products over the state. A saved row is i f g o c, and o * tanh(c) before a projection.
struct Lstm {
    static constexpr int GATES = 4, UNITS = 4; // units: of a tile
    template <class T> static DEVICE void forward(const Forward<T>& p, i64 row, i64 k, const T (&sum)[4]) {
        const i64 n = p.hidden, at = row * n + k;
        const T* const input = p.input + row * 4 * n + k;
        T* const saved = p.saved + row * (p.projected ? 6 : 5) * n + k;
        T i = T(0), f = T(0), g = T(0), o = T(0), out = T(0), c = p.c[at];
        const bool active = p.active(row);
        if (active) {
            i = math::sigmoid(input[0] + sum[0]);
            f = math::sigmoid(input[n] + sum[1]);
            g = math::tanh(input[2 * n] + sum[2]);
            o = math::sigmoid(input[3 * n] + sum[3]);
            c = f * c + i * g;
            out = o * math::tanh(c);
            p.c[at] = c;
        }
        saved[0] = i;
        saved[n] = f;
        saved[2 * n] = g;
        saved[3 * n] = o;
        saved[4 * n] = c;
        if (p.projected) {
            saved[5 * n] = out;
        } else {
            p.y[at] = out;
            p.h[at] = active ? out : p.before[at];
        }
    }
    // The state's gradient, and what is left of it.
    template <class T> static DEVICE T backward(const Backward<T>& p, i64 row, i64 k, T dh) {
        const i64 n = p.hidden, at = row * n + k;
        T* const gates = p.gates + row * 4 * n + k;
        if (!p.active(row)) {
            gates[0] = gates[n] = gates[2 * n] = gates[3 * n] = T(0);
            return dh;
        }
        const T* const saved = p.saved + row * (p.projected ? 6 : 5) * n + k;
        const T i = saved[0], f = saved[n], g = saved[2 * n], o = saved[3 * n], c = saved[4 * n];
        T out = p.grad[at];
        if (!p.projected) out = out + dh;
        const T t = math::tanh(c);
        const T cell = p.dc[at] + binary::tanh_grad::of(out * o, t);
        const T old = p.cells[row * p.cells_stride + k];
        gates[0] = binary::sigmoid_grad::of(cell * g, i);
        gates[n] = binary::sigmoid_grad::of(cell * old, f);
        gates[2 * n] = binary::tanh_grad::of(cell * i, g);
        gates[3 * n] = binary::sigmoid_grad::of(out * t, o);
        p.dc[at] = cell * f;
        return T(0);
    }
};

// A saved row is r z n and the hidden product of n.
struct Gru {
    static constexpr int GATES = 3, UNITS = 5;
    template <class T> static DEVICE void forward(const Forward<T>& p, i64 row, i64 k, const T (&sum)[3]) {
        const i64 n = p.hidden, at = row * n + k;
        const T* const input = p.input + row * 3 * n + k;
        T* const saved = p.saved + row * 4 * n + k;
        const T old = p.before[at];
        T r = T(0), z = T(0), fresh = T(0), product = T(0), out = T(0);
        const bool active = p.active(row);
        if (active) {
            r = math::sigmoid(input[0] + sum[0]);
            z = math::sigmoid(input[n] + sum[1]);
            product = sum[2];
            fresh = math::tanh(input[2 * n] + r * product);
            out = fresh + z * (old - fresh);
        }
        saved[0] = r;
        saved[n] = z;
        saved[2 * n] = fresh;
        saved[3 * n] = product;
        p.y[at] = out;
        p.h[at] = active ? out : old;
    }
    template <class T> static DEVICE T backward(const Backward<T>& p, i64 row, i64 k, T dh) {
        const i64 n = p.hidden, at = row * n + k;
        T* const gates = p.gates + row * 3 * n + k;
        T* const hidden_gates = p.hidden_gates + row * 3 * n + k;
        T dr = T(0), dz = T(0), dn = T(0), dproduct = T(0);
        if (p.active(row)) {
            const T* const saved = p.saved + row * 4 * n + k;
            const T r = saved[0], z = saved[n], fresh = saved[2 * n];
            const T out = p.grad[at] + dh;
            dh = out * z;
            dn = binary::tanh_grad::of(out - dh, fresh);
            dz = binary::sigmoid_grad::of(out * (p.before[at] - fresh), z);
            dr = binary::sigmoid_grad::of(dn * saved[3 * n], r);
            dproduct = dn * r;
        }
        gates[0] = hidden_gates[0] = dr;
        gates[n] = hidden_gates[n] = dz;
        gates[2 * n] = dn;
        hidden_gates[2 * n] = dproduct;
        return dh;
    }
};

// Its output says all that the backward pass needs.
struct Rnn {
    static constexpr int GATES = 1, UNITS = 16;
    template <class T> static DEVICE void forward(const Forward<T>& p, i64 row, i64 k, const T (&sum)[1]) {
        const i64 at = row * p.hidden + k;
        if (!p.active(row)) {
            p.y[at] = T(0);
            p.h[at] = p.before[at];
            return;
        }
        const T x = p.input[at] + sum[0];
        p.y[at] = p.h[at] = p.relu ? unary::relu::of(x) : math::tanh(x);
    }
    template <class T> static DEVICE T backward(const Backward<T>& p, i64 row, i64 k, T dh) {
        const i64 at = row * p.hidden + k;
        if (!p.active(row)) {
            p.gates[at] = T(0);
            return dh;
        }
        const T out = p.grad[at] + dh, y = p.y[at];
        p.gates[at] = p.relu ? binary::relu_grad::of(out, y) : binary::tanh_grad::of(out, y);
        return T(0);
    }
};

// ---- a pass over the gates, the products known ----

template <class Cell, class T> DEVICE void forward(const T* __restrict__ recurrent, const Forward<T>& p) {
#pragma unroll 1
    GRID_STRIDE(i, p.batch * p.hidden) {
        const i64 row = i / p.hidden, k = i - row * p.hidden;
        T sum[Cell::GATES];
#pragma unroll
        for (int g = 0; g < Cell::GATES; ++g) sum[g] = recurrent[(row * Cell::GATES + g) * p.hidden + k];
        Cell::forward(p, row, k, sum);
    }
}

template <class Cell, class T> DEVICE void backward(const Backward<T>& p) {
#pragma unroll 1
    GRID_STRIDE(i, p.batch * p.hidden) {
        const i64 row = i / p.hidden, k = i - row * p.hidden;
        const T dh = Cell::backward(p, row, k, p.projected ? T(0) : p.dh[i]);
        if (!p.projected) p.dh[i] = dh;
    }
}

// ---- products over the state: a tile of rows and columns of [rows, k] x [k, columns] ----

template <class T, int N> struct alignas(N * sizeof(T)) Vector {
    T at[N];
};

// GROUPS of threads share the blocks of k: a block's chain is one group's, the blocks' sums are added in their order. A thread
// computes 2 x 2 elements, half a tile apart.
template <class T, int ROWS_, int COLUMNS_, int GROUPS_> struct Tile {
    static constexpr int ROWS = ROWS_, COLUMNS = COLUMNS_, GROUPS = GROUPS_, V = 16 / (int)sizeof(T);
    static constexpr int GROUP = ROWS / 2 * COLUMNS / 2, THREADS = GROUPS * GROUP, OUT = ROWS * COLUMNS;
    static constexpr int SLICE = 32768 / ((int)sizeof(T) * GROUPS * (ROWS + COLUMNS)); // in k
    static constexpr int PITCH = SLICE + V; // 16 bytes longer, for fewer bank conflicts
    static_assert(KC % SLICE == 0, "a slice lies in one block of k");
    Vector<T, V> a[GROUPS][ROWS * PITCH / V], b[GROUPS][COLUMNS * PITCH / V];
    T part[GROUPS][OUT], total[OUT];
};

// One factor, [rows, k] with k together, as slice[row][k]. Rows that are not there are 0.
template <class S, class T, class Place>
DEVICE void load_along_k(T* slice, const T* x, int rows, i64 begin, int length, bool vectors, int lane, const Place& place) {
    constexpr int V = S::V;
    if (vectors) { // then `length` is whole vectors
#pragma unroll 8
        for (int e = lane; e < rows * (S::SLICE / V); e += S::GROUP) {
            const int row = e / (S::SLICE / V), k = e % (S::SLICE / V) * V;
            const i64 from = place(row);
            Vector<T, V> value = {};
            if (from >= 0 && k < length) value = *reinterpret_cast<const Vector<T, V>*>(x + from + begin + k);
            *reinterpret_cast<Vector<T, V>*>(slice + row * S::PITCH + k) = value;
        }
        return;
    }
#pragma unroll 2
    for (int e = lane; e < rows * S::SLICE; e += S::GROUP) {
        const int row = e / S::SLICE, k = e % S::SLICE;
        const i64 from = place(row);
        slice[row * S::PITCH + k] = from >= 0 && k < length ? x[from + begin + k] : T(0);
    }
}

// shared.total[row * COLUMNS + column] = the sums over k. `load_b(slice, begin, length, lane)` brings the columns' slice.
template <class S, class T, class LoadB>
DEVICE void products(S& shared, const T* a, i64 row0, i64 rows, i64 k, bool vectors, const LoadB& load_b) {
    constexpr int V = S::V, HALF_ROWS = S::ROWS / 2, HALF_COLUMNS = S::COLUMNS / 2;
    const int group = threadIdx.x / S::GROUP, lane = threadIdx.x % S::GROUP;
    const int row = lane % HALF_ROWS, column = lane / HALF_ROWS;
    T* const slice_a = reinterpret_cast<T*>(shared.a[group]);
    T* const slice_b = reinterpret_cast<T*>(shared.b[group]);
    const auto place = [=](int r) { return row0 + r < rows ? (row0 + r) * k : i64(-1); };
    const i64 blocks = (k + KC - 1) / KC;
#pragma unroll 1
    for (i64 first = 0; first < blocks; first += S::GROUPS) {
        const i64 start = (first + group) * KC, end = k - start > KC ? start + KC : k;
        T sum[2][2] = {};
#pragma unroll 1
        for (int s = 0; s < KC; s += S::SLICE) {
            const i64 begin = start + s;
            const int length = end - begin > S::SLICE ? S::SLICE : end > begin ? (int)(end - begin) : 0;
            load_along_k<S>(slice_a, a, S::ROWS, begin, length, vectors, lane, place);
            load_b(slice_b, begin, length, lane);
            __syncthreads();
            const T *const x = slice_a + row * S::PITCH, *const w = slice_b + column * S::PITCH;
            int l = 0;
#pragma unroll 4
            for (; l + V <= length; l += V) {
                Vector<T, V> left[2], right[2];
#pragma unroll
                for (int i = 0; i < 2; ++i) {
                    left[i] = *reinterpret_cast<const Vector<T, V>*>(x + i * HALF_ROWS * S::PITCH + l);
                    right[i] = *reinterpret_cast<const Vector<T, V>*>(w + i * HALF_COLUMNS * S::PITCH + l);
                }
#pragma unroll
                for (int v = 0; v < V; ++v)
#pragma unroll
                    for (int i = 0; i < 2; ++i)
#pragma unroll
                        for (int j = 0; j < 2; ++j) sum[i][j] = math::fma(left[i].at[v], right[j].at[v], sum[i][j]);
            }
#pragma unroll 1
            for (; l < length; ++l)
#pragma unroll
                for (int i = 0; i < 2; ++i)
#pragma unroll
                    for (int j = 0; j < 2; ++j)
                        sum[i][j] = math::fma(x[i * HALF_ROWS * S::PITCH + l], w[j * HALF_COLUMNS * S::PITCH + l], sum[i][j]);
            __syncthreads(); // the slices are used again
        }
#pragma unroll
        for (int i = 0; i < 2; ++i)
#pragma unroll
            for (int j = 0; j < 2; ++j)
                shared.part[group][(row + i * HALF_ROWS) * S::COLUMNS + column + j * HALF_COLUMNS] = sum[i][j];
        __syncthreads();
#pragma unroll 1
    for (int o = threadIdx.x; o < S::OUT; o += S::THREADS) {
            T total = first == 0 ? shared.part[0][o] : shared.total[o] + shared.part[0][o];
#pragma unroll
            for (int g = 1; g < S::GROUPS; ++g)
                if (first + g < blocks) total = total + shared.part[g][o];
            shared.total[o] = total;
        }
    }
    __syncthreads();
}

// A step forward: `w` is [gates * hidden, hidden]. Grid: tiles of units, tiles of rows.
template <class Cell, class T> DEVICE void step(const T* __restrict__ w, const T* __restrict__ bias, i32 vectors, const Forward<T>& p) {
    typedef Tile<T, 16, 16, 1> S;
    __shared__ S shared;
    const i64 n = p.hidden, row0 = (i64)blockIdx.y * S::ROWS, unit0 = (i64)blockIdx.x * Cell::UNITS;
    // Columns of the tile: all units of a gate, then those of the next.
    const auto place = [=](int column) {
        const int gate = column / Cell::UNITS;
        const i64 unit = unit0 + column % Cell::UNITS;
        return gate < Cell::GATES && unit < n ? (gate * n + unit) * n : i64(-1);
    };
    products(shared, p.before, row0, p.batch, n, vectors != 0, [&](T* slice, i64 begin, int length, int lane) {
        load_along_k<S>(slice, w, S::COLUMNS, begin, length, vectors != 0, lane, place);
    });
#pragma unroll 1
    for (int o = threadIdx.x; o < S::ROWS * Cell::UNITS; o += S::THREADS) {
        const int r = o / Cell::UNITS, u = o % Cell::UNITS;
        const i64 row = row0 + r, unit = unit0 + u;
        if (row >= p.batch || unit >= n) continue;
        T sum[Cell::GATES];
#pragma unroll
        for (int g = 0; g < Cell::GATES; ++g) {
            sum[g] = shared.total[r * S::COLUMNS + g * Cell::UNITS + u];
            if (bias) sum[g] = sum[g] + bias[g * n + unit];
        }
        Cell::forward(p, row, unit, sum);
    }
}

// A step backward: first the gradient of the state that the step after it started from, dh + d w; d: [batch, gates * hidden], w as above.
template <class Cell, class T>
DEVICE void step_back(const T* __restrict__ d, const T* __restrict__ w, i32 vectors, const Backward<T>& p) {
    typedef Tile<T, 8, 8, 4> S;
    __shared__ S shared;
    const i64 n = p.hidden, row0 = (i64)blockIdx.y * S::ROWS, unit0 = (i64)blockIdx.x * S::COLUMNS;
    products(shared, d, row0, p.batch, Cell::GATES * n, vectors != 0, [&](T* slice, i64 begin, int length, int lane) {
#pragma unroll 8
        for (int e = lane; e < S::COLUMNS * S::SLICE; e += S::GROUP) {
            const int column = e % S::COLUMNS, k = e / S::COLUMNS;
            slice[column * S::PITCH + k] = k < length && unit0 + column < n ? w[(begin + k) * n + unit0 + column] : T(0);
        }
    });
#pragma unroll 1
    for (int o = threadIdx.x; o < S::OUT; o += S::THREADS) {
        const i64 row = row0 + o / S::COLUMNS, unit = unit0 + o % S::COLUMNS;
        if (row >= p.batch || unit >= n) continue;
        T* const dh = p.dh + row * n + unit;
        *dh = Cell::backward(p, row, unit, *dh + shared.total[o]);
    }
}

// ---- what is moved between steps ----

// A projected state: `x` where a row takes part, else the old one.
template <class T>
DEVICE void project(const T* __restrict__ x, const T* __restrict__ before, T* __restrict__ h, T* __restrict__ y,
                    const i64* __restrict__ lengths, i64 batch, i64 output, i64 t) {
#pragma unroll 1
    GRID_STRIDE(i, batch * output) {
        const bool active = lengths == nullptr || t < lengths[i / output];
        y[i] = active ? x[i] : T(0);
        h[i] = active ? x[i] : before[i];
    }
}

// Its gradient: grad + dh, and 0 is left in dh.
template <class T>
DEVICE void add_state(const T* __restrict__ grad, T* __restrict__ dh, T* __restrict__ states, const i64* __restrict__ lengths, i64 batch,
                      i64 output, i64 t) {
#pragma unroll 1
    GRID_STRIDE(i, batch * output) {
        const bool active = lengths == nullptr || t < lengths[i / output];
        states[i] = active ? grad[i] + dh[i] : T(0);
        if (active) dh[i] = T(0);
    }
}

// The state that each step started from: the neighbour's `y`, or h0; 0 where a row takes no part. `step`: 1, or -1 in reverse.
template <class T>
DEVICE void starts(const T* __restrict__ h0, const T* __restrict__ y, T* __restrict__ before, const i64* __restrict__ lengths, i64 steps,
                   i64 batch, i64 output, i64 step) {
    const i64 whole = batch * output;
#pragma unroll 1
    GRID_STRIDE(i, steps * whole) {
        const i64 t = i / whole, place = i - t * whole, from = t - step;
        const i64 end = lengths == nullptr ? steps : lengths[place / output];
        before[i] = t >= end ? T(0) : from >= 0 && from < end ? y[from * whole + place] : h0[place];
    }
}

#define CELL(cell, name, T)                                                                                                              \
    KERNEL_BOUNDED(256, sequence_##name##_forward_##T, const T* recurrent, const Forward<T> p) { forward<cell>(recurrent, p); }          \
    KERNEL_BOUNDED(256, sequence_##name##_backward_##T, const Backward<T> p) { backward<cell>(p); }
#define STEP(cell, name, T)                                                                                                              \
    KERNEL_BOUNDED(64, sequence_##name##_step_##T, const T* w, const T* bias, i32 vectors, const Forward<T> p) {                         \
        step<cell>(w, bias, vectors, p);                                                                                                 \
    }                                                                                                                                    \
    KERNEL_BOUNDED(64, sequence_##name##_step_back_##T, const T* d, const T* w, i32 vectors, const Backward<T> p) {                      \
        step_back<cell>(d, w, vectors, p);                                                                                               \
    }
#define SEQUENCE(T)                                                                                                                      \
    CELL(Lstm, lstm, T)                                                                                                                  \
    CELL(Gru, gru, T)                                                                                                                    \
    CELL(Rnn, rnn, T)                                                                                                                    \
    KERNEL(sequence_project_##T, const T* x, const T* before, T* h, T* y, const i64* lengths, i64 batch, i64 output, i64 t) {            \
        project(x, before, h, y, lengths, batch, output, t);                                                                             \
    }                                                                                                                                    \
    KERNEL(sequence_add_state_##T, const T* grad, T* dh, T* states, const i64* lengths, i64 batch, i64 output, i64 t) {                  \
        add_state(grad, dh, states, lengths, batch, output, t);                                                                          \
    }                                                                                                                                    \
    KERNEL(sequence_starts_##T, const T* h0, const T* y, T* before, const i64* lengths, i64 steps, i64 batch, i64 output, i64 step) {    \
        starts(h0, y, before, lengths, steps, batch, output, step);                                                                      \
    }
SEQUENCE(f32) SEQUENCE(f64)
STEP(Lstm, lstm, f32) STEP(Gru, gru, f32) STEP(Rnn, rnn, f32)
