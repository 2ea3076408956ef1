//! Products by tensor cores and by cuBLASLt lie within the stated bounds of the true ones, whatever the sizes and layouts.

use super::*;
use crate::cpu::gemm::Activation;
use crate::cuda::array::{Array, Type};
use crate::cuda::driver::Gpu;
use crate::cuda::gemm::gemm;
use crate::cuda::testing::{Bits, Element, download, gpu, upload};
use crate::error::Error;
use crate::{bf16, f16};

/// How an operand's matrix lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Lie {
    Rows,
    Transposed,
    /// Row-major with a gap, every second column, from an odd offset on.
    Sparse,
    /// Rows from the last to the first.
    Backwards,
    /// All rows the same.
    Repeated,
    /// Rows of 8 more elements than there are columns.
    Wide,
}

impl Lie {
    /// Offset and strides of an `[r, c]` matrix, and the length of its memory.
    fn of(self, r: usize, c: usize) -> (usize, [isize; 2], usize) {
        match self {
            Lie::Rows => (0, [c as isize, 1], r * c),
            Lie::Transposed => (0, [1, r as isize], r * c),
            Lie::Sparse => (3, [2 * c as isize + 1, 2], 3 + r * (2 * c + 1)),
            Lie::Backwards => ((r - 1) * c, [-(c as isize), 1], r * c),
            Lie::Repeated => (0, [0, 1], c),
            Lie::Wide => (0, [c as isize + 8, 1], r * (c + 8)),
        }
    }
}

/// A batch: sizes of its dims, and for both operands whether its matrices differ along them.
#[derive(Debug, Clone, Copy)]
struct Dims {
    sizes: &'static [usize],
    differ: [&'static [bool]; 2],
}

const ONE: Dims = Dims { sizes: &[], differ: [&[], &[]] };

#[derive(Debug, Clone, Copy)]
struct Case {
    sizes: [usize; 3],
    lies: [Lie; 2],
    dims: Dims,
    row_bias: bool,
    column_bias: bool,
    accumulate: bool,
    relu: bool,
}

fn case(sizes: [usize; 3], lies: [Lie; 2]) -> Case {
    let [row_bias, column_bias, accumulate, relu] = [false; 4];
    Case { sizes, lies, dims: ONE, row_bias, column_bias, accumulate, relu }
}

/// Numbers of -2..2, a few of them large or small.
fn numbers<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut bits = Bits(seed);
    let mut one = || {
        let unit = (bits.next() >> 11) as f64 / (1u64 << 51) as f64 - 2.0;
        match bits.next() % 16 {
            0 => unit * 64.0,
            1 => unit / 64.0,
            _ => unit,
        }
    };
    (0..len).map(|_| T::from_f64(one())).collect()
}

/// The elements of an operand: memory, offset, shape and strides.
struct Operand<T> {
    data: Vec<T>,
    offset: usize,
    shape: Vec<usize>,
    strides: Vec<isize>,
}

fn operand<T: Element>(
    [r, c]: [usize; 2],
    lie: Lie,
    sizes: &[usize],
    differ: &[bool],
    seed: u64,
) -> Operand<T> {
    let (offset, [row, column], mut len) = lie.of(r, c);
    let mut strides = vec![0isize; sizes.len()];
    for d in (0..sizes.len()).rev().filter(|&d| differ[d]) {
        strides[d] = len as isize;
        len *= sizes[d];
    }
    strides.extend([row, column]);
    Operand { data: numbers(len + offset, seed), offset, shape: [sizes, &[r, c]].concat(), strides }
}

impl<T: Element> Operand<T> {
    fn at(&self, z: usize, i: usize, j: usize) -> f64 {
        let lead = self.shape.len() - 2;
        let (mut rest, mut place) = (z, self.offset as isize);
        for d in (0..lead).rev() {
            place += (rest % self.shape[d]) as isize * self.strides[d];
            rest /= self.shape[d];
        }
        let place = place + i as isize * self.strides[lead] + j as isize * self.strides[lead + 1];
        self.data[place as usize].to_f64()
    }
}

