//! The gradient in the input: each winner's gradient times a channel's weights, added where the winner's window lies.

use super::PooledShape;
use super::sparse::{Grid, not_zero};
use crate::buffer::Buffer;
use crate::cpu::conv::Conv2dShape;
use crate::cpu::conv::turn::Turn;
use crate::cpu::gemm::{Dispatch, KC, work_ns};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::pool::max_pool2d_grad;
use crate::cpu::simd::Simd;
use crate::cpu::zeros::skips_zeros;
use crate::element::Float;
use crate::error::{Error, Result};
use crate::strided::checked_len;

/// Rows, and columns, of a window.
const WINDOW: usize = 3;

/// Vectors of a window.
const TAPS: usize = WINDOW * WINDOW;

/// Pieces of the images that are computed at a time, each with its sums.
const PIECES: usize = 4;

/// Computes it if that is the faster way, and the sums are those of the whole map's gradient.
pub(super) fn compute<T: Float>(
    d: Dispatch,
    shape: &PooledShape,
    (grad, index): (&[T], &[u8]),
    weight: &[T],
    out: &mut [T],
) -> Result<bool> {
    let conv = &shape.conv;
    let Some(grid) = Grid::new::<T>(d, shape, conv.in_channels) else { return Ok(false) };
    if conv.kernel != [WINDOW, WINDOW] || conv.dilation[1] != 1 {
        return Ok(false);
    }
    let empty = grad.is_empty() || out.is_empty() || grad.len() != index.len();
    if empty || !skips_zeros(d, weight, grad) {
        return Ok(false);
    }
    let (map, chunk) = (shape.image_map(), grid.chunk());
    let count = shape.window::<T>(map);
    let pieces = count.min(PIECES);
    let weights = grid.chunks * conv.out_channels * TAPS * grid.lanes;
    let size = checked_len(&[2, pieces, chunk, size_of::<T>()])
        .and_then(|sums| sums.checked_add(checked_len(&[map, count, size_of::<T>()])?))
        .and_then(|size| size.checked_add(weights.checked_mul(size_of::<T>())?))
        .ok_or(Error::Contract("conv2d_max_pool2d: the size of a workspace overflows"))?;
    let mut buffer = Buffer::new(size)?;
    let (maps, rest) = buffer.as_mut_slice::<T>().split_at_mut(map * count);
    let (sums, weights) = rest.split_at_mut(2 * pieces * chunk);
    side_by_side(&grid, conv, weight, weights);
    let offsets = grid.offsets(conv.stride)?;
    let (image, pooled) = (out.len() / conv.batch, grad.len() / conv.batch);
    for first in (0..conv.batch).step_by(count) {
        let count = count.min(conv.batch - first);
        let maps = &mut maps[..map * count];
        let some = first * pooled..(first + count) * pooled;
        max_pool2d_grad(&shape.pool_of(count), &grad[some.clone()], &index[some], maps)?;
        let out = &mut out[first * image..(first + count) * image];
        let job = Job { d, grid: &grid, conv, maps, weights, offsets: &offsets };
        job.compute(count, pieces, sums, out);
    }
    Ok(true)
}

/// The weight as `[chunks, o, (kh, kw), channels of a chunk]`.
fn side_by_side<T: Float>(grid: &Grid, conv: &Conv2dShape, weight: &[T], to: &mut [T]) {
    let (lanes, channels) = (grid.lanes, conv.in_channels);
    for (row, to) in to.chunks_exact_mut(TAPS * lanes).enumerate() {
        let (chunk, o) = (row / conv.out_channels, row % conv.out_channels);
        for (tap, to) in to.chunks_exact_mut(lanes).enumerate() {
            for (lane, to) in to.iter_mut().enumerate() {
                let c = chunk * lanes + lane;
                *to = if c < channels { weight[(o * channels + c) * TAPS + tap] } else { T::ZERO };
            }
        }
    }
}

/// Some images whose maps are ready.
struct Job<'a, T> {
    d: Dispatch,
    grid: &'a Grid,
    conv: &'a Conv2dShape,
    maps: &'a [T],
    weights: &'a [T],
    offsets: &'a [u32],
}

