//! Tensors from numbers.

use crate::device::Device;
use crate::dtype::{DType, Element, bf16, f16};
use crate::error::{Error, Result};
use crate::observe::Tag;
use crate::shape::{self, Dims, IntoShape};
use crate::storage::Storage;
use crate::tensor::Tensor;
use ferrotape_kernels::Number;
use ferrotape_kernels::buffer::Buffer;
use ferrotape_kernels::cuda::copy;

/// Nested arrays, vectors and slices that a tensor can be made of.
pub trait IntoTensor {
    /// The element type.
    type Element: Element;
    /// The sizes, outermost first.
    fn shape(&self) -> Dims;
    /// Appends the elements in row-major order.
    fn flatten(&self, into: &mut Vec<Self::Element>);
}

macro_rules! scalars {
    ($($t:ty),*) => {$(
        impl IntoTensor for $t {
            type Element = $t;
            fn shape(&self) -> Dims { Dims::new() }
            fn flatten(&self, into: &mut Vec<$t>) { into.push(*self); }
        }
    )*};
}
scalars!(f32, f64, f16, bf16, i64, i32, i8, u8, bool);

impl<E: IntoTensor, const N: usize> IntoTensor for [E; N] {
    type Element = E::Element;
    fn shape(&self) -> Dims {
        let mut shape = Dims::from_slice(&[N]);
        // Arrays of arrays all have one size, so the first speaks for all.
        shape.extend(self.first().map(E::shape).unwrap_or_default());
        shape
    }
    fn flatten(&self, into: &mut Vec<E::Element>) {
        self.iter().for_each(|element| element.flatten(into));
    }
}

impl<T: Element> IntoTensor for Vec<T> {
    type Element = T;
    fn shape(&self) -> Dims {
        Dims::from_slice(&[self.len()])
    }
    fn flatten(&self, into: &mut Vec<T>) {
        into.extend_from_slice(self);
    }
}

impl<T: Element> IntoTensor for &[T] {
    type Element = T;
    fn shape(&self) -> Dims {
        Dims::from_slice(&[self.len()])
    }
    fn flatten(&self, into: &mut Vec<T>) {
        into.extend_from_slice(self);
    }
}

/// What a new tensor's elements are and where it lies: a [`DType`] (on the CPU), a `(DType, Device)`, or a `&Tensor` (as that one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TensorOptions {
    /// Type of the elements.
    pub dtype: DType,
    /// Where.
    pub device: Device,
}

impl From<DType> for TensorOptions {
    fn from(dtype: DType) -> Self {
        TensorOptions { dtype, device: Device::Cpu }
    }
}

impl From<(DType, Device)> for TensorOptions {
    fn from((dtype, device): (DType, Device)) -> Self {
        TensorOptions { dtype, device }
    }
}

impl From<&Tensor> for TensorOptions {
    fn from(like: &Tensor) -> Self {
        TensorOptions { dtype: like.dtype(), device: like.device() }
    }
}

/// A value to fill a tensor with.
pub type Full = f64;

impl Tensor {
    /// A tensor of nested arrays or a vector, on the CPU.
    ///
    /// It returns the tensor itself, since literals are small: should even their memory be refused (a
    /// [limit](Device::set_memory_limit) in force), an empty tensor comes back; use [`from_vec`](Self::from_vec) where that matters.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// assert_eq!(Tensor::from([[1f32, 2.], [3., 4.]]).shape(), [2, 2]);
    /// assert_eq!(Tensor::from(vec![1i64, 2, 3]).shape(), [3]);
    /// ```
    #[allow(clippy::should_implement_trait)]
    pub fn from<A: IntoTensor>(array: A) -> Tensor {
        let mut elements = Vec::new();
        array.flatten(&mut elements);
        Tensor::from_vec(elements, array.shape())
            .unwrap_or_else(|_| Tensor::empty_of(A::Element::DTYPE))
    }

    /// A tensor of zero elements, which needs no memory.
    pub(crate) fn empty_of(dtype: DType) -> Tensor {
        let storage = Storage::empty();
        Tensor::whole(storage, &[0], dtype, Tag::NONE)
    }

