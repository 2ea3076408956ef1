//! The pool: each thread keeps a few small blocks of every class, the shelves keep the rest.
//!
//! A thread that only frees spills half of its list onto the shelf (or all of it, by [`share`]), a thread that only allocates
//! takes from it one by one: blocks travel round, and a loader on a thread of its own asks the system for nothing once enough of them exist.

use std::cell::Cell;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::chain::Chain;
use super::class::{COUNT, Class, SMALL};
use super::{budget, system};
use crate::error::Result;

/// A block and whether it is fresh, that is, all zero.
pub(super) struct Taken {
    pub(super) block: NonNull<u8>,
    pub(super) fresh: bool,
}

/// A block of `class`, counted as live.
// The usual ways of `take` and `put` are short and without calls: small operations spend much of their time here.
#[inline(always)]
pub(super) fn take(class: Class) -> Result<Taken> {
    let live = budget::reserve(class.size)?;
    let cached = match own() {
        Some(own) if class.is_small() => own.take(class),
        _ => shelved(class),
    };
    let taken = match cached {
        Some(block) => Taken { block, fresh: false },
        None => request(class)?,
    };
    budget::reached(live);
    Ok(taken)
}

/// Takes a block back.
///
/// # Safety
/// - `block` came from [`take`] with this `class` and is not used any more.
#[inline]
pub(super) unsafe fn put(block: NonNull<u8>, class: Class) {
    // SAFETY: the block is ours by the caller's duty, and of a class size: at least 64 bytes, 64-byte aligned.
    unsafe {
        match own() {
            Some(own) if class.is_small() => own.put(block, class),
            _ => shelve(block, class),
        }
    }
    budget::unreserve(class.size);
}

#[cold]
fn shelved(class: Class) -> Option<NonNull<u8>> {
    shelf(class.index).pop()
}

/// # Safety
/// - As for [`Chain::push`], and `block` is of `class`.
#[cold]
unsafe fn shelve(block: NonNull<u8>, class: Class) {
    // SAFETY: the caller's duty.
    unsafe { shelf(class.index).push(block) };
}

/// Makes sure that the shelf holds `count` blocks of `class`.
pub(super) fn warm(class: Class, count: usize) -> Result<()> {
    while shelf(class.index).count() < count {
        // Nothing is given back to make room: it might be what was just put there.
        if budget::would_exceed(class.size) {
            return Err(budget::refused(class.size));
        }
        let block = system::allocate(class.size).ok_or_else(|| budget::refused(class.size))?;
        budget::obtained(class.size);
        // SAFETY: fresh from the system, owned by nobody else.
        unsafe { shelf(class.index).push(block) };
    }
    Ok(())
}

/// Gives every cached block back that this thread can reach; other threads give theirs back at their next allocation.
pub(super) fn empty() {
    DRAINS.fetch_add(1, Relaxed);
    own().into_iter().for_each(Own::drain);
    for index in 0..COUNT {
        let all = std::mem::replace(&mut *shelf(index), Chain::EMPTY);
        give_back(all, index);
    }
}

/// Puts what this thread keeps where all threads find it.
pub(super) fn share() {
    own().into_iter().for_each(Own::share);
}

/// A block from the system, for bytes already counted as live.
#[cold]
fn request(class: Class) -> Result<Taken> {
    if budget::would_exceed(class.size) {
        empty();
    }
    let block = system::allocate(class.size).or_else(|| {
        empty();
        system::allocate(class.size)
    });
    match block {
        Some(block) => {
            budget::obtained(class.size);
            Ok(Taken { block, fresh: true })
        }
        None => {
            budget::unreserve(class.size);
            Err(budget::refused(class.size))
        }
    }
}

/// Gives the blocks of a chain of class `index` back to the system.
fn give_back(mut chain: Chain, index: usize) {
    let size = Class::size_at(index);
    while let Some(block) = chain.pop() {
        // SAFETY: blocks on a chain of this class came from `system::allocate` with its size, and are free.
        unsafe { system::release(block, size) };
        budget::returned(size);
    }
}

