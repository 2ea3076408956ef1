//! A run in integers: the observer that computes the layers, and keeps codes beside the tensors that stand for them.
//!
//! Where a value is codes, the network's own code holds a stand-in of its shape and type without memory. An operation on it is done on
//! the codes where it can be, and otherwise on the numbers that they stand for; no code of the network sees the difference. A
//! stand-in that leaves unseen reads as NaN.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use ferrotape_tensor::{
    BinaryOp, DType, Device, Error, Int8Op, Meta, Observer, Op, Operand, Outputs, Result, Tensor,
    TensorId, UnaryOp, ViewOp, apply, apply_one,
};

use super::config::QuantMode;
use super::held::{Ahead, Held, Value, nhwc, numbers};
use super::layer::{Layer, Taken};
use super::plan::Plan;
use super::recurrent::{of_layer, recurrent_paths};
use super::trace::{Key, join_key};
use super::weights::{LayerOp, Weights};
use crate::module::Module;

/// Hears of each layer that ran: its output as numbers, and how long it took.
pub(super) type Watch = Box<dyn Fn(&Layer, &Tensor, Duration) -> Result<()>>;

#[derive(Default)]
struct State {
    weights: Weights,
    held: HashMap<TensorId, Held>,
    nan: Option<Tensor>,
}

/// The observer: lives for one run.
pub(super) struct Runner {
    plan: Arc<Plan>,
    /// Weights whose numbers the model does not have.
    hollow: Arc<BTreeSet<String>>,
    /// Only this layer runs in integers.
    only: Option<String>,
    watch: Option<Watch>,
    busy: Cell<bool>,
    state: RefCell<State>,
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::other(format!("quantized network: {message}")))
}

impl Runner {
    pub(super) fn new<M: Module + ?Sized>(
        model: &M,
        plan: Arc<Plan>,
        hollow: Arc<BTreeSet<String>>,
    ) -> Self {
        let state = State { weights: Weights::of(model), ..State::default() };
        let (busy, state) = (Cell::new(false), RefCell::new(state));
        Runner { plan, hollow, only: None, watch: None, busy, state }
    }

    pub(super) fn only(mut self, layer: Option<String>) -> Self {
        self.only = layer;
        self
    }

