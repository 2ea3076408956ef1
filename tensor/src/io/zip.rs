//! Zip archives, as NumPy and PyTorch write them: stored or deflated members, read through the directory at the end.
//!
//! Our own and not a crate's, because an archive is not trusted: members that overlap, names that stand twice, sizes that no
//! deflate stream can have and anything encrypted are refused before a byte is inflated.

mod directory;
mod write;

use std::io::{self, Read};

use crc32fast::Hasher;
use flate2::read::DeflateDecoder;

use super::file::bad;
use super::source::{Source, SourceReader};
use crate::error::Result;

pub(super) use directory::{Method, members};
pub(super) use write::Writer;

/// One file in an archive.
#[derive(Debug, Clone)]
pub(super) struct Member {
    pub(super) name: String,
    method: Method,
    crc: u32,
    /// Bytes in the archive.
    packed: u64,
    /// Bytes after inflating.
    pub(super) size: u64,
    /// Where its header, and where its data start.
    header: u64,
    start: u64,
}

/// What a reader may allocate beside the file's size.
const SLACK: u64 = 32 << 20;

impl Member {
    /// Gives the contents to `read`, which must read them to their end; then the checksum is checked. Contents much larger than
    /// the archive are first inflated without being kept, so that memory is only asked for what is really there.
    pub(super) fn read<T>(
        &self,
        source: &mut dyn Source,
        read: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        if self.size > source.len().saturating_add(SLACK) {
            let drain = |reader: &mut dyn Read| io::copy(reader, &mut io::sink()).map_err(bad);
            self.read_once(source, |reader| drain(&mut reader.take(self.size)))?;
        }
        self.read_once(source, read)
    }

    fn read_once<T>(
        &self,
        source: &mut dyn Source,
        read: impl FnOnce(&mut dyn Read) -> Result<T>,
    ) -> Result<T> {
        let packed = SourceReader::new(source, self.start, self.packed);
        let inner: Box<dyn Read + '_> = match self.method {
            Method::Stored => Box::new(packed),
            Method::Deflated => Box::new(DeflateDecoder::new(io::BufReader::new(packed))),
        };
        let mut reader = Checked { inner, crc: Hasher::new(), given: 0 };
        let result = read(&mut reader)?;
        let mut rest = [0];
        let more = reader.read(&mut rest).map_err(bad)?;
        if more > 0 || reader.given != self.size {
            return Err(bad(format!("not the {} bytes that the directory says", self.size)));
        }
        match reader.crc.finalize() {
            crc if crc == self.crc => Ok(result),
            crc => Err(bad(format!("checksum {crc:08x}, the directory says {:08x}", self.crc))),
        }
    }

    /// The contents, if they are at most `limit` bytes.
    pub(super) fn bytes(&self, source: &mut dyn Source, limit: u64) -> Result<Vec<u8>> {
        if self.size > limit {
            return Err(bad(format!("{} bytes, at most {limit} are read", self.size)));
        }
        self.read(source, |reader| {
            let mut bytes = super::source::zeros("contents", self.size)?;
            reader.read_exact(&mut bytes).map_err(bad)?;
            Ok(bytes)
        })
    }
}

/// Counts and sums what passes.
struct Checked<'a> {
    inner: Box<dyn Read + 'a>,
    crc: Hasher,
    given: u64,
}

impl Read for Checked<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(out)?;
        self.crc.update(out.get(..count).unwrap_or_default());
        self.given += count as u64;
        Ok(count)
    }
}
