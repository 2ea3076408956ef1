//! [`gemm`](super::super::gemm()).

use super::super::{Activations, Code, Codes, MAX_K, Order, Output, Packed, Zero, gemm_under};
use super::{Random, available, numbers, on_teams};
use crate::cpu::isa::Int8Isa;
use crate::error::Error;
use crate::reference::int8 as reference;

/// A product with all it may have.
struct Case {
    sizes: [usize; 3],
    stride: usize,
    a: Vec<u8>,
    signed: bool,
    a_zero: Vec<i32>,
    weight: Vec<i32>,
    packed: Packed,
    weight_zero: Vec<i32>,
    bias: Option<Vec<i32>>,
}

/// One zero point, one each, in the range of the codes.
fn zeros(random: &mut Random, n: usize, range: [i32; 2]) -> Vec<i32> {
    let count = if n != 1 && random.yes() { n } else { 1 };
    let zero = |random: &mut Random| match random.below(4) {
        0 => range[0],
        1 => range[1],
        2 => 0,
        _ => random.between(range),
    };
    (0..count).map(|_| zero(random)).collect()
}

fn as_zero(zeros: &[i32]) -> Zero<'_> {
    if let [one] = zeros { Zero::All(*one) } else { Zero::Each(zeros) }
}

fn packed<C: Code>(random: &mut Random, [_, k, n]: [usize; 3]) -> (Vec<i32>, Packed) {
    let weight: Vec<C> = random.codes(k * n);
    let numbers = |l: usize, j: usize, order| match order {
        Order::OutIn => weight[j * k + l].to_i32(),
        Order::InOut => weight[l * n + j].to_i32(),
    };
    let order = if random.yes() { Order::OutIn } else { Order::InOut };
    let rows = (0..k * n).map(|i| numbers(i / n.max(1), i % n.max(1), order)).collect();
    (rows, Packed::new(order, k, n, &weight).unwrap())
}

impl Case {
    fn random(random: &mut Random, sizes: [usize; 3]) -> Case {
        let [m, k, n] = sizes;
        let stride = k + random.below(2) * random.below(9);
        let signed = random.yes();
        let unsigned_weight = random.below(4) == 0;
        let (weight, packed) = match unsigned_weight {
            true => packed::<u8>(random, sizes),
            false => packed::<i8>(random, sizes),
        };
        let weight_range = if unsigned_weight { u8::RANGE } else { i8::RANGE };
        let range = if signed { i8::RANGE } else { u8::RANGE };
        let weight_zero = if random.yes() { Vec::new() } else { zeros(random, n, weight_range) };
        Case {
            sizes,
            stride,
            a: random.codes((m * stride + k).saturating_sub(stride)),
            signed,
            a_zero: zeros(random, m, range),
            weight,
            packed,
            weight_zero,
            bias: random.yes().then(|| (0..n).map(|_| random.between([-99999, 99999])).collect()),
        }
    }

