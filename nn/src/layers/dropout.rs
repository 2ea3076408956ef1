//! Dropout (Srivastava et al. 2014), and that of self-normalising networks (Klambauer et al. 2017).

use ferrotape_tensor::chain::BinaryChain;
use ferrotape_tensor::{Error, ErrorKind, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::Forward;

fn probability(p: f64) -> Result<f64> {
    if (0.0..=1.0).contains(&p) {
        return Ok(p);
    }
    Err(Error::new(ErrorKind::Module(format!("dropout: {p} is no probability"))))
}

macro_rules! dropouts {
    ($($(#[$doc:meta])* $layer:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Module)]
        #[module(crate = crate)]
        pub struct $layer {
            #[module(skip)]
            p: f64,
        }

        impl $layer {
            /// Drops with probability `p`; PyTorch's default is 0.5.
            ///
            /// # Errors
            /// `p` outside `0..=1`.
            pub fn new(p: f64) -> Result<Self> {
                Ok($layer { p: probability(p)? })
            }
        }
    )*};
}

dropouts! {
    /// In training each element is 0 with probability `p`, else divided by `1 - p`; in evaluation nothing happens. PyTorch's
    /// `nn.Dropout`.
    Dropout;
    /// The same for whole channels: in training each row of x, `[n, c, l]` or `[c, l]`, is 0 with probability `p`, else divided by
    /// `1 - p`. PyTorch's `nn.Dropout1d`.
    Dropout1d;
    /// The same for whole channels: in training each plane of x, `[n, c, h, w]` or `[c, h, w]`, is 0 with probability `p`, else divided by
    /// `1 - p`. PyTorch's `nn.Dropout2d`.
    Dropout2d;
    /// The same for whole channels: in training each volume of x, `[n, c, d, h, w]` or `[c, d, h, w]`, is 0 with probability `p`, else
    /// divided by `1 - p`. PyTorch's `nn.Dropout3d`.
    Dropout3d;
    /// In training each element is what [`SELU`](crate::SELU) tends to far below 0 with probability `p`, and all are scaled so that mean 0
    /// and variance 1 stay; in evaluation nothing happens. PyTorch's `nn.AlphaDropout`.
    AlphaDropout;
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

/// As [`dropped`], a number a channel; `dims` come behind the channels.
fn channels_dropped(x: &Tensor, p: f64, dims: usize, ctx: &mut Ctx<'_>) -> Result<Tensor> {
    if x.rank() != dims + 1 && x.rank() != dims + 2 {
        let message =
            format!("dropout{dims}d: input {:?}: [n, c, {dims} dims] expected", x.shape());
        return Err(Error::new(ErrorKind::Module(message)));
    }
    let lead = x.rank() - dims;
    let sizes = x.shape().iter().enumerate().map(|(d, &size)| if d < lead { size } else { 1 });
    dropped(x, p, &sizes.collect::<Vec<usize>>(), ctx)
}

impl Forward for Dropout1d {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        channels_dropped(x, self.p, 1, ctx)
    }
}

impl Forward for Dropout2d {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        channels_dropped(x, self.p, 2, ctx)
    }
}

impl Forward for Dropout3d {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        channels_dropped(x, self.p, 3, ctx)
    }
}

/// What selu tends to far below 0, negated: its scale times its alpha.
const FLOOR: f64 = 1.758_099_340_847_376_6;

impl Forward for AlphaDropout {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        if !ctx.is_training() || self.p == 0.0 {
            return Ok(x.clone());
        }
        let p = self.p;
        let scale = match p < 1.0 {
            true => 1.0 / ((FLOOR * FLOOR * p + 1.0) * (1.0 - p)).sqrt(),
            false => 0.0,
        };
        let kept = ctx.rng()?.bernoulli(x.shape(), 1.0 - p, 1.0, x.dtype())?;
        let shift = kept.sub(1.0).mul(FLOOR * scale).add(FLOOR * scale * p);
        x.mul(kept.mul(scale)).add(shift)
    }
}
