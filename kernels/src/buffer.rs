//! Buffers: 64-byte aligned memory from a caching pool with statistics and a hard limit.
//!
//! Sizes are rounded up to a *class*: a multiple of 64 bytes up to 1 KiB, then eight steps an octave. All bytes below are
//! class sizes. *Live* is the sum over the buffers that exist; buffers of 0 bytes and external ones count nothing.
//! Freed blocks are *cached* for reuse. The limit holds for live bytes strictly; besides, cached blocks are given back
//! before the system is asked for more than the limit, live and cached together.

mod budget;
mod chain;
pub(crate) mod class;
mod list;
mod mapped;
mod pool;
mod shared;
mod system;

use std::fmt;
use std::ptr::NonNull;
use std::sync::Arc;

use self::class::{ALIGN, Class};
pub(crate) use self::list::List;
pub use self::mapped::map_file;
use self::pool::Taken;
pub use self::shared::{New, Place, Shared, Watch};
use crate::element::Pod;
use crate::error::Result;

/// What a device's memory is doing, in bytes (requests: how often the system was asked for memory).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MemoryStats {
    /// In buffers that exist.
    pub live: usize,
    /// The largest `live` since the start or [`reset_peak`].
    pub peak: usize,
    /// In freed blocks kept for reuse.
    pub cached: usize,
    /// Host memory that copies to and from a GPU go through.
    pub pinned: usize,
    /// Requests to the system so far.
    pub requests: u64,
}

/// The CPU's statistics over all threads (exact, if no thread is allocating or freeing meanwhile).
pub fn memory_stats() -> MemoryStats {
    budget::stats()
}

/// Sets `peak` to `live`.
pub fn reset_peak() {
    budget::reset_peak();
}

/// Sets the limit on live bytes (`None`: no limit). A request beyond it is an error; buffers that exist stay.
pub fn set_memory_limit(limit: Option<usize>) {
    budget::set_limit(limit.unwrap_or(usize::MAX));
    if budget::would_exceed(0) {
        pool::empty();
    }
}

/// Puts the free blocks that this thread keeps for itself where all threads find them: for one that frees what others allocate.
pub fn share_cache() {
    pool::share();
}

/// Gives all cached blocks back to the system. The few small ones that another thread keeps (at most 256 KiB a class) follow
/// when it next uses the pool or ends.
pub fn empty_cache() {
    pool::empty();
}

/// Makes sure that at least `count` blocks for `bytes` bytes are cached where every thread finds them, so that a loader
/// can ask the system for everything at its start.
///
/// # Errors
/// [`OutOfMemory`](crate::Error::OutOfMemory) if live and cached blocks together would exceed the limit, or if the system
/// refuses; what was cached until then stays.
pub fn warm(bytes: usize, count: usize) -> Result<()> {
    match bytes {
        0 => Ok(()),
        _ => pool::warm(Class::of(bytes).ok_or_else(|| budget::refused(bytes))?, count),
    }
}

/// Owned, 64-byte aligned memory of `len` bytes, given back to the pool on drop; or memory of another owner, to read. Always
/// initialised: fresh blocks are zero, recycled ones hold stale values.
pub struct Buffer {
    pointer: NonNull<u8>,
    len: usize,
    owner: Option<Owner>,
}

/// Keeps external memory valid. What its `as_ref` returned once must not change while it lives.
type Owner = Arc<dyn AsRef<[u8]> + Send + Sync>;

// SAFETY: a buffer owns its block alone, or reads the memory of an owner that is itself Send and Sync.
unsafe impl Send for Buffer {}
// SAFETY: as above; shared, it is only read.
unsafe impl Sync for Buffer {}

impl Buffer {
    /// A buffer of `len` bytes with stale contents.
    ///
    /// # Errors
    /// [`OutOfMemory`](crate::Error::OutOfMemory) over the limit or if the system refuses.
    pub fn new(len: usize) -> Result<Buffer> {
        Self::small(len)
    }

