//! Parameters and buffers by name: listing, saving, loading, freezing.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fmt;

use ferrotape_tensor::{DType, Device, Error, ErrorKind, Result, Tensor, TensorId};
use smallvec::SmallVec;

use crate::module::{Buffer, Module, Param, Visitor, VisitorMut};

/// The names entered so far, as one path.
pub(crate) struct Path {
    text: String,
    ends: SmallVec<[usize; 8]>,
}

thread_local! {
    /// The memory of a path that is done with: a step of training visits a model more than once.
    static SPARE: Cell<String> = const { Cell::new(String::new()) };
}

impl Default for Path {
    /// In memory that this thread has kept.
    fn default() -> Self {
        Path { text: SPARE.try_with(Cell::take).unwrap_or_default(), ends: SmallVec::new() }
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        self.text.clear();
        // At the end of a thread there is no place to keep it.
        let _ = SPARE.try_with(|spare| spare.set(std::mem::take(&mut self.text)));
    }
}

impl Path {
    pub(crate) fn enter(&mut self, name: &str) {
        self.ends.push(self.text.len());
        if !self.text.is_empty() {
            self.text.push('.');
        }
        self.text.push_str(name);
    }

    pub(crate) fn leave(&mut self) {
        self.text.truncate(self.ends.pop().unwrap_or(0));
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.text
    }
}

/// Calls a function on every parameter and buffer, with its path.
struct Each<P, B> {
    path: Path,
    param: P,
    buffer: B,
}

impl<'a, P: FnMut(&str, &'a Param), B: FnMut(&str, &'a Buffer)> Visitor<'a> for Each<P, B> {
    fn enter(&mut self, name: &str) {
        self.path.enter(name);
    }
    fn leave(&mut self) {
        self.path.leave();
    }
    fn param(&mut self, param: &'a Param) {
        (self.param)(self.path.as_str(), param);
    }
    fn buffer(&mut self, buffer: &'a Buffer) {
        (self.buffer)(self.path.as_str(), buffer);
    }
}

impl<P: FnMut(&str, &mut Param), B: FnMut(&str, &mut Buffer)> VisitorMut for Each<P, B> {
    fn enter(&mut self, name: &str) {
        self.path.enter(name);
    }
    fn leave(&mut self) {
        self.path.leave();
    }
    fn param(&mut self, param: &mut Param) {
        (self.param)(self.path.as_str(), param);
    }
    fn buffer(&mut self, buffer: &mut Buffer) {
        (self.buffer)(self.path.as_str(), buffer);
    }
}

pub(crate) fn each<'a, M: Module + ?Sized>(
    model: &'a M,
    param: impl FnMut(&str, &'a Param),
    buffer: impl FnMut(&str, &'a Buffer),
) {
    model.visit(&mut Each { path: Path::default(), param, buffer });
}

pub(crate) fn each_mut<M: Module + ?Sized>(
    model: &mut M,
    param: impl FnMut(&str, &mut Param),
    buffer: impl FnMut(&str, &mut Buffer),
) {
    model.visit_mut(&mut Each { path: Path::default(), param, buffer });
}

/// Every parameter with its path, in the order of the fields. Tied parameters appear under each of their names.
pub fn parameters<M: Module + ?Sized>(model: &M) -> Vec<(String, &Param)> {
    let mut found = Vec::new();
    each(model, |path, param| found.push((path.to_string(), param)), |_, _| {});
    found
}

/// Every buffer with its path.
pub fn buffers<M: Module + ?Sized>(model: &M) -> Vec<(String, &Buffer)> {
    let mut found = Vec::new();
    each(model, |_, _| {}, |path, buffer| found.push((path.to_string(), buffer)));
    found
}

/// Number of elements in all parameters; tied ones count once.
pub fn parameter_count<M: Module + ?Sized>(model: &M) -> usize {
    let by_id: BTreeMap<_, _> = parameters(model).iter().map(|(_, p)| (p.id(), p.len())).collect();
    by_id.values().sum()
}

/// Parameters and buffers by name, PyTorch's `state_dict`. Clones share the values.
pub fn state_dict<M: Module + ?Sized>(model: &M) -> BTreeMap<String, Tensor> {
    let mut state = BTreeMap::new();
    for (path, param) in parameters(model) {
        state.insert(path, param.tensor.clone());
    }
    for (path, buffer) in buffers(model) {
        state.insert(path, buffer.tensor.clone());
    }
    state
}

/// What does not fit between a model and a state dict.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateReport {
    /// In the model, not in the state.
    pub missing: Vec<String>,
    /// In the state, not in the model.
    pub unexpected: Vec<String>,
    /// In both, with another shape, which is told.
    pub wrong_shape: Vec<String>,
    /// In both, with the same shape and another type, which is told.
    pub wrong_dtype: Vec<String>,
}

impl StateReport {
    /// True if everything fits.
    pub fn is_empty(&self) -> bool {
        *self == StateReport::default()
    }
}

impl fmt::Display for StateReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [
            ("missing", &self.missing),
            ("unexpected", &self.unexpected),
            ("wrong shape", &self.wrong_shape),
            ("wrong dtype", &self.wrong_dtype),
        ];
        let told = parts.iter().filter(|(_, names)| !names.is_empty());
        let told: Vec<String> =
            told.map(|(what, names)| format!("{what}: {}", names.join(", "))).collect();
        write!(f, "{}", told.join("; "))
    }
}

