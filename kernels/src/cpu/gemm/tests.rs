//! Every ISA, bit by bit, against the naive product.

use super::*;
use crate::cpu::isa::{HasTokens, Isa, Tokens};
use crate::reference::gemm as reference;

/// Numbers in (-1, 1) whose products and sums round.
pub(crate) fn numbers<T: Float>(len: usize, seed: u64) -> Vec<T> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        T::from_f64((state >> 11) as f64 / (1u64 << 52) as f64 - 1.0)
    };
    (0..len).map(|_| next()).collect()
}

/// Equal bits; any NaN equals any NaN, -0 equals +0.
pub(crate) fn same<T: Float>(got: &[T], want: &[T]) -> bool {
    let equal = |a: &T, b: &T| a == b || (a.is_nan() && b.is_nan());
    got.len() == want.len() && got.iter().zip(want).all(|(a, b)| equal(a, b))
}

pub(crate) fn available() -> impl Iterator<Item = Isa> {
    Isa::ALL.into_iter().filter(|isa| isa.available())
}

/// How an operand lies.
#[derive(Debug, Clone, Copy)]
enum Lies {
    RowMajor,
    ColumnMajor,
    Backwards,
    Mirrored,
    Spread,
    Repeated,
}

const LIES: [Lies; 6] = [
    Lies::RowMajor,
    Lies::ColumnMajor,
    Lies::Backwards,
    Lies::Mirrored,
    Lies::Spread,
    Lies::Repeated,
];

/// An operand of shape `[rows, columns]`: data, offset, strides.
fn operand<T: Float>(
    [rows, columns]: [usize; 2],
    lies: Lies,
    seed: u64,
) -> (Vec<T>, usize, [isize; 2]) {
    let (r, c) = (rows as isize, columns as isize);
    let data = |len: usize| numbers(len, seed);
    match lies {
        Lies::RowMajor => (data(rows * columns + 3), 3, [c, 1]),
        Lies::ColumnMajor => (data(rows * columns), 0, [1, r]),
        Lies::Backwards => (data(rows * columns), (rows * columns).saturating_sub(1), [-c, -1]),
        Lies::Mirrored => (data(rows * columns), (rows * columns).saturating_sub(rows), [1, -r]),
        Lies::Spread => (data(6 * rows * columns), 0, [2 * 3 * c, 3]),
        Lies::Repeated => (data(columns), 0, [0, 1]),
    }
}

fn matrix<T: Float>((data, offset, strides): &(Vec<T>, usize, [isize; 2])) -> Matrix<'_, T> {
    Matrix { data, offset: *offset, row_stride: strides[0], column_stride: strides[1] }
}

fn check_epilogue<T: Float>(
    [m, k, n]: [usize; 3],
    [a_lies, b_lies]: [Lies; 2],
    epilogue: Epilogue<'_, T>,
) where
    Tokens: HasTokens<T>,
{
    let (a, b) = (operand([m, k], a_lies, 1), operand([k, n], b_lies, 2));
    for stride in [n, n + 3] {
        let old = numbers::<T>(m * stride, 3);
        let mut want = old.clone();
        reference::gemm([m, k, n], matrix(&a), matrix(&b), epilogue, &mut want, stride);
        for d in
            available().flat_map(|isa| [Dispatch::forced(isa, false), Dispatch::forced(isa, true)])
        {
            let mut got = old.clone();
            gemm_on(d, [m, k, n], &matrix(&a), &matrix(&b), &epilogue, &mut got, stride).unwrap();
            assert!(same(&got, &want), "{d:?} {m}x{k}x{n} {a_lies:?} {b_lies:?} {epilogue:?}");
        }
    }
}

fn check<T: Float>(sizes: [usize; 3], lies: [Lies; 2])
where
    Tokens: HasTokens<T>,
{
    check_epilogue::<T>(sizes, lies, Epilogue::default());
}

#[test]
fn sizes_around_the_tile_edges() {
    for m in [0, 1, 2, 5, 6, 7, 11, 12, 13, 25] {
        for n in [0, 1, 2, 7, 8, 15, 16, 17, 31, 33, 47, 64, 65, 97] {
            for k in [0, 1, 3, 8] {
                check::<f32>([m, k, n], [Lies::RowMajor, Lies::RowMajor]);
                check::<f64>([m, k, n], [Lies::RowMajor, Lies::ColumnMajor]);
            }
        }
    }
}

