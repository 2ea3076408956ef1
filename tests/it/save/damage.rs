//! Damage: no bit of a checkpoint can change unseen.

use std::fs;
use std::path::Path;

use ferrotape::nn::save::Checkpoint;
use ferrotape::prelude::*;

use super::Folder;

/// A small checkpoint's file.
fn small(folder: &Folder) -> (std::path::PathBuf, Vec<u8>) {
    let mut checkpoint = Checkpoint::new();
    let net = Linear::new(2, 3, &mut Generator::new(0)).unwrap();
    checkpoint.put_model("net", &net).unwrap();
    checkpoint.put_count("epoch", 3).unwrap();
    let path = folder.0.join("small.safetensors");
    checkpoint.write(&path).unwrap();
    let bytes = fs::read(&path).unwrap();
    (path, bytes)
}

/// Says another version in a checkpoint's file, which stays whole.
pub(super) fn say_version(path: &Path, version: i64) {
    let mut bytes = fs::read(path).unwrap();
    // It lies first.
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    bytes[start..start + 8].copy_from_slice(&version.to_le_bytes());
    let end = bytes.len() - 16;
    let digest = xxhash_rust::xxh3::xxh3_128(&bytes[..end]).to_le_bytes();
    bytes[end..].copy_from_slice(&digest);
    fs::write(path, bytes).unwrap();
}

#[test]
fn every_flipped_bit_is_seen() {
    let folder = Folder::new("save-flip");
    let (path, whole) = small(&folder);
    assert!(Checkpoint::read(&path).is_ok());
    let mut bytes = whole.clone();
    let mut seen = 0;
    for bit in 0..whole.len() * 8 {
        bytes[bit / 8] ^= 1 << (bit % 8);
        fs::write(&path, &bytes).unwrap();
        let error = Checkpoint::read(&path).expect_err(&format!("bit {bit} flipped")).to_string();
        assert!(error.contains("small.safetensors: damaged, or"), "{error}");
        bytes[bit / 8] ^= 1 << (bit % 8);
        seen += 1;
    }
    assert!(seen == whole.len() * 8 && whole.len() > 400, "{} bytes", whole.len());
    fs::write(&path, &bytes).unwrap();
    assert!(Checkpoint::read(&path).is_ok());
}

#[test]
fn every_cut_and_every_zeroed_tail_is_seen() {
    let folder = Folder::new("save-cut");
    let (path, whole) = small(&folder);
    for end in 0..whole.len() {
        fs::write(&path, &whole[..end]).unwrap();
        assert!(Checkpoint::read(&path).is_err(), "cut at {end}");
        // What a file system leaves that lost the data of a file but not its length.
        let mut zeroed = whole.clone();
        zeroed[end..].fill(0);
        if zeroed != whole {
            fs::write(&path, &zeroed).unwrap();
            assert!(Checkpoint::read(&path).is_err(), "zeros from {end}");
        }
    }
    fs::write(&path, [&whole[..], &[0]].concat()).unwrap();
    assert!(Checkpoint::read(&path).is_err(), "a byte more");
}

#[test]
fn a_huge_file_is_refused_without_memory_or_time() {
    let folder = Folder::new("save-huge");
    let (path, whole) = small(&folder);
    // Sparse: a terabyte that takes no room on the disk.
    for start in [&[0; 8][..], &100u64.to_le_bytes(), &whole] {
        fs::write(&path, start).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.set_len(1 << 40).unwrap();
        let error = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(error.contains("damaged, or no checkpoint: "), "{error}");
    }
    // One that does not fit in memory, and lies about it well, has a wrong digest.
    let header = r#"{"checkpoint/digest":{"dtype":"U8","shape":[16],"data_offsets":[0,LAST]}}"#;
    let header = header.replace("LAST", &(1u64 << 30).to_string());
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    let length = bytes.len() as u64 + (1 << 30);
    fs::write(&path, &bytes).unwrap();
    fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length).unwrap();
    let error = Checkpoint::read(&path).unwrap_err().to_string();
    assert!(error.contains("its digest is not that of its bytes"), "{error}");
}
