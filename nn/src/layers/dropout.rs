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

/// The same for whole channels: in training each plane of x, `[n, c, h, w]` or `[c, h, w]`, is 0 with probability `p`, else divided by
/// `1 - p`. PyTorch's `nn.Dropout2d`.
#[derive(Debug, Clone, Copy, Module)]
#[module(crate = crate)]
pub struct Dropout2d {
    #[module(skip)]
    p: f64,
}

fn probability(p: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&p) {
        return Ok(p);
    }
    Err(Error::new(ErrorKind::Module(format!("dropout: {p} is no probability"))))
}

impl Dropout {
    /// Drops with probability `p`.
    ///
    /// # Errors
    /// `p` outside `0..=1`.
    pub fn new(p: f64) -> Result<Self> {
        Ok(Dropout { p: probability(p)? })
    }
}

impl Dropout2d {
    /// Drops with probability `p`.
    ///
    /// # Errors
    /// `p` outside `0..=1`.
    pub fn new(p: f64) -> Result<Self> {
        Ok(Dropout2d { p: probability(p)? })
    }
}

/// `x`, in training with parts dropped: one number of `shape` decides for each part.
fn dropped(x: &Tensor, p: f64, shape: &[usize], ctx: &mut Ctx<'_>) -> Result<Tensor> {
    if !ctx.is_training() || p == 0.0 {
        return Ok(x.clone());
    }
    let keep = 1.0 - p;
    let value = if keep > 0.0 { 1.0 / keep } else { 0.0 };
    x.mul(ctx.rng()?.bernoulli(shape, keep, value, x))
}

impl Forward for Dropout {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        dropped(x, self.p, x.shape(), ctx)
    }
}

impl Forward for Dropout2d {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let planes: Vec<usize> = match *x.shape() {
            [n, c, _, _] => vec![n, c, 1, 1],
            [c, _, _] => vec![c, 1, 1],
            _ => {
                let message = format!("dropout2d: input {:?}, [n, c, h, w] expected", x.shape());
                return Err(Error::new(ErrorKind::Module(message)));
            }
        };
        dropped(x, self.p, &planes, ctx)
    }
}
