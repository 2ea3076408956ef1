//! Dynamic quantization: rows, or images, with ranges of their own, which stay on the device.

use super::super::array::{Array, Type};
use super::super::launch::{Family, Grid, Name, argument};
use super::super::memory::DeviceBuffer;
use super::scheme::{CHANNELS, Formulas, fours};
use super::{over, range};
use crate::cpu::int8::scheme::Rule;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// Codes of rows, or of images, with a scale and a zero point each.
#[derive(Debug)]
pub struct Rows {
    pub(super) codes: DeviceBuffer,
    pub(super) scale: DeviceBuffer,
    pub(super) zero: DeviceBuffer,
    pub(super) kind: Type,
    pub(super) rows: usize,
    /// The first without a range.
    bad: DeviceBuffer,
}

impl Rows {
    /// The codes, row-major; images as NHWC.
    pub fn codes(&self) -> &DeviceBuffer {
        &self.codes
    }

    /// The scales: f32.
    pub fn scale(&self) -> &DeviceBuffer {
        &self.scale
    }

    /// The zero points: i32.
    pub fn zero(&self) -> &DeviceBuffer {
        &self.zero
    }

    /// Waits for the device and says whether all rows had a range; what was computed from them counts only then.
    ///
    /// # Errors
    /// [`NoRange`](Error::NoRange); [`Cuda`](Error::Cuda).
    pub fn told(&self) -> Result<()> {
        let mut row = [0xff; 8];
        self.bad.download(0, &mut row)?;
        match usize::try_from(i64::from_le_bytes(row)) {
            Ok(row) if row < self.rows => Err(Error::NoRange { row }),
            _ => Ok(()),
        }
    }

    /// With the rows' scales and zero points, the codes to come.
    fn ranges([rows, k]: [usize; 2], x: Array<'_>, kind: Type) -> Result<Rows> {
        require(x.kind() == Type::F32, "quantize: f32 only")?;
        let [low, high] = range(kind)?;
        let right = checked_len(&[rows, k]) == Some(x.len());
        require(right, "quantize: lengths differ from the shape's")?;
        let gpu = x.buffer().gpu();
        let values = rows.checked_mul(4).ok_or(Error::Contract("quantize: sizes overflow"))?;
        let (codes, scale) = (DeviceBuffer::new(gpu, x.len())?, DeviceBuffer::new(gpu, values)?);
        let (zero, mut bad) = (DeviceBuffer::new(gpu, values)?, DeviceBuffer::new(gpu, 8)?);
        bad.upload(&i64::MAX.to_le_bytes())?;
        if rows > 0 {
            let (from, scales, zeros, flag) =
                (x.start()?, scale.address(), zero.address(), bad.address());
            let (rows, k) = (rows as i64, k as i64);
            let arguments = [
                argument(&from),
                argument(&scales),
                argument(&zeros),
                argument(&flag),
                argument(&low),
                argument(&high),
                argument(&rows),
                argument(&k),
            ];
            let (name, grid) =
                (Name::of(&["int8_ranges"]), Grid::of((rows as usize).min(1 << 16), 256));
            // SAFETY: the kernel's arguments; the rows are the operand's, with a scale and a zero point each.
            unsafe { gpu.launch(Family::Int8, &name, grid, &arguments)? };
        }
        Ok(Rows { codes, scale, zero, kind, rows, bad })
    }
}

/// Codes of `kind` of each row of `x[rows, k]`, f32:
/// [`cpu::int8::quantize_rows`](crate::cpu::int8::quantize_rows). Rows without a range are told by [`Rows::told`].
///
/// # Errors
/// As there; [`Cuda`](Error::Cuda).
pub fn quantize_rows(shape: [usize; 2], x: Array<'_>, rule: Rule, kind: Type) -> Result<Rows> {
    let rows = Rows::ranges(shape, x, kind)?;
    let (from, to, n) = (x.start()?, rows.codes.address(), x.len() as i64);
    let vectors = fours(&[(from, Type::F32), (to, kind)]);
    let formulas = Formulas::of_rows(&rows, shape[1].max(1), rule, vectors)?;
    let arguments = [argument(&from), argument(&to), formulas.argument(), argument(&n)];
    // SAFETY: the kernel's arguments; there is a code for each number.
    unsafe { over(rows.codes.gpu(), x.len().div_ceil(4), "quantize", &arguments)? };
    Ok(rows)
}

/// `codes[n, place, c]` of `x[n, c, place]`, f32, each image as a row of [`quantize_rows`]:
/// [`cpu::int8::quantize_images`](crate::cpu::int8::quantize_images).
///
/// # Errors
/// As [`quantize_rows`].
pub fn quantize_images(shape: [usize; 3], x: Array<'_>, rule: Rule, kind: Type) -> Result<Rows> {
    let [batch, channels, places] = shape;
    let image = checked_len(&[channels, places]).unwrap_or(usize::MAX);
    let rows = Rows::ranges([batch, image], x, kind)?;
    let (from, to) = (x.start()?, rows.codes.address());
    let whole = to.is_multiple_of(16) && channels.is_multiple_of(CHANNELS);
    let formulas = Formulas::of_rows(&rows, 1, rule, whole)?.of_images(channels);
    let (all_places, images) = (places as i64, batch as i64);
    let arguments = [
        argument(&from),
        argument(&to),
        argument(&all_places),
        formulas.argument(),
        argument(&images),
    ];
    let units = if x.is_empty() { 0 } else { batch * channels.div_ceil(CHANNELS) * places };
    // SAFETY: as above.
    unsafe { over(rows.codes.gpu(), units, "nhwc", &arguments)? };
    Ok(rows)
}
