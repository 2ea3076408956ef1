// `erf`, `erfc` and `gelu` (kernels/src/cpu/math/error_function.rs).
#pragma once

namespace math {

// erf(x) / x - 1 for |x| <= 1, in z = x^2; f64.
template <class T> DEVICE T erf_near(T z) {
    return polynomial(z, 0.1283791670955126, -0.3761263890318375, 0.11283791670954879, -0.026866170645076792,
                      0.0052239776248180145, -0.000854832698083379, 0.0001205533111164271, -1.4925595266831182e-05,
                      1.6461000484121368e-06, -1.6350312701054695e-07, 1.4659775274047436e-08, -1.1372848856791674e-09,
                      5.957176147748911e-11);
}

// 1 - erf(a) for a of at least 0.93, as precise as `erf` needs it.
template <class T> DEVICE T complement(T a) {
    a = min_second(either<T>(4.0, 6.0), a);
    if (single<T>()) {
        const T p = polynomial(a, -0.12865421, -0.63512814, -0.10627510, 0.023794895, -0.0036579343, 0.00032659713,
                               -1.1608940e-5);
        return exp(fma(a, p, -a));
    }
    const T three = T(3);
    const T u = (a - three) / (a + three);
    const T p = polynomial(u, 0.17900115118138996, -0.3262335600430372, 0.24560380171233487, -0.15011593650077898,
                           0.07166583719747308, -0.024392499318915004, 0.004269136356961225, 0.0007077464666941425,
                           -0.0005970624964924544, 4.525434558991009e-05, 6.406279226046039e-05,
                           -1.2845780030775907e-05, -8.00978093907608e-06, 2.0135111426447427e-06,
                           1.2755818949624478e-06, 3.381355142042904e-09);
    return exp(-(a * a)) * p;
}

template <class T> DEVICE T erf(T x) {
    const T a = abs(x);
    if (either<T>(0.93, 1.0) < a) return copysign(T(1) - complement(a), x);
    const T z = x * x;
    const T p = single<T>()
        ? polynomial(z, 0.12837915, -0.37612489, 0.1128173, -0.026762916, 0.0049872529, -0.00059589773)
        : erf_near(z);
    return fma(x, p, x);
}

// `factor erfc(a)` for a of 0.5 to 28, where `square` is a^2, of which the tail feels every digit; f64.
template <class T> DEVICE T scaled_tail(Pair<T> a, Pair<T> square, T factor) {
    const T three = T(3);
    T n;
    const Pair<T> power = exp_pair(-square.high, -square.low, n);
    const T slow = polynomial(
        (a.high - three) / (a.high + three), 0.7160046047255598, -0.23092733308380928, 0.09902075367944009,
        -0.010235388898999524, -0.023803913108668796, 0.02195776401231009, -0.009750689292726634, 0.001618569133687527,
        0.0006458142010858809, -0.00036728854847448573, -2.0551567897127145e-05, 5.611979712338692e-05,
        -1.5147232398029368e-06, -8.99166247983205e-06, 2.622743342266795e-07, 1.5924669289563977e-06,
        5.618855891954368e-08, -2.985304158066627e-07, -3.912762630488438e-08, 5.44697613397438e-08,
        8.599044648838003e-09, -7.45569295317535e-09);
    const Pair<T> scaled = two_product(slow, factor);
    const Pair<T> product = two_product(power.high, scaled.high);
    const T rest = fma(power.high, scaled.low, fma(power.low, scaled.high, product.low));
    const Pair<T> below = two_sum(a.high, T(1));
    const Pair<T> value = divide(Pair<T>{product.high, rest}, Pair<T>{below.high, below.low + a.low});
    return scale(value.high + value.low, n);
}

// 1 - erf(x), to its last digits in the tail.
DEVICE f64 erfc(f64 x) {
    const f64 half = 0.5, one = 1.0;
    if (half < abs(x)) {
        const f64 a = max_second(half, min_second(28.0, abs(x)));
        const f64 far = scaled_tail(Pair<f64>{a, 0.0}, two_product(a, a), one);
        return x < 0.0 ? 2.0 - far : far;
    }
    const f64 p = erf_near(x * x);
    const Pair<f64> start = fast_two_sum(one, -x);
    return start.high + fnma(x, p, start.low);
}

// a Phi(-a) e^(a^2 / 2) on [0, 14.5], f32.
template <class T> DEVICE T mills(T a) {
    const T one = T(1);
    const T share = a / (a + T(3.5));
    const T u = (share + share) - one;
    const T slow = polynomial(u, 0.7444160797901401, -0.5655617650253301, 0.31542466165735084, -0.11605262091686595,
                              0.017410664475287614, 0.006491951936627745, -0.003191281455327021,
                              -0.0004990856782791951, 0.00044136758816283654, 0.00012301059629275094);
    return share * slow;
}

// x (1 + erf(x / sqrt(2))) / 2 near 0, max(x, 0) - |x| erfc(|x| / sqrt(2)) / 2 farther out.
DEVICE f64 gelu(f64 x) {
    const f64 half = 0.5, root = FRAC_1_SQRT_2;
    const f64 a = min_second(39.0, abs(x));
    const f64 b = a * root;
    if (half < b) {
        const f64 half_a = a * half;
        const f64 b_low = fma(a, -4.833646656726457e-17, fma(a, root, -b));
        const f64 tail = scaled_tail(Pair<f64>{max_second(half, b), b_low}, two_product(half_a, a), half_a);
        return max_second(0.0, x) - tail;
    }
    const f64 c = x * root, half_x = x * half;
    const f64 p = erf_near(c * c);
    const Pair<f64> start = fast_two_sum(1.0, c);
    return fma(half_x, start.high, half_x * fma(c, p, start.low));
}

// x Phi(x), with the error function: max(x, 0) - |x| Phi(-|x|).
DEVICE f32 gelu(f32 x) {
    const f32 a = min_second(14.5f, abs(x));
    const f32 t = fma(a * a, f32(-0.5 * LOG2_E), magic<f32>());
    const f32 n = t - magic<f32>();
    // One rounding of the exact a^2 / 2 less n ln 2: rounding a^2 alone would cost 40 ULP in the tail.
    const f32 half_a = a * 0.5f;
    const f32 exact = -fma(a, half_a, n * ln2_head<f32>());
    const f32 r = fnma(n, ln2_tail<f32>(), exact);
    const f32 tail = exp_reduced(r) * mills(a);
    return max_second(0.0f, x) - scale(tail, n);
}

} // namespace math
