//! Elements repeated and moved around: composites of views and copies, of any type.

use smallvec::SmallVec;

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::Conv2dOp;
use crate::ops::chain::ShapeChain as _;
use crate::ops::{look, methods};
use crate::shape::{self, Dims, IntoDims};
use crate::tensor::Tensor;

/// `x` as often along each dim as told; the last numbers belong to the last dims.
fn repeat(op: &'static str, x: &Tensor, times: &[usize]) -> Result<Tensor> {
    let Some(lead) = times.len().checked_sub(x.rank()) else {
        let message = format!("{} numbers for {:?}", times.len(), x.shape());
        return Err(Error::argument(op, message));
    };
    let (mut raised, mut spread, mut shape) = (Dims::new(), Dims::new(), Dims::new());
    for (d, &times) in times.iter().enumerate() {
        let size = d.checked_sub(lead).map_or(1, |d| x.shape()[d]);
        raised.extend([1, size]);
        spread.extend([times, size]);
        let product = times.checked_mul(size);
        shape.push(product.ok_or_else(|| Error::shape(op, "the result is too large"))?);
    }
    x.reshape(raised).expand(spread).reshape(shape)
}

fn roll(x: &Tensor, shifts: &[i64], dims: &[usize]) -> Result<Tensor> {
    let mut y = x.clone();
    for (&shift, &dim) in shifts.iter().zip(dims) {
        let size = y.shape()[dim];
        let start = match i64::try_from(size) {
            Ok(wide @ 1..) => (size - shift.rem_euclid(wide) as usize) % size,
            _ => 0,
        };
        if start > 0 {
            let parts = [y.clone().cut(dim, start, size - start, 1)?, y.cut(dim, 0, start, 1)?];
            y = Tensor::cat(&[&parts[0], &parts[1]], dim as i64)?;
        }
    }
    Ok(y)
}

/// The part of the last two dims on and to one side of a diagonal; 0 elsewhere.
fn triangle(op: &'static str, x: &Tensor, diagonal: i64, lower: bool) -> Result<Tensor> {
    let &[.., rows, columns] = x.shape() else {
        return Err(Error::shape(op, format!("{:?} is no matrix", x.shape())));
    };
    let row = Tensor::arange(diagonal as f64, 1.0, rows, (DType::F64, x.device()))?.unsqueeze(1)?;
    let column = Tensor::arange(0.0, 1.0, columns, (DType::F64, x.device()))?;
    let kept = if lower { column.le(&row)? } else { column.ge(&row)? };
    kept.select(x, Tensor::scalar(0.0, x.dtype(), x.device()))
}

fn im2col(x: &Tensor, kernel: [usize; 2], settings: Conv2dOp) -> Result<Tensor> {
    let name = "im2col";
    let &[n, c, ..] = x.shape() else {
        return Err(Error::shape(name, format!("{:?}: [n, c, h, w] expected", x.shape())));
    };
    if x.rank() != 4 {
        return Err(Error::shape(name, format!("{:?}: [n, c, h, w] expected", x.shape())));
    }
    let [up, left] = settings.padding;
    let y = super::pad::zeros(name, x, 2, up, up)?;
    let mut y = super::pad::zeros(name, &y, 3, left, left)?;
    for d in [0, 1] {
        let span = match (kernel[d].checked_sub(1), settings.dilation[d]) {
            (Some(taps), dilation @ 1..) => {
                taps.checked_mul(dilation).and_then(|s| s.checked_add(1))
            }
            _ => None,
        };
        let Some(span) = span else {
            let message = format!("kernel {kernel:?}, dilation {:?}", settings.dilation);
            return Err(Error::argument(name, message));
        };
        y = y.unfold(d as i64 + 2, span, settings.stride[d])?;
        let dilation = i64::try_from(settings.dilation[d]).unwrap_or(i64::MAX);
        y = y.slice(-1, None, None, dilation)?;
    }
    let &[.., h, w, _, _] = y.shape() else { return Ok(y) };
    let columns = shape::checked_len(name, &[h, w])?;
    let rows = shape::checked_len(name, &[c, kernel[0], kernel[1]])?;
    y.permute([0, 1, 4, 5, 2, 3]).reshape([n, rows, columns])
}

