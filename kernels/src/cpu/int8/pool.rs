//! Max pooling of codes, NHWC: order is the same among codes as among the numbers they stand for.

use super::Code;
use crate::cpu::isa::{Isa, Kernel, dispatch_on, isa};
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// A pooling window. `[a, b]` is height, width.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool2d {
    /// Height and width of the window, at least 1.
    pub kernel: [usize; 2],
    /// Stride, at least 1.
    pub stride: [usize; 2],
    /// Padding on each side, at most half of the kernel; never the largest.
    pub padding: [usize; 2],
}

impl Pool2d {
    /// Output height and width: `floor((in + 2 pad - kernel) / stride) + 1`; `None` if the window does not fit.
    pub fn output(&self, input: [usize; 2]) -> Option<[usize; 2]> {
        let mut out = [0; 2];
        for (d, out) in out.iter_mut().enumerate() {
            let padded = self.padding[d].checked_mul(2)?.checked_add(input[d])?;
            let rest = padded.checked_sub(self.kernel[d])?;
            *out = rest.checked_div(self.stride[d])?.checked_add(1)?;
        }
        Some(out)
    }

    /// Checks a call; the output's height and width.
    pub(crate) fn check(
        &self,
        [batch, h, w, channels]: [usize; 4],
        x_len: usize,
        out_len: usize,
    ) -> Result<[usize; 2]> {
        let positive = |sizes: [usize; 2]| sizes[0] > 0 && sizes[1] > 0;
        require(positive(self.kernel) && positive(self.stride), "max_pool2d: a size is zero")?;
        // So every window sees the image.
        let small = [0, 1].iter().all(|&d| self.padding[d] <= self.kernel[d] / 2);
        require(small, "max_pool2d: padding beyond half of the kernel")?;
        let fits = Error::Contract("max_pool2d: the window does not fit");
        let [oh, ow] = self.output([h, w]).ok_or(fits)?;
        let len = checked_len(&[batch, h, w, channels]);
        require(len == Some(x_len), "max_pool2d: wrong length of the input")?;
        let len = checked_len(&[batch, oh, ow, channels]);
        require(len == Some(out_len), "max_pool2d: wrong length of the output")?;
        require(x_len > 0 || out_len == 0, "max_pool2d: the window does not fit")?;
        Ok([oh, ow])
    }
}

/// `out[n, oh, ow, c]`: the largest code of the window of `x[n, h, w, c]`.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ from the shape's or the window is none.
pub fn max_pool2d<C: Code>(
    pool: &Pool2d,
    [batch, h, w, channels]: [usize; 4],
    x: &[C],
    out: &mut [C],
) -> Result<()> {
    max_pool2d_under(isa(), pool, [batch, h, w, channels], x, out)
}

pub(super) fn max_pool2d_under<C: Code>(
    isa: Isa,
    pool: &Pool2d,
    [batch, h, w, channels]: [usize; 4],
    x: &[C],
    out: &mut [C],
) -> Result<()> {
    let [oh, ow] = pool.check([batch, h, w, channels], x.len(), out.len())?;
    if out.is_empty() {
        return Ok(());
    }
    let line = ow * channels;
    let lines = (8192 / line).max(1);
    let count = batch * oh;
    let work = (out.len() * pool.kernel[0] * pool.kernel[1]) as u64 / 16;
    let out = Shared::new(out);
    parallel::run(count.div_ceil(lines), work, &|i| {
        let places = i * lines..count.min((i + 1) * lines);
        for place in places {
            // SAFETY: each line is written once.
            let out = unsafe { out.part(place * line, line) };
            let (image, oy) = (place / oh, place % oh);
            let image = &x[image * h * w * channels..][..h * w * channels];
            let line = Line { pool, size: [h, w], channels, image, oy, out };
            dispatch_on(isa, line);
        }
    });
    Ok(())
}

/// Channels whose largest codes are in registers together.
const BLOCK: usize = 64;

/// One line of the output.
struct Line<'a, C> {
    pool: &'a Pool2d,
    size: [usize; 2],
    channels: usize,
    image: &'a [C],
    oy: usize,
    out: &'a mut [C],
}

impl<C: Code> Kernel<f32> for Line<'_, C> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<f32>>(self, _: S) {
        let Line { pool, size: [h, w], channels, image, oy, out } = self;
        let range = |o: usize, d: usize, size: usize| {
            let start = o * pool.stride[d];
            let end = (start + pool.kernel[d]).saturating_sub(pool.padding[d]).min(size);
            (start.saturating_sub(pool.padding[d]), end)
        };
        let (top, bottom) = range(oy, 0, h);
        let line = w * channels;
        let lines = &image[top * line..bottom * line];
        for (ox, out) in out.chunks_exact_mut(channels).enumerate() {
            let (left, right) = range(ox, 1, w);
            if channels < BLOCK && bottom - top == 2 && right - left == 2 {
                largest_of_four(lines, [left * channels, line + left * channels], out);
                continue;
            }
            let window =
                Window { lines, line, left: left * channels, right: right * channels, channels };
            let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
            let mut at = blocks.len() * BLOCK;
            for (i, out) in blocks.iter_mut().enumerate() {
                *out = window.largest(i * BLOCK);
            }
            let (blocks, rest) = rest.as_chunks_mut::<16>();
            for out in blocks {
                *out = window.largest(at);
                at += 16;
            }
            for (i, out) in rest.iter_mut().enumerate() {
                [*out] = window.largest(at + i);
            }
        }
    }
}

/// The largest codes of two places each of two lines, which start at `starts`: the most common window, without its loops.
#[inline(always)]
fn largest_of_four<C: Code>(lines: &[C], starts: [usize; 2], out: &mut [C]) {
    let n = out.len();
    let [(a, b), (c, d)] = starts.map(|start| lines[start..start + 2 * n].split_at(n));
    for i in 0..n {
        let (x, y) = (if a[i] > b[i] { a[i] } else { b[i] }, if c[i] > d[i] { c[i] } else { d[i] });
        out[i] = if x > y { x } else { y };
    }
}

/// The part of a window that lies in the image: some codes of some lines.
struct Window<'a, C> {
    lines: &'a [C],
    line: usize,
    left: usize,
    right: usize,
    channels: usize,
}

impl<C: Code> Window<'_, C> {
    /// The largest codes of `N` channels from `channel` on.
    #[inline(always)]
    fn largest<const N: usize>(&self, channel: usize) -> [C; N] {
        let mut largest = [C::from_i32(C::RANGE[0]); N];
        for line in self.lines.chunks_exact(self.line) {
            let mut at = self.left + channel;
            while at < self.right {
                if let Some(codes) = line.get(at..).and_then(|line| line.first_chunk::<N>()) {
                    for i in 0..N {
                        largest[i] = if codes[i] > largest[i] { codes[i] } else { largest[i] };
                    }
                }
                at += self.channels;
            }
        }
        largest
    }
}
