//! Products of integer matrices: sums wrap, so any order gives them, and this is the plain one.

use super::Matrix;
use crate::element::Integer;
use crate::error::{Result, require};
use crate::strided::View;

/// `c[b] = a[b] b[b]` for `[m, k, n]`, one pair of offsets a batch; sums wrap.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if an operand or the result does not fit.
pub fn multiply_integers<T: Integer>(
    [m, k, n]: [usize; 3],
    a: Matrix<'_, T>,
    b: Matrix<'_, T>,
    offsets: &[[isize; 2]],
    c: &mut [T],
) -> Result<()> {
    let len = m.checked_mul(n).and_then(|plane| plane.checked_mul(offsets.len()));
    require(len == Some(c.len()), "gemm: length of the result")?;
    if c.is_empty() {
        return Ok(());
    }
    for (c, offsets) in c.chunks_exact_mut(m * n).zip(offsets) {
        let [a_strides, b_strides] = [a, b].map(|x| [x.row_stride, x.column_stride]);
        let (a_shape, b_shape) = ([m, k], [k, n]);
        let [a_at, b_at] = [(a, 0), (b, 1)].map(|(x, i)| x.offset.wrapping_add_signed(offsets[i]));
        let a = View::new(a.data, a_at, &a_shape, &a_strides)?;
        let b = View::new(b.data, b_at, &b_shape, &b_strides)?;
        plane(k, a, b, c);
    }
    Ok(())
}

/// One product, row by row: `c[i] += a[i, p] * b[p]`.
fn plane<T: Integer>(k: usize, a: View<'_, T>, b: View<'_, T>, c: &mut [T]) {
    let n = b.shape()[1];
    let at = |x: &View<'_, T>, i: usize, j: usize| {
        let offset = i as isize * x.strides()[0] + j as isize * x.strides()[1];
        x.data()[(x.offset() as isize + offset) as usize]
    };
    for (i, row) in c.chunks_exact_mut(n).enumerate() {
        row.fill(T::ZERO);
        for p in 0..k {
            let factor = at(&a, i, p);
            if b.strides()[1] == 1 {
                let start = (b.offset() as isize + p as isize * b.strides()[0]) as usize;
                for (c, &b) in row.iter_mut().zip(&b.data()[start..start + n]) {
                    *c = c.plus(factor.times(b));
                }
            } else {
                for (j, c) in row.iter_mut().enumerate() {
                    *c = c.plus(factor.times(at(&b, p, j)));
                }
            }
        }
    }
}
