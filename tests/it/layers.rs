//! Layers: batch norm against PyTorch, dropout, initial values, what train and eval mean.

use ferrotape::nn::{LinearConfig, Param, buffers, parameters, state_dict, to_dtype};
use ferrotape::prelude::*;

use crate::cnn::{bits, hash_model};

/// Fails where two tensors differ by more than `bound` of the largest element.
fn close(name: &str, found: &Tensor, expected: &Tensor, bound: f64) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let largest = |x: Result<Tensor>| x.abs().max(..).unwrap().to_f64().unwrap();
    let (off, scale) = (largest(found.sub(expected)), largest(expected.mul(1.0)));
    assert!(off <= bound * scale.max(1e-300), "{name}: off by {off} of {scale}");
}

fn norm(weight: &Tensor, bias: &Tensor) -> BatchNorm2d {
    let mut norm = BatchNorm2d::new(3).unwrap();
    to_dtype(&mut norm, DType::F64).unwrap();
    norm.weight = Some(Param::new(weight.clone()));
    norm.bias = Some(Param::new(bias.clone()));
    norm
}

/// Frees the weights of change, so that a step only moves the statistics.
fn follow<M: Module>(model: &mut M, step: &ferrotape::nn::Step) {
    SGD::new(0.0).step(model, step).unwrap();
}

#[test]
fn batch_norm_is_that_of_pytorch() {
    let path = crate::root().join("tests/data/batch_norm.safetensors");
    let torch = ferrotape::io::load_safetensors(path).unwrap();
    let mut norm = norm(&torch["weight"], &torch["bias"]);
    let mut rng = Generator::new(0);
    for step in 0..3 {
        let at = |name: &str| &torch[&format!("{step}.{name}")];
        let (x, g) = (at("x"), at("g"));
        let y = norm.forward(x, &mut Ctx::train(&mut rng)).unwrap();
        close("y", &y, at("y"), 1e-12);
        let loss = |y: Result<Tensor>| y.mul(g).sum(..);
        // The input's gradient as that of a parameter.
        let model = (norm.clone(), Param::new(x.clone()));
        let found = value_and_grad(&model, &mut rng, |m, ctx| loss(m.0.forward(&m.1, ctx)));
        let found = found.unwrap().gradients;
        close("dx", found.get("1").unwrap(), at("dx"), 1e-10);
        close("dw", found.get("0.weight").unwrap(), at("dw"), 1e-11);
        close("db", found.get("0.bias").unwrap(), at("db"), 1e-12);
        let step = value_and_grad(&norm, &mut rng, |m, ctx| loss(m.forward(x, ctx))).unwrap();
        follow(&mut norm, &step);
        close("running mean", norm.running_mean.as_ref().unwrap(), at("mean"), 1e-12);
        close("running var", norm.running_var.as_ref().unwrap(), at("var"), 1e-12);
    }
    assert_eq!(norm.num_batches_tracked.as_ref().unwrap().item::<i64>().unwrap(), 3);

    let before = hash_model(&norm);
    let y = norm.forward(&torch["eval.x"], &mut Ctx::eval()).unwrap();
    close("eval y", &y, &torch["eval.y"], 1e-12);
    let (y, tape) = Tape::record(|tape| {
        tape.watch(&torch["eval.x"]);
        norm.forward(&torch["eval.x"], &mut Ctx::eval()).square().sum(..)
    })
    .unwrap();
    let dx = tape.gradient(&y, &[&torch["eval.x"]]).unwrap().remove(0);
    close("eval dx", &dx, &torch["eval.dx"], 1e-11);
    assert_eq!(hash_model(&norm), before, "evaluation changes no buffer");
}

#[test]
fn batch_norm_refuses_what_has_no_variance() {
    let norm = BatchNorm2d::new(3).unwrap();
    let forward = |shape: [usize; 4], ctx: &mut Ctx<'_>| {
        norm.forward(&Tensor::ones(shape, DType::F32).unwrap(), ctx)
    };
    let mut rng = Generator::new(0);
    assert!(forward([1, 3, 1, 1], &mut Ctx::train(&mut rng)).is_err());
    assert!(forward([0, 3, 2, 2], &mut Ctx::train(&mut rng)).is_err());
    assert!(forward([2, 4, 2, 2], &mut Ctx::train(&mut rng)).is_err());
    assert!(forward([1, 3, 1, 1], &mut Ctx::eval()).is_ok());
    assert!(norm.forward(&Tensor::from([1f32, 2., 3.]), &mut Ctx::eval()).is_err());
}

