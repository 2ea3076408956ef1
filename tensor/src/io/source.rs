//! What readers read from: bytes, an open file, a mapped file.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use ferrotape_kernels::buffer::map_file;
use smallvec::SmallVec;

use super::file::{bad, in_field, open_file};
use crate::device::Device;
use crate::dtype::DType;
use crate::error::Result;
use crate::layout::Layout;
use crate::observe::Tag;
use crate::shape::Dims;
use crate::storage::Storage;
use crate::tensor::Tensor;

/// The most dims that a file's tensor may have; PyTorch and NumPy stop there too.
pub(super) const MAX_RANK: usize = 64;

/// Bytes at places.
pub(super) trait Source {
    fn len(&self) -> u64;
    /// Fills `out` from `offset` on.
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()>;
    /// The whole as bytes of a tensor, where others can lie in it.
    fn memory(&self) -> Option<&Tensor> {
        None
    }
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let start = usize::try_from(offset).ok();
        let range = start.and_then(|start| Some(start..start.checked_add(out.len())?));
        let bytes = range.and_then(|range| self.get(range));
        out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }
}

/// An open file, and where its cursor stands.
pub(super) struct FileSource {
    file: File,
    len: u64,
    at: u64,
}

impl FileSource {
    pub(super) fn open(path: &Path) -> Result<FileSource> {
        let open = || {
            let file = open_file(path)?;
            Ok(FileSource { len: file.metadata()?.len(), at: 0, file })
        };
        open().map_err(|error: io::Error| bad(error))
    }
}

impl Source for FileSource {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.at != offset {
            self.file.seek(SeekFrom::Start(offset))?;
        }
        // Unknown after a failure.
        self.at = u64::MAX;
        self.file.read_exact(out)?;
        self.at = offset.saturating_add(out.len() as u64);
        Ok(())
    }
}

/// What comes in its order and only once.
pub(super) struct StreamSource<R> {
    stream: R,
    len: u64,
    at: u64,
}

impl<R: Read> StreamSource<R> {
    pub(super) fn new(stream: R, len: u64) -> Self {
        StreamSource { stream, len, at: 0 }
    }
}

impl<R: Read> Source for StreamSource<R> {
    fn len(&self) -> u64 {
        self.len
    }
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.at != offset {
            return Err(io::ErrorKind::NotSeekable.into());
        }
        self.at = u64::MAX;
        self.stream.read_exact(out)?;
        self.at = offset.saturating_add(out.len() as u64);
        Ok(())
    }
}

/// A mapped file.
pub(super) struct MapSource(Tensor);

impl MapSource {
    pub(super) fn open(path: &Path) -> Result<MapSource> {
        let owner = open_file(path).and_then(|file| map_file(&file)).map_err(bad)?;
        let storage = Storage::external(owner)?;
        let bytes = [storage.buffer().len()];
        Ok(MapSource(Tensor::whole(storage, &bytes, DType::U8, Tag::NONE)))
    }
}

impl Source for MapSource {
    fn len(&self) -> u64 {
        self.0.len() as u64
    }
    fn read_at(&mut self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.storage_bytes().read_at(offset, out)
    }
    fn memory(&self) -> Option<&Tensor> {
        Some(&self.0)
    }
}

/// `len` bytes from `offset` on. Memory is asked for only if the source has so many.
pub(super) fn read_bytes(
    source: &mut dyn Source,
    field: &str,
    offset: u64,
    len: u64,
) -> Result<Vec<u8>> {
    let end = offset.checked_add(len).filter(|&end| end <= source.len());
    if end.is_none() {
        let all = source.len();
        let message =
            format!("{field}: {len} bytes at byte {offset} go past the end at byte {all}");
        return Err(bad(message));
    }
    let mut bytes = zeros(field, len)?;
    source
        .read_at(offset, &mut bytes)
        .map_err(|error| bad(format!("{field} at byte {offset}: {error}")))?;
    Ok(bytes)
}

/// A vector of `len` zero bytes, if there is memory for it.
pub(super) fn zeros(field: &str, len: u64) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reserved = usize::try_from(len).ok().filter(|&len| bytes.try_reserve_exact(len).is_ok());
    let len = reserved.ok_or_else(|| bad(format!("{field}: no memory for {len} bytes")))?;
    bytes.resize(len, 0);
    Ok(bytes)
}

/// How elements lie in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Endian {
    Little,
    Big,
}

impl Endian {
    const NATIVE: Endian = if cfg!(target_endian = "big") { Endian::Big } else { Endian::Little };
}

/// The bytes of a tensor of this shape. Refused beside a zero dim too if the others would overflow, so that the order of the sizes
/// makes no difference.
pub(super) fn byte_size(shape: &[usize], dtype: DType) -> Result<u64> {
    if shape.len() > MAX_RANK {
        return Err(bad(format!("{} dims, at most {MAX_RANK} are read", shape.len())));
    }
    let nonzero = shape.iter().filter(|&&size| size > 0);
    let bytes = nonzero.copied().try_fold(dtype.size(), usize::checked_mul);
    match bytes.filter(|&bytes| bytes <= isize::MAX as usize) {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(bytes) => Ok(bytes as u64),
        None => Err(bad(format!("shape {shape:?} is larger than memory can be"))),
    }
}

