//! Recompute instead of keep: trades time for memory (Chen et al. 2016, "Training deep nets with sublinear memory cost").

use std::cell::RefCell;
use std::rc::Rc;

use ferrotape_tensor::{Error, Meta, Observer, Op, Result, Tensor, no_tape, observe};

use crate::custom::{Function, custom};
use crate::tape::Tape;

/// Runs `body` on `inputs` without recording what it does; the backward pass runs it again and differentiates that run.
/// Tensors that `body` captured and that a tape watches (parameters) get their gradients too. `body` must do the same each time:
/// randomness and updates are its caller's business (`nn::checkpoint` handles both).
///
/// # Errors
/// What `body` fails with.
pub fn checkpoint(
    inputs: &[&Tensor],
    body: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
) -> Result<Tensor> {
    let scout = Rc::new(Scout::default());
    let given: Vec<Tensor> = inputs.iter().map(|&input| input.clone()).collect();
    let output = observe(scout.clone(), || no_tape(|| body(&given)))?;
    let mut all = given;
    let explicit = all.len();
    for captured in scout.captured.take() {
        if !all.iter().any(|known| known.id() == captured.id()) {
            all.push(captured);
        }
    }
    let function = Recompute { body: Box::new(body), output, explicit };
    custom(function, &all.iter().collect::<Vec<_>>())
}

/// Notes the tracked tensors that operations meet: under `no_tape` outputs carry no mark, so a marked one comes from outside.
#[derive(Default)]
struct Scout {
    captured: RefCell<Vec<Tensor>>,
}

impl Observer for Scout {
    fn begin(&self, _: &Op, inputs: &[&Tensor]) -> Result<()> {
        let mut captured = self.captured.borrow_mut();
        for input in inputs.iter().filter(|input| input.tag().is_live()) {
            if !captured.iter().any(|known| known.id() == input.id()) {
                captured.push((*input).clone());
            }
        }
        Ok(())
    }

    fn end(&self, _: &Op, _: &[Meta], _: Result<&[Tensor], &Error>) -> Result<()> {
        Ok(())
    }
}

type Body = dyn Fn(&[Tensor]) -> Result<Tensor>;

/// The checkpointed body as one operation: its operands are the inputs, then what was captured.
struct Recompute {
    body: Box<Body>,
    output: Tensor,
    explicit: usize,
}

impl Function for Recompute {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn output_metas(&self, _: &[Meta]) -> Result<Vec<Meta>> {
        Ok(vec![self.output.meta()])
    }

    fn forward(&self, _: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![self.output.clone()])
    }

    fn backward(
        &self,
        inputs: &[&Tensor],
        _: &[&Tensor],
        gradients: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let Some(Some(gradient)) = gradients.first() else { return Ok(vec![None; inputs.len()]) };
        let given: Vec<Tensor> =
            inputs[..self.explicit].iter().map(|&input| input.clone()).collect();
        let (output, tape) = Tape::record(|tape| {
            inputs.iter().for_each(|input| tape.watch(input));
            (self.body)(&given)
        })?;
        tape.vector_jacobian_product(&[(&output, gradient.clone())], inputs)
    }
}
