//! The networks whose steps are timed, with their data, losses and optimizers.

use ferrotape::nn::quant::{Calibration, QuantConfig, Quantized};
use ferrotape::prelude::*;

use crate::data;

type Loss = fn(Tensor, &Tensor) -> Result<Tensor>;

/// A network of layers with all that a step of its training takes.
pub struct Training {
    net: Sequential,
    rng: Generator,
    optimizer: Box<dyn Optimizer>,
    loss: Loss,
    /// A batch.
    pub x: Tensor,
    y: Tensor,
}

impl Training {
    /// `xor` (2-2-1, the four rows), `mlp` (784-128-10), `mnist_cnn`, `lstm_flights` (1 to 32, 12 steps) or `lstm_big` (128 to 256, 32
    /// steps), `None` for another name.
    ///
    /// # Errors
    /// Those of the operations.
    pub fn named(name: &str, batch: usize) -> Result<Option<Self>> {
        Ok(Some(match name {
            "xor" => xor()?,
            "mlp" => classes(mlp, &[batch, 784], SGD::new(0.01))?,
            "mnist_cnn" => classes(cnn, &[batch, 1, 28, 28], Adam::new(1e-3))?,
            "lstm_flights" => recurrent([12, batch, 1], 32)?,
            "lstm_big" => recurrent([32, batch, 128], 256)?,
            _ => return Ok(None),
        }))
    }

    fn new(
        net: impl FnOnce(&mut Generator) -> Result<Sequential>,
        optimizer: impl Optimizer + 'static,
        loss: Loss,
        [x, y]: [Tensor; 2],
    ) -> Result<Self> {
        let mut rng = Generator::new(0);
        let net = net(&mut rng)?;
        Ok(Training { net, rng, optimizer: Box::new(optimizer), loss, x, y })
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
    pub fn step(&mut self) -> Result<()> {
        let Training { net, rng, optimizer, loss, x, y } = self;
        let step = value_and_grad(net, rng, |net, ctx| loss(net.forward(x, ctx)?, y))?;
        optimizer.apply(net, &step.gradients)
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
    pub fn infer(&self) -> Result<Tensor> {
        self.net.forward(&self.x, &mut Ctx::eval())
    }
}

fn random(shape: &[usize], seed: u64) -> Result<Tensor> {
    Tensor::from_vec(data(shape.iter().product(), seed), shape)
}

fn xor() -> Result<Training> {
    let net = |rng: &mut Generator| {
        let hidden = Sequential::new().then(Linear::new(2, 2, rng)?).then(Sigmoid);
        Ok(hidden.then(Linear::new(2, 1, rng)?).then(Sigmoid))
    };
    let x = Tensor::from([[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]]);
    let y = Tensor::from([[0f32], [1.], [1.], [0.]]);
    Training::new(net, SGD::new(0.5), |x, y| x.mse_loss(y), [x, y])
}

/// A network of ten classes.
fn classes(
    net: fn(&mut Generator) -> Result<Sequential>,
    x: &[usize],
    optimizer: impl Optimizer + 'static,
) -> Result<Training> {
    let y = Tensor::from_vec((0..x[0] as i64).map(|i| i * 7 % 10).collect(), [x[0]])?;
    Training::new(net, optimizer, |x, y| x.cross_entropy(y), [random(x, 1)?, y])
}

fn mlp(rng: &mut Generator) -> Result<Sequential> {
    let hidden = Sequential::new().then(Linear::new(784, 128, rng)?).then(ReLU);
    Ok(hidden.then(Linear::new(128, 10, rng)?))
}

fn cnn(rng: &mut Generator) -> Result<Sequential> {
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

fn recurrent(x: [usize; 3], hidden: usize) -> Result<Training> {
    let net = |rng: &mut Generator| {
        let (lstm, fc) = (LSTM::new(x[2], hidden, rng)?, Linear::new(hidden, 1, rng)?);
        Ok(Sequential::new().then(Last { lstm, fc }))
    };
    let data = [random(&x, 1)?, random(&[x[1], 1], 2)?];
    Training::new(net, Adam::new(1e-3), |x, y| x.mse_loss(y), data)
}
