//! Convolution of sequences, images and volumes.

use ferrotape_tensor::chain::UnaryChain as _;
use ferrotape_tensor::{
    Conv1dOp, Conv2dOp, Conv3dOp, DType, Error, ErrorKind, Generator, Result, Tensor,
};

use crate::Module;
use crate::ctx::Ctx;
use crate::init;
use crate::module::{Forward, Joint, Param};

/// What stands in the padding of a convolution.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum PaddingMode {
    /// Zeros.
    #[default]
    Zeros,
    /// The elements mirrored at the first and the last, which are not repeated.
    Reflect,
    /// The first and the last element.
    Replicate,
    /// The elements from the other end.
    Circular,
}

impl PaddingMode {
    /// Dim `dim` of x with so much before and behind it.
    fn pad(self, x: &Tensor, dim: usize, before: usize, behind: usize) -> Result<Tensor> {
        let Some(&size) = x.shape().get(dim) else {
            return Err(module(format!("convolution: input {:?} has no dim {dim}", x.shape())));
        };
        let fits = match self {
            PaddingMode::Reflect => before.max(behind) < size,
            PaddingMode::Circular => before.max(behind) <= size,
            _ => size > 0 && before.max(behind) <= i32::MAX as usize,
        };
        if !fits {
            let message =
                format!("convolution: padding {self:?} of {before} and {behind} beside {size}");
            return Err(module(message));
        }
        let (size, before, behind) = (size as i64, before as i64, behind as i64);
        let place = |at: i64| match self {
            PaddingMode::Reflect => (size - 1) - (at.abs() - (size - 1)).abs(),
            PaddingMode::Circular => at.rem_euclid(size),
            _ => at.clamp(0, size - 1),
        };
        let places: Vec<i64> = (-before..size + behind).map(place).collect();
        let count = places.len();
        x.index_select(dim as i64, &Tensor::from_vec(places, [count]).to_device(x.device())?)
    }
}

fn module(message: String) -> Error {
    Error::new(ErrorKind::Module(message))
}

/// The weight of a layer, `[first, second / groups, kernel..]`.
pub(super) fn weight(
    name: &str,
    [first, second]: [usize; 2],
    kernel: &[usize],
    groups: usize,
    dtype: DType,
    rng: &mut Generator,
) -> Result<Param> {
    if first == 0 || second == 0 || kernel.contains(&0) {
        let message =
            format!("{name}: {first} and {second} channels, kernel {kernel:?}: none may be 0");
        return Err(module(message));
    }
    if groups == 0 || !first.is_multiple_of(groups) || !second.is_multiple_of(groups) {
        let message = format!("{name}: {groups} groups don't divide {first} and {second} channels");
        return Err(module(message));
    }
    let shape: Vec<usize> = [first, second / groups].iter().chain(kernel).copied().collect();
    Ok(Param::new(init::default_weight(&shape, dtype, rng)?))
}

/// A window that moves.
pub(super) fn check_window(name: &str, stride: &[usize], dilation: &[usize]) -> Result<()> {
    match stride.contains(&0) || dilation.contains(&0) {
        true => {
            Err(module(format!("{name}: stride {stride:?}, dilation {dilation:?}: none may be 0")))
        }
        false => Ok(()),
    }
}

/// The bias of so many channels beside a weight: uniform within `1 / sqrt(fan in)`, as PyTorch has it for transposed layers, too.
pub(super) fn bias(weight: &Tensor, channels: usize, rng: &mut Generator) -> Result<Param> {
    let bound = 1.0 / init::fans(weight.shape()).0.max(1.0).sqrt();
    Ok(Param::new(rng.uniform([channels], -bound, bound, weight.dtype())?))
}

