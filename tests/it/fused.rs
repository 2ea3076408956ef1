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
        // From 16384 gradients on, one or two inputs are taken in one pass.
        let few = [
            [1584, 1, 128],
            [300, 2, 67],
            [16_500, 2, 1],
            [9000, 1, 2],
            [1, 1, 17_000],
            [257, 2, 2100],
        ];
        let usual = [[4, 2, 1], [64, 784, 128], [1, 3, 5], [300, 7, 33], [300, 3, 67]];
        for [rows, inputs, outputs] in few.into_iter().chain(usual) {
            let (g, x) = (drawn(&[rows, outputs], dtype, 5), drawn(&[rows, inputs], dtype, 6));
            let both = apply(&Op::LinearWeight, &mut [(&g).into(), (&x).into()]).unwrap();
            let case = format!("{dtype} {rows} {inputs} {outputs}");
            assert_eq!(bits(&both[0]), bits(&g.t().matmul(&x).unwrap()), "{case}: weight");
            assert_eq!(bits(&both[1]), bits(&g.sum(0).unwrap()), "{case}: bias");
        }
    }
}

/// Images, a weight and a bias; some elements of the images are `spoilt`.
fn images(x: &[usize], w: &[usize], dtype: DType, spoilt: Option<f64>) -> [Tensor; 3] {
    let (mut x, w, bias) = (drawn(x, dtype, 7), drawn(w, dtype, 8), drawn(&w[..1], dtype, 9));
    if let Some(bad) = spoilt {
        let some = drawn(x.shape(), dtype, 10).gt(2.5).unwrap();
        x = some.select(x.full_like(bad).unwrap(), &x).unwrap();
    }
    [x, w, bias]
}

#[test]
fn convolution_and_max_pool() {
    let plain = Conv2dOp::default;
    let pool = |size| Pool2dOp::new([size, size]);
    let all: [(Conv2dOp, Pool2dOp, [usize; 4], [usize; 4]); 9] = [
        (plain().padding([1, 1]), pool(2), [5, 1, 28, 28], [32, 1, 3, 3]),
        (plain().padding([1, 1]), pool(2), [12, 32, 14, 14], [20, 32, 3, 3]),
        (plain().padding([1, 1]), pool(2), [3, 17, 9, 7], [5, 17, 3, 3]),
        (
            plain().padding([2, 0]).stride([2, 1]),
            pool(3).stride([2, 2]),
            [2, 16, 9, 12],
            [3, 16, 3, 3],
        ),
        (plain().dilation([2, 1]), pool(3).padding([1, 1]), [2, 20, 14, 9], [4, 20, 3, 3]),
        (plain(), pool(2).ceil_mode(true), [2, 3, 9, 12], [3, 3, 5, 5]),
        (plain().padding([1, 1]), pool(3).stride([1, 1]), [2, 16, 6, 6], [4, 16, 3, 3]),
        (plain().groups(2).padding([1, 1]), pool(2), [2, 4, 6, 6], [4, 2, 3, 3]),
        (plain(), pool(2), [0, 3, 6, 6], [2, 3, 3, 3]),
    ];
    for dtype in [DType::F32, DType::F64, DType::F16] {
        for (conv, pool, x, w) in all {
            for spoilt in [None, Some(f64::NAN), Some(f64::INFINITY), Some(-0.0), Some(1e-38)] {
                let [x, w, bias] = images(&x, &w, dtype, spoilt);
                let gradients = |f: &dyn Fn() -> Result<Tensor>| {
                    let (both, tape) = Tape::record(|tape| {
                        [&x, &w, &bias].into_iter().for_each(|input| tape.watch(input));
                        let y = f()?;
                        let loss = y.mul(drawn(y.shape(), dtype, 11)).sum(..)?;
                        Ok((y, loss))
                    })
                    .unwrap();
                    let mut all = tape.gradient(&both.1, &[&x, &w, &bias]).unwrap();
                    all.push(both.0);
                    // Without a loss: a wider float has the same value.
                    let wide = |y: &Tensor| match y.dtype() {
                        DType::F16 => bits(&y.to_dtype(DType::F32).unwrap()),
                        _ => bits(y),
                    };
                    all.iter().map(wide).collect::<Vec<_>>()
                };
                let fused = gradients(&|| x.conv2d_max_pool2d(&w, Some(&bias), conv, pool).relu());
                let plain = gradients(&|| x.conv2d(&w, Some(&bias), conv).max_pool2d(pool).relu());
                assert!(fused == plain, "{dtype} {conv:?} {pool:?} {:?} {spoilt:?}", x.shape());
            }
        }
    }
}

/// A row of layers holds boxes.
#[test]
fn a_boxed_layer_joins() {
    use ferrotape::nn::Joint;
    let relu: Box<dyn Forward> = Box::new(ReLU);
    assert!(matches!(relu.joint(), Joint::Activation(_)));
    let pool: Box<dyn Forward> = Box::new(MaxPool2d::new([2, 2]));
    assert!(matches!(pool.joint(), Joint::MaxPool2d(_)));
    let mut rng = Generator::new(0);
    let conv = Conv2dConfig::new(1, 2, [3, 3]).build(&mut rng).unwrap();
    let conv: Box<dyn Forward> = Box::new(conv);
    assert!(matches!(conv.joint(), Joint::Conv2d(_)));
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
