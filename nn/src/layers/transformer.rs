//! The encoder of a transformer (Vaswani et al. 2017).

use ferrotape_tensor::{DType, Generator, Result, Tensor};

use super::{
    AttentionMasks, Dropout, LayerNorm, LayerNormConfig, Linear, LinearConfig, MultiheadAttention,
    MultiheadAttentionConfig,
};
use crate::Module;
use crate::ctx::Ctx;
use crate::module::Forward;

/// What stands between the two linear layers of a [`TransformerEncoderLayer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TransformerActivation {
    /// `max(x, 0)`
    #[default]
    ReLU,
    /// `x Phi(x)`
    GELU,
}

/// Self-attention and two linear layers, each with a way around it and a norm: PyTorch's `nn.TransformerEncoderLayer`.
///
/// ```text
/// x = norm1(x + dropout1(self_attn(x)))                                 x = x + dropout1(self_attn(norm1(x)))
/// x = norm2(x + dropout2(linear2(dropout(activation(linear1(x))))))     x = x + .. linear1(norm2(x)) ..          with norm_first
/// ```
///
/// ```
/// # use ferrotape_nn::{Ctx, Forward, TransformerEncoderLayerConfig};
/// # use ferrotape_tensor::{DType, Generator, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let config = TransformerEncoderLayerConfig::new(8, 2).dim_feedforward(16).batch_first(true);
/// let layer = config.build(&mut Generator::new(0))?;
/// let y = layer.forward(&Tensor::ones([3, 5, 8], DType::F32)?, &mut Ctx::eval())?;
/// assert_eq!(y.shape(), [3, 5, 8]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct TransformerEncoderLayer {
    /// Each place sees all others, unless masked.
    pub self_attn: MultiheadAttention,
    /// To `dim_feedforward` features.
    pub linear1: Linear,
    /// And back.
    pub linear2: Linear,
    /// Of the attention.
    pub norm1: LayerNorm,
    /// Of the linear layers.
    pub norm2: LayerNorm,
    #[module(skip)]
    dropout: Dropout,
    #[module(skip)]
    activation: TransformerActivation,
    #[module(skip)]
    norm_first: bool,
}

/// Settings of a [`TransformerEncoderLayer`], under PyTorch's names.
#[derive(Debug, Clone, Copy)]
pub struct TransformerEncoderLayerConfig {
    d_model: usize,
    nhead: usize,
    dim_feedforward: usize,
    dropout: f64,
    activation: TransformerActivation,
    layer_norm_eps: f64,
    batch_first: bool,
    norm_first: bool,
    bias: bool,
    dtype: DType,
}

impl TransformerEncoderLayerConfig {
    /// `d_model` features, `nhead` heads: 2048 features between the linear layers, dropout 0.1, relu, eps 1e-5, norms behind, biases,
    /// `[length, batch, features]`, f32.
    pub fn new(d_model: usize, nhead: usize) -> Self {
        TransformerEncoderLayerConfig {
            d_model,
            nhead,
            dim_feedforward: 2048,
            dropout: 0.1,
            activation: TransformerActivation::ReLU,
            layer_norm_eps: 1e-5,
            batch_first: false,
            norm_first: false,
            bias: true,
            dtype: DType::F32,
        }
    }

    /// Features between the linear layers.
    pub fn dim_feedforward(mut self, dim_feedforward: usize) -> Self {
        self.dim_feedforward = dim_feedforward;
        self
    }

    /// Dropout of the attention's weights and output and of the linear layers' outputs, in training.
    pub fn dropout(mut self, p: f64) -> Self {
        self.dropout = p;
        self
    }

    /// Between the linear layers.
    pub fn activation(mut self, activation: TransformerActivation) -> Self {
        self.activation = activation;
        self
    }

    /// Added to the variances of the norms.
    pub fn layer_norm_eps(mut self, eps: f64) -> Self {
        self.layer_norm_eps = eps;
        self
    }

    /// Input and output are `[batch, length, features]`.
    pub fn batch_first(mut self, batch_first: bool) -> Self {
        self.batch_first = batch_first;
        self
    }

    /// The norms stand in front of what they belong to, not behind the sum.
    pub fn norm_first(mut self, norm_first: bool) -> Self {
        self.norm_first = norm_first;
        self
    }

