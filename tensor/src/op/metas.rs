//! What an operation gives for what it takes: a pure function of shapes and types, and the check of both.

use smallvec::{SmallVec, smallvec};

use super::{Conv2dOp, IndexOp, Meta, Op, OptimizeOp, Pool2dOp, RandomOp, ReduceDims, ViewOp};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::shape::{self, Dims};
use ferrotape_kernels::cpu::optimize::AdamStep;
use ferrotape_kernels::cpu::reduce::ReduceOp;
use ferrotape_kernels::elementwise::{BinaryOp, UnaryOp};

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
            let y = like(&inputs[0], pooled(name, pool, &inputs[0])?);
            let taps = Meta { dtype: DType::U8, ..y.clone() };
            smallvec![y, taps]
        }
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
    Meta { shape, ..meta.clone() }
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
        | Op::Cast(_) => 1..=1,
        Op::Softmax { .. } | Op::MaxPool2d(_) | Op::StopGradient => 1..=1,
        Op::Index(IndexOp::Unslice { .. }) => 1..=1,
        Op::Binary(_)
        | Op::Compare(_)
        | Op::Logical(_)
        | Op::Matmul
        | Op::Index(_)
        | Op::Assign => 2..=2,
        Op::Conv2dInput(..) | Op::Conv2dWeight(..) | Op::CrossEntropy => 2..=2,
        Op::MaxPool2dScatter(..) | Op::MaxPool2dGather(_) => 2..=2,
        Op::Select | Op::CrossEntropyInput => 3..=3,
        Op::Linear(_) | Op::Conv2d(..) => 2..=3,
        Op::Concat(_) => 1..=usize::MAX,
        Op::Optimize(OptimizeOp::Sgd(step)) => {
            let operands = if step.momentum == 0.0 { 2 } else { 3 };
            operands..=operands
        }
        Op::Optimize(OptimizeOp::Adam(_)) => 4..=4,
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
        Op::CrossEntropyInput | Op::Custom(_) => &[],
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
            let integer = matches!(
                unary,
                UnaryOp::Neg | UnaryOp::Abs | UnaryOp::Sign | UnaryOp::Square | UnaryOp::Relu
            );
            require_number(name, inputs[0].dtype, integer)?;
            inputs[0].clone()
        }
        Op::Binary(binary) => {
            use BinaryOp::*;
            let integer = matches!(binary, Add | Sub | Mul | Maximum | Minimum);
            require_number(name, inputs[0].dtype, integer)?;
            like(&inputs[0], broadcast(0, 1)?)
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
            require_float(name, inputs[0].dtype)?;
            reduced(name, &inputs[0], dims, *reduce != ReduceOp::Sum)?
        }
        Op::ArgReduce(_, dims) => {
            require_float(name, inputs[0].dtype)?;
            if dims.dims.len() != 1 {
                return Err(Error::argument(name, "exactly one dim"));
            }
            Meta { dtype: DType::I64, ..reduced(name, &inputs[0], dims, true)? }
        }
        Op::Matmul => matmul(name, &inputs[0], &inputs[1])?,
        Op::Linear(_) => linear(name, inputs)?,
        Op::View(view) => viewed(name, view, &inputs[0])?,
        Op::Copy | Op::StopGradient => inputs[0].clone(),
        Op::Concat(dim) => concatenated(name, *dim, inputs)?,
        Op::Index(index) => indexed(name, index, inputs)?,
        Op::Conv2d(conv, _) => convolved(name, conv, inputs)?,
        Op::Conv2dInput(conv, size) => conv_input(name, conv, *size, inputs)?,
        Op::Conv2dWeight(conv, size) => conv_weight(name, conv, *size, inputs)?,
        Op::MaxPool2dScatter(pool, size) => {
            let input = like(&inputs[0], with_plane(name, &inputs[0], *size)?);
            let out = pooled(name, pool, &input)?;
            check_taps(name, inputs, &out, &inputs[0].shape)?;
            input
        }
        Op::MaxPool2dGather(pool) => {
            let out = pooled(name, pool, &inputs[0])?;
            check_taps(name, inputs, &out, &inputs[1].shape)?;
            like(&inputs[0], out)
        }
        Op::Softmax { dim, .. } => {
            require_float(name, inputs[0].dtype)?;
            shape::check_dim(name, *dim, inputs[0].shape.len())?;
            inputs[0].clone()
        }
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
        Op::Cast(dtype) => Meta { dtype: *dtype, ..inputs[0].clone() },
        Op::MaxPool2d(_) | Op::Random(..) | Op::Assign | Op::Optimize(_) | Op::Custom(_) => {
            return Err(Error::argument(name, "has no single output"));
        }
    })
}

