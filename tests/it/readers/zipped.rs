//! Zip archives that lie: M25.

use std::io::Write;

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use super::hostile::{Case, read, refused};

/// One member, each field as it is written.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) name: Vec<u8>,
    pub(crate) data: Vec<u8>,
    flags: u16,
    method: u16,
    crc: u32,
    packed: u32,
    size: u32,
    extra: Vec<u8>,
    /// Where its header is said to be.
    header: Option<u32>,
    local_name: Option<Vec<u8>>,
}

pub(crate) fn entry(name: &str, data: &[u8]) -> Entry {
    let mut crc = Crc::new();
    crc.update(data);
    let size = data.len() as u32;
    Entry {
        name: name.into(),
        data: data.to_vec(),
        flags: 0,
        method: 0,
        crc: crc.sum(),
        packed: size,
        size,
        extra: Vec::new(),
        header: None,
        local_name: None,
    }
}

fn deflated_entry(name: &str, data: &[u8]) -> Entry {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    let packed = encoder.finish().unwrap();
    Entry { method: 8, packed: packed.len() as u32, data: packed, ..entry(name, data) }
}

fn fields(entry: &Entry, name: &[u8]) -> Vec<u8> {
    let mut bytes = vec![20, 0];
    [entry.flags, entry.method, 0, 0x21].iter().for_each(|field| bytes.extend(field.to_le_bytes()));
    [entry.crc, entry.packed, entry.size]
        .iter()
        .for_each(|field| bytes.extend(field.to_le_bytes()));
    bytes.extend((name.len() as u16).to_le_bytes());
    bytes
}

/// The members, and where the directory starts.
fn directory(entries: &[Entry]) -> (Vec<u8>, Vec<u8>) {
    let (mut bytes, mut directory) = (Vec::new(), Vec::new());
    for entry in entries {
        let header = entry.header.unwrap_or(bytes.len() as u32);
        let name = entry.local_name.as_ref().unwrap_or(&entry.name);
        bytes.extend(b"PK\x03\x04");
        bytes.extend(fields(entry, name));
        bytes.extend([0, 0]);
        bytes.extend(name);
        bytes.extend(&entry.data);
        directory.extend(b"PK\x01\x02\x14\x00");
        directory.extend(fields(entry, &entry.name));
        directory.extend((entry.extra.len() as u16).to_le_bytes());
        directory.extend([0; 10]);
        directory.extend(header.to_le_bytes());
        directory.extend(&entry.name);
        directory.extend(&entry.extra);
    }
    (bytes, directory)
}

fn end(count: u16, size: u32, start: u32, comment: &[u8]) -> Vec<u8> {
    let mut bytes = b"PK\x05\x06\0\0\0\0".to_vec();
    bytes.extend(count.to_le_bytes());
    bytes.extend(count.to_le_bytes());
    bytes.extend(size.to_le_bytes());
    bytes.extend(start.to_le_bytes());
    bytes.extend((comment.len() as u16).to_le_bytes());
    bytes.extend(comment);
    bytes
}

pub(crate) fn archive(entries: &[Entry]) -> Vec<u8> {
    let (bytes, directory) = directory(entries);
    let end = end(entries.len() as u16, directory.len() as u32, bytes.len() as u32, b"");
    [bytes, directory, end].concat()
}

fn archive64(entries: &[Entry], change: impl Fn(&mut [u64; 6])) -> Vec<u8> {
    let (bytes, directory) = directory(entries);
    let (start, size) = (bytes.len() as u64, directory.len() as u64);
    // Length of the record, members here, members, size, start, place of the record.
    let mut wide = [44, entries.len() as u64, entries.len() as u64, size, start, start + size];
    change(&mut wide);
    let mut record = b"PK\x06\x06".to_vec();
    record.extend(wide[0].to_le_bytes());
    record.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    wide[1..5].iter().for_each(|field| record.extend(field.to_le_bytes()));
    record.extend(b"PK\x06\x07\0\0\0\0");
    record.extend(wide[5].to_le_bytes());
    record.extend([1, 0, 0, 0]);
    [bytes, directory, record, end(u16::MAX, u32::MAX, u32::MAX, b"")].concat()
}

pub(crate) fn stored(name: &str, data: &[u8]) -> Vec<u8> {
    archive(&[entry(name, data)])
}

pub(crate) fn deflated(name: &str, data: &[u8]) -> Vec<u8> {
    archive(&[deflated_entry(name, data)])
}

