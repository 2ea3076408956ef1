//! Pooling and interpolation.

use ferrotape_tensor::{AvgPool1dOp, AvgPool2dOp, Interpolate, Pool1dOp, Pool2dOp, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::{Forward, Joint};

macro_rules! pools {
    ($(
        $(#[$doc:meta])* $layer:ident, $settings:ident, $dims:literal, $method:ident $(=> $joint:ident)?
        $(, $(#[$method_doc:meta])* $option:ident: $ty:ty)*;
    )*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Module)]
        #[module(crate = crate)]
        pub struct $layer {
            /// Window, stride, padding and more.
            #[module(skip)]
            pub settings: $settings,
        }

        impl $layer {
            /// A window of this size that moves by its own size, without padding.
            pub fn new(kernel_size: [usize; $dims]) -> Self {
                $settings::new(kernel_size).into()
            }

            /// Step of the window.
            pub fn stride(mut self, stride: [usize; $dims]) -> Self {
                self.settings = self.settings.stride(stride);
                self
            }

            /// How much stands on each side; half a window at most.
            pub fn padding(mut self, padding: [usize; $dims]) -> Self {
                self.settings = self.settings.padding(padding);
                self
            }

            /// A last window may reach beyond the end.
            pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
                self.settings = self.settings.ceil_mode(ceil_mode);
                self
            }

            $(
                $(#[$method_doc])*
                pub fn $option(mut self, $option: $ty) -> Self {
                    self.settings = self.settings.$option($option);
                    self
                }
            )*
        }

        impl From<$settings> for $layer {
            fn from(settings: $settings) -> Self {
                $layer { settings }
            }
        }

        impl Forward for $layer {
            fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
                x.$method(self.settings)
            }
            $(
                fn joint(&self) -> Joint<'_> {
                    Joint::$joint(self.settings)
                }
            )?
        }
    )*};
}

pools! {
    /// Maximum of each window, PyTorch's `nn.MaxPool1d`; NaN wins. x: `[n, c, l]` or `[c, l]`.
    MaxPool1d, Pool1dOp, 1, max_pool1d,
    /// Distance between the elements of a window.
    dilation: [usize; 1];
    /// Maximum of each window, PyTorch's `nn.MaxPool2d`; NaN wins. x: `[n, c, h, w]` or `[c, h, w]`.
    ///
    /// ```
    /// # use ferrotape_nn::{Ctx, Forward, MaxPool2d};
    /// # use ferrotape_tensor::{DType, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let layer = MaxPool2d::new([3, 3]).stride([2, 2]).ceil_mode(true);
    /// let y = layer.forward(&Tensor::ones([5, 3, 8, 7], DType::F32)?, &mut Ctx::eval())?;
    /// assert_eq!(y.shape(), [5, 3, 4, 3]);
    /// # Ok(()) }
    /// ```
    MaxPool2d, Pool2dOp, 2, max_pool2d => MaxPool2d,
    /// Distance between the elements of a window.
    dilation: [usize; 2];
    /// Mean of each window, PyTorch's `nn.AvgPool1d`. x: `[n, c, l]` or `[c, l]`.
    AvgPool1d, AvgPool1dOp, 1, avg_pool1d,
    /// Whether the padding counts as elements.
    count_include_pad: bool,
    /// What the sums are divided by; `None`: the number of elements.
    divisor_override: Option<i64>;
    /// Mean of each window, PyTorch's `nn.AvgPool2d`. x: `[n, c, h, w]` or `[c, h, w]`.
    AvgPool2d, AvgPool2dOp, 2, avg_pool2d,
    /// Whether the padding counts as elements.
    count_include_pad: bool,
    /// What the sums are divided by; `None`: the number of elements.
    divisor_override: Option<i64>;
}

macro_rules! adaptive_sequence {
    ($($(#[$doc:meta])* $layer:ident, |$x:ident, $size:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Module)]
        #[module(crate = crate)]
        pub struct $layer {
            /// Length of the output.
            #[module(skip)]
            pub output_size: usize,
        }

        impl $layer {
            /// To this length.
            pub fn new(output_size: usize) -> Self {
                $layer { output_size }
            }
        }

        impl Forward for $layer {
            fn forward(&self, $x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
                let $size = self.output_size;
                $body
            }
        }
    )*};
}

adaptive_sequence! {
    /// The means of so many windows that cover the sequence, PyTorch's `nn.AdaptiveAvgPool1d`. x: `[n, c, l]` or `[c, l]`.
    AdaptiveAvgPool1d, |x, size| x.adaptive_avg_pool1d(size);
    /// The maxima of so many windows that cover the sequence, PyTorch's `nn.AdaptiveMaxPool1d`. x: `[n, c, l]` or `[c, l]`.
    AdaptiveMaxPool1d, |x, size| x.unsqueeze(-2)?.adaptive_max_pool2d([1, size])?.squeeze(-2);
}

macro_rules! adaptive {
    ($($(#[$doc:meta])* $layer:ident, $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Module)]
        #[module(crate = crate)]
        pub struct $layer {
            /// Height and width of the output; `None` leaves the input's.
            #[module(skip)]
            pub output_size: [Option<usize>; 2],
        }

        impl $layer {
            /// To this height and width.
            pub fn new(output_size: [usize; 2]) -> Self {
                $layer { output_size: output_size.map(Some) }
            }
        }

        impl Forward for $layer {
            fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
                let [h, w] = self.output_size;
                let input = |d: usize| {
                    let dim = x.rank().checked_sub(d);
                    dim.and_then(|dim| x.shape().get(dim)).copied().unwrap_or(1)
                };
                x.$method([h.unwrap_or_else(|| input(2)), w.unwrap_or_else(|| input(1))])
            }
        }
    )*};
}

adaptive! {
    /// The means of so many windows that cover the image, PyTorch's `nn.AdaptiveAvgPool2d`. x: `[n, c, h, w]` or `[c, h, w]`.
    AdaptiveAvgPool2d, adaptive_avg_pool2d;
    /// The maxima of so many windows that cover the image, PyTorch's `nn.AdaptiveMaxPool2d`. x: `[n, c, h, w]` or `[c, h, w]`.
    AdaptiveMaxPool2d, adaptive_max_pool2d;
}

/// Other sizes behind the channels, PyTorch's `nn.Upsample`. x: `[n, c, l]`, `[n, c, h, w]` or `[n, c, d, h, w]`.
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct Upsample {
    /// Size or scale factor, mode, `align_corners`.
    #[module(skip)]
    pub settings: Interpolate,
}

impl Upsample {
    /// With these settings.
    pub fn new(settings: Interpolate) -> Self {
        Upsample { settings }
    }
}

impl Forward for Upsample {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.interpolate(&self.settings)
    }
}
