//! One operation where an expression of several would do has the expression's bits.

use ferrotape::prelude::*;
use ferrotape::{LinearActivation, Op, apply};

use crate::cnn::bits;

fn drawn(shape: &[usize], dtype: DType, seed: u64) -> Tensor {
    Generator::new(seed).normal(shape, 0.0, 1.0, dtype).unwrap()
}

const SHAPES: [&[usize]; 6] = [&[], &[1], &[4, 1], &[3, 1000], &[70_001], &[2, 3, 5, 7]];

#[test]
fn mse_loss() {
    for dtype in [DType::F32, DType::F64] {
        for shape in SHAPES {
            let (x, y) = (drawn(shape, dtype, 1), drawn(shape, dtype, 2));
            let gradients = |loss: fn(&Tensor, &Tensor) -> Result<Tensor>| {
                let (z, tape) = Tape::record(|tape| {
                    tape.watch(&x);
                    tape.watch(&y);
                    loss(&x, &y).mul(0.3)
                })
                .unwrap();
                let found = tape.gradient(&z, &[&x, &y]).unwrap();
                [bits(&z), bits(&found[0]), bits(&found[1])]
            };
            let fused = gradients(|x, y| x.mse_loss(y));
            let expression = gradients(|x, y| x.sub(y).square().mean(..));
            assert_eq!(fused, expression, "{dtype} {shape:?}");
        }
    }
}

#[test]
fn mse_loss_of_what_is_not_dense() {
    let x = drawn(&[6, 4], DType::F32, 3);
    let y = drawn(&[4, 6], DType::F32, 4);
    let fused = x.mse_loss(y.t()).unwrap();
    assert_eq!(bits(&fused), bits(&x.sub(y.t()).square().mean(..).unwrap()));
    let nothing = Tensor::zeros([0, 2], DType::F32).unwrap();
    assert!(nothing.mse_loss(&nothing).unwrap().item::<f32>().unwrap().is_nan());
    let error = x.mse_loss(&y).unwrap_err().to_string();
    assert!(error.starts_with("mse_loss: prediction [6, 4] and target [4, 6] differ"), "{error}");
}

#[test]
fn weight_and_bias_of_a_linear_layer() {
    for dtype in [DType::F32, DType::F64, DType::F16] {
        for [rows, inputs, outputs] in [[4, 2, 1], [64, 784, 128], [1, 3, 5], [300, 7, 33]] {
            let (g, x) = (drawn(&[rows, outputs], dtype, 5), drawn(&[rows, inputs], dtype, 6));
            let both = apply(&Op::LinearWeight, &mut [(&g).into(), (&x).into()]).unwrap();
            let case = format!("{dtype} {rows} {inputs} {outputs}");
            assert_eq!(bits(&both[0]), bits(&g.t().matmul(&x).unwrap()), "{case}: weight");
            assert_eq!(bits(&both[1]), bits(&g.sum(0).unwrap()), "{case}: bias");
        }
    }
}

#[test]
fn linear_with_its_activation() {
    use LinearActivation::{None, Relu, Sigmoid, Tanh};
    type Then = fn(Result<Tensor>) -> Result<Tensor>;
    let all: [(_, Then); 4] =
        [(None, |y| y), (Relu, |y| y.relu()), (Sigmoid, |y| y.sigmoid()), (Tanh, |y| y.tanh())];
    for dtype in [DType::F32, DType::F64, DType::F16] {
        for shape in [&[4, 2][..], &[64, 784], &[2, 3, 7], &[5], &[0, 3]] {
            let inputs = shape[shape.len() - 1];
            let x = drawn(shape, dtype, 7);
            let (w, b) = (drawn(&[33, inputs], dtype, 8), drawn(&[33], dtype, 9));
            let gradients = |layer: &dyn Fn() -> Result<Tensor>| {
                let (loss, tape) = Tape::record(|tape| {
                    [&x, &w, &b].iter().for_each(|leaf| tape.watch(leaf));
                    layer().square().sum(..)
                })
                .unwrap();
                let found = tape.gradient(&loss, &[&x, &w, &b]).unwrap();
                [bits(&loss), bits(&found[0]), bits(&found[1]), bits(&found[2])]
            };
            for (activation, then) in all {
                let fused = gradients(&|| x.linear_with(&w, Some(&b), activation));
                let apart = gradients(&|| then(x.linear(&w, Some(&b))));
                assert_eq!(fused, apart, "{dtype} {shape:?} {activation:?}");
                let fused = x.linear_with(&w, Option::None, activation).unwrap();
                assert_eq!(bits(&fused), bits(&then(x.linear(&w, Option::None)).unwrap()));
            }
        }
    }
}
