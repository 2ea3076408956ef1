//! Recurrent layers over a whole sequence: fused, and as the steps they are made of.

use smallvec::SmallVec;

use crate::apply::{Operand, apply};
use crate::error::{Error, Result};
use crate::op::{Op, SequenceOp, output_metas};
use crate::ops::chain::{BinaryChain as _, ShapeChain as _, UnaryChain as _};
use crate::shape::Dims;
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::sequence::RecurrentCell;

/// What a recurrent layer gives.
#[derive(Debug, Clone)]
pub struct SequenceOutput {
    /// `[steps, batch, output]`; 0 beyond a row's length.
    pub y: Tensor,
    /// `[batch, output]`: the state at each row's end.
    pub h_n: Tensor,
    /// `[batch, hidden]`, of an LSTM.
    pub c_n: Option<Tensor>,
}

impl SequenceOp {
    /// The layer of this cell: forward in time, from states of 0, without biases, projection and lengths.
    pub fn new(cell: RecurrentCell) -> Self {
        let (reverse, state, bias, projection, lengths) = (false, false, false, false, false);
        SequenceOp { cell, reverse, state, bias, projection, lengths }
    }

    /// Runs the layer as one operation. Its second derivative goes through [`decomposed`](Self::decomposed).
    ///
    /// # Errors
    /// Operands that are not those of [`SequenceOp`]; a length outside `1..=steps`.
    #[track_caller]
    pub fn fused(&self, operands: &[&Tensor]) -> Result<SequenceOutput> {
        let here = std::panic::Location::caller();
        let run = || {
            let mut operands: SmallVec<[Operand<'_>; 9]> =
                operands.iter().map(|&operand| Operand::Ref(operand)).collect();
            let mut outputs = apply(&Op::Sequence(*self), &mut operands)?.into_iter();
            match (outputs.next(), outputs.next(), outputs.next()) {
                (Some(y), Some(_), Some(h_n)) => Ok(SequenceOutput { y, h_n, c_n: outputs.next() }),
                _ => Err(Error::argument("sequence", "internal: three outputs expected")),
            }
        };
        run().map_err(|error: Error| error.at(here))
    }

    /// Runs the layer step by step, made of single operations: the same bits, and any order of derivatives.
    ///
    /// # Errors
    /// As [`fused`](Self::fused).
    #[track_caller]
    pub fn decomposed(&self, operands: &[&Tensor]) -> Result<SequenceOutput> {
        let here = std::panic::Location::caller();
        self.steps(operands).map_err(|error| error.at(here))
    }

    fn steps(&self, operands: &[&Tensor]) -> Result<SequenceOutput> {
        let op = Op::Sequence(*self);
        let metas: SmallVec<[_; 9]> = operands.iter().map(|operand| operand.meta()).collect();
        output_metas(&op, &metas)?;
        let at = self.places();
        let steps = operands[0].shape()[0];
        let active = at.lengths.map(|place| active(operands[place], steps)).transpose()?;
        let x = match &active {
            // What lies beyond a row's length must not reach a weight's gradient, not even as 0 * NaN.
            Some(active) => active.unsqueeze(2)?.select(operands[0], 0.0)?,
            None => operands[0].clone(),
        };
        let bias = |which: usize| at.biases.map(|first| operands[first + which]);
        let inputs = x.linear(operands[at.w_ih], bias(0))?;
        let first = |place: Option<usize>, size: usize| match place {
            Some(place) => Ok(operands[place].clone()),
            None => Tensor::zeros([x.shape()[1], size], &x),
        };
        let [rows, output] = [operands[at.w_hh].shape()[0], operands[at.w_hh].shape()[1]];
        let mut h = first(at.h0, output)?;
        let mut c = match self.cell {
            RecurrentCell::Lstm => Some(first(at.c0, rows / self.cell.gates())?),
            _ => None,
        };
        let mut ys: Vec<Option<Tensor>> = vec![None; steps];
        for step in 0..steps {
            let t = if self.reverse { steps - 1 - step } else { step };
            let sums = (inputs.slice_of(t)?, h.linear(operands[at.w_hh], bias(1))?);
            let (next, cell) = self.step(sums, &h, c.as_ref(), at.w_hr.map(|p| operands[p]))?;
            ys[t] = Some(match &active {
                None => {
                    (h, c) = (next.clone(), cell);
                    next
                }
                Some(active) => {
                    let takes_part = active.slice_of(t)?.unsqueeze(1)?;
                    h = takes_part.select(&next, &h)?;
                    if let (Some(old), Some(new)) = (&c, cell) {
                        c = Some(takes_part.select(new, old)?);
                    }
                    takes_part.select(next, 0.0)?
                }
            });
        }
        let ys: Vec<&Tensor> = ys.iter().flatten().collect();
        Ok(SequenceOutput { y: Tensor::stack(&ys, 0)?, h_n: h, c_n: c })
    }

    /// The next hidden and cell state, from the input's and the recurrent sums.
    fn step(
        &self,
        (x, w): (Tensor, Tensor),
        h: &Tensor,
        c: Option<&Tensor>,
        w_hr: Option<&Tensor>,
    ) -> Result<(Tensor, Option<Tensor>)> {
        let hidden = x.shape()[1] / self.cell.gates();
        let of = |sums: &Tensor, gate: usize| sums.narrow(1, gate * hidden, hidden);
        match (self.cell, c) {
            (RecurrentCell::Lstm, Some(c)) => {
                let sums = Ok(x).add(w)?;
                let (i, f) = (of(&sums, 0).sigmoid()?, of(&sums, 1).sigmoid()?);
                let (g, o) = (of(&sums, 2).tanh()?, of(&sums, 3).sigmoid()?);
                let c = f.mul(c).add(i.mul(g))?;
                let h = o.mul(c.tanh())?;
                match w_hr {
                    Some(w_hr) => Ok((h.linear(w_hr, None)?, Some(c))),
                    None => Ok((h, Some(c))),
                }
            }
            (RecurrentCell::Gru, _) => {
                let r = of(&x, 0).add(of(&w, 0)).sigmoid()?;
                let z = of(&x, 1).add(of(&w, 1)).sigmoid()?;
                let n = of(&x, 2).add(r.mul(of(&w, 2))).tanh()?;
                Ok((n.add(z.mul(h.sub(&n)))?, None))
            }
            (RecurrentCell::RnnRelu, _) => Ok((Ok(x).add(w).relu()?, None)),
            _ => Ok((Ok(x).add(w).tanh()?, None)),
        }
    }
}

/// `[steps, batch]`: true where a row takes part in a step.
fn active(lengths: &Tensor, steps: usize) -> Result<Tensor> {
    let all: Vec<i64> = lengths.to_vec()?;
    if !all.iter().all(|length| (1..=steps as i64).contains(length)) {
        return Err(Error::argument("sequence", "a length is outside 1..=steps"));
    }
    Tensor::arange(0.0, 1.0, steps, lengths)?.unsqueeze(1)?.lt(lengths)
}

impl Tensor {
    /// Slice `i` of the first dim, without it.
    fn slice_of(&self, i: usize) -> Result<Tensor> {
        self.narrow(0, i, 1).reshape(Dims::from_slice(&self.shape()[1..]))
    }
}
