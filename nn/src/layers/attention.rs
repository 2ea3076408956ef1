//! Attention of several heads (Vaswani et al. 2017).

use ferrotape_tensor::chain::{BinaryChain, ProductChain, ShapeChain, SoftmaxChain};
use ferrotape_tensor::{DType, Error, ErrorKind, Generator, Result, Tensor};

use super::{Dropout, Linear, LinearConfig};
use crate::Module;
use crate::ctx::Ctx;
use crate::init;
use crate::module::{Forward, Param};

/// `out_proj(concat(softmax(q k^T / sqrt(d)) v))` of `num_heads` heads, whose q, k and v are linear in query, key and value: PyTorch's
/// `nn.MultiheadAttention`, with its names of parameters and its initialisation.
///
/// query: `[queries, batch, embed_dim]`, key: `[keys, batch, kdim]`, value: `[keys, batch, vdim]`; with `batch_first` `[batch, queries, ..]`
/// and so on; or all of them without the batch. The output has query's shape.
///
/// ```
/// # use ferrotape_nn::{AttentionMasks, Ctx, MultiheadAttentionConfig};
/// # use ferrotape_tensor::{DType, Generator, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let attention = MultiheadAttentionConfig::new(8, 2).batch_first(true).build(&mut Generator::new(0))?;
/// let x = Tensor::ones([3, 5, 8], DType::F32)?;
/// let y = attention.forward(&x, &x, &x, AttentionMasks::default().is_causal(true), &mut Ctx::eval())?;
/// assert_eq!(y.shape(), [3, 5, 8]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct MultiheadAttention {
    /// `[3 embed_dim, embed_dim]`: of query, key and value; absent if their sizes differ.
    pub in_proj_weight: Option<Param>,
    /// `[embed_dim, embed_dim]`, if the sizes differ.
    pub q_proj_weight: Option<Param>,
    /// `[embed_dim, kdim]`, if the sizes differ.
    pub k_proj_weight: Option<Param>,
    /// `[embed_dim, vdim]`, if the sizes differ.
    pub v_proj_weight: Option<Param>,
    /// `[3 embed_dim]`
    pub in_proj_bias: Option<Param>,
    /// From `embed_dim` to `embed_dim`.
    pub out_proj: Linear,
    #[module(skip)]
    embed_dim: usize,
    #[module(skip)]
    num_heads: usize,
    #[module(skip)]
    dropout: Dropout,
    #[module(skip)]
    batch_first: bool,
}

/// Settings of a [`MultiheadAttention`], under PyTorch's names.
#[derive(Debug, Clone, Copy)]
pub struct MultiheadAttentionConfig {
    embed_dim: usize,
    num_heads: usize,
    dropout: f64,
    bias: bool,
    kdim: usize,
    vdim: usize,
    batch_first: bool,
    dtype: DType,
}

impl MultiheadAttentionConfig {
    /// `num_heads` heads of `embed_dim / num_heads` features each: no dropout, biases, `[length, batch, features]`, f32.
    pub fn new(embed_dim: usize, num_heads: usize) -> Self {
        MultiheadAttentionConfig {
            embed_dim,
            num_heads,
            dropout: 0.0,
            bias: true,
            kdim: embed_dim,
            vdim: embed_dim,
            batch_first: false,
            dtype: DType::F32,
        }
    }

    /// Dropout of the attention weights, in training.
    pub fn dropout(mut self, p: f64) -> Self {
        self.dropout = p;
        self
    }

    /// With or without biases, of the output too.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Features of the keys; `embed_dim`.
    pub fn kdim(mut self, kdim: usize) -> Self {
        self.kdim = kdim;
        self
    }

    /// Features of the values; `embed_dim`.
    pub fn vdim(mut self, vdim: usize) -> Self {
        self.vdim = vdim;
        self
    }

