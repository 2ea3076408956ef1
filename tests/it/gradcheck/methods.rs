//! Cases of the methods that are expressions of operations, and the list of those that need none.

use std::collections::BTreeSet;

use ferrotape::LinearActivation;
use ferrotape::prelude::*;

use super::Cases;

pub(super) fn cases(cases: &mut Cases) {
    one(cases);
    two(cases);
    products(cases);
    images(cases);
}

type Function = fn(&[Tensor]) -> Result<Tensor>;

fn one(cases: &mut Cases) {
    let functions: &[(&str, Function)] = &[
        ("elu", |x| x[0].elu(1.3)),
        ("celu", |x| x[0].celu(0.7)),
        ("selu", |x| x[0].selu()),
        ("gelu_tanh", |x| x[0].gelu_tanh()),
        ("mish", |x| x[0].mish()),
        ("softplus_with", |x| x[0].softplus_with(2.0, 3.0)),
        ("logsigmoid", |x| x[0].logsigmoid()),
        ("hardtanh", |x| x[0].hardtanh(-0.5, 1.6)?.square()),
        ("relu6", |x| x[0].mul(4.0).relu6()?.square()),
        ("hardsigmoid", |x| x[0].mul(2.0).hardsigmoid()?.square()),
        ("hardswish", |x| x[0].mul(2.0).hardswish()),
        ("threshold", |x| x[0].threshold(0.6, -3.0)?.square()),
        ("hardshrink", |x| x[0].hardshrink(0.6)?.square()),
        ("softshrink", |x| x[0].softshrink(0.6)?.square()),
        ("softsign", |x| x[0].softsign()),
        ("tanhshrink", |x| x[0].tanhshrink()),
        ("softmin", |x| x[0].softmin(1)),
        ("glu", |x| x[0].glu(1)),
        ("sinc", |x| x[0].sinc()),
        ("sinc near 0", |x| x[0].mul(1e-3).sinc()?.mul(1e3)),
        ("rsub", |x| x[0].rsub(2.0)?.square()),
        ("clamp_min", |x| x[0].clamp_min(0.6)?.square()),
        ("clamp_max", |x| x[0].clamp_max(0.6)?.square()),
        ("float_power", |x| x[0].square().float_power(1.5)),
        ("sum_keep", |x| x[0].sum_keep(1)?.square()),
        ("sum_with", |x| x[0].sum_with(0, true)?.square()),
        ("nansum_keep", |x| x[0].nansum_keep(1)?.square()),
        ("max_keep", |x| x[0].max_keep(1)?.square()),
        ("min_keep", |x| x[0].min_keep(0)?.square()),
        ("amax, amin", |x| x[0].amax(1)?.mul(x[0].amin(1))),
        ("min_with_indices_keep", |x| x[0].min_with_indices_keep(1)?.0.square()),
        ("median_keep", |x| x[0].median_keep(1)?.0.square()),
        ("kthvalue_keep", |x| x[0].kthvalue_keep(2, 1)?.0.square()),
        ("std_keep", |x| x[0].std_keep(1, 1.0)?.square()),
        ("std_mean_keep", |x| {
            let (std, mean) = x[0].std_mean_keep(0, 0.0)?;
            std.mul(mean)
        }),
        ("var_mean", |x| {
            let (var, mean) = x[0].var_mean(1, 1.0)?;
            var.mul(mean)
        }),
        ("linear_with", |x| {
            let w = x[0].mul(0.3)?;
            x[0].linear_with(&w, None, LinearActivation::Sigmoid)?.square()
        }),
        ("msort", |x| x[0].msort()?.mul(Tensor::from([1.0, 2.0, 3.0, 4.0]))?.square()),
        ("chunk", |x| x[0].chunk(2, 1)?[1].square()),
        ("split_with_sizes", |x| x[0].split_with_sizes(&[1, 3], 1)?[1].square()),
        ("tensor_split", |x| x[0].tensor_split(3, 1)?[0].square()),
        ("tensor_split_at", |x| x[0].tensor_split_at(&[1, -1], 1)?[1].square()),
    ];
    for &(name, function) in functions {
        let x = cases.signed(&[3, 4]);
        cases.add(name, vec![x], function);
        // One element for all of a dim, and no element at all.
        let x = cases.signed(&[3, 1]);
        cases.add(format!("{name} of an expanded"), vec![x], move |x| {
            function(&[x[0].expand([3, 4])?])
        });
    }
}

