//! `+ - * /` and unary `-`, which return `Result<Tensor>`: the combinations that Rust's orphan rule allows and inference bears.
//! For `Result op Result` use the methods.

use std::ops::{Add, Div, Mul, Neg, Sub};

use crate::apply::Operand;
use crate::error::Result;
use crate::ops::chain::{BinaryChain, UnaryChain};
use crate::tensor::Tensor;
use ferrotape_kernels::elementwise::BinaryOp;

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
                number_first(BinaryOp::$trait, self, other.into())
            }
        }
        impl $trait<Tensor> for f64 {
            type Output = Result<Tensor>;
            #[track_caller]
            fn $method(self, other: Tensor) -> Result<Tensor> {
                number_first(BinaryOp::$trait, self, other.into())
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

/// `number op x`, promoted as `x op number` is.
#[track_caller]
fn number_first(op: BinaryOp, number: f64, x: Operand<'_>) -> Result<Tensor> {
    let here = std::panic::Location::caller();
    crate::ops::binary(op, Operand::Scalar(number), x).map_err(|error| error.at(here))
}