    fn codes(&self) -> Codes<'_> {
        if self.signed {
            // SAFETY: bytes are bytes.
            Codes::I8(unsafe { std::slice::from_raw_parts(self.a.as_ptr().cast(), self.a.len()) })
        } else {
            Codes::U8(&self.a)
        }
    }

    fn run(&self, isa: Int8Isa, output: Output<'_>, stride: usize) -> Result<(), Error> {
        let a =
            Activations { codes: self.codes(), stride: self.stride, zero: as_zero(&self.a_zero) };
        let weight_zero = (!self.weight_zero.is_empty()).then(|| as_zero(&self.weight_zero));
        let bias = self.bias.as_deref();
        gemm_under(isa, self.sizes[0], &a, &self.packed, weight_zero, bias, output, stride)
    }

    fn naive(&self) -> Vec<i64> {
        let a = numbers(self.codes());
        let zero = |zeros: &[i32], i: usize| match zeros {
            [] => 0,
            [one] => *one,
            many => many[i],
        };
        reference::gemm(
            self.sizes,
            |i, l| a[i * self.stride + l] - zero(&self.a_zero, i),
            |l, j| self.weight[l * self.sizes[2] + j] - zero(&self.weight_zero, j),
            |j| self.bias.as_ref().map_or(0, |bias| bias[j]),
        )
    }

    /// Every output on every instruction set against the naive sums.
    fn check(&self, random: &mut Random, isas: &[Int8Isa]) {
        let [m, k, n] = self.sizes;
        let naive = self.naive();
        let gap = random.below(2) * random.below(5);
        let stride = n + gap;
        let len = (m * stride).saturating_sub(gap);
        let rows = |out: usize| (out / stride.max(1), out % stride.max(1));
        let factors = if random.yes() { n } else { 1 };
        let size = 60.0 / (255.0 * 60.0 * (k as f32).sqrt().max(1.0));
        let row_scale: Option<Vec<f32>> =
            random.yes().then(|| (0..m).map(|_| random.float() + 1.0).collect());
        let scale: Vec<f32> = (0..factors).map(|_| random.float() * size).collect();
        let float_bias: Option<Vec<f32>> =
            random.yes().then(|| (0..n).map(|_| random.float()).collect());
        let relu = random.yes();
        let zero = random.between(u8::RANGE);
        let which = random.below(5);
        for &isa in isas {
            let said = format!("{:?} {isa:?} output {which}", self.sizes);
            // What lies between the rows stays.
            macro_rules! compare {
                ($t:ty, $fill:expr, $output:expr, $want:expr) => {{
                    let mut out: Vec<$t> = vec![$fill; len];
                    self.run(isa, $output(&mut out[..]), stride).unwrap();
                    for (place, got) in out.iter().enumerate() {
                        let (i, j) = rows(place);
                        let at = if factors == 1 { 0 } else { j };
                        let want: $t =
                            if j < n { $want(naive[i * n + j], i, j, at) } else { $fill };
                        assert_eq!(*got, want, "{said} at {i} {j}");
                    }
                }};
            }
            let multiplier = &scale[..];
            match which {
                0 => compare!(i32, 7, Output::I32, |sum, _, _, _| i32::try_from(sum).unwrap()),
                1 => compare!(i64, 7, Output::I64, |sum, _, _, _| sum),
                2 => compare!(
                    f32,
                    7.0,
                    |out| Output::F32 {
                        out,
                        scale: &scale,
                        row_scale: row_scale.as_deref(),
                        bias: float_bias.as_deref(),
                        relu
                    },
                    |sum, i: usize, j, at: usize| {
                        let bias = float_bias.as_ref().map(|bias| bias[j]);
                        let scale = match &row_scale {
                            Some(rows) => rows[i] * scale[at],
                            None => scale[at],
                        };
                        reference::dequantize_sum(sum, scale, bias, relu)
                    }
                ),
                3 => compare!(
                    u8,
                    7,
                    |out| Output::U8 { out, multiplier, zero, relu },
                    |sum, _, _, at: usize| {
                        reference::requantize(sum, scale[at], zero, u8::RANGE, relu) as u8
                    }
                ),
                _ => {
                    let zero = zero - 128;
                    compare!(
                        i8,
                        7,
                        |out| Output::I8 { out, multiplier, zero, relu },
                        |sum, _, _, at: usize| {
                            reference::requantize(sum, scale[at], zero, i8::RANGE, relu) as i8
                        }
                    )
                }
            }
        }
    }
}

/// 10,000 shapes: most small, some across the edges of tiles and blocks.
#[test]
fn ten_thousand_random_products_are_exact_on_every_isa() {
    let isas = available();
    let mut random = Random::new(1);
    for i in 0..10_000 {
        let mut size = |large: usize| match random.below(12) {
            0 => random.below(3),
            1 if i % 10 == 0 => random.below(large) + 1,
            _ => random.below(24) + 1,
        };
        let sizes = [size(130), size(300), size(290)];
        let case = Case::random(&mut random, sizes);
        case.check(&mut random, &isas);
    }
}

