//! Bytes to the reader of npz files; what it accepts must be there to be read.
#![no_main]

use ferrotape_tensor::io::parse_npz;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(named) = parse_npz(bytes) else { return };
    for x in named.values().filter(|x| x.len() <= 4096) {
        let copy = x.copy().expect("memory");
        assert_eq!(copy.shape(), x.shape());
    }
});
