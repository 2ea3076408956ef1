//! A result depends on inputs and seed: not on the instruction set, the number of threads or the rows beside it.

use std::collections::{BTreeMap, BTreeSet};

use ferrotape::nn::data::Dataset;
use ferrotape::nn::quant::{Qat, QatRange, QuantConfig};
use ferrotape::nn::{LinearConfig, load_state_dict, state_dict};
use ferrotape::prelude::*;
use ferrotape::{
    BinaryOp, CompareOp, FakeQuantizeOp, Op, QuantizeOp, QuantizeRule, UnaryOp, apply,
};

use crate::child;
use crate::cnn::{Cnn, Hash, bits, digits, hash_model};
use crate::quant::{Net, batches, calibrated};
use crate::recurrent::all_settings;

const ISAS: [&str; 3] = ["scalar", "avx2", "avx512"];
const THREADS: [&str; 4] = ["1", "2", "3", "7"];

/// Says what a child says of itself: its instruction set, and how often each one's kernels ran.
fn sign() {
    let counts = ferrotape::dispatch_counts();
    child::say(&format!(
        "isa {} {} {} {} {}",
        ferrotape::isa(),
        ferrotape::threads(),
        counts[0],
        counts[1],
        counts[2]
    ));
}

/// Runs `test` under every instruction set and number of threads; every line it says must be the same, beside its signature.
fn everywhere(test: &str) {
    let mut said: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut ran = 0;
    for isa in ISAS {
        for threads in THREADS {
            let settings = [("FERROTAPE_ISA", isa), ("FERROTAPE_THREADS", threads)];
            let lines = child::run(test, &settings);
            let (signature, results): (Vec<_>, Vec<_>) =
                lines.into_iter().partition(|line| line.starts_with("isa "));
            assert!(!results.is_empty(), "{isa} {threads}: no result");
            let words: Vec<&str> = signature[0].split(' ').collect();
            if words[1] != isa {
                eprintln!("not shown: this machine has no {isa}, {} ran instead", words[1]);
                break;
            }
            assert_eq!(words[2], threads, "{isa}: the number of threads");
            for (place, other) in ISAS.iter().enumerate() {
                let count: u64 = words[3 + place].parse().unwrap();
                assert_eq!(count > 0, *other == isa, "{isa}: {count} dispatches to {other}");
            }
            ran += 1;
            for line in results {
                let (name, hash) = line.split_once('=').unwrap();
                said.entry(name.to_owned()).or_default().insert(hash.to_owned());
            }
        }
    }
    assert!(ran >= THREADS.len(), "not even scalar ran");
    let differ: Vec<_> = said.iter().filter(|(_, hashes)| hashes.len() != 1).collect();
    assert!(differ.is_empty(), "other bits under other settings: {differ:?}");
}

#[test]
fn training_the_cnn() {
    if !child::is_child() {
        return everywhere("same_bits::training_the_cnn");
    }
    let data = digits(40);
    let mut rng = Generator::new(1);
    let mut model = Cnn::new(&mut rng);
    let before = hash_model(&model);
    let mut optimizer = Adam::new(1e-3);
    for step in 0..5 {
        let (x, y) = data.batch(&(8 * step..8 * (step + 1)).collect::<Vec<_>>()).unwrap();
        let step = value_and_grad(&model, &mut rng, |m, ctx| m.forward(&x, ctx)?.cross_entropy(&y))
            .unwrap();
        optimizer.step(&mut model, &step).unwrap();
    }
    assert_ne!(hash_model(&model), before);
    child::say(&format!("weights={:016x}", hash_model(&model)));
    sign();
}

#[test]
fn training_in_f64() {
    if !child::is_child() {
        return everywhere("same_bits::training_in_f64");
    }
    let mut rng = Generator::new(2);
    let layer = |i, o, rng: &mut Generator| LinearConfig::new(i, o).dtype(DType::F64).build(rng);
    let mut model = Sequential::new()
        .then(layer(37, 65, &mut rng).unwrap())
        .then(GELU::default())
        .then(Dropout::new(0.3).unwrap())
        .then(layer(65, 19, &mut rng).unwrap())
        .then(Tanh)
        .then(layer(19, 3, &mut rng).unwrap());
    let x = rng.normal([29, 37], 0., 1., DType::F64).unwrap();
    let y = rng.normal([29, 3], 0., 1., DType::F64).unwrap();
    let mut optimizers: [Box<dyn Optimizer>; 5] = [
        Box::new(AdamW::new(1e-2)),
        Box::new(SGD::new(0.1).momentum(0.9).nesterov(true)),
        Box::new(RMSprop::new(1e-3).momentum(0.9).centered(true).weight_decay(0.1)),
        Box::new(Adagrad::new(1e-2).lr_decay(0.1)),
        Box::new(Adam::new(1e-2).amsgrad(true)),
    ];
    for round in 0..10 {
        let step = value_and_grad(&model, &mut rng, |m, ctx| m.forward(&x, ctx)?.mse_loss(&y));
        let mut step = step.unwrap();
        step.clip_grad_norm(0.5).unwrap();
        optimizers[round % 5].apply(&mut model, &step.gradients).unwrap();
    }
    child::say(&format!("weights={:016x}", hash_model(&model)));
    sign();
}