#[test]
fn threads_change_nothing() {
    let isas = available();
    on_teams(|| {
        for (i, sizes) in [[200, 70, 300], [1, 1030, 1100], [97, 129, 520], [3, 2050, 600]]
            .into_iter()
            .enumerate()
        {
            for seed in 0..5 {
                let mut random = Random::new(1000 + 10 * i as u64 + seed);
                Case::random(&mut random, sizes).check(&mut random, &isas[1..]);
            }
        }
    });
}

/// `a` and `w` everywhere.
fn constant<A: Code, W: Code>(isa: Int8Isa, k: usize, a: A, w: W) -> Result<i32, Error> {
    let packed = Packed::new(Order::OutIn, k, 17, &vec![w; 17 * k]).unwrap();
    let codes = vec![a; 3 * k];
    let a = Activations { codes: A::codes(&codes), stride: k, zero: Zero::All(0) };
    let mut out = [0; 51];
    gemm_under(isa, 3, &a, &packed, None, None, Output::I32(&mut out), 17)?;
    assert!(out.iter().all(|x| *x == out[0]), "{isa:?} {out:?}");
    Ok(out[0])
}

#[test]
fn extremes_neither_saturate_nor_wrap() {
    for isa in available() {
        for k in [1, 2, 3, 4, 5, 64, 1000] {
            let n = k as i32;
            assert_eq!(constant(isa, k, 127i8, 127i8), Ok(127 * 127 * n));
            assert_eq!(constant(isa, k, 255u8, 127i8), Ok(255 * 127 * n));
            assert_eq!(constant(isa, k, 255u8, -128i8), Ok(-255 * 128 * n));
            assert_eq!(constant(isa, k, -128i8, -128i8), Ok(128 * 128 * n));
            assert_eq!(constant(isa, k, -128i8, 127i8), Ok(-128 * 127 * n));
            assert_eq!(constant(isa, k, 255u8, 255u8), Ok(255 * 255 * n));
        }
    }
}

#[test]
fn k_up_to_the_exact_limit_and_not_beyond() {
    let refused =
        Err(Error::Contract("int8: k is beyond the exact range of i32 sums; ask for i64"));
    for isa in available() {
        assert_eq!(constant(isa, 65_793, 255u8, -128i8), Ok(-65_793 * 255 * 128));
        assert_eq!(constant(isa, 65_794, 255u8, -128i8), refused);
        assert_eq!(constant(isa, 131_071, -128i8, -128i8), Ok(131_071 * 128 * 128));
        assert_eq!(constant(isa, 131_072, -128i8, -128i8), refused);
        assert_eq!(constant(isa, 33_025, 255u8, 255u8), Ok(33_025 * 255 * 255));
        assert_eq!(constant(isa, 33_026, 255u8, 255u8), refused);
    }
}

