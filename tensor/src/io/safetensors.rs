//! The safetensors format (huggingface): names, types, shapes and raw little-endian data.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;

use ::safetensors::tensor::{Dtype, TensorView};
use ::safetensors::{SafeTensors, serialize};

use crate::device::Device;
use crate::dtype::{DType, bf16, f16};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;

/// Named tensors, in the order of their names.
type Named = BTreeMap<String, Tensor>;

fn file_error(path: &Path, message: impl std::fmt::Display) -> Error {
    Error::plain(ErrorKind::File { path: path.to_path_buf(), message: message.to_string() })
}

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

fn from_format(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I8 => DType::I8,
        Dtype::I32 => DType::I32,
        Dtype::I64 => DType::I64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        _ => return None,
    })
}

/// The elements as little-endian bytes.
fn to_bytes(x: &Tensor) -> Result<Vec<u8>> {
    Ok(match x.dtype() {
        DType::F32 => x.to_vec::<f32>()?.into_iter().flat_map(f32::to_le_bytes).collect(),
        DType::F64 => x.to_vec::<f64>()?.into_iter().flat_map(f64::to_le_bytes).collect(),
        DType::F16 => x.to_vec::<f16>()?.into_iter().flat_map(f16::to_le_bytes).collect(),
        DType::BF16 => x.to_vec::<bf16>()?.into_iter().flat_map(bf16::to_le_bytes).collect(),
        DType::I64 => x.to_vec::<i64>()?.into_iter().flat_map(i64::to_le_bytes).collect(),
        DType::I32 => x.to_vec::<i32>()?.into_iter().flat_map(i32::to_le_bytes).collect(),
        DType::I8 => x.to_vec::<i8>()?.into_iter().flat_map(i8::to_le_bytes).collect(),
        DType::U8 => x.to_vec::<u8>()?,
        DType::Bool => x.to_vec::<bool>()?.into_iter().map(u8::from).collect(),
    })
}

fn from_bytes(bytes: &[u8], shape: &[usize], dtype: DType) -> Result<Tensor> {
    fn fill<T, const N: usize>(bytes: &[u8], out: &mut [T], read: impl Fn([u8; N]) -> T) {
        for (to, from) in out.iter_mut().zip(bytes.chunks_exact(N)) {
            if let Ok(from) = from.try_into() {
                *to = read(from);
            }
        }
    }
    let cpu = Device::Cpu;
    match dtype {
        DType::F32 => Tensor::filled(shape, dtype, cpu, |out| fill(bytes, out, f32::from_le_bytes)),
        DType::F64 => Tensor::filled(shape, dtype, cpu, |out| fill(bytes, out, f64::from_le_bytes)),
        DType::F16 => Tensor::filled(shape, dtype, cpu, |out| fill(bytes, out, f16::from_le_bytes)),
        DType::BF16 => {
            Tensor::filled(shape, dtype, cpu, |out| fill(bytes, out, bf16::from_le_bytes))
        }
        DType::I64 => Tensor::filled(shape, dtype, cpu, |out| fill(bytes, out, i64::from_le_bytes)),
        DType::I32 => Tensor::filled(shape, dtype, cpu, |out| fill(bytes, out, i32::from_le_bytes)),
        DType::I8 => Tensor::filled(shape, dtype, cpu, |out| fill(bytes, out, i8::from_le_bytes)),
        DType::U8 => Tensor::filled(shape, dtype, cpu, |out: &mut [u8]| out.copy_from_slice(bytes)),
        DType::Bool => Tensor::filled(shape, dtype, cpu, |out: &mut [u8]| {
            out.iter_mut().zip(bytes).for_each(|(to, &from)| *to = u8::from(from != 0));
        }),
    }
}

/// Writes named tensors to a safetensors file. The file appears under its name only when it is whole: it is written beside it,
/// flushed to the disk and renamed.
///
/// # Errors
/// The file system's, with the path.
pub fn save_safetensors<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
) -> Result<()> {
    let path = path.as_ref();
    let mut parts = Vec::new();
    for (name, tensor) in tensors {
        parts.push((name, to_format(tensor.dtype()), tensor.shape().to_vec(), to_bytes(tensor)?));
    }
    let mut views = Vec::new();
    for (name, dtype, shape, bytes) in &parts {
        let view = TensorView::new(*dtype, shape.clone(), bytes);
        views.push((name, view.map_err(|error| file_error(path, format!("{name}: {error}")))?));
    }
    let bytes = serialize(views, None).map_err(|error| file_error(path, error))?;
    write_whole(path, &bytes).map_err(|error| file_error(path, error))
}

/// Temporary file, flush, rename: a reader never sees half a file.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(name);
    let write = || {
        let mut file = fs::File::create(&beside)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().inspect_err(|_| {
        // The write's own error is what matters; the litter may already be gone.
        let _ = fs::remove_file(&beside);
    })
}

/// Reads a safetensors file.
///
/// # Errors
/// The file system's; a header or an element type that this library does not accept, with the path and the tensor's name.
pub fn load_safetensors(path: impl AsRef<Path>) -> Result<Named> {
    let path = path.as_ref();
    let bytes = fs::read(path).map_err(|error| file_error(path, error))?;
    parse_safetensors(&bytes).map_err(|error| match error.kind() {
        ErrorKind::File { message, .. } => file_error(path, message),
        _ => error,
    })
}

/// Reads the contents of a safetensors file.
///
/// # Errors
/// As [`load_safetensors`], with an empty path.
pub fn parse_safetensors(bytes: &[u8]) -> Result<Named> {
    let nowhere = Path::new("");
    let file = SafeTensors::deserialize(bytes).map_err(|error| file_error(nowhere, error))?;
    let mut named = Named::new();
    for (name, view) in file.tensors() {
        let Some(dtype) = from_format(view.dtype()) else {
            let message = format!("{name}: elements of {:?} are not supported", view.dtype());
            return Err(file_error(nowhere, message));
        };
        let tensor = from_bytes(view.data(), view.shape(), dtype)?;
        named.insert(name, tensor);
    }
    Ok(named)
}
