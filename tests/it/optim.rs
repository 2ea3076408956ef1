//! Optimizers, groups and clipping against PyTorch's numbers (`tests/data/optim/optim.py`), state in files.

use std::collections::BTreeMap;

use ferrotape::io::{load_safetensors, save_safetensors};
use ferrotape::nn::{
    Adadelta, Adamax, AveragedModel, ClipNorm, Gradients, NAdam, Param, RAdam, parameters,
};
use ferrotape::prelude::*;

use crate::cnn::{bits, hash_model};

const STEPS: usize = 20;

pub(crate) fn recorded() -> BTreeMap<String, Tensor> {
    let load = |name: &str| {
        load_safetensors(crate::root().join(format!("tests/data/optim/{name}.safetensors")))
            .unwrap()
    };
    let mut all = load("optim");
    all.append(&mut load("more"));
    all
}

#[derive(Module, Clone)]
struct Pair {
    a: Param,
    b: Param,
}

/// Row `t` of what is recorded step by step.
fn row(recorded: &Tensor, t: usize) -> Tensor {
    recorded.narrow(0, t, 1).squeeze(0).unwrap()
}

struct Oracle {
    data: BTreeMap<String, Tensor>,
    dtype: DType,
}

impl Oracle {
    fn new(dtype: DType) -> Self {
        Oracle { data: recorded(), dtype }
    }

    fn get(&self, name: &str) -> Tensor {
        self.data[name].to_dtype(self.dtype).unwrap()
    }

    fn start(&self) -> Pair {
        Pair { a: Param::new(self.get("start/a")), b: Param::new(self.get("start/b")) }
    }

    /// A step whose gradients are the recorded ones.
    fn step(&self, model: &Pair, t: usize) -> Step {
        let given = |name: &str| row(&self.get(&format!("gradient/{name}")), t);
        let (a, b) = (given("a"), given("b"));
        value_and_grad(model, &mut Generator::new(0), |model, _| {
            let b = model.b.mul(&b).sum(..)?;
            model.a.mul(&a).sum(..).add(b)
        })
        .unwrap()
    }

    /// The largest difference from the recorded values of step `t`.
    fn differ(&self, model: &Pair, case: &str, t: usize) -> f64 {
        let pairs = [("a", &model.a), ("b", &model.b)];
        let differences = pairs.map(|(name, param)| {
            let want = row(&self.data[&format!("{case}/{name}")], t);
            let got = param.to_dtype(DType::F64).unwrap();
            got.sub(&want).abs().max(..).unwrap().to_f64().unwrap()
        });
        assert!(differences.iter().all(|x| !x.is_nan()), "{case}");
        differences[0].max(differences[1])
    }

    fn reproduce(&self, case: &str, optimizer: &mut dyn Optimizer) {
        let tolerance = if self.dtype == DType::F64 { 1e-14 } else { 2e-5 };
        let mut model = self.start();
        for t in 0..STEPS {
            let step = self.step(&model, t);
            optimizer.apply(&mut model, &step.gradients).unwrap();
            let differ = self.differ(&model, case, t);
            assert!(differ < tolerance * (t + 1) as f64, "{case}, step {t}: {differ}");
        }
    }
}

