//! int8 inference: quantization, products and convolutions of codes with exact sums, and what stands between them.
//!
//! A *code* is an i8 or u8 that stands for the number `(code - zero_point) * scale` ([`scheme`] has the formulas). Sums of
//! products of codes are exact integers on every instruction set (ADR 001, R7), and what follows them is one formula in f32, so
//! that results depend on neither the instruction set nor the number of threads.
//!
//! - [`Packed`] holds the weights of a product in one layout for all instruction sets, with the sum of each column.
//! - [`gemm()`] multiplies activations by them; [`conv2d()`] is the same product over patches of NHWC images.
//! - [`Output`] says what becomes of the sums: i32, i64, f32 (dynamic quantization), u8 or i8 (requantization).
//! - [`quantize_rows`] and [`quantize_images`] quantize activations with ranges of their own: dynamic quantization.
//! - [`recurrent()`] is an LSTM, GRU or RNN of such products.
//! - [`max_pool2d`], [`add`], [`concat()`]: what networks do with codes besides.

mod block;
mod conv;
mod depthwise;
pub(crate) mod dot;
pub mod double;
mod finish;
mod gemm;
mod join;
mod layout;
mod output;
mod packed;
mod pool;
mod prepare;
mod rows;
pub mod scheme;
mod sequence;
#[cfg(test)]
mod tests;

pub use conv::{Conv2d, Conv2dShape, conv2d, conv2d_under};
pub use gemm::{Activations, gemm, gemm_under};

pub(crate) use join::check_operand;
pub use join::{Operand, add, concat};
pub use layout::{nchw_from_nhwc, nhwc_from_nchw};
pub use output::{Ending, Output};
pub(crate) use output::{Requantize, Sizes};
pub use packed::{MAX_K, Order, Packed};
pub use pool::{Pool2d, max_pool2d};
pub use rows::{quantize_images, quantize_rows};
pub use sequence::{Recurrent, RecurrentForward, RecurrentWeights, recurrent};

use crate::element::Pod;
use crate::error::{Result, require};

mod sealed {
    pub trait Sealed {}
    impl Sealed for u8 {}
    impl Sealed for i8 {}
}

/// A code: `u8` or `i8`.
pub trait Code: sealed::Sealed + Pod + Ord {
    /// The smallest and the largest code.
    const RANGE: [i32; 2];
    /// A slice as what it is.
    fn codes(slice: &[Self]) -> Codes<'_>;
    /// A slice as bytes, to write.
    fn bytes_mut(slice: &mut [Self]) -> &mut [u8];
    /// `code` as the number that it is.
    fn to_i32(self) -> i32;
    /// The low byte of `code`.
    fn from_i32(code: i32) -> Self;
}

impl Code for u8 {
    const RANGE: [i32; 2] = [0, 255];
    fn codes(slice: &[u8]) -> Codes<'_> {
        Codes::U8(slice)
    }
    fn bytes_mut(slice: &mut [u8]) -> &mut [u8] {
        slice
    }
    #[inline(always)]
    fn to_i32(self) -> i32 {
        i32::from(self)
    }
    #[inline(always)]
    fn from_i32(code: i32) -> u8 {
        code as u8
    }
}

impl Code for i8 {
    const RANGE: [i32; 2] = [-128, 127];
    fn codes(slice: &[i8]) -> Codes<'_> {
        Codes::I8(slice)
    }
    fn bytes_mut(slice: &mut [i8]) -> &mut [u8] {
        crate::element::bits_mut(slice)
    }
    #[inline(always)]
    fn to_i32(self) -> i32 {
        i32::from(self)
    }
    #[inline(always)]
    fn from_i32(code: i32) -> i8 {
        code as i8
    }
}

/// Codes of either type.
#[derive(Debug, Clone, Copy)]
pub enum Codes<'a> {
    /// 0 to 255.
    U8(&'a [u8]),
    /// -128 to 127.
    I8(&'a [i8]),
}

impl<'a> Codes<'a> {
    /// How many.
    pub fn len(self) -> usize {
        self.bytes().len()
    }

    /// True if there are none.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// As bytes.
    pub(crate) fn bytes(self) -> &'a [u8] {
        match self {
            Codes::U8(codes) => codes,
            Codes::I8(codes) => crate::element::bits(codes),
        }
    }

    /// What must be added to a code to make it a u8 (and, in bytes, be combined with exclusive or).
    pub(crate) fn to_u8(self) -> i32 {
        match self {
            Codes::U8(_) => 0,
            Codes::I8(_) => 128,
        }
    }

    /// The smallest and the largest code.
    pub(crate) fn range(self) -> [i32; 2] {
        match self {
            Codes::U8(_) => u8::RANGE,
            Codes::I8(_) => i8::RANGE,
        }
    }
}

/// Zero points: the codes that stand for 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zero<'a> {
    /// One for all.
    All(i32),
    /// One a row of the activations (an image, of a convolution), or one a column of the product.
    Each(&'a [i32]),
}

impl Zero<'_> {
    /// The `i`-th.
    #[inline(always)]
    pub(crate) fn at(&self, i: usize) -> i32 {
        match self {
            Zero::All(zero) => *zero,
            Zero::Each(zeros) => zeros.get(i).copied().unwrap_or(0),
        }
    }

    /// Checks that there are `n` codes and returns the largest distance of any code in `range` from one of them.
    pub(crate) fn reach(&self, n: usize, range: [i32; 2]) -> Result<i64> {
        let zeros = match self {
            Zero::All(zero) => std::slice::from_ref(zero),
            Zero::Each(zeros) => {
                require(zeros.len() == n, "int8: wrong number of zero points")?;
                zeros
            }
        };
        let inside = zeros.iter().all(|zero| (range[0]..=range[1]).contains(zero));
        require(inside, "int8: a zero point is no code")?;
        let reach = zeros.iter().map(|zero| (zero - range[0]).max(range[1] - zero)).max();
        Ok(i64::from(reach.unwrap_or(0)))
    }
}