/// Archives around one good member.
pub(crate) fn cases(name: &str, data: &[u8]) -> Vec<Case> {
    let good = entry(name, data);
    let with = |change: fn(&mut Entry)| {
        let mut entry = good.clone();
        change(&mut entry);
        archive(&[entry])
    };
    let inflated = |change: fn(&mut Entry)| {
        let mut entry = deflated_entry(name, data);
        change(&mut entry);
        archive(&[entry])
    };
    let twice = archive(&[good.clone(), good.clone()]);
    let same_bytes = Entry { header: Some(0), ..entry("other.npy", data) };
    // Its data reach over the next member's header.
    let mut swallowing = good.clone();
    (swallowing.packed, swallowing.size) = (swallowing.packed + 8, swallowing.size + 8);
    let mut outside = good.clone();
    outside.header = Some(1 << 20);
    let many: Vec<Entry> = (0..65_536).map(|i| entry(&format!("{i:05}"), b"")).collect();
    let (bytes, directory) = directory(std::slice::from_ref(&good));
    let ended = |count, size: usize, start: usize| {
        [&bytes[..], &directory, &end(count, size as u32, start as u32, b"")].concat()
    };
    let one = |change: fn(&mut [u64; 6])| archive64(std::slice::from_ref(&good), change);
    let mut cases = vec![
        read("M25-stored", archive(std::slice::from_ref(&good))),
        read("M25-deflated", inflated(|_| ())),
        read("M25-zip64", one(|_| ())),
        read(
            "M25-comment",
            [
                &bytes[..],
                &directory,
                &end(1, directory.len() as u32, bytes.len() as u32, b"PK\x05\x06"),
            ]
            .concat(),
        ),
        refused("M25-empty", b"".as_slice(), "no zip archive"),
        refused("M25-no-end", bytes.clone(), "no zip archive"),
        refused("M25-no-directory", [&bytes[..], &directory].concat(), "no zip archive"),
        refused("M25-lying-size-stored", with(|e| e.size = 10), "can't be 10 bytes"),
        refused(
            "M25-lying-size-4GB",
            with(|e| (e.size, e.packed) = (u32::MAX - 1, u32::MAX - 1)),
            "reach into the directory",
        ),
        refused("M25-ratio", inflated(|e| e.size = u32::MAX - 1), "can't be 4294967294 bytes"),
        refused("M25-lying-size-more", inflated(|e| e.size += 1), ""),
        refused("M25-lying-size-less", inflated(|e| e.size -= 1), ""),
        refused("M25-crc", with(|e| e.crc ^= 1), "checksum"),
        refused("M25-crc-deflated", inflated(|e| e.crc ^= 1), "checksum"),
        refused("M25-bad-deflate", inflated(|e| e.data[2] ^= 0x55), name_of(name)),
        refused("M25-encrypted", with(|e| e.flags = 1), "encrypted"),
        refused("M25-masked", with(|e| e.flags = 1 << 13), "encrypted"),
        refused("M25-method", with(|e| e.method = 14), "method 14"),
        refused("M25-duplicate", twice, "stands twice"),
        refused("M25-overlap", archive(&[good.clone(), same_bytes]), "header at byte 0"),
        refused(
            "M25-data-overlap",
            archive(&[swallowing, entry("other.npy", data)]),
            "it lies in another member",
        ),
        refused("M25-outside", archive(&[outside]), "header at byte 1048576"),
        refused("M25-other-name", with(|e| e.local_name = Some(b"other".to_vec())), "not the name"),
        refused("M25-name-not-utf8", with(|e| e.name = b"\xff".to_vec()), "not UTF-8"),
        refused("M25-zip64-field-missing", with(|e| e.size = u32::MAX), "zip64 sizes are missing"),
        refused(
            "M25-zip64-field-short",
            with(|e| (e.size, e.extra) = (u32::MAX, vec![1, 0, 4, 0, 1, 2, 3, 4])),
            "ends too early",
        ),
        refused(
            "M25-zip64-field-lies",
            with(|e| {
                (e.size, e.packed, e.extra) =
                    (u32::MAX, u32::MAX, [&[1, 0, 16, 0][..], &[0xff; 16]].concat())
            }),
            "reach into the directory",
        ),
        refused(
            "M25-zip64-count",
            one(|w| (w[1], w[2]) = (u64::MAX, u64::MAX)),
            "directory: 18446744073709551615 members",
        ),
        refused(
            "M25-zip64-size",
            one(|w| w[3] = u64::MAX),
            "the directory has 18446744073709551615 bytes",
        ),
        refused("M25-zip64-start", one(|w| w[4] = u64::MAX - 3), "the directory has"),
        refused("M25-zip64-place", one(|w| w[5] = u64::MAX), "zip64 locator"),
        refused("M25-zip64-record", one(|w| w[0] = u64::MAX), "zip64 end"),
        refused("M25-ends-differ", ends_differ(one(|_| ())), "its two ends differ"),
        refused("M25-zip64-parts", one(|w| w[1] = 0), "several parts"),
        refused(
            "M25-count-less",
            ended(0, directory.len(), bytes.len()),
            "more bytes than its members",
        ),
        refused("M25-count-more", ended(2, directory.len(), bytes.len()), "2 members"),
        refused("M25-size-less", ended(1, directory.len() - 1, bytes.len()), "the directory has"),
        refused("M25-start-more", ended(1, directory.len(), bytes.len() + 1), "the directory has"),
        refused(
            "M25-before",
            [b"#!/bin/sh\n", &archive(std::slice::from_ref(&good))[..]].concat(),
            "the directory has",
        ),
        refused(
            "M25-after",
            [&archive(std::slice::from_ref(&good))[..], b"\n"].concat(),
            "no zip archive",
        ),
        refused("M25-65536-members", archive64(&many, |_| ()), ""),
    ];
    let whole = archive(std::slice::from_ref(&good));
    cases.extend((0..whole.len()).map(|cut| refused(format!("M25-cut-{cut}"), &whole[..cut], "")));
    cases
}

/// The end says two members where the zip64 end says one.
fn ends_differ(mut bytes: Vec<u8>) -> Vec<u8> {
    let end = bytes.len() - 22;
    bytes[end + 8..end + 12].copy_from_slice(&[2, 0, 2, 0]);
    bytes
}

/// The member's name in messages, without its folder and ending.
fn name_of(name: &str) -> &'static str {
    if name.contains("pkl") { "data.pkl" } else { "x.npy" }
}
