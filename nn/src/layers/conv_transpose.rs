//! Transposed convolution of sequences and images.

use ferrotape_tensor::{ConvTranspose1dOp, ConvTranspose2dOp, DType, Generator, Result, Tensor};

use super::conv::{bias, check_window, weight};
use crate::Module;
use crate::ctx::Ctx;
use crate::module::{Forward, Param};

macro_rules! transposed_convolution {
    (
        $(#[$doc:meta])* $layer:ident, $config:ident, $settings:ident, $dims:literal, $name:literal,
        $method:ident, $kernel:literal
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Module)]
        #[module(crate = crate)]
        pub struct $layer {
            #[doc = concat!("`[in, out / groups, ", $kernel, "]`")]
            pub weight: Param,
            /// `[out]`
            pub bias: Option<Param>,
            /// Stride, padding, output padding, dilation, groups.
            #[module(skip)]
            pub settings: $settings,
        }

        #[doc = concat!("Settings of a [`", stringify!($layer), "`].")]
        #[derive(Debug, Clone, Copy)]
        pub struct $config {
            channels: [usize; 2],
            kernel: [usize; $dims],
            bias: bool,
            dtype: DType,
            settings: $settings,
        }

        impl $config {
            /// From `in_channels` to `out_channels` with a kernel of this size: stride 1, nothing cut off, a bias, f32.
            pub fn new(in_channels: usize, out_channels: usize, kernel_size: [usize; $dims]) -> Self {
                let (settings, dtype) = ($settings::default(), DType::F32);
                let (channels, kernel) = ([in_channels, out_channels], kernel_size);
                $config { channels, kernel, bias: true, dtype, settings }
            }

            /// Distance between the places of two inputs in the output.
            pub fn stride(mut self, stride: [usize; $dims]) -> Self {
                self.settings.stride = stride;
                self
            }

            /// How much is cut off on each side.
            pub fn padding(mut self, padding: [usize; $dims]) -> Self {
                self.settings.padding = padding;
                self
            }

            /// How much is added at the end.
            pub fn output_padding(mut self, output_padding: [usize; $dims]) -> Self {
                self.settings.output_padding = output_padding;
                self
            }

            /// Distance between taps.
            pub fn dilation(mut self, dilation: [usize; $dims]) -> Self {
                self.settings.dilation = dilation;
                self
            }

            /// Groups of channels that don't see each other.
            pub fn groups(mut self, groups: usize) -> Self {
                self.settings.groups = groups;
                self
            }

            /// With or without a bias.
            pub fn bias(mut self, bias: bool) -> Self {
                self.bias = bias;
                self
            }

            /// Type of the parameters.
            pub fn dtype(mut self, dtype: DType) -> Self {
                self.dtype = dtype;
                self
            }

            /// The layer with random parameters, initialised as PyTorch's.
            ///
            /// # Errors
            /// No channels, an empty kernel, a stride or dilation of 0; groups that don't divide the channels; an integer type;
            /// memory over the limit.
            pub fn build(self, rng: &mut Generator) -> Result<$layer> {
                let $config { channels, kernel, settings, .. } = self;
                check_window($name, &settings.stride, &settings.dilation)?;
                let weight = weight($name, channels, &kernel, settings.groups, self.dtype, rng)?;
                let bias = match self.bias {
                    true => Some(bias(&weight, channels[1], rng)?),
                    false => None,
                };
                Ok($layer { weight, bias, settings })
            }
        }

        impl $layer {
            #[doc = concat!("Stride 1, nothing cut off, a bias, f32; see [`", stringify!($config), "`] for others.")]
            ///
            /// # Errors
            /// No channels or an empty kernel; memory over the limit.
            pub fn new(
                in_channels: usize,
                out_channels: usize,
                kernel_size: [usize; $dims],
                rng: &mut Generator,
            ) -> Result<Self> {
                $config::new(in_channels, out_channels, kernel_size).build(rng)
            }
        }

        impl Forward for $layer {
            fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
                x.$method(&self.weight, self.bias.as_deref(), self.settings)
            }
        }
    };
}

transposed_convolution! {
    /// The adjoint of a [`Conv1d`](crate::Conv1d), PyTorch's `nn.ConvTranspose1d`; x: `[n, in, l]` or `[in, l]`, y: `[n, out, ol]` with
    /// `ol = (l - 1) stride - 2 padding + dilation (k - 1) + output_padding + 1`.
    ConvTranspose1d, ConvTranspose1dConfig, ConvTranspose1dOp, 1, "conv_transpose1d", conv_transpose1d, "k"
}
transposed_convolution! {
    /// The adjoint of a [`Conv2d`](crate::Conv2d), PyTorch's `nn.ConvTranspose2d`; x: `[n, in, h, w]` or `[in, h, w]`, y:
    /// `[n, out, oh, ow]` with `oh = (h - 1) stride - 2 padding + dilation (kh - 1) + output_padding + 1`.
    ///
    /// ```
    /// # use ferrotape_nn::{ConvTranspose2dConfig, Ctx, Forward};
    /// # use ferrotape_tensor::{DType, Generator, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let double = ConvTranspose2dConfig::new(3, 8, [2, 2]).stride([2, 2]);
    /// let layer = double.build(&mut Generator::new(0))?;
    /// let y = layer.forward(&Tensor::ones([5, 3, 4, 6], DType::F32)?, &mut Ctx::eval())?;
    /// assert_eq!(y.shape(), [5, 8, 8, 12]);
    /// # Ok(()) }
    /// ```
    ConvTranspose2d, ConvTranspose2dConfig, ConvTranspose2dOp, 2, "conv_transpose2d", conv_transpose2d, "kh, kw"
}
