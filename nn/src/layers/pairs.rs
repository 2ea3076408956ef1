//! Layers of two inputs.

use ferrotape_tensor::{DType, Error, ErrorKind, Generator, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::Param;

/// `y[.., o] = x1 weight[o] x2 + bias[o]`; x1: `[.., in1]`, x2: `[.., in2]`, weight: `[out, in1, in2]`. PyTorch's `nn.Bilinear`, with its
/// initialisation: uniform within `1 / sqrt(in1)`.
///
/// ```
/// # use ferrotape_nn::{Bilinear, Ctx};
/// # use ferrotape_tensor::{DType, Generator, Tensor};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let layer = Bilinear::new(3, 4, 2, &mut Generator::new(0))?;
/// let (a, b) = (Tensor::ones([5, 3], DType::F32)?, Tensor::ones([5, 4], DType::F32)?);
/// assert_eq!(layer.forward(&a, &b, &mut Ctx::eval())?.shape(), [5, 2]);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct Bilinear {
    /// `[out, in1, in2]`
    pub weight: Param,
    /// `[out]`
    pub bias: Option<Param>,
}

/// Settings of a [`Bilinear`].
#[derive(Debug, Clone, Copy)]
pub struct BilinearConfig {
    sizes: [usize; 3],
    bias: bool,
    dtype: DType,
}

impl BilinearConfig {
    /// From `in1_features` and `in2_features` to `out_features`, with a bias, f32.
    pub fn new(in1_features: usize, in2_features: usize, out_features: usize) -> Self {
        let sizes = [out_features, in1_features, in2_features];
        BilinearConfig { sizes, bias: true, dtype: DType::F32 }
    }

    /// With or without a bias.
    pub fn bias(mut self, bias: bool) -> Self {
        self.bias = bias;
        self
    }

    /// Type of the parameters.
    pub fn dtype(mut self, dtype: DType) -> Self {
        self.dtype = dtype;
        self
    }

    /// The layer with random parameters.
    ///
    /// # Errors
    /// No `in1_features`; an integer type; memory over the limit.
    pub fn build(self, rng: &mut Generator) -> Result<Bilinear> {
        let [out, in1, _] = self.sizes;
        if in1 == 0 {
            return Err(Error::new(ErrorKind::Module("bilinear: in1_features is 0".into())));
        }
        let bound = 1.0 / (in1 as f64).sqrt();
        let weight = Param::new(rng.uniform(self.sizes, -bound, bound, self.dtype)?);
        let bias = match self.bias {
            true => Some(Param::new(rng.uniform([out], -bound, bound, self.dtype)?)),
            false => None,
        };
        Ok(Bilinear { weight, bias })
    }
}

impl Bilinear {
    /// From `in1_features` and `in2_features` to `out_features`, with a bias, f32; see [`BilinearConfig`] for others.
    ///
    /// # Errors
    /// No `in1_features`; memory over the limit.
    pub fn new(
        in1_features: usize,
        in2_features: usize,
        out_features: usize,
        rng: &mut Generator,
    ) -> Result<Self> {
        BilinearConfig::new(in1_features, in2_features, out_features).build(rng)
    }

    /// The output, `[.., out]`.
    ///
    /// # Errors
    /// Inputs that don't fit.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x1.bilinear(x2, &self.weight, self.bias.as_deref())
    }
}

/// The cosine of the angle between two tensors along a dim: PyTorch's `nn.CosineSimilarity`.
#[derive(Debug, Clone, Copy, PartialEq, Module)]
#[module(crate = crate)]
pub struct CosineSimilarity {
    /// Along which; 1.
    #[module(skip)]
    pub dim: i64,
    /// The least norm; 1e-8.
    #[module(skip)]
    pub eps: f64,
}

impl Default for CosineSimilarity {
    fn default() -> Self {
        CosineSimilarity { dim: 1, eps: 1e-8 }
    }
}

impl CosineSimilarity {
    /// The cosine; shapes broadcast.
    ///
    /// # Errors
    /// Shapes that don't fit.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x1.cosine_similarity(x2, self.dim, self.eps)
    }
}

/// The p-norm of the difference of two tensors over the last dim: PyTorch's `nn.PairwiseDistance`.
#[derive(Debug, Clone, Copy, PartialEq, Module)]
#[module(crate = crate)]
pub struct PairwiseDistance {
    /// Of the norm; 2.
    #[module(skip)]
    pub p: f64,
    /// Added to the differences; 1e-6.
    #[module(skip)]
    pub eps: f64,
    /// The last dim stays with size 1; false.
    #[module(skip)]
    pub keepdim: bool,
}

impl Default for PairwiseDistance {
    fn default() -> Self {
        PairwiseDistance { p: 2.0, eps: 1e-6, keepdim: false }
    }
}

impl PairwiseDistance {
    /// The distance; shapes broadcast.
    ///
    /// # Errors
    /// Shapes that don't fit.
    #[track_caller]
    pub fn forward(&self, x1: &Tensor, x2: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        match self.keepdim {
            true => x1.pairwise_distance_keep(x2, self.p, self.eps),
            false => x1.pairwise_distance(x2, self.p, self.eps),
        }
    }
}