/// Computes the case and says by how much of the bound the worst element is off.
#[allow(clippy::needless_range_loop)]
fn off<T: Element>(
    gpu: &'static Gpu,
    case: Case,
    unit: f64,
    run: &dyn Fn(&Product<'_>, &mut DeviceBuffer) -> Result<()>,
) -> f64 {
    let [m, k, n] = case.sizes;
    let Dims { sizes, differ } = case.dims;
    let matrices: usize = sizes.iter().product();
    let a = operand::<T>([m, k], case.lies[0], sizes, differ[0], 1);
    let b = operand::<T>([k, n], case.lies[1], sizes, differ[1], 2);
    let (rows, columns, old) =
        (numbers::<T>(m, 3), numbers::<T>(n, 4), numbers::<T>(matrices * m * n, 5));
    let on_device = |x: &[T]| upload(gpu, x);
    let (a_device, b_device) = (on_device(&a.data), on_device(&b.data));
    let (rows_device, columns_device) = (on_device(&rows), on_device(&columns));
    let mut c = on_device(&old);
    let (m_shape, n_shape) = ([m], [n]);
    let bias = |on: bool, x, shape| on.then(|| Array::new(x, T::KIND, 0, shape, &[1]).unwrap());
    let array = |x, o: &Operand<T>| {
        let (shape, strides) = (o.shape.clone().leak(), o.strides.clone().leak());
        Array::new(x, T::KIND, o.offset, shape, strides).unwrap()
    };
    let product = Product {
        a: array(&a_device, &a),
        b: array(&b_device, &b),
        row_bias: bias(case.row_bias, &rows_device, &m_shape),
        column_bias: bias(case.column_bias, &columns_device, &n_shape),
        accumulate: case.accumulate,
        activation: if case.relu { Activation::Relu } else { Activation::None },
    };
    let ran = run(&product, &mut c);
    assert!(ran.is_ok(), "{case:?}: {ran:?}");
    let got = download::<T>(&c);
    let mut again = on_device(&old);
    run(&product, &mut again).unwrap();
    let same = |(x, y): (&T, &T)| x.canonical() == y.canonical();
    assert!(
        got.iter().zip(&download::<T>(&again)).all(same),
        "{case:?}: other bits the second time"
    );
    // Of one rounding of the result.
    let last = if size_of::<T>() == 4 {
        0.0
    } else if T::KIND == Type::F16 {
        2f64.powi(-11)
    } else {
        2f64.powi(-8)
    };
    let mut worst = 0f64;
    for z in 0..matrices {
        for i in 0..m {
            for j in 0..n {
                let (mut sum, mut size) = (0f64, 0f64);
                for l in 0..k {
                    let (x, y) = (a.at(z, i, l), b.at(z, l, j));
                    sum += x * y;
                    size += (x * y).abs();
                }
                let place = (z * m + i) * n + j;
                let (mut want, mut beside) = (sum, 0f64);
                let further = [
                    (case.accumulate, old[place].to_f64()),
                    (case.row_bias, rows[i].to_f64()),
                    (case.column_bias, columns[j].to_f64()),
                ];
                for (_, x) in further.into_iter().filter(|(on, _)| *on) {
                    want += x;
                    beside += x.abs();
                }
                if case.relu {
                    want = want.max(0.0);
                }
                let bound = (2.0 * unit + unit * unit + k as f64 * 2f64.powi(-22)) * size
                    + beside * 2f64.powi(-21)
                    + (want.abs() * last + 2f64.powi(-24)) * 1.01;
                let got = got[place].to_f64();
                let error = (got - want).abs();
                assert!(
                    error <= bound,
                    "{case:?}: element {z} {i} {j} is {got}, not {want}: off by {error}, allowed {bound}"
                );
                worst = worst.max(error / bound);
            }
        }
    }
    worst
}

/// f32 matrices, and nothing beside.
fn alone<'a>(
    [a, b]: [&'a DeviceBuffer; 2],
    shapes: &'a [[usize; 2]; 2],
    strides: &'a [[isize; 2]; 2],
) -> Product<'a> {
    Product {
        a: Array::new(a, Type::F32, 0, &shapes[0], &strides[0]).unwrap(),
        b: Array::new(b, Type::F32, 0, &shapes[1], &strides[1]).unwrap(),
        row_bias: None,
        column_bias: None,
        accumulate: false,
        activation: Activation::None,
    }
}

fn tensor_cores(precision: Precision) -> impl Fn(&Product<'_>, &mut DeviceBuffer) -> Result<()> {
    move |product, out| {
        let checked = Checked::new(product, out)?.unwrap();
        assert!(gemm_tensor::computes(&checked, out.gpu()));
        gemm_tensor::multiply(&checked, precision, out)
    }
}

