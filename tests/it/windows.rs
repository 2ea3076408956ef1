//! Convolutions, pools and interpolation as functions and as layers: what they give where PyTorch's cases say little, and what they
//! refuse.

use ferrotape::nn::state_dict;
use ferrotape::prelude::*;
use ferrotape::{Divisor, WindowsOp};

fn draw(shape: &[usize]) -> Tensor {
    Generator::new(shape.len() as u64).uniform(shape, -1.0, 1.0, DType::F64).unwrap()
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().to_vec().unwrap()
}

/// What a layer and the function it stands for give.
fn same(layer: &impl Forward, x: &Tensor, y: Result<Tensor>) {
    let (found, y) = (layer.forward(x, &mut Ctx::eval()).unwrap(), y.unwrap());
    assert_eq!(found.shape(), y.shape());
    assert_eq!(numbers(&found), numbers(&y));
}

fn keys(layer: &dyn Module) -> Vec<(String, Vec<usize>)> {
    state_dict(layer).into_iter().map(|(name, t)| (name, t.shape().to_vec())).collect()
}

fn key(name: &str, shape: &[usize]) -> (String, Vec<usize>) {
    (name.to_owned(), shape.to_vec())
}

#[test]
fn convolution_layers_are_their_functions() {
    let rng = &mut Generator::new(1);
    let one = Conv1dConfig::new(4, 6, [3]).stride([2]).padding([1]).groups(2).dtype(DType::F64);
    let one = one.build(rng).unwrap();
    assert_eq!(keys(&one), [key("bias", &[6]), key("weight", &[6, 2, 3])]);
    let x = draw(&[2, 4, 9]);
    same(&one, &x, x.conv1d(&one.weight, one.bias.as_deref(), one.settings));
    let two = Conv2dConfig::new(2, 3, [4, 3]).padding_same().bias(false).dtype(DType::F64);
    let two = two.build(rng).unwrap();
    assert_eq!(keys(&two), [key("weight", &[3, 2, 4, 3])]);
    let x = draw(&[2, 5, 6]);
    same(&two, &x, x.conv2d_same(&two.weight, None, Conv2dOp::default()));
    let back = ConvTranspose1dConfig::new(4, 6, [3]).stride([2]).output_padding([1]).groups(2);
    let back = back.padding([1]).dtype(DType::F64).build(rng).unwrap();
    assert_eq!(keys(&back), [key("bias", &[6]), key("weight", &[4, 3, 3])]);
    let x = draw(&[2, 4, 5]);
    same(&back, &x, x.conv_transpose1d(&back.weight, back.bias.as_deref(), back.settings));
    let back = ConvTranspose2dConfig::new(2, 3, [3, 2]).dilation([1, 2]).dtype(DType::F64);
    let back = back.build(rng).unwrap();
    let x = draw(&[1, 2, 3, 4]);
    same(&back, &x, x.conv_transpose2d(&back.weight, back.bias.as_deref(), back.settings));
    // Within 1 / sqrt(fan in), which counts the outputs of a transposed weight; and not much less.
    for (parameter, bound) in [
        (&back.weight, 1.0 / 18f64.sqrt()),
        (back.bias.as_ref().unwrap(), 1.0 / 18f64.sqrt()),
        (&two.weight, 1.0 / 24f64.sqrt()),
    ] {
        let largest = numbers(parameter).into_iter().fold(0.0, |m: f64, x| m.max(x.abs()));
        assert!(largest <= bound && largest > 0.5 * bound, "{largest} {bound}");
    }
    assert!(Conv1dConfig::new(3, 4, [1]).groups(2).build(rng).is_err());
    assert!(ConvTranspose2dConfig::new(4, 3, [1, 1]).groups(2).build(rng).is_err());
    assert!(Conv2dConfig::new(1, 1, [3, 3]).stride([2, 1]).padding_same().build(rng).is_err());
}

