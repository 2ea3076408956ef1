//! The tensor: a value with an id, a layout and a share of a storage.

use std::cell::Cell;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use ferrotape_kernels::buffer::{Buffer, Place, Shared, Watch};

use crate::apply::{Operand, apply_one};
use crate::device::Device;
use crate::dtype::{DType, Element, bf16, f16};
use crate::error::{Error, Result};
use crate::layout::{Layout, few};
use crate::observe::Tag;
use crate::op::{Meta, Op};
use crate::shape;
use crate::storage::Storage;

/// Names a value: every output of an operation gets a new one, an assignment gives a new one, clones share it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TensorId(u64);

impl TensorId {
    /// The number, unique in this process.
    pub fn number(self) -> u64 {
        self.0
    }

    /// A new one. Threads take blocks of numbers, so that this is a plain increment.
    #[inline]
    fn fresh() -> TensorId {
        const BLOCK: u64 = 1 << 16;
        static NEXT: AtomicU64 = AtomicU64::new(BLOCK);
        thread_local! { static MINE: Cell<u64> = const { Cell::new(0) }; }
        // Got and set apart: either is too short for a call.
        let mut id = MINE.get();
        if id.is_multiple_of(BLOCK) {
            id = NEXT.fetch_add(BLOCK, Ordering::Relaxed);
        }
        MINE.with(|mine| mine.set(id + 1));
        TensorId(id)
    }
}

/// A tensor: `n`-dimensional, strided, on one device. Cheap to clone (clones share the value), `Send` and `Sync`; never
/// changed while shared.
#[derive(Clone)]
pub struct Tensor(pub(crate) Shared<Inner>);

/// Knows whether a value is still there, and does not keep it.
#[derive(Clone)]
pub struct WeakTensor(Watch<Inner>);

impl WeakTensor {
    /// True while a clone of the tensor is somewhere.
    pub fn is_alive(&self) -> bool {
        self.0.is_alive()
    }
}

impl fmt::Debug for WeakTensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WeakTensor({})", if self.is_alive() { "alive" } else { "gone" })
    }
}

pub(crate) struct Inner {
    pub(crate) id: TensorId,
    /// Bits of the [`Tag`]: atomic, because watching a leaf marks a tensor that others may share.
    pub(crate) tag: AtomicU64,
    pub(crate) dtype: DType,
    /// Number of elements, and whether they lie row-major without gaps: asked by every operation, told by the layout.
    len: usize,
    contiguous: bool,
    pub(crate) layout: Layout,
    pub(crate) storage: Storage,
}

impl Inner {
    /// A new value, row-major without gaps in all of a storage; its layout is [to be completed](Layout::complete).
    #[inline(always)]
    fn dense(storage: Storage, shape: &[usize], len: usize, dtype: DType, tag: Tag) -> Inner {
        Inner {
            id: TensorId::fresh(),
            tag: AtomicU64::new(tag.bits()),
            dtype,
            len,
            contiguous: true,
            layout: Layout::begun(shape),
            storage,
        }
    }

    /// Another value from here on.
    #[inline]
    pub(crate) fn rename(&mut self, tag: Tag) {
        (self.id, self.tag) = (TensorId::fresh(), AtomicU64::new(tag.bits()));
    }
}

impl Tensor {
    pub(crate) fn from_parts(storage: Storage, layout: Layout, dtype: DType, tag: Tag) -> Tensor {
        let (len, contiguous) = (shape::len(&layout.shape), layout.is_contiguous());
        let (id, tag) = (TensorId::fresh(), AtomicU64::new(tag.bits()));
        Tensor(Shared::new(Inner { id, tag, dtype, len, contiguous, layout, storage }))
    }

    /// As [`from_parts`](Self::from_parts), row-major without gaps in all of a storage.
    #[inline(always)]
    pub(crate) fn whole(storage: Storage, shape: &[usize], dtype: DType, tag: Tag) -> Tensor {
        let place = Place::new();
        let mut inner = place.filled(Inner::dense(storage, shape, shape::len(shape), dtype, tag));
        inner.layout.complete(shape);
        Tensor(inner.shared())
    }

