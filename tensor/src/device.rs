//! Devices: where tensors live, their memory statistics and limits.

use std::fmt;

pub use ferrotape_kernels::buffer::MemoryStats;

/// Where a tensor lives and computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
}

impl Device {
    /// The processor.
    pub fn cpu() -> Device {
        Device::Cpu
    }

    /// Live, peak and cached bytes, and the number of requests to the system so far.
    ///
    /// ```
    /// # use ferrotape_tensor::{Device, Tensor, DType, Result};
    /// # fn main() -> Result<()> {
    /// let before = Device::cpu().memory_stats().live;
    /// let x = Tensor::zeros([1000], DType::F32)?;
    /// assert!(Device::cpu().memory_stats().live >= before + 4000);
    /// # drop(x); Ok(()) }
    /// ```
    pub fn memory_stats(self) -> MemoryStats {
        ferrotape_kernels::buffer::memory_stats()
    }

    /// Sets the peak to the live bytes.
    pub fn reset_peak(self) {
        ferrotape_kernels::buffer::reset_peak();
    }

    /// Sets a hard limit on live bytes, or removes it. An operation that would exceed it fails with
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) and leaves everything as it was.
    pub fn set_memory_limit(self, limit: Option<usize>) {
        ferrotape_kernels::buffer::set_memory_limit(limit);
    }

    /// Lets all threads have the free memory that this one keeps for itself: for a thread that frees what others allocate, so
    /// that they need not ask the system.
    pub fn share_cache(self) {
        ferrotape_kernels::buffer::share_cache();
    }

    /// Gives cached memory back to the system.
    pub fn empty_cache(self) {
        ferrotape_kernels::buffer::empty_cache();
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.pad("cpu"),
        }
    }
}