fn say(name: &str, dtype: DType, tensors: &[&Tensor]) {
    let mut hash = Hash::new();
    tensors.iter().for_each(|tensor| hash.tensor(tensor));
    child::say(&format!("{name} {dtype}={:016x}", hash.finish()));
}

/// int8 networks: calibration, codes of weights, every layer's kernel; and one step of training with quantization.
fn int8_networks() -> Result<()> {
    let mut rng = Generator::new(3);
    let net = Net::new(&mut rng)?;
    let seen = batches(2, &mut rng);
    let x = rng.normal([5, 3, 8, 8], 0.0, 1.0, DType::F32)?;
    let y = Tensor::from([0i64, 4, 2, 1, 3]);
    let calibration = calibrated(&net, QuantConfig::default(), &seen)?;
    let qat = Qat::new(&net, calibration, QatRange::Learned)?;
    let mut pair = (net, qat);
    let step = value_and_grad(&pair, &mut rng, |(net, qat), ctx| {
        qat.train(net, |net| net.forward(&x, ctx)).cross_entropy(&y)
    })?;
    Adam::new(0.01).step(&mut pair, &step)?;
    child::say(&format!("training with quantization={:016x}", hash_model(&pair)));
    for (name, config) in [
        ("asymmetric", QuantConfig::default()),
        ("symmetric", QuantConfig::symmetric()),
        ("dynamic", QuantConfig::dynamic()),
    ] {
        let mut net = Net::new(&mut rng)?;
        load_state_dict(&mut net, &state_dict(&pair.0))?;
        let int8 = calibrated(&net, config, &seen)?.convert(net)?;
        say(name, DType::F32, &[&int8.forward(&x)?]);
    }
    Ok(())
}

#[test]
fn single_operations() {
    if !child::is_child() {
        return everywhere("same_bits::single_operations");
    }
    for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
        draws(dtype).unwrap();
        elementwise(dtype).unwrap();
        products(dtype).unwrap();
        moves(dtype).unwrap();
        reductions(dtype).unwrap();
        convolutions(dtype).unwrap();
        sequences(dtype).unwrap();
    }
    quantization().unwrap();
    int8_networks().unwrap();
    sign();
}

fn quantization() -> Result<()> {
    let mut rng = Generator::new(10);
    let x = rng.normal([37, 1003], 0., 1., DType::F32)?;
    let scale = rng.uniform([1003], 0.001, 0.05, DType::F32)?;
    let zero = rng.uniform([1003], 0., 256., DType::F32)?.to_dtype(DType::U8)?;
    for axis in [None, Some(1)] {
        let (scale, zero) = match axis {
            Some(_) => (scale.clone(), zero.clone()),
            None => (scale.select_at(0, 0)?, zero.select_at(0, 0)?),
        };
        let settings = QuantizeOp { axis, ..QuantizeOp::new(DType::U8) };
        let codes = x.quantize(&scale, &zero, settings)?;
        let divided = x.quantize(&scale, &zero, settings.rule(QuantizeRule::Divide))?;
        let back = codes.dequantize(&scale, &zero, axis)?;
        let fake = FakeQuantizeOp { axis, low: 0, high: 255 };
        let (y, tape) = Tape::record(|tape| {
            [&x, &scale].into_iter().for_each(|leaf| tape.watch(leaf));
            x.fake_quantize(&scale, &zero, fake).square().sum(..)
        })?;
        let gradients = tape.gradient(&y, &[&x, &scale])?;
        let all = [&codes, &divided, &back, &y, &gradients[0], &gradients[1]];
        say(&format!("quantize {axis:?}"), DType::F32, &all);
    }
    let a = x.quantize(0.02, 100.0, QuantizeOp::new(DType::U8))?;
    let b = x.mul(0.7)?.quantize(0.02, 3.0, QuantizeOp::new(DType::I8))?;
    let [one, three] = [100i32, 3].map(Tensor::from);
    let sums = a.matmul_integer(&b.t()?, Some(&one), Some(&three))?;
    let codes = sums.requantize(0.01, 7.0, QuantizeOp::new(DType::I8))?;
    let image = a.narrow(1, 0, 1000)?.reshape([37, 5, 10, 20])?;
    let weight = b.narrow(1, 0, 45)?.reshape([37, 5, 3, 3])?;
    let padded = Conv2dOp::default().padding([1, 1]).stride([2, 1]);
    let convolved = image.conv_integer(&weight, Some(&one), Some(&three), padded)?;
    say("products of codes", DType::I8, &[&sums, &codes, &convolved]);
    Ok(())
}