/// Columns back to their places: the adjoint of [`im2col`].
fn col2im(
    x: &Tensor,
    output: [usize; 2],
    kernel: [usize; 2],
    settings: Conv2dOp,
) -> Result<Tensor> {
    let name = "col2im";
    let (mut windows, mut padded) = ([0; 2], [0; 2]);
    for d in [0, 1] {
        let (stride, dilation) = (settings.stride[d], settings.dilation[d]);
        let span = kernel[d].checked_sub(1).and_then(|taps| taps.checked_mul(dilation));
        let size = settings.padding[d].checked_mul(2).and_then(|p| p.checked_add(output[d]));
        let rest = match (span, size) {
            (Some(span), Some(size)) if stride > 0 && dilation > 0 => size.checked_sub(span + 1),
            _ => None,
        };
        let (Some(rest), Some(size)) = (rest, size) else {
            let message =
                format!("windows of {kernel:?} in an image of {output:?} by {settings:?}");
            return Err(Error::argument(name, message));
        };
        (windows[d], padded[d]) = (rest / stride + 1, size);
    }
    let taps = shape::checked_len(name, &kernel)?;
    let places = shape::checked_len(name, &windows)?;
    let &[n, rows, columns] = x.shape() else {
        return Err(Error::shape(name, format!("{:?}: [n, c kh kw, windows] expected", x.shape())));
    };
    if taps == 0 || !rows.is_multiple_of(taps) || columns != places {
        let message = format!("{:?}: [n, c * {taps}, {places}] expected", x.shape());
        return Err(Error::shape(name, message));
    }
    let area = shape::checked_len(name, &padded)?;
    let mut index: Vec<i64> = Vec::new();
    let count = shape::checked_len(name, &[taps, places])?;
    index.try_reserve_exact(count).map_err(|_| Error::shape(name, "the result is too large"))?;
    let at = |d: usize, tap: usize, window: usize| {
        tap * settings.dilation[d] + window * settings.stride[d]
    };
    for (a, b) in (0..kernel[0]).flat_map(|a| (0..kernel[1]).map(move |b| (a, b))) {
        for (h, w) in (0..windows[0]).flat_map(|h| (0..windows[1]).map(move |w| (h, w))) {
            index.push((at(0, a, h) * padded[1] + at(1, b, w)) as i64);
        }
    }
    let channels = rows / taps;
    let flat = Tensor::zeros([n, channels, area], x)?;
    let index = Tensor::from_vec(index, [count])?.to_device(x.device())?;
    let summed = flat.index_add(2, &index, x.reshape([n, channels, count])?)?;
    let image = summed.reshape([n, channels, padded[0], padded[1]])?;
    let [up, left] = settings.padding;
    image.narrow(2, up, output[0])?.narrow(3, left, output[1])
}

/// `[.., c f^2, h, w]` as `[.., c, h f, w f]` or back.
fn shuffle(op: &'static str, x: &Tensor, factor: usize, up: bool) -> Result<Tensor> {
    let wrong = || Error::shape(op, format!("{:?} by a factor of {factor}", x.shape()));
    let (&[c, h, w], lead) = x.shape().split_last_chunk().map(|(l, c)| (c, l)).ok_or_else(wrong)?;
    let square = factor.checked_mul(factor).filter(|&square| square > 0).ok_or_else(wrong)?;
    let rank = lead.len() as i64;
    let mut shape = Dims::from_slice(lead);
    let order: [i64; 5] = if up {
        if c % square != 0 {
            return Err(wrong());
        }
        shape.extend([c / square, factor, factor, h, w]);
        [0, 3, 1, 4, 2]
    } else {
        if h % factor != 0 || w % factor != 0 {
            return Err(wrong());
        }
        shape.extend([c, h / factor, factor, w / factor, factor]);
        [0, 2, 4, 1, 3]
    };
    let dims: SmallVec<[i64; 8]> = (0..rank).chain(order.map(|d| rank + d)).collect();
    let times = |size: usize, by: usize| size.checked_mul(by).ok_or_else(wrong);
    let mut to = Dims::from_slice(lead);
    match up {
        true => to.extend([c / square, times(h, factor)?, times(w, factor)?]),
        false => to.extend([times(c, square)?, h / factor, w / factor]),
    }
    x.reshape(shape).permute(&dims[..]).reshape(to)
}

