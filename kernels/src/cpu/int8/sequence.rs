//! Recurrent layers with int8 weights and dynamic quantization: what `torch.ao.nn.quantized.dynamic.LSTM` is, a row at a time.
//!
//! Both products of a step are of codes; gates, cell and state are f32, by the passes of the f32 layers
//! ([`sequence`](crate::cpu::sequence)). Inputs and states are quantized row by row, so that a row's bits depend neither on its
//! batch nor on the other rows' lengths.

use super::gemm::gemm_under;
use super::rows::quantize_rows_under;
use super::scheme::Rule;
use super::{Activations, Codes, Order, Output, Packed, Zero};
use crate::buffer::Buffer;
use crate::cpu::isa::{Int8Isa, int8_isa};
use crate::cpu::sequence::{Active, RecurrentCell, SequenceShape, Step};
use crate::error::{Error, Result, require};

/// The weights of one of a layer's two products, for [`Recurrent::new`].
#[derive(Debug, Clone, Copy)]
pub struct RecurrentWeights<'a> {
    /// `[gates * hidden, input]` of the input, `[gates * hidden, hidden]` of the state; their zero point is 0.
    pub codes: &'a [i8],
    /// One, or one a row of `codes`.
    pub scale: &'a [f32],
    /// `[gates * hidden]`
    pub bias: Option<&'a [f32]>,
}

/// A recurrent layer and direction with packed weights. Gates stand in PyTorch's order: i f g o, or r z n.
#[derive(Debug)]
pub struct Recurrent {
    cell: RecurrentCell,
    input: usize,
    hidden: usize,
    products: [Product; 2],
}

#[derive(Debug)]
struct Product {
    packed: Packed,
    scale: Buffer,
    bias: Option<Buffer>,
}

impl Product {
    fn new(weights: &RecurrentWeights<'_>, k: usize, n: usize) -> Result<Product> {
        let RecurrentWeights { codes, scale, bias } = *weights;
        let fits = scale.len() == 1 || scale.len() == n;
        require(fits, "int8 sequence: one scale, or one a row of the weights")?;
        require(bias.is_none_or(|bias| bias.len() == n), "int8 sequence: length of a bias")?;
        let keep = |from: &[f32]| {
            let mut buffer = Buffer::new(size_of_val(from))?;
            buffer.as_mut_slice().copy_from_slice(from);
            Ok::<_, Error>(buffer)
        };
        let packed = Packed::new(Order::OutIn, k, n, codes)?;
        Ok(Product { packed, scale: keep(scale)?, bias: bias.map(keep).transpose()? })
    }

    /// `to[.., stride]` = the quantized rows times the weights.
    fn run(
        &self,
        isa: Int8Isa,
        rows: usize,
        from: &Rows,
        to: &mut [f32],
        stride: usize,
    ) -> Result<()> {
        let k = self.packed.k();
        let zero = Zero::Each(&from.zero.as_slice()[..rows]);
        let codes = Codes::U8(&from.codes.as_slice()[..rows * k]);
        let output = Output::F32 {
            out: to,
            scale: self.scale.as_slice(),
            row_scale: Some(&from.scale.as_slice()[..rows]),
            bias: self.bias.as_ref().map(Buffer::as_slice),
            relu: false,
        };
        let a = Activations { codes, stride: k, zero };
        gemm_under(isa, rows, &a, &self.packed, None, None, output, stride)
    }

    fn bytes(&self) -> usize {
        self.packed.bytes() + self.scale.len() + self.bias.as_ref().map_or(0, Buffer::len)
    }
}

/// Codes, scales and bias of a weight.
pub(super) type Given<'a> = (Vec<i8>, &'a [f32], Option<&'a [f32]>);

impl Recurrent {
    /// Packs the weights of a cell of `[input, hidden]` features: those of the input and those of the state.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) if a length is none of theirs; [`OutOfMemory`](Error::OutOfMemory).
    pub fn new(
        cell: RecurrentCell,
        [input, hidden]: [usize; 2],
        of_input: &RecurrentWeights<'_>,
        of_state: &RecurrentWeights<'_>,
    ) -> Result<Recurrent> {
        let gates = cell.gates().checked_mul(hidden).filter(|gates| *gates > 0);
        let gates = gates.ok_or(Error::Contract("int8 sequence: size of the state"))?;
        let products =
            [Product::new(of_input, input, gates)?, Product::new(of_state, hidden, gates)?];
        Ok(Recurrent { cell, input, hidden, products })
    }

    /// What a step computes.
    pub fn cell(&self) -> RecurrentCell {
        self.cell
    }

