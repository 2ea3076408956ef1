//! The observer that makes a network compute with the numbers that codes can be.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use ferrotape_tensor::{
    BinaryOp, DType, Encoding, FakeQuantizeOp, Observer, Op, Operand, Outputs, Result, Tensor,
    TensorId, UnaryOp, ViewOp, apply,
};

use super::super::config::QuantConfig;
use super::super::layer::{Layer, weight_encodings};
use super::super::plan::Plan;
use super::super::trace::{Key, join_key};
use super::super::weights::{LayerOp, Weights};
use super::{Trained, input_key, joined_key, refuse};
use crate::module::Module;

/// How far a layer's or join's value has come.
#[derive(Debug, Clone)]
struct Coming {
    key: Key,
    /// What is still to come, from the layer's list; a join's relu.
    layer: Option<(usize, usize)>,
}

#[derive(Default)]
struct State {
    weights: Weights,
    /// Values that are what codes can be.
    coded: HashMap<TensorId, Key>,
    coming: HashMap<TensorId, Coming>,
}

/// The observer: lives for one run.
pub(super) struct Trainer {
    pub(super) config: QuantConfig,
    pub(super) rate: Option<f64>,
    pub(super) plan: Arc<Plan>,
    pub(super) ranges: BTreeMap<String, Trained>,
    pub(super) seen: Arc<Mutex<BTreeMap<String, (f64, f64)>>>,
    pub(super) own: Own,
}

/// What a run of one model has come to.
pub(super) struct Own {
    busy: Cell<bool>,
    state: RefCell<State>,
}

impl Own {
    pub(super) fn of<M: Module + ?Sized>(model: &M) -> Self {
        let state = State { weights: Weights::of(model), ..State::default() };
        Own { busy: Cell::new(false), state: RefCell::new(state) }
    }
}

impl Trainer {
    /// x as codes of this key's range.
    fn coded(&self, key: &str, x: &Tensor) -> Result<Tensor> {
        let Some(range) = self.ranges.get(key) else { return Ok(x.clone()) };
        let (low, high) = self.config.activation.codes()?;
        let op = FakeQuantizeOp::new(low, high);
        if let Some(log_scale) = &range.log_scale {
            let scale = log_scale.exp()?;
            return x.fake_quantize(&scale, f64::from(range.start.zero_point), op);
        }
        let seen = {
            let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
            if let (Some(rate), false) = (self.rate, x.is_empty()) {
                let values = x.detach()?;
                let (min, max) = (values.min(..)?.to_f64()?, values.max(..)?.to_f64()?);
                if !(min.is_finite() && max.is_finite()) {
                    return refuse(format!("{key} has values from {min} to {max}"));
                }
                let (low, high) = seen.get(key).copied().unwrap_or((range.min, range.max));
                let moved = (low + rate * (min - low), high + rate * (max - high));
                seen.insert(key.to_string(), moved);
            }
            seen.get(key).copied()
        };
        let Encoding { scale, zero_point, .. } = range.now(&self.config, seen)?;
        x.fake_quantize(f64::from(scale), f64::from(zero_point), op)
    }

    /// A weight as codes of each output's range. `op` sees it as `weight`.
    fn coded_weight(&self, op: LayerOp, weight: &Tensor) -> Result<Tensor> {
        let axis = if op == LayerOp::Matmul { 1 } else { 0 };
        let plain = op.outputs_first(weight.detach()?)?;
        let outputs = plain.shape().first().copied().unwrap_or(0);
        let found = weight_encodings(&plain.to_vec::<f32>()?, outputs, &self.config)?;
        let scales: Vec<f32> = found.iter().map(|encoding| encoding.scale).collect();
        let zeros: Vec<i32> = found.iter().map(|encoding| encoding.zero_point).collect();
        let (low, high) = self.config.weight_codes();
        let device = weight.device();
        let scale = Tensor::from_slice(&scales, [scales.len()])?.to_device(device)?;
        let zero = Tensor::from_slice(&zeros, [zeros.len()])?.to_device(device)?;
        weight.fake_quantize(&scale, &zero, FakeQuantizeOp::new(low, high).axis(axis))
    }

    fn layer(
        &self,
        state: &mut State,
        at: usize,
        op: &Op,
        inputs: &[&Tensor],
    ) -> Result<Option<Outputs>> {
        let (Some(layer), [x, weight, rest @ ..]) = (self.plan.layers.get(at), inputs) else {
            return Ok(None);
        };
        let x = match state.coded.contains_key(&x.id()) {
            true => (*x).clone(),
            false => self.coded(&input_key(&layer.name), x)?,
        };
        let weight = self.coded_weight(layer.op, weight)?;
        let mut operands = vec![Operand::Own(x), Operand::Own(weight)];
        operands.extend(rest.iter().map(|x| Operand::Ref(x)));
        let mut outputs = apply(op, &mut operands)?;
        let y = outputs.swap_remove(0);
        let coming = Coming { key: layer.key().into(), layer: Some((at, 0)) };
        Ok(Some(Outputs::from_iter([self.come(state, coming, y)?])))
    }

