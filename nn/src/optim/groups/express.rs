//! Steps of methods that are made of expressions.

use ferrotape_tensor::{DType, Result, Tensor, no_tape};

use super::{Groups, filled, misfit, refuse};
use crate::optim::method::{Method, Now};
use crate::optim::take::Target;

/// In f32 if it is of 16 bits: sums of squares need the range and the digits.
fn widened(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F32 | DType::F64 => Ok(x.clone()),
        _ => x.to_dtype(DType::F32),
    }
}

impl<M: Method> Groups<M> {
    /// Computes all new values, then puts them in their places: what fails, fails before anything has changed.
    pub(super) fn express(&mut self, targets: &mut [Target<'_>]) -> Result<()> {
        let mut done = Vec::with_capacity(targets.len());
        for target in targets.iter() {
            let Some(slot) = self.slots.get(target.slot) else {
                return refuse("internal: an optimizer without a slot".to_string());
            };
            let settings = self.settings(slot.group);
            let state =
                slot.state.iter().zip(M::STATES).enumerate().map(
                    |(place, (state, _))| match state {
                        Some(state) if state.meta() != target.value.meta() => {
                            refuse(misfit::<M>(target, place, state))
                        }
                        Some(state) => widened(state),
                        None => widened(&filled(&target.value, settings.initial())?),
                    },
                );
            let state = state.collect::<Result<Vec<Tensor>>>()?;
            let mut product = slot.product;
            let (weight, state) = no_tape(|| {
                let (weight, gradient) = (&widened(&target.value)?, &widened(target.gradient)?);
                let (count, product) = (slot.count + 1, &mut product);
                settings.express(Now { count, product, weight, gradient, state: &state })
            })?;
            let dtype = target.value.dtype();
            let state = state.iter().map(|state| state.to_dtype(dtype));
            done.push((weight.to_dtype(dtype)?, state.collect::<Result<Vec<Tensor>>>()?, product));
        }
        for (target, (weight, state, product)) in targets.iter_mut().zip(done) {
            target.value = weight;
            if let Some(slot) = self.slots.get_mut(target.slot) {
                for (place, state) in slot.state.iter_mut().zip(state) {
                    *place = Some(state);
                }
                slot.product = product;
                slot.count += 1;
            }
        }
        Ok(())
    }
}
