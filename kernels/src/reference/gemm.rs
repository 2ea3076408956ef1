//! Naive gemm: one element at a time, in the order R2.

use crate::cpu::gemm::{Activation, Bias, Epilogue, Matrix};
use crate::element::Float;

/// The block of k.
const KC: usize = 256;

/// The sum of `k` products `factors(l)` in the order R2; `None` is a place in k that contributes
/// nothing.
pub fn sum_of_products<T: Float>(k: usize, factors: impl Fn(usize) -> Option<(T, T)>) -> T {
    let mut total = T::ZERO;
    for start in (0..k).step_by(KC) {
        let mut sum = T::ZERO;
        for l in start..k.min(start + KC) {
            if let Some((a, b)) = factors(l) {
                sum = a.mul_add(b, sum);
            }
        }
        total = if start == 0 { sum } else { total + sum };
    }
    total
}

/// `activation(x)`.
pub fn activate<T: Float>(activation: Activation, x: T) -> T {
    match activation {
        Activation::None => x,
        Activation::Relu => {
            if T::ZERO > x {
                T::ZERO
            } else {
                x
            }
        }
    }
}

/// `c[m, n] = epilogue(a b)`. Panics if an element lies outside its slice.
pub fn gemm<T: Float>(
    [m, k, n]: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
    c_stride: usize,
) {
    let at = |x: &Matrix<'_, T>, i: usize, j: usize| {
        let place = x.offset as isize + i as isize * x.row_stride + j as isize * x.column_stride;
        x.data[place as usize]
    };
    // Slices, of which one at most has elements: an optimised loop would look at a bias that is not there.
    let none: &[T] = &[];
    let (row_bias, column_bias) = match epilogue.bias {
        Bias::None => (none, none),
        Bias::Row(bias) => (&bias[..m], none),
        Bias::Column(bias) => (none, &bias[..n]),
    };
    for i in 0..m {
        for j in 0..n {
            let mut sum = sum_of_products(k, |l| Some((at(&a, i, l), at(&b, l, j))));
            let c = &mut c[i * c_stride + j];
            if epilogue.accumulate {
                sum = *c + sum;
            }
            for bias in [row_bias.get(i), column_bias.get(j)].into_iter().flatten() {
                sum = sum + *bias;
            }
            *c = activate(epilogue.activation, sum);
        }
    }
}
