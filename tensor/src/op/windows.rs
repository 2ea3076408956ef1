//! The settings of convolutions, pools and interpolation. Lists name the dims in order: `[a, b]` is height, width.

use ferrotape_kernels::cpu::conv::Conv2dShape;
use ferrotape_kernels::cpu::pool::{Pool2dShape, Windows};

/// The settings of a convolution over `D` dims.
///
/// ```
/// # use ferrotape_tensor::Conv2dOp;
/// let same = Conv2dOp::default().padding([1, 1]);
/// assert_eq!(same.stride, [1, 1]);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvOp<const D: usize> {
    /// Step of the window.
    pub stride: [usize; D],
    /// Zeros on each side.
    pub padding: [usize; D],
    /// Distance between taps.
    pub dilation: [usize; D],
    /// Groups of channels that don't see each other.
    pub groups: usize,
}

/// The settings of a convolution of sequences.
pub type Conv1dOp = ConvOp<1>;
/// The settings of a convolution of images.
pub type Conv2dOp = ConvOp<2>;
/// The settings of a convolution of volumes.
pub type Conv3dOp = ConvOp<3>;

impl<const D: usize> Default for ConvOp<D> {
    fn default() -> Self {
        ConvOp { stride: [1; D], padding: [0; D], dilation: [1; D], groups: 1 }
    }
}

impl<const D: usize> ConvOp<D> {
    /// Sets the step of the window.
    pub fn stride(mut self, stride: [usize; D]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the zeros on each side.
    pub fn padding(mut self, padding: [usize; D]) -> Self {
        self.padding = padding;
        self
    }

    /// Sets the distance between taps.
    pub fn dilation(mut self, dilation: [usize; D]) -> Self {
        self.dilation = dilation;
        self
    }

    /// Sets the number of groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

impl Conv1dOp {
    /// Over images of height 1.
    pub(crate) fn flat(self) -> Conv2dOp {
        let ConvOp { stride: [s], padding: [p], dilation: [d], groups } = self;
        ConvOp { stride: [1, s], padding: [0, p], dilation: [1, d], groups }
    }
}

impl Conv2dOp {
    /// With the sizes of an input `[n, c, h, w]` and a weight `[o, c / groups, kh, kw]`.
    pub(crate) fn shape(&self, input: &[usize], weight: &[usize]) -> Conv2dShape {
        Conv2dShape {
            batch: input[0],
            in_channels: input[1],
            out_channels: weight[0],
            input: [input[2], input[3]],
            kernel: [weight[2], weight[3]],
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            groups: self.groups,
        }
    }
}

/// The settings of a transposed convolution over `D` dims: those of the convolution whose input it reconstructs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvTransposeOp<const D: usize> {
    /// Distance between the places of two inputs in the output.
    pub stride: [usize; D],
    /// How much is cut off on each side.
    pub padding: [usize; D],
    /// How much is added at the end: less than the stride or the dilation.
    pub output_padding: [usize; D],
    /// Distance between taps.
    pub dilation: [usize; D],
    /// Groups of channels that don't see each other.
    pub groups: usize,
}

/// The settings of a transposed convolution of sequences.
pub type ConvTranspose1dOp = ConvTransposeOp<1>;
/// The settings of a transposed convolution of images.
pub type ConvTranspose2dOp = ConvTransposeOp<2>;

impl<const D: usize> Default for ConvTransposeOp<D> {
    fn default() -> Self {
        let (stride, dilation) = ([1; D], [1; D]);
        let (padding, output_padding) = ([0; D], [0; D]);
        ConvTransposeOp { stride, padding, output_padding, dilation, groups: 1 }
    }
}

impl<const D: usize> ConvTransposeOp<D> {
    /// Sets the distance between the places of two inputs.
    pub fn stride(mut self, stride: [usize; D]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets how much is cut off on each side.
    pub fn padding(mut self, padding: [usize; D]) -> Self {
        self.padding = padding;
        self
    }

    /// Sets how much is added at the end.
    pub fn output_padding(mut self, output_padding: [usize; D]) -> Self {
        self.output_padding = output_padding;
        self
    }

    /// Sets the distance between taps.
    pub fn dilation(mut self, dilation: [usize; D]) -> Self {
        self.dilation = dilation;
        self
    }

    /// Sets the number of groups.
    pub fn groups(mut self, groups: usize) -> Self {
        self.groups = groups;
        self
    }
}

impl ConvTranspose1dOp {
    /// Over images of height 1.
    pub(crate) fn flat(self) -> ConvTranspose2dOp {
        let ConvTransposeOp { stride: [s], padding: [p], output_padding: [o], .. } = self;
        let ConvTransposeOp { dilation: [d], groups, .. } = self;
        let (stride, padding, output_padding) = ([1, s], [0, p], [0, o]);
        ConvTransposeOp { stride, padding, output_padding, dilation: [1, d], groups }
    }
}

/// The settings of a maximum over windows of `D` dims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolOp<const D: usize> {
    /// Size of the window.
    pub kernel: [usize; D],
    /// Step of the window.
    pub stride: [usize; D],
    /// Padding on each side, at most half the window; never wins.
    pub padding: [usize; D],
    /// Distance between taps.
    pub dilation: [usize; D],
    /// A window that hangs over the end counts, unless it starts behind the image.
    pub ceil_mode: bool,
}

/// The settings of a maximum over windows of sequences.
pub type Pool1dOp = PoolOp<1>;
/// The settings of a maximum over windows of images.
pub type Pool2dOp = PoolOp<2>;

impl<const D: usize> PoolOp<D> {
    /// A window of this size that moves by its own size, without padding.
    pub fn new(kernel: [usize; D]) -> Self {
        let (padding, dilation) = ([0; D], [1; D]);
        PoolOp { kernel, stride: kernel, padding, dilation, ceil_mode: false }
    }

