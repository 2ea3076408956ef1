//! Element types.

use std::fmt;

pub use ferrotape_kernels::{bf16, f16};

/// The type of a tensor's elements, in the order of PyTorch's categories: bool, integers, floats.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// Booleans, one byte each.
    Bool,
    /// Unsigned bytes.
    U8,
    /// Signed bytes.
    I8,
    /// 32-bit signed integers.
    I32,
    /// 64-bit signed integers: indices, class numbers.
    I64,
    /// 16-bit IEEE floats: 11 binary digits, up to 65504. Kept and moved as such, computed with as f32, each result rounded once.
    F16,
    /// 16-bit "brain" floats: 8 binary digits, the range of f32. Computed with as [`F16`](DType::F16).
    BF16,
    /// 32-bit floats, the default.
    F32,
    /// 64-bit floats.
    F64,
}

impl DType {
    /// All of them.
    pub const ALL: [DType; 9] = [
        DType::Bool,
        DType::U8,
        DType::I8,
        DType::I32,
        DType::I64,
        DType::F16,
        DType::BF16,
        DType::F32,
        DType::F64,
    ];

    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 | DType::I8 => 1,
            DType::F16 | DType::BF16 => 2,
            DType::I32 | DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// True for f16, bf16, f32 and f64: only these carry derivatives.
    pub fn is_float(self) -> bool {
        self.category() == 2
    }

    /// True for u8, i8, i32 and i64.
    pub fn is_integer(self) -> bool {
        self.category() == 1
    }

    /// True for the 2-byte floats.
    pub(crate) fn is_half(self) -> bool {
        matches!(self, DType::F16 | DType::BF16)
    }

    /// Distance from 1 to the next larger float (PyTorch's `finfo(..).eps`); `None` for what is no float.
    ///
    /// ```
    /// # use ferrotape_tensor::DType;
    /// assert_eq!(DType::BF16.eps(), Some(0.0078125));
    /// assert_eq!((DType::F16.max(), DType::I8.min()), (65504., -128.));
    /// ```
    pub fn eps(self) -> Option<f64> {
        match self {
            DType::F16 => Some(f16::EPSILON.to_f64()),
            DType::BF16 => Some(bf16::EPSILON.to_f64()),
            DType::F32 => Some(f64::from(f32::EPSILON)),
            DType::F64 => Some(f64::EPSILON),
            _ => None,
        }
    }

    /// The largest finite number (i64's is rounded to f64).
    pub fn max(self) -> f64 {
        match self {
            DType::Bool => 1.0,
            DType::U8 => f64::from(u8::MAX),
            DType::I8 => f64::from(i8::MAX),
            DType::I32 => f64::from(i32::MAX),
            DType::I64 => i64::MAX as f64,
            DType::F16 => f16::MAX.to_f64(),
            DType::BF16 => bf16::MAX.to_f64(),
            DType::F32 => f64::from(f32::MAX),
            DType::F64 => f64::MAX,
        }
    }

    /// The smallest finite number.
    pub fn min(self) -> f64 {
        match self {
            DType::Bool | DType::U8 => 0.0,
            DType::I8 => f64::from(i8::MIN),
            DType::I32 => f64::from(i32::MIN),
            DType::I64 => i64::MIN as f64,
            _ => -self.max(),
        }
    }

    /// PyTorch's categories: bool < integer < float.
    fn category(self) -> u8 {
        match self {
            DType::Bool => 0,
            DType::U8 | DType::I8 | DType::I32 | DType::I64 => 1,
            DType::F16 | DType::BF16 | DType::F32 | DType::F64 => 2,
        }
    }

    /// The type that holds both as PyTorch's `promote_types` says, the larger; two that don't hold each other give the next
    /// larger: `f16` and `bf16` f32, `u8` and `i8` i32 (PyTorch: i16, which we lack).
    pub fn promote_types(self, other: DType) -> DType {
        match (self.min_of(other), self.max_of(other)) {
            (DType::U8, DType::I8) => DType::I32,
            (DType::F16, DType::BF16) => DType::F32,
            (_, larger) => larger,
        }
    }

    fn min_of(self, other: DType) -> DType {
        if other < self { other } else { self }
    }

    fn max_of(self, other: DType) -> DType {
        if other > self { other } else { self }
    }

    /// The type of `a op b` for operands of these types and ranks, as PyTorch promotes: a 0-d operand counts only if its category
    /// is higher.
    pub(crate) fn promote((a, a_rank): (DType, usize), (b, b_rank): (DType, usize)) -> DType {
        match (a_rank == 0, b_rank == 0) {
            (true, false) if a.category() <= b.category() => b,
            (false, true) if b.category() <= a.category() => a,
            _ => a.promote_types(b),
        }
    }

    /// The type of `x op number` for a tensor of this type, as PyTorch promotes Python's numbers: floats stay, integers become
    /// f32 beside a fraction (or what i64 can't hold), bool becomes i64 beside a whole number.
    pub(crate) fn promote_number(self, number: f64) -> DType {
        let whole = number.fract() == 0.0 && number.abs() <= i64::MAX as f64;
        match self {
            float if float.is_float() => float,
            _ if !whole => DType::F32,
            DType::Bool => DType::I64,
            integer => integer,
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I8 => "i8",
            DType::I32 => "i32",
            DType::I64 => "i64",
            DType::F16 => "f16",
            DType::BF16 => "bf16",
            DType::F32 => "f32",
            DType::F64 => "f64",
        })
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for super::f16 {}
    impl Sealed for super::bf16 {}
    impl Sealed for i64 {}
    impl Sealed for i32 {}
    impl Sealed for i8 {}
    impl Sealed for u8 {}
    impl Sealed for bool {}
}

/// A Rust type that stands for a [`DType`].
pub trait Element:
    sealed::Sealed + Copy + Default + PartialEq + fmt::Debug + Send + Sync + 'static
{
    /// How it lies in memory (`bool` as a byte).
    type Stored: ferrotape_kernels::Number;
    /// Its type.
    const DTYPE: DType;
    /// To memory.
    fn store(self) -> Self::Stored;
    /// From memory.
    fn fetch(stored: Self::Stored) -> Self;
}

macro_rules! element {
    ($($t:ty => $dtype:ident),*) => {$(
        impl Element for $t {
            type Stored = $t;
            const DTYPE: DType = DType::$dtype;
            #[inline]
            fn store(self) -> $t { self }
            #[inline]
            fn fetch(stored: $t) -> $t { stored }
        }
    )*};
}
element!(f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i64 => I64, i32 => I32, i8 => I8, u8 => U8);

impl Element for bool {
    type Stored = u8;
    const DTYPE: DType = DType::Bool;
    #[inline]
    fn store(self) -> u8 {
        self as u8
    }
    #[inline]
    fn fetch(stored: u8) -> bool {
        stored != 0
    }
}
