//! The gradients in weight and bias: for each channel of the map, its winners' gradients times the patches that they saw.

use std::ops::Range;

use super::PooledShape;
use super::sparse::{Grid, Interleave, not_zero, skips_zeros};
use crate::buffer::Buffer;
use crate::cpu::conv::Conv2dShape;
use crate::cpu::conv::pad::pad;
use crate::cpu::gemm::{Dispatch, KC, work_ns};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::pool::max_pool2d_grad;
use crate::cpu::reduce::{ReduceOp, reduce};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::{Error, Result};
use crate::strided::{View, checked_len};

/// Channels of the map that are computed while a chunk of an image is in the first level of the cache.
const CHANNELS: usize = 16;

/// What the vectors hold side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    /// Input channels; a window has nine vectors.
    Channels,
    /// Taps, of few channels; a window is one vector.
    Taps,
}

/// How images are prepared.
struct Plan {
    side: Side,
    grid: Grid,
    /// Vectors of a window: rows, columns.
    window: [usize; 2],
    /// Where the window of a place starts.
    offsets: Vec<u32>,
    /// From row to row of a window.
    row: usize,
}

/// The most taps that lie side by side.
const TAPS: usize = 16;

impl Plan {
    fn new<T: Float>(d: Dispatch, shape: &PooledShape) -> Option<Plan> {
        let conv = &shape.conv;
        if conv.taps() <= TAPS && conv.stride[1] == 1 {
            let grid = Grid::new::<T>(d, shape, conv.taps())?;
            // A place's window is one vector.
            let grid = Grid { padded: grid.places, ..grid };
            let offsets = grid.offsets([1, 1]);
            return Some(Plan { side: Side::Taps, grid, window: [1, 1], offsets, row: 0 });
        }
        if conv.kernel != [3, 3] || conv.dilation[1] != 1 {
            return None;
        }
        let grid = Grid::new::<T>(d, shape, conv.in_channels)?;
        let row = conv.dilation[0] * grid.padded[1] * grid.lanes;
        let offsets = grid.offsets(conv.stride);
        Some(Plan { side: Side::Channels, grid, window: [3, 3], offsets, row })
    }

    /// Elements of the sums of one channel and chunk.
    fn sums(&self) -> usize {
        self.window[0] * self.window[1] * self.grid.lanes
    }

    /// Prepares some images.
    fn prepare<T: Float>(
        &self,
        d: Dispatch,
        conv: &Conv2dShape,
        x: &[T],
        to: &mut [T],
    ) -> Result<()> {
        let grid = &self.grid;
        let (chunk, image) = (grid.chunk(), grid.chunk() * grid.chunks);
        let (count, work) = (to.len() / image, to.len() as u64 / 4);
        let [h, w] = conv.input;
        let pieces = count * grid.chunks;
        let shared = Shared::new(to);
        if self.side == Side::Taps {
            let frame = conv.input_frame(grid.places);
            let plane = frame.padded[0] * frame.padded[1];
            let buffer;
            let images = if frame.is_identity() {
                x
            } else {
                buffer = pad(d, &frame, x, count * conv.in_channels)?;
                buffer.as_slice()
            };
            let taps = conv.input_taps(frame.padded);
            parallel::run(pieces, work, &|piece| {
                let (index, first) = (piece / grid.chunks, piece % grid.chunks * grid.lanes);
                let start = images.as_ptr().wrapping_add(index * conv.in_channels * plane);
                let taps = &taps[first..taps.len().min(first + grid.lanes)];
                let sources: Vec<_> = taps.iter().map(|tap| start.wrapping_add(*tap)).collect();
                let to = shared.as_ptr().wrapping_add(piece * chunk);
                let ([lines, len], from_stride) = (grid.places, conv.stride[0] * frame.padded[1]);
                let to_stride = len * grid.lanes;
                let side = Interleave { sources: &sources, lines, len, from_stride, to, to_stride };
                // SAFETY: taps and places lie inside of the padded images; each piece writes a chunk of its own.
                unsafe { side.compute(d) };
            });
            return Ok(());
        }
        parallel::run(pieces, work, &|piece| {
            let (index, first) = (piece / grid.chunks, piece % grid.chunks * grid.lanes);
            // SAFETY: each piece writes a chunk of its own.
            let to = unsafe { shared.part(piece * chunk, chunk) };
            if conv.is_padded() {
                to.fill(T::ZERO);
            }
            let channels = first..conv.in_channels.min(first + grid.lanes);
            let planes = channels.map(|c| x[(index * conv.in_channels + c) * h * w..].as_ptr());
            let sources: Vec<_> = planes.collect();
            let start = (conv.padding[0] * grid.padded[1] + conv.padding[1]) * grid.lanes;
            let (to, to_stride) = (to[start..].as_mut_ptr(), grid.padded[1] * grid.lanes);
            let side =
                Interleave { sources: &sources, lines: h, len: w, from_stride: w, to, to_stride };
            // SAFETY: planes of the image, which lie inside of their padding.
            unsafe { side.compute(d) };
        });
        Ok(())
    }
}

