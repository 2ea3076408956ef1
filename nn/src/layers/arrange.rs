//! Layers that move elements: patches, shuffles, shapes.

use ferrotape_tensor::{Conv2dOp, Error, ErrorKind, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::Forward;

/// `[n, c f^2, h, w]` as `[n, c, h f, w f]`: PyTorch's `nn.PixelShuffle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Module)]
#[module(crate = crate)]
pub struct PixelShuffle {
    /// The factor f.
    #[module(skip)]
    pub upscale_factor: usize,
}

impl PixelShuffle {
    /// By this factor.
    pub fn new(upscale_factor: usize) -> Self {
        PixelShuffle { upscale_factor }
    }
}

impl Forward for PixelShuffle {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.pixel_shuffle(self.upscale_factor)
    }
}

/// `[n, c, h f, w f]` as `[n, c f^2, h, w]`: PyTorch's `nn.PixelUnshuffle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Module)]
#[module(crate = crate)]
pub struct PixelUnshuffle {
    /// The factor f.
    #[module(skip)]
    pub downscale_factor: usize,
}

impl PixelUnshuffle {
    /// By this factor.
    pub fn new(downscale_factor: usize) -> Self {
        PixelUnshuffle { downscale_factor }
    }
}

impl Forward for PixelUnshuffle {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.pixel_unshuffle(self.downscale_factor)
    }
}

/// Dim `dim` as several: PyTorch's `nn.Unflatten`.
#[derive(Debug, Clone, PartialEq, Eq, Module)]
#[module(crate = crate)]
pub struct Unflatten {
    /// Which dim.
    #[module(skip)]
    pub dim: i64,
    /// Its sizes, of which one may be -1.
    #[module(skip)]
    pub unflattened_size: Vec<i64>,
}

impl Unflatten {
    /// Dim `dim` with these sizes, of which one may be -1.
    pub fn new(dim: i64, unflattened_size: impl Into<Vec<i64>>) -> Self {
        Unflatten { dim, unflattened_size: unflattened_size.into() }
    }
}

impl Forward for Unflatten {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.unflatten(self.dim, &self.unflattened_size[..])
    }
}

macro_rules! patches {
    ($layer:ident) => {
        impl $layer {
            /// Step of the window.
            pub fn stride(mut self, stride: [usize; 2]) -> Self {
                self.settings.stride = stride;
                self
            }

            /// How many zeros stand on each side of the image.
            pub fn padding(mut self, padding: [usize; 2]) -> Self {
                self.settings.padding = padding;
                self
            }

            /// Distance between the elements of a window.
            pub fn dilation(mut self, dilation: [usize; 2]) -> Self {
                self.settings.dilation = dilation;
                self
            }
        }
    };
}

/// The windows of an image as columns: `[n, c, h, w]` gives `[n, c kh kw, windows]`. PyTorch's `nn.Unfold`.
///
/// ```
/// # use ferrotape_nn::{Ctx, Fold, Forward, Unfold};
/// # use ferrotape_tensor::{DType, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let x = Tensor::ones([2, 3, 4, 6], DType::F32)?;
/// let columns = Unfold::new([2, 2]).stride([2, 2]).forward(&x, &mut Ctx::eval())?;
/// assert_eq!(columns.shape(), [2, 12, 6]);
/// let back = Fold::new([4, 6], [2, 2]).stride([2, 2]).forward(&columns, &mut Ctx::eval())?;
/// assert_eq!(back.to_vec::<f32>()?, x.to_vec::<f32>()?);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Copy, Module)]
#[module(crate = crate)]
pub struct Unfold {
    #[module(skip)]
    kernel_size: [usize; 2],
    #[module(skip)]
    settings: Conv2dOp,
}

impl Unfold {
    /// Windows of this size: stride 1, no padding.
    pub fn new(kernel_size: [usize; 2]) -> Self {
        Unfold { kernel_size, settings: Conv2dOp::default() }
    }
}
patches!(Unfold);

impl Forward for Unfold {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        if x.rank() == 3 {
            return x.unsqueeze(0)?.im2col(self.kernel_size, self.settings)?.squeeze(0);
        }
        x.im2col(self.kernel_size, self.settings)
    }
}

/// The sum of windows, given as columns, at their places in an image: `[n, c kh kw, windows]` gives `[n, c, h, w]`. The adjoint of
/// [`Unfold`], PyTorch's `nn.Fold`.
#[derive(Debug, Clone, Copy, Module)]
#[module(crate = crate)]
pub struct Fold {
    #[module(skip)]
    output_size: [usize; 2],
    #[module(skip)]
    kernel_size: [usize; 2],
    #[module(skip)]
    settings: Conv2dOp,
}

impl Fold {
    /// To an image of this size from windows of this size: stride 1, no padding.
    pub fn new(output_size: [usize; 2], kernel_size: [usize; 2]) -> Self {
        Fold { output_size, kernel_size, settings: Conv2dOp::default() }
    }
}
patches!(Fold);

impl Forward for Fold {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        if x.rank() == 2 {
            let x = x.unsqueeze(0)?;
            return x.col2im(self.output_size, self.kernel_size, self.settings)?.squeeze(0);
        }
        x.col2im(self.output_size, self.kernel_size, self.settings)
    }
}

/// Groups of channels interleaved, `[n, g c, ..]` from `g` runs of `c` to `c` runs of `g`: PyTorch's `nn.ChannelShuffle`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Module)]
#[module(crate = crate)]
pub struct ChannelShuffle {
    /// How many groups.
    #[module(skip)]
    pub groups: usize,
}

impl ChannelShuffle {
    /// Of so many groups.
    pub fn new(groups: usize) -> Self {
        ChannelShuffle { groups }
    }
}

impl Forward for ChannelShuffle {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        let fits = x.shape().get(1).is_some_and(|c| self.groups > 0 && c % self.groups == 0);
        if !fits {
            let message = format!("channel_shuffle: {} groups of {:?}", self.groups, x.shape());
            return Err(Error::new(ErrorKind::Module(message)));
        }
        let groups = i64::try_from(self.groups).unwrap_or(i64::MAX);
        x.unflatten(1, [groups, -1])?.transpose(1, 2)?.flatten(1, 2)
    }
}
