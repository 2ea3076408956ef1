//! Optimizer steps: `optimize.cu`, with the bits of [`cpu::optimize`](crate::cpu::optimize).

#[cfg(test)]
mod tests;

use super::array::{Array, Type};
use super::launch::{Argument, Family, Grid, Name, argument};
use super::memory::DeviceBuffer;
use crate::cpu::optimize::{AdagradStep, AdamScalars, AdamStep, RmsPropStep, SgdStep};
use crate::element::Float;
use crate::error::{Error, Result, require};

/// Which optimizer, and its settings.
#[derive(Debug, Clone, Copy)]
pub enum Step<'a> {
    /// State: the velocity, if there is momentum.
    Sgd(&'a SgdStep),
    /// State: first and second moment, and the largest second moment if amsgrad.
    Adam(&'a AdamStep),
    /// State: the average of squares, the gradient's average if centered, the velocity if there is momentum.
    RmsProp(&'a RmsPropStep),
    /// State: the sum of squares.
    Adagrad(&'a AdagradStep),
}

/// As the kernels take their settings: scalars, then switches.
#[repr(C)]
#[derive(Clone, Copy)]
struct Settings<T, const N: usize, const M: usize> {
    scalars: [T; N],
    switches: [i32; M],
}

impl<T: Float, const N: usize, const M: usize> Settings<T, N, M> {
    fn new(scalars: [f64; N], switches: [bool; M]) -> Self {
        Settings { scalars: scalars.map(T::from_f64), switches: switches.map(i32::from) }
    }
}

/// One step: `weight` and the states that it uses, in their order, are changed; all are contiguous, of `grad`'s type.
///
/// # Errors
/// [`Contract`](Error::Contract) for lengths, types other than f32 and f64, a missing state, a step 0 where steps count;
/// [`Cuda`](Error::Cuda).
pub fn step(
    step: Step<'_>,
    weight: &mut DeviceBuffer,
    grad: Array<'_>,
    states: &mut [&mut DeviceBuffer],
) -> Result<()> {
    match grad.kind() {
        Type::F32 => run::<f32>(step, weight, grad, states),
        Type::F64 => run::<f64>(step, weight, grad, states),
        _ => Err(Error::Contract("cuda optimize: of f32 and f64 only")),
    }
}

fn run<T: Float>(
    step: Step<'_>,
    weight: &mut DeviceBuffer,
    grad: Array<'_>,
    states: &mut [&mut DeviceBuffer],
) -> Result<()> {
    let counted = match step {
        Step::Adam(step) => step.step,
        Step::Adagrad(step) => step.step,
        Step::Sgd(_) | Step::RmsProp(_) => 1,
    };
    require(counted > 0, "cuda optimize: steps count from 1")?;
    let bytes = weight.len();
    require(grad.is_contiguous(), "cuda optimize: layout of the gradient")?;
    require(grad.len() * size_of::<T>() == bytes, "cuda optimize: length of the gradient")?;
    require(states.iter().all(|state| state.len() == bytes), "cuda optimize: length of a state")?;
    let mut given = states.iter().map(|state| state.address());
    // The states in the kernel's places; an absent one is null.
    let mut places = |used: [bool; 3]| -> Result<[u64; 3]> {
        let place = |used| if used { given.next() } else { Some(0) };
        let [a, b, c] = used.map(place);
        let (Some(a), Some(b), Some(c), None) = (a, b, c, given.next()) else {
            return Err(Error::Contract("cuda optimize: number of states"));
        };
        Ok([a, b, c])
    };
    let call = Call {
        weight: weight.address(),
        grad: grad.buffer().address() + (grad.offset() * size_of::<T>()) as u64,
        kind: grad.kind(),
        len: grad.len(),
    };
    match step {
        Step::Sgd(s) => {
            let moves = s.momentum != 0.0;
            let settings = Settings::<T, 4, 5>::new(
                [s.lr, s.weight_decay, s.momentum, 1.0 - s.dampening],
                [s.maximize, s.weight_decay != 0.0, moves, s.first, s.nesterov],
            );
            call.launch(weight, "sgd", places([moves, false, false])?, &settings)
        }
        Step::Adam(step) => {
            let s = AdamScalars::<T>::new(step);
            let [shrink, penalty] = [s.shrink, s.penalty].map(|x| x.unwrap_or(T::ZERO));
            let switches =
                [s.maximize, s.shrink.is_some(), s.penalty.is_some(), s.from_end, s.amsgrad];
            let settings = Settings {
                scalars: [shrink, penalty, s.lerp, s.keep, s.take, s.root, s.eps, s.size],
                switches: switches.map(i32::from),
            };
            call.launch(weight, "adam", places([true, true, s.amsgrad])?, &settings)
        }
        Step::RmsProp(s) => {
            let (moves, rest) = (s.momentum != 0.0, 1.0 - s.alpha);
            let from_end = rest >= 0.5;
            let lerp = if from_end { -s.alpha } else { rest };
            let settings = Settings::<T, 7, 5>::new(
                [s.lr, s.alpha, rest, s.eps, s.weight_decay, s.momentum, lerp],
                [s.maximize, s.weight_decay != 0.0, from_end, s.centered, moves],
            );
            call.launch(weight, "rms_prop", places([true, s.centered, moves])?, &settings)
        }
        Step::Adagrad(s) => {
            let settings = Settings::<T, 3, 2>::new(
                [s.rate(), s.eps, s.weight_decay],
                [s.maximize, s.weight_decay != 0.0],
            );
            call.launch(weight, "adagrad", places([true, false, false])?, &settings)
        }
    }
}

/// Operands that were checked.
struct Call {
    weight: u64,
    grad: u64,
    kind: Type,
    len: usize,
}

impl Call {
    fn launch<S: Copy>(
        &self,
        weight: &DeviceBuffer,
        name: &str,
        [a, b, c]: [u64; 3],
        settings: &S,
    ) -> Result<()> {
        if self.len == 0 {
            return Ok(());
        }
        let n = self.len as i64;
        let arguments: [Argument<'_>; 7] = [
            argument(&self.weight),
            argument(&self.grad),
            argument(&a),
            argument(&b),
            argument(&c),
            argument(&n),
            argument(settings),
        ];
        let name = Name::of(&["optimize", name, self.kind.name()]);
        let grid = Grid::over(self.len);
        // SAFETY: the kernel's arguments; every operand has `len` elements, the states that the settings use are there.
        unsafe { weight.gpu().launch(Family::Optimize, &name, grid, &arguments) }
    }
}