/// A run of an image's places in one block of k.
#[derive(Debug)]
struct Segment {
    places: Range<usize>,
    /// It is the block's first, its last.
    opens: bool,
    closes: bool,
    /// The block is the first of all.
    first: bool,
}

/// The segments of image `index` of `count`, of so many places.
fn segments(index: usize, count: usize, places: usize) -> Vec<Segment> {
    let (start, end, all) = (index * places, (index + 1) * places, count * places);
    let blocks = start / KC..end.div_ceil(KC);
    let segment = |block: usize| {
        let k = (block * KC).max(start)..(block * KC + KC).min(end);
        Segment {
            places: k.start - start..k.end - start,
            opens: k.start == block * KC,
            closes: k.end == all.min(block * KC + KC),
            first: block == 0,
        }
    };
    blocks.map(segment).collect()
}

/// Computes both if that is the faster way, and the sums are those of the whole map's gradient.
pub(super) fn compute<T: Float>(
    d: Dispatch,
    shape: &PooledShape,
    x: &[T],
    (grad, index): (&[T], &[u8]),
    (out, bias): (&mut [T], &mut [T]),
) -> Result<bool> {
    let conv = &shape.conv;
    let Some(plan) = Plan::new::<T>(d, shape) else { return Ok(false) };
    if grad.is_empty() || out.is_empty() || grad.len() != index.len() || !skips_zeros(d, x, grad) {
        return Ok(false);
    }
    let (map, channels) = (shape.image_map(), conv.out_channels);
    let prepared = plan.grid.chunk() * plan.grid.chunks;
    let count = shape.window::<T>(map + prepared);
    let sums = channels * plan.grid.chunks * plan.sums();
    let size = checked_len(&[2, sums, size_of::<T>()])
        .and_then(|sums| sums.checked_add(checked_len(&[map + prepared, count, size_of::<T>()])?))
        .and_then(|size| size.checked_add((conv.batch * channels).checked_mul(size_of::<T>())?))
        .ok_or(Error::Contract("conv2d_max_pool2d: the size of a workspace overflows"))?;
    let mut buffer = Buffer::new(size)?;
    let (maps, rest) = buffer.as_mut_slice::<T>().split_at_mut(map * count);
    let (images, rest) = rest.split_at_mut(prepared * count);
    let (sums, planes) = rest.split_at_mut(2 * sums);
    let (image, pooled) = (x.len() / conv.batch, grad.len() / conv.batch);
    let plane = map / channels;
    for first in (0..conv.batch).step_by(count) {
        let count = count.min(conv.batch - first);
        let (maps, images) = (&mut maps[..map * count], &mut images[..prepared * count]);
        let some = first * pooled..(first + count) * pooled;
        max_pool2d_grad(&shape.pool_of(count), &grad[some.clone()], &index[some], maps)?;
        let (sizes, strides) = ([count * channels, plane], [plane as isize, 1]);
        let view = View::new(&*maps, 0, &sizes, &strides)?;
        let planes = &mut planes[first * channels..(first + count) * channels];
        reduce(ReduceOp::Sum, view, &[false, true], planes)?;
        plan.prepare(d, conv, &x[first * image..(first + count) * image], images)?;
        let job = Job { d, plan: &plan, conv, maps, images, first };
        job.add_to(count, sums);
    }
    let (sizes, strides) = ([conv.batch, channels], [channels as isize, 1]);
    let view = View::new(planes, 0, &sizes, &strides)?;
    reduce(ReduceOp::Sum, view, &[true, false], bias)?;
    plan.turn(conv, sums, out);
    Ok(true)
}

impl Plan {
    /// Puts the sums in their places.
    fn turn<T: Float>(&self, conv: &Conv2dShape, sums: &[T], out: &mut [T]) {
        let (lanes, window) = (self.grid.lanes, self.window[0] * self.window[1]);
        let sums = sums.chunks_exact(self.grid.chunks * self.sums());
        for (out, sums) in out.chunks_exact_mut(conv.taps()).zip(sums) {
            for (tap, out) in out.iter_mut().enumerate() {
                let (channel, tap) = (tap / window, tap % window);
                *out = sums[(channel / lanes * window + tap) * lanes + channel % lanes];
            }
        }
    }
}

/// Some images whose maps and vectors are ready.
struct Job<'a, T> {
    d: Dispatch,
    plan: &'a Plan,
    conv: &'a Conv2dShape,
    maps: &'a [T],
    images: &'a [T],
    /// The first image's number.
    first: usize,
}

