//! Norms of gradients, and clipping.

use ferrotape_tensor::chain::{BinaryChain, ReduceChain};
use ferrotape_tensor::{DType, Error, ErrorKind, Result, Tensor};

use crate::step::{Gradients, Step};

/// How [`Step::clip_grad_norm`] clips; a plain f64 is the largest norm, with the defaults.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClipNorm {
    max: f64,
    norm_type: f64,
    error_if_nonfinite: bool,
}

impl ClipNorm {
    /// To this norm at most; the Euclidean norm, an error if it is not finite.
    pub fn new(max: f64) -> Self {
        ClipNorm { max, norm_type: 2.0, error_if_nonfinite: true }
    }

    /// The p of the norm; `f64::INFINITY`: the largest absolute value.
    pub fn norm_type(mut self, p: f64) -> Self {
        self.norm_type = p;
        self
    }

    /// False: a norm that is infinite or NaN is returned, and the gradients are scaled by `max / norm` all the same, as PyTorch does
    /// unless told otherwise (which makes NaN of them).
    pub fn error_if_nonfinite(mut self, error: bool) -> Self {
        self.error_if_nonfinite = error;
        self
    }
}

impl From<f64> for ClipNorm {
    fn from(max: f64) -> Self {
        ClipNorm::new(max)
    }
}

impl<A> Step<A> {
    /// Scales the gradients so that their norm together is at most `clip`'s: PyTorch's `clip_grad_norm_`, by
    /// `min(1, max / (norm + 1e-6))`. Returns the norm before. Tied parameters count once.
    ///
    /// ```
    /// use ferrotape_nn::{ClipNorm, Forward, Linear, Optimizer, SGD, value_and_grad};
    /// use ferrotape_tensor::{Generator, Tensor, chain::ReduceChain};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let mut rng = Generator::new(0);
    /// let mut model = Linear::new(2, 1, &mut rng)?;
    /// let x = Tensor::from([[300f32, 400.]]);
    /// let mut step = value_and_grad(&model, &mut rng, |model, ctx| model.forward(&x, ctx).sum(..))?;
    /// let norm = step.clip_grad_norm(1.0)?;
    /// assert!((norm - 500.0).abs() < 0.1);
    /// assert!((step.gradients.norm()? - 1.0).abs() < 1e-6);
    /// step.clip_grad_norm(ClipNorm::new(0.5).norm_type(f64::INFINITY))?;
    /// SGD::new(0.1).step(&mut model, &step)?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A norm that is infinite or NaN, with the parameters whose gradients are; memory over the limit. Then nothing has changed.
    pub fn clip_grad_norm(&mut self, clip: impl Into<ClipNorm>) -> Result<f64> {
        self.gradients.clip_norm(clip)
    }

    /// Keeps every element of every gradient within `-limit..=limit`: PyTorch's `clip_grad_value_`. NaN stays.
    ///
    /// # Errors
    /// A limit that is negative or NaN; memory over the limit. Then nothing has changed.
    pub fn clip_grad_value(&mut self, limit: f64) -> Result<()> {
        self.gradients.clip_value(limit)
    }
}

impl Gradients {
    /// The Euclidean norm of all gradients together: each tensor's sum of squares in its own type (16-bit types in f32), these
    /// added in f64 in the order of the parameters. Tied parameters count once.
    ///
    /// # Errors
    /// Memory over the limit.
    pub fn norm(&self) -> Result<f64> {
        self.norm_of(2.0)
    }

    /// The p-norm of all gradients together; `f64::INFINITY`: the largest absolute value, NaN if one is.
    ///
    /// # Errors
    /// A p that is not positive; memory over the limit.
    pub fn norm_of(&self, p: f64) -> Result<f64> {
        if p.is_nan() || p <= 0.0 {
            return refuse(format!("clip_grad_norm: norm type {p} is not positive"));
        }
        let mut total = 0.0;
        for gradient in self.owned() {
            let part = part_of_norm(gradient, p)?;
            total = match p == f64::INFINITY {
                true if part.is_nan() || part > total => part,
                true => total,
                false => total + part,
            };
        }
        Ok(match p {
            2.0 => total.sqrt(),
            1.0 | f64::INFINITY => total,
            _ => total.powf(1.0 / p),
        })
    }

