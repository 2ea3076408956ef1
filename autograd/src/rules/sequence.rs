//! Recurrent layers: one backward pass through time for all operands, then products and sums over all steps.

use ferrotape_tensor::chain::{BinaryChain, ProductChain, ShapeChain};
use ferrotape_tensor::{
    DType, Device, Dims, Error, ErrorKind, Op, Operand, RecurrentCell, Result, SequenceOp, Tensor,
    ViewOp, apply, apply_one,
};
use smallvec::SmallVec;

use super::{Cx, Formulas, Gradients, Rule, Slot};
use crate::tape::Tape;

/// Keeps the operands (for the second order the biases too), y, and what was saved.
pub(super) const SEQUENCE: &Rule = &Rule {
    keep: &[
        Slot::Input(0),
        Slot::Input(1),
        Slot::Input(2),
        Slot::Input(3),
        Slot::Input(4),
        Slot::Input(5),
        Slot::Input(6),
        Slot::Input(7),
        Slot::Input(8),
        Slot::Output(0),
        Slot::Output(1),
    ],
    formulas: Formulas::All(gradients),
};

/// The gradients of a layer's results: y, h_n, c_n.
struct Seeds {
    y: Option<Tensor>,
    h_n: Option<Tensor>,
    c_n: Option<Tensor>,
}

fn gradients(cx: &Cx<'_>, needed: &[bool]) -> Result<Gradients> {
    let Op::Sequence(settings) = cx.op() else { return Err(cx.bug("is no sequence")) };
    let output = |place: usize| cx.outputs.get(place).cloned().flatten();
    if output(1).is_some() {
        let message = "sequence: what it saves for its backward pass has no derivative of its own";
        return Err(Error::new(ErrorKind::Gradient(message.into())));
    }
    let seeds = Seeds { y: output(0), h_n: output(2), c_n: output(3) };
    let operands = (0..cx.metas.len())
        .map(|place| cx.kept(Slot::Input(place)))
        .collect::<Result<SmallVec<[&Tensor; 9]>>>()?;
    let tracked = |tensor: &&Tensor| tensor.tag().is_live();
    let seeds_tracked = [&seeds.y, &seeds.h_n, &seeds.c_n].into_iter().flatten();
    if operands.iter().copied().chain(seeds_tracked).any(|tensor| tracked(&tensor)) {
        return by_steps(settings, &operands, seeds);
    }
    fused(cx, settings, &operands, seeds, needed)
}

/// Where another tape listens: through the steps that the layer is made of, so that it can differentiate again.
fn by_steps(settings: &SequenceOp, operands: &[&Tensor], seeds: Seeds) -> Result<Gradients> {
    // A value that stands for two operands gives each its own share.
    let own = |x: &&Tensor| {
        let same = ViewOp::Reshape(Dims::from_slice(x.shape()));
        apply_one(&Op::View(same), &mut [Operand::Ref(x)])
    };
    let operands = operands.iter().map(own).collect::<Result<SmallVec<[Tensor; 9]>>>()?;
    let operands: SmallVec<[&Tensor; 9]> = operands.iter().collect();
    let (out, tape) = Tape::record(|tape| {
        operands.iter().for_each(|operand| tape.watch(operand));
        settings.decomposed(&operands)
    })?;
    let results =
        [(Some(&out.y), seeds.y), (Some(&out.h_n), seeds.h_n), (out.c_n.as_ref(), seeds.c_n)];
    let seeds: SmallVec<[(&Tensor, Tensor); 3]> =
        results.into_iter().filter_map(|(result, seed)| result.zip(seed)).collect();
    Ok(tape.vector_jacobian_product(&seeds, &operands)?.into_iter().collect())
}

