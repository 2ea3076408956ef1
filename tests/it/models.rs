//! What a model does as a whole: types, freezing, counts, summaries.

use ferrotape::nn::{Buffer, Param, parameters, state_dict};
use ferrotape::prelude::*;

use crate::cnn::{bits, hash_model};

#[derive(Module, Clone)]
struct Net {
    conv: Conv2d,
    norm: BatchNorm2d,
    activation: ReLU,
    head: Linear,
    header: Linear,
    tied: Param,
    #[module(skip)]
    name: String,
}

fn net() -> Net {
    let mut rng = Generator::new(0);
    let conv = Conv2dConfig::new(1, 3, [3, 3]).padding([1, 1]).build(&mut rng).unwrap();
    let norm = BatchNorm2d::new(3).unwrap();
    let head = Linear::new(48, 2, &mut rng).unwrap();
    let header = Linear::new(2, 2, &mut rng).unwrap();
    let tied = head.weight.clone();
    Net { conv, norm, activation: ReLU, head, header, tied, name: "net".into() }
}

impl Forward for Net {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let x = self.norm.forward(&self.conv.forward(x, ctx)?, ctx)?;
        let x = self.activation.forward(&x, ctx).flatten(1, -1)?;
        let y = self.head.forward(&x, ctx).add(x.matmul(self.tied.t()?)?)?;
        self.header.forward(&y, ctx)
    }
}

fn train(model: &mut Net, optimizer: &mut Adam, dtype: DType) -> Result<f64> {
    let mut rng = Generator::new(1);
    let x = rng.normal([5, 1, 4, 4], 0., 1., dtype)?;
    let step = value_and_grad(&*model, &mut rng, |m, ctx| m.forward(&x, ctx).square().mean(..))?;
    optimizer.step(model, &step)?;
    step.loss.to_f64()
}

#[test]
fn to_another_type_and_back() -> Result<()> {
    let (mut model, mut optimizer) = (net(), Adam::new(1e-2));
    train(&mut model, &mut optimizer, DType::F32)?;
    let before = hash_model(&model);
    let ids: Vec<_> = state_dict(&model).values().map(Tensor::id).collect();
    model.to(DType::F32)?;
    model.to(Device::cpu())?;
    assert_eq!(state_dict(&model).values().map(Tensor::id).collect::<Vec<_>>(), ids);

    model.to(DType::F64)?;
    for (name, tensor) in model.state_dict() {
        let expected = if name.ends_with("num_batches_tracked") { DType::I64 } else { DType::F64 };
        assert_eq!(tensor.dtype(), expected, "{name}");
    }
    assert_eq!(model.tied.id(), model.head.weight.id());
    let error = train(&mut model, &mut optimizer, DType::F64).unwrap_err().to_string();
    assert!(error.contains("exp_avg of parameter conv.weight is [3, 1, 3, 3] f32"), "{error}");
    optimizer.to_dtype(DType::F64)?;
    let mut back = model.clone();
    back.to(DType::F32)?;
    assert_eq!(hash_model(&back), before, "f32 through f64 and back");
    let losses = (0..5).map(|_| train(&mut model, &mut optimizer, DType::F64));
    let losses = losses.collect::<Result<Vec<f64>>>()?;
    assert!(losses[4] < losses[0], "{losses:?}");

    let before = hash_model(&model);
    for wrong in [DType::I64, DType::Bool, DType::U8] {
        let error = model.to(wrong).unwrap_err().to_string();
        assert!(error.contains("is no float type"), "{error}");
    }
    assert_eq!(hash_model(&model), before);
    Ok(())
}

#[test]
fn halves_train_too() -> Result<()> {
    for dtype in [DType::BF16, DType::F16] {
        let (mut model, mut optimizer) = (net(), Adam::new(1e-2));
        model.to(dtype)?;
        let losses = (0..8).map(|_| train(&mut model, &mut optimizer, dtype));
        let losses = losses.collect::<Result<Vec<f64>>>()?;
        assert!(losses[7] < losses[0] && losses.iter().all(|x| x.is_finite()), "{losses:?}");
        assert!(parameters(&model).iter().all(|(_, param)| param.dtype() == dtype));
    }
    // The norm of 16-bit gradients is summed in f32: 300^2 is beyond f16.
    let model = Param::new(Tensor::from([300f32, 400.]).to_dtype(DType::F16)?);
    let mut step = value_and_grad(&model, &mut Generator::new(0), |m, _| m.square().sum(..))?;
    let norm = step.clip_grad_norm(1.0)?;
    assert!((norm - 1000.0).abs() < 1.0, "{norm}");
    let clipped = step.gradients.get("").unwrap().to_dtype(DType::F32)?.to_vec::<f32>()?;
    assert!((clipped[0] - 0.6).abs() < 1e-3 && (clipped[1] - 0.8).abs() < 1e-3, "{clipped:?}");
    Ok(())
}

