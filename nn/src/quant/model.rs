//! A network in int8.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;
use std::sync::Arc;

use ferrotape_tensor::{DType, Device, Error, QTensor, Result, Tensor, TensorId, no_tape, observe};

use super::plan::Plan;
use super::run::Runner;
use super::tensors::Tensors;
use crate::ctx::Ctx;
use crate::module::{Buffer, Forward, Module, Param};
use crate::state::{each_mut, parameters, state_dict};

/// A network whose layers run in integers: what [`Calibration::convert`](super::Calibration::convert) makes. It computes as the model it was
/// made of does; weights of int8 layers are kept as codes alone.
#[derive(Debug)]
pub struct Quantized<M> {
    pub(super) model: M,
    pub(super) plan: Arc<Plan>,
    /// Paths of weights that are codes alone.
    pub(super) hollow: Arc<BTreeSet<String>>,
}

impl<M: Module> Quantized<M> {
    pub(super) fn new(mut model: M, plan: Plan, shared: &BTreeSet<String>) -> Result<Self> {
        // Tied weights go under all their names, or not at all.
        let by_path: BTreeMap<String, TensorId> =
            parameters(&model).into_iter().map(|(path, p)| (path, p.id())).collect();
        let ids: BTreeSet<Option<TensorId>> =
            plan.paths().map(|path| by_path.get(path).copied()).collect();
        let kept: BTreeSet<Option<TensorId>> =
            shared.iter().map(|path| by_path.get(path).copied()).collect();
        let hollow: BTreeSet<String> = by_path
            .into_iter()
            .filter(|(_, id)| ids.contains(&Some(*id)) && !kept.contains(&Some(*id)))
            .map(|(path, _)| path)
            .collect();
        empty(&mut model, &hollow)?;
        Ok(Quantized { model, plan: Arc::new(plan), hollow: Arc::new(hollow) })
    }

    /// Runs the network, in evaluation: as `run` on the model, but in integers.
    ///
    /// # Errors
    /// What the run fails with; a network that does otherwise than in calibration where that matters: a layer used in a way that was not
    /// seen, a step that was taken into a layer and does not come.
    pub fn run<A: Tensors>(&self, run: impl FnOnce(&M) -> Result<A>) -> Result<A> {
        let runner = Runner::new(&self.model, self.plan.clone(), self.hollow.clone());
        run_under(runner, || run(&self.model))
    }

    /// Brings the network to a device; its int8 weights follow when they are used there.
    ///
    /// # Errors
    /// Memory over the limit; a device's failure. Then nothing has changed.
    pub fn to(&mut self, device: Device) -> Result<()> {
        let stay = |path: &str| self.hollow.contains(path);
        let mut moved = BTreeMap::new();
        for (path, tensor) in state_dict(&self.model) {
            if !stay(&path) {
                moved.insert(path, tensor.to_device(device)?);
            }
        }
        let nan = Tensor::full((), f64::NAN, (DType::F32, device))?;
        let mut stand_ins = HashMap::new();
        for (path, param) in parameters(&self.model) {
            if stay(&path) {
                let made = match stand_ins.get(&param.id()) {
                    Some(made) => Tensor::clone(made),
                    None => nan.expand(param.shape().to_vec())?,
                };
                stand_ins.insert(param.id(), made.clone());
                moved.insert(path, made);
            }
        }
        let param = |path: &str, param: &mut Param| {
            if let Some(tensor) = moved.get(path) {
                param.set(tensor.clone());
            }
        };
        let buffer = |path: &str, buffer: &mut Buffer| {
            if let Some(tensor) = moved.get(path) {
                buffer.set(tensor.clone());
            }
        };
        each_mut(&mut self.model, param, buffer);
        Ok(())
    }

    /// The model, without the numbers of the weights that are codes: those read as NaN.
    pub fn model(&self) -> &M {
        &self.model
    }

    /// Names of the layers that run in integers.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        let recurrent = self.plan.recurrent.iter().map(|layer| layer.name.as_str());
        self.plan.layers.iter().map(|layer| layer.name.as_str()).chain(recurrent)
    }

    /// The codes of a layer's weight, outputs first (axis 0), with what the layer took in.
    ///
    /// # Errors
    /// No int8 layer of this name.
    pub fn weight(&self, layer: &str) -> Result<QTensor> {
        let Some(found) = self.plan.layer(layer).and_then(|at| self.plan.layers.get(at)) else {
            let known: Vec<&str> = self.layers().collect();
            let message =
                format!("no int8 layer is called {layer:?}; there are: {}", known.join(", "));
            return Err(Error::other(message));
        };
        found.weight.tensor()
    }

    /// Bytes of all parameters: codes with their scales and zero points, and what stayed float. Padding of the kernels' layout included.
    pub fn parameter_bytes(&self) -> usize {
        let mut codes = BTreeMap::new();
        for layer in &self.plan.layers {
            let bytes = layer.weight.packed.bytes() + 4 * layer.bias.len();
            codes.insert(&layer.path, bytes);
        }
        for layer in &self.plan.recurrent {
            codes.insert(&layer.name, layer.int8.bytes());
        }
        let float: HashMap<TensorId, usize> = parameters(&self.model)
            .into_iter()
            .filter(|(path, _)| !self.hollow.contains(path))
            .map(|(_, p)| (p.id(), p.len() * p.dtype().size()))
            .collect();
        codes.values().sum::<usize>() + float.values().sum::<usize>()
    }
}

impl<M: Forward> Quantized<M> {
    /// The output for `x`: [`run`](Quantized::run) with the model's `forward`.
    ///
    /// # Errors
    /// As `run`.
    pub fn forward(&self, x: &Tensor) -> Result<Tensor> {
        self.run(|model| model.forward(x, &mut Ctx::eval()))
    }
}

/// Runs `body` in integers; its tensors become numbers.
pub(super) fn run_under<A: Tensors>(runner: Runner, body: impl FnOnce() -> Result<A>) -> Result<A> {
    let runner = Rc::new(runner);
    let outcome = no_tape(|| observe(runner.clone(), body))?;
    outcome.map(&mut |y| runner.resolve(y))
}

/// Takes the numbers of these weights away; shapes and types stay.
pub(super) fn empty<M: Module>(model: &mut M, paths: &BTreeSet<String>) -> Result<()> {
    let mut stand_ins: HashMap<TensorId, Tensor> = HashMap::new();
    let mut failed = Ok(());
    let nan = Tensor::full((), f64::NAN, DType::F32)?;
    let take = |path: &str, param: &mut Param| {
        if failed.is_err() || !paths.contains(path) {
            return;
        }
        let made = match stand_ins.get(&param.id()) {
            Some(made) => Ok(made.clone()),
            None => nan.expand(param.shape().to_vec()),
        };
        match made {
            Ok(made) => {
                stand_ins.insert(param.id(), made.clone());
                param.set(made);
            }
            Err(error) => failed = Err(error),
        }
    };
    each_mut(model, take, |_, _| {});
    failed
}
