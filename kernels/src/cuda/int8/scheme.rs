//! Between numbers and codes: the formulas of [`cpu::int8::scheme`](crate::cpu::int8::scheme).

use super::super::array::{Array, Type};
use super::super::driver::Gpu;
use super::super::launch::argument;
use super::super::memory::DeviceBuffer;
use super::{Rows, Values, flip, over, range};
use crate::cpu::int8::scheme::{self, Rule};
use crate::cpu::int8::{Code, Zero};
use crate::error::{Result, require};
use crate::strided::checked_len;

/// As the kernels take it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Affine {
    scales: u64,
    zeros: u64,
    channels: i64,
    inner: i64,
    scale: f32,
    zero: i32,
    low: i32,
    high: i32,
    divide: i32,
    vectors: i32,
    images: i32,
}

/// With what it refers to.
pub(super) struct Formulas {
    affine: Affine,
    _values: DeviceBuffer,
}

impl Formulas {
    /// `bounds` are those that a check of `affine` for `shape[1]` channels gave.
    pub(super) fn new(
        gpu: &'static Gpu,
        shape: [usize; 3],
        affine: &scheme::Affine<'_>,
        [low, high]: [i32; 2],
        vectors: bool,
    ) -> Result<Formulas> {
        let mut values = Values::default();
        let scales = (affine.scale.len() > 1).then(|| values.floats(affine.scale));
        let zeros = match affine.zero {
            Zero::Each(zeros) if shape[1] > 1 => Some(values.integers(zeros.iter().copied())),
            _ => None,
        };
        let values = values.send(gpu)?;
        let address_of = |place: Option<u64>| place.map_or(0, |place| values.address() + place);
        let affine = Affine {
            scales: address_of(scales),
            zeros: address_of(zeros),
            channels: shape[1] as i64,
            inner: shape[2] as i64,
            scale: affine.scale.first().copied().unwrap_or(1.0),
            zero: affine.zero.at(0),
            low,
            high,
            divide: i32::from(affine.rule == Rule::Divide),
            vectors: i32::from(vectors),
            images: 0,
        };
        Ok(Formulas { affine, _values: values })
    }

    /// Of rows, or images, whose scales and zero points lie on the device.
    pub(super) fn of_rows(
        rows: &Rows,
        inner: usize,
        rule: Rule,
        vectors: bool,
    ) -> Result<Formulas> {
        let [low, high] = range(rows.kind)?;
        let affine = Affine {
            scales: rows.scale.address(),
            zeros: rows.zero.address(),
            channels: rows.rows as i64,
            inner: inner as i64,
            scale: 1.0,
            zero: 0,
            low,
            high,
            divide: i32::from(rule == Rule::Divide),
            vectors: i32::from(vectors),
            images: 0,
        };
        Ok(Formulas { affine, _values: DeviceBuffer::new(rows.scale.gpu(), 0)? })
    }

    /// For NCHW, the channels' number given, whose images are the rows.
    pub(super) fn of_images(self, channels: usize) -> Formulas {
        let affine = Affine { channels: channels as i64, images: 1, ..self.affine };
        Formulas { affine, ..self }
    }

    /// As kernels take it.
    pub(super) fn argument(&self) -> super::super::launch::Argument<'_> {
        argument(&self.affine)
    }
}

/// True if four elements of each may be read and written at a time.
pub(super) fn fours(places: &[(u64, Type)]) -> bool {
    places.iter().all(|(address, kind)| address.is_multiple_of(4 * kind.size() as u64))
}

fn check_len(shape: [usize; 3], from: usize, to: usize) -> Result<()> {
    let len = checked_len(&shape);
    require(len == Some(from) && from == to, "quantize: lengths differ from the shape's")
}

/// Without what says nothing when codes become numbers.
fn backwards<'a>(affine: &scheme::Affine<'a>) -> scheme::Affine<'a> {
    scheme::Affine { bounds: None, rule: Rule::Divide, ..*affine }
}

/// Codes of `kind` of the numbers `x`, f32.
///
/// # Errors
/// As [`cpu::int8::scheme::quantize`](scheme::quantize); [`Cuda`](crate::Error::Cuda).
pub fn quantize(
    shape: [usize; 3],
    x: Array<'_>,
    affine: &scheme::Affine<'_>,
    kind: Type,
    out: &mut DeviceBuffer,
) -> Result<()> {
    require(x.kind() == Type::F32, "quantize: f32 only")?;
    check_len(shape, x.len(), out.len())?;
    let bounds = affine.check(shape[1], range(kind)?, true)?;
    map("quantize", shape, (x, kind), affine, bounds, out)
}

