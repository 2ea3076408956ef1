//! Losses with margins, attention and the smaller layers against PyTorch's values and gradients (`tests/data/layers/make.py`).

use std::collections::BTreeMap;

use ferrotape::io::load_safetensors;
use ferrotape::nn::*;
use ferrotape::prelude::*;

type Named = BTreeMap<String, Tensor>;

fn recorded() -> Named {
    load_safetensors(crate::root().join("tests/data/layers/layers.safetensors")).unwrap()
}

fn close(name: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let numbers = |x: &Tensor| x.to_vec::<f64>().unwrap();
    let expected = numbers(expected);
    let largest = expected.iter().fold(1e-3, |most: f64, x| most.max(x.abs()));
    for (at, (found, expected)) in numbers(found).iter().zip(&expected).enumerate() {
        let off = (found - expected).abs() / largest;
        assert!(off < 1e-11, "{name}[{at}]: {found} for {expected}, off by {off:e}");
    }
}

/// What is under test: the inputs as parameters, and a layer.
#[derive(Module)]
struct Case<L: Module> {
    inputs: Vec<Param>,
    layer: L,
}

/// Loads the layer, and compares output and gradients.
fn check<L: Module>(
    name: &str,
    layer: L,
    forward: impl Fn(&L, &[&Tensor], &mut Ctx<'_>) -> Result<Tensor>,
) {
    let all = recorded();
    let under = |part: &str| -> Named {
        let prefix = format!("{name}/{part}");
        let all = all.iter();
        all.filter_map(|(k, v)| Some((k.strip_prefix(&prefix)?.to_string(), v.clone()))).collect()
    };
    let inputs: Vec<Param> = under("in").into_values().map(Param::new).collect();
    assert!(!inputs.is_empty(), "{name}: no inputs");
    let mut case = Case { inputs, layer };
    case.layer.to(DType::F64).unwrap();
    case.layer.load_state_dict(&under("state/")).unwrap();
    let mut out = None;
    let step = value_and_grad(&case, &mut Generator::new(0), |case, ctx| {
        let inputs: Vec<&Tensor> = case.inputs.iter().map(Param::tensor).collect();
        let y = forward(&case.layer, &inputs, ctx)?;
        out = Some(y.detach()?);
        y.square().sum(..)
    })
    .unwrap();
    close(name, &out.unwrap(), &all[&format!("{name}/out")]);
    let gradients: Named =
        step.gradients.iter().map(|(path, g)| (path.to_string(), g.clone())).collect();
    for (at, expected) in under("grad").iter().filter(|(at, _)| !at.starts_with('/')) {
        close(&format!("{name}: gradient {at}"), &gradients[&format!("inputs.{at}")], expected);
    }
    for (path, expected) in under("grad/") {
        close(&format!("{name}: gradient {path}"), &gradients[&format!("layer.{path}")], &expected);
    }
}

fn one(name: &str, layer: impl Forward) {
    check(name, layer, |layer, x, ctx| layer.forward(x[0], ctx));
}

#[test]
fn losses_with_margins_are_those_of_pytorch() {
    let all = recorded();
    let given = |name: &str| &all[name];
    let (sign, signs, classes) = (given("sign"), given("signs"), given("classes"));
    let (labels, zeros_ones, weight) = (given("labels"), given("zeros_ones"), given("weight"));
    let loss = |name: &str, f: &dyn Fn(&[&Tensor]) -> Result<Tensor>| {
        check(name, Identity, |_, x, _| f(x));
    };
    for (name, reduction) in
        [("none", Reduction::None), ("mean", Reduction::Mean), ("sum", Reduction::Sum)]
    {
        let case = |what: &str, f: &dyn Fn(&[&Tensor]) -> Result<Tensor>| {
            loss(&format!("{what}/{name}"), f);
        };
        case("cosine_embedding", &|x| {
            let settings = CosineEmbeddingLoss::default().margin(0.1).reduction(reduction);
            x[0].cosine_embedding_loss_with(x[1], sign, settings)
        });
        case("margin_ranking", &|x| {
            let settings = MarginRankingLoss::default().margin(0.3).reduction(reduction);
            x[0].margin_ranking_loss_with(x[1], signs, settings)
        });
        case("triplet", &|x| {
            let settings = TripletMarginLoss::default().margin(1.5).reduction(reduction);
            x[0].triplet_margin_loss_with(x[1], x[2], settings)
        });
        case("triplet_swap", &|x| {
            let settings = TripletMarginLoss::default().p(3.0).swap(true).reduction(reduction);
            x[0].triplet_margin_loss_with(x[1], x[2], settings)
        });
        case("multi_margin", &|x| {
            let settings = MultiMarginLoss::default().reduction(reduction);
            x[0].multi_margin_loss_with(classes, settings)
        });
        case("multi_margin_two", &|x| {
            let settings = MultiMarginLoss::default().p(2).margin(0.7).weight(weight);
            x[0].multi_margin_loss_with(classes, settings.reduction(reduction))
        });
        case("multilabel_margin", &|x| {
            let settings = MultiLabelMarginLoss::default().reduction(reduction);
            x[0].multilabel_margin_loss_with(labels, settings)
        });
        case("soft_margin", &|x| {
            let settings = SoftMarginLoss::default().reduction(reduction);
            x[0].soft_margin_loss_with(signs, settings)
        });
        case("multilabel_soft_margin", &|x| {
            let settings = MultiLabelSoftMarginLoss::default().weight(weight).reduction(reduction);
            x[0].multilabel_soft_margin_loss_with(zeros_ones, settings)
        });
        case("gaussian", &|x| {
            let settings = GaussianNLLLoss::default().full(true).eps(1e-3).reduction(reduction);
            x[0].gaussian_nll_loss_with(x[1], x[2], settings)
        });
        case("gaussian_rows", &|x| {
            let settings = GaussianNLLLoss::default().reduction(reduction);
            x[0].gaussian_nll_loss_with(x[1], x[2], settings)
        });
    }
    loss("multi_margin_one", &|x| x[0].multi_margin_loss(&Tensor::from(2i64)));
    let few = Tensor::from([1i64, 3, -1, -1]);
    loss("multilabel_margin_one", &|x| x[0].multilabel_margin_loss(&few));
    loss("cosine_embedding_one", &|x| x[0].cosine_embedding_loss(x[1], &Tensor::from(-1f64)));
}

#[test]
fn losses_with_margins_refuse_what_does_not_fit() {
    let x = Tensor::ones([3, 4], DType::F64).unwrap();
    let (three, four) =
        (Tensor::ones([3], DType::F64).unwrap(), Tensor::ones([4], DType::F64).unwrap());
    let far = Tensor::from([0i64, 1, 4]);
    let fits = Tensor::from([0i64, 1, 3]);
    let wrong = [
        x.cosine_embedding_loss(&x, &four),
        x.cosine_embedding_loss(&four, &three),
        x.margin_ranking_loss(&x, &three),
        x.triplet_margin_loss(&x, &four),
        x.multi_margin_loss(&far),
        x.multi_margin_loss(&Tensor::from([0i64, 1])),
        x.multi_margin_loss_with(&fits, MultiMarginLoss::default().p(3)),
        x.multi_margin_loss_with(&fits, MultiMarginLoss::default().weight(&three)),
        Tensor::ones([3, 0], DType::F64).unwrap().multi_margin_loss(&fits),
        x.multilabel_margin_loss(&fits),
        x.multilabel_margin_loss(&x.mul(9.0).to_dtype(DType::I64).unwrap()),
        x.soft_margin_loss(&three),
        x.multilabel_soft_margin_loss(&three),
        x.gaussian_nll_loss(&x, &four),
        x.gaussian_nll_loss(&x, &x.neg().unwrap()),
        x.gaussian_nll_loss_with(&x, &x, GaussianNLLLoss::default().eps(f64::NAN)),
    ];
    for (at, wrong) in wrong.iter().enumerate() {
        assert!(wrong.is_err(), "{at}: {wrong:?}");
    }
    let error = x.margin_ranking_loss(&x, &three).unwrap_err().to_string();
    assert!(error.contains("margin_ranking_loss") && error.contains("[3, 4]"), "{error}");
}

#[test]
fn smaller_layers_are_those_of_pytorch() {
    let mut rng = Generator::new(0);
    let bilinear = Bilinear::new(4, 4, 3, &mut rng).unwrap();
    check("bilinear", bilinear, |layer, x, ctx| layer.forward(x[0], x[1], ctx));
    let cosine = CosineSimilarity::default();
    check("cosine", cosine, |layer, x, ctx| layer.forward(x[0], x[1], ctx));
    let distance = PairwiseDistance { p: 3.0, keepdim: true, ..Default::default() };
    check("distance", distance, |layer, x, ctx| layer.forward(x[0], x[1], ctx));
    one("shuffle", PixelShuffle::new(2));
    one("unshuffle", PixelUnshuffle::new(2));
    one("channel_shuffle", ChannelShuffle::new(3));
    one("unfold", Unfold::new([2, 3]).dilation([1, 2]).padding([1, 2]).stride([2, 1]));
    one("fold", Fold::new([4, 5], [2, 3]).dilation([1, 2]).padding([1, 2]).stride([2, 1]));
    one("fold_one", Fold::new([3, 3], [2, 2]));
    one("unflatten", Unflatten::new(1, [2, -1]));
    one("zero2", ZeroPad2d::new([1, 0, 2, 1]));
    one("constant1", ConstantPad1d::new([2, 1], 3.5));
    one("reflection2", ReflectionPad2d::new([1, 2, 3, 0]));
    one("replication3", ReplicationPad3d::new([1, 2, 0, 1, 3, 0]));
    one("circular2", CircularPad2d::new([1, 2, 3, 0]));
    one("max1", AdaptiveMaxPool1d::new(3));
    let conv = Conv3dConfig::new(2, 4, [2, 1, 3]).stride([1, 2, 1]).padding([0, 1, 1]).groups(2);
    one("conv3", conv.build(&mut rng).unwrap());
    one("local", LocalResponseNorm { alpha: 0.5, ..LocalResponseNorm::new(3) });
    one("group", GroupNorm::new(2, 4).unwrap());
    one("instance", InstanceNorm1dConfig::new(4).affine(true).build().unwrap());
}

#[derive(Module)]
struct Attention {
    attention: MultiheadAttention,
}

#[test]
fn attention_is_that_of_pytorch() {
    let all = recorded();
    let rng = &mut Generator::new(0);
    let mut attend = |name: &str, config: MultiheadAttentionConfig, masks: AttentionMasks<'_>| {
        let layer = Attention { attention: config.build(rng).unwrap() };
        check(name, layer, |layer, x, ctx| {
            let (y, weights) =
                layer.attention.forward_with_weights(x[0], x[1], x[2], masks, ctx)?;
            let sums: Vec<f64> = weights.sum(-1)?.to_vec()?;
            assert!(sums.iter().all(|sum| (sum - 1.0).abs() < 1e-12));
            Ok(y)
        });
    };
    let config = MultiheadAttentionConfig::new(6, 2);
    let masks = AttentionMasks::default;
    let (padding, forbidden) = (&all["padding"], &all["forbidden"]);
    attend("attention", config, masks());
    let both = masks().key_padding_mask(padding).attn_mask(forbidden);
    attend("attention_masks", config, both);
    attend("attention_added", config.bias(false), masks().attn_mask(&all["added"]));
    attend("attention_sizes", config.kdim(5).vdim(4).batch_first(true), masks());
    let first = padding.i(0).unwrap();
    attend("attention_alone", config, masks().key_padding_mask(&first));

    // A query that sees nothing: a 0 before the last projection, and no NaN in a gradient.
    let layer = MultiheadAttention::new(6, 2, rng).unwrap();
    let x = Param::new(Tensor::ones([3, 1, 6], DType::F32).unwrap());
    let blind = Tensor::ones([1, 3], DType::Bool).unwrap();
    let model = (layer, x);
    let step = value_and_grad(&model, rng, |(layer, x), ctx| {
        layer.forward(x, x, x, masks().key_padding_mask(&blind), ctx).square().sum(..)
    });
    let step = step.unwrap();
    assert_eq!(step.loss.to_f64().unwrap(), 0.0);
    assert!(step.gradients.norm().unwrap().is_finite());

    let layer = &model.0;
    let ones = |shape: [usize; 3]| Tensor::ones(shape, DType::F32).unwrap();
    let (x, ctx) = (ones([3, 2, 6]), &mut Ctx::eval());
    assert!(layer.forward(&x, &ones([4, 1, 6]), &ones([4, 1, 6]), masks(), ctx).is_err());
    assert!(layer.forward(&x, &x, &ones([4, 2, 6]), masks(), ctx).is_err());
    assert!(layer.forward(&ones([3, 2, 5]), &x, &x, masks(), ctx).is_err());
    let numbers = Tensor::ones([3, 3], DType::I64).unwrap();
    assert!(layer.forward(&x, &x, &x, masks().attn_mask(&numbers), ctx).is_err());
    assert!(layer.forward(&x, &x, &x, masks().key_padding_mask(&blind), ctx).is_err());
}

