//! Convolutions and pools.

use super::super::super::array::Type;
use super::super::super::driver::Gpu;
use super::super::super::testing::{assert_same, download, gpu, upload};
use super::super::finish::Call;
use super::super::product::conv2d_by;
use super::super::{Conv2d, max_pool2d};
use super::{BOTH, Placed, Random, as_codes, as_zero, signed, signed_mut};
use crate::cpu::int8::{self as cpu, Conv2dShape, Ending, Output, Pool2d, Zero};
use crate::error::Error;

fn pair(random: &mut Random, n: usize) -> [usize; 2] {
    [random.below(n), random.below(n)]
}

/// A random convolution, some outputs on the CPU and by both kinds of cores.
fn convolution(random: &mut Random, gpu: &'static Gpu, large: usize) {
    let depthwise = random.below(4) == 0;
    let groups = if depthwise { random.below(large) + 1 } else { [1, 1, 2, 3][random.below(4)] };
    let whole = [1, 4, 16][random.below(3)];
    let per = |random: &mut Random| if depthwise { 1 } else { random.below(large / 2 + 1) + 1 };
    let (inputs, outputs) = (per(random), per(random));
    let inputs = if depthwise { 1 } else { inputs.next_multiple_of(whole) };
    let shape = Conv2dShape {
        in_channels: groups * inputs,
        out_channels: groups * outputs,
        kernel: pair(random, 4).map(|k| k + 1),
        stride: pair(random, 3).map(|s| s + 1),
        padding: pair(random, 4),
        dilation: pair(random, 2).map(|d| d + 1),
        groups,
    };
    let (batch, input) = (random.below(3), pair(random, 12).map(|s| s + 1));
    let Some([oh, ow]) = shape.output(input) else { return };
    let ((kind, range), (weight_kind, weight_range)) = (random.kind(), random.kind());
    let n = shape.out_channels;
    let x = random.codes(batch * input[0] * input[1] * shape.in_channels);
    let weight = random.codes(n * inputs * shape.kernel[0] * shape.kernel[1]);
    let image_zeros = random.zeros(batch, range);
    let zero = as_zero(&image_zeros);
    let row_scale: Option<Vec<f32>> =
        random.yes().then(|| (0..batch).map(|_| random.float()).collect());
    let row_scale = row_scale.as_deref();
    let zeros = if random.yes() { Vec::new() } else { random.zeros(n, weight_range) };
    let weight_zero = (!zeros.is_empty()).then(|| as_zero(&zeros));
    let bias: Vec<i32> = (0..n).map(|_| random.between([-9999, 9999])).collect();
    let bias = random.yes().then_some(&bias[..]);
    let conv = match weight_kind {
        Type::I8 => cpu::Conv2d::new(&shape, signed(&weight)).unwrap(),
        _ => cpu::Conv2d::new(&shape, &weight).unwrap(),
    };
    let offset = random.offset();
    let placed = Placed::new(gpu, kind, offset, &x);
    let on_device = Placed::new(gpu, weight_kind, random.offset(), &weight);
    let device = Conv2d::new(&shape, on_device.array()).unwrap();
    let scale: Vec<f32> = (0..n).map(|_| random.float() * 0.01).collect();
    let scale = if random.yes() { &scale[..] } else { &scale[..1] };
    let (out_zero, relu) = (random.between([0, 255]), random.yes());
    macro_rules! compare {
        ($t:ty, $output:expr, $ending:expr) => {{
            let fill = vec![7 as $t; batch * oh * ow * n];
            let mut want = fill.clone();
            let (output, codes) = ($output(&mut want[..]), as_codes(kind, &x));
            cpu::conv2d(&conv, batch, input, codes, zero, weight_zero, bias, output).unwrap();
            for cores in BOTH {
                let call = Call {
                    zero,
                    weight_zero,
                    bias,
                    ending: $ending,
                    stride: n,
                    together: 1,
                    rows: None,
                };
                let mut out = upload(gpu, &fill);
                let x = placed.array();
                conv2d_by(cores, &device, (batch, input), x, &call, &mut out).unwrap();
                let said = || {
                    format!(
                        "{shape:?} {batch} {input:?} {kind:?} {weight_kind:?} {cores:?} at {offset}"
                    )
                };
                assert_same(&download::<$t>(&out), &want, &said);
            }
        }};
    }
    compare!(i32, Output::I32, Ending::I32);
    let multiplier = scale;
    match random.below(4) {
        0 => compare!(i64, Output::I64, Ending::I64),
        1 => {
            let output = |out| Output::F32 { out, scale, row_scale, bias: None, relu };
            compare!(f32, output, Ending::F32 { scale, row_scale, bias: None, relu })
        }
        2 => {
            let zero = out_zero;
            let output = |out| Output::U8 { out, multiplier, zero, relu };
            compare!(u8, output, Ending::Codes { signed: false, multiplier, zero, relu })
        }
        _ => {
            let zero = out_zero - 128;
            let output = |out| Output::I8 { out, multiplier, zero, relu };
            compare!(i8, output, Ending::Codes { signed: true, multiplier, zero, relu })
        }
    }
}

#[test]
fn random_convolutions_are_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(3);
    for i in 0..300 {
        convolution(&mut random, gpu, if i % 10 == 0 { 70 } else { 6 });
    }
}

