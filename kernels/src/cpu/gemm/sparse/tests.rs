//! Whether what is skipped changes a bit, and when nothing is.

use super::super::tests::{available, numbers};
use super::super::{Dispatch, Epilogue, Matrix, Output, gemm_on};
use super::{LEAST, LEAST_FOR_A_TEAM, suits};
use crate::cpu::gemm::Product;
use crate::cpu::gemm::sparse::Shape;
use crate::cpu::isa::Isa;
use crate::element::Float;
use crate::reference::gemm as reference;

/// How many elements of A are not 0, of each so many.
#[derive(Debug, Clone, Copy)]
struct Density(usize, usize);

struct Operands<T> {
    sizes: [usize; 3],
    a: Vec<T>,
    /// A lies along its rows.
    turned: bool,
    b: Vec<T>,
    offset: usize,
    /// Elements between B's rows, which are no numbers.
    gap: usize,
}

impl<T: Float> Operands<T> {
    fn new([m, k, n]: [usize; 3], turned: bool, Density(some, of): Density) -> Self {
        let mut a = numbers::<T>(m * k, 1);
        let dice = numbers::<f64>(m * k, 7);
        for (i, (x, dice)) in a.iter_mut().zip(dice).enumerate() {
            // The first row has all factors, the second one none.
            let (row, p) = (if turned { i % m } else { i / k }, (dice + 1.0) / 2.0);
            if row == 1 || (row > 1 && p >= some as f64 / of as f64) {
                *x = if i % 3 == 0 { T::ZERO } else { T::from_f64(-0.0) };
            }
        }
        // From a cache line's start on.
        let b = numbers::<T>(k * n + 16, 2);
        let offset = b.as_ptr().align_offset(64);
        Operands { sizes: [m, k, n], a, turned, b, offset, gap: 0 }
    }

    fn with_gap(sizes: [usize; 3], gap: usize) -> Self {
        let [m, k, n] = sizes;
        let mut operands = Self::new([m, k, n + gap], true, HALF);
        let Operands { b, offset, .. } = &mut operands;
        for row in b[*offset..].chunks_exact_mut(n + gap) {
            row[n..].fill(T::NAN);
        }
        Operands { sizes, gap, ..operands }
    }

    fn matrices(&self) -> [Matrix<'_, T>; 2] {
        let [m, k, n] = self.sizes.map(|size| size as isize);
        let [row_stride, column_stride] = if self.turned { [1, m] } else { [k, 1] };
        let a = Matrix { data: &self.a, offset: 0, row_stride, column_stride };
        let (data, offset) = (&self.b, self.offset);
        [a, Matrix { data, offset, row_stride: n + self.gap as isize, column_stride: 1 }]
    }

    /// The product by each ISA, and that it was computed this way if it should be. Whether B was packed, whether it was read where it lies.
    fn check(&self, skipped: bool) -> [bool; 2] {
        self.check_on(|isa| skipped && isa > Isa::Scalar)
    }

    fn check_on(&self, skipped: impl Fn(Isa) -> bool) -> [bool; 2] {
        let [m, k, n] = self.sizes;
        let ([a, b], stride) = (self.matrices(), n + 3);
        let mut want = vec![T::ONE; m * stride];
        reference::gemm([m, k, n], a, b, Epilogue::default(), &mut want, stride);
        let mut ways = [false; 2];
        for isa in available() {
            for team in [false, true] {
                let d = Dispatch::forced(isa, team);
                let mut got = vec![T::ONE; m * stride];
                gemm_on(d, [m, k, n], &a, &b, &Epilogue::default(), &mut got, stride).unwrap();
                assert!(same_bits(&got, &want), "{d:?} {:?}", self.sizes);
                let mut alone = vec![T::ONE; m * stride];
                // SAFETY: the memory of a whole product.
                let output = unsafe { Output::new(alone.as_mut_ptr(), stride, n, 0) };
                let (at, b, finish) =
                    (a.transposed(), b.strided(), Epilogue::default().finish(false));
                let p = Product { m, n, k: 0..k, k_total: k, a: &at, b: &b, output, finish };
                let done = suits(d, &p).is_some_and(|candidate| {
                    let mut room = vec![T::NAN; candidate.room()];
                    candidate.multiply(d, &p, &mut room)
                });
                let large = m * n * k >= if team { LEAST_FOR_A_TEAM } else { LEAST };
                assert_eq!(done, skipped(isa) && large, "{d:?} {:?}", self.sizes);
                let untouched = alone.iter().all(|&x| x == T::ONE);
                assert!(if done { same_bits(&alone, &want) } else { untouched });
                if done {
                    ways[usize::from(Shape::new(d, &p, &b).in_place)] = true;
                }
            }
        }
        ways
    }
}