#[test]
fn small_and_half_a_vector_left() {
    for sizes in
        [[7, 100, 5], [33, 64, 40], [100, 100, 100], [9, 256, 20], [50, 70, 72], [3, 40, 250]]
    {
        for lies in [[Lies::RowMajor; 2], [Lies::ColumnMajor; 2], [Lies::Spread, Lies::Backwards]] {
            check::<f32>(sizes, lies);
            check::<f64>(sizes, lies);
        }
    }
}

#[test]
fn blocks_of_k() {
    for k in [255, 256, 257, 512, 513, 770] {
        for [m, n] in [[1, 1], [1, 40], [40, 1], [7, 33], [13, 65]] {
            check::<f32>([m, k, n], [Lies::RowMajor, Lies::RowMajor]);
            check::<f64>([m, k, n], [Lies::ColumnMajor, Lies::RowMajor]);
        }
    }
}

#[test]
fn one_row_or_column() {
    for k in [1, 7, 8, 15, 16, 17, 33, 255, 256, 257, 300, 530] {
        for n in [2, 9, 16, 17, 63, 65, 255, 257, 513, 600] {
            check::<f32>([1, k, n], [Lies::RowMajor, Lies::RowMajor]);
            check::<f32>([n, k, 1], [Lies::RowMajor, Lies::RowMajor]);
            check::<f64>([1, k, n], [Lies::Spread, Lies::ColumnMajor]);
            check::<f64>([n, k, 1], [Lies::ColumnMajor, Lies::Spread]);
        }
    }
}

/// Columns half a page or a page apart, upwards or downwards in memory, which begin anywhere in a cache line.
#[test]
fn crowded_columns() {
    fn check<T: Float>(stride: usize)
    where
        Tokens: HasTokens<T>,
    {
        for (m, k) in [(9, 300), (16, 13), (33, 256), (40, 500)] {
            let data = numbers::<T>(m * stride + 17, 4);
            let x = numbers::<T>(k, 5);
            let x = Matrix { data: &x, offset: 0, row_stride: 1, column_stride: 1 };
            for (i, row_stride) in
                (0..17).flat_map(|i| [(i, stride as isize), (i, -(stride as isize))])
            {
                let offset = if row_stride < 0 { i + (m - 1) * stride } else { i };
                let a = Matrix { data: &data, offset, row_stride, column_stride: 1 };
                let mut want = vec![T::ZERO; m];
                reference::gemm([m, k, 1], a, x, Epilogue::default(), &mut want, 1);
                for d in available()
                    .flat_map(|isa| [false, true].map(|team| Dispatch::forced(isa, team)))
                {
                    let mut got = vec![T::NAN; m];
                    gemm_on(d, [m, k, 1], &a, &x, &Epilogue::default(), &mut got, 1).unwrap();
                    assert!(same(&got, &want), "{d:?} {m}x{k}, {row_stride} apart, from {offset}");
                }
            }
        }
    }
    check::<f32>(512);
    check::<f32>(1024);
    check::<f64>(512);
}

#[test]
fn any_strides() {
    for a in LIES {
        for b in LIES {
            for sizes in [[7, 20, 35], [1, 300, 70], [50, 300, 1], [14, 5, 140]] {
                check::<f32>(sizes, [a, b]);
                check::<f64>(sizes, [a, b]);
            }
        }
    }
}

