//! SGD.

use super::{PIECE, load, store};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Result, require};

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
    /// Climbs instead of descending: the gradient changes its sign first.
    pub maximize: bool,
}

/// PyTorch's order of operations, every one rounded once (no FMA), scalars computed in f64 and rounded once to `T`:
///
/// ```text
/// g = -g                                       if maximize
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

pub(super) struct Sgd<'a, T> {
    pub(super) step: &'a SgdStep,
    pub(super) momentum: bool,
    pub(super) weight: &'a mut [T],
    pub(super) grad: &'a [T],
    pub(super) velocity: &'a mut [T],
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
                if step.maximize {
                    g = simd.neg(g);
                }
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