impl<T: Float> Job<'_, T> {
    /// Adds these images to the sums; the second half of them are those of the blocks that go on.
    fn add_to(&self, count: usize, sums: &mut [T]) {
        let (grid, channels) = (&self.plan.grid, self.conv.out_channels);
        let places = grid.places[0] * grid.places[1];
        let (map, chunk) = (channels * places, grid.chunk());
        let segments: Vec<_> =
            (0..count).map(|i| segments(self.first + i, self.conv.batch, places)).collect();
        let all = sums.len() / 2;
        let sums = Shared::new(sums);
        let size = self.plan.sums();
        // A quarter of the places, at half of the rate.
        let work = work_ns(channels, self.conv.taps(), count * places) / 2;
        parallel::run(channels.div_ceil(CHANNELS), work, &|piece| {
            let first = piece * CHANNELS;
            for (index, segments) in segments.iter().enumerate() {
                for part in 0..grid.chunks {
                    let at = (first * grid.chunks + part) * size;
                    let sums = WindowSums {
                        plan: self.plan,
                        image: self.images[(index * grid.chunks + part) * chunk..].as_ptr(),
                        maps: &self.maps[index * map + first * places..],
                        channels: CHANNELS.min(channels - first),
                        segments,
                        sums: sums.as_ptr().wrapping_add(at),
                        open: sums.as_ptr().wrapping_add(all + at),
                        stride: grid.chunks * size,
                    };
                    self.d.call::<T, _>(sums);
                }
            }
        });
    }
}

/// One chunk of an image times some channels of its map. Made where both were found to fit.
struct WindowSums<'a, T> {
    plan: &'a Plan,
    image: *const T,
    maps: &'a [T],
    channels: usize,
    segments: &'a [Segment],
    /// The sums of the first channel, those of the block that goes on, and how far apart channels are.
    sums: *mut T,
    open: *mut T,
    stride: usize,
}

impl<T: Float> Kernel<T> for WindowSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        // SAFETY: what makes it has checked that images, maps and sums are those of the plan.
        unsafe {
            match self.plan.window {
                [1, 1] => self.channels::<S, 1, 1>(s),
                _ => self.channels::<S, 3, 3>(s),
            }
        }
    }
}

impl<T: Float> WindowSums<'_, T> {
    /// All channels, windows of `R` by `W` vectors.
    ///
    /// # Safety
    /// - The window must be the plan's.
    #[inline(always)]
    unsafe fn channels<S: Simd<T>, const R: usize, const W: usize>(&self, s: S) {
        let places = self.plan.offsets.len();
        let size = R * W * S::LANES;
        for (channel, map) in self.maps.chunks_exact(places).take(self.channels).enumerate() {
            let at = channel * self.stride;
            let (sums, open) = (self.sums.wrapping_add(at), self.open.wrapping_add(at));
            for segment in self.segments {
                // SAFETY: the sums of this channel, `size` elements, which are this piece's.
                unsafe {
                    let start = if segment.opens { None } else { Some(open.cast_const()) };
                    let parts = self.segment::<S, R, W>(s, map, segment.places.clone(), start);
                    let to = if segment.closes { sums } else { open };
                    let adds = segment.closes && !segment.first;
                    for (r, parts) in parts.iter().enumerate() {
                        for (w, part) in parts.iter().enumerate() {
                            let to = to.add((r * W + w) * S::LANES);
                            debug_assert!((r * W + w) * S::LANES < size);
                            s.store(to, if adds { s.add(s.load(to), *part) } else { *part });
                        }
                    }
                }
            }
        }
    }

    /// The sums of some places of a channel, from those of the block so far on.
    ///
    /// # Safety
    /// - The window must be the plan's, and `start` hold its sums.
    #[inline(always)]
    unsafe fn segment<S: Simd<T>, const R: usize, const W: usize>(
        &self,
        s: S,
        map: &[T],
        places: Range<usize>,
        start: Option<*const T>,
    ) -> [[S::V; W]; R] {
        let mut sums = [[s.splat(T::ZERO); W]; R];
        if let Some(start) = start {
            for (r, sums) in sums.iter_mut().enumerate() {
                for (w, sum) in sums.iter_mut().enumerate() {
                    // SAFETY: by the caller's contract.
                    *sum = unsafe { s.load(start.add((r * W + w) * S::LANES)) };
                }
            }
        }
        let (map, offsets, row) = (map.as_ptr(), self.plan.offsets.as_ptr(), self.plan.row);
        let mut first = places.start;
        while first < places.end {
            let n = (places.end - first).min(64);
            // SAFETY: places of the map; the window of each lies inside of the image.
            unsafe {
                let mut rest = not_zero(s, map.add(first), n);
                while rest != 0 {
                    let place = first + rest.trailing_zeros() as usize;
                    rest &= rest - 1;
                    let grad = s.splat(*map.add(place));
                    let image = self.image.add(*offsets.add(place) as usize);
                    for (r, sums) in sums.iter_mut().enumerate() {
                        let image = image.add(r * row);
                        for (w, sum) in sums.iter_mut().enumerate() {
                            *sum = s.fma(s.load(image.add(w * S::LANES)), grad, *sum);
                        }
                    }
                }
            }
            first += n;
        }
        sums
    }
}