fn sequences(dtype: DType) -> Result<()> {
    let mut rng = Generator::new(8);
    for settings in all_settings() {
        let (steps, batch, input, hidden) = (5, 67, 9, 35);
        let output = if settings.projection { 19 } else { hidden };
        let gates = settings.cell.gates() * hidden;
        let mut shapes = vec![vec![steps, batch, input]];
        shapes.extend(settings.places().h0.map(|_| vec![batch, output]));
        shapes.extend(settings.places().c0.map(|_| vec![batch, hidden]));
        shapes.extend([vec![gates, input], vec![gates, output]]);
        shapes.extend(std::iter::repeat_n(vec![gates], if settings.bias { 2 } else { 0 }));
        shapes.extend(settings.places().w_hr.map(|_| vec![output, hidden]));
        let mut all = Vec::new();
        for shape in shapes {
            all.push(rng.normal(&shape[..], 0., 0.4, dtype)?);
        }
        let lengths = (0..batch as i64).map(|row| row % steps as i64 + 1).collect();
        all.extend(settings.lengths.then(|| Tensor::from_vec(lengths, [batch]).unwrap()));
        let all: Vec<&Tensor> = all.iter().collect();
        let ((out, loss), tape) = Tape::record(|tape| {
            all.iter().for_each(|leaf| tape.watch(leaf));
            let out = settings.fused(&all)?;
            let loss = out.y.square().sum(..).add(out.h_n.sum(..))?;
            Ok((out, loss))
        })?;
        let gradients = tape.gradient_or_none(&loss, &all)?;
        say(&format!("{settings:?}"), dtype, &[&out.y, &out.h_n]);
        let gradients: Vec<&Tensor> = gradients.iter().flatten().collect();
        say(&format!("{settings:?} gradients"), dtype, &gradients);
    }
    Ok(())
}

fn draws(dtype: DType) -> Result<()> {
    let mut rng = Generator::new(3);
    for size in [1, 7, 1000, 100_003] {
        say(&format!("uniform {size}"), dtype, &[&rng.uniform([size], -1., 2., dtype)?]);
        say(&format!("normal {size}"), dtype, &[&rng.normal([size], 1., 3., dtype)?]);
        say(&format!("bernoulli {size}"), dtype, &[&rng.bernoulli([size], 0.3, 2., dtype)?]);
        let order = rng.permutation(size).into_iter().map(|i| i as i64).collect();
        say(&format!("permutation {size}"), dtype, &[&Tensor::from_vec(order, [size])?]);
    }
    Ok(())
}

type Function = fn(&Tensor) -> Result<Tensor>;

/// The result of an operation.
fn applied(op: &Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut operands: Vec<_> = inputs.iter().map(|&input| input.into()).collect();
    apply(op, &mut operands).map(|mut outputs| outputs.swap_remove(0))
}

