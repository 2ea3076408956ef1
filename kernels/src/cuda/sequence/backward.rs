//! The backward pass through time.

use super::{Flat, address, check, flat, is_small, kernel, maybe_flat, maybe_room, room, zeros};
use crate::cpu::gemm::Activation;
use crate::cpu::sequence::{RecurrentCell, SequenceShape};
use crate::cuda::array::{Array, Type};
use crate::cuda::gemm::{Product, gemm};
use crate::cuda::launch::{Family, Grid, Name, argument};
use crate::cuda::memory::DeviceBuffer;
use crate::error::Result;

/// Operands and results of [`backward`], all contiguous; as [`cpu::sequence::Backward`](crate::cpu::sequence::Backward)'s, absent ones `None`.
/// Results lie at the start of their buffers, which have just their size.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Backward<'a> {
    /// With `c0`, if the cell has one, or both absent: 0, and nobody asks for their gradients
    pub h0: Option<Array<'a>>,
    pub c0: Option<Array<'a>>,
    pub w_hh: Array<'a>,
    pub w_hr: Option<Array<'a>>,
    pub lengths: Option<Array<'a>>,
    pub y: Array<'a>,
    pub saved: Array<'a>,
    pub grad: Array<'a>,
    /// The gradient of the last state
    pub last: Array<'a>,
    /// Of the last cell state
    pub last_cell: Option<Array<'a>>,
    pub gates: &'a mut DeviceBuffer,
    pub before: Option<&'a mut DeviceBuffer>,
    pub dh: Option<&'a mut DeviceBuffer>,
    pub dc: Option<&'a mut DeviceBuffer>,
    pub hidden_gates: Option<&'a mut DeviceBuffer>,
    pub states: Option<&'a mut DeviceBuffer>,
}

/// As [`cpu::sequence::backward`](crate::cpu::sequence::backward).
///
/// # Errors
/// As there; [`Contract`](crate::Error::Contract) for types other than f32 and f64; [`Cuda`](crate::Error::Cuda).
pub fn backward(shape: &SequenceShape, b: Backward<'_>) -> Result<()> {
    let (gpu, size) = (b.gates.gpu(), [shape.batch, shape.hidden]);
    run(shape, b, |kind| is_small(gpu, kind, size, super::TILE_BACK, (shape.gates(), 4)))
}

/// As the kernels take it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Pass {
    y: u64,
    saved: u64,
    grad: u64,
    before: u64,
    cells: u64,
    gates: u64,
    hidden_gates: u64,
    dh: u64,
    dc: u64,
    lengths: u64,
    batch: i64,
    hidden: i64,
    t: i64,
    cells_stride: i64,
    projected: i32,
    relu: i32,
}

