//! The short way for what is asked most and is often small: dense f32 tensors in the CPU's memory, given to look at only, and at most
//! one listener. Does what the long way does for them, without its lists.

use std::slice::from_ref;

use ferrotape_kernels::Result as KernelResult;
use ferrotape_kernels::cpu::gemm::{self, Epilogue, Matrix};
use ferrotape_kernels::cpu::map::{self, Source};
use ferrotape_kernels::elementwise::{BinaryOp, UnaryOp};

use super::{Operand, REPLACED, check_outputs, first_of};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::observe::{self, Hearing, Observer, Tag};
use crate::op::{Meta, Op};
use crate::shape::Dims;
use crate::tensor::Tensor;

/// The output of an elementwise operation or of a product of two matrices, if nothing but the kernel and one listener have a say in it.
pub(super) fn plain(op: &Op, operands: &[Operand<'_>]) -> Option<Result<Tensor>> {
    match (op, operands) {
        (Op::Unary(op), [Operand::Ref(a)]) => unary(*op, a),
        (Op::Binary(op), [Operand::Ref(a), Operand::Ref(b)]) => binary(*op, a, b),
        (Op::Matmul, [Operand::Ref(a), Operand::Ref(b)]) => product(a, b),
        _ => None,
    }
}

fn unary(op: UnaryOp, a: &Tensor) -> Option<Result<Tensor>> {
    let planned = Planned::new(
        || Op::Unary(op),
        [a],
        a.shape(),
        a.len(),
        |[x], out| map::unary(op, Source::Slice(x), out),
    );
    planned.output()
}

/// As [`plain`].
pub(crate) fn binary(op: BinaryOp, a: &Tensor, b: &Tensor) -> Option<Result<Tensor>> {
    if !same(a, b) {
        return None;
    }
    let planned = Planned::new(
        || Op::Binary(op),
        [a, b],
        a.shape(),
        a.len(),
        |[x, y], out| map::binary_slices(op, x, y, out),
    );
    planned.output()
}

/// True for tensors of one shape. (A comparison of slices is a call.)
#[inline(always)]
fn same(a: &Tensor, b: &Tensor) -> bool {
    a.rank() == b.rank() && a.shape().iter().zip(b.shape()).all(|(m, n)| m == n)
}

fn product(a: &Tensor, b: &Tensor) -> Option<Result<Tensor>> {
    let (&[m, k], &[l, n]) = (a.shape(), b.shape()) else { return None };
    // What is too large, or empty, is for the long way to say.
    let len = m.checked_mul(n).filter(|&len| len > 0 && len < 1 << 40 && k == l && k > 0)?;
    let shape = [m, n];
    let planned = Planned::new(
        || Op::Matmul,
        [a, b],
        &shape,
        len,
        |[x, y], out| {
            gemm::gemm([m, k, n], matrix(x, k), matrix(y, n), Epilogue::default(), out, n)
        },
    );
    planned.output()
}

fn matrix(data: &[f32], columns: usize) -> Matrix<'_, f32> {
    Matrix { data, offset: 0, row_stride: columns as isize, column_stride: 1 }
}

/// An output, and how it is made of the inputs' elements.
struct Planned<'a, O, C, const N: usize> {
    /// Put together only for one who asks.
    op: O,
    inputs: [&'a Tensor; N],
    shape: &'a [usize],
    len: usize,
    compute: C,
}

impl<'a, O, C, const N: usize> Planned<'a, O, C, N>
where
    O: Fn() -> Op,
    C: FnOnce([&'a [f32]; N], &mut [f32]) -> KernelResult<()>,
{
    #[inline(always)]
    fn new(op: O, inputs: [&'a Tensor; N], shape: &'a [usize], len: usize, compute: C) -> Self {
        Planned { op, inputs, shape, len, compute }
    }

    #[inline(always)]
    fn output(self) -> Option<Result<Tensor>> {
        match observe::hearing() {
            Hearing::Nobody => {
                let (elements, tag) = self.elements(Tag::NONE)?;
                Some(self.made(elements, tag))
            }
            Hearing::One(listener) => self.announced(&*listener),
            Hearing::Others => None,
        }
    }

    /// The inputs' elements, if nobody but their kernel, and the one who listens with the tag `own`, cares about them, and the tag that they
    /// hand on.
    #[inline(always)]
    fn elements(&self, own: Tag) -> Option<([&'a [f32]; N], Tag)> {
        let (mut elements, mut tag) = ([[].as_slice(); N], Tag::NONE);
        for (input, elements) in self.inputs.into_iter().zip(&mut elements) {
            if input.tag().is_live() {
                tag = (input.tag() == own).then_some(own)?;
            }
            *elements = input.f32_elements()?;
        }
        Some((elements, tag))
    }

    /// In new memory.
    #[inline(always)]
    fn made(self, elements: [&'a [f32]; N], tag: Tag) -> Result<Tensor> {
        let Planned { op, shape, len, compute, .. } = self;
        let made = Tensor::computed(shape, len, tag, |out| compute(elements, out));
        made.map_err(|error| Error::from_kernel(op().name(), error))
    }

    /// What the listener has in place of the output, or the output, made between its `begin` and `end`.
    #[inline(never)]
    fn announced(self, listener: &dyn Observer) -> Option<Result<Tensor>> {
        let (elements, tag) = self.elements(listener.tag().unwrap_or(Tag::NONE))?;
        Some(self.heard(listener, elements, tag))
    }

    #[inline(always)]
    fn heard(self, listener: &dyn Observer, elements: [&'a [f32]; N], tag: Tag) -> Result<Tensor> {
        let (op, inputs) = (&(self.op)(), &{ self.inputs });
        // Filled where it stays: a move of what was just stored would wait for it.
        let mut meta = Meta { shape: Dims::new(), dtype: DType::F32, device: Device::Cpu };
        self.shape.iter().for_each(|&size| meta.shape.push(size));
        let metas = from_ref(&meta);
        if let Some(mut outputs) = listener.replace(op, inputs)? {
            check_outputs(op, metas, &outputs, REPLACED)?;
            return first_of(op, &mut outputs);
        }
        listener.begin(op, inputs)?;
        let outcome = self.made(elements, tag);
        let ended = listener.end(op, metas, outcome.as_ref().map(from_ref));
        // Of two failures the first one counts.
        outcome.and_then(|output| ended.map(|()| output))
    }
}
