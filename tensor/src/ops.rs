//! The methods of tensors, one file a family. Each stands on [`Tensor`](crate::Tensor) and, through the [`chain`] traits, on
//! `Result<Tensor>`, where the value is an owned temporary that may lend its buffer.

mod binary;
mod image;
mod loss;
mod norm;
mod product;
mod reduce;
mod select;
mod shape;
mod softmax;
mod unary;
mod update;

pub(crate) use binary::{binary, promoted};
pub use loss::{
    BCELoss, BCEWithLogitsLoss, CrossEntropyLoss, HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss,
    MSELoss, NLLLoss, PoissonNLLLoss, Reduction, SmoothL1Loss,
};

/// The traits that put the methods on `Result<Tensor>`.
pub mod chain {
    pub use super::binary::BinaryChain;
    pub use super::image::ImageChain;
    pub use super::loss::LossChain;
    pub use super::norm::NormChain;
    pub use super::product::ProductChain;
    pub use super::reduce::ReduceChain;
    pub use super::select::SelectChain;
    pub use super::shape::ShapeChain;
    pub use super::softmax::SoftmaxChain;
    pub use super::unary::UnaryChain;
}

/// Defines methods once, over an [`Operand`](crate::Operand) named by the first parameter, for `&Tensor` and `Result<Tensor>`.
/// An error gets the line of the outermost caller.
macro_rules! methods {
    ($(#[$trait_doc:meta])* trait $trait:ident; $(
        $(#[$doc:meta])*
        fn $name:ident $(<$lt:lifetime>)? ($x:ident $(, $arg:ident: $ty:ty)* $(,)?) -> $ret:ty $body:block
    )*) => {
        impl crate::tensor::Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name $(<$lt>)? (&self $(, $arg: $ty)*) -> crate::error::Result<$ret> {
                    let here = std::panic::Location::caller();
                    let $x = crate::apply::Operand::Ref(self);
                    crate::ops::located(here, move || $body)
                }
            )*
        }

        $(#[$trait_doc])*
        pub trait $trait: Sized {
            $(
                $(#[$doc])*
                #[track_caller]
                fn $name $(<$lt>)? (self $(, $arg: $ty)*) -> crate::error::Result<$ret>;
            )*
        }

        impl $trait for crate::error::Result<crate::tensor::Tensor> {
            $(
                #[track_caller]
                fn $name $(<$lt>)? (self $(, $arg: $ty)*) -> crate::error::Result<$ret> {
                    let here = std::panic::Location::caller();
                    let $x = crate::apply::Operand::Own(self?);
                    crate::ops::located(here, move || $body)
                }
            )*
        }
    };
}
pub(crate) use methods;

/// Runs `body`; its error is said of the line `here`.
pub(crate) fn located<R>(
    here: &'static std::panic::Location<'static>,
    body: impl FnOnce() -> crate::error::Result<R>,
) -> crate::error::Result<R> {
    body().map_err(|error| error.at(here))
}

/// Operand `x` as a tensor, for methods that need to look at it.
pub(crate) fn look<'a>(
    op: &'static str,
    x: &'a crate::apply::Operand<'_>,
) -> crate::error::Result<&'a crate::tensor::Tensor> {
    x.tensor().ok_or_else(|| crate::error::Error::argument(op, "needs a tensor"))
}
