//! Good files of every type, raw and gzipped, and each way in which a file can lie.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

use super::*;

/// An idx file: the type byte, the sizes and the payload, whether they fit or not.
fn file(kind: u8, sizes: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, sizes.len() as u8];
    sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(payload);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// `bytes`, raw and gzipped, are refused with this message.
fn check_error(bytes: &[u8], message: &str) {
    check_error_of(bytes, message);
    check_error_of(&gzip(bytes), message);
}

fn check_error_of(bytes: &[u8], message: &str) {
    assert_eq!(parse_idx(bytes).unwrap_err().to_string(), message);
}

#[test]
fn every_type_raw_and_gzipped() {
    use IdxKind::*;
    for (byte, kind) in [(8, U8), (9, I8), (0xb, I16), (0xc, I32), (0xd, F32), (0xe, F64)] {
        let payload: Vec<u8> = (0..6 * kind.size() as u8).collect();
        let bytes = file(byte, &[2, 3], &payload);
        let expected = Idx { kind, shape: vec![2, 3], data: payload };
        assert_eq!(parse_idx(&bytes).unwrap(), expected);
        assert_eq!(parse_idx(&gzip(&bytes)).unwrap(), expected);
    }
}

#[test]
fn sizes_of_one_and_zero() {
    for sizes in [&[1; 8][..], &[0], &[3, 0], &[u32::MAX, u32::MAX, u32::MAX, 0]] {
        let count = usize::from(!sizes.contains(&0));
        let idx = parse_idx(&file(8, sizes, &vec![7; count])).unwrap();
        assert_eq!(idx.shape, sizes.iter().map(|&size| size as usize).collect::<Vec<_>>());
        assert_eq!(idx.data.len(), count);
    }
}

#[test]
fn wrong_headers() {
    check_error(b"PK\x03\x04....", "magic at byte 0: [50, 4b], an idx file starts with [00, 00]");
    for kind in [0, 7, 10, 15, 255] {
        let message = format!("type at byte 2: {kind:02x} is none of 08, 09, 0b, 0c, 0d, 0e");
        check_error(&file(kind, &[1], &[0]), &message);
    }
    check_error(&file(8, &[], &[0]), "number of dimensions at byte 3: 0 is not 1 to 8");
    check_error(&file(8, &[1; 9], &[0]), "number of dimensions at byte 3: 9 is not 1 to 8");
}

#[test]
fn truncated_anywhere() {
    let whole = file(0xb, &[2, 2], &[0; 8]);
    let message = |end: usize| match end {
        0..4 => "magic: the file ends too early, at or after byte 0".to_owned(),
        4..8 => "size: the file ends too early, at or after byte 4".to_owned(),
        8..12 => "size: the file ends too early, at or after byte 8".to_owned(),
        _ => format!("payload: the file ends too early, at or after byte {end}"),
    };
    for end in 0..whole.len() {
        check_error_of(&gzip(&whole[..end]), &message(end));
        match end {
            // The length of a raw file is known before its payload is read.
            12.. => {
                let limit = end - 12;
                let message = format!(
                    "sizes at byte 4: they announce 8 bytes, this file can hold {limit} bytes"
                );
                check_error_of(&whole[..end], &message);
            }
            _ => check_error_of(&whole[..end], &message(end)),
        }
    }
}

#[test]
fn truncated_gzip_is_refused_at_every_length() {
    let whole = gzip(&file(8, &[300], &(0..300).map(|i| (i * i % 251) as u8).collect::<Vec<_>>()));
    for end in 0..whole.len() {
        let error = parse_idx(&whole[..end]).unwrap_err();
        assert!(
            matches!(
                error,
                IdxError::Truncated { .. } | IdxError::Magic { .. } | IdxError::TooLarge { .. }
            ),
            "{end}: {error}"
        );
    }
}

#[test]
fn bytes_after_the_end() {
    check_error(&file(8, &[2], &[1, 2, 3]), "end at byte 10: more bytes follow the last element");
    let member = gzip(&file(8, &[2], &[1, 2]));
    let message = "end at byte 10: more bytes follow the gzip member that holds the last element";
    check_error_of(&[&member[..], b"x"].concat(), message);
    check_error_of(&[&member[..], &gzip(b"")].concat(), message);
    check_error_of(&[&member[..], &member].concat(), message);
}

#[test]
fn damaged_gzip() {
    let whole = gzip(&file(8, &[2], &[1, 2]));
    for (place, byte) in [(2, 9), (whole.len() - 8, 0x5a), (whole.len() - 4, 0x5a)] {
        let mut damaged = whole.clone();
        damaged[place] = byte;
        let error = parse_idx(&damaged).unwrap_err();
        assert!(matches!(error, IdxError::Gzip { .. }), "{place}: {error}");
    }
}

#[test]
fn lying_sizes_are_refused_before_allocation() {
    let message = |announced: &str, limit: u64| {
        format!("sizes at byte 4: they announce {announced}, this file can hold {limit} bytes")
    };
    let overflow = file(0xe, &[u32::MAX, u32::MAX], &[0]);
    check_error_of(&overflow, &message("2^64 bytes or more", 1));
    let large = file(8, &[u32::MAX, 2], &[0]);
    check_error_of(&large, &message("8589934590 bytes", 1));
    // A gzip file may hold 1032 times its length, and no more.
    let zipped = gzip(&large);
    check_error_of(&zipped, &message("8589934590 bytes", zipped.len() as u64 * 1032 - 12));
}

#[test]
fn no_more_than_announced_is_inflated() {
    let bomb = gzip(&file(8, &[4], &vec![0; 32 << 20]));
    check_error_of(&bomb, "end at byte 12: more bytes follow the last element");
}

#[test]
fn the_payload_stays_under_four_gib() {
    let header = file(8, &[1 << 20, 1 << 12, 2], &[]);
    let error = parse(|| Ok(&header[..]), u64::MAX).unwrap_err();
    assert!(matches!(
        error,
        IdxError::TooLarge { announced: Some(0x2_0000_0000), limit: MAX_PAYLOAD }
    ));
}

#[test]
fn files_are_named() {
    let missing = Path::new("no/such/train-images");
    let message = read_idx(missing).unwrap_err().to_string();
    assert!(message.starts_with("no/such/train-images: file at byte 0: "), "{message}");
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let message = read_idx(&manifest).unwrap_err().to_string();
    assert!(
        message
            .ends_with("Cargo.toml: magic at byte 0: [5b, 70], an idx file starts with [00, 00]"),
        "{message}"
    );
}

#[test]
fn a_file_of_either_kind_whatever_its_name() {
    let bytes = file(8, &[3], &[1, 2, 3]);
    for (name, stored) in [("raw.gz", bytes.clone()), ("zipped", gzip(&bytes))] {
        let path =
            std::env::temp_dir().join(format!("ferrotape-idx-{}-{name}", std::process::id()));
        std::fs::write(&path, stored).unwrap();
        let idx = read_idx(&path);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(idx.unwrap().data, [1, 2, 3]);
    }
}
