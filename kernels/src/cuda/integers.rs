//! Products of integer matrices: `integers.cu`, with the results of [`cpu::gemm`](crate::cpu::gemm).

#[cfg(test)]
mod tests;

use super::array::{Array, Strided};
use super::launch::{Family, Grid, Name, THREADS, argument};
use super::memory::DeviceBuffer;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// Side of the tiles.
const TILE: usize = 32;

/// As the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Product {
    m: i64,
    n: i64,
    k: i64,
    matrices: i64,
    a_row: i64,
    a_k: i64,
    b_k: i64,
    b_column: i64,
    a_at: Strided,
    b_at: Strided,
}

/// `out = a b`, row-major from its start: `[.., m, k]` and `[.., k, n]`, any strides, what is before them the same (broadcast: with
/// strides 0). Sums wrap.
///
/// # Errors
/// [`Contract`](Error::Contract) if shapes, types or lengths don't fit; [`Cuda`](Error::Cuda).
pub fn matmul(a: Array<'_>, b: Array<'_>, out: &mut DeviceBuffer) -> Result<()> {
    let kind = a.kind();
    require(kind.is_integer() && b.kind() == kind, "cuda matmul of integers: types")?;
    let ([a_batch @ .., m, k], [b_batch @ .., b_k, n]) = (a.shape(), b.shape()) else {
        return Err(Error::Contract("cuda matmul of integers: matrices have two dims"));
    };
    let ([a_ahead @ .., a_row, a_column], [b_ahead @ .., b_row, b_column]) =
        (a.strides(), b.strides())
    else {
        return Err(Error::Contract("cuda matmul of integers: matrices have two dims"));
    };
    require(a_batch == b_batch && k == b_k, "cuda matmul of integers: shapes")?;
    let matrices = checked_len(a_batch);
    let count = matrices.and_then(|matrices| checked_len(&[matrices, *m, *n]));
    let bytes = count.and_then(|count| count.checked_mul(kind.size()));
    require(bytes == Some(out.len()), "cuda matmul of integers: length of the result")?;
    let (Some(matrices), false) = (matrices, out.is_empty()) else { return Ok(()) };
    let product = Product {
        m: *m as i64,
        n: *n as i64,
        k: *k as i64,
        matrices: matrices as i64,
        a_row: *a_row as i64,
        a_k: *a_column as i64,
        b_k: *b_row as i64,
        b_column: *b_column as i64,
        a_at: Strided::new(a.offset(), a_batch, a_ahead)?,
        b_at: Strided::new(b.offset(), b_batch, b_ahead)?,
    };
    let tiles = m.div_ceil(TILE).saturating_mul(n.div_ceil(TILE));
    require(tiles <= i32::MAX as usize, "cuda matmul of integers: too large")?;
    let grid = Grid {
        blocks: [tiles as u32, matrices.min(1 << 15) as u32, 1],
        threads: [THREADS, 1, 1],
        shared: 0,
    };
    let [from_a, from_b] = [a, b].map(|x| x.buffer().address());
    let to = out.address();
    let arguments = [argument(&from_a), argument(&from_b), argument(&to), argument(&product)];
    let name = Name::of(&["integers_matmul", kind.name()]);
    // SAFETY: the kernel's arguments; the operands were checked to lie inside their buffers, the result to fit its own.
    unsafe { out.gpu().launch(Family::Integers, &name, grid, &arguments) }
}