#[test]
fn padding_modes() {
    let x = Tensor::from([[[1.0, 2.0, 3.0, 4.0]]]);
    let padded = |mode: PaddingMode, padding: usize| {
        let layer = Conv1dConfig::new(1, 1, [1]).padding([padding]).padding_mode(mode);
        let mut layer = layer.bias(false).dtype(DType::F64).build(&mut Generator::new(0))?;
        layer.weight.set(Tensor::from([[[1.0]]]));
        layer.forward(&x, &mut Ctx::eval())
    };
    let expected = [
        (PaddingMode::Zeros, [0., 0., 1., 2., 3., 4., 0., 0.]),
        (PaddingMode::Reflect, [3., 2., 1., 2., 3., 4., 3., 2.]),
        (PaddingMode::Replicate, [1., 1., 1., 2., 3., 4., 4., 4.]),
        (PaddingMode::Circular, [3., 4., 1., 2., 3., 4., 1., 2.]),
    ];
    for (mode, expected) in expected {
        assert_eq!(numbers(&padded(mode, 2).unwrap()), expected, "{mode:?}");
    }
    assert!(padded(PaddingMode::Reflect, 3).is_ok());
    assert!(padded(PaddingMode::Reflect, 4).is_err());
    assert!(padded(PaddingMode::Circular, 4).is_ok());
    assert!(padded(PaddingMode::Circular, 5).is_err());
    // "same" puts the odd place at the end; of images both dims are padded.
    let layer = Conv2dConfig::new(1, 1, [2, 2]).padding_same().padding_mode(PaddingMode::Replicate);
    let mut layer = layer.bias(false).dtype(DType::F64).build(&mut Generator::new(0)).unwrap();
    layer.weight.set(Tensor::from([[[[0.0, 0.0], [0.0, 1.0]]]]));
    let image = Tensor::from([[[1.0, 2.0], [3.0, 4.0]]]);
    let y = layer.forward(&image, &mut Ctx::eval()).unwrap();
    assert_eq!(numbers(&y), [4.0; 4]);
}

#[test]
fn pool_layers_are_their_functions() {
    let (line, image) = (draw(&[2, 3, 7]), draw(&[2, 3, 7, 5]));
    let max = Pool2dOp::new([3, 2]).stride([2, 2]).padding([1, 0]).dilation([1, 2]).ceil_mode(true);
    let mean = AvgPool2dOp::new([3, 2]).padding([1, 1]).count_include_pad(false);
    same(&MaxPool1d::new([2]), &line, line.max_pool1d(Pool1dOp::new([2])));
    same(&MaxPool2d::from(max), &image, image.max_pool2d(max));
    same(&AvgPool1d::new([3]), &line, line.avg_pool1d(AvgPool1dOp::new([3])));
    same(&AvgPool2d::from(mean), &image, image.avg_pool2d(mean));
    same(&AdaptiveAvgPool1d::new(3), &line, line.adaptive_avg_pool1d(3));
    same(&AdaptiveAvgPool2d::new([3, 4]), &image, image.adaptive_avg_pool2d([3, 4]));
    same(&AdaptiveMaxPool2d::new([3, 4]), &image, image.adaptive_max_pool2d([3, 4]));
    let open = AdaptiveAvgPool2d { output_size: [None, Some(1)] };
    same(&open, &image, image.adaptive_avg_pool2d([7, 1]));
    let double = Interpolate::scale_factor(&[2.0]).mode(InterpolateMode::Bilinear);
    same(&Upsample::new(double.clone()), &image, image.interpolate(&double));
    assert_eq!(image.adaptive_avg_pool2d([1, 1]).unwrap().shape(), [2, 3, 1, 1]);
    assert_eq!(image.adaptive_max_pool2d([0, 2]).unwrap().shape(), [2, 3, 0, 2]);
}

