//! Cases of products, scans, sorting, statistics and norms; their derivatives beside zeros, ties and infinities.

use ferrotape::MatrixNorm;
use ferrotape::prelude::*;

use super::Cases;
use super::composites::derivatives;

type Function = fn(&Tensor) -> Result<Tensor>;

fn add(cases: &mut Cases, functions: &[(&str, Function)]) {
    for &(name, function) in functions {
        let x = cases.signed(&[3, 4]);
        cases.add(name, vec![x], move |x| function(&x[0])?.square());
        let x = cases.signed(&[4, 3]);
        let name = format!("{name} of a transposed");
        cases.add(name, vec![x], move |x| function(&x[0].t()?)?.square());
    }
}

pub(super) fn scans(cases: &mut Cases) {
    add(
        cases,
        &[
            ("cumsum 0", |x| x.cumsum(0)),
            ("cumsum 1", |x| x.cumsum(-1)),
            ("cumprod 0", |x| x.cumprod(0)),
            ("cumprod 1", |x| x.cumprod(1)),
            ("cummax", |x| Ok(x.cummax(1)?.0)),
            ("cummin", |x| Ok(x.cummin(0)?.0)),
            ("logcumsumexp 0", |x| x.logcumsumexp(0)),
            ("logcumsumexp 1", |x| x.logcumsumexp(1)),
            ("diff", |x| x.diff(2, 1, None, None)),
            ("trapezoid", |x| x.trapezoid(0.5, 0)),
        ],
    );
    for dim in 0..3 {
        let inputs = vec![cases.any(&[3, 2, 4]), cases.any(&[3, 2, 4])];
        cases.add(format!("linear_scan {dim}"), inputs, move |x| {
            x[0].linear_scan(&x[1], dim)?.square()
        });
    }
    let inputs = vec![cases.any(&[2, 3]), cases.any(&[3]), cases.any(&[2, 1])];
    cases.add("trapezoid at points, diff with ends", inputs, |x| {
        x[0].trapezoid_at(&x[1], 1)?
            .unsqueeze(1)?
            .add(x[0].diff(1, 1, Some(&x[2]), None)?)?
            .square()
    });
    for zeros in 0..4 {
        // The product is a polynomial, zeros or not.
        let x = Tensor::from([[2.0, -1.5, 0.5, 3.0], [0.5, 1.5, -1.0, 2.0]]);
        let mask = Tensor::arange(0.0, 1.0, 4, DType::F64).unwrap().ge(f64::from(zeros)).unwrap();
        let x = mask.select(&x, 0.0).unwrap();
        let functions: [(&str, Function); 5] = [
            ("cumprod", |x| x.cumprod(1)),
            ("cumprod from the end", |x| x.flip(1).cumprod(1)),
            ("prod", |x| x.prod(1)),
            ("prod of columns", |x| x.prod_keep(0)),
            ("prod of all", |x| x.prod(..)),
        ];
        for (name, function) in functions {
            cases.add(format!("{name}, {zeros} zeros"), vec![x.clone()], move |x| {
                function(&x[0])?.add(1.0)?.square()
            });
        }
    }
    for nothing in [[2, 0], [0, 2]] {
        let x = cases.any(&nothing);
        cases.add(format!("scans of nothing {nothing:?}"), vec![x], |x| {
            let y = x[0].cumsum(1)?.add(x[0].cumprod(1)?)?.add(x[0].logcumsumexp(1)?)?;
            y.add(x[0].sort(1, false)?.0)
        });
    }
    let x = cases.any(&[]);
    cases.add("scans of a scalar", vec![x], |x| {
        let y = x[0].cumsum(0)?.add(x[0].cumprod(-1)?)?.mul(x[0].logcumsumexp(0)?)?;
        y.mul(x[0].sort(0, true)?.0)?.mul(x[0].cummax(0)?.0)?.mul(x[0].prod(0)?)
    });
}

pub(super) fn sorts(cases: &mut Cases) {
    add(
        cases,
        &[
            ("sort", |x| x.sort(1, false)?.0.mul(Tensor::from([1.0, 2.0, 3.0, 4.0]))),
            ("sort 0", |x| x.sort(0, true)?.0.mul(Tensor::from([1.0, 2.0, 3.0, 4.0]))),
            ("topk", |x| Ok(x.topk(2, 1, true)?.0)),
            ("topk, smallest", |x| Ok(x.topk(2, 0, false)?.0)),
            ("kthvalue", |x| Ok(x.kthvalue(3, 1)?.0)),
            ("median", |x| Ok(x.median(1)?.0)),
            ("median of all", |x| Ok(x.median(..)?.0)),
            ("max_with_indices", |x| Ok(x.max_with_indices_keep(0)?.0)),
            ("min_with_indices", |x| Ok(x.min_with_indices(..)?.0)),
        ],
    );
}

