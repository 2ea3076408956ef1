//! Updates: the operations that change their operands.

use crate::apply::{Operand, apply, make_exclusive};
use crate::error::{Error, Result};
use crate::op::{Op, OptimizeOp};
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::optimize::{AdagradStep, AdamStep, RmsPropStep, SgdStep};
use smallvec::SmallVec;

impl Tensor {
    /// Gives this tensor the elements of another of the same shape and type. It becomes a new value (a new id) in memory of
    /// its own: clones and views made before keep the old one.
    ///
    /// # Errors
    /// Shapes or types that differ.
    #[track_caller]
    pub fn assign<'b>(&mut self, value: impl Into<Operand<'b>>) -> Result<()> {
        let here = std::panic::Location::caller();
        let update = || -> Result<()> {
            let value = match value.into() {
                Operand::Scalar(n) => {
                    Tensor::scalar(n, self.dtype(), self.device())?.expand(self.shape())?
                }
                Operand::Failed(error) => return Err(error),
                other => other
                    .tensor()
                    .cloned()
                    .ok_or_else(|| Error::argument("assign", "needs a value"))?,
            };
            apply(&Op::Assign, &mut [Operand::Mut(self), Operand::Own(value)]).map(drop)
        };
        update().map_err(|error| error.at(here))
    }

    /// Makes this tensor the only owner of its memory, by a copy if it shares any; it stays the same value. An update does so by
    /// itself: done ahead for several, memory can't run out between one update and the next.
    ///
    /// # Errors
    /// Memory over the limit; then nothing has changed.
    #[track_caller]
    pub fn make_exclusive(&mut self) -> Result<()> {
        let here = std::panic::Location::caller();
        make_exclusive(self).map_err(|error| error.at(here))
    }

    /// One step of SGD in one pass, with the velocity if there is momentum.
    ///
    /// # Errors
    /// Shapes or types that differ.
    pub fn sgd_step(
        &mut self,
        follow: &Tensor,
        step: SgdStep,
        velocity: Option<&mut Tensor>,
    ) -> Result<()> {
        self.optimize(OptimizeOp::Sgd(step), follow, velocity)
    }

    /// One step of Adam or AdamW in one pass, with its first and second moments and, with amsgrad, the largest second moment.
    ///
    /// # Errors
    /// Shapes or types that differ; step 0.
    pub fn adam_step(
        &mut self,
        follow: &Tensor,
        step: AdamStep,
        first: &mut Tensor,
        second: &mut Tensor,
        largest: Option<&mut Tensor>,
    ) -> Result<()> {
        self.optimize(OptimizeOp::Adam(step), follow, [first, second].into_iter().chain(largest))
    }

    /// One step of RMSprop in one pass, with the average of squares, the gradient's average if centered and the velocity if
    /// there is momentum.
    ///
    /// # Errors
    /// Shapes or types that differ.
    pub fn rms_prop_step(
        &mut self,
        follow: &Tensor,
        step: RmsPropStep,
        square: &mut Tensor,
        mean: Option<&mut Tensor>,
        velocity: Option<&mut Tensor>,
    ) -> Result<()> {
        let state = [square].into_iter().chain(mean).chain(velocity);
        self.optimize(OptimizeOp::RmsProp(step), follow, state)
    }

    /// One step of Adagrad in one pass, with the sum of squares.
    ///
    /// # Errors
    /// Shapes or types that differ; step 0.
    pub fn adagrad_step(
        &mut self,
        follow: &Tensor,
        step: AdagradStep,
        sum: &mut Tensor,
    ) -> Result<()> {
        self.optimize(OptimizeOp::Adagrad(step), follow, [sum])
    }

    /// One step of any optimizer in one pass: this tensor and `state` change, following `follow`.
    ///
    /// # Errors
    /// More or fewer states than the step has; shapes or types that differ.
    pub fn optimize<'s>(
        &mut self,
        step: OptimizeOp,
        follow: &Tensor,
        state: impl IntoIterator<Item = &'s mut Tensor>,
    ) -> Result<()> {
        let mut operands: SmallVec<[Operand<'_>; 5]> = SmallVec::new();
        operands.push(Operand::Mut(self));
        operands.push(follow.into());
        for tensor in state {
            operands.push(Operand::Mut(tensor));
        }
        apply(&Op::Optimize(step), &mut operands).map(drop)
    }
}
