//! Elementwise operations on a GPU: every type, views and broadcasts, in place; nothing of it is done by the host.

use ferrotape::host_fallbacks;
use ferrotape::prelude::*;

use super::{bits, gpu};

/// What a tensor has of one operand and of two; errors as their words.
fn results(a: &Tensor, b: &Tensor, condition: &Tensor) -> Vec<(&'static str, Result<Tensor>)> {
    let mut all = Vec::new();
    macro_rules! one {
        ($($name:ident)*) => { $(all.push((stringify!($name), a.$name()));)* };
    }
    macro_rules! two {
        ($($name:ident)*) => { $(all.push((stringify!($name), a.$name(b)));)* };
    }
    one!(neg abs sign reciprocal square sqrt rsqrt exp expm1 log log1p sin cos tanh sigmoid erf);
    one!(relu gelu floor ceil round trunc erfc tan asin acos atan sinh cosh asinh acosh atanh);
    one!(exp2 log2 log10 silu softplus isnan isfinite logical_not);
    two!(add sub mul div maximum minimum pow relu_grad tanh_grad sigmoid_grad atan2 hypot);
    two!(trunc_divide floor_divide fmod remainder eq ne lt le gt ge);
    two!(logical_and logical_or logical_xor);
    all.push(("select", condition.select(a, b)));
    all.push(("in place", a.mul(b).neg().add(a).abs().maximum(b)));
    all.push(("a number", a.mul(2.5).add(1.0)));
    for dtype in DType::ALL {
        all.push(("to_dtype", a.to_dtype(dtype)));
    }
    all
}

/// Pairs of views that broadcast.
fn pairs(x: &Tensor, y: &Tensor) -> Result<Vec<(Tensor, Tensor)>> {
    Ok(vec![
        (x.clone(), y.clone()),
        (x.transpose(0, 2)?, y.narrow(1, 2, 1)?),
        (x.flip(1)?, x.narrow(2, 3, 1)?),
        (x.narrow(2, 1, 5)?, y.narrow(0, 1, 1).narrow(1, 2, 1).reshape(())?),
        (y.narrow(0, 3, 1).narrow(1, 7, 1).reshape(())?, y.narrow(0, 0, 1).narrow(1, 0, 1)?),
    ])
}

#[test]
fn elementwise_operations_run_there() {
    let name = "cuda::maps::elementwise_operations_run_there";
    crate::child::alone(name, || {
        let Some(gpu) = gpu() else { return };
        let mut rng = Generator::new(5);
        let x = rng.normal([3, 4, 8], 0.0, 3.0, DType::F64).unwrap();
        let y = rng.normal([4, 8], 0.0, 2.0, DType::F64).unwrap();
        let before = host_fallbacks();
        for dtype in DType::ALL {
            let there = |x: &Tensor| x.to_dtype(dtype).to_device(gpu).unwrap();
            let here = |x: &Tensor| x.to_dtype(dtype).unwrap();
            let all_here = pairs(&here(&x), &here(&y)).unwrap();
            let all_there = pairs(&there(&x), &there(&y)).unwrap();
            for ((a, b), (a_there, b_there)) in all_here.iter().zip(&all_there) {
                let condition = a.to_dtype(DType::F64).gt(0.0).unwrap();
                let condition_there = condition.to_device(gpu).unwrap();
                let want = results(a, b, &condition);
                let got = results(a_there, b_there, &condition_there);
                for ((name, want), (_, got)) in want.iter().zip(&got) {
                    match (want, got) {
                        (Ok(want), Ok(got)) => {
                            assert_eq!(got.device(), gpu);
                            assert_eq!(bits(got), bits(want), "{name} of {dtype} {:?}", a.shape());
                        }
                        (Err(want), Err(got)) => assert_eq!(
                            std::mem::discriminant(got.kind()),
                            std::mem::discriminant(want.kind()),
                            "{name} of {dtype}: {got}"
                        ),
                        (want, got) => panic!("{name} of {dtype}: {got:?}, not {want:?}"),
                    }
                }
            }
        }
        assert_eq!(host_fallbacks(), before, "the host computed some of it");
    });
}
