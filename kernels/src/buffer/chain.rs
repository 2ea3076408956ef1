//! Free blocks, linked through their own first word: a list of them needs no memory and so can't fail.

use std::ptr::NonNull;

/// A list of free blocks of one size. It owns them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Chain {
    head: Option<NonNull<Link>>,
    count: usize,
}

#[derive(Debug)]
struct Link {
    next: Option<NonNull<Link>>,
}

// SAFETY: a chain owns its blocks, which are plain memory that any thread may use.
unsafe impl Send for Chain {}

impl Chain {
    /// No blocks.
    pub(super) const EMPTY: Chain = Chain { head: None, count: 0 };

    /// How many blocks.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Adds a block in front.
    ///
    /// # Safety
    /// - `block` is owned by the caller, large and aligned enough for a word, and goes over to the chain.
    #[inline]
    pub(super) unsafe fn push(&mut self, block: NonNull<u8>) {
        let link = block.cast::<Link>();
        // SAFETY: large and aligned enough, and ours, by the caller's duty.
        unsafe { link.write(Link { next: self.head }) };
        self.head = Some(link);
        self.count += 1;
    }

    /// Takes the front block, which goes over to the caller. Its link is zeroed: no address is left in its contents.
    #[inline]
    pub(super) fn pop(&mut self) -> Option<NonNull<u8>> {
        let link = self.head?;
        // SAFETY: every link of a chain is a block that the chain owns, written by `push`.
        self.head = unsafe { link.read() }.next;
        self.count -= 1;
        let block = link.cast::<u8>();
        // SAFETY: as above; the link is the block's first word.
        unsafe { block.write_bytes(0, size_of::<Link>()) };
        Some(block)
    }

    /// Cuts up to `count` blocks off the front.
    pub(super) fn cut(&mut self, count: usize) -> Chain {
        let mut part = Chain { head: self.head, count: 0 };
        let mut last: Option<NonNull<Link>> = None;
        while part.count < count {
            let Some(link) = self.head else { break };
            // SAFETY: a link of this chain, as in `pop`.
            self.head = unsafe { link.read() }.next;
            (last, part.count) = (Some(link), part.count + 1);
        }
        match last {
            // SAFETY: the last link cut off is part of the new chain, which owns it.
            Some(link) => unsafe { link.write(Link { next: None }) },
            None => part.head = None,
        }
        self.count -= part.count;
        part
    }

    /// Puts all blocks of `other`, of the same size, in front.
    pub(super) fn append(&mut self, other: Chain) {
        let Some(mut tail) = other.head else { return };
        // SAFETY: every link reached is a block that `other` owns.
        while let Some(next) = unsafe { tail.read() }.next {
            tail = next;
        }
        // SAFETY: as above; `other` is taken by value and its blocks go over to this chain.
        unsafe { tail.write(Link { next: self.head }) };
        self.head = other.head;
        self.count += other.count;
    }
}
