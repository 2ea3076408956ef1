//! Normalisation layers, embedding and dropout of planes, against PyTorch's numbers (tests/data/norms.py).

use std::collections::BTreeMap;

use ferrotape::nn::{
    BatchNorm1d, BatchNorm1dConfig, BatchNorm2dConfig, BatchNorm3d, EmbeddingConfig,
    GroupNormConfig, InstanceNorm1d, InstanceNorm2d, LayerNormConfig, Param, RMSNormConfig,
    load_state_dict, state_dict, to_dtype,
};
use ferrotape::prelude::*;

use crate::cnn::bits;

type Store = BTreeMap<String, Tensor>;

fn torch() -> Store {
    let path = crate::root().join("tests/data/norms.safetensors");
    ferrotape::io::load_safetensors(path).unwrap()
}

/// Fails where two tensors differ by more than 1e-11 of the largest element (or of 1).
fn close(name: &str, found: &Tensor, expected: &Tensor) {
    assert_eq!(found.shape(), expected.shape(), "{name}");
    let largest =
        |x: Result<Tensor>| x.to_dtype(DType::F64).abs().max(..).unwrap().to_f64().unwrap();
    let (off, scale) = (largest(found.sub(expected)), largest(expected.mul(1.0)));
    assert!(off <= 1e-11 * scale.max(1.0), "{name}: off by {off} of {scale}");
}

/// The tensors of a layer's state dict at some time.
fn state(torch: &Store, prefix: &str) -> Store {
    let named = torch.iter().filter_map(|(name, tensor)| {
        Some((name.strip_prefix(prefix)?.to_string(), tensor.clone()))
    });
    named.collect()
}

fn layers() -> Vec<(&'static str, Box<dyn Forward>)> {
    fn all() -> Result<Vec<(&'static str, Box<dyn Forward>)>> {
        let plain = BatchNorm1dConfig::new(3).affine(false).momentum(0.3).eps(0.1);
        let bare = LayerNormConfig::new(4).elementwise_affine(false);
        Ok(vec![
            ("batch1d", Box::new(BatchNorm1d::new(3)?)),
            ("batch1d_length", Box::new(BatchNorm1dConfig::new(3).momentum(None).build()?)),
            ("batch1d_plain", Box::new(plain.build()?)),
            (
                "batch2d_untracked",
                Box::new(BatchNorm2dConfig::new(3).track_running_stats(false).build()?),
            ),
            ("batch2d_average", Box::new(BatchNorm2dConfig::new(2).momentum(None).build()?)),
            ("batch3d", Box::new(BatchNorm3d::new(2)?)),
            ("layer", Box::new(LayerNorm::new(4)?)),
            ("layer_dims", Box::new(LayerNormConfig::new([3, 2]).eps(0.1).build()?)),
            ("layer_no_bias", Box::new(LayerNormConfig::new(70).bias(false).build()?)),
            ("layer_plain", Box::new(bare.build()?)),
            ("rms", Box::new(RMSNorm::new(5)?)),
            ("rms_dims", Box::new(RMSNormConfig::new([2, 3]).eps(0.1).build()?)),
            ("group", Box::new(GroupNorm::new(2, 4)?)),
            ("group_vectors", Box::new(GroupNormConfig::new(2, 6).eps(0.1).build()?)),
            ("instance", Box::new(InstanceNorm2d::new(3)?)),
        ])
    }
    all().unwrap()
}

#[test]
fn normalisation_layers_are_those_of_pytorch() {
    let torch = torch();
    let mut rng = Generator::new(0);
    for (name, mut layer) in layers() {
        let at = |what: &str| &torch[&format!("{name}.{what}")];
        to_dtype(&mut layer, DType::F64).unwrap();
        // The same names, or nothing is loaded.
        load_state_dict(&mut layer, &state(&torch, &format!("{name}.state."))).unwrap();
        for step in 0..2 {
            let at = |what: &str| &torch[&format!("{name}.{step}.{what}")];
            // The input's gradient as that of a parameter.
            let mut model = (layer, Param::new(at("x").clone()));
            let found = value_and_grad(&model, &mut rng, |m, ctx| {
                let y = m.0.forward(&m.1, ctx)?;
                close(&format!("{name} y {step}"), &y.detach()?, at("y"));
                y.mul(at("g")).sum(..)
            })
            .unwrap();
            for (path, gradient) in found.gradients.iter() {
                let key = path.strip_prefix("0.").unwrap_or("x");
                close(&format!("{name} d {key} {step}"), gradient, at(&format!("d.{key}")));
            }
            let expected = state(&torch, &format!("{name}.{step}.d.")).len();
            assert_eq!(found.gradients.iter().count(), expected, "{name}");
            // Only the statistics move.
            SGD::new(0.0).step(&mut model, &found).unwrap();
            layer = model.0;
        }
        let after = state(&torch, &format!("{name}.after."));
        for (key, value) in state_dict(&layer) {
            close(&format!("{name} {key}"), &value, &after[&key]);
        }
        let y = layer.forward(at("eval.x"), &mut Ctx::eval()).unwrap();
        close(&format!("{name} in evaluation"), &y, at("eval.y"));
    }
}

