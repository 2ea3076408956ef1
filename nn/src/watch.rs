//! A watch for NaN and infinities: an observer that finds where the first one comes from.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use ferrotape_tensor::{Error, Meta, Observer, Op, Result, Tensor, TensorId, observe};

use crate::finite::{NonFinite, extent, first_bad};
use crate::module::Module;
use crate::state::parameters;
use crate::step::Step;

/// Looks at every operation of a training step, forward and backward, for the first that makes a NaN or an infinity of finite
/// operands, or meets a NaN that came from outside: PyTorch's `detect_anomaly`, with names.
///
/// ```
/// use ferrotape_nn::{Adam, Forward, Linear, NanWatch, NonFinite, Optimizer, value_and_grad};
/// use ferrotape_tensor::{Generator, Tensor, chain::*};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut rng = Generator::new(0);
/// let mut net = Linear::new(2, 1, &mut rng)?;
/// let mut optimizer = Adam::new(0.1);
/// let mut watch = NanWatch::new();
/// for x in [Tensor::from([[1f32, 2.]]), Tensor::from([[0f32, 0.]])] {
///     let step = watch.step(&net, || {
///         value_and_grad(&net, &mut rng, |net, ctx| net.forward(&x.log()?, ctx).mean(..))
///     });
///     match step {
///         Ok(step) => optimizer.step(&mut net, &step)?,
///         Err(error) => {
///             let found = NonFinite::of(&error).unwrap();
///             assert_eq!((found.step, found.op), (Some(1), Some("log")));
///             assert_eq!(found.parameter.as_deref(), Some("weight"));
///         }
///     }
/// }
/// # Ok(()) }
/// ```
///
/// It reads every operand and result once more, about twice the time of a step; without a watch there is no cost. An infinity that
/// an operation is given, a mask's, is not reported, nor what it is passed on to; a NaN always is.
#[derive(Debug, Clone)]
pub struct NanWatch {
    step: u64,
    infinities: bool,
}

impl Default for NanWatch {
    fn default() -> Self {
        NanWatch { step: 0, infinities: true }
    }
}

impl NanWatch {
    /// For NaN and infinities, from step 0 on.
    pub fn new() -> Self {
        NanWatch::default()
    }

    /// False: only NaN counts.
    pub fn infinities(mut self, infinities: bool) -> Self {
        self.infinities = infinities;
        self
    }

    /// The number of the next step: that of a run that is resumed.
    pub fn from_step(mut self, step: u64) -> Self {
        self.step = step;
        self
    }

    /// Runs `body`, a training step of `model`, and looks at all it computes.
    ///
    /// # Errors
    /// What `body` fails with; [`NonFinite`] with the operation, the step and the first parameter (in the order of the fields) that is
    /// not finite or whose gradient is not.
    pub fn step<M: Module + ?Sized, A>(
        &mut self,
        model: &M,
        body: impl FnOnce() -> Result<Step<A>>,
    ) -> Result<Step<A>> {
        let number = self.step;
        self.step += 1;
        let paths = parameters(model).into_iter().map(|(path, param)| (param.id(), path));
        let listener = Rc::new(Listener {
            infinities: self.infinities,
            paths: paths.collect(),
            busy: Cell::new(false),
            finite: RefCell::default(),
            running: RefCell::default(),
            found: RefCell::default(),
        });
        let step = observe(listener.clone(), body)?;
        let found = listener.found.take();
        let parameter = match &found {
            Some(Found { parameter: Some(path), .. }) => Some(path.clone()),
            _ => listener.first_gradient(&step)?,
        };
        let (op, origin) = match found {
            Some(found) => (Some(found.op), found.message),
            None if parameter.is_some() => (None, "no operation alone is to blame".to_string()),
            None => return Ok(step),
        };
        let reached = match &parameter {
            Some(path) => format!("; the first parameter concerned is {path}"),
            None => "; no gradient has any".to_string(),
        };
        let message = format!("step {number}: {origin}{reached}");
        Err(Error::other(NonFinite { step: Some(number), op, parameter, message }))
    }
}

