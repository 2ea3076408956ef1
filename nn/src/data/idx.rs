//! The idx file format of MNIST and its kin, raw or gzipped.
//!
//! ```text
//! byte 0      0, 0
//! byte 2      type: 08 u8, 09 i8, 0B i16, 0C i32, 0D f32, 0E f64
//! byte 3      number of dimensions n, 1 to 8
//! byte 4      n sizes, u32
//! byte 4 + 4n elements, row-major
//! ```
//!
//! Every number is big-endian. A file is not trusted: the size that it announces is checked before a byte is allocated for
//! it, no more than that is inflated, and a file that holds less or more is refused.

mod error;
#[cfg(test)]
mod tests;

use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use ferrotape_tensor::io::open_file;
use flate2::bufread::GzDecoder;

pub use error::IdxError;

/// The largest payload that is read, in bytes.
const MAX_PAYLOAD: u64 = 4 << 30;
/// Deflate writes at least one bit per 129 bytes (a match of 258 bytes takes two bits).
const MAX_INFLATION: u64 = 1032;
/// What may be allocated beside the file's size for data that were not checked yet.
const SLACK: u64 = 32 << 20;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];
/// Where the sizes start.
const SIZES: u64 = 4;

/// The contents of an idx file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idx {
    /// The type of the elements.
    pub kind: IdxKind,
    /// Sizes, outermost first.
    pub shape: Vec<usize>,
    /// The elements in row-major order, big-endian as stored.
    pub data: Vec<u8>,
}

/// The element type of an idx file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum IdxKind {
    /// Type byte 08.
    U8,
    /// Type byte 09.
    I8,
    /// Type byte 0B.
    I16,
    /// Type byte 0C.
    I32,
    /// Type byte 0D.
    F32,
    /// Type byte 0E.
    F64,
}

impl IdxKind {
    /// Bytes of one element.
    pub fn size(self) -> usize {
        match self {
            IdxKind::U8 | IdxKind::I8 => 1,
            IdxKind::I16 => 2,
            IdxKind::I32 | IdxKind::F32 => 4,
            IdxKind::F64 => 8,
        }
    }

    fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            0x08 => Some(IdxKind::U8),
            0x09 => Some(IdxKind::I8),
            0x0b => Some(IdxKind::I16),
            0x0c => Some(IdxKind::I32),
            0x0d => Some(IdxKind::F32),
            0x0e => Some(IdxKind::F64),
            _ => None,
        }
    }
}

/// Reads the idx file `path`; its first bytes, not its name, tell whether it is gzipped.
///
/// # Errors
///
/// [`IdxError::File`] with the path and what is wrong, if the file can't be read or is not exactly one idx file.
pub fn read_idx(path: &Path) -> Result<Idx, IdxError> {
    let open = || Ok(BufReader::with_capacity(1 << 16, open_file(path)?));
    let read = || {
        let stored = open_file(path).and_then(|file| Ok(file.metadata()?.len()));
        parse(open, stored.map_err(|source| IdxError::io("file", 0, source))?)
    };
    read().map_err(|source| IdxError::File { path: path.to_owned(), source: Box::new(source) })
}

/// Reads an idx file, raw or gzipped, that lies in memory.
///
/// # Errors
///
/// [`IdxError`] if `bytes` are not exactly one idx file.
pub fn parse_idx(bytes: &[u8]) -> Result<Idx, IdxError> {
    parse(|| Ok(bytes), bytes.len() as u64)
}

/// `stored`: how many bytes the file has, compressed or not.
fn parse<R: BufRead>(open: impl Fn() -> io::Result<R>, stored: u64) -> Result<Idx, IdxError> {
    let open = || open().map_err(|source| IdxError::io("file", 0, source));
    let mut source = open()?;
    let start = source.fill_buf().map_err(|source| IdxError::io("magic", 0, source))?;
    if !start.starts_with(&GZIP_MAGIC) {
        return parse_raw(&mut source, stored, stored);
    }
    match inflate(source, stored, stored.saturating_add(SLACK)) {
        // Much larger than the file: all of it was there, and only now memory is asked for it.
        Ok(idx) if idx.data.is_empty() => inflate(open()?, stored, u64::MAX),
        result => result,
    }
}

