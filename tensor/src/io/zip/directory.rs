//! The central directory.

use super::Member;
use crate::error::Result;
use crate::io::file::{bad, in_field};
use crate::io::source::{Source, read_bytes};

/// How a member is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::io) enum Method {
    Stored,
    Deflated,
}

pub(super) const LOCAL: u32 = 0x0403_4b50;
pub(super) const CENTRAL: u32 = 0x0201_4b50;
pub(super) const END: u32 = 0x0605_4b50;
pub(super) const END64: u32 = 0x0606_4b50;
pub(super) const LOCATOR64: u32 = 0x0706_4b50;
const LOCAL_BYTES: u64 = 30;
const CENTRAL_BYTES: usize = 46;
const END_BYTES: u64 = 22;
const LOCATOR_BYTES: u64 = 20;
const END64_BYTES: u64 = 56;
const MAX_MEMBERS: u64 = 100_000;
/// Deflate writes at least one bit per 129 bytes (a match of 258 bytes takes two bits).
const MAX_INFLATION: u64 = 1032;
/// Encrypted, patched, strongly encrypted, masked.
const REFUSED_FLAGS: u16 = 1 | 1 << 5 | 1 << 6 | 1 << 13;

/// Little-endian fields of a record.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn bytes(&mut self, len: usize) -> Result<&'a [u8]> {
        let (bytes, rest) = self
            .0
            .split_at_checked(len)
            .ok_or_else(|| bad("directory: a record ends too early"))?;
        self.0 = rest;
        Ok(bytes)
    }
    fn number<const N: usize>(&mut self) -> Result<u64> {
        let bytes = self.bytes(N)?.iter().rev();
        Ok(bytes.fold(0, |number, &byte| number << 8 | u64::from(byte)))
    }
    fn u16(&mut self) -> Result<u16> {
        Ok(self.number::<2>()? as u16)
    }
    fn u32(&mut self) -> Result<u32> {
        Ok(self.number::<4>()? as u32)
    }
    fn u64(&mut self) -> Result<u64> {
        self.number::<8>()
    }
    fn signature(&mut self, expected: u32, record: &str) -> Result<()> {
        match self.u32()? {
            found if found == expected => Ok(()),
            found => Err(bad(format!("{record}: signature {found:08x} is not {expected:08x}"))),
        }
    }
}

/// Where the directory lies and how many members it names.
#[derive(Debug)]
struct Directory {
    count: u64,
    start: u64,
    size: u64,
}

/// The members of an archive, in the order of their data.
pub(in crate::io) fn members(source: &mut dyn Source) -> Result<Vec<Member>> {
    let directory = find(source)?;
    if directory.count > MAX_MEMBERS
        || directory.count.saturating_mul(CENTRAL_BYTES as u64) > directory.size
    {
        let Directory { count, size, .. } = directory;
        return Err(bad(format!(
            "directory: {count} members in {size} bytes, at most {MAX_MEMBERS} are read"
        )));
    }
    let records = read_bytes(source, "directory", directory.start, directory.size)?;
    let mut fields = Fields(&records);
    let mut members = Vec::new();
    for _ in 0..directory.count {
        members.push(central(&mut fields)?);
    }
    if !fields.0.is_empty() {
        return Err(bad("directory: more bytes than its members take"));
    }
    members.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = members.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return of_member(&pair[0].name, Err(bad("the name stands twice in the archive")));
    }
    members.sort_unstable_by_key(|member| member.header);
    let mut free = 0;
    for member in &mut members {
        let name = member.name.clone();
        free = of_member(&name, local(source, member, free, directory.start))?;
    }
    Ok(members)
}

/// `result`, its error said of a member.
fn of_member<T>(name: &str, result: Result<T>) -> Result<T> {
    let shown: String = name.chars().take(200).collect();
    in_field(format!("member {shown:?}"), result)
}