fn with_tensor_cores() -> Option<&'static Gpu> {
    gpu().filter(|gpu| gpu.info().capability >= (8, 0))
}

const TF32: f64 = 1.0 / 2048.0;
const BF16: f64 = 1.0 / 256.0;

const LIES: [Lie; 6] =
    [Lie::Rows, Lie::Transposed, Lie::Sparse, Lie::Backwards, Lie::Repeated, Lie::Wide];

/// All pairs of sizes, each with other layouts and endings.
fn many(mut check: impl FnMut(Case)) {
    const SIZES: [usize; 7] = [1, 5, 16, 33, 64, 72, 130];
    const DEPTHS: [usize; 5] = [1, 7, 32, 65, 200];
    let mut turn = 0;
    for m in SIZES {
        for n in SIZES {
            turn += 1;
            let lies = [LIES[turn % 6], LIES[turn / 6 % 6]];
            check(Case {
                row_bias: turn % 3 == 0,
                column_bias: turn % 3 == 1,
                accumulate: turn % 5 == 0,
                relu: turn % 2 == 0,
                ..case([m, DEPTHS[turn % 5], n], lies)
            });
        }
    }
}

/// Operands that lie as the kernels copy them, in all four ways, in both tiles, with slices left over; one needs parts of k.
fn aligned(mut check: impl FnMut(Case)) {
    for lies in [
        [Lie::Rows; 2],
        [Lie::Rows, Lie::Transposed],
        [Lie::Transposed, Lie::Rows],
        [Lie::Transposed; 2],
        [Lie::Wide; 2],
    ] {
        check(case([64, 136, 72], lies));
        check(case([136, 72, 136], lies));
        check(Case { column_bias: true, relu: true, ..case([264, 88, 264], lies) });
        check(Case { row_bias: true, accumulate: true, ..case([24, 1160, 40], lies) });
    }
}

const BATCHES: [Dims; 4] = [
    Dims { sizes: &[3], differ: [&[true], &[true]] },
    Dims { sizes: &[2, 3], differ: [&[true, true], &[false, false]] },
    Dims { sizes: &[2, 3], differ: [&[false, true], &[true, false]] },
    Dims { sizes: &[2, 1, 2], differ: [&[true, false, true], &[false, true, true]] },
];

fn batches(mut check: impl FnMut(Case)) {
    for dims in BATCHES {
        for (sizes, lies) in [
            ([16, 24, 40], [Lie::Rows; 2]),
            ([17, 9, 5], [Lie::Transposed, Lie::Rows]),
            ([40, 1100, 8], [Lie::Rows, Lie::Transposed]),
        ] {
            check(Case { dims, ..case(sizes, lies) });
        }
    }
}

#[test]
fn tf32_is_within_its_bound() {
    let Some(gpu) = with_tensor_cores() else { return };
    let run = tensor_cores(Precision::Tf32);
    let mut worst = 0f64;
    many(|case| worst = worst.max(off::<f32>(gpu, case, TF32, &run)));
    aligned(|case| worst = worst.max(off::<f32>(gpu, case, TF32, &run)));
    batches(|case| worst = worst.max(off::<f32>(gpu, case, TF32, &run)));
    assert!(worst > 1e-3, "operands were not rounded: {worst}");
}

#[test]
fn bf16_of_f32_is_within_its_bound() {
    let Some(gpu) = with_tensor_cores() else { return };
    let run = tensor_cores(Precision::Bf16);
    let mut worst = 0f64;
    many(|case| worst = worst.max(off::<f32>(gpu, case, BF16, &run)));
    aligned(|case| worst = worst.max(off::<f32>(gpu, case, BF16, &run)));
    batches(|case| worst = worst.max(off::<f32>(gpu, case, BF16, &run)));
    assert!(worst > 1e-3, "operands were not rounded: {worst}");
}

#[test]
fn halves_go_to_tensor_cores_as_they_are() {
    let Some(gpu) = with_tensor_cores() else { return };
    let run = tensor_cores(Precision::Tf32);
    many(|case| _ = off::<f16>(gpu, case, 0.0, &run));
    aligned(|case| _ = off::<bf16>(gpu, case, 0.0, &run));
    batches(|case| _ = off::<bf16>(gpu, case, 0.0, &run));
    aligned(|case| _ = off::<f16>(gpu, case, 0.0, &run));
}