fn two(cases: &mut Cases) {
    let functions: &[(&str, Function)] = &[
        ("prelu", |x| x[0].expand([3, 4]).prelu(x[1].expand([3, 4])?.i(0))),
        ("prelu, one weight", |x| x[0].prelu(x[1].i((0, 0)))?.square()),
        ("lerp, near", |x| x[0].lerp(&x[1], 0.3)?.square()),
        ("lerp, far", |x| x[0].lerp(&x[1], 0.8)?.square()),
        ("lerp by a tensor", |x| x[0].lerp(2.0, &x[1])),
        ("addcmul", |x| x[0].addcmul(&x[1], &x[0], 0.7)),
        ("addcdiv", |x| x[0].addcdiv(&x[0], &x[1], 0.7)),
        ("logaddexp", |x| x[0].logaddexp(&x[1])),
        ("xlogy", |x| x[0].xlogy(x[1].square())),
        ("hypot", |x| x[0].hypot(&x[1])),
        ("atan2", |x| x[0].atan2(&x[1])),
        ("clamp between tensors", |x| x[0].clamp_min(&x[1])?.clamp_max(x[1].add(0.3))?.square()),
        ("pairwise_distance_keep", |x| x[0].pairwise_distance_keep(&x[1], 3.0, 1e-6)),
        ("huber_loss", |x| x[0].huber_loss(&x[1])?.square()),
        ("hinge_embedding_loss", |x| x[0].hinge_embedding_loss(&x[1].sign()?)?.square()),
        ("l1_loss", |x| {
            x[0].l1_loss_with(&x[1], L1Loss::default().reduction(Reduction::Sum))?.square()
        }),
    ];
    for &(name, function) in functions {
        for (a, b) in [([3, 4], [3, 4]), ([3, 4], [1, 4]), ([3, 1], [3, 4])] {
            if name.starts_with("prelu") && b != [3, 4] || name.ends_with("loss") && a != b {
                continue;
            }
            let inputs = vec![cases.signed(&a), cases.signed(&b)];
            cases.add(format!("{name} {a:?} {b:?}"), inputs, function);
        }
    }
}

fn products(cases: &mut Cases) {
    let functions: &[(&str, [&[usize]; 2], Function)] = &[
        ("mm", [&[2, 3], &[3, 4]], |x| x[0].mm(&x[1])?.square()),
        ("bmm", [&[2, 2, 3], &[2, 3, 4]], |x| x[0].bmm(&x[1])?.square()),
        ("mv", [&[2, 3], &[3]], |x| x[0].mv(&x[1])?.square()),
        ("dot", [&[3], &[3]], |x| x[0].dot(&x[1])?.square()),
        ("mm of nothing", [&[2, 0], &[0, 4]], |x| x[0].mm(&x[1])?.square()),
    ];
    for &(name, [a, b], function) in functions {
        let inputs = vec![cases.any(a), cases.any(b)];
        cases.add(name, inputs, function);
    }
}

fn images(cases: &mut Cases) {
    let functions: &[(&str, Function)] = &[
        ("adaptive_avg_pool2d", |x| x[0].adaptive_avg_pool2d([2, 3])?.square()),
        ("adaptive_max_pool2d_with_indices", |x| {
            x[0].adaptive_max_pool2d_with_indices([2, 3])?.0.square()
        }),
        ("max_pool1d_with_indices", |x| {
            x[0].flatten(0, 1)?.max_pool1d_with_indices(Pool1dOp::new([2]))?.0.square()
        }),
        ("conv2d_max_pool2d", |x| {
            let (w, conv) = (x[0].i((.., .., ..3, ..3))?, Conv2dOp::default().padding([1, 1]));
            x[0].conv2d_max_pool2d(&w, None, conv, Pool2dOp::new([2, 2]))?.square()
        }),
        ("upsample_nearest", |x| x[0].upsample_nearest(Interpolate::size(&[7, 3]))?.square()),
        ("upsample_bilinear", |x| x[0].upsample_bilinear(Interpolate::size(&[7, 3]))?.square()),
    ];
    for &(name, function) in functions {
        let x = cases.signed(&[1, 2, 4, 5]);
        cases.add(name, vec![x], function);
    }
}

/// Checked as operations of their own, by the tables or in [`super::one`]; functions of integers and booleans; constants.
const ELSEWHERE: &str = "
    neg abs sign reciprocal square sqrt rsqrt exp expm1 log log1p sin cos tanh sigmoid erf relu gelu floor ceil round trunc tan asin
    acos atan sinh cosh asinh acosh atanh exp2 log2 log10 erfc add sub mul div pow maximum minimum relu_grad tanh_grad sigmoid_grad
    floor_divide trunc_divide fmod remainder window_mean window_mean_input round_decimals
    eq ne lt le gt ge logical_and logical_or logical_xor logical_not isnan isinf isfinite any any_keep all all_keep count_nonzero
    argmax argmax_keep argmin argmin_keep argsort nonzero searchsorted bucketize max_pool2d_index
    full_like new_full requantize";

#[test]
fn every_method_has_a_case() {
    let folder = crate::root().join("tests/it/gradcheck");
    let files = std::fs::read_dir(folder).unwrap();
    let text: String =
        files.map(|file| std::fs::read_to_string(file.unwrap().path()).unwrap()).collect();
    let called: BTreeSet<&str> = text
        .split(|c: char| !c.is_alphanumeric() && c != '_' && c != '.' && c != '(')
        .flat_map(|word| word.split('.').skip(1))
        .filter_map(|word| word.split_once('(').map(|(name, _)| name))
        .collect();
    let elsewhere: BTreeSet<&str> = ELSEWHERE.split_whitespace().collect();
    let methods = crate::no_panic::in_source();
    let known = |name: &&String| called.contains(&name[..]) || elsewhere.contains(&name[..]);
    let lost: Vec<_> = methods.iter().filter(|name| !known(name)).collect();
    assert!(lost.is_empty(), "methods whose derivatives nobody checks: {lost:?}");
    let strange: Vec<_> = elsewhere.iter().filter(|&&name| !methods.contains(name)).collect();
    assert!(strange.is_empty(), "on the list, but no methods: {strange:?}");
}