#[test]
fn settings_of_layers_are_checked() {
    let rng = &mut Generator::new(0);
    let conv = |a, b| Conv2dConfig::new(a, b, [3, 3]);
    let nan = f64::NAN;
    let refused = [
        conv(0, 4).build(rng).err(),
        conv(4, 0).build(rng).err(),
        Conv2d::new(4, 4, [3, 0], rng).err(),
        conv(4, 4).stride([0, 1]).build(rng).err(),
        conv(4, 4).dilation([1, 0]).build(rng).err(),
        conv(4, 6).groups(4).build(rng).err(),
        conv(4, 4).groups(0).build(rng).err(),
        ConvTranspose1d::new(0, 3, [2], rng).err(),
        ConvTranspose2dConfig::new(3, 3, [2, 2]).stride([0, 2]).build(rng).err(),
        BatchNorm2d::new(0).err(),
        BatchNorm1dConfig::new(2).eps(-1e-5).build().err(),
        BatchNorm1dConfig::new(2).momentum(nan).build().err(),
        LayerNorm::new(()).err(),
        LayerNormConfig::new(3).eps(nan).build().err(),
        RMSNormConfig::new(3).eps(-1.0).build().err(),
        GroupNorm::new(3, 4).err(),
        GroupNorm::new(2, 0).err(),
        InstanceNorm2d::new(0).err(),
        EmbeddingConfig::new(3, 4).padding_idx(3).build(rng).err(),
        LSTM::new(0, 3, rng).err(),
        LSTMConfig::new(3, 4).dropout(1.5).build(rng).err(),
        GRUConfig::new(3, 4).num_layers(0).build(rng).err(),
        GRUCellConfig::new(3, 0).build(rng).err(),
        MultiheadAttention::new(6, 4, rng).err(),
        MultiheadAttention::new(0, 1, rng).err(),
        MultiheadAttentionConfig::new(6, 2).dropout(nan).build(rng).err(),
        TransformerEncoderLayerConfig::new(6, 5).build(rng).err(),
        Dropout::new(nan).err(),
        AlphaDropout::new(-0.1).err(),
        PReLU::new(0, 0.25).err(),
        Bilinear::new(0, 2, 2, rng).err(),
        init::orthogonal(&[3], 1.0, DType::F32, rng).err(),
        init::trunc_normal(&[3], [0.0, 0.0], [-1.0, 1.0], DType::F32, rng).err(),
        init::trunc_normal(&[3], [0.0, 1.0], [1.0, nan], DType::F32, rng).err(),
        init::dirac(&[3], DType::F32).err(),
    ];
    for (at, error) in refused.iter().enumerate() {
        let error = error.as_ref().unwrap_or_else(|| panic!("{at} is accepted")).to_string();
        assert!(error.contains('0') || error.len() > 15, "{at}: {error}");
    }
    // Types that hold no weight.
    assert!(conv(1, 1).dtype(DType::I64).build(rng).is_err());
    assert!(LinearConfig::new(1, 1).dtype(DType::Bool).build(rng).is_err());
}

