//! Naive elementwise operations: one element at a time, through the standard library's functions in
//! f64.

use std::f64::consts::{LN_2, SQRT_2};

use crate::elementwise::{BinaryOp, CompareOp, LogicalOp, UnaryOp};
use crate::{Pod, strided::View};

/// The elements of a view in logical (row-major) order.
pub fn elements<T: Pod>(x: View<'_, T>) -> Vec<T> {
    let mut all = Vec::new();
    let len = x.len();
    for index in 0..len {
        let mut rest = index;
        let mut place = x.offset() as isize;
        for (&size, &stride) in x.shape().iter().zip(x.strides()).rev() {
            place += (rest % size) as isize * stride;
            rest /= size;
        }
        all.push(x.data()[place as usize]);
    }
    all
}

/// `op(x)`, to a few units in the last place of f64.
pub fn unary(op: UnaryOp, x: f64) -> f64 {
    match op {
        UnaryOp::Neg => -x,
        UnaryOp::Abs => x.abs(),
        UnaryOp::Sign => {
            if x > 0.0 {
                1.0
            } else if x < 0.0 {
                -1.0
            } else {
                x
            }
        }
        UnaryOp::Reciprocal => 1.0 / x,
        UnaryOp::Square => x * x,
        UnaryOp::Sqrt => x.sqrt(),
        UnaryOp::Rsqrt => 1.0 / x.sqrt(),
        UnaryOp::Exp => x.exp(),
        UnaryOp::Expm1 => x.exp_m1(),
        UnaryOp::Log => x.ln(),
        UnaryOp::Log1p => x.ln_1p(),
        UnaryOp::Sin => x.sin(),
        UnaryOp::Cos => x.cos(),
        UnaryOp::Tanh => x.tanh(),
        UnaryOp::Sigmoid => {
            let e = (-x.abs()).exp();
            if x < 0.0 { e / (1.0 + e) } else { 1.0 / (1.0 + e) }
        }
        UnaryOp::Erf => erf(x),
        UnaryOp::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        UnaryOp::Gelu => gelu(x),
        UnaryOp::Floor => x.floor(),
        UnaryOp::Ceil => x.ceil(),
        UnaryOp::Round => x.round_ties_even(),
        UnaryOp::Trunc => x.trunc(),
        UnaryOp::Erfc => erfc(x),
        UnaryOp::Tan => x.tan(),
        UnaryOp::Asin => x.asin(),
        UnaryOp::Acos => x.acos(),
        UnaryOp::Atan => x.atan(),
        UnaryOp::Sinh => x.sinh(),
        UnaryOp::Cosh => x.cosh(),
        UnaryOp::Asinh => {
            let a = x.abs();
            let y =
                if a > 1e9 { a.ln() + LN_2 } else { (a + a * a / (1.0 + a.hypot(1.0))).ln_1p() };
            y.copysign(x)
        }
        UnaryOp::Acosh if x < 1.0 => f64::NAN,
        UnaryOp::Acosh if x > 1e9 => x.ln() + LN_2,
        UnaryOp::Acosh => ((x - 1.0) + ((x - 1.0) * (x + 1.0)).sqrt()).ln_1p(),
        UnaryOp::Atanh => (0.5 * (2.0 * x.abs() / (1.0 - x.abs())).ln_1p()).copysign(x),
        UnaryOp::Exp2 => x.exp2(),
        UnaryOp::Log2 => x.log2(),
        UnaryOp::Log10 => x.log10(),
    }
}

/// `1 - erf(x)`; from 1 on by the continued fraction of Mills' ratio.
fn erfc(x: f64) -> f64 {
    if x.is_nan() || x < 0.5 {
        return 1.0 - erf(x);
    }
    if x < 1.0 {
        // 1 - erf(x) would lose digits: erf(x) - erf(1/2) is a sum of small terms.
        let pieces = 4096.0;
        let width = (x - 0.5) / pieces;
        let density = |t: f64| std::f64::consts::FRAC_2_SQRT_PI * (-t * t).exp();
        // Gauss's rule of three points a piece.
        let sum: f64 = (0..4096)
            .map(|piece| {
                let middle = 0.5 + (piece as f64 + 0.5) * width;
                let side = width * 0.5 * 0.6f64.sqrt();
                let sides = density(middle - side) + density(middle + side);
                (8.0 * density(middle) + 5.0 * sides) / 18.0
            })
            .sum();
        return 0.4795001221869535 - sum * width;
    }
    -gelu(-x * SQRT_2) * SQRT_2 / x
}

