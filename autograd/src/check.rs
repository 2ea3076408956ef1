//! Numerical checks of derivatives, first and second order.

use ferrotape_tensor::{DType, Error, ErrorKind, Generator, Result, Tensor};

use crate::tape::Tape;

/// Settings of a check. The defaults are PyTorch's for f64.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct GradCheck {
    /// Step of the central difference.
    pub eps: f64,
    /// Absolute tolerance.
    pub atol: f64,
    /// Relative tolerance.
    pub rtol: f64,
    /// Random directions tried for each input.
    pub directions: u64,
    /// Seed of the directions.
    pub seed: u64,
}

impl Default for GradCheck {
    fn default() -> Self {
        GradCheck { eps: 1e-6, atol: 1e-5, rtol: 1e-3, directions: 2, seed: 0 }
    }
}

/// Compares the gradient of `f` at `inputs` (f64) with central differences, each input along random directions, the output
/// weighted at random.
///
/// ```
/// # use ferrotape_autograd::gradcheck;
/// # use ferrotape_tensor::{Result, Tensor};
/// # fn main() -> Result<()> {
/// gradcheck(|x| x[0].tanh()?.mul(&x[1]), &[Tensor::from([0.3, -1.2]), Tensor::from([2.0, 0.5])])?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// A derivative that differs, with both numbers; what `f` fails with; inputs that are not f64.
pub fn gradcheck(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
    GradCheck::default().run(&f, inputs)
}

/// As [`gradcheck`], of the gradient: the second derivatives.
///
/// # Errors
/// As [`gradcheck`].
pub fn gradgradcheck(f: impl Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
    GradCheck::default().run_second(&f, inputs)
}

impl GradCheck {
    /// First order.
    ///
    /// # Errors
    /// As [`gradcheck`].
    pub fn run(&self, f: &dyn Fn(&[Tensor]) -> Result<Tensor>, inputs: &[Tensor]) -> Result<()> {
        if let Some(input) = inputs.iter().find(|input| input.dtype() != DType::F64) {
            return Err(failure(format!(
                "gradcheck: inputs must be f64, one is {}",
                input.dtype()
            )));
        }
        let mut rng = Generator::new(self.seed).stream(1);
        let shape = f(inputs)?.shape().to_vec();
        let weight = rng.uniform(&shape[..], -1.0, 1.0, DType::F64)?;
        let gradients = self.analytic(f, inputs, &weight)?;
        for (place, gradient) in gradients.iter().enumerate() {
            for _ in 0..self.directions {
                let direction = rng.uniform(inputs[place].shape(), -1.0, 1.0, DType::F64)?;
                let analytic = match gradient {
                    Some(gradient) => gradient.mul(&direction)?.sum(..)?.to_f64()?,
                    None => 0.0,
                };
                let numeric = self.numeric(f, inputs, place, &direction, &weight)?;
                let close = (analytic - numeric).abs() <= self.atol + self.rtol * numeric.abs();
                let undefined = analytic.is_nan() && numeric.is_nan();
                if !(close || undefined) {
                    let message =
                        format!("gradcheck: input {place}: analytic {analytic}, numeric {numeric}");
                    return Err(failure(message));
                }
            }
        }
        Ok(())
    }

    /// Second order: the first-order check of `x -> gradient of <f(x), v> at x`, v random and fixed.
    ///
    /// # Errors
    /// As [`gradcheck`].
    pub fn run_second(
        &self,
        f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
        inputs: &[Tensor],
    ) -> Result<()> {
        let shape = f(inputs)?.shape().to_vec();
        let weight =
            Generator::new(self.seed).stream(2).uniform(&shape[..], -1.0, 1.0, DType::F64)?;
        let gradient = |x: &[Tensor]| -> Result<Tensor> {
            let found = self.analytic(f, x, &weight)?;
            let flat = x.iter().zip(found).map(|(x, gradient)| match gradient {
                Some(gradient) => gradient.reshape([gradient.len()]),
                None => x.detach()?.zeros_like()?.reshape([x.len()]),
            });
            let flat = flat.collect::<Result<Vec<_>>>()?;
            Tensor::cat(&flat.iter().collect::<Vec<_>>(), 0)
        };
        self.run(&gradient, inputs)
    }

    fn analytic(
        &self,
        f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
        inputs: &[Tensor],
        weight: &Tensor,
    ) -> Result<Vec<Option<Tensor>>> {
        let (y, tape) = Tape::record(|tape| {
            inputs.iter().for_each(|input| tape.watch(input));
            f(inputs)
        })?;
        let inputs: Vec<&Tensor> = inputs.iter().collect();
        tape.vector_jacobian_product(&[(&y, weight.clone())], &inputs)
    }

    fn numeric(
        &self,
        f: &dyn Fn(&[Tensor]) -> Result<Tensor>,
        inputs: &[Tensor],
        place: usize,
        direction: &Tensor,
        weight: &Tensor,
    ) -> Result<f64> {
        let value = |eps: f64| -> Result<f64> {
            let mut moved = inputs.to_vec();
            moved[place] = direction.mul(eps)?.add(&inputs[place])?;
            f(&moved)?.mul(weight)?.sum(..)?.to_f64()
        };
        Ok((value(self.eps)? - value(-self.eps)?) / (2.0 * self.eps))
    }
}

fn failure(message: String) -> Error {
    Error::new(ErrorKind::Gradient(message))
}
