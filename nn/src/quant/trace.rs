//! What a network does, from its operations: which are layers, what follows them, who reads what, in which ranges.
//!
//! Values that an int8 network could hold as codes have a key: a layer's output its name, what follows `key.op`, joins `(a+b)`. Keys say where
//! a value comes from and not when, so that a network may take another way from run to run.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::rc::Rc;

use ferrotape_tensor::{
    BinaryOp, DType, Error, Meta, Observer, Op, Result, SequenceOp, Tensor, TensorId, UnaryOp,
    ViewOp,
};

use super::range::{RangeMethod, RangeObserver};
use super::recurrent::{RecurrentSite, of_layer, recurrent_name, recurrent_paths};
use super::weights::{Found, LayerOp, Seen, Weights};
use crate::module::Module;
use crate::state::state_dict;

/// Names a value that could be codes.
pub(super) type Key = Rc<str>;

/// A use of a layer.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) key: Key,
    /// The weight's path, and how it is seen.
    pub(super) path: String,
    pub(super) seen: Seen,
    pub(super) op: LayerOp,
    pub(super) relu: bool,
    pub(super) bias: Option<Tensor>,
    pub(super) input: RangeObserver,
}

/// What follows a value and may be part of its layer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Step {
    /// The operation's name.
    pub(super) op: &'static str,
    /// The only number of an operand that no parameter made.
    pub(super) number: Option<f64>,
    pub(super) does: Does,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Does {
    Relu,
    /// `x * factor + shift`, one for all channels or for each.
    Affine {
        factor: Vec<f64>,
        shift: Vec<f64>,
    },
}

/// What is done with a value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Use {
    /// It becomes that value.
    Step(Step, Key),
    /// It is read by a layer or join of this key, or by what passes codes on.
    Codes(Key),
    /// It is read as numbers.
    Float,
}

#[derive(Debug, Clone)]
pub(super) struct Value {
    pub(super) range: RangeObserver,
    /// What was done with it in every run; `Float` alone if that differed.
    pub(super) uses: Vec<Use>,
    /// The keys that a join is made of.
    pub(super) joins: Vec<Key>,
}

/// What all runs have shown.
#[derive(Debug, Clone, Default)]
pub(super) struct Trace {
    /// In the order of their first run.
    pub(super) sites: Vec<Site>,
    pub(super) recurrent: Vec<RecurrentSite>,
    pub(super) values: BTreeMap<Key, Value>,
    /// Parameters and buffers of the last run.
    pub(super) ids: BTreeMap<String, TensorId>,
    /// Weights that something else than layers reads, too.
    pub(super) shared: BTreeSet<String>,
}

/// A value's key, and which dim has the channels of its layer, as far as that is clear.
#[derive(Debug, Clone)]
struct Known {
    key: Key,
    channel: Option<usize>,
}

/// An operation under way.
enum Pending {
    /// Its output is of no interest.
    Other,
    /// Its output is a constant.
    Constant(Tensor),
    /// Its output is the same codes.
    Same(Known),
    /// Its output has a key of its own.
    Made(Known, Vec<Key>),
}

#[derive(Default)]
struct State {
    weights: Weights,
    constants: HashSet<TensorId>,
    known: HashMap<TensorId, Known>,
    pending: Vec<Pending>,
    uses: BTreeMap<Key, Vec<Use>>,
    trace: Trace,
}

/// The observer: lives for one run.
pub(super) struct Tracer {
    method: RangeMethod,
    busy: Cell<bool>,
    state: RefCell<State>,
    kept: Option<RefCell<BTreeMap<Key, Tensor>>>,
}

impl Tracer {
    /// Goes on with what earlier runs have shown.
    pub(super) fn new<M: Module + ?Sized>(
        model: &M,
        method: RangeMethod,
        mut trace: Trace,
    ) -> Self {
        let weights = Weights::of(model);
        trace.ids = state_dict(model).into_iter().map(|(path, x)| (path, x.id())).collect();
        let constants = trace.ids.values().copied().collect();
        let state = State { weights, constants, trace, ..State::default() };
        Tracer { method, busy: Cell::new(false), state: RefCell::new(state), kept: None }
    }

