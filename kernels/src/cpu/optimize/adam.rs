//! Adam and AdamW.

use super::{PIECE, load, store};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Result, require};

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
    /// Divides by the root of the largest second moment so far, a third state.
    pub amsgrad: bool,
    /// Climbs instead of descending: the gradient changes its sign first.
    pub maximize: bool,
}

/// PyTorch's order of operations (its single-tensor path), every one rounded once (no FMA), scalars computed in f64 and
/// rounded once to `T`; `bc1 = 1 - beta1^step`, `bc2 = 1 - beta2^step`:
///
/// ```text
/// g = -g                                       if maximize
/// w = w * (1 - lr * weight_decay)              if decoupled and weight_decay != 0
/// g = g + weight_decay * w                     if not decoupled and weight_decay != 0
/// m = m + (1 - beta1) * (g - m)                as lerp: if 1 - beta1 >= 0.5, m = g + -beta1 * (g - m)
/// v = v * beta2 + ((1 - beta2) * g) * g
/// u = amsgrad ? max(u, v) : v                  NaN wins
/// w = w - ((lr / bc1) * m) / (sqrt(u) / sqrt(bc2) + eps)
/// ```
///
/// Without amsgrad `largest` (u) is empty.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ or `step` is 0.
pub fn adam<T: Float>(
    step: &AdamStep,
    weight: &mut [T],
    grad: &[T],
    first: &mut [T],
    second: &mut [T],
    largest: &mut [T],
) -> Result<()> {
    let n = weight.len();
    require(grad.len() == n, "adam: length of the gradient")?;
    require(first.len() == n && second.len() == n, "adam: length of the moments")?;
    require(largest.len() == if step.amsgrad { n } else { 0 }, "adam: length of the maxima")?;
    require(step.step > 0, "adam: steps count from 1")?;
    let scalars = AdamScalars::<T>::new(step);
    let (weight, first) = (Shared::new(weight), Shared::new(first));
    let (second, largest) = (Shared::new(second), Shared::new(largest));
    let work = size_of_val(grad) as u64 / 4;
    parallel::run(n.div_ceil(PIECE), work, &|piece| {
        let start = piece * PIECE;
        // SAFETY: pieces are disjoint.
        let (weight, first) = unsafe { (weight.part(start, PIECE), first.part(start, PIECE)) };
        // SAFETY: pieces are disjoint.
        let (second, largest) = unsafe { (second.part(start, PIECE), largest.part(start, PIECE)) };
        let grad = &grad[start..start + weight.len()];
        T::dispatch(Adam { scalars, weight, grad, first, second, largest });
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
    /// True if the third state is used.
    pub(crate) amsgrad: bool,
    /// True if the gradient changes its sign.
    pub(crate) maximize: bool,
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
            amsgrad: step.amsgrad,
            maximize: step.maximize,
        }
    }
}

/// `base^exponent` by squaring in double-double: `powf` differs between systems in its last bit, and plain squaring loses
/// as many digits as the exponent has.
pub(super) fn power(base: f64, mut exponent: u64) -> f64 {
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

pub(super) struct Adam<'a, T> {
    pub(super) scalars: AdamScalars<T>,
    pub(super) weight: &'a mut [T],
    pub(super) grad: &'a [T],
    pub(super) first: &'a mut [T],
    pub(super) second: &'a mut [T],
    pub(super) largest: &'a mut [T],
}

impl<T: Float> Kernel<T> for Adam<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Adam { scalars: s, weight, grad, first, second, largest } = self;
        let n = weight.len();
        let [lerp, keep, take] = [simd.splat(s.lerp), simd.splat(s.keep), simd.splat(s.take)];
        let [root, eps, size] = [simd.splat(s.root), simd.splat(s.eps), simd.splat(s.size)];
        let mut k = 0;
        while k < n {
            let lanes = S::LANES.min(n - k);
            // SAFETY: `k + lanes <= n`, the length of the slices (of the maxima, with amsgrad).
            unsafe {
                let mut w = load(simd, weight, k, lanes);
                let mut g = load(simd, grad, k, lanes);
                if s.maximize {
                    g = simd.neg(g);
                }
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
                let mut u = v;
                if s.amsgrad {
                    let old = load(simd, largest, k, lanes);
                    u = simd.select(simd.is_nan(old), old, simd.max_second(old, v));
                    store(simd, largest, k, lanes, u);
                }
                let denominator = simd.add(simd.div(simd.sqrt(u), root), eps);
                w = simd.sub(w, simd.div(simd.mul(size, m), denominator));
                store(simd, weight, k, lanes, w);
            }
            k += lanes;
        }
    }
}
