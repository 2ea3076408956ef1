//! The networks whose steps are timed.

use ferrotape::nn::quant::{Calibration, QuantConfig, Quantized};
use ferrotape::prelude::*;

use crate::data;

/// A network of layers with its data and optimizer.
pub struct Training {
    net: Sequential,
    rng: Generator,
    /// A batch.
    pub x: Tensor,
    y: Tensor,
}

impl Training {
    fn new(
        net: impl FnOnce(&mut Generator) -> Result<Sequential>,
        x: &[usize],
        y: Tensor,
    ) -> Result<Self> {
        let mut rng = Generator::new(0);
        let net = net(&mut rng)?;
        let x = Tensor::from_vec(data(x.iter().product(), 1), x)?;
        Ok(Training { net, rng, x, y })
    }

    /// Brings everything to a device.
    ///
    /// # Errors
    /// The device's.
    pub fn to(mut self, device: Device) -> Result<Self> {
        self.net.to(device)?;
        (self.x, self.y) = (self.x.to_device(device)?, self.y.to_device(device)?);
        Ok(self)
    }

    /// Forward, backward, update.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn step(
        &mut self,
        optimizer: &mut impl Optimizer,
        loss: fn(Tensor, &Tensor) -> Result<Tensor>,
    ) -> Result<()> {
        let (x, y) = (&self.x, &self.y);
        let step =
            value_and_grad(&self.net, &mut self.rng, |net, ctx| loss(net.forward(x, ctx)?, y))?;
        optimizer.step(&mut self.net, &step)
    }

    /// The network in int8, calibrated on its batch.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn int8(self, config: QuantConfig) -> Result<Quantized<Sequential>> {
        let mut calibration = Calibration::new(config)?;
        calibration.observe(&self.net, |net| net.forward(&self.x, &mut Ctx::eval()))?;
        calibration.convert(self.net)
    }

    /// The network's output, without a tape.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn infer(&self, x: &Tensor) -> Result<Tensor> {
        self.net.forward(x, &mut Ctx::eval())
    }
}

fn labels(n: usize) -> Result<Tensor> {
    Tensor::from_vec((0..n as i64).map(|i| i * 7 % 10).collect(), [n])
}

/// Mean cross entropy of class numbers.
///
/// # Errors
/// Those of the operations.
pub fn cross_entropy(logits: Tensor, labels: &Tensor) -> Result<Tensor> {
    logits.cross_entropy(labels)
}

/// Mean squared error.
///
/// # Errors
/// Those of the operations.
pub fn mse(y: Tensor, target: &Tensor) -> Result<Tensor> {
    y.mse_loss(target)
}

/// XOR: 2-2-1, all four rows.
///
/// # Errors
/// Those of the operations.
pub fn xor() -> Result<Training> {
    let net = |rng: &mut Generator| {
        let hidden = Sequential::new().then(Linear::new(2, 2, rng)?).then(Sigmoid);
        Ok(hidden.then(Linear::new(2, 1, rng)?).then(Sigmoid))
    };
    let mut xor = Training::new(net, &[4, 2], Tensor::from([[0f32], [1.], [1.], [0.]]))?;
    xor.x = Tensor::from([[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]]);
    Ok(xor)
}

/// 784-128-10, batch 64.
///
/// # Errors
/// Those of the operations.
pub fn mlp() -> Result<Training> {
    let net = |rng: &mut Generator| {
        let hidden = Sequential::new().then(Linear::new(784, 128, rng)?).then(ReLU);
        Ok(hidden.then(Linear::new(128, 10, rng)?))
    };
    Training::new(net, &[64, 784], labels(64)?)
}

/// The CNN of MNIST, batch 64.
///
/// # Errors
/// Those of the operations.
pub fn cnn() -> Result<Training> {
    let net = |rng: &mut Generator| {
        let conv = |i, o| Conv2dConfig::new(i, o, [3, 3]).padding([1, 1]);
        let features = Sequential::new()
            .then(conv(1, 32).build(rng)?)
            .then(ReLU)
            .then(MaxPool2d::new([2, 2]))
            .then(conv(32, 64).build(rng)?)
            .then(ReLU)
            .then(MaxPool2d::new([2, 2]));
        let head = features.then(Flatten).then(Linear::new(3136, 128, rng)?).then(ReLU);
        Ok(head.then(Linear::new(128, 10, rng)?))
    };
    Training::new(net, &[64, 1, 28, 28], labels(64)?)
}

/// An LSTM's last state, and a linear layer on it; x: `[steps, batch, features]`.
#[derive(Module)]
struct Last {
    lstm: LSTM,
    fc: Linear,
}

impl Forward for Last {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let (_, (h_n, _)) = self.lstm.forward(x, ctx)?;
        self.fc.forward(&h_n.squeeze(0)?, ctx)
    }
}

/// An LSTM over `[steps, batch, features]` and a linear layer on its last state.
///
/// # Errors
/// Those of the operations.
pub fn recurrent(x: [usize; 3], hidden: usize) -> Result<Training> {
    let net = |rng: &mut Generator| {
        let (lstm, fc) = (LSTM::new(x[2], hidden, rng)?, Linear::new(hidden, 1, rng)?);
        Ok(Sequential::new().then(Last { lstm, fc }))
    };
    Training::new(net, &x, Tensor::from_vec(data(x[1], 2), [x[1], 1])?)
}

/// What a step fails with ends the bench.
///
/// # Panics
/// Of an error.
#[allow(clippy::panic)]
pub fn done<T>(result: Result<T>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}