#[test]
fn dropout_of_channels_and_of_selus() {
    let rng = &mut Generator::new(3);
    let check = |layer: &dyn Forward, shape: &[usize], lead: usize, rng: &mut Generator| {
        let x = Tensor::ones(shape, DType::F32).unwrap();
        let y = layer.forward(&x, &mut Ctx::train(rng)).unwrap();
        let rows = y.flatten(lead as i64, -1).flatten(0, lead as i64 - 1).unwrap();
        let (least, most) = (rows.min(1).unwrap(), rows.max(1).unwrap());
        assert_eq!(least.to_vec::<f32>().unwrap(), most.to_vec::<f32>().unwrap());
        let mean = y.mean(..).unwrap().to_f64().unwrap();
        assert!((mean - 1.0).abs() < 0.1, "{mean}");
        let same = layer.forward(&x, &mut Ctx::eval()).unwrap();
        assert_eq!(same.to_vec::<f32>().unwrap(), x.to_vec::<f32>().unwrap());
        let flat = Tensor::ones([4], DType::F32).unwrap();
        assert!(layer.forward(&flat, &mut Ctx::train(rng)).is_err());
    };
    check(&Dropout1d::new(0.4).unwrap(), &[40, 30, 5], 2, rng);
    check(&Dropout2d::new(0.4).unwrap(), &[40, 30, 2, 3], 2, rng);
    check(&Dropout2d::new(0.4).unwrap(), &[900, 2, 3], 1, rng);
    check(&Dropout3d::new(0.4).unwrap(), &[40, 30, 2, 1, 3], 2, rng);

    let x = rng.normal([200, 200], 0.0, 1.0, DType::F64).unwrap();
    let alpha = AlphaDropout::new(0.3).unwrap();
    let y = alpha.forward(&x, &mut Ctx::train(rng)).unwrap();
    let moments = [y.mean(..), y.var(.., 0.0)].map(|x| x.unwrap().to_f64().unwrap());
    assert!(moments[0].abs() < 0.02 && (moments[1] - 1.0).abs() < 0.03, "{moments:?}");
    let all = AlphaDropout::new(1.0).unwrap().forward(&x, &mut Ctx::train(rng)).unwrap();
    assert_eq!(all.abs().max(..).unwrap().to_f64().unwrap(), 0.0);
}