#[test]
fn many_row_blocks_and_chunks() {
    check::<f32>([530, 20, 300], [Lies::RowMajor, Lies::RowMajor]);
    check::<f32>([300, 300, 530], [Lies::RowMajor, Lies::ColumnMajor]);
    check::<f32>([30, 600, 1030], [Lies::RowMajor, Lies::RowMajor]);
    check::<f64>([600, 300, 610], [Lies::RowMajor, Lies::RowMajor]);
    check::<f32>([300, 300, 530], [Lies::ColumnMajor, Lies::RowMajor]);
    check::<f64>([290, 259, 150], [Lies::ColumnMajor, Lies::ColumnMajor]);
    check::<f32>([8200, 3, 20], [Lies::Spread, Lies::RowMajor]);
    check::<f32>([290, 3, 4200], [Lies::RowMajor, Lies::RowMajor]);
    check::<f32>([1030, 300, 150], [Lies::RowMajor, Lies::RowMajor]);
    check::<f32>([450, 270, 90], [Lies::ColumnMajor, Lies::ColumnMajor]);
    check::<f32>([437, 300, 900], [Lies::ColumnMajor, Lies::RowMajor]);
    check::<f64>([1100, 300, 450], [Lies::ColumnMajor, Lies::RowMajor]);
    check::<f32>([1030, 300, 900], [Lies::RowMajor, Lies::RowMajor]);
    // Where AVX2 begins to pack rows of A.
    check::<f32>([50, 300, 384], [Lies::RowMajor, Lies::RowMajor]);
    check::<f32>([50, 300, 385], [Lies::RowMajor, Lies::RowMajor]);
    check::<f32>([20, 52_500, 9], [Lies::Spread, Lies::RowMajor]);
    check::<f64>([20, 5_300, 9], [Lies::RowMajor, Lies::RowMajor]);
}

#[test]
fn few_rows_times_a_transposed_matrix() {
    let lies = [Lies::RowMajor, Lies::ColumnMajor];
    for sizes in [[16, 128, 32], [32, 300, 71], [48, 257, 130], [64, 784, 128]] {
        check::<f32>(sizes, lies);
        check::<f64>(sizes, lies);
        let [m, k, n] = sizes;
        let (rows, columns) = (numbers::<f32>(m, 8), numbers::<f32>(n, 9));
        for bias in [Bias::Row(&rows), Bias::Column(&columns)] {
            let epilogue = Epilogue { accumulate: false, bias, activation: Activation::Relu };
            check_epilogue([m, k, n], lies, epilogue);
        }
    }
}

#[test]
fn panels_packed_while_they_are_multiplied() {
    for sizes in [[40, 300, 384], [65, 270, 513], [12, 100, 1216], [128, 64, 784]] {
        check::<f32>(sizes, [Lies::ColumnMajor, Lies::RowMajor]);
        check::<f64>(sizes, [Lies::RowMajor, Lies::RowMajor]);
    }
}

fn check_packed<T: Float>([m, k, n]: [usize; 3], lies: Lies)
where
    Tokens: HasTokens<T>,
{
    let (a, b) = (operand([m, k], Lies::RowMajor, 1), operand([k, n], lies, 2));
    let bias = numbers::<T>(n, 3);
    let bias = Bias::Column(&bias);
    let epilogue = Epilogue { accumulate: k > 300, bias, activation: Activation::Relu };
    let old = numbers::<T>(m * n + 1, 4);
    for epilogue in [epilogue, Epilogue::default()] {
        let mut want = old.clone();
        reference::gemm([m, k, n], matrix(&a), matrix(&b), epilogue, &mut want, n);
        for d in available().flat_map(|isa| [false, true].map(|team| Dispatch::forced(isa, team))) {
            let packed = PackedMatrix::under(d, [k, n], matrix(&b)).unwrap();
            let mut got = old.clone();
            packed::packed_on(d, m, &matrix(&a), &packed, &epilogue, &mut got, n).unwrap();
            assert!(same(&got, &want), "{d:?} {m}x{k}x{n} {lies:?}");
        }
    }
}

#[test]
fn packed_matrices() {
    for n in [1, 10, 33, 64, 130, 304, 600] {
        for k in [0, 1, 9, 256, 304, 530] {
            for m in [1, 2, 7, 20] {
                check_packed::<f32>([m, k, n], Lies::ColumnMajor);
            }
            check_packed::<f64>([1, k, n], Lies::RowMajor);
            check_packed::<f64>([13, k, n], Lies::Spread);
        }
    }
    check_packed::<f32>([1, 300, 2100], Lies::ColumnMajor);
    check_packed::<f32>([600, 300, 70], Lies::ColumnMajor);
    check_packed::<f32>([8200, 3, 70], Lies::ColumnMajor);
}

