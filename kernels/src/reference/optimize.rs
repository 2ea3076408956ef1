//! Naive optimizer steps, one element at a time.

use crate::cpu::optimize::{AdamScalars, AdamStep, SgdStep};
use crate::element::Float;

/// The root in f64, rounded: correctly rounded for f32 too, since f64 has more than twice its bits.
fn root<T: Float>(x: T) -> T {
    T::from_f64(x.to_f64().sqrt())
}

/// [`sgd`](crate::cpu::optimize::sgd) of one element.
pub fn sgd<T: Float>(step: &SgdStep, weight: &mut T, grad: T, velocity: &mut T) {
    let scalar = T::from_f64;
    let mut grad = grad;
    if step.weight_decay != 0.0 {
        grad = grad + scalar(step.weight_decay) * *weight;
    }
    if step.momentum != 0.0 {
        let taken = scalar(1.0 - step.dampening) * grad;
        *velocity = if step.first { grad } else { *velocity * scalar(step.momentum) + taken };
        grad = if step.nesterov { grad + scalar(step.momentum) * *velocity } else { *velocity };
    }
    *weight = *weight - scalar(step.lr) * grad;
}

/// [`adam`](crate::cpu::optimize::adam) of one element.
pub fn adam<T: Float>(step: &AdamStep, weight: &mut T, grad: T, first: &mut T, second: &mut T) {
    let s = AdamScalars::<T>::new(step);
    let mut grad = grad;
    if let Some(shrink) = s.shrink {
        *weight = *weight * shrink;
    }
    if let Some(penalty) = s.penalty {
        grad = grad + penalty * *weight;
    }
    let base = if s.from_end { grad } else { *first };
    *first = base + s.lerp * (grad - *first);
    *second = *second * s.keep + s.take * grad * grad;
    let denominator = root(*second) / s.root + s.eps;
    *weight = *weight - s.size * *first / denominator;
}