    /// Keeps the values, too.
    pub(super) fn keeping(mut self) -> Self {
        self.kept = Some(RefCell::default());
        self
    }

    /// The values that were kept: the last under each key.
    pub(super) fn kept(&self) -> BTreeMap<Key, Tensor> {
        self.kept.as_ref().map(RefCell::take).unwrap_or_default()
    }

    /// `x` leaves the network.
    pub(super) fn output(&self, x: &Tensor) {
        self.state.borrow_mut().read(x, Use::Float);
    }

    /// The end of the run.
    pub(super) fn finish(&self) -> Trace {
        let state = &mut *self.state.borrow_mut();
        for (key, value) in &mut state.trace.values {
            // Not all ways lead by every value.
            let Some(uses) = state.uses.remove(key) else { continue };
            if value.uses.is_empty() {
                value.uses = uses;
            } else if value.uses != uses {
                value.uses = vec![Use::Float];
            }
        }
        std::mem::take(&mut state.trace)
    }

    /// Operations of its own, unheard.
    fn alone<R>(&self, body: impl FnOnce() -> R) -> R {
        self.busy.set(true);
        let result = body();
        self.busy.set(false);
        result
    }

    fn layer(&self, op: &Op, inputs: &[&Tensor]) -> Result<Option<Pending>> {
        let state = &mut *self.state.borrow_mut();
        let (Some(found), [x, _, bias @ ..]) = (state.weights.layer(op, inputs), inputs) else {
            return Ok(None);
        };
        let constant = |x: &Tensor| state.constants.contains(&x.id());
        let fits = x.dtype() == DType::F32 && !constant(x) && bias.iter().all(|b| constant(b));
        if !fits {
            return Ok(None);
        }
        let Found { op, relu, name, path, seen } = found;
        let key: Key = name.into();
        state.read(x, Use::Codes(key.clone()));
        let at = state.trace.sites.iter().position(|site| site.key == key);
        let mut site = match at {
            Some(at) => state.trace.sites.remove(at),
            None => {
                let input = RangeObserver::new(self.method)?;
                Site { key: key.clone(), path, seen, op, relu, bias: None, input }
            }
        };
        site.bias = bias.first().map(|bias| (*bias).clone());
        self.alone(|| site.input.observe(x)).map_err(|error| in_layer(&key, "input", error))?;
        let at = at.unwrap_or(state.trace.sites.len());
        state.trace.sites.insert(at, site);
        let channel = Some(op.channel(x.rank()));
        Ok(Some(Pending::Made(Known { key, channel }, Vec::new())))
    }

    /// A known value that becomes another: `relu`, or an operation with constants.
    fn step(&self, op: &Op, inputs: &[&Tensor]) -> Result<Option<Pending>> {
        let state = &mut *self.state.borrow_mut();
        let (x, does, number) = match (op, inputs) {
            (Op::Unary(UnaryOp::Relu), [x]) => (*x, Does::Relu, None),
            (Op::Binary(binary), [a, b]) => {
                let (x, other, flipped) = match state.known.contains_key(&a.id()) {
                    true => (*a, *b, false),
                    false => (*b, *a, true),
                };
                let made = state.constants.contains(&other.id());
                if state.known.contains_key(&other.id()) || !(made || other.len() == 1) {
                    return Ok(None);
                }
                let Some(known) = state.known.get(&x.id()) else { return Ok(None) };
                let Some(numbers) = self.alone(|| channels(x, other, known.channel))? else {
                    return Ok(None);
                };
                let number = if made { None } else { numbers.first().copied() };
                let Some(does) = affine(*binary, flipped, numbers) else { return Ok(None) };
                (x, does, number)
            }
            _ => return Ok(None),
        };
        let Some(known) = state.known.get(&x.id()).cloned() else { return Ok(None) };
        let key: Key = format!("{}.{}", known.key, op.name()).into();
        let step = Step { op: op.name(), number, does };
        state.read(x, Use::Step(step, key.clone()));
        Ok(Some(Pending::Made(Known { key, ..known }, Vec::new())))
    }