/// What is not a number, or not finite, goes where it must and nowhere else.
#[test]
fn infinities_stay_in_their_row() {
    let Some(gpu) = with_tensor_cores() else { return };
    let [m, k, n] = [20, 37, 12];
    let mut a = vec![1f32; m * k];
    (a[3 * k + 36], a[7 * k]) = (f32::INFINITY, f32::NAN);
    let (a, b) = (upload(gpu, &a), upload(gpu, &vec![1f32; k * n]));
    for precision in [Precision::Tf32, Precision::Bf16] {
        let mut c = DeviceBuffer::new(gpu, m * n * 4).unwrap();
        let (shapes, strides) = ([[m, k], [k, n]], [[k as isize, 1], [n as isize, 1]]);
        let product = alone([&a, &b], &shapes, &strides);
        tensor_cores(precision)(&product, &mut c).unwrap();
        for (i, row) in download::<f32>(&c).chunks(n).enumerate() {
            let right = |x: &f32| match i {
                3 => *x == f32::INFINITY,
                7 => x.is_nan(),
                _ => *x == 37.0,
            };
            assert!(row.iter().all(right), "row {i}: {row:?}");
        }
    }
}

/// The scope decides; few columns, little work and old devices stay exact.
#[test]
fn the_scope_decides() {
    let Some(gpu) = gpu() else { return };
    let computed = |precision: Precision, n: usize| {
        let (m, k) = (128, 96);
        let (a, b) =
            (upload(gpu, &numbers::<f32>(m * k, 1)), upload(gpu, &numbers::<f32>(k * n, 2)));
        let mut c = DeviceBuffer::new(gpu, m * n * 4).unwrap();
        let (shapes, strides) = ([[m, k], [k, n]], [[k as isize, 1], [n as isize, 1]]);
        let product = alone([&a, &b], &shapes, &strides);
        precision.scope(|| multiply(&product, &mut c)).unwrap();
        let by_scope = download::<f32>(&c);
        gemm(&product, &mut c).unwrap();
        by_scope == download::<f32>(&c)
    };
    let old = gpu.info().capability < (8, 0);
    assert!(computed(Precision::Exact, 128));
    assert!(computed(Precision::Tf32, 4) && computed(Precision::Bf16, 32));
    assert_eq!(computed(Precision::Tf32, 128), old);
    assert_eq!(computed(Precision::Bf16, 86), old);
}

fn cublaslt(precision: Precision) -> impl Fn(&Product<'_>, &mut DeviceBuffer) -> Result<()> {
    move |product, out| MatmulBackend::CublasLt.scope(|| precision.scope(|| multiply(product, out)))
}

/// The device with the library, or none; without it the error says what was looked for.
fn with_cublaslt() -> Option<&'static Gpu> {
    let gpu = gpu()?;
    let x = upload(gpu, &[1f32; 16]);
    let mut c = DeviceBuffer::new(gpu, 64).unwrap();
    let product = alone([&x, &x], &[[4, 4]; 2], &[[4, 1]; 2]);
    match cublaslt(Precision::Exact)(&product, &mut c) {
        Ok(()) => {
            assert_eq!(download::<f32>(&c), [4f32; 16]);
            Some(gpu)
        }
        Err(Error::NoCuda(why)) => {
            assert!(why.starts_with("no cuBLASLt: looked for "), "{why}");
            None
        }
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn cublaslt_is_within_the_bounds() {
    let Some(gpu) = with_cublaslt() else { return };
    for (precision, unit) in
        [(Precision::Exact, 0.0), (Precision::Tf32, TF32 * 2.0), (Precision::Bf16, BF16)]
    {
        let run = cublaslt(precision);
        many(|case| _ = off::<f32>(gpu, case, unit, &run));
        aligned(|case| _ = off::<f32>(gpu, case, unit, &run));
        batches(|case| _ = off::<f32>(gpu, case, unit, &run));
    }
    for precision in [Precision::Exact, Precision::Bf16] {
        let run = cublaslt(precision);
        many(|case| _ = off::<f16>(gpu, case, 0.0, &run));
        batches(|case| _ = off::<bf16>(gpu, case, 0.0, &run));
    }
}
