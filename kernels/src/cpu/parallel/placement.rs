//! Which core a woken member starts on.
//!
//! A system may start a thread on its waker's core though its own is idle: Linux was seen to, as a guest of KVM (ADR 004). There it waits, or keeps the leader waiting, until the balancer comes round, some milliseconds later. So, under
//! a hypervisor, the waker bars the member from its own core while the member sleeps, and the member lifts that when it runs. From its first
//! wake on a member's cores are then set by itself: it does not follow a set of the process that grows. `FERROTAPE_AFFINITY=0` leaves all to the system.

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
pub(super) use linux::Place;
#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
pub(super) use other::Place;

#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod linux {
    use std::sync::OnceLock;
    use std::sync::atomic::AtomicI32;
    use std::sync::atomic::Ordering::Relaxed;

    use libc::{CPU_CLR, CPU_COUNT, CPU_ISSET, CPU_SET, cpu_set_t, pid_t};

    /// No core, no thread.
    const NONE: i32 = -1;

    /// Where a member may run.
    pub(in super::super) struct Place {
        /// Its thread, and the process it is of: a fork has its numbers, but not its threads.
        thread: AtomicI32,
        process: AtomicI32,
        /// The core that it is barred from.
        barred: AtomicI32,
    }

    impl Place {
        /// Of a member that has not begun.
        pub(in super::super) const fn new() -> Self {
            const fn none() -> AtomicI32 {
                AtomicI32::new(NONE)
            }
            Place { thread: none(), process: none(), barred: none() }
        }

        /// Called by the member, first.
        pub(in super::super) fn begin(&self) {
            if is_wanted() {
                // SAFETY: no arguments, always succeed.
                let (thread, process) = unsafe { (libc::gettid(), libc::getpid()) };
                self.process.store(process, Relaxed);
                self.thread.store(thread, Relaxed);
            }
        }

        /// Called by who wakes the member, before it does: not on this core, if there is another. What the system refuses is left.
        pub(in super::super) fn elsewhere(&self) {
            let thread = self.thread.load(Relaxed);
            // SAFETY: no arguments, always succeeds.
            if thread == NONE || self.process.load(Relaxed) != unsafe { libc::getpid() } {
                return;
            }
            // SAFETY: no arguments; it may fail.
            let core = unsafe { libc::sched_getcpu() };
            let (Ok(index), Some(mut cores)) = (usize::try_from(core), allowed(thread)) else {
                return;
            };
            // SAFETY: an index inside the set.
            let has_no_other = index >= CORES
                || unsafe {
                    let may_run_here = CPU_ISSET(index, &cores);
                    CPU_CLR(index, &mut cores);
                    !may_run_here || CPU_COUNT(&cores) == 0
                };
            if !has_no_other && allow(thread, &cores) {
                self.barred.store(core, Relaxed);
            }
        }

        /// Called by the member when it is awake.
        pub(in super::super) fn woken(&self) {
            let barred = self.barred.load(Relaxed);
            let (Ok(index), Some(mut cores)) = (usize::try_from(barred), allowed(0)) else {
                return;
            };
            // SAFETY: the index was inside the set when it was barred.
            unsafe { CPU_SET(index, &mut cores) };
            // Refused, it is tried again after the next wake.
            if allow(0, &cores) {
                self.barred.store(NONE, Relaxed);
            }
        }
    }

    /// Under a hypervisor, unless the environment says no.
    fn is_wanted() -> bool {
        static WANTED: OnceLock<bool> = OnceLock::new();
        *WANTED.get_or_init(|| {
            let is_guest = std::arch::x86_64::__cpuid(1).ecx >> 31 == 1;
            is_guest && std::env::var_os("FERROTAPE_AFFINITY").is_none_or(|value| value != "0")
        })
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

#[cfg(not(all(target_os = "linux", target_arch = "x86_64")))]
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