fn cases() -> Vec<(&'static str, Box<dyn Optimizer>)> {
    fn case(
        name: &'static str,
        it: impl Optimizer + 'static,
    ) -> (&'static str, Box<dyn Optimizer>) {
        (name, Box::new(it))
    }
    let sgd = || SGD::new(0.1);
    let (adam, rms) = (|| Adam::new(0.01), || RMSprop::new(0.01));
    let decayed = || sgd().momentum(0.9).weight_decay(0.05);
    vec![
        case("sgd", sgd()),
        case("sgd_momentum", sgd().momentum(0.9)),
        case("sgd_dampening_decay", decayed().dampening(0.3)),
        case("sgd_nesterov", decayed().momentum(0.8).nesterov(true)),
        case("sgd_maximize", decayed().maximize(true)),
        case("adam", adam()),
        case("adam_decay", adam().betas(0.3, 0.9).eps(1e-3).weight_decay(0.1)),
        case("adam_amsgrad", adam().betas(0.8, 0.7).amsgrad(true)),
        case("adam_maximize", adam().weight_decay(0.1).amsgrad(true).maximize(true)),
        case("adamw", AdamW::new(0.01)),
        case("adamw_amsgrad", AdamW::new(0.01).betas(0.8, 0.7).weight_decay(0.2).amsgrad(true)),
        case("adamw_maximize", AdamW::new(0.01).weight_decay(0.2).maximize(true)),
        case("rms_prop", rms()),
        case("rms_prop_alpha", rms().alpha(0.3).eps(1e-3).weight_decay(0.1)),
        case("rms_prop_momentum", rms().momentum(0.9)),
        case("rms_prop_centered", rms().alpha(0.9).centered(true)),
        case("rms_prop_centered_low", rms().alpha(0.4).eps(1e-2).centered(true)),
        case("rms_prop_all", {
            let all = rms().alpha(0.95).eps(1e-4).weight_decay(0.1).momentum(0.7);
            all.centered(true).maximize(true)
        }),
        case("adagrad", Adagrad::new(0.1)),
        case("adagrad_all", {
            let all = Adagrad::new(0.1).lr_decay(0.05).weight_decay(0.1).eps(1e-3);
            all.initial_accumulator_value(0.5)
        }),
        case("adagrad_maximize", Adagrad::new(0.1).maximize(true)),
        case("adadelta", Adadelta::new(1.0)),
        case("adadelta_all", {
            let all = Adadelta::new(0.5).rho(0.7).eps(1e-3).weight_decay(0.1);
            all.maximize(true)
        }),
        case("adamax", Adamax::new(2e-3)),
        case("adamax_all", {
            let all = Adamax::new(0.01).betas(0.8, 0.7).eps(1e-3).weight_decay(0.1);
            all.maximize(true)
        }),
        case("nadam", NAdam::new(2e-3)),
        case("nadam_all", {
            let all = NAdam::new(0.01).betas(0.8, 0.7).eps(1e-3).weight_decay(0.1);
            all.momentum_decay(0.05).maximize(true)
        }),
        case("nadam_decoupled", NAdam::new(0.01).weight_decay(0.2).decoupled_weight_decay(true)),
        case("radam", RAdam::new(1e-3)),
        case("radam_all", {
            let all = RAdam::new(0.01).betas(0.8, 0.7).eps(1e-3).weight_decay(0.1);
            all.maximize(true)
        }),
        case("radam_decoupled", {
            let all = RAdam::new(0.01).betas(0.9, 0.99).weight_decay(0.2);
            all.decoupled_weight_decay(true)
        }),
        case("groups", AdamW::new(0.01).group("b", |g| g.lr(0.05).weight_decay(0.0))),
    ]
}

#[test]
fn optimizers_take_the_steps_of_pytorch() {
    for dtype in [DType::F64, DType::F32] {
        let oracle = Oracle::new(dtype);
        for (case, mut optimizer) in cases() {
            oracle.reproduce(case, &mut *optimizer);
        }
    }
}

/// From each optimizer's state in a file the same bits follow as without the interruption.
#[test]
fn state_goes_through_a_file() {
    let oracle = Oracle::new(DType::F32);
    for ((case, mut whole), (_, mut fresh)) in cases().into_iter().zip(cases()) {
        let mut model = oracle.start();
        for t in 0..4 {
            let step = oracle.step(&model, t);
            whole.apply(&mut model, &step.gradients).unwrap();
        }
        whole.set_lr(0.02);
        let path = std::env::temp_dir().join(format!("ferrotape-{case}-{}", std::process::id()));
        let state = whole.state_dict().unwrap();
        save_safetensors(&path, state.iter().map(|(k, v)| (k.clone(), v))).unwrap();
        let state = load_safetensors(&path).unwrap();
        fresh.load_state_dict(&state, &parameters(&model)).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!(fresh.lr(), 0.02);
        let mut other = model.clone();
        for t in 4..8 {
            let step = oracle.step(&model, t);
            whole.apply(&mut model, &step.gradients).unwrap();
            let step = oracle.step(&other, t);
            fresh.apply(&mut other, &step.gradients).unwrap();
        }
        assert_eq!(hash_model(&model), hash_model(&other), "{case}");
    }
}

