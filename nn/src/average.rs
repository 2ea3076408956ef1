//! Averages of a model's weights over the steps.

use std::collections::{BTreeMap, BTreeSet};

use ferrotape_tensor::chain::BinaryChain;
use ferrotape_tensor::{DType, Error, ErrorKind, Result, Tensor, no_tape};

use crate::module::Module;
use crate::state::{StateReport, each, each_mut};

/// The average of a model's parameters over the steps, beside the model: PyTorch's `optim.swa_utils.AveragedModel`. The first update
/// takes the parameters as they are; buffers are always the model's last ones. Parameters of 16 bits are averaged in f32.
///
/// ```
/// use ferrotape_nn::{AveragedModel, Linear};
/// use ferrotape_tensor::Generator;
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut rng = Generator::new(0);
/// let model = Linear::new(4, 2, &mut rng)?;
/// let mut average = AveragedModel::ema(0.999)?;
/// for _ in 0..3 {
///     // optimizer.step(&mut model, &step)?;
///     average.update_parameters(&model)?;
/// }
/// let mut evaluated = model.clone();
/// average.copy_to(&mut evaluated)?;
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Default)]
pub struct AveragedModel {
    /// `None`: all updates weigh the same.
    decay: Option<f64>,
    count: u64,
    /// Parameters and buffers by path.
    values: BTreeMap<String, Tensor>,
}

/// Parameters and buffers with their paths, and whether they are parameters.
fn all<M: Module + ?Sized>(model: &M) -> Vec<(String, &Tensor, bool)> {
    let mut found = Vec::new();
    each(model, |path, param| found.push((path.to_string(), param.tensor(), true)), |_, _| {});
    each(model, |_, _| {}, |path, buffer| found.push((path.to_string(), buffer.tensor(), false)));
    found
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(format!("averaged_model: {message}"))))
}

/// In a type that can hold an average.
fn widened(x: &Tensor) -> Result<Tensor> {
    match x.dtype() {
        DType::F16 | DType::BF16 => x.to_dtype(DType::F32),
        _ => Ok(x.clone()),
    }
}

impl AveragedModel {
    /// The mean of all updates: stochastic weight averaging (Izmailov et al. 2018).
    pub fn new() -> Self {
        AveragedModel::default()
    }

    /// The exponential average: `average += (1 - decay) (parameter - average)`. PyTorch's `get_ema_multi_avg_fn(decay)`, 0.999 there.
    ///
    /// # Errors
    /// A decay outside `0..=1`.
    pub fn ema(decay: f64) -> Result<Self> {
        match (0.0..=1.0).contains(&decay) {
            true => Ok(AveragedModel { decay: Some(decay), ..AveragedModel::default() }),
            false => refuse(format!("decay {decay} is outside 0..=1")),
        }
    }

    /// Number of updates so far.
    pub fn n_averaged(&self) -> u64 {
        self.count
    }

    /// Takes the model's parameters into the average. To be called after each step of the optimizer.
    ///
    /// # Errors
    /// A model with other parameters than before, by name; memory over the limit. Then nothing has changed.
    pub fn update_parameters<M: Module + ?Sized>(&mut self, model: &M) -> Result<()> {
        let share = match self.decay {
            Some(decay) => 1.0 - decay,
            None => 1.0 / (self.count as f64 + 1.0),
        };
        if self.count > 0 {
            self.check(model)?;
        }
        let mut values = BTreeMap::new();
        for (path, now, is_param) in all(model) {
            let next = match self.values.get(&path).filter(|_| is_param) {
                None if is_param => widened(now)?,
                None => now.clone(),
                Some(average) => no_tape(|| average.add(widened(now)?.sub(average).mul(share)))?,
            };
            values.insert(path, next);
        }
        self.values = values;
        self.count += 1;
        Ok(())
    }

    /// The model has the parameters and buffers of the average.
    fn check<M: Module + ?Sized>(&self, model: &M) -> Result<()> {
        let mut report = StateReport::default();
        let found = all(model);
        for (path, tensor, _) in &found {
            match self.values.get(path) {
                None => report.unexpected.push(path.clone()),
                Some(known) if known.shape() != tensor.shape() => {
                    let (known, found) = (known.shape(), tensor.shape());
                    report.mismatched.push(format!("{path} ({found:?} for {known:?})"));
                }
                Some(_) => {}
            }
        }
        let names: BTreeSet<&String> = found.iter().map(|(path, ..)| path).collect();
        report.missing = self.values.keys().filter(|path| !names.contains(path)).cloned().collect();
        match report.is_empty() {
            true => Ok(()),
            false => refuse(report.to_string()),
        }
    }

    /// Gives a model of the same shape the averages, in the types of its parameters, and the buffers.
    ///
    /// # Errors
    /// Nothing averaged yet; a model with other parameters, by name; memory over the limit. Then nothing has changed.
    pub fn copy_to<M: Module + ?Sized>(&self, model: &mut M) -> Result<()> {
        if self.count == 0 {
            return refuse("nothing has been averaged yet".to_string());
        }
        self.check(model)?;
        let mut cast = BTreeMap::new();
        for (path, tensor, _) in all(&*model) {
            if let Some(value) = self.values.get(&path) {
                cast.insert(path, value.to_dtype(tensor.dtype())?);
            }
        }
        // Tied parameters stay tied.
        let mut placed = BTreeMap::new();
        each_mut(
            model,
            |path, param| {
                if let Some(value) = cast.get(path) {
                    let value: &mut Tensor =
                        placed.entry(param.id()).or_insert_with(|| value.clone());
                    param.set(value.clone());
                }
            },
            |_, _| {},
        );
        each_mut(
            model,
            |_, _| {},
            |path, buffer| {
                if let Some(value) = cast.get(path) {
                    buffer.set(value.clone());
                }
            },
        );
        Ok(())
    }

    /// The averages by name, with PyTorch's `module.` in front, and `n_averaged`: for a file. Clones share the values.
    pub fn state_dict(&self) -> BTreeMap<String, Tensor> {
        let mut named = BTreeMap::new();
        for (path, tensor) in &self.values {
            named.insert(format!("module.{path}"), tensor.clone());
        }
        let count = i64::try_from(self.count).unwrap_or(i64::MAX);
        named.insert("n_averaged".to_string(), Tensor::from(count));
        named
    }

    /// Goes on where [`state_dict`](Self::state_dict) was taken. That it fits the model is seen at the next update.
    ///
    /// # Errors
    /// No `n_averaged`, or a name without `module.`; then nothing has changed.
    pub fn load_state_dict(&mut self, state: &BTreeMap<String, Tensor>) -> Result<()> {
        let count = match state.get("n_averaged") {
            Some(count) if count.len() == 1 => count.to_f64()?,
            _ => {
                return refuse(
                    "load_state_dict: n_averaged: missing or not one number".to_string(),
                );
            }
        };
        if count.is_nan() || count < 0.0 || count.fract() != 0.0 {
            return refuse(format!("load_state_dict: n_averaged: {count} is no number of updates"));
        }
        let mut values = BTreeMap::new();
        for (name, tensor) in state.iter().filter(|(name, _)| *name != "n_averaged") {
            match name.strip_prefix("module.") {
                Some(path) => drop(values.insert(path.to_string(), tensor.clone())),
                None => return refuse(format!("load_state_dict: unexpected: {name}")),
            }
        }
        self.values = values;
        self.count = count as u64;
        Ok(())
    }
}