#[test]
fn an_embedding_is_that_of_pytorch() {
    let torch = torch();
    let at = |what: &str| &torch[&format!("embedding.{what}")];
    let mut rng = Generator::new(1);
    let config = EmbeddingConfig::new(6, 3).padding_idx(2).dtype(DType::F64);
    let mut embedding = config.build(&mut rng).unwrap();
    assert_eq!(embedding.weight.i(2).unwrap().to_vec::<f64>().unwrap(), [0.0; 3]);
    assert!(embedding.weight.i(1).unwrap().to_vec::<f64>().unwrap().iter().all(|&w| w != 0.0));
    embedding.weight.set(at("weight").clone());
    let step = value_and_grad(&embedding, &mut rng, |m, ctx| {
        let y = m.forward(at("x"), ctx)?;
        assert_eq!(bits(&y), bits(at("y")));
        y.mul(at("g")).sum(..)
    })
    .unwrap();
    let gradient = step.gradients.get("weight").unwrap();
    close("d", gradient, at("d"));
    assert_eq!(
        gradient.i(2).unwrap().to_vec::<f64>().unwrap(),
        [0.0; 3],
        "the padding learns nothing"
    );

    let eval = |x: Tensor| embedding.forward(&x, &mut Ctx::eval());
    assert_eq!(eval(Tensor::zeros([2, 0], DType::I64).unwrap()).unwrap().shape(), [2, 0, 3]);
    assert_eq!(eval(Tensor::zeros((), DType::I64).unwrap()).unwrap().shape(), [3]);
    let error = eval(Tensor::from([6i64])).unwrap_err().to_string();
    assert!(error.contains("index 6 is out of range for size 6"), "{error}");
    assert!(eval(Tensor::from([1f64])).is_err());
    assert!(EmbeddingConfig::new(6, 3).padding_idx(6).build(&mut rng).is_err());
    let drawn = Embedding::new(300, 40, &mut rng).unwrap();
    let var = drawn.weight.var(.., 0.0).unwrap().to_f64().unwrap();
    assert!((var - 1.0).abs() < 0.05, "N(0, 1), not of variance {var}");
}

#[test]
fn wrong_inputs_of_normalisations() {
    let ones = |shape: &[usize]| Tensor::ones(shape, DType::F32).unwrap();
    let says = |layer: &dyn Forward, shape: &[usize]| {
        let error = layer.forward(&ones(shape), &mut Ctx::train(&mut Generator::new(0)));
        error.unwrap_err().to_string()
    };
    let batch = BatchNorm1d::new(3).unwrap();
    assert!(says(&batch, &[2, 4]).contains("input [2, 4], [n, 3] or [n, 3, l] expected"));
    assert!(says(&batch, &[2, 3, 1, 1]).contains("expected"));
    assert!(says(&batch, &[1, 3]).contains("no variance"));
    assert!(says(&batch, &[0, 3]).contains("no variance"));
    let layer = LayerNorm::new([2, 3]).unwrap();
    assert!(says(&layer, &[3, 2]).contains("[3, 2] does not end in the normalised [2, 3]"));
    assert!(says(&RMSNorm::new(3).unwrap(), &[2]).contains("does not end in"));
    assert!(says(&GroupNorm::new(2, 4).unwrap(), &[2, 6]).contains("[4] for 6 channels"));
    assert!(says(&GroupNorm::new(2, 4).unwrap(), &[4]).contains("[n, channels, ..] expected"));
    assert!(GroupNorm::new(3, 4).is_err() && GroupNorm::new(0, 4).is_err());
    assert!(says(&InstanceNorm1d::new(3).unwrap(), &[2, 3, 1]).contains("no variance"));
    let x = ones(&[2, 3]);
    let (two, three) = (ones(&[2]), ones(&[3]));
    assert!(x.layer_norm(3, Some(&two), None, 1e-5).is_err());
    assert!(x.layer_norm((), None, None, 1e-5).is_err());
    assert!(x.layer_norm(3, Some(&three.to_dtype(DType::F64).unwrap()), None, 1e-5).is_err());
    assert!(x.batch_norm(&three, &two, None, None, 1e-5).is_err());
    assert!(
        x.group_norm(0, None, None, 1e-5).is_err() && x.group_norm(2, None, None, 1e-5).is_err()
    );
    assert!(x.to_dtype(DType::I64).layer_norm(3, None, None, 1e-5).is_err());
    assert!(ones(&[]).layer_norm(1, None, None, 1e-5).is_err());
}

#[test]
fn dropout_of_planes() {
    let x = Tensor::full([40, 50, 2, 3], 3.0, DType::F32).unwrap();
    let dropout = Dropout2d::new(0.25).unwrap();
    let train = |x: &Tensor| dropout.forward(x, &mut Ctx::train(&mut Generator::new(1))).unwrap();
    let y = train(&x).to_vec::<f32>().unwrap();
    let planes: Vec<&[f32]> = y.chunks(6).collect();
    assert!(planes.iter().all(|p| p.iter().all(|v| *v == p[0]) && (p[0] == 0.0 || p[0] == 4.0)));
    let dropped = planes.iter().filter(|plane| plane[0] == 0.0).count();
    assert!((400..600).contains(&dropped), "{dropped} of 2000");
    assert_eq!(train(&x.i(0).unwrap()).shape(), [50, 2, 3]);
    assert_eq!(dropout.forward(&x, &mut Ctx::eval()).unwrap().id(), x.id());
    assert!(dropout.forward(&Tensor::from([1f32]), &mut Ctx::eval()).is_err());
    let all = Dropout2d::new(1.0).unwrap().forward(&x, &mut Ctx::train(&mut Generator::new(1)));
    assert_eq!(all.max(..).unwrap().to_f64().unwrap(), 0.0);
    assert!(Dropout2d::new(1.1).is_err());
}
