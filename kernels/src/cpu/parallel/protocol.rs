//! The fork-join protocol: one job at a time, its pieces claimed one by one.
//!
//! A job is published by setting `open` to its number of pieces. Whoever lowers `open` by a compare-and-swap owns a piece: the
//! leader and the helpers alike. So what no helper claimed stays with the leader, which never waits for a helper to wake up,
//! only for pieces that were claimed and are being run. A helper reads the job only while it owns a piece, and the leader does
//! not return before every claimed piece is `finished`: no helper sees a job that has gone.
//!
//! A compare-and-swap that succeeds against a later job than it was meant for is as good as any: nothing read before it is
//! used after it, except the number of open pieces, which it has just confirmed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex, PoisonError};

use super::sync::{AtomicBool, AtomicUsize, Line, UnsafeCell, constructor, wait};

/// What a job runs for every piece.
type AnyBody<'a> = dyn super::Body + 'a;

/// What a panic carries.
type Payload = Box<dyn Any + Send>;

/// Where one leader at a time offers a job to any number of helpers.
pub(super) struct Offer {
    /// Held by the leader from before it publishes until all is finished.
    busy: Line<AtomicBool>,
    job: Line<Posted>,
    outcome: Line<Outcome>,
}

/// What helpers report.
struct Outcome {
    /// Pieces of this job that helpers have finished.
    finished: AtomicUsize,
    /// True if one of them panicked: spares the leader the mutex.
    panicked: AtomicBool,
    /// The first panic.
    panic: Mutex<Option<Payload>>,
}

/// What a helper needs, on one line: it comes over in one transfer.
struct Posted {
    /// Pieces nobody has claimed yet.
    open: AtomicUsize,
    job: UnsafeCell<Job>,
}

#[derive(Clone, Copy)]
struct Job {
    /// Its lifetime is erased: valid while a piece of the job is claimed and not finished.
    body: *const AnyBody<'static>,
    pieces: usize,
}

// SAFETY: the job cell is written only by the holder of `busy` while no piece is claimed, and read only by owners of a claimed
// piece (see `lead` and `help`); the body it points to is Sync.
unsafe impl Sync for Offer {}
// SAFETY: as above.
unsafe impl Send for Offer {}

impl Offer {
    constructor! {
        /// An offer that nobody leads.
        pub(super) fn new() -> Self {
            let job = Job { body: NOTHING, pieces: 0 };
            let (finished, panicked) = (AtomicUsize::new(0), AtomicBool::new(false));
            Offer {
                busy: Line(AtomicBool::new(false)),
                job: Line(Posted { open: AtomicUsize::new(0), job: UnsafeCell::new(job) }),
                outcome: Line(Outcome { finished, panicked, panic: Mutex::new(None) }),
            }
        }
    }

    /// Runs `body` for all `pieces` (at least 1) together with the helpers that turn up, and calls `published` in between, to
    /// wake some. False, and nothing done, if another leader is at work. A panic in any piece comes out here, when all
    /// claimed pieces have ended; pieces not yet claimed when the leader's own piece panics are not run.
    #[inline]
    pub(super) fn lead(&self, pieces: usize, body: &AnyBody<'_>, published: impl FnOnce()) -> bool {
        // Looked at first: a failing swap would take the line away from the leader.
        if self.busy.0.load(Relaxed) || self.busy.0.swap(true, Acquire) {
            return false;
        }
        let mut round = Round { offer: self, pieces, own: 0 };
        // SAFETY: only the lifetime changes. `round` lives until the end of this function, normal or unwinding, and its end
        // waits until no helper uses the body (see `Round::settle`).
        let body_erased: *const AnyBody<'static> = unsafe { std::mem::transmute(body) };
        self.outcome.0.finished.store(0, Relaxed);
        // SAFETY: we hold `busy`, and no piece is claimed: the last holder settled its job before it gave `busy` up.
        self.job.0.job.with_mut(|job| unsafe { *job = Job { body: body_erased, pieces } });
        self.job.0.open.store(pieces, Release);
        published();
        while let Some(left) = self.claim() {
            round.own += 1;
            body.piece(pieces - left);
        }
        if let Some(payload) = round.settle() {
            drop(round);
            resume_unwind(payload);
        }
        true
    }

    /// Claims a piece and runs it. False if none is open.
    #[inline]
    pub(super) fn help(&self) -> bool {
        let Some(left) = self.claim() else { return false };
        // SAFETY: we own a piece of the job that is published, so its leader has written the cell before (our claim acquires
        // what `open`'s store released; claims in between continue its release sequence) and writes again only after we
        // add to `finished`.
        let job = self.job.0.job.with(|job| unsafe { *job });
        // A panic must not end the helper, or the leader would wait for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the leader keeps the body alive until we add to `finished`, which is after its last use.
            let body = unsafe { &*job.body };
            body.piece(job.pieces - left);
        }));
        if let Err(payload) = outcome {
            self.outcome.0.report(payload);
        }
        self.outcome.0.finished.fetch_add(1, Release);
        true
    }

    /// True if a piece is waiting for somebody.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.job.0.open.load(Relaxed) > 0
    }

    /// True if somebody leads a job, some pieces of which may be under way.
    #[inline]
    pub(super) fn is_led(&self) -> bool {
        self.busy.0.load(Relaxed)
    }

    /// Claims a piece: how many were open, this one included.
    #[inline]
    fn claim(&self) -> Option<usize> {
        let open = &self.job.0.open;
        let mut left = open.load(Relaxed);
        while left > 0 {
            match open.compare_exchange_weak(left, left - 1, Acquire, Relaxed) {
                Ok(_) => return Some(left),
                Err(now) => left = now,
            }
        }
        None
    }
}

impl Outcome {
    #[cold]
    fn report(&self, payload: Payload) {
        let mut first = self.panic.lock().unwrap_or_else(PoisonError::into_inner);
        match first.is_none() {
            true => *first = Some(payload),
            // Dropping a payload is foreign code that may panic in turn.
            false => std::mem::forget(payload),
        }
        self.panicked.store(true, Relaxed);
    }

    #[inline]
    fn take(&self) -> Option<Payload> {
        if !self.panicked.load(Relaxed) {
            return None;
        }
        self.panicked.store(false, Relaxed);
        self.panic.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// Stands in until the first job.
const NOTHING: *const AnyBody<'static> = {
    const NOTHING: &AnyBody<'static> = &|_: usize| {};
    NOTHING
};

/// The leader's hold on the offer. However it ends, no helper uses the job any more and the offer is free.
struct Round<'a> {
    offer: &'a Offer,
    pieces: usize,
    /// Pieces that the leader claimed.
    own: usize,
}

impl Round<'_> {
    /// Takes back what is open and waits for what is claimed. Returns a helper's panic.
    #[inline]
    fn settle(&mut self) -> Option<Payload> {
        let offer = self.offer;
        // Open pieces are left only if the leader's own piece panicked.
        let untouched = match offer.job.0.open.load(Relaxed) {
            0 => 0,
            _ => offer.job.0.open.swap(0, Relaxed),
        };
        let claimed = self.pieces - self.own - untouched;
        if claimed == 0 {
            return None;
        }
        let mut turns = 0;
        while offer.outcome.0.finished.load(Acquire) < claimed {
            wait(&mut turns);
        }
        offer.outcome.0.take()
    }
}

impl Drop for Round<'_> {
    fn drop(&mut self) {
        if let Some(payload) = self.settle() {
            // The leader is panicking itself: one panic is enough, and dropping a payload is foreign code.
            std::mem::forget(payload);
        }
        self.offer.busy.0.store(false, Release);
    }
}