#[test]
fn freezing_by_path() -> Result<()> {
    let mut model = net();
    assert_eq!(model.name, "net");
    let all = model.num_parameters();
    assert_eq!(all, 27 + 3 + 6 + 96 + 2 + 6);
    assert_eq!((model.freeze("head")?, model.num_trainable_parameters()), (2, all - 2));
    assert!(model.header.weight.trainable, "another module whose name begins alike");
    assert_eq!(model.freeze("tied")?, 1);
    assert_eq!(model.num_trainable_parameters(), all - 98);
    assert_eq!((model.freeze("conv.")?, model.freeze("norm.weight")?), (2, 1));
    let frozen = (
        bits(&model.conv.weight),
        bits(&model.head.weight),
        bits(model.norm.weight.as_ref().unwrap()),
    );
    let header = bits(&model.header.weight);
    train(&mut model, &mut Adam::new(0.1), DType::F32)?;
    assert_eq!(
        frozen,
        (
            bits(&model.conv.weight),
            bits(&model.head.weight),
            bits(model.norm.weight.as_ref().unwrap())
        )
    );
    assert_ne!(bits(&model.header.weight), header);
    for (path, what) in [("con", "freeze: \"con\""), ("head.weigh", "freeze: \"head.weigh\"")] {
        let error = model.freeze(path).unwrap_err().to_string();
        assert!(error.contains(what), "{error}");
    }
    assert_eq!((model.unfreeze("")?, model.num_trainable_parameters()), (9, all));
    Ok(())
}

#[test]
fn the_summary_of_a_model() -> Result<()> {
    let mut model = net();
    model.freeze("header")?;
    let x = Tensor::zeros([5, 1, 4, 4], DType::F32)?;
    let summary = model.summary_with(|model| model.forward(&x, &mut Ctx::eval()))?;
    let rows: Vec<_> = summary
        .rows()
        .iter()
        .map(|r| (&*r.path, &*r.kind, r.output.as_deref(), r.parameters, r.trainable, r.bytes))
        .collect();
    type Row = (&'static str, &'static str, Option<&'static [usize]>, usize, usize, usize);
    let expected: [Row; 6] = [
        // The model holds the tied parameter itself.
        ("", "Net", None, 0, 0, 0),
        ("conv", "Conv2d", Some(&[5, 3, 4, 4]), 30, 30, 120),
        ("norm", "BatchNorm2d", Some(&[5, 3, 4, 4]), 6, 6, 24 + 24 + 8),
        ("activation", "ReLU", None, 0, 0, 0),
        ("head", "Linear", Some(&[5, 2]), 98, 98, 392),
        ("header", "Linear", Some(&[5, 2]), 6, 0, 24),
    ];
    assert_eq!(rows, expected);
    assert!(summary.rows()[0].tied && !summary.rows()[4].tied);
    assert_eq!(summary.output(), Some(&[5, 2][..]));
    assert_eq!((summary.parameters(), summary.trainable()), (140, 134));
    let bytes: usize = model.state_dict().values().map(|x| x.len() * x.dtype().size()).sum();
    assert_eq!(summary.bytes(), bytes - 96 * 4);
    let text = summary.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1 + 6 + 1 + 2, "{text}");
    assert!(lines[0].starts_with("path") && lines[2].starts_with("(model)"), "{text}");
    assert!(lines[2].contains("0 (tied)") && lines[9].starts_with("total"), "{text}");
    let widths: Vec<usize> = lines.iter().map(|line| line.chars().count()).collect();
    assert!(widths.iter().all(|width| *width == widths[0]), "{text}");

    assert!(model.summary_with(|m| m.forward(&Tensor::from([1f32]), &mut Ctx::eval())).is_err());
    let boxed: Box<dyn Forward> = Box::new(net());
    assert_eq!(boxed.summary().rows(), net().summary().rows());
    let nested = Sequential::new().then(Sequential::new().then(ReLU)).then(net());
    let paths: Vec<String> = nested.summary().rows().iter().map(|r| r.path.clone()).collect();
    assert_eq!(paths.join(" "), "0.0 1 1.conv 1.norm 1.activation 1.head 1.header");
    let parts = (vec![Param::new(x.clone())], Buffer::new(x), Some(Dropout::new(0.5)?));
    let kinds: Vec<String> = parts.summary().rows().iter().map(|r| r.kind.clone()).collect();
    assert_eq!(kinds, ["(Vec<Param>, Buffer, Option<Dropout>)", "Vec<Param>", "Dropout"]);
    assert_eq!(
        parts.summary().to_string().lines().last().unwrap().split("  ").next(),
        Some("total")
    );
    Ok(())
}
