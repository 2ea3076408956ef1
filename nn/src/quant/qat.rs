//! Training with quantization: the network computes with the numbers that codes can be, and learns to bear it.

mod trainer;

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

use ferrotape_tensor::{Encoding, Error, Result, Tensor, observe};

use super::calibrate::Calibration;
use super::config::{QuantConfig, QuantMode};
use super::model::Quantized;
use super::plan::Plan;
use super::tensors::Tensors;
use super::trace::Use;
use crate::module::{Module, Param, Visitor, VisitorMut};
use trainer::{Own, Trainer};

/// How ranges of activations go on in training.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum QatRange {
    /// They stay as calibrated.
    Fixed,
    /// They follow what is seen: `min += rate * (the batch's - min)`, max likewise. PyTorch's `MovingAverageMinMaxObserver` has rate 0.01.
    Observed {
        /// In 0..=1.
        rate: f64,
    },
    /// Their scales are learned by gradient descent, *Learned Step Size Quantization* (Esser et al., 2020); the parameter is the scale's
    /// logarithm, so that a step is a share of it (Jain et al., 2020). Train the pair `(net, qat)`.
    Learned,
}

/// A range that is being trained.
#[derive(Debug, Clone)]
struct Trained {
    /// As calibrated, with the numbers of its lowest and highest code.
    start: Encoding,
    min: f64,
    max: f64,
    /// The scale's natural logarithm, if it is learned: a scalar, f32.
    log_scale: Option<Param>,
}

impl Trained {
    /// As it is now, with the range that was seen since.
    fn now(&self, config: &QuantConfig, seen: Option<(f64, f64)>) -> Result<Encoding> {
        let Encoding { zero_point, dtype, .. } = self.start;
        match (&self.log_scale, seen) {
            (Some(log), _) => Encoding::new(log.exp()?.item::<f32>()?, zero_point, dtype),
            (None, Some((min, max))) => config.activation.encoding(min, max),
            (None, None) => Ok(self.start),
        }
    }
}

/// Quantization-aware training (Jacob et al., 2018): in each step weights and activations are replaced by the numbers that their codes stand
/// for, where the int8 network will have codes; gradients pass straight through the rounding. [`convert`](Qat::convert) then makes the very int8
/// network that was trained: its output is the trained one's to one step of a code.
///
/// Weights are quantized per output, so that a batch norm behind a layer may be trained and folded at the end: folding scales codes of an
/// output, it doesn't change them.
///
/// ```
/// use ferrotape_nn::quant::{Calibration, Qat, QatRange, QuantConfig};
/// use ferrotape_nn::{Adam, Ctx, Forward, Linear, Optimizer, ReLU, Sequential, value_and_grad};
/// use ferrotape_tensor::{DType, Generator, chain::*};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut rng = Generator::new(0);
/// let mut net = Sequential::new().then(Linear::new(8, 32, &mut rng)?).then(ReLU).then(Linear::new(32, 1, &mut rng)?);
/// let x = rng.normal([64, 8], 0.0, 1.0, DType::F32)?;
/// let y = x.sum([1])?.unsqueeze(1)?;
/// let mut calibration = Calibration::new(QuantConfig::default())?;
/// calibration.observe(&net, |net| net.forward(&x, &mut Ctx::eval()))?;
/// let qat = Qat::new(&net, calibration, QatRange::Observed { rate: 0.01 })?;
/// let mut optimizer = Adam::new(0.01);
/// for _ in 0..50 {
///     let step = value_and_grad(&net, &mut rng, |net, ctx| qat.train(net, |net| net.forward(&x, ctx)).mse_loss(&y))?;
///     optimizer.step(&mut net, &step)?;
/// }
/// let trained = qat.run(&net, |net| net.forward(&x, &mut Ctx::eval()))?;
/// let int8 = qat.convert(net, |net| net.forward(&x, &mut Ctx::eval()))?;
/// assert!(int8.forward(&x)?.sub(&trained)?.abs().max(..)?.item::<f32>()? < 0.02);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Qat {
    config: QuantConfig,
    how: QatRange,
    plan: Arc<Plan>,
    ranges: BTreeMap<String, Trained>,
    /// What was seen since: of [`QatRange::Observed`].
    seen: Arc<Mutex<BTreeMap<String, (f64, f64)>>>,
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::other(format!("training with quantization: {message}")))
}