impl<T: Float> Job<'_, T> {
    fn compute(&self, count: usize, pieces: usize, sums: &mut [T], out: &mut [T]) {
        let (grid, conv, chunk) = (self.grid, self.conv, self.grid.chunk());
        let places = grid.places[0] * grid.places[1];
        let [h, w] = conv.input;
        let row = conv.dilation[0] * grid.padded[1] * grid.lanes;
        let start = (conv.padding[0] * grid.padded[1] + conv.padding[1]) * grid.lanes;
        let (sums, out) = (Shared::new(sums), Shared::new(out));
        let weights = self.weights.len() / grid.chunks;
        let work = work_ns(conv.out_channels, conv.in_channels * TAPS, count * places) / 2;
        parallel::run(pieces, work, &|piece| {
            // SAFETY: each piece has sums of its own.
            let sums = unsafe { sums.part(2 * piece * chunk, 2 * chunk) };
            for index in (piece..count).step_by(pieces) {
                let maps = &self.maps[index * conv.out_channels * places..];
                for part in 0..grid.chunks {
                    let (block, total) = sums.split_at_mut(chunk);
                    let weights = &self.weights[part * weights..][..weights];
                    let maps = &maps[..conv.out_channels * places];
                    let offsets = self.offsets;
                    self.d.call::<T, _>(Scatter { maps, weights, offsets, row, block, total });
                    let channels = grid.lanes.min(conv.in_channels - part * grid.lanes);
                    for y in 0..h {
                        let from = total[start + y * grid.padded[1] * grid.lanes..].as_ptr();
                        let place = (index * conv.in_channels + part * grid.lanes) * h + y;
                        let to = out.as_ptr().wrapping_add(place * w);
                        let (width, places, to_stride) = (grid.lanes, w, h * w);
                        // SAFETY: a line of the sums, to these channels' lines of this image, which is this piece's.
                        unsafe {
                            Turn { from, width, places, channels, to, to_stride }.compute(self.d);
                        }
                    }
                }
            }
        });
    }
}

/// One image's gradient, a vector of channels. Made where maps, weights and sums were found to fit.
struct Scatter<'a, T> {
    /// The image's map, channel after channel.
    maps: &'a [T],
    /// `[o, taps, channels of the vector]`
    weights: &'a [T],
    offsets: &'a [u32],
    row: usize,
    /// Sums of the block of k that is being added, and of those before, as padded images.
    block: &'a mut [T],
    total: &'a mut [T],
}

impl<T: Float> Kernel<T> for Scatter<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let Scatter { maps, weights, offsets, row, block, total } = self;
        let places = offsets.len();
        let all = weights.len() / S::LANES;
        let (one, mut first) = (all <= KC, true);
        // A single block's sums need no others.
        let sums = if one { &mut *total } else { &mut *block };
        sums.fill(T::ZERO);
        let to = sums.as_mut_ptr();
        let zero = s.splat(T::ZERO);
        for (o, map) in maps.chunks_exact(places).enumerate() {
            let mut now = [zero; TAPS];
            for (tap, now) in now.iter_mut().enumerate() {
                // SAFETY: the weights of this channel.
                *now = unsafe { s.load(weights.as_ptr().add((o * TAPS + tap) * S::LANES)) };
            }
            let end = (o + 1) * TAPS;
            // Where a block ends among these taps, those of the next one are added after it.
            let next = end / KC * KC;
            if next > o * TAPS && next < all {
                let mut before = now;
                for tap in 0..TAPS {
                    let later = o * TAPS + tap >= next;
                    before[tap] = if later { zero } else { now[tap] };
                    now[tap] = if later { now[tap] } else { zero };
                }
                // SAFETY: the places of this map, whose windows lie inside of the sums.
                unsafe { add::<T, S>(s, map, offsets, &before, row, to) };
                flush(s, block, total, &mut first);
                if next == end {
                    continue;
                }
            }
            // SAFETY: as above.
            unsafe { add::<T, S>(s, map, offsets, &now, row, to) };
        }
        if !one {
            flush(s, block, total, &mut first);
        }
    }
}

/// Adds the windows of all places, the last place first: ascending taps of each element of the sums.
///
/// # Safety
/// - The window of every place must lie inside of `to`.
#[inline(always)]
unsafe fn add<T: Float, S: Simd<T>>(
    s: S,
    map: &[T],
    offsets: &[u32],
    weights: &[S::V; TAPS],
    row: usize,
    to: *mut T,
) {
    let (map, places) = (map.as_ptr(), map.len());
    for first in (0..places).step_by(64).rev() {
        // SAFETY: places of the map, windows of the sums.
        unsafe {
            let mut rest = not_zero(s, map.add(first), (places - first).min(64));
            while rest != 0 {
                let bit = 63 - rest.leading_zeros() as usize;
                rest ^= 1 << bit;
                let grad = s.splat(*map.add(first + bit));
                let to = to.add(*offsets.as_ptr().add(first + bit) as usize);
                for r in 0..WINDOW {
                    let to = to.add(r * row);
                    for w in 0..WINDOW {
                        let to = to.add(w * S::LANES);
                        s.store(to, s.fma(grad, weights[r * WINDOW + w], s.load(to)));
                    }
                }
            }
        }
    }
}

/// Adds a block's sums to those of the blocks before, and begins the next.
#[inline(always)]
fn flush<T: Float, S: Simd<T>>(s: S, block: &mut [T], total: &mut [T], first: &mut bool) {
    let zero = s.splat(T::ZERO);
    for (block, total) in block.chunks_exact_mut(S::LANES).zip(total.chunks_exact_mut(S::LANES)) {
        // SAFETY: a vector of each.
        unsafe {
            let sum = s.load(block.as_ptr());
            let sum = if *first { sum } else { s.add(s.load(total.as_ptr()), sum) };
            s.store(total.as_mut_ptr(), sum);
            s.store(block.as_mut_ptr(), zero);
        }
    }
    *first = false;
}