/// What came first.
struct Found {
    op: &'static str,
    message: String,
    parameter: Option<String>,
}

/// What the operands of an operation under way hold.
#[derive(Clone, Copy, PartialEq)]
enum Operands {
    Finite,
    Infinite,
    /// Something was found already: nothing is looked at any more.
    Unseen,
}

struct Listener {
    infinities: bool,
    paths: BTreeMap<TensorId, String>,
    /// Inside its own operations.
    busy: Cell<bool>,
    /// Values that were looked at and are finite.
    finite: RefCell<BTreeSet<TensorId>>,
    running: RefCell<Vec<Operands>>,
    found: RefCell<Option<Found>>,
}

impl Listener {
    /// The largest absolute value, from memory if the value is known to be finite.
    fn look(&self, x: &Tensor) -> Result<f64> {
        if !x.dtype().is_float() || self.finite.borrow().contains(&x.id()) {
            return Ok(0.0);
        }
        let extent = self.alone(|| extent(x))?;
        if extent.is_finite() {
            self.finite.borrow_mut().insert(x.id());
        }
        Ok(extent)
    }

    /// Operations of its own, unheard.
    fn alone<R>(&self, body: impl FnOnce() -> Result<R>) -> Result<R> {
        self.busy.set(true);
        let result = body();
        self.busy.set(false);
        result
    }

    /// Keeps what was found first.
    fn report(
        &self,
        op: &Op,
        x: &Tensor,
        does: &str,
        rest: &str,
        parameter: Option<String>,
    ) -> Result<()> {
        let bad = self.alone(|| first_bad(x))?;
        let message = format!("{} {does} {bad}{rest}", op.name());
        *self.found.borrow_mut() = Some(Found { op: op.name(), message, parameter });
        Ok(())
    }

    fn first_gradient<A>(&self, step: &Step<A>) -> Result<Option<String>> {
        for (path, gradient) in step.gradients.iter() {
            let extent = self.look(gradient)?;
            if extent.is_nan() || (extent.is_infinite() && self.infinities) {
                return Ok(Some(path.to_string()));
            }
        }
        Ok(None)
    }
}

impl Observer for Listener {
    fn begin(&self, op: &Op, inputs: &[&Tensor]) -> Result<()> {
        if self.busy.get() {
            return Ok(());
        }
        let mut operands = Operands::Finite;
        for (place, input) in inputs.iter().enumerate() {
            if self.found.borrow().is_some() {
                operands = Operands::Unseen;
                break;
            }
            let extent = self.look(input)?;
            if extent.is_nan() {
                let path = self.paths.get(&input.id());
                let name = path.map(|path| format!(", parameter {path},")).unwrap_or_default();
                let does = format!("is given operand {place}{name} with");
                self.report(op, input, &does, "", path.cloned())?;
            } else if extent.is_infinite() {
                operands = Operands::Infinite;
            }
        }
        self.running.borrow_mut().push(operands);
        Ok(())
    }

    fn end(&self, op: &Op, _: &[Meta], outcome: Result<&[Tensor], &Error>) -> Result<()> {
        if self.busy.get() {
            return Ok(());
        }
        let operands = self.running.borrow_mut().pop().unwrap_or(Operands::Unseen);
        if operands == Operands::Unseen {
            return Ok(());
        }
        for output in outcome.into_iter().flatten() {
            if self.found.borrow().is_some() {
                break;
            }
            if let (Op::View(_) | Op::StopGradient, Operands::Finite) = (op, operands) {
                self.finite.borrow_mut().insert(output.id());
                continue;
            }
            let extent = self.look(output)?;
            let made = extent.is_infinite() && self.infinities && operands == Operands::Finite;
            if extent.is_nan() || made {
                let of = match operands {
                    Operands::Finite => " of finite operands",
                    _ => " of infinite operands",
                };
                self.report(op, output, "makes", of, None)?;
            }
        }
        Ok(())
    }
}
