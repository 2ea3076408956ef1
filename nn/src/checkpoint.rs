//! Recompute a part of the model in the backward pass instead of keeping its activations.

use std::cell::RefCell;

use ferrotape_tensor::{Generator, Result, Tensor};

use crate::ctx::Ctx;

/// Runs `body` on `x` without keeping what it computes; the backward pass runs it again. The second run draws the same random
/// numbers as the first, and its updates of buffers are discarded, so that they happen once. `body` owns what it uses (clone the
/// layers into it: clones share their parameters).
///
/// # Errors
/// What `body` fails with.
pub fn checkpoint(
    x: &Tensor,
    ctx: &mut Ctx<'_>,
    body: impl Fn(&Tensor, &mut Ctx<'_>) -> Result<Tensor> + 'static,
) -> Result<Tensor> {
    if !ctx.is_training() {
        return body(x, ctx);
    }
    let start = ctx.rng()?.clone();
    // The first run's generator and updates have to reach this context; later runs must not.
    let first: std::rc::Rc<RefCell<Option<(Generator, Updates)>>> = Default::default();
    let report = first.clone();
    let output = ferrotape_autograd::checkpoint(&[x], move |inputs| {
        let mut rng = start.clone();
        let mut inner = Ctx::train(&mut rng);
        let output = body(&inputs[0], &mut inner)?;
        let updates = inner.into_updates();
        report.borrow_mut().get_or_insert((rng, updates));
        Ok(output)
    })?;
    if let Some((rng, updates)) = &*first.borrow() {
        *ctx.rng()? = rng.clone();
        ctx.merge_updates(updates);
    }
    Ok(output)
}

type Updates = Vec<(ferrotape_tensor::TensorId, Tensor)>;
