//! The range that codes must cover, from values that were seen.

use ferrotape_tensor::{DType, Error, Result, Tensor};

use super::histogram::{Bin, Histogram};
use super::scheme::Scheme;

/// How the range is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub enum RangeMethod {
    /// All that was seen: PyTorch's `MinMaxObserver`.
    #[default]
    MinMax,
    /// `min += rate * (the batch's - min)`, max likewise, from the first batch's on: PyTorch's `MovingAverageMinMaxObserver` (rate 0.01).
    MovingAverage {
        /// In 0..=1.
        rate: f64,
    },
    /// That share of the values, the rest cut off half at either end.
    Percentile {
        /// In 0..=1: 0.9999, say.
        keep: f64,
    },
    /// The least mean squared error of the codes over a histogram, as PyTorch's `HistogramObserver` (which searches in other steps).
    Mse,
    /// The least Kullback-Leibler divergence of the codes' distribution from the values': TensorRT's calibration (Migacz, GTC 2017).
    Entropy,
}

/// Sees values and says the range of one tensor's codes.
///
/// ```
/// use ferrotape_nn::quant::{RangeMethod, RangeObserver, Scheme};
/// use ferrotape_tensor::Tensor;
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut seen = RangeObserver::new(RangeMethod::MinMax)?;
/// seen.observe(&Tensor::from([0.5f32, -1.]))?;
/// seen.observe(&Tensor::from([3f32]))?;
/// assert_eq!(seen.range(&Scheme::ACTIVATION)?, (-1.0, 3.0));
/// # Ok(()) }
/// ```
#[derive(Debug, Clone)]
pub struct RangeObserver {
    method: RangeMethod,
    histogram: Histogram,
    average: Option<(f64, f64)>,
}

