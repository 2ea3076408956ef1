//! A table of vectors, looked up by number.

use ferrotape_tensor::chain::{BinaryChain, ShapeChain};
use ferrotape_tensor::{DType, Dims, Error, ErrorKind, Generator, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::{Forward, Param};

/// `y[..] = weight[x[..]]`; x: i64 of any shape, y: that shape and the vectors' size. PyTorch's `nn.Embedding`. What a vector learns is
/// summed in the order of x: the same bits on every run.
///
/// ```
/// # use ferrotape_nn::{Ctx, Embedding, Forward};
/// # use ferrotape_tensor::{Generator, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let words = Embedding::new(1000, 16, &mut Generator::new(0))?;
/// let y = words.forward(&Tensor::from([[5i64, 7, 5], [0, 1, 2]]), &mut Ctx::eval())?;
/// assert_eq!(y.shape(), [2, 3, 16]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct Embedding {
    /// `[num_embeddings, embedding_dim]`
    pub weight: Param,
    #[module(skip)]
    padding_idx: Option<usize>,
}

/// Settings of an [`Embedding`].
#[derive(Debug, Clone, Copy)]
pub struct EmbeddingConfig {
    num_embeddings: usize,
    embedding_dim: usize,
    padding_idx: Option<usize>,
    dtype: DType,
}

impl EmbeddingConfig {
    /// `num_embeddings` vectors of `embedding_dim` elements, f32.
    pub fn new(num_embeddings: usize, embedding_dim: usize) -> Self {
        EmbeddingConfig { num_embeddings, embedding_dim, padding_idx: None, dtype: DType::F32 }
    }

    /// The number of a vector that is 0 at first and never learns.
    pub fn padding_idx(mut self, padding_idx: usize) -> Self {
        self.padding_idx = Some(padding_idx);
        self
    }

    /// Type of the vectors.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The layer, its vectors drawn from `N(0, 1)` as PyTorch's.
    ///
    /// # Errors
    /// A padding index that is not there; an integer type; memory over the limit.
    pub fn build(self, rng: &mut Generator) -> Result<Embedding> {
        let EmbeddingConfig { num_embeddings: count, embedding_dim: size, padding_idx, dtype } =
            self;
        let drawn = rng.normal([count, size], 0.0, 1.0, dtype)?;
        let weight = match padding_idx {
            None => drawn,
            Some(padding) if padding < count => {
                let number = Tensor::arange(0.0, 1.0, count, DType::I64)?;
                number.eq(padding as f64).unsqueeze(1).select(0.0, drawn)?
            }
            Some(padding) => {
                let message = format!("embedding: padding_idx {padding} of {count} vectors");
                return Err(Error::new(ErrorKind::Module(message)));
            }
        };
        Ok(Embedding { weight: Param::new(weight), padding_idx })
    }
}

impl Embedding {
    /// `num_embeddings` vectors of `embedding_dim` elements, f32; see [`EmbeddingConfig`] for other settings.
    ///
    /// # Errors
    /// Memory over the limit.
    pub fn new(num_embeddings: usize, embedding_dim: usize, rng: &mut Generator) -> Result<Self> {
        EmbeddingConfig::new(num_embeddings, embedding_dim).build(rng)
    }
}

impl Forward for Embedding {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        let rows = self.weight.index_select(0, &x.reshape([x.len()])?)?;
        let mut shape = Dims::from_slice(x.shape());
        shape.extend(self.weight.shape().last().copied());
        let y = rows.reshape(shape)?;
        match self.padding_idx {
            None => Ok(y),
            Some(padding) => x.eq(padding as f64).unsqueeze(-1).select(y.detach()?, &y),
        }
    }
}
