//! Between numbers and codes, with scales and zero points that are tensors. Those are looked at on the host, as the CPU's kernels do, so
//! it waits for the device.

use ferrotape_kernels::cpu::int8::scheme::{Affine, Rule};
use ferrotape_kernels::cuda::int8;

use super::dense::Dense;
use super::{brought, kind, target};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::execute::quantize::{Parameters, positive, range, runs};
use crate::execute::{Input, Output, tensor, told};
use crate::op::Op;

pub(super) fn execute(
    op: &Op,
    inputs: &[Input<'_>],
    outputs: &mut [Output<'_>],
) -> Option<Result<()>> {
    let single = |place: usize| matches!(inputs.get(place), Some(Input::Tensor(x)) if x.dtype() == DType::F32);
    let computes = match op {
        Op::Quantize(_) | Op::FakeQuantize(_) => single(0) && single(1),
        Op::Dequantize { .. } => single(1),
        _ => false,
    };
    match outputs {
        [out] if computes => Some(run(op, inputs, out)),
        _ => None,
    }
}

fn run(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let x = tensor(op, inputs, 0)?;
    let (axis, bounds) = match op {
        Op::Quantize(settings) => (settings.axis, range(settings.dtype)),
        Op::FakeQuantize(settings) => (settings.axis, [settings.low, settings.high]),
        Op::Dequantize { axis } => (*axis, range(x.dtype())),
        _ => return Err(Error::argument(op.name(), "has nothing to do with codes")),
    };
    let divides = match op {
        Op::Quantize(settings) => settings.rule == Rule::Divide,
        Op::Dequantize { .. } => true,
        _ => false,
    };
    let (scale, zero) = (brought(tensor(op, inputs, 1)?)?, brought(tensor(op, inputs, 2)?)?);
    let here = [Input::Tensor(x), Input::Tensor(&scale), Input::Tensor(&zero)];
    let parameters = Parameters::<f32>::new(op, &here, bounds, |scale| {
        positive(f64::from(scale)) && (divides || scale.recip().is_finite())
    })?;
    let rule = if divides { Rule::Divide } else { Rule::Reciprocal };
    let affine = parameters.affine(rule);
    let (shape, whole) = (runs(x.shape(), axis), [x.len()]);
    let dense = Dense::new(op, x)?;
    let from = dense.array(op, &whole, &[1])?;
    let to = target(op, out)?;
    told(
        op,
        match op {
            Op::Quantize(settings) => {
                int8::quantize(shape, from, &affine, kind(settings.dtype), to)
            }
            Op::Dequantize { .. } => int8::dequantize(shape, from, &affine, to),
            _ => {
                let affine = Affine { bounds: Some(bounds), ..affine };
                int8::fake_quantize(shape, from, &affine, to)
            }
        },
    )
}
