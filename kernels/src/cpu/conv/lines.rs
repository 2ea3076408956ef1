//! Products with few weights, or with few channels in the result: vectors of places that lie side by side are read from the padded
//! images, weights one at a time. Nothing is packed, and results are stored where they belong.

use super::product::PatchProduct;
use super::tiles::{ask_early, share};
use crate::buffer::List;
use crate::cpu::gemm::microkernel::{fetch, opaque};
use crate::cpu::gemm::{Activation, Dispatch, work_ns};
use crate::cpu::isa::Kernel;
use crate::cpu::parallel::{self, Shared};
use crate::cpu::simd::Simd;
use crate::element::Float;
use crate::error::Result;

/// The most taps for which this way is the faster one even with many channels.
const TAPS: usize = 32;

/// The most channels for which it is with any number of taps.
const CHANNELS: usize = 4;

/// Vectors of places that are computed at a time with one channel.
const VECTORS: usize = 8;

/// Channels that are computed at a time, where there are as many.
const GROUP: usize = 4;

/// How many groups of channels ahead the places of results are asked for.
const AHEAD: usize = 2;

/// Taps whose vectors are held in registers: those of a 3x3 window over one channel. (25 or 27 of them made no difference.)
const HELD: usize = 9;

/// Channels that go by while they are held: each has its plane of the result, and more would be more streams than L1 and its pages have
/// room for; and where planes are a multiple of half a page apart, so that they share a set of L1.
const RUNS: [usize; 2] = [32, 8];

/// Bytes of a plane that are asked for ahead there: stores would wait for their lines. Twice as far was slower than not at all.
const HELD_AHEAD: usize = 256;

/// Some places of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Vector {
    /// The first one's offset in an image, and its place.
    offset: usize,
    place: usize,
    /// How many places.
    len: usize,
}

/// Every place of an image in vectors of `lanes` or fewer; the last of a line reaches back where the line is long enough.
fn vectors(p: &PatchProduct<'_, impl Float>, lanes: usize) -> Result<List<Vector>> {
    let [rows, columns] = p.places;
    let mut vectors = List::with_room(rows * columns.div_ceil(lanes))?;
    for row in 0..rows {
        vectors.extend((0..columns).step_by(lanes).map(|start| {
            let start = start.min(columns.saturating_sub(lanes));
            let (offset, place) = (row * p.strides[1] + start, row * columns + start);
            Vector { offset, place, len: lanes.min(columns) }
        }));
    }
    Ok(vectors)
}

/// True if this way is the faster one.
pub(super) fn suits<T: Float>(d: Dispatch, p: &PatchProduct<'_, T>) -> bool {
    let few = p.rows <= CHANNELS || p.taps.len() <= TAPS;
    few && !p.taps.is_empty() && p.strides[2] == 1 && 2 * p.places[1] >= d.call::<T, _>(Lanes)
}

/// Computes the product this way if that is the faster one and its images can be read so; its operands were checked.
pub(super) fn compute<T: Float>(
    d: Dispatch,
    p: &PatchProduct<'_, T>,
    out: &mut [T],
) -> Result<bool> {
    let lanes = d.call::<T, _>(Lanes);
    let [rows, columns] = p.places;
    if !suits(d, p) {
        return Ok(false);
    }
    // The last vector of a short line is read whole.
    let last = (p.count - 1) * p.strides[0] + (rows - 1) * p.strides[1] + p.last_tap();
    if last + columns.max(lanes) > p.images.len() {
        return Ok(false);
    }
    let vectors = vectors(p, lanes)?;
    let work = work_ns(p.rows, rows * columns, p.taps.len());
    // Pieces of some 20 us.
    let images = (20_000 / work.max(1)).clamp(1, 64) as usize;
    let out = Shared::new(out);
    let work = work.saturating_mul(p.count as u64);
    parallel::run(p.count.div_ceil(images), work, &|piece| {
        for image in piece * images..p.count.min((piece + 1) * images) {
            let next = share(p.next, image..image + 1, p.count);
            let images = p.images.as_ptr().wrapping_add(image * p.strides[0]);
            let out = out.as_ptr().wrapping_add(image * p.out_image);
            d.call::<T, _>(Lines { p, images, vectors: &vectors, out, next });
        }
    });
    Ok(true)
}

