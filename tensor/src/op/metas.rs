//! What an operation gives for what it takes: a pure function of shapes and types, and the check of both.

pub(in crate::op) mod images;
mod norms;
mod quantize;
mod scans;
mod sequence;
mod shapes;
mod usual;

use smallvec::{SmallVec, smallvec};

use super::{IndexOp, Int8Op, Meta, Op, RandomOp, ReduceDims};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::shape::{self, Dims};
use ferrotape_kernels::cpu::reduce::ReduceOp;
use ferrotape_kernels::cpu::scan::ScanOp;
use ferrotape_kernels::elementwise::{BinaryOp, UnaryOp};

pub(crate) use usual::usual;

pub(crate) type Metas = SmallVec<[Meta; 2]>;

/// Shape, type and device of the outputs of `op` on `inputs`.
///
/// # Errors
/// A wrong number of operands, or shapes, types, devices and settings that don't fit, in words.
pub fn output_metas(op: &Op, inputs: &[Meta]) -> Result<Metas> {
    let name = op.name();
    check_operands(op, inputs)?;
    let metas = match op {
        Op::Custom(custom) => custom.output_metas(inputs)?.into_iter().collect(),
        Op::Random(random, _, meta) => {
            check_random(random, meta)?;
            smallvec![meta.clone()]
        }
        Op::MaxPool2d(pool) => {
            let y = like(&inputs[0], images::pooled(name, pool, &inputs[0])?);
            let taps = Meta { dtype: DType::U8, ..y.clone() };
            smallvec![y, taps]
        }
        Op::Conv2dMaxPool2d(conv, pool) => images::convolved_and_pooled(name, conv, pool, inputs)?,
        Op::Conv2dMaxPool2dWeight(conv, pool, size) => {
            images::pooled_weight(name, (conv, pool), *size, inputs)?
        }
        Op::Scan(ScanOp::Max | ScanOp::Min, _) | Op::Sort { .. } => {
            let y = scans::output(op, inputs)?;
            let z = Meta { dtype: DType::I64, ..y.clone() };
            smallvec![y, z]
        }
        Op::LinearWeight => linear_weight(name, inputs)?,
        Op::Svd => scans::svd(name, &inputs[0])?,
        Op::Sequence(settings) => sequence::forward(name, settings, inputs)?,
        Op::SequenceBackward(settings) => sequence::backward(name, settings, inputs)?,
        Op::LayerNorm { .. } => norms::layer_norm(name, inputs)?,
        Op::Int8(Int8Op::Recurrent(layer)) => layer.outputs(inputs)?,
        Op::Optimize(_) | Op::Assign => check_update(op, inputs)?,
        _ => smallvec![single_output(op, inputs)?],
    };
    for meta in &metas {
        shape::checked_len(name, &meta.shape)?
            .checked_mul(meta.dtype.size())
            .filter(|&bytes| bytes <= isize::MAX as usize)
            .ok_or_else(|| Error::shape(name, format!("{:?} is too large", meta.shape)))?;
    }
    Ok(metas)
}

fn like(meta: &Meta, shape: Dims) -> Meta {
    Meta { shape, dtype: meta.dtype, device: meta.device }
}