/// Equal bits, +0 and -0 told apart; any NaN equals any NaN.
fn same_bits<T: Float>(got: &[T], want: &[T]) -> bool {
    let sign = |x: T| x.to_f64().is_sign_negative();
    got.iter()
        .zip(want)
        .all(|(&a, &b)| (a == b && sign(a) == sign(b)) || (a.is_nan() && b.is_nan()))
}

const HALF: Density = Density(1, 2);

#[test]
fn the_bits_of_the_whole_product() {
    for turned in [false, true] {
        for sizes in
            [[65, 32, 1030], [128, 64, 784], [73, 100, 300], [40, 112, 1001], [90, 97, 530]]
        {
            for density in [HALF, Density(1, 20)] {
                Operands::<f32>::new(sizes, turned, density).check(true);
            }
            Operands::<f64>::new(sizes, turned, HALF).check(true);
        }
    }
}

#[test]
fn b_where_it_lies_and_packed() {
    assert!(Operands::<f32>::new([128, 64, 784], true, HALF).check(true)[1]);
    assert!(Operands::<f64>::new([128, 100, 392], true, HALF).check(true)[1]);
    let mut aside = Operands::<f32>::new([128, 64, 784], true, HALF);
    aside.offset += 1;
    assert_eq!(aside.check(true), [true, false]);
}

/// What has parts of k on AVX2, and too many of them on AVX-512.
#[test]
fn two_parts_of_narrow_vectors() {
    for (sizes, turned) in [([40, 200, 1001], false), ([70, 256, 300], true)] {
        let operands = Operands::<f32>::new(sizes, turned, HALF);
        operands.check_on(|isa| isa == Isa::Avx2);
        Operands::<f64>::new(sizes, turned, HALF).check_on(|isa| isa == Isa::Avx2);
    }
}

/// Shares of rows, of which each makes lists of its own.
#[test]
fn shares_with_lists() {
    let m = 128 * crate::cpu::parallel::threads().max(2) + 19;
    Operands::<f32>::new([m, 64, 784], true, HALF).check(true);
    Operands::<f32>::new([m, 100, 300], false, HALF).check(true);
}

#[test]
fn rows_of_b_that_are_apart() {
    Operands::<f32>::with_gap([128, 64, 784], 16).check(true);
    let mut operands = Operands::<f32>::with_gap([128, 64, 784], 16);
    operands.b[operands.offset + 3 * 800 + 783] = f32::INFINITY;
    operands.check(false);
}

#[test]
fn too_few_zeros_or_too_small() {
    Operands::<f32>::new([128, 64, 784], true, Density(3, 4)).check(false);
    Operands::<f32>::new([128, 64, 784], false, Density(1, 1)).check(false);
    Operands::<f32>::new([31, 112, 1501], true, HALF).check(false);
    Operands::<f32>::new([112, 31, 1501], true, HALF).check(false);
    Operands::<f32>::new([256, 112, 255], true, HALF).check(false);
    Operands::<f32>::new([64, 260, 288], true, HALF).check(false);
    Operands::<f32>::new([2100, 64, 448], true, HALF).check(false);
}

#[test]
fn numbers_that_make_skipping_wrong() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e-42] {
        let mut operands = Operands::new([128, 100, 400], true, HALF);
        operands.b[operands.offset + 700] = bad;
        operands.check(false);
        let mut operands = Operands::new([128, 100, 400], true, HALF);
        operands.a[77] = bad;
        operands.check(false);
    }
    // Products that are rounded to -0, whose sums zeros would turn to +0.
    let mut operands = Operands::<f32>::new([128, 100, 400], true, HALF);
    operands.a.iter_mut().for_each(|x| *x = x.abs() * 1e-30);
    operands.b.iter_mut().for_each(|x| *x *= -1e-30);
    operands.check(false);
}
