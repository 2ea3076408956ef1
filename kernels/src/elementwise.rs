//! THE TABLE of elementwise operations: one row each. Adding an op: a row here, its method on
//! `Tensor`, its derivative rule.
//!
//! A row is: variant, name, cost (picoseconds an f32 element on one core, roughly: decides what
//! runs on more threads), formula over a [`Simd`] token `s`. The formula is
//! the definition on every ISA: every FMA is written out and there is no contraction. The rarer
//! functions stand in f64 alone: a vector of f32 is widened, and its result rounded once. That halves
//! what is compiled, and spares them polynomials of their own.

use crate::cpu::math;
use crate::cpu::simd::Simd;
use crate::element::Float;

macro_rules! op_enum {
    // Rows with a formula: each becomes a type in `$module` that implements `$formula`; rows after
    // `in f64` have one for f64 only, and compute f32 in it.
    ($(#[$meta:meta])* $enum:ident in $module:ident: $formula:ident($($operand:ident),*), $visitor:ident {
        $($(#[$doc:meta])* $variant:ident = $name:literal, $cost:literal, |$s:ident $(, $arg:ident)*| $body:expr;)*
    } in f64: $wide_formula:ident {
        $($(#[$wide_doc:meta])* $wide:ident = $wide_name:literal, $wide_cost:literal,
            |$ws:ident $(, $wide_arg:ident)*| $wide_body:expr;)*
    }) => {
        op_enum! {
            $(#[$meta])*
            $enum { $($(#[$doc])* $variant = $name,)* $($(#[$wide_doc])* $wide = $wide_name,)* }
        }

        impl $enum {
            /// Rough cost of an f32 element on one core, in picoseconds.
            pub(crate) fn cost(self) -> u64 {
                match self { $($enum::$variant => $cost,)* $($enum::$wide => $wide_cost,)* }
            }

            /// True for a row in f64: f32 is widened, and the result rounded once.
            pub fn is_wide(self) -> bool {
                match self { $($enum::$variant => false,)* $($enum::$wide => true,)* }
            }

            /// Hands the op's formula, as a type, to `visitor`.
            #[inline]
            pub(crate) fn visit<V: $visitor>(self, visitor: V) -> V::Output {
                match self {
                    $($enum::$variant => visitor.visit::<$module::$variant>(),)*
                    $($enum::$wide => visitor.visit_wide::<$module::$wide>(),)*
                }
            }
        }

        /// What a row in f64 computes.
        pub(crate) trait $wide_formula: 'static {
            /// The formula, lane by lane.
            fn apply<S: Simd<f64>>(s: S, $($operand: S::V),*) -> S::V;
        }

        /// What a row computes.
        pub(crate) trait $formula: 'static {
            /// Its row: the loop of unary ones asks which it is.
            #[allow(dead_code)]
            const OP: $enum;
            /// The formula, lane by lane.
            fn apply<T: Float, S: Simd<T>>(s: S, $($operand: S::V),*) -> S::V;
        }

        /// Something to be done for an op whose formula is a type.
        pub(crate) trait $visitor {
            /// What it returns.
            type Output;
            /// Does it.
            fn visit<F: $formula>(self) -> Self::Output;
            /// Does it for a row in f64.
            fn visit_wide<F: $wide_formula>(self) -> Self::Output;
        }

        /// The formulas, one type a row.
        pub(crate) mod $module {
            use super::*;
            $(
                $(#[$doc])*
                #[derive(Debug, Clone, Copy)]
                pub(crate) struct $variant;
                impl $formula for $variant {
                    const OP: $enum = $enum::$variant;
                    #[inline(always)]
                    fn apply<T: Float, S: Simd<T>>($s: S $(, $arg: S::V)*) -> S::V { $body }
                }
            )*
            $(
                $(#[$wide_doc])*
                #[derive(Debug, Clone, Copy)]
                pub(crate) struct $wide;
                impl $wide_formula for $wide {
                    #[inline(always)]
                    fn apply<S: Simd<f64>>($ws: S $(, $wide_arg: S::V)*) -> S::V { $wide_body }
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
        /// integer part
        Trunc = "trunc", 100, |s, x| s.trunc(x);
    } in f64: WideUnaryFormula {
        /// `1 - erf(x)`
        Erfc = "erfc", 8000, |s, x| math::erfc(s, x);
        /// tangent
        Tan = "tan", 4000, |s, x| math::tan(s, x);
        /// inverse sine
        Asin = "asin", 5000, |s, x| math::asin(s, x);
        /// inverse cosine
        Acos = "acos", 5000, |s, x| math::acos(s, x);
        /// inverse tangent
        Atan = "atan", 4000, |s, x| math::atan(s, x);
        /// hyperbolic sine
        Sinh = "sinh", 5000, |s, x| math::sinh(s, x);
        /// hyperbolic cosine
        Cosh = "cosh", 4000, |s, x| math::cosh(s, x);
        /// inverse hyperbolic sine
        Asinh = "asinh", 6000, |s, x| math::asinh(s, x);
        /// inverse hyperbolic cosine
        Acosh = "acosh", 6000, |s, x| math::acosh(s, x);
        /// inverse hyperbolic tangent
        Atanh = "atanh", 5000, |s, x| math::atanh(s, x);
        /// `2^x`
        Exp2 = "exp2", 2000, |s, x| math::exp2(s, x);
        /// logarithm to base 2
        Log2 = "log2", 3000, |s, x| math::log2(s, x);
        /// logarithm to base 10
        Log10 = "log10", 3000, |s, x| math::log10(s, x);
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
    } in f64: WideBinaryFormula {
        /// `trunc(a / b)`, of f32 that of the exact quotient, as `fmod` sees it
        TruncDivide = "trunc_divide", 1000, |s, a, b| s.trunc(s.div(a, b));
        /// `floor(a / b)` of the exact quotient
        FloorDivide = "floor_divide", 3000, |s, a, b| math::floor_divide(s, a, b);
        /// `a - b trunc(a / b)`, exact
        Fmod = "fmod", 2000, |s, a, b| math::fmod(s, a, b);
        /// `a - b floor(a / b)`
        Remainder = "remainder", 2000, |s, a, b| math::remainder(s, a, b);
        /// the angle of the point (b, a)
        Atan2 = "atan2", 5000, |s, a, b| math::atan2(s, a, b);
        /// `sqrt(a^2 + b^2)`
        Hypot = "hypot", 3000, |s, a, b| math::hypot(s, a, b);
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
