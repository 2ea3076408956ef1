//! GPUs: devices, their memory, and the CPU's bits for everything. Without an NVIDIA driver (or the one that stands in for it: see
//! `scripts/cuda-emulator`) only the words are tested that say so; with `FERROTAPE_TEST_DEVICE=cuda` there must be one.

mod codes;
mod drawn;
mod indices;
mod learning;
mod maps;
mod norms;
mod precision;
mod steps;

use ferrotape::nn::ModuleExt;
use ferrotape::nn::data::Dataset;
use ferrotape::prelude::*;
use ferrotape::{ErrorKind, TensorOptions, f16};

/// The GPU that tests run on. Where each test has a process, it must leave no memory there.
pub(crate) fn gpu() -> Option<Device> {
    match Device::cuda(0) {
        Ok(device) => {
            LEAVES_NOTHING.with(|_| ());
            Some(device)
        }
        Err(error) => {
            let must = std::env::var("FERROTAPE_TEST_DEVICE").is_ok_and(|device| device == "cuda");
            assert!(!must, "{error}");
            eprintln!("not shown on a GPU: {error}");
            None
        }
    }
}

/// Looks at the device's accounts when the thread of a test ends.
struct LeavesNothing;

thread_local! {
    static LEAVES_NOTHING: LeavesNothing = const { LeavesNothing };
}

impl Drop for LeavesNothing {
    fn drop(&mut self) {
        let alone = std::env::var("NEXTEST_EXECUTION_MODE").is_ok_and(|m| m == "process-per-test");
        if alone && let Ok(device) = Device::cuda(0) {
            assert_eq!(device.memory_stats().live, 0, "bytes that the test has left on the GPU");
        }
    }
}

/// Shape, type and all bits of a tensor; every NaN is the same one.
pub(crate) fn bits(x: &Tensor) -> (Vec<usize>, DType, Vec<u64>) {
    let bits = match x.dtype() {
        DType::F32 => {
            let one = |x: f32| u64::from(if x.is_nan() { f32::NAN } else { x }.to_bits());
            x.to_vec().unwrap().into_iter().map(one).collect()
        }
        DType::F64 => {
            let one = |x: f64| if x.is_nan() { f64::NAN } else { x }.to_bits();
            x.to_vec().unwrap().into_iter().map(one).collect()
        }
        DType::F16 | DType::BF16 => {
            return (x.shape().to_vec(), x.dtype(), bits(&x.to_dtype(DType::F32).unwrap()).2);
        }
        DType::Bool => x.to_vec::<bool>().unwrap().into_iter().map(u64::from).collect(),
        _ => {
            let x = x.to_dtype(DType::I64).unwrap();
            x.to_vec::<i64>().unwrap().into_iter().map(|x| x as u64).collect()
        }
    };
    (x.shape().to_vec(), x.dtype(), bits)
}

#[test]
fn no_device_is_an_error_in_words() {
    let error = Device::cuda(63).unwrap_err();
    let text = error.to_string();
    let fits = text.contains("libcuda.so.1 was not found") || text.contains("no device 63");
    assert!(fits || text.contains("knows of no device"), "{text}");
    assert!(matches!(error.kind(), ErrorKind::Cuda { .. }));
    assert!(text.contains("cuda.rs:"), "the caller's line: {text}");
    assert!("cuda:63".parse::<Device>().is_err() && "gpu".parse::<Device>().is_err());
    assert_eq!("cpu".parse::<Device>().unwrap(), Device::Cpu);
    assert_eq!(Device::cuda_all().is_empty(), Device::best() == Device::Cpu);
}

