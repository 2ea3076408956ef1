//! Padding as layers.

use ferrotape_tensor::{Error, ErrorKind, PadMode, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::Forward;

/// x with elements on the sides of its last `dims` dims.
fn padded(name: &str, x: &Tensor, dims: usize, padding: &[usize], mode: PadMode) -> Result<Tensor> {
    if x.rank() != dims + 1 && x.rank() != dims + 2 {
        let message =
            format!("{name}: input {:?}: {} or {} dims expected", x.shape(), dims + 1, dims + 2);
        return Err(Error::new(ErrorKind::Module(message)));
    }
    let sides: Vec<i64> =
        padding.iter().map(|&side| i64::try_from(side).unwrap_or(i64::MAX)).collect();
    x.pad(&sides, mode)
}

macro_rules! pads {
    ($($(#[$doc:meta])* $layer:ident, $dims:literal, $sides:literal, $mode:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Module)]
        #[module(crate = crate)]
        pub struct $layer {
            /// Before and after the last dim, then the one before it, and so on.
            #[module(skip)]
            pub padding: [usize; $sides],
        }

        impl $layer {
            /// So many before and after the last dim, then the one before it, and so on: left, right, top, bottom, front, back.
            pub fn new(padding: [usize; $sides]) -> Self {
                $layer { padding }
            }
        }

        impl Forward for $layer {
            fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
                padded(stringify!($layer), x, $dims, &self.padding, $mode)
            }
        }
    )*};
}

pads! {
    /// Zeros beside x, `[n, c, l]` or `[c, l]`: PyTorch's `nn.ZeroPad1d`.
    ZeroPad1d, 1, 2, PadMode::Constant(0.0);
    /// Zeros around x, `[n, c, h, w]` or `[c, h, w]`: PyTorch's `nn.ZeroPad2d`.
    ///
    /// ```
    /// # use ferrotape_nn::{Ctx, Forward, ZeroPad2d};
    /// # use ferrotape_tensor::{DType, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::ones([1, 3, 4, 5], DType::F32)?;
    /// assert_eq!(ZeroPad2d::new([1, 1, 0, 2]).forward(&x, &mut Ctx::eval())?.shape(), [1, 3, 6, 7]);
    /// # Ok(()) }
    /// ```
    ZeroPad2d, 2, 4, PadMode::Constant(0.0);
    /// Zeros around x, `[n, c, d, h, w]` or `[c, d, h, w]`: PyTorch's `nn.ZeroPad3d`.
    ZeroPad3d, 3, 6, PadMode::Constant(0.0);
    /// x, `[n, c, l]` or `[c, l]`, mirrored at its ends, which are not repeated: PyTorch's `nn.ReflectionPad1d`.
    ReflectionPad1d, 1, 2, PadMode::Reflect;
    /// x, `[n, c, h, w]` or `[c, h, w]`, mirrored at its edges, which are not repeated: PyTorch's `nn.ReflectionPad2d`.
    ReflectionPad2d, 2, 4, PadMode::Reflect;
    /// x, `[n, c, d, h, w]` or `[c, d, h, w]`, mirrored at its faces, which are not repeated: PyTorch's `nn.ReflectionPad3d`.
    ReflectionPad3d, 3, 6, PadMode::Reflect;
    /// x, `[n, c, l]` or `[c, l]`, with its ends repeated: PyTorch's `nn.ReplicationPad1d`.
    ReplicationPad1d, 1, 2, PadMode::Replicate;
    /// x, `[n, c, h, w]` or `[c, h, w]`, with its edges repeated: PyTorch's `nn.ReplicationPad2d`.
    ReplicationPad2d, 2, 4, PadMode::Replicate;
    /// x, `[n, c, d, h, w]` or `[c, d, h, w]`, with its faces repeated: PyTorch's `nn.ReplicationPad3d`.
    ReplicationPad3d, 3, 6, PadMode::Replicate;
    /// x, `[n, c, l]` or `[c, l]`, with the elements from the other end: PyTorch's `nn.CircularPad1d`.
    CircularPad1d, 1, 2, PadMode::Circular;
    /// x, `[n, c, h, w]` or `[c, h, w]`, with the elements from the other side: PyTorch's `nn.CircularPad2d`.
    CircularPad2d, 2, 4, PadMode::Circular;
    /// x, `[n, c, d, h, w]` or `[c, d, h, w]`, with the elements from the other side: PyTorch's `nn.CircularPad3d`.
    CircularPad3d, 3, 6, PadMode::Circular;
}

macro_rules! constant_pads {
    ($($(#[$doc:meta])* $layer:ident, $dims:literal, $sides:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Module)]
        #[module(crate = crate)]
        pub struct $layer {
            /// Before and after the last dim, then the one before it, and so on.
            #[module(skip)]
            pub padding: [usize; $sides],
            /// What stands there.
            #[module(skip)]
            pub value: f64,
        }

        impl $layer {
            /// So many before and after the last dim, then the one before it, and so on, of this value.
            pub fn new(padding: [usize; $sides], value: f64) -> Self {
                $layer { padding, value }
            }
        }

        impl Forward for $layer {
            fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
                padded(stringify!($layer), x, $dims, &self.padding, PadMode::Constant(self.value))
            }
        }
    )*};
}

constant_pads! {
    /// A number beside x, `[n, c, l]` or `[c, l]`: PyTorch's `nn.ConstantPad1d`.
    ConstantPad1d, 1, 2;
    /// A number around x, `[n, c, h, w]` or `[c, h, w]`: PyTorch's `nn.ConstantPad2d`.
    ConstantPad2d, 2, 4;
    /// A number around x, `[n, c, d, h, w]` or `[c, d, h, w]`: PyTorch's `nn.ConstantPad3d`.
    ConstantPad3d, 3, 6;
}
