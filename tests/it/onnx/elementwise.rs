//! One element at a time, and broadcast pairs of them.

use ferrotape::prelude::*;

use super::{Called, Node, one};

pub(super) fn call(node: &Node<'_>) -> Called {
    let x = node.x(0)?;
    if let Some(y) = unary(node, x).or_else(|| activation(node, x)).or_else(|| many(node, x)) {
        return one(y);
    }
    one(binary(node, x, node.x(1)?)?)
}

fn unary(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    Some(match node.op {
        "Abs" => x.abs(),
        "Acos" => x.acos(),
        "Acosh" => x.acosh(),
        "Asin" => x.asin(),
        "Asinh" => x.asinh(),
        "Atan" => x.atan(),
        "Atanh" => x.atanh(),
        "Ceil" => x.ceil(),
        "Cos" => x.cos(),
        "Cosh" => x.cosh(),
        "Erf" => x.erf(),
        "Exp" => x.exp(),
        "Floor" => x.floor(),
        "Identity" => Ok(x.clone()),
        "IsNaN" => x.isnan(),
        "IsInf" => infinite(node, x),
        "Log" => x.log(),
        "Neg" => x.neg(),
        "Not" => x.logical_not(),
        "Reciprocal" => x.reciprocal(),
        "Round" => x.round(),
        "Sign" => x.sign(),
        "Sin" => x.sin(),
        "Sinh" => x.sinh(),
        "Sqrt" => x.sqrt(),
        "Tan" => x.tan(),
        "Cast" => x.to_dtype(super::dtype(node.int("to", 0))?),
        _ => return None,
    })
}

fn infinite(node: &Node<'_>, x: &Tensor) -> Result<Tensor> {
    match (node.int("detect_positive", 1), node.int("detect_negative", 1)) {
        (0, 0) => x.isinf().logical_and(false_like(x)),
        (0, _) => x.isinf().logical_and(x.lt(0.0)),
        (_, 0) => x.isinf().logical_and(x.gt(0.0)),
        _ => x.isinf(),
    }
}

fn false_like(x: &Tensor) -> Result<Tensor> {
    x.ne(x).logical_and(x.eq(x))
}

fn activation(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let alpha = |default| node.float("alpha", default);
    Some(match node.op {
        "Celu" => x.celu(alpha(1.0)),
        "Clip" => clip(node, x),
        "Elu" => x.elu(alpha(1.0)),
        "Gelu" if node.text("approximate") == "tanh" => x.gelu_tanh(),
        "Gelu" => x.gelu(),
        "HardSigmoid" => x.mul(alpha(0.2)).add(node.float("beta", 0.5)).clamp(0.0, 1.0),
        "HardSwish" => x.hardswish(),
        "LeakyRelu" => x.leaky_relu(alpha(0.01)),
        "PRelu" => prelu(x, node.x(1)?),
        "Relu" => x.relu(),
        // Of other constants than PyTorch's.
        "Selu" if node.has("alpha") => {
            x.elu(node.float("alpha", 0.0)).mul(node.float("gamma", 0.0))
        }
        "Selu" => x.selu(),
        "Shrink" => shrink(x, node.float("lambd", 0.5), node.float("bias", 0.0)),
        "Sigmoid" => x.sigmoid(),
        "Softplus" => x.softplus(),
        "Softsign" => x.softsign(),
        "Tanh" => x.tanh(),
        "ThresholdedRelu" => x.threshold(alpha(1.0), 0.0),
        _ => return None,
    })
}

fn clip(node: &Node<'_>, x: &Tensor) -> Result<Tensor> {
    let bound = |name: &str, place| {
        node.number(place).or_else(|| node.has(name).then(|| node.float(name, 0.0)))
    };
    match (bound("min", 1), bound("max", 2)) {
        (Some(low), Some(high)) => x.clamp(low, high),
        (Some(low), None) => x.clamp_min(low),
        (None, Some(high)) => x.clamp_max(high),
        (None, None) => Ok(x.clone()),
    }
}

/// The slope broadcasts as any operand does, not along channels as PyTorch's.
fn prelu(x: &Tensor, slope: &Tensor) -> Result<Tensor> {
    // The old form: a vector along the channels.
    let channels = slope.rank() == 1 && x.rank() > 1 && x.shape()[1] == slope.len();
    match channels && x.shape().last() != Some(&slope.len()) {
        true => x.prelu(slope),
        false => x.ge(0.0)?.select(x, x.mul(slope)),
    }
}

fn shrink(x: &Tensor, lambda: f64, bias: f64) -> Result<Tensor> {
    let low = x.lt(-lambda)?.select(x.add(bias), 0.0)?;
    x.gt(lambda)?.select(x.sub(bias), low)
}

/// Of any number of tensors.
fn many(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let rest = || node.inputs[1..].iter().flatten();
    let fold = |f: fn(Tensor, &Tensor) -> Result<Tensor>| rest().try_fold(x.clone(), f);
    Some(match node.op {
        "Max" => fold(|a, b| a.maximum(b)),
        "Min" => fold(|a, b| a.minimum(b)),
        "Sum" => fold(|a, b| a.add(b)),
        "Mean" => fold(|a, b| a.add(b)).div(node.inputs.len() as f64),
        "Where" => x.select(node.x(1)?, node.x(2)?),
        _ => return None,
    })
}

fn binary(node: &Node<'_>, x: &Tensor, y: &Tensor) -> Option<Result<Tensor>> {
    // Before opset 7 the second operand was laid along `axis`.
    let laid = match node.int("broadcast", 0) {
        1 if node.has("axis") => {
            let after = x.rank() - node.int("axis", 0) as usize - y.rank();
            Some(y.reshape([y.shape(), &vec![1; after][..]].concat().as_slice()))
        }
        _ => None,
    };
    let y = match &laid {
        Some(Ok(laid)) => laid,
        Some(Err(_)) => return None,
        None => y,
    };
    Some(match node.op {
        "Add" => x.add(y),
        "And" => x.logical_and(y),
        // Integers divide as in C.
        "Div" if x.dtype().is_integer() => x.trunc_divide(y),
        "Div" => x.div(y),
        "Equal" => x.eq(y),
        "Greater" => x.gt(y),
        "GreaterOrEqual" => x.ge(y),
        "Less" => x.lt(y),
        "LessOrEqual" => x.le(y),
        "Mod" if node.int("fmod", 0) == 1 => x.fmod(y),
        "Mod" => x.remainder(y),
        "Mul" => x.mul(y),
        "Or" => x.logical_or(y),
        // The result has the base's type.
        "Pow" => x.pow(y).to_dtype(x.dtype()),
        "Sub" => x.sub(y),
        "Xor" => x.logical_xor(y),
        _ => return None,
    })
}
