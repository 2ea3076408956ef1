//! Recurrent layers in int8.

use ferrotape_kernels::cpu::int8::{Recurrent, RecurrentWeights};
use ferrotape_kernels::cpu::sequence::{RecurrentCell, SequenceShape};
use smallvec::{SmallVec, smallvec};

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::{Meta, SequenceOp};
use crate::shape::Dims;
use crate::tensor::Tensor;

const OP: &str = "int8_sequence";

/// A recurrent layer and direction with packed weights; input and state are quantized when they come along, each row by its own range.
#[derive(Debug)]
pub struct Int8Recurrent {
    pub(crate) packed: Recurrent,
    pub(crate) reverse: bool,
    pub(crate) lengths: bool,
}

/// Weights of the input or of the state of an [`Int8Recurrent`].
#[derive(Debug, Clone)]
pub struct Int8RecurrentWeights {
    /// `[gates * hidden, ..]`: i8; their zero point is 0.
    pub codes: Tensor,
    /// `[gates * hidden]`
    pub scale: Vec<f32>,
    /// `[gates * hidden]`, or empty
    pub bias: Vec<f32>,
}

impl Int8Recurrent {
    /// The layer of `settings`, whose weights are those of the input and of the state.
    ///
    /// # Errors
    /// A projection; codes of another type or shape, scales or biases of another length or that are none; memory over the limit.
    pub fn new(settings: &SequenceOp, weights: [&Int8RecurrentWeights; 2]) -> Result<Self> {
        if settings.projection {
            return Err(Error::argument(OP, "a projection has no int8 form"));
        }
        let [of_input, of_state] = weights;
        let (&[rows, input], &[gates, hidden]) = (of_input.codes.shape(), of_state.codes.shape())
        else {
            return Err(Error::shape(OP, "weights: two dims expected"));
        };
        if rows != gates || settings.cell.gates().checked_mul(hidden) != Some(gates) {
            let (a, b) = (of_input.codes.shape(), of_state.codes.shape());
            return Err(Error::shape(OP, format!("weights of shapes {a:?} and {b:?}")));
        }
        let codes = [of_input.codes.to_vec::<i8>()?, of_state.codes.to_vec::<i8>()?];
        let of = |i: usize| RecurrentWeights {
            codes: &codes[i],
            scale: &weights[i].scale,
            bias: (!weights[i].bias.is_empty()).then_some(&weights[i].bias[..]),
        };
        let packed = Recurrent::new(settings.cell, [input, hidden], &of(0), &of(1));
        let packed = packed.map_err(|error| Error::from_kernel(OP, error))?;
        Ok(Int8Recurrent { packed, reverse: settings.reverse, lengths: settings.lengths })
    }

    /// The codes of both weights, of the shapes that they were given in.
    ///
    /// # Errors
    /// Memory over the limit.
    pub fn codes(&self) -> Result<[Tensor; 2]> {
        let [input, hidden] = self.packed.sizes();
        let gates = self.packed.cell().gates() * hidden;
        let [(of_input, ..), (of_state, ..)] = self.packed.weights();
        Ok([
            Tensor::from_vec(of_input, [gates, input])?,
            Tensor::from_vec(of_state, [gates, hidden])?,
        ])
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.packed.bytes()
    }

    pub(crate) fn has_cell_state(&self) -> bool {
        self.packed.cell() == RecurrentCell::Lstm
    }

    /// x, h0, c0 (LSTM), lengths (if there are any).
    pub(crate) fn operands(&self) -> usize {
        2 + usize::from(self.has_cell_state()) + usize::from(self.lengths)
    }

    pub(crate) fn shape(&self, x: &[usize]) -> SequenceShape {
        let [input, hidden] = self.packed.sizes();
        SequenceShape {
            cell: self.packed.cell(),
            reverse: self.reverse,
            steps: x[0],
            batch: x[1],
            input,
            hidden,
            output: hidden,
            projected: false,
        }
    }

    /// y, h_n, c_n (LSTM); the check of the operands.
    pub(crate) fn outputs(&self, inputs: &[Meta]) -> Result<SmallVec<[Meta; 2]>> {
        let [input, hidden] = self.packed.sizes();
        let x = &inputs[0];
        let &[steps, batch, features] = &x.shape[..] else {
            return Err(Error::shape(OP, format!("the sequence of shape {:?}", x.shape)));
        };
        if steps == 0 || features != input {
            let message =
                format!("the sequence of shape {:?}: [.., .., {input}] expected", x.shape);
            return Err(Error::shape(OP, message));
        }
        let states = 1 + usize::from(self.has_cell_state());
        for (place, meta) in inputs.iter().enumerate() {
            let (shape, dtype) = match place {
                0 => (x.shape.clone(), DType::F32),
                _ if place <= states => (Dims::from_slice(&[batch, hidden]), DType::F32),
                _ => (Dims::from_slice(&[batch]), DType::I64),
            };
            if meta.shape != shape || meta.dtype != dtype {
                let (found, of) = (&meta.shape, meta.dtype);
                let message =
                    format!("operand {place}: {found:?} of {of}, {shape:?} of {dtype} expected");
                return Err(Error::shape(OP, message));
            }
        }
        let meta = |shape: &[usize]| Meta { shape: Dims::from_slice(shape), ..x.clone() };
        let mut metas = smallvec![meta(&[steps, batch, hidden])];
        metas.extend(std::iter::repeat_n(meta(&[batch, hidden]), states));
        Ok(metas)
    }
}
