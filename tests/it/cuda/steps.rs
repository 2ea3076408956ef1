//! Training steps as CUDA graphs, faults in them, tensors on many threads.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ferrotape::StepGraph;
use ferrotape::nn::ModuleExt;
use ferrotape::prelude::*;

use super::{bits, gpu};
use crate::child;

/// A model with everything that changes from step to step: dropout's random numbers, Adam's step count, a schedule.
struct Training {
    net: Sequential,
    optimizer: Adam,
    rng: Generator,
    device: Device,
}

impl Training {
    fn new(device: Device) -> Training {
        let mut rng = Generator::new(1);
        let mut net = Sequential::new()
            .then(Linear::new(12, 16, &mut rng).unwrap())
            .then(ReLU)
            .then(Dropout::new(0.4).unwrap())
            .then(Linear::new(16, 5, &mut rng).unwrap());
        net.to(device).unwrap();
        Training { net, optimizer: Adam::new(0.01), rng: Generator::new(9), device }
    }

    fn batch(&self, step: u64, size: usize) -> (Tensor, Tensor) {
        let x = Generator::new(step).normal([size, 12], 0.0, 1.0, DType::F32).unwrap();
        let y: Vec<i64> = (0..size as i64).map(|i| (i + step as i64) % 5).collect();
        let y = Tensor::from_vec(y, [size]).unwrap();
        (x.to_device(self.device).unwrap(), y.to_device(self.device).unwrap())
    }

    fn step(&mut self, x: &Tensor, y: &Tensor) -> ferrotape::Result<Tensor> {
        let loss = |net: &Sequential, ctx: &mut Ctx<'_>| net.forward(x, ctx).cross_entropy(y);
        let step = value_and_grad(&self.net, &mut self.rng, loss)?;
        self.optimizer.step(&mut self.net, &step)?;
        Ok(step.loss)
    }

    /// Ten steps: the bits of the losses and of all weights.
    fn run(&mut self, mut graph: Option<&mut StepGraph>, sizes: &[usize]) -> Vec<Vec<u64>> {
        let mut all = Vec::new();
        for (i, &size) in (0u32..).zip(sizes) {
            self.optimizer.set_lr(0.01 / f64::from(i + 1));
            let (x, y) = self.batch(u64::from(i), size);
            let loss = match &mut graph {
                Some(graph) => graph.run(|| self.step(&x, &y)),
                None => self.step(&x, &y),
            };
            all.push(loss.unwrap());
        }
        all.extend(self.net.state_dict().into_values());
        all.iter().map(|tensor| bits(tensor).2).collect()
    }
}

#[test]
fn a_step_as_a_graph_has_the_same_bits() {
    let Some(gpu) = gpu() else { return };
    // The last batch of an epoch is smaller.
    for sizes in [[8; 10], [8, 8, 8, 8, 3, 8, 8, 8, 8, 3]] {
        let plain = Training::new(gpu).run(None, &sizes);
        let mut graph = gpu.graph();
        assert_eq!(Training::new(gpu).run(Some(&mut graph), &sizes), plain);
        assert!(graph.launched() >= 10, "{graph:?}");
        assert_eq!(Training::new(Device::Cpu).run(None, &sizes), plain);
        let mut none = Device::Cpu.graph();
        assert_eq!(Training::new(Device::Cpu).run(Some(&mut none), &sizes), plain);
        assert_eq!(none.launched(), 0);
    }
}

#[test]
fn values_read_inside_of_a_step() {
    let Some(gpu) = gpu() else { return };
    let mut graph = gpu.graph();
    let mut x = Tensor::zeros([4], (DType::F64, gpu)).unwrap();
    for i in 1..=6 {
        let (next, sum) = graph
            .run(|| {
                let next = x.add(f64::from(i))?;
                let sum = next.sum(..)?.to_f64()?;
                Ok((next.mul(2.0)?, sum))
            })
            .unwrap();
        assert_eq!(sum, x.sum(..).unwrap().to_f64().unwrap() + 4.0 * f64::from(i));
        x = next;
    }
    assert_eq!(x.to_vec::<f64>().unwrap(), [240.0; 4]);
    // Two graphs a step, made once; the first step was cut where kernels were loaded.
    assert!((12..=16).contains(&graph.launched()), "{}", graph.launched());
    assert!(graph.instantiated() <= 7, "{}", graph.instantiated());
}

