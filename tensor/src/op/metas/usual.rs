//! The cases that nearly every operation of a training step is, told without copies and lists.

use super::Metas;
use crate::dtype::DType;
use crate::op::{Meta, Op, ReduceDims};
use crate::shape::Dims;
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::reduce::ReduceOp;

/// Puts the outputs of `op` into `metas`, in cases in which no check can fail; false: see [`output_metas`](super::output_metas).
pub(crate) fn usual(op: &Op, inputs: &[&Tensor], metas: &mut Metas) -> bool {
    let Some((first, rest)) = inputs.split_first() else { return false };
    if !first.dtype().is_float() || !rest.iter().all(|other| alike(first, other)) {
        return false;
    }
    match op {
        Op::Optimize(step) => {
            let same = rest.iter().all(|other| other.shape() == first.shape());
            return same && rest.len() == step.states() + 1 && step.step() != Some(0);
        }
        Op::LinearWeight => {
            let [x] = rest else { return false };
            let (&[rows, outputs], &[others, inputs]) = (first.shape(), x.shape()) else {
                return false;
            };
            return rows == others
                && fits([outputs, 1])
                && matrix(metas, first, outputs, inputs)
                && put(metas, first, &[outputs]);
        }
        _ => {}
    }
    one(op, first, rest, metas)
}

/// Puts the one output of an operation on floats of one type and device.
fn one(op: &Op, a: &Tensor, rest: &[&Tensor], metas: &mut Metas) -> bool {
    match (op, a.shape(), rest) {
        (Op::Unary(_), x, []) => put(metas, a, x),
        (Op::Binary(_), x, [b]) if x == b.shape() => put(metas, a, x),
        (Op::Binary(_), x, [b]) if b.rank() == 0 => put(metas, a, x),
        (Op::Binary(_), [], [b]) => put(metas, b, b.shape()),
        (Op::MseLossInput, x, [b, c]) if x == b.shape() && c.rank() == 0 => put(metas, a, x),
        (Op::MseLoss, x, [b]) if x == b.shape() => put(metas, a, &[]),
        (Op::Reduce(ReduceOp::Sum, ReduceDims { dims, keep: false }), x, []) => {
            match (x, &dims[..]) {
                (_, dims) if dims.iter().copied().eq(0..x.len()) => put(metas, a, &[]),
                // Beside a size 0 the other may be any.
                (&[_, n], [0]) => fits([n, 1]) && put(metas, a, &[n]),
                (&[m, _], [1]) => fits([m, 1]) && put(metas, a, &[m]),
                _ => false,
            }
        }
        (Op::Matmul, &[m, k], [b]) => match *b.shape() {
            [l, n] => k == l && matrix(metas, a, m, n),
            _ => false,
        },
        (Op::Linear(_), &[m, k], [w, bias @ ..]) => match (w.shape(), bias) {
            (&[n, l], []) => k == l && matrix(metas, a, m, n),
            (&[n, l], [b]) => k == l && *b.shape() == [n] && matrix(metas, a, m, n),
            _ => false,
        },
        _ => false,
    }
}

fn alike(a: &Tensor, b: &Tensor) -> bool {
    a.dtype() == b.dtype() && a.device() == b.device()
}

/// Puts one of a shape, filled where it stays: a whole one would be moved there by loads that wait for the stores which made it.
#[inline(always)]
fn put(metas: &mut Metas, like: &Tensor, shape: &[usize]) -> bool {
    metas.push(Meta { shape: Dims::new(), dtype: like.dtype(), device: like.device() });
    if let Some(meta) = metas.last_mut() {
        shape.iter().for_each(|&size| meta.shape.push(size));
    }
    true
}

/// Puts an `m` by `n` matrix like `like`, if memory can hold one.
fn matrix(metas: &mut Metas, like: &Tensor, m: usize, n: usize) -> bool {
    fits([m, n]) && put(metas, like, &[m, n])
}

/// True if memory can hold such a matrix of any type.
fn fits([m, n]: [usize; 2]) -> bool {
    let bytes = m.checked_mul(n).and_then(|len| len.checked_mul(DType::F64.size()));
    bytes.is_some_and(|bytes| bytes <= isize::MAX as usize)
}