methods! {
    /// Elements repeated and moved around, on `Result<Tensor>`.
    trait ArrangeChain;

    /// The tensor `times[d]` times along each dim; more numbers than dims make new ones in front. PyTorch's `repeat`.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([1f32, 2.]).repeat(&[2, 2])?;
    /// assert_eq!((x.shape(), x.to_vec::<f32>()?), (&[2, 4][..], vec![1., 2., 1., 2., 1., 2., 1., 2.]));
    /// # Ok(()) }
    /// ```
    fn repeat(x, times: &[usize]) -> Tensor { repeat("repeat", look("repeat", &x)?, times) }

    /// As [`repeat`](Self::repeat); fewer numbers than dims are filled up with ones in front. PyTorch's `tile`.
    fn tile(x, times: &[usize]) -> Tensor {
        let x = look("tile", &x)?;
        let ones = x.rank().saturating_sub(times.len());
        repeat("tile", x, &[&vec![1; ones], times].concat())
    }

    /// Every slice of dim `dim` (without a dim: every element of the flattened tensor) `repeats` times, one after the other. PyTorch's
    /// `repeat_interleave`.
    fn repeat_interleave(x, repeats: usize, dim: Option<i64>) -> Tensor {
        let x = look("repeat_interleave", &x)?;
        let (x, dim) = match dim {
            None => (x.flatten(0, -1)?, 0),
            Some(dim) => (x.clone(), shape::resolve_dim("repeat_interleave", dim, x.rank())?),
        };
        let mut spread = Dims::from_slice(x.shape());
        spread.insert(dim + 1, repeats);
        x.unsqueeze(dim as i64 + 1).expand(spread).flatten(dim as i64, dim as i64 + 1)
    }

    /// As [`repeat_interleave`](Self::repeat_interleave), with a number, i64 or i32, for each slice.
    fn repeat_interleave_by(x, repeats: &Tensor, dim: Option<i64>) -> Tensor {
        let x = look("repeat_interleave", &x)?;
        let (x, dim) = match dim {
            None => (x.flatten(0, -1)?, 0),
            Some(dim) => (x.clone(), shape::resolve_dim("repeat_interleave", dim, x.rank())?),
        };
        if repeats.rank() > 1 || (repeats.rank() == 1 && repeats.len() != x.shape()[dim]) {
            let message = format!("{:?} numbers for size {} of dim {dim}", repeats.shape(), x.shape()[dim]);
            return Err(Error::shape("repeat_interleave", message));
        }
        if !matches!(repeats.dtype(), DType::I64 | DType::I32) {
            let message = format!("numbers of {}: i64 or i32 is expected", repeats.dtype());
            return Err(Error::dtype("repeat_interleave", message));
        }
        let ends = repeats.to_dtype(DType::I64)?.expand([x.shape()[dim]])?;
        let wrong = || Error::argument("repeat_interleave", "a number of times is negative or too large");
        let mut count = 0i64;
        for times in ends.to_vec::<i64>()? {
            let sum = if times < 0 { None } else { count.checked_add(times) };
            count = sum.ok_or_else(wrong)?;
        }
        let count = usize::try_from(count).map_err(|_| wrong())?;
        // Place i belongs to the first slice that ends behind it.
        let places = Tensor::arange(0.0, 1.0, count, &ends)?;
        x.index_select(dim as i64, &ends.cumsum(0)?.searchsorted(&places, true)?)
    }

    /// The elements `shifts` places further along `dims`, around the end; `..`: of the flattened tensor. PyTorch's `roll`.
    fn roll(x, shifts: impl IntoDims, dims: impl IntoDims) -> Tensor {
        let x = look("roll", &x)?;
        let shifts = shifts.into_dims();
        if dims.is_all() {
            if shifts.len() != 1 {
                return Err(Error::argument("roll", format!("{} shifts of a flattened tensor", shifts.len())));
            }
            return roll(&x.flatten(0, -1)?, &shifts, &[0]).reshape(x.shape());
        }
        let dims = dims.into_dims();
        if dims.len() != shifts.len() {
            let message = format!("{} shifts for {} dims", shifts.len(), dims.len());
            return Err(Error::argument("roll", message));
        }
        let dims: Dims = dims.iter().map(|&d| shape::resolve_dim("roll", d, x.rank())).collect::<Result<_>>()?;
        roll(x, &shifts, &dims)
    }

    /// Turned by `times` quarter turns in the plane of two dims, from the first towards the second, as a view. PyTorch's `rot90` (there by
    /// default 1, [0, 1]).
    fn rot90(x, times: i64, dims: [i64; 2]) -> Tensor {
        let x = look("rot90", &x)?;
        shape::resolve_dims("rot90", &dims, x.rank())?;
        match times.rem_euclid(4) {
            0 => Ok(x.clone()),
            1 => x.flip(dims[1]).transpose(dims[0], dims[1]),
            2 => x.flip(dims),
            _ => x.flip(dims[0]).transpose(dims[0], dims[1]),
        }
    }

    /// The last two dims below and on diagonal `diagonal` (0: the main one, positive: above), 0 elsewhere. PyTorch's `tril`.
    fn tril(x, diagonal: i64) -> Tensor { triangle("tril", look("tril", &x)?, diagonal, true) }

    /// The last two dims above and on diagonal `diagonal`, 0 elsewhere. PyTorch's `triu`.
    fn triu(x, diagonal: i64) -> Tensor { triangle("triu", look("triu", &x)?, diagonal, false) }

    /// `[.., c f^2, h, w]` as `[.., c, h f, w f]`: PyTorch's `pixel_shuffle`.
    fn pixel_shuffle(x, factor: usize) -> Tensor { shuffle("pixel_shuffle", look("pixel_shuffle", &x)?, factor, true) }

    /// The inverse of [`pixel_shuffle`](Self::pixel_shuffle): PyTorch's `pixel_unshuffle`.
    fn pixel_unshuffle(x, factor: usize) -> Tensor { shuffle("pixel_unshuffle", look("pixel_unshuffle", &x)?, factor, false) }

    /// The patches that a convolution of this kernel and these settings sees, as columns: `[n, c, h, w]` gives `[n, c kh kw, oh ow]`.
    /// PyTorch's `nn.functional.unfold`. Groups don't matter.
    fn im2col(x, kernel: [usize; 2], settings: Conv2dOp) -> Tensor { im2col(look("im2col", &x)?, kernel, settings) }

    /// Columns `[n, c kh kw, oh ow]` summed at the places in an image `[n, c, h, w]` of size `output` from which [`im2col`](Self::im2col) takes
    /// them: its adjoint. PyTorch's `nn.functional.fold`. Groups don't matter.
    fn col2im(x, output: [usize; 2], kernel: [usize; 2], settings: Conv2dOp) -> Tensor { col2im(look("col2im", &x)?, output, kernel, settings) }
}

