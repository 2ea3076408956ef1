//! A layer in integers: codes of its weight, and what of its surroundings it has taken in.

use std::sync::{Arc, OnceLock};

use ferrotape_tensor::{
    DType, Encoding, Error, Int8Call, Int8Dynamic, Int8Weights, Result, Tensor,
};

use super::config::{QuantConfig, QuantMode};
use super::trace::{Does, Step};
use super::weights::{LayerOp, Seen};

/// One use of a layer.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) name: String,
    /// The weight's path.
    pub(super) path: String,
    pub(super) seen: Seen,
    pub(super) op: LayerOp,
    pub(super) mode: QuantMode,
    pub(super) weight: Arc<LayerWeight>,
    /// With all that was taken in; empty: none.
    pub(super) bias: Vec<f32>,
    /// What follows and was taken in, in order.
    pub(super) steps: Vec<Taken>,
    pub(super) relu: bool,
    /// The codes that an f32 input becomes (static).
    pub(super) input: Option<Encoding>,
    /// The codes of the output; `None`: f32.
    pub(super) output: Option<Encoding>,
    call: OnceLock<(Encoding, Arc<Int8Call>)>,
    dynamic: OnceLock<Arc<Int8Dynamic>>,
}

/// A step that a layer has taken in.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Taken {
    pub(super) op: String,
    /// The only number of the other operand, where no parameter made it.
    pub(super) number: Option<f64>,
}

/// Codes of a weight, outputs first, with a scale and a zero point for each output.
#[derive(Debug)]
pub(super) struct LayerWeight {
    pub(super) shape: Vec<usize>,
    pub(super) scale: Vec<f32>,
    pub(super) zero: Vec<i32>,
    pub(super) packed: Arc<Int8Weights>,
}

impl LayerWeight {
    pub(super) fn new(
        op: LayerOp,
        codes: &Tensor,
        scale: Vec<f32>,
        zero: Vec<i32>,
    ) -> Result<LayerWeight> {
        let packed = Arc::new(match op {
            LayerOp::Conv2d(settings) => Int8Weights::conv2d(codes, settings, &scale, &zero)?,
            LayerOp::Linear | LayerOp::Matmul => Int8Weights::linear(codes, &scale, &zero)?,
        });
        Ok(LayerWeight { shape: codes.shape().to_vec(), scale, zero, packed })
    }

    /// The codes of the numbers of a weight.
    pub(super) fn quantized(
        op: LayerOp,
        weight: &[f32],
        shape: &[usize],
        config: &QuantConfig,
    ) -> Result<LayerWeight> {
        let outputs = shape.first().copied().unwrap_or(1);
        let row = weight.len().checked_div(outputs).unwrap_or(0).max(1);
        let mut codes = Vec::with_capacity(weight.len());
        let (mut scales, mut zeros) = (Vec::new(), Vec::new());
        let parts: Vec<&[f32]> = match config.per_channel {
            true => weight.chunks_exact(row).collect(),
            false => vec![weight],
        };
        for part in parts {
            let found = weight_encoding(part, config)?;
            let Encoding { scale, zero_point, .. } = found.encoding;
            codes.extend(part.iter().map(|&x| found.code(x) as i8));
            let uses = if config.per_channel { 1 } else { outputs };
            scales.extend(std::iter::repeat_n(scale, uses));
            zeros.extend(std::iter::repeat_n(zero_point, uses));
        }
        Self::new(op, &Tensor::from_vec(codes, shape.to_vec())?, scales, zeros)
    }

    /// The numbers that the codes stand for.
    pub(super) fn numbers(&self) -> Result<Tensor> {
        let codes = self.packed.codes(&self.shape)?;
        let mut numbers: Vec<f32> = codes.to_vec::<i8>()?.iter().map(|&x| f32::from(x)).collect();
        let row = numbers.len().checked_div(self.scale.len()).unwrap_or(0).max(1);
        for ((row, scale), zero) in numbers.chunks_exact_mut(row).zip(&self.scale).zip(&self.zero) {
            row.iter_mut().for_each(|x| *x = (*x - *zero as f32) * scale);
        }
        Tensor::from_vec(numbers, self.shape.clone())
    }
}

/// Codes of weights: an encoding within bounds.
#[derive(Debug, Clone)]
pub(super) struct WeightEncoding {
    pub(super) encoding: Encoding,
    pub(super) low: i32,
    pub(super) high: i32,
}

impl WeightEncoding {
    pub(super) fn code(&self, x: f32) -> i32 {
        let Encoding { scale, zero_point, .. } = self.encoding;
        let (low, high) = ((self.low - zero_point) as f32, (self.high - zero_point) as f32);
        (x * (1.0 / scale)).clamp(low, high).round_ties_even() as i32 + zero_point
    }
}