#[test]
fn initial_values() {
    use ferrotape::nn::init::*;
    let rng = &mut Generator::new(5);
    for (shape, rows) in [(&[4, 9][..], 4), (&[9, 4], 9), (&[3, 2, 2, 2], 3), (&[5, 5], 5)] {
        let w = orthogonal(shape, 2.0, DType::F64, rng).unwrap();
        assert_eq!(w.shape(), shape);
        let w = w.reshape([rows, w.len() / rows]).unwrap();
        let [long, wide] = [0, 1].map(|d| w.shape()[d]);
        let square = if long <= wide { w.matmul(w.t().unwrap()) } else { w.t().matmul(&w) };
        let eye = Tensor::eye(long.min(wide), DType::F64).unwrap().mul(4.0).unwrap();
        let off = square.sub(&eye).abs().max(..).unwrap().to_f64().unwrap();
        assert!(off < 1e-13, "{shape:?}: {off}");
    }
    let x = trunc_normal(&[200, 300], [1.0, 2.0], [0.0, 4.0], DType::F64, rng).unwrap();
    let extremes = [x.min(..), x.max(..), x.mean(..), x.var(.., 0.0)];
    let [least, most, mean, var] = extremes.map(|x| x.unwrap().to_f64().unwrap());
    assert!((0.0..1e-3).contains(&least), "{least}");
    assert!(most <= 4.0 && most > 3.999, "{most}");
    // Mean and variance of the normal distribution cut off there.
    let (known_mean, known_var) = (1.712545768, 1.1209926);
    assert!((mean - known_mean).abs() < 0.02 && (var - known_var).abs() < 0.03, "{mean} {var}");
    let gains = [Nonlinearity::Linear, Nonlinearity::Tanh, Nonlinearity::ReLU, Nonlinearity::SELU];
    assert_eq!(gains.map(calculate_gain), [1.0, 5.0 / 3.0, 2f64.sqrt(), 0.75]);
    let leaky = Nonlinearity::LeakyReLU(5f64.sqrt());
    let shape = [64, 32, 3, 3];
    let bound = 1.0 / (32f64 * 9.0).sqrt();
    let x = kaiming_uniform(&shape, leaky, FanMode::FanIn, DType::F64, rng).unwrap();
    let most = x.abs().max(..).unwrap().to_f64().unwrap();
    assert!(most <= bound && most > 0.999 * bound, "{most} {bound}");
    let x = kaiming_normal(&shape, Nonlinearity::ReLU, FanMode::FanOut, DType::F64, rng).unwrap();
    let var = x.var(.., 0.0).unwrap().to_f64().unwrap();
    assert!((var * (64.0 * 9.0) / 2.0 - 1.0).abs() < 0.03, "{var}");
    let same = dirac(&[4, 3, 3, 3], DType::F32).unwrap();
    let image = rng.normal([1, 3, 5, 5], 0.0, 1.0, DType::F32).unwrap();
    let y = image.conv2d(&same, None, Conv2dOp::default().padding([1, 1])).unwrap();
    let bits = |x: Result<Tensor>| x.contiguous().unwrap().to_vec::<f32>().unwrap();
    assert_eq!(bits(y.narrow(1, 0, 3)), bits(Ok(image)));
}

