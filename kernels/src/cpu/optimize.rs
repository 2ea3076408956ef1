//! Optimizer steps in one pass over parameter, gradient and state.

use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Result, require};

/// Elements of a piece.
const PIECE: usize = 16_384;

/// Settings of [`sgd`], PyTorch's `torch.optim.SGD`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct SgdStep {
    /// Learning rate.
    pub lr: f64,
    /// Momentum factor; 0: none, `velocity` is not touched.
    pub momentum: f64,
    /// Dampening of the momentum.
    pub dampening: f64,
    /// L2 penalty added to the gradient.
    pub weight_decay: f64,
    /// Nesterov's variant.
    pub nesterov: bool,
    /// True at the first step: `velocity = gradient`.
    pub first: bool,
}

/// PyTorch's order of operations, every one rounded once (no FMA), scalars computed in f64 and rounded once to `T`:
///
/// ```text
/// g = g + weight_decay * w                     if weight_decay != 0
/// v = g                                        at the first step, else
/// v = v * momentum + (1 - dampening) * g       if momentum != 0
/// g = nesterov ? g + momentum * v : v          if momentum != 0
/// w = w - lr * g
/// ```
///
/// Without momentum `velocity` is empty.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ.
pub fn sgd<T: Float>(
    step: &SgdStep,
    weight: &mut [T],
    grad: &[T],
    velocity: &mut [T],
) -> Result<()> {
    let n = weight.len();
    let momentum = step.momentum != 0.0;
    require(grad.len() == n, "sgd: length of the gradient")?;
    require(velocity.len() == if momentum { n } else { 0 }, "sgd: length of the velocity")?;
    let work = size_of_val(grad) as u64 / 4;
    let (weight, velocity) = (Shared::new(weight), Shared::new(velocity));
    parallel::run(n.div_ceil(PIECE), work, &|piece| {
        let start = piece * PIECE;
        // SAFETY: pieces are disjoint.
        let (weight, velocity) =
            unsafe { (weight.part(start, PIECE), velocity.part(start, PIECE)) };
        let grad = &grad[start..start + weight.len()];
        T::dispatch(Sgd { step, momentum, weight, grad, velocity });
    });
    Ok(())
}

struct Sgd<'a, T> {
    step: &'a SgdStep,
    momentum: bool,
    weight: &'a mut [T],
    grad: &'a [T],
    velocity: &'a mut [T],
}

impl<T: Float> Kernel<T> for Sgd<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Sgd { step, momentum, weight, grad, velocity } = self;
        let n = weight.len();
        let lr = simd.splat(T::from_f64(step.lr));
        let decay = simd.splat(T::from_f64(step.weight_decay));
        let keep = simd.splat(T::from_f64(step.momentum));
        let take = simd.splat(T::from_f64(1.0 - step.dampening));
        let mut k = 0;
        while k < n {
            let m = S::LANES.min(n - k);
            // SAFETY: `k + m <= n`, the length of the slices (of the velocity, where there is momentum).
            unsafe {
                let w = load(simd, weight, k, m);
                let mut g = load(simd, grad, k, m);
                if step.weight_decay != 0.0 {
                    g = simd.add(g, simd.mul(decay, w));
                }
                if momentum {
                    let mut v = g;
                    if !step.first {
                        let old = load(simd, velocity, k, m);
                        v = simd.add(simd.mul(old, keep), simd.mul(take, g));
                    }
                    store(simd, velocity, k, m, v);
                    g = if step.nesterov { simd.add(g, simd.mul(keep, v)) } else { v };
                }
                store(simd, weight, k, m, simd.sub(w, simd.mul(lr, g)));
            }
            k += m;
        }
    }
}

/// Elements `k .. k + m`.
///
/// # Safety
/// - `k + m <= from.len()` and `m <= S::LANES`.
#[inline(always)]
unsafe fn load<T: Float, S: Simd<T>>(simd: S, from: &[T], k: usize, m: usize) -> S::V {
    // SAFETY: the caller's guarantee.
    unsafe {
        let from = from.as_ptr().add(k);
        if m == S::LANES { simd.load(from) } else { simd.load_first(from, m) }
    }
}

/// Writes elements `k .. k + m`.
///
/// # Safety
/// - `k + m <= to.len()` and `m <= S::LANES`.
#[inline(always)]
unsafe fn store<T: Float, S: Simd<T>>(simd: S, to: &mut [T], k: usize, m: usize, x: S::V) {
    // SAFETY: the caller's guarantee.
    unsafe {
        let to = to.as_mut_ptr().add(k);
        if m == S::LANES { simd.store(to, x) } else { simd.store_first(to, x, m) }
    }
}

/// Settings of [`adam`], PyTorch's `torch.optim.Adam` and `AdamW`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
    /// L2 penalty, or decoupled decay.
    pub weight_decay: f64,
    /// AdamW: `w *= 1 - lr * weight_decay` instead of adding to the gradient.
    pub decoupled: bool,
    /// Number of this step, from 1.
    pub step: u64,
}

