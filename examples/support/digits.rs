//! The digits and the network that learns them.

use std::path::Path;

use ferrotape::nn::data::Mnist;
use ferrotape::prelude::*;

/// conv-relu-pool, conv-relu-pool, fc-relu-fc for 28 x 28 images of 10 classes.
#[derive(Debug, Clone, Module)]
pub(crate) struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

impl Cnn {
    /// With random weights.
    pub(crate) fn new(rng: &mut Generator) -> Result<Self> {
        let conv = |inputs, outputs| Conv2dConfig::new(inputs, outputs, [3, 3]).padding([1, 1]);
        Ok(Cnn {
            conv1: conv(1, 32).build(rng)?,
            conv2: conv(32, 64).build(rng)?,
            fc1: Linear::new(3136, 128, rng)?,
            fc2: Linear::new(128, 10, rng)?,
        })
    }
}

impl Forward for Cnn {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let pool = Pool2dOp::new([2, 2]);
        let x = self.conv1.forward(x, ctx).relu().max_pool2d(pool)?;
        let x = self.conv2.forward(&x, ctx).relu().max_pool2d(pool).flatten(1, -1)?;
        let x = self.fc1.forward(&x, ctx).relu()?;
        self.fc2.forward(&x, ctx)
    }
}

/// Training and test set: of a folder, or the embedded digits.
pub(crate) fn load(data: Option<&Path>) -> Result<(Mnist, Mnist)> {
    match data {
        Some(folder) => Ok((Mnist::train(folder)?, Mnist::test(folder)?)),
        None => Ok((
            Mnist::from_bytes(
                include_bytes!("../data/mnist10k/train-images-idx3-ubyte.gz"),
                include_bytes!("../data/mnist10k/train-labels-idx1-ubyte.gz"),
            )?,
            Mnist::from_bytes(
                include_bytes!("../data/mnist10k/t10k-images-idx3-ubyte.gz"),
                include_bytes!("../data/mnist10k/t10k-labels-idx1-ubyte.gz"),
            )?,
        )),
    }
}
