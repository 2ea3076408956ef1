//! The short way for what is asked most and is often small: dense f32 tensors in the CPU's memory, given to look at only, and at most
//! one listener. Does what the long way does for them, without its lists.

use std::slice::from_ref;

use ferrotape_kernels::buffer::Buffer;
use ferrotape_kernels::cpu::gemm::{self, Epilogue, Matrix};
use ferrotape_kernels::cpu::map::{self, Source};
use ferrotape_kernels::elementwise::{BinaryOp, UnaryOp};

use super::{Operand, REPLACED, check_outputs, first_of};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::layout::few;
use crate::observe::{self, Hearing, Observer, Tag};
use crate::op::{Meta, Op};
use crate::tensor::Tensor;

/// What is computed of the elements of one or two tensors.
#[derive(Clone, Copy)]
enum Work {
    Unary(UnaryOp),
    Binary(BinaryOp),
    /// Of matrices `[m, k]` and `[k, n]`.
    Product([usize; 3]),
}

/// The output of an elementwise operation or of a product of two matrices, if nothing but the kernel and one listener have a say in it.
pub(super) fn plain(op: &Op, operands: &[Operand<'_>]) -> Option<Result<Tensor>> {
    let (work, a, b) = match (op, operands) {
        (Op::Unary(unary), [Operand::Ref(a)]) => (Work::Unary(*unary), *a, *a),
        (Op::Binary(binary), [Operand::Ref(a), Operand::Ref(b)]) if same(a, b) => {
            (Work::Binary(*binary), *a, *b)
        }
        (Op::Matmul, [Operand::Ref(a), Operand::Ref(b)]) => {
            let (&[m, k], &[l, n]) = (a.shape(), b.shape()) else { return None };
            (Work::Product([m, k, n]), *a, (k == l && k > 0).then_some(*b)?)
        }
        _ => return None,
    };
    let hearing = observe::hearing();
    let own = match &hearing {
        Hearing::Nobody => Tag::NONE,
        Hearing::One(listener) => listener.tag().unwrap_or(Tag::NONE),
        Hearing::Others => return None,
    };
    let (of_a, x) = elements(a, own)?;
    let (of_b, y) = elements(b, own)?;
    let tag = of_a.max(of_b);
    let sizes;
    let (shape, len) = match work {
        Work::Unary(_) | Work::Binary(_) => (a.shape(), a.len()),
        Work::Product([m, _, n]) => {
            sizes = [m, n];
            // What is too large, or empty, is for the long way to say.
            (&sizes[..], m.checked_mul(n).filter(|&len| len > 0 && len < 1 << 40)?)
        }
    };
    // Put together where it is needed: it need not lie in memory for the short one of the two ways.
    let output = || Planned { op, work, elements: [x, y], shape, len, tag };
    Some(match &hearing {
        Hearing::One(listener) => announced(&**listener, &[a, b][..operands.len()], output()),
        _ => output().made(),
    })
}

/// What a listener has in place of the output, or the output, made between its `begin` and `end`.
#[inline(never)]
fn announced(listener: &dyn Observer, inputs: &[&Tensor], output: Planned<'_>) -> Result<Tensor> {
    let op = output.op;
    let meta = Meta { shape: few(output.shape), dtype: DType::F32, device: Device::Cpu };
    let metas = from_ref(&meta);
    if let Some(outputs) = listener.replace(op, inputs)? {
        check_outputs(op, metas, &outputs, REPLACED)?;
        return first_of(op, outputs);
    }
    listener.begin(op, inputs)?;
    let outcome = output.made();
    let ended = listener.end(op, metas, outcome.as_ref().map(from_ref));
    // Of two failures the first one counts.
    outcome.and_then(|output| ended.map(|()| output))
}

/// True for tensors of one shape. (A comparison of slices is a call.)
#[inline(always)]
fn same(a: &Tensor, b: &Tensor) -> bool {
    a.rank() == b.rank() && a.shape().iter().zip(b.shape()).all(|(m, n)| m == n)
}

/// The elements of a tensor that only its kernel, and the one who listens with the tag `own`, care about, and the tag that it hands on.
#[inline(always)]
fn elements(x: &Tensor, own: Tag) -> Option<(Tag, &[f32])> {
    let tag = if x.tag().is_live() { x.tag() } else { Tag::NONE };
    let plain =
        x.dtype() == DType::F32 && x.device() == Device::Cpu && (tag == Tag::NONE || tag == own);
    if plain { Some((tag, x.elements()?)) } else { None }
}

/// An output, and what it is made of.
struct Planned<'a> {
    op: &'a Op,
    work: Work,
    elements: [&'a [f32]; 2],
    shape: &'a [usize],
    len: usize,
    tag: Tag,
}

impl Planned<'_> {
    /// In new memory.
    #[inline(always)]
    fn made(self) -> Result<Tensor> {
        let Planned { op, work, elements: [x, y], shape, len, tag } = self;
        let failed = |error| Error::from_kernel(op.name(), error);
        let mut buffer = Buffer::small(len * size_of::<f32>()).map_err(failed)?;
        let out = buffer.as_mut_slice();
        let done = match work {
            Work::Unary(unary) => map::unary(unary, Source::Slice(x), out),
            Work::Binary(binary) => map::binary(binary, Source::Slice(x), Source::Slice(y), out),
            Work::Product([m, k, n]) => {
                let (x, y) = (matrix(x, k), matrix(y, n));
                gemm::gemm([m, k, n], x, y, Epilogue::default(), out, n)
            }
        };
        done.map_err(failed)?;
        Ok(Tensor::dense(buffer, shape, len, DType::F32, tag))
    }
}

fn matrix(data: &[f32], columns: usize) -> Matrix<'_, f32> {
    Matrix { data, offset: 0, row_stride: columns as isize, column_stride: 1 }
}
