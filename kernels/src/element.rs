//! Element types: what may stand in a buffer, and what the vector kernels compute with.

use crate::cpu::isa::Kernel;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for i64 {}
    impl Sealed for i32 {}
    impl Sealed for u8 {}
    impl Sealed for u32 {}
}

/// Plain data: every bit pattern is a value, no padding, alignment at most 64.
pub trait Pod:
    sealed::Sealed + Copy + Send + Sync + Default + PartialEq + std::fmt::Debug + 'static
{
}
impl Pod for f32 {}
impl Pod for f64 {}
impl Pod for i64 {}
impl Pod for i32 {}
impl Pod for u8 {}
impl Pod for u32 {}

/// A number that casts to and from any other as `as` does (floats to ints saturate, NaN gives 0).
pub trait Number: Pod + PartialOrd {
    /// As f64 (i64 beyond 2^53 rounds).
    fn to_f64(self) -> f64;
    /// From f64, as `as` does.
    fn from_f64(x: f64) -> Self;
    /// As i64 (floats truncate and saturate).
    fn to_i64(self) -> i64;
    /// From i64, as `as` does.
    fn from_i64(x: i64) -> Self;
    /// True if a cast should go through i64 rather than f64.
    const INTEGER: bool;
}

macro_rules! number {
    ($($t:ty: $integer:expr),*) => {$(
        impl Number for $t {
            #[inline(always)]
            fn to_f64(self) -> f64 { self as f64 }
            #[inline(always)]
            fn from_f64(x: f64) -> Self { x as $t }
            #[inline(always)]
            fn to_i64(self) -> i64 { self as i64 }
            #[inline(always)]
            fn from_i64(x: i64) -> Self { x as $t }
            const INTEGER: bool = $integer;
        }
    )*};
}
number!(f32: false, f64: false, i64: true, i32: true, u8: true);

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
    /// True for NaN.
    fn is_nan(self) -> bool;
    /// True for neither NaN nor infinity.
    fn is_finite(self) -> bool;
    /// Runs `kernel` with the token of the ISA in force: the one way from a plain function into vector code.
    fn dispatch<K: Kernel<Self>>(kernel: K) -> K::Output;
}

macro_rules! float {
    ($($t:ident),*) => {$(
        impl Float for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $t::NEG_INFINITY;
            const INFINITY: Self = $t::INFINITY;
            const NAN: Self = $t::NAN;
            #[inline(always)]
            fn mul_add(self, b: Self, c: Self) -> Self { $t::mul_add(self, b, c) }
            #[inline(always)]
            fn is_nan(self) -> bool { $t::is_nan(self) }
            #[inline(always)]
            fn is_finite(self) -> bool { $t::is_finite(self) }
            #[inline]
            fn dispatch<K: Kernel<Self>>(kernel: K) -> K::Output { crate::cpu::isa::dispatch(kernel) }
        }
    )*};
}
float!(f32, f64);