/// Counts the calls of [`empty`], so that threads notice.
static DRAINS: AtomicUsize = AtomicUsize::new(0);

static SHELVES: [Mutex<Chain>; COUNT] = [const { Mutex::new(Chain::EMPTY) }; COUNT];

fn shelf(index: usize) -> MutexGuard<'static, Chain> {
    // Nothing panics while it holds a shelf.
    SHELVES[index].lock().unwrap_or_else(PoisonError::into_inner)
}

/// The small blocks that a thread keeps.
struct Own {
    chains: [Cell<Chain>; SMALL],
    /// How many calls of [`empty`] it has noticed, or [`NOBODY`].
    drains: Cell<usize>,
}

/// Nobody sees to what is kept: [`LAST`] has not been asked to yet, or is gone.
const NOBODY: usize = usize::MAX;

thread_local! {
    /// Has no destructor, so that it can be reached at once, and on most systems always.
    static OWN: Own =
        const { Own { chains: [const { Cell::new(Chain::EMPTY) }; SMALL], drains: Cell::new(NOBODY) } };

    /// What is kept goes to the shelves when this is dropped, at the end of the thread.
    static LAST: Last = const { Last };
}

struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        let Some(own) = own() else { return };
        own.drains.set(NOBODY);
        own.share();
    }
}

/// This thread's; none at its end, where the system frees what has no destructor, too.
#[inline(always)]
fn own() -> Option<&'static Own> {
    let own = OWN.try_with(std::ptr::from_ref).ok()?;
    // SAFETY: it is there while its thread has not ended, and whoever called can't leave the thread with it (`Own` is not Sync).
    Some(unsafe { &*own })
}

impl Own {
    #[inline(always)]
    fn take(&self, class: Class) -> Option<NonNull<u8>> {
        if self.drains.get() != DRAINS.load(Relaxed) {
            self.notice();
        }
        let own = &self.chains[class.index];
        let mut chain = own.get();
        // Of a shelf one block: more would be missing where another thread looks next, and that would ask the system.
        let Some(block) = chain.pop() else { return shelved(class) };
        own.set(chain);
        Some(block)
    }

    /// # Safety
    /// - As for [`Chain::push`], and `block` is of `class`.
    #[inline]
    unsafe fn put(&self, block: NonNull<u8>, class: Class) {
        let own = &self.chains[class.index];
        let mut chain = own.get();
        // SAFETY: the caller's duty.
        unsafe { chain.push(block) };
        own.set(chain);
        if chain.count() > class.bound() {
            self.spill(class);
        }
        if self.drains.get() != DRAINS.load(Relaxed) {
            self.notice();
        }
    }

    /// Puts half of what is kept of a class on its shelf.
    #[cold]
    fn spill(&self, class: Class) {
        let own = &self.chains[class.index];
        let mut chain = own.get();
        shelf(class.index).append(chain.cut(class.bound() / 2));
        own.set(chain);
    }

    /// Puts all of them on the shelves.
    fn share(&self) {
        for (index, own) in self.chains.iter().enumerate() {
            if own.get().count() > 0 {
                shelf(index).append(own.replace(Chain::EMPTY));
            }
        }
    }

    /// Follows an [`empty`] that another thread called, or sees to it that somebody cares at the end of this one.
    #[cold]
    fn notice(&self) {
        if self.drains.get() != NOBODY {
            self.drain();
        } else if LAST.try_with(|_| ()).is_ok() {
            self.drains.set(DRAINS.load(Relaxed));
        } else {
            // The thread is ending.
            self.share();
        }
    }

    /// Gives all of them back to the system.
    fn drain(&self) {
        if self.drains.get() != NOBODY {
            self.drains.set(DRAINS.load(Relaxed));
        }
        for (index, own) in self.chains.iter().enumerate() {
            give_back(own.replace(Chain::EMPTY), index);
        }
    }
}
