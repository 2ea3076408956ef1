//! The product of weights and patches that the forward pass and the input gradient are, for all
//! places or for some.

use std::mem::MaybeUninit;
use std::ops::Range;

use super::classes::Class;
use super::lines;
use super::tiles::{Ask, Cut, PAIRS, PANEL_BYTES, ROWS, Strip, pack, share};
use super::turn::Turn;
use crate::buffer::{Buffer, List};
use crate::cpu::gemm::{Activation, Dispatch, KC, Strided, vector_bytes, work_ns};
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// Where blocks of [`KC`] of so many taps end; there is at least one.
pub(super) fn block_ends(taps: usize) -> Result<List<usize>> {
    let ends = (0..taps.max(1)).step_by(KC).map(|start| taps.min(start + KC));
    List::of(ends.len(), ends)
}

/// `out[image, row, place] = activation(sum + bias[row])`, where `sum` runs over the taps of
/// `weight[row, tap] * images[tap + offset(image, place)]`: one group of some images.
#[derive(Debug, Clone, Copy)]
pub(super) struct PatchProduct<'a, T> {
    /// Padded images, from the first channel of the group on.
    pub(super) images: &'a [T],
    /// How many.
    pub(super) count: usize,
    /// Rows of a weight for each tap.
    pub(super) weight: &'a [T],
    /// How many.
    pub(super) rows: usize,
    /// Offset of each tap.
    pub(super) taps: &'a [usize],
    /// Where the blocks of taps end: see [`block_ends`]. A phase of an input gradient has some of all taps, and other blocks.
    pub(super) ends: &'a [usize],
    /// Places of an image: rows, columns.
    pub(super) places: [usize; 2],
    /// Elements from image to image, row to row and column to column of places.
    pub(super) strides: [usize; 3],
    pub(super) bias: Option<&'a [T]>,
    pub(super) activation: Activation,
    /// Elements of `out` from image to image.
    pub(super) out_image: usize,
    /// What is read next: it is asked for meanwhile.
    pub(super) next: &'a [T],
}

/// The weights in panels, and as long a bias.
pub(super) struct Packed {
    panels: Buffer,
    bias: Buffer,
}

/// The packed weights of each group, where they are needed. The usual single one takes no list.
#[derive(Default)]
pub(super) struct GroupsPacked {
    first: Option<Packed>,
    others: Vec<Option<Packed>>,
}

impl GroupsPacked {
    /// Of so many groups, at least one, what `pack` makes of each.
    pub(super) fn new(
        groups: usize,
        pack: impl Fn(usize) -> Result<Option<Packed>>,
    ) -> Result<Self> {
        let others = (1..groups).map(&pack).collect::<Result<_>>()?;
        Ok(GroupsPacked { first: pack(0)?, others })
    }

    /// A group's.
    pub(super) fn group(&self, group: usize) -> Option<&Packed> {
        match group {
            0 => self.first.as_ref(),
            _ => self.others[group - 1].as_ref(),
        }
    }
}

