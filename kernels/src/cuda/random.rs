//! Random numbers: `random.cu`, with the bits of [`cpu::random`](crate::cpu::random).

#[cfg(test)]
mod tests;

use super::array::Type;
use super::launch::{Argument, Family, Grid, Name, argument};
use super::memory::DeviceBuffer;
use crate::cpu::random::Philox;
use crate::element::Float;
use crate::error::{Result, require};

/// What is drawn; the numbers are rounded to the type that is computed with (2-byte floats: f32).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Distribution {
    /// `fma(u, range, low)`, at most `top`.
    Uniform {
        /// Lower end.
        low: f64,
        /// Upper end less the lower.
        range: f64,
        /// The largest number that is in the range.
        top: f64,
        /// `2^digits`, if `u` is cut to that many.
        digits: Option<f64>,
    },
    /// `fma(z, std, mean)`.
    Normal {
        /// Mean.
        mean: f64,
        /// Standard deviation.
        std: f64,
    },
    /// `value` if `u < p`, else 0.
    Bernoulli {
        /// Probability.
        p: f64,
        /// What a success gives.
        value: f64,
    },
}

/// A place in the stream, as the kernels take it.
#[repr(C)]
#[derive(Clone, Copy)]
struct At {
    seed: u64,
    stream: u64,
    block: u64,
}

/// Fills `out` with numbers of a float type, from the start of the stream's block `at.block` on.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) for integers; [`Cuda`](crate::Error::Cuda).
pub fn draw(
    distribution: Distribution,
    at: Philox,
    kind: Type,
    out: &mut DeviceBuffer,
) -> Result<()> {
    require(!kind.is_integer(), "cuda random: of floats only")?;
    match kind {
        Type::F64 => run::<f64>(distribution, at, kind, out),
        _ => run::<f32>(distribution, at, kind, out),
    }
}

fn run<C: Float>(
    distribution: Distribution,
    Philox { seed, stream, block }: Philox,
    kind: Type,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let len = out.len() / kind.size();
    let at = At { seed, stream, block };
    match distribution {
        Distribution::Uniform { low, range, top, digits } => {
            let (low, top) = (C::from_f64(low), C::from_f64(top));
            let top = if top < low { low } else { top };
            let scale = digits.unwrap_or(0.0);
            let [scale, back] = [scale, 1.0 / scale].map(C::from_f64);
            let how = [low, C::from_f64(range), top, scale, back];
            launch("uniform", at, kind, len, &how, out)
        }
        Distribution::Normal { mean, std } => {
            launch("normal", at, kind, len, &[mean, std].map(C::from_f64), out)
        }
        Distribution::Bernoulli { p, value } => {
            launch("bernoulli", at, kind, len, &[p, value].map(C::from_f64), out)
        }
    }
}

fn launch<H: Copy>(
    name: &str,
    at: At,
    kind: Type,
    len: usize,
    how: &H,
    out: &mut DeviceBuffer,
) -> Result<()> {
    if len == 0 {
        return Ok(());
    }
    let (to, n) = (out.address(), len as i64);
    let arguments: [Argument<'_>; 4] = [argument(&to), argument(&at), argument(&n), argument(how)];
    let name = Name::of(&["random", name, kind.name()]);
    let grid = Grid::over(len.div_ceil(2));
    // SAFETY: the kernel's arguments; `out` has `len` elements.
    unsafe { out.gpu().launch(Family::Random, &name, grid, &arguments) }
}
