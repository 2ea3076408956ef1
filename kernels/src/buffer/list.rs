//! Short lists in memory of the pool: tables that a kernel computes of its shapes, call by call, without a request to the heap.

use std::marker::PhantomData;
use std::ops::Deref;

use super::Buffer;
use super::class::ALIGN;
use crate::error::{Error, Result};

/// A list of a length that is known before it is filled.
#[derive(Debug)]
pub(crate) struct List<T> {
    buffer: Buffer,
    /// How many of them are there.
    len: usize,
    /// How many there is room for.
    room: usize,
    values: PhantomData<T>,
}

// SAFETY: it owns its values, in memory that is its own.
unsafe impl<T: Send> Send for List<T> {}
// SAFETY: shared, they are only read.
unsafe impl<T: Sync> Sync for List<T> {}

impl<T: Copy> List<T> {
    /// One without room.
    pub(crate) fn empty() -> List<T> {
        List { buffer: Buffer::empty(), len: 0, room: 0, values: PhantomData }
    }

    /// An empty one, with room for so many.
    ///
    /// # Errors
    /// [`OutOfMemory`](Error::OutOfMemory) if there is no memory for them.
    pub(crate) fn with_room(room: usize) -> Result<List<T>> {
        const { assert!(align_of::<T>() <= ALIGN) }
        let size = room
            .checked_mul(size_of::<T>())
            .ok_or(Error::Contract("the size of a table overflows"))?;
        Ok(List { buffer: Buffer::new(size)?, len: 0, room, values: PhantomData })
    }

    /// The first `len` of the values.
    ///
    /// # Errors
    /// As [`with_room`](Self::with_room).
    pub(crate) fn of(len: usize, values: impl IntoIterator<Item = T>) -> Result<List<T>> {
        let mut list = Self::with_room(len)?;
        list.extend(values);
        Ok(list)
    }

    /// Adds values, as many as there is room for.
    pub(crate) fn extend(&mut self, values: impl IntoIterator<Item = T>) {
        let start = self.buffer.pointer.as_ptr().cast::<T>();
        for value in values.into_iter().take(self.room - self.len) {
            // SAFETY: the buffer is aligned and has room for `room` values, of which fewer are there; `take` sees to it.
            unsafe { start.add(self.len).write(value) };
            self.len += 1;
        }
    }
}

impl<T> Deref for List<T> {
    type Target = [T];
    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: so many values were written, to aligned memory of this list alone.
        unsafe { std::slice::from_raw_parts(self.buffer.pointer.as_ptr().cast(), self.len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_there_is_room_for() -> Result<()> {
        let mut list = List::with_room(3)?;
        assert!(list.is_empty());
        list.extend([(1u8, 2usize), (3, 4)]);
        list.extend([(5, 6), (7, 8)]);
        assert_eq!(*list, [(1, 2), (3, 4), (5, 6)]);
        assert_eq!(*List::of(2, 0..9)?, [0, 1]);
        assert_eq!(*List::of(9, 0..2)?, [0, 1]);
        assert!(List::<usize>::of(0, 0..2)?.is_empty());
        assert!(List::<u64>::with_room(usize::MAX / 4).is_err());
        Ok(())
    }
}
