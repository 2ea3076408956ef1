//! Activations and flattening, as layers.

use ferrotape_tensor::{Result, Tensor};

use crate::Module;
use crate::ctx::Ctx;
use crate::module::Forward;

macro_rules! activations {
    ($($(#[$doc:meta])* $name:ident => $method:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, Module)]
        #[module(crate = crate)]
        pub struct $name;

        impl Forward for $name {
            fn forward(&self, x: &Tensor, _: &mut Ctx<'_>) -> Result<Tensor> {
                x.$method()
            }
        }
    )*};
}

activations! {
    /// `max(x, 0)`
    Relu => relu;
    /// Hyperbolic tangent.
    Tanh => tanh;
    /// `1 / (1 + e^-x)`
    Sigmoid => sigmoid;
    /// `x * Phi(x)`, the exact form.
    Gelu => gelu;
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
