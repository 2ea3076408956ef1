//! How often values of which size occur: bins whose edges are multiples of a power of two, so that the counts do not depend on the order of
//! what was seen.

/// Bins on either side of 0.
const HALF: usize = 2048;

/// Counts of finite values in `2 * HALF` bins of the same width, a power of two.
#[derive(Debug, Clone)]
pub(super) struct Histogram {
    /// Bin `HALF + i` counts the values in `i * width..(i + 1) * width`.
    counts: Vec<u64>,
    /// 0 until a value other than 0 comes.
    width: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    total: u64,
    zeros: u64,
}

/// A bin that is not empty.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bin {
    pub(super) centre: f64,
    pub(super) count: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        let counts = vec![0; 2 * HALF];
        Histogram {
            counts,
            width: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            total: 0,
            zeros: 0,
        }
    }
}

impl Histogram {
    /// Counts them all; they are finite.
    pub(super) fn add(&mut self, values: &[f64]) {
        let (mut min, mut max) = (self.min, self.max);
        for &value in values {
            (min, max) = (min.min(value), max.max(value));
        }
        (self.min, self.max) = (min, max);
        self.reach(min.abs().max(max.abs()));
        for &value in values {
            let bin = self.bin(value);
            if let Some(count) = self.counts.get_mut(bin) {
                *count += 1;
            }
        }
        self.total += values.len() as u64;
        self.zeros += values.iter().filter(|&&value| value == 0.0).count() as u64;
    }

    fn bin(&self, value: f64) -> usize {
        if self.width == 0.0 {
            return HALF;
        }
        // Exact: the width is a power of two.
        ((value / self.width).floor() + HALF as f64) as usize
    }

    /// Joins bins until the outermost one is not beyond `size`. The width is the same whether it came at once or bit by bit.
    fn reach(&mut self, size: f64) {
        if !(size > 0.0 && size.is_finite()) {
            return;
        }
        let mut width = self.width;
        if width == 0.0 {
            // What was seen so far are zeros, and they stay where they are.
            width = f64::MIN_POSITIVE;
            let exponent = (size / HALF as f64).log2().floor() - 1.0;
            width = width.max(exponent.exp2());
        }
        while size >= width * HALF as f64 {
            if self.width > 0.0 {
                self.join();
            }
            width *= 2.0;
        }
        self.width = width;
    }

    /// Two bins become one.
    fn join(&mut self) {
        let mut joined = vec![0; 2 * HALF];
        for (pair, counts) in self.counts.chunks_exact(2).enumerate() {
            if let Some(count) = joined.get_mut(HALF / 2 + pair) {
                *count = counts.iter().sum();
            }
        }
        self.counts = joined;
    }

    /// How many values were seen.
    pub(super) fn total(&self) -> u64 {
        self.total
    }

    /// How many of them were exactly 0.
    pub(super) fn zeros(&self) -> u64 {
        self.zeros
    }

    /// [`bins`](Self::bins) without the zeros in them.
    pub(super) fn bins_but_zeros(&self) -> impl Iterator<Item = Bin> + Clone {
        let (width, zeros) = (self.width, self.zeros as f64);
        let without = move |bin: Bin| {
            let holds_zero = bin.centre >= 0.0 && bin.centre < width || width == 0.0;
            Bin { count: bin.count - if holds_zero { zeros } else { 0.0 }, ..bin }
        };
        self.bins().map(without).filter(|bin| bin.count > 0.0)
    }

    /// The bins with values in them, the lowest first. Those of the outermost bins lie no further out than the extremes.
    pub(super) fn bins(&self) -> impl Iterator<Item = Bin> + Clone {
        let (width, min, max) = (self.width, self.min, self.max);
        let full = self.counts.iter().enumerate().filter(|(_, count)| **count > 0);
        full.map(move |(bin, &count)| {
            let low = (bin as f64 - HALF as f64) * width;
            let centre = (low.max(min) + (low + width).min(max)) / 2.0;
            Bin { centre, count: count as f64 }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_matter() {
        let values: Vec<f64> =
            (0..4000).map(|i| f64::from(i * 7919 % 4001 - 2000) * 0.013).collect();
        let mut at_once = Histogram::default();
        at_once.add(&values);
        for parts in [1, 7, 400] {
            let mut bit_by_bit = Histogram::default();
            values.chunks(parts).for_each(|part| bit_by_bit.add(part));
            let mut backwards = Histogram::default();
            values.chunks(parts).rev().for_each(|part| backwards.add(part));
            for other in [bit_by_bit, backwards] {
                assert_eq!((other.width, &other.counts), (at_once.width, &at_once.counts));
            }
        }
        assert_eq!(at_once.counts.iter().sum::<u64>(), 4000);
        let sum: f64 = at_once.bins().map(|bin| bin.centre * bin.count).sum();
        assert!((sum - values.iter().sum::<f64>()).abs() < 4000.0 * at_once.width / 2.0);
    }

    #[test]
    fn zeros_and_tiny_values() {
        let mut zeros = Histogram::default();
        zeros.add(&[0.0, -0.0]);
        assert_eq!(
            zeros.bins().map(|bin| (bin.centre, bin.count)).collect::<Vec<_>>(),
            [(0.0, 2.0)]
        );
        zeros.add(&[1e-300, -1e-310, 3.0]);
        assert_eq!((zeros.total(), zeros.counts.iter().sum::<u64>()), (5, 5));
        assert_eq!((zeros.min, zeros.max), (-1e-310, 3.0));
        let mut huge = Histogram::default();
        huge.add(&[f64::MAX, -f64::MAX]);
        assert_eq!(huge.counts.iter().sum::<u64>(), 2);
    }
}
