//! Storage: one buffer on one device, shared by the tensors that view it.

use std::sync::Arc;

use ferrotape_kernels::buffer::Buffer;
use ferrotape_kernels::cuda::DeviceBuffer;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::execute::Output;
use crate::op::Meta;

/// A shared buffer; immutable while shared.
#[derive(Debug, Clone)]
pub(crate) struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// Empty where the memory is a GPU's.
    buffer: Buffer,
    cuda: Option<DeviceBuffer>,
    device: Device,
}

/// A storage's memory, to write.
pub(crate) struct Memory<'a> {
    pub(crate) buffer: &'a mut Buffer,
    pub(crate) cuda: Option<&'a mut DeviceBuffer>,
}

impl<'a> Memory<'a> {
    /// As a destination.
    pub(crate) fn output(self, meta: &'a Meta) -> Output<'a> {
        Output { buffer: self.buffer, cuda: self.cuda, meta }
    }

    /// Bytes.
    pub(crate) fn len(&self) -> usize {
        self.cuda.as_ref().map_or(self.buffer.len(), |cuda| cuda.len())
    }
}

impl Storage {
    /// `bytes` of stale memory on `device`.
    pub(crate) fn new(op: &'static str, bytes: usize, device: Device) -> Result<Storage> {
        let made = match device {
            Device::Cpu => Buffer::new(bytes).map(|buffer| Inner { buffer, cuda: None, device }),
            Device::Cuda(at) => at
                .gpu()
                .and_then(|gpu| DeviceBuffer::new(gpu, bytes))
                .map(|cuda| Inner { buffer: Buffer::empty(), cuda: Some(cuda), device }),
        };
        Ok(Storage(Arc::new(made.map_err(|error| Error::from_kernel(op, error))?)))
    }

    /// No memory at all, on the CPU.
    pub(crate) fn empty() -> Storage {
        let (buffer, device) = (Buffer::empty(), Device::Cpu);
        Storage(Arc::new(Inner { buffer, cuda: None, device }))
    }

    /// A buffer of the CPU's.
    pub(crate) fn of(buffer: Buffer) -> Storage {
        Storage(Arc::new(Inner { buffer, cuda: None, device: Device::Cpu }))
    }

    /// Memory of another owner on the CPU, to read.
    pub(crate) fn external(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Storage> {
        let buffer = Buffer::from_external(owner).map_err(|e| Error::from_kernel("map", e))?;
        Ok(Storage(Arc::new(Inner { buffer, cuda: None, device: Device::Cpu })))
    }

    pub(crate) fn device(&self) -> Device {
        self.0.device
    }

    /// The CPU's memory; nothing if it is a GPU's.
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.0.buffer
    }

    /// The GPU's memory.
    pub(crate) fn cuda(&self) -> Option<&DeviceBuffer> {
        self.0.cuda.as_ref()
    }

    /// The memory to write, if no one else sees it.
    pub(crate) fn exclusive(&mut self) -> Option<Memory<'_>> {
        let inner = Arc::get_mut(&mut self.0)?;
        let external = inner.buffer.is_external();
        let memory = Memory { buffer: &mut inner.buffer, cuda: inner.cuda.as_mut() };
        (!external).then_some(memory)
    }
}
