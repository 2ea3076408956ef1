//! Matrix product in the order R2 of ADR 001: `C <- epilogue(A B)`, any strides, batched.

#[cfg(target_arch = "x86_64")]
mod assembly;
mod blocked;
mod blocking;
mod driver;
mod integers;
pub(in crate::cpu) mod microkernel;
mod output;
mod packed;
mod panels;
mod settle;
mod shares;
mod sliver;
mod small;
mod sparse;
mod split;
mod swapped;
#[cfg(test)]
pub(crate) mod tests;
mod vector;

use std::sync::Mutex;

pub(crate) use blocking::{KC, vector_bytes};
pub(crate) use driver::{Product, multiply, work_ns};
pub use integers::multiply_integers;
pub(crate) use output::Output;
pub use packed::{PackedMatrix, gemm_packed};
pub(crate) use panels::{Packs, Panels, Strided};

use super::isa::{Available, Isa, Kernel};
use super::parallel::{self, Shared};
use crate::element::Float;
use crate::error::{Error, Result, require};
use crate::strided::{View, checked_len};
use settle::Finish;

/// The way into vector code: the ISA in force in the library, a given one in tests. A value and not a type, so that there is one
/// instance of all that takes it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dispatch {
    isa: Available,
    /// True for AVX2 in AVX-512's place.
    narrow: bool,
    /// True if there is a team, for which more pieces are worth more memory traffic.
    team: bool,
}

impl Dispatch {
    /// The ISA and the team in force.
    #[inline]
    pub(crate) fn in_force() -> Self {
        Dispatch { isa: Available::in_force(), narrow: false, team: parallel::threads() > 1 }
    }

    /// A given ISA, and whether to take the paths for a team.
    pub(crate) fn forced(isa: Isa, team: bool) -> Self {
        Dispatch { isa: Available::below(isa), narrow: false, team }
    }

    /// The same for a thread alone.
    fn alone(self) -> Self {
        Dispatch { team: false, ..self }
    }

    /// The same with AVX2 in AVX-512's place.
    #[inline]
    fn narrow(self) -> Self {
        Dispatch { narrow: true, ..self }
    }

    /// The one whose vectors are computed with.
    #[inline]
    fn isa(self) -> Isa {
        let isa = self.isa.isa();
        if self.narrow { isa.min(Isa::Avx2) } else { isa }
    }

    /// Runs the kernel.
    #[inline]
    pub(crate) fn call<T: Float, K: Kernel<T>>(self, kernel: K) -> K::Output {
        match self.narrow {
            true => T::dispatch_narrow(self.isa, kernel),
            false => T::dispatch_at(self.isa, kernel),
        }
    }
}

/// A matrix operand in a slice: element `(i, j)` of batch `b` is `data[offset(b) + i * row_stride +
/// j * column_stride]`.
#[derive(Debug, Clone, Copy)]
pub struct Matrix<'a, T> {
    /// The data.
    pub data: &'a [T],
    /// Offset of element (0, 0).
    pub offset: usize,
    /// Stride between rows.
    pub row_stride: isize,
    /// Stride between columns.
    pub column_stride: isize,
}

/// What is applied to a tile while it is in registers.
#[derive(Debug, Clone, Copy)]
pub struct Epilogue<'a, T> {
    /// Add the old contents of C first (`C + A B`).
    pub accumulate: bool,
    /// Then add a bias.
    pub bias: Bias<'a, T>,
    /// Then the activation.
    pub activation: Activation,
}

impl<T> Default for Epilogue<'_, T> {
    fn default() -> Self {
        Epilogue { accumulate: false, bias: Bias::None, activation: Activation::None }
    }
}

/// A bias vector, contiguous.
#[derive(Debug, Clone, Copy)]
pub enum Bias<'a, T> {
    /// None.
    None,
    /// One value a row of C.
    Row(&'a [T]),
    /// One value a column of C.
    Column(&'a [T]),
}

/// An activation that an epilogue can apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Activation {
    /// The identity.
    None,
    /// `max(x, 0)`, NaN stays.
    Relu,
}

/// `c[m, n] = epilogue(a[m, k] * b[k, n])`; `c` row-major with `c_stride` elements from row to row.
///
/// # Errors
/// [`Contract`](Error::Contract) if an element lies outside its slice.
pub fn gemm<T: Float>(
    [m, k, n]: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
    c_stride: usize,
) -> Result<()> {
    gemm_on(Dispatch::in_force(), [m, k, n], &a, &b, &epilogue, c, c_stride)
}

/// [`gemm`] under a given ISA, or the strongest available one below it: benches compare ISAs with it.
///
/// # Errors
/// As [`gemm`].
pub fn gemm_under<T: Float>(
    isa: Isa,
    [m, k, n]: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
    c_stride: usize,
) -> Result<()> {
    let d = Dispatch::forced(isa, parallel::threads() > 1);
    gemm_on(d, [m, k, n], &a, &b, &epilogue, c, c_stride)
}

