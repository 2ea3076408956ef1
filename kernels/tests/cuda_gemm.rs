//! Matrix products on a GPU have the CPU's bits, whatever the sizes, layouts and tiles. Without a device there is nothing to compare;
//! with `FERROTAPE_TEST_DEVICE=cuda` there must be one.

#![allow(clippy::unwrap_used)]

use ferrotape_kernels::cpu::gemm::{self as cpu, Activation, Bias, Epilogue, Matrix};
use ferrotape_kernels::cuda::gemm::{Product, gemm};
use ferrotape_kernels::cuda::{Array, DeviceBuffer, Gpu, Type, gpu};
use ferrotape_kernels::{Float, bf16, f16};

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

/// An element as bytes.
trait Element: Copy + PartialEq + std::fmt::Debug {
    const KIND: Type;
    fn from(x: f64) -> Self;
    fn bytes(self, out: &mut Vec<u8>);
    fn read(bytes: &[u8]) -> Self;
    /// Any NaN is any NaN.
    fn same(self, other: Self) -> bool;
}

macro_rules! element {
    ($($t:ty, $kind:ident, $from:expr, $bits:expr;)*) => {$(
        impl Element for $t {
            const KIND: Type = Type::$kind;
            fn from(x: f64) -> Self { $from(x) }
            fn bytes(self, out: &mut Vec<u8>) { out.extend_from_slice(&self.to_le_bytes()) }
            fn read(bytes: &[u8]) -> Self { <$t>::from_le_bytes(bytes.try_into().unwrap()) }
            #[allow(clippy::eq_op)]
            fn same(self, other: Self) -> bool {
                $bits(self) == $bits(other) || (self != self && other != other)
            }
        }
    )*};
}
element! {
    f32, F32, |x| x as f32, f32::to_bits;
    f64, F64, |x| x, f64::to_bits;
    f16, F16, f16::from_f64, f16::to_bits;
    bf16, BF16, bf16::from_f64, bf16::to_bits;
}

fn numbers<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1u64 << 53) as f64
    };
    (0..len).map(|_| T::from((next() - 0.5) * 4.0)).collect()
}

fn upload<T: Element>(gpu: &'static Gpu, data: &[T]) -> DeviceBuffer {
    let mut bytes = Vec::new();
    data.iter().for_each(|x| x.bytes(&mut bytes));
    let mut buffer = DeviceBuffer::new(gpu, bytes.len()).unwrap();
    buffer.upload(&bytes).unwrap();
    buffer
}

fn download<T: Element>(buffer: &DeviceBuffer) -> Vec<T> {
    let mut bytes = vec![0; buffer.len()];
    buffer.download(0, &mut bytes).unwrap();
    bytes.chunks_exact(T::KIND.size()).map(T::read).collect()
}

/// How an operand's rows and columns lie.
#[derive(Debug, Clone, Copy)]
enum Lie {
    Rows,
    Transposed,
    /// Row-major with a gap, every second column, from an odd offset on.
    Sparse,
    /// Rows from the last to the first.
    Backwards,
}

