//! THE TABLE of elementwise operations: one row each. Adding an op: a row here, its method on
//! `Tensor`, its derivative rule.
//!
//! A row is: variant, name, cost (picoseconds an f32 element on one core, roughly: decides what
//! runs on more threads), formula over a [`Simd`] token `s`. The formula is
//! the definition on every ISA: every FMA is written out and there is no contraction.

use crate::cpu::math;
use crate::cpu::simd::Simd;
use crate::element::Float;

macro_rules! op_enum {
    // Rows with a formula: each becomes a type in `$module` that implements `$formula`.
    ($(#[$meta:meta])* $enum:ident in $module:ident: $formula:ident($($operand:ident),*), $visitor:ident {
        $($(#[$doc:meta])* $variant:ident = $name:literal, $cost:literal, |$s:ident $(, $arg:ident)*| $body:expr;)*
    }) => {
        op_enum! { $(#[$meta])* $enum { $($(#[$doc])* $variant = $name,)* } }

        impl $enum {
            /// Rough cost of an f32 element on one core, in picoseconds.
            pub(crate) fn cost(self) -> u64 {
                match self { $($enum::$variant => $cost,)* }
            }

            /// Hands the op's formula, as a type, to `visitor`.
            #[inline]
            pub(crate) fn visit<V: $visitor>(self, visitor: V) -> V::Output {
                match self { $($enum::$variant => visitor.visit::<$module::$variant>(),)* }
            }
        }

        /// What a row computes.
        pub(crate) trait $formula: 'static {
            /// The formula, lane by lane.
            fn apply<T: Float, S: Simd<T>>(s: S, $($operand: S::V),*) -> S::V;
        }

        /// Something to be done for an op whose formula is a type.
        pub(crate) trait $visitor {
            /// What it returns.
            type Output;
            /// Does it.
            fn visit<F: $formula>(self) -> Self::Output;
        }

        /// The formulas, one type a row.
        pub(crate) mod $module {
            use super::*;
            $(
                $(#[$doc])*
                #[derive(Debug, Clone, Copy)]
                pub(crate) struct $variant;
                impl $formula for $variant {
                    #[inline(always)]
                    fn apply<T: Float, S: Simd<T>>($s: S $(, $arg: S::V)*) -> S::V { $body }
                }
            )*
        }
    };
    ($(#[$meta:meta])* $enum:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum $enum { $($(#[$doc])* $variant,)* }

        impl $enum {
            /// Every op, in the order of the table.
            pub const ALL: &'static [$enum] = &[$($enum::$variant),*];

            /// The name in messages and methods.
            pub fn name(self) -> &'static str {
                match self { $($enum::$variant => $name,)* }
            }
        }
    };
}

op_enum! {
    /// Elementwise operations of one operand.
    UnaryOp in unary: UnaryFormula(x), UnaryVisitor {
        /// `-x`
        Neg = "neg", 100, |s, x| s.neg(x);
        /// `|x|`
        Abs = "abs", 100, |s, x| s.abs(x);
        /// -1, 0 or 1 (NaN stays)
        Sign = "sign", 100, |s, x| {
            let zero = s.splat(T::ZERO);
            let other = s.mask_or(s.lt(x, zero), s.lt(zero, x));
            s.select(other, s.copysign(s.splat(T::ONE), x), x)
        };
        /// `1 / x`
        Reciprocal = "reciprocal", 200, |s, x| s.div(s.splat(T::ONE), x);
        /// `x * x`
        Square = "square", 100, |s, x| s.mul(x, x);
        /// square root
        Sqrt = "sqrt", 200, |s, x| s.sqrt(x);
        /// `1 / sqrt(x)`
        Rsqrt = "rsqrt", 400, |s, x| s.div(s.splat(T::ONE), s.sqrt(x));
        /// `e^x`
        Exp = "exp", 200, |s, x| math::exp(s, x);
        /// `e^x - 1`
        Expm1 = "expm1", 300, |s, x| math::expm1(s, x);
        /// natural logarithm
        Log = "log", 300, |s, x| math::log(s, x);
        /// `log(1 + x)`
        Log1p = "log1p", 600, |s, x| math::log1p(s, x);
        /// sine
        Sin = "sin", 800, |s, x| math::sin(s, x);
        /// cosine
        Cos = "cos", 800, |s, x| math::cos(s, x);
        /// hyperbolic tangent
        Tanh = "tanh", 400, |s, x| math::tanh(s, x);
        /// `1 / (1 + e^-x)`
        Sigmoid = "sigmoid", 400, |s, x| math::sigmoid(s, x);
        /// error function
        Erf = "erf", 600, |s, x| math::erf(s, x);
        /// `max(x, 0)`, NaN stays
        Relu = "relu", 100, |s, x| s.max_second(s.splat(T::ZERO), x);
        /// `x * Phi(x)` with the error function
        Gelu = "gelu", 600, |s, x| math::gelu(s, x);
        /// largest integer not above
        Floor = "floor", 100, |s, x| s.floor(x);
        /// smallest integer not below
        Ceil = "ceil", 100, |s, x| s.ceil(x);
        /// nearest integer, ties to even
        Round = "round", 100, |s, x| s.round(x);
    }
}

op_enum! {
    /// Elementwise operations of two operands.
    BinaryOp in binary: BinaryFormula(a, b), BinaryVisitor {
        /// `a + b`
        Add = "add", 100, |s, a, b| s.add(a, b);
        /// `a - b`
        Sub = "sub", 100, |s, a, b| s.sub(a, b);
        /// `a * b`
        Mul = "mul", 100, |s, a, b| s.mul(a, b);
        /// `a / b`
        Div = "div", 200, |s, a, b| s.div(a, b);
        /// the larger, NaN wins; of equal zeros the first
        Maximum = "maximum", 100, |s, a, b| s.select(s.is_nan(b), b, s.max_second(b, a));
        /// the smaller, NaN wins; of equal zeros the first
        Minimum = "minimum", 100, |s, a, b| s.select(s.is_nan(b), b, s.min_second(b, a));
        /// `a^b`: `exp(b * log|a|)` with the signs and special cases of IEEE `pow`
        Pow = "pow", 1500, |s, a, b| math::pow(s, a, b);
        /// `y > 0 ? g : 0` (g where y is NaN): relu's derivative, from its output; operands (g, y)
        ReluGrad = "relu_grad", 100, |s, g, y| s.select(s.le(y, s.splat(T::ZERO)), s.splat(T::ZERO), g);
        /// `g * (1 - y * y)`: tanh's derivative, from its output; operands (g, y)
        TanhGrad = "tanh_grad", 100, |s, g, y| s.mul(g, s.fnma(y, y, s.splat(T::ONE)));
        /// `g * y * (1 - y)`: sigmoid's derivative, from its output; operands (g, y)
        SigmoidGrad = "sigmoid_grad", 100, |s, g, y| s.mul(s.mul(g, y), s.sub(s.splat(T::ONE), y));
    }
}

op_enum! {
    /// Comparisons; any comparison with NaN but `ne` is false.
    CompareOp {
        /// `a == b`
        Eq = "eq",
        /// `a != b`
        Ne = "ne",
        /// `a < b`
        Lt = "lt",
        /// `a <= b`
        Le = "le",
        /// `a > b`
        Gt = "gt",
        /// `a >= b`
        Ge = "ge",
    }
}

op_enum! {
    /// Operations of booleans.
    LogicalOp {
        /// both
        And = "logical_and",
        /// either
        Or = "logical_or",
        /// exactly one
        Xor = "logical_xor",
    }
}
