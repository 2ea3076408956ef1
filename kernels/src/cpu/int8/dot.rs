//! Sums of four products u8 x i8 in i32 lanes: the trait that the tiles are written over, and one token per instruction set.
//!
//! A token is a proof that its instructions exist on this CPU. A *step* is one 4-byte group of k of one panel: 16 columns times
//! 4 bytes, 64 bytes. All sums are modulo 2^32 and therefore the same on every token; none saturates on the way (R7).

#[cfg(target_arch = "x86_64")]
mod x86;
#[cfg(all(test, target_arch = "x86_64"))]
pub(crate) use x86::Avx512Vnni256;
#[cfg(target_arch = "x86_64")]
pub(crate) use x86::{Avx2, Avx512, Avx512Vnni, AvxVnni};

/// Columns of a panel of packed weights.
pub(crate) const PANEL: usize = 16;

/// Places in k that one step takes.
pub(crate) const GROUP: usize = 4;

/// Bytes of a step.
pub(crate) const STEP: usize = PANEL * GROUP;

/// One instruction set for int8 products.
pub(crate) trait Dot: Copy + Send + Sync + 'static {
    /// The sums of one row and one panel, while they are in registers.
    type Sums: Copy;
    /// The weights of a step.
    type Weights: Copy;
    /// Four activations, for all columns.
    type Group: Copy;
    /// Bytes that an activation takes: 1 (as u8), or 2 (widened to i16 beforehand).
    const BYTES: usize;
    /// The most rows of a tile: 1, 2, 4 or 6.
    const ROWS: usize;
    /// The most panels of a tile: 1, 2 or 4.
    const PANELS: usize;

    /// All sums 0.
    fn zero(self) -> Self::Sums;

    /// The weights of a step.
    ///
    /// # Safety
    /// - [`STEP`] bytes must be readable.
    unsafe fn weights(self, from: *const i8) -> Self::Weights;

    /// Four activations.
    ///
    /// # Safety
    /// - `GROUP * BYTES` bytes must be readable.
    unsafe fn group(self, from: *const u8) -> Self::Group;

    /// The sums with a step added.
    fn dot(self, sums: Self::Sums, group: Self::Group, weights: Self::Weights) -> Self::Sums;

    /// Stores the [`PANEL`] sums.
    ///
    /// # Safety
    /// - `to .. to + PANEL` must be writable.
    unsafe fn store(self, to: *mut i32, sums: Self::Sums);

    /// True if there is [`prefetch_write`](Self::prefetch_write).
    const PREFETCHES: bool = false;

    /// Asks for the cache line at `at`, wherever that is: weights that will be read soon.
    #[inline(always)]
    fn prefetch(self, _at: *const i8) {}

    /// As [`prefetch`](Self::prefetch), to write there.
    #[inline(always)]
    fn prefetch_write(self, _at: *const u8) {}

    /// True if there is [`taps`](Self::taps).
    const TAPS: bool = false;

    /// Adds, channel by channel, the products of up to [`PANELS_OF_TAPS`] panels of codes at four taps; the channels stand in
    /// the sums as [`channel_of_taps`] says.
    ///
    /// # Safety
    /// - `len <= PANELS_OF_TAPS * PANEL` codes must be readable at each tap, and weights for as many channels as fit.
    #[inline(always)]
    unsafe fn taps(
        self,
        sums: [Self::Sums; PANELS_OF_TAPS],
        _taps: [*const u8; GROUP],
        _weights: *const i8,
        _len: usize,
    ) -> [Self::Sums; PANELS_OF_TAPS] {
        sums
    }

    /// Stores the sums of [`taps`](Self::taps), in the order of the channels.
    ///
    /// # Safety
    /// - `PANELS_OF_TAPS * PANEL` sums must be writable.
    #[inline(always)]
    unsafe fn store_taps(self, _to: *mut i32, _sums: [Self::Sums; PANELS_OF_TAPS]) {}
}

/// Panels whose channels are interleaved together.
pub(crate) const PANELS_OF_TAPS: usize = 4;

/// The channel that stands at `place` of [`Dot::taps`]'s sums: unpacking of bytes interleaves within 16.
pub(crate) fn channel_of_taps(place: usize) -> usize {
    let (vector, lane, channel) = (place / PANEL, place % PANEL / 4, place % 4);
    lane * PANEL + vector * 4 + channel
}

/// Portable Rust.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Scalar;

impl Dot for Scalar {
    type Sums = [i32; PANEL];
    type Weights = [i8; STEP];
    type Group = [u8; GROUP];
    const BYTES: usize = 1;
    const ROWS: usize = 1;
    const PANELS: usize = 1;

    #[inline(always)]
    fn zero(self) -> [i32; PANEL] {
        [0; PANEL]
    }
    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> [i8; STEP] {
        // SAFETY: by the caller's contract; bytes need no alignment.
        unsafe { *from.cast() }
    }
    #[inline(always)]
    unsafe fn group(self, from: *const u8) -> [u8; GROUP] {
        // SAFETY: by the caller's contract; bytes need no alignment.
        unsafe { *from.cast() }
    }
    #[inline(always)]
    fn dot(self, mut sums: [i32; PANEL], group: [u8; GROUP], weights: [i8; STEP]) -> [i32; PANEL] {
        for (sum, weights) in sums.iter_mut().zip(weights.as_chunks::<GROUP>().0) {
            for (&a, &w) in group.iter().zip(weights) {
                *sum = sum.wrapping_add(i32::from(a) * i32::from(w));
            }
        }
        sums
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32, sums: [i32; PANEL]) {
        // SAFETY: by the caller's contract; an i32 pointer is aligned for an array of i32.
        unsafe { *to.cast() = sums }
    }
}
