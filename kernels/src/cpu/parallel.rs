//! The only place that runs on more than one thread: a small fork-join team.
//!
//! `protocol.rs` is how a job is offered and claimed, `team.rs` are the threads: made when first needed, named `ferrotape-1` and
//! so on, kept for the life of the process, spinning for a moment after a job and then parked.

#[cfg(not(all(test, loom)))]
mod placement;
mod protocol;
mod sync;
// loom's atomics can't stand in a static: its tests model the protocol alone.
#[cfg(all(test, loom))]
mod model;
#[cfg(not(all(test, loom)))]
mod team;

use std::cell::Cell;
use std::marker::PhantomData;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The most threads that [`set_threads`] takes.
pub const MAX_THREADS: usize = 64;

/// Less work than this stays on the caller: a hot fork and join costs a tenth of it.
#[cfg(not(all(test, loom)))]
const SERIAL_NS: u64 = 3_000;

/// Runs `body(piece)` for every piece in `0..pieces`, on the calling thread and, if it pays, on the team. `work_ns` estimates
/// the whole work in nanoseconds of one core: small work stays on the caller. No sum may depend on
/// what the pieces are (ADR 001); which thread runs which piece is not determined. Returns when all have run. A call from inside a piece,
/// or while another thread uses the team, runs on the caller alone.
///
/// A panic in `body` comes out of this call once all pieces that have begun have ended; the team stays usable.
#[inline(always)]
pub fn run(pieces: usize, work_ns: u64, body: &(impl Fn(usize) + Sync)) {
    run_pieces(pieces, work_ns, body);
}

/// What is run, piece by piece. Not `dyn Fn`, which holds a closure's code three times.
pub(crate) trait Body: Sync {
    /// Runs one piece.
    fn piece(&self, piece: usize);
}

impl<F: Fn(usize) + Sync> Body for F {
    fn piece(&self, piece: usize) {
        self(piece);
    }
}

#[inline(never)]
fn run_pieces(pieces: usize, work_ns: u64, body: &dyn Body) {
    #[cfg(all(test, loom))]
    let _ = work_ns;
    #[cfg(not(all(test, loom)))]
    if pieces > 1 && work_ns >= SERIAL_NS && !alone() && team::run(pieces, work_ns, body) {
        return;
    }
    for piece in 0..pieces {
        body.piece(piece);
    }
}

thread_local! {
    /// Whether this thread keeps to itself: [`serial`].
    static SERIAL: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` with every kernel on the calling thread alone. For threads beside the one that trains (a loader's worker): they
/// would take the team from it.
pub fn serial<R>(f: impl FnOnce() -> R) -> R {
    struct Restore(bool);
    impl Drop for Restore {
        fn drop(&mut self) {
            SERIAL.set(self.0);
        }
    }
    let _restore = Restore(SERIAL.replace(true));
    f()
}

/// True if kernels that the calling thread asks for run on it alone.
pub(crate) fn alone() -> bool {
    SERIAL.get() || threads() == 1
}

/// The number of threads in force; 0: not yet asked for.
static THREADS: AtomicUsize = AtomicUsize::new(0);

/// The number of threads that kernels may use, the caller included.
#[inline]
pub fn threads() -> usize {
    match THREADS.load(Relaxed) {
        0 => default_threads(),
        threads => threads,
    }
}

/// Sets the number of threads (1 to [`MAX_THREADS`]; also by `FERROTAPE_THREADS` at start; default: the cores available).
/// Results don't depend on it. Takes effect at the next kernel.
pub fn set_threads(threads: usize) {
    THREADS.store(threads.clamp(1, MAX_THREADS), Relaxed);
}

#[cold]
fn default_threads() -> usize {
    let wish = std::env::var("FERROTAPE_THREADS").ok().and_then(|n| n.trim().parse().ok());
    let threads = wish.filter(|&n| n > 0).unwrap_or_else(cores).clamp(1, MAX_THREADS);
    // Somebody may have set it meanwhile.
    match THREADS.compare_exchange(0, threads, Relaxed, Relaxed) {
        Ok(_) => threads,
        Err(set) => set,
    }
}

/// The cores available, asked once: the system reads files for it.
fn cores() -> usize {
    static CORES: OnceLock<usize> = OnceLock::new();
    *CORES.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from))
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

    /// Elements of the slice.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// The first element's address, for kernels that write strided tiles.
    pub fn as_ptr(&self) -> *mut T {
        self.pointer
    }
}
