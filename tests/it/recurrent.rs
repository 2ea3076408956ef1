//! LSTM, GRU and RNN: equal to PyTorch's, fused equal to step by step, and what their layers refuse.

mod options;

use std::collections::BTreeMap;

use ferrotape::io::load_safetensors;
use ferrotape::nn::{
    GRUCell, LSTMCell, Param, RNNCellConfig, VisitorMut, load_state_dict, parameters, state_dict,
};
use ferrotape::prelude::*;
use ferrotape::{RecurrentCell, SequenceOp};

const STEPS: usize = 4;
const BATCH: usize = 3;
const INPUT: usize = 2;
const HIDDEN: usize = 3;
const LENGTHS: [usize; 3] = [2, 4, 3];

/// The numbers of `tests/data/recurrent/make.py`.
fn numbers(shape: &[usize], seed: usize, scale: f64) -> Tensor {
    let value = |i: usize| ((i * 7919 + seed * 104_729 + 13) % 2003) as f64 - 1001.0;
    let count = shape.iter().product();
    let values: Vec<f64> = (0..count).map(|i| value(i) / 1001.0 * scale).collect();
    Tensor::from_vec(values, shape).unwrap()
}

/// Gives every parameter its numbers.
struct Fill(usize);

impl VisitorMut for Fill {
    fn enter(&mut self, _: &str) {}
    fn leave(&mut self) {}
    fn param(&mut self, param: &mut Param) {
        param.set(numbers(param.tensor().shape(), 10 + self.0, 0.7));
        self.0 += 1;
    }
    fn buffer(&mut self, _: &mut ferrotape::nn::Buffer) {}
}

/// Any of the three, as one.
enum Layer {
    Lstm(LSTM),
    Gru(GRU),
    Rnn(RNN),
}

type Options<'a> = BTreeMap<&'a str, usize>;

impl Layer {
    fn new(kind: &str, options: &Options<'_>) -> Layer {
        let mut rng = Generator::new(0);
        let on = |name: &str| options[name] == 1;
        macro_rules! config {
            ($config:ty) => {
                <$config>::new(INPUT, HIDDEN)
                    .num_layers(options["layers"])
                    .bidirectional(options["directions"] == 2)
                    .bias(on("bias"))
                    .batch_first(on("batch_first"))
                    .dtype(DType::F64)
            };
        }
        let mut layer = match kind {
            "lstm" => {
                let config = config!(LSTMConfig).proj_size(if on("proj") { 2 } else { 0 });
                Layer::Lstm(config.build(&mut rng).unwrap())
            }
            "gru" => Layer::Gru(config!(GRUConfig).build(&mut rng).unwrap()),
            _ => {
                let config = config!(RNNConfig).relu(kind == "rnn_relu");
                Layer::Rnn(config.build(&mut rng).unwrap())
            }
        };
        match &mut layer {
            Layer::Lstm(net) => net.visit_mut(&mut Fill(0)),
            Layer::Gru(net) => net.visit_mut(&mut Fill(0)),
            Layer::Rnn(net) => net.visit_mut(&mut Fill(0)),
        }
        layer
    }

    fn module(&self) -> &dyn Module {
        match self {
            Layer::Lstm(net) => net,
            Layer::Gru(net) => net,
            Layer::Rnn(net) => net,
        }
    }

    /// Output and states.
    fn run(&self, x: &Tensor, states: &[Tensor], packed: bool) -> Result<Vec<Tensor>> {
        let ctx = &mut Ctx::eval();
        macro_rules! run {
            ($net:expr, $state:expr) => {
                match packed {
                    true => $net.forward_packed(x, &LENGTHS, $state, ctx)?,
                    false => $net.forward_from(x, $state, ctx)?,
                }
            };
        }
        Ok(match self {
            Layer::Lstm(net) => {
                let (y, (h, c)) = run!(net, Some((&states[0], &states[1])));
                vec![y, h, c]
            }
            Layer::Gru(net) => {
                let (y, h) = run!(net, Some(&states[0]));
                vec![y, h]
            }
            Layer::Rnn(net) => {
                let (y, h) = run!(net, Some(&states[0]));
                vec![y, h]
            }
        })
    }
}

