//! The forward pass.

use super::{
    Flat, address, check, flat, is_small, kernel, maybe_flat, maybe_room, room, units, zeros,
};
use crate::cpu::gemm::Activation;
use crate::cpu::sequence::{RecurrentCell, SequenceShape};
use crate::cuda::array::{Array, Type};
use crate::cuda::gemm::{Product, gemm};
use crate::cuda::launch::{Family, Grid, Name, argument};
use crate::cuda::memory::DeviceBuffer;
use crate::error::Result;

/// Operands and results of [`forward`], all contiguous; as [`cpu::sequence::Forward`](crate::cpu::sequence::Forward)'s, absent ones `None`.
/// Results lie at the start of their buffers, which have just their size.
#[derive(Debug)]
#[allow(missing_docs)]
pub struct Forward<'a> {
    pub x: Array<'a>,
    /// With `c0`, if the cell has one, or both absent: 0
    pub h0: Option<Array<'a>>,
    pub c0: Option<Array<'a>>,
    pub w_ih: Array<'a>,
    pub w_hh: Array<'a>,
    pub biases: Option<[Array<'a>; 2]>,
    pub w_hr: Option<Array<'a>>,
    pub lengths: Option<Array<'a>>,
    pub y: &'a mut DeviceBuffer,
    pub saved: &'a mut DeviceBuffer,
    pub h: &'a mut DeviceBuffer,
    pub c: Option<&'a mut DeviceBuffer>,
}

/// As [`cpu::sequence::forward`](crate::cpu::sequence::forward).
///
/// # Errors
/// As there; [`Contract`](crate::Error::Contract) for types other than f32 and f64; [`Cuda`](crate::Error::Cuda).
pub fn forward(shape: &SequenceShape, f: Forward<'_>) -> Result<()> {
    let (gpu, units) = (f.h.gpu(), units(shape.cell));
    let tile = [super::TILE[0], units];
    let size = [shape.batch, shape.hidden];
    run(shape, f, |kind| is_small(gpu, kind, size, tile, (shape.output, 1)))
}

/// As the kernels take it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Pass {
    input: u64,
    saved: u64,
    y: u64,
    before: u64,
    h: u64,
    c: u64,
    lengths: u64,
    batch: i64,
    hidden: i64,
    t: i64,
    projected: i32,
    relu: i32,
}

