//! One file: a safetensors file with its digest at its end, written whole or not at all.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::path::Path;

use ferrotape_tensor::io::{Replacement, read_safetensors};
use ferrotape_tensor::{DType, Error, ErrorKind, Result, Tensor, bf16, f16};
use xxhash_rust::xxh3::Xxh3;

use super::{Named, OWN};

/// The layout that this library writes, and the newest that it reads.
const VERSION: i64 = 1;
/// Bytes of the digest.
const DIGEST: usize = 16;
/// The longest header that is read, the format's own limit.
const MAX_HEADER: u64 = 100_000_000;
/// Elements that are converted at a time.
const CHUNK: usize = 1 << 14;

fn file_error(path: &Path, message: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::File { path: path.to_path_buf(), message: message.to_string() })
}

/// Why a file is not taken.
pub(super) enum Refusal {
    /// It can't be read, is not whole or not as written: an older one may serve instead.
    Damaged(String),
    /// It is whole, but not for this program.
    Unfit(String),
    /// There is no memory for it.
    Other(Error),
}

impl Refusal {
    pub(super) fn error(self, path: &Path) -> Error {
        match self {
            Refusal::Damaged(message) | Refusal::Unfit(message) => file_error(path, message),
            Refusal::Other(error) => error,
        }
    }
}

/// The header's name of a type.
fn type_name(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::Bool => "BOOL",
        DType::U8 => "U8",
        DType::I8 => "I8",
        DType::I32 => "I32",
        DType::I64 => "I64",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F32 => "F32",
        DType::F64 => "F64",
        _ => return None,
    })
}

/// The digest of what went through it.
struct Digesting<W> {
    inner: W,
    digest: Box<Xxh3>,
}

impl<W: Write> Write for Digesting<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(&bytes[..written.min(bytes.len())]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            // Writing to a string can't fail.
            c if c < ' ' => drop(write!(quoted, "\\u{:04x}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

/// The length of the header and the header, for tensors in this order; `Err`: the one whose type the format does not have.
fn header<'t>(tensors: &'t [(String, &Tensor)]) -> Result<Vec<u8>, &'t str> {
    let mut json = String::from("{");
    let mut offset = 0;
    for (name, tensor) in tensors {
        let end = offset + tensor.len() * tensor.dtype().size();
        let comma = if offset == 0 && json.len() == 1 { "" } else { "," };
        let dtype = type_name(tensor.dtype()).ok_or(name.as_str())?;
        let (name, shape) = (quoted(name), tensor.shape());
        let entry = format!(
            "{comma}{name}:{{\"dtype\":\"{dtype}\",\"shape\":{shape:?},\"data_offsets\":[{offset},{end}]}}"
        );
        json.push_str(&entry);
        offset = end;
    }
    json.push('}');
    while json.len() % 8 != 0 {
        json.push(' ');
    }
    let mut bytes = (json.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(json.as_bytes());
    Ok(bytes)
}

/// The elements, row-major and little-endian.
fn write_elements(tensor: &Tensor, out: &mut impl Write) -> Result<io::Result<()>> {
    macro_rules! little_endian {
        ($($dtype:ident $element:ty),*) => {
            match tensor.dtype() {
                DType::U8 => out.write_all(&tensor.to_vec::<u8>()?),
                DType::Bool => {
                    let bytes = tensor.to_vec::<bool>()?.into_iter().map(u8::from);
                    out.write_all(&bytes.collect::<Vec<u8>>())
                }
                $(DType::$dtype => {
                    let mut bytes = Vec::with_capacity(CHUNK * size_of::<$element>());
                    tensor.to_vec::<$element>()?.chunks(CHUNK).try_for_each(|elements| {
                        bytes.clear();
                        elements.iter().for_each(|e| bytes.extend_from_slice(&e.to_le_bytes()));
                        out.write_all(&bytes)
                    })
                })*
                _ => Err(io::ErrorKind::Unsupported.into()),
            }
        };
    }
    Ok(little_endian!(I8 i8, I32 i32, I64 i64, F16 f16, BF16 bf16, F32 f32, F64 f64))
}

/// Writes `parts` to `path`.
pub(super) fn write(path: &Path, parts: &BTreeMap<String, Named>) -> Result<()> {
    let version = Tensor::from(VERSION);
    let mut tensors = vec![(format!("{OWN}/version"), &version)];
    for (part, named) in parts {
        tensors.extend(named.iter().map(|(name, tensor)| (format!("{part}/{name}"), tensor)));
    }
    // The widest first, so that each lies where its type may lie.
    tensors.sort_by_key(|(_, tensor)| std::cmp::Reverse(tensor.dtype().size()));
    let digest = Tensor::from([0u8; DIGEST]);
    tensors.push((format!("{OWN}/digest"), &digest));
    let header = header(&tensors)
        .map_err(|name| file_error(path, format!("not saved: {name} has no type of the format")))?;
    tensors.pop();

    let fail = |error: io::Error| file_error(path, format!("not saved: {error}"));
    let new = Replacement::new(path)?;
    let mut out = Digesting { inner: io::BufWriter::new(new.file()), digest: Box::default() };
    out.write_all(&header).map_err(fail)?;
    for (_, tensor) in &tensors {
        write_elements(tensor, &mut out)?.map_err(fail)?;
    }
    let digest = out.digest.digest128().to_le_bytes();
    out.write_all(&digest).and_then(|()| out.flush()).map_err(fail)?;
    drop(out);
    new.finish()
}

/// Makes what the folder of `path` says of it last.
pub(super) fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

/// The parts of the file `path`.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Named>, Refusal> {
    let named = read_whole(path)?;
    let mut parts: BTreeMap<String, Named> = BTreeMap::new();
    for (name, tensor) in named {
        let Some((part, rest)) = name.split_once('/') else {
            return Err(Refusal::Unfit(format!("no checkpoint: entry {name:?} is of no part")));
        };
        parts.entry(part.to_string()).or_default().insert(rest.to_string(), tensor);
    }
    let version = parts.remove(OWN).and_then(|mut own| own.remove("version"));
    match version.map(|version| version.item::<i64>()) {
        Some(Ok(VERSION)) => Ok(parts),
        Some(Ok(other)) => Err(Refusal::Unfit(format!(
            "checkpoint/version: {other}; this library reads version {VERSION}"
        ))),
        _ => Err(Refusal::Unfit("no checkpoint: checkpoint/version: one i64 expected".into())),
    }
}

fn damaged(what: impl std::fmt::Display) -> Refusal {
    Refusal::Damaged(format!("damaged, or no checkpoint: {what}"))
}

fn unread(error: io::Error) -> Refusal {
    Refusal::Damaged(error.to_string())
}

/// The tensors of a file whose digest is right; memory for them is asked for when that is known.
fn read_whole(path: &Path) -> Result<Named, Refusal> {
    // Opening a pipe would wait for its writer.
    if !fs::metadata(path).map_err(unread)?.is_file() {
        return Err(Refusal::Unfit("no file".to_string()));
    }
    let mut file = File::open(path).map_err(unread)?;
    let length = file.metadata().map_err(unread)?.len();
    check_length(&mut file, length)?;
    file.rewind().map_err(unread)?;
    let digest = check_digest(&mut file, length)?;
    file.rewind().map_err(unread)?;
    let mut reading = Reading { file: &file, digest: Box::default(), left: digested(length) };
    match read_safetensors(&mut reading, length) {
        Ok(named) if reading.digest.digest128() == digest => Ok(named),
        Ok(_) => Err(damaged("it changed while it was read")),
        Err(error) => {
            // Is it the file, or did reading it fail?
            file.rewind().map_err(unread)?;
            check_digest(&mut file, length)?;
            Err(match error.kind() {
                ErrorKind::File { message, .. } => Refusal::Unfit(message.clone()),
                _ => Refusal::Other(error),
            })
        }
    }
}

/// How many bytes of a file of this length are digested.
fn digested(length: u64) -> u64 {
    length.saturating_sub(DIGEST as u64)
}

/// Digests what is read, but for the digest itself.
struct Reading<'f> {
    file: &'f File,
    digest: Box<Xxh3>,
    left: u64,
}

