//! What is quantized, and how.

use std::collections::BTreeSet;

use ferrotape_tensor::DType;

use super::{Mapping, RangeMethod, Scheme};

/// What runs in integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum QuantMode {
    /// Weights and activations; ranges of activations come from calibration. Between layers travel codes.
    #[default]
    Static,
    /// Weights and activations; the range of an activation is that of each row (of each image) when it comes along, so that results don't
    /// depend on the batch. Between layers travels f32. PyTorch's `quantize_dynamic`, which has one range a batch.
    Dynamic,
    /// Only weights are codes; they are made f32 for each use. Saves memory, not time.
    WeightsOnly,
}

/// Settings of quantization.
///
/// ```
/// use ferrotape_nn::quant::{QuantConfig, RangeMethod};
/// let config = QuantConfig::default().range(RangeMethod::Percentile { keep: 0.9999 }).keep_float("head");
/// assert!(config.float_layers.contains("head"));
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct QuantConfig {
    /// What runs in integers.
    pub mode: QuantMode,
    /// Codes of activations.
    pub activation: Scheme,
    /// Codes of weights: i8.
    pub weight: Scheme,
    /// A scale for each output of a layer, or one for all.
    pub per_channel: bool,
    /// Bits of a weight's code, 2 to 8. Below 8 a code still takes a byte: this shows what precision costs.
    pub weight_bits: u32,
    /// How ranges of activations are found.
    pub range: RangeMethod,
    /// Layers that stay in float, by name (`fc2`; all layers under it, if it is a part).
    pub float_layers: BTreeSet<String>,
}

impl Default for QuantConfig {
    /// Static; activations affine u8 with the range of least squared error, weights symmetric i8 with a scale for each output.
    fn default() -> Self {
        QuantConfig {
            mode: QuantMode::Static,
            activation: Scheme::ACTIVATION,
            weight: Scheme::WEIGHT,
            per_channel: true,
            weight_bits: 8,
            range: RangeMethod::Mse,
            float_layers: BTreeSet::new(),
        }
    }
}

impl QuantConfig {
    /// As the default, but activations are symmetric i8: 0 is their middle code.
    pub fn symmetric() -> Self {
        let activation = Scheme { mapping: Mapping::Symmetric, dtype: DType::I8 };
        QuantConfig { activation, ..QuantConfig::default() }
    }

    /// [`QuantMode::Dynamic`].
    pub fn dynamic() -> Self {
        QuantConfig { mode: QuantMode::Dynamic, ..QuantConfig::default() }
    }

    /// [`QuantMode::WeightsOnly`] with codes of so many bits.
    pub fn weights_only(bits: u32) -> Self {
        QuantConfig { mode: QuantMode::WeightsOnly, weight_bits: bits, ..QuantConfig::default() }
    }

    /// How ranges of activations are found.
    pub fn range(mut self, range: RangeMethod) -> Self {
        self.range = range;
        self
    }

    /// A scale for each output of a layer, or one for all.
    pub fn per_channel(mut self, per_channel: bool) -> Self {
        self.per_channel = per_channel;
        self
    }

    /// Leaves the layer of this name, or all under it, in float.
    pub fn keep_float(mut self, layer: impl Into<String>) -> Self {
        self.float_layers.insert(layer.into());
        self
    }

    /// The lowest and the highest code of a weight.
    pub(super) fn weight_codes(&self) -> (i32, i32) {
        let half = 1 << (self.weight_bits - 1);
        (-half, half - 1)
    }

    /// True if the layer called `name` stays in float.
    pub(super) fn is_float(&self, name: &str) -> bool {
        let under = |part: &String| {
            name.strip_prefix(part.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '#']))
        };
        self.float_layers.iter().any(under)
    }
}
