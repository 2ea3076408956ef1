//! candle as a peer: every operation and network as its users write it.

use candle_core::{DType, Device, Module, Result, Tensor, Var};
use candle_nn::rnn::{LSTM, LSTMConfig, RNN};
use candle_nn::{AdamW, Conv2d, Linear, Optimizer, ParamsAdamW, SGD, VarBuilder, VarMap, loss, ops};
use ferrotape_peer_protocol::{Case, Heap, Run, serve};

const CPU: Device = Device::Cpu;

fn random(shape: &[usize]) -> Result<Tensor> {
    Tensor::randn(0f32, 1., shape, &CPU)
}

fn run<T>(mut case: impl FnMut() -> Result<T> + 'static) -> Result<Option<Run>> {
    Ok(Some(Box::new(move || _ = std::hint::black_box(case().unwrap()))))
}

fn vectors(op: &str, n: usize) -> Result<Option<Run>> {
    let [x, w, b] = [random(&[n])?, random(&[n])?, random(&[n])?];
    match op {
        "add" => run(move || &x + &w),
        "mul" => run(move || &x * &w),
        "relu" => run(move || x.relu()),
        "exp" => run(move || x.exp()),
        "tanh" => run(move || x.tanh()),
        "gelu" => run(move || x.gelu_erf()),
        "sigmoid" => run(move || ops::sigmoid(&x)),
        "chain_tanh_xwb" => run(move || ((&x * &w)? + &b)?.tanh()),
        "sum" => run(move || x.sum_all()),
        _ => Ok(None),
    }
}

fn rows(op: &str, [rows, columns]: [usize; 2]) -> Result<Option<Run>> {
    let (x, w, b) = (random(&[rows, columns])?, random(&[columns])?, random(&[columns])?);
    match op {
        "softmax" => run(move || ops::softmax_last_dim(&x)),
        "layer_norm" => run(move || ops::layer_norm(&x, &w, &b, 1e-5)),
        "transpose" => run(move || x.t()?.contiguous()),
        _ => Ok(None),
    }
}

fn tiny(op: &str, times: Option<usize>) -> Result<Option<Run>> {
    let (shape, op): (&[usize], fn(&Tensor, &Tensor) -> Result<Tensor>) = match op {
        "add_1" => (&[1], |a, b| a + b),
        "add_16" => (&[16], |a, b| a + b),
        "matmul_4x4" => (&[4, 4], |a, b| a.matmul(b)),
        _ => return Ok(None),
    };
    let (a, b) = (random(shape)?, random(shape)?);
    let Some(times) = times else { return run(move || op(&a, &b)) };
    let (a, b) = (Var::from_tensor(&a)?, Var::from_tensor(&b)?);
    run(move || (0..times).try_for_each(|_| op(&a, &b).map(|y| _ = std::hint::black_box(y))))
}

fn images(op: &str, sizes: &[usize], backward: bool) -> Result<Option<Run>> {
    match (op, sizes) {
        ("conv", &[n, c, h, w, o, k, p]) => {
            let inputs = [random(&[n, c, h, w])?, random(&[o, c, k, k])?];
            passes(inputs, backward, move |[x, w]| x.conv2d(w, p, 1, 1, 1))
        }
        ("maxpool2", &[n, c, h, w]) => passes([random(&[n, c, h, w])?], backward, |[x]| x.max_pool2d(2)),
        _ => Ok(None),
    }
}

/// Forward, and backward to all inputs from ones.
fn passes<const N: usize>(
    inputs: [Tensor; N],
    backward: bool,
    forward: impl Fn(&[Tensor; N]) -> Result<Tensor> + 'static,
) -> Result<Option<Run>> {
    if !backward {
        return run(move || forward(&inputs));
    }
    let inputs = inputs.map(|input| Var::from_tensor(&input).unwrap().into_inner());
    run(move || forward(&inputs)?.backward())
}

/// The networks, of weights that a builder gives.
enum Network {
    Xor(Linear, Linear),
    Mlp(Linear, Linear),
    Cnn(Conv2d, Conv2d, Linear, Linear),
    Lstm(LSTM, Linear),
}