impl Read for Reading<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        // What is digested is still in the cache.
        let most = out.len().min(1 << 18);
        let read = self.file.read(&mut out[..most])?;
        let digested = usize::try_from(self.left).map_or(read, |left| left.min(read));
        self.digest.update(&out[..digested]);
        self.left -= digested as u64;
        Ok(read)
    }
}

/// The header's last number is where the data end: a file of another length is refused before all of it is read.
fn check_length(file: &mut File, length: u64) -> Result<(), Refusal> {
    let mut prefix = [0; 8];
    let start = file.read_exact(&mut prefix).map(|()| u64::from_le_bytes(prefix));
    let start = start.map_err(|_| damaged(format!("{length} bytes")))?;
    let data = length.checked_sub(8).and_then(|rest| rest.checked_sub(start));
    let Some(data) = data.filter(|_| (2..=MAX_HEADER).contains(&start)) else {
        return Err(damaged(format!("a header of {start} bytes in a file of {length}")));
    };
    let mut header = Vec::new();
    file.take(start).read_to_end(&mut header).map_err(unread)?;
    let end = std::str::from_utf8(&header).ok().and_then(|header| {
        let inner = header.trim_end_matches(' ').strip_suffix("]}}")?;
        inner.rsplit_once(',')?.1.parse::<u64>().ok()
    });
    match end {
        Some(end) if end == data => Ok(()),
        Some(end) => Err(damaged(format!("{data} bytes of data, {end} announced"))),
        None => Err(damaged("its header does not end as one")),
    }
}

/// The digest at the end, which is that of the bytes before it.
fn check_digest(bytes: &mut impl Read, length: u64) -> Result<u128, Refusal> {
    let mut rest = digested(length);
    let mut digest = Xxh3::new();
    let mut buffer = vec![0; 1 << 16];
    while rest > 0 {
        let most = usize::try_from(rest).map_or(buffer.len(), |rest| rest.min(buffer.len()));
        match bytes.read(&mut buffer[..most]) {
            Ok(0) => return Err(damaged("it has become shorter")),
            Ok(read) => {
                digest.update(&buffer[..read]);
                rest -= read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unread(error)),
        }
    }
    let mut written = [0; DIGEST];
    bytes.read_exact(&mut written).map_err(unread)?;
    match digest.digest128() {
        digest if digest.to_le_bytes() == written => Ok(digest),
        _ => Err(damaged("its digest is not that of its bytes")),
    }
}