#[test]
fn tensors_go_there_and_back() {
    let Some(gpu) = gpu() else { return };
    let mut rng = Generator::new(0);
    let x = rng.normal([3, 5, 4], 0.0, 100.0, DType::F64).unwrap();
    for dtype in DType::ALL {
        let x = x.to_dtype(dtype).unwrap();
        let there = x.to_device(gpu).unwrap();
        assert_eq!((there.device(), there.dtype()), (gpu, dtype));
        assert_eq!(bits(&there), bits(&x));
        assert_eq!(bits(&there.to_device(Device::Cpu).unwrap()), bits(&x));
        let turned = |x: &Tensor| x.permute([2, 0, 1]).narrow(1, 1, 2).flip(0).unwrap();
        assert_eq!(bits(&turned(&there)), bits(&turned(&x)));
        assert_eq!(
            bits(&x.permute([1, 2, 0]).to_device(gpu).unwrap()),
            bits(&x.permute([1, 2, 0]).unwrap())
        );
    }
    let empty = Tensor::zeros([0, 3], (DType::F32, gpu)).unwrap();
    assert!(empty.to_vec::<f32>().unwrap().is_empty());
    assert_eq!(empty.sum(..).unwrap().item::<f32>().unwrap(), 0.0);
    assert_eq!(
        Tensor::full((), 2.5, (DType::F16, gpu)).unwrap().item::<f16>().unwrap().to_f32(),
        2.5
    );
    let options: TensorOptions = (&empty).into();
    assert_eq!((options.dtype, options.device), (DType::F32, gpu));
}

#[test]
fn operands_must_share_a_device_and_gradients_come_back() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::from([1f64, 2., 3.]);
    let error = x.add(x.to_device(gpu).unwrap()).unwrap_err().to_string();
    assert!(error.starts_with("add: operands on cpu and cuda:0"), "{error}");
    let (loss, tape) = Tape::record(|tape| {
        tape.watch(&x);
        x.to_device(gpu).square().sum(..)
    })
    .unwrap();
    assert_eq!(loss.device(), gpu);
    let gradient = tape.gradient(&loss, &[&x]).unwrap();
    assert_eq!(gradient[0].device(), Device::Cpu);
    assert_eq!(gradient[0].to_vec::<f64>().unwrap(), [2., 4., 6.]);
}

#[test]
fn random_numbers_are_the_cpus() {
    let Some(gpu) = gpu() else { return };
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        let draw = |options: TensorOptions| {
            let mut rng = Generator::new(7);
            [
                rng.uniform([1001], -1.0, 2.0, options).unwrap(),
                rng.normal([33, 5], 1.0, 2.0, options).unwrap(),
                rng.bernoulli([77], 0.3, 2.0, options).unwrap(),
            ]
        };
        for (here, there) in draw(dtype.into()).iter().zip(&draw((dtype, gpu).into())) {
            assert_eq!(there.device(), gpu);
            assert_eq!(bits(here), bits(there), "{dtype}");
        }
    }
}

#[test]
fn memory_is_counted_and_limited() {
    let name = "cuda::memory_is_counted_and_limited";
    crate::child::alone(name, || {
        let Some(gpu) = gpu() else { return };
        let before = gpu.memory_stats();
        let x = Tensor::zeros([1000, 256], (DType::F32, gpu)).unwrap();
        let during = gpu.memory_stats();
        assert!(during.live >= before.live + 1_024_000 && during.peak >= during.live);
        drop(x);
        let after = gpu.memory_stats();
        assert_eq!(after.live, before.live);
        assert!(after.cached >= before.cached + 1_024_000);
        let x = Tensor::zeros([1000, 256], (DType::F32, gpu)).unwrap();
        assert_eq!(gpu.memory_stats().requests, after.requests, "the block was cached");
        gpu.set_memory_limit(Some(gpu.memory_stats().live + 1000));
        let error = x.add(&x).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::OutOfMemory { .. }), "{error}");
        gpu.set_memory_limit(None);
        assert_eq!(x.add(1.0).sum(..).unwrap().item::<f32>().unwrap(), 256_000.0);
        drop(x);
        gpu.empty_cache();
        let end = gpu.memory_stats();
        assert_eq!((end.live, end.cached), (before.live, 0));
    });
}

/// Steps of a small network on a device: the losses' and all weights' bits.
fn trained<M: Forward>(
    model: &mut M,
    device: Device,
    x: &Tensor,
    loss: impl Fn(&Tensor) -> ferrotape::Result<Tensor>,
) -> Vec<Vec<u64>> {
    let mut rng = Generator::new(3);
    let x = x.to_device(device).unwrap();
    model.to(device).unwrap();
    let (mut optimizer, mut all) = (Adam::new(0.01), Vec::new());
    for _ in 0..3 {
        let step = value_and_grad(&*model, &mut rng, |m, ctx| loss(&m.forward(&x, ctx)?)).unwrap();
        optimizer.step(model, &step).unwrap();
        all.push(bits(&step.loss).2);
    }
    for tensor in model.state_dict().values() {
        assert_eq!(tensor.device(), device);
        all.push(bits(tensor).2);
    }
    all
}

