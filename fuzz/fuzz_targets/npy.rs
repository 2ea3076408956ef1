//! Bytes to the reader of npy files; what it accepts must be as large as the file says.
#![no_main]

use ferrotape_tensor::io::parse_npy;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(x) = parse_npy(bytes) else { return };
    assert!(x.len() * x.dtype().size() < bytes.len());
    let copy = x.copy().expect("memory");
    assert_eq!(copy.shape(), x.shape());
});