/// The number of operands, their devices, and that those which must share a type do.
fn check_operands(op: &Op, inputs: &[Meta]) -> Result<()> {
    let name = op.name();
    let expected = match op {
        Op::Random(..) => 0..=0,
        Op::Unary(_)
        | Op::Reduce(..)
        | Op::ArgReduce(..)
        | Op::View(_)
        | Op::Copy
        | Op::Cast(_)
        | Op::Transfer(_) => 1..=1,
        Op::Softmax { .. } | Op::MaxPool2d(_) | Op::StopGradient => 1..=1,
        Op::Index(IndexOp::Unslice { .. } | IndexOp::Undiagonal { .. } | IndexOp::Fold { .. }) => {
            1..=1
        }
        Op::Index(IndexOp::Scatter { .. }) => 3..=3,
        Op::Scan(ScanOp::Linear, _) | Op::SearchSorted { .. } => 2..=2,
        Op::Scan(..) | Op::Sort { .. } | Op::Svd => 1..=1,
        Op::MaxPool2dIndex(_) | Op::AvgPool2d(..) | Op::AvgPool2dInput(..) => 1..=1,
        Op::Binary(_)
        | Op::Compare(_)
        | Op::Logical(_)
        | Op::Matmul
        | Op::Index(_)
        | Op::Assign => 2..=2,
        Op::Conv2dInput(..) | Op::Conv2dWeight(..) | Op::CrossEntropy => 2..=2,
        Op::Conv2dMaxPool2dInput(..) | Op::Conv2dMaxPool2dWeight(..) => 3..=3,
        Op::LinearWeight | Op::MseLoss => 2..=2,
        Op::MseLossInput => 3..=3,
        Op::MaxPool2dScatter(..) | Op::MaxPool2dGather(_) => 2..=2,
        Op::Select | Op::CrossEntropyInput | Op::LayerNormWeight { .. } => 3..=3,
        Op::LayerNorm { .. } => 1..=3,
        Op::Quantize(_) | Op::Dequantize { .. } | Op::FakeQuantize(_) => 3..=3,
        Op::MatmulInteger | Op::ConvInteger(_) => 2..=4,
        Op::LayerNormInput { .. } => 3..=4,
        Op::Linear(_) | Op::Conv2d(..) | Op::Conv2dMaxPool2d(..) => 2..=3,
        Op::Concat(_) => 1..=usize::MAX,
        Op::Sequence(settings) => settings.places().count..=settings.places().count,
        Op::SequenceBackward(settings) => {
            settings.backward_operands()..=settings.backward_operands()
        }
        Op::Optimize(step) => step.states() + 2..=step.states() + 2,
        Op::Int8(int8) => int8.operands()..=int8.operands(),
        Op::Custom(_) => 0..=usize::MAX,
    };
    if !expected.contains(&inputs.len()) {
        let message = format!("{} operands, expected {}", inputs.len(), expected.start());
        return Err(Error::argument(name, message));
    }
    if let Some(other) = inputs.iter().find(|meta| meta.device != inputs[0].device) {
        let kind = ErrorKind::Device { op: name, first: inputs[0].device, second: other.device };
        return Err(Error::plain(kind));
    }
    let same = match op {
        Op::Select => &inputs[1..],
        Op::Index(_) | Op::CrossEntropy | Op::MaxPool2dScatter(..) | Op::MaxPool2dGather(_) => {
            &inputs[..1]
        }
        Op::Conv2dMaxPool2dInput(..) | Op::Conv2dMaxPool2dWeight(..) => &inputs[..2],
        Op::Sequence(settings) | Op::SequenceBackward(settings) if settings.lengths => {
            &inputs[..inputs.len() - 1]
        }
        Op::CrossEntropyInput | Op::Int8(_) | Op::Custom(_) => &[],
        Op::Quantize(_) | Op::Dequantize { .. } | Op::FakeQuantize(_) => &[],
        Op::MatmulInteger | Op::ConvInteger(_) => &[],
        Op::Binary(_) if mixes(&inputs[0], &inputs[1]) || mixes(&inputs[1], &inputs[0]) => &[],
        _ => inputs,
    };
    match same.iter().find(|meta| meta.dtype != same[0].dtype) {
        Some(other) => {
            Err(Error::dtype(name, format!("operands of {} and {}", same[0].dtype, other.dtype)))
        }
        None => Ok(()),
    }
}