impl Network {
    fn new(name: &str, b: VarBuilder) -> Result<Option<Self>> {
        let linear = |i, o, name| candle_nn::linear(i, o, b.pp(name));
        let conv = |i, o, name| {
            let config = candle_nn::Conv2dConfig { padding: 1, ..Default::default() };
            candle_nn::conv2d(i, o, 3, config, b.pp(name))
        };
        let lstm = |i, o| candle_nn::rnn::lstm(i, o, LSTMConfig::default(), b.pp("lstm"));
        Ok(Some(match name {
            "xor" => Network::Xor(linear(2, 2, "1")?, linear(2, 1, "2")?),
            "mlp" => Network::Mlp(linear(784, 128, "1")?, linear(128, 10, "2")?),
            "mnist_cnn" => {
                let (one, two) = (conv(1, 32, "1")?, conv(32, 64, "2")?);
                Network::Cnn(one, two, linear(3136, 128, "3")?, linear(128, 10, "4")?)
            }
            "lstm_flights" => Network::Lstm(lstm(1, 32)?, linear(32, 1, "1")?),
            "lstm_big" => Network::Lstm(lstm(128, 256)?, linear(256, 1, "1")?),
            _ => return Ok(None),
        }))
    }

    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        match self {
            Network::Xor(one, two) => ops::sigmoid(&two.forward(&ops::sigmoid(&one.forward(x)?)?)?),
            Network::Mlp(one, two) => two.forward(&one.forward(x)?.relu()?),
            Network::Cnn(one, two, three, four) => {
                let x = one.forward(x)?.relu()?.max_pool2d(2)?;
                let x = two.forward(&x)?.relu()?.max_pool2d(2)?.flatten_from(1)?;
                four.forward(&three.forward(&x)?.relu()?)
            }
            Network::Lstm(lstm, fc) => {
                let states = lstm.seq(x)?;
                fc.forward(states[states.len() - 1].h())
            }
        }
    }
}

/// A batch, what it is to give, and the loss.
type Data = (Tensor, Tensor, fn(&Tensor, &Tensor) -> Result<Tensor>);

fn data(name: &str, batch: usize) -> Result<Data> {
    let labels = || Tensor::from_iter((0..batch as u32).map(|i| i * 7 % 10), &CPU);
    let steps = |steps, features| Ok((random(&[batch, steps, features])?, random(&[batch, 1])?, loss::mse as _));
    match name {
        "xor" => {
            let x = Tensor::new(&[[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]], &CPU)?;
            Ok((x, Tensor::new(&[[0f32], [1.], [1.], [0.]], &CPU)?, loss::mse))
        }
        "mlp" => Ok((random(&[batch, 784])?, labels()?, loss::cross_entropy)),
        "mnist_cnn" => Ok((random(&[batch, 1, 28, 28])?, labels()?, loss::cross_entropy)),
        "lstm_flights" => steps(12, 1),
        _ => steps(32, 128),
    }
}

fn network(name: &str, what: &str, batch: usize) -> Result<Option<Run>> {
    let variables = VarMap::new();
    let builder = VarBuilder::from_varmap(&variables, DType::F32, &CPU);
    let Some(net) = Network::new(name, builder)? else { return Ok(None) };
    let (x, y, loss) = data(name, batch)?;
    if what == "infer" {
        let weights = variables.data().lock().unwrap();
        let weights = weights.iter().map(|(name, var)| (name.clone(), var.as_detached_tensor())).collect();
        let builder = VarBuilder::from_tensors(weights, DType::F32, &CPU);
        let Some(net) = Network::new(name, builder)? else { return Ok(None) };
        return run(move || net.forward(&x));
    }
    let variables = variables.all_vars();
    if let "xor" | "mlp" = name {
        let mut sgd = SGD::new(variables, if name == "xor" { 0.5 } else { 0.01 })?;
        return run(move || sgd.backward_step(&loss(&net.forward(&x)?, &y)?));
    }
    let settings = ParamsAdamW { lr: 1e-3, weight_decay: 0., ..Default::default() };
    let mut adam = AdamW::new(variables, settings)?;
    run(move || adam.backward_step(&loss(&net.forward(&x)?, &y)?))
}

fn build(name: &str) -> Option<Run> {
    match Case::parse(name)? {
        Case::Vectors(op, n) => vectors(op, n),
        Case::Rows(op, shape) => rows(op, shape),
        Case::Tiny(op, times) => tiny(op, times),
        Case::Images(op, sizes, backward) => images(op, &sizes, backward),
        Case::Network(name, what, batch) => network(name, what, batch),
    }
    .unwrap()
}

pub(crate) fn answer(heap: Heap) -> std::io::Result<()> {
    serve(|| "candle 0.11.1".to_owned(), build, |_| String::new(), heap)
}

#[allow(dead_code)]
fn main() -> std::io::Result<()> {
    answer(None)
}
