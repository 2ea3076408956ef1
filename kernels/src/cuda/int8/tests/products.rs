//! Products of matrices.

use super::super::super::array::Type;
use super::super::super::driver::Gpu;
use super::super::super::testing::{assert_same, download, gpu, upload};
use super::super::finish::Call;
use super::super::product::{Cores, gemm_by};
use super::super::{Packed, gemm};
use super::{BOTH, Placed, Random, as_codes, as_zero, signed};
use crate::cpu::int8::{self as cpu, Activations, Ending, Order, Output, Zero};
use crate::error::{Error, Result};

/// A product with all it may have.
struct Case {
    sizes: [usize; 3],
    pitch: usize,
    a: Vec<u8>,
    kind: Type,
    zeros: Vec<i32>,
    order: Order,
    weight: Vec<u8>,
    weight_kind: Type,
    weight_zeros: Vec<i32>,
    bias: Option<Vec<i32>>,
}

impl Case {
    fn random(random: &mut Random, sizes: [usize; 3]) -> Case {
        let [m, k, n] = sizes;
        let pitch = k + random.below(2) * [16, 4, 3][random.below(3)];
        let ((kind, range), (weight_kind, weight_range)) = (random.kind(), random.kind());
        let weight_zeros = if random.yes() { Vec::new() } else { random.zeros(n, weight_range) };
        Case {
            sizes,
            pitch,
            a: random.codes(if m == 0 { 0 } else { (m - 1) * pitch + k }),
            kind,
            zeros: random.zeros(m, range),
            order: if random.yes() { Order::OutIn } else { Order::InOut },
            weight: random.codes(k * n),
            weight_kind,
            weight_zeros,
            bias: random.yes().then(|| (0..n).map(|_| random.between([-99999, 99999])).collect()),
        }
    }

    fn packed(&self) -> cpu::Packed {
        let [_, k, n] = self.sizes;
        match self.weight_kind {
            Type::I8 => cpu::Packed::new(self.order, k, n, signed(&self.weight)).unwrap(),
            _ => cpu::Packed::new(self.order, k, n, &self.weight).unwrap(),
        }
    }

    fn weight_zero(&self) -> Option<Zero<'_>> {
        (!self.weight_zeros.is_empty()).then(|| as_zero(&self.weight_zeros))
    }

    /// One of the outputs on the CPU and by both kinds of cores.
    fn check(&self, random: &mut Random, gpu: &'static Gpu) {
        let [m, k, n] = self.sizes;
        let (offset, weight_offset) = (random.offset(), random.offset());
        let placed = Placed::new(gpu, self.kind, offset, &self.a);
        let weight = Placed::new(gpu, self.weight_kind, weight_offset, &self.weight);
        let device = Packed::new(self.order, k, n, weight.array()).unwrap();
        let packed = self.packed();
        let a = Activations {
            codes: as_codes(self.kind, &self.a),
            stride: self.pitch,
            zero: as_zero(&self.zeros),
        };
        let gap = random.below(2) * random.below(9);
        let stride = n + gap;
        let len = (m * stride).saturating_sub(gap);
        let size = 1.0 / (255.0 * (k as f32).sqrt().max(1.0));
        let factors = if random.yes() { n } else { 1 };
        let scale: Vec<f32> = (0..factors).map(|_| random.float() * size).collect();
        let floats: Option<Vec<f32>> =
            random.yes().then(|| (0..n).map(|_| random.float()).collect());
        let row_scale: Option<Vec<f32>> =
            random.yes().then(|| (0..m).map(|_| random.float()).collect());
        let (relu, zero) = (random.yes(), random.between([0, 255]));
        let (weight_zero, bias, scale) = (self.weight_zero(), self.bias.as_deref(), &scale[..]);
        let which = random.below(5);
        let said =
            format!("{:?} {:?} {:?} output {which}", self.sizes, self.kind, self.weight_kind);
        macro_rules! compare {
            ($t:ty, $output:expr, $ending:expr) => {{
                let fill = vec![7 as $t; len];
                let mut want = fill.clone();
                let output = $output(&mut want[..]);
                let computed = cpu::gemm(m, &a, &packed, weight_zero, bias, output, stride);
                for cores in BOTH {
                    let zero = as_zero(&self.zeros);
                    let call = Call {
                        zero,
                        weight_zero,
                        bias,
                        ending: $ending,
                        stride,
                        together: 1,
                        rows: None,
                    };
                    let mut out = upload(gpu, &fill);
                    let (shape, strides) = ([m, k], [self.pitch as isize, 1]);
                    let array = placed.matrix(&shape, &strides);
                    let done = gemm_by(cores, array, &device, &call, &mut out);
                    assert_eq!(done, computed, "{said} {cores:?}");
                    let said = || format!("{said} {cores:?} at {offset} and {weight_offset}");
                    assert_same(&download::<$t>(&out), &want, &said);
                }
            }};
        }
        let multiplier = scale;
        match which {
            0 => compare!(i32, Output::I32, Ending::I32),
            1 => compare!(i64, Output::I64, Ending::I64),
            2 => {
                let bias = floats.as_deref();
                let row_scale = row_scale.as_deref();
                let output = |out| Output::F32 { out, scale, row_scale, bias, relu };
                compare!(f32, output, Ending::F32 { scale, row_scale, bias, relu })
            }
            3 => {
                let output = |out| Output::U8 { out, multiplier, zero, relu };
                compare!(u8, output, Ending::Codes { signed: false, multiplier, zero, relu })
            }
            _ => {
                let zero = zero - 128;
                let output = |out| Output::I8 { out, multiplier, zero, relu };
                compare!(i8, output, Ending::Codes { signed: true, multiplier, zero, relu })
            }
        }
    }
}

