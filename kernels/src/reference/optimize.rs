//! Naive optimizer steps, one element at a time.

use crate::cpu::optimize::{AdagradStep, AdamScalars, AdamStep, RmsPropStep, SgdStep};
use crate::element::Float;

/// The root in f64, rounded: correctly rounded for f32 too, since f64 has more than twice its bits.
fn root<T: Float>(x: T) -> T {
    T::from_f64(x.to_f64().sqrt())
}

/// `grad` with its sign and penalty.
fn followed<T: Float>(grad: T, weight: T, maximize: bool, weight_decay: f64) -> T {
    let grad = if maximize { -grad } else { grad };
    if weight_decay != 0.0 { grad + T::from_f64(weight_decay) * weight } else { grad }
}

/// The larger, NaN if one is.
fn larger<T: Float>(a: T, b: T) -> T {
    if a > b || a.is_nan() { a } else { b }
}

/// `keep * from + (1 - keep) * to` in PyTorch's two forms.
fn lerp<T: Float>(from: T, to: T, keep: f64) -> T {
    let difference = to - from;
    if 1.0 - keep < 0.5 {
        from + T::from_f64(1.0 - keep) * difference
    } else {
        to + T::from_f64(-keep) * difference
    }
}

/// [`sgd`](crate::cpu::optimize::sgd) of one element.
pub fn sgd<T: Float>(step: &SgdStep, weight: &mut T, grad: T, velocity: &mut T) {
    let scalar = T::from_f64;
    let mut grad = followed(grad, *weight, step.maximize, step.weight_decay);
    if step.momentum != 0.0 {
        let taken = scalar(1.0 - step.dampening) * grad;
        *velocity = if step.first { grad } else { *velocity * scalar(step.momentum) + taken };
        grad = if step.nesterov { grad + scalar(step.momentum) * *velocity } else { *velocity };
    }
    *weight = *weight - scalar(step.lr) * grad;
}

/// [`adam`](crate::cpu::optimize::adam) of one element.
pub fn adam<T: Float>(
    step: &AdamStep,
    weight: &mut T,
    grad: T,
    first: &mut T,
    second: &mut T,
    largest: &mut T,
) {
    let s = AdamScalars::<T>::new(step);
    let mut grad = if s.maximize { -grad } else { grad };
    if let Some(shrink) = s.shrink {
        *weight = *weight * shrink;
    }
    if let Some(penalty) = s.penalty {
        grad = grad + penalty * *weight;
    }
    let base = if s.from_end { grad } else { *first };
    *first = base + s.lerp * (grad - *first);
    *second = *second * s.keep + s.take * grad * grad;
    if s.amsgrad {
        *largest = larger(*largest, *second);
    }
    let under = if s.amsgrad { *largest } else { *second };
    let denominator = root(under) / s.root + s.eps;
    *weight = *weight - s.size * *first / denominator;
}

/// [`rms_prop`](crate::cpu::optimize::rms_prop) of one element.
pub fn rms_prop<T: Float>(
    step: &RmsPropStep,
    weight: &mut T,
    grad: T,
    square: &mut T,
    mean: &mut T,
    velocity: &mut T,
) {
    let scalar = T::from_f64;
    let grad = followed(grad, *weight, step.maximize, step.weight_decay);
    *square = *square * scalar(step.alpha) + scalar(1.0 - step.alpha) * grad * grad;
    let mut under = *square;
    if step.centered {
        *mean = lerp(*mean, grad, step.alpha);
        under = under - *mean * *mean;
    }
    let denominator = root(under) + scalar(step.eps);
    if step.momentum != 0.0 {
        *velocity = *velocity * scalar(step.momentum) + grad / denominator;
        *weight = *weight - scalar(step.lr) * *velocity;
    } else {
        *weight = *weight - scalar(step.lr) * grad / denominator;
    }
}

/// [`adagrad`](crate::cpu::optimize::adagrad) of one element.
pub fn adagrad<T: Float>(step: &AdagradStep, weight: &mut T, grad: T, sum: &mut T) {
    let grad = followed(grad, *weight, step.maximize, step.weight_decay);
    *sum = *sum + grad * grad;
    let denominator = root(*sum) + T::from_f64(step.eps);
    *weight = *weight - T::from_f64(step.rate()) * grad / denominator;
}
