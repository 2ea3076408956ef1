//! Storage: one buffer on one device, shared by the tensors that view it.

use std::sync::Arc;

use ferrotape_kernels::Pod;
use ferrotape_kernels::buffer::{Buffer, Shared};
use ferrotape_kernels::cuda::DeviceBuffer;

use crate::device::Device;
use crate::error::{Error, Result};
use crate::execute::Output;
use crate::op::Meta;
use crate::tensor::Tensor;

/// Where a tensor's elements lie; immutable while shared. What an operation makes lies in the tensor itself, so that it takes
/// one allocation; a view keeps the tensor that it looks into.
pub(crate) enum Storage {
    Own(Block),
    Of(Tensor),
}

/// Memory of one device.
pub(crate) struct Block {
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
    #[inline(always)]
    pub(crate) fn new(op: &'static str, bytes: usize, device: Device) -> Result<Storage> {
        match device {
            Device::Cpu => match Buffer::small(bytes) {
                Ok(buffer) => Ok(Storage::of(buffer)),
                Err(error) => Err(Error::from_kernel(op, error)),
            },
            Device::Cuda(at) => {
                let made = at.gpu().and_then(|gpu| DeviceBuffer::new(gpu, bytes));
                let cuda = Some(made.map_err(|error| Error::from_kernel(op, error))?);
                Ok(Storage::Own(Block { buffer: Buffer::empty(), cuda, device }))
            }
        }
    }

    /// No memory at all, on the CPU.
    #[inline]
    pub(crate) fn empty() -> Storage {
        Storage::of(Buffer::empty())
    }

    /// A buffer of the CPU's.
    #[inline]
    pub(crate) fn of(buffer: Buffer) -> Storage {
        Storage::Own(Block { buffer, cuda: None, device: Device::Cpu })
    }

    /// Memory of another owner on the CPU, to read.
    pub(crate) fn external(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Storage> {
        let buffer = Buffer::from_external(owner).map_err(|e| Error::from_kernel("map", e))?;
        Ok(Storage::of(buffer))
    }

    // A view's tensor is never a view itself: one step.
    #[inline]
    fn block(&self) -> &Block {
        match self {
            Storage::Own(block) => block,
            Storage::Of(tensor) => tensor.0.storage.block(),
        }
    }

    #[inline]
    pub(crate) fn device(&self) -> Device {
        self.block().device
    }

    /// The CPU's memory; nothing if it is a GPU's.
    #[inline]
    pub(crate) fn buffer(&self) -> &Buffer {
        &self.block().buffer
    }

    /// The CPU's memory, if that is where it lies.
    #[inline]
    pub(crate) fn on_cpu(&self) -> Option<&Buffer> {
        let block = self.block();
        (block.device == Device::Cpu).then_some(&block.buffer)
    }

    /// The GPU's memory.
    #[inline]
    pub(crate) fn cuda(&self) -> Option<&DeviceBuffer> {
        self.block().cuda.as_ref()
    }

    /// The elements of a buffer of its own, to write; none where it has none.
    #[inline(always)]
    pub(crate) fn own_elements<T: Pod>(&mut self) -> &mut [T] {
        match self {
            Storage::Own(block) => block.buffer.as_mut_slice(),
            Storage::Of(_) => &mut [],
        }
    }

    /// The memory to write, if no one else sees it (its own tensor being seen by the caller alone).
    pub(crate) fn exclusive(&mut self) -> Option<Memory<'_>> {
        let block = match self {
            Storage::Own(block) => block,
            Storage::Of(tensor) => return Shared::get_mut(&mut tensor.0)?.storage.exclusive(),
        };
        let external = block.buffer.is_external();
        let memory = Memory { buffer: &mut block.buffer, cuda: block.cuda.as_mut() };
        (!external).then_some(memory)
    }
}