#[test]
fn state_that_does_not_fit_is_told_by_name() {
    let oracle = Oracle::new(DType::F32);
    let mut model = oracle.start();
    let mut adam = Adam::new(0.01).group("b", |g| g.amsgrad(true));
    let step = oracle.step(&model, 0);
    adam.step(&mut model, &step).unwrap();
    let state = adam.state_dict().unwrap();
    let names: Vec<&str> = state.keys().map(String::as_str).collect();
    let expected = "lr lr.b state.a.exp_avg state.a.exp_avg_sq state.a.step \
        state.b.exp_avg state.b.exp_avg_sq state.b.max_exp_avg_sq state.b.step";
    assert_eq!(names.join(" "), expected.split_whitespace().collect::<Vec<_>>().join(" "));
    assert_eq!(state["state.a.step"].item::<i64>().unwrap(), 1);

    let mut bad = state.clone();
    bad.remove("state.a.exp_avg");
    bad.remove("state.b.step");
    bad.remove("lr.b");
    bad.insert("lr.c".into(), Tensor::from(1f64));
    bad.insert("extra".into(), Tensor::from(1f64));
    bad.insert("state.a.velocity".into(), Tensor::from(1f64));
    let before = format!("{adam:?}");
    let error = adam.load_state_dict(&bad, &parameters(&model)).unwrap_err().to_string();
    for part in [
        "state.a.exp_avg: missing",
        "state.b.step: missing",
        "lr.b: missing",
        "lr.c: ",
        "extra: unexpected",
        "state.a.velocity: unexpected",
    ] {
        assert!(error.contains(part), "{part} in {error}");
    }
    assert_eq!(format!("{adam:?}"), before);
    for wrong in [f64::NAN, -1.0, 0.5] {
        let mut bad = state.clone();
        bad.insert("state.a.step".into(), Tensor::from(wrong));
        assert!(
            adam.load_state_dict(&bad, &parameters(&model))
                .unwrap_err()
                .to_string()
                .contains("number of steps")
        );
    }
    // Without amsgrad the maxima are of no use, and said so.
    let mut plain = Adam::new(0.01).group("b", |g| g);
    let error = plain.load_state_dict(&state, &parameters(&model)).unwrap_err();
    assert!(error.to_string().contains("max_exp_avg_sq: not used"), "{error}");

    // The model in another type: told, nothing changed, and mended by to_dtype.
    ferrotape::nn::to_dtype(&mut model, DType::F64).unwrap();
    let weights = hash_model(&model);
    let step = Oracle::new(DType::F64).step(&model, 1);
    let error = adam.step(&mut model, &step).unwrap_err().to_string();
    assert!(error.contains("exp_avg of parameter a is [7] f32"), "{error}");
    assert_eq!(hash_model(&model), weights);
    assert!(adam.to_dtype(DType::I64).is_err());
    adam.to_dtype(DType::F64).unwrap();
    adam.step(&mut model, &step).unwrap();
    assert_ne!(hash_model(&model), weights);
}

#[test]
fn groups_are_named_in_errors() {
    let oracle = Oracle::new(DType::F32);
    let mut model = oracle.start();
    let before = hash_model(&model);
    let step = oracle.step(&model, 0);
    let mut told = |mut optimizer: SGD, parts: &[&str]| {
        let error = optimizer.step(&mut model, &step).unwrap_err().to_string();
        assert!(parts.iter().all(|part| error.contains(part)), "{error}");
    };
    told(SGD::new(0.1).group("head", |g| g.lr(1.0)), &["group \"head\" has no parameter"]);
    told(SGD::new(0.1).group("", |g| g).group("b", |g| g), &["parameter b", "\"\" and \"b\""]);
    // A prefix is a whole path or the name of a module, not the beginning of a name.
    let pair = (model.clone(), SGD::new(0.1).group("a.", |g| g.lr(0.0)));
    assert_eq!(hash_model(&model), before);

    let (mut model, mut optimizer) = pair;
    optimizer.step(&mut model, &step).unwrap();
    assert_eq!(bits(&model.a), bits(&oracle.start().a));
    assert_ne!(bits(&model.b), bits(&oracle.start().b));
    assert_eq!((optimizer.groups(), optimizer.group_lr("a.").unwrap()), (vec!["a.".into()], 0.0));
    optimizer.set_group_lr("a.", 0.5).unwrap();
    assert_eq!((optimizer.lr(), optimizer.group_lr("a.").unwrap()), (0.1, 0.5));
    let error = optimizer.set_group_lr("c", 0.5).unwrap_err().to_string();
    assert!(error.contains("\"c\"") && error.contains("[a.]"), "{error}");
    assert_eq!(
        (optimizer.current_momentum(), Adam::new(0.1).current_momentum()),
        (Some(0.0), Some(0.9))
    );
    assert!(Adagrad::new(0.1).current_momentum().is_none());
    assert!(Adagrad::new(0.1).set_momentum(0.5).is_err());

    // By a predicate; frozen parameters count as a group's, thawed ones find their state.
    let mut optimizer = AdamW::new(0.1).group_by("matrices", |path| path == "b", |g| g.lr(0.0));
    let mut model = oracle.start();
    let gradients = |model: &Pair| {
        let a = row(&oracle.get("gradient/a"), 0);
        let loss = |m: &Pair, _: &mut Ctx<'_>| m.a.mul(&a).sum(..);
        value_and_grad(model, &mut Generator::new(0), loss).unwrap()
    };
    model.freeze("b").unwrap();
    let step = gradients(&model);
    optimizer.step(&mut model, &step).unwrap();
    model.unfreeze("b").unwrap();
    let step = oracle.step(&model, 1);
    optimizer.step(&mut model, &step).unwrap();
    assert_eq!(bits(&model.b), bits(&oracle.start().b));
    let state = optimizer.state_dict().unwrap();
    let steps = ["a", "b"].map(|path| state[&format!("state.{path}.step")].item::<i64>().unwrap());
    assert_eq!(steps, [2, 1]);
}

