//! Bytes to the reader of CSV files: all columns, and one of them.
#![no_main]

use ferrotape_nn::data::parse_csv;
use ferrotape_tensor::DType;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let all = parse_csv(bytes, &[], DType::F64);
    let one = parse_csv(bytes, &["a"], DType::F64);
    if let (Ok(all), Ok(one)) = (all, one) {
        assert_eq!(all.shape()[0], one.shape()[0]);
    }
});
