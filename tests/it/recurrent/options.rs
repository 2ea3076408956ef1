//! Options of recurrent layers: 2-byte floats, dropout that trains, lengths in any order, cells' options, and more wrong calls.

use super::*;

fn close(found: &Tensor, expected: &Tensor, tolerance: f64, what: &str) {
    assert_eq!(found.shape(), expected.shape(), "{what}");
    let values = |x: &Tensor| x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap();
    for (found, expected) in values(found).into_iter().zip(values(expected)) {
        let apart = (found - expected).abs();
        assert!(apart <= tolerance * (1.0 + expected.abs()), "{what}: {found} for {expected}");
    }
}

/// Results and gradients in a 2-byte float are those of f32 with inputs of that type, within its digits.
#[test]
fn two_byte_floats_are_f32_with_fewer_digits() {
    for (dtype, tolerance) in [(DType::F16, 1e-3), (DType::BF16, 1e-2)] {
        let mut rng = Generator::new(11);
        let config = LSTMConfig::new(3, 6).num_layers(2).bidirectional(true).proj_size(4);
        let half = config.dtype(dtype).build(&mut rng).unwrap();
        assert!(parameters(&half).iter().all(|(_, param)| param.dtype() == dtype));
        let mut whole = config.build(&mut rng).unwrap();
        let wide = state_dict(&half).into_iter();
        let wide = wide.map(|(name, x)| (name, x.to_dtype(DType::F32).unwrap())).collect();
        load_state_dict(&mut whole, &wide).unwrap();
        let x = rng.normal([5, 2, 3], 0., 1., dtype).unwrap();
        let run = |net: &LSTM, x: &Tensor| {
            let mut rng = Generator::new(0);
            value_and_grad(net, &mut rng, |net, ctx| {
                let (y, (h, c)) = net.forward_packed(x, &[3, 5], None, ctx)?;
                assert_eq!((y.dtype(), h.dtype(), c.dtype()), (x.dtype(), x.dtype(), x.dtype()));
                y.square().mean(..).add(c.square().mean(..))
            })
            .unwrap()
        };
        let (mine, theirs) = (run(&half, &x), run(&whole, &x.to_dtype(DType::F32).unwrap()));
        close(&mine.loss, &theirs.loss, tolerance, "the loss");
        assert_eq!(mine.gradients.iter().count(), 20);
        for ((name, mine), (_, theirs)) in mine.gradients.iter().zip(theirs.gradients.iter()) {
            assert_eq!(mine.dtype(), dtype);
            close(mine, theirs, 4.0 * tolerance, name);
        }
        let cell = ferrotape::nn::GRUCellConfig::new(3, 4)
            .bias(false)
            .dtype(dtype)
            .build(&mut rng)
            .unwrap();
        let h = cell.forward(&x.i(0).unwrap(), None).unwrap();
        assert_eq!((h.dtype(), h.shape()), (dtype, &[2, 4][..]));
    }
}

/// Dropout that drops all of a layer's output leaves the next layer its biases; in evaluation it is not there.
#[test]
fn dropout_drops_what_the_next_layer_gets() {
    let mut rng = Generator::new(12);
    let net = LSTMConfig::new(3, 4).num_layers(2).dropout(1.0).build(&mut rng).unwrap();
    let x = rng.normal([4, 2, 3], 0., 1., DType::F32).unwrap();
    let step = value_and_grad(&net, &mut rng, |net, ctx| net.forward(&x, ctx)?.0.square().sum(..));
    for (name, gradient) in step.unwrap().gradients.iter() {
        let zero = gradient.abs().max(..).unwrap().to_f64().unwrap() == 0.0;
        assert_eq!(zero, name.ends_with("l0") || name == "weight_ih_l1", "{name}");
    }
    let plain = LSTMConfig::new(3, 4).num_layers(2);
    let mut plain = plain.build(&mut rng).unwrap();
    load_state_dict(&mut plain, &state_dict(&net)).unwrap();
    let ctx = &mut Ctx::eval();
    assert_eq!(bits(&net.forward(&x, ctx).unwrap().0), bits(&plain.forward(&x, ctx).unwrap().0));
}

