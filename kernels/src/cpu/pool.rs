//! 2-D max-pooling with the winning tap's index, its backward pass and its gather; where the maximum of any window lies; means of
//! windows and their backward pass.

mod average;
mod locate;
mod shape;
#[cfg(test)]
mod tests;
mod windows;

use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::{Result, require};
use windows::{Backward, Forward, Gather};

pub use average::{average_pool2d, average_pool2d_grad};
pub use locate::max_pool2d_index;
pub use shape::{Divisor, Pool2dShape, Windows};

/// Input elements that make a piece worth handing out.
const PIECE: usize = 32_768;

/// The sizes of one checked call.
#[derive(Debug, Clone, Copy)]
struct Sizes {
    shape: Pool2dShape,
    /// Output height and width.
    output: [usize; 2],
    /// Input elements of a plane.
    input_plane: usize,
    /// Output elements of a plane.
    output_plane: usize,
    /// Planes of a piece.
    per_piece: usize,
}

impl Sizes {
    /// Checks the shape against the lengths of the input-sized and of the output-sized slice.
    fn new(shape: &Pool2dShape, input_len: usize, output_len: usize) -> Result<Self> {
        let [kernel, stride, padding] = [shape.kernel, shape.stride, shape.padding];
        require(kernel.iter().all(|&k| k > 0), "max_pool2d: empty window")?;
        require(stride.iter().all(|&s| s > 0), "max_pool2d: stride 0")?;
        require(shape.dilation == [1, 1], "max_pool2d: dilation")?;
        require(
            kernel[0].checked_mul(kernel[1]).is_some_and(|taps| taps <= 256),
            "max_pool2d: a window of more than 256 taps",
        )?;
        require(
            padding.iter().zip(kernel).all(|(&p, k)| p <= k / 2),
            "max_pool2d: padding of more than half the window",
        )?;
        let output = shape.output();
        require(output.is_some(), "max_pool2d: the window does not fit")?;
        let output = output.unwrap_or_default();
        let plane = |[h, w]: [usize; 2]| h.checked_mul(w);
        let fits = |size: [usize; 2], len: usize| {
            plane(size).and_then(|n| n.checked_mul(shape.planes)) == Some(len)
        };
        require(fits(shape.input, input_len), "max_pool2d: length of the input")?;
        require(fits(output, output_len), "max_pool2d: length of the output")?;
        require(output_len == 0 || input_len > 0, "max_pool2d: a window without elements")?;
        let (input_plane, output_plane) = (shape.input[0] * shape.input[1], output[0] * output[1]);
        let per_piece = (PIECE / input_plane.max(1)).max(1);
        Ok(Sizes { shape: *shape, output, input_plane, output_plane, per_piece })
    }

    /// Runs `body(input elements, output elements)` on pieces of whole planes: `(start, len)` each.
    fn run(&self, bytes: usize, body: &(impl Fn((usize, usize), (usize, usize)) + Sync)) {
        let pieces = self.shape.planes.div_ceil(self.per_piece);
        parallel::run(pieces, bytes as u64 / 8, &|piece| {
            let first = piece * self.per_piece;
            let planes = self.per_piece.min(self.shape.planes - first);
            let part = |plane: usize| (first * plane, planes * plane);
            body(part(self.input_plane), part(self.output_plane));
        });
    }

    /// Every index names a tap inside the window and the image.
    fn check_index(&self, index: &[u8]) -> Result<()> {
        let [height, width] = self.shape.kernel;
        let largest = index.iter().fold(0, |largest, &i| i.max(largest)) as usize;
        require(index.is_empty() || largest < height * width, "max_pool2d: index outside window")?;
        if self.shape.padding == [0, 0] && !self.shape.ceil {
            return Ok(());
        }
        let inside = index.iter().enumerate().all(|(i, &tap)| {
            let (row, column) = (i % self.output_plane / self.output[1], i % self.output[1]);
            let places = [(row, tap as usize / width), (column, tap as usize % width)];
            places.into_iter().enumerate().all(|(d, (at, tap))| {
                let place = (at * self.shape.stride[d] + tap).checked_sub(self.shape.padding[d]);
                place.is_some_and(|place| place < self.shape.input[d])
            })
        });
        require(inside, "max_pool2d: index outside the image")
    }
}

/// How a checked pass over windows is cut into pieces of whole planes.
struct Planes {
    output: [usize; 2],
    input_plane: usize,
    output_plane: usize,
    planes: usize,
    /// Additions or comparisons of a plane.
    work: usize,
}