/// Gives the model the values of a state dict. All names, shapes and types must fit, or nothing is changed. Parameters that were
/// tied stay tied.
///
/// # Errors
/// Names that are missing, unexpected or of another shape or type, all of them listed.
pub fn load_state_dict<M: Module + ?Sized>(
    model: &mut M,
    state: &BTreeMap<String, Tensor>,
) -> Result<()> {
    let report = compare_state_dict(model, state);
    if !report.is_empty() {
        return Err(Error::new(ErrorKind::Module(format!("load_state_dict: {report}"))));
    }
    assign(model, state);
    Ok(())
}

/// What of a state dict does not fit the model, by name; nothing is changed.
pub fn compare_state_dict<M: Module + ?Sized>(
    model: &M,
    state: &BTreeMap<String, Tensor>,
) -> StateReport {
    compare(&state_dict(model), state)
}

/// Gives the model those values of a state dict that it has names for, PyTorch's `load_state_dict(strict=False)`: the report says what
/// was missing or unexpected. For a model whose head is new, say.
///
/// # Errors
/// A value of another shape or type; then nothing is changed.
pub fn load_state_dict_partial<M: Module + ?Sized>(
    model: &mut M,
    state: &BTreeMap<String, Tensor>,
) -> Result<StateReport> {
    let report = compare_state_dict(model, state);
    if !report.wrong_shape.is_empty() || !report.wrong_dtype.is_empty() {
        let message = format!("load_state_dict_partial: {report}");
        return Err(Error::new(ErrorKind::Module(message)));
    }
    assign(model, state);
    Ok(report)
}

fn assign<M: Module + ?Sized>(model: &mut M, state: &BTreeMap<String, Tensor>) {
    let mut loaded = BTreeMap::new();
    each_mut(
        model,
        |path, param| {
            if let Some(value) = state.get(path) {
                let first: &mut Tensor = loaded.entry(param.id()).or_insert_with(|| value.clone());
                param.tensor = first.clone();
            }
        },
        |_, _| {},
    );
    each_mut(
        model,
        |_, _| {},
        |path, buffer| {
            if let Some(value) = state.get(path) {
                buffer.tensor = value.clone();
            }
        },
    );
}

fn compare(own: &BTreeMap<String, Tensor>, given: &BTreeMap<String, Tensor>) -> StateReport {
    let mut report = StateReport::default();
    for (name, tensor) in own {
        match given.get(name) {
            None => report.missing.push(name.clone()),
            Some(other) if other.shape() != tensor.shape() => {
                let (given, own) = (other.shape(), tensor.shape());
                report.wrong_shape.push(format!("{name} ({given:?} for {own:?})"));
            }
            Some(other) if other.dtype() != tensor.dtype() => {
                let (given, own) = (other.dtype(), tensor.dtype());
                report.wrong_dtype.push(format!("{name} ({given} for {own})"));
            }
            Some(_) => {}
        }
    }
    report.unexpected = given.keys().filter(|name| !own.contains_key(*name)).cloned().collect();
    report
}

/// Whether `path` is `prefix`, or in the module of that path (`""`: every path is). The dot at a prefix's end may be left out.
pub(crate) fn is_under(path: &str, prefix: &str) -> bool {
    let module = prefix.strip_suffix('.').unwrap_or(prefix);
    let rest = path.strip_prefix(module);
    module.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

/// Casts every float parameter and buffer; integers stay. Parameters that were tied stay tied, and what has the type already
/// stays the same value.
///
/// # Errors
/// No float type; memory over the limit. Then nothing has changed.
pub fn to_dtype<M: Module + ?Sized>(model: &mut M, dtype: DType) -> Result<()> {
    if !dtype.is_float() {
        return Err(Error::new(ErrorKind::Module(format!("to: {dtype} is no float type"))));
    }
    let due = |tensor: &Tensor| tensor.dtype().is_float() && tensor.dtype() != dtype;
    replace(model, due, |tensor| tensor.to_dtype(dtype))
}

/// Brings all parameters and buffers to a device; tied ones stay tied.
///
/// # Errors
/// Memory over the limit, the driver's refusal; then nothing has changed.
pub(crate) fn to_device<M: Module + ?Sized>(model: &mut M, device: Device) -> Result<()> {
    replace(model, |tensor| tensor.device() != device, |tensor| tensor.to_device(device))
}

/// Replaces what is `due`, each value once, and only if all could be made.
fn replace<M: Module + ?Sized>(
    model: &mut M,
    due: impl Fn(&Tensor) -> bool,
    make: impl Fn(&Tensor) -> Result<Tensor>,
) -> Result<()> {
    let mut made: BTreeMap<TensorId, Tensor> = BTreeMap::new();
    for tensor in state_dict(model).values().filter(|tensor| due(tensor)) {
        if let std::collections::btree_map::Entry::Vacant(e) = made.entry(tensor.id()) {
            e.insert(make(tensor)?);
        }
    }
    let replace = |tensor: &mut Tensor| {
        if let Some(value) = made.get(&tensor.id()) {
            *tensor = value.clone();
        }
    };
    each_mut(model, |_, param| replace(&mut param.tensor), |_, buffer| replace(&mut buffer.tensor));
    Ok(())
}