    pub(super) fn watch(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    /// A result of the run as numbers.
    pub(super) fn resolve(&self, x: Tensor) -> Result<Tensor> {
        let Some(held) = self.state.borrow().held.get(&x.id()).cloned() else { return Ok(x) };
        self.check_nothing_ahead(&held, "leaves the network")?;
        self.alone(|| numbers(&held, &x))
    }

    fn alone<R>(&self, body: impl FnOnce() -> R) -> R {
        self.busy.set(true);
        let result = body();
        self.busy.set(false);
        result
    }

    fn steps(&self, ahead: Ahead) -> (&str, &[Taken]) {
        let Ahead::Layer(at, done) = ahead else { return ("", &[]) };
        let Some(layer) = self.plan.layers.get(at) else { return ("", &[]) };
        (&layer.name, layer.steps.get(done..).unwrap_or(&[]))
    }

    fn check_nothing_ahead(&self, held: &Held, now: &str) -> Result<()> {
        let expected = match held.ahead {
            Ahead::Nothing => return Ok(()),
            Ahead::Relu => "relu",
            ahead => self.steps(ahead).1.first().map_or("nothing", |step| &step.op),
        };
        let name = match self.steps(held.ahead).0 {
            "" => &*held.key,
            layer => layer,
        };
        refuse(format!(
            "in calibration {expected} followed {name}; now {name} {now}: calibrate again"
        ))
    }

    /// A stand-in of `shape`.
    fn hold(
        &self,
        state: &mut State,
        shape: &[usize],
        value: Value,
        key: Key,
        ahead: Ahead,
    ) -> Result<Tensor> {
        let device = match &value {
            Value::Codes(codes, ..) => codes.device(),
            Value::Places(device) => *device,
            Value::Numbers => Device::Cpu,
        };
        let nan = match &state.nan {
            Some(nan) if nan.device() == device => nan.clone(),
            _ => state.nan.insert(Tensor::full((), f64::NAN, (DType::F32, device))?).clone(),
        };
        // One element could be read without an operation.
        if shape.iter().product::<usize>() == 1 && ahead == Ahead::Nothing {
            let held = Held { weak: nan.downgrade(), value, key, ahead };
            return numbers(&held, &nan)?.reshape(shape);
        }
        let x = match value {
            Value::Places(_) => Tensor::zeros((), (DType::U8, device))?.expand(shape)?,
            _ => nan.expand(shape)?,
        };
        self.register(state, &x, value, key, ahead);
        Ok(x)
    }

    fn register(&self, state: &mut State, x: &Tensor, value: Value, key: Key, ahead: Ahead) {
        state.held.retain(|_, held| held.weak.is_alive());
        state.held.insert(x.id(), Held { weak: x.downgrade(), value, key, ahead });
    }

    /// A layer's output, from numbers or codes.
    fn layer(
        &self,
        state: &mut State,
        at: usize,
        op: &Op,
        inputs: &[&Tensor],
    ) -> Result<Option<Outputs>> {
        let (Some(layer), Some(x)) = (self.plan.layers.get(at), inputs.first()) else {
            return Ok(None);
        };
        let start = Instant::now();
        let held = state.held.get(&x.id()).cloned();
        if let Some(held) = &held {
            self.check_nothing_ahead(held, "is read by a layer")?;
        }
        let conv = matches!(layer.op, LayerOp::Conv2d(_));
        let shape = {
            let metas: Vec<Meta> = inputs.iter().map(|x| x.meta()).collect();
            ferrotape_tensor::output_metas(op, &metas)?.swap_remove(0).shape
        };
        let y = match layer.mode {
            QuantMode::Static => {
                let (codes, encoding) = match (&held, layer.input) {
                    (Some(Held { value: Value::Codes(codes, encoding, _), .. }), _) => {
                        let codes = if conv { nhwc(codes)? } else { codes.clone() };
                        (codes, *encoding)
                    }
                    (_, Some(to)) => {
                        let encode = Op::Int8(Int8Op::Encode { to, images: conv });
                        (apply_one(&encode, &mut [Operand::Ref(x)])?, to)
                    }
                    (_, None) => return refuse(format!("{}: no range of its input", layer.name)),
                };
                let op = Op::Int8(Int8Op::Layer(layer.call(encoding)?));
                apply_one(&op, &mut [Operand::Own(codes)])?
            }
            QuantMode::Dynamic => {
                let x = match &held {
                    Some(held) => numbers(held, x)?,
                    None => (*x).clone(),
                };
                let op = Op::Int8(Int8Op::Dynamic(layer.dynamic()?));
                apply_one(&op, &mut [Operand::Own(x)])?
            }
            QuantMode::WeightsOnly => {
                let x = match &held {
                    Some(held) => numbers(held, x)?,
                    None => (*x).clone(),
                };
                layer.in_float(&x)?
            }
        };
        let images = conv && layer.mode != QuantMode::WeightsOnly;
        let y = if images { y.permute([0, 3, 1, 2])? } else { y };
        let key: Key = layer.key().into();
        let ahead = match layer.steps.is_empty() {
            true => Ahead::Nothing,
            false => Ahead::Layer(at, 0),
        };
        if let Some(watch) = &self.watch {
            let seconds = start.elapsed();
            let value = match layer.output {
                Some(to) => Value::Codes(y.clone(), to, layer.relu),
                None => Value::Numbers,
            };
            let held = Held { weak: y.downgrade(), value, key: key.clone(), ahead };
            watch(layer, &numbers(&held, &y)?, seconds)?;
        }
        let y = match (layer.output, ahead) {
            (Some(to), _) => {
                self.hold(state, &shape, Value::Codes(y, to, layer.relu), key, ahead)?
            }
            (None, Ahead::Nothing) => y,
            (None, _) => {
                self.register(state, &y, Value::Numbers, key, ahead);
                y
            }
        };
        Ok(Some(Outputs::from_iter([y])))
    }

    /// A step that the value's layer has taken in: the same value, one step on.
    fn step(&self, state: &mut State, held: Held, op: &Op, inputs: &[&Tensor]) -> Result<Outputs> {
        let Some(x) = inputs.iter().find(|x| state.held.contains_key(&x.id())) else {
            return refuse("a value was lost".to_string());
        };
        let expected = self.steps(held.ahead).1.first();
        let number = match inputs {
            [_, _] => inputs.iter().find(|other| other.id() != x.id() && other.len() == 1),
            _ => None,
        };
        let fits = match (held.ahead, expected) {
            (Ahead::Relu, _) => matches!(op, Op::Unary(UnaryOp::Relu)),
            (_, Some(Taken { op: name, number: wanted })) => {
                let same = match (wanted, number) {
                    (Some(wanted), Some(number)) => {
                        let now = number.to_f64()?;
                        now == *wanted
                    }
                    (Some(_), None) => false,
                    (None, _) => true,
                };
                op.name() == name && same
            }
            _ => false,
        };
        if !fits {
            self.check_nothing_ahead(&held, &format!("is followed by {}", op.name()))?;
        }
        let ahead = match held.ahead {
            Ahead::Layer(at, done) if self.steps(held.ahead).1.len() > 1 => {
                Ahead::Layer(at, done + 1)
            }
            _ => Ahead::Nothing,
        };
        let y = match held.value {
            Value::Numbers => {
                let y = x.detach()?;
                if ahead != Ahead::Nothing {
                    self.register(state, &y, Value::Numbers, held.key, ahead);
                }
                y
            }
            value => self.hold(state, x.shape(), value, held.key, ahead)?,
        };
        Ok(Outputs::from_iter([y]))
    }

    /// What can be done on codes; `None` for all else.
    fn on_codes(
        &self,
        state: &mut State,
        held: &Held,
        op: &Op,
        inputs: &[&Tensor],
    ) -> Result<Option<Outputs>> {
        let Value::Codes(codes, encoding, positive) = held.value.clone() else {
            return Ok(None);
        };
        let (codes, shape) = match op {
            Op::View(ViewOp::Reshape(shape)) => (codes.reshape(shape.clone())?, shape.to_vec()),
            Op::View(_) => {
                let codes = apply_one(op, &mut [Operand::Own(codes)])?;
                let shape = codes.shape().to_vec();
                (codes, shape)
            }
            Op::StopGradient => (codes.clone(), codes.shape().to_vec()),
            Op::Unary(UnaryOp::Relu) => {
                let codes = match positive {
                    true => codes,
                    false => codes.maximum(f64::from(encoding.zero_point))?,
                };
                let (shape, key) = (codes.shape().to_vec(), format!("{}.relu", held.key).into());
                let value = Value::Codes(codes, encoding, true);
                let y = self.hold(state, &shape, value, key, Ahead::Nothing)?;
                return Ok(Some(Outputs::from_iter([y])));
            }
            Op::MaxPool2d(pool) if pool.dilation == [1, 1] && !pool.ceil_mode => {
                let pool = Op::Int8(Int8Op::MaxPool2d(*pool));
                let codes = apply_one(&pool, &mut [Operand::Own(nhwc(&codes)?)])?;
                let codes = codes.permute([0, 3, 1, 2])?;
                let (shape, key) = (codes.shape().to_vec(), held.key.clone());
                let places = Value::Places(codes.device());
                let value = Value::Codes(codes, encoding, positive);
                let y = self.hold(state, &shape, value, key.clone(), Ahead::Nothing)?;
                let places = self.hold(state, &shape, places, key, Ahead::Nothing)?;
                return Ok(Some(Outputs::from_iter([y, places])));
            }
            Op::Binary(BinaryOp::Add) | Op::Concat(_) => return self.join(state, op, inputs),
            _ => return Ok(None),
        };
        let value = Value::Codes(codes, encoding, positive);
        let y = self.hold(state, &shape, value, held.key.clone(), held.ahead)?;
        Ok(Some(Outputs::from_iter([y])))
    }

    fn join(&self, state: &mut State, op: &Op, inputs: &[&Tensor]) -> Result<Option<Outputs>> {
        let held: Option<Vec<&Held>> = inputs.iter().map(|x| state.held.get(&x.id())).collect();
        let Some(held) = held else { return Ok(None) };
        let keys: Vec<Key> = held.iter().map(|held| held.key.clone()).collect();
        let key = join_key(&keys, if matches!(op, Op::Concat(_)) { "," } else { "+" });
        let Some(join) = self.plan.joins.get(&*key) else { return Ok(None) };
        let rank = inputs.first().map_or(0, |x| x.rank());
        let images = rank == 4;
        let along = match (op, images) {
            (Op::Concat(dim), true) => *dim == 1,
            (Op::Concat(dim), false) => dim + 1 == rank,
            _ => inputs.iter().all(|x| Some(x.shape()) == inputs.first().map(|x| x.shape())),
        };
        let mut parts = Vec::new();
        for held in held {
            match &held.value {
                Value::Codes(codes, encoding, _) if along && held.ahead == Ahead::Nothing => {
                    parts.push((if images { nhwc(codes)? } else { codes.clone() }, *encoding));
                }
                _ => return Ok(None),
            }
        }
        let int8 = match (op, &parts[..]) {
            (Op::Binary(_), [(_, a), (_, b)]) => {
                Int8Op::Add { a: *a, b: *b, to: join.to, relu: join.relu }
            }
            _ => Int8Op::Concat { from: parts.iter().map(|(_, e)| *e).collect(), to: join.to },
        };
        let mut operands: Vec<Operand<'_>> =
            parts.into_iter().map(|(codes, _)| Operand::Own(codes)).collect();
        let codes = apply_one(&Op::Int8(int8), &mut operands)?;
        let codes = if images { codes.permute([0, 3, 1, 2])? } else { codes };
        let shape = codes.shape().to_vec();
        let (ahead, key) = match join.relu {
            true => (Ahead::Relu, format!("{key}.relu").into()),
            false => (Ahead::Nothing, key),
        };
        let value = Value::Codes(codes, join.to, join.relu);
        let y = self.hold(state, &shape, value, key, ahead)?;
        Ok(Some(Outputs::from_iter([y])))
    }

    /// Anything else: on numbers.
    fn on_numbers(&self, state: &State, op: &Op, inputs: &[&Tensor]) -> Result<Option<Outputs>> {
        let mut operands = Vec::new();
        for x in inputs {
            operands.push(match state.held.get(&x.id()) {
                Some(held) => {
                    self.check_nothing_ahead(held, &format!("is read by {}", op.name()))?;
                    Operand::Own(numbers(held, x)?)
                }
                None => Operand::Ref(x),
            });
        }
        apply(op, &mut operands).map(Some)
    }

    fn replaced(&self, op: &Op, inputs: &[&Tensor]) -> Result<Option<Outputs>> {
        let state = &mut *self.state.borrow_mut();
        if let Some(found) = state.weights.layer(op, inputs)
            && self.only.as_ref().is_none_or(|only| *only == found.name)
            && let Some(at) = self.plan.find(&found)
        {
            return self.layer(state, at, op, inputs);
        }
        if let Some((settings, paths)) = recurrent_paths(&state.weights, op, inputs)
            && let Some(layer) = self.plan.recurrent.iter().find(|layer| layer.paths == paths)
            && layer.settings == of_layer(settings)
            && self.only.as_ref().is_none_or(|only| *only == layer.name)
        {
            let mut plain: Vec<Tensor> = Vec::new();
            for x in inputs {
                plain.push(match state.held.get(&x.id()) {
                    Some(held) => {
                        self.check_nothing_ahead(held, "is read by a recurrent layer")?;
                        numbers(held, x)?
                    }
                    None => (*x).clone(),
                });
            }
            return layer.run(op, &plain.iter().collect::<Vec<_>>()).map(Some);
        }
        if let (Op::View(_) | Op::StopGradient, [x]) = (op, inputs)
            && state.weights.get(x).is_some()
        {
            let y = apply_one(op, &mut [Operand::Ref(x)])?;
            state.weights.follow(op, x, &y);
            return Ok(Some(Outputs::from_iter([y])));
        }
        let mut paths = inputs.iter().filter_map(|x| state.weights.get(x));
        if let Some((path, _)) = paths.find(|(path, _)| self.hollow.contains(*path)) {
            let op = op.name();
            return refuse(format!("{op} reads {path} in a way that calibration did not see"));
        }
        let Some(held) = inputs.iter().find_map(|x| state.held.get(&x.id())).cloned() else {
            return Ok(None);
        };
        if let Value::Places(_) = held.value {
            let op = op.name();
            return refuse(format!("{op}: nobody knows the places of an int8 pool's maxima"));
        }
        let passes = matches!(op, Op::View(_) | Op::StopGradient);
        match (held.ahead, passes) {
            (Ahead::Nothing, _) => {}
            (ahead, true) => {
                if let (Value::Numbers, [x]) = (&held.value, inputs) {
                    let y = apply_one(op, &mut [Operand::Ref(x)])?;
                    self.register(state, &y, Value::Numbers, held.key, ahead);
                    return Ok(Some(Outputs::from_iter([y])));
                }
            }
            (_, false) => return self.step(state, held, op, inputs).map(Some),
        }
        match self.on_codes(state, &held, op, inputs)? {
            Some(outputs) => Ok(Some(outputs)),
            None => self.on_numbers(state, op, inputs),
        }
    }
}

impl Observer for Runner {
    fn replace(&self, op: &Op, inputs: &[&Tensor]) -> Result<Option<Outputs>> {
        match self.busy.get() {
            true => Ok(None),
            false => self.alone(|| self.replaced(op, inputs)),
        }
    }
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runner").field("plan", &self.plan).finish_non_exhaustive()
    }
}