/// The same maxima by the taps' kernel and by gathering from where they lie, with their gradients.
#[test]
fn both_ways_to_the_maxima_agree() {
    for dtype in [DType::F32, DType::F64] {
        let x = draw(&[2, 3, 9, 11]).mul(4.0).round().to_dtype(dtype).unwrap();
        for pool in [
            Pool2dOp::new([2, 2]),
            Pool2dOp::new([2, 2]).ceil_mode(true),
            Pool2dOp::new([3, 3]).stride([2, 1]).padding([1, 1]),
            Pool2dOp::new([3, 5]).stride([2, 3]).padding([0, 2]).ceil_mode(true),
        ] {
            let both = |f: &dyn Fn(&Tensor) -> Result<Tensor>| {
                let (sum, tape) = Tape::record(|tape| {
                    tape.watch(&x);
                    f(&x).square().sum(..)
                })
                .unwrap();
                let gradient = tape.gradient(&sum, &[&x]).unwrap().remove(0);
                (numbers(&f(&x).unwrap()), numbers(&gradient))
            };
            let taps = both(&|x| x.max_pool2d(pool));
            assert_eq!(taps, both(&|x| Ok(x.max_pool2d_with_indices(pool)?.0)), "{pool:?}");
        }
    }
}

#[test]
fn windows_of_more_taps_than_a_byte_counts() {
    let x = Tensor::arange(0., 1., 40 * 40, DType::F32).reshape([1, 40, 40]).unwrap();
    let (y, index) = x.max_pool2d_with_indices(Pool2dOp::new([20, 20])).unwrap();
    let corners = [19 * 40 + 19, 19 * 40 + 39, 39 * 40 + 19, 39 * 40 + 39];
    assert_eq!(index.to_vec::<i64>().unwrap(), corners);
    assert_eq!(numbers(&y), corners.map(|i| i as f64));
    assert_eq!(numbers(&x.max_pool2d(Pool2dOp::new([20, 20])).unwrap()), numbers(&y));
    let nan = Tensor::from([[[1.0, f64::NAN, 3.0, f64::NAN]]]);
    let (y, index) = nan.max_pool2d_with_indices(Pool2dOp::new([1, 4])).unwrap();
    assert!(numbers(&y)[0].is_nan());
    assert_eq!(index.to_vec::<i64>().unwrap(), [1]);
}

/// What is padded contributes nothing, not even beside what is not finite.
#[test]
fn padding_meets_no_infinity() {
    let infinite = Tensor::full([1, 1, 2], f64::INFINITY, DType::F64).unwrap();
    let x = Tensor::from([[1.0, 1.0]]);
    let y = x.conv1d(&infinite, None, Conv1dOp::default().padding([1])).unwrap();
    assert_eq!(numbers(&y), [f64::INFINITY; 3]);
    let y = x.conv_transpose1d(&infinite, None, ConvTranspose1dOp::default().stride([3])).unwrap();
    assert_eq!(numbers(&y), [f64::INFINITY, f64::INFINITY, 0., f64::INFINITY, f64::INFINITY]);
    let deep = Tensor::full([1, 1, 2, 1, 1], f64::INFINITY, DType::F64).unwrap();
    let volume = Tensor::from([[[[1.0]], [[1.0]]]]);
    let y = volume.conv3d(&deep, None, Conv3dOp::default().padding([1, 0, 0])).unwrap();
    assert_eq!(numbers(&y), [f64::INFINITY; 3]);
    // An infinity that no output sees stays where it is.
    let x = Tensor::from([[[0.0, 2.0, f64::INFINITY]]]);
    let y = x.interpolate(&Interpolate::size(&[6]).mode(InterpolateMode::Linear)).unwrap();
    assert_eq!(numbers(&y)[..3], [0.0, 0.5, 1.5]);
}

