//! RMSprop.

use super::{PIECE, load, store};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Result, require};

/// Settings of [`rms_prop`], PyTorch's `torch.optim.RMSprop`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RmsPropStep {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the averages.
    pub alpha: f64,
    /// Added to the root.
    pub eps: f64,
    /// L2 penalty added to the gradient.
    pub weight_decay: f64,
    /// Momentum factor; 0: none, `velocity` is not touched.
    pub momentum: f64,
    /// Subtracts the square of the gradient's average: divides by an estimate of the standard deviation.
    pub centered: bool,
    /// Climbs instead of descending: the gradient changes its sign first.
    pub maximize: bool,
}

/// PyTorch's order of operations (its single-tensor path), every one rounded once (no FMA), scalars computed in f64 and
/// rounded once to `T`:
///
/// ```text
/// g = -g                                       if maximize
/// g = g + weight_decay * w                     if weight_decay != 0
/// s = s * alpha + ((1 - alpha) * g) * g
/// a = a + (1 - alpha) * (g - a)                if centered; as lerp: if 1 - alpha >= 0.5, a = g + -alpha * (g - a)
/// d = sqrt(centered ? s - a * a : s) + eps
/// v = v * momentum + g / d                     if momentum != 0
/// w = w - lr * v                               if momentum != 0, else
/// w = w - (lr * g) / d
/// ```
///
/// `square` is s, `mean` a (empty unless centered), `velocity` v (empty without momentum).
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ.
pub fn rms_prop<T: Float>(
    step: &RmsPropStep,
    weight: &mut [T],
    grad: &[T],
    square: &mut [T],
    mean: &mut [T],
    velocity: &mut [T],
) -> Result<()> {
    let n = weight.len();
    let used = |on: bool| if on { n } else { 0 };
    require(grad.len() == n, "rms_prop: length of the gradient")?;
    require(square.len() == n, "rms_prop: length of the average")?;
    require(mean.len() == used(step.centered), "rms_prop: length of the gradient's average")?;
    require(velocity.len() == used(step.momentum != 0.0), "rms_prop: length of the velocity")?;
    let work = size_of_val(grad) as u64 / 4;
    let (weight, square) = (Shared::new(weight), Shared::new(square));
    let (mean, velocity) = (Shared::new(mean), Shared::new(velocity));
    parallel::run(n.div_ceil(PIECE), work, &|piece| {
        let start = piece * PIECE;
        // SAFETY: pieces are disjoint.
        let (weight, square) = unsafe { (weight.part(start, PIECE), square.part(start, PIECE)) };
        // SAFETY: pieces are disjoint.
        let (mean, velocity) = unsafe { (mean.part(start, PIECE), velocity.part(start, PIECE)) };
        let grad = &grad[start..start + weight.len()];
        T::dispatch(RmsProp { step, weight, grad, square, mean, velocity });
    });
    Ok(())
}

pub(super) struct RmsProp<'a, T> {
    pub(super) step: &'a RmsPropStep,
    pub(super) weight: &'a mut [T],
    pub(super) grad: &'a [T],
    pub(super) square: &'a mut [T],
    pub(super) mean: &'a mut [T],
    pub(super) velocity: &'a mut [T],
}

impl<T: Float> Kernel<T> for RmsProp<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let RmsProp { step, weight, grad, square, mean, velocity } = self;
        let n = weight.len();
        let splat = |x: f64| simd.splat(T::from_f64(x));
        let [lr, alpha, rest] = [step.lr, step.alpha, 1.0 - step.alpha].map(splat);
        let [eps, decay, momentum] = [step.eps, step.weight_decay, step.momentum].map(splat);
        let from_end = 1.0 - step.alpha >= 0.5;
        let lerp = splat(if from_end { -step.alpha } else { 1.0 - step.alpha });
        let mut k = 0;
        while k < n {
            let m = S::LANES.min(n - k);
            // SAFETY: `k + m <= n`, the length of the slices (of the optional ones, where they are used).
            unsafe {
                let mut w = load(simd, weight, k, m);
                let mut g = load(simd, grad, k, m);
                if step.maximize {
                    g = simd.neg(g);
                }
                if step.weight_decay != 0.0 {
                    g = simd.add(g, simd.mul(decay, w));
                }
                let mut s = simd.mul(load(simd, square, k, m), alpha);
                s = simd.add(s, simd.mul(simd.mul(rest, g), g));
                store(simd, square, k, m, s);
                if step.centered {
                    let old = load(simd, mean, k, m);
                    let base = if from_end { g } else { old };
                    let a = simd.add(base, simd.mul(lerp, simd.sub(g, old)));
                    store(simd, mean, k, m, a);
                    s = simd.sub(s, simd.mul(a, a));
                }
                let d = simd.add(simd.sqrt(s), eps);
                if step.momentum != 0.0 {
                    let v = simd.mul(load(simd, velocity, k, m), momentum);
                    let v = simd.add(v, simd.div(g, d));
                    store(simd, velocity, k, m, v);
                    w = simd.sub(w, simd.mul(lr, v));
                } else {
                    w = simd.sub(w, simd.div(simd.mul(lr, g), d));
                }
                store(simd, weight, k, m, w);
            }
            k += m;
        }
    }
}