#[test]
fn a_batch_norm_used_twice_follows_twice() {
    let mut norm = BatchNorm2d::new(1).unwrap();
    let mut rng = Generator::new(0);
    let x = Tensor::from([[[[1f32, 3.]]]]);
    let step = value_and_grad(&norm, &mut rng, |m, ctx| {
        m.forward(&x, ctx)?;
        m.forward(&x.mul(2.0)?, ctx).square().sum(..)
    })
    .unwrap();
    assert_eq!(
        norm.num_batches_tracked.as_ref().unwrap().item::<i64>().unwrap(),
        0,
        "only the step changes it"
    );
    follow(&mut norm, &step);
    assert_eq!(norm.num_batches_tracked.as_ref().unwrap().item::<i64>().unwrap(), 2);
    let mean = norm.running_mean.as_ref().unwrap().to_vec::<f32>().unwrap()[0];
    assert!((mean - (0.2 * 0.9 + 0.4)).abs() < 1e-6, "{mean}");
}

#[test]
fn dropout_drops_scales_and_rests_in_evaluation() {
    let x = Tensor::full([200, 500], 3.0, DType::F32).unwrap();
    let dropout = Dropout::new(0.3).unwrap();
    let train = |layer: Dropout, seed| {
        layer.forward(&x, &mut Ctx::train(&mut Generator::new(seed))).unwrap()
    };
    let y = train(dropout, 1);
    let kept = (3f64 / 0.7) as f32;
    let all = y.to_vec::<f32>().unwrap();
    assert!(all.iter().all(|&v| v == 0.0 || (v - kept).abs() <= 1e-6 * kept));
    let zeros = all.iter().filter(|&&v| v == 0.0).count() as f64 / all.len() as f64;
    assert!((zeros - 0.3).abs() < 0.01, "{zeros} dropped");
    assert!((y.mean(..).unwrap().to_f64().unwrap() - 3.0).abs() < 0.05);
    assert_eq!(bits(&y), bits(&train(dropout, 1)), "the same seed");
    assert_ne!(bits(&y), bits(&train(dropout, 2)), "another seed");

    let mut rng = Generator::new(1);
    let mut ctx = Ctx::train(&mut rng);
    let first = dropout.forward(&x, &mut ctx).unwrap();
    assert_ne!(bits(&first), bits(&dropout.forward(&x, &mut ctx).unwrap()), "the next call");

    let y = dropout.forward(&x, &mut Ctx::eval()).unwrap();
    assert_eq!((y.id(), bits(&y)), (x.id(), bits(&x)));
    assert_eq!(bits(&train(Dropout::new(0.0).unwrap(), 1)), bits(&x));
    assert!(train(Dropout::new(1.0).unwrap(), 1).to_vec::<f32>().unwrap().iter().all(|&v| v == 0.));
    for wrong in [-0.1, 1.5, f64::NAN] {
        assert!(Dropout::new(wrong).is_err(), "{wrong}");
    }

    // The gradient passes where the value did.
    let model = Param::new(x.clone());
    let step =
        value_and_grad(&model, &mut Generator::new(1), |m, ctx| dropout.forward(m, ctx).sum(..))
            .unwrap();
    let gradient = step.gradients.get("").unwrap();
    assert_eq!(bits(&gradient.mul(3.0).gt(0.0).unwrap()), bits(&first.gt(0.0).unwrap()));
}

#[test]
fn evaluation_has_no_randomness() {
    assert!(!Ctx::eval().is_training() && Ctx::train(&mut Generator::new(0)).is_training());
    let error = Ctx::eval().rng().unwrap_err();
    assert!(error.to_string().contains("random numbers in evaluation"), "{error}");
}

/// Uniform within `bound`: reaches close to both ends, with the right variance.
fn uniform(name: &str, tensor: &Tensor, bound: f64) {
    let number = |x: Result<Tensor>| x.unwrap().to_f64().unwrap();
    let (low, high) = (number(tensor.min(..)), number(tensor.max(..)));
    assert!(low >= -bound && high <= bound, "{name}: {low}..{high} for {bound}");
    if tensor.len() > 1000 {
        assert!(low < -0.99 * bound && high > 0.99 * bound, "{name}: {low}..{high} for {bound}");
        let var = number(tensor.var(.., 0.0)) / (bound * bound / 3.0);
        assert!((var - 1.0).abs() < 0.1, "{name}: variance off by {var}");
    }
}