fn single_output(op: &Op, inputs: &[Meta]) -> Result<Meta> {
    let name = op.name();
    let broadcast = |a: usize, b: usize| shape::broadcast(name, &inputs[a].shape, &inputs[b].shape);
    Ok(match op {
        Op::Unary(unary) => {
            match inputs[0].dtype {
                // Integers become floats first, as in PyTorch.
                dtype if !dtype.is_float() && !has_integer_form(*unary) => {
                    Meta { dtype: DType::F32, ..inputs[0].clone() }
                }
                DType::Bool => return Err(Error::unsupported(name, DType::Bool)),
                _ => inputs[0].clone(),
            }
        }
        Op::Binary(binary) => {
            use BinaryOp::*;
            let dtype = common_type(&inputs[0], &inputs[1]);
            let fits = match binary {
                Add | Mul | Maximum | Minimum => true,
                Sub | Pow | FloorDivide | TruncDivide | Fmod | Remainder => dtype != DType::Bool,
                _ => dtype.is_float(),
            };
            if !fits {
                return Err(Error::unsupported(name, dtype));
            }
            Meta { shape: broadcast(0, 1)?, dtype, device: inputs[0].device }
        }
        Op::Compare(_) => Meta { shape: broadcast(0, 1)?, dtype: DType::Bool, ..inputs[0].clone() },
        Op::Logical(_) => {
            require_dtype(name, inputs[0].dtype, DType::Bool)?;
            like(&inputs[0], broadcast(0, 1)?)
        }
        Op::Select => {
            require_dtype(name, inputs[0].dtype, DType::Bool)?;
            let values = broadcast(1, 2)?;
            like(&inputs[1], shape::broadcast(name, &inputs[0].shape, &values)?)
        }
        Op::Reduce(reduce, dims) => {
            let y =
                reduced(name, &inputs[0], dims, matches!(reduce, ReduceOp::Max | ReduceOp::Min))?;
            match reduce {
                ReduceOp::Sum | ReduceOp::Prod if !y.dtype.is_float() => {
                    Meta { dtype: DType::I64, ..y }
                }
                _ => y,
            }
        }
        Op::ArgReduce(_, dims) => {
            if dims.dims.len() != 1 {
                return Err(Error::argument(name, "exactly one dim"));
            }
            Meta { dtype: DType::I64, ..reduced(name, &inputs[0], dims, true)? }
        }
        Op::Scan(..) | Op::SearchSorted { .. } => scans::output(op, inputs)?,
        Op::Matmul => matmul(name, &inputs[0], &inputs[1])?,
        Op::Linear(_) => linear(name, inputs)?,
        Op::View(_) | Op::Concat(_) | Op::Index(_) => shapes::output(op, inputs)?,
        Op::Conv2d(..) | Op::Conv2dInput(..) | Op::Conv2dWeight(..) => images::output(op, inputs)?,
        Op::MaxPool2dScatter(..) | Op::MaxPool2dGather(_) => images::output(op, inputs)?,
        Op::Conv2dMaxPool2dInput(..) => images::output(op, inputs)?,
        Op::MaxPool2dIndex(_) | Op::AvgPool2d(..) | Op::AvgPool2dInput(..) => {
            images::output(op, inputs)?
        }
        Op::Quantize(_)
        | Op::Dequantize { .. }
        | Op::FakeQuantize(_)
        | Op::MatmulInteger
        | Op::ConvInteger(_) => quantize::output(op, inputs)?,
        Op::Copy | Op::StopGradient => inputs[0].clone(),
        Op::Softmax { dim, .. } => {
            require_float(name, inputs[0].dtype)?;
            shape::check_dim(name, *dim, inputs[0].shape.len())?;
            inputs[0].clone()
        }
        Op::LayerNormInput { .. } | Op::LayerNormWeight { .. } => norms::gradient(op, inputs)?,
        Op::MseLoss | Op::MseLossInput => mse_loss(op, inputs)?,
        Op::CrossEntropy => {
            let rows = check_targets(name, inputs)?;
            like(&inputs[0], Dims::from_slice(&[rows]))
        }
        Op::CrossEntropyInput => {
            let rows = check_targets(name, inputs)?;
            require_dtype(name, inputs[2].dtype, inputs[0].dtype)?;
            if !(inputs[2].shape.is_empty() || inputs[2].shape[..] == [rows]) {
                let message = format!("weights of shape {:?} for {rows} rows", inputs[2].shape);
                return Err(Error::shape(name, message));
            }
            inputs[0].clone()
        }
        Op::Int8(int8) => int8.output(inputs)?,
        Op::Transfer(device) => Meta { device: *device, ..inputs[0].clone() },
        Op::Cast(dtype) => Meta { dtype: *dtype, ..inputs[0].clone() },
        Op::Sequence(_)
        | Op::SequenceBackward(_)
        | Op::MaxPool2d(_)
        | Op::Conv2dMaxPool2d(..)
        | Op::Conv2dMaxPool2dWeight(..)
        | Op::LayerNorm { .. }
        | Op::LinearWeight
        | Op::Sort { .. }
        | Op::Svd
        | Op::Random(..)
        | Op::Assign
        | Op::Optimize(_)
        | Op::Custom(_) => {
            return Err(Error::argument(name, "has no single output"));
        }
    })
}