/// What [`Lines::held`] goes over channels with: vectors `X`, `N` at a time.
struct Held<T, X, const N: usize> {
    /// What the vectors read, for each tap.
    places: [[X; N]; HELD],
    /// Elements of the output from channel to channel.
    plane: usize,
    /// The next channel's weights, and where its vectors go.
    weights: *const T,
    to: [*mut T; N],
    /// What is added to its sums, and how far behind it what is added to those of the one after.
    bias: *const T,
    bias_step: usize,
    /// What smaller results become.
    least: X,
}

struct Lanes;

impl<T: Float> Kernel<T> for Lanes {
    type Output = usize;
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, _: S) -> usize {
        S::LANES
    }
}

/// All places and channels of one image. Made where vectors, taps and channels were found to lie inside of its operands.
struct Lines<'a, T> {
    p: &'a PatchProduct<'a, T>,
    images: *const T,
    vectors: &'a [Vector],
    out: *mut T,
    /// What is read next: it is asked for meanwhile.
    next: &'a [T],
}

impl<T: Float> Kernel<T> for Lines<'_, T> {
    type Output = ();
    const WIDE: bool = true;
    #[inline(always)]
    fn run<S: Simd<T>>(self, s: S) {
        let rows = self.p.rows;
        let whole = self.vectors.first().is_some_and(|vector| vector.len == S::LANES);
        let held = self.p.taps.len() == HELD && self.p.ends.len() == 1;
        if const { S::LANES > 1 } && rows >= GROUP && whole && held {
            let nothing = self.p.bias.is_none() && self.p.activation == Activation::None;
            // SAFETY: whole vectors, as many taps, in one block.
            return unsafe {
                match (const { S::LANES * size_of::<T>() == 64 }, nothing) {
                    (true, true) => self.held::<S, 2, false>(s),
                    (true, false) => self.held::<S, 2, true>(s),
                    (false, true) => self.held::<S, 1, false>(s),
                    (false, false) => self.held::<S, 1, true>(s),
                }
            };
        }
        let groups = if const { S::LANES == 1 } { 0 } else { rows / GROUP };
        // SAFETY: channels of the product.
        unsafe {
            for group in 0..groups {
                if const { S::LANES * size_of::<T>() == 64 } {
                    self.channels::<S, GROUP, 4>(s, group * GROUP);
                } else {
                    self.channels::<S, GROUP, 2>(s, group * GROUP);
                }
            }
            for row in groups * GROUP..rows {
                self.channels::<S, 1, VECTORS>(s, row);
            }
        }
    }
}

