//! The CPU's accounts. All sizes are class sizes, the same number wherever it is counted.
//!
//! `live` is one atomic, so that the limit holds strictly; what is cached is what is held from the system less what is
//! live, so that the lists need no counters.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use super::MemoryStats;
use crate::error::{Error, Result};

/// Touched by every allocation: all on one line that no one else's data shares.
#[repr(align(128))]
struct Live {
    live: AtomicUsize,
    peak: AtomicUsize,
    limit: AtomicUsize,
}

/// Touched only when the system is asked.
#[repr(align(128))]
struct Held {
    held: AtomicUsize,
    requests: AtomicU64,
}

static LIVE: Live = Live {
    live: AtomicUsize::new(0),
    peak: AtomicUsize::new(0),
    limit: AtomicUsize::new(usize::MAX),
};
static HELD: Held = Held { held: AtomicUsize::new(0), requests: AtomicU64::new(0) };

/// Counts `size` bytes as live, if the limit allows; the total goes to [`reached`] once there is a block.
#[inline(always)]
pub(super) fn reserve(size: usize) -> Result<usize> {
    let mut live = LIVE.live.load(Relaxed);
    loop {
        let limit = LIVE.limit.load(Relaxed);
        let after = match live.checked_add(size) {
            Some(after) if after <= limit => after,
            _ => return Err(beyond(size, live, limit)),
        };
        // Compare and swap rather than add and take back: an overshoot would show, and could fail somebody else's request.
        match LIVE.live.compare_exchange_weak(live, after, Relaxed, Relaxed) {
            Ok(_) => return Ok(after),
            Err(now) => live = now,
        }
    }
}

/// Raises the peak to `live`: not done by [`reserve`], for the system may yet refuse.
#[inline]
pub(super) fn reached(live: usize) {
    if live > LIVE.peak.load(Relaxed) {
        LIVE.peak.fetch_max(live, Relaxed);
    }
}

/// Takes back what [`reserve`] counted.
#[inline]
pub(super) fn unreserve(size: usize) {
    LIVE.live.fetch_sub(size, Relaxed);
}

#[cold]
fn beyond(requested: usize, live: usize, limit: usize) -> Error {
    Error::OutOfMemory { requested, live, limit }
}

/// The error for a request that the system, or nature, refused.
#[cold]
pub(super) fn refused(requested: usize) -> Error {
    let (live, limit) = (LIVE.live.load(Relaxed), LIVE.limit.load(Relaxed));
    Error::OutOfMemory { requested, live, limit }
}

/// Counts a request to the system that succeeded.
pub(super) fn obtained(size: usize) {
    HELD.held.fetch_add(size, Relaxed);
    HELD.requests.fetch_add(1, Relaxed);
}

/// Counts a block given back to the system.
pub(super) fn returned(size: usize) {
    HELD.held.fetch_sub(size, Relaxed);
}

/// True if `size` bytes more from the system would exceed the limit, live and cached together.
pub(super) fn would_exceed(size: usize) -> bool {
    HELD.held.load(Relaxed).saturating_add(size) > LIVE.limit.load(Relaxed)
}

/// Sets the limit (`usize::MAX`: none).
pub(super) fn set_limit(limit: usize) {
    LIVE.limit.store(limit, Relaxed);
}

/// Sets the peak to what is live.
pub(super) fn reset_peak() {
    LIVE.peak.store(LIVE.live.load(Relaxed), Relaxed);
    // A rise between the load and the store would be lost.
    LIVE.peak.fetch_max(LIVE.live.load(Relaxed), Relaxed);
}

/// The accounts; exact when no other thread is changing them.
pub(super) fn stats() -> MemoryStats {
    let live = LIVE.live.load(Relaxed);
    MemoryStats {
        live,
        peak: LIVE.peak.load(Relaxed),
        cached: HELD.held.load(Relaxed).saturating_sub(live),
        requests: HELD.requests.load(Relaxed),
        pinned: 0,
    }
}