    /// What is still to come before a value is coded, or the coded value.
    fn come(&self, state: &mut State, coming: Coming, y: Tensor) -> Result<Tensor> {
        let (left, is_coded) = match coming.layer {
            Some((at, done)) => {
                let layer = self.plan.layers.get(at);
                let steps = layer.map_or(0, |layer| layer.steps.len());
                (steps > done, layer.is_some_and(|layer: &Layer| layer.output.is_some()))
            }
            None => (false, true),
        };
        if left {
            state.coming.insert(y.id(), coming);
            return Ok(y);
        }
        if !is_coded {
            return Ok(y);
        }
        let y = self.coded(&coming.key, &y)?;
        state.coded.insert(y.id(), coming.key);
        Ok(y)
    }

    fn replaced(&self, op: &Op, inputs: &[&Tensor]) -> Result<Option<Outputs>> {
        let state = &mut *self.own.state.borrow_mut();
        if let Some(found) = state.weights.layer(op, inputs) {
            return match self.plan.find(&found) {
                Some(at) => self.layer(state, at, op, inputs),
                None => Ok(None),
            };
        }
        let run = || {
            let mut operands: Vec<Operand<'_>> = inputs.iter().map(|x| Operand::Ref(x)).collect();
            apply(op, &mut operands)
        };
        if let (Op::View(_) | Op::StopGradient, [x]) = (op, inputs)
            && state.weights.get(x).is_some()
        {
            let outputs = run()?;
            if let Some(y) = outputs.first() {
                state.weights.follow(op, x, y);
            }
            return Ok(Some(outputs));
        }
        if let Some(coming) = inputs.iter().find_map(|x| state.coming.get(&x.id())).cloned() {
            let passes = matches!(op, Op::View(_));
            let next = coming.layer.and_then(|(at, done)| {
                let steps = &self.plan.layers.get(at)?.steps;
                steps.get(done).map(|step| (step.op == op.name(), (at, done + 1)))
            });
            let relu = coming.layer.is_none() && matches!(op, Op::Unary(UnaryOp::Relu));
            let further = match next {
                Some((true, further)) => Some(further),
                _ if passes => coming.layer,
                _ if relu => None,
                // In training a batch norm looks at the value besides.
                _ => return Ok(None),
            };
            let mut outputs = run()?;
            let y = outputs.swap_remove(0);
            let coming = Coming { layer: further, ..coming };
            if passes && next.is_none_or(|(fits, _)| !fits) {
                state.coming.insert(y.id(), coming);
                return Ok(Some(Outputs::from_iter([y])));
            }
            return Ok(Some(Outputs::from_iter([self.come(state, coming, y)?])));
        }
        let keys: Option<Vec<Key>> =
            inputs.iter().map(|x| state.coded.get(&x.id()).cloned()).collect();
        let Some(keys) = keys.filter(|keys| !keys.is_empty()) else { return Ok(None) };
        match op {
            Op::View(ViewOp::Reshape(_) | ViewOp::Permute(_) | ViewOp::Slice { .. })
            | Op::StopGradient
            | Op::MaxPool2d(_) => {
                let outputs = run()?;
                if let (Some(y), Some(key)) = (outputs.first(), keys.first()) {
                    state.coded.insert(y.id(), key.clone());
                }
                Ok(Some(outputs))
            }
            Op::Unary(UnaryOp::Relu) => {
                let outputs = run()?;
                if let (Some(y), Some(key)) = (outputs.first(), keys.first()) {
                    state.coded.insert(y.id(), format!("{key}.relu").into());
                }
                Ok(Some(outputs))
            }
            Op::Binary(BinaryOp::Add) | Op::Concat(_) => {
                let sign = if matches!(op, Op::Concat(_)) { "," } else { "+" };
                let key = join_key(&keys, sign);
                let Some(join) = self.plan.joins.get(&*key) else { return Ok(None) };
                let mut outputs = run()?;
                let y = outputs.swap_remove(0);
                let key: Key = joined_key(&key, join.relu).into();
                let coming = Coming { key, layer: None };
                if join.relu {
                    state.coming.insert(y.id(), coming);
                    return Ok(Some(Outputs::from_iter([y])));
                }
                Ok(Some(Outputs::from_iter([self.come(state, coming, y)?])))
            }
            _ => Ok(None),
        }
    }
}

impl Observer for Trainer {
    fn replace(&self, op: &Op, inputs: &[&Tensor]) -> Result<Option<Outputs>> {
        let floats = inputs.iter().all(|x| x.dtype() == DType::F32);
        if self.own.busy.get() || !floats {
            return Ok(None);
        }
        self.own.busy.set(true);
        let outputs = self.replaced(op, inputs);
        self.own.busy.set(false);
        outputs
    }
}