/// A running sum's sign, learned with dropout between the layers.
#[test]
fn two_layers_with_dropout_learn() {
    #[derive(Module)]
    struct Net {
        gru: GRU,
        fc: Linear,
    }
    let mut rng = Generator::new(13);
    let gru = GRUConfig::new(1, 16).num_layers(2).dropout(0.2).batch_first(true);
    let gru = gru.build(&mut rng).unwrap();
    let mut net = Net { gru, fc: Linear::new(16, 1, &mut rng).unwrap() };
    let x = rng.normal([128, 6, 1], 0., 1., DType::F32).unwrap();
    let y = x.sum(1).gt(0.0).to_dtype(DType::F32).unwrap();
    let run = |net: &Net, ctx: &mut Ctx<'_>| -> Result<Tensor> {
        let h_n = net.gru.forward(&x, ctx)?.1;
        net.fc.forward(&h_n.i(1)?, ctx).bce_with_logits(&y)
    };
    let before = run(&net, &mut Ctx::eval()).unwrap().to_f64().unwrap();
    let mut optimizer = Adam::new(0.01);
    for _ in 0..120 {
        let step = value_and_grad(&net, &mut rng, run).unwrap();
        optimizer.step(&mut net, &step).unwrap();
    }
    let after = run(&net, &mut Ctx::eval()).unwrap().to_f64().unwrap();
    assert!(before > 0.6 && after < 0.2, "{before} to {after}");
}

/// PyTorch's `enforce_sorted=False`: rows need no order, results come back in the order given.
#[test]
fn lengths_in_any_order_give_the_rows_in_that_order() {
    let mut rng = Generator::new(14);
    let net = LSTMConfig::new(3, 5).num_layers(2).bidirectional(true).build(&mut rng).unwrap();
    let x = rng.normal([6, 4, 3], 0., 1., DType::F32).unwrap();
    let ctx = &mut Ctx::eval();
    let sorted = [6, 5, 3, 1];
    let (y, (h, c)) = net.forward_packed(&x, &sorted, None, ctx).unwrap();
    let order = [2usize, 0, 3, 1];
    let index = Tensor::from(order.map(|row| row as i64));
    let turned = |x: &Tensor| x.index_select(1, &index).unwrap();
    let lengths = order.map(|row| sorted[row]);
    let (z, (g, d)) = net.forward_packed(&turned(&x), &lengths, None, ctx).unwrap();
    assert_eq!(
        (bits(&z), bits(&g), bits(&d)),
        (bits(&turned(&y)), bits(&turned(&h)), bits(&turned(&c)))
    );
    let alone = x.i((.., 2)).unwrap();
    let (w, _) = net.forward_packed(&alone, &[3], None, ctx).unwrap();
    assert_eq!(bits(&w), bits(&y.i((.., 2)).unwrap()), "without a batch");
}

