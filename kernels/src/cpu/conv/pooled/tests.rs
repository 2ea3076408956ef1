//! Against convolution and pool one by one, bit for bit.

use super::*;
use crate::cpu::conv::forward::conv2d_on;
use crate::cpu::gemm::Activation;
use crate::cpu::gemm::tests::{available, numbers};
use crate::cpu::isa::{HasTokens, Tokens};
use crate::cpu::pool::max_pool2d;
use crate::cpu::zeros::skips_zeros;

fn conv(batch: usize, [inputs, outputs]: [usize; 2], input: [usize; 2]) -> Conv2dShape {
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

/// Followed by a pool of `size` by `size` windows.
fn pooled(conv: Conv2dShape, size: usize, stride: usize, padding: usize) -> PooledShape {
    let input = conv.output().unwrap();
    let pool = Pool2dShape {
        planes: conv.batch * conv.out_channels,
        input,
        kernel: [size; 2],
        stride: [stride; 2],
        padding: [padding; 2],
        dilation: [1, 1],
        ceil: false,
    };
    PooledShape { conv, pool }
}

/// Bits, but one NaN.
fn bits<T: Float>(values: &[T]) -> Vec<u64> {
    let bits = |x: &T| if x.is_nan() { u64::MAX } else { x.to_f64().to_bits() };
    values.iter().map(bits).collect()
}

struct Operands<T> {
    x: Vec<T>,
    weight: Vec<T>,
    bias: Vec<T>,
    grad: Vec<T>,
}

impl<T: Float> Operands<T> {
    fn new(shape: &PooledShape) -> Self {
        let PooledShape { conv, pool } = shape;
        let [oh, ow] = pool.output().unwrap();
        let mut grad = numbers::<T>(pool.planes * oh * ow, 3);
        // What a relu leaves.
        grad.iter_mut().filter(|g| g.to_f64() < -0.5).for_each(|g| *g = T::ZERO);
        Operands {
            x: numbers(conv.batch * conv.in_channels * conv.input[0] * conv.input[1], 1),
            weight: numbers(conv.out_channels * conv.taps(), 2),
            bias: numbers(conv.out_channels, 4),
            grad,
        }
    }
}

fn check_values<T: Float>(shape: &PooledShape, operands: &Operands<T>)
where
    Tokens: HasTokens<T>,
{
    let Operands { x, weight, bias, grad } = operands;
    let PooledShape { conv, pool } = shape;
    let mut map = vec![T::ONE; shape.map_len().unwrap()];
    let (mut y, mut index) = (vec![T::ONE; grad.len()], vec![9; grad.len()]);
    let d = Dispatch::in_force();
    conv2d_on(d, conv, x, weight, Some(bias), Activation::None, &mut map).unwrap();
    max_pool2d(pool, &map, &mut y, &mut index).unwrap();
    let spread = shape.map_grad(grad, &index).unwrap();
    let (mut dx, mut dw) = (vec![T::ONE; x.len()], vec![T::ONE; weight.len()]);
    conv2d_input_grad_on(d, conv, spread.as_slice(), weight, &mut dx).unwrap();
    conv2d_weight_grad_on(d, conv, x, spread.as_slice(), &mut dw).unwrap();
    let sizes = [conv.batch, conv.out_channels, pool.input[0], pool.input[1]];
    let plane = (sizes[2] * sizes[3]) as isize;
    let strides = [plane * sizes[1] as isize, plane, sizes[3] as isize, 1];
    let mut db = vec![T::ONE; conv.out_channels];
    let view = View::new(spread.as_slice::<T>(), 0, &sizes, &strides).unwrap();
    reduce(ReduceOp::Sum, view, &[true, false, true, true], &mut db).unwrap();
    for d in available().flat_map(|isa| [Dispatch::forced(isa, false), Dispatch::forced(isa, true)])
    {
        let (mut out, mut taps) = (vec![T::ZERO; y.len()], vec![7; y.len()]);
        forward::compute(d, shape, x, weight, Some(bias), (&mut out, &mut taps)).unwrap();
        assert_eq!(bits(&out), bits(&y), "{d:?} {shape:?}");
        assert_eq!(taps, index, "{d:?} {shape:?}");
        let (mut weights, mut biases) = (vec![T::ZERO; dw.len()], vec![T::ZERO; db.len()]);
        weight_grad_on(d, shape, x, (grad, &index), (&mut weights, &mut biases)).unwrap();
        assert_eq!(bits(&weights), bits(&dw), "weight {d:?} {shape:?}");
        assert_eq!(bits(&biases), bits(&db), "bias {d:?} {shape:?}");
        let mut inputs = vec![T::ZERO; dx.len()];
        input_grad_on(d, shape, (grad, &index), weight, &mut inputs).unwrap();
        assert_eq!(bits(&inputs), bits(&dx), "input {d:?} {shape:?}");
    }
}

fn check(shape: PooledShape) {
    check_values(&shape, &Operands::<f32>::new(&shape));
    check_values(&shape, &Operands::<f64>::new(&shape));
}

#[test]
fn the_bits_of_convolution_and_pool() {
    // One channel: taps side by side; many: channels.
    check(pooled(conv(3, [1, 5], [28, 28]), 2, 2, 0));
    check(pooled(conv(7, [32, 33], [14, 14]), 2, 2, 0));
    check(pooled(conv(2, [20, 18], [9, 11]), 3, 2, 1));
    check(pooled(conv(3, [37, 4], [12, 10]), 2, 2, 0));
    check(pooled(conv(1, [16, 2], [6, 6]), 2, 2, 0));
    check(pooled(conv(40, [16, 3], [4, 4]), 2, 2, 0));
    // Several windows of images, and blocks that end in the middle of an image.
    check(pooled(conv(9, [16, 64], [30, 30]), 2, 2, 0));
    let base = conv(2, [17, 30], [17, 15]);
    check(pooled(Conv2dShape { stride: [2, 1], ..base }, 2, 2, 0));
    check(pooled(Conv2dShape { padding: [0, 2], dilation: [2, 1], ..base }, 3, 3, 0));
    check(pooled(Conv2dShape { stride: [3, 2], padding: [0, 0], ..base }, 2, 2, 1));
    let few = conv(3, [2, 6], [17, 15]);
    for kernel in [[1, 1], [2, 3], [1, 8]] {
        check(pooled(Conv2dShape { kernel, ..few }, 2, 2, 0));
        check(pooled(Conv2dShape { kernel, stride: [2, 1], padding: [0, 1], ..few }, 3, 2, 0));
    }
    // By the whole map.
    check(pooled(Conv2dShape { kernel: [5, 5], padding: [2, 2], ..base }, 2, 2, 0));
    check(pooled(Conv2dShape { dilation: [1, 2], ..base }, 2, 2, 0));
    check(pooled(Conv2dShape { groups: 2, in_channels: 4, ..base }, 2, 2, 0));
    check(pooled(base, 2, 1, 0));
    check(pooled(conv(2, [4, 1], [9, 9]), 2, 2, 0));
    let mut ceil = pooled(conv(2, [16, 4], [9, 9]), 2, 2, 0);
    ceil.pool.ceil = true;
    check(ceil);
}

#[test]
fn nothing() {
    for (batch, channels) in [(0, [2, 3]), (2, [0, 3]), (2, [3, 0])] {
        check(pooled(conv(batch, channels, [6, 6]), 2, 2, 0));
    }
}

#[test]
fn numbers_that_make_skipping_wrong() {
    let shape = pooled(conv(2, [16, 6], [8, 8]), 2, 2, 0);
    for few in [shape, pooled(conv(2, [1, 6], [8, 8]), 2, 2, 0)] {
        let d = Dispatch::in_force();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-30, -1e-42, -0.0] {
            let mut values = Operands::<f32>::new(&few);
            values.grad[3] = bad;
            assert_eq!(skips_zeros(d, &values.x, &values.grad), bad == 0.0);
            check_values(&few, &values);
            let mut values = Operands::<f32>::new(&few);
            values.x[11] = bad;
            check_values(&few, &values);
            let mut values = Operands::<f32>::new(&few);
            values.weight[9] = bad;
            check_values(&few, &values);
        }
        // Products that are rounded to -0, whose sums zeros would turn to +0.
        let mut values = Operands::<f32>::new(&few);
        values.x.iter_mut().for_each(|x| *x *= -1e-30);
        values.grad.iter_mut().for_each(|x| *x = x.abs() * 1e-30);
        values.weight.iter_mut().for_each(|x| *x *= 1e-30);
        check_values(&few, &values);
    }
}