/// Most small, some across the edges of tiles and slices, some with few rows, whole chunks, or a k that is computed in parts.
#[test]
fn random_products_are_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(1);
    for i in 0..400 {
        let mut size = |large: usize| match random.below(12) {
            0 => random.below(3),
            1 | 2 if i % 5 == 0 => random.below(large) + 1,
            _ => random.below(40) + 1,
        };
        let [m, k, n] = [size(200), size(700), size(300)];
        let k = if i % 4 == 0 { k.next_multiple_of(16) } else { k };
        let m = if i % 7 == 0 { m % 5 } else { m };
        Case::random(&mut random, [m, k, n]).check(&mut random, gpu);
    }
    for sizes in
        [[1, 784, 10], [3, 1040, 70], [70, 2100, 65], [130, 129, 260], [5, 0, 3], [129, 64, 1]]
    {
        for _ in 0..4 {
            Case::random(&mut random, sizes).check(&mut random, gpu);
        }
    }
}

/// Many tiles: the large ones.
#[test]
fn large_products_are_the_cpus() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(2);
    // As many tiles of 128 x 128 as there are multiprocessors.
    let fills = gpu.info().multiprocessors.max(1) as usize;
    let columns = fills.min(16) * 128 - 5;
    let rows = fills.div_ceil(fills.min(16)) * 128 - 3;
    for k in [70, 144] {
        Case::random(&mut random, [rows, k, columns]).check(&mut random, gpu);
    }
}

/// `m` by `n` of equal codes.
fn constant(cores: Cores, [m, k, n]: [usize; 3], a: (Type, u8), w: (Type, u8)) -> Result<Vec<i32>> {
    let Some(gpu) = gpu() else { return Err(Error::Contract("no GPU")) };
    let placed = Placed::new(gpu, a.0, 0, &vec![a.1; m * k]);
    let weight = Placed::new(gpu, w.0, 0, &vec![w.1; k * n]);
    let packed = Packed::new(Order::OutIn, k, n, weight.array())?;
    let (shape, strides) = ([m, k], [k as isize, 1]);
    let zero = Zero::All(0);
    let ending = Ending::I32;
    let call =
        Call { zero, weight_zero: None, bias: None, ending, stride: n, together: 1, rows: None };
    let mut out = upload(gpu, &vec![7i32; m * n]);
    gemm_by(cores, placed.matrix(&shape, &strides), &packed, &call, &mut out)?;
    Ok(download(&out))
}