    /// Features of the input and of the state.
    pub fn sizes(&self) -> [usize; 2] {
        [self.input, self.hidden]
    }

    /// Codes, scales and bias as [`new`](Self::new) takes them: those of the input and those of the state.
    pub fn weights(&self) -> [Given<'_>; 2] {
        self.products.each_ref().map(|product| {
            let bias = product.bias.as_ref().map(Buffer::as_slice);
            (product.packed.codes_out_in(), product.scale.as_slice(), bias)
        })
    }

    /// Bytes of memory of the weights.
    pub fn bytes(&self) -> usize {
        self.products.iter().map(Product::bytes).sum()
    }
}

/// Operands and results of [`recurrent`], all contiguous.
#[derive(Debug)]
pub struct RecurrentForward<'a> {
    /// `[steps, batch, input]`
    pub x: &'a [f32],
    /// `[batch, hidden]`
    pub h0: &'a [f32],
    /// `[batch, hidden]` for an LSTM, else empty
    pub c0: &'a [f32],
    /// Steps of each row, `1..=steps`
    pub lengths: Option<&'a [i64]>,
    /// Result `[steps, batch, hidden]`; 0 beyond a row's length
    pub y: &'a mut [f32],
    /// Result `[batch, hidden]`: the last state
    pub h: &'a mut [f32],
    /// Result `[batch, hidden]` for an LSTM, else empty
    pub c: &'a mut [f32],
}

/// A layer over a whole sequence. With `q(v)` the codes of a row by [`quantize_rows`](super::quantize_rows) (u8,
/// [`Rule::Reciprocal`]), gates are `(W_ih q(x) + b_ih) + (W_hh q(h) + b_hh)`, each product with its bias what
/// [`Output::F32`] says; the rest is that of [`sequence::forward`](crate::cpu::sequence::forward()), bit for bit.
///
/// # Errors
/// [`NoRange`](Error::NoRange) names a row of x (`step * batch + row`; what lies beyond a row's length is not looked at) or of a
/// state that holds NaN or infinities; [`Contract`](Error::Contract) for a shape that is not the layer's, a projection, lengths of
/// slices, and row lengths outside `1..=steps`; [`OutOfMemory`](Error::OutOfMemory) for the gates of some steps.
///
/// ```
/// use ferrotape_kernels::cpu::int8::{Recurrent, RecurrentForward, RecurrentWeights, recurrent};
/// use ferrotape_kernels::cpu::sequence::{RecurrentCell, SequenceShape};
/// let cell = RecurrentCell::RnnRelu;
/// let of_input = RecurrentWeights { codes: &[2, 4], scale: &[0.5], bias: Some(&[1.0]) };
/// let of_state = RecurrentWeights { codes: &[3], scale: &[1.0], bias: None };
/// let layer = Recurrent::new(cell, [2, 1], &of_input, &of_state)?;
/// let shape = SequenceShape { cell, reverse: false, steps: 2, batch: 1, input: 2, hidden: 1, output: 1, projected: false };
/// let (mut y, mut h) = ([0.0; 2], [0.0]);
/// let x = &[1.0, 255.0, 0.0, 255.0];
/// recurrent(&layer, &shape, RecurrentForward { x, h0: &[0.0], c0: &[], lengths: None, y: &mut y, h: &mut h, c: &mut [] })?;
/// assert_eq!((y[0], y[1]), (512.0, h[0]));
/// assert!((h[0] - (511.0 + 3.0 * 512.0)).abs() < 1e-3);
/// # Ok::<(), ferrotape_kernels::Error>(())
/// ```
pub fn recurrent(layer: &Recurrent, shape: &SequenceShape, f: RecurrentForward<'_>) -> Result<()> {
    recurrent_under(int8_isa(), layer, shape, f)
}

/// Bytes of the gates of the steps whose input product is computed at once: they stay in L2.
const CHUNK: usize = 1 << 20;

