//! Recurrent layers in int8: weights are codes, input and state become codes when they come along (in the static mode, too).

use std::sync::Arc;

use ferrotape_tensor::{
    DType, Int8Op, Int8Recurrent, Int8RecurrentWeights, Op, Operand, Outputs, Result, SequenceOp,
    Tensor, apply, output_metas,
};

use super::Mapping;
use super::config::{QuantConfig, QuantMode};
use super::layer::{WeightCodes, weight_codes};
use super::weights::{Seen, Weights};

/// A use of a recurrent layer and direction.
#[derive(Debug, Clone)]
pub(super) struct RecurrentSite {
    pub(super) name: String,
    /// Of the weights of the input and of the state.
    pub(super) paths: [String; 2],
    /// Those [`of_layer`].
    pub(super) settings: SequenceOp,
    pub(super) biases: Option<[Tensor; 2]>,
}

/// The paths of the weights, if `op` is a recurrent layer that has an int8 form.
pub(super) fn recurrent_paths(
    weights: &Weights,
    op: &Op,
    inputs: &[&Tensor],
) -> Option<(SequenceOp, [String; 2])> {
    let Op::Sequence(settings) = op else { return None };
    let at = settings.places();
    let path = |place: usize| match weights.get(inputs.get(place)?)? {
        (path, Seen::Same) => Some(path.to_string()),
        _ => None,
    };
    let floats = inputs.first()?.dtype() == DType::F32 && !settings.projection;
    floats.then_some(())?;
    Some((*settings, [path(at.w_ih)?, path(at.w_hh)?]))
}

/// What settings say of the layer, whichever calls are given a state.
pub(super) fn of_layer(settings: SequenceOp) -> SequenceOp {
    SequenceOp { state: false, ..settings }
}

/// The layer's name: the path of its input's weight without what says so.
pub(super) fn recurrent_name(path: &str) -> String {
    path.replacen("weight_ih_", "", 1)
}

/// A recurrent layer and direction in int8.
#[derive(Debug)]
pub(super) struct RecurrentLayer {
    pub(super) name: String,
    pub(super) paths: [String; 2],
    pub(super) settings: SequenceOp,
    pub(super) scales: [Vec<f32>; 2],
    pub(super) biases: [Vec<f32>; 2],
    pub(super) int8: Arc<Int8Recurrent>,
}

impl RecurrentLayer {
    /// True if recurrent layers become int8 ones by these settings.
    pub(super) fn wanted(config: &QuantConfig) -> bool {
        config.mode != QuantMode::WeightsOnly && config.weight.mapping != Mapping::Affine
    }

    pub(super) fn quantized(
        site: &RecurrentSite,
        weights: [&Tensor; 2],
        config: &QuantConfig,
    ) -> Result<RecurrentLayer> {
        let mut made = Vec::new();
        for (i, weight) in weights.into_iter().enumerate() {
            let numbers = weight.detach()?.contiguous()?.to_vec::<f32>()?;
            let WeightCodes { codes, scale, .. } = weight_codes(&numbers, weight.shape(), config)?;
            let bias = match site.biases.as_ref().and_then(|biases| biases.get(i)) {
                Some(bias) => bias.detach()?.to_vec::<f32>()?,
                None => Vec::new(),
            };
            made.push(Int8RecurrentWeights { codes, scale, bias });
        }
        let [of_input, of_state]: [Int8RecurrentWeights; 2] = match made.try_into() {
            Ok(both) => both,
            Err(_) => return Err(ferrotape_tensor::Error::other("two weights expected")),
        };
        Self::new(site.name.clone(), site.paths.clone(), site.settings, [of_input, of_state])
    }

    pub(super) fn new(
        name: String,
        paths: [String; 2],
        settings: SequenceOp,
        [of_input, of_state]: [Int8RecurrentWeights; 2],
    ) -> Result<RecurrentLayer> {
        let int8 = Arc::new(Int8Recurrent::new(&settings, [&of_input, &of_state])?);
        let scales = [of_input.scale, of_state.scale];
        let biases = [of_input.bias, of_state.bias];
        Ok(RecurrentLayer { name, paths, settings, scales, biases, int8 })
    }

    /// What `op` gives, but for what is saved for a backward pass: that reads as NaN.
    pub(super) fn run(&self, op: &Op, inputs: &[&Tensor]) -> Result<Outputs> {
        let metas: Vec<_> = inputs.iter().map(|x| x.meta()).collect();
        let metas = output_metas(op, &metas)?;
        // A state may be given in one call and not in another.
        let Op::Sequence(settings) = op else {
            return Err(ferrotape_tensor::Error::other("a recurrent layer expected"));
        };
        let at = settings.places();
        let given = |place: usize| inputs.get(place).map(|x| Operand::Ref(x));
        let mut operands: Vec<Operand<'_>> = given(0).into_iter().collect();
        if settings.state {
            operands.extend([at.h0, at.c0].into_iter().flatten().filter_map(given));
        } else {
            // Of h_n and of c_n.
            for meta in metas.iter().skip(2) {
                operands.push(Tensor::zeros(meta.shape.clone(), (meta.dtype, meta.device))?.into());
            }
        }
        operands.extend(at.lengths.and_then(given));
        let saved = metas.into_iter().nth(1);
        let mut outputs = apply(&Op::Int8(Int8Op::Recurrent(self.int8.clone())), &mut operands)?;
        if let Some(meta) = saved {
            let nan = Tensor::full((), f64::NAN, (DType::F32, meta.device))?;
            outputs.insert(1, nan.expand(meta.shape)?);
        }
        Ok(outputs)
    }
}
