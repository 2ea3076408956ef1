//! Products and convolutions of what was quantized on the device.

use super::super::array::Array;
use super::super::memory::DeviceBuffer;
use super::finish::Call;
use super::product::{Cores, conv2d_by, gemm_by};
use super::weights::{Conv2d, Packed};
use super::{Rows, range};
use crate::cpu::int8::{Ending, Zero};
use crate::error::Result;

/// What follows the sums of dynamic quantization: `sum * (row_scale * scale) + bias`, then `relu`.
#[derive(Debug, Clone, Copy)]
pub struct Dynamic<'a> {
    /// One factor, or one a column.
    pub scale: &'a [f32],
    /// One element a column.
    pub bias: Option<&'a [f32]>,
    /// Negative numbers become 0.
    pub relu: bool,
}

impl<'a> Dynamic<'a> {
    fn call(
        &self,
        rows: &'a Rows,
        weight_zero: Option<Zero<'a>>,
        stride: usize,
    ) -> Result<Call<'a>> {
        let Dynamic { scale, bias, relu } = *self;
        Ok(Call {
            // Any code reaches as far.
            zero: Zero::All(range(rows.kind)?[0]),
            weight_zero,
            bias: None,
            ending: Ending::F32 { scale, row_scale: None, bias, relu },
            stride,
            together: 1,
            rows: Some(rows),
        })
    }
}

/// [`gemm`](super::gemm) of rows that were quantized on the device, `[rows, n]` one after the other as f32. What had no range is told by
/// [`Rows::told`].
///
/// # Errors
/// As [`gemm`](super::gemm).
pub fn gemm_dynamic(
    rows: &Rows,
    weights: &Packed,
    weight_zero: Option<Zero<'_>>,
    dynamic: &Dynamic<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let (k, n) = (weights.k(), weights.n());
    let (shape, strides) = ([rows.rows, k], [k as isize, 1]);
    let a = Array::new(&rows.codes, rows.kind, 0, &shape, &strides)?;
    gemm_by(Cores::of(out.gpu()), a, weights, &dynamic.call(rows, weight_zero, n)?, out)
}

/// [`conv2d`](super::conv2d) of images that were quantized on the device, as [`gemm_dynamic`].
///
/// # Errors
/// As [`conv2d`](super::conv2d).
pub fn conv2d_dynamic(
    conv: &Conv2d,
    size: [usize; 2],
    images: &Rows,
    weight_zero: Option<Zero<'_>>,
    dynamic: &Dynamic<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let len = [images.codes.len()];
    let x = Array::new(&images.codes, images.kind, 0, &len, &[1])?;
    let call = dynamic.call(images, weight_zero, conv.shape.out_channels)?;
    conv2d_by(Cores::of(out.gpu()), conv, (images.rows, size), x, &call, out)
}