fn require_float(op: &'static str, dtype: DType) -> Result<()> {
    if dtype.is_float() { Ok(()) } else { Err(Error::unsupported(op, dtype)) }
}

/// True for operations that integers have too.
pub(crate) fn has_integer_form(op: UnaryOp) -> bool {
    use UnaryOp::*;
    matches!(op, Neg | Abs | Sign | Square | Relu | Floor | Ceil | Round | Trunc)
}

/// The type of both operands; that of the first if they are [not one](mixes).
fn common_type(a: &Meta, b: &Meta) -> DType {
    if mixes(b, a) { b.dtype } else { a.dtype }
}

/// True for a 2-byte float `a` beside a number `b` that is f32: kept whole, as PyTorch keeps it.
fn mixes(a: &Meta, b: &Meta) -> bool {
    a.dtype.is_half() && b.dtype == DType::F32 && b.shape.is_empty()
}

fn require_dtype(op: &'static str, dtype: DType, expected: DType) -> Result<()> {
    if dtype == expected {
        Ok(())
    } else {
        Err(Error::dtype(op, format!("{dtype} where {expected} is expected")))
    }
}

fn require_rank(op: &'static str, what: &str, meta: &Meta, rank: usize) -> Result<()> {
    if meta.shape.len() == rank {
        Ok(())
    } else {
        Err(Error::shape(op, format!("{what} of shape {:?}: {rank} dims expected", meta.shape)))
    }
}

fn check_random(random: &RandomOp, meta: &Meta) -> Result<()> {
    let name = random.name();
    require_float(name, meta.dtype)?;
    let valid = match *random {
        RandomOp::Uniform { low, high } => low.is_finite() && high.is_finite() && low <= high,
        RandomOp::Normal { mean, std } => mean.is_finite() && std.is_finite() && std >= 0.0,
        RandomOp::Bernoulli { p, .. } => (0.0..=1.0).contains(&p),
    };
    if valid {
        Ok(())
    } else {
        Err(Error::argument(name, format!("{random:?} is no distribution")))
    }
}

fn reduced(op: &'static str, input: &Meta, dims: &ReduceDims, needs_element: bool) -> Result<Meta> {
    for (i, &dim) in dims.dims.iter().enumerate() {
        shape::check_dim(op, dim, input.shape.len())?;
        if needs_element && input.shape[dim] == 0 {
            return Err(Error::shape(op, format!("{:?} has no element in dim {dim}", input.shape)));
        }
        if i > 0 && dims.dims[i - 1] >= dim {
            return Err(Error::argument(op, "dims must ascend"));
        }
    }
    let kept = |(d, &size): (usize, &usize)| match dims.dims.contains(&d) {
        false => Some(size),
        true if dims.keep => Some(1),
        true => None,
    };
    Ok(like(input, input.shape.iter().enumerate().filter_map(kept).collect()))
}

