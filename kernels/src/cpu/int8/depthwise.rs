//! Depthwise convolution: one kernel a channel, so no product of matrices; 64 channels at a time.

use super::Code;
use super::dot::{Dot, GROUP, PANEL, PANELS_OF_TAPS, STEP, channel_of_taps};
use super::finish::{COLUMNS, Finish};
use super::packed::Packed;
use crate::buffer::Buffer;
use crate::error::{Error, Result, require};

/// The weights, tap by tap.
#[derive(Debug)]
pub(super) struct Depthwise {
    /// As a product of one place in k a tap: for the channels' sums.
    packed: Packed,
    taps: usize,
    /// `[tap][channel]`, channels up to whole blocks of 64.
    codes: Buffer,
    /// `[block of 64 channels][group of four taps][channel][tap]`, channels in the order of [`channel_of_taps`].
    groups: Buffer,
}

/// Bytes of a group of taps of a block.
const GROUP_BYTES: usize = PANELS_OF_TAPS * STEP;

/// Rows that are finished together.
const ROWS: usize = 6;

impl Depthwise {
    /// From `[channel, 1, kh, kw]`.
    pub(super) fn new<C: Code>(channels: usize, taps: usize, weight: &[C]) -> Result<Self> {
        let packed = Packed::from_fn(taps, channels, taps, |tap, c| Some(weight[c * taps + tap]))?;
        let code = |c: usize, tap: usize| (weight[c * taps + tap].to_i32() + packed.moved) as i8;
        let width = channels.checked_next_multiple_of(COLUMNS);
        let bytes =
            width.and_then(|width| taps.checked_next_multiple_of(GROUP)?.checked_mul(width));
        let bytes = bytes.ok_or(Error::Contract("conv2d: sizes overflow"))?;
        let width = width.unwrap_or(0);
        require(bytes <= isize::MAX as usize, "conv2d: sizes overflow")?;
        let mut codes = Buffer::zeroed(taps * width)?;
        for (tap, row) in codes.as_mut_slice::<i8>().chunks_exact_mut(width).enumerate() {
            for (c, to) in row[..channels].iter_mut().enumerate() {
                *to = code(c, tap);
            }
        }
        let mut groups = Buffer::zeroed(bytes)?;
        for (i, to) in groups.as_mut_slice::<i8>().iter_mut().enumerate() {
            let (group, place, tap) = (i / GROUP_BYTES, i % GROUP_BYTES / GROUP, i % GROUP);
            let count = taps.div_ceil(GROUP);
            let (c, tap) =
                (group / count * COLUMNS + channel_of_taps(place), group % count * GROUP + tap);
            if c < channels && tap < taps {
                *to = code(c, tap);
            }
        }
        Ok(Depthwise { packed, taps, codes, groups })
    }

    pub(super) fn bytes(&self) -> usize {
        self.packed.bytes() + self.codes.len() + self.groups.len()
    }

    /// Rows of the output from windows that start at `base + starts`, and have a place of all channels at each tap; `taps` are
    /// whole groups, of which those beyond the kernel are any of it.
    ///
    /// # Safety
    /// - The windows must be readable; the rows lie in the output, where nobody else writes them.
    #[inline(always)]
    pub(super) unsafe fn rows<D: Dot>(
        &self,
        d: D,
        base: *const u8,
        starts: &[usize],
        taps: &[u64],
        first_row: usize,
        finish: &Finish<'_>,
    ) {
        let channels = self.packed.n;
        let width = channels.next_multiple_of(COLUMNS);
        let (codes, groups) = (self.codes.as_slice::<i8>(), self.groups.as_slice::<i8>());
        for first in (0..channels).step_by(COLUMNS) {
            let len = COLUMNS.min(channels - first);
            let mut columns = finish.prepare(&self.packed, first, len);
            let groups = &groups[first * taps.len()..][..COLUMNS * taps.len()];
            let base = base.wrapping_add(first * D::BYTES);
            let mut sums = [[0i32; COLUMNS]; ROWS];
            for (i, starts) in starts.chunks(ROWS).enumerate() {
                for (sums, start) in sums.iter_mut().zip(starts) {
                    let from = base.wrapping_add(*start);
                    // SAFETY: by the caller's contract: `len` channels at each tap.
                    unsafe {
                        if const { D::TAPS } {
                            add_taps(d, sums, from, taps, groups, len);
                        } else {
                            add::<D>(sums, from, &taps[..self.taps], &codes[first..], width, len);
                        }
                    }
                }
                let (sums, row) = (&mut sums[..starts.len()], first_row + i * ROWS);
                // SAFETY: by the caller's contract.
                unsafe { finish.rows(&self.packed, &mut columns, sums, row, None) };
            }
        }
    }
}

/// The sums of `len` channels, four taps at a time.
///
/// # Safety
/// - `len` codes must be readable at each tap.
#[inline(always)]
unsafe fn add_taps<D: Dot>(
    d: D,
    sums: &mut [i32; COLUMNS],
    from: *const u8,
    taps: &[u64],
    weights: &[i8],
    len: usize,
) {
    let mut all = [d.zero(); PANELS_OF_TAPS];
    let (taps, weights) = (taps.as_chunks::<GROUP>().0, weights.as_chunks::<GROUP_BYTES>().0);
    for (taps, weights) in taps.iter().zip(weights) {
        let [a, b, c, e] = *taps;
        let at = [a, b, c, e].map(|tap| from.wrapping_add(tap as usize));
        // SAFETY: by the caller's contract; the weights are a group's.
        all = unsafe { d.taps(all, at, weights.as_ptr(), len) };
    }
    // SAFETY: as many sums.
    unsafe { d.store_taps(sums.as_mut_ptr(), all) }
}

/// The sums of `len` channels, a panel at a time.
///
/// # Safety
/// - `len` codes must be readable at each tap, as the token takes them.
#[inline(always)]
unsafe fn add<D: Dot>(
    sums: &mut [i32; COLUMNS],
    from: *const u8,
    taps: &[u64],
    weights: &[i8],
    width: usize,
    len: usize,
) {
    for (p, sums) in sums.as_chunks_mut::<PANEL>().0.iter_mut().enumerate() {
        let first = p * PANEL;
        let count = PANEL.min(len.saturating_sub(first));
        let mut panel = [0i32; PANEL];
        for (tap, at) in taps.iter().enumerate() {
            let at = from.wrapping_add(*at as usize + first * D::BYTES);
            let Some(Ok(weights)) =
                weights.get(tap * width + first..).map(|w| <&[i8; PANEL]>::try_from(&w[..PANEL]))
            else {
                break;
            };
            // SAFETY: by the caller's contract; a token of i16 has them aligned.
            unsafe {
                match (count, D::BYTES) {
                    (PANEL, 1) => multiply(&mut panel, *at.cast::<[u8; PANEL]>(), weights),
                    (PANEL, _) => multiply(&mut panel, *at.cast::<[i16; PANEL]>(), weights),
                    _ => {
                        for i in 0..count {
                            // The low byte of an i16 is the code.
                            let code = i32::from(*at.add(i * D::BYTES));
                            panel[i] = panel[i].wrapping_add(code * i32::from(weights[i]));
                        }
                    }
                }
            }
        }
        *sums = panel;
    }
}

#[inline(always)]
fn multiply<T: Into<i32> + Copy>(
    sums: &mut [i32; PANEL],
    codes: [T; PANEL],
    weights: &[i8; PANEL],
) {
    for i in 0..PANEL {
        let code: i32 = codes[i].into();
        sums[i] = sums[i].wrapping_add(code * i32::from(weights[i]));
    }
}