/// The row-major tensor at byte `offset`; its bytes must be there. Not copied if the source is a map and the place is aligned.
pub(super) fn read_tensor(
    source: &mut dyn Source,
    offset: u64,
    shape: &[usize],
    dtype: DType,
    endian: Endian,
) -> Result<Tensor> {
    let bytes = byte_size(shape, dtype)?;
    if offset.checked_add(bytes).is_none_or(|end| end > source.len()) {
        let all = source.len();
        return Err(bad(format!("{bytes} bytes at byte {offset} go past the end at byte {all}")));
    }
    if let Some(tensor) = in_place(source, offset, shape, dtype, endian) {
        return Ok(tensor);
    }
    let read = |out: &mut [u8]| {
        source.read_at(offset, out).map_err(|error| bad(format!("data at byte {offset}: {error}")))
    };
    fill_tensor(shape, dtype, endian, read)
}

/// The tensor in the source's own memory.
fn in_place(
    source: &dyn Source,
    offset: u64,
    shape: &[usize],
    dtype: DType,
    endian: Endian,
) -> Option<Tensor> {
    let memory = source.memory()?;
    let (size, start) = (dtype.size(), usize::try_from(offset).ok()?);
    let askew = start % size != 0 || memory.0.storage.buffer().as_slice::<u64>().is_empty();
    // A bool's byte must be 0 or 1; it costs a look at each, so they are rather copied.
    if askew || dtype == DType::Bool || shape.contains(&0) || (endian != Endian::NATIVE && size > 1)
    {
        return None;
    }
    let layout = Layout { offset: start / size, ..Layout::contiguous(Dims::from_slice(shape)) };
    Some(memory.seen_as(layout, dtype, Tag::NONE))
}

/// A new tensor, its bytes written by `read`.
pub(super) fn fill_tensor(
    shape: &[usize],
    dtype: DType,
    endian: Endian,
    read: impl FnOnce(&mut [u8]) -> Result<()>,
) -> Result<Tensor> {
    let mut result = Ok(());
    let bytes = usize::try_from(byte_size(shape, dtype)?).map_err(bad)?;
    let mut storage = Storage::new("load", bytes, Device::Cpu)?;
    if let Some(memory) = storage.exclusive() {
        let out = memory.buffer.as_mut_slice::<u8>();
        result = read(out);
        if endian != Endian::NATIVE && dtype.size() > 1 {
            out.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
        }
        if dtype == DType::Bool {
            out.iter_mut().for_each(|byte| *byte = u8::from(*byte != 0));
        }
    }
    result?;
    Ok(Tensor::whole(storage, shape, dtype, Tag::NONE))
}

/// A tensor without gaps, to write.
pub(super) struct Dense(Tensor);

impl Dense {
    pub(super) fn of(tensor: &Tensor) -> Result<Dense> {
        let here = tensor.on_cpu()?;
        Ok(Dense(if here.is_contiguous() { here } else { here.contiguous_copy()? }))
    }

    pub(super) fn tensor(&self) -> &Tensor {
        &self.0
    }

    pub(super) fn byte_len(&self) -> usize {
        self.0.len() * self.0.dtype().size()
    }

    /// Its elements, little-endian.
    pub(super) fn bytes(&self) -> std::borrow::Cow<'_, [u8]> {
        let size = self.0.dtype().size();
        let start = self.0.layout().offset() * size;
        let all = self.0.storage_bytes();
        let own = all.get(start..start + self.byte_len()).unwrap_or_default();
        if Endian::NATIVE == Endian::Little || size == 1 {
            return own.into();
        }
        let mut swapped = own.to_vec();
        swapped.chunks_exact_mut(size).for_each(<[u8]>::reverse);
        swapped.into()
    }
}

/// A shape as a reader collects it.
pub(super) type Sizes = SmallVec<[usize; 6]>;

/// `result`, its error said of tensor `name`.
pub(super) fn of_tensor<T>(name: &str, result: Result<T>) -> Result<T> {
    let shown: String = name.chars().take(200).collect();
    in_field(format!("tensor {shown:?}"), result)
}

/// Part of a source, byte after byte.
pub(super) struct SourceReader<'a> {
    source: &'a mut dyn Source,
    at: u64,
    left: u64,
}

impl<'a> SourceReader<'a> {
    /// `len` bytes from `at` on, fewer if the source ends.
    pub(super) fn new(source: &'a mut dyn Source, at: u64, len: u64) -> SourceReader<'a> {
        let left = len.min(source.len().saturating_sub(at));
        SourceReader { source, at, left }
    }
}

impl Read for SourceReader<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let len = usize::try_from(self.left).map_or(out.len(), |left| left.min(out.len()));
        let out = out.get_mut(..len).unwrap_or_default();
        self.source.read_at(self.at, out)?;
        self.at += len as u64;
        self.left -= len as u64;
        Ok(len)
    }
}
