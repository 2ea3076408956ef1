//! Blocks from the system: zeroed, aligned, and from 2 MiB on in huge pages (first use of 4 KiB pages costs 2 to 3 times
//! as much).

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;

use super::class::ALIGN;
#[cfg(target_os = "linux")]
use super::class::HUGE;

/// A zeroed block of `size` bytes (a class size), or `None` if the system refuses.
pub(super) fn allocate(size: usize) -> Option<NonNull<u8>> {
    #[cfg(target_os = "linux")]
    if size >= HUGE {
        return map(size);
    }
    let layout = Layout::from_size_align(size, ALIGN).ok()?;
    if size == 0 {
        return None;
    }
    // SAFETY: the size is not zero.
    NonNull::new(unsafe { alloc_zeroed(layout) })
}

/// Gives a block back.
///
/// # Safety
/// - `block` came from [`allocate`] with this `size`, and is not used any more.
pub(super) unsafe fn release(block: NonNull<u8>, size: usize) {
    #[cfg(target_os = "linux")]
    if size >= HUGE {
        // SAFETY: the whole of a mapping made by `map`, by the caller's duty.
        unsafe { libc::munmap(block.as_ptr().cast(), size) };
        return;
    }
    // SAFETY: `allocate` used this very size and alignment, which make a valid layout.
    unsafe { dealloc(block.as_ptr(), Layout::from_size_align_unchecked(size, ALIGN)) };
}

/// Maps `size` bytes aligned to a huge page. Not `alloc_zeroed`: over-aligned it fills by hand, which would fault in small
/// pages before the advice is given.
#[cfg(target_os = "linux")]
fn map(size: usize) -> Option<NonNull<u8>> {
    let total = size.checked_add(HUGE)?;
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
    // SAFETY: a fresh anonymous mapping at an address of the system's choice touches no existing memory.
    let base = unsafe { libc::mmap(std::ptr::null_mut(), total, protection, flags, -1, 0) };
    if base == libc::MAP_FAILED {
        return None;
    }
    let base = base.cast::<u8>();
    let head = base.align_offset(HUGE).min(HUGE);
    // SAFETY: head <= HUGE, so the block lies inside the mapping.
    let block = unsafe { base.add(head) };
    // SAFETY: head, block and tail part the mapping, all at page borders; nobody uses head and tail. Advice that is refused
    // changes nothing but speed.
    unsafe {
        if head > 0 {
            libc::munmap(base.cast(), head);
        }
        if head < HUGE {
            libc::munmap(block.add(size).cast(), HUGE - head);
        }
        libc::madvise(block.cast(), size, libc::MADV_HUGEPAGE);
    }
    NonNull::new(block)
}