#[test]
fn refusals_say_why() {
    let x = draw(&[1, 2, 4, 4]);
    let says = |y: Result<Tensor>, words: &str| {
        let error = y.unwrap_err().to_string();
        assert!(error.contains(words) && error.contains("windows.rs"), "{error}");
    };
    says(x.max_pool2d(Pool2dOp::new([5, 5])), "does not fit");
    says(x.max_pool2d(Pool2dOp::new([2, 2]).padding([2, 0])), "more than half the window");
    says(x.avg_pool2d(AvgPool2dOp::new([2, 2]).divisor_override(Some(0))), "divisor");
    says(
        x.squeeze(0).unwrap().squeeze(0).unwrap().sum(0).max_pool2d(Pool2dOp::new([1, 1])),
        "dims",
    );
    says(x.max_pool1d(Pool1dOp::new([2])), "2 dims expected");
    let w = draw(&[2, 3, 2, 2]);
    says(x.conv2d_same(&draw(&[3, 2, 2, 2]), None, Conv2dOp::default().stride([2, 2])), "stride 1");
    says(x.conv_transpose2d(&draw(&[3, 2, 2, 2]), None, ConvTranspose2dOp::default()), "channels");
    let far = ConvTranspose2dOp::default().output_padding([1, 0]);
    says(x.conv_transpose2d(&w, None, far), "output_padding");
    says(x.conv_transpose2d(&w, None, ConvTranspose2dOp::default().padding([3, 0])), "no output");
    let plain = ConvTranspose2dOp::default();
    says(x.conv_transpose2d(&w, Some(&draw(&[2])), plain), "[3] expected");
    let size = |size: &[usize]| Interpolate::size(size);
    says(x.interpolate(&size(&[0])), "to size 0");
    says(x.interpolate(&size(&[1, 2, 3])), "3 sizes");
    says(x.interpolate(&size(&[3]).mode(InterpolateMode::Linear)), "number of dims");
    says(x.interpolate(&size(&[3]).align_corners(true)), "corners");
    says(x.interpolate(&Interpolate::scale_factor(&[f64::NAN])), "scale factor");
    says(x.local_response_norm(0, 1.0, 1.0, 1.0), "0 channels");
    assert!("cubic".parse::<InterpolateMode>().is_err());
}

/// Settings out of all bounds are errors, not panics, and take no time.
#[test]
fn absurd_settings() {
    let odd = [0, 1, 2, 3, usize::MAX, usize::MAX / 2, 1 << 62, 1 << 40];
    let mut refused = 0;
    let mut seed = 1u64;
    let mut draw_one = || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        odd[(seed >> 33) as usize % if seed >> 63 == 0 { 4 } else { odd.len() }]
    };
    Device::Cpu.set_memory_limit(Some(1 << 28));
    let (x, w) = (draw(&[1, 2, 4, 4]), draw(&[2, 2, 2, 2]));
    let (empty, none) = (draw(&[0, 2, 4, 4]), draw(&[0, 2, 2, 2]));
    for _ in 0..4000 {
        let mut pair = || [draw_one(), draw_one()];
        let (stride, padding, dilation, kernel) = (pair(), pair(), pair(), pair());
        let output_padding = pair();
        let groups = pair()[0];
        let deep = Conv3dOp::default().padding([padding[0]; 3]).dilation([dilation[1], 1, 1]);
        let transposed =
            ConvTranspose2dOp { stride, padding, output_padding, dilation, groups: groups.min(2) };
        let conv = Conv2dOp { stride, padding, dilation, groups };
        let pool = Pool2dOp::new(kernel).stride(stride).padding(padding).dilation(dilation);
        let pool = pool.ceil_mode(groups == 1);
        let mean = AvgPool2dOp::new(kernel).stride(stride).padding(padding);
        for x in [&x, &empty] {
            for w in [&w, &none] {
                let volume = x.unsqueeze(0).unwrap();
                let results = [
                    x.conv2d_same(w, None, conv.stride([1, 1])),
                    x.conv_transpose2d(w, None, transposed),
                    volume.conv3d(&w.unsqueeze(2).unwrap(), None, deep.stride([stride[0], 1, 1])),
                    x.max_pool2d(pool),
                    x.max_pool2d_with_indices(pool).map(|pair| pair.0),
                    x.avg_pool2d(mean),
                    x.adaptive_avg_pool2d(kernel),
                    x.adaptive_max_pool2d(kernel),
                    x.window_mean_input(WindowsOp::Adaptive(kernel), Divisor::Elements, stride),
                    x.interpolate(&Interpolate::size(&kernel)),
                    x.local_response_norm(kernel[0], 1.0, 1.0, 1.0),
                ];
                refused += results.iter().filter(|y| y.is_err()).count();
            }
        }
    }
    Device::Cpu.set_memory_limit(None);
    assert!(refused > 10_000, "{refused}");
}