/// Beyond the limits: sums of 2^31 and more, in blocks.
#[test]
fn sums_beyond_i32_are_exact_in_i64_and_f32() {
    for isa in available() {
        for k in [65_794, 131_073, 200_001] {
            let (m, n) = (2, 3);
            let packed = Packed::new(Order::OutIn, k, n, &vec![-128i8; n * k]).unwrap();
            let codes = vec![255u8; m * k];
            let a = Activations { codes: Codes::U8(&codes), stride: k, zero: Zero::All(1) };
            let want = -128 * 254 * k as i64 + 5;
            let mut out = [0; 6];
            gemm_under(isa, m, &a, &packed, None, Some(&[5; 3]), Output::I64(&mut out), n).unwrap();
            assert_eq!(out, [want; 6]);
            let (mut floats, scale, bias) = ([0f32; 6], [0.5], Some(&[1.0, -2.0, 9e5][..]));
            let row_scale = Some(&[0.3, 0.7][..]);
            let output =
                Output::F32 { out: &mut floats, scale: &scale, row_scale, bias, relu: false };
            let a = Activations { zero: Zero::Each(&[1, 2]), ..a };
            gemm_under(isa, m, &a, &packed, Some(Zero::All(-127)), None, output, n).unwrap();
            for (i, row) in floats.chunks(n).enumerate() {
                let sum = -((254 - i as i64) * k as i64) as f32 * ([0.3, 0.7][i] * 0.5);
                assert_eq!(row, [sum + 1.0, sum - 2.0, sum + 9e5]);
            }
            let a = Activations { zero: Zero::All(1), ..a };
            let (mut small, multiplier) = ([0i8; 6], [-1.0 / k as f32 / 254.0]);
            let output =
                Output::I8 { out: &mut small, multiplier: &multiplier, zero: 3, relu: false };
            gemm_under(isa, m, &a, &packed, None, None, output, n).unwrap();
            assert_eq!(small, [127; 6]);
        }
    }
    assert!(Packed::new(Order::OutIn, MAX_K + 1, 0, &[0i8; 0]).is_err());
}

#[test]
fn degenerate_sizes() {
    for isa in available() {
        for sizes in [[0, 5, 5], [5, 0, 5], [5, 5, 0], [0, 0, 0], [1, 0, 1], [7, 1, 65]] {
            let mut random = Random::new(9);
            for _ in 0..10 {
                Case::random(&mut random, sizes).check(&mut random, &[isa]);
            }
        }
    }
}

#[test]
fn wrong_calls_are_errors() {
    let packed = Packed::new(Order::OutIn, 3, 2, &[1i8; 6]).unwrap();
    let call = |len, stride, zero, bias: Option<&[i32]>, out, c_stride| {
        let codes = vec![1u8; len];
        let a = Activations { codes: Codes::U8(&codes), stride, zero };
        let mut out = vec![0; out];
        super::super::gemm(2, &a, &packed, None, bias, Output::I32(&mut out), c_stride)
    };
    let zero = Zero::All(0);
    assert_eq!(call(6, 3, zero, None, 4, 2), Ok(()));
    for wrong in [
        call(5, 3, zero, None, 4, 2),
        call(6, 2, zero, None, 4, 2),
        call(6, usize::MAX, zero, None, 4, 2),
        call(6, 3, Zero::All(-1), None, 4, 2),
        call(6, 3, Zero::All(256), None, 4, 2),
        call(6, 3, Zero::Each(&[1]), None, 4, 2),
        call(6, 3, zero, Some(&[1]), 4, 2),
        call(6, 3, zero, None, 3, 2),
        call(6, 3, zero, None, 4, 1),
        call(6, 3, zero, None, 4, usize::MAX),
    ] {
        assert!(matches!(wrong, Err(Error::Contract(_))), "{wrong:?}");
    }
    let a = Activations { codes: Codes::U8(&[1; 6]), stride: 3, zero };
    for multiplier in [&[f32::NAN][..], &[f32::INFINITY], &[1.0; 3], &[]] {
        let mut out = [0; 4];
        let output = Output::U8 { out: &mut out, multiplier, zero: 0, relu: false };
        assert!(super::super::gemm(2, &a, &packed, None, None, output, 2).is_err());
    }
    for (scale, row_scale, bias) in [
        (&[1.0; 3][..], None, None),
        (&[1.0], Some(&[1.0; 3][..]), None),
        (&[1.0], None, Some(&[1.0; 3][..])),
    ] {
        let mut out = [0.0; 4];
        let output = Output::F32 { out: &mut out, scale, row_scale, bias, relu: false };
        assert!(super::super::gemm(2, &a, &packed, None, None, output, 2).is_err());
    }
    assert!(Packed::new(Order::InOut, 3, 2, &[1i8; 5]).is_err());
    assert!(Packed::new(Order::InOut, usize::MAX, 2, &[1i8; 5]).is_err());
}
