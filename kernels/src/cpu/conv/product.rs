//! The product of weights and patches that the forward pass and the input gradient are, for all
//! places or for some.

use super::classes::Class;
use super::patches::Patches;
use crate::buffer::Buffer;
use crate::cpu::gemm::{Activation, Bias, Dispatch, Epilogue, Output, Product, Strided, multiply};
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

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
    /// Places of an image: rows, columns.
    pub(super) places: [usize; 2],
    /// Elements from image to image, row to row and column to column of places.
    pub(super) strides: [usize; 3],
    pub(super) bias: Option<&'a [T]>,
    pub(super) activation: Activation,
    /// Elements of `out` from image to image.
    pub(super) out_image: usize,
}

impl<T: Float> PatchProduct<'_, T> {
    /// Computes it; a padded tap multiplies by a zero.
    pub(super) fn compute(&self, d: Dispatch, out: &mut [T]) -> Result<()> {
        let [rows, columns] = self.places;
        let (places, taps) = (rows * columns, self.taps);
        if self.count == 0 || places == 0 || self.rows == 0 {
            return Ok(());
        }
        let last_tap = taps.iter().copied().max().unwrap_or(0);
        let [image, row, column] = self.strides;
        let last_place = (self.count - 1) * image + (rows - 1) * row + (columns - 1) * column;
        let fits = (taps.is_empty() || last_place + last_tap < self.images.len())
            && self.rows * taps.len() <= self.weight.len()
            && self.bias.is_none_or(|bias| bias.len() >= self.rows)
            && (self.count - 1) * self.out_image + self.rows * places <= out.len()
            && (self.count == 1 || self.rows * places <= self.out_image);
        require(fits, "conv2d: a product outside of its operands")?;
        let patches = Patches::<T, false> {
            images: self.images,
            taps,
            last_tap,
            places: self.places,
            strides: self.strides,
            first: 0,
        };
        let a = Strided {
            start: self.weight.as_ptr(),
            k_stride: 1,
            column_stride: taps.len() as isize,
        };
        let bias = self.bias.map_or(Bias::None, Bias::Row);
        let epilogue = Epilogue { accumulate: false, bias, activation: self.activation };
        // SAFETY: that every element of the operands and of the output exists was just checked.
        unsafe {
            let output = Output::new(out.as_mut_ptr(), places, places, self.out_image);
            let finish = epilogue.finish(false);
            let (k, k_total) = (0..taps.len(), taps.len());
            let (m, n) = (self.rows, self.count * places);
            multiply(d, &Product { m, n, k, k_total, a: &a, b: &patches, output, finish })
        }
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
                    PatchProduct { taps: &[], weight: &[], ..part }
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
                part.compute(d, sums.as_mut_slice())?;
                self.scatter(sums.as_slice(), rows, columns, out);
            }
        }
        Ok(())
    }

    /// Puts the results of a class in their places.
    fn scatter(&self, from: &[T], rows: &Class, columns: &Class, out: &mut [T]) {
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