    /// With or without biases, those of the norms included.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Type of the parameters.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The layer with random parameters, initialised as PyTorch's.
    ///
    /// # Errors
    /// A size of 0, heads that don't divide `d_model`, a dropout that is no probability; an integer type; memory over the limit.
    pub fn build(self, rng: &mut Generator) -> Result<TransformerEncoderLayer> {
        let TransformerEncoderLayerConfig { d_model, dim_feedforward, bias, dtype, .. } = self;
        let attention = MultiheadAttentionConfig::new(d_model, self.nhead).dropout(self.dropout);
        let attention = attention.bias(bias).batch_first(self.batch_first).dtype(dtype);
        let linear = |from, to| LinearConfig::new(from, to).bias(bias).dtype(dtype);
        let norm = LayerNormConfig::new([d_model]).eps(self.layer_norm_eps).bias(bias).dtype(dtype);
        Ok(TransformerEncoderLayer {
            self_attn: attention.build(rng)?,
            linear1: linear(d_model, dim_feedforward).build(rng)?,
            linear2: linear(dim_feedforward, d_model).build(rng)?,
            norm1: norm.clone().build()?,
            norm2: norm.build()?,
            dropout: Dropout::new(self.dropout)?,
            activation: self.activation,
            norm_first: self.norm_first,
        })
    }
}

impl TransformerEncoderLayer {
    /// The output, of x's shape: `[length, batch, d_model]` (`[batch, length, d_model]` if `batch_first`), or without the batch.
    ///
    /// # Errors
    /// An input or masks that don't fit.
    #[track_caller]
    pub fn forward_masked(
        &self,
        x: &Tensor,
        masks: AttentionMasks<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<Tensor> {
        if self.norm_first {
            let x = x.add(self.attend(&self.norm1.forward(x, ctx)?, masks, ctx)?)?;
            return x.add(self.feed(&self.norm2.forward(&x, ctx)?, ctx)?);
        }
        let x = self.norm1.forward(&x.add(self.attend(x, masks, ctx)?)?, ctx)?;
        self.norm2.forward(&x.add(self.feed(&x, ctx)?)?, ctx)
    }

    fn attend(&self, x: &Tensor, masks: AttentionMasks<'_>, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        self.dropout.forward(&self.self_attn.forward(x, x, x, masks, ctx)?, ctx)
    }

    fn feed(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let x = self.linear1.forward(x, ctx)?;
        let x = match self.activation {
            TransformerActivation::ReLU => x.relu()?,
            TransformerActivation::GELU => x.gelu()?,
        };
        let x = self.linear2.forward(&self.dropout.forward(&x, ctx)?, ctx)?;
        self.dropout.forward(&x, ctx)
    }
}

/// Without masks.
impl Forward for TransformerEncoderLayer {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        self.forward_masked(x, AttentionMasks::default(), ctx)
    }
}

/// [`TransformerEncoderLayer`]s in a row, and a norm at the end if wanted: PyTorch's `nn.TransformerEncoder`.
///
/// ```
/// # use ferrotape_nn::{AttentionMasks, Ctx, LayerNorm, TransformerEncoder, TransformerEncoderLayerConfig};
/// # use ferrotape_tensor::{DType, Generator, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let layer = TransformerEncoderLayerConfig::new(8, 2).dim_feedforward(16);
/// let encoder = TransformerEncoder::new(layer, 2, &mut Generator::new(0))?.norm(LayerNorm::new([8])?);
/// let padding = Tensor::from([[false, false, true]]);
/// let masks = AttentionMasks::default().key_padding_mask(&padding);
/// let y = encoder.forward_masked(&Tensor::ones([3, 1, 8], DType::F32)?, masks, &mut Ctx::eval())?;
/// assert_eq!(y.shape(), [3, 1, 8]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct TransformerEncoder {
    /// From the input to the output.
    pub layers: Vec<TransformerEncoderLayer>,
    /// Behind the last of them.
    pub norm: Option<LayerNorm>,
}

impl TransformerEncoder {
    /// `num_layers` layers, each with random parameters of its own (PyTorch gives all of them those of the first), no norm.
    ///
    /// # Errors
    /// Those of a layer.
    pub fn new(
        layer: TransformerEncoderLayerConfig,
        num_layers: usize,
        rng: &mut Generator,
    ) -> Result<Self> {
        let layers = (0..num_layers).map(|_| layer.build(rng)).collect::<Result<_>>()?;
        Ok(TransformerEncoder { layers, norm: None })
    }

    /// With this norm at the end.
    pub fn norm(mut self, norm: LayerNorm) -> Self {
        self.norm = Some(norm);
        self
    }

    /// The output, of x's shape; all layers get the same masks.
    ///
    /// # Errors
    /// An input or masks that don't fit.
    #[track_caller]
    pub fn forward_masked(
        &self,
        x: &Tensor,
        masks: AttentionMasks<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<Tensor> {
        let mut y = x.clone();
        for layer in &self.layers {
            y = layer.forward_masked(&y, masks, ctx)?;
        }
        match &self.norm {
            Some(norm) => norm.forward(&y, ctx),
            None => Ok(y),
        }
    }
}

/// Without masks.
impl Forward for TransformerEncoder {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        self.forward_masked(x, AttentionMasks::default(), ctx)
    }
}