impl<T: Float> PatchProduct<'_, T> {
    /// The taps of a block.
    #[inline(always)]
    pub(super) fn block(&self, block: usize) -> Range<usize> {
        let start = if block == 0 { 0 } else { self.ends[block - 1] };
        start..self.ends[block]
    }

    /// The largest offset of a tap.
    pub(super) fn last_tap(&self) -> usize {
        self.taps.iter().copied().max().unwrap_or(0)
    }

    /// The weights and the bias as any images need them, if they are to be packed.
    pub(super) fn packed(&self, d: Dispatch) -> Result<Option<Packed>> {
        let is_empty = self.rows == 0 || self.places.contains(&0);
        if is_empty || lines::suits(d, self) {
            return Ok(None);
        }
        self.pack(d, Cut::new::<T>(d, self.rows)).map(Some)
    }

    /// Computes it; a padded tap multiplies by a zero. `packed` is what [`packed`](Self::packed) has made of the same weights; what is
    /// needed and not there is made.
    pub(super) fn compute(
        &self,
        d: Dispatch,
        packed: Option<&Packed>,
        out: &mut [T],
    ) -> Result<()> {
        let [rows, columns] = self.places;
        let (places, taps) = (rows * columns, self.taps);
        if self.count == 0 || places == 0 || self.rows == 0 {
            return Ok(());
        }
        let last_tap = self.last_tap();
        let [image, row, column] = self.strides;
        let last_place = (self.count - 1) * image + (rows - 1) * row + (columns - 1) * column;
        let fits = (taps.is_empty() || last_place + last_tap < self.images.len())
            && self.rows * taps.len() <= self.weight.len()
            && self.ends.last() == Some(&taps.len())
            && self.ends.is_sorted()
            && self.bias.is_none_or(|bias| bias.len() >= self.rows)
            && (self.count - 1) * self.out_image + self.rows * places <= out.len()
            && (self.count == 1 || self.rows * places <= self.out_image);
        require(fits, "conv2d: a product outside of its operands")?;
        if lines::compute(d, self, out)? {
            return Ok(());
        }
        let cut = Cut::new::<T>(d, self.rows);
        let own;
        let packed = match packed {
            Some(packed) => packed,
            None => {
                own = self.pack(d, cut)?;
                &own
            }
        };
        let (panels, bias) = (packed.panels.as_slice::<T>(), packed.bias.as_slice::<T>());
        let fits = panels.len() >= cut.width() * taps.len() && bias.len() >= cut.width();
        require(fits, "conv2d: weights that were packed for another product")?;
        let job = Job { d, product: self, packed: panels, bias };
        let unit = if vector_bytes::<T>(d) == 64 { 8 * PAIRS } else { 4 * ROWS };
        let most = CHUNK / unit * unit;
        let chunk = places.div_ceil(places.div_ceil(most)).next_multiple_of(unit);
        let chunks = places.div_ceil(chunk);
        let work = work_ns(self.rows, places, taps.len());
        // Pieces of some 20 us. A panel stays in the cache while all images are multiplied with it.
        let images = (20_000 * cut.count() as u64 / work.max(1)).clamp(1, 64) as usize;
        let pieces = self.count.div_ceil(images) * chunks;
        let out = Shared::new(out);
        let work = work.saturating_mul(self.count as u64);
        parallel::run(pieces * cut.count(), work, &|piece| {
            let (panel, piece) = (cut.panel(piece / pieces), piece % pieces);
            let (first, start) = (piece / chunks * images, piece % chunks * chunk);
            let images = first..self.count.min(first + images);
            job.compute(images, start..places.min(start + chunk), panel, out.as_ptr());
        });
        Ok(())
    }

    fn pack(&self, d: Dispatch, cut: Cut) -> Result<Packed> {
        let taps = self.taps.len();
        let fits = self.rows * taps <= self.weight.len();
        require(fits, "conv2d: a product outside of its operands")?;
        let from =
            Strided { start: self.weight.as_ptr(), k_stride: 1, column_stride: taps as isize };
        let panels = pack(d, cut, taps, &from)?;
        let mut bias = Buffer::zeroed(cut.width() * size_of::<T>())?;
        if let Some(from) = self.bias {
            bias.as_mut_slice()[..self.rows].copy_from_slice(&from[..self.rows]);
        }
        Ok(Packed { panels, bias })
    }

    /// Computes again the places that miss taps whose weights are not finite, class by class, with
    /// a weight of zero for those taps: zero times a padding zero is nothing, in the same order.
    pub(super) fn correct(
        &self,
        d: Dispatch,
        [row_classes, column_classes]: &[Vec<Class>; 2],
        out: &mut [T],
    ) -> Result<()> {
        let mut buffer = Buffer::new(size_of_val(self.weight))?;
        let tap_count = |classes: &[Class]| classes.first().map_or(0, |class| class.taps.len());
        let bad = bad_taps(self.weight, tap_count(row_classes) * tap_count(column_classes));
        for rows in row_classes {
            for columns in column_classes {
                let places = [rows.count, columns.count];
                let first = rows.start * self.strides[1] + columns.start * self.strides[2];
                let [image, row, column] = self.strides;
                let part = PatchProduct {
                    places,
                    // What overflows is longer than the image: there is no second place to use it.
                    strides: [
                        image,
                        row.saturating_mul(rows.step),
                        column.saturating_mul(columns.step),
                    ],
                    out_image: self.rows * places[0] * places[1],
                    ..*self
                };
                let part = if rows.is_blind() || columns.is_blind() {
                    PatchProduct { taps: &[], ends: &[0], weight: &[], ..part }
                } else {
                    let reads = rows.and(columns);
                    if reads.iter().zip(&bad).all(|(reads, bad)| *reads || !bad) {
                        continue;
                    }
                    without_missing(self.weight, self.taps.len(), &reads, buffer.as_mut_slice());
                    let (images, weight) = (&self.images[first..], buffer.as_slice());
                    PatchProduct { images, weight, ..part }
                };
                let size = checked_len(&[self.count, part.out_image, size_of::<T>()])
                    .ok_or(Error::Contract("conv2d: the size of a workspace overflows"))?;
                let mut sums = Buffer::new(size)?;
                part.compute(d, None, sums.as_mut_slice())?;
                self.scatter(sums.as_slice(), rows, columns, out);
            }
        }
        Ok(())
    }

    /// Puts the results of a class in their places.
    pub(super) fn scatter(&self, from: &[T], rows: &Class, columns: &Class, out: &mut [T]) {
        let [height, width] = self.places;
        for (line, from) in from.chunks_exact(columns.count).enumerate() {
            let (plane, y) = (line / rows.count, rows.start + line % rows.count * rows.step);
            let (image, row) = (plane / self.rows, plane % self.rows);
            let start = image * self.out_image + (row * height + y) * width + columns.start;
            for (to, from) in out[start..].iter_mut().step_by(columns.step).zip(from) {
                *to = *from;
            }
        }
    }
}