fn elementwise(dtype: DType) -> Result<()> {
    let mut rng = Generator::new(4);
    let special = [0., -0., 1., -1., f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 1e-310, 1e-42];
    let special = Tensor::from_slice(&special, [special.len()])?.to_dtype(dtype)?;
    let (wide, near) =
        (rng.uniform([50_021], -100., 100., dtype)?, rng.normal([50_021], 0., 2., dtype)?);
    let huge = wide.mul(1e30)?;
    let x = Tensor::cat(&[&special, &wide, &near, &huge], 0)?;
    let functions: &[(&str, Function)] = &[
        ("strided exp", |x| x.narrow(0, 0, 150_000).reshape([300, 500]).t().exp()),
        ("pow 2.5", |x| x.pow(2.5)),
        ("to i64", |x| x.to_dtype(DType::I64)),
    ];
    for (name, function) in functions {
        say(name, dtype, &[&function(&x)?]);
    }
    for op in UnaryOp::ALL {
        say(op.name(), dtype, &[&applied(&Op::Unary(*op), &[&x])?]);
    }
    let (a, b) = (rng.normal([301, 1], 0., 2., dtype)?, rng.normal([1, 257], 0., 2., dtype)?);
    for op in BinaryOp::ALL {
        let op = Op::Binary(*op);
        let odd = applied(&op, &[&special.unsqueeze(1)?, &special])?;
        say(op.name(), dtype, &[&applied(&op, &[&a, &b])?, &odd]);
    }
    for op in CompareOp::ALL {
        say(op.name(), dtype, &[&applied(&Op::Compare(*op), &[&a, &b])?]);
    }
    say("binary", dtype, &[&a.abs().pow(&b)?, &a.lt(&b)?.select(&a, &b)?]);
    Ok(())
}

fn products(dtype: DType) -> Result<()> {
    let mut rng = Generator::new(5);
    let shapes = [
        [1, 1, 1],
        [3, 5, 7],
        [17, 300, 33],
        [129, 257, 65],
        [1, 1000, 3],
        [1000, 1, 9],
        [2, 3000, 1],
        [64, 513, 64],
        [5, 70_000, 6],
        [650, 260, 1000],
    ];
    for [m, k, n] in shapes {
        let (a, b) = (rng.normal([m, k], 0., 1., dtype)?, rng.normal([k, n], 0., 1., dtype)?);
        let (at, bt) = (a.t().contiguous()?, b.t().contiguous()?);
        let y = a.matmul(&b)?;
        say(&format!("matmul {m} {k} {n}"), dtype, &[&y]);
        // The layout of the operands does not enter either.
        assert_eq!(bits(&y), bits(&at.t()?.matmul(&bt.t()?)?), "matmul {m} {k} {n} transposed");
    }
    let (a, b) =
        (rng.normal([3, 1, 9, 31], 0., 1., dtype)?, rng.normal([5, 31, 11], 0., 1., dtype)?);
    say("matmul batched", dtype, &[&a.matmul(&b)?]);
    let (v, w) = (rng.normal([777], 0., 1., dtype)?, rng.normal([777, 13], 0., 1., dtype)?);
    say("matmul vectors", dtype, &[&v.matmul(&v)?, &v.matmul(&w)?, &w.t()?.matmul(&v)?]);
    Ok(())
}

fn moves(dtype: DType) -> Result<()> {
    let mut rng = Generator::new(9);
    let (x, source) = (rng.normal([40, 7], 0., 1., dtype)?, rng.normal([900, 7], 0., 1., dtype)?);
    let places = (0..6300i64).map(|i| (i * i + i / 9) % 40).collect();
    let index = Tensor::from_vec(places, [900, 7])?;
    for reduce in
        [ScatterReduce::Sum, ScatterReduce::Prod, ScatterReduce::Mean, ScatterReduce::Amax]
    {
        let (y, tape) = Tape::record(|tape| {
            [&x, &source].into_iter().for_each(|leaf| tape.watch(leaf));
            x.scatter_reduce(0, &index, &source, reduce, true).square().sum(..)
        })?;
        let gradients = tape.gradient(&y, &[&x, &source])?;
        say(&format!("scatter_reduce {reduce:?}"), dtype, &[&y, &gradients[0], &gradients[1]]);
    }
    let long = rng.normal([5, 3000], 0., 1., dtype)?;
    let (y, tape) = Tape::record(|tape| {
        tape.watch(&long);
        let windows = long.unfold(1, 300, 7)?;
        let image =
            long.reshape([1, 5, 50, 60]).im2col([3, 4], Conv2dOp::default().padding([1, 2]))?;
        windows.sum(-1).square().sum(..).add(image.square().sum(..))
    })?;
    say("windows", dtype, &[&y, &tape.gradient(&y, &[&long])?[0]]);
    let (a, b) = (rng.normal([4, 9, 30], 0., 1., dtype)?, rng.normal([30, 9, 8], 0., 1., dtype)?);
    let y = Tensor::einsum("bij,jik->bk", &[&a, &b])?;
    let z = a.scaled_dot_product_attention(
        &a,
        &a,
        AttentionOp { is_causal: true, ..Default::default() },
    )?;
    say("einsum, attention", dtype, &[&y, &z]);
    Ok(())
}

