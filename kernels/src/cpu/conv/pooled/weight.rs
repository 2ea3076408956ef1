//! The gradients in weight and bias: for each channel of the map, its winners' gradients times the patches that they saw.

use std::ops::Range;

use super::PooledShape;
use super::sparse::{Grid, Interleave, Sources, not_zero};
use crate::buffer::{Buffer, List};
use crate::cpu::conv::Conv2dShape;
use crate::cpu::conv::pad::pad;
use crate::cpu::gemm::{Dispatch, KC, work_ns};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::pool::max_pool2d_grad;
use crate::cpu::reduce::{ReduceOp, reduce};
use crate::cpu::simd::Simd;
use crate::cpu::zeros::skips_zeros;
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
    /// From window to window.
    stride: [usize; 2],
    /// Where the window of a place starts.
    offsets: List<u32>,
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
            let (side, stride) = (Side::Taps, [1, 1]);
            return Some(Plan {
                side,
                grid,
                window: [1, 1],
                stride,
                offsets: List::empty(),
                row: 0,
            });
        }
        if conv.kernel != [3, 3] || conv.dilation[1] != 1 {
            return None;
        }
        let grid = Grid::new::<T>(d, shape, conv.in_channels)?;
        let row = conv.dilation[0] * grid.padded[1] * grid.lanes;
        let (side, stride) = (Side::Channels, conv.stride);
        Some(Plan { side, grid, window: [3, 3], stride, offsets: List::empty(), row })
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
            parallel::run(pieces, work, &|piece| {
                let (index, first) = (piece / grid.chunks, piece % grid.chunks * grid.lanes);
                let start = images.as_ptr().wrapping_add(index * conv.in_channels * plane);
                let taps = first..conv.taps().min(first + grid.lanes);
                let tap = |tap| start.wrapping_add(conv.input_tap(frame.padded, tap));
                let sources = Sources::of(taps.map(tap));
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
            let sources = Sources::of(planes);
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
fn segments(index: usize, count: usize, places: usize) -> impl Iterator<Item = Segment> {
    let (start, end, all) = (index * places, (index + 1) * places, count * places);
    let blocks = start / KC..end.div_ceil(KC);
    blocks.map(move |block| {
        let k = (block * KC).max(start)..(block * KC + KC).min(end);
        Segment {
            places: k.start - start..k.end - start,
            opens: k.start == block * KC,
            closes: k.end == all.min(block * KC + KC),
            first: block == 0,
        }
    })
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
    let Some(mut plan) = Plan::new::<T>(d, shape) else { return Ok(false) };
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
    // No more of them than elements that there is memory for.
    plan.offsets = plan.grid.offsets(plan.stride)?;
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
        let all = sums.len() / 2;
        let sums = Shared::new(sums);
        let size = self.plan.sums();
        // A quarter of the places, at half of the rate.
        let work = work_ns(channels, self.conv.taps(), count * places) / 2;
        parallel::run(channels.div_ceil(CHANNELS), work, &|piece| {
            let first = piece * CHANNELS;
            for index in 0..count {
                for part in 0..grid.chunks {
                    let at = (first * grid.chunks + part) * size;
                    let sums = WindowSums {
                        plan: self.plan,
                        image: self.images[(index * grid.chunks + part) * chunk..].as_ptr(),
                        maps: &self.maps[index * map + first * places..],
                        channels: CHANNELS.min(channels - first),
                        index: [self.first + index, self.conv.batch],
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
    /// The image's number, of how many.
    index: [usize; 2],
    /// The sums of the first channel, those of the block that goes on, and how far apart channels are.
    sums: *mut T,
    open: *mut T,
    stride: usize,
}

/// Channels that are computed at a time where a window is one vector: a single one would wait for each sum.
const CHAINS: usize = 4;

impl<T: Float> Kernel<T> for WindowSums<'_, T> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        // SAFETY: what makes it has checked that images, maps and sums are those of the plan.
        unsafe {
            match self.plan.window {
                [1, 1] => {
                    let whole = self.channels / CHAINS * CHAINS;
                    self.channels::<S, CHAINS, 1, 1>(s, 0..whole);
                    self.channels::<S, 1, 1, 1>(s, whole..self.channels);
                }
                _ => self.channels::<S, 1, 9, 3>(s, 0..self.channels),
            }
        }
    }
}

impl<T: Float> WindowSums<'_, T> {
    /// Some channels, `C` at a time; windows of `K` vectors, `W` side by side.
    ///
    /// # Safety
    /// - The window must be the plan's, and the channels exist, a multiple of `C`.
    #[inline(always)]
    unsafe fn channels<S: Simd<T>, const C: usize, const K: usize, const W: usize>(
        &self,
        s: S,
        channels: Range<usize>,
    ) {
        let places = self.plan.offsets.len();
        for first in channels.step_by(C) {
            let mut maps = [self.maps.as_ptr(); C];
            for (c, map) in maps.iter_mut().enumerate() {
                *map = map.wrapping_add((first + c) * places);
            }
            let [index, count] = self.index;
            for segment in segments(index, count, places) {
                let mut sums = [[s.splat(T::ZERO); K]; C];
                // SAFETY: the sums of these channels, which are this piece's.
                unsafe {
                    if !segment.opens {
                        self.open(s, first, &mut sums);
                    }
                    self.segment::<S, C, K, W>(s, maps, segment.places.clone(), &mut sums);
                    self.store(s, &segment, first, &sums);
                }
            }
        }
    }

    /// The sums of the block so far.
    ///
    /// # Safety
    /// - The channels from `first` on must exist.
    #[inline(always)]
    unsafe fn open<S: Simd<T>, const C: usize, const K: usize>(
        &self,
        s: S,
        first: usize,
        sums: &mut [[S::V; K]; C],
    ) {
        for (c, sums) in sums.iter_mut().enumerate() {
            for (k, sum) in sums.iter_mut().enumerate() {
                let from = self.open.wrapping_add((first + c) * self.stride + k * S::LANES);
                // SAFETY: by the caller's contract.
                *sum = unsafe { s.load(from) };
            }
        }
    }

    /// Adds a whole block's sums to those before, keeps those of a block that goes on.
    ///
    /// # Safety
    /// - As [`open`](Self::open).
    #[inline(always)]
    unsafe fn store<S: Simd<T>, const C: usize, const K: usize>(
        &self,
        s: S,
        segment: &Segment,
        first: usize,
        sums: &[[S::V; K]; C],
    ) {
        let to = if segment.closes { self.sums } else { self.open };
        let adds = segment.closes && !segment.first;
        for (c, sums) in sums.iter().enumerate() {
            for (k, &sum) in sums.iter().enumerate() {
                let to = to.wrapping_add((first + c) * self.stride + k * S::LANES);
                // SAFETY: by the caller's contract.
                unsafe { s.store(to, if adds { s.add(s.load(to), sum) } else { sum }) };
            }
        }
    }

    /// Adds some places of these channels.
    ///
    /// # Safety
    /// - The window must be the plan's, the places those of its maps.
    #[inline(always)]
    unsafe fn segment<S: Simd<T>, const C: usize, const K: usize, const W: usize>(
        &self,
        s: S,
        maps: [*const T; C],
        places: Range<usize>,
        sums: &mut [[S::V; K]; C],
    ) {
        for first in places.clone().step_by(64) {
            let n = (places.end - first).min(64);
            let mut rest = [0; C];
            // SAFETY: places of the maps.
            unsafe {
                for (rest, map) in rest.iter_mut().zip(maps) {
                    *rest = not_zero(s, map.wrapping_add(first), n);
                }
                while C > 1 && rest.iter().all(|&rest| rest != 0) {
                    for c in 0..C {
                        self.place::<S, K, W>(s, maps[c], first, &mut rest[c], &mut sums[c]);
                    }
                }
                for c in 0..C {
                    while rest[c] != 0 {
                        self.place::<S, K, W>(s, maps[c], first, &mut rest[c], &mut sums[c]);
                    }
                }
            }
        }
    }

    /// Adds the first place that is left, and takes it away.
    ///
    /// # Safety
    /// - As [`segment`](Self::segment); one must be left.
    #[inline(always)]
    unsafe fn place<S: Simd<T>, const K: usize, const W: usize>(
        &self,
        s: S,
        map: *const T,
        first: usize,
        rest: &mut u64,
        sums: &mut [S::V; K],
    ) {
        let place = first + rest.trailing_zeros() as usize;
        *rest &= rest.wrapping_sub(1);
        // SAFETY: a place of the map; its window lies inside of the image.
        unsafe {
            let grad = s.splat(*map.add(place));
            let image = self.image.add(*self.plan.offsets.as_ptr().add(place) as usize);
            for (k, sum) in sums.iter_mut().enumerate() {
                let at = k / W * self.plan.row + k % W * S::LANES;
                *sum = s.fma(s.load(image.wrapping_add(at)), grad, *sum);
            }
        }
    }
}