impl<T: Float> Lines<'_, T> {
    /// Elements of what is read next that each of so many steps asks for: whole lines of them.
    #[inline(always)]
    fn part_of_next(&self, steps: usize) -> usize {
        let line = 64 / size_of::<T>();
        // So many at once are none too many.
        self.next.len().div_ceil(line).div_ceil(steps).min(32) * line
    }

    /// Asks for what a step has to, of `each` elements.
    #[inline(always)]
    fn ask_for_next(&self, step: usize, each: usize) {
        let next = self.next.get(step * each..).unwrap_or_default();
        let lines = next[..each.min(next.len())].iter().step_by(64 / size_of::<T>());
        lines.for_each(|next| ask_early(next));
    }

    /// All places of `R` channels, `V` vectors at a time.
    ///
    /// # Safety
    /// - The channels must exist.
    #[inline(always)]
    unsafe fn channels<S: Simd<T>, const R: usize, const V: usize>(&self, s: S, row: usize) {
        let plane = self.p.places[0] * self.p.places[1];
        let chunks = self.vectors.len().div_ceil(V);
        let each = self.part_of_next(chunks * self.p.rows / R);
        for (index, vectors) in self.vectors.chunks(V).enumerate() {
            self.ask_for_next(row / R * chunks + index, each);
            let mut images = [self.images.wrapping_add(vectors[0].offset); V];
            for (image, vector) in images.iter_mut().zip(vectors) {
                *image = self.images.wrapping_add(vector.offset);
            }
            // SAFETY: vectors of the image.
            let mut sums = unsafe { self.sums::<S, R, V>(s, row, images.map(opaque)) };
            let out = self.out.wrapping_add(row * plane);
            for (r, sums) in sums.iter_mut().enumerate() {
                self.finish(s, row + r, sums);
            }
            // SAFETY: vectors of the output.
            unsafe {
                match <&[Vector; V]>::try_from(vectors) {
                    // They are all as long as this one.
                    Ok(vectors) if vectors[0].len == S::LANES => {
                        for (r, sums) in sums.iter().enumerate() {
                            for (vector, sum) in vectors.iter().zip(sums) {
                                let to = out.wrapping_add(r * plane + vector.place);
                                ask_early(to.wrapping_add(AHEAD * R * plane));
                                s.store(to, *sum);
                            }
                        }
                    }
                    _ => self.store_some(s, out, vectors, &sums),
                }
            }
        }
    }

    /// All places of all channels, `V` vectors at a time: what they read stays in registers while some channels go by. `F` says that
    /// something follows the sums, made without a branch: compilers then leave a group's channels side by side.
    ///
    /// # Safety
    /// - There must be [`HELD`] taps in one block, and the vectors must be whole.
    #[inline(always)]
    unsafe fn held<S: Simd<T>, const V: usize, const F: bool>(&self, s: S) {
        let (rows, taps) = (self.p.rows, &self.p.taps[..HELD]);
        let plane = self.p.places[0] * self.p.places[1];
        let chunks = self.vectors.len().div_ceil(V);
        let each = self.part_of_next(chunks);
        // Added to anything, this changes no bit.
        let nothing = -T::ZERO;
        let relu = self.p.activation == Activation::Relu;
        let most = RUNS[usize::from((plane * size_of::<T>()).is_multiple_of(2048))];
        for row in (0..rows).step_by(most) {
            let bias = self.p.bias.map(|bias| bias[row..].as_ptr());
            for (index, vectors) in self.vectors.chunks(V).enumerate() {
                if row == 0 {
                    self.ask_for_next(index, each);
                }
                // The last ones may be fewer: the very last is then computed twice.
                let at: [Vector; V] = std::array::from_fn(|v| vectors[v.min(vectors.len() - 1)]);
                let mut places = [[s.splat(T::ZERO); V]; HELD];
                for (places, step) in places.iter_mut().zip(taps) {
                    for (place, vector) in places.iter_mut().zip(at) {
                        // SAFETY: a vector of the image.
                        *place = unsafe { s.load(self.images.wrapping_add(vector.offset + step)) };
                    }
                }
                let out = self.out.wrapping_add(row * plane);
                let mut held = Held {
                    places,
                    plane,
                    weights: self.p.weight.as_ptr().wrapping_add(row * HELD),
                    to: at.map(|vector| out.wrapping_add(vector.place)),
                    bias: bias.unwrap_or(&raw const nothing),
                    bias_step: usize::from(bias.is_some()),
                    least: s.splat(if relu { T::ZERO } else { T::NEG_INFINITY }),
                };
                let run = most.min(rows - row);
                // SAFETY: channels of the product, places of the output.
                unsafe {
                    for _ in 0..run / GROUP {
                        Self::held_channels::<S, GROUP, V, F>(s, &mut held);
                    }
                    for _ in 0..run % GROUP {
                        Self::held_channels::<S, 1, V, F>(s, &mut held);
                    }
                }
            }
        }
    }

    /// `V` vectors of the next `R` channels.
    ///
    /// # Safety
    /// - The channels must exist, and the vectors in the output.
    #[inline(always)]
    unsafe fn held_channels<S: Simd<T>, const R: usize, const V: usize, const F: bool>(
        s: S,
        held: &mut Held<T, S::V, V>,
    ) {
        let mut sums = [[s.splat(T::ZERO); V]; R];
        for (l, places) in held.places.iter().enumerate() {
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: a weight of an existing channel.
                let weight = s.splat(unsafe { *held.weights.add(r * HELD + l) });
                for (place, sum) in places.iter().zip(sums) {
                    *sum = s.fma(weight, *place, *sum);
                }
            }
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            if F {
                // SAFETY: a bias of an existing channel, or the one of all.
                let bias = s.splat(unsafe { *held.bias.wrapping_add(r * held.bias_step) });
                // The second operand is kept if it is NaN.
                *sums = sums.map(|sum| s.max_second(held.least, s.add(sum, bias)));
            }
            for (to, sum) in held.to.iter_mut().zip(sums) {
                fetch(to.wrapping_add(HELD_AHEAD / size_of::<T>()).cast_const());
                // SAFETY: by the caller's contract.
                unsafe { s.store(*to, *sum) };
                *to = to.wrapping_add(held.plane);
            }
        }
        held.weights = held.weights.wrapping_add(R * HELD);
        held.bias = held.bias.wrapping_add(R * held.bias_step);
    }

    /// Fewer vectors, or shorter ones.
    ///
    /// # Safety
    /// - They must exist in `R` channels from `out` on.
    #[inline(always)]
    unsafe fn store_some<S: Simd<T>, const R: usize, const V: usize>(
        &self,
        s: S,
        out: *mut T,
        vectors: &[Vector],
        sums: &[[S::V; V]; R],
    ) {
        let plane = self.p.places[0] * self.p.places[1];
        for (r, sums) in sums.iter().enumerate() {
            for (vector, sum) in vectors.iter().zip(sums) {
                let to = out.wrapping_add(r * plane + vector.place);
                // SAFETY: by the caller's contract.
                unsafe {
                    match vector.len == S::LANES {
                        true => s.store(to, *sum),
                        false => s.store_first(to, *sum, vector.len),
                    }
                }
            }
        }
    }

    /// The sums of `V` vectors of `R` channels.
    ///
    /// # Safety
    /// - The channels must exist, and the vectors be readable for each tap.
    #[inline(always)]
    unsafe fn sums<S: Simd<T>, const R: usize, const V: usize>(
        &self,
        s: S,
        row: usize,
        images: [*const T; V],
    ) -> [[S::V; V]; R] {
        // SAFETY: handed on.
        let mut sums = unsafe { self.block::<S, R, V>(s, row, images, 0) };
        for block in 1..self.p.ends.len() {
            // SAFETY: handed on.
            let parts = unsafe { self.block::<S, R, V>(s, row, images, block) };
            for (sums, parts) in sums.iter_mut().zip(&parts) {
                for (sum, part) in sums.iter_mut().zip(parts) {
                    *sum = s.add(*sum, *part);
                }
            }
        }
        sums
    }

    /// The sums over a block of taps.
    ///
    /// # Safety
    /// - As [`sums`](Self::sums).
    #[inline(always)]
    unsafe fn block<S: Simd<T>, const R: usize, const V: usize>(
        &self,
        s: S,
        row: usize,
        images: [*const T; V],
        block: usize,
    ) -> [[S::V; V]; R] {
        let taps = &self.p.taps[self.p.block(block)];
        let mut weights = [self.p.weight.as_ptr(); R];
        for (r, weight) in weights.iter_mut().enumerate() {
            let start = (row + r) * self.p.taps.len() + self.p.block(block).start;
            *weight = weight.wrapping_add(start);
        }
        let mut sums = [[s.splat(T::ZERO); V]; R];
        for (l, step) in taps.iter().enumerate() {
            let mut places = [s.splat(T::ZERO); V];
            for (place, image) in places.iter_mut().zip(images) {
                // SAFETY: a vector of the image.
                *place = unsafe { s.load(image.wrapping_add(*step)) };
            }
            for (weight, sums) in weights.iter().zip(&mut sums) {
                // SAFETY: a weight of an existing channel.
                let weight = s.splat(unsafe { *weight.wrapping_add(l) });
                for (place, sum) in places.iter().zip(sums) {
                    *sum = s.fma(weight, *place, *sum);
                }
            }
        }
        sums
    }

    /// What follows the sums of a channel.
    #[inline(always)]
    fn finish<S: Simd<T>, const V: usize>(&self, s: S, row: usize, sums: &mut [S::V; V]) {
        if let Some(bias) = self.p.bias {
            let bias = s.splat(bias[row]);
            *sums = sums.map(|sum| s.add(sum, bias));
        }
        if self.p.activation == Activation::Relu {
            // The second operand is kept if it is NaN.
            *sums = sums.map(|sum| s.max_second(s.splat(T::ZERO), sum));
        }
    }
}