/// Finds the directory by the record at the archive's end.
fn find(source: &mut dyn Source) -> Result<Directory> {
    let all = source.len();
    let tail = all.min(END_BYTES + u64::from(u16::MAX));
    let start = all - tail;
    let bytes = read_bytes(source, "end", start, tail)?;
    // A comment may follow, and must reach exactly to the end.
    let is_end = |at: &usize| {
        let comment =
            bytes.get(at + 20..at + 22).map(|len| usize::from(len[0]) | usize::from(len[1]) << 8);
        bytes[*at..].starts_with(&END.to_le_bytes())
            && comment == Some(bytes.len() - at - END_BYTES as usize)
    };
    let last = bytes.len().checked_sub(END_BYTES as usize);
    let at = last.and_then(|last| (0..=last).rev().find(is_end));
    let at = at.ok_or_else(|| bad("end: no zip archive, or one without its directory"))?;
    let mut fields = Fields(&bytes[at + 4..]);
    let (disk, first, here, count) = (fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?);
    let (size, place) = (fields.u32()?, fields.u32()?);
    let end = start + at as u64;
    let wide = count == u16::MAX || size == u32::MAX || place == u32::MAX;
    let (directory, end) = match locator64(source, end)? {
        Some(locator) => find64(source, locator)?,
        None if wide => return Err(bad("end: the records of a large archive are missing")),
        None => (Directory { count: here.into(), start: place.into(), size: size.into() }, end),
    };
    // PyTorch writes both kinds of record; then they must agree, or it would depend on the reader what the archive holds.
    let same = |wide: u64, narrow: u64, max: u64| narrow == wide || narrow == max;
    let agree = same(directory.count, count.into(), u16::MAX.into())
        && same(directory.size, size.into(), u32::MAX.into())
        && same(directory.start, place.into(), u32::MAX.into());
    if (disk, first, here) != (0, 0, count) || !agree {
        return Err(bad("end: an archive of several parts, or its two ends differ"));
    }
    if directory.start.checked_add(directory.size) != Some(end) {
        let Directory { start, size, .. } = directory;
        let message =
            format!("end at byte {end}: the directory has {size} bytes from byte {start} on");
        return Err(bad(message));
    }
    Ok(directory)
}

/// Where the locator of the records for large archives is, if there is one.
fn locator64(source: &mut dyn Source, end: u64) -> Result<Option<u64>> {
    let Some(locator) = end.checked_sub(LOCATOR_BYTES) else { return Ok(None) };
    let signature = read_bytes(source, "zip64 locator", locator, 4)?;
    Ok((signature == LOCATOR64.to_le_bytes()).then_some(locator))
}

/// The directory by the records for large archives, and where these start.
fn find64(source: &mut dyn Source, locator: u64) -> Result<(Directory, u64)> {
    let bytes = read_bytes(source, "zip64 locator", locator, LOCATOR_BYTES)?;
    let mut fields = Fields(&bytes);
    fields.signature(LOCATOR64, "zip64 locator")?;
    let (disk, end, disks) = (fields.u32()?, fields.u64()?, fields.u32()?);
    if disk != 0 || disks > 1 || end.checked_add(END64_BYTES) != Some(locator) {
        return Err(bad(format!(
            "zip64 locator: the record at byte {end} of part {disk} does not end here"
        )));
    }
    let bytes = read_bytes(source, "zip64 end", end, END64_BYTES)?;
    let mut fields = Fields(&bytes);
    fields.signature(END64, "zip64 end")?;
    let (length, _versions) = (fields.u64()?, fields.u32()?);
    let (disk, first, here, count) = (fields.u32()?, fields.u32()?, fields.u64()?, fields.u64()?);
    let (size, start) = (fields.u64()?, fields.u64()?);
    if length != END64_BYTES - 12 || (disk, first, here) != (0, 0, count) {
        return Err(bad("zip64 end: an archive of several parts, or with extensions"));
    }
    Ok((Directory { count, start, size }, end))
}

