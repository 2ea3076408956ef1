//! The fork-join protocol: one job at a time, its pieces claimed one by one.
//!
//! Each thread has a slot, the leader the first one. A job's pieces are dealt out to them in runs, and who has done its own goes on with
//! the others': a thread gets the same pieces of like jobs, whose data its caches still have, and none waits while there is work. (A line
//! that another core has written comes from that core's cache.)
//!
//! A slot is published by setting its `open` to its number of pieces. Whoever lowers `open` by a compare-and-swap owns a piece: the
//! leader and the helpers alike. So what no helper claimed stays with the leader, which never waits for a helper to wake up,
//! only for pieces that were claimed and are being run. A helper reads a slot's job only while it owns a piece of it, and the leader does
//! not return before every claimed piece is `finished`: no helper sees a job that has gone.
//!
//! A compare-and-swap that succeeds against a later job than it was meant for is as good as any: nothing read before it is
//! used after it, except the slot's number of open pieces, which it has just confirmed.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::{Mutex, PoisonError};

use super::sync::{AtomicBool, AtomicUsize, Line, UnsafeCell, array, constructor, wait};

/// What a job runs for every piece.
type AnyBody<'a> = dyn super::Body + 'a;

/// What a panic carries.
type Payload = Box<dyn Any + Send>;

/// Where one leader at a time offers a job to any number of helpers.
pub(super) struct Offer<const SLOTS: usize> {
    /// Held by the leader from before it publishes until all is finished.
    busy: Line<AtomicBool>,
    slots: [Line<Slot>; SLOTS],
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

/// What one thread is to do first, on one line: it comes over in one transfer.
struct Slot {
    /// Pieces nobody has claimed yet.
    open: AtomicUsize,
    job: UnsafeCell<Job>,
}

#[derive(Clone, Copy)]
struct Job {
    /// Its lifetime is erased: valid while a piece of the job is claimed and not finished.
    body: *const AnyBody<'static>,
    /// The end of the slot's pieces.
    end: usize,
}

// SAFETY: the job cell is written only by the holder of `busy` while no piece is claimed, and read only by owners of a claimed
// piece (see `lead` and `help`); the body it points to is Sync.
unsafe impl<const SLOTS: usize> Sync for Offer<SLOTS> {}
// SAFETY: as above.
unsafe impl<const SLOTS: usize> Send for Offer<SLOTS> {}

impl<const SLOTS: usize> Offer<SLOTS> {
    constructor! {
        /// An offer that nobody leads.
        pub(super) fn new() -> Self {
            let (finished, panicked) = (AtomicUsize::new(0), AtomicBool::new(false));
            Offer {
                busy: Line(AtomicBool::new(false)),
                slots: array!(Line(Slot::new())),
                outcome: Line(Outcome { finished, panicked, panic: Mutex::new(None) }),
            }
        }
    }

    /// Runs `body` for all `pieces` (at least 1) together with the helpers that turn up, and calls `published` in between, to
    /// wake some. The pieces are dealt out to `threads` (1 to `SLOTS`) slots. False, and nothing done, if another leader is at work.
    /// A panic in any piece comes out here, when all claimed pieces have ended; pieces not yet claimed when the leader's own
    /// piece panics are not run.
    #[inline]
    pub(super) fn lead(
        &self,
        threads: usize,
        pieces: usize,
        body: &AnyBody<'_>,
        published: impl FnOnce(),
    ) -> bool {
        // Looked at first: a failing swap would take the line away from the leader.
        if self.busy.0.load(Relaxed) || self.busy.0.swap(true, Acquire) {
            return false;
        }
        let slots = &self.slots[..threads.min(pieces).clamp(1, SLOTS)];
        let mut round = Round { offer: self, slots, pieces, own: 0 };
        // SAFETY: only the lifetime changes. `round` lives until the end of this function, normal or unwinding, and its end
        // waits until no helper uses the body (see `Round::settle`).
        let body_erased: *const AnyBody<'static> = unsafe { std::mem::transmute(body) };
        self.outcome.0.finished.store(0, Relaxed);
        let (each, more) = (pieces / slots.len(), pieces % slots.len());
        let mut start = 0;
        for (index, slot) in slots.iter().enumerate() {
            let len = each + usize::from(index < more);
            let end = start + len;
            // SAFETY: we hold `busy`, and no piece is claimed: the last holder settled its job before it gave `busy` up, and of this
            // one this slot is not yet open.
            slot.0.job.with_mut(|job| unsafe { *job = Job { body: body_erased, end } });
            slot.0.open.store(len, Release);
            start = end;
        }
        published();
        // As no piece is added any more, a slot once found empty stays so.
        let mut end = 0;
        for (index, slot) in slots.iter().enumerate() {
            end += each + usize::from(index < more);
            while let Some(left) = slot.0.claim() {
                round.own += 1;
                body.piece(end - left);
            }
        }
        if let Some(payload) = round.settle() {
            drop(round);
            resume_unwind(payload);
        }
        true
    }

