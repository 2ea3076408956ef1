//! Pooling.

use ferrotape_tensor::{Pool2dOp, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::Forward;

/// Maximum of each window, PyTorch's `nn.MaxPool2d`; NaN wins. x: `[n, c, h, w]`.
#[derive(Debug, Clone, Copy, Module)]
#[module(crate = crate)]
pub struct MaxPool2d {
    /// Window, stride, padding.
    #[module(skip)]
    pub settings: Pool2dOp,
}

impl MaxPool2d {
    /// A window of this size that moves by its own size.
    pub fn new(kernel: [usize; 2]) -> Self {
        MaxPool2d { settings: Pool2dOp::new(kernel) }
    }
}

impl Forward for MaxPool2d {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.max_pool2d(self.settings)
    }
}
