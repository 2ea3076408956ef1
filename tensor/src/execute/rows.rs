//! Copies, selections, reductions, softmax and random numbers.

use ferrotape_kernels::buffer::Buffer;
use ferrotape_kernels::cpu::gather::ScatterOp;
use ferrotape_kernels::cpu::reduce::ReduceOp;
use ferrotape_kernels::cpu::softmax::{self, Rows};
use ferrotape_kernels::cpu::{copy, gather, map, random, reduce};
use ferrotape_kernels::strided::{View, ViewMut};
use ferrotape_kernels::{Float, Half, Number, Pod, bf16, f16};
use smallvec::SmallVec;

use super::{Dense, Input, Output, float_type, integer_type, sized_type, tensor, told, view};
use crate::dtype::DType;
use crate::error::{Error, ErrorKind, Result};
use crate::layout::{Layout, Strides};
use crate::op::{IndexOp, Op, RandomOp, ReduceDims};
use crate::tensor::Tensor;

pub(super) fn execute(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let dtype = out.meta.dtype;
    match op {
        Op::Copy => sized_type!(dtype, T => {
            let x = view::<T>(op, tensor(op, inputs, 0)?)?;
            told(op, copy::copy(x, out.buffer.as_mut_slice()))
        }),
        Op::Concat(dim) => sized_type!(dtype, T => concat::<T>(op, *dim, inputs, out)),
        Op::Index(index) => match index {
            IndexOp::Gather(_)
            | IndexOp::Select(_)
            | IndexOp::Unslice { .. }
            | IndexOp::Undiagonal { .. }
            | IndexOp::Scatter { how: ScatterOp::Last, .. } => {
                sized_type!(dtype, T => select::<T>(op, index, inputs, out))
            }
            IndexOp::ScatterAdd { dim, .. } if dtype == DType::I64 => {
                out.buffer.as_mut_slice::<i64>().fill(0);
                meet(op, None, *dim, [0, 1], inputs, out)
            }
            IndexOp::Scatter { dim, how } if dtype == DType::I64 => {
                let x = view::<i64>(op, tensor(op, inputs, 0)?)?;
                told(op, copy::copy(x, out.buffer.as_mut_slice()))?;
                meet(op, Some(*how), *dim, [2, 1], inputs, out)
            }
            IndexOp::ScatterAdd { .. }
            | IndexOp::Add { .. }
            | IndexOp::Fold { .. }
            | IndexOp::Scatter { .. } => {
                float_type!(op, dtype, T => accumulate::<T>(op, index, inputs, out))
            }
        },
        Op::Random(kind, at, asked) => float_type!(op, dtype, T => {
            draw(op, *kind, *at, asked.dtype, out.buffer.as_mut_slice::<T>())
        }),
        Op::Reduce(kind, dims) if !tensor(op, inputs, 0)?.dtype().is_float() => {
            reduce_integers(op, *kind, dims, tensor(op, inputs, 0)?, out)
        }
        Op::Reduce(kind, dims) => float_type!(op, dtype, T => {
            let x = tensor(op, inputs, 0)?;
            let reduced: SmallVec<[bool; 8]> = (0..x.rank()).map(|d| dims.dims.contains(&d)).collect();
            told(op, reduce::reduce(*kind, view::<T>(op, x)?, &reduced, out.buffer.as_mut_slice()))
        }),
        Op::ArgReduce(kind, dims) => {
            let x = tensor(op, inputs, 0)?;
            if !x.dtype().is_float() {
                return integer_type!(op, x.dtype(), T => {
                    let x = view::<T>(op, x)?;
                    told(op, reduce::arg_reduce_integers(*kind, x, dims.dims[0], out.buffer.as_mut_slice()))
                });
            }
            float_type!(op, x.dtype(), T => {
                let x = view::<T>(op, x)?;
                told(op, reduce::arg_reduce(*kind, x, dims.dims[0], out.buffer.as_mut_slice()))
            })
        }
        Op::Softmax { dim, log } => float_type!(op, dtype, T => {
            let x = tensor(op, inputs, 0)?;
            let shape = x.shape();
            let rows = Rows {
                outer: shape[..*dim].iter().product(),
                size: shape[*dim],
                inner: shape[*dim + 1..].iter().product(),
            };
            let x = Dense::<T>::new(op, x)?;
            told(op, softmax::softmax(rows, *log, x.slice(), out.buffer.as_mut_slice()))
        }),
        Op::CrossEntropy | Op::CrossEntropyInput => {
            float_type!(op, dtype, T => cross_entropy::<T>(op, inputs, out))
        }
        _ => Err(Error::argument(op.name(), "is not computed by rows")),
    }
}

