//! PyTorch's own cases: its OpInfo samples of the operations we have, forward and gradient, in f64 and f32. What a case asks that we
//! can't say yet (an option, a type) is counted and printed, never hidden.

mod activation;
mod args;
mod elementwise;
mod images;
mod linalg;
mod loss;
mod measure;
mod network;
mod norm;
mod reduce;
mod scan;
mod select;
mod shape;
mod sort;

use std::cell::Cell;
use std::collections::BTreeMap;

use ferrotape::autograd::Tape;
use ferrotape::io::parse_safetensors;
use ferrotape::prelude::*;

use args::{Arg, Args};

/// What an operation gives; `None` where we have no word for its arguments.
type Called = Option<Result<Vec<Tensor>>>;

type Store = BTreeMap<String, Tensor>;

/// One line of `cases.txt`.
struct Case<'a> {
    op: &'a str,
    arguments: &'a str,
    outputs: Vec<&'a str>,
    cotangents: Vec<&'a str>,
    gradients: Vec<(&'a str, &'a str)>,
    /// PyTorch's f32 errors: of outputs, of gradients; largest values of both.
    f32_errors: [f64; 4],
}

fn parse(line: &str) -> Case<'_> {
    let fields: Vec<&str> = line.split('|').collect();
    let list = |place: usize| fields[place].split(',').filter(|s| !s.is_empty()).collect();
    let errors: Vec<f64> = fields[5].split(' ').map(|e| e.parse().unwrap()).collect();
    let pairs: Vec<&str> = list(4);
    Case {
        op: fields[0],
        arguments: fields[1],
        outputs: list(2),
        cotangents: list(3),
        gradients: pairs.iter().map(|pair| pair.split_once('=').unwrap()).collect(),
        f32_errors: errors.try_into().unwrap(),
    }
}

/// The outputs of operation `op` (NAME or NAME/VARIANT).
fn call(op: &str, args: &Args) -> Called {
    let op = op.strip_prefix("nn.functional.").unwrap_or(op);
    elementwise::call(op, args)
        .or_else(|| linalg::call(op, args))
        .or_else(|| activation::call(op, args))
        .or_else(|| reduce::call(op, args))
        .or_else(|| measure::call(op, args))
        .or_else(|| scan::call(op, args))
        .or_else(|| sort::call(op, args))
        .or_else(|| shape::call(op, args))
        .or_else(|| select::call(op, args))
        .or_else(|| network::call(op, args))
        .or_else(|| norm::call(op, args))
        .or_else(|| images::call(op, args))
        .or_else(|| loss::call(op, args))
}

/// What an operation with one output gives.
fn one(y: Result<Tensor>) -> Called {
    Some(y.map(|y| vec![y]))
}

/// What an operation with two outputs gives.
fn two(outputs: Result<(Tensor, Tensor)>) -> Called {
    Some(outputs.map(|(y, z)| vec![y, z]))
}

/// A stored tensor, floats as `float`.
fn stored(store: &Store, key: &str, float: DType) -> Tensor {
    let tensor = &store[key];
    let tensor =
        if tensor.dtype().is_float() { tensor.to_dtype(float).unwrap() } else { tensor.clone() };
    tensor.to_device(DEVICE.get()).unwrap()
}

thread_local! {
    /// Where the cases of this thread run.
    static DEVICE: Cell<Device> = const { Cell::new(Device::Cpu) };
}

