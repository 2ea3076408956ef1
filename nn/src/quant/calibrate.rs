//! Calibration: the network runs on examples, and is watched; then it is converted.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ferrotape_tensor::{DType, Encoding, Error, Result, Tensor, TensorId, no_tape, observe};

use super::config::{QuantConfig, QuantMode};
use super::layer::{Layer, LayerWeight, Taken, taken_in};
use super::model::Quantized;
use super::plan::{Join, Plan};
use super::recurrent::{RecurrentLayer, RecurrentSite};
use super::tensors::Tensors;
use super::trace::{Does, Key, Site, Step, Trace, Tracer, Use, join_key};
use crate::module::Module;
use crate::state::{parameters, state_dict};

/// Watches a network run in float and converts it to int8.
///
/// Any network will do: what is quantized is found among the operations that it makes, not among known layers. A product or convolution whose
/// weight is an f32 parameter becomes an int8 layer, and takes in what follows and is linear in each channel (a batch norm in
/// evaluation) and a relu. Codes pass through views and max pooling; sums and concatenations of codes are codes. Before all
/// else, codes become f32 again.
///
/// ```
/// use ferrotape_nn::quant::{Calibration, QuantConfig};
/// use ferrotape_nn::{Ctx, Forward, Linear, ReLU, Sequential};
/// use ferrotape_tensor::{DType, Generator, chain::*};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut rng = Generator::new(0);
/// let net = Sequential::new().then(Linear::new(8, 64, &mut rng)?).then(ReLU).then(Linear::new(64, 4, &mut rng)?);
/// let mut calibration = Calibration::new(QuantConfig::default())?;
/// for _ in 0..4 {
///     let x = rng.normal([32, 8], 0.0, 1.0, DType::F32)?;
///     calibration.observe(&net, |net| net.forward(&x, &mut Ctx::eval()))?;
/// }
/// let x = rng.normal([5, 8], 0.0, 1.0, DType::F32)?;
/// let expected = net.forward(&x, &mut Ctx::eval())?;
/// let int8 = calibration.convert(net)?;
/// let y = int8.forward(&x)?;
/// assert!(y.sub(&expected)?.abs().max(..)?.item::<f32>()? < 0.03);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Calibration {
    pub(super) config: QuantConfig,
    pub(super) trace: Trace,
    runs: u64,
}

impl Calibration {
    /// That has seen nothing.
    ///
    /// # Errors
    /// Codes that are none of i8 and u8, weights that are not i8, bits outside 2 to 8, a method's share outside 0..=1.
    pub fn new(config: QuantConfig) -> Result<Self> {
        config.activation.codes()?;
        super::RangeObserver::new(config.range)?;
        if config.weight.dtype != DType::I8 || !(2..=8).contains(&config.weight_bits) {
            let (dtype, bits) = (config.weight.dtype, config.weight_bits);
            return Err(refuse(format!("weights of {dtype}, {bits} bits: i8, 2 to 8 expected")));
        }
        let fewer = config.weight_bits < 8 && config.mode != QuantMode::WeightsOnly;
        match fewer {
            true => Err(refuse("fewer bits than 8 are for weights alone".to_string())),
            false => Ok(Calibration { config, trace: Trace::default(), runs: 0 }),
        }
    }

    /// Runs the network once, in evaluation, and takes note. Gives what the run gave.
    ///
    /// # Errors
    /// What the run fails with; a value that is NaN or infinite, with its layer.
    pub fn observe<M: Module, A: Tensors>(
        &mut self,
        model: &M,
        run: impl FnOnce(&M) -> Result<A>,
    ) -> Result<A> {
        let trace = std::mem::take(&mut self.trace);
        let tracer = Rc::new(Tracer::new(model, self.config.range, trace));
        let outcome = no_tape(|| observe(tracer.clone(), || run(model))).and_then(|outcome| {
            outcome.map(&mut |y| {
                tracer.output(&y);
                Ok(y)
            })
        });
        self.trace = tracer.finish();
        self.runs += u64::from(outcome.is_ok());
        outcome
    }

    /// How many runs were seen.
    pub fn runs(&self) -> u64 {
        self.runs
    }

