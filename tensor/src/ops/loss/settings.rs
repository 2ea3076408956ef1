//! The settings of the losses.

use crate::tensor::Tensor;

/// What becomes of the losses of all elements, or of all rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Reduction {
    /// They stay.
    None,
    /// Their mean. Of weighted classes: the sum divided by the sum of the weights.
    #[default]
    Mean,
    /// Their sum.
    Sum,
    /// Their sum divided by the first size: PyTorch's `batchmean` of `kl_div`.
    BatchMean,
}

/// A struct of settings with defaults, and a method for each of them.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident $(<$lt:lifetime> [
        $($(#[$tensor_doc:meta])* $tensor:ident,)*
    ])? {
        $($(#[$field_doc:meta])* $field:ident: $ty:ty = $default:expr,)*
    })*) => { $(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub struct $name $(<$lt>)? {
            $($($(#[$tensor_doc])* pub $tensor: Option<&$lt Tensor>,)*)?
            $($(#[$field_doc])* pub $field: $ty,)*
            /// What becomes of all the losses; their mean.
            pub reduction: Reduction,
        }

        impl $(<$lt>)? Default for $name $(<$lt>)? {
            fn default() -> Self {
                $name { $($($tensor: None,)*)? $($field: $default,)* reduction: Reduction::Mean }
            }
        }

        impl $(<$lt>)? $name $(<$lt>)? {
            $($($(#[$tensor_doc])* pub fn $tensor(mut self, $tensor: &$lt Tensor) -> Self {
                self.$tensor = Some($tensor);
                self
            })*)?
            $($(#[$field_doc])* pub fn $field(mut self, $field: $ty) -> Self {
                self.$field = $field;
                self
            })*
            /// What becomes of all the losses.
            pub fn reduction(mut self, reduction: Reduction) -> Self {
                self.reduction = reduction;
                self
            }
        }
    )* };
}

settings! {
    /// Settings of [`cross_entropy_with`](Tensor::cross_entropy_with): PyTorch's `CrossEntropyLoss`.
    CrossEntropyLoss<'a> [
        /// `[classes]`: a factor for each class.
        weight,
    ] {
        /// Rows of this class don't count; -100.
        ignore_index: i64 = -100,
        /// The part of the target that is spread over all classes alike; 0.
        label_smoothing: f64 = 0.0,
    }

    /// Settings of [`nll_loss_with`](Tensor::nll_loss_with): PyTorch's `NLLLoss`.
    NLLLoss<'a> [
        /// `[classes]`: a factor for each class.
        weight,
    ] {
        /// Rows of this class don't count; -100.
        ignore_index: i64 = -100,
    }

    /// Settings of [`binary_cross_entropy_with`](Tensor::binary_cross_entropy_with): PyTorch's `BCELoss`.
    BCELoss<'a> [
        /// A factor for each element; broadcasts.
        weight,
    ] {
    }

    /// Settings of [`bce_with_logits_with`](Tensor::bce_with_logits_with): PyTorch's `BCEWithLogitsLoss`.
    BCEWithLogitsLoss<'a> [
        /// A factor for each element; broadcasts.
        weight,
        /// A factor for the positive part; broadcasts.
        pos_weight,
    ] {
    }

    /// Settings of [`mse_loss_with`](Tensor::mse_loss_with): PyTorch's `MSELoss`.
    MSELoss {}

    /// Settings of [`l1_loss_with`](Tensor::l1_loss_with): PyTorch's `L1Loss`.
    L1Loss {}

    /// Settings of [`smooth_l1_loss_with`](Tensor::smooth_l1_loss_with): PyTorch's `SmoothL1Loss`.
    SmoothL1Loss {
        /// Where the parabola ends; 1. At 0 it is the L1 loss.
        beta: f64 = 1.0,
    }

    /// Settings of [`huber_loss_with`](Tensor::huber_loss_with): PyTorch's `HuberLoss`.
    HuberLoss {
        /// Where the parabola ends; 1.
        delta: f64 = 1.0,
    }

    /// Settings of [`kl_div_with`](Tensor::kl_div_with): PyTorch's `KLDivLoss`.
    KLDivLoss {
        /// The target is a logarithm, too; false.
        log_target: bool = false,
    }

    /// Settings of [`poisson_nll_loss_with`](Tensor::poisson_nll_loss_with): PyTorch's `PoissonNLLLoss`.
    PoissonNLLLoss {
        /// The prediction is the logarithm of the rate; true.
        log_input: bool = true,
        /// With Stirling's term for the target's factorial; false.
        full: bool = false,
        /// Keeps the logarithm of a rate from 0; 1e-8.
        eps: f64 = 1e-8,
    }

    /// Settings of [`hinge_embedding_loss_with`](Tensor::hinge_embedding_loss_with): PyTorch's `HingeEmbeddingLoss`.
    HingeEmbeddingLoss {
        /// How far apart the dissimilar should be; 1.
        margin: f64 = 1.0,
    }

    /// Settings of [`cosine_embedding_loss_with`](Tensor::cosine_embedding_loss_with): PyTorch's `CosineEmbeddingLoss`.
    CosineEmbeddingLoss {
        /// The cosine up to which the dissimilar are let be; 0.
        margin: f64 = 0.0,
    }

    /// Settings of [`margin_ranking_loss_with`](Tensor::margin_ranking_loss_with): PyTorch's `MarginRankingLoss`.
    MarginRankingLoss {
        /// By how much one should be above the other; 0.
        margin: f64 = 0.0,
    }

    /// Settings of [`triplet_margin_loss_with`](Tensor::triplet_margin_loss_with): PyTorch's `TripletMarginLoss`.
    TripletMarginLoss {
        /// By how much the negative should be farther; 1.
        margin: f64 = 1.0,
        /// Of the norm; 2.
        p: f64 = 2.0,
        /// Added to the differences; 1e-6.
        eps: f64 = 1e-6,
        /// The distance from positive to negative counts if it is smaller; false.
        swap: bool = false,
    }

    /// Settings of [`multi_margin_loss_with`](Tensor::multi_margin_loss_with): PyTorch's `MultiMarginLoss`.
    MultiMarginLoss<'a> [
        /// `[classes]`: a factor for each class.
        weight,
    ] {
        /// The power, 1 or 2; 1.
        p: u32 = 1,
        /// By how much the right class should be above the others; 1.
        margin: f64 = 1.0,
    }

    /// Settings of [`multilabel_margin_loss_with`](Tensor::multilabel_margin_loss_with): PyTorch's `MultiLabelMarginLoss`.
    MultiLabelMarginLoss {}

    /// Settings of [`soft_margin_loss_with`](Tensor::soft_margin_loss_with): PyTorch's `SoftMarginLoss`.
    SoftMarginLoss {}

    /// Settings of [`multilabel_soft_margin_loss_with`](Tensor::multilabel_soft_margin_loss_with): PyTorch's `MultiLabelSoftMarginLoss`.
    MultiLabelSoftMarginLoss<'a> [
        /// `[classes]`: a factor for each class.
        weight,
    ] {
    }

    /// Settings of [`gaussian_nll_loss_with`](Tensor::gaussian_nll_loss_with): PyTorch's `GaussianNLLLoss`.
    GaussianNLLLoss {
        /// With the constant `log(2 pi) / 2`; false.
        full: bool = false,
        /// The least variance; 1e-6.
        eps: f64 = 1e-6,
    }
}