/// The arguments, and those of them that are watched, by key.
fn arguments(store: &Store, text: &str, float: DType) -> (Args, BTreeMap<String, Tensor>) {
    let (mut args, mut watched, mut name) = (Args::default(), BTreeMap::new(), None);
    let mut open: Vec<Vec<Arg>> = Vec::new();
    for token in text.split(' ') {
        let (kind, value) = token.split_once(':').unwrap_or((token, ""));
        let arg = match kind {
            "k" => {
                name = Some(value.to_string());
                continue;
            }
            "[" => {
                open.push(Vec::new());
                continue;
            }
            "]" => Arg::List(open.pop().unwrap()),
            "t" => {
                let (key, watch) = value.split_once(':').unwrap();
                // A watched tensor stands for one value, wherever it is named.
                let tensor = stored(store, key, float).copy().unwrap();
                if watch == "1" {
                    watched.insert(key.to_string(), tensor.clone());
                }
                Arg::Tensor(tensor)
            }
            "i" => Arg::Int(value.parse().unwrap()),
            "f" => Arg::Float(value.parse().unwrap()),
            "b" => Arg::Bool(value == "True"),
            "s" => Arg::Text(value.to_string()),
            "r" => {
                let ends: Vec<Option<i64>> = value.split(':').map(|end| end.parse().ok()).collect();
                Arg::Range(ends.try_into().unwrap())
            }
            "..." => Arg::Ellipsis,
            _ => Arg::None,
        };
        if let Some(list) = open.last_mut() {
            list.push(arg);
        } else if let Some(name) = name.take() {
            args.named.insert(name, arg);
        } else {
            args.list.push(arg);
        }
    }
    (args, watched)
}

/// None if `got` is within `atol + rtol * |expected|` of `expected` everywhere, else the worst place in words.
fn differs(what: &str, got: &Tensor, expected: &Tensor, rtol: f64, atol: f64) -> Option<String> {
    if got.shape() != expected.shape() {
        return Some(format!("{what}: shape {:?} for {:?}", got.shape(), expected.shape()));
    }
    let numbers = |x: &Tensor| x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap();
    let pairs = numbers(got).into_iter().zip(numbers(expected));
    let wrong = |&(x, y): &(f64, f64)| {
        let same = x == y || (x.is_nan() && y.is_nan());
        // Not `>`: a NaN where none is expected is wrong.
        let close = (x - y).abs() <= atol + rtol * y.abs();
        !(same || close)
    };
    let wrong: Vec<(f64, f64)> = pairs.filter(wrong).collect();
    wrong.first().map(|(x, y)| format!("{what}: {x:e} for {y:e} ({} such)", wrong.len()))
}

/// A case's outputs and the gradients of its inputs in one float type. `None`: not supported.
fn computed(store: &Store, case: &Case<'_>, float: DType) -> Option<Result<[Vec<Tensor>; 2]>> {
    let (args, watched) = arguments(store, case.arguments, float);
    let mut refused = false;
    let recorded = Tape::record(|tape| {
        watched.values().for_each(|x| tape.watch(x));
        call(case.op, &args).unwrap_or_else(|| {
            refused = true;
            Ok(Vec::new())
        })
    });
    let (outputs, tape) = match recorded {
        _ if refused => return None,
        Ok(recorded) => recorded,
        Err(error) => return Some(Err(error)),
    };
    let seeds: Vec<(&Tensor, Tensor)> = (outputs.iter().zip(&case.cotangents))
        .filter(|(_, key)| **key != "-")
        .map(|(y, key)| (y, stored(store, key, float)))
        .collect();
    let inputs: Vec<&Tensor> = case.gradients.iter().map(|(of, _)| &watched[*of]).collect();
    let gradients = tape.vector_jacobian_product(&seeds, &inputs).map(|gradients| {
        let all = inputs.iter().zip(gradients);
        all.map(|(x, got)| got.unwrap_or_else(|| x.zeros_like().unwrap())).collect()
    });
    Some(gradients.map(|gradients| [outputs, gradients]))
}