    /// The layers that were found, by name, in the order of their first run.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        let recurrent = self.trace.recurrent.iter().map(|site| site.name.as_str());
        self.trace.sites.iter().map(|site| &*site.key).chain(recurrent)
    }

    /// The network in int8: the one that was observed last, unchanged since. It keeps everything but the weights of its int8 layers, which then are codes alone.
    ///
    /// # Errors
    /// No run was seen or no layer found; a model with other values than in the last run; a layer kept in float by a name that is none; a weight that is not finite; memory.
    pub fn convert<M: Module>(&self, model: M) -> Result<Quantized<M>> {
        let plan = self.plan(&model)?;
        Quantized::new(model, plan, &self.trace.shared)
    }

    /// The layers and joins of the network in int8.
    pub(super) fn plan<M: Module + ?Sized>(&self, model: &M) -> Result<Plan> {
        if self.trace.sites.is_empty() && self.trace.recurrent.is_empty() {
            let message = match self.runs {
                0 => "no run was observed",
                _ => "no product or convolution with an f32 parameter was observed",
            };
            return Err(refuse(message.to_string()));
        }
        let now: BTreeMap<String, TensorId> =
            state_dict(model).into_iter().map(|(path, x)| (path, x.id())).collect();
        let mut paths = now.keys().chain(self.trace.ids.keys());
        if let Some(path) = paths.find(|path| now.get(*path) != self.trace.ids.get(*path)) {
            return Err(refuse(format!("{path} is not as in the last run that was observed")));
        }
        let names: Vec<&str> = self.layers().collect();
        for float in &self.config.float_layers {
            let alone = QuantConfig::default().keep_float(float.clone());
            if !names.iter().any(|name| alone.is_float(name)) {
                let known = names.join(", ");
                return Err(refuse(format!("no layer is called {float:?}; there are: {known}")));
            }
        }
        let params: BTreeMap<String, Tensor> =
            parameters(model).into_iter().map(|(path, p)| (path, p.tensor().clone())).collect();
        let planner = Planner {
            config: &self.config,
            trace: &self.trace,
            params: &params,
            packed: RefCell::default(),
        };
        let quantized = self.trace.sites.iter().filter(|site| !self.config.is_float(&site.key));
        let layers = quantized.map(|site| planner.layer(site)).collect::<Result<Vec<_>>>()?;
        let mut recurrent = Vec::new();
        for site in &self.trace.recurrent {
            if RecurrentLayer::wanted(&self.config) && !self.config.is_float(&site.name) {
                recurrent.push(planner.recurrent(site)?);
            }
        }
        Ok(Plan { layers, recurrent, joins: planner.joins()? })
    }
}

fn refuse(message: String) -> Error {
    Error::other(format!("quantization: {message}"))
}

struct Planner<'a> {
    config: &'a QuantConfig,
    trace: &'a Trace,
    params: &'a BTreeMap<String, Tensor>,
    /// Weights that several layers use.
    packed: RefCell<BTreeMap<String, Arc<LayerWeight>>>,
}

