//! Batch normalisation (Ioffe and Szegedy 2015).

use ferrotape_tensor::chain::{BinaryChain, UnaryChain};
use ferrotape_tensor::{DType, Error, ErrorKind, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::{Buffer, Forward, Param};

/// `y = (x - mean) / sqrt(var + eps) * weight + bias` a channel; x: `[n, c, h, w]`. PyTorch's `nn.BatchNorm2d`: in training mean and
/// (biased) variance are the batch's, and the running ones follow by `momentum` (with the unbiased variance); in evaluation the
/// running ones are used.
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct BatchNorm2d {
    /// `[c]`, from 1.
    pub weight: Param,
    /// `[c]`, from 0.
    pub bias: Param,
    /// `[c]`, from 0.
    pub running_mean: Buffer,
    /// `[c]`, from 1.
    pub running_var: Buffer,
    /// Batches seen: i64.
    pub num_batches_tracked: Buffer,
    /// Added to the variance; 1e-5.
    #[module(skip)]
    pub eps: f64,
    /// Weight of the new batch in the running statistics; 0.1.
    #[module(skip)]
    pub momentum: f64,
}

impl BatchNorm2d {
    /// For this many channels, f32.
    ///
    /// # Errors
    /// Memory over the limit.
    pub fn new(channels: usize) -> Result<Self> {
        let full = |value| Tensor::full([channels], value, DType::F32);
        Ok(BatchNorm2d {
            weight: Param::new(full(1.0)?),
            bias: Param::new(full(0.0)?),
            running_mean: Buffer::new(full(0.0)?),
            running_var: Buffer::new(full(1.0)?),
            num_batches_tracked: Buffer::new(Tensor::zeros((), DType::I64)?),
            eps: 1e-5,
            momentum: 0.1,
        })
    }

    /// Moves the running statistics towards the batch's.
    fn follow(&self, mean: &Tensor, var: &Tensor, count: f64, ctx: &mut Ctx<'_>) -> Result<()> {
        let (old, new) = (1.0 - self.momentum, self.momentum);
        let unbiased = count / (count - 1.0);
        ctx.update_with(&self.running_mean, |running| running.mul(old).add(mean.mul(new)))?;
        ctx.update_with(&self.running_var, |running| {
            running.mul(old).add(var.mul(unbiased).mul(new))
        })?;
        ctx.update_with(&self.num_batches_tracked, |seen| seen.add(1.0))
    }

    fn check(&self, x: &Tensor) -> Result<()> {
        let channels = self.weight.len();
        if x.rank() == 4 && x.shape()[1] == channels {
            return Ok(());
        }
        let message =
            format!("batch_norm2d: input {:?}, [n, {channels}, h, w] expected", x.shape());
        Err(Error::new(ErrorKind::Module(message)))
    }
}

impl Forward for BatchNorm2d {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        self.check(x)?;
        let channels = [1, self.weight.len(), 1, 1];
        let (centered, var) = if ctx.is_training() {
            let count = (x.len() / channels[1].max(1)) as f64;
            if count <= 1.0 {
                let message =
                    format!("batch_norm2d: {:?} has one value a channel: no variance", x.shape());
                return Err(Error::new(ErrorKind::Module(message)));
            }
            let mean = x.mean_keep([0, 2, 3])?;
            let centered = x.sub(&mean)?;
            let var = centered.square()?.mean_keep([0, 2, 3])?;
            let flat = |t: &Tensor| t.reshape([channels[1]]);
            self.follow(&flat(&mean)?, &flat(&var)?, count, ctx)?;
            (centered, var)
        } else {
            let mean = self.running_mean.reshape(channels);
            (x.sub(mean)?, self.running_var.reshape(channels)?)
        };
        let scale = var.add(self.eps).rsqrt().mul(self.weight.reshape(channels));
        Ok(centered).mul(scale).add(self.bias.reshape(channels))
    }
}