fn reductions(dtype: DType) -> Result<()> {
    let mut rng = Generator::new(6);
    let x = rng.normal([33, 65, 17], 0., 3., dtype)?;
    let long = rng.uniform([1_000_003], -1., 1., dtype)?;
    say("sum long", dtype, &[&long.sum(..)?, &long.mean(..)?, &long.var(.., 1.)?]);
    for dims in [vec![0i64], vec![1], vec![2], vec![0, 1], vec![0, 2], vec![1, 2], vec![0, 1, 2]] {
        let dims = &dims[..];
        let all = [x.sum(dims)?, x.mean(dims)?, x.var(dims, 0.)?, x.max(dims)?, x.min(dims)?];
        say(&format!("reduce {dims:?}"), dtype, &all.each_ref());
        assert_eq!(bits(&all[0]), bits(&x.t()?.contiguous()?.t()?.sum(dims)?), "sum {dims:?}");
    }
    for dim in 0..3 {
        let all = [x.softmax(dim)?, x.log_softmax(dim)?, x.logsumexp(dim)?, x.argmax(dim)?];
        say(&format!("softmax {dim}"), dtype, &all.each_ref());
    }
    for (rows, size) in [(3, 7), (513, 65), (4, 3000), (1, 40_000), (70, 1500)] {
        let x = rng.normal([rows, size], 1., 3., dtype)?;
        let [w, b] = [rng.normal([size], 0., 1., dtype)?, rng.normal([size], 0., 1., dtype)?];
        let (loss, tape) = Tape::record(|tape| {
            [&x, &w, &b].into_iter().for_each(|leaf| tape.watch(leaf));
            x.layer_norm(size, Some(&w), Some(&b), 1e-5).sin().sum(..)
        })?;
        let gradients = tape.gradient(&loss, &[&x, &w, &b])?;
        let y = x.layer_norm(size, Some(&w), Some(&b), 1e-5)?;
        say(&format!("layer_norm {rows} {size}"), dtype, &[&y, &loss]);
        let name = format!("layer_norm gradients {rows} {size}");
        say(&name, dtype, &gradients.iter().collect::<Vec<_>>());
    }
    for dim in 0..3 {
        let (values, indices) = x.sort(dim, true)?;
        let (best, places) = x.cummax(dim)?;
        let y = x.mul(0.3)?;
        let all = [y.cumsum(dim)?, y.cumprod(dim)?, y.logcumsumexp(dim)?, y.prod(dim)?];
        say(&format!("scan {dim}"), dtype, &all.each_ref());
        say(&format!("sort {dim}"), dtype, &[&values, &indices, &best, &places]);
        let (u, s, vh) = x.narrow(0, 0, 3)?.svd()?;
        say(&format!("svd {dim}"), dtype, &[&u, &s, &vh]);
        say(&format!("norm {dim}"), dtype, &[&x.norm(3.0, dim)?, &x.std(dim, 1.)?]);
        assert_eq!(bits(&all[0]), bits(&y.t()?.contiguous()?.t()?.cumsum(dim)?), "cumsum {dim}");
    }
    let near = long.mul(0.001)?.add(1.)?;
    say("prod long", dtype, &[&near.prod(..)?, &near.reshape([1_000_003, 1]).prod(0)?]);
    for classes in [1, 10, 1000] {
        let logits = rng.normal([67, classes], 0., 4., dtype)?;
        let target = Tensor::arange(0., 1., 67, DType::I64)?.to_vec::<i64>()?;
        let target =
            Tensor::from_vec(target.into_iter().map(|i| i % classes as i64).collect(), [67])?;
        let (loss, tape) = Tape::record(|tape| {
            tape.watch(&logits);
            logits.cross_entropy(&target)
        })?;
        let gradient = &tape.gradient(&loss, &[&logits])?[0];
        say(&format!("cross_entropy {classes}"), dtype, &[&loss, gradient]);
    }
    Ok(())
}