pub(super) fn statistics(cases: &mut Cases) {
    add(
        cases,
        &[
            ("std", |x| x.std(1, 1.0)),
            ("std_mean", |x| x.std_mean(0, 0.0).and_then(|(std, mean)| std.mul(mean))),
            ("var_mean", |x| x.var_mean_keep(.., 1.0).and_then(|(var, mean)| var.mul(mean))),
            ("nansum", |x| x.nansum(0)),
            ("nanmean", |x| x.nanmean_keep(1)),
            ("logsumexp of both", |x| x.logsumexp([0, 1])),
            ("logsumexp_keep", |x| x.logsumexp_keep(0)),
            ("norm 1", |x| x.norm(1.0, 1)),
            ("norm 2", |x| x.norm(2.0, ..)),
            ("norm 3.5", |x| x.norm_keep(3.5, 0)),
            ("norm 0.5", |x| x.norm(0.5, 1)),
            ("norm -1.5", |x| x.norm(-1.5, 1)),
            ("norm inf", |x| x.norm(f64::INFINITY, 1)),
            ("norm -inf", |x| x.norm(f64::NEG_INFINITY, 0)),
            ("matrix_norm fro", |x| x.matrix_norm(MatrixNorm::Frobenius, [0, 1])),
            ("matrix_norm 1", |x| x.matrix_norm(MatrixNorm::One, [0, 1])),
            ("matrix_norm -inf", |x| x.matrix_norm_keep(MatrixNorm::MinusInfinity, [1, 0])),
            ("normalize", |x| x.normalize(2.0, 1, 1e-12)?.mul(Tensor::from([1.0, 2.0, 3.0, 4.0]))),
            ("trace", |x| x.trace()),
        ],
    );
    for shape in [&[3, 3][..], &[2, 4], &[4, 2], &[2, 3, 2], &[1, 3]] {
        let x = cases.any(shape);
        let kinds = [MatrixNorm::Nuclear, MatrixNorm::Two, MatrixNorm::MinusTwo];
        for kind in kinds {
            cases.add(format!("{kind:?} {shape:?}"), vec![x.clone()], move |x| {
                x[0].matrix_norm(kind, [-2, -1])?.square()
            });
        }
        // The vectors' common sign cancels.
        cases.add(format!("svd {shape:?}"), vec![x], |x| {
            let (u, s, vh) = x[0].svd()?;
            let left = u.narrow(-1, 0, 1)?.matmul(vh.narrow(-2, 0, 1)?)?;
            left.mul(left.sin()?)?.sum([-1, -2])?.add(s.exp().sum(-1))
        });
    }
    let inputs = vec![cases.signed(&[2, 3]), cases.signed(&[1, 3])];
    cases.add("cosine_similarity", inputs, |x| x[0].cosine_similarity(&x[1], 1, 1e-8)?.square());
    let inputs = vec![cases.signed(&[2, 3]), cases.signed(&[3])];
    cases.add("pairwise_distance", inputs, |x| x[0].pairwise_distance(&x[1], 2.0, 1e-6)?.square());
}

/// What PyTorch says beside zeros, ties and infinities: no NaN.
#[test]
fn ends_of_norms_and_statistics() {
    let zero = Tensor::from([0.0, 0.0]);
    for p in [0.5, 1.0, 1.5, 2.0, 3.0] {
        assert_eq!(derivatives(&zero, |x| x.norm(p, 0))[0], [0.0, 0.0], "norm {p}");
    }
    assert_eq!(derivatives(&zero, |x| x.norm(-1.0, 0))[0], [0.0, 0.0]);
    let half = Tensor::from([0.0, -3.0]);
    assert_eq!(half.norm(0.0, 0).unwrap().item::<f64>().unwrap(), 1.0);
    for p in [0.5, 1.0, 1.5, 2.0, 3.0] {
        let found = &derivatives(&half, |x| x.norm(p, 0))[0];
        assert!(found[0] == 0.0 && (found[1] + 1.0).abs() < 1e-14, "norm {p}: {found:?}");
    }
    assert_eq!(derivatives(&half, |x| x.norm(-1.0, 0))[0], [0.0, 0.0]);
    assert_eq!(derivatives(&zero, |x| x.normalize(2.0, 0, 0.5))[0], [2.0, 2.0]);
    assert_eq!(derivatives(&zero, |x| x.std(0, 1.0))[0], [0.0, 0.0]);
    let holes = Tensor::from([f64::NAN, 2.0, 4.0]);
    assert_eq!(derivatives(&holes, |x| x.nanmean(0))[0], [0.0, 0.5, 0.5]);
    let tied = Tensor::from([1.0, 3.0, 3.0]);
    assert_eq!(derivatives(&tied, |x| Ok(x.max_with_indices(0)?.0))[0], [0.0, 1.0, 0.0]);
    assert_eq!(derivatives(&tied, |x| Ok(x.topk(1, 0, true)?.0))[0], [0.0, 1.0, 0.0]);
    assert_eq!(derivatives(&tied, |x| Ok(x.cummax(0)?.0))[0], [1.0, 1.0, 1.0]);
    let low = f64::NEG_INFINITY;
    let dead = Tensor::from([low, low]);
    assert_eq!(derivatives(&dead, |x| x.logsumexp(0))[0], [0.0, 0.0]);
    assert_eq!(derivatives(&dead, |x| x.logcumsumexp(0))[0], [0.0, 0.0]);
    let late = Tensor::from([low, -1000.0, 700.0, 700.0]);
    let [first, second] = derivatives(&late, |x| x.logcumsumexp(0));
    assert_eq!(first, [0.0, 1.0, 1.5, 0.5]);
    assert!(second.iter().all(|x| x.is_finite()), "{second:?}");
    let y = late.logcumsumexp(0).unwrap().to_vec::<f64>().unwrap();
    assert_eq!(y, [low, -1000.0, 700.0, 700.0 + 2f64.ln()]);
}