/// Sums in i64; maxima and minima found there and cast back.
fn reduce_integers(
    op: &Op,
    kind: ReduceOp,
    dims: &ReduceDims,
    x: &Tensor,
    out: &mut Output<'_>,
) -> Result<()> {
    let reduced: SmallVec<[bool; 8]> = (0..x.rank()).map(|d| dims.dims.contains(&d)).collect();
    let run = |out: &mut [i64]| {
        integer_type!(op, x.dtype(), T => {
            told(op, reduce::reduce_integers(kind, view::<T>(op, x)?, &reduced, out))
        })
    };
    if out.meta.dtype == DType::I64 {
        return run(out.buffer.as_mut_slice());
    }
    let len = [crate::shape::len(&out.meta.shape)];
    let failed = |error| Error::from_kernel(op.name(), error);
    let mut wide = Buffer::new(len[0].saturating_mul(size_of::<i64>())).map_err(failed)?;
    run(wide.as_mut_slice())?;
    let wide = View::new(wide.as_slice::<i64>(), 0, &len, &[1]).map_err(failed)?;
    integer_type!(op, out.meta.dtype, T => {
        told(op, map::cast(wide, out.buffer.as_mut_slice::<T>()))
    })
}

fn concat<T: Pod>(op: &Op, dim: usize, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let whole = Layout::contiguous(out.meta.shape.clone());
    let mut place = 0;
    for i in 0..inputs.len() {
        let part = tensor(op, inputs, i)?;
        let offset = place * whole.strides()[dim].unsigned_abs();
        place += part.shape()[dim];
        let x = view::<T>(op, part)?;
        if !part.is_empty() {
            write_into(op, x, offset, whole.strides(), out.buffer.as_mut_slice())?;
        }
    }
    Ok(())
}

fn write_into<T: Pod>(
    op: &Op,
    x: View<'_, T>,
    offset: usize,
    strides: &[isize],
    out: &mut [T],
) -> Result<()> {
    let to = ViewMut::new(out, offset, x.shape(), strides);
    told(op, to.and_then(|to| copy::copy_into(x, to)))
}

fn select<T: Pod>(
    op: &Op,
    index: &IndexOp,
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    let x = tensor(op, inputs, 0)?;
    let values = view::<T>(op, x)?;
    let indices = |place| -> Result<View<'_, i64>> { view::<i64>(op, tensor(op, inputs, place)?) };
    match index {
        IndexOp::Gather(dim) => {
            told(op, gather::gather(values, *dim, indices(1)?, out.buffer.as_mut_slice()))
        }
        IndexOp::Select(dim) => {
            told(op, gather::index_select(values, *dim, indices(1)?, out.buffer.as_mut_slice()))
        }
        IndexOp::Unslice { dim, start, step, .. } => {
            let whole = Layout::contiguous(out.meta.shape.clone());
            let mut strides = Strides::from_slice(whole.strides());
            let offset = start.saturating_mul(strides[*dim].unsigned_abs());
            strides[*dim] = strides[*dim].saturating_mul(*step);
            let data = out.buffer.as_mut_slice::<T>();
            data.fill(T::default());
            if x.is_empty() { Ok(()) } else { write_into(op, values, offset, &strides, data) }
        }
        IndexOp::Undiagonal { diagonal, .. } => {
            let to = Layout::contiguous(out.meta.shape.clone()).diagonal(diagonal);
            let data = out.buffer.as_mut_slice::<T>();
            data.fill(T::default());
            if x.is_empty() {
                Ok(())
            } else {
                write_into(op, values, to.offset(), to.strides(), data)
            }
        }
        IndexOp::Scatter { dim, .. } => {
            let data = out.buffer.as_mut_slice::<T>();
            told(op, copy::copy(values, data))?;
            let source = view::<T>(op, tensor(op, inputs, 2)?)?;
            told(op, gather::scatter(source, *dim, indices(1)?, &out.meta.shape, data))
        }
        _ => Err(Error::argument(op.name(), "does not select")),
    }
}

/// Integers that meet others; `places`: of the source and of the index among the operands.
fn meet(
    op: &Op,
    how: Option<ScatterOp>,
    dim: usize,
    places: [usize; 2],
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    let [source, index] = places.map(|place| tensor(op, inputs, place));
    let (source, index) = (view(op, source?)?, view(op, index?)?);
    let data = out.buffer.as_mut_slice();
    told(op, gather::scatter_integers(how, source, dim, index, &out.meta.shape, data))
}