#[test]
fn networks_learn_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let make = || {
        let mut rng = Generator::new(1);
        Sequential::new()
            .then(Conv2dConfig::new(1, 4, [3, 3]).build(&mut rng).unwrap())
            .then(BatchNorm2d::new(4).unwrap())
            .then(ReLU)
            .then(MaxPool2d::new([2, 2]))
            .then(Flatten)
            .then(Dropout::new(0.3).unwrap())
            .then(Linear::new(36, 10, &mut rng).unwrap())
    };
    let x = Generator::new(2).normal([6, 1, 8, 8], 0.0, 1.0, DType::F32).unwrap();
    let target = Tensor::from([0i64, 3, 9, 1, 1, 7]);
    let [here, there] = [Device::Cpu, gpu].map(|device| {
        let target = target.to_device(device).unwrap();
        trained(&mut make(), device, &x, |y| y.cross_entropy(&target))
    });
    assert_eq!(here, there);
}

/// The first weights, and what ten steps make of them, here and there.
fn ten_steps<M: Forward>(
    gpu: Device,
    make: impl Fn() -> M,
    x: &Tensor,
    target: &Tensor,
    loss: impl Fn(&Tensor, &Tensor) -> ferrotape::Result<Tensor>,
) {
    let [here, there] = [Device::Cpu, gpu].map(|device| {
        let (mut model, mut rng) = (make(), Generator::new(3));
        model.to(device).unwrap();
        let (x, target) = (x.to_device(device).unwrap(), target.to_device(device).unwrap());
        let mut optimizer = Adam::new(0.01);
        for _ in 0..10 {
            let forward = |m: &M, ctx: &mut Ctx<'_>| loss(&m.forward(&x, ctx)?, &target);
            let step = value_and_grad(&model, &mut rng, forward).unwrap();
            optimizer.step(&mut model, &step).unwrap();
        }
        model.state_dict().values().map(bits).collect::<Vec<_>>()
    });
    assert_eq!(here, there);
}

/// The network of the flights example.
#[derive(Module)]
struct Forecast {
    lstm: LSTM,
    fc: Linear,
}

impl Forward for Forecast {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> ferrotape::Result<Tensor> {
        let (_, (h_n, _)) = self.lstm.forward(x, ctx)?;
        self.fc.forward(&h_n.squeeze(0)?, ctx)
    }
}

#[test]
fn networks_of_the_examples_learn_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    let mut rng = Generator::new(2);
    let rows = Tensor::from([[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]]);
    let xor = || {
        let mut rng = Generator::new(1);
        let hidden = Sequential::new().then(Linear::new(2, 2, &mut rng).unwrap()).then(Tanh);
        hidden.then(Linear::new(2, 1, &mut rng).unwrap()).then(Sigmoid)
    };
    let right = Tensor::from([[0f32], [1.], [1.], [0.]]);
    ten_steps(gpu, xor, &rows, &right, |y, target| y.mse_loss(target));

    let forecast = || {
        let mut rng = Generator::new(1);
        let (lstm, fc) = (LSTM::new(1, 32, &mut rng), Linear::new(32, 1, &mut rng));
        Forecast { lstm: lstm.unwrap(), fc: fc.unwrap() }
    };
    let windows = rng.normal([12, 20, 1], 0.0, 1.0, DType::F32).unwrap();
    let next = rng.normal([20, 1], 0.0, 1.0, DType::F32).unwrap();
    ten_steps(gpu, forecast, &windows, &next, |y, target| y.mse_loss(target));

    let (digits, labels) = crate::cnn::digits(8).batch(&(0..8).collect::<Vec<_>>()).unwrap();
    let cnn = || crate::cnn::Cnn::new(&mut Generator::new(1));
    ten_steps(gpu, cnn, &digits, &labels, |y, target| y.cross_entropy(target));
}