    /// Claims a piece of this slot and runs it. False if none is open.
    #[inline]
    pub(super) fn help(&self, slot: usize) -> bool {
        let slot = &self.slots[slot].0;
        let Some(left) = slot.claim() else { return false };
        // SAFETY: we own a piece of the job that is published here, so its leader has written the cell before (our claim acquires
        // what `open`'s store released; claims in between continue its release sequence) and writes again only after we
        // add to `finished`.
        let job = slot.job.with(|job| unsafe { *job });
        // A panic must not end the helper, or the leader would wait for ever.
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            // SAFETY: the leader keeps the body alive until we add to `finished`, which is after its last use.
            let body = unsafe { &*job.body };
            body.piece(job.end - left);
        }));
        if let Err(payload) = outcome {
            self.outcome.0.report(payload);
        }
        self.outcome.0.finished.fetch_add(1, Release);
        true
    }

    /// Claims a piece of any of the first `slots` and runs it, of the own slot's if there is one, then of those behind it. False if none is open.
    pub(super) fn help_any(&self, own: usize, slots: usize) -> bool {
        let slots = slots.clamp(1, SLOTS);
        (0..slots).any(|next| self.help((own + next) % slots))
    }

    /// True if a piece is waiting for somebody.
    pub(super) fn is_open(&self) -> bool {
        self.slots.iter().any(|slot| slot.0.open.load(Relaxed) > 0)
    }

    /// True if somebody leads a job, some pieces of which may be under way.
    #[inline]
    pub(super) fn is_led(&self) -> bool {
        self.busy.0.load(Relaxed)
    }
}

impl Slot {
    constructor! {
        /// A slot without pieces.
        fn new() -> Self {
            let job = Job { body: NOTHING, end: 0 };
            Slot { open: AtomicUsize::new(0), job: UnsafeCell::new(job) }
        }
    }

    /// Claims a piece: how many were open, this one included.
    #[inline]
    fn claim(&self) -> Option<usize> {
        let mut left = self.open.load(Relaxed);
        while left > 0 {
            match self.open.compare_exchange_weak(left, left - 1, Acquire, Relaxed) {
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
struct Round<'a, const SLOTS: usize> {
    offer: &'a Offer<SLOTS>,
    slots: &'a [Line<Slot>],
    pieces: usize,
    /// Pieces that the leader claimed.
    own: usize,
}

impl<const SLOTS: usize> Round<'_, SLOTS> {
    /// Takes back what is open and waits for what is claimed. Returns a helper's panic.
    #[inline]
    fn settle(&mut self) -> Option<Payload> {
        let offer = self.offer;
        // Open pieces are left only if the leader's own piece panicked.
        let take_back = |slot: &Line<Slot>| match slot.0.open.load(Relaxed) {
            0 => 0,
            _ => slot.0.open.swap(0, Relaxed),
        };
        let untouched: usize = self.slots.iter().map(take_back).sum();
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

impl<const SLOTS: usize> Drop for Round<'_, SLOTS> {
    fn drop(&mut self) {
        if let Some(payload) = self.settle() {
            // The leader is panicking itself: one panic is enough, and dropping a payload is foreign code.
            std::mem::forget(payload);
        }
        self.offer.busy.0.store(false, Release);
    }
}