#[test]
fn a_packed_matrix_that_does_not_fit_is_an_error() {
    let data = [1f32; 12];
    let b = Matrix { data: &data, offset: 0, row_stride: 1, column_stride: 3 };
    assert!(PackedMatrix::new([3, 5], b).is_err());
    let packed = PackedMatrix::new([3, 4], b).unwrap();
    assert_eq!((packed.size(), packed.bytes()), ([3, 4], 3 * 256));
    let a = Matrix { data: &data, offset: 0, row_stride: 3, column_stride: 1 };
    let mut c = [0.0; 8];
    let mut call = |m, stride| gemm_packed(m, a, &packed, Epilogue::default(), &mut c, stride);
    assert!(call(2, 4).is_ok());
    assert!(call(2, 3).is_err() && call(2, 5).is_err() && call(5, 4).is_err());
}

#[test]
fn epilogues() {
    for accumulate in [false, true] {
        for activation in [Activation::None, Activation::Relu] {
            for [m, k, n] in [
                [1, 5, 1],
                [4, 2, 2],
                [7, 3, 9],
                [9, 300, 1],
                [1, 300, 9],
                [13, 600, 37],
                [13, 0, 37],
            ] {
                let (rows, columns) = (numbers::<f32>(m, 8), numbers::<f32>(n, 9));
                for bias in [Bias::None, Bias::Row(&rows), Bias::Column(&columns)] {
                    let epilogue = Epilogue { accumulate, bias, activation };
                    check_epilogue([m, k, n], [Lies::RowMajor; 2], epilogue);
                    check_epilogue([m, k, n], [Lies::ColumnMajor; 2], epilogue);
                }
            }
        }
    }
}

/// A team's shares of rows: one and two a thread, the last ones cut, with what an epilogue knows of each row.
#[test]
fn shares_of_rows() {
    let threads = crate::cpu::parallel::threads().max(2);
    for m in [64 * threads, 64 * threads + 5, 256 * threads + 19] {
        for (k, accumulate) in [(30, true), (300, false), (300, true)] {
            let (rows, columns) = (numbers::<f32>(m, 8), numbers::<f32>(70, 9));
            for bias in [Bias::Row(&rows), Bias::Column(&columns)] {
                let epilogue = Epilogue { accumulate, bias, activation: Activation::Relu };
                check_epilogue([m, k, 70], [Lies::RowMajor; 2], epilogue);
                check_epilogue([m, k, 70], [Lies::Spread, Lies::RowMajor], epilogue);
            }
        }
        check::<f64>([m, 20, 33], [Lies::ColumnMajor, Lies::RowMajor]);
        check_packed::<f32>([m, 300, 70], Lies::ColumnMajor);
    }
}

/// A team's blocks of rows of a matrix that a row is multiplied with: even and not, one chunk of columns and several.
#[test]
fn a_row_by_blocks_of_rows() {
    let threads = crate::cpu::parallel::threads();
    for [k, n] in [[512 * threads, 200], [700, 2100], [513, 1030 * threads]] {
        let columns = numbers::<f32>(n, 9);
        for accumulate in [false, true] {
            let (bias, activation) = (Bias::Column(&columns), Activation::Relu);
            let epilogue = Epilogue { accumulate, bias, activation };
            check_epilogue([1, k, n], [Lies::RowMajor; 2], epilogue);
        }
        check::<f32>([n, k, 1], [Lies::ColumnMajor, Lies::Spread]);
        check::<f64>([1, k, n], [Lies::Backwards, Lies::Repeated]);
    }
}

/// Columns enough for two pieces a thread, and rows that make several blocks.
#[test]
fn pieces_of_columns() {
    let n = 512 * crate::cpu::parallel::threads() - 37;
    let columns = numbers::<f64>(n, 9);
    let (bias, activation) = (Bias::Column(&columns), Activation::Relu);
    let epilogue = Epilogue { accumulate: true, bias, activation };
    check_epilogue::<f64>([330, 300, n], [Lies::RowMajor; 2], epilogue);
    check_epilogue::<f64>([330, 300, n], [Lies::ColumnMajor; 2], Epilogue::default());
}

