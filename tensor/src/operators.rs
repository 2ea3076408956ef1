//! `+ - * /` and unary `-`, which return `Result<Tensor>`: the combinations that Rust's orphan rule allows and inference bears.
//! For `Result op Result` use the methods.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::apply::Operand;
use crate::error::Result;
use crate::ops::chain::{BinaryChain, UnaryChain};
use crate::tensor::Tensor;

macro_rules! operator {
    ($trait:ident, $method:ident) => {
        impl<'a, R: Into<Operand<'a>>> $trait<R> for &Tensor {
            type Output = Result<Tensor>;
            #[track_caller]
            fn $method(self, other: R) -> Result<Tensor> {
                Tensor::$method(self, other)
            }
        }
        impl<'a, R: Into<Operand<'a>>> $trait<R> for Tensor {
            type Output = Result<Tensor>;
            #[track_caller]
            fn $method(self, other: R) -> Result<Tensor> {
                BinaryChain::$method(Ok(self), other)
            }
        }
        impl $trait<&Tensor> for Result<Tensor> {
            type Output = Result<Tensor>;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Result<Tensor> {
                BinaryChain::$method(self, other)
            }
        }
        impl $trait<Tensor> for Result<Tensor> {
            type Output = Result<Tensor>;
            #[track_caller]
            fn $method(self, other: Tensor) -> Result<Tensor> {
                BinaryChain::$method(self, other)
            }
        }
        impl $trait<&Tensor> for f64 {
            type Output = Result<Tensor>;
            #[track_caller]
            fn $method(self, other: &Tensor) -> Result<Tensor> {
                Tensor::filled_like(other, self)?.$method(other)
            }
        }
        impl $trait<Tensor> for f64 {
            type Output = Result<Tensor>;
            #[track_caller]
            fn $method(self, other: Tensor) -> Result<Tensor> {
                Tensor::filled_like(&other, self)?.$method(other)
            }
        }
    };
}
operator!(Add, add);
operator!(Sub, sub);
operator!(Mul, mul);
operator!(Div, div);

impl Neg for &Tensor {
    type Output = Result<Tensor>;
    #[track_caller]
    fn neg(self) -> Result<Tensor> {
        Tensor::neg(self)
    }
}

impl Neg for Tensor {
    type Output = Result<Tensor>;
    #[track_caller]
    fn neg(self) -> Result<Tensor> {
        UnaryChain::neg(Ok(self))
    }
}

impl Tensor {
    /// A number as a 0-d tensor of a type that `x` promotes with as with a number.
    fn filled_like(x: &Tensor, value: f64) -> Result<Tensor> {
        use crate::dtype::DType;
        let dtype = match x.dtype() {
            float if float.is_float() => float,
            _ if value.fract() == 0.0 => DType::I64,
            _ => DType::F32,
        };
        Tensor::scalar(value, dtype, x.device())
    }
}
