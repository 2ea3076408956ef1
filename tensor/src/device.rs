//! Devices: where tensors live, their memory statistics and limits.

use std::fmt;
use std::str::FromStr;

use ferrotape_kernels::buffer;
pub use ferrotape_kernels::buffer::MemoryStats;
use ferrotape_kernels::cuda::{self, Gpu};

use crate::error::{Error, Result};
use crate::graph::StepGraph;

/// Where a tensor lives and computes.
///
/// ```
/// # use ferrotape_tensor::{Device, Tensor, Result};
/// # fn main() -> Result<()> {
/// let device = Device::best();
/// let x = Tensor::from([1f32, 2.]).to_device(device)?;
/// assert_eq!(x.mul(2.0)?.to_vec::<f32>()?, [2., 4.]);
/// assert_eq!("cpu".parse::<Device>()?, Device::Cpu);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum Device {
    /// The processor.
    #[default]
    Cpu,
    /// An NVIDIA GPU: see [`Device::cuda`].
    Cuda(CudaDevice),
}

/// A GPU that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CudaDevice(usize);

impl CudaDevice {
    /// Its number.
    pub fn ordinal(self) -> usize {
        self.0
    }

    /// Opened; that it is there was seen when this value was made.
    pub(crate) fn gpu(self) -> ferrotape_kernels::Result<&'static Gpu> {
        cuda::gpu(self.0)
    }
}

/// What a device is.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeviceInfo {
    /// Its name.
    pub name: String,
    /// Bytes of memory in all; of the processor's, nothing is known here.
    pub memory: Option<usize>,
    /// Compute capability of a GPU, major and minor.
    pub capability: Option<(u32, u32)>,
}

impl Device {
    /// The processor.
    pub fn cpu() -> Device {
        Device::Cpu
    }

    /// GPU `ordinal` of the NVIDIA driver.
    ///
    /// # Errors
    /// No driver (`libcuda.so.1` is looked for), one that lacks a function (older than 525), no such device, compute capability below
    /// 7.5; the driver's refusal.
    #[track_caller]
    pub fn cuda(ordinal: usize) -> Result<Device> {
        let here = std::panic::Location::caller();
        Device::opened_cuda(ordinal).map_err(|error| error.at(here))
    }

    fn opened_cuda(ordinal: usize) -> Result<Device> {
        match cuda::gpu(ordinal) {
            Ok(_) => Ok(Device::Cuda(CudaDevice(ordinal))),
            Err(error) => Err(Error::from_kernel("cuda", error)),
        }
    }

    /// All GPUs; none where there is no driver.
    pub fn cuda_all() -> Vec<Device> {
        (0..cuda::count().unwrap_or(0)).filter_map(|ordinal| Device::cuda(ordinal).ok()).collect()
    }

    /// The first GPU if there is one, else the processor.
    pub fn best() -> Device {
        Device::cuda(0).unwrap_or(Device::Cpu)
    }

    /// True for a GPU.
    pub fn is_cuda(self) -> bool {
        matches!(self, Device::Cuda(_))
    }

    /// Name, memory, capability.
    ///
    /// # Errors
    /// The driver's refusal.
    pub fn info(self) -> Result<DeviceInfo> {
        match self {
            Device::Cpu => {
                let name = format!("cpu ({})", crate::isa());
                Ok(DeviceInfo { name, memory: None, capability: None })
            }
            Device::Cuda(at) => {
                let gpu = at.gpu().map_err(|error| Error::from_kernel("cuda", error))?;
                let info = gpu.info();
                Ok(DeviceInfo {
                    name: info.name.clone(),
                    memory: Some(info.memory),
                    capability: Some(info.capability),
                })
            }
        }
    }

    /// Waits for all work given to a GPU; a fault of that work is an error here, or at the next read.
    ///
    /// # Errors
    /// The driver's words for the fault.
    #[track_caller]
    pub fn synchronize(self) -> Result<()> {
        let here = std::panic::Location::caller();
        match self {
            Device::Cpu => Ok(()),
            Device::Cuda(at) => at
                .gpu()
                .and_then(Gpu::synchronize)
                .map_err(|error| Error::from_kernel("synchronize", error).at(here)),
        }
    }

    /// For steps of a loop whose work is recorded and started together: see [`StepGraph`].
    pub fn graph(self) -> StepGraph {
        StepGraph::new(self)
    }

    /// Live, peak and cached bytes, host memory that copies to a GPU go through, and the number of requests to the system so far.
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
        match self.opened() {
            Some(gpu) => gpu.memory_stats(),
            None => buffer::memory_stats(),
        }
    }

    /// Sets the peak to the live bytes.
    pub fn reset_peak(self) {
        match self.opened() {
            Some(gpu) => gpu.reset_peak(),
            None => buffer::reset_peak(),
        }
    }

    /// Sets a hard limit on live bytes, or removes it. An operation that would exceed it fails with
    /// [`OutOfMemory`](crate::ErrorKind::OutOfMemory) and leaves everything as it was.
    pub fn set_memory_limit(self, limit: Option<usize>) {
        match self.opened() {
            Some(gpu) => gpu.set_memory_limit(limit),
            None => buffer::set_memory_limit(limit),
        }
    }

    /// Lets all threads have the free memory that this one keeps for itself: for a thread that frees what others allocate, so
    /// that they need not ask the system. A GPU's is shared anyway.
    pub fn share_cache(self) {
        if self == Device::Cpu {
            buffer::share_cache();
        }
    }

    /// Gives cached memory back to the system.
    pub fn empty_cache(self) {
        match self.opened() {
            // A fault of earlier work is told by the next read.
            Some(gpu) => drop(gpu.empty_cache()),
            None => buffer::empty_cache(),
        }
    }

    /// The GPU, if it is one.
    pub(crate) fn opened(self) -> Option<&'static Gpu> {
        match self {
            Device::Cpu => None,
            Device::Cuda(at) => at.gpu().ok(),
        }
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Cpu => f.pad("cpu"),
            Device::Cuda(at) => f.pad(&format!("cuda:{}", at.0)),
        }
    }
}

/// `cpu`, `cuda`, `cuda:1`, `best`.
impl FromStr for Device {
    type Err = Error;

    fn from_str(text: &str) -> Result<Device> {
        match text {
            "cpu" => Ok(Device::Cpu),
            "best" => Ok(Device::best()),
            "cuda" => Device::opened_cuda(0),
            _ => match text.strip_prefix("cuda:").and_then(|number| number.parse().ok()) {
                Some(ordinal) => Device::opened_cuda(ordinal),
                None => {
                    let message = format!("no such device: {text:?} (cpu, cuda, cuda:N or best)");
                    Err(Error::argument("device", message))
                }
            },
        }
    }
}