/// Places that are computed at a time, at most: their sums stay in the first level of the cache. Whole tiles and whole blocks of a
/// [`Turn`].
const CHUNK: usize = 120;
const _: () = assert!(CHUNK >= 2 * 8 * PAIRS && CHUNK.is_multiple_of(4 * ROWS));

/// Room for the sums of a chunk, and one panel.
#[repr(align(64))]
struct Sums([MaybeUninit<u8>; CHUNK * PANEL_BYTES]);

/// A product whose operands were checked, with its weights packed.
struct Job<'a, T> {
    d: Dispatch,
    product: &'a PatchProduct<'a, T>,
    packed: &'a [T],
    bias: &'a [T],
}

impl<T: Float> Job<'_, T> {
    /// At most [`CHUNK`] places of some images, and one panel of channels.
    fn compute(
        &self,
        images: Range<usize>,
        places: Range<usize>,
        [start, channels, width]: [usize; 3],
        out: *mut T,
    ) {
        let p = self.product;
        let mut offsets = [0; CHUNK];
        let offsets = &mut offsets[..places.len()];
        let [mut y, mut x] = [places.start / p.places[1], places.start % p.places[1]];
        for offset in offsets.iter_mut() {
            *offset = y * p.strides[1] + x * p.strides[2];
            x += 1;
            if x == p.places[1] {
                (y, x) = (y + 1, 0);
            }
        }
        let mut sums = Sums([MaybeUninit::uninit(); CHUNK * PANEL_BYTES]);
        let sums: *mut T = sums.0.as_mut_ptr().cast();
        let plane = p.places[0] * p.places[1];
        for image in images {
            let to = out.wrapping_add(image * p.out_image + start * plane + places.start);
            let done = start * p.count * plane + channels * (image * plane + places.start);
            let part = done..done + channels * places.len();
            let next = [share(p.next, part, p.rows * p.count * plane), &[]];
            let ask = Ask { to: to.cast_const(), lines: channels, stride: plane, next };
            for block in 0..p.ends.len() {
                let steps = p.block(block);
                let last = block + 1 == p.ends.len();
                let has_bias = last && p.bias.is_some();
                let bias = if has_bias { self.bias[start..].as_ptr() } else { std::ptr::null() };
                let strip = Strip {
                    a: p.images.as_ptr().wrapping_add(image * p.strides[0]),
                    rows: offsets,
                    steps: &p.taps[steps.clone()],
                    b: self
                        .packed
                        .as_ptr()
                        .wrapping_add(start * p.taps.len() + steps.start * width),
                    width,
                    to: sums,
                    to_stride: width,
                    add: block > 0,
                    ask: if block == 0 { ask } else { Ask::NOTHING },
                    bias,
                    relu: last && p.activation == Activation::Relu,
                };
                // SAFETY: places and taps lie inside of the images, as was checked; the panel is one of the packed ones, and
                // the sums have room for a chunk.
                unsafe { strip.compute(self.d) };
            }
            let places = places.len();
            let turn = Turn { from: sums, width, places, channels, to, to_stride: plane };
            // SAFETY: these channels' and places' elements of the output, which are this piece's.
            unsafe { turn.compute(self.d) };
        }
    }
}

/// For each tap (kh, kw): is one of its weights not finite?
fn bad_taps<T: Float>(weight: &[T], taps: usize) -> Vec<bool> {
    let mut bad = vec![false; taps];
    for weights in weight.chunks_exact(taps) {
        bad.iter_mut().zip(weights).for_each(|(bad, weight)| *bad |= !weight.is_finite());
    }
    bad
}

/// Copies the weight, rows of `row` elements, with zeros at the taps that are not read.
fn without_missing<T: Float>(weight: &[T], row: usize, reads: &[bool], to: &mut [T]) {
    let missing: Vec<usize> = (0..reads.len()).filter(|tap| !reads[*tap]).collect();
    let to = Shared::new(to);
    parallel::run(weight.len() / row, weight.len() as u64 / 2, &|index| {
        // SAFETY: each piece writes the row of its own index.
        let to = unsafe { to.part(index * row, row) };
        to.copy_from_slice(&weight[index * row..][..row]);
        for taps in to.chunks_exact_mut(reads.len()) {
            missing.iter().for_each(|tap| taps[*tap] = T::ZERO);
        }
    });
}
