//! Learning-rate schedules against PyTorch's, bit for bit.

use std::collections::BTreeMap;

use ferrotape::nn::*;
use ferrotape::prelude::{Adam, Optimizer, Result, SGD, Tensor};

use crate::optim::recorded;

/// The rates, and the momenta, of so many steps under a scheduler.
fn followed(
    schedule: impl Schedule,
    optimizer: &mut dyn Optimizer,
    steps: usize,
) -> (Vec<f64>, Vec<f64>) {
    let mut scheduler = Scheduler::new(schedule, optimizer).unwrap();
    let mut seen = (Vec::new(), Vec::new());
    for step in 0..steps {
        assert_eq!((scheduler.current_step(), scheduler.lr()), (step as u64, optimizer.lr()));
        seen.0.push(optimizer.lr());
        seen.1.push(optimizer.current_momentum().unwrap());
        scheduler.step(optimizer).unwrap();
    }
    seen
}

fn same(case: &str, found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (step, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!(found == expected, "{case}, step {step}: {found} for {expected}");
    }
}

/// The list `"name": [..]` of the recorded schedules.
fn list(json: &str, name: &str) -> Vec<f64> {
    let (_, all) = json.split_once("\"lr_at_step_0_to_49\"").unwrap();
    let (_, rest) = all.split_once(&format!("\"{name}\": [")).unwrap();
    let (numbers, _) = rest.split_once(']').unwrap();
    numbers.split(',').map(|number| number.trim().parse().unwrap()).collect()
}

fn boxed(schedule: impl Schedule + 'static) -> Box<dyn Schedule> {
    Box::new(schedule)
}

#[test]
fn the_recorded_trajectory() {
    let path = crate::root().join("tests/data/trajectories/trajectories.json");
    let json = std::fs::read_to_string(path).unwrap();
    let schedules = [
        ("step", boxed(StepLR::new(10, 0.5))),
        ("multistep", boxed(MultiStepLR::new([5, 12, 30], 0.1))),
        ("exp", boxed(ExponentialLR::new(0.95))),
        ("cosine", boxed(CosineAnnealingLR::new(40, 1e-4))),
        ("linear", boxed(LinearLR::new(0.1, 1.0, 8))),
        ("onecycle", boxed(OneCycleLR::new(0.1, 51).unwrap())),
        ("poly", boxed(PolynomialLR::new(30, 2.0))),
        ("cosine_restarts", boxed(CosineAnnealingWarmRestarts::new(10, 2, 0.0))),
    ];
    assert_eq!(json.split_once("lr_at_step_0_to_49").unwrap().1.matches('[').count() - 1, 8);
    for (name, schedule) in schedules {
        let expected = list(&json, name);
        assert_eq!(expected.len(), 50);
        let found = followed(schedule, &mut SGD::new(0.1), 50).0;
        same(name, &found, &expected);
    }
}

#[test]
fn every_option_is_that_of_pytorch() {
    let data = recorded();
    let numbers = |name: &str| data[name].to_vec::<f64>().unwrap();
    let inverse = |step: u64| 1.0 / (1.0 + step as f64);
    let warm = LinearLR::new(0.01, 1.0, 8);
    let three = SequentialLR::new(ConstantLR::new(0.1, 5)).then(5, ExponentialLR::new(0.9));
    let one_cycle = || OneCycleLR::new(0.2, 60).unwrap();
    let linear = OneCycleLR::new(0.2, 70).unwrap().pct_start(0.21).unwrap();
    let linear = linear.anneal_strategy(Anneal::Linear).momentum_range(0.7, 0.99);
    let schedules = [
        ("step", boxed(StepLR::new(7, 0.3))),
        ("multi_step", boxed(MultiStepLR::new([3, 3, 11, 40], 0.7))),
        ("exponential", boxed(ExponentialLR::new(0.93))),
        ("constant", boxed(ConstantLR::new(0.3, 6))),
        ("linear_up", boxed(LinearLR::new(1.0 / 3.0, 0.9, 13))),
        ("linear_down", boxed(LinearLR::new(1.0, 0.05, 45))),
        ("polynomial", boxed(PolynomialLR::new(37, 3.0))),
        ("polynomial_half", boxed(PolynomialLR::new(37, 0.9))),
        ("cosine", boxed(CosineAnnealingLR::new(17, 0.003))),
        ("cosine_restarts", boxed(CosineAnnealingWarmRestarts::new(5, 3, 0.001))),
        ("cosine_restarts_equal", boxed(CosineAnnealingWarmRestarts::new(9, 1, 0.0))),
        ("one_cycle", boxed(one_cycle())),
        ("one_cycle_linear", boxed(linear.div_factor(10.0).final_div_factor(50.0))),
        ("lambda", boxed(LambdaLR::new(inverse))),
        ("warm_cosine", boxed(SequentialLR::new(warm).then(8, CosineAnnealingLR::new(40, 1e-4)))),
        ("three_parts", boxed(three.then(30, StepLR::new(4, 0.5)))),
    ];
    for (name, schedule) in schedules {
        let base = if name == "exponential" { 0.037 } else { 0.1 };
        let expected = numbers(&format!("lr/{name}"));
        let pure: Vec<f64> = (0..60).map(|step| schedule.lr(base, step)).collect();
        let mut optimizer = SGD::new(base).momentum(0.9);
        let (rates, momenta) = followed(schedule, &mut optimizer, 60);
        if name == "polynomial_half" {
            // Its power is the system's.
            for (found, expected) in rates.iter().zip(&expected) {
                assert!((found - expected).abs() <= 1e-12 * expected, "{found} for {expected}");
            }
        } else {
            same(name, &rates, &expected);
        }
        same(name, &pure, &rates);
        match data.get(&format!("momentum/{name}")) {
            Some(recorded) => same(name, &momenta, &recorded.to_vec::<f64>().unwrap()),
            None => assert_eq!(momenta, [0.9; 60]),
        }
    }
    let three = OneCycleLR::new(0.3, 66).unwrap().pct_start(0.4).unwrap().three_phase(true);
    let (rates, momenta) = followed(three, &mut Adam::new(0.1), 60);
    same("one_cycle_three", &rates, &numbers("lr/one_cycle_three"));
    same("one_cycle_three", &momenta, &numbers("momentum/one_cycle_three"));

    let end = one_cycle().lr(0.1, 59);
    assert_eq!((end, one_cycle().lr(0.1, 60), one_cycle().lr(0.1, 1000)), (8e-7, 8e-7, 8e-7));
    assert!(OneCycleLR::new(0.1, 0).is_err() && one_cycle().pct_start(1.5).is_err());
    for part in [0.0, 1.0] {
        let all = one_cycle().pct_start(part).unwrap();
        assert!((0..60).all(|step| all.lr(0.1, step).is_finite()));
    }
    let error = Scheduler::new(one_cycle(), &mut Adagrad::new(0.1)).unwrap_err().to_string();
    assert!(error.contains("no momentum"), "{error}");
    Scheduler::new(one_cycle().cycle_momentum(false), &mut Adagrad::new(0.1)).unwrap();
}