    fn classify(&self, op: &Op, inputs: &[&Tensor]) -> Result<Pending> {
        if let Some(pending) = self.layer(op, inputs)? {
            return Ok(pending);
        }
        if let Some(pending) = self.step(op, inputs)? {
            return Ok(pending);
        }
        let state = &mut *self.state.borrow_mut();
        if let Some((settings, paths)) = recurrent_paths(&state.weights, op, inputs) {
            return Ok(state.recurrent(settings, paths, inputs));
        }
        let known = |x: &Tensor| state.known.get(&x.id());
        let constant = |x: &Tensor| state.constants.contains(&x.id());
        // A number beside parameters is the program's.
        let number = |x: &Tensor| x.len() == 1 && known(x).is_none();
        if let Some(first) = inputs.iter().find(|x| constant(x))
            && inputs.iter().all(|x| constant(x) || number(x))
        {
            if !matches!(op, Op::View(_) | Op::StopGradient) {
                inputs.iter().for_each(|x| state.share(x));
            }
            return Ok(Pending::Constant((*first).clone()));
        }
        let join = match (op, inputs) {
            (Op::Binary(BinaryOp::Add), [a, b]) if a.shape() == b.shape() => Some("+"),
            (Op::Concat(_), _) => Some(","),
            _ => None,
        };
        if let Some(sign) = join
            && let Some(parts) = inputs.iter().map(|x| known(x)).collect::<Option<Vec<&Known>>>()
        {
            let keys: Vec<Key> = parts.iter().map(|part| part.key.clone()).collect();
            let key: Key = join_key(&keys, sign);
            let channel = parts.first().and_then(|part| part.channel);
            inputs.iter().for_each(|x| state.read(x, Use::Codes(key.clone())));
            return Ok(Pending::Made(Known { key, channel }, keys));
        }
        if let (Some(x), Some(found)) = (inputs.first(), inputs.first().and_then(|x| known(x))) {
            let mut same = found.clone();
            match op {
                Op::View(view) => {
                    same.channel = same.channel.and_then(|at| channel_after(view, x.shape(), at));
                    return Ok(Pending::Same(same));
                }
                Op::StopGradient => return Ok(Pending::Same(same)),
                Op::MaxPool2d(pool) if pool.dilation == [1, 1] && !pool.ceil_mode => {
                    let key = same.key.clone();
                    state.read(x, Use::Codes(key));
                    return Ok(Pending::Same(same));
                }
                _ => {}
            }
        }
        for x in inputs {
            state.read(x, Use::Float);
            state.share(x);
        }
        Ok(Pending::Other)
    }
}

impl State {
    fn read(&mut self, x: &Tensor, how: Use) {
        if let Some(known) = self.known.get(&x.id()) {
            self.uses.entry(known.key.clone()).or_default().push(how);
        }
    }

    /// A recurrent layer: reads numbers, gives numbers.
    fn recurrent(
        &mut self,
        settings: SequenceOp,
        paths: [String; 2],
        inputs: &[&Tensor],
    ) -> Pending {
        inputs.iter().for_each(|x| self.read(x, Use::Float));
        let bias = |place: usize| inputs.get(place).map(|bias| (*bias).clone());
        let first = settings.places().biases;
        let biases = first.and_then(|first| Some([bias(first)?, bias(first + 1)?]));
        let [path, _] = &paths;
        let (name, settings) = (recurrent_name(path), of_layer(settings));
        let site = RecurrentSite { name, paths, settings, biases };
        let all = &mut self.trace.recurrent;
        match all.iter_mut().find(|known| known.paths == site.paths) {
            Some(known) => *known = site,
            None => all.push(site),
        }
        Pending::Other
    }

    /// A weight is read by something that is no layer.
    fn share(&mut self, x: &Tensor) {
        if let Some((path, _)) = self.weights.get(x) {
            let path = path.to_string();
            self.trace.shared.insert(path);
        }
    }
}

/// The key of what joins values.
pub(super) fn join_key(keys: &[Key], sign: &str) -> Key {
    format!("({})", keys.join(sign)).into()
}

