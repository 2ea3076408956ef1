//! What quantization costs, layer by layer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use ferrotape_tensor::{DType, Result, Tensor, chain::*, no_tape, observe};

use super::model::{Quantized, run_under};
use super::range::RangeMethod;
use super::run::Runner;
use super::tensors::Tensors;
use super::trace::{Trace, Tracer};
use crate::module::Module;
use crate::state::parameters;

/// One layer of a [`QuantReport`].
#[derive(Debug, Clone, PartialEq)]
pub struct LayerReport {
    /// Its name.
    pub name: String,
    /// Shape of its weight, outputs first.
    pub weight: Vec<usize>,
    /// The smallest and the largest number of its output, in float.
    pub range: (f64, f64),
    /// Signal to quantization noise of its weight, in dB: `10 log10(sum x^2 / sum (x - x')^2)`. With what the layer took in (a batch norm) it is
    /// NaN: the weight is another then.
    pub weight_sqnr: f64,
    /// That of its output in the int8 network, whose noise has come from all layers before it, too.
    pub sqnr: f64,
    /// The largest absolute error of its output in the int8 network.
    pub max_error: f64,
    /// That of the network's output if this layer alone is int8: the lowest is the layer that costs most.
    pub alone: f64,
    /// Its share of the time of all int8 layers.
    pub time: f64,
}

/// What [`Quantized::report`] gives; as text a table.
#[derive(Debug, Clone, PartialEq)]
pub struct QuantReport {
    /// The layers, in the order of the first run.
    pub layers: Vec<LayerReport>,
    /// Signal to quantization noise of the network's output, in dB.
    pub sqnr: f64,
}

/// `10 log10(signal / noise)`; without noise infinite.
fn decibels(expected: &Tensor, found: &Tensor) -> Result<f64> {
    let expected = expected.detach()?.to_dtype(DType::F64)?;
    let signal = expected.square()?.sum(..)?.to_f64()?;
    let noise = expected.sub(found.detach()?.to_dtype(DType::F64)?)?.square()?.sum(..)?.to_f64()?;
    Ok(10.0 * (signal / noise).log10())
}

fn all_decibels(expected: &[Tensor], found: &[Tensor]) -> Result<f64> {
    let flat = |tensors: &[Tensor]| {
        let flat: Result<Vec<Tensor>> = tensors
            .iter()
            .filter(|x| x.dtype().is_float())
            .map(|x| x.to_dtype(DType::F64)?.reshape([x.len()]))
            .collect();
        let flat = flat?;
        Tensor::cat(&flat.iter().collect::<Vec<_>>(), 0)
    };
    decibels(&flat(expected)?, &flat(found)?)
}

/// The tensors of an outcome.
fn tensors_of<A: Tensors>(outcome: A) -> Result<Vec<Tensor>> {
    let mut found = Vec::new();
    outcome.map(&mut |x| {
        found.push(x.clone());
        Ok(x)
    })?;
    Ok(found)
}

