//! A tensor in pieces along a dim, as views.

use crate::error::{Error, Result};
use crate::ops::{look, methods};
use crate::shape;
use crate::tensor::Tensor;

/// Pieces of these sizes, which add up to the dim's.
fn pieces(
    op: &'static str,
    x: &Tensor,
    dim: usize,
    sizes: impl IntoIterator<Item = usize>,
) -> Result<Vec<Tensor>> {
    let (mut start, mut parts) = (0usize, Vec::new());
    let whole = x.shape()[dim];
    for size in sizes {
        if size > whole - start {
            let message = format!("pieces that are more than size {whole} of dim {dim}");
            return Err(Error::shape(op, message));
        }
        parts.push(x.clone().cut(dim, start, size, 1)?);
        start += size;
    }
    if start < whole {
        let message = format!("pieces of {start} in all for size {whole} of dim {dim}");
        return Err(Error::shape(op, message));
    }
    Ok(parts)
}

/// Refuses to make a list that memory can't hold: beside a size 0 a dim may have any.
fn check_count(op: &'static str, count: usize) -> Result<()> {
    if count < 1 << 28 { Ok(()) } else { Err(Error::argument(op, format!("{count} pieces"))) }
}

fn dim_of(op: &'static str, x: &Tensor, dim: i64) -> Result<usize> {
    shape::resolve_dim(op, dim, x.rank())
}

/// All pieces of one size but the last.
fn split(op: &'static str, x: &Tensor, size: usize, dim: usize) -> Result<Vec<Tensor>> {
    let whole = x.shape()[dim];
    if size == 0 && whole > 0 {
        return Err(Error::argument(op, format!("pieces of 0 from size {whole} of dim {dim}")));
    }
    let count = whole.div_ceil(size.max(1)).max(1);
    check_count(op, count)?;
    pieces(op, x, dim, (0..count).map(|i| size.min(whole - i * size)))
}

methods! {
    /// Pieces along a dim, on `Result<Tensor>`.
    trait PieceChain;

    /// At most `chunks` pieces of one size along dim `dim`, the last of which may be smaller (of an empty dim exactly `chunks`): PyTorch's `chunk`.
    fn chunk(x, chunks: usize, dim: i64) -> Vec<Tensor> {
        let x = look("chunk", &x)?;
        let dim = dim_of("chunk", x, dim)?;
        if chunks == 0 {
            return Err(Error::argument("chunk", "0 pieces"));
        }
        check_count("chunk", chunks)?;
        match x.shape()[dim] {
            // Of nothing as many as asked for.
            0 => pieces("chunk", x, dim, std::iter::repeat_n(0, chunks)),
            whole => split("chunk", x, whole.div_ceil(chunks), dim),
        }
    }

    /// Pieces of `size` along dim `dim`, the last of which may be smaller: PyTorch's `split`.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let parts = Tensor::from([1f32, 2., 3.]).split(2, 0)?;
    /// assert_eq!(parts[1].to_vec::<f32>()?, [3.]);
    /// # Ok(()) }
    /// ```
    fn split(x, size: usize, dim: i64) -> Vec<Tensor> {
        let x = look("split", &x)?;
        split("split", x, size, dim_of("split", x, dim)?)
    }

    /// Pieces of these sizes, which must add up to the dim's: PyTorch's `split_with_sizes`, or `split` of a list.
    fn split_with_sizes(x, sizes: &[usize], dim: i64) -> Vec<Tensor> {
        let x = look("split_with_sizes", &x)?;
        pieces("split_with_sizes", x, dim_of("split_with_sizes", x, dim)?, sizes.iter().copied())
    }

    /// Exactly `sections` pieces along dim `dim`, of which the first may be larger by 1: PyTorch's `tensor_split`.
    fn tensor_split(x, sections: usize, dim: i64) -> Vec<Tensor> {
        let x = look("tensor_split", &x)?;
        let dim = dim_of("tensor_split", x, dim)?;
        if sections == 0 {
            return Err(Error::argument("tensor_split", "0 pieces"));
        }
        check_count("tensor_split", sections)?;
        let (size, larger) = (x.shape()[dim] / sections, x.shape()[dim] % sections);
        pieces("tensor_split", x, dim, (0..sections).map(|i| size + usize::from(i < larger)))
    }

    /// The pieces between these places of dim `dim`, cut to its size as in Python; negative counts from the end: PyTorch's `tensor_split`
    /// of a list.
    fn tensor_split_at(x, places: &[i64], dim: i64) -> Vec<Tensor> {
        let x = look("tensor_split", &x)?;
        let at = dim_of("tensor_split", x, dim)?;
        let starts = std::iter::once(None).chain(places.iter().map(|&place| Some(place)));
        let ends = places.iter().map(|&place| Some(place)).chain([None]);
        let piece = |(start, end): (Option<i64>, Option<i64>)| {
            let (start, length) = crate::index::steps([start, end], 1, x.shape()[at], true)?;
            x.clone().cut(at, start, length, 1)
        };
        starts.zip(ends).map(piece).collect()
    }

    /// The slices of dim `dim`, which goes: PyTorch's `unbind`.
    fn unbind(x, dim: i64) -> Vec<Tensor> {
        let x = look("unbind", &x)?;
        let dim = dim_of("unbind", x, dim)?;
        check_count("unbind", x.shape()[dim])?;
        (0..x.shape()[dim]).map(|i| x.clone().cut(dim, i, 1, 1)?.squeeze(dim as i64)).collect()
    }
}