/// More groups than have blocks of their own; images of many tiles.
#[test]
fn many_groups_and_places() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(4);
    let shape = |groups, in_channels, out_channels| Conv2dShape {
        in_channels,
        out_channels,
        kernel: [1, 3],
        stride: [1, 2],
        padding: [0, 1],
        dilation: [1, 1],
        groups,
    };
    for (shape, input) in [
        (shape(2100, 2100, 4200), [1, 2]),
        (shape(2100, 2100, 2100), [1, 3]),
        (shape(1, 32, 20), [60, 70]),
        (shape(1, 3, 130), [40, 30]),
    ] {
        let x = random.codes(input[0] * input[1] * shape.in_channels);
        let weight = random.codes(shape.out_channels * shape.in_channels / shape.groups * 3);
        let conv = cpu::Conv2d::new(&shape, signed(&weight)).unwrap();
        let [oh, ow] = shape.output(input).unwrap();
        let mut want = vec![0; oh * ow * shape.out_channels];
        let (codes, output) = (as_codes(Type::U8, &x), Output::I32(&mut want));
        cpu::conv2d(&conv, 1, input, codes, Zero::All(9), None, None, output).unwrap();
        let placed = Placed::new(gpu, Type::U8, 0, &x);
        let weight = Placed::new(gpu, Type::I8, 0, &weight);
        let device = Conv2d::new(&shape, weight.array()).unwrap();
        for cores in BOTH {
            let call = Call {
                zero: Zero::All(9),
                weight_zero: None,
                bias: None,
                ending: Ending::I32,
                stride: shape.out_channels,
                together: 1,
                rows: None,
            };
            let mut out = upload(gpu, &vec![7i32; want.len()]);
            conv2d_by(cores, &device, (1, input), placed.array(), &call, &mut out).unwrap();
            assert_same(&download::<i32>(&out), &want, &|| format!("{shape:?} {cores:?}"));
        }
    }
}

#[test]
fn wrong_convolutions_are_errors() {
    let Some(gpu) = gpu() else { return };
    let right = Conv2dShape {
        in_channels: 2,
        out_channels: 2,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    let weight = Placed::new(gpu, Type::I8, 0, &[1; 36]);
    for wrong in [
        Conv2dShape { kernel: [0, 3], ..right },
        Conv2dShape { stride: [0, 1], ..right },
        Conv2dShape { groups: 0, ..right },
        Conv2dShape { groups: 3, ..right },
        Conv2dShape { in_channels: usize::MAX, ..right },
        Conv2dShape { out_channels: 3, ..right },
    ] {
        assert!(Conv2d::new(&wrong, weight.array()).is_err(), "{wrong:?}");
    }
    let far = Conv2dShape { padding: [usize::MAX / 2 - 5; 2], ..right };
    let wide = Conv2dShape { padding: [1 << 30; 2], ..right };
    for (shape, input, len, zero) in [
        (right, [2, 5], 20, 0),
        (right, [5, 5], 49, 0),
        (right, [5, 5], 50, -1),
        (far, [5, 5], 50, 0),
        (wide, [5, 5], 50, 0),
    ] {
        let conv = Conv2d::new(&shape, weight.array()).unwrap();
        let x = Placed::new(gpu, Type::U8, 0, &vec![1; len]);
        let mut out = upload(gpu, &[0i32; 18]);
        let (zero, ending) = (Zero::All(zero), Ending::I32);
        let call = Call {
            zero,
            weight_zero: None,
            bias: None,
            ending,
            stride: 2,
            together: 1,
            rows: None,
        };
        let done = conv2d_by(BOTH[0], &conv, (1, input), x.array(), &call, &mut out);
        assert!(matches!(done, Err(Error::Contract(_) | Error::Beyond(_))), "{done:?}");
    }
}

#[test]
fn pools_take_the_largest_code() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(5);
    for _ in 0..120 {
        let kernel = pair(&mut random, 4).map(|k| k + 1);
        let padding = kernel.map(|k| random.below(k / 2 + 1));
        let pool = Pool2d { kernel, stride: pair(&mut random, 3).map(|s| s + 1), padding };
        let ([h, w], batch) = (pair(&mut random, 12).map(|s| s + 1), random.below(3));
        let c = if random.yes() { random.below(70) + 1 } else { 4 * random.below(9) + 4 };
        let Some([oh, ow]) = pool.output([h, w]) else { continue };
        let (kind, _) = random.kind();
        let (x, sizes) = (random.codes(batch * h * w * c), [batch, h, w, c]);
        let mut want = vec![0; batch * oh * ow * c];
        match kind {
            Type::I8 => cpu::max_pool2d(&pool, sizes, signed(&x), signed_mut(&mut want)).unwrap(),
            _ => cpu::max_pool2d(&pool, sizes, &x, &mut want).unwrap(),
        }
        let placed = Placed::new(gpu, kind, random.offset(), &x);
        let mut out = upload(gpu, &vec![7u8; want.len()]);
        max_pool2d(&pool, sizes, placed.array(), &mut out).unwrap();
        assert_same(&download::<u8>(&out), &want, &|| format!("{pool:?} {sizes:?} {kind:?}"));
    }
    let pool = Pool2d { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
    let placed = Placed::new(gpu, Type::U8, 0, &[0; 16]);
    let mut out = upload(gpu, &[0u8; 4]);
    assert_eq!(max_pool2d(&pool, [1, 4, 4, 1], placed.array(), &mut out), Ok(()));
    let wrong = Pool2d { padding: [2, 0], ..pool };
    assert!(max_pool2d(&wrong, [1, 4, 4, 1], placed.array(), &mut out).is_err());
    assert!(max_pool2d(&pool, [1, 4, 5, 1], placed.array(), &mut out).is_err());
}