    /// One of f32 on the CPU, of a shape that is known to have `len` elements, which `compute` writes. Small tensors take longer to make than
    /// to compute: each part is written where it stays.
    ///
    /// # Errors
    /// No memory, and what `compute` says.
    #[inline(always)]
    pub(crate) fn computed(
        shape: &[usize],
        len: usize,
        tag: Tag,
        compute: impl FnOnce(&mut [f32]) -> ferrotape_kernels::Result<()>,
    ) -> ferrotape_kernels::Result<Tensor> {
        let place = Place::new();
        let storage = Storage::of(Buffer::small(len * size_of::<f32>())?);
        let mut inner = place.filled(Inner::dense(storage, shape, len, DType::F32, tag));
        inner.layout.complete(shape);
        compute(inner.storage.own_elements())?;
        Ok(Tensor(inner.shared()))
    }

    /// The same memory under a new name: another layout (which must lie inside it), perhaps another type.
    pub(crate) fn seen_as(&self, layout: Layout, dtype: DType, tag: Tag) -> Tensor {
        let owner = match &self.0.storage {
            Storage::Own(_) => self,
            Storage::Of(owner) => owner,
        };
        Tensor::from_parts(Storage::Of(owner.clone()), layout, dtype, tag)
    }

    /// Gives the value a new name and tag; `None` if it is shared.
    pub(crate) fn rename(&mut self, tag: Tag) -> Option<()> {
        Shared::get_mut(&mut self.0).map(|inner| inner.rename(tag))
    }

    /// Gives a copy of a value that value's name and tag, for it is the same value.
    pub(crate) fn restore_name(&mut self, id: TensorId, tag: Tag) {
        if let Some(inner) = Shared::get_mut(&mut self.0) {
            inner.id = id;
            inner.tag = AtomicU64::new(tag.bits());
        }
    }

    /// Names this value.
    #[inline]
    pub fn id(&self) -> TensorId {
        self.0.id
    }

    /// Which listener watches it, if any.
    #[inline]
    pub fn tag(&self) -> Tag {
        Tag::from_bits(self.0.tag.load(Ordering::Relaxed))
    }

    /// Marks a leaf as watched. A mark of a listener that still lives and is older stays.
    pub fn set_tag(&self, tag: Tag) {
        if !self.tag().is_live() {
            self.0.tag.store(tag.bits(), Ordering::Relaxed);
        }
    }

    /// To ask later whether this value is still in use.
    pub fn downgrade(&self) -> WeakTensor {
        WeakTensor(Shared::watch(&self.0))
    }

    /// Sizes, outermost first; empty for a scalar.
    #[inline]
    pub fn shape(&self) -> &[usize] {
        &self.0.layout.shape
    }

    /// Number of dims.
    #[inline]
    pub fn rank(&self) -> usize {
        self.shape().len()
    }

    /// Size of dim `dim`; negative counts from the end.
    ///
    /// # Errors
    /// A dim that is not there.
    #[track_caller]
    pub fn size(&self, dim: i64) -> Result<usize> {
        let here = std::panic::Location::caller();
        let dim = shape::resolve_dim("size", dim, self.rank()).map_err(|e| e.at(here))?;
        Ok(self.shape()[dim])
    }

    /// Number of elements.
    #[inline]
    pub fn len(&self) -> usize {
        self.0.len
    }

    /// True without elements.
    pub fn is_empty(&self) -> bool {
        self.0.len == 0
    }

    /// Type of the elements.
    #[inline]
    pub fn dtype(&self) -> DType {
        self.0.dtype
    }

    /// Where it lives.
    #[inline]
    pub fn device(&self) -> Device {
        self.0.storage.device()
    }

    /// Shape, type and device.
    #[inline]
    pub fn meta(&self) -> Meta {
        Meta { shape: few(self.shape()), dtype: self.0.dtype, device: self.device() }
    }

    /// How it lies in its storage.
    pub fn layout(&self) -> &Layout {
        &self.0.layout
    }