fn accumulate<T: Float>(
    op: &Op,
    index: &IndexOp,
    inputs: &[Input<'_>],
    out: &mut Output<'_>,
) -> Result<()> {
    let values = view::<T>(op, tensor(op, inputs, 0)?)?;
    let data = out.buffer.as_mut_slice::<T>();
    let shape = &out.meta.shape;
    if let IndexOp::Fold { dim, step, .. } = index {
        data.fill(T::ZERO);
        let to = Layout::contiguous(shape.clone());
        let taps = values.shape().last().map_or(1, |&taps| taps);
        let to = to.unfold(*dim, taps, *step);
        return told(op, gather::accumulate(values, to.strides(), data));
    }
    let indices = view::<i64>(op, tensor(op, inputs, 1)?)?;
    if let IndexOp::Scatter { dim, how } = index {
        told(op, copy::copy(values, data))?;
        let source = view::<T>(op, tensor(op, inputs, 2)?)?;
        return told(op, gather::scatter_reduce(*how, source, *dim, indices, shape, data));
    }
    data.fill(T::ZERO);
    told(
        op,
        match index {
            IndexOp::ScatterAdd { dim, .. } => {
                gather::scatter_add(values, *dim, indices, shape, data)
            }
            IndexOp::Add { dim, .. } => gather::index_add(values, *dim, indices, shape, data),
            _ => return Err(Error::argument(op.name(), "does not accumulate")),
        },
    )
}

/// Numbers of type `T`, or, for the 2-byte type `asked`, f32 numbers with the digits of that type.
fn draw<T: Float>(
    op: &Op,
    kind: RandomOp,
    at: random::Philox,
    asked: DType,
    out: &mut [T],
) -> Result<()> {
    match kind {
        RandomOp::Uniform { low, high } => {
            told(op, random::uniform(at, out))?;
            if let Some(digits) = uniform_digits(asked) {
                let (scale, back) = (T::from_f64(digits), T::from_f64(1.0 / digits));
                // Whole numbers below 2^11: i64 cuts the rest off, exactly.
                out.iter_mut().for_each(|x| *x = T::from_i64((*x * scale).to_i64()) * back);
            }
            let top = T::from_f64(below(asked, high));
            let (low, range) = (T::from_f64(low), T::from_f64(high - low));
            // Rounding must not reach `high`, which is not in the range.
            let top = if top < low { low } else { top };
            out.iter_mut().for_each(|x| {
                let y = x.mul_add(range, low);
                *x = if y > top { top } else { y };
            });
        }
        RandomOp::Normal { mean, std } => {
            told(op, random::normal(at, out))?;
            let (mean, std) = (T::from_f64(mean), T::from_f64(std));
            out.iter_mut().for_each(|x| *x = x.mul_add(std, mean));
        }
        RandomOp::Bernoulli { p, value } => {
            told(op, random::uniform(at, out))?;
            let (p, value) = (T::from_f64(p), T::from_f64(value));
            out.iter_mut().for_each(|x| *x = if *x < p { value } else { T::ZERO });
        }
    }
    Ok(())
}

/// The largest number of type `dtype` below `high`.
pub(super) fn below(dtype: DType, high: f64) -> f64 {
    fn found<T: Number>(high: f64, next: impl Fn(T) -> T) -> f64 {
        let top = T::from_f64(high);
        if top.to_f64() < high { top.to_f64() } else { next(top).to_f64() }
    }
    match dtype {
        DType::F16 => found(high, f16::next_below),
        DType::BF16 => found(high, bf16::next_below),
        DType::F32 => found(high, f32::next_down),
        _ => found(high, f64::next_down),
    }
}

/// `2^digits` for the digits of a uniform number of a 2-byte type.
pub(super) fn uniform_digits(dtype: DType) -> Option<f64> {
    let digits = match dtype {
        DType::F16 => f16::UNIFORM_BITS,
        DType::BF16 => bf16::UNIFORM_BITS,
        _ => return None,
    };
    Some(f64::from(1u32 << digits))
}

fn cross_entropy<T: Float>(op: &Op, inputs: &[Input<'_>], out: &mut Output<'_>) -> Result<()> {
    let logits = tensor(op, inputs, 0)?;
    let classes = logits.shape()[1];
    let targets: &Tensor = tensor(op, inputs, 1)?;
    let (x, t) = (Dense::<T>::new(op, logits)?, Dense::<i64>::new(op, targets)?);
    if let Op::CrossEntropy = op {
        let loss = out.buffer.as_mut_slice();
        return class(op, softmax::cross_entropy(classes, x.slice(), t.slice(), loss));
    }
    let weight = Dense::<T>::new(op, tensor(op, inputs, 2)?)?;
    let out = out.buffer.as_mut_slice();
    class(op, softmax::cross_entropy_grad(classes, x.slice(), t.slice(), weight.slice(), out))
}

/// The kernel's result; an index is a class here.
pub(super) fn class(op: &Op, result: ferrotape_kernels::Result<()>) -> Result<()> {
    match result {
        Err(ferrotape_kernels::Error::IndexOutOfRange { index, position, size }) => {
            let op = op.name();
            Err(Error::plain(ErrorKind::Class { op, row: position, class: index, classes: size }))
        }
        other => told(op, other),
    }
}
