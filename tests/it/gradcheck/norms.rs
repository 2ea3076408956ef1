//! Cases of the normalisations; the fused layer norm against its decomposition.

use ferrotape::Op;
use ferrotape::prelude::*;

use super::{Cases, one};
use crate::cnn::bits;

const EPS: f64 = 0.1;

pub(super) fn cases(cases: &mut Cases) {
    layer_norm(cases);
    adjoints(cases);
    channels(cases);
}

fn layer_norm(cases: &mut Cases) {
    let shapes: [(&[usize], &[usize]); 7] = [
        (&[5], &[5]),
        (&[3, 4], &[4]),
        (&[2, 3, 4], &[4]),
        (&[2, 3, 4], &[3, 4]),
        (&[2, 70], &[70]),
        (&[3, 1], &[1]),
        (&[0, 3], &[3]),
    ];
    for (shape, normal) in shapes {
        let name = format!("layer_norm {shape:?} {normal:?}");
        let n = normal.to_vec();
        let inputs = vec![cases.signed(shape), cases.any(normal), cases.any(normal)];
        cases.add(name.clone(), inputs, move |x| {
            x[0].layer_norm(&n[..], Some(&x[1]), Some(&x[2]), EPS)?.square()
        });
        let n = normal.to_vec();
        let x = cases.signed(shape);
        cases.add(name.clone() + " plain", vec![x], move |x| {
            x[0].layer_norm(&n[..], None, None, EPS)?.square()
        });
        let n = normal.to_vec();
        let inputs = vec![cases.signed(shape), cases.any(normal)];
        cases.add(name.clone() + " bias only", inputs, move |x| {
            x[0].layer_norm(&n[..], None, Some(&x[1]), EPS)?.square()
        });
        let n = normal.to_vec();
        let inputs = vec![cases.signed(shape), cases.any(normal)];
        cases.add(name.replace("layer", "rms"), inputs, move |x| {
            x[0].rms_norm(&n[..], Some(&x[1]), Some(EPS))?.square()
        });
    }
    let x = cases.signed(&[4, 3]);
    cases.add("layer_norm of a transposed", vec![x], |x| {
        x[0].t()?.layer_norm(4, None, None, EPS)?.square()
    });
    let inputs = vec![cases.signed(&[2, 4]), cases.any(&[4])];
    cases.add("layer_norm twice", inputs, |x| {
        let once = x[0].layer_norm(4, Some(&x[1]), None, EPS)?.add(&x[0])?;
        once.layer_norm(4, Some(&x[1]), None, EPS)?.square()
    });
}

/// The gradients as functions of their own: their derivatives are the layer norm's second, and third.
fn adjoints(cases: &mut Cases) {
    let statistics = |x: &Tensor| -> Result<Tensor> {
        let centered = x.sub(x.mean_keep(-1)?)?;
        let rstd = centered.square()?.mean_keep(-1)?.add(EPS)?.rsqrt()?;
        Tensor::cat(&[&x.mean_keep(-1)?, &rstd], -1)
    };
    for weighted in [false, true] {
        let inputs = vec![cases.any(&[2, 4]), cases.signed(&[2, 4]), cases.any(&[4])];
        cases.add(format!("layer_norm_input, weighted {weighted}"), inputs, move |x| {
            // The statistics belong to x: their own path is part of the formula of x.
            let stats = statistics(&x[1].detach()?)?;
            let op = Op::LayerNormInput { eps: EPS };
            match weighted {
                true => one(&op, &[&x[0], &x[1], &stats, &x[2]])?.square(),
                false => one(&op, &[&x[0], &x[1], &stats])?.square(),
            }
        });
    }
    let inputs = vec![cases.any(&[3, 4]), cases.signed(&[3, 4])];
    cases.add("layer_norm_weight", inputs, move |x| {
        let stats = statistics(&x[1].detach()?)?;
        one(&Op::LayerNormWeight { eps: EPS }, &[&x[0], &x[1], &stats])?.square()
    });
}

fn channels(cases: &mut Cases) {
    for shape in [&[3, 4][..], &[2, 4, 3], &[2, 4, 2, 2]] {
        let inputs = vec![cases.signed(shape), cases.any(&[4]), cases.any(&[4])];
        cases.add(format!("batch_norm_train {shape:?}"), inputs, |x| {
            let (y, mean, var) = x[0].batch_norm_train(Some(&x[1]), Some(&x[2]), EPS)?;
            y.square()?.add(mean.add(var)?.sum(..))
        });
        let inputs = vec![cases.signed(shape), cases.any(&[4]), cases.positive(&[4])];
        cases.add(format!("batch_norm {shape:?}"), inputs, |x| {
            x[0].batch_norm(&x[1], &x[2], None, Some(&x[1]), EPS)?.square()
        });
        let inputs = vec![cases.signed(shape), cases.any(&[4]), cases.any(&[4])];
        cases.add(format!("group_norm {shape:?}"), inputs, |x| {
            x[0].group_norm(2, Some(&x[1]), Some(&x[2]), EPS)?.square()
        });
    }
    let inputs = vec![cases.signed(&[2, 3, 4]), cases.any(&[3])];
    cases.add("instance_norm", inputs, |x| x[0].instance_norm(Some(&x[1]), None, EPS)?.square());
}

/// What the fused operation stands for.
fn decomposed(x: &Tensor, w: &Tensor, b: &Tensor, eps: f64) -> Result<Tensor> {
    let centered = x.sub(x.mean_keep(-1)?)?;
    let rstd = centered.square()?.mean_keep(-1)?.add(eps)?.rsqrt()?;
    centered.mul(&rstd)?.mul(w)?.add(b)
}

/// Forward bit by bit, gradients within rounding.
#[test]
fn layer_norm_and_its_decomposition() {
    let mut rng = Generator::new(11);
    for dtype in [DType::F32, DType::F64] {
        for shape in [[3, 5], [7, 64], [300, 257], [2, 20_000], [1, 1]] {
            let x = rng.normal(shape, 3., 2., dtype).unwrap();
            let g = rng.normal(shape, 0., 1., dtype).unwrap();
            let [w, b] = [(); 2].map(|()| rng.normal([shape[1]], 0., 1., dtype).unwrap());
            let pulled = |f: &dyn Fn() -> Result<Tensor>| {
                let (y, tape) = Tape::record(|tape| {
                    [&x, &w, &b].into_iter().for_each(|leaf| tape.watch(leaf));
                    f()
                })
                .unwrap();
                (tape.vector_jacobian_product(&[(&y, g.clone())], &[&x, &w, &b]).unwrap(), y)
            };
            let (fused, y) = pulled(&|| x.layer_norm(shape[1], Some(&w), Some(&b), 1e-5));
            let (plain, expected) = pulled(&|| decomposed(&x, &w, &b, 1e-5));
            assert_eq!(bits(&y), bits(&expected), "{dtype} {shape:?}");
            let eps = if dtype == DType::F32 { 1.2e-7 } else { 2.3e-16 };
            for (name, (found, expected)) in
                ["dx", "dw", "db"].into_iter().zip(fused.iter().zip(&plain))
            {
                let (found, expected) = (found.as_ref().unwrap(), expected.as_ref().unwrap());
                let largest = |x: Result<Tensor>| x.abs().max(..).unwrap().to_f64().unwrap();
                let scale = largest(expected.mul(1.0)).max(1.0);
                let off = largest(found.sub(expected)) / scale;
                assert!(off <= 16.0 * eps, "{dtype} {shape:?} {name}: off by {off:e}");
            }
        }
    }
}
