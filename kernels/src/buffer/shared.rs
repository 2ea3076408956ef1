//! Values with a count of their owners, in memory that threads keep: what every operation makes and drops asks the heap for nothing.
//!
//! As the standard library's `Arc`, but for two things. Memory that is done with goes onto a short list of the thread that
//! dropped it. And a [`Watch`] never becomes an owner again, so that the only owner needs no locked instruction to know that
//! it is.

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::cell::Cell;
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicUsize, Ordering, fence};

use super::chain::Chain;

/// A value with several owners; the last one drops it.
///
/// ```
/// # use ferrotape_kernels::buffer::Shared;
/// let mut one = Shared::new(7);
/// let other = one.clone();
/// assert!(Shared::get_mut(&mut one).is_none(), "shared values do not change");
/// drop(other);
/// *Shared::get_mut(&mut one).unwrap() += 1;
/// assert_eq!(*one, 8);
/// ```
pub struct Shared<T> {
    pointer: NonNull<Counted<T>>,
    owns: PhantomData<Counted<T>>,
}

/// Memory for a [`Shared`] value, had before the value is made. Nothing can fail between the making of the value's parts and their being
/// stored here, so that they lie nowhere else before. (What is written and then copied at once is waited for by the processor.)
///
/// ```
/// # use ferrotape_kernels::buffer::{Place, Shared};
/// let place = Place::new();
/// let mut value = place.filled(vec![7]);
/// value.push(8);
/// let one = value.shared();
/// assert_eq!(*one.clone(), [7, 8]);
/// ```
pub struct Place<T> {
    pointer: NonNull<Counted<T>>,
    holds: PhantomData<Counted<T>>,
}

/// A [`Shared`] value that was just made: its only owner may still change it.
pub struct New<T>(Shared<T>);

/// Knows whether a [`Shared`] value has an owner, and is none.
///
/// ```
/// # use ferrotape_kernels::buffer::Shared;
/// let value = Shared::new(7);
/// let watch = Shared::watch(&value);
/// assert!(watch.is_alive());
/// drop(value);
/// assert!(!watch.is_alive());
/// ```
pub struct Watch<T> {
    pointer: NonNull<Counted<T>>,
    owns: PhantomData<Counted<T>>,
}

struct Counted<T> {
    owners: AtomicUsize,
    /// Watches, and one for all owners together: while it is not 0, the memory stays.
    holders: AtomicUsize,
    value: T,
}

// SAFETY: owners on several threads share `&T`, and any of them may drop it; the counts are atomic.
unsafe impl<T: Send + Sync> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Shared<T> {}
// SAFETY: a watch touches the counts alone.
unsafe impl<T: Send + Sync> Send for Watch<T> {}
// SAFETY: as above.
unsafe impl<T: Send + Sync> Sync for Watch<T> {}

impl<T> Shared<T> {
    /// A value with one owner. Aborts where the system has no memory, as a `Box` does.
    #[inline(always)]
    pub fn new(value: T) -> Shared<T> {
        Place::new().filled(value).shared()
    }

    #[inline]
    fn counted(&self) -> &Counted<T> {
        // SAFETY: written by `filled`, and there while an owner is.
        unsafe { self.pointer.as_ref() }
    }

    /// The value, if nobody else owns or watches it.
    #[inline]
    pub fn get_mut(this: &mut Shared<T>) -> Option<&mut T> {
        let counted = this.counted();
        // What other owners did with it, and the watches that they made, happened before they went. Nobody can become an owner meanwhile but
        // through `this`, which is borrowed.
        let alone = counted.owners.load(Ordering::Acquire) == 1
            && counted.holders.load(Ordering::Acquire) == 1;
        if !alone {
            return None;
        }
        // SAFETY: the only pointer to the value, borrowed exclusively.
        Some(unsafe { &mut this.pointer.as_mut().value })
    }

    /// To ask later whether the value is still there.
    pub fn watch(this: &Shared<T>) -> Watch<T> {
        Watch::counted(this.pointer, &this.counted().holders)
    }
}

impl<T> Place<T> {
    /// Aborts where the system has no memory, as a `Box` does.
    #[expect(clippy::new_without_default, reason = "nothing is a default here")]
    #[inline(always)]
    pub fn new() -> Place<T> {
        const { assert!(size_of::<Counted<T>>() <= SIZE && align_of::<Counted<T>>() <= ALIGN) }
        Place { pointer: take().cast(), holds: PhantomData }
    }

    /// Holds the value from here on.
    #[inline(always)]
    pub fn filled(self, value: T) -> New<T> {
        let pointer = self.pointer;
        std::mem::forget(self);
        let (owners, holders) = (AtomicUsize::new(1), AtomicUsize::new(1));
        // SAFETY: a block of our own, large and aligned enough, as `new` asserted.
        unsafe { pointer.write(Counted { owners, holders, value }) };
        New(Shared { pointer, owns: PhantomData })
    }
}