fn convolutions(dtype: DType) -> Result<()> {
    let mut rng = Generator::new(7);
    let plain = Conv2dOp::default();
    let settings = [
        plain,
        Conv2dOp { stride: [2, 1], padding: [1, 2], ..plain },
        Conv2dOp { dilation: [2, 3], padding: [2, 2], ..plain },
        Conv2dOp { groups: 2, ..plain },
        Conv2dOp { stride: [2, 2], padding: [1, 1], dilation: [1, 2], groups: 6 },
    ];
    // Few images are shared out in parts, many in windows of some images.
    let batches = [5, 33].into_iter().flat_map(|batch| settings.map(|settings| (batch, settings)));
    for (number, (batch, settings)) in batches.enumerate() {
        let x = rng.normal([batch, 6, 19, 23], 0., 1., dtype)?;
        let w = rng.normal([12, 6 / settings.groups, 3, 3], 0., 1., dtype)?;
        // Taps in the padding are left out where a weight is not finite.
        let w = if number == 6 { w.div(w.abs().gt(0.01)?.to_dtype(dtype)?)? } else { w };
        let b = rng.normal([12], 0., 1., dtype)?;
        let pool = Pool2dOp::new([2, 3]);
        let (loss, tape) = Tape::record(|tape| {
            [&x, &w, &b].into_iter().for_each(|leaf| tape.watch(leaf));
            x.conv2d(&w, Some(&b), settings).max_pool2d(pool).tanh().sum(..)
        })?;
        let gradients = tape.gradient(&loss, &[&x, &w, &b])?;
        let y = x.conv2d(&w, None, settings)?;
        say(&format!("conv {number}"), dtype, &[&y, &loss]);
        say(&format!("conv gradients {number}"), dtype, &gradients.iter().collect::<Vec<_>>());
        let (loss, tape) = Tape::record(|tape| {
            [&x, &w, &b].into_iter().for_each(|leaf| tape.watch(leaf));
            x.conv2d_max_pool2d(&w, Some(&b), settings, pool).tanh().sum(..)
        })?;
        let gradients = tape.gradient(&loss, &[&x, &w, &b])?;
        let all: Vec<_> = std::iter::once(&loss).chain(&gradients).collect();
        say(&format!("conv and pool {number}"), dtype, &all);
    }
    windows(dtype)
}

fn windows(dtype: DType) -> Result<()> {
    let mut rng = Generator::new(9);
    let x = rng.normal([7, 6, 19, 23], 0., 1., dtype)?;
    let w = rng.normal([6, 2, 3, 3], 0., 1., dtype)?;
    let max = Pool2dOp::new([3, 2]).stride([2, 2]).padding([1, 1]);
    let mean = AvgPool2dOp::new([5, 3]).stride([2, 1]).padding([2, 1]).ceil_mode(true);
    let up = ConvTranspose2dOp::default().stride([2, 3]).output_padding([1, 2]).groups(2);
    let cubic = Interpolate::size(&[31, 11]).mode(InterpolateMode::Bicubic);
    type Function<'f> = &'f dyn Fn(&Tensor) -> Result<Tensor>;
    let functions: [(&str, Function<'_>); 7] = [
        ("max, ceil", &|x| x.max_pool2d(max.ceil_mode(true))),
        ("max, dilated", &|x| x.max_pool2d(max.dilation([2, 3]))),
        ("adaptive max", &|x| x.adaptive_max_pool2d([5, 7])),
        ("mean", &|x| x.avg_pool2d(mean)),
        ("adaptive mean", &|x| x.adaptive_avg_pool2d([5, 7])),
        ("transposed", &|x| x.conv_transpose2d(&w, None, up)),
        ("cubic", &|x| x.interpolate(&cubic)),
    ];
    for (name, f) in functions {
        let (loss, tape) = Tape::record(|tape| {
            tape.watch(&x);
            f(&x).tanh().sum(..)
        })?;
        let gradient = &tape.gradient(&loss, &[&x])?[0];
        say(name, dtype, &[&f(&x)?, &loss, gradient]);
    }
    Ok(())
}

#[test]
fn a_row_does_not_feel_its_batch() {
    let model = Cnn::new(&mut Generator::new(8));
    let (x, _) = digits(64).batch(&(0..64).collect::<Vec<_>>()).unwrap();
    let logits = |start, count| {
        let y = model.forward(&x.narrow(0, start, count).unwrap(), &mut Ctx::eval()).unwrap();
        y.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let all = logits(0, 64);
    for start in [0, 1, 20, 57] {
        assert_eq!(logits(start, 7), all[10 * start..10 * (start + 7)], "rows {start}.. of 7");
    }
    for row in 0..64 {
        assert_eq!(logits(row, 1), all[10 * row..10 * (row + 1)], "row {row} alone");
    }
}