impl Planner<'_> {
    /// True if all that is done with the value can be done with codes.
    fn travels_as_codes(&self, key: &Key) -> bool {
        let Some(value) = self.trace.values.get(key) else { return false };
        let as_codes = |use_: &Use| match use_ {
            Use::Float => false,
            Use::Step(step, _) => step.does == Does::Relu,
            Use::Codes(reader) => match self.trace.values.get(reader) {
                Some(join) if !join.joins.is_empty() => {
                    // A join of codes needs codes from everyone.
                    join.joins.iter().all(|part| self.comes_from_codes(part))
                }
                _ => !self.config.is_float(reader) || reader == key,
            },
        };
        self.config.mode == QuantMode::Static
            && !value.uses.is_empty()
            && value.uses.iter().all(as_codes)
    }

    /// True if the layers that the value comes from are int8 ones.
    fn comes_from_codes(&self, key: &Key) -> bool {
        match self.trace.values.get(key) {
            Some(value) if !value.joins.is_empty() => {
                value.joins.iter().all(|part| self.comes_from_codes(part))
            }
            _ => {
                let site = self.trace.sites.iter().filter(|site| key.starts_with(&*site.key));
                let longest = site.max_by_key(|site| site.key.len());
                longest.is_some_and(|site| !self.config.is_float(&site.key))
            }
        }
    }

    /// What follows a value and belongs to it, and the key of the last.
    fn follow(&self, key: &Key, affine: bool, relu: bool) -> (Vec<Step>, bool, Key) {
        let (mut steps, mut relu, mut key) = (Vec::new(), relu, key.clone());
        while let Some([Use::Step(step, next)]) =
            self.trace.values.get(&key).map(|value| &value.uses[..])
        {
            match step.does {
                Does::Relu => relu = true,
                Does::Affine { .. } if affine && !relu => {}
                Does::Affine { .. } => break,
            }
            steps.push(step.clone());
            key = next.clone();
            if relu {
                break;
            }
        }
        (steps, relu, key)
    }

    fn encoding(&self, key: &Key) -> Result<Encoding> {
        let scheme = &self.config.activation;
        let found = self.trace.values.get(key).map(|value| {
            let (low, high) = value.range.range(scheme)?;
            scheme.encoding(low, high)
        });
        let nothing = || Err(Error::other("no range was seen"));
        found.unwrap_or_else(nothing).map_err(|error| refuse(format!("{key}: {error}")))
    }

    fn layer(&self, site: &Site) -> Result<Layer> {
        let failed = |error: Error| refuse(format!("{}: {error}", site.key));
        let uses = self.trace.sites.iter().filter(|other| other.path == site.path).count();
        let once = uses == 1 && !site.relu;
        let (steps, relu, last) = self.follow(&site.key, once, site.relu);
        let Some(param) = self.params.get(&site.path) else {
            return Err(refuse(format!("the model has no parameter {:?}", site.path)));
        };
        let weight = site.seen.of(param).and_then(|seen| site.op.outputs_first(seen));
        let weight = weight.map_err(failed)?;
        let shape = weight.shape().to_vec();
        let outputs = shape.first().copied().unwrap_or(0);
        let (factors, shifts) = taken_in(&steps, outputs);
        let bias = match &site.bias {
            Some(bias) => bias.detach()?.to_vec::<f32>().map_err(failed)?,
            None => vec![0.0; outputs],
        };
        let taken = bias.iter().zip(&factors).zip(&shifts);
        let bias: Vec<f32> = taken.map(|((b, f), s)| (f64::from(*b) * f + s) as f32).collect();
        let packed = self.packed.borrow().get(&site.path).cloned();
        let weight = match packed {
            Some(packed) => packed,
            None => {
                let mut numbers = weight.detach()?.to_vec::<f32>().map_err(failed)?;
                let row = numbers.len().checked_div(outputs).unwrap_or(0).max(1);
                for (row, factor) in numbers.chunks_exact_mut(row).zip(&factors) {
                    row.iter_mut().for_each(|x| *x = (f64::from(*x) * factor) as f32);
                }
                let made = LayerWeight::quantized(site.op, &numbers, &shape, self.config);
                let made = Arc::new(made.map_err(failed)?);
                self.packed.borrow_mut().insert(site.path.clone(), made.clone());
                made
            }
        };
        let is_static = self.config.mode == QuantMode::Static;
        let input = match is_static {
            true => {
                let scheme = &self.config.activation;
                let range = site.input.range(scheme).map_err(failed)?;
                Some(scheme.encoding(range.0, range.1).map_err(failed)?)
            }
            false => None,
        };
        let output = match self.travels_as_codes(&last) {
            true => Some(self.encoding(&last)?),
            false => None,
        };
        let bias = if bias.iter().all(|b| *b == 0.0) { Vec::new() } else { bias };
        let identity = (site.path.clone(), site.seen.clone(), site.op);
        let taken = steps.iter().map(|s| Taken { op: s.op.to_string(), number: s.number });
        Ok(Layer::new(
            site.key.to_string(),
            identity,
            self.config.mode,
            weight,
            bias,
            (taken.collect(), relu),
            [input, output],
        ))
    }

    fn recurrent(&self, site: &RecurrentSite) -> Result<RecurrentLayer> {
        let param = |path: &String| match self.params.get(path) {
            Some(param) => Ok(param),
            None => Err(refuse(format!("the model has no parameter {path:?}"))),
        };
        let [of_input, of_state] = &site.paths;
        RecurrentLayer::quantized(site, [param(of_input)?, param(of_state)?], self.config)
            .map_err(|error| refuse(format!("{}: {error}", site.name)))
    }

    /// Sums and concatenations that stay codes.
    fn joins(&self) -> Result<BTreeMap<String, Join>> {
        let mut joins = BTreeMap::new();
        for (key, value) in &self.trace.values {
            if value.joins.is_empty() {
                continue;
            }
            let sum = *key == join_key(&value.joins, "+");
            let (_, relu, last) = match sum {
                true => self.follow(key, false, false),
                false => (Vec::new(), false, key.clone()),
            };
            if self.travels_as_codes(&last) && value.joins.iter().all(|k| self.comes_from_codes(k))
            {
                let to = self.encoding(&last)?;
                joins.insert(key.to_string(), Join { to, relu });
            }
        }
        Ok(joins)
    }
}

/// Runs the network on batches and takes note of its values: [`Calibration::observe`] for each, with `progress(done)` after each.
///
/// # Errors
/// As [`Calibration::new`] and [`Calibration::observe`]; the first of the batches.
///
/// ```
/// use ferrotape_nn::quant::{QuantConfig, calibrate};
/// use ferrotape_nn::{Ctx, Forward, Linear};
/// use ferrotape_tensor::{Generator, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let net = Linear::new(2, 1, &mut Generator::new(0))?;
/// let batches = [Tensor::from([[0f32, 1.]]), Tensor::from([[1f32, -1.]])];
/// let run = |net: &Linear, x: Tensor| net.forward(&x, &mut Ctx::eval());
/// let calibration = calibrate(&net, QuantConfig::default(), batches.map(Ok), run, |_| ())?;
/// assert_eq!(calibration.runs(), 2);
/// # Ok(()) }
/// ```
pub fn calibrate<M: Module, B, A: Tensors>(
    model: &M,
    config: QuantConfig,
    batches: impl IntoIterator<Item = Result<B>>,
    mut run: impl FnMut(&M, B) -> Result<A>,
    mut progress: impl FnMut(u64),
) -> Result<Calibration> {
    let mut calibration = Calibration::new(config)?;
    for batch in batches {
        let batch = batch?;
        calibration.observe(model, |model| run(model, batch))?;
        progress(calibration.runs());
    }
    Ok(calibration)
}