/// One record of the directory; where its data start is not known yet.
fn central(fields: &mut Fields<'_>) -> Result<Member> {
    fields.signature(CENTRAL, "directory")?;
    let (_made, _needed, flags, method) =
        (fields.u16()?, fields.u16()?, fields.u16()?, fields.u16()?);
    let (_time, crc, packed, size) = (fields.u32()?, fields.u32()?, fields.u32()?, fields.u32()?);
    let [name, extra, comment] = [fields.u16()?, fields.u16()?, fields.u16()?].map(usize::from);
    let (disk, _inner, _outer, header) =
        (fields.u16()?, fields.u16()?, fields.u32()?, fields.u32()?);
    let name = std::str::from_utf8(fields.bytes(name)?);
    let name = name.map_err(|_| bad("directory: a name that is not UTF-8"))?.to_string();
    let (extra, _) = (fields.bytes(extra)?, fields.bytes(comment)?);
    let wide = [size, packed, header].map(|field| field == u32::MAX);
    let mut sizes = [size, packed, header].map(u64::from);
    let mut check = || {
        if flags & REFUSED_FLAGS != 0 || disk != 0 {
            return Err(bad("encrypted, or in another part"));
        }
        if wide.contains(&true) {
            widen(extra, wide, &mut sizes)?;
        }
        let [size, packed, header] = sizes;
        let (method, most) = match method {
            0 => (Method::Stored, packed),
            8 => (Method::Deflated, packed.saturating_mul(MAX_INFLATION)),
            _ => {
                return Err(bad(format!(
                    "packed by method {method}; only stored and deflated are read"
                )));
            }
        };
        if size > most || (method == Method::Stored && size != packed) {
            return Err(bad(format!("{packed} bytes can't be {size} bytes unpacked")));
        }
        Ok((method, size, packed, header))
    };
    let (method, size, packed, header) = of_member(&name, check())?;
    Ok(Member { name, method, crc, packed, size, header, start: 0 })
}

/// Takes the fields that `wide` names from the zip64 extra field.
fn widen(extra: &[u8], wide: [bool; 3], sizes: &mut [u64; 3]) -> Result<()> {
    let mut fields = Fields(extra);
    while !fields.0.is_empty() {
        let (id, length) = (fields.u16()?, fields.u16()?);
        let mut field = Fields(fields.bytes(length.into())?);
        if id == 1 {
            for (size, _) in sizes.iter_mut().zip(wide).filter(|(_, wide)| *wide) {
                *size = field.u64()?;
            }
            return Ok(());
        }
    }
    Err(bad("the zip64 sizes are missing"))
}

/// Checks the member's own header, finds its data, and says where they end. `free`: where the member before ends; `end`: where the
/// directory starts.
fn local(source: &mut dyn Source, member: &mut Member, free: u64, end: u64) -> Result<u64> {
    let at = member.header;
    if at < free || at >= end {
        return Err(bad(format!(
            "header at byte {at}: it lies in another member or in the directory"
        )));
    }
    let record = read_bytes(source, "header", at, LOCAL_BYTES)?;
    let mut fields = Fields(&record);
    fields.signature(LOCAL, "header")?;
    let (_needed, _flags, method) = (fields.u16()?, fields.u16()?, fields.u16()?);
    fields.bytes(16)?;
    let [name, extra] = [fields.u16()?, fields.u16()?].map(u64::from);
    let own = read_bytes(source, "header's name", at + LOCAL_BYTES, name)?;
    let packed = u16::from(member.method == Method::Deflated) * 8;
    if own != member.name.as_bytes() || method != packed {
        return Err(bad(format!(
            "header at byte {at}: not the name or the method of the directory"
        )));
    }
    member.start = at + LOCAL_BYTES + name + extra;
    member.start.checked_add(member.packed).filter(|&last| last <= end).ok_or_else(|| {
        let Member { start, packed, .. } = member;
        bad(format!("data at byte {start}: {packed} bytes reach into the directory at byte {end}"))
    })
}