impl<T> Drop for Place<T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the block came from `take`, and holds nothing.
        unsafe { put(self.pointer.cast()) }
    }
}

impl<T> New<T> {
    /// To be shared from here on.
    #[inline(always)]
    pub fn shared(self) -> Shared<T> {
        self.0
    }
}

impl<T> Deref for New<T> {
    type Target = T;
    #[inline(always)]
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for New<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the only pointer to the value since it was made, borrowed exclusively.
        unsafe { &mut self.0.pointer.as_mut().value }
    }
}

/// One more, as long as the count can't overflow: leaked owners must not make a value look unowned.
#[inline]
fn increment(count: &AtomicUsize) {
    if count.fetch_add(1, Ordering::Relaxed) > isize::MAX as usize {
        std::process::abort();
    }
}

impl<T> Clone for Shared<T> {
    #[inline]
    fn clone(&self) -> Self {
        increment(&self.counted().owners);
        Shared { pointer: self.pointer, owns: PhantomData }
    }
}

impl<T> Deref for Shared<T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        &self.counted().value
    }
}

impl<T> Drop for Shared<T> {
    #[inline]
    fn drop(&mut self) {
        let owners = &self.counted().owners;
        // The only owner stays the only one: watches make none.
        if owners.load(Ordering::Acquire) == 1 {
            owners.store(0, Ordering::Relaxed);
        } else if owners.fetch_sub(1, Ordering::Release) != 1 {
            return;
        } else {
            fence(Ordering::Acquire);
        }
        // SAFETY: no owner is left, and what they did happened before.
        unsafe {
            std::ptr::drop_in_place(&raw mut (*self.pointer.as_ptr()).value);
            leave(self.pointer);
        }
    }
}

impl<T> Watch<T> {
    fn counted(pointer: NonNull<Counted<T>>, holders: &AtomicUsize) -> Watch<T> {
        increment(holders);
        Watch { pointer, owns: PhantomData }
    }

    /// True while the value has an owner.
    pub fn is_alive(&self) -> bool {
        // SAFETY: the memory stays while a watch does; `Drop` of the last owner drops the value, not the counts.
        unsafe { &(*self.pointer.as_ptr()).owners }.load(Ordering::Relaxed) > 0
    }
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        // SAFETY: as in `is_alive`.
        Watch::counted(self.pointer, unsafe { &(*self.pointer.as_ptr()).holders })
    }
}

impl<T> Drop for Watch<T> {
    fn drop(&mut self) {
        // SAFETY: this watch holds the memory, and is gone after.
        unsafe { leave(self.pointer) }
    }
}

/// One holder less; the last one gives the memory back.
///
/// # Safety
/// - The caller is a holder, and touches the memory no more. All owners together, one holder, leave after they dropped the value.
#[inline]
unsafe fn leave<T>(pointer: NonNull<Counted<T>>) {
    // SAFETY: a holder is left.
    let holders = unsafe { &(*pointer.as_ptr()).holders };
    // The only holder stays the only one: new ones come from holders.
    if holders.load(Ordering::Acquire) != 1 {
        if holders.fetch_sub(1, Ordering::Release) != 1 {
            return;
        }
        fence(Ordering::Acquire);
    }
    // SAFETY: no holder is left; the block came from `take`.
    unsafe { put(pointer.cast()) }
}

/// Every block has this size, so that one list serves all.
const SIZE: usize = 320;
const ALIGN: usize = 16;
const LAYOUT: Layout = match Layout::from_size_align(SIZE, ALIGN) {
    Ok(layout) => layout,
    Err(_) => Layout::new::<[u128; SIZE / ALIGN]>(),
};

/// A thread keeps so many blocks: 80 KiB.
const KEPT: usize = 256;

/// The blocks that a thread keeps.
struct Own {
    chain: Cell<Chain>,
    /// At most so many: none while nobody sees to them, because [`LAST`] has not been asked to yet, or is gone.
    bound: Cell<usize>,
}

thread_local! {
    /// Has no destructor, so that it can be reached at once, and on most systems always.
    static OWN: Own = const { Own { chain: Cell::new(Chain::EMPTY), bound: Cell::new(0) } };

    /// What is kept is released when this is dropped, at the end of the thread.
    static LAST: Last = const { Last };
}

struct Last;

impl Drop for Last {
    fn drop(&mut self) {
        let Some(own) = own() else { return };
        own.bound.set(0);
        let mut chain = own.chain.replace(Chain::EMPTY);
        while let Some(block) = chain.pop() {
            // SAFETY: `put` got it for the chain, and it is free.
            unsafe { release(block) };
        }
    }
}

