//! Convolution and pooling.

use super::{like, require_dtype, require_float, require_rank};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Conv2dOp, Meta, Op, Pool2dOp, WindowsOp};
use crate::shape::Dims;
use ferrotape_kernels::cpu::pool::Divisor;
use smallvec::smallvec;

use super::Metas;

pub(super) fn output(op: &Op, inputs: &[Meta]) -> Result<Meta> {
    let name = op.name();
    Ok(match op {
        Op::Conv2d(conv, _) => convolved(name, conv, inputs)?,
        Op::Conv2dInput(conv, size) => conv_input(name, conv, *size, inputs)?,
        Op::Conv2dWeight(conv, size) => conv_weight(name, conv, *size, inputs)?,
        Op::Conv2dMaxPool2dInput(conv, pool, size) => {
            pooled_input(name, (conv, pool), *size, inputs)?
        }
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
        Op::MaxPool2dIndex(windows) => {
            let shape = windowed(name, windows, &inputs[0])?;
            Meta { dtype: DType::I64, ..like(&inputs[0], shape) }
        }
        Op::AvgPool2d(windows, divisor) => {
            like(&inputs[0], averaged(name, windows, *divisor, &inputs[0])?)
        }
        Op::AvgPool2dInput(windows, divisor, size) => {
            let input = like(&inputs[0], with_plane(name, &inputs[0], *size)?);
            let out = averaged(name, windows, *divisor, &input)?;
            if inputs[0].shape != out {
                let message = format!(
                    "output {:?} does not belong to input {:?}: {out:?} expected",
                    inputs[0].shape, input.shape
                );
                return Err(Error::shape(name, message));
            }
            input
        }
        _ => return Err(Error::argument(name, "is neither convolution nor pooling")),
    })
}

pub(super) fn check_conv(
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

/// A convolution's output, pooled, and the taps.
pub(super) fn convolved_and_pooled(
    op: &'static str,
    conv: &Conv2dOp,
    pool: &Pool2dOp,
    inputs: &[Meta],
) -> Result<Metas> {
    let map = convolved(op, conv, inputs)?;
    let y = like(&map, pooled(op, pool, &map)?);
    let taps = Meta { dtype: DType::U8, ..y.clone() };
    Ok(smallvec![y, taps])
}

/// The convolution's output before the pool whose output `g` and `taps` belong to.
fn map_of(
    op: &'static str,
    (conv, pool): (&Conv2dOp, &Pool2dOp),
    [x, w]: [&[usize]; 2],
    [g, taps]: [&Meta; 2],
) -> Result<Meta> {
    let [oh, ow] = check_conv(op, conv, x, w)?;
    let map = like(g, Dims::from_slice(&[x[0], w[0], oh, ow]));
    let out = pooled(op, pool, &map)?;
    check_taps(op, &[g.clone(), taps.clone()], &out, &g.shape)?;
    Ok(map)
}

fn pooled_input(
    op: &'static str,
    settings: (&Conv2dOp, &Pool2dOp),
    size: [usize; 2],
    inputs: &[Meta],
) -> Result<Meta> {
    require_float(op, inputs[0].dtype)?;
    require_rank(op, "output", &inputs[0], 4)?;
    require_rank(op, "weight", &inputs[1], 4)?;
    let (g, w) = (&inputs[0].shape, &inputs[1].shape);
    let channels = w[1].checked_mul(settings.0.groups);
    let channels = channels.ok_or_else(|| Error::shape(op, "too many channels"))?;
    let x = [g[0], channels, size[0], size[1]];
    map_of(op, settings, [&x, w], [&inputs[0], &inputs[2]])?;
    Ok(like(&inputs[0], Dims::from_slice(&x)))
}

/// The weight, and the bias.
pub(super) fn pooled_weight(
    op: &'static str,
    settings: (&Conv2dOp, &Pool2dOp),
    size: [usize; 2],
    inputs: &[Meta],
) -> Result<Metas> {
    require_float(op, inputs[0].dtype)?;
    require_rank(op, "input", &inputs[0], 4)?;
    require_rank(op, "output", &inputs[1], 4)?;
    let (x, g) = (&inputs[0].shape, &inputs[1].shape);
    let per_group = x[1].checked_div(settings.0.groups).unwrap_or(0);
    let w = [g[1], per_group, size[0], size[1]];
    map_of(op, settings, [x, &w], [&inputs[1], &inputs[2]])?;
    let shaped = |shape: &[usize]| like(&inputs[0], Dims::from_slice(shape));
    Ok(smallvec![shaped(&w), shaped(&w[..1])])
}

fn with_plane(op: &'static str, meta: &Meta, size: [usize; 2]) -> Result<Dims> {
    require_rank(op, "operand", meta, 4)?;
    Ok(Dims::from_slice(&[meta.shape[0], meta.shape[1], size[0], size[1]]))
}

pub(in crate::op) fn pooled(op: &'static str, pool: &Pool2dOp, input: &Meta) -> Result<Dims> {
    let taps = pool.kernel[0].checked_mul(pool.kernel[1]);
    if taps.is_none_or(|taps| taps > 256) || pool.dilation != [1, 1] {
        let message = format!("{pool:?}: at most 256 taps, not dilated; or max_pool2d_index");
        return Err(Error::argument(op, message));
    }
    windowed(op, &WindowsOp::Sliding(*pool), input)
}

/// The output's shape; every window holds an element.
fn windowed(op: &'static str, windows: &WindowsOp, input: &Meta) -> Result<Dims> {
    require_float(op, input.dtype)?;
    require_rank(op, "input", input, 4)?;
    let x = &input.shape;
    let sizes = windows.windows(0, [x[2], x[3]]);
    let output = sizes.check().map(|()| sizes.output());
    match output {
        Ok(Some([oh, ow])) => Ok(Dims::from_slice(&[x[0], x[1], oh, ow])),
        Ok(None) => Err(Error::shape(op, format!("{windows:?} does not fit {x:?}"))),
        Err(ferrotape_kernels::Error::Contract(what)) => {
            Err(Error::shape(op, format!("input {x:?}, {windows:?}: {what}")))
        }
        Err(other) => Err(Error::from_kernel(op, other)),
    }
}

fn averaged(op: &'static str, windows: &WindowsOp, divisor: Divisor, input: &Meta) -> Result<Dims> {
    let dilated = matches!(windows, WindowsOp::Sliding(pool) if pool.dilation != [1, 1]);
    if dilated || divisor == Divisor::By(0) {
        return Err(Error::argument(op, "no dilation, and a divisor that is not 0"));
    }
    windowed(op, windows, input)
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
