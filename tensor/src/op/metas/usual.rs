//! The cases that nearly every operation of a training step is, told without copies and lists.

use super::Metas;
use crate::dtype::DType;
use crate::op::{Meta, Op};
use crate::shape::Dims;
use crate::tensor::Tensor;

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
            let Some(weight) = matrix(first, outputs, inputs).filter(|_| rows == others) else {
                return false;
            };
            metas.push(weight);
            metas.push(sized(first, &[outputs]));
            return true;
        }
        _ => {}
    }
    one(op, first, rest).map(|meta| metas.push(meta)).is_some()
}

/// The one output of an operation on floats of one type and device.
fn one(op: &Op, a: &Tensor, rest: &[&Tensor]) -> Option<Meta> {
    match (op, a.shape(), rest) {
        (Op::Unary(_), _, []) => Some(a.meta()),
        (Op::Binary(_), x, [b]) if x == b.shape() => Some(a.meta()),
        (Op::Binary(_), _, [b]) if b.rank() == 0 => Some(a.meta()),
        (Op::Binary(_), [], [b]) => Some(b.meta()),
        (Op::MseLossInput, x, [b, c]) if x == b.shape() && c.rank() == 0 => Some(a.meta()),
        (Op::MseLoss, x, [b]) if x == b.shape() => Some(sized(a, &[])),
        (Op::Matmul, &[m, k], [b]) => match *b.shape() {
            [l, n] if k == l => matrix(a, m, n),
            _ => None,
        },
        (Op::Linear(_), &[m, k], [w, bias @ ..]) => match (w.shape(), bias) {
            (&[n, l], []) if k == l => matrix(a, m, n),
            (&[n, l], [b]) if k == l && *b.shape() == [n] => matrix(a, m, n),
            _ => None,
        },
        _ => None,
    }
}

fn alike(a: &Tensor, b: &Tensor) -> bool {
    a.dtype() == b.dtype() && a.device() == b.device()
}

fn sized(like: &Tensor, shape: &[usize]) -> Meta {
    Meta { shape: Dims::from_slice(shape), dtype: like.dtype(), device: like.device() }
}

/// An `m` by `n` matrix like `like`, if memory can hold one.
fn matrix(like: &Tensor, m: usize, n: usize) -> Option<Meta> {
    let bytes = m.checked_mul(n)?.checked_mul(DType::F64.size())?;
    (bytes <= isize::MAX as usize).then(|| sized(like, &[m, n]))
}