/// `whole(kind)`: are product and pass of a step one launch? (Not before a projection.)
pub(super) fn run(
    shape: &SequenceShape,
    f: Forward<'_>,
    whole: impl Fn(Type) -> bool,
) -> Result<()> {
    let kind = f.x.kind();
    let lengths = check(shape, kind, f.lengths)?;
    let SequenceShape { steps, batch, input, hidden, output, projected, .. } = *shape;
    let (gates, width, rows) = (shape.gates(), shape.saved(), steps * batch);
    let lstm = shape.cell == RecurrentCell::Lstm;
    let x = flat(f.x, kind, rows * input, "sequence: x")?;
    let state = f.h0.is_some();
    let h0 = maybe_flat(f.h0, state, kind, batch * output, "sequence: h0")?;
    let c0 = maybe_flat(f.c0, state && lstm, kind, batch * hidden, "sequence: c0")?;
    let w_ih = flat(f.w_ih, kind, gates.saturating_mul(input), "sequence: w_ih")?;
    let w_hh = flat(f.w_hh, kind, gates.saturating_mul(output), "sequence: w_hh")?;
    let w_hr_len = output.saturating_mul(hidden);
    let w_hr = maybe_flat(f.w_hr, projected, kind, w_hr_len, "sequence: w_hr")?;
    let bias = |i: usize| f.biases.map(|all| flat(all[i], kind, gates, "sequence: a bias"));
    let biases = [bias(0).transpose()?, bias(1).transpose()?];
    room(f.y, kind, rows * output, "sequence: length of y")?;
    room(f.saved, kind, rows * width, "sequence: length of what is saved")?;
    room(f.h, kind, batch * output, "sequence: length of h")?;
    let c = maybe_room(f.c.as_deref(), lstm, kind, batch * hidden, "sequence: length of c")?;
    if batch == 0 {
        return Ok(());
    }
    let (gpu, size) = (f.h.gpu(), kind.size());
    let new = |len: usize| DeviceBuffer::new(gpu, len.saturating_mul(size));
    match (f.c, c0) {
        (Some(c), Some(c0)) => {
            c.copy_part(c0.buffer, c0.offset * size, 0, batch * hidden * size)?;
        }
        (Some(c), None) => c.zero()?,
        _ => {}
    }
    let zeros = zeros(gpu, if state { 0 } else { batch * output }, kind)?;
    let h0 = h0.unwrap_or(Flat::of(&zeros, kind));

    let mut inputs = new(rows * gates)?;
    product([rows, input, gates], (x, input), w_ih, biases[0], &mut inputs)?;
    let whole = !projected && whole(kind);
    let mut recurrent = new(if whole { 0 } else { batch * gates })?;
    let mut projection = new(if projected { batch * output } else { 0 })?;
    // The state goes to and fro between two buffers, so that the last one is `h`.
    let mut other = new(if steps > 1 { batch * output } else { 0 })?;
    for (i, t) in shape.order().enumerate() {
        let last = (steps - 1 - i) % 2 == 0;
        let (to, from) = if last { (&mut *f.h, &other) } else { (&mut other, &*f.h) };
        let before = if i == 0 { h0 } else { Flat::of(from, kind) };
        let at = |buffer: &DeviceBuffer, width: usize| {
            Flat::of(buffer, kind).from(t * batch * width).address()
        };
        let pass = Pass {
            input: at(&inputs, gates),
            saved: at(f.saved, width),
            y: at(f.y, output),
            before: before.address(),
            h: to.address(),
            c,
            lengths: address(lengths),
            batch: batch as i64,
            hidden: hidden as i64,
            t: t as i64,
            projected: i32::from(projected),
            relu: i32::from(shape.cell == RecurrentCell::RnnRelu),
        };
        if whole {
            let [w, bias] = [w_hh.address(), address(biases[1])];
            let aligned = [w, before.address()].iter().all(|address| address.is_multiple_of(16));
            let vectors = i32::from(aligned && (hidden * size).is_multiple_of(16));
            let arguments = [argument(&w), argument(&bias), argument(&vectors), argument(&pass)];
            let tiles = [hidden.div_ceil(units(shape.cell)), batch.div_ceil(super::TILE[0])]
                .map(|n| n as u32);
            let grid = Grid { blocks: [tiles[0], tiles[1], 1], threads: [64, 1, 1], shared: 0 };
            let name = kernel(shape, "step", kind);
            // SAFETY: the kernel's arguments; all lengths were checked. `to` is not `before`, which other blocks read.
            unsafe { gpu.launch(Family::Sequence, &name, grid, &arguments)? };
            continue;
        }
        product([batch, output, gates], (before, output), w_hh, biases[1], &mut recurrent)?;
        let from = recurrent.address();
        let arguments = [argument(&from), argument(&pass)];
        let name = kernel(shape, "forward", kind);
        // SAFETY: the kernel's arguments; all lengths were checked.
        unsafe { gpu.launch(Family::Sequence, &name, Grid::over(batch * hidden), &arguments)? };
        let Some(w_hr) = w_hr else { continue };
        let states = Flat::of(f.saved, kind).from(t * batch * width + 5 * hidden);
        product([batch, hidden, output], (states, width), w_hr, None, &mut projection)?;
        let [x, columns] = [projection.address(), output as u64];
        let arguments = [
            argument(&x),
            argument(&pass.before),
            argument(&pass.h),
            argument(&pass.y),
            argument(&pass.lengths),
            argument(&pass.batch),
            argument(&columns),
            argument(&pass.t),
        ];
        let name = Name::of(&["sequence_project", kind.name()]);
        // SAFETY: as above.
        unsafe { gpu.launch(Family::Sequence, &name, Grid::over(batch * output), &arguments)? };
    }
    Ok(())
}

/// `out = a w^T + bias`: rows of `a` are `stride` apart, `w` is `[n, k]`.
fn product(
    [m, k, n]: [usize; 3],
    (a, stride): (Flat<'_>, usize),
    w: Flat<'_>,
    bias: Option<Flat<'_>>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let (a_shape, a_strides) = ([m, k], [stride as isize, 1]);
    let (w_shape, w_strides) = ([k, n], [1, k as isize]);
    let columns = [n];
    let product = Product {
        a: a.matrix(&a_shape, &a_strides)?,
        b: w.matrix(&w_shape, &w_strides)?,
        row_bias: None,
        column_bias: bias.map(|bias| bias.vector(&columns)).transpose()?,
        accumulate: false,
        activation: Activation::None,
    };
    gemm(&product, out)
}
