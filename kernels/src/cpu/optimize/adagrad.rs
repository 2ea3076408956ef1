//! Adagrad.

use super::{PIECE, load, store};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Result, require};

/// Settings of [`adagrad`], PyTorch's `torch.optim.Adagrad`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdagradStep {
    /// Learning rate.
    pub lr: f64,
    /// The learning rate of step t is `lr / (1 + (t - 1) * lr_decay)`.
    pub lr_decay: f64,
    /// Added to the root.
    pub eps: f64,
    /// L2 penalty added to the gradient.
    pub weight_decay: f64,
    /// Number of this step, from 1.
    pub step: u64,
    /// Climbs instead of descending: the gradient changes its sign first.
    pub maximize: bool,
}

impl AdagradStep {
    /// The learning rate of this step.
    pub(crate) fn rate(&self) -> f64 {
        self.lr / (1.0 + self.step.saturating_sub(1) as f64 * self.lr_decay)
    }
}

/// PyTorch's order of operations (its single-tensor path), every one rounded once (no FMA), scalars computed in f64 and
/// rounded once to `T`; `rate = lr / (1 + (step - 1) * lr_decay)`:
///
/// ```text
/// g = -g                                       if maximize
/// g = g + weight_decay * w                     if weight_decay != 0
/// s = s + g * g
/// w = w - (rate * g) / (sqrt(s) + eps)
/// ```
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ or `step` is 0.
pub fn adagrad<T: Float>(
    step: &AdagradStep,
    weight: &mut [T],
    grad: &[T],
    sum: &mut [T],
) -> Result<()> {
    let n = weight.len();
    require(grad.len() == n, "adagrad: length of the gradient")?;
    require(sum.len() == n, "adagrad: length of the sum")?;
    require(step.step > 0, "adagrad: steps count from 1")?;
    let work = size_of_val(grad) as u64 / 4;
    let (weight, sum) = (Shared::new(weight), Shared::new(sum));
    parallel::run(n.div_ceil(PIECE), work, &|piece| {
        let start = piece * PIECE;
        // SAFETY: pieces are disjoint.
        let (weight, sum) = unsafe { (weight.part(start, PIECE), sum.part(start, PIECE)) };
        let grad = &grad[start..start + weight.len()];
        T::dispatch(Adagrad { step, weight, grad, sum });
    });
    Ok(())
}

pub(super) struct Adagrad<'a, T> {
    pub(super) step: &'a AdagradStep,
    pub(super) weight: &'a mut [T],
    pub(super) grad: &'a [T],
    pub(super) sum: &'a mut [T],
}

impl<T: Float> Kernel<T> for Adagrad<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, simd: S) {
        let Adagrad { step, weight, grad, sum } = self;
        let n = weight.len();
        let splat = |x: f64| simd.splat(T::from_f64(x));
        let [rate, eps, decay] = [step.rate(), step.eps, step.weight_decay].map(splat);
        let mut k = 0;
        while k < n {
            let m = S::LANES.min(n - k);
            // SAFETY: `k + m <= n`, the length of the slices.
            unsafe {
                let w = load(simd, weight, k, m);
                let mut g = load(simd, grad, k, m);
                if step.maximize {
                    g = simd.neg(g);
                }
                if step.weight_decay != 0.0 {
                    g = simd.add(g, simd.mul(decay, w));
                }
                let s = simd.add(load(simd, sum, k, m), simd.mul(g, g));
                store(simd, sum, k, m, s);
                let d = simd.add(simd.sqrt(s), eps);
                store(simd, weight, k, m, simd.sub(w, simd.div(simd.mul(rate, g), d)));
            }
            k += m;
        }
    }
}