fn require_float(op: &'static str, dtype: DType) -> Result<()> {
    if dtype.is_float() { Ok(()) } else { Err(Error::unsupported(op, dtype)) }
}

fn require_number(op: &'static str, dtype: DType, integer: bool) -> Result<()> {
    let fits = dtype.is_float() || (integer && dtype == DType::I64);
    if fits { Ok(()) } else { Err(Error::unsupported(op, dtype)) }
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
    require_float(op, a.dtype)?;
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

fn viewed(op: &'static str, view: &ViewOp, input: &Meta) -> Result<Meta> {
    let from = &input.shape;
    Ok(like(
        input,
        match view {
            ViewOp::Reshape(to) => {
                if shape::checked_len(op, to)? != shape::len(from) {
                    let (old, new) = (shape::len(from), shape::len(to));
                    let message = format!("{from:?} has {old} elements, {to:?} has {new}");
                    return Err(Error::shape(op, message));
                }
                to.clone()
            }
            ViewOp::Permute(order) => {
                let mut sorted = order.clone();
                sorted.sort_unstable();
                if !sorted.iter().copied().eq(0..from.len()) {
                    return Err(Error::argument(
                        op,
                        format!("{order:?} does not permute the dims of {from:?}"),
                    ));
                }
                order.iter().map(|&d| from[d]).collect()
            }
            ViewOp::Expand(to) => {
                if shape::broadcast(op, from, to)? != *to {
                    return Err(Error::shape(op, format!("{from:?} does not expand to {to:?}")));
                }
                to.clone()
            }
            ViewOp::Slice { dim, start, length, step } => {
                shape::check_dim(op, *dim, from.len())?;
                let size = from[*dim] as i128;
                let last = *start as i128 + (*length as i128 - 1) * *step as i128;
                let inside = |place: i128| (0..size).contains(&place);
                if *step == 0 || (*length > 0 && !(inside(*start as i128) && inside(last))) {
                    let message =
                        format!("start {start}, length {length}, step {step} leave size {size}");
                    return Err(Error::argument(op, message));
                }
                let mut to = from.clone();
                to[*dim] = *length;
                to
            }
        },
    ))
}

fn concatenated(op: &'static str, dim: usize, inputs: &[Meta]) -> Result<Meta> {
    let first = &inputs[0];
    shape::check_dim(op, dim, first.shape.len())?;
    let mut shape = first.shape.clone();
    shape[dim] = 0;
    for (i, input) in inputs.iter().enumerate() {
        let fits = input.shape.len() == shape.len()
            && (0..shape.len()).all(|d| d == dim || input.shape[d] == shape[d]);
        if !fits {
            let message = format!(
                "tensor {i} of shape {:?} and {:?} differ beside dim {dim}",
                input.shape, first.shape
            );
            return Err(Error::shape(op, message));
        }
        shape[dim] = shape[dim]
            .checked_add(input.shape[dim])
            .ok_or_else(|| Error::shape(op, "the result is too large"))?;
    }
    Ok(like(first, shape))
}

fn indexed(op: &'static str, index: &IndexOp, inputs: &[Meta]) -> Result<Meta> {
    let input = &inputs[0];
    let rank = input.shape.len();
    let mut shape = input.shape.clone();
    match index {
        IndexOp::Unslice { dim, start, step, size } => {
            shape::check_dim(op, *dim, rank)?;
            shape[*dim] = *size;
            let slice =
                ViewOp::Slice { dim: *dim, start: *start, length: input.shape[*dim], step: *step };
            viewed(op, &slice, &like(input, shape.clone()))?;
            return Ok(like(input, shape));
        }
        IndexOp::Add { .. } | IndexOp::ScatterAdd { .. } => require_float(op, input.dtype)?,
        _ => {}
    }
    require_dtype(op, inputs[1].dtype, DType::I64)?;
    let indices = &inputs[1].shape;
    match index {
        IndexOp::Gather(dim) => {
            shape::check_dim(op, *dim, rank)?;
            let fits =
                indices.len() == rank && (0..rank).all(|d| d == *dim || indices[d] <= shape[d]);
            if !fits {
                let message =
                    format!("index of shape {indices:?} reaches beyond {shape:?} (dim {dim})");
                return Err(Error::shape(op, message));
            }
            shape = indices.clone();
        }
        IndexOp::ScatterAdd { dim, shape: to } => {
            shape::check_dim(op, *dim, rank)?;
            let fits = *indices == shape
                && to.len() == rank
                && (0..rank).all(|d| d == *dim || shape[d] <= to[d]);
            if !fits {
                let message = format!(
                    "source {shape:?}, index {indices:?} and result {to:?} don't fit (dim {dim})"
                );
                return Err(Error::shape(op, message));
            }
            shape = to.clone();
        }
        IndexOp::Select(dim) => {
            shape::check_dim(op, *dim, rank)?;
            require_rank(op, "index", &inputs[1], 1)?;
            shape[*dim] = indices[0];
        }
        IndexOp::Add { dim, size } => {
            shape::check_dim(op, *dim, rank)?;
            require_rank(op, "index", &inputs[1], 1)?;
            if shape[*dim] != indices[0] {
                let message =
                    format!("{} indices for {} slices of {shape:?}", indices[0], shape[*dim]);
                return Err(Error::shape(op, message));
            }
            shape[*dim] = *size;
        }
        IndexOp::Unslice { .. } => {}
    }
    Ok(like(input, shape))
}

fn check_conv(
    op: &'static str,
    conv: &Conv2dOp,
    input: &[usize],
    weight: &[usize],
) -> Result<[usize; 2]> {
    if conv.groups == 0 || conv.stride.contains(&0) || conv.dilation.contains(&0) {
        return Err(Error::argument(op, "stride, dilation and groups must be at least 1"));
    }
    let channels = weight[1].checked_mul(conv.groups);
    if channels != Some(input[1]) || !weight[0].is_multiple_of(conv.groups) {
        let message =
            format!("input {input:?}, weight {weight:?}, groups {}: channels differ", conv.groups);
        return Err(Error::shape(op, message));
    }
    conv.shape(input, weight).output().ok_or_else(|| {
        Error::shape(
            op,
            format!("the kernel of weight {weight:?} does not fit input {input:?} with {conv:?}"),
        )
    })
}

fn convolved(op: &'static str, conv: &Conv2dOp, inputs: &[Meta]) -> Result<Meta> {
    require_float(op, inputs[0].dtype)?;
    require_rank(op, "input", &inputs[0], 4)?;
    require_rank(op, "weight", &inputs[1], 4)?;
    let (x, w) = (&inputs[0].shape, &inputs[1].shape);
    let [oh, ow] = check_conv(op, conv, x, w)?;
    if let Some(bias) = inputs.get(2).filter(|bias| bias.shape[..] != [w[0]]) {
        return Err(Error::shape(op, format!("bias {:?}: [{}] expected", bias.shape, w[0])));
    }
    Ok(like(&inputs[0], Dims::from_slice(&[x[0], w[0], oh, ow])))
}

fn conv_input(
    op: &'static str,
    conv: &Conv2dOp,
    size: [usize; 2],
    inputs: &[Meta],
) -> Result<Meta> {
    require_float(op, inputs[0].dtype)?;
    require_rank(op, "output", &inputs[0], 4)?;
    require_rank(op, "weight", &inputs[1], 4)?;
    let (g, w) = (&inputs[0].shape, &inputs[1].shape);
    let channels =
        w[1].checked_mul(conv.groups).ok_or_else(|| Error::shape(op, "too many channels"))?;
    let x = [g[0], channels, size[0], size[1]];
    let out = check_conv(op, conv, &x, w)?;
    if g[1..] != [w[0], out[0], out[1]] {
        return Err(Error::shape(
            op,
            format!("output {g:?} does not belong to input {x:?} and weight {w:?}"),
        ));
    }
    Ok(like(&inputs[0], Dims::from_slice(&x)))
}

fn conv_weight(
    op: &'static str,
    conv: &Conv2dOp,
    size: [usize; 2],
    inputs: &[Meta],
) -> Result<Meta> {
    require_float(op, inputs[0].dtype)?;
    require_rank(op, "input", &inputs[0], 4)?;
    require_rank(op, "output", &inputs[1], 4)?;
    let (x, g) = (&inputs[0].shape, &inputs[1].shape);
    let per_group = x[1].checked_div(conv.groups).unwrap_or(0);
    let w = [g[1], per_group, size[0], size[1]];
    let out = check_conv(op, conv, x, &w)?;
    if g[0] != x[0] || g[2..] != out {
        return Err(Error::shape(
            op,
            format!("output {g:?} does not belong to input {x:?} and weight {w:?}"),
        ));
    }
    Ok(like(&inputs[0], Dims::from_slice(&w)))
}

fn with_plane(op: &'static str, meta: &Meta, size: [usize; 2]) -> Result<Dims> {
    require_rank(op, "operand", meta, 4)?;
    Ok(Dims::from_slice(&[meta.shape[0], meta.shape[1], size[0], size[1]]))
}

fn pooled(op: &'static str, pool: &Pool2dOp, input: &Meta) -> Result<Dims> {
    require_float(op, input.dtype)?;
    require_rank(op, "input", input, 4)?;
    let x = &input.shape;
    let taps = pool.kernel[0].checked_mul(pool.kernel[1]);
    let valid = taps.is_some_and(|taps| (1..=256).contains(&taps))
        && !pool.stride.contains(&0)
        && (0..2).all(|d| pool.padding[d] <= pool.kernel[d] / 2);
    if !valid {
        let message =
            format!("{pool:?}: 1 to 256 taps, stride at least 1, padding at most half the window");
        return Err(Error::argument(op, message));
    }
    let out = pool.shape(0, [x[2], x[3]]).output();
    let [oh, ow] = out.filter(|_| x[2] > 0 && x[3] > 0).ok_or_else(|| {
        Error::shape(op, format!("the window {:?} does not fit {x:?}", pool.kernel))
    })?;
    Ok(Dims::from_slice(&[x[0], x[1], oh, ow]))
}

fn check_taps(op: &'static str, inputs: &[Meta], out: &[usize], given: &[usize]) -> Result<()> {
    require_dtype(op, inputs[1].dtype, DType::U8)?;
    if inputs[1].shape[..] == *out && *given == *out {
        Ok(())
    } else {
        Err(Error::shape(
            op,
            format!("{:?} and taps {:?}: {out:?} expected", inputs[0].shape, inputs[1].shape),
        ))
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
    if let Op::Optimize(_) = op {
        require_float(name, inputs[0].dtype)?;
    }
    if let Op::Optimize(OptimizeOp::Adam(AdamStep { step: 0, .. })) = op {
        return Err(Error::argument(name, "steps count from 1"));
    }
    match inputs.iter().find(|input| input.shape != inputs[0].shape) {
        Some(other) => {
            Err(Error::shape(name, format!("{:?} and {:?} differ", inputs[0].shape, other.shape)))
        }
        None => Ok(Metas::new()),
    }
}
