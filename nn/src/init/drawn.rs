//! Initial values that are no plain draw.

use std::f64::consts::SQRT_2;

use ferrotape_tensor::chain::{BinaryChain, UnaryChain};
use ferrotape_tensor::{DType, Error, ErrorKind, Generator, Result, Tensor};

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(message)))
}

/// `N(mean, std^2)` cut off at `low` and `high`: PyTorch's `trunc_normal_` (there mean 0, std 1, from -2 to 2 by default).
///
/// # Errors
/// A std that is not positive, bounds that are not finite and ascending, or hold next to nothing of the distribution; an integer
/// type; memory over the limit.
pub fn trunc_normal(
    shape: &[usize],
    [mean, std]: [f64; 2],
    [low, high]: [f64; 2],
    dtype: DType,
    rng: &mut Generator,
) -> Result<Tensor> {
    let finite = (mean + std + low + high).is_finite();
    if !finite || std <= 0.0 || low >= high {
        return refuse(format!("trunc_normal: mean {mean}, std {std}, from {low} to {high}"));
    }
    let scaled = |x: f64| ((x - mean) / (std * SQRT_2)).clamp(-8.0, 8.0);
    let (from, to) = (scaled(low), scaled(high));
    let erf = |x: f64| -> Result<f64> { Tensor::from(x).erf()?.item() };
    let (erf_from, erf_to) = (erf(from)?, erf(to)?);
    if erf_to - erf_from < 1e-12 {
        return refuse(format!("trunc_normal: next to nothing lies from {low} to {high}"));
    }
    // The inverse of the error function, by halving.
    let drawn = rng.uniform(shape, erf_from, erf_to, DType::F64)?;
    let mut under = Tensor::full(shape, from, DType::F64)?;
    let mut over = Tensor::full(shape, to, DType::F64)?;
    for _ in 0..56 {
        let middle = under.add(&over).mul(0.5)?;
        let below = middle.erf()?.lt(&drawn)?;
        under = below.select(&middle, &under)?;
        over = below.select(&over, &middle)?;
    }
    let x = under.add(&over).mul(0.5 * std * SQRT_2).add(mean)?;
    x.clamp(low, high)?.to_dtype(dtype)
}

/// A matrix of `shape[0]` rows, the other dims as one, whose rows (or columns, if there are more rows) are orthogonal and of norm
/// `gain`, drawn evenly from all of these (Saxe et al. 2014): PyTorch's `orthogonal_`.
///
/// # Errors
/// Fewer than two dims; an integer type; memory over the limit.
pub fn orthogonal(shape: &[usize], gain: f64, dtype: DType, rng: &mut Generator) -> Result<Tensor> {
    let [rows, rest @ ..] = shape else { return refuse("orthogonal: no dims".to_string()) };
    if rest.is_empty() {
        return refuse(format!("orthogonal: {shape:?} has fewer than two dims"));
    }
    let drawn = rng.normal(shape, 0.0, 1.0, DType::F64)?;
    if drawn.is_empty() {
        return drawn.to_dtype(dtype);
    }
    let columns = drawn.len() / rows;
    let matrix = drawn.reshape([*rows, columns])?;
    let wide = *rows <= columns;
    let matrix = if wide { matrix } else { matrix.t()? };
    let (count, length) = ((*rows).min(columns), (*rows).max(columns));
    let mut vectors: Vec<f64> = matrix.contiguous()?.to_vec()?;
    // Gram and Schmidt, twice: then they are orthogonal to the last digits.
    for at in 0..count {
        let (before, behind) = vectors.split_at_mut(at * length);
        let Some(vector) = behind.get_mut(..length) else { continue };
        for _ in 0..2 {
            for other in before.chunks_exact(length) {
                let along: f64 = vector.iter().zip(other).map(|(x, y)| x * y).sum();
                vector.iter_mut().zip(other).for_each(|(x, y)| *x -= along * y);
            }
            let norm = vector.iter().map(|x| x * x).sum::<f64>().sqrt();
            vector.iter_mut().for_each(|x| *x /= norm);
        }
    }
    let matrix = Tensor::from_vec(vectors, [count, length])?;
    let matrix = if wide { matrix } else { matrix.t()? };
    matrix.mul(gain).to_dtype(dtype)?.reshape(shape)
}

/// The weight of a convolution that leaves each channel as it is, as far as there are outputs for it: PyTorch's `dirac_` without groups.
///
/// # Errors
/// No weight of a convolution; memory over the limit.
pub fn dirac(shape: &[usize], dtype: DType) -> Result<Tensor> {
    let [out, inputs, field @ ..] = shape else {
        return refuse(format!("dirac: {shape:?}: [out, in, ..] expected"));
    };
    if !(1..=3).contains(&field.len()) {
        return refuse(format!("dirac: {shape:?}: 1 to 3 dims behind the channels expected"));
    }
    let zeros = Tensor::zeros(shape, DType::F64)?;
    let area: usize = field.iter().product();
    // The place of the middle in the field.
    let middle = field.iter().fold(0, |place, &size| place * size + size / 2);
    let mut elements: Vec<f64> = zeros.to_vec()?;
    for channel in 0..(*out).min(*inputs) {
        if let Some(element) = elements.get_mut((channel * inputs + channel) * area + middle) {
            *element = 1.0;
        }
    }
    Tensor::from_vec(elements, shape)?.to_dtype(dtype)
}
