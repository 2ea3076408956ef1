//! Every operation passes the numerical check of its first and second derivatives, or stands on the list of those without.

mod composites;
mod elementwise;
mod images;
mod losses;
mod margins;
mod methods;
mod moves;
mod norms;
mod products;
mod quantize;
mod reductions;
mod sequence;
mod shapes;
mod windows;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;
use std::rc::Rc;

use ferrotape::autograd::rules::{Derivative, derivative};
use ferrotape::autograd::{GradCheck, Tape};
use ferrotape::{
    AdagradStep, AdamStep, BinaryOp, CompareOp, DType, Error, Generator, LogicalOp, Meta, Observer,
    Op, Result, RmsPropStep, SgdStep, Tensor, UnaryOp, WindowsOp, apply, observe,
};

type Function = dyn Fn(&[Tensor]) -> Result<Tensor>;

/// A function to check, at inputs where it is smooth.
struct Case {
    name: String,
    inputs: Vec<Tensor>,
    function: Box<Function>,
}

impl Case {
    /// First and second order.
    fn check(&self, settings: &GradCheck) {
        let says = |order: &str, error: Error| panic!("{}, {order} order: {error}", self.name);
        settings.run(&self.function, &self.inputs).unwrap_or_else(|error| says("first", error));
        settings
            .run_second(&self.function, &self.inputs)
            .unwrap_or_else(|error| says("second", error));
    }

    /// The operations that a tape would record.
    fn recorded(&self) -> Vec<Op> {
        let met = Rc::new(Met::default());
        let (listener, inputs) = (met.clone(), &self.inputs);
        Tape::record(|tape| {
            inputs.iter().for_each(|input| tape.watch(input));
            observe(listener, || (self.function)(inputs))
        })
        .unwrap_or_else(|error| panic!("{}: {error}", self.name));
        met.ops.take()
    }
}

/// Notes the operations on tracked operands, or all of them.
#[derive(Default)]
struct Met {
    all: bool,
    ops: RefCell<Vec<Op>>,
}

impl Observer for Met {
    fn begin(&self, op: &Op, inputs: &[&Tensor]) -> Result<()> {
        if self.all || inputs.iter().any(|input| input.tag().is_live()) {
            self.ops.borrow_mut().push(op.clone());
        }
        Ok(())
    }
    fn end(&self, _: &Op, _: &[Meta], _: Result<&[Tensor], &Error>) -> Result<()> {
        Ok(())
    }
}

/// Cases, made one by one with numbers of their own.
struct Cases {
    rng: Generator,
    cases: Vec<Case>,
}

impl Cases {
    fn new() -> Cases {
        Cases { rng: Generator::new(7), cases: Vec::new() }
    }

    fn add(
        &mut self,
        name: impl Into<String>,
        inputs: Vec<Tensor>,
        function: impl Fn(&[Tensor]) -> Result<Tensor> + 'static,
    ) {
        let function = Box::new(function);
        self.cases.push(Case { name: name.into(), inputs, function });
    }

    /// Anything between -1 and 1.
    fn any(&mut self, shape: &[usize]) -> Tensor {
        self.rng.uniform(shape, -1.0, 1.0, DType::F64).unwrap()
    }

    /// Magnitudes between 0.15 and 0.45 above 0, 1 or 2: far from every kink of the table's functions.
    fn positive(&mut self, shape: &[usize]) -> Tensor {
        let whole = self.rng.uniform(shape, 0.0, 3.0, DType::F64).unwrap().floor().unwrap();
        self.rng.uniform(shape, 0.15, 0.45, DType::F64).unwrap().add(&whole).unwrap()
    }

    /// As `positive`, of either sign.
    fn signed(&mut self, shape: &[usize]) -> Tensor {
        let sign = self.any(shape).sign().unwrap();
        self.positive(shape).mul(&sign).unwrap()
    }

    fn check(self) {
        assert!(!self.cases.is_empty());
        self.cases.iter().for_each(|case| case.check(&GradCheck::default()));
    }
}

/// The first result of an operation.
fn one(op: &Op, inputs: &[&Tensor]) -> Result<Tensor> {
    let mut operands: Vec<_> = inputs.iter().map(|&input| input.into()).collect();
    apply(op, &mut operands).map(|mut outputs| outputs.swap_remove(0))
}

const FAMILIES: &[fn(&mut Cases)] = &[
    elementwise::unary,
    elementwise::binary,
    elementwise::others,
    shapes::views,
    shapes::selections,
    moves::cases,
    products::cases,
    quantize::cases,
    images::cases,
    reductions::scans,
    reductions::sorts,
    reductions::statistics,
    sequence::cases,
    losses::cases,
    margins::cases,
    methods::cases,
    norms::cases,
    composites::cases,
    composites::casts,
    composites::short_casts,
];

fn family(add: fn(&mut Cases)) -> Cases {
    let mut cases = Cases::new();
    add(&mut cases);
    cases
}

#[test]
fn unary() {
    family(elementwise::unary).check();
}

#[test]
fn binary() {
    family(elementwise::binary).check();
}

#[test]
fn other_elementwise() {
    family(elementwise::others).check();
}