impl RangeObserver {
    /// That has seen nothing.
    ///
    /// # Errors
    /// A rate or share outside 0..=1.
    pub fn new(method: RangeMethod) -> Result<Self> {
        let (what, share) = match method {
            RangeMethod::MovingAverage { rate } => ("rate", rate),
            RangeMethod::Percentile { keep } => ("keep", keep),
            _ => ("", 0.0),
        };
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::other(format!("range: {what} {share} is not in 0..=1")));
        }
        Ok(RangeObserver { method, histogram: Histogram::default(), average: None })
    }

    /// Takes note of the values of `x`.
    ///
    /// # Errors
    /// One is NaN or infinite; a device's failure.
    pub fn observe(&mut self, x: &Tensor) -> Result<()> {
        let values: Vec<f64> = x.detach()?.to_dtype(DType::F64)?.to_vec()?;
        if let Some(at) = values.iter().position(|value| !value.is_finite()) {
            let value = values.get(at).copied().unwrap_or(f64::NAN);
            let shape = x.shape();
            return Err(Error::other(format!(
                "range: element {at} (row-major) of a tensor of shape {shape:?} is {value}"
            )));
        }
        if values.is_empty() {
            return Ok(());
        }
        if let RangeMethod::MovingAverage { rate } = self.method {
            let min = values.iter().copied().fold(f64::INFINITY, f64::min);
            let max = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
            let (low, high) = self.average.unwrap_or((min, max));
            self.average = Some((low + rate * (min - low), high + rate * (max - high)));
        }
        self.histogram.add(&values);
        Ok(())
    }

    /// How many values were seen.
    pub fn count(&self) -> u64 {
        self.histogram.total()
    }

    /// The least and the largest value seen; `None` before any.
    pub fn extremes(&self) -> Option<(f64, f64)> {
        (self.count() > 0).then_some((self.histogram.min, self.histogram.max))
    }

    /// The range for codes of this scheme.
    ///
    /// # Errors
    /// Nothing was seen; a range without codes ([`Scheme::encoding`]).
    pub fn range(&self, scheme: &Scheme) -> Result<(f64, f64)> {
        let Some(extremes) = self.extremes() else {
            return Err(Error::other("range: no values were seen"));
        };
        match self.method {
            RangeMethod::MinMax => Ok(extremes),
            RangeMethod::MovingAverage { .. } => Ok(self.average.unwrap_or(extremes)),
            RangeMethod::Percentile { keep } => Ok(self.percentile(keep)),
            RangeMethod::Mse => {
                self.least(extremes, false, |low, high| self.mse(scheme, low, high))
            }
            RangeMethod::Entropy => {
                self.least(extremes, true, |low, high| self.divergence(scheme, low, high))
            }
        }
    }

    fn percentile(&self, keep: f64) -> (f64, f64) {
        let beyond = self.histogram.total() as f64 * (1.0 - keep) / 2.0;
        let bound = |bins: &mut dyn Iterator<Item = Bin>, extreme: f64| {
            let mut seen = 0.0;
            for bin in bins {
                seen += bin.count;
                if seen > beyond {
                    return if seen == bin.count { extreme } else { bin.centre };
                }
            }
            extreme
        };
        let low = bound(&mut self.histogram.bins(), self.histogram.min);
        let bins: Vec<Bin> = self.histogram.bins().collect();
        (low, bound(&mut bins.into_iter().rev(), self.histogram.max).max(low))
    }

    /// The cut range with the least `cost`: each bound is a part of its extreme, both the same part if `together`.
    fn least(
        &self,
        (min, max): (f64, f64),
        together: bool,
        cost: impl Fn(f64, f64) -> Result<f64>,
    ) -> Result<(f64, f64)> {
        let parts = |of: f64| {
            let parts = if of == 0.0 { STEPS..STEPS + 1 } else { 1..STEPS + 1 };
            parts.rev().map(move |part| (part, of * part as f64 / STEPS as f64))
        };
        let (mut best, mut least) = ((min, max), f64::INFINITY);
        for (i, low) in parts(min.min(0.0)) {
            for (j, high) in parts(max.max(0.0)) {
                if together && i != j && min < 0.0 && max > 0.0 {
                    continue;
                }
                let cost = cost(low, high)?;
                if cost < least {
                    (best, least) = ((low, high), cost);
                }
            }
        }
        Ok(best)
    }

    /// Mean squared error of codes for `low..=high`.
    fn mse(&self, scheme: &Scheme, low: f64, high: f64) -> Result<f64> {
        let (params, (lowest, highest)) = (scheme.encoding(low, high)?, scheme.codes()?);
        let (scale, zero) = (f64::from(params.scale), f64::from(params.zero_point));
        let error = |bin: Bin| {
            let code = (bin.centre / scale).round_ties_even() + zero;
            let back = (code.clamp(f64::from(lowest), f64::from(highest)) - zero) * scale;
            bin.count * (back - bin.centre).powi(2)
        };
        Ok(self.histogram.bins().map(error).sum::<f64>() / self.histogram.total() as f64)
    }

    /// How far the distribution of the codes for `low..=high` is from that of the values, those beyond moved to the bounds. Zeros, of
    /// which a relu makes many, have a code of their own and are left out.
    fn divergence(&self, scheme: &Scheme, low: f64, high: f64) -> Result<f64> {
        let (params, (lowest, highest)) = (scheme.encoding(low, high)?, scheme.codes()?);
        let (scale, zero) = (f64::from(params.scale), f64::from(params.zero_point));
        let place = |value: f64| {
            let code = (value / scale).round_ties_even() + zero;
            (code.clamp(f64::from(lowest), f64::from(highest)) - f64::from(lowest)) as usize
        };
        let bins = || self.histogram.bins_but_zeros();
        let inside = |bin: &Bin| (low..=high).contains(&bin.centre);
        let Some(first) = bins().find(inside) else { return Ok(f64::INFINITY) };
        let last = bins().filter(inside).last().unwrap_or(first);
        // For each code: the values inside, the bins they fill, and all values with those moved to it.
        let mut codes: Vec<(f64, f64, f64)> = vec![(0.0, 0.0, 0.0); 256];
        for bin in bins() {
            let moved = bin.centre.clamp(first.centre, last.centre);
            if let Some((within, filled, all)) = codes.get_mut(place(moved)) {
                *all += bin.count;
                if inside(&bin) {
                    *within += bin.count;
                    *filled += 1.0;
                }
            }
        }
        let total = (self.histogram.total() - self.histogram.zeros()) as f64;
        let kept: f64 = codes.iter().map(|(within, ..)| within).sum();
        let mut divergence = 0.0;
        for bin in bins().filter(inside) {
            let Some(&(within, filled, all)) = codes.get(place(bin.centre)) else { continue };
            // What was moved belongs to its code's bins evenly.
            let p = (bin.count + (all - within) / filled) / total;
            let q = within / filled / kept;
            divergence += p * (p / q).ln();
        }
        Ok(divergence)
    }
}

