//! THE TABLE of elementwise operations: one row each. Adding an op: a row here, its method on `Tensor`, its derivative rule.
//!
//! A row is: variant, name, formula over a [`Simd`](crate::cpu::simd::Simd) token `s`. The formula is the definition on
//! every ISA: every FMA is written out and there is no contraction.

macro_rules! op_enum {
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
    UnaryOp {
        /// `-x`
        Neg = "neg",
        /// `|x|`
        Abs = "abs",
        /// -1, 0 or 1 (NaN stays)
        Sign = "sign",
        /// `1 / x`
        Reciprocal = "reciprocal",
        /// `x * x`
        Square = "square",
        /// square root
        Sqrt = "sqrt",
        /// `1 / sqrt(x)`
        Rsqrt = "rsqrt",
        /// `e^x`
        Exp = "exp",
        /// `e^x - 1`
        Expm1 = "expm1",
        /// natural logarithm
        Log = "log",
        /// `log(1 + x)`
        Log1p = "log1p",
        /// sine
        Sin = "sin",
        /// cosine
        Cos = "cos",
        /// hyperbolic tangent
        Tanh = "tanh",
        /// `1 / (1 + e^-x)`
        Sigmoid = "sigmoid",
        /// error function
        Erf = "erf",
        /// `max(x, 0)`, NaN stays
        Relu = "relu",
        /// `x * Phi(x)` with the error function
        Gelu = "gelu",
        /// largest integer not above
        Floor = "floor",
        /// smallest integer not below
        Ceil = "ceil",
        /// nearest integer, ties to even
        Round = "round",
    }
}

op_enum! {
    /// Elementwise operations of two operands.
    BinaryOp {
        /// `a + b`
        Add = "add",
        /// `a - b`
        Sub = "sub",
        /// `a * b`
        Mul = "mul",
        /// `a / b`
        Div = "div",
        /// the larger, NaN wins
        Maximum = "maximum",
        /// the smaller, NaN wins
        Minimum = "minimum",
        /// `a^b`: `exp(b * log|a|)` with the signs and special cases of IEEE `pow`
        Pow = "pow",
        /// `y > 0 ? g : 0` (g where y is NaN): relu's derivative, from its output
        ReluGrad = "relu_grad",
        /// `g * (1 - y * y)`: tanh's derivative, from its output
        TanhGrad = "tanh_grad",
        /// `g * y * (1 - y)`: sigmoid's derivative, from its output
        SigmoidGrad = "sigmoid_grad",
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
