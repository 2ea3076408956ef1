//! Convolution, pooling, sums, concatenation and layouts against the naive formulas.

use super::super::join::{add_under, concat_under};
use super::super::layout::{nchw_from_nhwc_under, nhwc_from_nchw_under};
use super::super::pool::max_pool2d_under;
use super::super::scheme::Affine;
use super::super::{
    Code, Codes, Conv2d, Conv2dShape, Operand, Output, Pool2d, Zero, conv2d_under, max_pool2d,
};
use super::{Random, available, numbers, on_teams};
use crate::cpu::isa::{Int8Isa, Isa};
use crate::reference::int8 as reference;

fn isas() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.available())
}

/// A random convolution of `X` codes with `W` weights, each output on each of `isas`.
fn convolution<X: Code, W: Code>(random: &mut Random, isas: &[Int8Isa], large: usize) {
    let depthwise = random.below(4) == 0;
    let groups = if depthwise { random.below(large) + 1 } else { [1, 1, 2, 3][random.below(4)] };
    let per = |random: &mut Random| if depthwise { 1 } else { random.below(large / 2 + 1) + 1 };
    let (inputs, outputs) = (per(random), per(random));
    let pair = |random: &mut Random, n: usize| [random.below(n), random.below(n)];
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
    let ([h, w], [kh, kw], c) = (input, shape.kernel, shape.in_channels);
    let x: Vec<X> = random.codes(batch * h * w * c);
    let weight: Vec<W> = random.codes(shape.out_channels * inputs * kh * kw);
    let conv = Conv2d::new(&shape, &weight).unwrap();
    let x_zeros: Vec<i32> = (0..batch).map(|_| random.between(X::RANGE)).collect();
    let by_image = random.yes();
    let x_zero = match (by_image, x_zeros.first()) {
        (false, Some(zero)) => Zero::All(*zero),
        _ => Zero::Each(&x_zeros),
    };
    let n = shape.out_channels;
    let zeros: Vec<i32> = match random.below(3) {
        0 => (0..n).map(|_| random.between(W::RANGE)).collect(),
        _ => vec![0; n],
    };
    let weight_zero = zeros.iter().any(|zero| *zero != 0).then_some(Zero::Each(&zeros[..]));
    let bias: Vec<i32> = (0..n).map(|_| random.between([-9999, 9999])).collect();
    let bias = random.yes().then_some(&bias[..]);
    let at = |row: usize, l: usize, o: usize| {
        let (image, y, x_at) = (row / (oh * ow), row / ow % oh, row % ow);
        let (channel, i, j) = (l / (kh * kw), l / kw % kh, l % kw);
        let y = (y * shape.stride[0] + i * shape.dilation[0]).wrapping_sub(shape.padding[0]);
        let x_at = (x_at * shape.stride[1] + j * shape.dilation[1]).wrapping_sub(shape.padding[1]);
        if y >= h || x_at >= w {
            return 0;
        }
        let place = ((image * h + y) * w + x_at) * c;
        let zero = x_zeros[if by_image { image } else { 0 }];
        x[place + o / outputs * inputs + channel].to_i32() - zero
    };
    let mut want = Vec::new();
    for row in 0..batch * oh * ow {
        for o in 0..n {
            let k = inputs * kh * kw;
            let factor = |l: usize| weight[o * k + l].to_i32() - zeros[o];
            want.extend(reference::gemm(
                [1, k, 1],
                |_, l| at(row, l, o),
                |l, _| factor(l),
                |_| bias.map_or(0, |bias| bias[o]),
            ));
        }
    }
    let multiplier: Vec<f32> = (0..n).map(|_| random.float() * 0.01).collect();
    let (zero, relu) = (random.between(u8::RANGE), random.yes());
    let factors: Vec<f32> = (0..batch).map(|_| random.float()).collect();
    let float_bias: Vec<f32> = (0..n).map(|_| random.float()).collect();
    for &isa in isas {
        let call = |output: Output<'_>| {
            conv2d_under(isa, &conv, batch, input, X::codes(&x), x_zero, weight_zero, bias, output)
                .unwrap();
        };
        let said = format!("{shape:?} {batch} {input:?} {isa:?}");
        let mut sums = vec![7; want.len()];
        call(Output::I32(&mut sums));
        assert!(sums.iter().map(|x| i64::from(*x)).eq(want.iter().copied()), "{said}");
        let mut codes = vec![7; want.len()];
        call(Output::U8 { out: &mut codes, multiplier: &multiplier, zero, relu });
        for (i, (code, sum)) in codes.iter().zip(&want).enumerate() {
            let want = reference::requantize(*sum, multiplier[i % n], zero, u8::RANGE, relu);
            assert_eq!(i32::from(*code), want, "{said}");
        }
        let mut floats = vec![7.0; want.len()];
        call(Output::F32 {
            out: &mut floats,
            scale: &multiplier,
            row_scale: by_image.then_some(&factors),
            bias: Some(&float_bias),
            relu,
        });
        for (i, (float, sum)) in floats.iter().zip(&want).enumerate() {
            let factor = if by_image { factors[i / (n * oh * ow)] } else { 1.0 };
            let (scale, bias) = (factor * multiplier[i % n], Some(float_bias[i % n]));
            assert_eq!(*float, reference::dequantize_sum(*sum, scale, bias, relu), "{said}");
        }
    }
}

