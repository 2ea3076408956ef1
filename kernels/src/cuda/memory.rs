//! A device's memory: a caching pool with the CPU's size classes, statistics and a hard limit.
//!
//! The stream orders all work of a device, so a freed block can be handed out again at once. Blocks go back to the driver when it is
//! out of memory, and by [`empty_cache`](Gpu::empty_cache).
//!
//! For tools that watch the memory (`compute-sanitizer`, the stand-in driver under ASan): with `FERROTAPE_CUDA_EXACT_BLOCKS=1` in the
//! environment, every buffer is a block of the driver's of exactly its length, freed with it. It is slow, and each free waits.

use std::sync::{MutexGuard, PoisonError};

use super::driver::{DevicePointer, Gpu};
use super::facts::Facts;
use super::stream::Paused;
use crate::buffer::MemoryStats;
use crate::buffer::class::{COUNT, Class};
use crate::error::{Error, Result, require};

/// The free blocks and the accounts.
pub(super) struct Pool {
    free: Vec<Vec<DevicePointer>>,
    stats: MemoryStats,
    limit: usize,
    /// Blocks have their buffer's length and are not kept.
    exact: bool,
}

impl Pool {
    pub(super) fn new(exact: bool) -> Self {
        let free = std::iter::repeat_with(Vec::new).take(COUNT).collect();
        Pool { free, stats: MemoryStats::default(), limit: usize::MAX, exact }
    }

    /// The class for a buffer of this length, and its block's size.
    fn class_of(&self, len: usize) -> Option<(usize, usize)> {
        let class = Class::of(len)?;
        Some((class.index, if self.exact { len } else { class.size }))
    }
}

/// The driver's word for: out of memory.
const OUT_OF_MEMORY: u32 = 2;

/// Owned memory of a device, given back to its pool on drop. Stale when new.
pub struct DeviceBuffer {
    gpu: &'static Gpu,
    pointer: DevicePointer,
    len: usize,
    pub(super) facts: Facts,
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
            return Ok(DeviceBuffer { gpu, pointer: 0, len, facts: Facts::default() });
        }
        let mut pool = gpu.lock();
        let Some((index, size)) = pool.class_of(len) else { return Err(refused(len, &pool)) };
        let live = pool.stats.live.saturating_add(size);
        if live > pool.limit {
            return Err(refused(size, &pool));
        }
        let pointer = match pool.free[index].pop() {
            Some(pointer) => {
                pool.stats.cached -= size;
                pointer
            }
            None => {
                let held = live.saturating_add(pool.stats.cached);
                if held > pool.limit {
                    gpu.give_back(&mut pool)?;
                }
                let pointer = gpu.obtain(&mut pool, size)?;
                pool.stats.requests += 1;
                pointer
            }
        };
        pool.stats.live = live;
        pool.stats.peak = pool.stats.peak.max(live);
        drop(pool);
        Ok(DeviceBuffer { gpu, pointer, len, facts: Facts::default() })
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

    /// To be called before it is written by its address: nothing is known of its contents any more.
    pub fn forget(&mut self) {
        self.facts.forget();
    }

    /// Its address on the device.
    pub fn address(&self) -> u64 {
        self.pointer
    }

    /// Writes `bytes`, as many as it has, as the next work on the stream: they are copied before it returns, but not waited for.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) for another length; [`Cuda`](Error::Cuda): the driver's refusal, or a fault of earlier work.
    pub fn upload(&mut self, bytes: &[u8]) -> Result<()> {
        self.forget();
        require(bytes.len() == self.len, "cuda upload: the lengths differ")?;
        if self.len == 0 {
            return Ok(());
        }
        // SAFETY: the buffer has as many; a block that is freed is only used by later work on the stream.
        unsafe { self.gpu.upload(self.pointer, bytes) }
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
        // SAFETY: the buffer has as many from there on.
        unsafe { self.gpu.download(self.pointer + start as u64, bytes) }
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
        self.forget();
        let inside = |start: usize, end: usize| start.checked_add(len).is_some_and(|at| at <= end);
        require(inside(from, x.len) && inside(to, self.len), "cuda copy: outside the buffer")?;
        require(std::ptr::eq(self.gpu, x.gpu), "cuda copy: two devices")?;
        if len == 0 {
            return Ok(());
        }
        let (to, from) = (self.pointer + to as u64, x.pointer + from as u64);
        self.gpu.enqueue("cuMemcpyDtoDAsync", |functions, stream| {
            // SAFETY: both places are inside; the stream orders the copy before their next use.
            unsafe { (functions.copy)(to, from, len, stream) }
        })
    }

    /// Sets all bytes to 0.
    ///
    /// # Errors
    /// [`Cuda`](Error::Cuda).
    pub fn zero(&mut self) -> Result<()> {
        self.forget();
        if self.len == 0 {
            return Ok(());
        }
        self.gpu.enqueue("cuMemsetD8Async", |functions, stream| {
            // SAFETY: the buffer has `len` bytes.
            unsafe { (functions.fill_8)(self.pointer, 0, self.len, stream) }
        })
    }
}

impl Drop for DeviceBuffer {
    fn drop(&mut self) {
        if self.len == 0 {
            return;
        }
        let mut pool = self.gpu.lock();
        let Some((index, size)) = pool.class_of(self.len) else { return };
        pool.stats.live -= size;
        if !pool.exact {
            pool.stats.cached += size;
            pool.free[index].push(self.pointer);
            return;
        }
        drop(pool);
        if let Ok(paused) = self.gpu.pause() {
            // What went wrong before is told by the next read.
            let _ = self.gpu.free(&paused, self.pointer);
        }
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
                    self.check("cuMemAlloc", code)?;
                    break;
                }
            }
        }
        Ok(pointer)
    }

    fn give_back(&self, pool: &mut Pool) -> Result<()> {
        // What was recorded may use them.
        let paused = self.pause()?;
        self.wait(&paused)?;
        let mut freed = Ok(());
        for index in 0..COUNT {
            while let Some(pointer) = pool.free[index].pop() {
                pool.stats.cached -= Class::size_at(index);
                freed = freed.and(self.free(&paused, pointer));
            }
        }
        freed
    }

    /// Gives a block that no buffer owns back to the driver, which waits for the work that uses it.
    fn free(&self, _: &Paused<'_>, pointer: DevicePointer) -> Result<()> {
        // SAFETY: it came from `memory_alloc`; nothing recorded uses it.
        self.check("cuMemFree", unsafe { (self.functions.memory_free)(pointer) })
    }

    /// Live, peak and cached bytes, host memory that is pinned for copies, and how often the driver was asked for memory.
    pub fn memory_stats(&self) -> MemoryStats {
        MemoryStats { pinned: self.pinned(), ..self.lock().stats }
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

    /// Gives all cached blocks and the pinned memory back to the driver, once the work given to the device is done.
    ///
    /// # Errors
    /// [`Cuda`](Error::Cuda): a fault of earlier work.
    pub fn empty_cache(&self) -> Result<()> {
        self.give_back(&mut self.lock())?;
        self.unpin()
    }
}