    /// As [`new`](Self::new), without a call: for what is mostly so small that one would be felt.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    #[inline(always)]
    pub fn small(len: usize) -> Result<Buffer> {
        let pointer = if len > 0 { Self::block(len)?.block } else { NOWHERE };
        Ok(Buffer { pointer, len, owner: None })
    }

    /// A buffer of `len` zero bytes.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn zeroed(len: usize) -> Result<Buffer> {
        if len == 0 {
            return Ok(Buffer::empty());
        }
        let Taken { block, fresh } = Self::block(len)?;
        let mut buffer = Buffer { pointer: block, len, owner: None };
        if !fresh {
            buffer.as_mut_slice::<u8>().fill(0);
        }
        Ok(buffer)
    }

    /// A buffer that holds a copy of `elements`.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn copy_of<T: Pod>(elements: &[T]) -> Result<Buffer> {
        let mut buffer = Self::new(size_of_val(elements))?;
        buffer.as_mut_slice().copy_from_slice(elements);
        Ok(buffer)
    }

    /// The owner's bytes, without a copy, to read. `owner.as_ref()` is called once. The start may have any alignment: see
    /// [`is_aligned_for`](Self::is_aligned_for).
    ///
    /// # Errors
    /// None at present.
    pub fn from_external(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Buffer> {
        let bytes: &[u8] = (*owner).as_ref();
        let (pointer, len) = (NonNull::from(bytes).cast(), bytes.len());
        Ok(Buffer { pointer, len, owner: Some(owner) })
    }

    #[inline(always)]
    fn block(len: usize) -> Result<Taken> {
        pool::take(Class::of(len).ok_or_else(|| budget::refused(len))?)
    }

    /// No memory at all.
    #[inline]
    pub fn empty() -> Buffer {
        Buffer { pointer: NOWHERE, len: 0, owner: None }
    }

    /// Its length in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True for 0 bytes.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// True for memory of another owner, which can't be written.
    #[inline]
    pub fn is_external(&self) -> bool {
        self.owner.is_some()
    }

    /// True if the start is aligned for `T`: always, unless the memory is external.
    #[inline]
    pub fn is_aligned_for<T: Pod>(&self) -> bool {
        self.pointer.cast::<T>().is_aligned()
    }

    /// Its contents as elements (a rest that is no whole element is left out). Empty if the memory is external and
    /// not [aligned](Self::is_aligned_for).
    #[inline]
    pub fn as_slice<T: Pod>(&self) -> &[T] {
        if !self.is_aligned_for::<T>() {
            return &[];
        }
        // SAFETY: aligned, as checked; `len` initialised bytes, of our block or of the owner's slice, which stays valid and
        // unchanged: we keep its Arc, so nobody gets `&mut` to the owner. Every bit pattern is a value of a Pod.
        unsafe {
            std::slice::from_raw_parts(self.pointer.as_ptr().cast(), self.len / size_of::<T>())
        }
    }

    /// As [`as_slice`](Self::as_slice), to write. Empty if the memory is [external](Self::is_external).
    #[inline]
    pub fn as_mut_slice<T: Pod>(&mut self) -> &mut [T] {
        if self.owner.is_some() {
            return &mut [];
        }
        // SAFETY: our own block, 64-byte aligned (no Pod needs more), `len` initialised bytes, borrowed exclusively.
        unsafe {
            std::slice::from_raw_parts_mut(self.pointer.as_ptr().cast(), self.len / size_of::<T>())
        }
    }
}

impl Drop for Buffer {
    #[inline]
    fn drop(&mut self) {
        if self.owner.is_none()
            && self.len > 0
            && let Some(class) = Class::of(self.len)
        {
            // SAFETY: `take` got the block for this very class; nothing borrows the buffer any more.
            unsafe { pool::put(self.pointer, class) }
        }
    }
}

impl fmt::Debug for Buffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let external = self.is_external();
        f.debug_struct("Buffer").field("len", &self.len).field("external", &external).finish()
    }
}

/// Where buffers of 0 bytes point: nowhere, but aligned.
const NOWHERE: NonNull<u8> =
    NonNull::without_provenance(std::num::NonZeroUsize::new(ALIGN).unwrap());
