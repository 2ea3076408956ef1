//! Pinned host memory of our own, through which bytes travel between the CPU's memory and a device.
//!
//! An upload is copied into a ring of segments, from which the device fetches it while the caller goes on. A segment is written
//! again only once the work has passed that was on the stream when it was left. Large downloads come in pieces, one of them copied out
//! while the next is on its way; small ones go straight to where they are wanted.

use std::ffi::c_void;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::driver::{DevicePointer, Gpu, Handle};
use super::stream::{self, Passed, Paused};
use crate::error::Result;

const SEGMENT: usize = 256 << 10;
const SEGMENTS: usize = 32;
/// Downloads from here on go through pinned memory.
const LARGE: usize = 1 << 20;
const PIECE: usize = 1 << 20;
/// Where copies begin.
const ALIGN: usize = 64;

/// A device's pinned memory: none until it is needed.
#[derive(Default)]
pub(super) struct Staging {
    up: Mutex<Ring>,
    down: Mutex<Block<2>>,
    bytes: AtomicUsize,
}

/// Pinned memory in `N` parts, each with an event.
struct Block<const N: usize> {
    /// Null if there is none.
    start: *mut u8,
    events: [Handle; N],
}

impl<const N: usize> Default for Block<N> {
    fn default() -> Self {
        Block { start: std::ptr::null_mut(), events: [std::ptr::null_mut(); N] }
    }
}

#[derive(Default)]
struct Ring {
    block: Block<SEGMENTS>,
    /// When a segment may be written again.
    left: [Option<Passed>; SEGMENTS],
    /// The segment that is being filled, and how far.
    at: usize,
    used: usize,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<const N: usize> Block<N> {
    /// Sees to it that there is memory. False if the system has none to spare: the driver then copies by itself.
    fn open(&mut self, gpu: &Gpu, bytes: usize) -> Result<bool> {
        if !self.start.is_null() {
            return Ok(true);
        }
        let _no_recording = gpu.pause()?;
        for event in self.events.iter_mut().filter(|event| event.is_null()) {
            *event = stream::event(gpu.functions)?;
        }
        let mut start = std::ptr::null_mut();
        // 1: usable in every context.
        // SAFETY: a place for a pointer.
        if unsafe { (gpu.functions.host_alloc)(&mut start, bytes, 1) } != 0 {
            return Ok(false);
        }
        self.start = start.cast();
        gpu.staging.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(true)
    }

    /// Gives the memory back. No copy uses it any more.
    fn close(&mut self, gpu: &Gpu, bytes: usize) -> Result<()> {
        let start = std::mem::replace(&mut self.start, std::ptr::null_mut());
        if start.is_null() {
            return Ok(());
        }
        gpu.staging.bytes.fetch_sub(bytes, Ordering::Relaxed);
        // SAFETY: from `host_alloc`, used by nobody: the caller's word.
        let code = unsafe { (gpu.functions.host_free)(start.cast()) };
        gpu.check("cuMemFreeHost", code)
    }
}

impl Ring {
    /// Goes on with the next segment, once it may be written.
    fn advance(&mut self, gpu: &Gpu) -> Result<()> {
        // Marked again if a wait failed before: harmless.
        self.left[self.at] = Some(gpu.mark(self.block.events[self.at])?);
        let next = (self.at + 1) % SEGMENTS;
        if let Some(passed) = self.left[next] {
            gpu.wait_for(passed, self.block.events[next])?;
            self.left[next] = None;
        }
        (self.at, self.used) = (next, 0);
        Ok(())
    }

