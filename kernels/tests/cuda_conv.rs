//! Convolutions on a GPU have the CPU's bits. Without a device there is nothing to compare; with `FERROTAPE_TEST_DEVICE=cuda` there
//! must be one.

#![allow(clippy::unwrap_used)]

use ferrotape_kernels::cpu::conv::{self as cpu, Conv2dShape};
use ferrotape_kernels::cpu::gemm::Activation;
use ferrotape_kernels::cuda::conv::{Convolution, conv2d};
use ferrotape_kernels::cuda::{Array, DeviceBuffer, Gpu, Type, gpu};
use ferrotape_kernels::{Float, reference};

fn device() -> Option<&'static Gpu> {
    match gpu(0) {
        Ok(gpu) => Some(gpu),
        Err(why) => {
            assert!(std::env::var_os("FERROTAPE_TEST_DEVICE").is_none(), "{why}");
            println!("no GPU: {why}");
            None
        }
    }
}

trait Element: Float + std::fmt::Debug {
    const KIND: Type;
    fn of(x: f64) -> Self;
    fn bytes(self) -> Vec<u8>;
    fn read(bytes: &[u8]) -> Self;
    /// Any NaN is any NaN.
    fn same(self, other: Self) -> bool;
}

macro_rules! element {
    ($($t:ty, $kind:ident;)*) => {$(
        impl Element for $t {
            const KIND: Type = Type::$kind;
            fn of(x: f64) -> Self { x as $t }
            fn bytes(self) -> Vec<u8> { self.to_le_bytes().to_vec() }
            fn read(bytes: &[u8]) -> Self { <$t>::from_le_bytes(bytes.try_into().unwrap()) }
            fn same(self, other: Self) -> bool {
                self.to_bits() == other.to_bits() || (self.is_nan() && other.is_nan())
            }
        }
    )*};
}
element! {
    f32, F32;
    f64, F64;
}

fn numbers<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        let next = state.wrapping_mul(6_364_136_223_846_793_005);
        state = next.wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..len).map(|_| T::of((next() - 0.5) * 4.0)).collect()
}

fn upload<T: Element>(gpu: &'static Gpu, data: &[T]) -> DeviceBuffer {
    let bytes: Vec<u8> = data.iter().flat_map(|x| x.bytes()).collect();
    let mut buffer = DeviceBuffer::new(gpu, bytes.len()).unwrap();
    buffer.upload(&bytes).unwrap();
    buffer
}

fn compare<T: Element>(buffer: &DeviceBuffer, want: &[T], what: &str, shape: &Conv2dShape) {
    let mut bytes = vec![0; buffer.len()];
    buffer.download(0, &mut bytes).unwrap();
    let got: Vec<T> = bytes.chunks_exact(T::KIND.size()).map(T::read).collect();
    assert_eq!(got.len(), want.len());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got.same(*want), "{what} {shape:?}: element {i}: {got:?}, not {want:?}");
    }
}

fn sizes(shape: &Conv2dShape) -> [usize; 3] {
    let [oh, ow] = shape.output().unwrap();
    let ([h, w], [kh, kw]) = (shape.input, shape.kernel);
    [
        shape.batch * shape.in_channels * h * w,
        shape.out_channels * shape.in_channels / shape.groups * kh * kw,
        shape.batch * shape.out_channels * oh * ow,
    ]
}

fn check<T: Element>(gpu: &'static Gpu, shape: &Conv2dShape) {
    let [x, weight, y] = sizes(shape);
    check_values::<T>(gpu, shape, &numbers(x, 1), &numbers(weight, 2), &numbers(y, 3), false);
}

/// With numbers that are not finite the reference is asked, which leaves missing taps out.
fn check_values<T: Element>(
    gpu: &'static Gpu,
    shape: &Conv2dShape,
    x: &[T],
    weight: &[T],
    grad: &[T],
    by_reference: bool,
) {
    let bias = numbers::<T>(shape.out_channels, 4);
    let mut y = vec![T::ZERO; grad.len()];
    let (mut dx, mut dw) = (vec![T::ZERO; x.len()], vec![T::ZERO; weight.len()]);
    if by_reference {
        reference::conv::conv2d(shape, x, weight, Some(&bias), Activation::Relu, &mut y);
        reference::conv::conv2d_input_grad(shape, grad, weight, &mut dx);
        reference::conv::conv2d_weight_grad(shape, x, grad, &mut dw);
    } else {
        cpu::conv2d(shape, x, weight, Some(&bias), Activation::Relu, &mut y).unwrap();
        cpu::conv2d_input_grad(shape, grad, weight, &mut dx).unwrap();
        cpu::conv2d_weight_grad(shape, x, grad, &mut dw).unwrap();
    }
    let buffers = [upload(gpu, x), upload(gpu, weight), upload(gpu, grad), upload(gpu, &bias)];
    let lens = [[x.len()], [weight.len()], [grad.len()], [bias.len()]];
    let array = |i: usize| Array::new(&buffers[i], T::KIND, 0, &lens[i], &[1]).unwrap();
    let [x, weight, grad, bias] = [0, 1, 2, 3].map(array);
    let run = |convolution: Convolution<'_>, want: &[T], what| {
        let mut out = upload(gpu, &vec![T::ONE; want.len()]);
        conv2d(shape, &convolution, &mut out).unwrap();
        compare(&out, want, what, shape);
    };
    let (relu, none) = (Activation::Relu, Activation::None);
    run(Convolution::Forward { x, weight, bias: Some(bias), activation: relu }, &y, "forward");
    run(Convolution::Input { grad, weight }, &dx, "input gradient");
    run(Convolution::Weight { x, grad }, &dw, "weight gradient");
    let mut out = DeviceBuffer::new(gpu, y.len() * T::KIND.size() - 1).unwrap();
    let short = Convolution::Forward { x, weight, bias: None, activation: none };
    assert!(conv2d(shape, &short, &mut out).is_err());
}