#[test]
fn extremes_and_the_limits_of_i32() {
    if gpu().is_none() {
        return;
    }
    let (i8s, u8s) = (|code: i8| (Type::I8, code as u8), |code: u8| (Type::U8, code));
    let refused =
        Err(Error::Contract("int8: k is beyond the exact range of i32 sums; ask for i64"));
    for cores in BOTH {
        for m in [2, 5] {
            for k in [1, 31, 128, 400] {
                let all = |sum: i32| Ok(vec![sum * k as i32; m * 3]);
                let sizes = [m, k, 3];
                assert_eq!(constant(cores, sizes, i8s(127), i8s(127)), all(127 * 127));
                assert_eq!(constant(cores, sizes, u8s(255), i8s(127)), all(255 * 127));
                assert_eq!(constant(cores, sizes, u8s(255), i8s(-128)), all(-255 * 128));
                assert_eq!(constant(cores, sizes, i8s(-128), i8s(-128)), all(128 * 128));
                assert_eq!(constant(cores, sizes, u8s(255), u8s(255)), all(255 * 255));
                assert_eq!(constant(cores, sizes, i8s(-128), u8s(255)), all(-128 * 255));
            }
            let sum = |k: usize, a, w| constant(cores, [m, k, 1], a, w);
            let all = |sum: i32| Ok(vec![sum; m]);
            assert_eq!(sum(65_793, u8s(255), i8s(-128)), all(-65_793 * 255 * 128));
            assert_eq!(sum(65_794, u8s(255), i8s(-128)), refused);
            assert_eq!(sum(131_071, i8s(-128), i8s(-128)), all(131_071 * 128 * 128));
            assert_eq!(sum(131_072, i8s(-128), i8s(-128)), refused);
            assert_eq!(sum(33_025, u8s(255), u8s(255)), all(33_025 * 255 * 255));
            assert_eq!(sum(33_026, u8s(255), u8s(255)), refused);
        }
    }
}

/// Sums of 2^31 and more.
#[test]
fn sums_beyond_i32_are_exact_in_i64_and_f32() {
    let Some(gpu) = gpu() else { return };
    let mut random = Random::new(3);
    for (k, m, code) in [(65_794, 1, 0), (65_794, 3, 255), (131_072, 2, 128), (140_001, 2, 127)] {
        let mut case = Case::random(&mut random, [m, k, 3]);
        case.a = vec![!code; m * case.pitch];
        case.weight = vec![code; k * 3];
        case.check(&mut random, gpu);
    }
}

#[test]
fn wrong_calls_are_errors() {
    let Some(gpu) = gpu() else { return };
    let weight = Placed::new(gpu, Type::I8, 0, &[1; 6]);
    let packed = Packed::new(Order::OutIn, 3, 2, weight.array()).unwrap();
    let codes = Placed::new(gpu, Type::U8, 0, &[1; 6]);
    let call = |shape: [usize; 2], zero, bias: Option<&[i32]>, ending, len: usize, stride| {
        let mut out = upload(gpu, &vec![0i32; len]);
        let strides = [shape[1] as isize, 1];
        gemm(codes.matrix(&shape, &strides), zero, &packed, None, bias, ending, &mut out, stride)
    };
    let (zero, sums) = (Zero::All(0), Ending::I32);
    assert_eq!(call([2, 3], zero, None, sums, 4, 2), Ok(()));
    let multiplier = &[f32::NAN][..];
    let floats = Ending::F32 { scale: &[], row_scale: None, bias: None, relu: false };
    let rows = Ending::F32 { scale: &[1.0], row_scale: Some(&[1.0]), bias: None, relu: false };
    for wrong in [
        call([2, 2], zero, None, sums, 4, 2),
        call([2, 3], Zero::All(-1), None, sums, 4, 2),
        call([2, 3], Zero::All(256), None, sums, 4, 2),
        call([2, 3], Zero::Each(&[1]), None, sums, 4, 2),
        call([2, 3], zero, Some(&[1]), sums, 4, 2),
        call([2, 3], zero, None, sums, 3, 2),
        call([2, 3], zero, None, sums, 4, 1),
        call([2, 3], zero, None, sums, 4, usize::MAX),
        call([2, 3], zero, None, floats, 4, 2),
        call([2, 3], zero, None, rows, 4, 2),
        call(
            [2, 3],
            zero,
            None,
            Ending::Codes { signed: true, multiplier, zero: 0, relu: true },
            4,
            2,
        ),
        call(
            [2, 3],
            zero,
            None,
            Ending::Codes { signed: true, multiplier: &[1.0], zero: 128, relu: true },
            4,
            2,
        ),
    ] {
        assert!(matches!(wrong, Err(Error::Contract(_))), "{wrong:?}");
    }
    assert!(Packed::new(Order::InOut, 3, 1, weight.array()).is_err());
    assert!(Packed::new(Order::InOut, usize::MAX, 2, weight.array()).is_err());
    let floats = Placed::new(gpu, Type::F32, 0, &[0; 24]);
    let array = floats.matrix(&[6], &[1]);
    assert!(Packed::new(Order::InOut, 3, 2, array).is_err());
}
