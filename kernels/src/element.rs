//! Element types: what may stand in a buffer, and what the vector kernels compute with.

pub use half::{bf16, f16};

use crate::cpu::isa::{Available, Kernel};

mod sealed {
    pub trait Sealed {}
}

/// Plain data: every bit pattern is a value, no padding, alignment at most 64.
pub trait Pod:
    sealed::Sealed + Copy + Send + Sync + Default + PartialEq + std::fmt::Debug + 'static
{
    /// The unsigned integer of the same size and alignment: what is only moved is moved as that, one kernel a size.
    type Bits: Pod<Bits = Self::Bits>;
}

macro_rules! pod {
    ($($t:ty: $bits:ty),*) => {$(
        impl sealed::Sealed for $t {}
        impl Pod for $t { type Bits = $bits; }
        const _: () = assert!(size_of::<$t>() == size_of::<$bits>() && align_of::<$t>() == align_of::<$bits>());
    )*};
}
pod!(f32: u32, f64: u64, f16: u16, bf16: u16, i8: u8, i32: u32, i64: u64, u8: u8, u16: u16, u32: u32, u64: u64);

/// A slice as the words it is made of.
#[inline(always)]
pub(crate) fn bits<T: Pod>(slice: &[T]) -> &[T::Bits] {
    // SAFETY: size and alignment are those of `T` (asserted where `Pod` is implemented), every pattern is a value of both.
    unsafe { std::slice::from_raw_parts(slice.as_ptr().cast(), slice.len()) }
}

/// A slice as the words it is made of, to write.
#[inline(always)]
pub(crate) fn bits_mut<T: Pod>(slice: &mut [T]) -> &mut [T::Bits] {
    // SAFETY: as in `bits`.
    unsafe { std::slice::from_raw_parts_mut(slice.as_mut_ptr().cast(), slice.len()) }
}

/// A number that casts to and from any other as `as` does (floats to ints saturate, NaN gives 0). To and from the 2-byte
/// floats by way of f32.
pub trait Number: Pod + PartialOrd {
    /// The type that casts go through: i64 for integers (by way of f64 they would round twice), else f64.
    type Wide: Wide;
    /// As [`Wide`](Self::Wide), without loss.
    fn widen(self) -> Self::Wide;
    /// As f64 (i64 beyond 2^53 rounds).
    fn to_f64(self) -> f64;
    /// From f64, as `as` does.
    fn from_f64(x: f64) -> Self;
    /// As i64 (floats truncate and saturate).
    fn to_i64(self) -> i64;
    /// From i64, as `as` does.
    fn from_i64(x: i64) -> Self;
}

/// What a number widens to: i64 or f64.
pub trait Wide: Number {
    /// As `T`, as `as` does.
    fn narrow<T: Number>(self) -> T;
}

impl Wide for i64 {
    #[inline(always)]
    fn narrow<T: Number>(self) -> T {
        T::from_i64(self)
    }
}

impl Wide for f64 {
    #[inline(always)]
    fn narrow<T: Number>(self) -> T {
        T::from_f64(self)
    }
}

macro_rules! number {
    ($($t:ty: $wide:ty),*) => {$(
        impl Number for $t {
            type Wide = $wide;
            #[inline(always)]
            fn widen(self) -> $wide { self as $wide }
            #[inline(always)]
            fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn from_f64(x: f64) -> Self { x as $t }
            #[inline(always)]
            fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)]
            fn from_i64(x: i64) -> Self { x as $t }
        }
    )*};
}
number!(f32: f64, f64: f64, i64: i64, i32: i64, i8: i64, u8: i64);

macro_rules! half_number {
    ($($t:ty),*) => {$(
        impl Number for $t {
            type Wide = f64;
            #[inline(always)]
            fn widen(self) -> f64 { self.to_f64() }
            #[inline(always)]
            fn to_f64(self) -> f64 { f64::from(<$t as Half>::to_single(self)) }
            #[inline(always)]
            fn from_f64(x: f64) -> Self { <$t as Half>::from_single(x as f32) }
            #[inline(always)]
            fn to_i64(self) -> i64 { <$t as Half>::to_single(self) as i64 }
            #[inline(always)]
            fn from_i64(x: i64) -> Self { <$t as Half>::from_single(x as f32) }
        }
    )*};
}
half_number!(f16, bf16);