/// This thread's; none at its end, where the system frees what has no destructor, too.
#[inline(always)]
fn own() -> Option<&'static Own> {
    let own = OWN.try_with(std::ptr::from_ref).ok()?;
    // SAFETY: it is there while its thread has not ended, and whoever called can't leave the thread with it (`Own` is not Sync).
    Some(unsafe { &*own })
}

#[inline(always)]
fn take() -> NonNull<u8> {
    let Some(own) = own() else { return request() };
    let mut chain = own.chain.get();
    let Some(block) = chain.pop() else { return request() };
    own.chain.set(chain);
    block
}

#[cold]
fn request() -> NonNull<u8> {
    // SAFETY: the size is not 0.
    let block = unsafe { alloc(LAYOUT) };
    NonNull::new(block).unwrap_or_else(|| handle_alloc_error(LAYOUT))
}

/// # Safety
/// - `block` came from [`take`], and is not used any more.
#[inline]
unsafe fn put(block: NonNull<u8>) {
    if let Some(own) = own() {
        let mut chain = own.chain.get();
        if chain.count() < own.bound.get() || own.begins() {
            // SAFETY: ours by the caller's duty, and larger than a word.
            unsafe { chain.push(block) };
            return own.chain.set(chain);
        }
    }
    // SAFETY: `request` made it; the list does not take it.
    unsafe { release(block) };
}

impl Own {
    /// True if it only had not begun to keep blocks, and does from now on.
    #[cold]
    fn begins(&self) -> bool {
        let begins = self.bound.get() == 0 && LAST.try_with(|_| ()).is_ok();
        if begins {
            self.bound.set(KEPT);
        }
        begins
    }
}

/// # Safety
/// - `block` came from [`request`], and is not used any more.
#[cold]
unsafe fn release(block: NonNull<u8>) {
    // SAFETY: the layout that it was made with.
    unsafe { dealloc(block.as_ptr(), LAYOUT) };
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicBool;

    use super::*;

    /// Says when it is dropped.
    struct Flag(Arc<AtomicBool>);

    impl Drop for Flag {
        fn drop(&mut self) {
            assert!(!self.0.swap(true, Ordering::Relaxed), "dropped twice");
        }
    }

    fn flagged() -> (Shared<Flag>, impl Fn() -> bool) {
        let gone = Arc::new(AtomicBool::new(false));
        let value = Shared::new(Flag(gone.clone()));
        (value, move || gone.load(Ordering::Relaxed))
    }

    #[test]
    fn the_last_owner_drops_the_value() {
        let (value, gone) = flagged();
        let other = value.clone();
        drop(value);
        assert!(!gone());
        drop(other);
        assert!(gone());
    }

    #[test]
    fn a_value_is_changed_by_its_only_owner_where_nobody_watches() {
        let mut value = Shared::new(String::from("a"));
        let other = value.clone();
        assert!(Shared::get_mut(&mut value).is_none());
        drop(other);
        let watch = Shared::watch(&value);
        assert!(Shared::get_mut(&mut value).is_none());
        drop(watch);
        Shared::get_mut(&mut value).unwrap().push('b');
        assert_eq!(*value, "ab");
    }

    #[test]
    fn a_watch_outlives_the_value() {
        let (value, gone) = flagged();
        let watch = Shared::watch(&value);
        let second = watch.clone();
        let other = value.clone();
        drop(value);
        assert!(watch.is_alive());
        drop(other);
        assert!(gone() && !watch.is_alive());
        drop(watch);
        assert!(!second.is_alive());
    }

    #[test]
    fn memory_comes_again() {
        let address = |value: &Shared<u64>| value.pointer;
        let first = Shared::new(1);
        let place = address(&first);
        drop(first);
        let again = Shared::new(2);
        assert_eq!((address(&again), *again), (place, 2));
        // More than a thread keeps.
        let many: Vec<Shared<usize>> = (0..2 * KEPT).map(Shared::new).collect();
        assert!(many.iter().enumerate().all(|(i, value)| **value == i));
    }

    #[test]
    fn owners_on_many_threads() {
        for _ in 0..if cfg!(miri) { 4 } else { 200 } {
            let (value, gone) = flagged();
            let watch = Shared::watch(&value);
            std::thread::scope(|scope| {
                for _ in 0..3 {
                    let (mut mine, watch) = (value.clone(), watch.clone());
                    scope.spawn(move || {
                        let second = mine.clone();
                        assert!(watch.is_alive() && Shared::get_mut(&mut mine).is_none());
                        drop((mine, second));
                    });
                }
                drop(value);
            });
            assert!(gone() && !watch.is_alive());
        }
    }
}
