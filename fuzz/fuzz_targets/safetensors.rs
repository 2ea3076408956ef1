//! Bytes to the reader of safetensors files; what it accepts must be there to be read.
#![no_main]

use ferrotape_tensor::io::parse_safetensors;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(named) = parse_safetensors(bytes) else { return };
    for x in named.values().filter(|x| x.len() <= 4096) {
        let copy = x.copy().expect("memory");
        assert_eq!(copy.shape(), x.shape());
    }
});
