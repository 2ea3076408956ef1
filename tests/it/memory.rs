//! What memory training takes: nothing new after the first epochs, a clean error over a limit. Each test has a process to itself.

mod flights;

use std::cell::Cell;

use ferrotape::ErrorKind;
use ferrotape::nn::data::{Dataset, TensorDataset};
use ferrotape::nn::{checkpoint, parameters};
use ferrotape::prelude::*;

use crate::child;
use crate::cnn::{Cnn, bits, digits, hash_model};

fn live() -> usize {
    Device::cpu().memory_stats().live
}

fn requests() -> u64 {
    Device::cpu().memory_stats().requests
}

fn xor() -> (Tensor, Tensor) {
    let x = Tensor::from([[0f32, 0.], [0., 1.], [1., 0.], [1., 1.]]);
    (x, Tensor::from([[0f32], [1.], [1.], [0.]]))
}

fn xor_net(rng: &mut Generator) -> Sequential {
    let (first, last) = (Linear::new(2, 8, rng).unwrap(), Linear::new(8, 1, rng).unwrap());
    Sequential::new().then(first).then(Tanh).then(last)
}

/// Trains for four epochs with evaluation; the requests to the system at the end of each.
fn epochs<M: Forward, D: Dataset<Batch = (Tensor, Tensor)>>(
    model: &mut M,
    train: &DataLoader<D>,
    test: &DataLoader<D>,
    loss: fn(&Tensor, &Tensor) -> Result<Tensor>,
) -> Vec<u64> {
    let (mut rng, mut optimizer) = (Generator::new(1), Adam::new(1e-3));
    let mut ends = Vec::new();
    for epoch in 0..4 {
        let mut rows = 0;
        for batch in train.epoch(epoch).unwrap() {
            let (x, y) = batch.unwrap();
            rows += x.shape()[0];
            let step = value_and_grad(model, &mut rng, |m, ctx| loss(&m.forward(&x, ctx)?, &y));
            optimizer.step(model, &step.unwrap()).unwrap();
        }
        assert_eq!(rows, train.data().len());
        let mut total = 0.0;
        for batch in test.epoch(epoch).unwrap() {
            let (x, y) = batch.unwrap();
            let output = model.forward(&x, &mut Ctx::eval()).unwrap();
            total += loss(&output, &y).unwrap().to_f64().unwrap();
        }
        assert!(total.is_finite());
        ends.push(requests());
    }
    ends
}

#[test]
fn xor_asks_for_no_memory_after_its_first_epochs() {
    child::alone("memory::xor_asks_for_no_memory_after_its_first_epochs", || {
        let (x, y) = xor();
        let data = TensorDataset::new(x, y).unwrap();
        let mut model = xor_net(&mut Generator::new(0));
        let train = DataLoader::new(data.clone(), 3).unwrap().shuffle(5);
        let test = DataLoader::new(data, 3).unwrap();
        let ends = epochs(&mut model, &train, &test, |y, t| y.bce_with_logits(t));
        assert_eq!(ends[1], ends[2], "requests after each epoch: {ends:?}");
        assert_eq!(ends[2], ends[3], "requests after each epoch: {ends:?}");
    });
}

#[test]
fn mnist_asks_for_no_memory_after_its_first_epochs() {
    child::alone("memory::mnist_asks_for_no_memory_after_its_first_epochs", || {
        for workers in [1, 0, 2] {
            let mut model = Cnn::new(&mut Generator::new(0));
            let train = DataLoader::new(digits(300), 64).unwrap().shuffle(5).workers(workers);
            let test = DataLoader::new(digits(100), 64).unwrap().workers(workers);
            assert_eq!((train.len(), 300 % 64), (5, 44));
            let ends = epochs(&mut model, &train, &test, |y, t| y.cross_entropy(t));
            assert!(ends[0] > 0);
            assert_eq!(ends[1], ends[2], "{workers} workers, requests by epoch: {ends:?}");
            assert_eq!(ends[2], ends[3], "{workers} workers, requests by epoch: {ends:?}");
        }
    });
}