fn close(gradients: &Gradients, oracle: &Oracle, case: &str) {
    for (name, gradient) in gradients.iter() {
        let want = &oracle.data[&format!("clip/{case}/{name}")];
        let differ = gradient.sub(want).abs().max(..).unwrap().to_f64().unwrap();
        assert!(differ < 1e-14, "{case} {name}: {differ}");
    }
}

#[test]
fn clipping_is_that_of_pytorch() {
    let oracle = Oracle::new(DType::F64);
    let model = oracle.start();
    let clips = [
        ("two", ClipNorm::new(2.0)),
        ("large", ClipNorm::new(100.0)),
        ("one", ClipNorm::new(1.5).norm_type(1.0)),
        ("infinity", ClipNorm::new(0.5).norm_type(f64::INFINITY)),
        ("three", ClipNorm::new(1.0).norm_type(3.0)),
    ];
    for (case, clip) in clips {
        let mut step = oracle.step(&model, 0);
        let norm = step.clip_grad_norm(clip).unwrap();
        let want = oracle.data[&format!("clip/{case}/norm")].item::<f64>().unwrap();
        assert!((norm - want).abs() < 1e-13, "{case}: {norm} for {want}");
        close(&step.gradients, &oracle, case);
    }
    let mut step = oracle.step(&model, 0);
    step.clip_grad_value(0.4).unwrap();
    close(&step.gradients, &oracle, "value");
    // Just below the limit, the 1e-6 in the formula still scales.
    let norm = step.gradients.norm().unwrap();
    step.clip_grad_norm(norm).unwrap();
    assert!(step.gradients.norm().unwrap() < norm);
    for wrong in [-1.0, f64::NAN] {
        assert!(step.clip_grad_norm(wrong).is_err() && step.clip_grad_value(wrong).is_err());
        assert!(step.clip_grad_norm(ClipNorm::new(1.0).norm_type(wrong)).is_err());
    }
}

#[test]
fn a_norm_that_is_not_finite_is_told() {
    let model = Oracle::new(DType::F32).start();
    let gradients = |factor: f64| {
        let loss = |m: &Pair, _: &mut Ctx<'_>| m.a.mul(factor).sum(..).add(m.b.sum(..)?);
        value_and_grad(&model, &mut Generator::new(0), loss).unwrap()
    };
    for (factor, named) in [
        (f64::NAN, "NaN; not finite: a"),
        (f64::INFINITY, "inf; not finite: a"),
        (1e30, "inf; all gradients are finite"),
    ] {
        let mut step = gradients(factor);
        let error = step.clip_grad_norm(1.0).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
        assert_eq!(step.gradients.get("b").unwrap().to_vec::<f32>().unwrap(), [1.0; 6]);
        let clip = ClipNorm::new(1.0).error_if_nonfinite(false);
        let norm = step.clip_grad_norm(clip).unwrap();
        assert!(!norm.is_finite());
        let b: Vec<f32> = step.gradients.get("b").unwrap().to_vec().unwrap();
        assert!(b.iter().all(|x| if norm.is_nan() { x.is_nan() } else { *x == 0.0 }), "{b:?}");
        let largest = gradients(factor).gradients.norm_of(f64::INFINITY).unwrap();
        assert!(largest.is_nan() == factor.is_nan() && largest != 1.0);
    }
}