#[test]
fn results_and_all_gradients_are_pytorchs() {
    let path = crate::root().join("tests/data/recurrent/recurrent.safetensors");
    let cases = load_safetensors(path).unwrap();
    assert_eq!(cases.len(), 160);
    for (name, expected) in &cases {
        let mut words = name.split(' ');
        let kind = words.next().unwrap();
        let options: Options<'_> =
            words.filter_map(|w| w.split_once('=')).map(|(k, v)| (k, v.parse().unwrap())).collect();
        let layer = Layer::new(kind, &options);
        let on = |name: &str| options[name] == 1;
        let places = options["layers"] * options["directions"];
        let x = match on("batch_first") {
            true => numbers(&[BATCH, STEPS, INPUT], 1, 1.5),
            false => numbers(&[STEPS, BATCH, INPUT], 1, 1.5),
        };
        let size = if on("proj") { 2 } else { HIDDEN };
        let mut states = vec![numbers(&[places, BATCH, size], 2, 0.9)];
        if kind == "lstm" {
            states.push(numbers(&[places, BATCH, HIDDEN], 3, 1.1));
        }
        let parameters = parameters(layer.module());
        let leaves: Vec<&Tensor> = [&x]
            .into_iter()
            .chain(&states)
            .chain(parameters.iter().map(|(_, param)| param.tensor()))
            .collect();
        let ((results, loss), tape) = Tape::record(|tape| {
            leaves.iter().for_each(|leaf| tape.watch(leaf));
            let results = layer.run(&x, &states, on("packed"))?;
            let mut loss = Tensor::zeros((), DType::F64)?;
            for (i, result) in results.iter().enumerate() {
                let weight = numbers(result.shape(), 4 + i, 1.0);
                loss = Ok(loss).add(result.mul(weight).sum(..))?;
            }
            Ok((results, loss))
        })
        .unwrap_or_else(|error| panic!("{name}: {error}"));
        let gradients = tape.gradient(&loss, &leaves).unwrap();
        let found: Vec<f64> = results
            .iter()
            .chain(&gradients)
            .flat_map(|tensor| tensor.to_vec::<f64>().unwrap())
            .collect();
        let expected: Vec<f64> = expected.to_vec().unwrap();
        assert_eq!(found.len(), expected.len(), "{name}");
        for (place, (found, expected)) in found.iter().zip(expected).enumerate() {
            let close = (found - expected).abs() <= 1e-9 * (1.0 + expected.abs());
            assert!(close, "{name}: number {place} is {found}, not {expected}");
        }
    }
}

/// Operands of a layer: x, states, weights.
fn operands(settings: SequenceOp, dtype: DType) -> Vec<Tensor> {
    let (gates, hidden) = (settings.cell.gates() * 5, 5);
    let output = if settings.projection { 3 } else { hidden };
    let mut shapes = vec![vec![6, 4, 7]];
    shapes.extend(settings.places().h0.map(|_| vec![4, output]));
    shapes.extend(settings.places().c0.map(|_| vec![4, hidden]));
    shapes.extend([vec![gates, 7], vec![gates, output]]);
    if settings.bias {
        shapes.extend([vec![gates], vec![gates]]);
    }
    if settings.projection {
        shapes.push(vec![output, hidden]);
    }
    let mut all: Vec<Tensor> = shapes
        .iter()
        .enumerate()
        .map(|(seed, shape)| numbers(shape, seed, 0.8).to_dtype(dtype).unwrap())
        .collect();
    if settings.lengths {
        all.push(Tensor::from([3i64, 6, 1, 5]));
    }
    all
}

/// Every combination of settings.
pub(crate) fn all_settings() -> Vec<SequenceOp> {
    use RecurrentCell::*;
    let mut all = Vec::new();
    for cell in [Lstm, Gru, RnnTanh, RnnRelu] {
        for bits in 0..32 {
            let on = |bit: usize| bits >> bit & 1 == 1;
            let (reverse, bias, lengths, projection, state) = (on(0), on(1), on(2), on(3), on(4));
            if cell == Lstm || !projection {
                all.push(SequenceOp { cell, reverse, state, bias, lengths, projection });
            }
        }
    }
    all
}

