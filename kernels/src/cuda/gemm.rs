//! Matrix products: `gemm.cu`, with the bits of [`cpu::gemm`](crate::cpu::gemm).

use super::array::{Array, Strided, Type};
use super::launch::{Family, Grid, Name, argument};
use super::memory::DeviceBuffer;
pub use super::product::computes;
use super::product::{Plan, Products, SKINNY, Target, bias_address};
use crate::cpu::gemm::Activation;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// A product and what follows it: `activation((accumulate ? c : 0) + a b + bias)`.
#[derive(Debug, Clone, Copy)]
pub struct Product<'a> {
    /// `[.., m, k]`, any strides.
    pub a: Array<'a>,
    /// `[.., k, n]`, any strides; what is before them as in `a` (broadcast: with strides 0).
    pub b: Array<'a>,
    /// A value a row of each product, without gaps.
    pub row_bias: Option<Array<'a>>,
    /// A value a column.
    pub column_bias: Option<Array<'a>>,
    /// Add the old contents of the result.
    pub accumulate: bool,
    /// Last of all.
    pub activation: Activation,
}

/// As the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Gemm {
    m: i64,
    n: i64,
    k: i64,
    matrices: i64,
    a_row: i64,
    a_k: i64,
    b_column: i64,
    b_k: i64,
    a_mode: i32,
    b_mode: i32,
    a_at: Strided,
    b_at: Strided,
    target: Target,
}

/// An operand: rows of A, columns of B.
#[derive(Clone, Copy)]
pub(super) struct Side<'a> {
    pub(super) array: Array<'a>,
    pub(super) rows: usize,
    pub(super) row_stride: isize,
    pub(super) k: usize,
    pub(super) k_stride: isize,
}

const ALONG_ROWS: i32 = 1;
const VECTORS: i32 = 2;

impl Side<'_> {
    /// The dims before the matrices.
    pub(super) fn batch(&self) -> (&[usize], &[isize]) {
        let lead = self.array.shape().len() - 2;
        (&self.array.shape()[..lead], &self.array.strides()[..lead])
    }

    /// Along which dim neighbours are loaded, and whether 16 bytes at a time.
    fn mode(&self) -> i32 {
        let (row, k) = (self.row_stride, self.k_stride);
        let along_rows = match (self.rows, self.k) {
            (1, _) => false,
            (_, 0 | 1) => true,
            _ => row != 0 && (k == 0 || row.unsigned_abs() < k.unsigned_abs()),
        };
        let (near, nears, far, fars) =
            if along_rows { (row, self.rows, k, self.k) } else { (k, self.k, row, self.rows) };
        let size = self.array.kind().size();
        let width = if size == 8 { 2 } else { 4 };
        let (shape, strides) = self.batch();
        let apart = |(size, stride): (&usize, &isize)| *size == 1 || stride % width as isize == 0;
        let aligned = self.array.buffer().address().is_multiple_of(16)
            && self.array.offset().is_multiple_of(width)
            && nears.is_multiple_of(width)
            && (fars == 1 || far % width as isize == 0)
            && shape.iter().zip(strides).all(apart);
        let along = if along_rows { ALONG_ROWS } else { 0 };
        along | if near == 1 && aligned { VECTORS } else { 0 }
    }
}

/// A product whose operands fit each other and the result.
pub(super) struct Checked<'a> {
    pub(super) kind: Type,
    pub(super) left: Side<'a>,
    pub(super) right: Side<'a>,
    pub(super) matrices: usize,
    /// Addresses, 0 for none: of a row's values and of a column's.
    pub(super) biases: [u64; 2],
    pub(super) target: Target,
}

