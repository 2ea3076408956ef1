//! In which order the samples come, and which of them.

use ferrotape_tensor::{DType, Error, ErrorKind, Generator, Result};

/// Which samples an epoch has, in which order. A function of the epoch's number alone, so that a run can be resumed.
pub trait Sampler: Send + Sync + 'static {
    /// Number of samples in an epoch, of a data set of `samples`.
    fn count(&self, samples: usize) -> usize {
        samples
    }

    /// Their numbers, `count` of them.
    ///
    /// # Errors
    /// A data set that does not fit.
    fn order(&self, samples: usize, epoch: u64) -> Result<Vec<usize>>;
}

/// One after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SequentialSampler;

impl Sampler for SequentialSampler {
    fn order(&self, samples: usize, _: u64) -> Result<Vec<usize>> {
        Ok((0..samples).collect())
    }
}

/// Every sample once, each epoch in another order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RandomSampler {
    seed: Generator,
}

impl RandomSampler {
    /// The order is a function of the seed and the epoch's number.
    pub fn new(seed: u64) -> Self {
        RandomSampler { seed: Generator::new(seed) }
    }
}

impl Sampler for RandomSampler {
    fn order(&self, samples: usize, epoch: u64) -> Result<Vec<usize>> {
        Ok(self.seed.stream(epoch).permutation(samples))
    }
}

/// Some of the samples once, each epoch in another order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubsetRandomSampler {
    indices: Vec<usize>,
    seed: Generator,
}

impl SubsetRandomSampler {
    /// Those of these numbers.
    pub fn new(indices: Vec<usize>, seed: u64) -> Self {
        SubsetRandomSampler { indices, seed: Generator::new(seed) }
    }
}

impl Sampler for SubsetRandomSampler {
    fn count(&self, _: usize) -> usize {
        self.indices.len()
    }

    fn order(&self, _: usize, epoch: u64) -> Result<Vec<usize>> {
        let places = self.seed.stream(epoch).permutation(self.indices.len());
        Ok(places.into_iter().filter_map(|place| self.indices.get(place).copied()).collect())
    }
}

/// Samples drawn with replacement, each as often as its weight says.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedRandomSampler {
    /// Sums of the weights so far.
    sums: Vec<f64>,
    count: usize,
    seed: Generator,
}

impl WeightedRandomSampler {
    /// One weight a sample, `count` draws an epoch.
    ///
    /// ```
    /// use ferrotape_nn::data::{Sampler, WeightedRandomSampler};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let sampler = WeightedRandomSampler::new(&[0.0, 3.0, 1.0], 1000, 7)?;
    /// let order = sampler.order(3, 0)?;
    /// let ones = order.iter().filter(|&&sample| sample == 1).count();
    /// assert!(order.len() == 1000 && !order.contains(&0) && (700..800).contains(&ones));
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A weight that is negative or not finite; a sum that is 0 or not finite.
    pub fn new(weights: &[f64], count: usize, seed: u64) -> Result<Self> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Module(message)));
        if let Some(place) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
            return refuse(format!("sampler: weight {} of sample {place}", weights[place]));
        }
        let mut sum = 0.0;
        let sums: Vec<f64> = weights
            .iter()
            .map(|weight| {
                sum += weight;
                sum
            })
            .collect();
        if !(sum > 0.0 && sum.is_finite()) {
            return refuse(format!("sampler: the {} weights sum to {sum}", weights.len()));
        }
        Ok(WeightedRandomSampler { sums, count, seed: Generator::new(seed) })
    }
}

impl Sampler for WeightedRandomSampler {
    fn count(&self, _: usize) -> usize {
        self.count
    }

    fn order(&self, samples: usize, epoch: u64) -> Result<Vec<usize>> {
        if samples != self.sums.len() {
            let message = format!("sampler: {} weights for {samples} samples", self.sums.len());
            return Err(Error::new(ErrorKind::Module(message)));
        }
        let total = self.sums.last().copied().unwrap_or(0.0);
        let draws = self.seed.stream(epoch).uniform([self.count], 0.0, 1.0, DType::F64)?;
        let place = |draw: f64| {
            let at = draw * total;
            // The first whose sum is beyond; rounding up to the total must not go past the last that has a weight.
            let place = self.sums.partition_point(|sum| *sum <= at);
            place.min(self.sums.partition_point(|sum| *sum < total))
        };
        Ok(draws.to_vec::<f64>()?.into_iter().map(place).collect())
    }
}
