//! Everything against the CPU's kernels, bit for bit, over random odd shapes and extremes; products by both kinds of cores.

mod between;
mod images;
mod products;
mod rows;

use super::super::array::{Array, Type};
use super::super::driver::Gpu;
use super::super::memory::DeviceBuffer;
use super::super::testing::{Bits, upload};
use super::product::Cores;
use crate::cpu::int8::{Code, Codes, Zero};

const BOTH: [Cores; 2] = [Cores::Dot, Cores::Tensor];

/// Random numbers of all kinds, the same each time.
struct Random(Bits);

impl Random {
    fn new(seed: u64) -> Random {
        Random(Bits(seed))
    }

    /// In `0..n`.
    fn below(&mut self, n: usize) -> usize {
        (self.0.next() % n as u64) as usize
    }

    /// In `low..=high`.
    fn between(&mut self, [low, high]: [i32; 2]) -> i32 {
        low + self.below((high - low + 1) as usize) as i32
    }

    /// In -1..1.
    fn float(&mut self) -> f32 {
        (self.0.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 0
    }

    /// Codes of any kind; now and then of the extremes alone.
    fn codes(&mut self, n: usize) -> Vec<u8> {
        let extremes = [0u8, 127, 128, 255];
        let extreme = self.below(6) == 0;
        let code =
            |bits: u64| if extreme { extremes[(bits >> 8) as usize % 4] } else { bits as u8 };
        (0..n).map(|_| code(self.0.next())).collect()
    }

    /// A type of codes and its range.
    fn kind(&mut self) -> (Type, [i32; 2]) {
        if self.yes() { (Type::I8, i8::RANGE) } else { (Type::U8, u8::RANGE) }
    }

    /// One zero point, or one each, often the ends of the range.
    fn zeros(&mut self, n: usize, range: [i32; 2]) -> Vec<i32> {
        let count = if n != 1 && self.yes() { n } else { 1 };
        let zero = |random: &mut Random| match random.below(4) {
            0 => range[0],
            1 => range[1],
            2 => 0,
            _ => random.between(range),
        };
        (0..count).map(|_| zero(self)).collect()
    }

    /// Bytes to begin at: not always a multiple of 16.
    fn offset(&mut self) -> usize {
        [0, 0, 16, 4, 7][self.below(5)]
    }
}

fn as_zero(zeros: &[i32]) -> Zero<'_> {
    if let [one] = zeros { Zero::All(*one) } else { Zero::Each(zeros) }
}

/// Bytes as codes of a type.
fn as_codes(kind: Type, codes: &[u8]) -> Codes<'_> {
    match kind {
        Type::I8 => Codes::I8(signed(codes)),
        _ => Codes::U8(codes),
    }
}

fn signed(codes: &[u8]) -> &[i8] {
    // SAFETY: bytes are bytes.
    unsafe { std::slice::from_raw_parts(codes.as_ptr().cast(), codes.len()) }
}

fn signed_mut(codes: &mut [u8]) -> &mut [i8] {
    // SAFETY: bytes are bytes.
    unsafe { std::slice::from_raw_parts_mut(codes.as_mut_ptr().cast(), codes.len()) }
}

/// Bytes on the device from an offset on.
struct Placed {
    buffer: DeviceBuffer,
    offset: usize,
    shape: [usize; 1],
    kind: Type,
}

impl Placed {
    fn new(gpu: &'static Gpu, kind: Type, offset: usize, bytes: &[u8]) -> Placed {
        let mut all = vec![99u8; offset];
        all.extend(bytes);
        Placed { buffer: upload(gpu, &all), offset, shape: [bytes.len()], kind }
    }

    fn array(&self) -> Array<'_> {
        Array::new(&self.buffer, self.kind, self.offset, &self.shape, &[1]).unwrap()
    }

    fn matrix<'a>(&'a self, shape: &'a [usize], strides: &'a [isize]) -> Array<'a> {
        Array::new(&self.buffer, self.kind, self.offset, shape, strides).unwrap()
    }
}
