//! A device's memory: a caching pool with the CPU's size classes, statistics and a hard limit.
//!
//! The stream orders all work of a device, so a freed block can be handed out again at once. Blocks go back to the driver when it is
//! out of memory, and by [`empty_cache`](Gpu::empty_cache).

use std::ffi::c_void;
use std::sync::{MutexGuard, PoisonError};

use super::driver::{DevicePointer, Gpu};
use crate::buffer::MemoryStats;
use crate::buffer::class::{COUNT, Class};
use crate::error::{Error, Result, require};

/// The free blocks and the accounts.
pub(super) struct Pool {
    free: Vec<Vec<DevicePointer>>,
    stats: MemoryStats,
    limit: usize,
}

impl Default for Pool {
    fn default() -> Self {
        let free = std::iter::repeat_with(Vec::new).take(COUNT).collect();
        Pool { free, stats: MemoryStats::default(), limit: usize::MAX }
    }
}

/// The driver's word for: out of memory.
const OUT_OF_MEMORY: u32 = 2;

/// Owned memory of a device, given back to its pool on drop. Stale when new.
pub struct DeviceBuffer {
    gpu: &'static Gpu,
    pointer: DevicePointer,
    len: usize,
}

impl std::fmt::Debug for DeviceBuffer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "DeviceBuffer({:?}, {} bytes)", self.gpu, self.len)
    }
}

impl DeviceBuffer {
    /// `len` bytes with stale contents.
    ///
    /// # Errors
    /// [`OutOfMemory`](Error::OutOfMemory) over the limit or if the device has no more.
    pub fn new(gpu: &'static Gpu, len: usize) -> Result<DeviceBuffer> {
        if len == 0 {
            return Ok(DeviceBuffer { gpu, pointer: 0, len });
        }
        let Some(class) = Class::of(len) else {
            let pool = gpu.lock();
            return Err(refused(len, &pool));
        };
        let mut pool = gpu.lock();
        let live = pool.stats.live.saturating_add(class.size);
        if live > pool.limit {
            return Err(refused(class.size, &pool));
        }
        let pointer = match pool.free[class.index].pop() {
            Some(pointer) => {
                pool.stats.cached -= class.size;
                pointer
            }
            None => {
                let held = live.saturating_add(pool.stats.cached);
                if held > pool.limit {
                    gpu.give_back(&mut pool)?;
                }
                let pointer = gpu.obtain(&mut pool, class.size)?;
                pool.stats.requests += 1;
                pointer
            }
        };
        pool.stats.live = live;
        pool.stats.peak = pool.stats.peak.max(live);
        drop(pool);
        Ok(DeviceBuffer { gpu, pointer, len })
    }

    /// Number of bytes.
    pub fn len(&self) -> usize {
        self.len
    }

