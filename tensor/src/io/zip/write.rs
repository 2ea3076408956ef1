//! Writing archives. Nothing in them depends on the time of day.

use std::io::{self, Seek, SeekFrom, Write};

use crc32fast::Hasher;
use flate2::Compression;
use flate2::write::DeflateEncoder;

use super::directory::{CENTRAL, END, END64, LOCAL, LOCATOR64};

/// 1980-01-01, the first day of zip.
const DATE: u16 = 0x21;
/// From here on sizes and places are written in 64 bits (below 2^32: a deflated file may be a little larger than the plain one).
const WIDE: u64 = 0xf000_0000;
const UTF8: u16 = 1 << 11;

/// An archive that is being written.
pub(in crate::io) struct Writer<W: Write + Seek> {
    out: W,
    compress: bool,
    /// The directory's records so far, and how many.
    directory: Vec<u8>,
    count: u64,
}

impl<W: Write + Seek> Writer<W> {
    pub(in crate::io) fn new(out: W, compress: bool) -> Writer<W> {
        Writer { out, compress, directory: Vec::new(), count: 0 }
    }

    /// Adds a member of these parts, one after the other.
    pub(in crate::io) fn add(&mut self, name: &str, parts: &[&[u8]]) -> io::Result<()> {
        let name_len = u16::try_from(name.len())
            .map_err(|_| io::Error::other("a name of more than 64 KiB"))?;
        let mut crc = Hasher::new();
        parts.iter().for_each(|part| crc.update(part));
        let crc = crc.finalize();
        let size: u64 = parts.iter().map(|part| part.len() as u64).sum();
        let (wide, header) = (size >= WIDE, self.out.stream_position()?);
        self.local(name, name_len, crc, [size, size], wide)?;
        let start = self.out.stream_position()?;
        let packed = self.data(parts)?;
        if self.compress {
            let end = self.out.seek(SeekFrom::Start(header)).map(|_| start + packed)?;
            self.local(name, name_len, crc, [packed, size], wide)?;
            self.out.seek(SeekFrom::Start(end))?;
        }
        self.central(name, name_len, crc, [packed, size], header);
        Ok(())
    }

    fn data(&mut self, parts: &[&[u8]]) -> io::Result<u64> {
        if !self.compress {
            parts.iter().try_for_each(|part| self.out.write_all(part))?;
            return Ok(parts.iter().map(|part| part.len() as u64).sum());
        }
        let mut encoder = DeflateEncoder::new(&mut self.out, Compression::default());
        parts.iter().try_for_each(|part| encoder.write_all(part))?;
        encoder.try_finish()?;
        Ok(encoder.total_out())
    }

    fn local(
        &mut self,
        name: &str,
        name_len: u16,
        crc: u32,
        sizes: [u64; 2],
        wide: bool,
    ) -> io::Result<()> {
        let narrow = |size: u64| if wide { u32::MAX } else { size as u32 };
        let mut record = Vec::new();
        record.extend(LOCAL.to_le_bytes());
        self.common(&mut record, wide, crc, sizes.map(narrow), name_len, u16::from(wide) * 20);
        record.extend(name.as_bytes());
        if wide {
            record.extend([1, 0, 16, 0]);
            // Here the plain size comes first.
            record.extend(sizes[1].to_le_bytes());
            record.extend(sizes[0].to_le_bytes());
        }
        self.out.write_all(&record)
    }

    /// The fields that both records of a member have.
    fn common(
        &self,
        record: &mut Vec<u8>,
        wide: bool,
        crc: u32,
        sizes: [u32; 2],
        name_len: u16,
        extra: u16,
    ) {
        let (needed, method) = (if wide { 45u16 } else { 20 }, u16::from(self.compress) * 8);
        for field in [needed, UTF8, method, 0, DATE] {
            record.extend(field.to_le_bytes());
        }
        for field in [crc, sizes[0], sizes[1]] {
            record.extend(field.to_le_bytes());
        }
        record.extend(name_len.to_le_bytes());
        record.extend(extra.to_le_bytes());
    }

    fn central(
        &mut self,
        name: &str,
        name_len: u16,
        crc: u32,
        [packed, size]: [u64; 2],
        header: u64,
    ) {
        let wide = size >= WIDE || header >= WIDE;
        let narrow = |size: u64| if wide { u32::MAX } else { size as u32 };
        let mut record = Vec::new();
        record.extend(CENTRAL.to_le_bytes());
        record.extend(45u16.to_le_bytes());
        self.common(
            &mut record,
            wide,
            crc,
            [packed, size].map(narrow),
            name_len,
            u16::from(wide) * 28,
        );
        // No comment, part 0, no attributes.
        record.extend([0; 10]);
        record.extend(narrow(header).to_le_bytes());
        record.extend(name.as_bytes());
        if wide {
            record.extend([1, 0, 24, 0]);
            [size, packed, header].iter().for_each(|field| record.extend(field.to_le_bytes()));
        }
        self.directory.append(&mut record);
        self.count += 1;
    }

    /// Writes the directory and its end.
    pub(in crate::io) fn finish(mut self) -> io::Result<W> {
        let (start, size) = (self.out.stream_position()?, self.directory.len() as u64);
        self.out.write_all(&self.directory)?;
        let wide = start >= WIDE || size >= WIDE || self.count >= u64::from(u16::MAX);
        let mut record = Vec::new();
        if wide {
            record.extend(END64.to_le_bytes());
            record.extend(44u64.to_le_bytes());
            record.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for field in [self.count, self.count, size, start] {
                record.extend(field.to_le_bytes());
            }
            record.extend(LOCATOR64.to_le_bytes());
            record.extend(0u32.to_le_bytes());
            record.extend((start + size).to_le_bytes());
            record.extend(1u32.to_le_bytes());
        }
        let count = if wide { u16::MAX } else { self.count as u16 };
        let narrow = |size: u64| if wide { u32::MAX } else { size as u32 };
        record.extend(END.to_le_bytes());
        record.extend([0; 4]);
        record.extend(count.to_le_bytes());
        record.extend(count.to_le_bytes());
        record.extend(narrow(size).to_le_bytes());
        record.extend(narrow(start).to_le_bytes());
        record.extend([0; 2]);
        self.out.write_all(&record)?;
        self.out.flush()?;
        Ok(self.out)
    }
}