fn fused(
    cx: &Cx<'_>,
    settings: &SequenceOp,
    operands: &[&Tensor],
    seeds: Seeds,
    needed: &[bool],
) -> Result<Gradients> {
    let at = settings.places();
    let (y, saved) = (cx.kept(Slot::Output(0))?, cx.kept(Slot::Output(1))?);
    let (lstm, gru) = (settings.cell == RecurrentCell::Lstm, settings.cell == RecurrentCell::Gru);
    let mut given: SmallVec<[Operand<'_>; 10]> = SmallVec::new();
    given.extend(at.h0.map(|place| operands[place].into()));
    given.extend(at.c0.map(|place| operands[place].into()));
    given.push(operands[at.w_hh].into());
    given.extend(at.w_hr.map(|place| operands[place].into()));
    given.push(y.into());
    given.push(saved.into());
    // One expanded 0 is known to be nothing: the kernel reads no memory for it.
    let none = || Tensor::zeros([], y).expand(y.shape());
    given.push(seeds.y.map_or_else(none, Ok)?.into());
    let [rows_of_w, output] = [operands[at.w_hh].size(0)?, operands[at.w_hh].size(1)?];
    let or_zeros = |seed: Option<Tensor>, size: usize| {
        seed.map_or_else(|| Tensor::zeros([y.size(1)?, size], y), Ok)
    };
    given.push(or_zeros(seeds.h_n, output)?.into());
    if lstm {
        given.push(or_zeros(seeds.c_n, rows_of_w / settings.cell.gates())?.into());
    }
    given.extend(at.lengths.map(|place| operands[place].into()));
    let mut results = apply(&Op::SequenceBackward(*settings), &mut given)?.into_iter();
    let mut next = |on: bool| match (on, results.next()) {
        (true, None) => Err(cx.bug("a result is missing")),
        (_, result) => Ok(result),
    };
    let Some(gates) = next(true)? else { return Err(cx.bug("a result is missing")) };
    let mut maybe = |on: bool| if on { next(true) } else { Ok(None) };
    let before = maybe(settings.lengths)?;
    let (h0, c0) = (maybe(settings.state)?, maybe(settings.state && lstm)?);
    let (hidden_gates, states) = (maybe(gru)?, maybe(settings.projection)?);
    // What several gradients are made of.
    let gate_rows = rows(&gates)?;
    let recurrent = hidden_gates.as_ref().unwrap_or(&gates);

    let mut found: Gradients = operands.iter().map(|_| None).collect();
    let wants = |place: usize| needed.get(place).copied().unwrap_or(false);
    if wants(0) {
        found[0] = Some(gates.matmul(operands[at.w_ih])?);
    }
    let bias = at.biases.filter(|&first| wants(first));
    let mut sum = None;
    if wants(at.w_ih) {
        let x = rows(&within(operands[0], at.lengths.map(|place| operands[place]))?)?;
        if bias.is_some() && x.device() == Device::Cpu {
            let mut both =
                apply(&Op::LinearWeight, &mut [(&gate_rows).into(), x.into()])?.into_iter();
            (found[at.w_ih], sum) = (both.next(), both.next());
        } else {
            found[at.w_ih] = Some(gate_rows.t().matmul(x)?);
        }
    }
    if wants(at.w_hh) {
        let first = at.h0.map(|place| operands[place]);
        found[at.w_hh] = Some(match &before {
            Some(before) => rows(recurrent)?.t().matmul(rows(before))?,
            None => of_states(settings, recurrent, y, first)?,
        });
    }
    if let Some(first) = at.biases {
        if bias.is_some() && sum.is_none() {
            sum = Some(gate_rows.sum(0)?);
        }
        if wants(first + 1) {
            found[first + 1] = match (&sum, gru) {
                (Some(sum), false) => Some(sum.clone()),
                _ => Some(rows(recurrent)?.sum(0)?),
            };
        }
        found[first] = sum;
    }
    if let (Some(w_hr), Some(states)) = (at.w_hr.filter(|&place| wants(place)), &states) {
        let hidden = operands[w_hr].shape()[1];
        let projected = saved.narrow(2, 5 * hidden, hidden)?;
        found[w_hr] = Some(rows(states).t().matmul(rows(&projected))?);
    }
    if let Some(place) = at.h0 {
        found[place] = h0;
    }
    if let Some(place) = at.c0 {
        found[place] = c0;
    }
    Ok(found)
}

/// The gradient of w_hh: every step but the first began with what y has of the one before, the first with `h0`, if there is one:
/// what nobody gave contributes nothing, not even NaN where a gradient is infinite.
fn of_states(
    settings: &SequenceOp,
    gates: &Tensor,
    y: &Tensor,
    h0: Option<&Tensor>,
) -> Result<Tensor> {
    let steps = y.size(0)?;
    let (first, later, earlier) = if settings.reverse { (steps - 1, 0, 1) } else { (0, 1, 0) };
    let part = |x: &Tensor, start: usize, steps: usize| rows(&x.narrow(0, start, steps)?);
    let product = part(gates, later, steps - 1)?.t().matmul(part(y, earlier, steps - 1)?)?;
    match h0 {
        Some(h0) => part(gates, first, 1)?.t().matmul(h0).add(product),
        None => Ok(product),
    }
}

/// All steps of all rows as the rows of one matrix.
fn rows(x: &Tensor) -> Result<Tensor> {
    let [steps, batch, size] = [x.size(0)?, x.size(1)?, x.size(2)?];
    x.reshape([steps.saturating_mul(batch), size])
}

/// `x` with 0 beyond the rows' lengths: what lies there must not reach a weight, not even as 0 * NaN.
fn within(x: &Tensor, lengths: Option<&Tensor>) -> Result<Tensor> {
    let Some(lengths) = lengths else { return Ok(x.clone()) };
    let steps = Tensor::arange(0.0, 1.0, x.size(0)?, (DType::I64, x.device()))?.unsqueeze(1)?;
    steps.lt(lengths).unsqueeze(2).select(x, 0.0)
}
