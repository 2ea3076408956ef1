//! burn with its flex backend as a peer: every operation and network as its users write it. Operations take tensors by value, so that
//! its users clone handles.

use std::cell::RefCell;

use burn::module::Module;
use burn::nn::conv::{Conv2d, Conv2dConfig};
use burn::nn::loss::{CrossEntropyLoss, CrossEntropyLossConfig, MseLoss, Reduction};
use burn::nn::pool::{MaxPool2d, MaxPool2dConfig};
use burn::nn::{LayerNormConfig, Linear, LinearConfig, Lstm, LstmConfig, PaddingConfig2d};
use burn::optim::{AdamConfig, GradientsParams, ModuleOptimizer, SgdConfig};
use burn::tensor::ops::{ConvOptions, MaxPoolOptions};
use burn::tensor::{Device, Distribution, Int, Shape, Tensor, activation, module};
use ferrotape_peer_protocol::{Case, Heap, Run, serve};

fn random<const D: usize>(shape: [usize; D], device: &Device) -> Tensor<D> {
    Tensor::random(Shape::from(shape), Distribution::Normal(0., 1.), device)
}

fn run<T>(mut case: impl FnMut() -> T + 'static) -> Option<Run> {
    Some(Box::new(move || _ = std::hint::black_box(case())))
}

fn vectors(op: &str, n: usize) -> Option<Run> {
    let [x, w, b] = [0; 3].map(|_| random([n], &Device::flex()));
    match op {
        "add" => run(move || x.clone() + w.clone()),
        "mul" => run(move || x.clone() * w.clone()),
        "relu" => run(move || activation::relu(x.clone())),
        "exp" => run(move || x.clone().exp()),
        "tanh" => run(move || x.clone().tanh()),
        "gelu" => run(move || activation::gelu(x.clone())),
        "sigmoid" => run(move || activation::sigmoid(x.clone())),
        "chain_tanh_xwb" => run(move || (x.clone() * w.clone() + b.clone()).tanh()),
        "sum" => run(move || x.clone().sum()),
        _ => None,
    }
}

fn rows(op: &str, [rows, columns]: [usize; 2]) -> Option<Run> {
    let x = random([rows, columns], &Device::flex());
    match op {
        "softmax" => run(move || activation::softmax(x.clone(), 1)),
        "layer_norm" => {
            let norm = LayerNormConfig::new(columns).init(&Device::flex());
            run(move || norm.forward(x.clone()))
        }
        // A transpose alone is a view.
        "transpose" => run(move || x.clone().transpose().reshape([rows * columns])),
        _ => None,
    }
}

fn tiny(op: &str, times: Option<usize>) -> Option<Run> {
    match op {
        "add_1" => repeated([1], |a, b| a + b, times),
        "add_16" => repeated([16], |a, b| a + b, times),
        "matmul_4x4" => repeated([4, 4], Tensor::matmul, times),
        _ => None,
    }
}

fn repeated<const D: usize>(
    shape: [usize; D],
    op: fn(Tensor<D>, Tensor<D>) -> Tensor<D>,
    times: Option<usize>,
) -> Option<Run> {
    let Some(times) = times else {
        let [a, b] = [0; 2].map(|_| random(shape, &Device::flex()));
        return run(move || op(a.clone(), b.clone()));
    };
    let [a, b] = [0; 2].map(|_| random(shape, &Device::flex().autodiff()).require_grad());
    run(move || (0..times).for_each(|_| _ = std::hint::black_box(op(a.clone(), b.clone()))))
}

fn images(op: &str, sizes: &[usize], backward: bool) -> Option<Run> {
    match (op, sizes) {
        ("conv", &[n, c, h, w, o, k, p]) => {
            let shapes = [[n, c, h, w], [o, c, k, k]];
            let options = ConvOptions::new([1, 1], [p, p], [1, 1], 1);
            passes(shapes, backward, move |[x, w]| module::conv2d(x, w, None, options.clone()))
        }
        ("maxpool2", &[n, c, h, w]) => {
            let options = || MaxPoolOptions::new([2, 2]);
            passes([[n, c, h, w]], backward, move |[x]| module::max_pool2d(x, options()))
        }
        _ => None,
    }
}

/// Forward, and backward to all inputs from ones.
fn passes<const N: usize>(
    shapes: [[usize; 4]; N],
    backward: bool,
    forward: impl Fn([Tensor<4>; N]) -> Tensor<4> + 'static,
) -> Option<Run> {
    if !backward {
        let inputs = shapes.map(|shape| random(shape, &Device::flex()));
        return run(move || forward(inputs.clone()));
    }
    let inputs = shapes.map(|shape| random(shape, &Device::flex().autodiff()).require_grad());
    run(move || forward(inputs.clone()).backward())
}

#[derive(Module, Debug)]
struct TwoLayers {
    one: Linear,
    two: Linear,
}

#[derive(Module, Debug)]
struct Cnn {
    one: Conv2d,
    two: Conv2d,
    pool: MaxPool2d,
    fc: TwoLayers,
}

