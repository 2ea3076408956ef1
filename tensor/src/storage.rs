//! Storage: one buffer on one device, shared by the tensors that view it.

use std::sync::Arc;

use ferrotape_kernels::buffer::Buffer;

use crate::device::Device;
use crate::error::{Error, Result};

/// A shared buffer; immutable while shared.
#[derive(Debug, Clone)]
pub(crate) struct Storage(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    buffer: Buffer,
    device: Device,
}

impl Storage {
    /// `bytes` of stale memory on `device`.
    pub(crate) fn new(op: &'static str, bytes: usize, device: Device) -> Result<Storage> {
        let buffer = Buffer::new(bytes).map_err(|error| Error::from_kernel(op, error))?;
        Ok(Storage(Arc::new(Inner { buffer, device })))
    }

    /// No memory at all.
    pub(crate) fn empty(device: Device) -> Storage {
        Storage(Arc::new(Inner { buffer: Buffer::empty(), device }))
    }

    /// Memory of another owner on the CPU, to read.
    pub(crate) fn external(owner: Arc<dyn AsRef<[u8]> + Send + Sync>) -> Result<Storage> {
        let buffer = Buffer::from_external(owner).map_err(|e| Error::from_kernel("map", e))?;
        Ok(Storage(Arc::new(Inner { buffer, device: Device::Cpu })))
    }

    pub(crate) fn device(&self) -> Device {
        self.0.device
    }

    pub(crate) fn buffer(&self) -> &Buffer {
        &self.0.buffer
    }

    /// The buffer to write, if no one else sees it.
    pub(crate) fn exclusive(&mut self) -> Option<&mut Buffer> {
        Arc::get_mut(&mut self.0).map(|inner| &mut inner.buffer).filter(|b| !b.is_external())
    }
}