fn matmul(op: &'static str, a: &Meta, b: &Meta) -> Result<Meta> {
    if a.dtype == DType::Bool {
        return Err(Error::unsupported(op, a.dtype));
    }
    let (x, y) = (&a.shape, &b.shape);
    if x.len() < 2 || y.len() < 2 {
        return Err(Error::shape(op, format!("{x:?} x {y:?}: matrices expected")));
    }
    let ([m, k], [l, n]) = ([x[x.len() - 2], x[x.len() - 1]], [y[y.len() - 2], y[y.len() - 1]]);
    if k != l {
        return Err(Error::shape(op, format!("{x:?} x {y:?}: inner sizes {k} and {l} differ")));
    }
    let mut shape = shape::broadcast(op, &x[..x.len() - 2], &y[..y.len() - 2])?;
    shape.extend([m, n]);
    Ok(like(a, shape))
}

fn linear(op: &'static str, inputs: &[Meta]) -> Result<Meta> {
    require_float(op, inputs[0].dtype)?;
    require_rank(op, "weight", &inputs[1], 2)?;
    let (x, w) = (&inputs[0].shape, &inputs[1].shape);
    match x.last() {
        Some(&last) if last == w[1] => {}
        _ => {
            return Err(Error::shape(
                op,
                format!("input {x:?}, weight {w:?}: the last size must be {}", w[1]),
            ));
        }
    }
    if let Some(bias) = inputs.get(2).filter(|bias| bias.shape[..] != [w[0]]) {
        return Err(Error::shape(op, format!("bias {:?}: [{}] expected", bias.shape, w[0])));
    }
    let mut shape = x.clone();
    shape[x.len() - 1] = w[0];
    Ok(like(&inputs[0], shape))
}

fn linear_weight(op: &'static str, inputs: &[Meta]) -> Result<Metas> {
    require_float(op, inputs[0].dtype)?;
    require_rank(op, "gradient", &inputs[0], 2)?;
    require_rank(op, "input", &inputs[1], 2)?;
    let (g, x) = (&inputs[0].shape, &inputs[1].shape);
    if g[0] != x[0] {
        let message = format!("gradient {g:?}, input {x:?}: as many rows of one as of the other");
        return Err(Error::shape(op, message));
    }
    let shaped = |shape: &[usize]| like(&inputs[0], Dims::from_slice(shape));
    Ok(smallvec![shaped(&[g[1], x[1]]), shaped(&[g[1]])])
}

/// The loss takes no broadcasting, which hides mistakes.
fn mse_loss(op: &Op, inputs: &[Meta]) -> Result<Meta> {
    let name = op.name();
    require_float(name, inputs[0].dtype)?;
    let (a, b) = (&inputs[0].shape, &inputs[1].shape);
    if a != b {
        return Err(Error::shape(name, format!("prediction {a:?} and target {b:?} differ")));
    }
    match inputs.get(2) {
        Some(c) => require_rank(name, "factor", c, 0).map(|()| inputs[0].clone()),
        None => Ok(like(&inputs[0], Dims::new())),
    }
}

fn check_targets(op: &'static str, inputs: &[Meta]) -> Result<usize> {
    require_float(op, inputs[0].dtype)?;
    require_rank(op, "logits", &inputs[0], 2)?;
    require_dtype(op, inputs[1].dtype, DType::I64)?;
    let rows = inputs[0].shape[0];
    if inputs[1].shape[..] == [rows] {
        Ok(rows)
    } else {
        Err(Error::shape(
            op,
            format!(
                "logits {:?}, targets {:?}: one class number a row",
                inputs[0].shape, inputs[1].shape
            ),
        ))
    }
}

/// Updates change their operands: all must have the first one's shape, and a step a float type.
fn check_update(op: &Op, inputs: &[Meta]) -> Result<Metas> {
    let name = op.name();
    if let Op::Optimize(step) = op {
        require_float(name, inputs[0].dtype)?;
        if step.step() == Some(0) {
            return Err(Error::argument(name, "steps count from 1"));
        }
    }
    match inputs.iter().find(|input| input.shape != inputs[0].shape) {
        Some(other) => {
            Err(Error::shape(name, format!("{:?} and {:?} differ", inputs[0].shape, other.shape)))
        }
        None => Ok(Metas::new()),
    }
}
