//! Cases of expressions, custom functions and checkpoints; casts; the places where functions have kinks.

use ferrotape::autograd::{Function, GradCheck, checkpoint, custom};
use ferrotape::prelude::*;
use ferrotape::{BinaryOp, Meta, Op};

use super::{Cases, family, one};

pub(super) fn cases(cases: &mut Cases) {
    type Function = fn(&Tensor) -> Result<Tensor>;
    let functions: [(&str, Function); 13] = [
        ("silu", |x| x.silu()),
        ("softplus", |x| x.softplus()),
        ("leaky_relu", |x| x.leaky_relu(0.1)),
        ("clamp", |x| x.clamp(-0.5, 1.5)),
        ("mean", |x| x.mean(0)?.square()),
        ("mean_keep", |x| x.mean_keep([0, -1])?.square()),
        ("mean of all", |x| x.mean(..)?.square()),
        ("var", |x| x.var(1, 1.0)),
        ("var of all", |x| x.var(.., 0.0)),
        ("var_keep", |x| x.var_keep(0, 1.0)?.square()),
        ("standardised", |x| x.sub(x.mean_keep(1)).div(x.var_keep(1, 0.0)?.add(1e-5)?.sqrt())),
        ("two paths", |x| x.sin()?.mul(x.sin()?.exp())?.sub(x)),
        ("a deep chain", |x| (0..30).try_fold(x.clone(), |y, _| y.sin()?.add(&y)?.mul(0.6))),
    ];
    for (name, function) in functions {
        let x = cases.signed(&[3, 4]);
        cases.add(name, vec![x], move |x| function(&x[0]));
        let x = cases.signed(&[4, 3]);
        cases.add(format!("{name} of a transposed"), vec![x], move |x| function(&x[0].t()?));
    }
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[3])];
    cases.add("custom", inputs, |x| custom(Blend, &[&x[0], &x[1]]));
    let x = cases.any(&[3]);
    cases.add("custom, one value twice", vec![x], |x| custom(Blend, &[&x[0], &x[0]])?.square());
    checkpoints(cases);
}

fn checkpoints(cases: &mut Cases) {
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[4, 3])];
    cases.add("checkpoint", inputs, |x| {
        checkpoint(&[&x[0], &x[1]], |x| x[0].linear(&x[1], None)?.tanh())?.square()
    });
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[3])];
    cases.add("checkpoint that captures", inputs, |x| {
        let weight = x[1].clone();
        let inner = move |x: &[Tensor]| x[0].mul(&weight)?.sin();
        checkpoint(&[&x[0]], inner)?.mul(&x[1])
    });
    let inputs = vec![cases.any(&[3]), cases.any(&[3])];
    cases.add("checkpoint in a checkpoint", inputs, |x| {
        let weight = x[1].clone();
        let outer = move |x: &[Tensor]| {
            let weight = weight.clone();
            let inner = move |x: &[Tensor]| x[0].mul(&weight)?.tanh();
            checkpoint(&[&x[0].exp()?], inner)?.mul(&x[0])
        };
        checkpoint(&[&x[0].square()?], outer)
    });
}

/// `tanh(a b)`, with a derivative of its own.
struct Blend;

impl Function for Blend {
    fn name(&self) -> &'static str {
        "blend"
    }
    fn output_metas(&self, inputs: &[Meta]) -> Result<Vec<Meta>> {
        Ok(vec![inputs[0].clone()])
    }
    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].mul(inputs[1])?.tanh()?])
    }
    fn backward(
        &self,
        inputs: &[&Tensor],
        outputs: &[&Tensor],
        gradients: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let g = gradients[0].as_ref().unwrap().tanh_grad(outputs[0])?;
        let [a, b] = [g.mul(inputs[1])?, g.mul(inputs[0])?.sum_to(inputs[1].shape())?];
        Ok(vec![Some(a), Some(b)])
    }
}

/// `x^2` whose derivative is wrong from order `.0` on; 0: right.
struct Wrong(usize);

impl Function for Wrong {
    fn name(&self) -> &'static str {
        "wrong"
    }
    fn output_metas(&self, inputs: &[Meta]) -> Result<Vec<Meta>> {
        Ok(inputs.to_vec())
    }
    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(vec![inputs[0].square()?])
    }
    fn backward(
        &self,
        inputs: &[&Tensor],
        _: &[&Tensor],
        gradients: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>> {
        let slope = match self.0 {
            0 => inputs[0].mul(2.0)?,
            1 => inputs[0].mul(2.1)?,
            _ => inputs[0].detach()?.mul(2.0)?,
        };
        Ok(vec![Some(gradients[0].as_ref().unwrap().mul(&slope)?)])
    }
}

pub(super) fn wrong(x: &Tensor, order: usize) -> Result<Tensor> {
    custom(Wrong(order), &[x])
}

/// Through f32, whose rounding the default steps don't survive.
pub(super) fn casts(cases: &mut Cases) {
    let x = cases.any(&[2, 3]);
    cases.add("cast to f32 and back", vec![x], |x| {
        x[0].to_dtype(DType::F32)?.square()?.to_dtype(DType::F64)
    });
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[3])];
    cases.add("promotion", inputs, |x| x[0].to_dtype(DType::F32)?.mul(&x[1])?.square());
}

/// Through the 2-byte floats, whose rounding only wide steps survive: of a line and a parabola those are exact.
pub(super) fn short_casts(cases: &mut Cases) {
    for dtype in [DType::F16, DType::BF16] {
        let inputs = vec![cases.any(&[2, 3])];
        cases.add("cast to a 2-byte float and back", inputs, move |x| {
            x[0].to_dtype(dtype)?.square()?.to_dtype(DType::F64)
        });
    }
}