fn bits(x: &Tensor) -> Vec<u64> {
    x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap().iter().map(|x| x.to_bits()).collect()
}

/// The forward pass has the bits of single operations; gradients are sums in another order: within `64 eps` of their size.
#[test]
fn fused_is_the_steps_it_is_made_of() {
    for (settings, dtype) in
        all_settings().into_iter().flat_map(|s| [(s, DType::F32), (s, DType::F64)])
    {
        let operands = operands(settings, dtype);
        let operands: Vec<&Tensor> = operands.iter().collect();
        let run = |fused: bool| {
            let ((out, loss), tape) = Tape::record(|tape| {
                operands.iter().for_each(|x| tape.watch(x));
                let out = match fused {
                    true => settings.fused(&operands)?,
                    false => settings.decomposed(&operands)?,
                };
                let mut loss =
                    out.y.mul(numbers(out.y.shape(), 90, 1.0).to_dtype(dtype)?).sum(..)?;
                for state in [Some(&out.h_n), out.c_n.as_ref()].into_iter().flatten() {
                    loss = loss.add(state.square().sum(..))?;
                }
                Ok((out, loss))
            })
            .unwrap();
            (out, tape.gradient_or_none(&loss, &operands).unwrap())
        };
        let ((fused, mine), (steps, theirs)) = (run(true), run(false));
        assert_eq!(bits(&fused.y), bits(&steps.y), "{settings:?} {dtype}");
        assert_eq!(bits(&fused.h_n), bits(&steps.h_n), "{settings:?} {dtype}");
        assert_eq!(fused.c_n.map(|c| bits(&c)), steps.c_n.map(|c| bits(&c)), "{settings:?}");
        let eps = if dtype == DType::F32 { f64::from(f32::EPSILON) } else { f64::EPSILON };
        for (place, (mine, theirs)) in mine.iter().zip(&theirs).enumerate() {
            let (Some(mine), Some(theirs)) = (mine, theirs) else {
                assert!(mine.is_none() && theirs.is_none(), "{settings:?}: operand {place}");
                continue;
            };
            let size = theirs.abs().max(..).unwrap().to_f64().unwrap();
            let apart = mine.sub(theirs).abs().max(..).unwrap().to_f64().unwrap();
            assert!(apart <= 64.0 * eps * size.max(1.0), "{settings:?}: operand {place}: {apart}");
        }
    }
}

/// The first step's gradient is infinite: 0 times it is NaN where the state is a given 0, and nothing where there is none.
#[test]
fn a_state_that_nobody_gave_contributes_nothing() {
    let none = SequenceOp::new(RecurrentCell::RnnRelu);
    let positive = |shape: &[usize], seed| numbers(shape, seed, 0.8).abs().add(0.1).unwrap();
    let (x, w_ih) = (positive(&[2, 1, 3], 1), positive(&[2, 3], 2));
    let (h0, w_hh) = (Tensor::zeros([1, 2], &x).unwrap(), positive(&[2, 2], 3));
    let seed = Tensor::from([f64::INFINITY, f64::INFINITY, 1.0, 1.0]).reshape([2, 1, 2]).unwrap();
    let gradient = |settings: SequenceOp, operands: &[&Tensor]| {
        let ((y, loss), tape) = Tape::record(|tape| {
            tape.watch(&w_hh);
            let y = settings.fused(operands)?.y;
            Ok((y.clone(), y.mul(&seed).sum(..)?))
        })
        .unwrap();
        let y = y.to_vec::<f64>().unwrap();
        (y, tape.gradient(&loss, &[&w_hh]).unwrap()[0].to_vec::<f64>().unwrap())
    };
    let (y, mine) = gradient(none, &[&x, &w_ih, &w_hh]);
    assert_eq!(mine, [y[0], y[1], y[0], y[1]]);
    let (_, given) = gradient(SequenceOp { state: true, ..none }, &[&x, &h0, &w_ih, &w_hh]);
    assert!(given.iter().all(|x| x.is_nan()), "{given:?}");
}

