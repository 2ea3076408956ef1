//! Depthwise convolution: one kernel a channel, so no product of matrices; 64 channels at a time.

use super::Code;
use super::dot::{Dot, PANEL};
use super::finish::{COLUMNS, Finish};
use super::packed::Packed;
use crate::buffer::Buffer;
use crate::error::Result;

/// The weights, tap by tap.
#[derive(Debug)]
pub(super) struct Depthwise {
    /// As a product of one place in k a tap: for the channels' sums.
    packed: Packed,
    /// `[tap][channel]`, channels up to whole panels.
    codes: Buffer,
}

impl Depthwise {
    /// From `[channel, 1, kh, kw]`.
    pub(super) fn new<C: Code>(channels: usize, taps: usize, weight: &[C]) -> Result<Self> {
        let packed = Packed::from_fn(taps, channels, taps, |tap, c| Some(weight[c * taps + tap]))?;
        let width = channels.next_multiple_of(PANEL);
        let mut codes = Buffer::zeroed(taps * width)?;
        for (tap, row) in codes.as_mut_slice::<i8>().chunks_exact_mut(width).enumerate() {
            for (c, code) in row[..channels].iter_mut().enumerate() {
                *code = (weight[c * taps + tap].to_i32() + packed.moved) as i8;
            }
        }
        Ok(Depthwise { packed, codes })
    }

    pub(super) fn bytes(&self) -> usize {
        self.packed.bytes() + self.codes.len()
    }

    /// Rows of the output from windows that start at `base + starts`, and have a place of all channels at each tap.
    ///
    /// # Safety
    /// - The windows must be readable; the rows lie in the output, where nobody else writes them.
    #[inline(always)]
    pub(super) unsafe fn rows<D: Dot>(
        &self,
        base: *const u8,
        starts: &[usize],
        taps: &[u64],
        first_row: usize,
        finish: &Finish<'_>,
    ) {
        let channels = self.packed.n;
        let width = channels.next_multiple_of(PANEL);
        let codes = self.codes.as_slice::<i8>();
        for first in (0..channels).step_by(COLUMNS) {
            let len = COLUMNS.min(channels - first);
            let mut columns = finish.prepare(&self.packed, first, len);
            for (row, start) in starts.iter().enumerate() {
                let mut sums = [[0i32; COLUMNS]];
                for (tap, at) in taps.iter().enumerate() {
                    let at = base.wrapping_add(start + *at as usize + first * D::BYTES);
                    let weights = &codes[tap * width + first..][..len];
                    // SAFETY: by the caller's contract: `len` channels.
                    unsafe { add::<D>(&mut sums[0], at, weights) };
                }
                // SAFETY: by the caller's contract.
                unsafe {
                    finish.rows(&self.packed, &mut columns, &mut sums, first_row + row, None)
                };
            }
        }
    }
}

/// Adds one tap of as many channels as there are weights.
///
/// # Safety
/// - `weights.len()` codes must be readable at `from`, as the token takes them.
#[inline(always)]
unsafe fn add<D: Dot>(sums: &mut [i32; COLUMNS], from: *const u8, weights: &[i8]) {
    if let (Ok(weights), 1) = (<&[i8; COLUMNS]>::try_from(weights), D::BYTES) {
        // SAFETY: by the caller's contract; bytes need no alignment.
        let codes = unsafe { &*from.cast::<[u8; COLUMNS]>() };
        for i in 0..COLUMNS {
            sums[i] = sums[i].wrapping_add(i32::from(codes[i]) * i32::from(weights[i]));
        }
        return;
    }
    for (i, (sum, weight)) in sums.iter_mut().zip(weights).enumerate() {
        // SAFETY: by the caller's contract; the low byte of an i16 is the code.
        let code = i32::from(unsafe { *from.add(i * D::BYTES) });
        *sum = sum.wrapping_add(code * i32::from(*weight));
    }
}
