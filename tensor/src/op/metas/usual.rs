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

#[cfg(test)]
mod tests {
    use super::super::output_metas;
    use super::*;
    use crate::device::Device;
    use crate::op::{LinearActivation, OptimizeOp};
    use ferrotape_kernels::cpu::optimize::{AdamStep, SgdStep};
    use ferrotape_kernels::elementwise::{BinaryOp, UnaryOp};
    use std::collections::BTreeMap;

    /// What is told in short is what the long way says: for these operations and every list of up to three operands from small shapes, empty
    /// ones and huge ones.
    #[test]
    fn says_what_the_long_way_says() {
        const HUGE: usize = isize::MAX as usize / 2 + 1;
        let reduce = |op, dims: &[usize], keep| {
            Op::Reduce(op, ReduceDims { dims: Dims::from_slice(dims), keep })
        };
        let mut ops = vec![
            Op::Unary(UnaryOp::Neg),
            Op::Binary(BinaryOp::Add),
            Op::MseLoss,
            Op::MseLossInput,
            Op::Matmul,
            Op::Linear(LinearActivation::None),
            Op::LinearWeight,
        ];
        for momentum in [0.0, 0.9] {
            ops.push(Op::Optimize(OptimizeOp::Sgd(SgdStep {
                lr: 0.1,
                momentum,
                dampening: 0.0,
                weight_decay: 0.0,
                nesterov: false,
                first: true,
                maximize: false,
            })));
        }
        for dims in [&[][..], &[0], &[1], &[2], &[0, 1], &[1, 2], &[0, 1, 2]] {
            for op in [ReduceOp::Sum, ReduceOp::Max] {
                ops.extend([reduce(op, dims, false), reduce(op, dims, true)]);
            }
        }
        let shapes: [&[usize]; 15] = [
            &[],
            &[0],
            &[1],
            &[2],
            &[3],
            &[0, 0],
            &[0, 2],
            &[2, 0],
            &[2, 2],
            &[2, 3],
            &[3, 2],
            &[1, 3],
            &[0, HUGE],
            &[HUGE, 0],
            &[2, 3, 2],
        ];
        let mut tensors = Vec::new();
        for dtype in [DType::F32, DType::F64, DType::I64] {
            for shape in shapes {
                tensors.push(Tensor::zeros(shape, (dtype, Device::cpu())).unwrap());
            }
        }
        let mut told = BTreeMap::<_, usize>::new();
        for op in &ops {
            for count in 1..=3 {
                for list in 0..tensors.len().pow(count) {
                    let place = |i| list / tensors.len().pow(i) % tensors.len();
                    let inputs: Vec<&Tensor> = (0..count).map(|i| &tensors[place(i)]).collect();
                    let mut metas = Metas::new();
                    if !usual(op, &inputs, &mut metas) {
                        continue;
                    }
                    *told.entry(op.name()).or_default() += 1;
                    let given: Vec<Meta> = inputs.iter().map(|input| input.meta()).collect();
                    assert_eq!(Some(metas), output_metas(op, &given).ok(), "{op:?} {given:?}");
                }
            }
        }
        let names: Vec<_> = told.keys().copied().collect();
        let all = [
            "add",
            "linear",
            "linear_weight",
            "matmul",
            "mse_loss",
            "mse_loss_input",
            "neg",
            "sgd",
            "sum",
        ];
        assert_eq!(names, all, "{told:?}");
    }

    #[test]
    fn steps_count_from_one() {
        let tensors: Vec<Tensor> =
            (0..4).map(|_| Tensor::zeros([2, 3], (DType::F32, Device::cpu())).unwrap()).collect();
        let inputs: Vec<&Tensor> = tensors.iter().collect();
        let given: Vec<Meta> = inputs.iter().map(|input| input.meta()).collect();
        for step in [0, 1, 2] {
            let op = Op::Optimize(OptimizeOp::Adam(AdamStep {
                lr: 0.1,
                beta1: 0.9,
                beta2: 0.999,
                eps: 1e-8,
                weight_decay: 0.0,
                decoupled: false,
                step,
                amsgrad: false,
                maximize: false,
            }));
            let mut metas = Metas::new();
            assert_eq!(usual(&op, &inputs, &mut metas), step > 0);
            assert_eq!(output_metas(&op, &given).ok(), (step > 0).then_some(metas));
        }
    }
}
