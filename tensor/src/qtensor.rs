//! Numbers of 8 bits.

use std::fmt;

use crate::apply::Operand;
use crate::device::Device;
use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::op::QuantizeOp;
use crate::tensor::Tensor;

/// A quantized tensor: codes of i8 or u8, each of which stands for `(code - zero_point) * scale`, as PyTorch's `quantize_per_tensor` and
/// `quantize_per_channel` give. Cheap to clone; known to no tape.
///
/// ```
/// # use ferrotape_tensor::{DType, QTensor, QuantizeOp, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let weight = Tensor::from([[0.5f32, -1.27, 0.01], [10., 0., -12.7]]);
/// let scale = Tensor::from([0.01f32, 0.1]);
/// let q = QTensor::quantize(&weight, &scale, 0.0, QuantizeOp::new(DType::I8).axis(0))?;
/// assert_eq!(q.codes().to_vec::<i8>()?, [50, -127, 1, 100, 0, -127]);
/// assert_eq!(q.bytes(), 6 + 2 * 4 + 4); // f32: 24
/// let back = q.dequantize()?;
/// assert!(back.sub(&weight)?.abs()?.amax(..)?.item::<f32>()? < 1e-6);
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct QTensor {
    codes: Tensor,
    scale: Tensor,
    zero_point: Tensor,
    axis: Option<usize>,
}

impl QTensor {
    /// Codes of `x` by [`Tensor::quantize`]; scale and zero point are one of all or one for each place of the settings' axis.
    ///
    /// # Errors
    /// As [`Tensor::quantize`]; a scale or a zero point a block.
    #[track_caller]
    pub fn quantize<'b>(
        x: &Tensor,
        scale: impl Into<Operand<'b>>,
        zero_point: impl Into<Operand<'b>>,
        settings: QuantizeOp,
    ) -> Result<QTensor> {
        let here = std::panic::Location::caller();
        let made = || {
            let one = |part: Tensor| match settings.axis {
                None if part.len() == 1 => part.reshape(()),
                _ => Ok(part),
            };
            let scale = one(kept(scale.into(), DType::F32, x.device())?)?;
            let zero_point = one(kept(zero_point.into(), DType::I32, x.device())?)?;
            let codes = x.detach()?.quantize(&scale, &zero_point, settings)?;
            QTensor::checked(codes, scale, zero_point, settings.axis)
        };
        made().map_err(|error| error.at(here))
    }

    /// Of parts that were kept: codes of i8 or u8, scale of f32 and zero point of i32, each `[]` or, with an axis, one for each of its places.
    ///
    /// # Errors
    /// Parts of other types or shapes, or on different devices; a scale that is not positive and finite; a zero point that is no code.
    ///
    /// ```
    /// # use ferrotape_tensor::{QTensor, Tensor};
    /// let (codes, zero) = (Tensor::from([[1u8, 2], [3, 4]]), Tensor::from(0i32));
    /// let error = QTensor::from_parts(codes, Tensor::from([0.5f32, -1.0]), zero, Some(0)).unwrap_err().to_string();
    /// assert!(error.starts_with("QTensor: scale 1 is -1: a positive, finite number expected"));
    /// ```
    #[track_caller]
    pub fn from_parts(
        codes: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        axis: Option<usize>,
    ) -> Result<QTensor> {
        let here = std::panic::Location::caller();
        QTensor::checked(codes, scale, zero_point, axis).map_err(|error| error.at(here))
    }

    fn checked(
        codes: Tensor,
        scale: Tensor,
        zero_point: Tensor,
        axis: Option<usize>,
    ) -> Result<QTensor> {
        let op = "QTensor";
        let types = [codes.dtype(), scale.dtype(), zero_point.dtype()];
        if !matches!(types, [DType::I8 | DType::U8, DType::F32, DType::I32]) {
            let [codes, scale, zero] = types;
            let message = format!(
                "codes of {codes}, scale of {scale}, zero point of {zero}: i8 or u8, f32, i32 expected"
            );
            return Err(Error::dtype(op, message));
        }
        let devices = [codes.device(), scale.device(), zero_point.device()];
        if devices.iter().any(|device| *device != devices[0]) {
            let message =
                format!("codes, scale and zero point on {devices:?}: one device expected");
            return Err(Error::argument(op, message));
        }
        let places = match axis {
            Some(axis) => {
                crate::shape::check_dim(op, axis, codes.rank())?;
                Some(codes.shape()[axis])
            }
            None => None,
        };
        for (part, what) in [(&scale, "scale"), (&zero_point, "zero point")] {
            if part.rank() > 0 && places.is_none_or(|places| part.shape() != [places]) {
                let message = format!(
                    "codes {:?}, axis {axis:?}, {what} {:?}: one of all, or one for each place of the axis",
                    codes.shape(),
                    part.shape()
                );
                return Err(Error::shape(op, message));
            }
        }
        let wrong = |scale: &f32| !(scale.is_finite() && *scale > 0.0);
        if let Some((i, scale)) = scale.to_vec::<f32>()?.iter().enumerate().find(|(_, s)| wrong(s))
        {
            let message = format!("scale {i} is {scale}: a positive, finite number expected");
            return Err(Error::argument(op, message));
        }
        let [low, high] = if codes.dtype() == DType::U8 { [0, 255] } else { [-128, 127] };
        let zeros = zero_point.to_vec::<i32>()?;
        if let Some((i, zero)) = zeros.iter().enumerate().find(|(_, z)| !(low..=high).contains(*z))
        {
            let message = format!("zero point {i} is {zero}: a code from {low} to {high} expected");
            return Err(Error::argument(op, message));
        }
        Ok(QTensor { codes, scale, zero_point, axis })
    }

    /// What the codes stand for, f32.
    ///
    /// # Errors
    /// Memory over the limit.
    #[track_caller]
    pub fn dequantize(&self) -> Result<Tensor> {
        self.codes.dequantize(&self.scale, &self.zero_point, self.axis)
    }

    /// The codes: i8 or u8.
    pub fn codes(&self) -> &Tensor {
        &self.codes
    }

    /// The scale: f32, `[]` or one for each place of the axis.
    pub fn scale(&self) -> &Tensor {
        &self.scale
    }

    /// The zero point: i32, `[]` or one for each place of the axis.
    pub fn zero_point(&self) -> &Tensor {
        &self.zero_point
    }

    /// The dim whose places have a scale each, if they have.
    pub fn axis(&self) -> Option<usize> {
        self.axis
    }

    /// Sizes, outermost first.
    pub fn shape(&self) -> &[usize] {
        self.codes.shape()
    }

    /// The codes' type.
    pub fn dtype(&self) -> DType {
        self.codes.dtype()
    }

    /// Bytes of the codes, the scale and the zero point.
    pub fn bytes(&self) -> usize {
        [&self.codes, &self.scale, &self.zero_point]
            .iter()
            .map(|part| part.len() * part.dtype().size())
            .sum()
    }

    /// The same on a device.
    ///
    /// # Errors
    /// No such device; memory over the limit.
    #[track_caller]
    pub fn to_device(&self, device: Device) -> Result<QTensor> {
        Ok(QTensor {
            codes: self.codes.to_device(device)?,
            scale: self.scale.to_device(device)?,
            zero_point: self.zero_point.to_device(device)?,
            axis: self.axis,
        })
    }
}