/// `whole(kind)`: are the product after a step and the pass of the one before it one launch? (Not before a projection.)
pub(super) fn run(
    shape: &SequenceShape,
    b: Backward<'_>,
    whole: impl Fn(Type) -> bool,
) -> Result<()> {
    let kind = b.y.kind();
    let lengths = check(shape, kind, b.lengths)?;
    let SequenceShape { steps, batch, hidden, output, projected, .. } = *shape;
    let (gates, width, rows) = (shape.gates(), shape.saved(), steps * batch);
    let lstm = shape.cell == RecurrentCell::Lstm;
    let gru = shape.cell == RecurrentCell::Gru;
    let state = b.h0.is_some();
    let h0 = maybe_flat(b.h0, state, kind, batch * output, "sequence: h0")?;
    let c0 = maybe_flat(b.c0, state && lstm, kind, batch * hidden, "sequence: c0")?;
    let w_hh = flat(b.w_hh, kind, gates.saturating_mul(output), "sequence: w_hh")?;
    let w_hr_len = output.saturating_mul(hidden);
    let w_hr = maybe_flat(b.w_hr, projected, kind, w_hr_len, "sequence: w_hr")?;
    let y = flat(b.y, kind, rows * output, "sequence: y")?;
    let saved = flat(b.saved, kind, rows * width, "sequence: what was saved")?;
    let grad = flat(b.grad, kind, rows * output, "sequence: the gradient of y")?;
    let last = flat(b.last, kind, batch * output, "sequence: the gradient of h")?;
    let last_cell = maybe_flat(b.last_cell, lstm, kind, batch * hidden, "sequence: that of c")?;
    let cells = batch * hidden;
    room(b.gates, kind, rows * gates, "sequence: length of the gates")?;
    let early = lengths.is_some();
    let what = "sequence: length of the states before";
    maybe_room(b.before.as_deref(), early, kind, rows * output, what)?;
    maybe_room(b.dh.as_deref(), state, kind, batch * output, "sequence: length of dh")?;
    maybe_room(b.dc.as_deref(), state && lstm, kind, cells, "sequence: length of dc")?;
    let hidden_gates = b.hidden_gates.as_deref();
    maybe_room(hidden_gates, gru, kind, rows * gates, "sequence: length of hidden gates")?;
    maybe_room(b.states.as_deref(), projected, kind, rows * output, "sequence: length of states")?;
    if batch == 0 {
        return Ok(());
    }
    let (gpu, size) = (b.gates.gpu(), kind.size());
    let new = |len: usize| DeviceBuffer::new(gpu, len.saturating_mul(size));
    // Room for what is no result, and states where none are given.
    let zeros = zeros(gpu, if state { 0 } else { batch * output.max(hidden) }, kind)?;
    let h0 = h0.unwrap_or(Flat::of(&zeros, kind));
    let mut own_dh = new(if state { 0 } else { batch * output })?;
    let mut own_dc = new(if lstm && !state { cells } else { 0 })?;
    let (dh, dc) = (b.dh.unwrap_or(&mut own_dh), b.dc.unwrap_or(&mut own_dc));
    dh.copy_part(last.buffer, last.offset * size, 0, batch * output * size)?;
    if let Some(last_cell) = last_cell {
        dc.copy_part(last_cell.buffer, last_cell.offset * size, 0, cells * size)?;
    }
    let before = match b.before {
        Some(before) => {
            starts(shape, [h0, y], lengths, kind, before)?;
            Some(Flat::of(before, kind))
        }
        None => None,
    };

    let whole = !projected && whole(kind);
    let projection = new(if projected { cells } else { 0 })?;
    let mut walk = Walk { shape, kind, w_hh, lengths, projection, dh };
    // The step whose product is still to be added to dh.
    let mut done = None;
    for t in shape.order().rev() {
        let at = |x: Flat<'_>, width: usize| x.from(t * batch * width).address();
        let mut from = at(grad, output);
        if let (Some(states), Some(w_hr)) = (b.states.as_deref(), w_hr) {
            from = walk.state(t, from, Flat::of(states, kind).from(t * batch * output), w_hr)?;
        }
        let (cells, cells_stride) = match shape.before(t) {
            _ if !lstm => (saved, width),
            Some(before) => (saved.from(before * batch * width + 4 * hidden), width),
            None => (c0.unwrap_or(h0), hidden),
        };
        let states = match (before, shape.before(t)) {
            (Some(all), _) => at(all, output),
            (None, Some(before)) => y.from(before * batch * output).address(),
            (None, None) => h0.address(),
        };
        let hidden_gates = hidden_gates.map(|buffer| Flat::of(buffer, kind));
        let products = hidden_gates.unwrap_or(Flat::of(b.gates, kind));
        let pass = Pass {
            y: at(y, output),
            saved: at(saved, width),
            grad: from,
            before: states,
            cells: cells.address(),
            gates: at(Flat::of(b.gates, kind), gates),
            hidden_gates: hidden_gates.map_or(0, |x| at(x, gates)),
            dh: walk.dh.address(),
            dc: dc.address(),
            lengths: address(lengths),
            batch: batch as i64,
            hidden: hidden as i64,
            t: t as i64,
            cells_stride: cells_stride as i64,
            projected: i32::from(projected),
            relu: i32::from(shape.cell == RecurrentCell::RnnRelu),
        };
        let of_step = |t: usize| products.from(t * batch * gates);
        match done {
            Some(done) => walk.step(of_step(done), &pass)?,
            None => walk.pass(&pass)?,
        }
        // In one launch with the next pass, if there is one.
        match shape.before(t) {
            Some(_) if whole => done = Some(t),
            None if !state => {}
            _ => walk.product(of_step(t))?,
        }
    }
    Ok(())
}