fn in_layer(key: &str, what: &str, error: Error) -> Error {
    Error::other(format!("quantization: {what} of {key:?}: {error}"))
}

/// The numbers of a constant beside `x`: one, or one a channel; `None` for others.
fn channels(x: &Tensor, constant: &Tensor, channel: Option<usize>) -> Result<Option<Vec<f64>>> {
    let numbers = || constant.detach()?.to_dtype(DType::F64)?.to_vec::<f64>();
    if constant.rank() > x.rank() {
        return Ok(None);
    }
    if constant.len() == 1 {
        return numbers().map(Some);
    }
    let Some(channel) = channel else { return Ok(None) };
    let at = |dim: usize| dim + x.rank() - constant.rank();
    let fits = constant.shape().iter().enumerate().all(|(dim, &size)| match at(dim) == channel {
        true => x.shape().get(channel) == Some(&size),
        false => size == 1,
    });
    if fits { numbers().map(Some) } else { Ok(None) }
}

fn affine(op: BinaryOp, flipped: bool, numbers: Vec<f64>) -> Option<Does> {
    let len = numbers.len();
    let (factor, shift) = match (op, flipped) {
        (BinaryOp::Add, _) => (vec![1.0; len], numbers),
        (BinaryOp::Sub, false) => (vec![1.0; len], numbers.iter().map(|x| -x).collect()),
        (BinaryOp::Sub, true) => (vec![-1.0; len], numbers),
        (BinaryOp::Mul, _) => (numbers, vec![0.0; len]),
        (BinaryOp::Div, false) => (numbers.iter().map(|x| 1.0 / x).collect(), vec![0.0; len]),
        _ => return None,
    };
    factor.iter().chain(&shift).all(|x| x.is_finite()).then_some(Does::Affine { factor, shift })
}

/// Where the channels are behind a view, if that is clear: units may come and go behind them.
fn channel_after(view: &ViewOp, from: &[usize], channel: usize) -> Option<usize> {
    match view {
        ViewOp::Reshape(to) if channel + 1 == from.len() => {
            (to.last() == from.last()).then(|| to.len() - 1)
        }
        ViewOp::Reshape(to) => (to.get(..=channel) == from.get(..=channel)).then_some(channel),
        ViewOp::Permute(order) => order.iter().position(|&dim| dim == channel),
        ViewOp::Slice { dim, .. } if *dim != channel => Some(channel),
        _ => None,
    }
}

impl Observer for Tracer {
    fn begin(&self, op: &Op, inputs: &[&Tensor]) -> Result<()> {
        if self.busy.get() {
            return Ok(());
        }
        let pending = self.classify(op, inputs)?;
        self.state.borrow_mut().pending.push(pending);
        Ok(())
    }

    fn end(&self, op: &Op, _: &[Meta], outcome: Result<&[Tensor], &Error>) -> Result<()> {
        if self.busy.get() {
            return Ok(());
        }
        let state = &mut *self.state.borrow_mut();
        let (Some(pending), Ok([y, ..])) = (state.pending.pop(), outcome) else { return Ok(()) };
        match pending {
            Pending::Other => {}
            Pending::Constant(from) => {
                state.weights.follow(op, &from, y);
                state.constants.insert(y.id());
            }
            Pending::Same(known) => {
                state.known.insert(y.id(), known);
            }
            Pending::Made(known, joins) => {
                let key = known.key.clone();
                if let Some(kept) = &self.kept {
                    kept.borrow_mut().insert(key.clone(), y.clone());
                }
                if !state.trace.values.contains_key(&key) {
                    let range = RangeObserver::new(self.method)?;
                    let value = Value { range, uses: Vec::new(), joins };
                    state.trace.values.insert(key.clone(), value);
                }
                if let Some(value) = state.trace.values.get_mut(&key) {
                    let seen = self.alone(|| value.range.observe(y));
                    seen.map_err(|error| in_layer(&key, "output", error))?;
                }
                state.known.insert(y.id(), known);
            }
        }
        Ok(())
    }
}