/// Parts that a search cuts a bound into.
const STEPS: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::scheme::Mapping;
    use super::*;

    fn seen(method: RangeMethod, batches: &[&[f32]]) -> RangeObserver {
        let mut observer = RangeObserver::new(method).unwrap();
        for batch in batches {
            observer.observe(&Tensor::from_vec(batch.to_vec(), [batch.len()]).unwrap()).unwrap();
        }
        observer
    }

    /// Bell-shaped, with a few values far out.
    fn bell() -> Vec<f32> {
        let share = |i: usize| (i as f32 + 0.5) / 4000.0;
        let mut values: Vec<f32> = (0..4000).map(|i| (share(i) / (1.0 - share(i))).ln()).collect();
        values.extend([30.0, -25.0]);
        values
    }

    /// The mean squared error that codes leave, value by value.
    fn error(values: &[f32], scheme: &Scheme, (low, high): (f64, f64)) -> f64 {
        let (q, (lowest, highest)) = (scheme.encoding(low, high).unwrap(), scheme.codes().unwrap());
        let of = |x: f32| {
            let code =
                ((x / q.scale).round_ties_even() as i32 + q.zero_point).clamp(lowest, highest);
            f64::from((code - q.zero_point) as f32 * q.scale - x).powi(2)
        };
        values.iter().map(|&x| of(x)).sum::<f64>() / values.len() as f64
    }

    #[test]
    fn extremes_and_their_moving_average() {
        let scheme = Scheme::ACTIVATION;
        let batches: [&[f32]; 3] = [&[1.0, -2.0], &[5.0, 0.0], &[-6.0, 3.0]];
        assert_eq!(seen(RangeMethod::MinMax, &batches).range(&scheme).unwrap(), (-6.0, 5.0));
        // By hand: -2 -> -2 + 0.5 * 2 = -1 -> -1 + 0.5 * -5 = -3.5; 1 -> 3 -> 3.
        let average = seen(RangeMethod::MovingAverage { rate: 0.5 }, &batches);
        assert_eq!(average.range(&scheme).unwrap(), (-3.5, 3.0));
        assert_eq!((average.extremes(), average.count()), (Some((-6.0, 5.0)), 6));
    }

    #[test]
    fn a_percentile_cuts_the_tails() {
        let values = bell();
        let all = seen(RangeMethod::Percentile { keep: 1.0 }, &[&values]);
        assert_eq!(all.range(&Scheme::ACTIVATION).unwrap(), (-25.0, 30.0));
        let (low, high) = seen(RangeMethod::Percentile { keep: 0.99 }, &[&values])
            .range(&Scheme::ACTIVATION)
            .unwrap();
        let inside = values.iter().filter(|&&x| (low..=high).contains(&f64::from(x))).count();
        let share = inside as f64 / values.len() as f64;
        assert!((share - 0.99).abs() < 0.004, "{low} {high}: {share}");
    }

    #[test]
    fn the_least_error_is_found() {
        let values = bell();
        for scheme in [
            Scheme::ACTIVATION,
            Scheme { dtype: DType::I8, ..Scheme::ACTIVATION },
            Scheme::WEIGHT,
            Scheme { mapping: Mapping::Symmetric, ..Scheme::ACTIVATION },
        ] {
            let whole = error(&values, &scheme, (-25.0, 30.0));
            let found = seen(RangeMethod::Mse, &[&values]).range(&scheme).unwrap();
            let least = error(&values, &scheme, found);
            // Of many other ranges none is better by more than the bins' width blurs.
            for i in 1..40 {
                for j in 1..40 {
                    let other = (-25.0 * f64::from(i) / 40.0, 30.0 * f64::from(j) / 40.0);
                    let other_error = error(&values, &scheme, other);
                    assert!(
                        least < other_error * 1.1,
                        "{scheme:?}: {found:?} {least}, {other:?} {other_error}"
                    );
                }
            }
            assert!(least < whole, "{scheme:?}: {least} {whole}");
            let entropy = seen(RangeMethod::Entropy, &[&values]).range(&scheme).unwrap();
            assert!(entropy.0 >= -25.0 && entropy.1 <= 30.0 && entropy.1 < 29.0, "{entropy:?}");
        }
    }

    #[test]
    fn one_sided_and_constant_values() {
        let relu: Vec<f32> = bell().iter().map(|x| x.max(0.0)).collect();
        for method in [RangeMethod::MinMax, RangeMethod::Mse, RangeMethod::Entropy] {
            let (low, high) = seen(method, &[&relu]).range(&Scheme::ACTIVATION).unwrap();
            assert!(low == 0.0 && high > 3.0, "{method:?} {low} {high}");
            let (low, high) = seen(method, &[&[0.0; 9]]).range(&Scheme::ACTIVATION).unwrap();
            assert_eq!((low, high), (0.0, 0.0), "{method:?}");
            let (low, high) = seen(method, &[&[-2.0; 9]]).range(&Scheme::ACTIVATION).unwrap();
            assert!(low <= -1.9 && high <= 0.0, "{method:?} {low} {high}");
        }
    }

    #[test]
    fn what_has_no_range_is_an_error() {
        let mut observer = RangeObserver::new(RangeMethod::Mse).unwrap();
        let error = observer.range(&Scheme::ACTIVATION).unwrap_err().to_string();
        assert!(error.contains("no values were seen"), "{error}");
        let error = observer.observe(&Tensor::from([1f32, f32::NAN])).unwrap_err().to_string();
        assert!(error.contains("element 1") && error.contains("NaN"), "{error}");
        let error =
            RangeObserver::new(RangeMethod::Percentile { keep: 1.5 }).unwrap_err().to_string();
        assert!(error.contains("keep 1.5"), "{error}");
        observer.observe(&Tensor::zeros([0, 3], DType::F32).unwrap()).unwrap();
        assert_eq!(observer.count(), 0);
    }
}
