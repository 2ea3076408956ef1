//! Random numbers: an explicit generator, whose state can be saved; never entropy.

use crate::apply::apply_one;
use crate::create::TensorOptions;
use crate::dtype::DType;
use crate::error::Result;
use crate::op::{Meta, Op, RandomOp};
use crate::shape::{self, IntoShape};
use crate::tensor::Tensor;
use ferrotape_kernels::cpu::random::{self, Philox};

/// A place in a Philox4x32-10 stream. What it draws depends on seed, stream and place alone: not on threads, instruction set or
/// device.
///
/// ```
/// # use ferrotape_tensor::{DType, Generator};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut rng = Generator::new(0);
/// let saved = rng.clone();
/// let x = rng.normal([2, 3], 0., 1., DType::F32)?;
/// let again = saved.clone().normal([2, 3], 0., 1., DType::F32)?;
/// assert_eq!(x.to_vec::<f32>()?, again.to_vec::<f32>()?);
/// # Ok(()) }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Generator {
    at: Philox,
}

impl Generator {
    /// The start of stream 0 of this seed.
    pub fn new(seed: u64) -> Self {
        Generator { at: Philox { seed, stream: 0, block: 0 } }
    }

    /// The start of another stream of the same seed; streams don't overlap.
    pub fn stream(&self, stream: u64) -> Self {
        Generator { at: Philox { stream, block: 0, ..self.at } }
    }

    /// Seed, stream and block: all there is to save.
    pub fn state(&self) -> [u64; 3] {
        [self.at.seed, self.at.stream, self.at.block]
    }

    /// Continues where [`state`](Self::state) was taken.
    pub fn from_state([seed, stream, block]: [u64; 3]) -> Self {
        Generator { at: Philox { seed, stream, block } }
    }

    /// Uniform in `[low, high)`.
    ///
    /// # Errors
    /// An integer type, an empty or infinite range, memory over the limit.
    #[track_caller]
    pub fn uniform(
        &mut self,
        shape: impl IntoShape,
        low: f64,
        high: f64,
        options: impl Into<TensorOptions>,
    ) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        self.draw(RandomOp::Uniform { low, high }, shape, options.into()).map_err(|e| e.at(here))
    }

    /// Normal with this mean and standard deviation.
    ///
    /// # Errors
    /// An integer type, a negative deviation, memory over the limit.
    #[track_caller]
    pub fn normal(
        &mut self,
        shape: impl IntoShape,
        mean: f64,
        std: f64,
        options: impl Into<TensorOptions>,
    ) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        self.draw(RandomOp::Normal { mean, std }, shape, options.into()).map_err(|e| e.at(here))
    }

    /// `value` with probability `p`, else 0.
    ///
    /// # Errors
    /// An integer type, `p` outside `0..=1`, memory over the limit.
    #[track_caller]
    pub fn bernoulli(
        &mut self,
        shape: impl IntoShape,
        p: f64,
        value: f64,
        options: impl Into<TensorOptions>,
    ) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        self.draw(RandomOp::Bernoulli { p, value }, shape, options.into()).map_err(|e| e.at(here))
    }

    /// The numbers `0..n` in random order.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let order = random::permutation(self.at, n);
        self.at.block = self.at.block.wrapping_add((n as u64).div_ceil(2));
        order
    }

    fn draw(
        &mut self,
        kind: RandomOp,
        shape: impl IntoShape,
        options: TensorOptions,
    ) -> Result<Tensor> {
        let TensorOptions { dtype, device } = options;
        let shape = shape.into_shape();
        let len = shape::checked_len("random", &shape)?;
        let op = Op::Random(kind, self.at, Meta { shape, dtype, device });
        let drawn = apply_one(&op, &mut [])?;
        let normal = matches!(kind, RandomOp::Normal { .. });
        let blocks = match dtype {
            DType::F64 => random::blocks::<f64>(normal, len),
            _ => random::blocks::<f32>(normal, len),
        };
        self.at.block = self.at.block.wrapping_add(blocks);
        Ok(drawn)
    }
}