/// [`recurrent`] with products under a given instruction set.
pub(super) fn recurrent_under(
    isa: Int8Isa,
    layer: &Recurrent,
    shape: &SequenceShape,
    f: RecurrentForward<'_>,
) -> Result<()> {
    shape.check(f.lengths)?;
    f.check(shape)?;
    let SequenceShape { steps, batch, input, hidden, .. } = *shape;
    let same = (shape.cell, input, hidden) == (layer.cell, layer.input, layer.hidden);
    require(same && !shape.projected, "int8 sequence: the shape is not the layer's")?;
    if batch == 0 {
        return Ok(());
    }
    f.h.copy_from_slice(f.h0);
    f.c.copy_from_slice(f.c0);
    let (gates, width) = (shape.gates(), shape.saved());
    let wide = width.max(gates);
    let chunk = (CHUNK / (4 * batch * wide)).clamp(1, steps);
    // The passes make the gates where they are saved; a plain RNN's where its output will be.
    let mut saved = Buffer::new(chunk * batch * width * size_of::<f32>())?;
    let mut recurrent = Buffer::new(batch * gates * size_of::<f32>())?;
    let mut codes = Rows::new(chunk * batch, (chunk * batch * input).max(batch * hidden))?;
    let [of_input, of_state] = &layer.products;
    let count = steps.div_ceil(chunk);
    for i in 0..count {
        let first = if shape.reverse { count - 1 - i } else { i } * chunk;
        let here = first..steps.min(first + chunk);
        codes.quantize_inputs(isa, &f, shape, here.clone())?;
        let rows = here.len() * batch;
        let (saved, recurrent) = (saved.as_mut_slice::<f32>(), recurrent.as_mut_slice::<f32>());
        let (to, stride) = match width {
            0 => (&mut f.y[first * batch * gates..][..rows * gates], gates),
            _ => (&mut saved[..rows * width], width),
        };
        of_input.run(isa, rows, &codes, to, stride)?;
        let steps_here = here.len();
        for step in 0..steps_here {
            let step = if shape.reverse { steps_here - 1 - step } else { step };
            let t = first + step;
            codes.quantize(isa, [batch, hidden], f.h)?;
            of_state.run(isa, batch, &codes, recurrent, gates)?;
            let step = Step {
                shape,
                active: Active { lengths: f.lengths, t },
                recurrent,
                saved: &mut saved[step * batch * width..][..batch * width],
                y: &mut f.y[t * batch * hidden..][..batch * hidden],
                h: f.h,
                c: f.c,
            };
            step.run();
        }
    }
    Ok(())
}

impl RecurrentForward<'_> {
    fn check(&self, s: &SequenceShape) -> Result<()> {
        let rows = s.steps * s.batch;
        let cells = if s.cell == RecurrentCell::Lstm { s.batch * s.hidden } else { 0 };
        require(self.x.len() == rows * s.input, "sequence: length of x")?;
        require(self.h0.len() == s.batch * s.output, "sequence: length of h0")?;
        require(self.c0.len() == cells, "sequence: length of c0")?;
        require(self.y.len() == rows * s.output, "sequence: length of y")?;
        require(self.h.len() == self.h0.len(), "sequence: length of h")?;
        require(self.c.len() == cells, "sequence: length of c")
    }
}

/// Quantized rows.
struct Rows {
    codes: Buffer,
    scale: Buffer,
    zero: Buffer,
}

impl Rows {
    /// Room for some.
    fn new(rows: usize, codes: usize) -> Result<Rows> {
        let four = |rows: usize| Buffer::new(rows * size_of::<f32>());
        Ok(Rows { codes: Buffer::new(codes)?, scale: four(rows)?, zero: four(rows)? })
    }

    fn quantize(&mut self, isa: Int8Isa, [rows, k]: [usize; 2], x: &[f32]) -> Result<()> {
        let codes = &mut self.codes.as_mut_slice::<u8>()[..rows * k];
        let scale = &mut self.scale.as_mut_slice::<f32>()[..rows];
        let zero = &mut self.zero.as_mut_slice::<i32>()[..rows];
        quantize_rows_under(isa.isa(), [rows, k], x, Rule::Reciprocal, codes, scale, zero)
    }

    /// Inputs of some steps.
    fn quantize_inputs(
        &mut self,
        isa: Int8Isa,
        f: &RecurrentForward<'_>,
        shape: &SequenceShape,
        steps: std::ops::Range<usize>,
    ) -> Result<()> {
        let SequenceShape { batch, input, .. } = *shape;
        let (first, rows) = (steps.start * batch, steps.len() * batch);
        let x = &f.x[first * input..][..rows * input];
        let mut result = self.quantize(isa, [rows, input], x);
        if let (Err(Error::NoRange { .. }), Some(lengths)) = (&result, f.lengths) {
            // It may be one beyond its length.
            let mut seen = Buffer::new(size_of_val(x))?;
            let seen = seen.as_mut_slice::<f32>();
            seen.copy_from_slice(x);
            for (i, row) in seen.chunks_exact_mut(input).enumerate() {
                let t = (first + i) / batch;
                if !(Active { lengths: Some(lengths), t }).row((first + i) % batch) {
                    row.fill(0.0);
                }
            }
            result = self.quantize(isa, [rows, input], seen);
        }
        result.map_err(|error| match error {
            Error::NoRange { row } => Error::NoRange { row: first + row },
            other => other,
        })
    }
}