    /// Inputs and output are `[batch, length, features]`.
    pub fn batch_first(mut self, batch_first: bool) -> Self {
        self.batch_first = batch_first;
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
    /// A size of 0, heads that don't divide `embed_dim`, a dropout that is no probability; an integer type; memory over the limit.
    pub fn build(self, rng: &mut Generator) -> Result<MultiheadAttention> {
        let MultiheadAttentionConfig { embed_dim, num_heads, kdim, vdim, dtype, .. } = self;
        let sizes = [embed_dim, num_heads, kdim, vdim];
        if sizes.contains(&0) || !embed_dim.is_multiple_of(num_heads) || embed_dim > usize::MAX / 3
        {
            return refuse(format!(
                "embed_dim {embed_dim}, num_heads {num_heads}, kdim {kdim}, vdim {vdim}: none may be 0, and embed_dim must be a multiple of num_heads"
            ));
        }
        let mut weight = |rows: usize, columns: usize| -> Result<Option<Param>> {
            Ok(Some(Param::new(init::xavier_uniform(&[rows, columns], 1.0, dtype, rng)?)))
        };
        let same = (kdim, vdim) == (embed_dim, embed_dim);
        let in_proj_weight = if same { weight(3 * embed_dim, embed_dim)? } else { None };
        let [mut q_proj_weight, mut k_proj_weight, mut v_proj_weight] = [None, None, None];
        if !same {
            q_proj_weight = weight(embed_dim, embed_dim)?;
            k_proj_weight = weight(embed_dim, kdim)?;
            v_proj_weight = weight(embed_dim, vdim)?;
        }
        let zeros = |size: usize| -> Result<Option<Param>> {
            if self.bias { Ok(Some(Param::new(Tensor::zeros([size], dtype)?))) } else { Ok(None) }
        };
        let mut out_proj =
            LinearConfig::new(embed_dim, embed_dim).bias(self.bias).dtype(dtype).build(rng)?;
        out_proj.bias = zeros(embed_dim)?;
        Ok(MultiheadAttention {
            in_proj_weight,
            q_proj_weight,
            k_proj_weight,
            v_proj_weight,
            in_proj_bias: zeros(3 * embed_dim)?,
            out_proj,
            embed_dim,
            num_heads,
            dropout: Dropout::new(self.dropout)?,
            batch_first: self.batch_first,
        })
    }
}

/// Which keys a query must not see, as PyTorch has it: where a mask of bools is true, or what a mask of floats lowers.
#[derive(Debug, Clone, Copy, Default)]
pub struct AttentionMasks<'a> {
    attn_mask: Option<&'a Tensor>,
    key_padding_mask: Option<&'a Tensor>,
    is_causal: bool,
}

impl<'a> AttentionMasks<'a> {
    /// `[queries, keys]`, or `[batch * num_heads, queries, keys]`: bools, true where a query must not see a key, or floats that are added to
    /// the scores.
    pub fn attn_mask(mut self, mask: &'a Tensor) -> Self {
        self.attn_mask = Some(mask);
        self
    }

    /// `[batch, keys]` (`[keys]` without a batch): bools, true where a key is padding, or floats that are added to the scores.
    pub fn key_padding_mask(mut self, mask: &'a Tensor) -> Self {
        self.key_padding_mask = Some(mask);
        self
    }

    /// A query sees no key behind its own place; needs no mask for it.
    pub fn is_causal(mut self, is_causal: bool) -> Self {
        self.is_causal = is_causal;
        self
    }
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(format!("multihead_attention: {message}"))))
}

/// Scores under a mask.
fn masked(scores: &Tensor, mask: &Tensor) -> Result<Tensor> {
    match mask.dtype() {
        DType::Bool => mask.select(f64::NEG_INFINITY, scores),
        dtype if dtype.is_float() => scores.add(mask),
        dtype => refuse(format!("a mask of {dtype}: bool or floats expected")),
    }
}

impl MultiheadAttention {
    /// With biases and without dropout, f32; see [`MultiheadAttentionConfig`] for other settings.
    ///
    /// # Errors
    /// A size of 0, heads that don't divide `embed_dim`; memory over the limit.
    pub fn new(embed_dim: usize, num_heads: usize, rng: &mut Generator) -> Result<Self> {
        MultiheadAttentionConfig::new(embed_dim, num_heads).build(rng)
    }

