//! What networks do with codes besides products: pooling, sums, concatenation.

use super::super::array::{Array, Type};
use super::super::launch::argument;
use super::super::memory::DeviceBuffer;
use super::scheme::{Formulas, fours};
use super::{Image, Windows, flip, over, range, small, width};
use crate::cpu::int8::scheme::Affine;
use crate::cpu::int8::{Pool2d, check_operand};
use crate::error::{Result, require};

/// The largest code of each window, NHWC, of the type of `x`:
/// [`cpu::int8::max_pool2d`](crate::cpu::int8::max_pool2d).
///
/// # Errors
/// As there; [`Beyond`](crate::Error::Beyond); [`Cuda`](crate::Error::Cuda).
pub fn max_pool2d(
    pool: &Pool2d,
    sizes: [usize; 4],
    x: Array<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    range(x.kind())?;
    let output = pool.check(sizes, x.len(), out.len())?;
    let [batch, h, w, channels] = sizes;
    if out.is_empty() {
        return Ok(());
    }
    let image = Image { batch, size: [h, w], channels: [channels, 1], zero: 0 };
    let kinds = [pool.kernel, pool.stride, pool.padding, [1; 2], output];
    let mut windows = Windows::sliding(x, &image, kinds)?;
    windows.width = width(x.start()? | out.address(), &[channels]);
    let (from, to, count) = (x.start()?, out.address(), small(channels)?);
    out.forget();
    let arguments = [argument(&from), argument(&to), argument(&count), argument(&windows)];
    let units = (windows.rows as usize).saturating_mul(channels.div_ceil(4));
    // SAFETY: the kernel's arguments; the lengths are those of the image and of the windows.
    unsafe { over(out.gpu(), units, "max_pool", &arguments) }
}

/// Codes with one scale and zero point.
#[derive(Debug, Clone, Copy)]
pub struct Operand<'a> {
    /// The codes, row-major.
    pub codes: Array<'a>,
    /// Positive and finite.
    pub scale: f32,
    /// A code.
    pub zero: i32,
}

/// As the kernels take it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Numbers {
    scale: f32,
    zero: i32,
    flip: u32,
}

impl Operand<'_> {
    /// Checks it.
    fn numbers(&self) -> Result<Numbers> {
        let kind = self.codes.kind();
        check_operand(self.scale, self.zero, range(kind)?)?;
        Ok(Numbers { scale: self.scale, zero: self.zero, flip: flip(kind) as u32 })
    }
}

/// `out = quantize(dequantize(a) + dequantize(b))`, codes of `kind`, with `relu` of the sum:
/// [`cpu::int8::add`](crate::cpu::int8::add).
///
/// # Errors
/// As there; [`Cuda`](crate::Error::Cuda).
pub fn add(
    a: &Operand<'_>,
    b: &Operand<'_>,
    affine: &Affine<'_>,
    relu: bool,
    kind: Type,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let (left, right, len) = (a.numbers()?, b.numbers()?, out.len());
    require(a.codes.len() == len && b.codes.len() == len, "int8 add: lengths differ")?;
    let bounds = affine.check(1, range(kind)?, true)?;
    if len == 0 {
        return Ok(());
    }
    let (from_a, from_b, to) = (a.codes.start()?, b.codes.start()?, out.address());
    let vectors = fours(&[(from_a, kind), (from_b, kind), (to, kind)]);
    let formulas = Formulas::new(out.gpu(), [1, 1, len], affine, bounds, vectors)?;
    out.forget();
    let (relu, n) = (i32::from(relu), len as i64);
    let arguments = [
        argument(&from_a),
        argument(&from_b),
        argument(&to),
        argument(&left),
        argument(&right),
        argument(&relu),
        formulas.argument(),
        argument(&n),
    ];
    // SAFETY: the kernel's arguments; all have the same length.
    unsafe { over(out.gpu(), len.div_ceil(4), "add", &arguments) }
}

/// `out[place, ..]` = the channels of each input in turn, requantized where need be, codes of `kind`:
/// [`cpu::int8::concat`](crate::cpu::int8::concat).
///
/// # Errors
/// As there; [`Cuda`](crate::Error::Cuda).
pub fn concat(
    places: usize,
    inputs: &[(Operand<'_>, usize)],
    affine: &Affine<'_>,
    kind: Type,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let mut pitch = 0usize;
    for (x, channels) in inputs {
        x.numbers()?;
        let fits = places.checked_mul(*channels) == Some(x.codes.len());
        require(fits, "int8 concat: an input has another length")?;
        pitch = pitch.saturating_add(*channels);
    }
    require(places.checked_mul(pitch) == Some(out.len()), "int8 concat: length of the output")?;
    let range = range(kind)?;
    let bounds = affine.check(1, range, true)?;
    let formulas = Formulas::new(out.gpu(), [1, 1, out.len()], affine, bounds, false)?;
    out.forget();
    let (mut to, pitch) = (out.address(), pitch as i64);
    for (x, channels) in inputs {
        let (operand, from) = (x.numbers()?, x.codes.start()?);
        let same = x.zero == affine.zero.at(0)
            && affine.scale.first() == Some(&x.scale)
            && x.codes.kind() == kind
            && bounds == range;
        let (width, same, n) = (*channels as i64, i32::from(same), x.codes.len() as i64);
        let arguments = [
            argument(&from),
            argument(&to),
            argument(&width),
            argument(&pitch),
            argument(&same),
            argument(&operand),
            formulas.argument(),
            argument(&n),
        ];
        // SAFETY: the kernel's arguments; each input's channels have their place in every line of the result.
        unsafe { over(out.gpu(), x.codes.len(), "join", &arguments)? };
        to += *channels as u64;
    }
    Ok(())
}
