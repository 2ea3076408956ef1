//! Codes beside the tensors that stand for them.

use ferrotape_tensor::{
    Device, Encoding, Int8Op, Op, Operand, Result, Tensor, WeakTensor, apply_one,
};

use super::trace::Key;

/// What a stand-in stands for.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// Codes; none below the zero point, if that is said.
    Codes(Tensor, Encoding, bool),
    /// Numbers that have steps before them which their layer has taken in.
    Numbers,
    /// The places of maxima, which nobody knows, on a device.
    Places(Device),
}

#[derive(Debug, Clone)]
pub(super) struct Held {
    pub(super) weak: WeakTensor,
    pub(super) value: Value,
    pub(super) key: Key,
    /// The steps that its layer has taken in and that are still to come.
    pub(super) ahead: Ahead,
}

/// Taken-in steps of a layer (by place in the plan, or a join's relu), and how many of them have come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Ahead {
    Nothing,
    Layer(usize, usize),
    Relu,
}

/// Codes of images as the kernels want them.
pub(super) fn nhwc(codes: &Tensor) -> Result<Tensor> {
    codes.permute([0, 2, 3, 1])?.contiguous()
}

/// What a held value stands for; `x` is its stand-in.
pub(super) fn numbers(held: &Held, x: &Tensor) -> Result<Tensor> {
    let Value::Codes(codes, from, _) = &held.value else { return Ok(x.clone()) };
    let images = codes.rank() == 4;
    let codes = if images { nhwc(codes)? } else { codes.clone() };
    apply_one(&Op::Int8(Int8Op::Decode { from: *from, images }), &mut [Operand::Own(codes)])
}