impl Tensor {
    /// Vectors (or scalars) as grids: tensor `i` varies along dim `i` of all results, as views. PyTorch's `meshgrid` with `indexing="ij"`.
    ///
    /// # Errors
    /// No tensors; one of more than one dim.
    #[track_caller]
    pub fn meshgrid(tensors: &[&Tensor]) -> Result<Vec<Tensor>> {
        let here = std::panic::Location::caller();
        let make = || {
            if let Some(other) = tensors.iter().find(|t| t.rank() > 1) {
                return Err(Error::shape("meshgrid", format!("{:?} is no vector", other.shape())));
            }
            let shape: Dims = tensors.iter().map(|t| t.len()).collect();
            let grid = |(i, t): (usize, &&Tensor)| {
                let mut own = Dims::from_elem(1, shape.len());
                own[i] = t.len();
                t.reshape(own).expand(&shape)
            };
            tensors.iter().enumerate().map(grid).collect()
        };
        make().map_err(|error: Error| error.at(here))
    }

    /// Tensors side by side: along dim 1, vectors along dim 0. PyTorch's `hstack`.
    ///
    /// # Errors
    /// As [`cat`](Self::cat).
    #[track_caller]
    pub fn hstack(tensors: &[&Tensor]) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        let make = || {
            let raised =
                tensors.iter().map(|t| super::select::raised(t)).collect::<Result<Vec<_>>>()?;
            let dim = i64::from(raised.first().is_some_and(|t| t.rank() > 1));
            Tensor::cat(&raised.iter().collect::<Vec<_>>(), dim)
        };
        make().map_err(|error: Error| error.at(here))
    }

    /// Tensors under each other: along dim 0, vectors as rows. PyTorch's `vstack`.
    ///
    /// # Errors
    /// As [`cat`](Self::cat).
    #[track_caller]
    pub fn vstack(tensors: &[&Tensor]) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        let rows = |t: &&Tensor| match t.rank() {
            0 => t.reshape([1, 1]),
            1 => t.unsqueeze(0),
            _ => Ok((*t).clone()),
        };
        let make = || {
            let raised = tensors.iter().map(rows).collect::<Result<Vec<_>>>()?;
            Tensor::cat(&raised.iter().collect::<Vec<_>>(), 0)
        };
        make().map_err(|error: Error| error.at(here))
    }
}
