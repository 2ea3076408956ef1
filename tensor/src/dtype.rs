//! Element types.

use std::fmt;

/// The type of a tensor's elements.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum DType {
    /// Booleans, one byte each.
    Bool,
    /// Unsigned bytes.
    U8,
    /// 64-bit signed integers: indices, class numbers.
    I64,
    /// 32-bit floats, the default.
    F32,
    /// 64-bit floats.
    F64,
}

impl DType {
    /// Bytes an element.
    pub fn size(self) -> usize {
        match self {
            DType::Bool | DType::U8 => 1,
            DType::F32 => 4,
            DType::I64 | DType::F64 => 8,
        }
    }

    /// True for f32 and f64: only these carry derivatives.
    pub fn is_float(self) -> bool {
        matches!(self, DType::F32 | DType::F64)
    }

    /// PyTorch's categories: bool < integer < float.
    fn category(self) -> u8 {
        match self {
            DType::Bool => 0,
            DType::U8 | DType::I64 => 1,
            DType::F32 | DType::F64 => 2,
        }
    }

    /// The type of `a op b`, as PyTorch promotes: the larger, but a 0-d operand counts only if its category is higher.
    pub(crate) fn promote((a, a_rank): (DType, usize), (b, b_rank): (DType, usize)) -> DType {
        match (a_rank == 0, b_rank == 0) {
            (true, false) if a.category() <= b.category() => b,
            (false, true) if b.category() <= a.category() => a,
            _ => a.max(b),
        }
    }
}

impl fmt::Display for DType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            DType::Bool => "bool",
            DType::U8 => "u8",
            DType::I64 => "i64",
            DType::F32 => "f32",
            DType::F64 => "f64",
        })
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
    impl Sealed for i64 {}
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
element!(f32 => F32, f64 => F64, i64 => I64, u8 => U8);

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
