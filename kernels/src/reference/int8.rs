//! Naive int8: one element at a time, sums in i64, clamps after rounding.

/// `sum over l of a(i, l) * w(l, j) + bias(j)`, row by row; operands less their zero points.
pub fn gemm(
    [m, k, n]: [usize; 3],
    a: impl Fn(usize, usize) -> i32,
    w: impl Fn(usize, usize) -> i32,
    bias: impl Fn(usize) -> i32,
) -> Vec<i64> {
    let mut out = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            let sum: i64 = (0..k).map(|l| i64::from(a(i, l)) * i64::from(w(l, j))).sum();
            out.push(sum + i64::from(bias(j)));
        }
    }
    out
}

/// `sum * scale + bias`, then ReLU, each step in f32.
pub fn dequantize_sum(sum: i64, scale: f32, bias: Option<f32>, relu: bool) -> f32 {
    let mut float = sum as f32 * scale;
    if let Some(bias) = bias {
        float += bias;
    }
    if relu && float < 0.0 { 0.0 } else { float }
}

/// `clamp(round_half_even(x) + zero, low, high)`; NaN gives `zero`.
pub fn code(x: f32, zero: i32, [low, high]: [i32; 2]) -> i32 {
    // f64 holds every f32, and the sum of an integral one and a small integer that could lie between the bounds.
    let code = f64::from(x.round_ties_even()) + f64::from(zero);
    if code.is_nan() { zero } else { code.clamp(f64::from(low), f64::from(high)) as i32 }
}

/// `code(sum * multiplier)`; with `relu` at least `zero`.
pub fn requantize(sum: i64, multiplier: f32, zero: i32, range: [i32; 2], relu: bool) -> i32 {
    let [low, high] = range;
    code(sum as f32 * multiplier, zero, [if relu { low.max(zero) } else { low }, high])
}

/// Scale, zero point and codes of a row with its own range; `None` if it has none.
pub fn quantize_row(
    x: &[f32],
    [low, high]: [i32; 2],
    divide: bool,
) -> Option<(f32, i32, Vec<i32>)> {
    let (min, max) = x.iter().fold((0f32, 0f32), |(min, max), x| (min.min(*x), max.max(*x)));
    if !x.iter().all(|x| x.is_finite()) || !(max - min).is_finite() {
        return None;
    }
    let scale = ((max - min) / 255.0).max(f32::EPSILON);
    let zero = code(-(min / scale), low, [low, high]);
    let step = |x: &f32| if divide { x / scale } else { x * (1.0 / scale) };
    Some((scale, zero, x.iter().map(|x| code(step(x), zero, [low, high])).collect()))
}