/// One tensor as both weights: each share once, also in the second order.
#[test]
fn a_value_that_is_two_operands_gets_both_shares() {
    let settings = SequenceOp { state: true, ..SequenceOp::new(RecurrentCell::RnnTanh) };
    let (x, h, w) =
        (numbers(&[3, 2, 4], 1, 1.0), numbers(&[2, 4], 2, 1.0), numbers(&[4, 4], 3, 0.5));
    let second = |fused: bool| {
        let (norm, outer) = Tape::record(|tape| {
            tape.watch(&w);
            let (loss, inner) = Tape::record(|tape| {
                tape.watch(&w);
                let all = [&x, &h, &w, &w];
                let out = if fused { settings.fused(&all)? } else { settings.decomposed(&all)? };
                out.y.square().sum(..)
            })?;
            inner.gradient(&loss, &[&w])?[0].square().sum(..)
        })
        .unwrap();
        let first = norm.to_f64().unwrap();
        (first, outer.gradient(&norm, &[&w]).unwrap()[0].to_vec::<f64>().unwrap())
    };
    let ((a, mine), (b, theirs)) = (second(true), second(false));
    assert!((a - b).abs() < 1e-12 * b.abs(), "{a} {b}");
    for (mine, theirs) in mine.iter().zip(&theirs) {
        assert!((mine - theirs).abs() < 1e-11 * theirs.abs().max(1.0), "{mine} {theirs}");
    }
}

#[test]
fn what_lies_beyond_a_length_is_not_read() {
    for settings in all_settings().into_iter().filter(|settings| settings.lengths) {
        let clean = operands(settings, DType::F64);
        let lengths: Vec<i64> = clean[clean.len() - 1].to_vec().unwrap();
        let mut x: Vec<f64> = clean[0].to_vec().unwrap();
        for (at, x) in x.iter_mut().enumerate() {
            if (at / 28) as i64 >= lengths[at / 7 % 4] {
                *x = f64::NAN;
            }
        }
        let mut dirty = clean.clone();
        dirty[0] = Tensor::from_vec(x, [6, 4, 7]).unwrap();
        let run = |operands: &[Tensor], fused: bool| {
            let operands: Vec<&Tensor> = operands.iter().collect();
            let (loss, tape) = Tape::record(|tape| {
                operands.iter().for_each(|x| tape.watch(x));
                let out = match fused {
                    true => settings.fused(&operands)?,
                    false => settings.decomposed(&operands)?,
                };
                out.y.square().sum(..)
            })
            .unwrap();
            let gradients = tape.gradient_or_none(&loss, &operands).unwrap();
            gradients.iter().flatten().map(bits).collect::<Vec<_>>()
        };
        for fused in [true, false] {
            assert_eq!(run(&clean, fused), run(&dirty, fused), "{settings:?}");
        }
    }
}

#[test]
fn parameters_have_pytorchs_names_and_shapes() {
    let lstm = LSTMConfig::new(5, 4).num_layers(2).bidirectional(true).proj_size(3);
    let lstm = lstm.build(&mut Generator::new(0)).unwrap();
    let names: Vec<(String, Vec<usize>)> =
        parameters(&lstm).into_iter().map(|(name, p)| (name, p.shape().to_vec())).collect();
    let mut expected = Vec::new();
    for (suffix, input) in [("l0", 5), ("l0_reverse", 5), ("l1", 6), ("l1_reverse", 6)] {
        expected.push((format!("weight_ih_{suffix}"), vec![16, input]));
        expected.push((format!("weight_hh_{suffix}"), vec![16, 3]));
        expected.push((format!("bias_ih_{suffix}"), vec![16]));
        expected.push((format!("bias_hh_{suffix}"), vec![16]));
        expected.push((format!("weight_hr_{suffix}"), vec![3, 4]));
    }
    assert_eq!(names, expected);
    for (name, param) in parameters(&lstm) {
        let all: Vec<f32> = param.to_vec().unwrap();
        assert!(all.iter().all(|x| x.abs() <= 0.5), "{name}");
        assert!(all.iter().any(|x| x.abs() > 0.2), "{name}");
    }
    let cell = GRUCell::new(3, 2, &mut Generator::new(0)).unwrap();
    let names: Vec<String> = parameters(&cell).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["weight_ih", "weight_hh", "bias_ih", "bias_hh"]);
    let mut other = LSTM::new(5, 4, &mut Generator::new(1)).unwrap();
    let source = LSTM::new(5, 4, &mut Generator::new(2)).unwrap();
    load_state_dict(&mut other, &state_dict(&source)).unwrap();
    assert_eq!(bits(&parameters(&other)[1].1.copy().unwrap()), bits(parameters(&source)[1].1));
}