/// Runs a case in one float type. `None`: not supported. Else all that is wrong with it.
fn run(store: &Store, case: &Case<'_>, float: DType) -> Option<Vec<String>> {
    let [outputs, gradients] = match computed(store, case, float)? {
        Ok(both) => both,
        Err(error) => return Some(vec![error.to_string()]),
    };
    let [error, gradient_error, largest, largest_gradient] = case.f32_errors;
    let eps = f64::from(f32::EPSILON);
    let bounds = |error: f64, largest: f64, tight: f64| match float {
        DType::F64 => (tight, tight),
        _ => (0.0, (8.0 * error).max(4.0 * eps * largest).max(1e-37)),
    };
    if outputs.len() != case.outputs.len() {
        return Some(vec![format!("{} outputs for {}", outputs.len(), case.outputs.len())]);
    }
    let mut wrong = Vec::new();
    for (got, key) in outputs.iter().zip(&case.outputs) {
        let (rtol, atol) = bounds(error, largest, 1e-9);
        wrong.extend(differs("output", got, &store[*key], rtol, atol));
    }
    for (got, (_, key)) in gradients.iter().zip(&case.gradients) {
        let (rtol, atol) = bounds(gradient_error, largest_gradient, 1e-8);
        wrong.extend(differs("gradient", got, &store[*key], rtol, atol));
    }
    Some(wrong)
}

#[test]
fn pytorchs_cases_agree() {
    let store = parse_safetensors(include_bytes!("../data/opinfo/cases.safetensors")).unwrap();
    let mut table: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for (number, line) in include_str!("../data/opinfo/cases.txt").lines().enumerate() {
        let case = parse(line);
        let name = case.op.split_once('/').map_or(case.op, |(name, _)| name);
        let row = table.entry(name).or_default();
        for float in [DType::F64, DType::F32] {
            match run(&store, &case, float) {
                None => row[2] += 1,
                Some(faults) => {
                    row[usize::from(!faults.is_empty())] += 1;
                    let place = format!("line {}: {} {float}", number + 1, case.op);
                    wrong.extend(faults.into_iter().map(|fault| format!("{place}: {fault}")));
                }
            }
        }
    }
    let covered = |row: &[usize; 3]| row[1] == 0 && row[2] == 0;
    println!("{:48} right  wrong  not supported (f64 and f32 each count)", "operation");
    for (op, row) in &table {
        let [right, wrong, not] = row;
        let word = if covered(row) { "" } else { "  not yet" };
        println!("{op:48} {right:5}  {wrong:5}  {not:5}{word}");
    }
    let total = |place: usize| table.values().map(|row| row[place]).sum::<usize>();
    let whole = table.values().filter(|row| covered(row)).count();
    println!("{:48} {:5}  {:5}  {:5}", "all", total(0), total(1), total(2));
    println!("{whole} of {} operations covered with all their cases", table.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(whole >= COVERED, "{whole} operations covered, were {COVERED}");
}

/// On a GPU, or on the one that stands in for it, each case has the CPU's bits (any NaN equals any NaN).
#[test]
fn pytorchs_cases_on_a_gpu() {
    let Some(gpu) = crate::cuda::gpu() else { return };
    let store = parse_safetensors(include_bytes!("../data/opinfo/cases.safetensors")).unwrap();
    let (mut compared, mut wrong) = (0, Vec::new());
    for (number, line) in include_str!("../data/opinfo/cases.txt").lines().enumerate() {
        let case = parse(line);
        for float in [DType::F64, DType::F32] {
            let Some(Ok(here)) = computed(&store, &case, float) else { continue };
            DEVICE.set(gpu);
            let there = computed(&store, &case, float);
            DEVICE.set(Device::Cpu);
            let place = format!("line {}: {} {float}", number + 1, case.op);
            let there = match there {
                Some(Ok(there)) => there,
                Some(Err(error)) => {
                    wrong.push(format!("{place}: {error}"));
                    continue;
                }
                None => continue,
            };
            compared += 1;
            let pairs = here.iter().flatten().zip(there.iter().flatten());
            for (place_of, (here, there)) in pairs.enumerate() {
                assert_eq!(there.device(), gpu, "{place}: result {place_of}");
                if crate::cuda::bits(here) != crate::cuda::bits(there) {
                    wrong.push(format!("{place}: result {place_of} has other bits"));
                }
            }
        }
    }
    assert!(compared > 3000, "only {compared} compared");
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// How many of the 235 operations were covered, every case of each, when this was last touched: it only grows.
const COVERED: usize = 234;
