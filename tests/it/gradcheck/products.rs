//! Cases of matrix products, softmax and the losses.

use ferrotape::prelude::*;
use ferrotape::{LinearActivation, Op, apply};

use super::{Cases, one};

pub(super) fn cases(cases: &mut Cases) {
    matmul(cases);
    linear(cases);
    softmax(cases);
    losses(cases);
}

fn matmul(cases: &mut Cases) {
    let shapes: [[&[usize]; 2]; 17] = [
        [&[3], &[3]],
        [&[3], &[3, 2]],
        [&[2, 3], &[3]],
        [&[2, 3], &[3, 4]],
        [&[1, 3], &[3, 1]],
        [&[5, 2, 3], &[3, 4]],
        [&[5, 2, 3], &[5, 3, 4]],
        [&[1, 2, 3], &[5, 3, 4]],
        [&[2, 3], &[4, 3, 2]],
        [&[2, 1, 2, 3], &[4, 3, 2]],
        [&[4, 2, 3], &[3]],
        [&[3], &[4, 3, 2]],
        [&[0, 3], &[3, 2]],
        [&[2, 0], &[0, 3]],
        [&[2, 3], &[3, 0]],
        [&[0, 2, 3], &[3, 2]],
        [&[17, 33], &[33, 19]],
    ];
    for [a, b] in shapes {
        let inputs = vec![cases.any(a), cases.any(b)];
        cases.add(format!("matmul {a:?} {b:?}"), inputs, |x| x[0].matmul(&x[1])?.square());
    }
    let inputs = vec![cases.any(&[3, 2]), cases.any(&[4, 3])];
    cases.add("matmul, both transposed", inputs, |x| x[0].t()?.matmul(x[1].t())?.square());
    let inputs = vec![cases.any(&[2, 3, 5]), cases.any(&[3, 4])];
    cases.add("matmul of a permuted stack", inputs, |x| {
        x[0].permute([2, 0, 1])?.matmul(&x[1])?.square()
    });
    let inputs = vec![cases.any(&[4, 6]), cases.any(&[3, 5])];
    cases.add("matmul of slices", inputs, |x| {
        x[0].i((1..3, 2..5))?.matmul(x[1].flip(0)?.i((.., 1..)))?.square()
    });
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[3, 2])];
    cases.add("matmul of an expanded stack", inputs, |x| {
        x[0].expand([4, 2, 3])?.matmul(x[1].expand([4, 3, 2]))?.square()
    });
    let x = cases.any(&[3, 3]);
    cases.add("matmul with itself", vec![x], |x| x[0].matmul(&x[0])?.matmul(x[0].t()));
}

fn linear(cases: &mut Cases) {
    let inputs: [&[usize]; 5] = [&[3], &[2, 3], &[2, 2, 3], &[0, 3], &[1, 3]];
    let activations = [
        LinearActivation::None,
        LinearActivation::Relu,
        LinearActivation::Sigmoid,
        LinearActivation::Tanh,
    ];
    for activation in activations {
        for shape in inputs {
            let op = Op::Linear(activation);
            let name = format!("linear {activation:?} {shape:?}");
            let inputs = vec![cases.any(shape), cases.any(&[4, 3])];
            let plain = op.clone();
            cases.add(name.clone(), inputs, move |x| one(&plain, &[&x[0], &x[1]])?.square());
            let inputs = vec![cases.any(shape), cases.any(&[4, 3]), cases.any(&[4])];
            cases.add(name + " with bias", inputs, move |x| {
                one(&op, &[&x[0], &x[1], &x[2]])?.square()
            });
        }
    }
    type Wanted = fn(&[Tensor]) -> Result<Tensor>;
    let wanted: [(&str, Wanted); 3] = [
        ("weight", |y| y[0].square()),
        ("bias", |y| y[1].square()),
        ("both", |y| y[0].square().sum(..).mul(y[1].square().sum(..))),
    ];
    for (name, wanted) in wanted {
        for rows in [0, 1, 5] {
            let inputs = vec![cases.any(&[rows, 2]), cases.any(&[rows, 3])];
            cases.add(format!("linear_weight, {name}, {rows} rows"), inputs, move |x| {
                wanted(&apply(&Op::LinearWeight, &mut [(&x[0]).into(), (&x[1]).into()])?)
            });
        }
    }
    let inputs = vec![cases.any(&[3, 2]), cases.any(&[3, 4]), cases.any(&[8])];
    cases.add("linear, strided", inputs, |x| {
        let bias = x[2].reshape([4, 2])?.i((.., 1))?;
        x[0].t()?.linear(&x[1].t()?, Some(&bias))?.square()
    });
    let x = cases.any(&[2, 3, 4]);
    let w = cases.any(&[5, 2]);
    cases.add("linear of a permuted stack", vec![x, w], |x| {
        x[0].permute([2, 1, 0])?.linear(&x[1], None)?.square()
    });
}