/// An integer: arithmetic wraps.
pub trait Integer: Number + Ord {
    /// 0.
    const ZERO: Self;
    /// `self + b`
    fn plus(self, b: Self) -> Self;
    /// `self - b`
    fn minus(self, b: Self) -> Self;
    /// `self * b`
    fn times(self, b: Self) -> Self;
    /// `|self|`
    fn absolute(self) -> Self;
    /// -1, 0 or 1
    fn sign(self) -> Self;
    /// The quotient rounded down; 0 for a divisor 0.
    fn floor_divide(self, b: Self) -> Self;
    /// The quotient with its fraction cut off; 0 for a divisor 0.
    fn trunc_divide(self, b: Self) -> Self;
    /// `self^b`; of a negative exponent what is left of the fraction: 0, or a power of 1 or -1.
    fn power(self, b: Self) -> Self;
    /// What is left of it, with the divisor's sign: Python's `%`; 0 for a divisor 0.
    fn remainder(self, b: Self) -> Self;
    /// What is left of the truncated quotient, with the dividend's sign: C's `%`; 0 for a divisor 0.
    fn fmod(self, b: Self) -> Self;
}

macro_rules! integer {
    ($($t:ident),*) => {$(
        impl Integer for $t {
            const ZERO: Self = 0;
            #[inline(always)]
            fn plus(self, b: Self) -> Self { self.wrapping_add(b) }
            #[inline(always)]
            fn minus(self, b: Self) -> Self { self.wrapping_sub(b) }
            #[inline(always)]
            fn times(self, b: Self) -> Self { self.wrapping_mul(b) }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn absolute(self) -> Self { if self < 0 { (0 as $t).wrapping_sub(self) } else { self } }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn sign(self) -> Self { if self < 0 { (0 as $t).wrapping_sub(1) } else { (self > 0) as $t } }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn floor_divide(self, b: Self) -> Self {
                if b == 0 { return 0; }
                let (quotient, rest) = (self.wrapping_div(b), self.wrapping_rem(b));
                if rest != 0 && (rest < 0) != (b < 0) { quotient.wrapping_sub(1) } else { quotient }
            }
            #[inline(always)]
            fn trunc_divide(self, b: Self) -> Self { if b == 0 { 0 } else { self.wrapping_div(b) } }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn power(self, b: Self) -> Self {
                let (mut base, mut rest, mut power) = (self, b, 1 as $t);
                if b < 0 {
                    let odd = b & 1 == 1;
                    let unit = self.absolute() == 1;
                    return if !unit { 0 } else if odd { self } else { 1 };
                }
                while rest > 0 {
                    if rest & 1 == 1 { power = power.wrapping_mul(base); }
                    base = base.wrapping_mul(base);
                    rest >>= 1;
                }
                power
            }
            #[inline(always)]
            #[allow(unused_comparisons)]
            fn remainder(self, b: Self) -> Self {
                if b == 0 { return 0; }
                let rest = self.wrapping_rem(b);
                if rest != 0 && (rest < 0) != (b < 0) { rest.wrapping_add(b) } else { rest }
            }
            #[inline(always)]
            fn fmod(self, b: Self) -> Self { if b == 0 { 0 } else { self.wrapping_rem(b) } }
        }
    )*};
}
integer!(i64, i32, i8, u8);

/// A 2-byte float: kept, moved and converted; computed with as f32.
pub trait Half: Number {
    /// Digits of a uniform random number: as many as fit below 1 at even distances.
    const UNIFORM_BITS: u32;
    /// As f32, exactly.
    fn to_single(self) -> f32;
    /// From f32, to the nearest, ties to even; NaN stays NaN.
    fn from_single(x: f32) -> Self;
    /// The next smaller number.
    fn next_below(self) -> Self;
}

/// Bits of the next smaller 2-byte float.
fn bits_below(bits: u16) -> u16 {
    match bits {
        0 | 0x8000 => 0x8001,
        negative if negative > 0x8000 => negative.wrapping_add(1),
        positive => positive - 1,
    }
}