fn plain(batch: usize, [inputs, outputs]: [usize; 2], input: [usize; 2]) -> Conv2dShape {
    Conv2dShape {
        batch,
        in_channels: inputs,
        out_channels: outputs,
        input,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups: 1,
    }
}

fn shapes() -> Vec<Conv2dShape> {
    vec![
        plain(1, [1, 1], [1, 1]),
        plain(2, [3, 5], [7, 9]),
        plain(3, [1, 8], [28, 28]),
        plain(2, [33, 70], [9, 12]),
        Conv2dShape { kernel: [5, 2], padding: [2, 0], ..plain(2, [4, 6], [11, 8]) },
        Conv2dShape { kernel: [1, 1], padding: [0, 0], ..plain(2, [17, 64], [8, 8]) },
        Conv2dShape { stride: [2, 3], ..plain(2, [5, 7], [13, 11]) },
        Conv2dShape {
            stride: [2, 2],
            padding: [3, 3],
            kernel: [7, 7],
            ..plain(1, [3, 16], [17, 16])
        },
        Conv2dShape { dilation: [2, 3], padding: [2, 3], ..plain(2, [3, 4], [10, 12]) },
        Conv2dShape { groups: 2, ..plain(2, [6, 4], [8, 9]) },
        Conv2dShape { groups: 6, stride: [2, 1], ..plain(1, [6, 12], [9, 8]) },
        // More padding than image, and outputs that see none of it.
        Conv2dShape { padding: [4, 4], ..plain(1, [2, 3], [2, 3]) },
    ]
}

#[test]
fn f32_convolutions_have_the_cpus_bits() {
    let Some(gpu) = device() else { return };
    for shape in shapes() {
        check::<f32>(gpu, &shape);
    }
    // Whole tiles.
    check::<f32>(gpu, &plain(4, [32, 64], [16, 16]));
}

#[test]
fn f64_convolutions_have_the_cpus_bits() {
    let Some(gpu) = device() else { return };
    for shape in shapes() {
        check::<f64>(gpu, &shape);
    }
}

#[test]
fn taps_beyond_the_image_contribute_nothing() {
    let Some(gpu) = device() else { return };
    for shape in [
        plain(2, [3, 5], [7, 9]),
        Conv2dShape { stride: [2, 2], ..plain(2, [3, 40], [9, 8]) },
        Conv2dShape { groups: 2, dilation: [2, 1], ..plain(1, [4, 4], [6, 6]) },
    ] {
        let [x, weight, y] = sizes(&shape).map(|len| numbers::<f32>(len, 9));
        let spoiled = |mut data: Vec<f32>| {
            for (i, x) in data.iter_mut().enumerate() {
                match i % 41 {
                    5 => *x = f32::INFINITY,
                    17 => *x = f32::NEG_INFINITY,
                    _ if i % 97 == 30 => *x = f32::NAN,
                    _ => {}
                }
            }
            data
        };
        let (bad_weight, bad_grad) = (spoiled(weight.clone()), spoiled(y.clone()));
        check_values(gpu, &shape, &x, &bad_weight, &y, true);
        check_values(gpu, &shape, &x, &weight, &bad_grad, true);
        check_values(gpu, &shape, &spoiled(x), &weight, &y, true);
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(gpu) = device() else { return };
    let shape = plain(1, [2, 3], [4, 4]);
    let [x, weight, y] = sizes(&shape);
    let buffer = upload(gpu, &numbers::<f32>(x.max(weight).max(y), 1));
    let lens = [[x], [weight], [x - 1]];
    let [x, weight, short] =
        [0, 1, 2].map(|i| Array::new(&buffer, Type::F32, 0, &lens[i], &[1]).unwrap());
    let mut out = DeviceBuffer::new(gpu, 4 * y).unwrap();
    let forward =
        |x, weight, bias| Convolution::Forward { x, weight, bias, activation: Activation::None };
    conv2d(&shape, &forward(x, weight, None), &mut out).unwrap();
    assert!(conv2d(&shape, &forward(short, weight, None), &mut out).is_err());
    assert!(conv2d(&shape, &forward(x, x, None), &mut out).is_err());
    assert!(conv2d(&shape, &forward(x, weight, Some(weight)), &mut out).is_err());
    let none = Conv2dShape { kernel: [9, 9], ..shape };
    assert!(conv2d(&none, &forward(x, weight, None), &mut out).is_err());
}