/// Data beyond `keep` bytes are checked and dropped.
fn inflate(source: impl BufRead, stored: u64, keep: u64) -> Result<Idx, IdxError> {
    let mut decoder = GzDecoder::new(source);
    let idx = parse_raw(&mut decoder, stored.saturating_mul(MAX_INFLATION), keep)?;
    let offset = SIZES + 4 * idx.shape.len() as u64 + payload_of(&idx);
    let rest = decoder.get_mut().fill_buf();
    match rest.map_err(|source| IdxError::io("end", offset, source))? {
        [] => Ok(idx),
        _ => Err(IdxError::BytesAfterGzip { offset }),
    }
}

fn payload_of(idx: &Idx) -> u64 {
    idx.shape.iter().fold(idx.kind.size() as u64, |bytes, &size| bytes.saturating_mul(size as u64))
}

/// `available`: no more bytes than this can come out of `source`.
fn parse_raw(source: &mut impl Read, available: u64, keep: u64) -> Result<Idx, IdxError> {
    let mut magic = [0; SIZES as usize];
    fill(source, "magic", 0, &mut magic)?;
    let [zero, zero_too, kind, rank] = magic;
    if [zero, zero_too] != [0, 0] {
        return Err(IdxError::Magic { found: [zero, zero_too] });
    }
    let kind = IdxKind::from_byte(kind).ok_or(IdxError::Kind { found: kind })?;
    if !(1..=8).contains(&rank) {
        return Err(IdxError::Rank { found: rank });
    }
    let sizes = read_sizes(source, rank)?;
    let start = SIZES + 4 * u64::from(rank);
    let payload = payload(&sizes, kind);
    let limit = available.saturating_sub(start).min(MAX_PAYLOAD);
    let bytes = payload.filter(|&bytes| bytes <= limit);
    let bytes = bytes.ok_or(IdxError::TooLarge { announced: payload, limit })?;
    // Sizes of zero beside huge ones announce nothing, but must still be sizes on this machine.
    let shape = sizes.into_iter().map(usize::try_from).collect::<Result<_, _>>();
    let shape = shape.map_err(|_| IdxError::TooLarge { announced: payload, limit })?;
    let data = read_payload(source, start, bytes, keep)?;
    at_end(source, start + bytes)?;
    Ok(Idx { kind, shape, data })
}

fn read_sizes(source: &mut impl Read, rank: u8) -> Result<Vec<u32>, IdxError> {
    let sizes = (0..u64::from(rank)).map(|index| {
        let mut size = [0; 4];
        fill(source, "size", SIZES + 4 * index, &mut size)?;
        Ok(u32::from_be_bytes(size))
    });
    sizes.collect()
}

/// The bytes of all elements; `None` if that overflows.
fn payload(sizes: &[u32], kind: IdxKind) -> Option<u64> {
    if sizes.contains(&0) {
        return Some(0);
    }
    sizes.iter().try_fold(kind.size() as u64, |bytes, &size| bytes.checked_mul(u64::from(size)))
}

/// Empty if there are more than `keep` bytes, which are read and dropped.
fn read_payload(
    source: &mut impl Read,
    offset: u64,
    bytes: u64,
    keep: u64,
) -> Result<Vec<u8>, IdxError> {
    if bytes > keep {
        let read = io::copy(&mut source.take(bytes), &mut io::sink());
        let read = read.map_err(|source| IdxError::io("payload", offset, source))?;
        let end = offset + read;
        return match read == bytes {
            true => Ok(Vec::new()),
            false => Err(IdxError::Truncated { field: "payload", offset: end }),
        };
    }
    let mut data = Vec::new();
    let reserved = usize::try_from(bytes).ok().and_then(|n| data.try_reserve_exact(n).ok());
    reserved.ok_or(IdxError::OutOfMemory { requested: bytes })?;
    let read = source.take(bytes).read_to_end(&mut data);
    let end = offset + data.len() as u64;
    read.map_err(|source| IdxError::io("payload", end, source))?;
    if data.len() as u64 != bytes {
        return Err(IdxError::Truncated { field: "payload", offset: end });
    }
    Ok(data)
}

/// Nothing may follow. At the end of gzip data this read also checks the checksum.
fn at_end(source: &mut impl Read, offset: u64) -> Result<(), IdxError> {
    let mut probe = Vec::new();
    let read = source.take(1).read_to_end(&mut probe);
    match read.map_err(|source| IdxError::io("end", offset, source))? {
        0 => Ok(()),
        _ => Err(IdxError::TrailingBytes { offset }),
    }
}

fn fill(
    source: &mut impl Read,
    field: &'static str,
    offset: u64,
    bytes: &mut [u8],
) -> Result<(), IdxError> {
    source.read_exact(bytes).map_err(|source| IdxError::io(field, offset, source))
}
