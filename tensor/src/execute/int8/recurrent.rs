//! Recurrent layers in int8.

use ferrotape_kernels::cpu::int8::{self, RecurrentForward};

use crate::error::Result;
use crate::execute::{Dense, Input, Output, sequence, tensor};
use crate::op::{Int8Recurrent, Op};

pub(in crate::execute) fn recurrent(
    op: &Op,
    layer: &Int8Recurrent,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Result<()> {
    let x = tensor(op, inputs, 0)?;
    let shape = layer.shape(x.shape());
    let states = 1 + usize::from(layer.has_cell_state());
    let dense = |place: usize| Dense::<f32>::new(op, tensor(op, inputs, place)?);
    let (x, h0) = (dense(0)?, dense(1)?);
    let c0 = if states == 2 { Some(dense(2)?) } else { None };
    let lengths = match layer.lengths {
        true => Some(Dense::<i64>::new(op, tensor(op, inputs, states + 1)?)?),
        false => None,
    };
    let mut results = outputs.iter_mut().map(|output| output.buffer.as_mut_slice::<f32>());
    let mut result = || results.next().unwrap_or_default();
    let (y, h, c) = (result(), result(), result());
    let operands = RecurrentForward {
        x: x.slice(),
        h0: h0.slice(),
        c0: c0.as_ref().map_or(&[], Dense::slice),
        lengths: lengths.as_ref().map(Dense::slice),
        y,
        h,
        c,
    };
    sequence::told(op, int8::recurrent(&layer.packed, &shape, operands))
}
