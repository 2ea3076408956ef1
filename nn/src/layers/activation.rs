//! Activations and flattening, as layers with PyTorch's names and defaults.

use ferrotape_tensor::chain::{ActivationChain as _, UnaryChain as _};
use ferrotape_tensor::{DType, Error, ErrorKind, LinearActivation, Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::{Forward, Joint, Param};

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident => $method:ident $(, $joint:expr)?;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, Module)]
        #[module(crate = crate)]
        pub struct $name;

        impl Forward for $name {
            fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
                x.$method()
            }
            fn forward_owned(&self, x: Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
                Result::Ok(x).$method()
            }
            $(
                fn joint(&self) -> Joint<'_> {
                    $joint
                }
            )?
        }
    )*};
}

activations! {
    /// `max(x, 0)`
    ReLU => relu, Joint::Activation(LinearActivation::Relu);
    /// Hyperbolic tangent.
    Tanh => tanh, Joint::Activation(LinearActivation::Tanh);
    /// `1 / (1 + e^-x)`
    Sigmoid => sigmoid, Joint::Activation(LinearActivation::Sigmoid);
    /// `x` kept within `0..=6`.
    ReLU6 => relu6;
    /// `x sigmoid(x)`
    SiLU => silu;
    /// `elu` with the alpha and the scale that keep a deep net's mean 0 and variance 1.
    SELU => selu;
    /// `x tanh(softplus(x))`
    Mish => mish;
    /// `relu6(x + 3) / 6`
    Hardsigmoid => hardsigmoid;
    /// `x relu6(x + 3) / 6`
    Hardswish => hardswish;
    /// `log(sigmoid(x))`
    LogSigmoid => logsigmoid;
    /// `x / (1 + |x|)`
    Softsign => softsign;
    /// `x - tanh(x)`
    Tanhshrink => tanhshrink;
}

/// `x` itself: a place that holds nothing yet.
#[derive(Debug, Clone, Copy, Default, Module)]
#[module(crate = crate)]
pub struct Identity;

impl Forward for Identity {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        Ok(x.clone())
    }
    fn forward_owned(&self, x: Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        Ok(x)
    }
}

/// Activations with settings: public fields, and PyTorch's defaults where it has any.
macro_rules! settings {
    ($($(#[$doc:meta])* $name:ident {
        $($(#[$field_doc:meta])* $field:ident: $ty:ty $(= $default:expr)?),*
    } => |$x:ident| $body:expr;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Module)]
        #[module(crate = crate)]
        pub struct $name {
            $($(#[$field_doc])* #[module(skip)] pub $field: $ty,)*
        }

        settings! { default $name { $($field $(= $default)?),* } }

        impl Forward for $name {
            fn forward(&self, $x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
                let $name { $($field),* } = *self;
                $body
            }
        }
    )*};
    (default $name:ident { $($field:ident = $default:expr),* }) => {
        impl Default for $name {
            fn default() -> Self {
                $name { $($field: $default),* }
            }
        }
    };
    (default $name:ident { $($field:ident),* }) => {};
}

/// Which form of [`GELU`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Approximate {
    /// The exact one, with the error function.
    #[default]
    None,
    /// With tanh in its place.
    Tanh,
}

settings! {
    /// `x Phi(x)`
    ///
    /// ```
    /// # use ferrotape_nn::{Approximate, GELU};
    /// assert_eq!(GELU::default(), GELU { approximate: Approximate::None });
    /// ```
    GELU {
        /// Exact, or by way of tanh.
        approximate: Approximate = Approximate::None
    } => |x| match approximate {
        Approximate::None => x.gelu(),
        Approximate::Tanh => x.gelu_tanh(),
    };
    /// `x` above 0, `alpha (e^x - 1)` elsewhere.
    ELU {
        /// What it tends to far below 0, negated.
        alpha: f64 = 1.0
    } => |x| x.elu(alpha);
    /// `x` above 0, `alpha (e^(x / alpha) - 1)` elsewhere.
    CELU {
        /// What it tends to far below 0, negated.
        alpha: f64 = 1.0
    } => |x| x.celu(alpha);
    /// `x` above 0, `negative_slope x` elsewhere.
    LeakyReLU {
        /// The slope below 0.
        negative_slope: f64 = 0.01
    } => |x| x.leaky_relu(negative_slope);
    /// `log(1 + e^(beta x)) / beta`, and x itself where `beta x` is above `threshold`.
    Softplus {
        /// How sharp its bend is.
        beta: f64 = 1.0,
        /// From where on it is x.
        threshold: f64 = 20.0
    } => |x| x.softplus_with(beta, threshold);
    /// `x` kept within `min_val..=max_val`.
    Hardtanh {
        /// The least value.
        min_val: f64 = -1.0,
        /// The largest value.
        max_val: f64 = 1.0
    } => |x| x.hardtanh(min_val, max_val);
    /// `x` moved towards 0 by `lambd`, 0 if it is nearer.
    Softshrink {
        /// How far.
        lambd: f64 = 0.5
    } => |x| x.softshrink(lambd);
    /// `x` outside `-lambd..=lambd`, 0 inside.
    Hardshrink {
        /// How wide the gap is.
        lambd: f64 = 0.5
    } => |x| x.hardshrink(lambd);
    /// `x` above `threshold`, `value` elsewhere.
    Threshold {
        /// Above it x passes.
        threshold: f64,
        /// What stands for the rest.
        value: f64
    } => |x| x.threshold(threshold, value);
    /// `a sigmoid(b)`, a and b the halves of x along `dim`.
    GLU {
        /// The dim that is halved.
        dim: i64 = -1
    } => |x| x.glu(dim);
    /// `e^x / sum(e^x)` along `dim`.
    Softmax {
        /// Along it the results sum to 1.
        dim: i64
    } => |x| x.softmax(dim);
    /// `softmax(-x)` along `dim`.
    Softmin {
        /// Along it the results sum to 1.
        dim: i64
    } => |x| x.softmin(dim);
    /// The logarithm of `softmax(x)` along `dim`.
    LogSoftmax {
        /// Along it the results' exponentials sum to 1.
        dim: i64
    } => |x| x.log_softmax(dim);
}

/// `x` above 0, `weight x` elsewhere, with a weight that is learnt: one, or one a channel (dim 1).
#[derive(Debug, Clone, Module)]
#[module(crate = crate)]
pub struct PReLU {
    /// The slopes below 0, `[num_parameters]`.
    pub weight: Param,
}

impl PReLU {
    /// `num_parameters` slopes, all of `init`; PyTorch's defaults: 1 of 0.25.
    ///
    /// # Errors
    /// No parameters; memory over the limit.
    pub fn new(num_parameters: usize, init: f64) -> Result<Self> {
        if num_parameters == 0 {
            let message = "prelu: num_parameters is 0".to_string();
            return Err(Error::new(ErrorKind::Module(message)));
        }
        Ok(PReLU { weight: Param::new(Tensor::full([num_parameters], init, DType::F32)?) })
    }
}

impl Forward for PReLU {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.prelu(self.weight.tensor())
    }
}

/// All dims but the first as one: `[n, ..]` to `[n, product]`.
#[derive(Debug, Clone, Copy, Default, Module)]
#[module(crate = crate)]
pub struct Flatten;

impl Forward for Flatten {
    fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
        x.flatten(1, -1)
    }
}