#[derive(Module, Debug)]
struct Recurrent {
    lstm: Lstm,
    fc: Linear,
}

impl TwoLayers {
    fn new([i, h, o]: [usize; 3], device: &Device) -> Self {
        TwoLayers { one: LinearConfig::new(i, h).init(device), two: LinearConfig::new(h, o).init(device) }
    }

    fn forward(&self, x: Tensor<2>, activation: fn(Tensor<2>) -> Tensor<2>) -> Tensor<2> {
        self.two.forward(activation(self.one.forward(x)))
    }
}

impl Cnn {
    fn new(device: &Device) -> Self {
        let conv = |i, o| {
            Conv2dConfig::new([i, o], [3, 3]).with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1)).init(device)
        };
        let pool = MaxPool2dConfig::new([2, 2]).with_strides([2, 2]).init();
        Cnn { one: conv(1, 32), two: conv(32, 64), pool, fc: TwoLayers::new([3136, 128, 10], device) }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.pool.forward(activation::relu(self.one.forward(x)));
        let x = self.pool.forward(activation::relu(self.two.forward(x)));
        self.fc.forward(x.flatten(1, 3), activation::relu)
    }
}

impl Recurrent {
    fn new(features: usize, hidden: usize, device: &Device) -> Self {
        let lstm = LstmConfig::new(features, hidden, true).init(device);
        Recurrent { lstm, fc: LinearConfig::new(hidden, 1).init(device) }
    }

    fn forward(&self, x: Tensor<3>) -> Tensor<2> {
        self.fc.forward(self.lstm.forward(x, None).1.hidden)
    }
}

/// A step of training, or inference on the module without autodiff.
fn steps<M: Module + 'static, X: Clone + 'static>(
    train: bool,
    net: M,
    x: X,
    forward: impl Fn(&M, X) -> Tensor<2> + 'static,
    loss: impl Fn(Tensor<2>) -> Tensor<1> + 'static,
    (mut optimizer, rate): (ModuleOptimizer, f64),
) -> Option<Run> {
    if !train {
        return run(move || forward(&net, x.clone()));
    }
    let net = RefCell::new(Some(net));
    run(move || {
        let module = net.take()?;
        let gradients = loss(forward(&module, x.clone())).backward();
        let gradients = GradientsParams::from_grads(gradients, &module);
        net.replace(Some(optimizer.step(rate, module, gradients)))
    })
}

fn network(name: &str, what: &str, batch: usize) -> Option<Run> {
    let train = what == "train";
    let device = &if train { Device::flex().autodiff() } else { Device::flex() };
    let classes = || {
        let labels: Vec<i64> = (0..batch as i64).map(|i| i * 7 % 10).collect();
        let labels = Tensor::<1, Int>::from_data(labels.as_slice(), device);
        let loss: CrossEntropyLoss = CrossEntropyLossConfig::new().init(device);
        move |y| loss.forward(y, labels.clone())
    };
    let mse = |target: Tensor<2>| move |y| MseLoss::new().forward(y, target.clone(), Reduction::Mean);
    let sgd = |rate| (SgdConfig::new().init(), rate);
    let adam = || (AdamConfig::new().with_epsilon(1e-8).init(), 1e-3);
    let recurrent = |length, features, hidden| {
        let (x, y) = (random([batch, length, features], device), random([batch, 1], device));
        let net = Recurrent::new(features, hidden, device);
        steps(train, net, x, Recurrent::forward, mse(y), adam())
    };
    match name {
        "xor" => {
            let x = Tensor::from_data([[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], device);
            let y = Tensor::from_data([[0f32], [1.], [1.], [0.]], device);
            let forward = |net: &TwoLayers, x| activation::sigmoid(net.forward(x, activation::sigmoid));
            steps(train, TwoLayers::new([2, 2, 1], device), x, forward, mse(y), sgd(0.5))
        }
        "mlp" => {
            let forward = |net: &TwoLayers, x| net.forward(x, activation::relu);
            let net = TwoLayers::new([784, 128, 10], device);
            steps(train, net, random([batch, 784], device), forward, classes(), sgd(0.01))
        }
        "mnist_cnn" => {
            let x = random([batch, 1, 28, 28], device);
            steps(train, Cnn::new(device), x, Cnn::forward, classes(), adam())
        }
        "lstm_flights" => recurrent(12, 1, 32),
        "lstm_big" => recurrent(32, 128, 256),
        _ => None,
    }
}

fn build(name: &str) -> Option<Run> {
    match Case::parse(name)? {
        Case::Vectors(op, n) => vectors(op, n),
        Case::Rows(op, shape) => rows(op, shape),
        Case::Tiny(op, times) => tiny(op, times),
        Case::Images(op, sizes, backward) => images(op, &sizes, backward),
        Case::Network(name, what, batch) => network(name, what, batch),
    }
}

pub(crate) fn answer(heap: Heap) -> std::io::Result<()> {
    serve(|| "burn 0.22.1 flex".to_owned(), build, |_| String::new(), heap)
}

#[allow(dead_code)]
fn main() -> std::io::Result<()> {
    answer(None)
}
