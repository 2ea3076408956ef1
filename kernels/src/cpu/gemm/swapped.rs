//! A product of few rows with a transposed matrix of many, as a linear layer's: computed as `C^T = B^T A^T`, whose operand to pack is A,
//! the smaller one. B is read row by row where it lies. The sums are the same; C is transposed once, while it is in the cache.

use super::Dispatch;
use super::driver::{Product, bytes, streamed_alone};
use super::output::Output;
use super::panels::{Packs, Strided};
use super::settle::{Finish, Settle, settle_on};
use crate::buffer::Buffer;
use crate::element::Float;
use crate::error::Result;

/// Steps of k from which on what packing saves is more than what transposing C costs.
const DEPTH: usize = 128;

/// True if the product is such a one. A team has too few pieces of it.
pub(super) fn suits<T: Float>(d: Dispatch, p: &Product<'_, T>) -> bool {
    let by_k = |x: &Strided<T>| x.k_stride == 1 && x.column_stride != 1;
    let dense = p.output.group == p.n && p.output.row_stride == p.n;
    let whole = p.k == (0..p.k_total) && p.k_total >= DEPTH && !p.finish.accumulate;
    !d.team
        && dense
        && whole
        && p.m.is_multiple_of(16)
        && p.m <= 256
        && p.n >= 2 * p.m
        && p.a.strided().is_some_and(|a| by_k(&a))
        && p.b.strided().is_some_and(|b| by_k(&b))
}

/// Computes it.
///
/// # Errors
/// [`OutOfMemory`](crate::Error::OutOfMemory) if there is no room for C's transpose.
pub(super) fn multiply<T: Float>(d: Dispatch, p: &Product<'_, T>) -> Result<()> {
    let mut sums = Buffer::new(bytes::<T>(&[p.n, p.m])?)?;
    let sums = sums.as_mut_slice::<T>().as_mut_ptr();
    // SAFETY: the buffer has `n * m` elements and is nobody else's.
    let output = unsafe { Output::new(sums, p.m, p.m, 0) };
    let nothing = Finish {
        accumulate: false,
        row_bias: std::ptr::null(),
        column_bias: std::ptr::null(),
        relu: false,
    };
    let (m, n) = (p.n, p.m);
    let turned = Product { m, n, a: p.b, b: p.a, output, finish: nothing, k: p.k.clone(), ..*p };
    streamed_alone(d, &turned)?;
    let (c, _) = p.output.column(0);
    let transpose = Strided { start: sums.cast_const(), k_stride: 1, column_stride: p.m as isize };
    // SAFETY: C is dense and holds as many elements as the transpose, which is whole; the biases by the caller's contract.
    unsafe {
        transpose.pack_on(d, 0..p.m, 0..p.n, c, p.n);
        if !p.finish.is_nothing() {
            let (rows, columns) = ([0, p.m], [0, p.n]);
            let (from, from_stride) = (c.cast_const(), p.n);
            let (to, earlier, finish) = (&p.output, None, Some(p.finish));
            settle_on(d, Settle { rows, columns, from, from_stride, earlier, to, finish });
        }
    }
    Ok(())
}
