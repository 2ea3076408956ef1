//! ONNX's own backend tests: its operators through this library's methods. What is not covered is printed.

mod elementwise;
mod network;
mod quantize;
mod reduce;
mod shape;

use std::collections::BTreeMap;

use ferrotape::io::parse_safetensors;
use ferrotape::prelude::*;
use serde_json::Value;

/// What an operator gives; `None` where we have no word for it.
type Called = Option<Result<Vec<Tensor>>>;

/// One node and what it is given.
struct Node<'a> {
    op: &'a str,
    attributes: &'a Value,
    opset: i64,
    inputs: Vec<Option<Tensor>>,
    outputs: usize,
}

impl Node<'_> {
    fn x(&self, place: usize) -> Option<&Tensor> {
        self.inputs.get(place)?.as_ref()
    }
    fn has(&self, name: &str) -> bool {
        !self.attributes[name].is_null()
    }
    fn int(&self, name: &str, default: i64) -> i64 {
        self.attributes[name].as_i64().unwrap_or(default)
    }
    fn float(&self, name: &str, default: f64) -> f64 {
        self.attributes[name].as_f64().unwrap_or(default)
    }
    fn text(&self, name: &str) -> &str {
        self.attributes[name].as_str().unwrap_or_default()
    }
    fn ints(&self, name: &str) -> Option<Vec<i64>> {
        self.attributes[name]
            .as_array()
            .map(|list| list.iter().map(|x| x.as_i64().unwrap()).collect())
    }
    fn sizes(&self, name: &str) -> Option<Vec<usize>> {
        Some(self.ints(name)?.into_iter().map(|x| x as usize).collect())
    }
    /// The numbers of an integer input.
    fn numbers(&self, place: usize) -> Option<Vec<i64>> {
        Some(self.x(place)?.to_dtype(DType::I64).unwrap().to_vec::<i64>().unwrap())
    }
    /// An attribute that newer opsets have as an input.
    fn ints_or(&self, name: &str, place: usize) -> Option<Vec<i64>> {
        self.ints(name).or_else(|| self.numbers(place))
    }
    fn number(&self, place: usize) -> Option<f64> {
        self.x(place).map(|x| x.to_f64().unwrap())
    }
}

/// What an operator with one output gives.
fn one(y: Result<Tensor>) -> Called {
    Some(y.map(|y| vec![y]))
}

/// The numbers that ONNX gives its types.
fn dtype(number: i64) -> Option<DType> {
    Some(match number {
        1 => DType::F32,
        2 => DType::U8,
        3 => DType::I8,
        6 => DType::I32,
        7 => DType::I64,
        9 => DType::Bool,
        10 => DType::F16,
        11 => DType::F64,
        16 => DType::BF16,
        _ => return None,
    })
}

fn call(node: &Node<'_>) -> Called {
    elementwise::call(node)
        .or_else(|| reduce::call(node))
        .or_else(|| shape::call(node))
        .or_else(|| network::call(node))
        .or_else(|| quantize::call(node))
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap()
}

/// None if `got` is what ONNX's test runner accepts: floats to 1e-3 and 1e-7, others exactly.
fn differs(got: &Tensor, expected: &Tensor) -> Option<String> {
    if got.meta() != expected.meta() {
        return Some(format!("{:?} for {:?}", got.meta(), expected.meta()));
    }
    let (rtol, atol) = if expected.dtype().is_float() { (1e-3, 1e-7) } else { (0.0, 0.0) };
    let wrong = |&(x, y): &(f64, f64)| {
        let same = x == y || (x.is_nan() && y.is_nan());
        // Not `>`: a NaN where none is expected is wrong.
        let close = (x - y).abs() <= atol + rtol * y.abs();
        !(same || close)
    };
    let wrong: Vec<_> = numbers(got).into_iter().zip(numbers(expected)).filter(wrong).collect();
    wrong.first().map(|(x, y)| format!("{x:e} for {y:e} ({} such)", wrong.len()))
}

/// Runs a case. `None`: not covered. Else what is wrong with it.
fn run(store: &BTreeMap<String, Tensor>, case: &Value) -> Option<Option<String>> {
    let given = case["given"].as_object()?;
    let find = |key: &Value| store[key.as_str().unwrap()].clone();
    let mut values: BTreeMap<&str, Tensor> =
        given.iter().map(|(name, key)| (name.as_str(), find(key))).collect();
    for node in case["nodes"].as_array().unwrap() {
        let names = |place: usize| {
            node[place].as_array().unwrap().iter().map(|name| name.as_str().unwrap())
        };
        let node = Node {
            op: node[0].as_str().unwrap(),
            attributes: &node[1],
            opset: case["opset"].as_i64().unwrap(),
            inputs: names(2).map(|name| values.get(name).cloned()).collect(),
            outputs: names(3).count(),
        };
        let outputs = match call(&node)? {
            Ok(outputs) => outputs,
            Err(error) => return Some(Some(error.to_string())),
        };
        values.extend(names(3).zip(outputs));
    }
    for output in case["expected"].as_array().unwrap() {
        let name = output[0].as_str().unwrap();
        let Some(got) = values.get(name) else { return Some(Some(format!("no output {name}"))) };
        if let Some(wrong) = differs(got, &find(&output[1])) {
            return Some(Some(format!("{name}: {wrong}")));
        }
    }
    Some(None)
}

#[test]
fn onnxs_cases_agree() {
    let store = parse_safetensors(include_bytes!("../data/onnx/cases.safetensors")).unwrap();
    let mut table: BTreeMap<String, [usize; 3]> = BTreeMap::new();
    let mut wrong = Vec::new();
    for line in include_str!("../data/onnx/cases.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let row = table.entry(case["op"].as_str().unwrap().to_string()).or_default();
        match run(&store, &case) {
            None => row[2] += 1,
            Some(None) => row[0] += 1,
            Some(Some(fault)) => {
                row[1] += 1;
                wrong.push(format!("{}: {fault}", case["id"].as_str().unwrap()));
            }
        }
    }
    println!("{:32} right  wrong  not covered", "operator");
    for (op, [right, wrong, not]) in &table {
        println!("{op:32} {right:5}  {wrong:5}  {not:5}");
    }
    let total = |place: usize| table.values().map(|row| row[place]).sum::<usize>();
    println!("{:32} {:5}  {:5}  {:5}", "all", total(0), total(1), total(2));
    let whole = table.values().filter(|row| row[1] == 0 && row[2] == 0).count();
    println!("{whole} of {} operators covered with all their cases", table.len());
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(total(0) >= COVERED, "{} cases covered, were {COVERED}", total(0));
}

/// How many of the 873 cases were right when this was last touched: it only grows.
const COVERED: usize = 758;
