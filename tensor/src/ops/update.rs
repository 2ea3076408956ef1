//! Updates: the operations that change their operands.

use crate::apply::{Operand, apply, make_exclusive};
use crate::error::{Error, Result};
use crate::op::{Op, OptimizeOp};
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::optimize::{AdamStep, SgdStep};

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

    /// One step of SGD in one pass, `velocity` being the state if there is momentum.
    ///
    /// # Errors
    /// Shapes or types that differ.
    pub fn sgd_step(
        &mut self,
        follow: &Tensor,
        step: SgdStep,
        velocity: Option<&mut Tensor>,
    ) -> Result<()> {
        let op = Op::Optimize(OptimizeOp::Sgd(step));
        match velocity {
            Some(velocity) => {
                apply(&op, &mut [Operand::Mut(self), follow.into(), Operand::Mut(velocity)])
                    .map(drop)
            }
            None => apply(&op, &mut [Operand::Mut(self), follow.into()]).map(drop),
        }
    }

    /// One step of Adam or AdamW in one pass, with its first and second moments.
    ///
    /// # Errors
    /// Shapes or types that differ.
    pub fn adam_step(
        &mut self,
        follow: &Tensor,
        step: AdamStep,
        first: &mut Tensor,
        second: &mut Tensor,
    ) -> Result<()> {
        let op = Op::Optimize(OptimizeOp::Adam(step));
        let mut operands =
            [Operand::Mut(self), follow.into(), Operand::Mut(first), Operand::Mut(second)];
        apply(&op, &mut operands).map(drop)
    }
}
