// Optimizer steps (kernels/src/cpu/optimize): one pass over parameter, gradient and states, which are changed in place. Every
// operation is rounded once; the scalars come rounded from the host. An absent state is null.
#include "common.cuh"

template <class T> struct Sgd {
    T lr, decay, keep, take;
    i32 maximize, decays, momentum, first, nesterov;

    DEVICE void of(T& w, T g, T* velocity, T*, T*, i64 i) const {
        if (maximize) g = -g;
        if (decays) g = g + decay * w;
        if (momentum) {
            T v = g;
            if (!first) v = velocity[i] * keep + take * g;
            velocity[i] = v;
            g = nesterov ? g + keep * v : v;
        }
        w = w - lr * g;
    }
};

template <class T> struct Adam {
    T shrink, penalty, lerp, keep, take, root, eps, size;
    i32 maximize, shrinks, penalizes, from_end, amsgrad;

    DEVICE void of(T& w, T g, T* first, T* second, T* largest, i64 i) const {
        if (maximize) g = -g;
        if (shrinks) w = w * shrink;
        if (penalizes) g = g + penalty * w;
        const T old = first[i];
        const T m = (from_end ? g : old) + lerp * (g - old);
        first[i] = m;
        const T v = second[i] * keep + (take * g) * g;
        second[i] = v;
        T u = v;
        if (amsgrad) {
            const T most = largest[i];
            u = is_nan(most) ? most : max_second(most, v);
            largest[i] = u;
        }
        w = w - (size * m) / (square_root(u) / root + eps);
    }
};

template <class T> struct RmsProp {
    T lr, alpha, rest, eps, decay, momentum, lerp;
    i32 maximize, decays, from_end, centered, moves;

    // The states that are used, in their order.
    DEVICE void of(T& w, T g, T* square, T* mean, T* velocity, i64 i) const {
        if (maximize) g = -g;
        if (decays) g = g + decay * w;
        T s = square[i] * alpha + (rest * g) * g;
        square[i] = s;
        if (centered) {
            const T old = mean[i];
            const T a = (from_end ? g : old) + lerp * (g - old);
            mean[i] = a;
            s = s - a * a;
        }
        const T d = square_root(s) + eps;
        if (moves) {
            const T v = velocity[i] * momentum + g / d;
            velocity[i] = v;
            w = w - lr * v;
        } else {
            w = w - (lr * g) / d;
        }
    }
};

template <class T> struct Adagrad {
    T rate, eps, decay;
    i32 maximize, decays;

    DEVICE void of(T& w, T g, T* sum, T*, T*, i64 i) const {
        if (maximize) g = -g;
        if (decays) g = g + decay * w;
        const T s = sum[i] + g * g;
        sum[i] = s;
        w = w - (rate * g) / (square_root(s) + eps);
    }
};

#define OPTIMIZE(name, step, T)                                                                                      \
    KERNEL(optimize_##name##_##T, T* weight, const T* __restrict__ grad, T* a, T* b, T* c, i64 n, const step<T> how) { \
        _Pragma("unroll 1") GRID_STRIDE(i, n) {                                                                      \
            T w = weight[i];                                                                                         \
            how.of(w, grad[i], a, b, c, i);                                                                          \
            weight[i] = w;                                                                                           \
        }                                                                                                            \
    }
#define OPTIMIZERS(T)              \
    OPTIMIZE(sgd, Sgd, T)          \
    OPTIMIZE(adam, Adam, T)        \
    OPTIMIZE(rms_prop, RmsProp, T) \
    OPTIMIZE(adagrad, Adagrad, T)
OPTIMIZERS(f32) OPTIMIZERS(f64)