#[test]
fn random_convolutions_are_exact_on_every_isa() {
    let isas = available();
    let mut random = Random::new(3);
    for i in 0..600 {
        let large = if i % 20 == 0 { 70 } else { 6 };
        match random.below(4) {
            0 => convolution::<i8, i8>(&mut random, &isas, large),
            1 => convolution::<u8, u8>(&mut random, &isas, large),
            _ => convolution::<u8, i8>(&mut random, &isas, large),
        }
    }
    on_teams(|| {
        let mut random = Random::new(4);
        for _ in 0..12 {
            convolution::<u8, i8>(&mut random, &isas[isas.len() - 1..], 90);
        }
    });
}

#[test]
fn many_images_and_lines_are_cut_into_pieces() {
    let shape = Conv2dShape {
        in_channels: 8,
        out_channels: 20,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups: 1,
    };
    let mut random = Random::new(8);
    let conv = Conv2d::new(&shape, &random.codes::<i8>(20 * 72)).unwrap();
    for (batch, input) in [(40, [9, 7]), (2, [120, 90]), (1, [3, 4000])] {
        let x: Vec<u8> = random.codes(batch * input[0] * input[1] * 8);
        let run = |isa| {
            let mut out = vec![0; batch * input[0] * input[1] * 20];
            let output = Output::I32(&mut out);
            conv2d_under(isa, &conv, batch, input, Codes::U8(&x), Zero::All(9), None, None, output)
                .unwrap();
            out
        };
        let want = run(Int8Isa::Scalar);
        on_teams(|| {
            for isa in available() {
                assert!(run(isa) == want, "{isa:?} {batch} {input:?}");
            }
        });
    }
}

#[test]
fn wrong_convolutions_are_errors() {
    let right = Conv2dShape {
        in_channels: 2,
        out_channels: 2,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [0, 0],
        dilation: [1, 1],
        groups: 1,
    };
    for wrong in [
        Conv2dShape { kernel: [0, 3], ..right },
        Conv2dShape { stride: [0, 1], ..right },
        Conv2dShape { dilation: [1, 0], ..right },
        Conv2dShape { groups: 0, ..right },
        Conv2dShape { groups: 3, ..right },
        Conv2dShape { in_channels: 0, ..right },
        Conv2dShape { in_channels: usize::MAX, ..right },
        Conv2dShape { out_channels: 3, ..right },
        Conv2dShape { out_channels: 0, kernel: [usize::MAX; 2], ..right },
    ] {
        assert!(Conv2d::new(&wrong, &[1i8; 36]).is_err(), "{wrong:?}");
    }
    let padded = Conv2dShape { padding: [usize::MAX / 2 - 5; 2], ..right };
    for (shape, input, len, zero) in [
        (right, [2, 5], 20, Zero::All(0)),
        (right, [5, 5], 49, Zero::All(0)),
        (right, [5, 5], 50, Zero::All(-1)),
        (right, [5, 5], 50, Zero::Each(&[0; 2])),
        (padded, [5, 5], 50, Zero::All(0)),
    ] {
        let conv = Conv2d::new(&shape, &[1i8; 36]).unwrap();
        let (x, mut out) = (vec![1; len], [0; 18]);
        let (x, output) = (Codes::U8(&x), Output::I32(&mut out));
        let isa = Int8Isa::Scalar;
        assert!(conv2d_under(isa, &conv, 1, input, x, zero, None, None, output).is_err());
    }
}

