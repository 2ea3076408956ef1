//! Custom operations: forward and backward together.

use std::any::Any;
use std::fmt;
use std::rc::Rc;

use ferrotape_tensor::{CustomOp, Meta, Op, Operand, Result, Tensor, apply_one};

use crate::rules::{Cx, Slot};

/// An operation that brings its own derivative.
///
/// ```
/// use ferrotape_autograd::{custom, Function, Tape};
/// use ferrotape_tensor::{Meta, Result, Tensor};
///
/// struct Cube;
/// impl Function for Cube {
///     fn name(&self) -> &'static str { "cube" }
///     fn output_metas(&self, inputs: &[Meta]) -> Result<Vec<Meta>> { Ok(vec![inputs[0].clone()]) }
///     fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
///         Ok(vec![(inputs[0].square()? * inputs[0])?])
///     }
///     fn backward(&self, inputs: &[&Tensor], _: &[&Tensor], gradients: &[Option<Tensor>]) -> Result<Vec<Option<Tensor>>> {
///         let slope = inputs[0].square()?.mul(3.0)?;
///         Ok(vec![gradients[0].as_ref().map(|g| g.mul(&slope)).transpose()?])
///     }
/// }
/// # fn main() -> Result<()> {
/// let x = Tensor::from([2f64]);
/// let (y, tape) = Tape::record(|tape| { tape.watch(&x); custom(Cube, &[&x])?.sum(..) })?;
/// assert_eq!(tape.gradient(&y, &[&x])?[0].to_vec::<f64>()?, [12.]);
/// # Ok(()) }
/// ```
pub trait Function: 'static {
    /// Its name in messages.
    fn name(&self) -> &'static str;
    /// Shape, type and device of the outputs; the check of the inputs.
    ///
    /// # Errors
    /// Inputs that don't fit.
    fn output_metas(&self, inputs: &[Meta]) -> Result<Vec<Meta>>;
    /// Computes the outputs; no tape records here.
    ///
    /// # Errors
    /// Whatever goes wrong.
    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>>;
    /// The inputs' gradients from the outputs' (`None`: that output was not used). Made of tensor operations it can be differentiated
    /// again.
    ///
    /// # Errors
    /// Whatever goes wrong.
    fn backward(
        &self,
        inputs: &[&Tensor],
        outputs: &[&Tensor],
        gradients: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>>;
}

/// A [`Function`] as the tensor crate sees it.
struct Wrapped(Box<dyn Function>);

impl fmt::Debug for Wrapped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Custom({})", self.0.name())
    }
}

impl CustomOp for Wrapped {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn output_metas(&self, inputs: &[Meta]) -> Result<Vec<Meta>> {
        self.0.output_metas(inputs)
    }
    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        self.0.forward(inputs)
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Applies a custom function and returns its first output.
///
/// # Errors
/// What the function fails with.
pub fn custom(function: impl Function, inputs: &[&Tensor]) -> Result<Tensor> {
    let op = Op::Custom(Rc::new(Wrapped(Box::new(function))));
    let mut operands: Vec<Operand<'_>> = inputs.iter().map(|&input| Operand::Ref(input)).collect();
    apply_one(&op, &mut operands)
}

/// The backward pass of a custom node.
pub(crate) fn backward(cx: &Cx<'_>) -> Result<Vec<Option<Tensor>>> {
    let Op::Custom(op) = cx.op() else { return Err(cx.bug("is not custom")) };
    let Some(Wrapped(function)) = op.as_any().downcast_ref() else {
        return Err(cx.bug("brings no backward function (make it an autograd Function)"));
    };
    let kept = |place: fn(&Slot) -> bool| {
        cx.node.kept.iter().filter(move |(slot, _)| place(slot)).map(|(_, t)| t).collect::<Vec<_>>()
    };
    let inputs = kept(|slot| matches!(slot, Slot::Input(_)));
    let outputs = kept(|slot| matches!(slot, Slot::Output(_)));
    let gradients = function.backward(&inputs, &outputs, cx.outputs)?;
    if gradients.len() != inputs.len() {
        return Err(cx.bug("its backward function returned a wrong number of gradients"));
    }
    Ok(gradients)
}
