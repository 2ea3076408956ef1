//! Training steps on a GPU: optimizers, random numbers, recurrent layers, 2-byte floats and whole networks have the CPU's bits, and the
//! host computes none of it.

use ferrotape::host_fallbacks;
use ferrotape::nn::{ModuleExt, NAdam};
use ferrotape::prelude::*;

use super::{bits, gpu};

/// Runs `body` here and there, in a process of its own: the same results, all of them computed there.
fn same(name: &str, body: impl Fn(Device) -> Vec<Vec<u64>>) {
    crate::child::alone(&format!("cuda::learning::{name}"), || {
        let Some(gpu) = gpu() else { return };
        let here = body(Device::Cpu);
        let before = host_fallbacks();
        let there = body(gpu);
        let by_host = host_fallbacks() - before;
        assert_eq!(here.len(), there.len());
        for (i, (here, there)) in here.iter().zip(&there).enumerate() {
            assert_eq!(here, there, "result {i}");
        }
        assert_eq!(by_host, 0, "operations that the host computed");
    });
}

/// Three steps: the losses' and all weights' bits.
fn trained<M: Module>(
    mut model: M,
    mut optimizer: impl Optimizer,
    device: Device,
    dtype: DType,
    loss: impl Fn(&M, &mut Ctx<'_>) -> ferrotape::Result<Tensor>,
) -> Vec<Vec<u64>> {
    let mut rng = Generator::new(3);
    model.to(device).unwrap();
    model.to(dtype).unwrap();
    let mut all = Vec::new();
    for _ in 0..3 {
        let step = value_and_grad(&model, &mut rng, &loss).unwrap();
        optimizer.step(&mut model, &step).unwrap();
        all.push(bits(&step.loss).2);
    }
    for tensor in model.state_dict().values() {
        assert_eq!(tensor.device(), device);
        all.push(bits(tensor).2);
    }
    all
}

/// Numbers that differ from call to call.
fn numbers(seed: u64, shape: &[usize], device: Device, dtype: DType) -> Tensor {
    let x = Generator::new(seed).normal(shape, 0.0, 1.0, DType::F64).unwrap();
    x.to_dtype(dtype).to_device(device).unwrap()
}

const FLOATS: [DType; 4] = [DType::F32, DType::F64, DType::F16, DType::BF16];

fn mlp() -> Sequential {
    let mut rng = Generator::new(1);
    let hidden = Sequential::new().then(Linear::new(7, 19, &mut rng).unwrap()).then(Tanh);
    hidden.then(Linear::new(19, 5, &mut rng).unwrap())
}

#[test]
fn every_optimizer() {
    same("every_optimizer", |device| {
        let mut all = Vec::new();
        for dtype in FLOATS {
            let target = Tensor::from([0i64, 4, 2, 2]).to_device(device).unwrap();
            let x = numbers(2, &[4, 7], device, dtype);
            let loss =
                |net: &Sequential, ctx: &mut Ctx<'_>| net.forward(&x, ctx).cross_entropy(&target);
            macro_rules! each {
                ($($optimizer:expr,)*) => {
                    $(all.extend(trained(mlp(), $optimizer, device, dtype, loss));)*
                };
            }
            each! {
                SGD::new(0.1),
                SGD::new(0.1).momentum(0.9).nesterov(true).weight_decay(0.01),
                Adam::new(0.01),
                Adam::new(0.01).amsgrad(true).weight_decay(0.1),
                AdamW::new(0.01),
                RMSprop::new(0.01),
                RMSprop::new(0.01).momentum(0.5).centered(true),
                Adagrad::new(0.1).lr_decay(0.1),
                NAdam::new(0.01),
            }
        }
        all
    });
}

#[test]
fn a_network_of_images_with_dropout() {
    same("a_network_of_images_with_dropout", |device| {
        let mut all = Vec::new();
        for dtype in FLOATS {
            let mut rng = Generator::new(1);
            let net = Sequential::new()
                .then(Conv2dConfig::new(1, 4, [3, 3]).build(&mut rng).unwrap())
                .then(BatchNorm2d::new(4).unwrap())
                .then(ReLU)
                .then(MaxPool2d::new([2, 2]))
                .then(Dropout2d::new(0.2).unwrap())
                .then(Flatten)
                .then(LayerNorm::new([36]).unwrap())
                .then(Dropout::new(0.3).unwrap())
                .then(Linear::new(36, 10, &mut rng).unwrap());
            let x = numbers(2, &[6, 1, 8, 8], device, dtype);
            let target = Tensor::from([0i64, 3, 9, 1, 1, 7]).to_device(device).unwrap();
            let loss =
                |net: &Sequential, ctx: &mut Ctx<'_>| net.forward(&x, ctx).cross_entropy(&target);
            all.extend(trained(net, Adam::new(0.01), device, dtype, loss));
        }
        all
    });
}

/// Recurrent layers, one after the other.
#[derive(Module)]
struct Reader {
    embedding: Embedding,
    lstm: LSTM,
    gru: GRU,
    rnn: RNN,
    projected: LSTM,
    head: Linear,
}

impl Reader {
    fn new(hidden: usize) -> Reader {
        let mut rng = Generator::new(1);
        let rng = &mut rng;
        Reader {
            embedding: Embedding::new(11, 6, rng).unwrap(),
            lstm: LSTMConfig::new(6, hidden).bidirectional(true).build(rng).unwrap(),
            gru: GRU::new(2 * hidden, hidden, rng).unwrap(),
            rnn: RNN::new(hidden, 5, rng).unwrap(),
            projected: LSTMConfig::new(5, 7).proj_size(3).build(rng).unwrap(),
            head: Linear::new(3, 4, rng).unwrap(),
        }
    }

    fn forward(&self, words: &Tensor, ctx: &mut Ctx<'_>) -> ferrotape::Result<Tensor> {
        let (y, _) = self.lstm.forward(&self.embedding.forward(words, ctx)?, ctx)?;
        let (y, _) = self.gru.forward(&y, ctx)?;
        let (y, _) = self.rnn.forward(&y, ctx)?;
        let (y, _) = self.projected.forward(&y, ctx)?;
        self.head.forward(&y, ctx)?.mean(0)
    }
}

#[test]
fn recurrent_layers() {
    same("recurrent_layers", |device| {
        let words: Vec<i64> = (0..12).map(|i| i * 7 % 11).collect();
        let words = Tensor::from_vec(words, [4, 3]).to_device(device).unwrap();
        let target = Tensor::from([0i64, 3, 1]).to_device(device).unwrap();
        let mut all = Vec::new();
        for (dtype, hidden) in
            [(DType::F32, 9), (DType::F32, 36), (DType::F64, 9), (DType::F16, 9), (DType::BF16, 12)]
        {
            let loss =
                |net: &Reader, ctx: &mut Ctx<'_>| net.forward(&words, ctx)?.cross_entropy(&target);
            all.extend(trained(Reader::new(hidden), Adam::new(0.01), device, dtype, loss));
        }
        all
    });
}

#[test]
fn sequences_of_several_lengths() {
    same("sequences_of_several_lengths", |device| {
        let mut rng = Generator::new(4);
        let lstm = LSTMConfig::new(3, 5).bidirectional(true).build(&mut rng).unwrap();
        let x = numbers(5, &[4, 3, 3], device, DType::F32);
        let loss = |lstm: &LSTM, ctx: &mut Ctx<'_>| {
            let (y, (h, c)) = lstm.forward_packed(&x, &[2, 4, 1], None, ctx)?;
            y.square().sum(..).add(h.mul(&c).sum(..)?)
        };
        trained(lstm, SGD::new(0.1), device, DType::F32, loss)
    });
}