#[test]
fn an_input_without_a_batch_is_a_batch_of_one() {
    let mut rng = Generator::new(3);
    let ctx = &mut Ctx::eval();
    for batch_first in [false, true] {
        let net = LSTMConfig::new(3, 4).num_layers(2).bidirectional(true).batch_first(batch_first);
        let net = net.build(&mut rng).unwrap();
        let x = rng.normal([5, 3], 0., 1., DType::F32).unwrap();
        let (y, (h, c)) = net.forward(&x, ctx).unwrap();
        assert_eq!((y.shape(), h.shape(), c.shape()), (&[5, 8][..], &[4, 4][..], &[4, 4][..]));
        let batched = x.unsqueeze(if batch_first { 0 } else { 1 }).unwrap();
        let (z, (g, d)) = net.forward(&batched, ctx).unwrap();
        assert_eq!((bits(&y), bits(&h), bits(&c)), (bits(&z), bits(&g), bits(&d)));
        let again = net.forward_from(&x, Some((&h, &c)), ctx).unwrap();
        assert_eq!(again.0.shape(), [5, 8]);
    }
}

/// A row's bits depend on its own numbers alone: not on the rows beside it, nor on how far they reach.
#[test]
fn a_row_does_not_feel_its_batch() {
    let mut rng = Generator::new(4);
    let net = GRUConfig::new(3, 20).bidirectional(true).build(&mut rng).unwrap();
    let x = rng.normal([9, 70, 3], 0., 1., DType::F32).unwrap();
    let lengths: Vec<usize> = (0..70).map(|row| row % 9 + 1).collect();
    let ctx = &mut Ctx::eval();
    let (all, last) = net.forward_packed(&x, &lengths, None, ctx).unwrap();
    for row in [0, 1, 33, 69] {
        let alone = x.narrow(1, row, 1).narrow(0, 0, lengths[row]).unwrap();
        let (y, h) = net.forward(&alone, ctx).unwrap();
        let from_all = all.narrow(1, row, 1).narrow(0, 0, lengths[row]).unwrap();
        assert_eq!(bits(&y), bits(&from_all), "row {row}");
        assert_eq!(bits(&h), bits(&last.narrow(1, row, 1).unwrap()), "row {row}");
    }
}

#[test]
fn cells_are_steps_of_layers() {
    let mut rng = Generator::new(5);
    let x = rng.normal([6, 2, 3], 0., 1., DType::F32).unwrap();
    let ctx = &mut Ctx::eval();
    let step = |t: usize| x.narrow(0, t, 1).squeeze(0).unwrap();
    let renamed = |module: &dyn Module| -> BTreeMap<String, Tensor> {
        let all = state_dict(module).into_iter();
        all.map(|(name, x)| (name + "_l0", x)).collect()
    };

    let cell = LSTMCell::new(3, 4, &mut rng).unwrap();
    let mut layer = LSTM::new(3, 4, &mut rng).unwrap();
    load_state_dict(&mut layer, &renamed(&cell)).unwrap();
    let (y, (_, c)) = layer.forward(&x, ctx).unwrap();
    let mut state = cell.forward(&step(0), None).unwrap();
    for t in 1..6 {
        state = cell.forward(&step(t), Some((&state.0, &state.1))).unwrap();
    }
    assert_eq!(bits(&state.0), bits(&y.narrow(0, 5, 1).unwrap()));
    assert_eq!(bits(&state.1), bits(&c));

    let cell = GRUCell::new(3, 4, &mut rng).unwrap();
    let mut layer = GRU::new(3, 4, &mut rng).unwrap();
    load_state_dict(&mut layer, &renamed(&cell)).unwrap();
    let h =
        (0..6).fold(None, |h: Option<Tensor>, t| Some(cell.forward(&step(t), h.as_ref()).unwrap()));
    assert_eq!(bits(&h.unwrap()), bits(&layer.forward(&x, ctx).unwrap().1));

    let cell = RNNCellConfig::new(3, 4).relu(true).build(&mut rng).unwrap();
    let mut layer = RNNConfig::new(3, 4).relu(true).build(&mut rng).unwrap();
    load_state_dict(&mut layer, &renamed(&cell)).unwrap();
    let h =
        (0..6).fold(None, |h: Option<Tensor>, t| Some(cell.forward(&step(t), h.as_ref()).unwrap()));
    assert_eq!(bits(&h.unwrap()), bits(&layer.forward(&x, ctx).unwrap().1));
    let alone = x.i((0, 0)).unwrap();
    assert_eq!(cell.forward(&alone, None).unwrap().shape(), [4]);
}

