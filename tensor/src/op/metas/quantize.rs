//! Quantization, products and convolutions of codes.

use super::images::check_conv;
use super::{like, matmul, require_rank};
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Meta, Op};
use crate::shape::{self, Dims};

/// Bounds that are further apart are no codes: the kernels' steps between them are exact in f32.
const WIDEST: i64 = 65_535;

pub(super) fn output(op: &Op, inputs: &[Meta]) -> Result<Meta> {
    let (name, x) = (op.name(), &inputs[0]);
    Ok(match op {
        Op::Quantize(settings) => {
            require_single(name, x.dtype)?;
            require_codes(name, settings.dtype)?;
            check_parameters(name, settings.axis, inputs)?;
            require_single(name, inputs[1].dtype)?;
            Meta { dtype: settings.dtype, ..x.clone() }
        }
        Op::Dequantize { axis } => {
            require_codes(name, x.dtype)?;
            check_parameters(name, *axis, inputs)?;
            Meta { dtype: inputs[1].dtype, ..x.clone() }
        }
        Op::FakeQuantize(settings) => {
            let (low, high) = (settings.low, settings.high);
            if !(0..=WIDEST).contains(&(i64::from(high) - i64::from(low))) {
                let message = format!("codes from {low} to {high}: at most {WIDEST} steps up");
                return Err(Error::argument(name, message));
            }
            check_parameters(name, settings.axis, inputs)?;
            let scale = inputs[1].dtype;
            match x.dtype {
                DType::F64 if scale == DType::F64 => {}
                DType::F64 => {
                    return Err(Error::dtype(name, format!("x of f64, scale of {scale}")));
                }
                other => require_single(name, other).and_then(|()| require_single(name, scale))?,
            }
            x.clone()
        }
        Op::MatmulInteger => {
            let [a, b] = [&inputs[0], &inputs[1]];
            require_codes(name, a.dtype)?;
            require_codes(name, b.dtype)?;
            let shape = matmul(name, a, b)?.shape;
            let lead = shape.len() - 2;
            for (zero, what, dim) in [(2, "rows", lead), (3, "columns", lead + 1)] {
                let Some(zero) = inputs.get(zero) else { continue };
                require_integer(name, zero.dtype)?;
                let mut one_each = Dims::from_slice(&shape[..lead]);
                one_each.extend([1, 1]);
                one_each[dim] = shape[dim];
                // The zero points must not make the result larger.
                let fits = shape::broadcast(name, &zero.shape, &one_each);
                if !fits.is_ok_and(|fitting| fitting == one_each) {
                    let message = format!(
                        "zero points of shape {:?} for {what}: one, or {one_each:?}, expected",
                        zero.shape
                    );
                    return Err(Error::shape(name, message));
                }
            }
            Meta { dtype: DType::I32, ..like(a, shape) }
        }
        Op::ConvInteger(conv) => {
            require_codes(name, x.dtype)?;
            require_codes(name, inputs[1].dtype)?;
            require_rank(name, "input", x, 4)?;
            require_rank(name, "weight", &inputs[1], 4)?;
            let w = &inputs[1].shape;
            let [oh, ow] = check_conv(name, conv, &x.shape, w)?;
            for (zero, channels) in [(2, None), (3, Some(w[0]))] {
                let Some(zero) = inputs.get(zero) else { continue };
                require_integer(name, zero.dtype)?;
                one_or_each(name, "zero point", &zero.shape, channels)?;
            }
            Meta { dtype: DType::I32, ..like(x, Dims::from_slice(&[x.shape[0], w[0], oh, ow])) }
        }
        _ => return Err(Error::argument(name, "has nothing to do with codes")),
    })
}

/// A scale and a zero point: one of all, or one for each place of a dim.
fn check_parameters(op: &'static str, axis: Option<usize>, inputs: &[Meta]) -> Result<()> {
    let shape = &inputs[0].shape;
    let channels = match axis {
        Some(axis) => {
            shape::check_dim(op, axis, shape.len())?;
            Some(shape[axis])
        }
        None => None,
    };
    if !inputs[1].dtype.is_float() {
        return Err(Error::dtype(op, format!("a scale of {}: a float expected", inputs[1].dtype)));
    }
    require_integer(op, inputs[2].dtype)?;
    one_or_each(op, "scale", &inputs[1].shape, channels)?;
    one_or_each(op, "zero point", &inputs[2].shape, channels)
}

fn one_or_each(op: &'static str, what: &str, shape: &[usize], each: Option<usize>) -> Result<()> {
    let fits = shape.is_empty() || each.is_some_and(|channels| *shape == [channels]);
    match (fits, each) {
        (true, _) => Ok(()),
        (false, None) => Err(Error::shape(op, format!("{what} of shape {shape:?}: [] expected"))),
        (false, Some(channels)) => {
            let message = format!("{what} of shape {shape:?}: [] or [{channels}] expected");
            Err(Error::shape(op, message))
        }
    }
}

fn require_codes(op: &'static str, dtype: DType) -> Result<()> {
    match dtype {
        DType::I8 | DType::U8 => Ok(()),
        other => Err(Error::dtype(op, format!("codes of {other}: i8 or u8 expected"))),
    }
}

fn require_integer(op: &'static str, dtype: DType) -> Result<()> {
    match dtype.is_integer() {
        true => Ok(()),
        false => Err(Error::dtype(op, format!("a zero point of {dtype}: an integer expected"))),
    }
}

/// f32, or what is widened to it.
fn require_single(op: &'static str, dtype: DType) -> Result<()> {
    if dtype == DType::F32 || dtype.is_half() {
        return Ok(());
    }
    Err(Error::dtype(op, format!("not defined for {dtype}: cast to f32 first")))
}
