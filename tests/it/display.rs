//! `Display` is PyTorch's, but for the type at its end: strings printed by PyTorch (`tests/data/display/display.py`).

use std::collections::BTreeMap;

use ferrotape::prelude::*;

fn expected() -> BTreeMap<&'static str, &'static str> {
    let text = include_str!("../data/display/display.txt").strip_prefix("== ").unwrap();
    text.split("\n== ").map(|case| case.trim_end().split_once('\n').unwrap()).collect()
}

fn range(n: usize, divisor: f64) -> Result<Tensor> {
    Tensor::arange(0., 1. / divisor, n, DType::F32)
}

fn ints(n: usize) -> Result<Tensor> {
    Tensor::arange(0., 1., n, DType::I64)
}

/// The tensors of `display.py`, by name.
fn tensors() -> Result<Vec<(&'static str, Tensor)>> {
    let (nan, inf) = (f32::NAN, f32::INFINITY);
    Ok(vec![
        ("ints", Tensor::from([[1i64, -20, 3], [400, 5, 6]])),
        ("u8", Tensor::from([1u8, 255])),
        ("floats", Tensor::from([[1.5f32, -2.25, 3.0], [0.1, 100.0, 7.0]])),
        ("whole", Tensor::from([1f32, 2., 30.])),
        ("f64", Tensor::from([0.1, 0.25])),
        ("sci_large", Tensor::from([1e10f32, 1., 2.5])),
        ("sci_small", Tensor::from([1e-5f32, 1.])),
        ("sci_range", Tensor::from([0.001f32, 1001.5])),
        ("whole_large", Tensor::from([1e9f32, 2.])),
        ("whole_1e8", Tensor::from([1e8f32, 2.])),
        ("whole_range", Tensor::from([1f32, 100000.])),
        ("whole_zero", Tensor::from([0f32, 0.])),
        ("bools", Tensor::from([true, false])),
        ("nan", Tensor::from([nan, 1.5, inf, -inf])),
        ("nan_whole", Tensor::from([nan, 1., -inf])),
        ("nan_only", Tensor::from([nan])),
        ("nan_scientific", Tensor::from([nan, 1e-7, 2.])),
        ("scalar", Tensor::from(3.25f32)),
        ("scalar_int", Tensor::from(-7i64)),
        ("scalar_whole", Tensor::from(2f32)),
        ("scalar_bool", Tensor::from(true)),
        ("empty", Tensor::zeros([0], DType::F32)?),
        ("empty2", Tensor::zeros([2, 0, 3], DType::F32)?),
        ("empty_int", Tensor::zeros([0], DType::I64)?),
        ("three", range(12, 1.).reshape([2, 2, 3])?),
        ("four", ints(8).reshape([2, 1, 2, 2])?),
        ("three_half", range(12, 8.).reshape([2, 2, 3])?),
        ("long_row", ints(40)?),
        ("long_floats", range(30, 8.)?),
        ("long_rows", range(60, 8.).reshape([2, 30])?),
        ("summary", ints(2000)?),
        ("summary_floats", range(1001, 4.)?),
        ("summary2", range(40000, 1.).reshape([200, 200])?),
        ("summary3", ints(2700).reshape([3, 3, 300])?),
        ("exactly1000", range(1000, 1.).reshape([1000, 1]).narrow(0, 0, 3)?),
        ("small_summary", ints(1200).reshape([4, 300])?),
        ("negzero", Tensor::from([-0f32, 0.5])),
        ("negzero_whole", Tensor::from([-0f32, 1.])),
        ("ones_column", Tensor::ones([3, 1], DType::F32)?),
        ("exp3", Tensor::from([1e300, 1e-300])),
        ("minus_sci", Tensor::from([-1e-5f32, 1.])),
        ("round", Tensor::from([0.00005, 0.99995])),
        ("summary_bool", Tensor::from((0..1500).map(|i| i % 2 == 0).collect::<Vec<bool>>())),
        ("big_ints", Tensor::from([(1i64 << 53) + 1, i64::MIN, i64::MAX])),
        ("tall", range(1200, 4.).reshape([600, 2])?),
    ])
}

#[test]
fn prints_as_pytorch_prints() {
    let (mut expected, mut wrong) = (expected(), Vec::new());
    for (name, tensor) in tensors().unwrap() {
        let expected = expected.remove(name).unwrap();
        if tensor.to_string() != expected {
            wrong.push(format!("{name}:\n{tensor}\nexpected:\n{expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(expected.is_empty(), "not tried: {:?}", expected.keys());
}

#[test]
fn any_layout_prints_alike() {
    let x = range(12, 8.).reshape([3, 4]).unwrap();
    let twice = x.t().copy().t().flip(1).flip(1).unwrap();
    assert!(!twice.is_contiguous());
    assert_eq!(twice.to_string(), x.to_string());
    assert_eq!(format!("{twice:?}"), x.to_string());
}
