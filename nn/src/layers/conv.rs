//! 2-D convolution.

use ferrotape_tensor::{Conv2dOp, DType, Generator, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::init;
use crate::module::{Forward, Param};

/// 2-D cross-correlation, PyTorch's `nn.Conv2d`; x: `[n, in, h, w]`, weight: `[out, in / groups, kh, kw]`, bias: `[out]`, y: `[n, out, oh, ow]`
/// with `oh = floor((h + 2 padding - dilation (kh - 1) - 1) / stride) + 1`.
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct Conv2d {
    /// `[out, in / groups, kh, kw]`
    pub weight: Param,
    /// `[out]`
    pub bias: Option<Param>,
    /// Stride, padding, dilation, groups.
    #[module(skip)]
    pub settings: Conv2dOp,
}

/// Settings of a [`Conv2d`].
#[derive(Debug, Clone, Copy)]
pub struct Conv2dConfig {
    channels: [usize; 2],
    kernel: [usize; 2],
    bias: bool,
    dtype: DType,
    settings: Conv2dOp,
}

impl Conv2dConfig {
    /// From `inputs` to `outputs` channels with this kernel: stride 1, no padding, a bias, f32.
    pub fn new(inputs: usize, outputs: usize, kernel: [usize; 2]) -> Self {
        let settings = Conv2dOp::default();
        Conv2dConfig {
            channels: [inputs, outputs],
            kernel,
            bias: true,
            dtype: DType::F32,
            settings,
        }
    }

    /// Step of the window.
    pub fn stride(mut self, stride: [usize; 2]) -> Self {
        self.settings.stride = stride;
        self
    }

    /// Zeros on each side.
    pub fn padding(mut self, padding: [usize; 2]) -> Self {
        self.settings.padding = padding;
        self
    }

    /// Distance between taps.
    pub fn dilation(mut self, dilation: [usize; 2]) -> Self {
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
    /// Groups that don't divide the channels; memory over the limit.
    pub fn build(self, rng: &mut Generator) -> Result<Conv2d> {
        use ferrotape_tensor::{Error, ErrorKind};
        let ([inputs, outputs], groups) = (self.channels, self.settings.groups);
        if groups == 0 || inputs % groups != 0 || outputs % groups != 0 {
            let message =
                format!("conv2d: {groups} groups don't divide {inputs} and {outputs} channels");
            return Err(Error::new(ErrorKind::Module(message)));
        }
        let shape = [outputs, inputs / groups, self.kernel[0], self.kernel[1]];
        let weight = Param::new(init::kaiming_uniform(&shape, 5f64.sqrt(), self.dtype, rng)?);
        let bias = match self.bias {
            true => Some(Param::new(init::bias(&shape, self.dtype, rng)?)),
            false => None,
        };
        Ok(Conv2d { weight, bias, settings: self.settings })
    }
}

impl Forward for Conv2d {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.conv2d(&self.weight, self.bias.as_deref(), self.settings)
    }
}