#[test]
fn random_numbers() {
    same("random_numbers", |device| {
        let mut all = Vec::new();
        for dtype in FLOATS {
            let mut rng = Generator::new(7);
            for n in [0, 1, 1001] {
                all.push(bits(&rng.uniform([n], -1.0, 2.0, (dtype, device)).unwrap()).2);
                all.push(bits(&rng.uniform([n], 0.5, 0.5, (dtype, device)).unwrap()).2);
                all.push(bits(&rng.normal([n, 3], 1.0, 2.0, (dtype, device)).unwrap()).2);
                all.push(bits(&rng.bernoulli([n], 0.3, 2.0, (dtype, device)).unwrap()).2);
            }
        }
        all
    });
}

#[test]
fn two_byte_floats_by_way_of_f32() {
    same("two_byte_floats_by_way_of_f32", |device| {
        let mut all = Vec::new();
        for dtype in [DType::F16, DType::BF16] {
            let x = numbers(1, &[4, 6], device, dtype);
            let index = Tensor::from([3i64, 0, 3, 1]).to_device(device).unwrap();
            let row = x.narrow(0, 1, 1).unwrap();
            let results = [
                x.cumsum(1),
                x.t().cumprod(0),
                x.sort(1, true).map(|(values, _)| values),
                x.sort(0, false).and_then(|(_, places)| places.to_dtype(DType::F64)),
                x.index_add(0, &index, &x),
                x.layer_norm([6], None, None, 1e-5),
                x.reshape([1, 1, 4, 6]).avg_pool2d(AvgPool2dOp::new([2, 2])),
                // What broadcasts, and a view that doesn't lie together.
                row.expand([4, 6]).cumsum(0),
                x.flip(1).narrow(1, 1, 4).unwrap().cummax(1).map(|(values, _)| values),
                x.matmul(x.t()),
            ];
            all.extend(results.map(|result| bits(&result.unwrap()).2));
        }
        all
    });
}

#[test]
fn products_of_integers() {
    same("products_of_integers", |device| {
        let mut all = Vec::new();
        for dtype in [DType::I64, DType::I32, DType::I8, DType::U8] {
            let whole = |seed, shape: &[usize]| {
                let x = Generator::new(seed).uniform(shape, 0.0, 120.0, DType::F64).unwrap();
                x.to_dtype(dtype).to_device(device).unwrap()
            };
            let (x, y) = (whole(1, &[3, 33, 40]), whole(2, &[40, 35]));
            all.push(bits(&x.matmul(&y).unwrap()).2);
            all.push(bits(&x.transpose(1, 2).matmul(&x).unwrap()).2);
            all.push(bits(&y.t().flip(0).matmul(y.narrow(1, 3, 1)).unwrap()).2);
        }
        all
    });
}