impl Lie {
    /// Offset, strides and length of an `[r, c]` matrix.
    fn of(self, r: usize, c: usize) -> (usize, [isize; 2], usize) {
        match self {
            Lie::Rows => (0, [c as isize, 1], r * c),
            Lie::Transposed => (0, [1, r as isize], r * c),
            Lie::Sparse => (3, [2 * c as isize + 1, 2], 3 + r * (2 * c + 1)),
            Lie::Backwards => ((r - 1) * c, [-(c as isize), 1], r * c),
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
struct After {
    row_bias: bool,
    column_bias: bool,
    accumulate: bool,
    relu: bool,
}

fn check<T: Element + Float>(
    gpu: &'static Gpu,
    [m, k, n]: [usize; 3],
    lies: [Lie; 2],
    after: After,
) {
    let ((a_at, a_strides, a_len), (b_at, b_strides, b_len)) = (lies[0].of(m, k), lies[1].of(k, n));
    let (a, b) = (numbers::<T>(a_len, 1), numbers::<T>(b_len, 2));
    let (rows, columns, old) = (numbers::<T>(m, 3), numbers::<T>(n, 4), numbers::<T>(m * n, 5));
    let activation = if after.relu { Activation::Relu } else { Activation::None };
    let mut want = old.clone();
    let matrix = |data, offset, [row_stride, column_stride]: [isize; 2]| Matrix {
        data,
        offset,
        row_stride,
        column_stride,
    };
    let bias = match (after.row_bias, after.column_bias) {
        (true, _) => Bias::Row(&rows[..]),
        (_, true) => Bias::Column(&columns[..]),
        _ => Bias::None,
    };
    let epilogue = Epilogue { accumulate: after.accumulate, bias, activation };
    cpu::gemm(
        [m, k, n],
        matrix(&a, a_at, a_strides),
        matrix(&b, b_at, b_strides),
        epilogue,
        &mut want,
        n,
    )
    .unwrap();

    let (a, b, rows, columns) =
        (upload(gpu, &a), upload(gpu, &b), upload(gpu, &rows), upload(gpu, &columns));
    let mut c = upload(gpu, &old);
    let (m_shape, n_shape) = ([m], [n]);
    let bias =
        |on: bool, buffer, shape| on.then(|| Array::new(buffer, T::KIND, 0, shape, &[1]).unwrap());
    let launched = gemm(
        &Product {
            a: Array::new(&a, T::KIND, a_at, &[m, k], &a_strides).unwrap(),
            b: Array::new(&b, T::KIND, b_at, &[k, n], &b_strides).unwrap(),
            row_bias: bias(after.row_bias, &rows, &m_shape),
            column_bias: bias(after.column_bias && !after.row_bias, &columns, &n_shape),
            accumulate: after.accumulate,
            activation,
        },
        &mut c,
    );
    launched.unwrap();
    compare(&download::<T>(&c), &want, &format!("{m} {k} {n} {lies:?} {after:?}"));
}

fn compare<T: Element>(got: &[T], want: &[T], what: &str) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        assert!(got.same(*want), "{what}: element {i}: {got:?}, not {want:?}");
    }
}

const SIZES: [usize; 8] = [1, 3, 17, 64, 129, 257, 300, 513];

fn all<T: Element + Float>(gpu: &'static Gpu, most: usize) {
    let lies = [Lie::Rows, Lie::Transposed, Lie::Sparse, Lie::Backwards];
    let mut case = 0;
    for m in SIZES {
        for n in SIZES {
            // Two lengths of k a pair, so that every length meets every size.
            for k in [SIZES[case % 8], SIZES[(case / 8 + 5) % 8]] {
                case += 1;
                let after = After {
                    row_bias: case % 3 == 0,
                    column_bias: case % 3 == 1,
                    accumulate: case % 5 == 0,
                    relu: case % 2 == 0,
                };
                if m * n * k <= most {
                    check::<T>(gpu, [m, k, n], [lies[case % 4], lies[case / 3 % 4]], after);
                }
            }
        }
    }
    check::<T>(gpu, [5, 0, 7], [Lie::Rows; 2], After { column_bias: true, ..After::default() });
}

#[test]
fn f32_products_have_the_cpus_bits() {
    let Some(gpu) = device() else { return };
    all::<f32>(gpu, 1 << 23);
    // Whole tiles, 16 bytes at a time; one after another along k.
    for lies in [
        [Lie::Rows; 2],
        [Lie::Transposed; 2],
        [Lie::Rows, Lie::Transposed],
        [Lie::Transposed, Lie::Rows],
    ] {
        check::<f32>(gpu, [256, 512, 256], lies, After::default());
        check::<f32>(
            gpu,
            [128, 272, 64],
            lies,
            After { relu: true, column_bias: true, ..After::default() },
        );
        check::<f32>(gpu, [1, 1024, 516], lies, After::default());
        check::<f32>(gpu, [516, 1024, 1], lies, After { column_bias: true, ..After::default() });
    }
}

#[test]
fn f64_products_have_the_cpus_bits() {
    let Some(gpu) = device() else { return };
    all::<f64>(gpu, 1 << 21);
    for lies in [[Lie::Rows; 2], [Lie::Transposed; 2]] {
        check::<f64>(gpu, [256, 300, 128], lies, After::default());
        check::<f64>(gpu, [64, 600, 128], lies, After::default());
        check::<f64>(gpu, [2, 600, 128], lies, After::default());
    }
}

/// A batch `[2, 3]` of which A broadcasts the first dim and B the second.
fn batch<T: Element + Float>(gpu: &'static Gpu, [m, k, n]: [usize; 3]) {
    let (a, b) = (numbers::<T>(3 * m * k, 1), numbers::<T>(2 * k * n, 2));
    let (a_step, b_step) = ((m * k) as isize, (k * n) as isize);
    let matrix = |data, columns: usize| Matrix {
        data,
        offset: 0,
        row_stride: columns as isize,
        column_stride: 1,
    };
    let mut want = vec![T::ZERO; 6 * m * n];
    let a_offsets: Vec<isize> = (0..6).map(|z| z % 3 * a_step).collect();
    let b_offsets: Vec<isize> = (0..6).map(|z| z / 3 * b_step).collect();
    cpu::gemm_batched(
        [m, k, n],
        matrix(&a, k),
        &a_offsets,
        matrix(&b, n),
        &b_offsets,
        Epilogue::default(),
        &mut want,
    )
    .unwrap();
    let (a, b) = (upload(gpu, &a), upload(gpu, &b));
    let mut c = upload(gpu, &vec![T::ZERO; want.len()]);
    let launched = gemm(
        &Product {
            a: Array::new(&a, T::KIND, 0, &[2, 3, m, k], &[0, a_step, k as isize, 1]).unwrap(),
            b: Array::new(&b, T::KIND, 0, &[2, 3, k, n], &[b_step, 0, n as isize, 1]).unwrap(),
            row_bias: None,
            column_bias: None,
            accumulate: false,
            activation: Activation::None,
        },
        &mut c,
    );
    launched.unwrap();
    compare(&download::<T>(&c), &want, &format!("batch of {m} {k} {n}"));
}

#[test]
fn batches_have_the_cpus_bits() {
    let Some(gpu) = device() else { return };
    for sizes in [
        [1, 1, 1],
        [17, 33, 5],
        [64, 64, 64],
        [3, 300, 70],
        [70, 300, 3],
        [129, 20, 130],
        [40, 520, 40],
    ] {
        batch::<f32>(gpu, sizes);
    }
    batch::<f64>(gpu, [17, 300, 9]);
}

/// f16 and bf16: widened, the sums of f32, rounded once.
#[test]
fn halves_are_rounded_once() {
    let Some(gpu) = device() else { return };
    halves::<f16>(gpu, f16::to_f32, f16::from_f32);
    halves::<bf16>(gpu, bf16::to_f32, bf16::from_f32);
}

fn halves<T: Element>(gpu: &'static Gpu, widen: fn(T) -> f32, narrow: fn(f32) -> T) {
    for [m, k, n] in [[1, 300, 130], [17, 300, 33], [65, 64, 65], [129, 36, 132], [40, 3, 2]] {
        let (a, b, bias) = (numbers::<T>(m * k, 1), numbers::<T>(k * n, 2), numbers::<T>(n, 3));
        let wide = |x: &[T]| x.iter().map(|x| widen(*x)).collect::<Vec<f32>>();
        let (a32, b32, bias32) = (wide(&a), wide(&b), wide(&bias));
        let matrix = |data, columns: usize| Matrix {
            data,
            offset: 0,
            row_stride: columns as isize,
            column_stride: 1,
        };
        let mut want = vec![0.0f32; m * n];
        let epilogue = Epilogue { bias: Bias::Column(&bias32), ..Epilogue::default() };
        cpu::gemm([m, k, n], matrix(&a32, k), matrix(&b32, n), epilogue, &mut want, n).unwrap();
        let (a, b, bias) = (upload(gpu, &a), upload(gpu, &b), upload(gpu, &bias));
        let mut c = DeviceBuffer::new(gpu, m * n * 2).unwrap();
        let launched = gemm(
            &Product {
                a: Array::new(&a, T::KIND, 0, &[m, k], &[k as isize, 1]).unwrap(),
                b: Array::new(&b, T::KIND, 0, &[k, n], &[n as isize, 1]).unwrap(),
                row_bias: None,
                column_bias: Some(Array::new(&bias, T::KIND, 0, &[n], &[1]).unwrap()),
                accumulate: false,
                activation: Activation::None,
            },
            &mut c,
        );
        launched.unwrap();
        let want: Vec<T> = want.into_iter().map(narrow).collect();
        compare(&download::<T>(&c), &want, &format!("{m} {k} {n}"));
    }
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(gpu) = device() else { return };
    let x = upload(gpu, &numbers::<f32>(12, 1));
    let mut c = DeviceBuffer::new(gpu, 4 * 9).unwrap();
    let array = |shape, strides| Array::new(&x, Type::F32, 0, shape, strides).unwrap();
    let product = |a, b| Product {
        a,
        b,
        row_bias: None,
        column_bias: None,
        accumulate: false,
        activation: Activation::None,
    };
    let (tall, wide) = (array(&[3, 4], &[4, 1]), array(&[4, 3], &[3, 1]));
    gemm(&product(tall, wide), &mut c).unwrap();
    assert!(gemm(&product(tall, tall), &mut c).is_err());
    assert!(gemm(&product(wide, tall), &mut c).is_err(), "16 results in room for 9");
    let vector = array(&[4], &[1]);
    assert!(gemm(&product(vector, wide), &mut c).is_err());
    assert!(gemm(&Product { column_bias: Some(vector), ..product(tall, wide) }, &mut c).is_err());
}
