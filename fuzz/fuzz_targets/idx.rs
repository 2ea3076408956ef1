//! Bytes to the reader of idx files, raw and gzipped.
#![no_main]

use ferrotape_nn::data::parse_idx;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(idx) = parse_idx(bytes) else { return };
    let size = idx.shape.iter().fold(idx.kind.size(), |size, n| size.saturating_mul(*n));
    assert_eq!(size, idx.data.len());
});
