//! The primitives of the protocol: the standard ones, or loom's under `--cfg loom` in tests.

#[cfg(not(all(test, loom)))]
pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize};

#[cfg(all(test, loom))]
pub(super) use loom::{
    cell::UnsafeCell,
    sync::atomic::{AtomicBool, AtomicUsize},
};

/// As loom's: access through closures, which the model checks for races.
#[cfg(not(all(test, loom)))]
#[derive(Debug)]
pub(super) struct UnsafeCell<T>(std::cell::UnsafeCell<T>);

#[cfg(not(all(test, loom)))]
impl<T> UnsafeCell<T> {
    pub(super) const fn new(value: T) -> Self {
        UnsafeCell(std::cell::UnsafeCell::new(value))
    }

    #[inline]
    pub(super) fn with<R>(&self, read: impl FnOnce(*const T) -> R) -> R {
        read(self.0.get())
    }

    #[inline]
    pub(super) fn with_mut<R>(&self, write: impl FnOnce(*mut T) -> R) -> R {
        write(self.0.get())
    }
}

/// A value on cache lines of its own (two: processors fetch them in pairs).
#[repr(align(128))]
pub(super) struct Line<T>(pub(super) T);

/// One turn of a wait: a pause at first, later the core to others, for whom we wait may need it.
#[cfg(not(all(test, loom)))]
#[inline]
pub(super) fn wait(turns: &mut u32) {
    if *turns < 1000 {
        *turns += 1;
        std::hint::spin_loop();
    } else {
        std::thread::yield_now();
    }
}

/// One turn of a wait: the others'.
#[cfg(all(test, loom))]
pub(super) fn wait(_turns: &mut u32) {
    loom::thread::yield_now();
}

/// A constant function, except under loom, whose atomics can't be made in one.
macro_rules! constructor {
    ($(#[$doc:meta])* $visibility:vis fn $name:ident() -> $result:ty $body:block) => {
        $(#[$doc])*
        #[cfg(not(all(test, loom)))]
        $visibility const fn $name() -> $result $body

        $(#[$doc])*
        #[cfg(all(test, loom))]
        $visibility fn $name() -> $result $body
    };
}
pub(super) use constructor;

/// An array of what a [`constructor!`] makes, in another one.
macro_rules! array {
    ($value:expr) => {{
        #[cfg(not(all(test, loom)))]
        let array = [const { $value }; _];
        #[cfg(all(test, loom))]
        let array = std::array::from_fn(|_| $value);
        array
    }};
}
pub(super) use array;
