//! The short way for what is asked most and is often small: dense f32 tensors in the CPU's memory, given to look at only, and nobody who
//! listens. Does what the long way does for them, without its lists.

use ferrotape_kernels::cpu::gemm::{self, Epilogue, Matrix};
use ferrotape_kernels::cpu::map::{self, Source};

use super::Operand;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::{Layout, few};
use crate::observe::{self, Tag};
use crate::op::Op;
use crate::storage::Storage;
use crate::tensor::Tensor;

/// The output of an elementwise operation or of a product of two matrices, if nothing but the kernel has a say in it.
#[inline]
pub(super) fn plain(op: &Op, operands: &[Operand<'_>]) -> Option<Result<Tensor>> {
    if observe::is_heard() {
        return None;
    }
    match (op, operands) {
        (Op::Unary(unary), [Operand::Ref(x)]) => {
            let source = Source::Slice(elements(x)?);
            Some(made(op, x.shape(), x.len(), |y| map::unary(*unary, source, y)))
        }
        (Op::Binary(binary), [Operand::Ref(a), Operand::Ref(b)]) if a.shape() == b.shape() => {
            let (x, y) = (Source::Slice(elements(a)?), Source::Slice(elements(b)?));
            Some(made(op, a.shape(), a.len(), |z| map::binary(*binary, x, y, z)))
        }
        (Op::Matmul, [Operand::Ref(a), Operand::Ref(b)]) => {
            let (&[m, k], &[l, n]) = (a.shape(), b.shape()) else { return None };
            // What is too large, or empty, is for the long way to say.
            let len =
                m.checked_mul(n).filter(|&len| k == l && k > 0 && len > 0 && len < 1 << 40)?;
            let (x, y) = (matrix(elements(a)?, k), matrix(elements(b)?, n));
            Some(made(op, &[m, n], len, |c| gemm::gemm([m, k, n], x, y, Epilogue::default(), c, n)))
        }
        _ => None,
    }
}

/// The elements of a tensor that only its kernel cares about.
#[inline]
fn elements(x: &Tensor) -> Option<&[f32]> {
    let plain = x.dtype() == DType::F32 && x.device() == Device::Cpu && !x.tag().is_live();
    if plain { x.elements() } else { None }
}

fn matrix(data: &[f32], columns: usize) -> Matrix<'_, f32> {
    Matrix { data, offset: 0, row_stride: columns as isize, column_stride: 1 }
}

/// A tensor in new memory, written by `kernel`.
#[inline]
fn made(
    op: &Op,
    shape: &[usize],
    len: usize,
    kernel: impl FnOnce(&mut [f32]) -> ferrotape_kernels::Result<()>,
) -> Result<Tensor> {
    let mut storage = Storage::new(op.name(), len * size_of::<f32>(), Device::Cpu)?;
    let Some(memory) = storage.exclusive() else {
        return Err(Error::argument(op.name(), "internal: new memory is shared"));
    };
    let told = kernel(memory.buffer.as_mut_slice());
    told.map_err(|error| Error::from_kernel(op.name(), error))?;
    let layout = Layout::contiguous(few(shape));
    Ok(Tensor::dense(storage, layout, len, DType::F32, Tag::NONE))
}