    fn upload(&mut self, gpu: &Gpu, to: DevicePointer, bytes: &[u8]) -> Result<()> {
        let mut done = 0;
        while done < bytes.len() {
            let rest = bytes.len() - done;
            let room = SEGMENT - self.used;
            // What fits into a segment is not divided.
            if room == 0 || (rest > room && rest <= SEGMENT) {
                self.advance(gpu)?;
                continue;
            }
            let count = rest.min(room);
            // SAFETY: inside the segment, which no copy of before reads any more; the ring is locked.
            let place = unsafe {
                let place = self.block.start.add(self.at * SEGMENT + self.used);
                place.copy_from_nonoverlapping(bytes.as_ptr().add(done), count);
                place
            };
            self.used = (self.used + count).next_multiple_of(ALIGN).min(SEGMENT);
            gpu.enqueue("cuMemcpyHtoDAsync", |functions, stream| {
                // SAFETY: the caller's buffer holds all of `bytes`; the segment stays as it is until the copy is done.
                unsafe {
                    (functions.upload)(to + done as u64, place.cast::<c_void>(), count, stream)
                }
            })?;
            done += count;
        }
        Ok(())
    }
}

impl Gpu {
    /// Copies the bytes to the device, as the next work on the stream; they may be changed as soon as this returns.
    ///
    /// # Safety
    /// There is memory for them at `to` until the stream's work of now is done.
    pub(super) unsafe fn upload(&self, to: DevicePointer, bytes: &[u8]) -> Result<()> {
        let mut ring = lock(&self.staging.up);
        if ring.block.open(self, SEGMENT * SEGMENTS)? {
            return ring.upload(self, to, bytes);
        }
        drop(ring);
        let paused = self.pause()?;
        let from = bytes.as_ptr().cast::<c_void>();
        let copied = self.enqueue("cuMemcpyHtoDAsync", |functions, stream| {
            // SAFETY: the caller's duty; the source outlives the copy, for it is waited for.
            unsafe { (functions.upload)(to, from, bytes.len(), stream) }
        });
        self.wait(&paused).and(copied)
    }

    /// Copies bytes from the device once all work given to it is done.
    ///
    /// # Safety
    /// There are as many at `from`.
    pub(super) unsafe fn download(&self, from: DevicePointer, bytes: &mut [u8]) -> Result<()> {
        let paused = self.pause()?;
        if bytes.len() >= LARGE {
            let mut block = lock(&self.staging.down);
            if block.open(self, 2 * PIECE)? {
                return self.download_in_pieces(&paused, &mut block, from, bytes);
            }
        }
        let to = bytes.as_mut_ptr().cast::<c_void>();
        let copied = self.enqueue("cuMemcpyDtoHAsync", |functions, stream| {
            // SAFETY: the caller's duty; the slice outlives the copy, for it is waited for.
            unsafe { (functions.download)(to, from, bytes.len(), stream) }
        });
        // Waited for in any case: a copy that began must not outlive the slice.
        self.wait(&paused).and(copied)
    }

    fn download_in_pieces(
        &self,
        _: &Paused<'_>,
        block: &mut Block<2>,
        from: DevicePointer,
        bytes: &mut [u8],
    ) -> Result<()> {
        let len = bytes.len();
        let request = |i: usize| {
            let (start, count) = (i * PIECE, PIECE.min(len - i * PIECE));
            self.enqueue("cuMemcpyDtoHAsync", |functions, stream| {
                // SAFETY: inside the block, in the half that is not being read; the caller's duty.
                unsafe {
                    let to = block.start.add(i % 2 * PIECE).cast::<c_void>();
                    (functions.download)(to, from + start as u64, count, stream)
                }
            })?;
            // Nothing records during the pause: it is the event that passes.
            self.mark(block.events[i % 2])
        };
        let mut coming = request(0)?;
        for (i, piece) in bytes.chunks_mut(PIECE).enumerate() {
            let here = coming;
            if (i + 1) * PIECE < len {
                coming = request(i + 1)?;
            }
            self.wait_for(here, block.events[i % 2])?;
            // SAFETY: these bytes have arrived, and the next copy into this half is asked for later.
            let arrived =
                unsafe { std::slice::from_raw_parts(block.start.add(i % 2 * PIECE), piece.len()) };
            piece.copy_from_slice(arrived);
        }
        Ok(())
    }

    /// Bytes of pinned memory.
    pub(super) fn pinned(&self) -> usize {
        self.staging.bytes.load(Ordering::Relaxed)
    }

    /// Gives the pinned memory back, once the copies are done that use it.
    pub(super) fn unpin(&self) -> Result<()> {
        if self.pinned() == 0 {
            return Ok(());
        }
        let (mut ring, mut block) = (lock(&self.staging.up), lock(&self.staging.down));
        let paused = self.pause()?;
        self.wait(&paused)?;
        (ring.left, ring.at, ring.used) = ([None; SEGMENTS], 0, 0);
        ring.block.close(self, SEGMENT * SEGMENTS).and(block.close(self, 2 * PIECE))
    }
}
