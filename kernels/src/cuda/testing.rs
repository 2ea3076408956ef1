//! What tests of kernels share: the device, values of every type, and bits to compare.

use super::array::{Array, Type};
use super::driver::{self, Gpu};
use super::memory::DeviceBuffer;
use crate::strided::View;
use crate::{Half, Number, bf16, f16};

/// The device, or the one that stands in for it; `None` where there is none (an error if `FERROTAPE_TEST_DEVICE` is `cuda`). Where each
/// test has a process, it must leave no memory there.
pub(super) fn gpu() -> Option<&'static Gpu> {
    match driver::gpu(0) {
        Ok(gpu) => {
            LEAVES_NOTHING.with(|_| ());
            Some(gpu)
        }
        Err(error) => {
            let must = std::env::var("FERROTAPE_TEST_DEVICE").is_ok_and(|device| device == "cuda");
            assert!(!must, "{error}");
            eprintln!("not shown on a GPU: {error}");
            None
        }
    }
}

/// Looks at the device's accounts when the thread of a test ends.
struct LeavesNothing;

thread_local! {
    static LEAVES_NOTHING: LeavesNothing = const { LeavesNothing };
}

impl Drop for LeavesNothing {
    fn drop(&mut self) {
        let alone = std::env::var("NEXTEST_EXECUTION_MODE").is_ok_and(|m| m == "process-per-test");
        if alone && let Ok(gpu) = driver::gpu(0) {
            assert_eq!(gpu.memory_stats().live, 0, "bytes that the test has left on the GPU");
        }
    }
}

/// Random bits, the same each time.
pub(super) struct Bits(pub(super) u64);

impl Bits {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let x = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    }
}

/// An element type as the tests need it.
pub(super) trait Element: Number {
    const KIND: Type;
    /// All bits; every NaN has the same.
    fn canonical(self) -> u64;
    /// From bits, the lowest.
    fn of_bits(bits: u64) -> Self;
    fn put(self, bytes: &mut Vec<u8>);
}

macro_rules! element {
    ($($t:ident: $kind:ident, $bits:ident, |$x:ident| $nan:expr, $to:expr, |$b:ident| $from:expr;)*) => {$(
        impl Element for $t {
            const KIND: Type = Type::$kind;
            fn canonical(self) -> u64 {
                let $x = self;
                if $nan { u64::MAX } else { $to as $bits as u64 }
            }
            fn of_bits(bits: u64) -> Self {
                let $b = bits as $bits;
                $from
            }
            fn put(self, bytes: &mut Vec<u8>) {
                let $x = self;
                bytes.extend(($to as $bits).to_le_bytes());
            }
        }
    )*};
}
element! {
    f32: F32, u32, |x| x.is_nan(), x.to_bits(), |b| f32::from_bits(b);
    f64: F64, u64, |x| x.is_nan(), x.to_bits(), |b| f64::from_bits(b);
    f16: F16, u16, |x| x.is_nan(), x.to_bits(), |b| f16::from_bits(b);
    bf16: BF16, u16, |x| x.is_nan(), x.to_bits(), |b| bf16::from_bits(b);
    i8: I8, u8, |x| false, x, |b| b as i8;
    u8: U8, u8, |x| false, x, |b| b;
    i32: I32, u32, |x| false, x, |b| b as i32;
    i64: I64, u64, |x| false, x, |b| b as i64;
}

/// `len` values: small ones, ones of all sizes, any bits, and the special ones.
pub(super) fn values<T: Element>(len: usize, seed: u64) -> Vec<T> {
    let mut bits = Bits(seed);
    let specials = [0.0, -0.0, 1.0, -1.0, f64::INFINITY, -f64::INFINITY, f64::NAN, 0.5, -2.0, 3.0];
    (0..len)
        .map(|_| {
            let (r, how) = (bits.next(), bits.next());
            let unit = (r >> 11) as f64 / (1u64 << 52) as f64 - 1.0;
            match how % 8 {
                0 => T::of_bits(r),
                1 => T::from_f64(specials[(r % 10) as usize]),
                2 => T::from_f64(((r % 41) as f64 - 20.0) / 2.0),
                3 => T::from_f64(unit * 2f64.powi((how >> 32) as i32 % 40 - 20)),
                4 => T::from_f64(unit * 800.0),
                _ => T::from_f64(unit * 6.0),
            }
        })
        .collect()
}

/// As bytes, in the order of a GPU's memory.
pub(super) fn bytes<T: Element>(x: &[T]) -> Vec<u8> {
    let mut bytes = Vec::new();
    x.iter().for_each(|x| x.put(&mut bytes));
    bytes
}

pub(super) fn upload<T: Element>(gpu: &'static Gpu, x: &[T]) -> DeviceBuffer {
    let bytes = bytes(x);
    let mut buffer = DeviceBuffer::new(gpu, bytes.len()).unwrap();
    buffer.upload(&bytes).unwrap();
    buffer
}

pub(super) fn download<T: Element>(buffer: &DeviceBuffer) -> Vec<T> {
    let mut bytes = vec![0; buffer.len()];
    buffer.download(0, &mut bytes).unwrap();
    let bits = |chunk: &[u8]| chunk.iter().rev().fold(0, |bits, &byte| bits << 8 | u64::from(byte));
    bytes.chunks_exact(size_of::<T>()).map(|chunk| T::of_bits(bits(chunk))).collect()
}

/// A view and the same elements on the device.
pub(super) fn both<'a, T: Element>(
    data: &'a [T],
    buffer: &'a DeviceBuffer,
    (offset, shape, strides): (usize, &'a [usize], &'a [isize]),
) -> (View<'a, T>, Array<'a>) {
    let view = View::new(data, offset, shape, strides).unwrap();
    (view, Array::new(buffer, T::KIND, offset, shape, strides).unwrap())
}

/// All bits are equal, any NaN to any NaN.
pub(super) fn assert_same<T: Element>(got: &[T], want: &[T], what: &dyn Fn() -> String) {
    assert_eq!(got.len(), want.len(), "{}", what());
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let same = got.canonical() == want.canonical();
        assert!(same, "{}: element {i} is {got:?}, not {want:?}", what());
    }
}

/// `x` as f32.
pub(super) fn singles<T: Half>(x: &[T]) -> Vec<f32> {
    x.iter().map(|x| x.to_single()).collect()
}
