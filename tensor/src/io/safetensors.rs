//! The safetensors format (huggingface): names, types, shapes and raw little-endian data.
//!
//! Files are written by the `safetensors` crate and read by a stricter reader of our own: the crate's takes the last of two tensors
//! of one name, unknown fields and leading space, and its memory for a hostile header is many times the file.

mod header;

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

use ::safetensors::serialize_to_file;
use ::safetensors::tensor::{Dtype, View};

use super::file::{bad, in_file, replace};
use super::source::{
    Dense, Endian, FileSource, MapSource, Source, StreamSource, of_tensor, read_bytes, read_tensor,
};
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;
use header::Header;

/// Named tensors, in the order of their names.
type Named = BTreeMap<String, Tensor>;

/// The largest header, as the format has it.
const MAX_HEADER: u64 = 100_000_000;

fn to_format(dtype: DType) -> Dtype {
    match dtype {
        DType::Bool => Dtype::BOOL,
        DType::U8 => Dtype::U8,
        DType::I8 => Dtype::I8,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

impl View for &Dense {
    fn dtype(&self) -> Dtype {
        to_format(self.tensor().dtype())
    }
    fn shape(&self) -> &[usize] {
        self.tensor().shape()
    }
    fn data(&self) -> Cow<'_, [u8]> {
        self.bytes()
    }
    fn data_len(&self) -> usize {
        self.byte_len()
    }
}

/// Writes named tensors to a safetensors file. The file appears under its name only when it is whole: it is written beside it,
/// flushed to the disk and renamed. Tied tensors are written once for each of their names.
///
/// # Errors
/// A name that stands twice; the file system's, with the path.
///
/// ```no_run
/// # use ferrotape_tensor::{Tensor, io::{load_safetensors, save_safetensors}};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let weight = Tensor::from([[1f32, 2.], [3., 4.]]);
/// save_safetensors("model.safetensors", [("weight".to_string(), &weight)])?;
/// assert_eq!(load_safetensors("model.safetensors")?["weight"].shape(), [2, 2]);
/// # Ok(()) }
/// ```
pub fn save_safetensors<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
) -> Result<()> {
    save_safetensors_with(path, tensors, &BTreeMap::new())
}

/// As [`save_safetensors`], with the texts of `__metadata__` (Hugging Face's transformers want `format` to be `pt`).
///
/// # Errors
/// As [`save_safetensors`].
pub fn save_safetensors_with<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
    metadata: &BTreeMap<String, String>,
) -> Result<()> {
    let path = path.as_ref();
    let collect = || {
        let mut dense = BTreeMap::new();
        for (name, tensor) in tensors {
            let tensor = of_tensor(&name, Dense::of(tensor))?;
            if name == header::METADATA || dense.contains_key(&name) {
                return of_tensor(&name, Err(bad("the name is taken")));
            }
            dense.insert(name, tensor);
        }
        Ok(dense)
    };
    let dense = in_file(path, collect())?;
    let pairs = metadata.iter().map(|(key, value)| (key.clone(), value.clone()));
    let metadata = (!metadata.is_empty()).then(|| pairs.collect::<HashMap<_, _>>());
    replace(path, |beside| serialize_to_file(&dense, metadata, beside).map_err(bad))
}

/// Reads a safetensors file.
///
/// # Errors
/// The file system's; a file that is not exactly as the format says or holds an element type that this library does not have,
/// with the path and the tensor's name. Stricter than other readers: a name that stands twice, a field that the format does not
/// have, bytes that no tensor or two tensors lie in, and space before the header are refused; so are more than 100,000 tensors
/// or 64 dims.
pub fn load_safetensors(path: impl AsRef<Path>) -> Result<Named> {
    let path = path.as_ref();
    in_file(path, FileSource::open(path).and_then(|mut file| read(&mut file)))
}

/// As [`load_safetensors`], but the tensors lie in the mapped file: nothing is copied, and what is never touched is never read from
/// the disk. (Only tensors that are misaligned in the file, and bools, which have to be checked, are copied.)
///
/// While one of them lives, nobody may write to the file or shorten it: the process would end with SIGBUS, or see weights change.
/// Replacing the file by renaming another, as [`save_safetensors`] does, is safe.
///
/// # Errors
/// As [`load_safetensors`].
pub fn map_safetensors(path: impl AsRef<Path>) -> Result<Named> {
    let path = path.as_ref();
    in_file(path, MapSource::open(path).and_then(|mut map| read(&mut map)))
}

/// Reads the contents of a safetensors file.
///
/// # Errors
/// As [`load_safetensors`], without a path.
pub fn parse_safetensors(mut bytes: &[u8]) -> Result<Named> {
    read(&mut bytes)
}

/// Reads a safetensors file of `len` bytes as it comes, into its tensors' memory and no other.
///
/// # Errors
/// As [`load_safetensors`], without a path; the stream's.
pub fn read_safetensors(stream: impl Read, len: u64) -> Result<Named> {
    read(&mut StreamSource::new(stream, len))
}

/// The texts of `__metadata__` of a safetensors file.
///
/// # Errors
/// As [`load_safetensors`].
pub fn safetensors_metadata(path: impl AsRef<Path>) -> Result<BTreeMap<String, String>> {
    let path = path.as_ref();
    let read = || Ok(read_header(&mut FileSource::open(path)?)?.0.metadata);
    in_file(path, read())
}

/// The header, and where the data start.
fn read_header(source: &mut dyn Source) -> Result<(Header, u64)> {
    let mut length = [0; 8];
    let all = source.len();
    if all < 8 {
        return Err(bad(format!("header length at byte 0: 8 bytes, the file has {all}")));
    }
    source.read_at(0, &mut length).map_err(|e| bad(format!("header length at byte 0: {e}")))?;
    let length = u64::from_le_bytes(length);
    if length > MAX_HEADER.min(all - 8) {
        let message = format!(
            "header length at byte 0: {length} bytes, the file has {} after it and the format allows {MAX_HEADER}",
            all - 8
        );
        return Err(bad(message));
    }
    let text = read_bytes(source, "header", 8, length)?;
    Ok((Header::parse(&text, all - 8 - length)?, 8 + length))
}

fn read(source: &mut dyn Source) -> Result<Named> {
    let (header, start) = read_header(source)?;
    let mut named = Named::new();
    for entry in header.entries {
        let at = start + entry.start;
        let tensor = read_tensor(source, at, &entry.shape, entry.dtype, Endian::Little);
        let tensor = of_tensor(&entry.name, tensor)?;
        named.insert(entry.name, tensor);
    }
    Ok(named)
}