#[test]
fn parameters_as_a_vector_and_sequences_of_different_lengths() {
    let rng = &mut Generator::new(0);
    let (mut a, b) = (Linear::new(3, 2, rng).unwrap(), Linear::new(3, 2, rng).unwrap());
    let vector = parameters_to_vector(&b).unwrap();
    assert_eq!(vector.shape(), [8]);
    assert!(vector_to_parameters(&vector.narrow(0, 0, 7).unwrap(), &mut a).is_err());
    assert!(vector_to_parameters(&vector.to_dtype(DType::F64).unwrap(), &mut a).is_err());
    vector_to_parameters(&vector, &mut a).unwrap();
    let bits = |x: Tensor| x.to_vec::<f32>().unwrap();
    assert_eq!(bits(parameters_to_vector(&a).unwrap()), bits(vector));
    assert_eq!(bits(a.weight.tensor().clone()), bits(b.weight.tensor().clone()));

    let (x, y) = (Tensor::from([[1f32, 2.], [3., 4.]]), Tensor::from([[5f32, 6.]]));
    let batch = pad_sequence(&[&y, &x], false, 9.0).unwrap();
    assert_eq!(
        (batch.shape(), bits(batch.clone())),
        (&[2, 2, 2][..], vec![5., 6., 1., 2., 9., 9., 3., 4.])
    );
    assert!(pad_sequence(&[], true, 0.0).is_err());
    assert!(pad_sequence(&[&x, &Tensor::from(1f32)], true, 0.0).is_err());
}