    /// Sets the step of the window.
    pub fn stride(mut self, stride: [usize; D]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the padding on each side.
    pub fn padding(mut self, padding: [usize; D]) -> Self {
        self.padding = padding;
        self
    }

    /// Sets the distance between taps.
    pub fn dilation(mut self, dilation: [usize; D]) -> Self {
        self.dilation = dilation;
        self
    }

    /// Whether a window that hangs over the end counts.
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }
}

impl Pool1dOp {
    /// Over images of height 1.
    pub(crate) fn flat(self) -> Pool2dOp {
        let PoolOp { kernel: [k], stride: [s], padding: [p], dilation: [d], ceil_mode } = self;
        let (kernel, stride, padding) = ([1, k], [1, s], [0, p]);
        PoolOp { kernel, stride, padding, dilation: [1, d], ceil_mode }
    }
}

impl Pool2dOp {
    /// With the sizes of an input `[n, c, h, w]`.
    pub(crate) fn shape(&self, planes: usize, input: [usize; 2]) -> Pool2dShape {
        Pool2dShape {
            planes,
            input,
            kernel: self.kernel,
            stride: self.stride,
            padding: self.padding,
            dilation: self.dilation,
            ceil: self.ceil_mode,
        }
    }
}

/// The settings of a mean over windows of `D` dims.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct AvgPoolOp<const D: usize> {
    /// Size of the window.
    pub kernel: [usize; D],
    /// Step of the window.
    pub stride: [usize; D],
    /// Zeros on each side, at most half the window.
    pub padding: [usize; D],
    /// A window that hangs over the end counts, unless it starts behind the image.
    pub ceil_mode: bool,
    /// Padded zeros count as elements.
    pub count_include_pad: bool,
    /// What sums are divided by, instead of the number of elements; not 0.
    pub divisor_override: Option<i64>,
}

/// The settings of a mean over windows of sequences.
pub type AvgPool1dOp = AvgPoolOp<1>;
/// The settings of a mean over windows of images.
pub type AvgPool2dOp = AvgPoolOp<2>;

impl<const D: usize> AvgPoolOp<D> {
    /// A window of this size that moves by its own size, without padding.
    pub fn new(kernel: [usize; D]) -> Self {
        AvgPoolOp {
            kernel,
            stride: kernel,
            padding: [0; D],
            ceil_mode: false,
            count_include_pad: true,
            divisor_override: None,
        }
    }

    /// Sets the step of the window.
    pub fn stride(mut self, stride: [usize; D]) -> Self {
        self.stride = stride;
        self
    }

    /// Sets the zeros on each side.
    pub fn padding(mut self, padding: [usize; D]) -> Self {
        self.padding = padding;
        self
    }

    /// Whether a window that hangs over the end counts.
    pub fn ceil_mode(mut self, ceil_mode: bool) -> Self {
        self.ceil_mode = ceil_mode;
        self
    }

    /// Whether padded zeros count as elements.
    pub fn count_include_pad(mut self, count_include_pad: bool) -> Self {
        self.count_include_pad = count_include_pad;
        self
    }

    /// Sets what sums are divided by.
    pub fn divisor_override(mut self, divisor: Option<i64>) -> Self {
        self.divisor_override = divisor;
        self
    }
}

impl AvgPool1dOp {
    /// Over images of height 1.
    pub(crate) fn flat(self) -> AvgPool2dOp {
        let AvgPoolOp { kernel: [k], stride: [s], padding: [p], ceil_mode, .. } = self;
        AvgPoolOp {
            kernel: [1, k],
            stride: [1, s],
            padding: [0, p],
            ceil_mode,
            count_include_pad: self.count_include_pad,
            divisor_override: self.divisor_override,
        }
    }
}

/// Windows over images.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WindowsOp {
    /// Of one size.
    Sliding(Pool2dOp),
    /// As many as this, together over all of the image: window `i` of `o` over `n` elements reaches from `floor(i n / o)` to
    /// `ceil((i + 1) n / o)`.
    Adaptive([usize; 2]),
}

impl WindowsOp {
    /// With the sizes of an input `[n, c, h, w]`.
    pub(crate) fn windows(&self, planes: usize, input: [usize; 2]) -> Windows {
        match self {
            WindowsOp::Sliding(pool) => Windows::Sliding(pool.shape(planes, input)),
            WindowsOp::Adaptive(output) => Windows::Adaptive { planes, input, output: *output },
        }
    }
}