/// The encoding of the numbers of a weight: of all of them, whatever the method for activations.
pub(super) fn weight_encoding(part: &[f32], config: &QuantConfig) -> Result<WeightEncoding> {
    let min = part.iter().copied().fold(f32::INFINITY, f32::min);
    let max = part.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let (min, max) = if part.is_empty() { (0.0, 0.0) } else { (min, max) };
    if let Some(bad) = part.iter().find(|x| !x.is_finite()) {
        return Err(Error::other(format!("a weight is {bad}")));
    }
    let encoding = config.weight.encoding(min.into(), max.into())?;
    if config.weight_bits == 8 {
        return Ok(WeightEncoding { encoding, low: -128, high: 127 });
    }
    // The same formula with fewer codes.
    let half = 1 << (config.weight_bits - 1);
    let (steps, fewer) = match config.weight.mapping {
        super::Mapping::Affine => (255.0, (2 * half - 1) as f32),
        super::Mapping::Symmetric => (127.5, half as f32 - 0.5),
        super::Mapping::SymmetricNarrow => (127.0, (half - 1) as f32),
    };
    let scale = encoding.scale * (steps / fewer);
    let zero_point = match config.weight.mapping {
        super::Mapping::Affine => {
            let zero = -half as f32 - (min.min(0.0) / scale).round_ties_even();
            zero.clamp(-half as f32, (half - 1) as f32) as i32
        }
        _ => 0,
    };
    let encoding = Encoding::new(scale, zero_point, DType::I8)?;
    Ok(WeightEncoding { encoding, low: -half, high: half - 1 })
}

/// Taken-in steps as one: `x * factor + shift` for each output.
pub(super) fn taken_in(steps: &[Step], outputs: usize) -> (Vec<f64>, Vec<f64>) {
    let (mut factors, mut shifts) = (vec![1.0; outputs], vec![0.0; outputs]);
    for step in steps {
        let Does::Affine { factor, shift } = &step.does else { continue };
        let at = |numbers: &[f64], i: usize| match numbers {
            [all] => *all,
            _ => numbers.get(i).copied().unwrap_or(0.0),
        };
        for i in 0..outputs {
            let (by, plus) = (at(factor, i), at(shift, i));
            if let (Some(f), Some(s)) = (factors.get_mut(i), shifts.get_mut(i)) {
                (*f, *s) = (*f * by, *s * by + plus);
            }
        }
    }
    (factors, shifts)
}

impl Layer {
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        name: String,
        (path, seen, op): (String, Seen, LayerOp),
        mode: QuantMode,
        weight: Arc<LayerWeight>,
        bias: Vec<f32>,
        (steps, relu): (Vec<Taken>, bool),
        [input, output]: [Option<Encoding>; 2],
    ) -> Layer {
        let (call, dynamic) = (OnceLock::new(), OnceLock::new());
        Layer {
            name,
            path,
            seen,
            op,
            mode,
            weight,
            bias,
            steps,
            relu,
            input,
            output,
            call,
            dynamic,
        }
    }

    /// In f32, with the numbers that its weight's codes stand for.
    pub(super) fn in_float(&self, x: &Tensor) -> Result<Tensor> {
        let weight = self.weight.numbers()?.to_device(x.device())?;
        let bias = match self.bias.is_empty() {
            true => None,
            false => Some(Tensor::from_slice(&self.bias, [self.bias.len()])?),
        };
        let bias = bias.map(|bias| bias.to_device(x.device())).transpose()?;
        let y = match self.op {
            LayerOp::Linear | LayerOp::Matmul => x.linear(&weight, bias.as_ref())?,
            LayerOp::Conv2d(settings) => x.conv2d(&weight, bias.as_ref(), settings)?,
        };
        if self.relu { y.relu() } else { Ok(y) }
    }

    /// The key of its output, with all that was taken in.
    pub(super) fn key(&self) -> String {
        let mut key = self.name.clone();
        for step in &self.steps {
            key.push('.');
            key.push_str(&step.op);
        }
        key
    }

    /// The kernel's numbers for input codes of `x`.
    pub(super) fn call(&self, x: Encoding) -> Result<Arc<Int8Call>> {
        if let Some((of, call)) = self.call.get()
            && *of == x
        {
            return Ok(call.clone());
        }
        let bias = (!self.bias.is_empty()).then_some(&self.bias[..]);
        let weights = self.weight.packed.clone();
        let call = Arc::new(Int8Call::new(weights, x, bias, self.output, self.relu)?);
        let _ = self.call.set((x, call.clone()));
        Ok(call)
    }

    /// The kernel's numbers for an input that is quantized when it comes along.
    pub(super) fn dynamic(&self) -> Result<Arc<Int8Dynamic>> {
        if let Some(layer) = self.dynamic.get() {
            return Ok(layer.clone());
        }
        let bias = (!self.bias.is_empty()).then_some(&self.bias[..]);
        let layer = Int8Dynamic::new(self.weight.packed.clone(), bias, self.relu)?;
        Ok(self.dynamic.get_or_init(|| Arc::new(layer)).clone())
    }
}
