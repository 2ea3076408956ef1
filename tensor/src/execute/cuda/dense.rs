//! Operands of kernels that take row-major ones alone.

use ferrotape_kernels::cuda::{Array, DeviceBuffer, Type, copy};

use super::{array, kind};
use crate::error::{Error, Result};
use crate::execute::told;
use crate::op::Op;
use crate::tensor::Tensor;

/// A tensor's elements row-major: where they lie if they lie so, else in a copy.
pub(super) enum Dense<'a> {
    Lying(Array<'a>),
    Copied(DeviceBuffer, Type),
}

impl<'a> Dense<'a> {
    pub(super) fn new(op: &Op, tensor: &'a Tensor) -> Result<Self> {
        let x = array(op, tensor)?;
        if x.is_contiguous() {
            return Ok(Dense::Lying(x));
        }
        let bytes = tensor.len() * tensor.dtype().size();
        let mut buffer = DeviceBuffer::new(x.buffer().gpu(), bytes)
            .map_err(|error| Error::from_kernel(op.name(), error))?;
        told(op, copy::copy(x, &mut buffer))?;
        Ok(Dense::Copied(buffer, kind(tensor.dtype())))
    }

    /// The elements as an array of this shape, with its row-major strides.
    pub(super) fn array<'b>(
        &'b self,
        op: &Op,
        shape: &'b [usize],
        strides: &'b [isize],
    ) -> Result<Array<'b>> {
        let (buffer, kind, offset) = match self {
            Dense::Lying(x) => (x.buffer(), x.kind(), x.offset()),
            Dense::Copied(buffer, kind) => (buffer, *kind, 0),
        };
        Array::new(buffer, kind, offset, shape, strides)
            .map_err(|error| Error::from_kernel(op.name(), error))
    }
}