#[test]
fn views_and_reductions() {
    family(shapes::views).check();
}

#[test]
fn selections() {
    family(shapes::selections).check();
}

#[test]
fn moves() {
    family(moves::cases).check();
}

#[test]
fn products_and_softmax() {
    family(products::cases).check();
}

#[test]
fn quantization() {
    family(quantize::cases).check();
}

#[test]
fn scans_sorts_and_statistics() {
    family(reductions::scans).check();
    family(reductions::sorts).check();
    family(reductions::statistics).check();
}

#[test]
fn convolution_and_pooling() {
    family(images::cases).check();
}

#[test]
fn recurrent_layers() {
    family(sequence::cases).check();
}

#[test]
fn normalisations() {
    family(norms::cases).check();
}

#[test]
fn losses_with_settings() {
    family(losses::cases).check();
    family(margins::cases).check();
}

#[test]
fn methods_made_of_others() {
    family(methods::cases).check();
}

#[test]
fn composites_and_custom_functions() {
    family(composites::cases).check();
}

/// Which entry of the table of operations `op` is.
fn entry(op: &Op) -> String {
    let first = |text: String| {
        text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_string()
    };
    match op {
        Op::Unary(inner) => format!("Unary {inner:?}"),
        Op::Binary(inner) => format!("Binary {inner:?}"),
        Op::Compare(inner) => format!("Compare {inner:?}"),
        Op::Logical(inner) => format!("Logical {inner:?}"),
        Op::Reduce(inner, _) => format!("Reduce {inner:?}"),
        Op::ArgReduce(inner, _) => format!("ArgReduce {inner:?}"),
        Op::Scan(inner, _) => format!("Scan {inner:?}"),
        Op::Linear(activation) => format!("Linear {activation:?}"),
        Op::Conv2d(_, activation) => format!("Conv2d {activation:?}"),
        Op::View(inner) => format!("View {}", first(format!("{inner:?}"))),
        Op::Index(inner) => format!("Index {}", first(format!("{inner:?}"))),
        Op::Random(inner, ..) => format!("Random {}", first(format!("{inner:?}"))),
        Op::Optimize(inner) => format!("Optimize {}", first(format!("{inner:?}"))),
        Op::Softmax { log, .. } => format!("Softmax {log}"),
        Op::Cast(to) => format!("Cast {to:?}"),
        other => first(format!("{other:?}")),
    }
}

/// The variants of an enum, read from its source: an operation that is added tomorrow is missed here by no one.
fn variants(file: &str, name: &str) -> Vec<String> {
    let text = fs::read_to_string(crate::root().join(file)).unwrap();
    let body = text.split(&format!("pub enum {name} {{\n")).nth(1).unwrap();
    let body = body.split("\n}").next().unwrap();
    let variant = |line: &str| {
        let rest = line.strip_prefix("    ").filter(|rest| rest.starts_with(char::is_uppercase))?;
        Some(rest.chars().take_while(|c| c.is_alphanumeric()).collect())
    };
    let found: Vec<String> = body.lines().filter_map(variant).collect();
    assert!(found.len() > 1, "{file}: {name}");
    found
}

/// Every entry that an `Op` can be.
fn table() -> BTreeSet<String> {
    fn debug<T: std::fmt::Debug>(all: &[T]) -> Vec<String> {
        all.iter().map(|op| format!("{op:?}")).collect()
    }
    let parameters = |name: &str| variants("tensor/src/op/parameters.rs", name);
    let inner = |variant: &str| match variant {
        "Unary" => debug(UnaryOp::ALL),
        "Binary" => debug(BinaryOp::ALL),
        "Compare" => debug(CompareOp::ALL),
        "Logical" => debug(LogicalOp::ALL),
        "Reduce" => variants("kernels/src/cpu/reduce.rs", "ReduceOp"),
        "ArgReduce" => variants("kernels/src/cpu/reduce.rs", "ArgOp"),
        "Scan" => variants("kernels/src/cpu/scan.rs", "ScanOp"),
        "Linear" => parameters("LinearActivation"),
        "Conv2d" => variants("kernels/src/cpu/gemm.rs", "Activation"),
        "View" => parameters("ViewOp"),
        "Index" => parameters("IndexOp"),
        "Random" => parameters("RandomOp"),
        "Optimize" => parameters("OptimizeOp"),
        "Softmax" => debug(&[false, true]),
        "Cast" => variants("tensor/src/dtype.rs", "DType"),
        _ => Vec::new(),
    };
    let mut table = BTreeSet::new();
    for variant in variants("tensor/src/op.rs", "Op") {
        let inner = inner(&variant);
        match inner.is_empty() {
            true => table.insert(variant),
            false => inner.iter().fold(true, |_, op| table.insert(format!("{variant} {op}"))),
        };
    }
    table
}

/// What happens in `body`, all of it.
fn all_of(body: impl FnOnce() -> Result<()>) -> Vec<Op> {
    let met = Rc::new(Met { all: true, ops: RefCell::default() });
    observe(met.clone(), body).unwrap();
    met.ops.take()
}