/// A number or a tensor as a part that is kept.
fn kept(given: Operand<'_>, dtype: DType, device: Device) -> Result<Tensor> {
    let op = "quantize";
    let tensor = match given {
        Operand::Scalar(number) if dtype.is_float() => {
            return Tensor::scalar(number, dtype, device);
        }
        Operand::Scalar(number) if number.fract() == 0.0 && number.abs() <= 1e9 => {
            return Tensor::scalar(number, dtype, device);
        }
        Operand::Scalar(number) => {
            return Err(Error::argument(
                op,
                format!("the zero point is {number}: a code expected"),
            ));
        }
        Operand::Failed(error) => return Err(error),
        given => crate::ops::look(op, &given)?.detach()?,
    };
    if tensor.dtype().is_float() != dtype.is_float() {
        let what = if dtype.is_float() { "scale" } else { "zero point" };
        return Err(Error::dtype(op, format!("a {what} of {}", tensor.dtype())));
    }
    // A zero point of i64 that i32 does not hold must not wrap to a code.
    let tensor = match (dtype, tensor.dtype()) {
        (DType::I32, DType::I64) => tensor.clamp(-1e9, 1e9)?,
        _ => tensor,
    };
    tensor.to_dtype(dtype)
}

impl fmt::Debug for QTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QTensor")
            .field("codes", &self.codes)
            .field("scale", &self.scale)
            .field("zero_point", &self.zero_point)
            .field("axis", &self.axis)
            .finish()
    }
}