#[test]
fn linear_and_conv_start_as_in_pytorch() {
    let mut rng = Generator::new(3);
    let linear = Linear::new(50, 70, &mut rng).unwrap();
    assert_eq!(linear.weight.shape(), [70, 50]);
    uniform("linear.weight", &linear.weight, 1.0 / 50f64.sqrt());
    let bias = linear.bias.unwrap();
    assert_eq!(bias.shape(), [70]);
    uniform("linear.bias", &bias, 1.0 / 50f64.sqrt());

    let config = Conv2dConfig::new(8, 48, [3, 5]).groups(2).dtype(DType::F64);
    let conv = config.build(&mut rng).unwrap();
    assert_eq!((conv.weight.shape(), conv.weight.dtype()), (&[48, 4, 3, 5][..], DType::F64));
    uniform("conv.weight", &conv.weight, 1.0 / 60f64.sqrt());
    uniform("conv.bias", conv.bias.as_ref().unwrap(), 1.0 / 60f64.sqrt());
    assert!(Conv2dConfig::new(8, 9, [1, 1]).groups(2).build(&mut rng).is_err());
    assert!(Conv2dConfig::new(8, 8, [1, 1]).groups(0).build(&mut rng).is_err());

    let bare = LinearConfig::new(4, 4).bias(false).build(&mut rng).unwrap();
    assert!(bare.bias.is_none() && parameters(&bare).len() == 1);
    assert!(LinearConfig::new(4, 4).dtype(DType::I64).build(&mut rng).is_err());
    let seeded = |seed| bits(&Linear::new(4, 4, &mut Generator::new(seed)).unwrap().weight);
    assert_eq!(seeded(5), seeded(5));
    assert_ne!(seeded(5), seeded(6));
}

#[test]
fn layers_compute_what_they_say() {
    let mut rng = Generator::new(4);
    let linear = Linear::new(3, 2, &mut rng).unwrap();
    let x = rng.normal([2, 5, 3], 0., 1., DType::F32).unwrap();
    let y = linear.forward(&x, &mut Ctx::eval()).unwrap();
    let expected = x.matmul(linear.weight.t()).add(linear.bias.as_deref().unwrap()).unwrap();
    assert_eq!(y.shape(), [2, 5, 2]);
    close("linear", &y, &expected, 1e-6);

    let config = Conv2dConfig::new(3, 4, [3, 2]).stride([2, 1]).padding([1, 0]).dilation([1, 2]);
    let conv = config.build(&mut rng).unwrap();
    let x = rng.normal([2, 3, 9, 8], 0., 1., DType::F32).unwrap();
    assert_eq!(conv.forward(&x, &mut Ctx::eval()).unwrap().shape(), [2, 4, 5, 6]);
    assert_eq!(MaxPool2d::new([2, 3]).forward(&x, &mut Ctx::eval()).unwrap().shape(), [2, 3, 4, 2]);

    let empty = Sequential::new();
    assert!(empty.is_empty());
    assert_eq!(empty.forward(&x, &mut Ctx::eval()).unwrap().id(), x.id());
    let net = Sequential::new().then(conv).then(BatchNorm2d::new(4).unwrap()).then(Flatten);
    assert_eq!(net.len(), 3);
    assert_eq!(net.forward(&x, &mut Ctx::eval()).unwrap().shape(), [2, 120]);
    let names: Vec<String> = parameters(&net).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["0.weight", "0.bias", "1.weight", "1.bias"]);
    assert_eq!((buffers(&net).len(), state_dict(&net).len()), (3, 7));
}

/// Layers that are computed together where nobody listens give the bits of the same layers one by one, in training and in evaluation.
#[test]
fn joined_layers_are_those_layers() {
    struct Listener;
    impl ferrotape::Observer for Listener {}
    let run = || {
        let mut rng = Generator::new(3);
        let conv = |i, o| Conv2dConfig::new(i, o, [3, 3]).padding([1, 1]);
        let mut net = Sequential::new()
            .then(conv(1, 20).build(&mut rng).unwrap())
            .then(ReLU)
            .then(MaxPool2d::new([3, 3]).stride([2, 2]).padding([1, 1]))
            .then(conv(20, 5).padding_same().build(&mut rng).unwrap())
            .then(ReLU)
            .then(conv(5, 3).stride([2, 2]).build(&mut rng).unwrap())
            .then(ReLU)
            .then(ReLU)
            .then(MaxPool2d::new([2, 2]))
            .then(Flatten)
            .then(Linear::new(12, 7, &mut rng).unwrap())
            .then(Tanh)
            .then(Linear::new(7, 4, &mut rng).unwrap())
            .then(Sigmoid);
        let x = rng.normal([3, 1, 17, 15], 0., 1., DType::F32).unwrap();
        let mut adam = Adam::new(0.01);
        for _ in 0..3 {
            let step =
                value_and_grad(&net, &mut rng, |net, ctx| net.forward(&x, ctx)?.square().mean(..));
            adam.step(&mut net, &step.unwrap()).unwrap();
        }
        (hash_model(&net), bits(&net.forward(&x, &mut Ctx::eval()).unwrap()))
    };
    let joined = run();
    assert_eq!(joined, ferrotape::observe(std::rc::Rc::new(Listener), run));
}