fn softmax(cases: &mut Cases) {
    let shapes: [(&[usize], i64); 7] = [
        (&[5], 0),
        (&[2, 3], 0),
        (&[2, 3], 1),
        (&[2, 3, 4], 1),
        (&[2, 3, 4], -1),
        (&[3, 1], 1),
        (&[0, 3], 1),
    ];
    type Function = fn(&Tensor, i64) -> Result<Tensor>;
    let functions: [(&str, Function); 3] = [
        ("softmax", |x, dim| x.softmax(dim)),
        ("log_softmax", |x, dim| x.log_softmax(dim)),
        ("logsumexp", |x, dim| x.logsumexp(dim)),
    ];
    for (name, function) in functions {
        for (shape, dim) in shapes {
            let x = cases.signed(shape);
            cases.add(format!("{name} {shape:?} {dim}"), vec![x], move |x| {
                function(&x[0], dim)?.square()
            });
        }
        let x = cases.signed(&[4, 3]);
        cases.add(format!("{name} of a transposed"), vec![x], move |x| {
            function(&x[0].t()?, -1)?.square()
        });
        let x = cases.signed(&[2, 41]);
        cases.add(format!("{name} of long rows"), vec![x], move |x| function(&x[0], 1)?.square());
        let x = cases.signed(&[2, 3]);
        cases.add(format!("{name} far from 0"), vec![x], move |x| {
            function(&x[0].add(800.0)?, 1)?.mul(0.01)?.square()
        });
    }
}

fn losses(cases: &mut Cases) {
    let target = Tensor::from([2i64, 0, 2, 1]);
    let classes = target.clone();
    let x = cases.signed(&[4, 3]);
    cases.add("cross_entropy", vec![x], move |x| x[0].cross_entropy(&classes));
    let classes = target.clone();
    let x = cases.signed(&[3, 4]);
    cases.add("cross_entropy of a transposed", vec![x], move |x| {
        x[0].t()?.cross_entropy(&classes)?.square()
    });
    let classes = target.clone();
    let x = cases.signed(&[4, 3]);
    cases.add("cross_entropy_rows", vec![x], move |x| x[0].cross_entropy_rows(&classes)?.square());
    let weights: [&[usize]; 2] = [&[], &[4]];
    for weight in weights {
        let classes = target.clone();
        let inputs = vec![cases.signed(&[4, 3]), cases.any(weight)];
        cases.add(format!("cross_entropy_input {weight:?}"), inputs, move |x| {
            one(&Op::CrossEntropyInput, &[&x[0], &classes, &x[1]])?.square()
        });
    }
    let none = Tensor::zeros([0], DType::I64).unwrap();
    let x = cases.any(&[0, 3]);
    cases.add("cross_entropy of no rows", vec![x], move |x| x[0].cross_entropy_rows(&none));

    let inputs = vec![cases.signed(&[2, 3]), cases.positive(&[2, 3]).mul(0.3).unwrap()];
    cases.add("bce_with_logits", inputs, |x| x[0].bce_with_logits(&x[1])?.exp());
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[2, 3])];
    cases.add("mse_loss", inputs, |x| x[0].mse_loss(&x[1])?.square());
    for shape in [&[] as &[usize], &[1], &[5, 3], &[2, 3, 7]] {
        let inputs = vec![cases.any(shape), cases.any(shape)];
        cases.add(format!("mse_loss {shape:?}"), inputs, |x| x[0].mse_loss(&x[1])?.square());
        let inputs = vec![cases.any(shape), cases.any(shape), cases.any(&[])];
        cases.add(format!("mse_loss_input {shape:?}"), inputs, |x| {
            one(&Op::MseLossInput, &[&x[0], &x[1], &x[2]])?.square()
        });
    }
    let inputs = vec![cases.any(&[3, 2]), cases.any(&[2, 3])];
    cases.add("mse_loss of a transposed", inputs, |x| x[0].mse_loss(x[1].t())?.square());
    let x = cases.any(&[2, 3]);
    cases.add("mse_loss of a number", vec![x], |x| x[0].mse_loss(0.25)?.square());
}
