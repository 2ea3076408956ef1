//! Which core a woken member starts on.
//!
//! A system may start a thread on its waker's core though its own is idle: Linux does under KVM, where an idle core counts as one that
//! the host has taken away. There it waits, or keeps the leader waiting, until the balancer comes round, some milliseconds later. So the
//! waker bars the member from its own core while the member sleeps, and the member lifts that when it runs.

#[cfg(target_os = "linux")]
pub(super) use linux::Place;
#[cfg(not(target_os = "linux"))]
pub(super) use other::Place;

#[cfg(target_os = "linux")]
mod linux {
    use std::sync::atomic::AtomicI32;
    use std::sync::atomic::Ordering::Relaxed;

    use libc::{CPU_CLR, CPU_COUNT, CPU_SET, cpu_set_t, pid_t};

    /// No core, no thread.
    const NONE: i32 = -1;

    /// Where a member may run.
    pub(in super::super) struct Place {
        /// Its thread.
        thread: AtomicI32,
        /// The core that it is barred from.
        barred: AtomicI32,
    }

    impl Place {
        /// Of a member that has not begun.
        pub(in super::super) const fn new() -> Self {
            Place { thread: AtomicI32::new(NONE), barred: AtomicI32::new(NONE) }
        }

        /// Called by the member, first.
        pub(in super::super) fn begin(&self) {
            // SAFETY: no arguments, always succeeds.
            self.thread.store(unsafe { libc::gettid() }, Relaxed);
        }

        /// Called by who wakes the member, before it does: not on this core, if there is another. What the system refuses is left.
        pub(in super::super) fn elsewhere(&self) {
            // SAFETY: no arguments.
            let (core, thread) = (unsafe { libc::sched_getcpu() }, self.thread.load(Relaxed));
            let (Ok(index), true) = (usize::try_from(core), thread != NONE) else { return };
            let Some(mut cores) = allowed(thread) else { return };
            if index >= CORES {
                return;
            }
            // SAFETY: an index inside the set.
            let others = unsafe {
                CPU_CLR(index, &mut cores);
                CPU_COUNT(&cores)
            };
            if others == 0 {
                return;
            }
            if allow(thread, &cores) {
                self.barred.store(core, Relaxed);
            }
        }

        /// Called by the member when it is awake.
        pub(in super::super) fn woken(&self) {
            let Ok(index) = usize::try_from(self.barred.swap(NONE, Relaxed)) else { return };
            if let Some(mut cores) = allowed(0) {
                // SAFETY: the index was inside the set when it was barred.
                unsafe { CPU_SET(index, &mut cores) };
                allow(0, &cores);
            }
        }
    }

    /// Cores that a set has room for.
    const CORES: usize = 8 * size_of::<cpu_set_t>();

    /// The cores that a thread (0: this one) may run on.
    fn allowed(thread: pid_t) -> Option<cpu_set_t> {
        // SAFETY: a set is plain bits.
        let mut cores: cpu_set_t = unsafe { std::mem::zeroed() };
        // SAFETY: the size is the set's; it fails where there are more cores.
        let outcome =
            unsafe { libc::sched_getaffinity(thread, size_of::<cpu_set_t>(), &mut cores) };
        (outcome == 0).then_some(cores)
    }

    /// Says so to the system.
    fn allow(thread: pid_t, cores: &cpu_set_t) -> bool {
        // SAFETY: the size is the set's.
        unsafe { libc::sched_setaffinity(thread, size_of::<cpu_set_t>(), cores) == 0 }
    }
}

#[cfg(not(target_os = "linux"))]
mod other {
    /// Left to the system.
    pub(in super::super) struct Place;

    impl Place {
        /// Of a member that has not begun.
        pub(in super::super) const fn new() -> Self {
            Place
        }

        /// Nothing.
        pub(in super::super) fn begin(&self) {}

        /// Nothing.
        pub(in super::super) fn elsewhere(&self) {}

        /// Nothing.
        pub(in super::super) fn woken(&self) {}
    }
}