#[test]
fn casts_to_another_precision() {
    let settings = GradCheck { eps: 1e-2, atol: 1e-3, rtol: 1e-3, ..GradCheck::default() };
    family(casts).cases.iter().for_each(|case| case.check(&settings));
    let settings = GradCheck { eps: 0.5, atol: 3e-2, rtol: 1e-2, ..GradCheck::default() };
    family(short_casts).cases.iter().for_each(|case| case.check(&settings));
}

/// Gradient and second derivative along the gradient, of the sum of `f`.
pub(super) fn derivatives(x: &Tensor, f: impl Fn(&Tensor) -> Result<Tensor>) -> [Vec<f64>; 2] {
    let (first, outer) = Tape::record(|tape| {
        tape.watch(x);
        let (y, inner) = Tape::record(|tape| {
            tape.watch(x);
            f(x)?.sum(..)
        })?;
        Ok(inner.gradient(&y, &[x])?.swap_remove(0))
    })
    .unwrap();
    let seed = first.ones_like().unwrap();
    let second = outer.vector_jacobian_product(&[(&first, seed)], &[x]).unwrap().swap_remove(0);
    let second = second.map_or(vec![0.0; x.len()], |second| second.to_vec().unwrap());
    [first.to_vec().unwrap(), second]
}

/// What PyTorch says where functions have kinks or ties.
#[test]
fn kinks() {
    let zero = Tensor::from([0.0, -0.0]);
    assert_eq!(derivatives(&zero, |x| x.relu())[0], [0.0, 0.0]);
    assert_eq!(derivatives(&zero, |x| x.abs()), [[0.0, 0.0], [0.0, 0.0]]);
    assert_eq!(derivatives(&zero, |x| x.pow(2.0)), [[0.0, 0.0], [2.0, 2.0]]);
    assert_eq!(derivatives(&zero, |x| x.pow(0.0)), [[0.0, 0.0], [0.0, 0.0]]);
    assert_eq!(derivatives(&zero, |x| x.pow(3.0)), [[0.0, 0.0], [0.0, 0.0]]);
    assert_eq!(derivatives(&zero, |x| Tensor::from([0.0]).pow(x.add(1.0)?))[0], [0.0, 0.0]);
    assert_eq!(derivatives(&zero, |x| x.softplus()), [[0.5, 0.5], [0.25, 0.25]]);
    let even = Tensor::from([0.5, 0.5]);
    assert_eq!(derivatives(&zero, |x| x.bce_with_logits(&even)), [[0.0, 0.0], [0.125, 0.125]]);
    assert_eq!(derivatives(&zero, |x| x.leaky_relu(0.25))[0], [0.25, 0.25]);
    let bounds = Tensor::from([-1.0, 0.0, 2.0, 2.5]);
    assert_eq!(derivatives(&bounds, |x| x.clamp(-1.0, 2.0))[0], [0.0, 1.0, 0.0, 0.0]);
    assert_eq!(derivatives(&Tensor::from([-2.0]), |x| x.pow(2.0)), [[-4.0], [2.0]]);

    let tied = Tensor::from([3.0, 1.0, 3.0]);
    assert_eq!(derivatives(&tied, |x| x.max(0))[0], [0.5, 0.0, 0.5]);
    assert_eq!(derivatives(&tied, |x| x.neg()?.min(0))[0], [-0.5, 0.0, -0.5]);
    for op in [BinaryOp::Maximum, BinaryOp::Minimum] {
        let same = Tensor::from([3.0, 0.0, 3.0]);
        let found = derivatives(&tied, |x| one(&Op::Binary(op), &[x, &same]));
        assert_eq!(found[0], [0.5, f64::from(op == BinaryOp::Maximum), 0.5]);
    }
    // The first of equal taps wins the window.
    let image = Tensor::from([[[[1.0, 5.0], [5.0, 5.0]]]]);
    let found = derivatives(&image, |x| x.max_pool2d(Pool2dOp::new([2, 2])));
    assert_eq!(found[0], [0.0, 1.0, 0.0, 0.0]);
    for op in [Tensor::floor, Tensor::ceil, Tensor::round, Tensor::sign] {
        assert_eq!(derivatives(&tied, op)[0], [0.0, 0.0, 0.0]);
    }
}

/// Large and small numbers: a derivative must not be NaN where the function is fine.
#[test]
fn far_ends() {
    let far = Tensor::from([-1000.0, 1000.0]);
    assert_eq!(derivatives(&far, |x| x.sigmoid()), [[0.0, 0.0], [0.0, 0.0]]);
    assert_eq!(derivatives(&far, |x| x.tanh()), [[0.0, 0.0], [0.0, 0.0]]);
    assert_eq!(derivatives(&far, |x| x.softplus())[0], [0.0, 1.0]);
    assert_eq!(derivatives(&far, |x| x.silu())[0], [0.0, 1.0]);
    assert_eq!(derivatives(&far, |x| x.gelu()), [[0.0, 1.0], [0.0, 0.0]]);
    assert_eq!(derivatives(&far, |x| x.erf())[0], [0.0, 0.0]);
    let rows = Tensor::from([[-1000.0, 1000.0]]);
    assert_eq!(derivatives(&rows, |x| x.logsumexp(1))[0], [0.0, 1.0]);
    assert_eq!(derivatives(&rows, |x| x.cross_entropy(&Tensor::from([1i64])))[0], [0.0, 0.0]);
    assert_eq!(derivatives(&rows, |x| x.cross_entropy(&Tensor::from([0i64])))[0], [-1.0, 1.0]);
    let target = Tensor::from([0.0, 1.0]);
    assert_eq!(derivatives(&far, |x| x.bce_with_logits(&target))[0], [0.0, 0.0]);
}
