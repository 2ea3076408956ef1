//! Dropout (Srivastava et al. 2014).

use ferrotape_tensor::{Error, ErrorKind, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::Forward;

/// In training each element is 0 with probability `p`, else divided by `1 - p`; in evaluation nothing happens. PyTorch's
/// `nn.Dropout`.
#[derive(Debug, Clone, Copy, Module)]
#[module(crate = crate)]
pub struct Dropout {
    #[module(skip)]
    p: f64,
}

impl Dropout {
    /// Drops with probability `p`.
    ///
    /// # Errors
    /// `p` outside `0..=1`.
    pub fn new(p: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&p) {
            return Ok(Dropout { p });
        }
        Err(Error::new(ErrorKind::Module(format!("dropout: {p} is no probability"))))
    }
}

impl Forward for Dropout {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        if !ctx.is_training() || self.p == 0.0 {
            return Ok(x.clone());
        }
        let keep = 1.0 - self.p;
        let value = if keep > 0.0 { 1.0 / keep } else { 0.0 };
        x.mul(ctx.rng()?.bernoulli(x.shape(), keep, value, x.dtype()))
    }
}