/// PyTorch's order of operations (its single-tensor path), every one rounded once (no FMA), scalars computed in f64 and
/// rounded once to `T`; `bc1 = 1 - beta1^step`, `bc2 = 1 - beta2^step`:
///
/// ```text
/// w = w * (1 - lr * weight_decay)              if decoupled and weight_decay != 0
/// g = g + weight_decay * w                     if not decoupled and weight_decay != 0
/// m = m + (1 - beta1) * (g - m)                as lerp: if 1 - beta1 >= 0.5, m = g + -beta1 * (g - m)
/// v = v * beta2 + ((1 - beta2) * g) * g
/// w = w - ((lr / bc1) * m) / (sqrt(v) / sqrt(bc2) + eps)
/// ```
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ or `step` is 0.
pub fn adam<T: Float>(
    step: &AdamStep,
    weight: &mut [T],
    grad: &[T],
    first: &mut [T],
    second: &mut [T],
) -> Result<()> {
    let n = weight.len();
    require(grad.len() == n, "adam: length of the gradient")?;
    require(first.len() == n && second.len() == n, "adam: length of the moments")?;
    require(step.step > 0, "adam: steps count from 1")?;
    let scalars = AdamScalars::<T>::new(step);
    let (weight, first, second) = (Shared::new(weight), Shared::new(first), Shared::new(second));
    let work = size_of_val(grad) as u64 / 4;
    parallel::run(n.div_ceil(PIECE), work, &|piece| {
        let start = piece * PIECE;
        // SAFETY: pieces are disjoint.
        let (weight, first, second) = unsafe {
            (weight.part(start, PIECE), first.part(start, PIECE), second.part(start, PIECE))
        };
        let grad = &grad[start..start + weight.len()];
        T::dispatch(Adam { scalars, weight, grad, first, second });
    });
    Ok(())
}

/// The scalars of a step, rounded to `T`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct AdamScalars<T> {
    /// Factor on the weight, if any.
    pub(crate) shrink: Option<T>,
    /// Factor of the weight in the gradient, if any.
    pub(crate) penalty: Option<T>,
    /// True if the lerp starts at its end.
    pub(crate) from_end: bool,
    /// The lerp's factor on `g - m`.
    pub(crate) lerp: T,
    /// `beta2`.
    pub(crate) keep: T,
    /// `1 - beta2`.
    pub(crate) take: T,
    /// `sqrt(bc2)`.
    pub(crate) root: T,
    /// `eps`.
    pub(crate) eps: T,
    /// `lr / bc1`.
    pub(crate) size: T,
}

impl<T: Float> AdamScalars<T> {
    /// The scalars of `step`.
    pub(crate) fn new(step: &AdamStep) -> Self {
        let some = |on: bool, value: f64| on.then(|| T::from_f64(value));
        let decays = step.weight_decay != 0.0;
        let from_end = 1.0 - step.beta1 >= 0.5;
        AdamScalars {
            shrink: some(decays && step.decoupled, 1.0 - step.lr * step.weight_decay),
            penalty: some(decays && !step.decoupled, step.weight_decay),
            from_end,
            lerp: T::from_f64(if from_end { -step.beta1 } else { 1.0 - step.beta1 }),
            keep: T::from_f64(step.beta2),
            take: T::from_f64(1.0 - step.beta2),
            root: T::from_f64((1.0 - power(step.beta2, step.step)).sqrt()),
            eps: T::from_f64(step.eps),
            size: T::from_f64(step.lr / (1.0 - power(step.beta1, step.step))),
        }
    }
}

/// `base^exponent` by squaring in double-double: `powf` differs between systems in its last bit, and plain squaring loses
/// as many digits as the exponent has.
fn power(base: f64, mut exponent: u64) -> f64 {
    let times = |a: (f64, f64), b: (f64, f64)| {
        let high = a.0 * b.0;
        let low = a.0.mul_add(b.0, -high) + (a.0 * b.1 + a.1 * b.0);
        (high + low, low - ((high + low) - high))
    };
    let (mut result, mut square) = ((1.0, 0.0), (base, 0.0));
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = times(result, square);
        }
        square = times(square, square);
        exponent >>= 1;
    }
    result.0
}

struct Adam<'a, T> {
    scalars: AdamScalars<T>,
    weight: &'a mut [T],
    grad: &'a [T],
    first: &'a mut [T],
    second: &'a mut [T],
}

impl<T: Float> Kernel<T> for Adam<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Adam { scalars: s, weight, grad, first, second } = self;
        let n = weight.len();
        let [lerp, keep, take] = [simd.splat(s.lerp), simd.splat(s.keep), simd.splat(s.take)];
        let [root, eps, size] = [simd.splat(s.root), simd.splat(s.eps), simd.splat(s.size)];
        let mut k = 0;
        while k < n {
            let lanes = S::LANES.min(n - k);
            // SAFETY: `k + lanes <= n`, the length of all four slices.
            unsafe {
                let mut w = load(simd, weight, k, lanes);
                let mut g = load(simd, grad, k, lanes);
                if let Some(shrink) = s.shrink {
                    w = simd.mul(w, simd.splat(shrink));
                }
                if let Some(penalty) = s.penalty {
                    g = simd.add(g, simd.mul(simd.splat(penalty), w));
                }
                let old = load(simd, first, k, lanes);
                let base = if s.from_end { g } else { old };
                let m = simd.add(base, simd.mul(lerp, simd.sub(g, old)));
                store(simd, first, k, lanes, m);
                let v = simd.mul(load(simd, second, k, lanes), keep);
                let v = simd.add(v, simd.mul(simd.mul(take, g), g));
                store(simd, second, k, lanes, v);
                let denominator = simd.add(simd.div(simd.sqrt(v), root), eps);
                w = simd.sub(w, simd.div(simd.mul(size, m), denominator));
                store(simd, weight, k, lanes, w);
            }
            k += lanes;
        }
    }
}

#[cfg(test)]
mod tests;