/// A batch of products: batch `i` uses `a.offset + a_offsets[i]`, `b.offset + b_offsets[i]` and the
/// `i`-th `m * n` elements of `c`.
///
/// # Errors
/// [`Contract`](Error::Contract) if an element lies outside its slice.
pub fn gemm_batched<T: Float>(
    [m, k, n]: [usize; 3],
    a: Matrix<'_, T>,
    a_offsets: &[isize],
    b: Matrix<'_, T>,
    b_offsets: &[isize],
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
) -> Result<()> {
    batched_on(Dispatch::in_force(), [m, k, n], (a, a_offsets), (b, b_offsets), epilogue, c)
}

/// [`gemm`] under a given ISA. By reference, as what it calls: copies of what was just written stall a small product.
#[inline(always)]
fn gemm_on<T: Float>(
    d: Dispatch,
    sizes: [usize; 3],
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    epilogue: &Epilogue<'_, T>,
    c: &mut [T],
    c_stride: usize,
) -> Result<()> {
    if small::at_once(d, sizes, a, b, epilogue, c, c_stride) {
        return Ok(());
    }
    checked(d, sizes, a, b, epilogue, c, c_stride)
}

/// [`gemm_on`] for all but the plainest small products.
#[inline(never)]
fn checked<T: Float>(
    d: Dispatch,
    [m, k, n]: [usize; 3],
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    epilogue: &Epilogue<'_, T>,
    c: &mut [T],
    c_stride: usize,
) -> Result<()> {
    if m == 0 || n == 0 {
        return Ok(());
    }
    check_operand(a, [m, k])?;
    check_operand(b, [k, n])?;
    check_bias(epilogue, m, n)?;
    require(m == 1 || c_stride >= n, "gemm: rows of c overlap")?;
    let end = (m - 1).checked_mul(c_stride).and_then(|start| start.checked_add(n));
    require(end.is_some_and(|end| end <= c.len()), "gemm: c is too short")?;
    if small::tiny(d, [m, k, n], a, b, epilogue, c, c_stride) {
        return Ok(());
    }
    // SAFETY: the operands, the biases and c were checked.
    unsafe { unchecked(d, [m, k, n], a, b, epilogue, c.as_mut_ptr(), c_stride) }
}