macro_rules! convolution {
    (
        $(#[$doc:meta])* $layer:ident, $config:ident, $settings:ident, $dims:literal,
        $name:literal, $method:ident, $same:ident, $kernel:literal $(, $joint:ident)?
    ) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Module)]
        #[module(crate = crate)]
        pub struct $layer {
            #[doc = concat!("`[out, in / groups, ", $kernel, "]`")]
            pub weight: Param,
            /// `[out]`
            pub bias: Option<Param>,
            /// Stride, padding, dilation, groups.
            #[module(skip)]
            pub settings: $settings,
            /// Pad so that sizes stay, whatever the settings' padding (PyTorch's `padding="same"`); needs stride 1.
            #[module(skip)]
            pub same: bool,
            /// What stands in the padding.
            #[module(skip)]
            pub padding_mode: PaddingMode,
        }

        #[doc = concat!("Settings of a [`", stringify!($layer), "`].")]
        #[derive(Debug, Clone, Copy)]
        pub struct $config {
            channels: [usize; 2],
            kernel: [usize; $dims],
            bias: bool,
            dtype: DType,
            settings: $settings,
            same: bool,
            padding_mode: PaddingMode,
        }

        impl $config {
            /// From `in_channels` to `out_channels` with a kernel of this size: stride 1, no padding, a bias, f32.
            pub fn new(in_channels: usize, out_channels: usize, kernel_size: [usize; $dims]) -> Self {
                $config {
                    channels: [out_channels, in_channels],
                    kernel: kernel_size,
                    bias: true,
                    dtype: DType::F32,
                    settings: $settings::default(),
                    same: false,
                    padding_mode: PaddingMode::Zeros,
                }
            }

            /// Step of the window.
            pub fn stride(mut self, stride: [usize; $dims]) -> Self {
                self.settings.stride = stride;
                self
            }

            /// How much stands on each side.
            pub fn padding(mut self, padding: [usize; $dims]) -> Self {
                self.settings.padding = padding;
                self
            }

            /// As much padding as keeps the sizes: PyTorch's `padding="same"`.
            pub fn padding_same(mut self) -> Self {
                self.same = true;
                self
            }

            /// What stands in the padding.
            pub fn padding_mode(mut self, padding_mode: PaddingMode) -> Self {
                self.padding_mode = padding_mode;
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
            /// No channels, an empty kernel, a stride or dilation of 0; groups that don't divide the channels; a stride beside "same"; an
            /// integer type; memory over the limit.
            pub fn build(self, rng: &mut Generator) -> Result<$layer> {
                let $config { channels, kernel, settings, same, padding_mode, .. } = self;
                check_window($name, &settings.stride, &settings.dilation)?;
                if same && settings.stride != [1; $dims] {
                    return Err(module(format!("{}: padding to the same size needs stride 1", $name)));
                }
                let weight = weight($name, channels, &kernel, settings.groups, self.dtype, rng)?;
                let bias = match self.bias {
                    true => Some(bias(&weight, channels[0], rng)?),
                    false => None,
                };
                Ok($layer { weight, bias, settings, same, padding_mode })
            }
        }

        impl $layer {
            #[doc = concat!("Stride 1, no padding, a bias, f32; see [`", stringify!($config), "`] for others.")]
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
                let (weight, bias) = (&self.weight, self.bias.as_deref());
                if self.padding_mode == PaddingMode::Zeros {
                    return match self.same {
                        false => x.$method(weight, bias, self.settings),
                        true => x.$same(weight, bias, self.settings),
                    };
                }
                let mut padded = x.clone();
                let dims = weight.shape().iter().skip(2).zip(self.settings.dilation).enumerate();
                for ((d, (&kernel, dilation)), padding) in dims.zip(self.settings.padding) {
                    let total = kernel.saturating_sub(1).saturating_mul(dilation);
                    let (before, behind) = match self.same {
                        true => (total / 2, total - total / 2),
                        false => (padding, padding),
                    };
                    let dim = (x.rank() + d).saturating_sub($dims);
                    padded = self.padding_mode.pad(&padded, dim, before, behind)?;
                }
                padded.$method(weight, bias, self.settings.padding([0; $dims]))
            }
            $(
                fn joint(&self) -> Joint<'_> {
                    Joint::$joint(self)
                }
            )?
        }
    };
}

convolution! {
    /// 1-D cross-correlation, PyTorch's `nn.Conv1d`; x: `[n, in, l]` or `[in, l]`, y: `[n, out, ol]` with
    /// `ol = floor((l + 2 padding - dilation (k - 1) - 1) / stride) + 1`.
    Conv1d, Conv1dConfig, Conv1dOp, 1, "conv1d", conv1d, conv1d_same, "k"
}
convolution! {
    /// 2-D cross-correlation, PyTorch's `nn.Conv2d`; x: `[n, in, h, w]` or `[in, h, w]`, y: `[n, out, oh, ow]` with
    /// `oh = floor((h + 2 padding - dilation (kh - 1) - 1) / stride) + 1`.
    ///
    /// ```
    /// # use ferrotape_nn::{Conv2dConfig, Ctx, Forward};
    /// # use ferrotape_tensor::{DType, Generator, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let layer = Conv2dConfig::new(3, 8, [3, 3]).padding([1, 1]).build(&mut Generator::new(0))?;
    /// let y = layer.forward(&Tensor::ones([5, 3, 4, 6], DType::F32)?, &mut Ctx::eval())?;
    /// assert_eq!(y.shape(), [5, 8, 4, 6]);
    /// # Ok(()) }
    /// ```
    Conv2d, Conv2dConfig, Conv2dOp, 2, "conv2d", conv2d, conv2d_same, "kh, kw", Conv2d
}
impl Conv2d {
    /// True if zeros, as many as the settings say, stand in the padding.
    pub(super) fn is_plain(&self) -> bool {
        self.padding_mode == PaddingMode::Zeros && !self.same
    }
}

convolution! {
    /// 3-D cross-correlation, PyTorch's `nn.Conv3d`; x: `[n, in, d, h, w]` or `[in, d, h, w]`, y: `[n, out, od, oh, ow]` with
    /// `od = floor((d + 2 padding - dilation (kd - 1) - 1) / stride) + 1`.
    Conv3d, Conv3dConfig, Conv3dOp, 3, "conv3d", conv3d, conv3d_same, "kd, kh, kw"
}