#[test]
fn live_memory_is_flat_and_goes_back_to_nothing() {
    child::alone("memory::live_memory_is_flat_and_goes_back_to_nothing", || {
        assert_eq!(live(), 0, "before anything");
        let (x, y) = xor();
        let mut rng = Generator::new(0);
        let mut model = xor_net(&mut rng);
        let mut optimizer = Adam::new(0.01);
        let mut levels = Vec::new();
        for number in 0..10_000 {
            let step =
                value_and_grad(&model, &mut rng, |m, ctx| m.forward(&x, ctx)?.bce_with_logits(&y));
            optimizer.step(&mut model, &step.unwrap()).unwrap();
            if number % 100 == 0 {
                levels.push(live());
            }
        }
        assert!(levels[0] > 0);
        assert!(levels.iter().all(|level| *level == levels[0]), "live bytes: {levels:?}");
        drop((x, y, model, optimizer));
        assert_eq!(live(), 0, "at the end");
    });
}

#[test]
fn the_backward_pass_over_the_limit_fails_and_the_program_goes_on() {
    child::alone("memory::the_backward_pass_over_the_limit_fails_and_the_program_goes_on", || {
        let (x, y) = digits(64).batch(&(0..64).collect::<Vec<_>>()).unwrap();
        let mut rng = Generator::new(0);
        let mut model = Cnn::new(&mut rng);
        let mut optimizer = Adam::new(1e-3);
        let step = |model: &Cnn, rng: &mut Generator| {
            value_and_grad(model, rng, |m, ctx| m.forward(&x, ctx)?.cross_entropy(&y))
        };
        let first = step(&model, &mut rng).unwrap();
        optimizer.step(&mut model, &first).unwrap();
        drop(first);
        let (before, weights) = (live(), hash_model(&model));

        let forward_done = Cell::new(false);
        let failed = value_and_grad(&model, &mut rng, |m, ctx| {
            let loss = m.forward(&x, ctx)?.cross_entropy(&y)?;
            // From here on, the backward pass has a megabyte.
            Device::cpu().set_memory_limit(Some(live() + (1 << 20)));
            forward_done.set(true);
            Ok(loss)
        })
        .unwrap_err();
        assert!(forward_done.get());
        let ErrorKind::OutOfMemory { requested, live: reported, limit } = failed.kind() else {
            panic!("{failed}");
        };
        assert!(requested + reported > *limit, "{failed}");
        assert_eq!(live(), before, "what the failed step held");
        assert_eq!(hash_model(&model), weights);

        Device::cpu().set_memory_limit(None);
        let again = step(&model, &mut rng).unwrap();
        optimizer.step(&mut model, &again).unwrap();
        assert_ne!(hash_model(&model), weights);
    });
}

/// Wherever in a step memory ends, nothing has changed; and the same step then succeeds with the same result.
#[test]
fn a_step_over_any_limit_changes_nothing() {
    child::alone("memory::a_step_over_any_limit_changes_nothing", || {
        for (shared, momentum) in [(false, false), (false, true), (true, false), (true, true)] {
            any_limit(shared, momentum);
        }
    });
}