    /// The output. A query that may see no key gets the output of a 0, where PyTorch gives NaN.
    ///
    /// # Errors
    /// Shapes or masks that don't fit.
    #[track_caller]
    pub fn forward(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        masks: AttentionMasks<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<Tensor> {
        Ok(self.run(query, key, value, masks, ctx)?.0)
    }

    /// The output and the attention weights of each head, after dropout: `[batch, num_heads, queries, keys]`, or without the batch.
    /// PyTorch's `need_weights=True, average_attn_weights=False`; their mean over dim -3 is what it gives by default.
    ///
    /// # Errors
    /// Shapes or masks that don't fit.
    #[track_caller]
    pub fn forward_with_weights(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        masks: AttentionMasks<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(Tensor, Tensor)> {
        self.run(query, key, value, masks, ctx)
    }

    /// Query, key and value after their projections, `[batch, length, embed_dim]`.
    fn projected(&self, inputs: [&Tensor; 3]) -> Result<[Tensor; 3]> {
        let part = |of: &Tensor, at: usize| of.narrow(0, at * self.embed_dim, self.embed_dim);
        let own = [&self.q_proj_weight, &self.k_proj_weight, &self.v_proj_weight];
        let one = |at: usize| -> Result<Tensor> {
            let weight = match (&self.in_proj_weight, own[at]) {
                (Some(all), _) => part(all, at)?,
                (None, Some(own)) => own.tensor().clone(),
                (None, None) => return refuse("it has no projection".to_string()),
            };
            let bias = self.in_proj_bias.as_ref().map(|bias| part(bias, at)).transpose()?;
            inputs[at].linear(&weight, bias.as_ref())
        };
        Ok([one(0)?, one(1)?, one(2)?])
    }

    fn check(&self, [query, key, value]: [&Tensor; 3]) -> Result<()> {
        let (q, k, v) = (query.shape(), key.shape(), value.shape());
        let fits = match (q, k, v) {
            (&[_, _], &[keys, _], &[values, _]) => keys == values,
            (&[q0, q1, _], &[k0, k1, _], &[v0, v1, _]) => {
                let batch = if self.batch_first { [q0, k0, v0] } else { [q1, k1, v1] };
                (k0, k1) == (v0, v1) && batch[0] == batch[1]
            }
            _ => false,
        };
        if fits && q.last() == Some(&self.embed_dim) {
            return Ok(());
        }
        let order = if self.batch_first { "[batch, length, ..]" } else { "[length, batch, ..]" };
        refuse(format!(
            "query {q:?}, key {k:?} and value {v:?}: {order} or [length, ..] expected, the query's last size {}",
            self.embed_dim
        ))
    }

    fn run(
        &self,
        query: &Tensor,
        key: &Tensor,
        value: &Tensor,
        masks: AttentionMasks<'_>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(Tensor, Tensor)> {
        self.check([query, key, value])?;
        let batched = query.rank() == 3;
        let ordered = |x: &Tensor| match (batched, self.batch_first) {
            (false, _) => x.unsqueeze(0),
            (true, true) => Ok(x.clone()),
            (true, false) => x.transpose(0, 1),
        };
        let [query, key, value] = [ordered(query)?, ordered(key)?, ordered(value)?];
        let (batch, queries, keys) = (query.shape()[0], query.shape()[1], key.shape()[1]);
        let (heads, width) = (self.num_heads, self.embed_dim / self.num_heads);
        let split =
            |x: Tensor| x.reshape([batch, x.shape()[1], heads, width]).permute([0, 2, 1, 3]);
        let [q, k, v] = self.projected([&query, &key, &value])?;
        let (q, k, v) = (split(q)?, split(k)?, split(v)?);
        let mut scores = q.mul((width as f64).sqrt().recip()).matmul(k.t())?;
        if masks.is_causal {
            let ahead = Tensor::ones([queries, keys], (DType::Bool, scores.device()))?.triu(1)?;
            scores = masked(&scores, &ahead)?;
        }
        if let Some(mask) = masks.attn_mask {
            let mask = match *mask.shape() {
                [_, _] => mask.clone(),
                [all, rows, columns] if all == batch * heads => {
                    mask.reshape([batch, heads, rows, columns])?
                }
                _ => {
                    return refuse(format!(
                        "attn_mask {:?} for scores {:?}",
                        mask.shape(),
                        scores.shape()
                    ));
                }
            };
            if !mask.shape().ends_with(&[queries, keys]) {
                return refuse(format!(
                    "attn_mask {:?} for scores {:?}",
                    mask.shape(),
                    scores.shape()
                ));
            }
            scores = masked(&scores, &mask)?;
        }
        if let Some(mask) = masks.key_padding_mask {
            let expected: &[usize] = if batched { &[batch, keys] } else { &[keys] };
            if mask.shape() != expected {
                return refuse(format!(
                    "key_padding_mask {:?}, {expected:?} expected",
                    mask.shape()
                ));
            }
            scores = masked(&scores, &mask.reshape([batch, 1, 1, keys])?)?;
        }
        let hides = masks.attn_mask.is_some() || masks.key_padding_mask.is_some();
        let weights = match hides && !scores.is_empty() {
            false => scores.softmax(-1)?,
            // The softmax of nothing is NaN.
            true => {
                let blind = scores.max_keep(-1)?.detach().eq(f64::NEG_INFINITY)?;
                blind.select(0.0, blind.select(0.0, &scores).softmax(-1))?
            }
        };
        let weights = self.dropout.forward(&weights, ctx)?;
        let y =
            weights.matmul(&v).permute([0, 2, 1, 3]).reshape([batch, queries, self.embed_dim])?;
        let y = self.out_proj.forward(&y, ctx)?;
        match (batched, self.batch_first) {
            (false, _) => Ok((y.squeeze(0)?, weights.squeeze(0)?)),
            (true, true) => Ok((y, weights)),
            (true, false) => Ok((y.transpose(0, 1)?, weights)),
        }
    }
}