impl Qat {
    /// For a network that was calibrated, from the ranges of the calibration on.
    ///
    /// # Errors
    /// As [`Calibration::convert`]; a setting that is not static with a scale for each output; a rate outside 0..=1.
    pub fn new<M: Module>(model: &M, calibration: Calibration, how: QatRange) -> Result<Qat> {
        let config = calibration.config.clone();
        if config.mode != QuantMode::Static || !config.per_channel {
            return refuse(
                "static quantization with a scale for each output is for training".into(),
            );
        }
        if let QatRange::Observed { rate } = how
            && !(0.0..=1.0).contains(&rate)
        {
            return refuse(format!("rate {rate} is not in 0..=1"));
        }
        let Plan { layers, joins, .. } = calibration.plan(model)?;
        let mut found = BTreeMap::new();
        for layer in &layers {
            if let Some(output) = layer.output {
                found.insert(layer.key(), output);
            }
        }
        for (key, join) in &joins {
            found.insert(joined_key(key, join.relu), join.to);
        }
        // Where codes come in, the layer's input has no range of its own.
        for layer in &layers {
            let reads = |use_: &Use| matches!(use_, Use::Codes(reader) if **reader == layer.name);
            let coded = calibration.trace.values.iter().any(|(key, value)| {
                // A relu that is no part of its layer leaves codes as they are.
                let of = key.strip_suffix(".relu").unwrap_or(key);
                let known = found.contains_key(&**key) || found.contains_key(of);
                known && value.uses.iter().any(reads)
            });
            if let (Some(input), false) = (layer.input, coded) {
                found.insert(input_key(&layer.name), input);
            }
        }
        let (lowest, highest) = config.activation.codes()?;
        let trained = |(key, start): (String, Encoding)| {
            let at = |code: i32| f64::from(code - start.zero_point) * f64::from(start.scale);
            let (min, max) = (at(lowest), at(highest));
            let log_scale = match how {
                QatRange::Learned => Some(Param::new(Tensor::from(start.scale).log()?)),
                _ => None,
            };
            Ok((key, Trained { start, min, max, log_scale }))
        };
        let ranges = found.into_iter().map(trained).collect::<Result<_>>()?;
        let plan = Arc::new(Plan { layers, joins, ..Plan::default() });
        Ok(Qat { config, how, plan, ranges, seen: Arc::default() })
    }

    /// Runs the model in training; observed ranges follow what they see. Inside [`value_and_grad`](crate::value_and_grad), with the model that
    /// its closure is given.
    ///
    /// # Errors
    /// What the run fails with.
    pub fn train<M: Module + ?Sized, A>(
        &self,
        model: &M,
        run: impl FnOnce(&M) -> Result<A>,
    ) -> Result<A> {
        self.under(model, run, true)
    }

    /// Runs the model in evaluation, as the int8 network will be.
    ///
    /// # Errors
    /// What the run fails with.
    pub fn run<M: Module + ?Sized, A>(
        &self,
        model: &M,
        run: impl FnOnce(&M) -> Result<A>,
    ) -> Result<A> {
        self.under(model, run, false)
    }

    fn under<M: Module + ?Sized, A>(
        &self,
        model: &M,
        run: impl FnOnce(&M) -> Result<A>,
        training: bool,
    ) -> Result<A> {
        let scales = self.ranges.iter().map(|(key, range)| (key.clone(), range.clone())).collect();
        let observer = Rc::new(Trainer {
            config: self.config.clone(),
            rate: match self.how {
                QatRange::Observed { rate } if training => Some(rate),
                _ => None,
            },
            plan: self.plan.clone(),
            ranges: scales,
            seen: self.seen.clone(),
            own: Own::of(model),
        });
        observe(observer, || run(model))
    }

    /// The range of each activation as it is now, by its key.
    fn encodings(&self) -> Result<BTreeMap<String, Encoding>> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let now = |(key, range): (&String, &Trained)| {
            Ok((key.clone(), range.now(&self.config, seen.get(key).copied())?))
        };
        self.ranges.iter().map(now).collect()
    }

    /// The int8 network that was trained. `example` runs the model once in evaluation, for what its batch norms have become.
    ///
    /// # Errors
    /// What the example fails with; a model that does otherwise than in calibration; as [`Calibration::convert`].
    pub fn convert<M: Module, A: Tensors>(
        self,
        model: M,
        example: impl FnOnce(&M) -> Result<A>,
    ) -> Result<Quantized<M>> {
        let mut calibration = Calibration::new(self.config.clone())?;
        calibration.observe(&model, example)?;
        let Plan { mut layers, mut joins, .. } = calibration.plan(&model)?;
        let trained = self.encodings()?;
        let of = |key: &str| match trained.get(key) {
            Some(encoding) => Ok(*encoding),
            None => refuse(format!("{key} was not there in the calibration")),
        };
        for layer in &mut layers {
            if let Some(input) = trained.get(&input_key(&layer.name)) {
                layer.input = Some(*input);
            }
            if layer.output.is_some() {
                layer.output = Some(of(&layer.key())?);
            }
        }
        for (key, join) in &mut joins {
            join.to = of(&joined_key(key, join.relu))?;
        }
        // Recurrent layers were trained in float and stay so.
        let plan = Plan { layers, joins, ..Plan::default() };
        Quantized::new(model, plan, &calibration.trace.shared)
    }
}

fn input_key(layer: &str) -> String {
    format!("{layer}.input")
}

fn joined_key(key: &str, relu: bool) -> String {
    if relu { format!("{key}.relu") } else { key.to_string() }
}

/// The parameters are the scales that are learned; none otherwise.
impl Module for Qat {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.module(std::any::type_name::<Self>());
        for (key, range) in &self.ranges {
            if let Some(log_scale) = &range.log_scale {
                visitor.enter(key);
                visitor.enter("log_scale");
                visitor.param(log_scale);
                visitor.leave();
                visitor.leave();
            }
        }
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        for (key, range) in &mut self.ranges {
            if let Some(log_scale) = &mut range.log_scale {
                visitor.enter(key);
                visitor.enter("log_scale");
                visitor.param(log_scale);
                visitor.leave();
                visitor.leave();
            }
        }
    }
}