/// Error function by the series `2/sqrt(pi) e^(-x^2) sum x (2x^2)^n / (1 3 5 ... (2n + 1))`, all of
/// whose terms are positive.
fn erf(x: f64) -> f64 {
    if x.is_nan() || x == 0.0 {
        return x;
    }
    if x.abs() > 6.0 {
        return 1f64.copysign(x);
    }
    let (mut term, mut sum, mut n) = (x, 0.0, 0.0);
    while sum + term != sum {
        sum += term;
        n += 1.0;
        term *= 2.0 * x * x / (2.0 * n + 1.0);
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

/// `x Phi(x)`; below -1 by the continued fraction of Mills' ratio.
fn gelu(x: f64) -> f64 {
    if x.is_nan() || x == 0.0 {
        return x;
    }
    if x > -1.0 {
        return x * 0.5 * (1.0 + erf(x * std::f64::consts::FRAC_1_SQRT_2));
    }
    let a = -x;
    if a > 40.0 {
        return 0.0;
    }
    let mut fraction = a;
    for n in (1..600).rev() {
        fraction = a + n as f64 / fraction;
    }
    // a^2 / 2 as a pair, lest its rounding be multiplied by its size.
    let half_square = 0.5 * a * a;
    let lost = (0.5 * a).mul_add(a, -half_square);
    let density = (-half_square).exp() * (1.0 - lost) / (2.0 * std::f64::consts::PI).sqrt();
    -a * density / fraction
}

/// `op(a, b)`, to a few units in the last place of f64.
pub fn binary(op: BinaryOp, a: f64, b: f64) -> f64 {
    match op {
        BinaryOp::Add => a + b,
        BinaryOp::Sub => a - b,
        BinaryOp::Mul => a * b,
        BinaryOp::Div => a / b,
        BinaryOp::Maximum => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else if b > a {
                b
            } else {
                a
            }
        }
        BinaryOp::Minimum => {
            if a.is_nan() || b.is_nan() {
                f64::NAN
            } else if b < a {
                b
            } else {
                a
            }
        }
        BinaryOp::Pow => a.powf(b),
        BinaryOp::ReluGrad => {
            if b <= 0.0 {
                0.0
            } else {
                a
            }
        }
        BinaryOp::TanhGrad => a * (1.0 - b * b),
        BinaryOp::SigmoidGrad => a * b * (1.0 - b),
        BinaryOp::TruncDivide => (a / b).trunc(),
        BinaryOp::Fmod => a % b,
        BinaryOp::Remainder | BinaryOp::FloorDivide => {
            let rest = a % b;
            let stray = rest != 0.0 && (rest < 0.0) != (b < 0.0);
            match op {
                BinaryOp::Remainder => {
                    if stray {
                        rest + b
                    } else {
                        rest
                    }
                }
                _ if b == 0.0 => a / b,
                _ => {
                    let whole = (a - rest) / b - if stray { 1.0 } else { 0.0 };
                    if whole == 0.0 { 0f64.copysign(a / b) } else { whole.round_ties_even() }
                }
            }
        }
        BinaryOp::Atan2 => a.atan2(b),
        BinaryOp::Hypot => a.hypot(b),
    }
}

/// `op(a, b)`.
pub fn compare<T: PartialOrd>(op: CompareOp, a: T, b: T) -> bool {
    match op {
        CompareOp::Eq => a == b,
        CompareOp::Ne => a != b,
        CompareOp::Lt => a < b,
        CompareOp::Le => a <= b,
        CompareOp::Gt => a > b,
        CompareOp::Ge => a >= b,
    }
}

/// `op(a, b)`.
pub fn logical(op: LogicalOp, a: bool, b: bool) -> bool {
    match op {
        LogicalOp::And => a && b,
        LogicalOp::Or => a || b,
        LogicalOp::Xor => a != b,
    }
}