    /// The gradients, tied ones once.
    fn owned(&self) -> impl Iterator<Item = &Tensor> {
        let owners = self.entries.iter().enumerate().filter(|(at, entry)| entry.owner == *at);
        owners.filter_map(|(_, entry)| entry.gradient.as_ref())
    }

    /// As [`Step::clip_grad_norm`].
    ///
    /// # Errors
    /// As there.
    pub fn clip_norm(&mut self, clip: impl Into<ClipNorm>) -> Result<f64> {
        let ClipNorm { max, norm_type, error_if_nonfinite } = clip.into();
        if max.is_nan() || max < 0.0 {
            return refuse(format!("clip_grad_norm: {max} is no norm"));
        }
        let norm = self.norm_of(norm_type)?;
        if !norm.is_finite() && error_if_nonfinite {
            let named = self.iter().filter_map(|(path, gradient)| {
                let finite = part_of_norm(gradient, f64::INFINITY).is_ok_and(f64::is_finite);
                (!finite).then(|| path.to_string())
            });
            let named: Vec<String> = named.collect();
            let names = match named.is_empty() {
                true => "all gradients are finite, their norm is not".to_string(),
                false => format!("not finite: {}", named.join(", ")),
            };
            return refuse(format!("clip_grad_norm: the norm is {norm}; {names}"));
        }
        let factor = max / (norm + 1e-6);
        // NaN scales too: it must not look as if all were well.
        if factor < 1.0 || factor.is_nan() {
            self.scale(factor)?;
        }
        Ok(norm)
    }

    /// As [`Step::clip_grad_value`].
    ///
    /// # Errors
    /// As there.
    pub fn clip_value(&mut self, limit: f64) -> Result<()> {
        if limit.is_nan() || limit < 0.0 {
            return refuse(format!("clip_grad_value: {limit} is no limit"));
        }
        self.change(|gradient| gradient.clamp(-limit, limit))
    }

    /// Multiplies every gradient by a number.
    ///
    /// # Errors
    /// Memory over the limit; then nothing has changed.
    pub fn scale(&mut self, factor: f64) -> Result<()> {
        self.change(|gradient| gradient.mul(factor))
    }

    /// Replaces every gradient by what `of` makes of it, or none if one fails.
    fn change(&mut self, of: impl Fn(&Tensor) -> Result<Tensor>) -> Result<()> {
        let changed = self.entries.iter().enumerate().map(|(at, entry)| match &entry.gradient {
            Some(gradient) if entry.owner == at => of(gradient).map(Some),
            _ => Ok(None),
        });
        let changed = changed.collect::<Result<Vec<_>>>()?;
        for entry in &mut self.entries {
            if let (Some(gradient), Some(Some(value))) =
                (&mut entry.gradient, changed.get(entry.owner))
            {
                *gradient = value.clone();
            }
        }
        Ok(())
    }
}

/// What a tensor adds to the norm: the sum of `|x|^p`, or the largest `|x|`.
fn part_of_norm(gradient: &Tensor, p: f64) -> Result<f64> {
    if gradient.is_empty() {
        return Ok(0.0);
    }
    // A sum of squares in 16 bits would overflow at 256.
    let wide = match gradient.dtype() {
        DType::F64 => DType::F64,
        _ => DType::F32,
    };
    let gradient = gradient.to_dtype(wide)?;
    match p {
        2.0 => gradient.square().sum(..)?.to_f64(),
        1.0 => gradient.abs().sum(..)?.to_f64(),
        f64::INFINITY => gradient.abs().max(..)?.to_f64(),
        _ => gradient.abs().pow(p).sum(..)?.to_f64(),
    }
}

fn refuse<T>(message: String) -> Result<T> {
    Err(Error::new(ErrorKind::Module(message)))
}
