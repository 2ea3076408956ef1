//! Size classes: multiples of 64 bytes up to 1 KiB, then eight steps an octave (at most 1/8 is lost).

/// Every block is aligned to a cache line, which is also the widest vector.
pub(super) const ALIGN: usize = 64;
/// From here on blocks are aligned to, and backed by, huge pages.
pub(super) const HUGE: usize = 2 << 20;
/// Classes in all: 16 linear ones, then the octaves up to `isize::MAX`.
pub(crate) const COUNT: usize = 16 + 8 * (isize::BITS as usize - 11);
/// The classes up to 64 KiB, which threads keep lists of.
pub(super) const SMALL: usize = 16 + 8 * 6;

/// A size class: its place and the size of its blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Class {
    pub(crate) index: usize,
    pub(crate) size: usize,
}

impl Class {
    /// The smallest class that holds `len >= 1` bytes; none beyond `isize::MAX`.
    #[inline(always)]
    pub(crate) fn of(len: usize) -> Option<Class> {
        let last = len.wrapping_sub(1);
        if last < 1024 {
            let index = last / 64;
            return Some(Class { index, size: (index + 1) * 64 });
        }
        if len > isize::MAX as usize {
            return None;
        }
        let octave = last.ilog2() as usize;
        let shift = octave - 3;
        // 9 to 16 eighths of 2^octave; 16 << shift can reach 2^63, never beyond.
        let steps = (last >> shift) + 1;
        let size = steps << shift;
        let index = 16 + (octave - 10) * 8 + (steps - 9);
        (size <= isize::MAX as usize - HUGE).then_some(Class { index, size })
    }

    /// The block size of the class at `index < COUNT`.
    pub(crate) fn size_at(index: usize) -> usize {
        match index.checked_sub(16) {
            None => (index + 1) * 64,
            Some(step) => (step % 8 + 9) << (step / 8 + 7),
        }
    }

    /// True if threads keep lists of it.
    #[inline]
    pub(super) fn is_small(self) -> bool {
        self.index < SMALL
    }

    /// The most blocks of it that a thread keeps: 256 KiB, but 4 to 64 blocks.
    #[inline]
    pub(super) fn bound(self) -> usize {
        match self.size {
            // What comes and goes most is spared the division.
            ..=4096 => 64,
            size => ((256 << 10) / size).max(4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_ascend_without_gaps_and_lose_at_most_an_eighth() {
        let mut len = 1;
        let mut index = 0;
        while let Some(class) = Class::of(len) {
            assert_eq!(class.index, index);
            assert_eq!(class.size % ALIGN, 0);
            assert_eq!(class.size, Class::size_at(index));
            assert_eq!(Class::of(class.size), Some(class), "a class holds its own size");
            let below = if len == 1 { 0 } else { len - 1 };
            assert!(class.size > below && class.size - len <= (len / 8).max(63));
            assert_eq!(class.is_small(), class.size <= 64 << 10);
            (len, index) = (class.size + 1, index + 1);
        }
        assert!(index <= COUNT && index + 2 > COUNT);
    }

    #[test]
    fn sizes_beyond_the_address_space_have_no_class() {
        for len in
            [isize::MAX as usize - 1, isize::MAX as usize, isize::MAX as usize + 1, usize::MAX]
        {
            assert_eq!(Class::of(len), None);
        }
    }
}