/// What a tape hears of layers that can be computed together is one operation.
#[test]
fn layers_are_joined() {
    let mut rng = Generator::new(4);
    let fc = Linear::new(6, 3, &mut rng).unwrap();
    let conv = Conv2dConfig::new(1, 2, [3, 3]).build(&mut rng).unwrap();
    let [row, image] = [&[5, 6][..], &[2, 1, 7, 7]].map(|s| Tensor::ones(s, DType::F32).unwrap());
    let nets = [
        (Sequential::new().then(fc.clone()).then(ReLU), &row),
        (Sequential::new().then(fc.clone()).then(Sigmoid), &row),
        (Sequential::new().then(Sequential::new().then(fc).then(Tanh)), &row),
        (Sequential::new().then(conv).then(ReLU), &image),
    ];
    for (net, x) in &nets {
        let (operations, _) = Tape::record(|tape| {
            tape.watch(x);
            net.forward(x, &mut Ctx::eval())?;
            Ok(tape.len())
        })
        .unwrap();
        assert_eq!(operations, 1, "{net:?}");
    }
}

/// An inner training step inside an outer one, and an evaluation inside training.
#[test]
fn steps_nest_and_evaluation_nests_in_training() {
    let mut rng = Generator::new(6);
    let conv = Conv2dConfig::new(1, 2, [3, 3]).build(&mut rng).unwrap();
    let model = Sequential::new()
        .then(conv)
        .then(BatchNorm2d::new(2).unwrap())
        .then(Dropout::new(0.5).unwrap())
        .then(Flatten)
        .then(Linear::new(18, 1, &mut rng).unwrap());
    let teacher = Linear::new(25, 1, &mut rng).unwrap();
    let x = rng.normal([4, 1, 5, 5], 0., 1., DType::F32).unwrap();
    let plain = model.forward(&x, &mut Ctx::eval()).unwrap();
    let mut inner_gradients = Vec::new();
    let step = value_and_grad(&model, &mut Generator::new(7), |m, ctx| {
        // As in evaluation outside: running statistics, nothing dropped; and it is differentiated.
        let still = m.forward(&x, &mut Ctx::eval())?;
        assert_eq!(bits(&still), bits(&plain));
        let inner = value_and_grad(&teacher, &mut Generator::new(8), |t, ctx| {
            t.forward(&x.flatten(1, -1)?, ctx).square().mean(..)
        })?;
        inner_gradients = inner.gradients.iter().map(|(_, g)| bits(g)).collect();
        let trained = m.forward(&x, ctx)?;
        assert_ne!(bits(&trained), bits(&plain));
        trained.mse_loss(&inner.loss.expand([4, 1])?).add(still.square().mean(..))
    })
    .unwrap();
    assert_eq!(step.gradients.iter().count(), 6);
    let alone = value_and_grad(&teacher, &mut Generator::new(8), |t, ctx| {
        t.forward(&x.flatten(1, -1)?, ctx).square().mean(..)
    })
    .unwrap();
    let alone: Vec<_> = alone.gradients.iter().map(|(_, g)| bits(g)).collect();
    assert_eq!(inner_gradients, alone, "the outer tape changes nothing for the inner");
    let mut stepped = Sequential::new().then(BatchNorm2d::new(2).unwrap());
    assert!(SGD::new(0.1).step(&mut stepped, &step).is_err(), "another model");
}

#[test]
fn a_gradient_of_a_gradient_passes_through_the_model() {
    // d/dw of |d loss/d x|^2 for loss = sum((w x)^2): |2 w^2 x|^2, of which d/dw = 16 w^3 x^2.
    let model = Param::new(Tensor::from([3f64]));
    let x = Tensor::from([0.5f64]);
    let step = value_and_grad(&model, &mut Generator::new(0), |w, _| {
        let (loss, tape) = Tape::record(|tape| {
            tape.watch(&x);
            x.mul(w.tensor()).square().sum(..)
        })?;
        tape.gradient(&loss, &[&x])?.remove(0).square().sum(..)
    })
    .unwrap();
    let found = step.gradients.get("").unwrap().to_vec::<f64>().unwrap()[0];
    assert!((found - 16.0 * 27.0 * 0.25).abs() < 1e-9, "{found}");
    assert!((step.loss.to_f64().unwrap() - 81.0).abs() < 1e-9);
}