fn pooling<C: Code>(random: &mut Random) {
    let pair = |random: &mut Random, n: usize| [random.below(n) + 1, random.below(n) + 1];
    let kernel = pair(random, 4);
    let padding = kernel.map(|k| random.below(k / 2 + 1));
    let pool = Pool2d { kernel, stride: pair(random, 3), padding };
    let ([h, w], batch, c) = (pair(random, 12), random.below(3), random.below(70) + 1);
    let Some([oh, ow]) = pool.output([h, w]) else { return };
    let x: Vec<C> = random.codes(batch * h * w * c);
    let mut want = Vec::new();
    for i in 0..batch * oh * ow * c {
        let (n, oy, ox, channel) = (i / (oh * ow * c), i / (ow * c) % oh, i / c % ow, i % c);
        let mut largest = None;
        for y in 0..kernel[0] {
            for x_at in 0..kernel[1] {
                let y = (oy * pool.stride[0] + y).wrapping_sub(padding[0]);
                let x_at = (ox * pool.stride[1] + x_at).wrapping_sub(padding[1]);
                if y < h && x_at < w {
                    largest = largest.max(Some(x[((n * h + y) * w + x_at) * c + channel]));
                }
            }
        }
        want.push(largest.unwrap());
    }
    for isa in isas() {
        let mut out = vec![C::from_i32(0); want.len()];
        max_pool2d_under(isa, &pool, [batch, h, w, c], &x, &mut out).unwrap();
        assert_eq!(out, want, "{pool:?} {batch} {h} {w} {c} {isa:?}");
    }
}