/// NaN, infinities, ties and empty dims as PyTorch has them; wrong settings are errors.
#[test]
fn values_at_the_ends() {
    let nan = f64::NAN;
    let x = Tensor::from([1.0, nan, 3.0, nan]);
    let (value, index) = x.median(0).unwrap();
    assert!(value.item::<f64>().unwrap().is_nan() && index.item::<i64>().unwrap() == 1);
    let (value, index) = x.kthvalue(2, 0).unwrap();
    assert_eq!((value.item::<f64>().unwrap(), index.item::<i64>().unwrap()), (3.0, 2));
    assert_eq!(x.argsort(0, true).unwrap().to_vec::<i64>().unwrap(), [1, 3, 2, 0]);
    assert_eq!(x.nansum(..).unwrap().item::<f64>().unwrap(), 4.0);
    assert!(x.any(0).unwrap().item::<bool>().unwrap());
    assert_eq!(x.cummax(0).unwrap().1.to_vec::<i64>().unwrap(), [0, 1, 1, 3]);
    let whole = Tensor::from([3i64, 0, 2]);
    assert_eq!(whole.median(0).unwrap().0.item::<i64>().unwrap(), 2);
    assert_eq!(whole.count_nonzero(..).unwrap().item::<i64>().unwrap(), 2);
    assert!(!whole.all(0).unwrap().item::<bool>().unwrap());
    let short = Tensor::from([300.0, 400.0]).to_dtype(DType::F16).unwrap();
    assert_eq!(
        short.norm(2.0, 0).unwrap().to_dtype(DType::F64).unwrap().item::<f64>().unwrap(),
        500.0
    );
    assert_eq!(short.sort(0, true).unwrap().1.to_vec::<i64>().unwrap(), [1, 0]);
    assert_eq!(short.std(0, 0.0).unwrap().dtype(), DType::F16);
    assert_eq!(whole.to_dtype(DType::I8).unwrap().prod(..).unwrap().item::<i64>().unwrap(), 0);
    let none = Tensor::zeros([0, 2], DType::F64).unwrap();
    assert_eq!(none.prod(0).unwrap().to_vec::<f64>().unwrap(), [1.0, 1.0]);
    assert_eq!(none.all(0).unwrap().to_vec::<bool>().unwrap(), [true, true]);
    assert_eq!(none.any(0).unwrap().to_vec::<bool>().unwrap(), [false, false]);
    assert_eq!(none.logsumexp(0).unwrap().to_vec::<f64>().unwrap(), [f64::NEG_INFINITY; 2]);
    assert_eq!(none.trace().unwrap().item::<f64>().unwrap(), 0.0);
    let square = Tensor::from([[3.0, 0.0], [0.0, -4.0]]);
    assert_eq!(
        square.matrix_norm(MatrixNorm::Nuclear, [1, 0]).unwrap().item::<f64>().unwrap(),
        7.0
    );
    let wide = square.unsqueeze(1).unwrap();
    assert_eq!(wide.matrix_norm_keep(MatrixNorm::Two, [2, 0]).unwrap().shape(), [1, 1, 1]);
    let inf = Tensor::from([f64::INFINITY, 1.0]);
    assert_eq!(inf.logcumsumexp(0).unwrap().to_vec::<f64>().unwrap(), [f64::INFINITY; 2]);
    let wrong = [
        x.topk(5, 0, true).map(|_| ()),
        x.kthvalue(0, 0).map(|_| ()),
        x.kthvalue(5, 0).map(|_| ()),
        none.median(0).map(|_| ()),
        none.argmax(0).map(|_| ()),
        x.norm(nan, 0).map(|_| ()),
        x.trace().map(|_| ()),
        x.svd().map(|_| ()),
        x.matrix_norm(MatrixNorm::One, [0, -1]).map(|_| ()),
        none.argmax([0, 1]).map(|_| ()),
        x.linear_scan(&inf, 0).map(|_| ()),
        none.searchsorted(&x, false).map(|_| ()),
        x.bucketize(&none, false).map(|_| ()),
        x.cumsum(1).map(|_| ()),
        whole.norm(2.0, 0).map(|_| ()),
    ];
    for (place, result) in wrong.into_iter().enumerate() {
        assert!(!result.unwrap_err().to_string().is_empty(), "{place}");
    }
}