#[test]
fn steps_that_fail() {
    let Some(gpu) = gpu() else { return };
    let mut graph = gpu.graph();
    let mut x = Tensor::zeros([3], (DType::F32, gpu)).unwrap();
    let y = Tensor::ones([3], (DType::F32, gpu)).unwrap();
    let error = graph.run(|| {
        x.assign(&x.add(&y)?)?;
        x.matmul(Tensor::ones([2, 2], (DType::F32, gpu)))
    });
    assert!(error.unwrap_err().to_string().starts_with("matmul: "));
    // What was given to the device before is done.
    assert_eq!(x.to_vec::<f32>().unwrap(), [1.0; 3]);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        graph.run(|| -> ferrotape::Result<()> {
            x.assign(&x.add(&y)?)?;
            panic!("in a step");
        })
    }));
    assert!(panicked.is_err());
    assert_eq!(x.to_vec::<f32>().unwrap(), [2.0; 3]);
    graph.run(|| x.assign(&x.add(&y)?)).unwrap();
    assert_eq!(x.to_vec::<f32>().unwrap(), [3.0; 3]);
}

#[test]
fn a_fault_is_told_by_the_next_read() {
    let name = "cuda::steps::a_fault_is_told_by_the_next_read";
    let body = || {
        let Some(gpu) = gpu() else { return };
        let x = Tensor::ones([100], (DType::F32, gpu)).unwrap();
        let first = (0..20).find_map(|_| x.add(&x).sum(..).and_then(|sum| sum.to_f64()).err());
        let first = first.unwrap().to_string();
        assert!(first.contains("CUDA_ERROR_LAUNCH_FAILED"), "{first}");
        let words = "cuStreamSynchronize: CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure";
        for told in [
            x.to_vec::<f32>().map(drop),
            x.mul(3.0).map(drop),
            x.to_device(Device::Cpu).map(drop),
            Tensor::ones([3], DType::F32).unwrap().to_device(gpu).map(drop),
            gpu.synchronize(),
            gpu.graph().run(|| x.add(1.0)).map(drop),
        ] {
            let told = told.unwrap_err().to_string();
            assert!(told.contains(words), "{told}");
        }
        gpu.empty_cache();
        std::thread::spawn(move || drop(x)).join().unwrap();
    };
    if child::is_child() {
        return body();
    }
    let Some(gpu) = gpu() else { return };
    if gpu.info().unwrap().name.contains("emulator") {
        child::run(name, &[("FERROTAPE_EMULATED_FAULT", "launch:9")]);
    }
}

#[test]
fn buffers_of_operands_are_taken_over() {
    child::alone("cuda::steps::buffers_of_operands_are_taken_over", || {
        let Some(gpu) = gpu() else { return };
        let x = Generator::new(3).normal([100, 100], 0.0, 1.0, (DType::F32, gpu)).unwrap();
        let live = gpu.memory_stats().live;
        let chain = |x: &Tensor| x.exp().add(1.0).log().mul(x).neg().maximum(-3.0);
        gpu.reset_peak();
        let y = chain(&x).unwrap();
        let stats = gpu.memory_stats();
        assert_eq!(stats.live, 2 * live);
        // Beside the result, the numbers 1 and -3.
        assert!(stats.peak <= 2 * live + 1024, "{stats:?}");
        assert_eq!(bits(&y), bits(&chain(&x.to_device(Device::Cpu).unwrap()).unwrap()));
        // Nobody's operand is touched.
        let z = x.clone();
        let kept = bits(&x);
        drop(z.add(1.0).unwrap());
        assert_eq!(bits(&x), kept);
    });
}

#[test]
fn tensors_are_dropped_on_any_thread() {
    let Some(gpu) = gpu() else { return };
    let (to, from) = std::sync::mpsc::channel::<Tensor>();
    std::thread::scope(|scope| {
        for thread in 0..3u64 {
            let to = to.clone();
            scope.spawn(move || {
                let mut graph = gpu.graph();
                for round in 0..20u64 {
                    let x =
                        Generator::new(round).normal([7, 1 + round as usize], 0.0, 1.0, DType::F32);
                    let x = x.unwrap();
                    let there = x.to_device(gpu).unwrap();
                    let step = |x: &Tensor| x.exp().mul(x).sum(0);
                    let y = match round % 2 {
                        0 => graph.run(|| step(&there)).unwrap(),
                        _ => step(&there).unwrap(),
                    };
                    to.send(there).unwrap();
                    assert_eq!(bits(&y), bits(&step(&x).unwrap()), "{thread} {round}");
                    to.send(y).unwrap();
                }
            });
        }
        drop(to);
        scope.spawn(move || assert_eq!(from.iter().count(), 120));
    });
}
