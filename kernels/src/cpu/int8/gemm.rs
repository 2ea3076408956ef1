//! The product `[m, k] x [k, n]`, cut into blocks.

use std::ops::Range;
use std::sync::Mutex;

use super::block::Block;
use super::dot::{Dot, GROUP};
use super::finish::{COLUMNS, Finish, flip};
use super::{Codes, Output, Packed, Zero, prepare};
use crate::buffer::Buffer;
use crate::cpu::isa::{Int8Isa, Int8Kernel, dispatch_int8, int8_isa};
use crate::cpu::parallel;
use crate::error::{Result, require};

/// The left operand: codes, row-major.
#[derive(Debug, Clone, Copy)]
pub struct Activations<'a> {
    /// The codes.
    pub codes: Codes<'a>,
    /// Elements from row to row.
    pub stride: usize,
    /// The zero point of all rows, or of each.
    pub zero: Zero<'a>,
}

/// The most rows of a block.
const ROWS: usize = 384;

/// Its fewest, if there are as many: each panel of weights that comes from beyond L1 then serves four tiles.
const FEW_ROWS: usize = 24;

/// Codes of a block's rows, if one thread has all: they stay in L2 beside the weights of some columns.
const ROOM: usize = 1 << 20;

/// Columns of a block of one of several threads: with k = 2048 their weights are half of a common L2.
const BLOCK_COLUMNS: usize = 4 * COLUMNS;

/// Products that a block should hold at least (about 20 us): those of small products are shared among threads.
const BLOCK: usize = 1 << 22;

/// Blocks for each thread, if they are larger.
const SHARES: usize = 8;

/// `output[m, n]` from `a[m, k]` and the packed `[k, n]` weights: [`Output`] has the formulas. `weight_zero` (default: 0; that
/// of symmetric quantization) has one zero point, or one a column; `bias` is added to the sums, one element a column; `stride` is
/// how many elements the output's rows are apart.
///
/// Sums are exact. Those of i32 outputs must fit for any codes and these zero points, or the call is refused: with zero points
/// of 0 up to k = 65,793 for u8 and k = 131,071 for i8. Other outputs are computed from i64 beyond that, up to
/// [`MAX_K`](super::MAX_K).
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths don't fit, a zero point is no code or a multiplier is not finite;
/// [`OutOfMemory`](crate::Error::OutOfMemory) for the workspace of a block.
///
/// ```
/// use ferrotape_kernels::cpu::int8::{Activations, Codes, Order, Output, Packed, Zero, gemm};
/// // Two rows of three; the weights of two outputs, as in PyTorch's Linear.
/// let weights = Packed::new(Order::OutIn, 3, 2, &[1i8, -2, 3, 0, 5, -128])?;
/// let a = Activations { codes: Codes::U8(&[10, 11, 12, 255, 0, 10]), stride: 3, zero: Zero::All(10) };
/// let mut sums = [0; 4];
/// gemm(2, &a, &weights, None, Some(&[100, 0]), Output::I32(&mut sums), 2)?;
/// assert_eq!(sums, [100 - 2 + 6, 5 - 256, 100 + 245 + 20, -50]);
/// # Ok::<(), ferrotape_kernels::Error>(())
/// ```
pub fn gemm(
    m: usize,
    a: &Activations<'_>,
    weights: &Packed,
    weight_zero: Option<Zero<'_>>,
    bias: Option<&[i32]>,
    output: Output<'_>,
    stride: usize,
) -> Result<()> {
    gemm_under(int8_isa(), m, a, weights, weight_zero, bias, output, stride)
}

