//! The methods of tensors, one file a family. Each stands on [`Tensor`](crate::Tensor) and, through the [`chain`] traits, on
//! `Result<Tensor>`, where the value is an owned temporary that may lend its buffer.

mod activation;
mod arrange;
mod attention;
mod binary;
mod convolution;
mod difference;
mod distance;
mod einsum;
mod image;
mod interpolate;
mod linalg;
mod loss;
mod maths;
mod norm;
mod pad;
mod pieces;
mod pool;
mod product;
mod quantize;
mod reduce;
mod scan;
mod scatter;
mod select;
mod sequence;
mod shape;
mod softmax;
mod sort;
mod statistics;
mod unary;
mod update;
mod views;

pub use attention::AttentionOp;
pub(crate) use binary::{binary, floats, promoted};
pub use distance::MatrixNorm;
pub use interpolate::{Interpolate, InterpolateMode};
pub use loss::{
    BCELoss, BCEWithLogitsLoss, CosineEmbeddingLoss, CrossEntropyLoss, GaussianNLLLoss,
    HingeEmbeddingLoss, HuberLoss, KLDivLoss, L1Loss, MSELoss, MarginRankingLoss,
    MultiLabelMarginLoss, MultiLabelSoftMarginLoss, MultiMarginLoss, NLLLoss, PoissonNLLLoss,
    Reduction, SmoothL1Loss, SoftMarginLoss, TripletMarginLoss,
};
pub use pad::PadMode;
pub use scatter::ScatterReduce;
pub use sequence::SequenceOutput;

/// The traits that put the methods on `Result<Tensor>`.
pub mod chain {
    pub use super::activation::ActivationChain;
    pub use super::arrange::ArrangeChain;
    pub use super::attention::AttentionChain;
    pub use super::binary::BinaryChain;
    pub use super::convolution::ConvolutionChain;
    pub use super::difference::DifferenceChain;
    pub use super::distance::DistanceChain;
    pub use super::image::ImageChain;
    pub use super::interpolate::InterpolateChain;
    pub use super::linalg::LinalgChain;
    pub use super::loss::{LossChain, MarginLossChain};
    pub use super::maths::MathsChain;
    pub use super::norm::NormChain;
    pub use super::pad::PadChain;
    pub use super::pieces::PieceChain;
    pub use super::pool::PoolChain;
    pub use super::product::ProductChain;
    pub use super::quantize::QuantizeChain;
    pub use super::reduce::ReduceChain;
    pub use super::scan::ScanChain;
    pub use super::scatter::ScatterChain;
    pub use super::select::SelectChain;
    pub use super::shape::ShapeChain;
    pub use super::softmax::SoftmaxChain;
    pub use super::sort::SortChain;
    pub use super::statistics::StatisticsChain;
    pub use super::unary::UnaryChain;
    pub use super::views::ViewChain;
}

/// Defines methods once, over an [`Operand`](crate::Operand) named by the first parameter, for `&Tensor` and `Result<Tensor>`.
/// An error gets the line of the outermost caller.
macro_rules! methods {
    ($(#[$trait_doc:meta])* trait $trait:ident; $(
        $(#[$doc:meta])*
        fn $name:ident $(<$($lt:lifetime),+>)? ($x:ident $(, $arg:ident: $ty:ty)* $(,)?) -> $ret:ty $body:block
    )*) => {
        // The bodies, compiled once for both.
        impl crate::apply::Operand<'_> {
            $(
                #[allow(clippy::wrong_self_convention)]
                pub(crate) fn $name $(<$($lt),+>)? (self $(, $arg: $ty)*) -> crate::error::Result<$ret> {
                    let $x = self;
                    $body
                }
            )*
        }

        impl crate::tensor::Tensor {
            $(
                $(#[$doc])*
                #[track_caller]
                pub fn $name $(<$($lt),+>)? (&self $(, $arg: $ty)*) -> crate::error::Result<$ret> {
                    let here = std::panic::Location::caller();
                    crate::apply::Operand::Ref(self).$name($($arg),*).map_err(|error| error.at(here))
                }
            )*
        }

        $(#[$trait_doc])*
        pub trait $trait: Sized {
            $(
                $(#[$doc])*
                #[track_caller]
                fn $name $(<$($lt),+>)? (self $(, $arg: $ty)*) -> crate::error::Result<$ret>;
            )*
        }

        impl $trait for crate::error::Result<crate::tensor::Tensor> {
            $(
                #[track_caller]
                fn $name $(<$($lt),+>)? (self $(, $arg: $ty)*) -> crate::error::Result<$ret> {
                    let here = std::panic::Location::caller();
                    crate::apply::Operand::Own(self?).$name($($arg),*).map_err(|error| error.at(here))
                }
            )*
        }
    };
}
pub(crate) use methods;

/// Operand `x` as a tensor, for methods that need to look at it.
pub(crate) fn look<'a>(
    op: &'static str,
    x: &'a crate::apply::Operand<'_>,
) -> crate::error::Result<&'a crate::tensor::Tensor> {
    x.tensor().ok_or_else(|| crate::error::Error::argument(op, "needs a tensor"))
}

/// `body` on `x`; a scalar is lent one dim for it, as PyTorch does.
pub(crate) fn lent<const N: usize>(
    op: &'static str,
    x: crate::apply::Operand<'_>,
    body: impl FnOnce(crate::apply::Operand<'_>) -> crate::error::Result<[crate::Tensor; N]>,
) -> crate::error::Result<[crate::Tensor; N]> {
    let tensor = look(op, &x)?;
    if tensor.rank() > 0 {
        return body(x);
    }
    let mut results = body(tensor.reshape([1])?.into())?;
    for result in &mut results {
        *result = result.reshape(())?;
    }
    Ok(results)
}

/// `body` of floats, 2-byte ones as f32 and the result cast back: for expressions whose intermediate values (a sum before its
/// division) a 2-byte float can't hold.
///
/// # Errors
/// Integers, and what `body` says.
pub(crate) fn through_f32(
    op: &'static str,
    x: crate::apply::Operand<'_>,
    body: impl FnOnce(crate::apply::Operand<'_>) -> crate::error::Result<crate::tensor::Tensor>,
) -> crate::error::Result<crate::tensor::Tensor> {
    let dtype = look(op, &x)?.dtype();
    if !dtype.is_float() {
        let message = format!("not defined for {dtype}: cast to a float type first");
        return Err(crate::error::Error::dtype(op, message));
    }
    if !dtype.is_half() {
        return body(x);
    }
    body(look(op, &x)?.to_dtype(crate::dtype::DType::F32)?.into())?.to_dtype(dtype)
}