impl<M: Module> Quantized<M> {
    /// Compares with the model in float on one run (of a batch, say): ranges, errors, and which layer costs most.
    ///
    /// # Errors
    /// What a run fails with; a model that is another than the one this was made of.
    ///
    /// ```
    /// use ferrotape_nn::quant::{Calibration, QuantConfig};
    /// use ferrotape_nn::{Ctx, Forward, Linear, Module, ReLU, Sequential};
    /// use ferrotape_tensor::{DType, Generator};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// #[derive(Clone, Module)]
    /// #[module(crate = ferrotape_nn)]
    /// struct Net { fc1: Linear, fc2: Linear }
    /// impl Forward for Net {
    ///     fn forward(&self, x: &ferrotape_tensor::Tensor, ctx: &mut Ctx<'_>) -> ferrotape_tensor::Result<ferrotape_tensor::Tensor> {
    ///         self.fc2.forward(&self.fc1.forward(x, ctx)?.relu()?, ctx)
    ///     }
    /// }
    /// let mut rng = Generator::new(0);
    /// let net = Net { fc1: Linear::new(8, 64, &mut rng)?, fc2: Linear::new(64, 4, &mut rng)? };
    /// let x = rng.normal([32, 8], 0.0, 1.0, DType::F32)?;
    /// let run = |net: &Net| net.forward(&x, &mut Ctx::eval());
    /// let mut calibration = Calibration::new(QuantConfig::default())?;
    /// calibration.observe(&net, run)?;
    /// let report = calibration.convert(net.clone())?.report(&net, run)?;
    /// println!("{report}");
    /// assert_eq!(report.layers[1].name, "fc2");
    /// assert!(report.sqnr > 25.0);
    /// # Ok(()) }
    /// ```
    pub fn report<A: Tensors>(
        &self,
        float: &M,
        run: impl Fn(&M) -> Result<A>,
    ) -> Result<QuantReport> {
        let tracer = Rc::new(Tracer::new(float, RangeMethod::MinMax, Trace::default()).keeping());
        let expected = no_tape(|| observe(tracer.clone(), || run(float)))?;
        let (expected, values) = (tensors_of(expected)?, tracer.kept());

        type Ran = BTreeMap<String, (Tensor, Duration)>;
        let ran: Rc<RefCell<Ran>> = Rc::default();
        let into = ran.clone();
        let runner = Runner::new(&self.model, self.plan.clone(), self.hollow.clone());
        let runner = runner.watch(Box::new(move |layer, y, time| {
            into.borrow_mut().insert(layer.name.clone(), (y.clone(), time));
            Ok(())
        }));
        let found = tensors_of(run_under(runner, || run(&self.model))?)?;
        let ran = ran.take();
        let total: f64 = ran.values().map(|(_, time)| time.as_secs_f64()).sum();

        let params: BTreeMap<String, Tensor> =
            parameters(float).into_iter().map(|(path, p)| (path, p.tensor().clone())).collect();
        let mut layers = Vec::new();
        for layer in &self.plan.layers {
            let (Some((y, time)), Some(value), Some(param)) =
                (ran.get(&layer.name), values.get(&*layer.key()), params.get(&layer.path))
            else {
                continue;
            };
            let weight = layer.op.outputs_first(layer.seen.of(param)?)?;
            let taken_in = layer.steps.iter().any(|step| step.op != "relu");
            let weight_sqnr = match taken_in {
                true => f64::NAN,
                false => decibels(&weight, &layer.weight.numbers()?)?,
            };
            let none = std::sync::Arc::default();
            let alone = Runner::new(float, self.plan.clone(), none).only(Some(layer.name.clone()));
            let alone = tensors_of(run_under(alone, || run(float))?)?;
            let bound = |x: Result<Tensor>| x?.to_f64();
            layers.push(LayerReport {
                name: layer.name.clone(),
                weight: layer.weight.shape.clone(),
                range: (bound(value.min(..))?, bound(value.max(..))?),
                weight_sqnr,
                sqnr: decibels(value, y)?,
                max_error: value.sub(y)?.abs().max(..)?.to_f64()?,
                alone: all_decibels(&expected, &alone)?,
                time: time.as_secs_f64() / total,
            });
        }
        Ok(QuantReport { layers, sqnr: all_decibels(&expected, &found)? })
    }
}

impl QuantReport {
    /// The layer that costs most: with it alone in int8 the network's output is worst.
    pub fn worst(&self) -> Option<&LayerReport> {
        self.layers.iter().min_by(|a, b| a.alone.total_cmp(&b.alone))
    }
}

impl fmt::Display for QuantReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.layers.iter().map(|l| l.name.len()).max().unwrap_or(0).max(5);
        writeln!(
            f,
            "{:width$}  {:>18}  {:>21}  {:>9}  {:>8}  {:>9}  {:>8}  {:>5}",
            "layer", "weight", "range", "weight dB", "out dB", "max error", "alone dB", "time"
        )?;
        for layer in &self.layers {
            let shape = layer.weight.iter().map(usize::to_string).collect::<Vec<_>>().join("x");
            let range = format!("{:.3} .. {:.3}", layer.range.0, layer.range.1);
            let weight = match layer.weight_sqnr.is_nan() {
                true => "folded".to_string(),
                false => format!("{:.1}", layer.weight_sqnr),
            };
            writeln!(
                f,
                "{:width$}  {shape:>18}  {range:>21}  {weight:>9}  {:>8.1}  {:>9.4}  {:>8.1}  {:>4.0}%",
                layer.name,
                layer.sqnr,
                layer.max_error,
                layer.alone,
                100.0 * layer.time
            )?;
        }
        write!(f, "output: {:.1} dB", self.sqnr)
    }
}