#[test]
fn dropout_lies_between_layers_and_in_training_alone() {
    let mut rng = Generator::new(6);
    let net = GRUConfig::new(3, 8).num_layers(2).dropout(0.5).build(&mut rng).unwrap();
    let x = rng.normal([4, 2, 3], 0., 1., DType::F32).unwrap();
    let run = |ctx: &mut Ctx<'_>| net.forward(&x, ctx).unwrap();
    let (plain, states) = run(&mut Ctx::eval());
    assert_eq!(bits(&plain), bits(&run(&mut Ctx::eval()).0));
    let (dropped, other) = run(&mut Ctx::train(&mut Generator::new(7)));
    assert_eq!(bits(&dropped), bits(&run(&mut Ctx::train(&mut Generator::new(7))).0));
    let first = |h: &Tensor| bits(&h.narrow(0, 0, 1).unwrap());
    assert_eq!(first(&states), first(&other), "nothing is dropped before the first layer's state");
    assert_ne!(bits(&plain), bits(&dropped));
    assert!(dropped.to_vec::<f32>().unwrap().iter().all(|&x| x != 0.0), "nor after the last");
}

#[test]
fn wrong_calls_are_errors_in_words() {
    let mut rng = Generator::new(8);
    let ctx = &mut Ctx::eval();
    let says = |error: Error, expected: &str| {
        let text = error.to_string();
        assert!(text.contains(expected), "{text} without {expected}");
    };
    says(LSTM::new(0, 4, &mut rng).unwrap_err(), "lstm: input_size 0");
    says(LSTMConfig::new(2, 3).proj_size(3).build(&mut rng).unwrap_err(), "proj_size 3");
    says(GRUConfig::new(2, 3).dropout(1.5).build(&mut rng).unwrap_err(), "1.5 is no probability");
    says(RNN::new(1, usize::MAX, &mut rng).unwrap_err(), "too large");
    let net = LSTM::new(2, 3, &mut rng).unwrap();
    let x = Tensor::zeros([5, 4, 2], DType::F32).unwrap();
    let narrow = x.narrow(2, 0, 1).unwrap();
    says(net.forward(&narrow, ctx).unwrap_err(), "lstm: input [5, 4, 1]: [steps, batch, 2]");
    let h = Tensor::zeros([1, 3, 3], DType::F32).unwrap();
    says(net.forward_from(&x, Some((&h, &h)), ctx).unwrap_err(), "h_0 [1, 3, 3]: [1, 4, 3]");
    let packed = |lengths: &[usize]| net.forward_packed(&x, lengths, None, &mut Ctx::eval());
    says(packed(&[5, 5]).unwrap_err(), "2 lengths for a batch of 4");
    says(packed(&[5, 5, 0, 1]).unwrap_err(), "a length is outside 1..=steps");
    says(packed(&[5, 5, 6, 1]).unwrap_err(), "a length is outside 1..=steps");
    let none = Tensor::zeros([0, 4, 2], DType::F32).unwrap();
    says(net.forward(&none, ctx).unwrap_err(), "at least one step");
    let empty = Tensor::zeros([5, 0, 2], DType::F32).unwrap();
    assert_eq!(net.forward(&empty, ctx).unwrap().0.shape(), [5, 0, 3]);
    says(net.forward(&x.to_dtype(DType::F64).unwrap(), ctx).unwrap_err(), "f64 and f32");
}