    /// A tensor of these elements, row-major.
    ///
    /// # Errors
    /// Their number does not fit the shape; memory over the limit.
    #[track_caller]
    pub fn from_vec<T: Element>(elements: Vec<T>, shape: impl IntoShape) -> Result<Tensor> {
        Tensor::from_slice(&elements, shape)
    }

    /// A tensor of a copy of these elements, row-major.
    ///
    /// # Errors
    /// Their number does not fit the shape; memory over the limit.
    #[track_caller]
    pub fn from_slice<T: Element>(elements: &[T], shape: impl IntoShape) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        Tensor::of_slice(elements, &shape.into_shape()).map_err(|error| error.at(here))
    }

    /// Zeros.
    ///
    /// # Errors
    /// A shape beyond memory, or memory over the limit.
    #[track_caller]
    pub fn zeros(shape: impl IntoShape, options: impl Into<TensorOptions>) -> Result<Tensor> {
        Tensor::full(shape, 0.0, options)
    }

    /// Ones.
    ///
    /// # Errors
    /// As [`zeros`](Self::zeros).
    #[track_caller]
    pub fn ones(shape: impl IntoShape, options: impl Into<TensorOptions>) -> Result<Tensor> {
        Tensor::full(shape, 1.0, options)
    }

    /// All elements `value`, cast as `as` does.
    ///
    /// # Errors
    /// As [`zeros`](Self::zeros).
    #[track_caller]
    pub fn full(
        shape: impl IntoShape,
        value: Full,
        options: impl Into<TensorOptions>,
    ) -> Result<Tensor> {
        let TensorOptions { dtype, device } = options.into();
        let here = std::panic::Location::caller();
        Tensor::full_of(&shape.into_shape(), value, dtype, device).map_err(|error| error.at(here))
    }

    /// Zeros with shape, type and device of `self`.
    ///
    /// # Errors
    /// Memory over the limit.
    #[track_caller]
    pub fn zeros_like(&self) -> Result<Tensor> {
        Tensor::full(self.shape(), 0.0, self)
    }

    /// Ones with shape, type and device of `self`.
    ///
    /// # Errors
    /// Memory over the limit.
    #[track_caller]
    pub fn ones_like(&self) -> Result<Tensor> {
        Tensor::full(self.shape(), 1.0, self)
    }

    /// `start, start + step, ...`, `count` numbers, computed as `start + i * step` in f64.
    ///
    /// # Errors
    /// As [`zeros`](Self::zeros).
    #[track_caller]
    pub fn arange(
        start: f64,
        step: f64,
        count: usize,
        options: impl Into<TensorOptions>,
    ) -> Result<Tensor> {
        let TensorOptions { dtype, device } = options.into();
        let here = std::panic::Location::caller();
        crate::execute::any_type!(dtype, T => Tensor::filled(&[count], dtype, device, |out: &mut [T]| {
            for (i, to) in out.iter_mut().enumerate() {
                *to = T::from_f64((i as f64).mul_add(step, start));
            }
        }))
        .map_err(|error| error.at(here))
    }

    /// The identity matrix.
    ///
    /// # Errors
    /// As [`zeros`](Self::zeros).
    #[track_caller]
    pub fn eye(size: usize, options: impl Into<TensorOptions>) -> Result<Tensor> {
        let TensorOptions { dtype, device } = options.into();
        let here = std::panic::Location::caller();
        crate::execute::any_type!(dtype, T => Tensor::filled(&[size, size], dtype, device, |out: &mut [T]| {
            out.fill(T::from_f64(0.0));
            out.iter_mut().step_by(size.saturating_add(1)).for_each(|to| *to = T::from_f64(1.0));
        }))
        .map_err(|error| error.at(here))
    }

    /// A number as a 0-d tensor; beyond an integer type it wraps.
    pub(crate) fn scalar(value: f64, dtype: DType, device: Device) -> Result<Tensor> {
        if dtype.is_integer() {
            return crate::execute::any_type!(dtype, T => Tensor::filled_with(&[], dtype, device, T::from_i64(value as i64)));
        }
        Tensor::full_of(&[], value, dtype, device)
    }

    /// [`full`](Self::full), whatever named the shape.
    fn full_of(shape: &[usize], value: f64, dtype: DType, device: Device) -> Result<Tensor> {
        let value = if dtype == DType::Bool { f64::from(u8::from(value != 0.0)) } else { value };
        crate::execute::any_type!(dtype, T => Tensor::filled_with(shape, dtype, device, T::from_f64(value)))
    }

    /// [`from_slice`](Self::from_slice), whatever named the shape.
    fn of_slice<T: Element>(elements: &[T], shape: &[usize]) -> Result<Tensor> {
        if shape::checked_len("from_vec", shape)? != elements.len() {
            let message = format!("{} elements for shape {shape:?}", elements.len());
            return Err(Error::shape("from_vec", message));
        }
        Tensor::filled(shape, T::DTYPE, Device::Cpu, |out: &mut [T::Stored]| {
            out.iter_mut().zip(elements).for_each(|(to, &from)| *to = from.store());
        })
    }

    /// Class numbers as rows of 0 and 1 along a new last dim, `[.., classes]`: PyTorch's `nn.functional.one_hot`.
    ///
    /// # Errors
    /// Not of i64 or i32; a number outside `0..classes`.
    #[track_caller]
    pub fn one_hot(&self, classes: usize, dtype: DType) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        let make = || {
            let eye = Tensor::eye(classes, (dtype, self.device()))?;
            let rows = eye.index_select(0, &self.reshape([self.len()])?)?;
            let shape: Dims = self.shape().iter().copied().chain([classes]).collect();
            rows.reshape(shape)
        };
        make().map_err(|error| error.at(here))
    }

    /// New memory of this shape, every element the same.
    fn filled_with<T: Number>(
        shape: &[usize],
        dtype: DType,
        device: Device,
        element: T,
    ) -> Result<Tensor> {
        if device == Device::Cpu {
            return Tensor::filled(shape, dtype, device, |out: &mut [T]| out.fill(element));
        }
        let mut storage = room(shape, dtype, device)?;
        if let Some(cuda) = storage.exclusive().and_then(|memory| memory.cuda) {
            let failed = |error| Error::from_kernel("create", error);
            let one = Buffer::copy_of(&[element]).map_err(failed)?;
            let mut bits = [0; 8];
            bits.iter_mut().zip(one.as_slice::<u8>()).for_each(|(bit, &byte)| *bit = byte);
            let (size, bits) = (dtype.size(), u64::from_le_bytes(bits));
            copy::fill(cuda, size, bits, shape::len(shape)).map_err(failed)?;
        }
        Ok(Tensor::whole(storage, shape, dtype, Tag::NONE))
    }

    /// New memory of this shape, written by `fill`.
    pub(crate) fn filled<T: Number>(
        shape: &[usize],
        dtype: DType,
        device: Device,
        fill: impl FnOnce(&mut [T]),
    ) -> Result<Tensor> {
        let mut storage = room(shape, dtype, device)?;
        if let Some(memory) = storage.exclusive() {
            match memory.cuda {
                None => fill(memory.buffer.as_mut_slice()),
                Some(cuda) => {
                    let failed = |error| Error::from_kernel("create", error);
                    let mut host = Buffer::new(cuda.len()).map_err(failed)?;
                    fill(host.as_mut_slice());
                    cuda.upload(host.as_slice()).map_err(failed)?;
                }
            }
        }
        Ok(Tensor::whole(storage, shape, dtype, Tag::NONE))
    }
}

/// Memory for a tensor, not written yet.
fn room(shape: &[usize], dtype: DType, device: Device) -> Result<Storage> {
    let bytes = shape::checked_len("create", shape)?
        .checked_mul(dtype.size())
        .filter(|&bytes| bytes <= isize::MAX as usize)
        .ok_or_else(|| Error::shape("create", format!("{shape:?} is too large")))?;
    Storage::new("create", bytes, device)
}
