//! Quantization, and operators of codes.

use ferrotape::nn::quant::Scheme;
use ferrotape::prelude::*;
use ferrotape::{QuantizeOp, QuantizeRule};

use super::{Called, Node, network, one};

pub(super) fn call(node: &Node<'_>) -> Called {
    let x = node.x(0)?;
    match node.op {
        "QuantizeLinear" => one(linear(node, x, true)?),
        "DequantizeLinear" => one(linear(node, x, false)?),
        "DynamicQuantizeLinear" => Some(dynamic(x)),
        "MatMulInteger" => one(x.matmul_integer(node.x(1)?, node.x(2), node.x(3))),
        "ConvInteger" => one(convolution(node, x, node.x(1)?, node.x(2), node.x(3))?),
        "QLinearMatMul" => {
            let sums = x.matmul_integer(node.x(3)?, node.x(2), node.x(5));
            one(requantized(node, sums, 4))
        }
        "QLinearConv" => {
            let sums = convolution(node, x, node.x(3)?, node.x(2), node.x(5))?;
            let sums = match node.x(8) {
                Some(bias) => sums.add(bias.reshape([-1, 1, 1])),
                None => sums,
            };
            one(requantized(node, sums, 4))
        }
        _ => None,
    }
}

/// To codes, or from them. A scale for each block of an axis has as many dims as x.
fn linear(node: &Node<'_>, x: &Tensor, to: bool) -> Option<Result<Tensor>> {
    let scale = node.x(1)?;
    let axis = node.int("axis", 1);
    let axis = if axis < 0 { axis + x.rank() as i64 } else { axis } as usize;
    let axis = (scale.rank() == 1 && scale.len() > 1).then_some(axis);
    let none = Tensor::from(0u8);
    let zero = node.x(2).unwrap_or(&none);
    let bounds = match node.int("output_dtype", 0) {
        4 => Some((0.0, 65535.0)),
        5 => Some((-32768.0, 32767.0)),
        _ => None,
    };
    if let (Some((low, high)), true) = (bounds, to) {
        return Some(sixteen_bits(x, scale, zero, low, high));
    }
    Some(match to {
        true => {
            let settings = QuantizeOp { axis, dtype: zero.dtype(), rule: QuantizeRule::Divide };
            x.quantize(scale, zero, settings)
        }
        false => x.dequantize(scale, zero, axis),
    })
}

/// Codes of 16 bits, which no kernel has, by arithmetic. Blocks are of the last axis.
fn sixteen_bits(x: &Tensor, scale: &Tensor, zero: &Tensor, low: f64, high: f64) -> Result<Tensor> {
    let zero = zero.to_dtype(x.dtype())?;
    let steps = match scale.rank() {
        0 | 1 => x.div(scale)?,
        _ => {
            let mut blocks = scale.shape().to_vec();
            blocks.push(x.len() / scale.len());
            x.reshape(blocks)?.div(scale.unsqueeze(-1)?)?.reshape(x.shape().to_vec())?
        }
    };
    steps.round().add(&zero).clamp(low, high).to_dtype(DType::I32)
}

fn dynamic(x: &Tensor) -> Result<Vec<Tensor>> {
    let by = Scheme::ACTIVATION.encoding(x.amin(..)?.to_f64()?, x.amax(..)?.to_f64()?)?;
    let settings = QuantizeOp::new(DType::U8).rule(QuantizeRule::Divide);
    let (scale, zero) = (Tensor::from(by.scale), Tensor::from(by.zero_point));
    let zero = zero.to_dtype(DType::U8)?;
    Ok(vec![x.quantize(&scale, &zero, settings)?, scale, zero])
}

fn convolution(
    node: &Node<'_>,
    x: &Tensor,
    weight: &Tensor,
    x_zero: Option<&Tensor>,
    weight_zero: Option<&Tensor>,
) -> Option<Result<Tensor>> {
    network::conv_of(node, x, weight, |x, settings| {
        x.conv_integer(weight, x_zero, weight_zero, settings)
    })
}

/// Sums of a product as codes of the result: inputs 1 and `place` are the operands' scales, the last but one (without a bias) that of the result.
fn requantized(node: &Node<'_>, sums: Result<Tensor>, place: usize) -> Result<Tensor> {
    let scale = |place: usize| match node.x(place) {
        Some(scale) => scale.to_dtype(DType::F32),
        None => Ok(Tensor::from(1f32)),
    };
    let multiplier = scale(1)?.mul(scale(place)?)?.div(scale(6)?)?;
    let none = Tensor::from(0u8);
    let zero = node.x(7).unwrap_or(&none);
    let settings = QuantizeOp::new(zero.dtype());
    let settings = if multiplier.len() > 1 { settings.axis(1) } else { settings };
    sums.requantize(&multiplier, zero, settings)
}