#[test]
fn not_a_number_spreads_and_stays() {
    let a = [f32::NAN, 1.0, f32::INFINITY, 0.0];
    let b = [1.0, 0.0, 2.0, 1.0];
    let matrix = |data| Matrix { data, offset: 0, row_stride: 2, column_stride: 1 };
    let relu = Epilogue { activation: Activation::Relu, ..Epilogue::default() };
    for isa in available() {
        let mut c = [0.0; 4];
        gemm_on(Dispatch::forced(isa, true), [2; 3], &matrix(&a), &matrix(&b), &relu, &mut c, 2)
            .unwrap();
        assert!(c[0].is_nan() && c[1].is_nan() && c[2] == f32::INFINITY && c[3].is_nan());
    }
}

#[test]
fn a_row_does_not_depend_on_how_many_there_are() {
    let (k, n) = (700, 45);
    let (a, b) = (numbers::<f32>(64 * k, 1), numbers::<f32>(k * n, 2));
    let by_rows = |data, columns: usize| Matrix {
        data,
        offset: 0,
        row_stride: columns as isize,
        column_stride: 1,
    };
    let product = |m: usize| {
        let mut c = vec![0f32; m * n];
        gemm([m, k, n], by_rows(&a, k), by_rows(&b, n), Epilogue::default(), &mut c, n).unwrap();
        c
    };
    let all = product(64);
    for m in [1, 7] {
        assert_eq!(product(m), all[..m * n]);
    }
}

#[test]
fn batches_broadcast() {
    let [m, k, n] = [5, 300, 17];
    let (a, b) = (numbers::<f32>(3 * m * k, 1), numbers::<f32>(k * n, 2));
    let a = Matrix { data: &a, offset: m * k, row_stride: k as isize, column_stride: 1 };
    let b = Matrix { data: &b, offset: 0, row_stride: n as isize, column_stride: 1 };
    let offsets = [-((m * k) as isize), 0, (m * k) as isize];
    let epilogue = Epilogue::default();
    for isa in available() {
        let mut got = vec![0f32; 3 * m * n];
        batched_on(
            Dispatch::forced(isa, true),
            [m, k, n],
            (a, &offsets),
            (b, &[0; 3]),
            epilogue,
            &mut got,
        )
        .unwrap();
        for (i, got) in got.chunks(m * n).enumerate() {
            let mut want = vec![0f32; m * n];
            let a = Matrix { offset: i * m * k, ..a };
            reference::gemm([m, k, n], a, b, epilogue, &mut want, n);
            assert!(same(got, &want), "{isa:?} batch {i}");
        }
    }
}

#[test]
fn a_broken_contract_is_an_error() {
    let data = [0f32; 6];
    let x = |offset, row_stride, column_stride| Matrix {
        data: &data,
        offset,
        row_stride,
        column_stride,
    };
    let mut c = [0f32; 4];
    let mut call = |a, b, bias, stride| {
        let epilogue = Epilogue { bias, ..Epilogue::default() };
        gemm([2, 3, 2], a, b, epilogue, &mut c, stride)
    };
    assert!(call(x(0, 3, 1), x(0, 2, 1), Bias::None, 2).is_ok());
    assert!(call(x(1, 3, 1), x(0, 2, 1), Bias::None, 2).is_err());
    assert!(call(x(0, -3, 1), x(0, 2, 1), Bias::None, 2).is_err());
    assert!(call(x(0, 3, 1), x(0, isize::MAX, 1), Bias::None, 2).is_err());
    assert!(call(x(0, 3, 1), x(0, 2, 1), Bias::None, 1).is_err());
    assert!(call(x(0, 3, 1), x(0, 2, 1), Bias::None, 3).is_err());
    assert!(call(x(0, 3, 1), x(0, 2, 1), Bias::Row(&[0.0]), 2).is_err());
    assert!(
        gemm_batched(
            [2, 3, 2],
            x(0, 3, 1),
            &[0, 1],
            x(0, 2, 1),
            &[0],
            Epilogue::default(),
            &mut [0.0; 8]
        )
        .is_err()
    );
    assert!(
        gemm_batched(
            [2, 3, 2],
            x(0, 3, 1),
            &[-1],
            x(0, 2, 1),
            &[0],
            Epilogue::default(),
            &mut [0.0; 8]
        )
        .is_err()
    );
}