impl Half for f16 {
    const UNIFORM_BITS: u32 = 11;
    #[inline(always)]
    fn to_single(self) -> f32 {
        f32::from_bits(crate::cpu::halves::f16_to_f32(self.to_bits()))
    }
    #[inline(always)]
    fn from_single(x: f32) -> Self {
        f16::from_bits(crate::cpu::halves::f32_to_f16(x.to_bits()))
    }
    fn next_below(self) -> Self {
        f16::from_bits(bits_below(self.to_bits()))
    }
}

impl Half for bf16 {
    const UNIFORM_BITS: u32 = 8;
    #[inline(always)]
    fn to_single(self) -> f32 {
        f32::from_bits(crate::cpu::halves::bf16_to_f32(self.to_bits()))
    }
    #[inline(always)]
    fn from_single(x: f32) -> Self {
        bf16::from_bits(crate::cpu::halves::f32_to_bf16(x.to_bits()))
    }
    fn next_below(self) -> Self {
        bf16::from_bits(bits_below(self.to_bits()))
    }
}

/// A floating-point element: the vector kernels are written once over it and a [`Simd`](crate::cpu::simd::Simd) token.
pub trait Float:
    Number
    + std::ops::Add<Output = Self>
    + std::ops::Sub<Output = Self>
    + std::ops::Mul<Output = Self>
    + std::ops::Div<Output = Self>
    + std::ops::Neg<Output = Self>
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// Minus infinity.
    const NEG_INFINITY: Self;
    /// Plus infinity.
    const INFINITY: Self;
    /// Not a number.
    const NAN: Self;
    /// `self * b + c`, rounded once.
    fn mul_add(self, b: Self, c: Self) -> Self;
    /// The next smaller number.
    fn next_down(self) -> Self;
    /// True for NaN.
    fn is_nan(self) -> bool;
    /// True for neither NaN nor infinity.
    fn is_finite(self) -> bool;
    /// The smallest magnitude but 0, at most 1; `None` if a number is not finite.
    fn least_magnitude(numbers: &[Self]) -> Option<Self>;
    /// Runs `kernel` with the token of the ISA in force: the one way from a plain function into vector code.
    fn dispatch<K: Kernel<Self>>(kernel: K) -> K::Output;
    /// The same under an ISA that is known to be there.
    fn dispatch_at<K: Kernel<Self>>(isa: Available, kernel: K) -> K::Output;
    /// The same with AVX2's instance in AVX-512's place.
    fn dispatch_narrow<K: Kernel<Self>>(isa: Available, kernel: K) -> K::Output;
}

macro_rules! float {
    ($($t:ident $signed:ident),*) => {$(
        impl Float for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            const INFINITY: Self = $t::INFINITY;
            const NAN: Self = $t::NAN;
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self { $t::mul_add(self, b, c) }
            #[inline(always)]
            fn next_down(self) -> Self { $t::next_down(self) }
            #[inline(always)]
            fn is_nan(self) -> bool { $t::is_nan(self) }
            #[inline(always)]
            fn is_finite(self) -> bool { $t::is_finite(self) }
            #[inline(always)]
            fn least_magnitude(numbers: &[Self]) -> Option<Self> {
                // Of their bits less one: 0's are then the most as unsigned numbers, and the least as signed ones.
                let (mut least, mut most) = (Self::ONE.to_bits() - 1, -1);
                for x in numbers {
                    let bits = x.abs().to_bits().wrapping_sub(1);
                    least = least.min(bits);
                    most = most.max(bits as $signed);
                }
                (most < $t::INFINITY.to_bits() as $signed - 1).then(|| $t::from_bits(least + 1))
            }
            #[inline]
            fn dispatch<K: Kernel<Self>>(kernel: K) -> K::Output { crate::cpu::isa::dispatch(kernel) }
            #[inline]
            fn dispatch_at<K: Kernel<Self>>(isa: Available, kernel: K) -> K::Output {
                crate::cpu::isa::dispatch_at(isa, kernel)
            }
            #[inline]
            fn dispatch_narrow<K: Kernel<Self>>(isa: Available, kernel: K) -> K::Output {
                crate::cpu::isa::dispatch_narrow(isa, kernel)
            }
        }
    )*};
}
float!(f32 i32, f64 i64);
