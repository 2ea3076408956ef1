//! A layer in integers: codes of its weight, and what of its surroundings it has taken in.

use std::sync::{Arc, OnceLock};

use ferrotape_tensor::{
    Encoding, Error, Int8Call, Int8Dynamic, Int8Weights, QTensor, Result, Tensor,
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
        let WeightCodes { codes, scale, zero } = weight_codes(weight, shape, config)?;
        Self::new(op, &codes, scale, zero)
    }

    /// The codes, with scale and zero point of each output.
    pub(super) fn tensor(&self) -> Result<QTensor> {
        let outputs = self.scale.len();
        let scale = Tensor::from_slice(&self.scale, [outputs])?;
        let zero = Tensor::from_slice(&self.zero, [outputs])?;
        QTensor::from_parts(self.packed.codes(&self.shape)?, scale, zero, Some(0))
    }

    /// The numbers that the codes stand for.
    pub(super) fn numbers(&self) -> Result<Tensor> {
        self.tensor()?.dequantize()
    }
}

/// The encoding of each row of the numbers of a weight, of which there is one for each output, or that of all.
pub(super) fn weight_encodings(
    numbers: &[f32],
    outputs: usize,
    config: &QuantConfig,
) -> Result<Vec<Encoding>> {
    if let Some(bad) = numbers.iter().find(|x| !x.is_finite()) {
        return Err(Error::other(format!("a weight is {bad}")));
    }
    let encoding = |part: &[f32]| {
        let extreme = |of: fn(f32, f32) -> f32| f64::from(part.iter().copied().fold(0.0, of));
        let codes = config.weight_codes();
        config.weight.encoding_within(codes, extreme(f32::min), extreme(f32::max))
    };
    if !config.per_channel {
        return Ok(vec![encoding(numbers)?; outputs]);
    }
    let row = numbers.len().checked_div(outputs).unwrap_or(0);
    (0..outputs).map(|i| encoding(numbers.get(i * row..(i + 1) * row).unwrap_or(&[]))).collect()
}

/// A weight as codes, outputs first.
pub(super) struct WeightCodes {
    pub(super) codes: Tensor,
    pub(super) scale: Vec<f32>,
    pub(super) zero: Vec<i32>,
}

/// The codes of the numbers of a weight, of all of them, whatever the method for activations.
pub(super) fn weight_codes(
    numbers: &[f32],
    shape: &[usize],
    config: &QuantConfig,
) -> Result<WeightCodes> {
    let outputs = shape.first().copied().unwrap_or(1);
    let encodings = weight_encodings(numbers, outputs, config)?;
    let row = numbers.len().checked_div(outputs).unwrap_or(0).max(1);
    let (lowest, highest) = config.weight_codes();
    let mut codes = Vec::with_capacity(numbers.len());
    for (row, Encoding { scale, zero_point, .. }) in numbers.chunks_exact(row).zip(&encodings) {
        let (low, high) = ((lowest - zero_point) as f32, (highest - zero_point) as f32);
        let code = |x: &f32| (x * (1.0 / scale)).clamp(low, high).round_ties_even() as i32;
        codes.extend(row.iter().map(|x| (code(x) + zero_point) as i8));
    }
    let codes = Tensor::from_vec(codes, shape.to_vec())?;
    let scale = encodings.iter().map(|encoding| encoding.scale).collect();
    let zero = encodings.iter().map(|encoding| encoding.zero_point).collect();
    Ok(WeightCodes { codes, scale, zero })
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
