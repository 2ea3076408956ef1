//! Modules: what holds parameters, and how they are visited under their state-dict names.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Deref;

use ferrotape_tensor::{LinearActivation, Pool2dOp, Result, Tensor};

use crate::ctx::Ctx;
use crate::{Conv2d, Linear};

/// Something that holds parameters and buffers, itself or in the modules it is made of. Implemented by `#[derive(Module)]`.
///
/// ```
/// use ferrotape_nn::{Linear, Module, parameters};
/// # #[allow(unused)]
/// #[derive(Module)]
/// #[module(crate = ferrotape_nn)]
/// struct Net { fc1: Linear, fc2: Linear, #[module(skip)] steps: usize }
/// # fn main() -> ferrotape_tensor::Result<()> {
/// # let mut rng = ferrotape_tensor::Generator::new(0);
/// let net = Net { fc1: Linear::new(2, 3, &mut rng)?, fc2: Linear::new(3, 1, &mut rng)?, steps: 0 };
/// let names: Vec<String> = parameters(&net).into_iter().map(|(name, _)| name).collect();
/// assert_eq!(names, ["fc1.weight", "fc1.bias", "fc2.weight", "fc2.bias"]);
/// # Ok(()) }
/// ```
pub trait Module {
    /// Shows every parameter and buffer, in the order of the fields.
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>);
    /// The same, to change them.
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut);
}

/// Sees the parameters and buffers of a module. `enter` and `leave` bracket each named part.
pub trait Visitor<'a> {
    /// A part of this name begins.
    fn enter(&mut self, name: &str);
    /// It ends.
    fn leave(&mut self);
    /// The part entered last is a module of this type (`std::any::type_name`); where several say so, the first counts.
    fn module(&mut self, type_name: &'static str) {
        let _ = type_name;
    }
    /// A parameter, under the names entered.
    fn param(&mut self, param: &'a Param);
    /// A buffer, under the names entered.
    fn buffer(&mut self, buffer: &'a Buffer);
}

/// Sees the parameters and buffers of a module, to change them.
pub trait VisitorMut {
    /// A part of this name begins.
    fn enter(&mut self, name: &str);
    /// It ends.
    fn leave(&mut self);
    /// A parameter, under the names entered.
    fn param(&mut self, param: &mut Param);
    /// A buffer, under the names entered.
    fn buffer(&mut self, buffer: &mut Buffer);
}

/// The layers that [`Sequential`](crate::Sequential) computes together with their neighbours.
#[doc(hidden)]
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Joint<'a> {
    /// Any other.
    None,
    /// An activation that a linear layer can apply itself.
    Activation(LinearActivation),
    /// `x W^T + b`
    Linear(&'a Linear),
    /// Maxima of windows.
    MaxPool2d(Pool2dOp),
    /// A convolution of images.
    Conv2d(&'a Conv2d),
}

/// A module with one tensor in and one out.
pub trait Forward: Module {
    /// Computes the output.
    ///
    /// # Errors
    /// An input that does not fit.
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor>;

    /// As [`forward`](Self::forward), of a value that is given away: its memory may become the output's.
    ///
    /// # Errors
    /// As `forward`.
    fn forward_owned(&self, x: Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        self.forward(&x, ctx)
    }

    /// What neighbours in a row of layers may be computed together with; of no use to a caller.
    #[doc(hidden)]
    fn joint(&self) -> Joint<'_> {
        Joint::None
    }
}

/// A tensor that training changes.
#[derive(Debug, Clone)]
pub struct Param {
    pub(crate) tensor: Tensor,
    /// False: frozen; not watched, not updated.
    pub trainable: bool,
}

impl Param {
    /// A trainable parameter.
    pub fn new(tensor: Tensor) -> Self {
        Param { tensor, trainable: true }
    }

    /// Its value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Replaces its value.
    pub fn set(&mut self, tensor: Tensor) {
        self.tensor = tensor;
    }
}

impl Deref for Param {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

/// A tensor that is saved with the weights and never optimised: running statistics.
#[derive(Debug, Clone)]
pub struct Buffer {
    pub(crate) tensor: Tensor,
}

impl Buffer {
    /// A buffer with this value.
    pub fn new(tensor: Tensor) -> Self {
        Buffer { tensor }
    }

    /// Its value.
    pub fn tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// Replaces its value.
    pub fn set(&mut self, tensor: Tensor) {
        self.tensor = tensor;
    }
}

impl Deref for Buffer {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

impl Module for Param {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.param(self);
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.param(self);
    }
}

impl Module for Buffer {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.buffer(self);
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.buffer(self);
    }
}

/// A place's number as a name; the usual ones need no allocation, for every step of a training names every layer.
fn place_name(place: usize) -> Cow<'static, str> {
    let digit = "0123456789".get(place..place.saturating_add(1));
    digit.map_or_else(|| Cow::Owned(place.to_string()), Cow::Borrowed)
}

/// The elements are named `0`, `1`, ..., as in PyTorch's `ModuleList`.
impl<M: Module> Module for Vec<M> {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.module(std::any::type_name::<Self>());
        for (i, module) in self.iter().enumerate() {
            visitor.enter(&place_name(i));
            module.visit(visitor);
            visitor.leave();
        }
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        for (i, module) in self.iter_mut().enumerate() {
            visitor.enter(&place_name(i));
            module.visit_mut(visitor);
            visitor.leave();
        }
    }
}

/// The elements have the names of their keys, in their order, as in PyTorch's `ModuleDict`.
///
/// ```
/// use std::collections::BTreeMap;
/// use ferrotape_nn::{Linear, parameters};
/// # fn main() -> ferrotape_tensor::Result<()> {
/// let mut rng = ferrotape_tensor::Generator::new(0);
/// let heads = BTreeMap::from([("age".to_string(), Linear::new(4, 1, &mut rng)?), ("name".to_string(), Linear::new(4, 9, &mut rng)?)]);
/// assert_eq!(parameters(&heads)[2].0, "name.weight");
/// # Ok(()) }
/// ```
impl<M: Module> Module for BTreeMap<String, M> {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.module(std::any::type_name::<Self>());
        for (name, module) in self {
            visitor.enter(name);
            module.visit(visitor);
            visitor.leave();
        }
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        for (name, module) in self {
            visitor.enter(name);
            module.visit_mut(visitor);
            visitor.leave();
        }
    }
}

/// An absent module has no parameters; a present one adds no name of its own.
impl<M: Module> Module for Option<M> {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        if let Some(module) = self {
            module.visit(visitor);
        }
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        if let Some(module) = self {
            module.visit_mut(visitor);
        }
    }
}

impl<M: Module + ?Sized> Module for Box<M> {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        (**self).visit(visitor);
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        (**self).visit_mut(visitor);
    }
}

impl<M: Forward + ?Sized> Forward for Box<M> {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        (**self).forward(x, ctx)
    }
    fn forward_owned(&self, x: Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        (**self).forward_owned(x, ctx)
    }
    fn joint(&self) -> Joint<'_> {
        (**self).joint()
    }
}

macro_rules! tuple {
    ($($t:ident $n:tt),+) => {
        impl<$($t: Module),+> Module for ($($t,)+) {
            fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
                visitor.module(std::any::type_name::<Self>());
                $(
                    visitor.enter(stringify!($n));
                    self.$n.visit(visitor);
                    visitor.leave();
                )+
            }
            fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
                $(
                    visitor.enter(stringify!($n));
                    self.$n.visit_mut(visitor);
                    visitor.leave();
                )+
            }
        }
    };
}
tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