#[test]
fn plateaus_are_those_of_pytorch() {
    let data = recorded();
    let metrics: Vec<f64> = data["metrics"].to_vec().unwrap();
    let plateau = ReduceLROnPlateau::new;
    let max = |factor: f64| plateau().mode(PlateauMode::Max).factor(factor).unwrap();
    let cases = [
        ("plateau", plateau().patience(3)),
        ("plateau_max", {
            let patient = max(0.5).patience(2).cooldown(2).min_lr(0.004);
            patient.threshold(ThresholdMode::Absolute(0.01))
        }),
        ("plateau_abs", {
            let patient = plateau().factor(0.7).unwrap().patience(1).min_lr(1e-3).eps(2e-3);
            patient.threshold(ThresholdMode::Absolute(0.05))
        }),
        ("plateau_max_relative", {
            max(0.7).patience(4).cooldown(5).threshold(ThresholdMode::Relative(0.2))
        }),
    ];
    for (name, mut plateau) in cases {
        let mut optimizer = SGD::new(0.1);
        let mut rates = Vec::new();
        for (at, metric) in metrics.iter().enumerate() {
            rates.push(optimizer.lr());
            if at == 20 {
                // Off and on again.
                let mut fresh = plateau.clone();
                fresh.step(&mut SGD::new(0.1), -1e9).unwrap();
                fresh.load_state_dict(&plateau.state_dict()).unwrap();
                assert_eq!(fresh, plateau);
                plateau = fresh;
            }
            plateau.step(&mut optimizer, *metric).unwrap();
        }
        same(name, &rates, &data[&format!("lr/{name}")].to_vec::<f64>().unwrap());
    }
    assert!(plateau().factor(1.0).is_err() && plateau().factor(f64::NAN).is_err());
    let error = plateau().load_state_dict(&BTreeMap::new()).unwrap_err().to_string();
    assert!(error.contains("plateau.best: missing"), "{error}");
}

#[test]
fn groups_follow_with_rates_of_their_own_and_state_goes_on() -> Result<()> {
    let make = || SGD::new(0.1).group("head", |g| g.lr(0.4));
    let schedule = || SequentialLR::new(LinearLR::new(0.5, 1.0, 2)).then(2, StepLR::new(2, 0.5));
    let mut optimizer = make();
    let mut scheduler = Scheduler::new(std::sync::Arc::new(schedule()), &mut optimizer)?;
    let mut seen = vec![(optimizer.lr(), optimizer.group_lr("head")?)];
    for _ in 0..3 {
        scheduler.step(&mut optimizer)?;
        seen.push((optimizer.lr(), optimizer.group_lr("head")?));
    }
    let close = |a: f64, b: f64| (a - b).abs() < 1e-15;
    assert!(close(seen[0].0, 0.05) && close(seen[0].1, 0.2) && close(seen[1].1, 0.3), "{seen:?}");
    assert_eq!(seen[2..], [(0.1, 0.4), (0.1, 0.4)]);

    // A fresh program: the same optimizer and schedule, then the state.
    let mut other = make();
    let mut resumed = Scheduler::new(std::sync::Arc::new(schedule()), &mut other)?;
    let state: BTreeMap<String, Tensor> = scheduler.state_dict();
    resumed.load_state_dict(&state, &mut other)?;
    for _ in 0..5 {
        scheduler.step(&mut optimizer)?;
        resumed.step(&mut other)?;
        assert_eq!(
            (other.lr(), other.group_lr("head")?),
            (optimizer.lr(), optimizer.group_lr("head")?)
        );
    }
    assert_eq!(other.lr(), 0.0125);

    let mut part = state;
    part.remove("schedule.lr.head");
    let error = resumed.load_state_dict(&part, &mut other).unwrap_err().to_string();
    assert!(error.contains("schedule.lr.head: missing"), "{error}");
    let error = resumed.step(&mut SGD::new(0.1)).unwrap_err().to_string();
    assert!(error.contains("no group is called \"head\""), "{error}");
    Ok(())
}