    /// True if its elements lie row-major without gaps.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.0.contiguous
    }

    /// Its elements on the CPU, stored as `T`, if they lie row-major without gaps.
    #[inline(always)]
    pub(crate) fn elements<T: ferrotape_kernels::Pod>(&self) -> Option<&[T]> {
        self.elements_in(self.0.storage.buffer())
    }

    /// The same of a tensor that may be of another type or on a GPU: none then.
    #[inline(always)]
    pub(crate) fn f32_elements(&self) -> Option<&[f32]> {
        let is_f32 = self.0.dtype == DType::F32;
        is_f32.then(|| self.0.storage.on_cpu()).flatten().and_then(|data| self.elements_in(data))
    }

    #[inline(always)]
    fn elements_in<'a, T: ferrotape_kernels::Pod>(&self, buffer: &'a Buffer) -> Option<&'a [T]> {
        if !self.0.contiguous {
            return None;
        }
        let (start, data) = (self.0.layout.offset, buffer.as_slice::<T>());
        data.get(start..start.checked_add(self.0.len)?)
    }

    /// Address of the first element: equal for tensors that share their first element.
    pub fn address(&self) -> usize {
        let start = match self.0.storage.cuda() {
            Some(cuda) => cuda.address() as usize,
            None => self.0.storage.buffer().as_slice::<u8>().as_ptr().addr(),
        };
        start + self.0.layout.offset * self.dtype().size()
    }

    /// The elements in row-major order.
    ///
    /// # Errors
    /// `T` is not the tensor's type.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[1f32, 2.], [3., 4.]]).transpose(0, 1)?;
    /// assert_eq!(x.to_vec::<f32>()?, [1., 3., 2., 4.]);
    /// # Ok(()) }
    /// ```
    #[track_caller]
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        let here = std::panic::Location::caller();
        if T::DTYPE != self.dtype() {
            let message = format!("a tensor of {} read as {}", self.dtype(), T::DTYPE);
            return Err(Error::dtype("to_vec", message).at(here));
        }
        let dense = self.on_cpu().map_err(|e| e.at(here))?;
        let dense = match dense.is_contiguous() {
            true => dense,
            false => dense.contiguous_copy().map_err(|e| e.at(here))?,
        };
        let (start, len) = (dense.0.layout.offset, dense.len());
        let data = dense.0.storage.buffer().as_slice::<T::Stored>();
        Ok(data.iter().skip(start).take(len).map(|&x| T::fetch(x)).collect())
    }

    /// The one element of a one-element tensor.
    ///
    /// # Errors
    /// More or fewer elements than one; `T` is not the tensor's type.
    #[track_caller]
    pub fn item<T: Element>(&self) -> Result<T> {
        let here = std::panic::Location::caller();
        if self.len() != 1 || T::DTYPE != self.dtype() {
            let message = format!(
                "one element of {} expected, the tensor has shape {:?} and type {}",
                T::DTYPE,
                self.shape(),
                self.dtype()
            );
            return Err(Error::shape("item", message).at(here));
        }
        let here = self.on_cpu().map_err(|e| e.at(here))?;
        let data = here.0.storage.buffer().as_slice::<T::Stored>();
        Ok(T::fetch(data.get(here.0.layout.offset).copied().unwrap_or_default()))
    }

    /// The one element of a one-element tensor of any type, as f64.
    ///
    /// # Errors
    /// More or fewer elements than one.
    #[track_caller]
    pub fn to_f64(&self) -> Result<f64> {
        match self.dtype() {
            DType::F32 => self.item::<f32>().map(f64::from),
            DType::F64 => self.item::<f64>(),
            DType::F16 => self.item::<f16>().map(f64::from),
            DType::BF16 => self.item::<bf16>().map(f64::from),
            DType::I64 => self.item::<i64>().map(|x| x as f64),
            DType::I32 => self.item::<i32>().map(f64::from),
            DType::I8 => self.item::<i8>().map(f64::from),
            DType::U8 => self.item::<u8>().map(f64::from),
            DType::Bool => self.item::<bool>().map(f64::from),
        }
    }

    /// The value where the CPU can read it, known to no tape.
    pub(crate) fn on_cpu(&self) -> Result<Tensor> {
        match self.device() {
            Device::Cpu => Ok(self.clone()),
            Device::Cuda(_) => crate::execute::brought(self),
        }
    }

    /// All bytes of its storage; none if they are a GPU's.
    pub(crate) fn storage_bytes(&self) -> &[u8] {
        self.0.storage.buffer().as_slice::<u8>()
    }

    /// A copy without gaps (never announced as anything but a copy; keeps the derivative).
    pub(crate) fn contiguous_copy(&self) -> Result<Tensor> {
        apply_one(&Op::Copy, &mut [Operand::Ref(self)])
    }
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
