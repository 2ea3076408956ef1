//! NumPy's npz format: a zip archive of npy files.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use super::file::{bad, in_file, replace};
use super::npy;
use super::source::{Dense, FileSource, Source, of_tensor};
use super::zip;
use crate::error::Result;
use crate::tensor::Tensor;

/// Reads an npz file: its arrays by their names, without the `.npy`.
///
/// # Errors
/// The file system's; an archive or an array that is not exactly as its format says ([`load_npy`](super::load_npy)), members
/// that overlap, checksums that do not fit: with the path and the array.
pub fn load_npz(path: impl AsRef<Path>) -> Result<BTreeMap<String, Tensor>> {
    let path = path.as_ref();
    in_file(path, FileSource::open(path).and_then(|mut file| read(&mut file)))
}

/// Reads the contents of an npz file.
///
/// # Errors
/// As [`load_npz`], without a path.
pub fn parse_npz(mut bytes: &[u8]) -> Result<BTreeMap<String, Tensor>> {
    read(&mut bytes)
}

/// Writes an npz file, NumPy's `numpy.savez`. It appears under its name only when it is whole.
///
/// # Errors
/// As [`save_npy`](super::save_npy); a name that stands twice.
pub fn save_npz<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
) -> Result<()> {
    save(path.as_ref(), tensors, false)
}

/// As [`save_npz`], deflated: NumPy's `numpy.savez_compressed`.
///
/// # Errors
/// As [`save_npz`].
pub fn save_npz_compressed<'a>(
    path: impl AsRef<Path>,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
) -> Result<()> {
    save(path.as_ref(), tensors, true)
}

fn save<'a>(
    path: &Path,
    tensors: impl IntoIterator<Item = (String, &'a Tensor)>,
    compress: bool,
) -> Result<()> {
    let mut by_name = BTreeMap::new();
    for (name, tensor) in tensors {
        if by_name.contains_key(&name) {
            return in_file(path, of_tensor(&name, Err(bad("the name is taken"))));
        }
        by_name.insert(name, tensor);
    }
    replace(path, |beside| {
        let file = File::create(beside).map_err(bad)?;
        let mut writer = zip::Writer::new(BufWriter::new(file), compress);
        for (name, tensor) in by_name {
            let mut add = || {
                let dense = Dense::of(tensor)?;
                let header = npy::member(&dense)?;
                writer.add(&format!("{name}.npy"), &[&header, &dense.bytes()]).map_err(bad)
            };
            of_tensor(&name, add())?;
        }
        writer.finish().map(drop).map_err(bad)
    })
}

fn read(source: &mut dyn Source) -> Result<BTreeMap<String, Tensor>> {
    let mut named = BTreeMap::new();
    for member in zip::members(source)? {
        let mut array = || {
            let name = member.name.strip_suffix(".npy");
            let name = name.ok_or_else(|| bad("not an npy file by its name"))?;
            let tensor = member.read(source, |reader| npy::read_member(reader, member.size))?;
            Ok((name.to_string(), tensor))
        };
        let (name, tensor) = of_tensor(&member.name, array())?;
        named.insert(name, tensor);
    }
    Ok(named)
}