#[test]
fn broken_contracts_are_errors() {
    let good = pooled(conv(2, [1, 2], [4, 4]), 2, 2, 0);
    let values = Operands::<f32>::new(&good);
    let run = |shape: &PooledShape, index: &[u8], bias: usize| {
        let (mut out, mut dw, mut dx) = ([0.0; 16], [0.0; 18], [0.0; 32]);
        let (mut taps, mut db) = ([0; 16], vec![0.0; bias]);
        let Operands { x, weight, grad, .. } = &values;
        let forward = conv2d_max_pool2d(shape, x, weight, None, &mut out, &mut taps);
        let weights = conv2d_max_pool2d_weight_grad(shape, x, grad, index, &mut dw, &mut db);
        let inputs = conv2d_max_pool2d_input_grad(shape, grad, index, weight, &mut dx);
        [forward.is_ok(), weights.is_ok(), inputs.is_ok()]
    };
    assert_eq!(run(&good, &[3; 16], 2), [true; 3]);
    assert_eq!(run(&good, &[3; 16], 3), [true, false, true]);
    assert_eq!(run(&good, &[4; 16], 2), [true, false, false]);
    assert_eq!(run(&good, &[3; 15], 2), [true, false, false]);
    let mut other = good;
    other.pool.input = [4, 5];
    assert_eq!(run(&other, &[3; 16], 2), [false; 3]);
    let mut other = good;
    other.pool.planes = 3;
    assert_eq!(run(&other, &[3; 16], 2), [false; 3]);
    let mut other = good;
    other.conv.in_channels = 2;
    assert_eq!(run(&other, &[3; 16], 2), [false; 3]);
}