/// [`gemm`] under a given instruction set, or the strongest available one below it: tests and benches compare them.
///
/// # Errors
/// As [`gemm`].
#[allow(clippy::too_many_arguments)]
pub fn gemm_under(
    isa: Int8Isa,
    m: usize,
    a: &Activations<'_>,
    weights: &Packed,
    weight_zero: Option<Zero<'_>>,
    bias: Option<&[i32]>,
    output: Output<'_>,
    stride: usize,
) -> Result<()> {
    let (k, n) = (weights.k, weights.n);
    require(m <= 1 || a.stride >= k, "int8: rows of the activations overlap")?;
    let needed = match m {
        0 => Some(0),
        _ => (m - 1).checked_mul(a.stride).and_then(|start| start.checked_add(k)),
    };
    let whole = needed.is_some_and(|len| len <= a.codes.len());
    require(whole, "int8: the activations are too short")?;
    let finish = Finish::new([m, n], 1, a, weights, weight_zero, bias, output, stride)?;
    if m == 0 || n == 0 {
        return Ok(());
    }
    let whole = n.next_multiple_of(COLUMNS);
    let (columns, rows) = match parallel::threads() {
        // All columns, so that rows are prepared once and weights come from beyond L2 seldom.
        0 | 1 => (whole, ROOM / k.max(1)),
        threads => {
            let share = m.saturating_mul(k).saturating_mul(n) / (SHARES * threads);
            let columns = BLOCK_COLUMNS.min(whole);
            (columns, BLOCK.max(share) / (k.max(1) * columns))
        }
    };
    // Whole tiles of six rows.
    let rows = rows.clamp(FEW_ROWS, ROWS).next_multiple_of(6).min(m);
    let product = Product { m, a: *a, weights, finish: &finish, failed: Mutex::new(Ok(())) };
    let row_blocks = m.div_ceil(rows);
    let run = |i: usize| {
        let (row, column) = (i % row_blocks * rows, i / row_blocks * columns);
        let (rows, columns) = (row..m.min(row + rows), column..n.min(column + columns));
        dispatch_int8(isa, Piece { isa, product: &product, rows, columns });
    };
    parallel::run(row_blocks * n.div_ceil(columns), work(isa, m, k, n), &run);
    product.failed.into_inner().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Nanoseconds of one core that a product is likely to take.
pub(super) fn work(isa: Int8Isa, m: usize, k: usize, n: usize) -> u64 {
    let rate = match isa {
        Int8Isa::Scalar => 1,
        Int8Isa::Avx2 => 30,
        Int8Isa::Avx512 => 60,
        _ => 150,
    };
    let weights = (k as u64).saturating_mul(n as u64);
    (weights.saturating_mul(m as u64) / rate).saturating_add(weights / 50)
}

struct Product<'a> {
    m: usize,
    a: Activations<'a>,
    weights: &'a Packed,
    finish: &'a Finish<'a>,
    failed: Mutex<Result<()>>,
}

/// One block.
struct Piece<'a> {
    isa: Int8Isa,
    product: &'a Product<'a>,
    rows: Range<usize>,
    columns: Range<usize>,
}

impl Int8Kernel for Piece<'_> {
    #[inline(always)]
    fn run<D: Dot>(self, _: D) {
        if let Err(error) = self.multiply::<D>() {
            let failed = &self.product.failed;
            *failed.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = Err(error);
        }
    }
}

impl Piece<'_> {
    #[inline(always)]
    fn multiply<D: Dot>(&self) -> Result<()> {
        let Product { m, a, weights, finish, .. } = self.product;
        debug_assert!(self.rows.end <= *m);
        let (k, codes, flip) = (weights.k, a.codes.bytes(), flip(a.codes));
        let count = self.rows.len();
        let row = |i: usize| &codes[(self.rows.start + i) * a.stride..][..k];
        let mut sums = [0; ROWS];
        let row_sums = if finish.needs_row_sums() {
            for (i, sum) in sums[..count].iter_mut().enumerate() {
                *sum = prepare::sum(row(i), flip);
            }
            Some(&sums[..])
        } else {
            None
        };
        let in_place = D::BYTES == 1 && flip == 0 && k.is_multiple_of(GROUP);
        let groups = k.div_ceil(GROUP);
        let mut starts = [0; ROWS];
        let mut buffer;
        let base = if in_place {
            for (i, start) in starts[..count].iter_mut().enumerate() {
                *start = i * a.stride;
            }
            codes[self.rows.start * a.stride..].as_ptr()
        } else {
            // A cache line of room between rows: their starts don't fall into the same cache sets.
            let stride = (groups * GROUP * D::BYTES).next_multiple_of(64) + 64;
            buffer = Buffer::new(count * stride)?;
            let bytes = buffer.as_mut_slice::<u8>();
            for (i, start) in starts[..count].iter_mut().enumerate() {
                *start = i * stride;
                // SAFETY: the row has `stride` bytes, at least `k * D::BYTES`; buffers are aligned.
                unsafe { prepare::copy::<D>(row(i), bytes[*start..].as_mut_ptr(), flip) };
            }
            bytes.as_ptr()
        };
        let block = Block {
            packed: weights,
            base,
            rows: &starts[..count],
            taps: &[0],
            run: groups,
            columns: self.columns.clone(),
            first_row: self.rows.start,
            row_sums,
            finish,
        };
        // SAFETY: every row has `groups` groups in its memory (in place, k is whole groups); the pieces' rows and columns are
        // disjoint and, as `Finish::new` checked, in the output.
        unsafe { block.run(self.isa) };
        Ok(())
    }
}