/// [`gemm_batched`] under a given ISA.
fn batched_on<T: Float>(
    d: Dispatch,
    [m, k, n]: [usize; 3],
    (a, a_offsets): (Matrix<'_, T>, &[isize]),
    (b, b_offsets): (Matrix<'_, T>, &[isize]),
    epilogue: Epilogue<'_, T>,
    c: &mut [T],
) -> Result<()> {
    let batch = a_offsets.len();
    require(batch == b_offsets.len(), "gemm_batched: as many offsets of b as of a")?;
    if m == 0 || n == 0 || batch == 0 {
        return Ok(());
    }
    let size = checked_len(&[m, n]).ok_or(Error::Contract("gemm_batched: m * n overflows"))?;
    let len = size.checked_mul(batch);
    require(len.is_some_and(|len| len <= c.len()), "gemm_batched: c is too short")?;
    check_bias(&epilogue, m, n)?;
    for (&ao, &bo) in a_offsets.iter().zip(b_offsets) {
        check_operand(&a.moved(ao)?, [m, k])?;
        check_operand(&b.moved(bo)?, [k, n])?;
    }
    let c = Shared::new(c);
    let one = |d: Dispatch, i: usize| -> Result<()> {
        let (a, b) = (a.moved(a_offsets[i])?, b.moved(b_offsets[i])?);
        let c = c.as_ptr().wrapping_add(i * size);
        // SAFETY: every operand of the batch and the length of c were checked; the products' places
        // in c are disjoint.
        unsafe { unchecked(d, [m, k, n], &a, &b, &epilogue, c, n) }
    };
    // Large products are parallel inside; small ones are a piece each.
    if size.saturating_mul(k) >= LARGE {
        return (0..batch).try_for_each(|i| one(d, i));
    }
    // A piece has its thread only.
    let d = if batch > 1 { d.alone() } else { d };
    let failed = Mutex::new(Ok(()));
    let work = (size.saturating_mul(k) as u64).saturating_mul(batch as u64) / 50;
    parallel::run(batch, work, &|i| {
        if let Err(error) = one(d, i) {
            *failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Err(error);
        }
    });
    failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Multiply-adds from which on a product of a batch is worth splitting.
const LARGE: usize = 1 << 24;

impl<T> Matrix<'_, T> {
    /// The matrix `by` elements further on.
    fn moved(self, by: isize) -> Result<Self> {
        let offset = self.offset.checked_add_signed(by);
        let offset =
            offset.ok_or(Error::Contract("gemm_batched: an offset lies before the data"))?;
        Ok(Matrix { offset, ..self })
    }

    /// Address of element (0, 0).
    #[inline]
    fn start(&self) -> *const T {
        self.data.as_ptr().wrapping_add(self.offset)
    }

    /// As a product's B.
    fn strided(&self) -> Strided<T> {
        let (k_stride, column_stride) = (self.row_stride, self.column_stride);
        Strided { start: self.start(), k_stride, column_stride }
    }

    /// As a product's A.
    fn transposed(&self) -> Strided<T> {
        let (k_stride, column_stride) = (self.column_stride, self.row_stride);
        Strided { start: self.start(), k_stride, column_stride }
    }
}

/// That every element lies in the data. Small products feel how long this takes.
#[inline]
fn check_operand<T: Float>(x: &Matrix<'_, T>, shape: [usize; 2]) -> Result<()> {
    let [rows, columns] = shape;
    if x.row_stride >= 0 && x.column_stride >= 0 && rows > 0 && columns > 0 {
        let far = (rows - 1).checked_mul(x.row_stride as usize);
        let right = (columns - 1).checked_mul(x.column_stride as usize);
        let last = far.zip(right).and_then(|(far, right)| far.checked_add(right));
        if last.and_then(|last| last.checked_add(x.offset)).is_some_and(|at| at < x.data.len()) {
            return Ok(());
        }
    }
    View::new(x.data, x.offset, &shape, &[x.row_stride, x.column_stride]).map(|_| ())
}

fn check_bias<T>(epilogue: &Epilogue<'_, T>, m: usize, n: usize) -> Result<()> {
    let fits = match epilogue.bias {
        Bias::None => true,
        Bias::Row(bias) => bias.len() >= m,
        Bias::Column(bias) => bias.len() >= n,
    };
    require(fits, "gemm: the bias is too short")
}

impl<T: Float> Epilogue<'_, T> {
    /// As the micro-kernel takes it; `swapped`: rows for columns.
    pub(crate) fn finish(&self, swapped: bool) -> Finish<T> {
        let (mut row_bias, mut column_bias) = match self.bias {
            Bias::None => (std::ptr::null(), std::ptr::null()),
            Bias::Row(bias) => (bias.as_ptr(), std::ptr::null()),
            Bias::Column(bias) => (std::ptr::null(), bias.as_ptr()),
        };
        if swapped {
            std::mem::swap(&mut row_bias, &mut column_bias);
        }
        let relu = self.activation == Activation::Relu;
        Finish { accumulate: self.accumulate, row_bias, column_bias, relu }
    }
}

/// The product of checked operands. A single column is computed as the row `C^T = B^T A^T`: the
/// same sums, the other dim in vectors.
///
/// # Safety
/// - Every element of the operands, of the biases and of c must lie in its memory; c is written and
///   nobody else's.
#[inline]
unsafe fn unchecked<T: Float>(
    d: Dispatch,
    [m, k, n]: [usize; 3],
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    epilogue: &Epilogue<'_, T>,
    c: *mut T,
    c_stride: usize,
) -> Result<()> {
    if small::suits(d, [m, k, n]) {
        let add = epilogue.accumulate;
        let finish = match (&epilogue.bias, epilogue.activation) {
            (Bias::None, Activation::None) => None,
            _ => Some(Finish { accumulate: false, ..epilogue.finish(false) }),
        };
        let product = small::Small { m, k, n, a, b, c, c_stride, add, finish };
        // SAFETY: by the caller's contract.
        unsafe { product.compute(d) };
        return Ok(());
    }
    // SAFETY: by the caller's contract.
    unsafe { planned(d, [m, k, n], a, b, epilogue, c, c_stride) }
}

/// [`unchecked`] for all but small products.
///
/// # Safety
/// - As there.
#[inline(never)]
unsafe fn planned<T: Float>(
    d: Dispatch,
    [m, k, n]: [usize; 3],
    a: &Matrix<'_, T>,
    b: &Matrix<'_, T>,
    epilogue: &Epilogue<'_, T>,
    c: *mut T,
    c_stride: usize,
) -> Result<()> {
    let (at, b) = (a.transposed(), b.strided());
    let swapped = n == 1 && m > 1;
    let finish = epilogue.finish(swapped);
    // SAFETY: by the caller's contract.
    unsafe {
        if swapped {
            let group = if c_stride == 1 { m } else { 1 };
            let output = Output::new(c, 0, group, c_stride);
            let (m, n) = (n, m);
            let product = Product { m, n, k: 0..k, k_total: k, a: &b, b: &at, output, finish };
            multiply(d, &product)
        } else {
            let output = Output::new(c, c_stride, n, 0);
            let product = Product { m, n, k: 0..k, k_total: k, a: &at, b: &b, output, finish };
            multiply(d, &product)
        }
    }
}