impl<'a> Checked<'a> {
    /// `None` if the result has no element.
    pub(super) fn new(product: &Product<'a>, out: &DeviceBuffer) -> Result<Option<Checked<'a>>> {
        let (a, b, kind) = (product.a, product.b, product.a.kind());
        require(computes(kind) && b.kind() == kind, "cuda gemm: types")?;
        let ([a_batch @ .., m, k], [b_batch @ .., b_k, n]) = (a.shape(), b.shape()) else {
            return Err(Error::Contract("cuda gemm: matrices have two dims"));
        };
        let ([.., a_row, a_column], [.., b_row, b_column]) = (a.strides(), b.strides()) else {
            return Err(Error::Contract("cuda gemm: matrices have two dims"));
        };
        let (m, k, n) = (*m, *k, *n);
        require(a_batch == b_batch && k == *b_k, "cuda gemm: shapes")?;
        let matrices = checked_len(a_batch).ok_or(Error::Contract("cuda gemm: sizes overflow"))?;
        let count = checked_len(&[matrices, m, n]);
        let bytes = count.and_then(|count| count.checked_mul(kind.size()));
        require(
            bytes.is_some_and(|bytes| bytes <= out.len()),
            "cuda gemm: the result is too short",
        )?;
        let row_bias = bias_address(product.row_bias, kind, m)?;
        let column_bias = bias_address(product.column_bias, kind, n)?;
        if count == Some(0) {
            return Ok(None);
        }
        let target = Target {
            accumulate: i32::from(product.accumulate),
            ..Target::row_major(m, n).activated(product.activation)
        };
        Ok(Some(Checked {
            kind,
            left: Side { array: a, rows: m, row_stride: *a_row, k, k_stride: *a_column },
            right: Side { array: b, rows: n, row_stride: *b_column, k, k_stride: *b_row },
            matrices,
            biases: [row_bias, column_bias],
            target,
        }))
    }
}

/// `out = activation(a b + bias)`, row-major from its start.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if shapes, types or lengths don't fit; [`OutOfMemory`](crate::Error::OutOfMemory) for the
/// workspace; the driver's refusal.
pub fn gemm(product: &Product<'_>, out: &mut DeviceBuffer) -> Result<()> {
    match Checked::new(product, out)? {
        Some(checked) => exact(checked, out),
        None => Ok(()),
    }
}

/// With the CPU's bits.
pub(super) fn exact(checked: Checked<'_>, out: &mut DeviceBuffer) -> Result<()> {
    let Checked { kind, left, right, matrices, biases, target } = checked;
    // Few columns: the same sums as rows of the transposed product, with the factors changed over.
    let call = if right.rows < left.rows && right.rows <= SKINNY {
        let target = Target { row: 1, column: right.rows as i64, ..target };
        let [row_bias, column_bias] = biases;
        Call { left: right, right: left, target, biases: [column_bias, row_bias] }
    } else {
        Call { left, right, target, biases }
    };
    call.launch(kind, matrices, out)
}

/// Adds the `blocks` parts of k of row-major products, each of `[matrices, m, n]` f32 sums (f64 of f64), in their order, and finishes.
pub(super) fn fold(
    kind: Type,
    parts: &DeviceBuffer,
    blocks: usize,
    [matrices, m, n]: [usize; 3],
    (biases, target): ([u64; 2], Target),
    out: &mut DeviceBuffer,
) -> Result<()> {
    let gemm = Gemm {
        m: m as i64,
        n: n as i64,
        k: 0,
        matrices: matrices as i64,
        a_row: 0,
        a_k: 0,
        b_column: 0,
        b_k: 0,
        a_mode: 0,
        b_mode: 0,
        a_at: Strided::LINEAR,
        b_at: Strided::LINEAR,
        target,
    };
    fold_parts(kind, parts.address(), blocks, biases, &gemm, out)
}

fn fold_parts(
    kind: Type,
    parts: u64,
    blocks: usize,
    [row_bias, column_bias]: [u64; 2],
    gemm: &Gemm,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let (blocks, c) = (blocks as i64, out.address());
    let arguments = [
        argument(&parts),
        argument(&blocks),
        argument(&row_bias),
        argument(&column_bias),
        argument(&c),
        argument(gemm),
    ];
    let count = (gemm.m * gemm.n * gemm.matrices) as usize;
    let name = Name::of(&["gemm_fold", kind.name()]);
    // SAFETY: the kernel's arguments: parts, biases and the result have room for all elements, as the callers saw to. The workspace is
    // given back to the pool while the kernel may still run: the stream orders its next use.
    unsafe { out.gpu().launch(Family::Gemm, &name, Grid::over(count), &arguments) }
}

/// A product that was checked, the side with fewer rows perhaps put to the left.
struct Call<'a> {
    left: Side<'a>,
    right: Side<'a>,
    target: Target,
    biases: [u64; 2],
}

impl Call<'_> {
    fn launch(&self, kind: Type, matrices: usize, out: &mut DeviceBuffer) -> Result<()> {
        let (left, right, gpu) = (&self.left, &self.right, out.gpu());
        let [m, k, n] = [left.rows, left.k, right.rows];
        let plan = Plan::new(gpu, Products::Strided, kind, [m, k, n], matrices);
        let width = if kind == Type::F64 { 2 } else { 4 };
        let vectors =
            self.target.column == 1 && n.is_multiple_of(width) && out.address().is_multiple_of(16);
        let at = |side: &Side<'_>| {
            let (shape, strides) = side.batch();
            Strided::new(side.array.offset(), shape, strides)
        };
        let gemm = Gemm {
            m: m as i64,
            n: n as i64,
            k: k as i64,
            matrices: matrices as i64,
            a_row: left.row_stride as i64,
            a_k: left.k_stride as i64,
            b_column: right.row_stride as i64,
            b_k: right.k_stride as i64,
            a_mode: left.mode(),
            b_mode: right.mode(),
            a_at: at(left)?,
            b_at: at(right)?,
            target: Target { vectors: i32::from(vectors), ..self.target },
        };
        let [a, b] = [left, right].map(|side| side.array.buffer().address());
        let ([row_bias, column_bias], c) = (self.biases, out.address());
        let workspace = plan.workspace(gpu, kind, m * n * matrices)?;
        let parts = workspace.address();
        let tiles = plan.tile.count(m, n);
        require(tiles <= i32::MAX as usize, "cuda gemm: too large")?;
        let grid = Grid {
            blocks: [tiles as u32, plan.parts as u32, matrices.min(1 << 15) as u32],
            threads: [plan.tile.threads, 1, 1],
            shared: 0,
        };
        let arguments = [
            argument(&a),
            argument(&b),
            argument(&row_bias),
            argument(&column_bias),
            argument(&c),
            argument(&parts),
            argument(&gemm),
        ];
        let name = Name::of(&["gemm", plan.tile.name, kind.name()]);
        // SAFETY: the kernel's arguments; the operands were checked to lie inside their buffers, the result to fit its own, the
        // workspace has room for all parts.
        unsafe { gpu.launch(Family::Gemm, &name, grid, &arguments)? };
        match plan.parts {
            1 => Ok(()),
            blocks => fold_parts(kind, parts, blocks, self.biases, &gemm, out),
        }
    }
}
