//! NumPy's npy format: a magic, a header that is a Python dictionary, raw data.

mod header;

use std::fs::File;
use std::io::{BufWriter, Read, Write};
use std::path::Path;

use super::file::{bad, in_field, in_file, replace};
use super::source::{Dense, FileSource, MapSource, Source, SourceReader, fill_tensor, read_tensor};
use crate::dtype::DType;
use crate::error::Result;
use crate::tensor::Tensor;
use header::Header;

/// Reads an npy file, NumPy's `numpy.load`.
///
/// Types `?`, `u1`, `i1`, `i4`, `i8`, `f2`, `f4` and `f8` in either byte order are read; versions 1 to 3; a file in Fortran's order
/// gives a transposed view.
///
/// # Errors
/// The file system's; a header that is not exactly NumPy's, an element type that this library does not have (`int16`, complex
/// numbers, records, texts; pickled objects are never read), more or fewer bytes than the shape says: with the path and the field.
///
/// ```no_run
/// # use ferrotape_tensor::{DType, Tensor, io::{load_npy, save_npy}};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// save_npy("x.npy", &Tensor::from([[1f32, 2.], [3., 4.]]))?;
/// assert_eq!(load_npy("x.npy")?.dtype(), DType::F32);
/// # Ok(()) }
/// ```
pub fn load_npy(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    in_file(path, FileSource::open(path).and_then(|mut file| read(&mut file)))
}

/// As [`load_npy`], but the tensor lies in the mapped file, NumPy's `mmap_mode='r'`. The file must stay as it is while the tensor
/// lives, as [`map_safetensors`](super::map_safetensors) says.
///
/// # Errors
/// As [`load_npy`].
pub fn map_npy(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    in_file(path, MapSource::open(path).and_then(|mut map| read(&mut map)))
}

/// Reads the contents of an npy file.
///
/// # Errors
/// As [`load_npy`], without a path.
pub fn parse_npy(mut bytes: &[u8]) -> Result<Tensor> {
    read(&mut bytes)
}

/// Writes an npy file, NumPy's `numpy.save`: version 1, little-endian, C order. It appears under its name only when it is whole.
///
/// # Errors
/// bf16, which NumPy does not have; the file system's, with the path.
pub fn save_npy(path: impl AsRef<Path>, tensor: &Tensor) -> Result<()> {
    let path = path.as_ref();
    let dense = in_file(path, Dense::of(tensor))?;
    let header = in_file(path, header::of(dense.tensor()))?;
    replace(path, |beside| {
        let write = || {
            let mut file = BufWriter::new(File::create(beside)?);
            file.write_all(&header)?;
            file.write_all(&dense.bytes())?;
            file.flush()
        };
        write().map_err(bad)
    })
}

fn read(source: &mut dyn Source) -> Result<Tensor> {
    let all = source.len();
    let header = Header::read(&mut SourceReader::new(source, 0, all), all)?;
    let shape = header.stored_shape();
    let tensor = read_tensor(source, header.start, &shape, header.dtype, header.endian);
    header.in_order(in_field("data", tensor)?)
}

/// The array that `reader` gives in `len` bytes: a member of an npz file.
pub(super) fn read_member(reader: &mut dyn Read, len: u64) -> Result<Tensor> {
    let header = Header::read(reader, len)?;
    let read =
        |out: &mut [u8]| reader.read_exact(out).map_err(|error| bad(format!("data: {error}")));
    let tensor = fill_tensor(&header.stored_shape(), header.dtype, header.endian, read)?;
    header.in_order(tensor)
}

/// An npy header of a tensor without gaps, and the tensor's bytes: a member of an npz file.
pub(super) fn member(dense: &Dense) -> Result<Vec<u8>> {
    header::of(dense.tensor())
}

/// NumPy's name of a type, little-endian.
fn descr(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I8 => "|i1",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::BF16 => return None,
    })
}