impl Planes {
    /// Checks the windows against the lengths of the input-sized and of the output-sized slice.
    fn new(windows: &Windows, input_len: usize, output_len: usize) -> Result<Self> {
        windows.check()?;
        let (planes, output) = (windows.planes(), windows.output().unwrap_or_default());
        let [input_plane, output_plane] = [windows.input(), output].map(|[h, w]| {
            let plane = h.checked_mul(w);
            plane.filter(|plane| plane.checked_mul(planes).is_some())
        });
        let all = |plane: Option<usize>| plane.map(|plane| plane * planes);
        require(all(input_plane) == Some(input_len), "pool: length of the input")?;
        require(all(output_plane) == Some(output_len), "pool: length of the output")?;
        let (input_plane, output_plane) = (input_plane.unwrap_or(0), output_plane.unwrap_or(0));
        let work = input_plane.saturating_add(output_plane.saturating_mul(windows.largest()));
        Ok(Planes { output, input_plane, output_plane, planes, work })
    }

    /// Runs `body(input elements, output elements)` on pieces of whole planes: `(start, len)` each. Not at all without outputs.
    fn run(&self, body: &(impl Fn((usize, usize), (usize, usize)) + Sync)) {
        if self.output_plane == 0 {
            return;
        }
        let per_piece = (PIECE / self.work.max(1)).max(1);
        let work = self.work.saturating_mul(self.planes);
        parallel::run(self.planes.div_ceil(per_piece), work as u64 / 2, &|piece| {
            let first = piece * per_piece;
            let planes = per_piece.min(self.planes - first);
            let part = |plane: usize| (first * plane, planes * plane);
            body(part(self.input_plane), part(self.output_plane));
        });
    }
}

/// What [`max_pool2d`] asks of a shape, and of the lengths of its input and output.
pub(crate) fn check_max_pool(shape: &Pool2dShape, input: usize, output: usize) -> Result<()> {
    Sizes::new(shape, input, output).map(drop)
}

/// What [`max_pool2d_index`] asks.
pub(crate) fn check_windows(windows: &Windows, input: usize, output: usize) -> Result<()> {
    Planes::new(windows, input, output).map(drop)
}

/// What [`average_pool2d`] asks.
pub(crate) fn check_means(
    windows: &Windows,
    divisor: Divisor,
    input: usize,
    output: usize,
) -> Result<()> {
    Planes::averaged(windows, divisor, input, output).map(drop)
}

/// `out = max` of each window, `index = kh * kernel_width + kw` of the winner (NaN wins, then the lowest index).
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ or the window has more than 256 taps.
pub fn max_pool2d<T: Float>(
    shape: &Pool2dShape,
    x: &[T],
    out: &mut [T],
    index: &mut [u8],
) -> Result<()> {
    let sizes = Sizes::new(shape, x.len(), out.len())?;
    require(index.len() == out.len(), "max_pool2d: length of the index")?;
    let (out, index) = (Shared::new(out), Shared::new(index));
    sizes.run(size_of_val(x), &|(start, len), (to, places)| {
        // SAFETY: pieces are disjoint.
        let (out, index) = unsafe { (out.part(to, places), index.part(to, places)) };
        T::dispatch(Forward { sizes, x: &x[start..start + len], out, index });
    });
    Ok(())
}

/// The backward pass: adds each output's gradient to its winner; inputs that never won get 0.
///
/// # Errors
/// As [`max_pool2d`]; an index outside the window or the image.
pub fn max_pool2d_grad<T: Float>(
    shape: &Pool2dShape,
    grad: &[T],
    index: &[u8],
    out: &mut [T],
) -> Result<()> {
    let sizes = Sizes::new(shape, out.len(), grad.len())?;
    require(index.len() == grad.len(), "max_pool2d_grad: length of the index")?;
    sizes.check_index(index)?;
    let bytes = size_of_val(out);
    let out = Shared::new(out);
    sizes.run(bytes, &|(start, len), (from, places)| {
        // SAFETY: pieces are disjoint.
        let out = unsafe { out.part(start, len) };
        let (grad, index) = (&grad[from..from + places], &index[from..from + places]);
        T::dispatch(Backward { sizes, grad, index, out });
    });
    Ok(())
}

/// `out[window] = x[winner]`: the adjoint of [`max_pool2d_grad`].
///
/// # Errors
/// As [`max_pool2d_grad`].
pub fn max_pool2d_gather<T: Float>(
    shape: &Pool2dShape,
    x: &[T],
    index: &[u8],
    out: &mut [T],
) -> Result<()> {
    let sizes = Sizes::new(shape, x.len(), out.len())?;
    require(index.len() == out.len(), "max_pool2d_gather: length of the index")?;
    sizes.check_index(index)?;
    let out = Shared::new(out);
    sizes.run(size_of_val(x), &|(start, len), (to, places)| {
        // SAFETY: pieces are disjoint.
        let out = unsafe { out.part(to, places) };
        let (x, index) = (&x[start..start + len], &index[to..to + places]);
        T::dispatch(Gather { sizes, x, index, out });
    });
    Ok(())
}