/// As PyTorch's `AveragedModel`: exponential with a decay of 0.9, and plain.
#[test]
fn averages_of_weights_are_those_of_pytorch() {
    let oracle = Oracle::new(DType::F64);
    for (case, mut average) in
        [("ema", AveragedModel::ema(0.9).unwrap()), ("swa", AveragedModel::new())]
    {
        let (mut model, mut optimizer) = (oracle.start(), SGD::new(0.1));
        let mut averaged = oracle.start();
        assert!(average.copy_to(&mut averaged).is_err(), "nothing averaged yet");
        for t in 0..STEPS {
            let step = oracle.step(&model, t);
            optimizer.step(&mut model, &step).unwrap();
            average.update_parameters(&model).unwrap();
            if t == 9 {
                let mut other = AveragedModel::new();
                if case == "ema" {
                    other = AveragedModel::ema(0.9).unwrap();
                }
                other.load_state_dict(&average.state_dict()).unwrap();
                average = other;
            }
            average.copy_to(&mut averaged).unwrap();
            let differ = oracle.differ(&averaged, case, t);
            assert!(differ < 1e-14 * (t + 1) as f64, "{case}, step {t}: {differ}");
        }
        assert_eq!(average.n_averaged(), STEPS as u64);
        let error = average.update_parameters(&(model.a.clone(),)).unwrap_err().to_string();
        assert!(error.contains("missing: a, b; unexpected: 0"), "{error}");
    }
    assert!(AveragedModel::ema(1.5).is_err() && AveragedModel::ema(f64::NAN).is_err());
    // Of 16 bits: the average keeps the digits that the weights have not.
    let mut small = (Param::new(Tensor::ones([1], DType::BF16).unwrap()),);
    let mut average = AveragedModel::ema(0.999).unwrap();
    average.update_parameters(&small).unwrap();
    small.0.set(Tensor::full([1], 2.0, DType::BF16).unwrap());
    for _ in 0..700 {
        average.update_parameters(&small).unwrap();
    }
    average.copy_to(&mut small).unwrap();
    assert!((small.0.to_f64().unwrap() - 1.5).abs() < 0.01, "{:?}", small.0);
}

#[test]
fn settings_out_of_bounds_are_refused_at_the_first_step() {
    let oracle = Oracle::new(DType::F64);
    let nan = f64::NAN;
    let wrong: Vec<(Box<dyn Optimizer>, &str)> = vec![
        (Box::new(SGD::new(-0.1)), "lr is -0.1"),
        (Box::new(SGD::new(nan)), "lr is NaN"),
        (Box::new(SGD::new(f64::INFINITY)), "lr is inf"),
        (Box::new(SGD::new(0.1).momentum(-0.5)), "momentum is -0.5"),
        (Box::new(SGD::new(0.1).weight_decay(nan)), "weight_decay is NaN"),
        (Box::new(SGD::new(0.1).nesterov(true)), "nesterov needs a momentum"),
        (Box::new(SGD::new(0.1).momentum(0.9).dampening(0.1).nesterov(true)), "no dampening"),
        (Box::new(Adam::new(0.1).betas(1.0, 0.9)), "the first of betas is 1"),
        (Box::new(Adam::new(0.1).betas(0.9, -0.1)), "the second of betas is -0.1"),
        (Box::new(AdamW::new(0.1).betas(0.9, nan)), "the second of betas is NaN"),
        (Box::new(Adam::new(0.1).eps(-1e-8)), "eps is"),
        (Box::new(RMSprop::new(0.1).alpha(-1.0)), "alpha is -1"),
        (Box::new(Adagrad::new(0.1).lr_decay(-1.0)), "lr_decay is -1"),
        (Box::new(Adagrad::new(0.1).initial_accumulator_value(-1.0)), "initial_accumulator_value"),
        (Box::new(Adadelta::new(0.1).rho(1.1)), "rho is 1.1"),
        (Box::new(Adamax::new(0.1).betas(0.9, 1.0)), "the second of betas"),
        (Box::new(NAdam::new(0.1).momentum_decay(-1.0)), "momentum_decay is -1"),
        (Box::new(RAdam::new(0.1).betas(1.5, 0.9)), "the first of betas"),
        (
            Box::new(Adam::new(0.1).group("a", |g| g.lr(nan))),
            "lr is NaN: it must be finite and not negative of group \"a\"",
        ),
    ];
    for (mut optimizer, told) in wrong {
        let mut model = oracle.start();
        let before = hash_model(&model);
        let step = oracle.step(&model, 0);
        let error = optimizer.apply(&mut model, &step.gradients).unwrap_err().to_string();
        assert!(error.contains(told), "{error}");
        assert_eq!(hash_model(&model), before);
    }
    // A rate that a schedule spoils is refused as well, and mended.
    let (mut model, mut optimizer) = (oracle.start(), SGD::new(0.1));
    let step = oracle.step(&model, 0);
    optimizer.set_lr(f64::NAN);
    assert!(optimizer.step(&mut model, &step).is_err());
    optimizer.set_lr(0.1);
    optimizer.step(&mut model, &step).unwrap();
}