/// The numbers, f32, that `codes` stand for.
///
/// # Errors
/// As [`cpu::int8::scheme::dequantize`](scheme::dequantize); [`Cuda`](crate::Error::Cuda).
pub fn dequantize(
    shape: [usize; 3],
    codes: Array<'_>,
    affine: &scheme::Affine<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let range = range(codes.kind())?;
    check_len(shape, codes.len(), out.len() / 4)?;
    let affine = backwards(affine);
    let bounds = affine.check(shape[1], range, true)?;
    map("dequantize", shape, (codes, Type::F32), &affine, bounds, out)
}

/// The numbers that the codes of `x`, f32, would stand for.
///
/// # Errors
/// As [`cpu::int8::scheme::fake_quantize`](scheme::fake_quantize); [`Cuda`](crate::Error::Cuda).
pub fn fake_quantize(
    shape: [usize; 3],
    x: Array<'_>,
    affine: &scheme::Affine<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    require(x.kind() == Type::F32, "quantize: f32 only")?;
    check_len(shape, x.len(), out.len() / 4)?;
    let bounds = affine.check(shape[1], i8::RANGE, false)?;
    map("fake_quantize", shape, (x, Type::F32), affine, bounds, out)
}

/// One of the kernels over all elements.
fn map(
    name: &str,
    shape: [usize; 3],
    (x, to): (Array<'_>, Type),
    affine: &scheme::Affine<'_>,
    bounds: [i32; 2],
    out: &mut DeviceBuffer,
) -> Result<()> {
    if x.is_empty() {
        return Ok(());
    }
    let (from, address, n) = (x.start()?, out.address(), x.len() as i64);
    let vectors = fours(&[(from, x.kind()), (address, to)]);
    let formulas = Formulas::new(out.gpu(), shape, affine, bounds, vectors)?;
    out.forget();
    let flip = flip(x.kind()) as u32;
    let [from, address, flip, n_at] =
        [argument(&from), argument(&address), argument(&flip), argument(&n)];
    let units = x.len().div_ceil(4);
    // SAFETY: the kernels' arguments; the lengths are those of the shape.
    unsafe {
        match name {
            "dequantize" => {
                let arguments = [from, address, flip, formulas.argument(), n_at];
                over(out.gpu(), units, name, &arguments)
            }
            _ => over(out.gpu(), units, name, &[from, address, formulas.argument(), n_at]),
        }
    }
}

/// Channels of a place that a thread moves.
pub(super) const CHANNELS: usize = 16;

/// `out[n, place, c] = quantize(x[n, c, place])` for `[batch, channels, places]`, codes of `kind`.
///
/// # Errors
/// As [`quantize`].
pub fn nhwc_from_nchw(
    shape: [usize; 3],
    x: Array<'_>,
    affine: &scheme::Affine<'_>,
    kind: Type,
    out: &mut DeviceBuffer,
) -> Result<()> {
    require(x.kind() == Type::F32, "quantize: f32 only")?;
    let bounds = affine.check(shape[1], range(kind)?, true)?;
    check_len(shape, x.len(), out.len())?;
    if x.is_empty() {
        return Ok(());
    }
    let whole = out.address().is_multiple_of(16) && shape[1].is_multiple_of(CHANNELS);
    let formulas = Formulas::new(out.gpu(), shape, affine, bounds, whole)?;
    out.forget();
    let (from, to, places, batch) = (x.start()?, out.address(), shape[2] as i64, shape[0] as i64);
    let arguments =
        [argument(&from), argument(&to), argument(&places), formulas.argument(), argument(&batch)];
    let units = shape[0] * shape[1].div_ceil(CHANNELS) * shape[2];
    // SAFETY: as in `map`.
    unsafe { over(out.gpu(), units, "nhwc", &arguments) }
}

/// `out[n, c, place] = dequantize(codes[n, place, c])` for `[batch, channels, places]`, f32.
///
/// # Errors
/// As [`dequantize`].
pub fn nchw_from_nhwc(
    shape: [usize; 3],
    codes: Array<'_>,
    affine: &scheme::Affine<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let affine = backwards(affine);
    let bounds = affine.check(shape[1], range(codes.kind())?, true)?;
    check_len(shape, codes.len(), out.len() / 4)?;
    if codes.is_empty() {
        return Ok(());
    }
    let from = codes.start()?;
    let whole = from.is_multiple_of(4) && shape[1].is_multiple_of(4);
    let formulas = Formulas::new(out.gpu(), shape, &affine, bounds, whole)?;
    out.forget();
    let (to, places, batch) = (out.address(), shape[2] as i64, shape[0] as i64);
    let flip = flip(codes.kind()) as u32;
    let arguments = [
        argument(&from),
        argument(&to),
        argument(&places),
        argument(&flip),
        formulas.argument(),
        argument(&batch),
    ];
    let units = shape[0] * shape[1].div_ceil(CHANNELS) * shape[2];
    // SAFETY: as in `map`.
    unsafe { over(out.gpu(), units, "nchw", &arguments) }
}