/// `shared`: others hold the weights and the optimizer's state, so that the update needs memory of its own.
fn any_limit(shared: bool, momentum: bool) {
    let make: fn() -> Box<dyn Optimizer> = match momentum {
        true => || Box::new(SGD::new(0.1).momentum(0.9)),
        false => || Box::new(AdamW::new(0.1)),
    };
    let norm = BatchNorm2d::new(3).unwrap();
    let mut rng = Generator::new(0);
    let conv = Conv2dConfig::new(1, 3, [3, 3]).build(&mut rng).unwrap();
    let fresh = (conv, norm, Linear::new(48, 500, &mut rng).unwrap());
    let x = rng.normal([16, 1, 6, 6], 0., 1., DType::F32).unwrap();
    let forward = |m: &(Conv2d, BatchNorm2d, Linear), ctx: &mut Ctx<'_>| {
        let y = m.1.forward(&m.0.forward(&x, ctx)?, ctx).relu().flatten(1, -1)?;
        m.2.forward(&y, ctx).square().mean(..)
    };
    let mut refused = [0, 0];
    let mut result = None;
    for extra in (0..).map(|i| i * 4096) {
        let mut model = fresh.clone();
        if !shared {
            unshare(&mut model);
        }
        let mut optimizer = make();
        let (start, weights) = (live(), hash_model(&model));
        Device::cpu().set_memory_limit(Some(start + extra));
        let step = value_and_grad(&model, &mut Generator::new(1), |m, ctx| forward(m, ctx));
        let Ok(step) = step.map_err(refusal) else {
            refused[0] += 1;
            assert_eq!(live(), start, "after a refused backward pass");
            assert_eq!(hash_model(&model), weights);
            continue;
        };
        let applied = optimizer.apply(&mut model, &step.gradients);
        Device::cpu().set_memory_limit(None);
        match applied {
            Ok(()) => {
                assert_ne!(hash_model(&model), weights);
                assert_eq!(*result.get_or_insert(hash_model(&model)), hash_model(&model));
                break;
            }
            Err(error) => {
                refused[1] += 1;
                refusal(error);
                assert_eq!(hash_model(&model), weights, "after a refused update");
                // Neither model nor optimizer has noticed: the same step applies now.
                optimizer.apply(&mut model, &step.gradients).unwrap();
                let mut clean = fresh.clone();
                let step = value_and_grad(&clean, &mut Generator::new(1), |m, c| forward(m, c));
                make().apply(&mut clean, &step.unwrap().gradients).unwrap();
                assert_eq!(hash_model(&model), hash_model(&clean), "the update made good");
            }
        }
    }
    assert!(refused[0] > 3, "{refused:?}");
    assert!(refused[1] > 0 || !shared, "{refused:?}");
}

fn refusal(error: ferrotape::Error) {
    assert!(matches!(error.kind(), ErrorKind::OutOfMemory { .. }), "{error}");
}

fn unshare<M: Module>(model: &mut M) {
    struct Unshare;
    impl ferrotape::nn::VisitorMut for Unshare {
        fn enter(&mut self, _: &str) {}
        fn leave(&mut self) {}
        fn param(&mut self, param: &mut ferrotape::nn::Param) {
            param.set(param.tensor().copy().unwrap());
        }
        fn buffer(&mut self, buffer: &mut ferrotape::nn::Buffer) {
            buffer.set(buffer.tensor().copy().unwrap());
        }
    }
    model.visit_mut(&mut Unshare);
}

#[test]
fn checkpoints_lower_the_peak() {
    child::alone("memory::checkpoints_lower_the_peak", || {
        let mut rng = Generator::new(0);
        let blocks: Vec<Vec<Linear>> = (0..6)
            .map(|_| (0..4).map(|_| Linear::new(32, 32, &mut rng).unwrap()).collect())
            .collect();
        let x = rng.normal([2048, 32], 0., 1., DType::F32).unwrap();
        fn block(layers: &[Linear], x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
            layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, ctx).tanh())
        }
        let mut run = |save: bool| {
            Device::cpu().reset_peak();
            let start = live();
            let step = value_and_grad(&blocks, &mut rng, |blocks, ctx| {
                let mut x = x.clone();
                for layers in blocks {
                    let owned = layers.clone();
                    x = match save {
                        true => checkpoint(&x, ctx, move |x, ctx| block(&owned, x, ctx))?,
                        false => block(layers, &x, ctx)?,
                    };
                }
                x.square().mean(..)
            })
            .unwrap();
            let gradients: Vec<_> = step.gradients.iter().map(|(_, g)| bits(g)).collect();
            assert_eq!(gradients.len(), parameters(&blocks).len());
            (Device::cpu().memory_stats().peak - start, bits(&step.loss), gradients)
        };
        let (plain, saving) = (run(false), run(true));
        assert!(
            saving.0 * 3 < plain.0 * 2,
            "peak {} with checkpoints, {} without",
            saving.0,
            plain.0
        );
        assert_eq!((saving.1, saving.2), (plain.1, plain.2));
    });
}