/// The states that all steps started from.
fn starts(
    shape: &SequenceShape,
    [h0, y]: [Flat<'_>; 2],
    lengths: Option<Flat<'_>>,
    kind: Type,
    before: &mut DeviceBuffer,
) -> Result<()> {
    let SequenceShape { steps, batch, output, reverse, .. } = *shape;
    let [h0, y, to, lengths] = [h0.address(), y.address(), before.address(), address(lengths)];
    let sizes = [steps, batch, output].map(|size| size as i64);
    let step = if reverse { -1i64 } else { 1 };
    let arguments = [
        argument(&h0),
        argument(&y),
        argument(&to),
        argument(&lengths),
        argument(&sizes[0]),
        argument(&sizes[1]),
        argument(&sizes[2]),
        argument(&step),
    ];
    let (name, grid) =
        (Name::of(&["sequence_starts", kind.name()]), Grid::over(steps * batch * output));
    // SAFETY: the kernel's arguments; all lengths were checked.
    unsafe { before.gpu().launch(Family::Sequence, &name, grid, &arguments) }
}

/// What all steps share. All lengths were checked.
struct Walk<'a> {
    shape: &'a SequenceShape,
    kind: Type,
    w_hh: Flat<'a>,
    lengths: Option<Flat<'a>>,
    /// `[batch, hidden]` if projected: the gradient before the projection
    projection: DeviceBuffer,
    dh: &'a mut DeviceBuffer,
}

impl Walk<'_> {
    /// `states = grad + dh`, and their product with `w_hr`; gives where that is.
    fn state(&mut self, t: usize, grad: u64, states: Flat<'_>, w_hr: Flat<'_>) -> Result<u64> {
        let SequenceShape { batch, hidden, output, .. } = *self.shape;
        let [dh, to, lengths] = [self.dh.address(), states.address(), address(self.lengths)];
        let sizes = [batch, output, t].map(|size| size as i64);
        let arguments = [
            argument(&grad),
            argument(&dh),
            argument(&to),
            argument(&lengths),
            argument(&sizes[0]),
            argument(&sizes[1]),
            argument(&sizes[2]),
        ];
        let name = Name::of(&["sequence_add_state", self.kind.name()]);
        let grid = Grid::over(batch * output);
        // SAFETY: the kernel's arguments.
        unsafe { self.dh.gpu().launch(Family::Sequence, &name, grid, &arguments)? };
        product([batch, output, hidden], states, w_hr, false, &mut self.projection)?;
        Ok(self.projection.address())
    }

    /// The pass over the gates.
    fn pass(&self, pass: &Pass) -> Result<()> {
        let name = kernel(self.shape, "backward", self.kind);
        let grid = Grid::over(self.shape.batch * self.shape.hidden);
        // SAFETY: the kernel's arguments.
        unsafe { self.dh.gpu().launch(Family::Sequence, &name, grid, &[argument(pass)]) }
    }

    /// `dh = dh + d w_hh`
    fn product(&mut self, d: Flat<'_>) -> Result<()> {
        let sizes = [self.shape.batch, self.shape.gates(), self.shape.output];
        product(sizes, d, self.w_hh, true, self.dh)
    }

    /// The product of the step after this one and the pass of this one.
    fn step(&self, d: Flat<'_>, pass: &Pass) -> Result<()> {
        let SequenceShape { batch, hidden, .. } = *self.shape;
        let [d, w] = [d.address(), self.w_hh.address()];
        let aligned =
            d.is_multiple_of(16) && (self.shape.gates() * self.kind.size()).is_multiple_of(16);
        let vectors = i32::from(aligned);
        let arguments = [argument(&d), argument(&w), argument(&vectors), argument(pass)];
        let [rows, columns] = super::TILE_BACK;
        let blocks = [hidden.div_ceil(columns) as u32, batch.div_ceil(rows) as u32, 1];
        let grid = Grid { blocks, threads: [64, 1, 1], shared: 0 };
        let name = kernel(self.shape, "step_back", self.kind);
        // SAFETY: the kernel's arguments. `d` is of another step than what is written.
        unsafe { self.dh.gpu().launch(Family::Sequence, &name, grid, &arguments) }
    }
}

/// `out = a w`, or added to it; both row-major.
fn product(
    [m, k, n]: [usize; 3],
    a: Flat<'_>,
    w: Flat<'_>,
    accumulate: bool,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let (a_shape, a_strides) = ([m, k], [k as isize, 1]);
    let (w_shape, w_strides) = ([k, n], [n as isize, 1]);
    let product = Product {
        a: a.matrix(&a_shape, &a_strides)?,
        b: w.matrix(&w_shape, &w_strides)?,
        row_bias: None,
        column_bias: None,
        accumulate,
        activation: Activation::None,
    };
    gemm(&product, out)
}