/// Operations whose results are constants to a tape, by their nature: integers and booleans, random numbers, what was cut off.
fn constants() -> Vec<Op> {
    all_of(|| {
        let (x, y) = (Tensor::from([1.0, -2.0]), Tensor::from([true, false]));
        for compare in CompareOp::ALL {
            one(&Op::Compare(*compare), &[&x, &x])?;
        }
        for logical in LogicalOp::ALL {
            one(&Op::Logical(*logical), &[&y, &y])?;
        }
        x.argmax(0)?;
        x.argmin(0)?;
        quantize::constants()?;
        x.searchsorted(&x, false)?;
        Tensor::from([[[[1.0, -2.0]]]]).max_pool2d_index(WindowsOp::Adaptive([1, 1]))?;
        x.detach()?;
        for integer in DType::ALL.into_iter().filter(|dtype| !dtype.is_float()) {
            x.to_dtype(integer)?;
        }
        let mut rng = Generator::new(0);
        rng.uniform([1], 0.0, 1.0, DType::F64)?;
        rng.normal([1], 0.0, 1.0, DType::F64)?;
        rng.bernoulli([1], 0.5, 1.0, DType::F64)?;
        Ok(())
    })
}

/// Operations that a tape refuses: they change a value under it, or are a fused backward pass (which another tape replaces by the
/// steps it is made of).
fn updates() -> Vec<Op> {
    all_of(|| {
        let mut w: [Tensor; 3] = [0.0, 0.0, 0.0].map(|x| Tensor::from([x]));
        let (lr, weight_decay, step, maximize) = (0.1, 0.0, 1, false);
        let sgd = SgdStep {
            lr,
            momentum: 0.0,
            dampening: 0.0,
            weight_decay,
            nesterov: false,
            first: true,
            maximize,
        };
        let (beta1, beta2, eps, decoupled) = (0.9, 0.999, 1e-8, false);
        let (amsgrad, momentum, centered, alpha) = (false, 0.0, false, 0.9);
        let adam =
            AdamStep { lr, beta1, beta2, eps, weight_decay, decoupled, step, amsgrad, maximize };
        let rms = RmsPropStep { lr, alpha, eps, weight_decay, momentum, centered, maximize };
        let adagrad = AdagradStep { lr, lr_decay: 0.0, eps, weight_decay, step, maximize };
        let g = Tensor::from([1.0]);
        let [w, first, second] = &mut w;
        w.assign(&g)?;
        w.sgd_step(&g, sgd, None)?;
        w.adam_step(&g, adam, first, second, None)?;
        w.rms_prop_step(&g, rms, first, None, None)?;
        w.adagrad_step(&g, adagrad, first)?;
        let settings = ferrotape::SequenceOp::new(ferrotape::RecurrentCell::RnnTanh);
        let (y, saved) = (Tensor::from([[[0.5]]]), Tensor::zeros([1, 1, 0], DType::F64)?);
        let h = Tensor::from([[0.5]]);
        one(&Op::SequenceBackward(settings), &[&h, &y, &saved, &y, &h]).map(drop)
    })
}

#[test]
fn every_operation_is_checked_or_has_no_derivative() {
    let mut checked = BTreeSet::new();
    for &add in FAMILIES {
        for op in family(add).cases.iter().flat_map(Case::recorded) {
            if matches!(derivative(&op), Derivative::Rule(_) | Derivative::Custom) {
                checked.insert(entry(&op));
            }
        }
    }
    let mut constant = BTreeSet::new();
    for op in constants() {
        assert!(matches!(derivative(&op), Derivative::None), "{op:?}");
        constant.insert(entry(&op));
    }
    let mut refused = BTreeSet::new();
    for op in updates() {
        assert!(matches!(derivative(&op), Derivative::Missing), "{op:?}");
        refused.insert(entry(&op));
    }
    assert!(checked.is_disjoint(&constant) && checked.is_disjoint(&refused));
    let placed = &(&checked | &constant) | &refused;
    let table = table();
    assert!(table.len() > 70, "{table:?}");
    let lost: Vec<_> = table.difference(&placed).collect();
    assert!(lost.is_empty(), "operations that nobody checks: {lost:?}");
    let strange: Vec<_> = placed.difference(&table).collect();
    assert!(strange.is_empty(), "not in the table as this test reads it: {strange:?}");
}

/// The checks must be able to fail.
#[test]
fn a_wrong_derivative_is_found() {
    let x = [Tensor::from([0.3, -0.7])];
    let check = GradCheck::default();
    let error = check.run(&|x| composites::wrong(&x[0], 1), &x).unwrap_err().to_string();
    assert!(error.contains("input 0: analytic"), "{error}");
    check.run(&|x| composites::wrong(&x[0], 2), &x).unwrap();
    let error = check.run_second(&|x| composites::wrong(&x[0], 2), &x).unwrap_err().to_string();
    assert!(error.contains("input 0: analytic"), "{error}");
    check.run_second(&|x| composites::wrong(&x[0], 0), &x).unwrap();
    let single = [Tensor::from([0.3f32])];
    assert!(check.run(&|x| x[0].exp(), &single).is_err());
}