#[test]
fn pools_take_the_largest_code() {
    on_teams(|| {
        let mut random = Random::new(5);
        for _ in 0..60 {
            pooling::<u8>(&mut random);
            pooling::<i8>(&mut random);
        }
    });
    let pool = Pool2d { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
    let wrong = |pool, shape| max_pool2d(&pool, shape, &[0u8; 16], &mut [0; 4]).is_err();
    assert!(!wrong(pool, [1, 4, 4, 1]));
    assert!(wrong(pool, [1, 1, 16, 1]));
    assert!(wrong(pool, [1, 4, 5, 1]));
    assert!(wrong(Pool2d { stride: [0, 1], ..pool }, [1, 4, 4, 1]));
    assert!(wrong(Pool2d { padding: [2, 0], ..pool }, [1, 4, 4, 1]));
    assert!(wrong(Pool2d { kernel: [0, 1], ..pool }, [1, 4, 4, 1]));
}

/// The numbers that an operand stands for.
fn dequantized(x: &Operand<'_>) -> Vec<f32> {
    numbers(x.codes).iter().map(|code| (code - x.zero) as f32 * x.scale).collect()
}

#[test]
fn sums_and_concatenations_are_dequantize_compute_quantize() {
    on_teams(|| {
        let mut random = Random::new(6);
        for round in 0..40 {
            let places = random.below(if round % 10 == 0 { 3000 } else { 40 });
            let (first, second) = (random.below(20) + 1, random.below(2000 / (round + 1) + 1));
            let a: Vec<u8> = random.codes(places * first);
            let b: Vec<i8> = random.codes(places * second);
            let c: Vec<i8> = random.codes(places * first);
            let mut scale = || random.float().abs() + 0.01;
            let (scales, out_scale) = ([scale(), scale(), scale()], scale());
            let zero = random.between(u8::RANGE);
            let a = Operand { codes: Codes::U8(&a), scale: scales[0], zero };
            let b = Operand { codes: Codes::I8(&b), scale: scales[1], zero: zero - 128 };
            let c = Operand { codes: Codes::I8(&c), scale: scales[2], zero: 3 };
            let affine = Affine::per_tensor(&out_scale, zero);
            let code = |x: f32| reference::code(x * (1.0 / out_scale), zero, u8::RANGE) as u8;
            let relu = random.yes();
            let sum = |(a, c): (&f32, &f32)| code(if relu { (a + c).max(0.0) } else { a + c });
            let sums: Vec<u8> = dequantized(&a).iter().zip(&dequantized(&c)).map(sum).collect();
            let (left, right) = (dequantized(&a), dequantized(&b));
            let joined: Vec<u8> = (0..places)
                .flat_map(|p| {
                    let left = &left[p * first..][..first];
                    left.iter().chain(&right[p * second..][..second]).chain(left)
                })
                .map(|x| code(*x))
                .collect();
            for isa in isas() {
                let mut out = vec![9; sums.len()];
                add_under(isa, &a, &c, &affine, relu, &mut out).unwrap();
                assert_eq!(out, sums, "{isa:?}");
                let mut out = vec![9; joined.len()];
                let inputs = [(a, first), (b, second), (a, first)];
                concat_under(isa, places, &inputs, &affine, &mut out).unwrap();
                assert_eq!(out, joined, "{isa:?}");
            }
            // The same scale and zero point: the codes themselves.
            let same = Affine::per_tensor(&scales[0], zero);
            let mut out = vec![9u8; places * first];
            super::super::concat(places, &[(a, first)], &same, &mut out).unwrap();
            assert_eq!(a.codes.bytes(), out);
        }
    });
    let x = Operand { codes: Codes::U8(&[1, 2]), scale: 1.0, zero: 0 };
    let affine = Affine::per_tensor(&1.0, 0);
    assert!(super::super::add(&x, &x, &affine, false, &mut [0u8; 3]).is_err());
    assert!(super::super::concat(1, &[(x, 2)], &affine, &mut [0u8; 3]).is_err());
    assert!(super::super::concat(2, &[(x, 2)], &affine, &mut [0u8; 4]).is_err());
    let wrong = Operand { scale: 0.0, ..x };
    assert!(super::super::add(&wrong, &x, &affine, false, &mut [0u8; 2]).is_err());
}

#[test]
fn layouts_transpose_and_quantize() {
    on_teams(|| {
        let mut random = Random::new(7);
        for (batch, channels, places) in [
            (2, 1, 784),
            (3, 3, 1000),
            (1, 70, 33),
            (2, 16, 256),
            (0, 3, 4),
            (2, 3, 0),
            (3, 2, 300),
            (1, 4, 513),
            (2, 48, 261),
        ] {
            let x: Vec<f32> =
                (0..batch * channels * places).map(|_| random.float() * 300.0).collect();
            let scales: Vec<f32> = (0..channels).map(|c| 0.5 + c as f32).collect();
            let zeros: Vec<i32> = (0..channels).map(|c| c as i32 - 50).collect();
            let affine = Affine::per_channel(&scales, &zeros);
            for isa in isas() {
                let mut codes = vec![0i8; x.len()];
                let shape = [batch, channels, places];
                nhwc_from_nchw_under(isa, shape, &x, &affine, &mut codes).unwrap();
                let mut back = vec![0.0; x.len()];
                nchw_from_nhwc_under(isa, shape, &codes, &affine, &mut back).unwrap();
                for (i, x) in x.iter().enumerate() {
                    let (n, c, place) =
                        (i / (channels * places), i / places % channels, i % places);
                    let code = codes[(n * places + place) * channels + c];
                    let want = reference::code(x * (1.0 / scales[c]), zeros[c], i8::RANGE);
                    assert_eq!(i32::from(code), want);
                    assert_eq!(back[i], (want - zeros[c]) as f32 * scales[c]);
                }
            }
        }
    });
}