    /// True without bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device.
    pub fn gpu(&self) -> &'static Gpu {
        self.gpu
    }

    /// Its address on the device.
    pub fn address(&self) -> u64 {
        self.pointer
    }

    /// Writes `bytes`, as many as it has.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) for another length; [`Cuda`](Error::Cuda): the driver's refusal, or a fault of earlier work.
    pub fn upload(&mut self, bytes: &[u8]) -> Result<()> {
        require(bytes.len() == self.len, "cuda upload: the lengths differ")?;
        if self.len == 0 {
            return Ok(());
        }
        self.gpu.bind()?;
        let functions = self.gpu.functions;
        let from = bytes.as_ptr().cast::<c_void>();
        // SAFETY: both have `len` bytes; the source outlives the copy, for it is waited for.
        let code = unsafe { (functions.upload)(self.pointer, from, self.len, self.gpu.stream) };
        functions.check("cuMemcpyHtoDAsync", code)?;
        self.gpu.synchronize()
    }

    /// Reads its bytes from `start` on into `bytes`, once all work given to the device is done.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub fn download(&self, start: usize, bytes: &mut [u8]) -> Result<()> {
        let end = start.checked_add(bytes.len());
        require(end.is_some_and(|end| end <= self.len), "cuda download: the buffer is shorter")?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.gpu.bind()?;
        let functions = self.gpu.functions;
        let (to, from) = (bytes.as_mut_ptr().cast::<c_void>(), self.pointer + start as u64);
        // SAFETY: the buffer has at least the slice's bytes; the slice outlives the copy, for it is waited for.
        let code = unsafe { (functions.download)(to, from, bytes.len(), self.gpu.stream) };
        let copied = functions.check("cuMemcpyDtoHAsync", code);
        // Waited for in any case: a copy that began must not outlive the slice.
        self.gpu.synchronize().and(copied)
    }

    /// Copies `len` bytes of another buffer of the same device: from its byte `from` on to `to`.
    ///
    /// # Errors
    /// As [`upload`](Self::upload).
    pub fn copy_part(
        &mut self,
        x: &DeviceBuffer,
        from: usize,
        to: usize,
        len: usize,
    ) -> Result<()> {
        let inside = |start: usize, end: usize| start.checked_add(len).is_some_and(|at| at <= end);
        require(inside(from, x.len) && inside(to, self.len), "cuda copy: outside the buffer")?;
        require(std::ptr::eq(self.gpu, x.gpu), "cuda copy: two devices")?;
        if len == 0 {
            return Ok(());
        }
        self.gpu.bind()?;
        let functions = self.gpu.functions;
        let (to, from) = (self.pointer + to as u64, x.pointer + from as u64);
        // SAFETY: both places are inside; the stream orders the copy before their next use.
        let code = unsafe { (functions.copy)(to, from, len, self.gpu.stream) };
        functions.check("cuMemcpyDtoDAsync", code)
    }

    /// Sets all bytes to 0.
    ///
    /// # Errors
    /// [`Cuda`](Error::Cuda).
    pub fn zero(&mut self) -> Result<()> {
        if self.len == 0 {
            return Ok(());
        }
        self.gpu.bind()?;
        let functions = self.gpu.functions;
        // SAFETY: the buffer has `len` bytes.
        let code = unsafe { (functions.fill_8)(self.pointer, 0, self.len, self.gpu.stream) };
        functions.check("cuMemsetD8Async", code)
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        let Some(class) = (self.len > 0).then(|| Class::of(self.len)).flatten() else { return };
        let mut pool = self.gpu.lock();
        pool.stats.live -= class.size;
        pool.stats.cached += class.size;
        pool.free[class.index].push(self.pointer);
    }
}

fn refused(requested: usize, pool: &Pool) -> Error {
    Error::OutOfMemory { requested, live: pool.stats.live, limit: pool.limit }
}

impl Gpu {
    fn lock(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Memory from the driver; after everything cached was given back, if need be.
    fn obtain(&self, pool: &mut Pool, size: usize) -> Result<DevicePointer> {
        self.bind()?;
        let mut pointer = 0;
        for again in [false, true] {
            // SAFETY: a place for a pointer.
            match unsafe { (self.functions.memory_alloc)(&mut pointer, size) } {
                OUT_OF_MEMORY if again => return Err(refused(size, pool)),
                OUT_OF_MEMORY => self.give_back(pool)?,
                code => {
                    self.functions.check("cuMemAlloc", code)?;
                    break;
                }
            }
        }
        Ok(pointer)
    }

    fn give_back(&self, pool: &mut Pool) -> Result<()> {
        self.bind()?;
        let mut freed = Ok(());
        for index in 0..COUNT {
            while let Some(pointer) = pool.free[index].pop() {
                pool.stats.cached -= Class::size_at(index);
                // SAFETY: a block of the driver's that no buffer owns; freeing waits for work that uses it.
                let code = unsafe { (self.functions.memory_free)(pointer) };
                freed = freed.and(self.functions.check("cuMemFree", code));
            }
        }
        freed
    }

    /// Live, peak and cached bytes, and how often the driver was asked for memory.
    pub fn memory_stats(&self) -> MemoryStats {
        self.lock().stats
    }

    /// Sets the peak to what is live.
    pub fn reset_peak(&self) {
        let mut pool = self.lock();
        pool.stats.peak = pool.stats.live;
    }

    /// Sets the limit on live bytes, or removes it.
    pub fn set_memory_limit(&self, limit: Option<usize>) {
        self.lock().limit = limit.unwrap_or(usize::MAX);
    }

    /// Gives all cached blocks back to the driver.
    ///
    /// # Errors
    /// [`Cuda`](Error::Cuda): a fault of earlier work.
    pub fn empty_cache(&self) -> Result<()> {
        let mut pool = self.lock();
        self.give_back(&mut pool)
    }
}