#[test]
fn options_of_cells() {
    let mut rng = Generator::new(15);
    let names = |module: &dyn Module| -> Vec<(String, Vec<usize>)> {
        let all = parameters(module).into_iter();
        all.map(|(name, param)| (name, param.shape().to_vec())).collect()
    };
    let weights = |gates: usize| {
        [("weight_ih", vec![gates * 4, 3]), ("weight_hh", vec![gates * 4, 4])]
            .map(|(name, shape)| (name.to_string(), shape))
            .to_vec()
    };
    let lstm = ferrotape::nn::LSTMCellConfig::new(3, 4)
        .bias(false)
        .dtype(DType::F64)
        .build(&mut rng)
        .unwrap();
    let gru = ferrotape::nn::GRUCellConfig::new(3, 4)
        .bias(false)
        .dtype(DType::F64)
        .build(&mut rng)
        .unwrap();
    let rnn = ferrotape::nn::RNNCellConfig::new(3, 4)
        .bias(false)
        .dtype(DType::F64)
        .build(&mut rng)
        .unwrap();
    assert_eq!(names(&lstm), weights(4));
    assert_eq!(names(&gru), weights(3));
    assert_eq!(names(&rnn), weights(1));
    let x = rng.normal([2, 3], 0., 1., DType::F64).unwrap();
    let h = rng.normal([2, 4], 0., 1., DType::F64).unwrap();
    let step = value_and_grad(&lstm, &mut rng, |cell, _| {
        let state = cell.forward(&x, Some((&h, &h)))?;
        let (h, c) = cell.forward(&x, Some((&state.0, &state.1)))?;
        h.square().sum(..).add(c.sum(..))
    });
    assert_eq!(step.unwrap().gradients.iter().count(), 2);
    let bare = gru.forward(&x.i(0).unwrap(), Some(&h.i(0).unwrap())).unwrap();
    assert_eq!(bits(&bare), bits(&gru.forward(&x, Some(&h)).unwrap().i(0).unwrap()));
    let text = |error: Error| error.to_string();
    let error = text(rnn.forward(&h, None).unwrap_err());
    assert!(error.contains("rnn: input [2, 4]: [batch, 3] or [3] expected"), "{error}");
    let error = text(gru.forward(&x, Some(&h.i(0).unwrap())).unwrap_err());
    assert!(error.contains("gru: a state of [4]"), "{error}");
    let error = text(lstm.forward(&x, Some((&h, &x))).unwrap_err());
    assert!(error.contains("[2, 3]: [2, 4] expected"), "{error}");
    assert!(text(LSTMCell::new(3, 0, &mut rng).unwrap_err()).contains("hidden_size 0"));
}

#[test]
fn more_wrong_calls_are_errors_in_words() {
    let mut rng = Generator::new(16);
    let ctx = &mut Ctx::eval();
    let says = |error: Error, expected: &str| {
        let text = error.to_string();
        assert!(text.contains(expected), "{text} without {expected}");
    };
    let zeros = |shape: &[usize]| Tensor::zeros(shape, DType::F32).unwrap();
    says(GRUConfig::new(2, 3).num_layers(0).build(&mut rng).unwrap_err(), "num_layers 0");
    says(LSTMConfig::new(2, 3).dropout(f64::NAN).build(&mut rng).unwrap_err(), "no probability");
    says(LSTMConfig::new(2, 3).dtype(DType::I64).build(&mut rng).unwrap_err(), "i64");
    let net = LSTMConfig::new(2, 3).batch_first(true).build(&mut rng).unwrap();
    says(net.forward(&zeros(&[2]), ctx).unwrap_err(), "[batch, steps, 2] or [steps, 2] expected");
    says(net.forward(&zeros(&[1, 4, 5, 2]), ctx).unwrap_err(), "input [1, 4, 5, 2]");
    says(net.forward(&zeros(&[4, 0, 2]), ctx).unwrap_err(), "at least one step");
    let (x, h) = (zeros(&[4, 5, 2]), zeros(&[1, 4, 3]));
    let narrow = zeros(&[1, 4, 2]);
    says(net.forward_from(&x, Some((&h, &narrow)), ctx).unwrap_err(), "c_0 [1, 4, 2]: [1, 4, 3]");
    let half = h.to_dtype(DType::F16).unwrap();
    says(net.forward_from(&x, Some((&half, &half)), ctx).unwrap_err(), "f16");
    let alone = zeros(&[5, 2]);
    says(net.forward_from(&alone, Some((&h, &h)), ctx).unwrap_err(), "h_0 [1, 4, 3]: [1, 3]");
    says(net.forward_packed(&alone, &[5, 5], None, ctx).unwrap_err(), "2 lengths for a batch of 1");
    says(net.forward_packed(&x, &[], None, ctx).unwrap_err(), "0 lengths for a batch of 4");
    let ints = x.to_dtype(DType::I64).unwrap();
    says(net.forward(&ints, ctx).unwrap_err(), "i64");
    let none = zeros(&[0, 5, 2]);
    let step = value_and_grad(&net, &mut rng, |net, ctx| net.forward(&none, ctx)?.0.sum(..));
    let sums = step.unwrap().gradients.iter().map(|(_, g)| g.abs().sum(..).unwrap()).collect();
    let sums: Vec<Tensor> = sums;
    assert!(sums.len() == 4 && sums.iter().all(|sum| sum.to_f64().unwrap() == 0.0), "no rows");
}
