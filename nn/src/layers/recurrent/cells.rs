//! One step of a recurrent layer.

use ferrotape_tensor::{DType, Generator, RecurrentCell, Result, SequenceOutput, Tensor};

use super::stack::{Settings, Weights};
use crate::module::{Module, Visitor, VisitorMut};

macro_rules! cell {
    ($(#[$doc:meta])* $cell:ident, $config:ident, $kind:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $cell {
            settings: Settings,
            weights: Weights,
        }

        impl $cell {
            /// From `input_size` to `hidden_size` features, with biases, f32, uniform within `1 / sqrt(hidden_size)`.
            ///
            /// # Errors
            /// A size of 0; memory over the limit.
            pub fn new(input_size: usize, hidden_size: usize, rng: &mut Generator) -> Result<Self> {
                $config::new(input_size, hidden_size).build(rng)
            }

        }

        #[doc = concat!("Settings of an [`", stringify!($cell), "`].")]
        #[derive(Debug, Clone, Copy)]
        pub struct $config(Settings);

        impl $config {
            /// From `input_size` to `hidden_size` features, with biases, f32.
            pub fn new(input_size: usize, hidden_size: usize) -> Self {
                $config(Settings::new($kind, input_size, hidden_size))
            }

            /// With or without biases.
            pub fn bias(mut self, bias: bool) -> Self {
                self.0.bias = bias;
                self
            }

            /// Type of the parameters.
            pub fn dtype(mut self, dtype: DType) -> Self {
                self.0.dtype = dtype;
                self
            }

            /// The cell, its parameters uniform within `1 / sqrt(hidden_size)`.
            ///
            /// # Errors
            /// A size of 0; an integer type; memory over the limit.
            pub fn build(self, rng: &mut Generator) -> Result<$cell> {
                self.0.check()?;
                let weights = Weights::new(&self.0, self.0.input, rng)?;
                Ok($cell { settings: self.0, weights })
            }
        }

        impl Module for $cell {
            fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
                visitor.module(std::any::type_name::<Self>());
                for (name, param) in self.weights.named() {
                    visitor.enter(name);
                    visitor.param(param);
                    visitor.leave();
                }
            }
            fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
                for (name, param) in self.weights.named_mut() {
                    visitor.enter(name);
                    visitor.param(param);
                    visitor.leave();
                }
            }
        }
    };
}

cell! {
    /// One step of an [`LSTM`](crate::LSTM): PyTorch's `nn.LSTMCell`.
    LSTMCell, LSTMCellConfig, RecurrentCell::Lstm
}
cell! {
    /// One step of a [`GRU`](crate::GRU): PyTorch's `nn.GRUCell`.
    GRUCell, GRUCellConfig, RecurrentCell::Gru
}
cell! {
    /// One step of an [`RNN`](crate::RNN): PyTorch's `nn.RNNCell`.
    RNNCell, RNNCellConfig, RecurrentCell::RnnTanh
}

/// One step of `x` `[batch, input]` or `[input]`, from states of the same rank or of 0.
fn step(
    settings: &Settings,
    weights: &Weights,
    x: &Tensor,
    state: Option<(&Tensor, Option<&Tensor>)>,
) -> Result<SequenceOutput> {
    let batched = x.rank() == 2;
    if !(batched || x.rank() == 1) || x.shape().last() != Some(&settings.input) {
        let size = settings.input;
        let message = format!("input {:?}: [batch, {size}] or [{size}] expected", x.shape());
        return Err(settings.wrong(message));
    }
    let row = |x: &Tensor| if batched { Ok(x.clone()) } else { x.unsqueeze(0) };
    let x = row(x)?;
    let state = match state {
        Some((h, c)) => {
            let rank = if batched { 2 } else { 1 };
            if h.rank() != rank || c.is_some_and(|c| c.rank() != rank) {
                return Err(settings.wrong(format!("a state of {:?} for one step", h.shape())));
            }
            Some((row(h)?, c.map(row).transpose()?))
        }
        None => None,
    };
    let state = state.as_ref().map(|(h, c)| (h, c.as_ref()));
    let out = weights.run(settings, false, &x.unsqueeze(0)?, state, None)?;
    let flat = |x: Tensor| if batched { Ok(x) } else { x.squeeze(0) };
    Ok(SequenceOutput {
        y: out.y.squeeze(0)?,
        h_n: flat(out.h_n)?,
        c_n: out.c_n.map(flat).transpose()?,
    })
}

impl LSTMCell {
    /// The next states `(h, c)`, each `[batch, hidden]`, from x `[batch, input]` (or without the batch) and states; `None`: of 0.
    ///
    /// # Errors
    /// An input or a state that does not fit.
    #[track_caller]
    pub fn forward(
        &self,
        x: &Tensor,
        state: Option<(&Tensor, &Tensor)>,
    ) -> Result<(Tensor, Tensor)> {
        let state = state.map(|(h, c)| (h, Some(c)));
        let out = step(&self.settings, &self.weights, x, state)?;
        let c_n = out.c_n.ok_or_else(|| self.settings.wrong("internal: no cell state".into()))?;
        Ok((out.h_n, c_n))
    }
}

impl GRUCell {
    /// The next state `[batch, hidden]`, from x `[batch, input]` (or without the batch) and a state; `None`: of 0.
    ///
    /// # Errors
    /// An input or a state that does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, h: Option<&Tensor>) -> Result<Tensor> {
        Ok(step(&self.settings, &self.weights, x, h.map(|h| (h, None)))?.h_n)
    }
}

impl RNNCellConfig {
    /// `max(x, 0)` instead of tanh: PyTorch's `nonlinearity="relu"`.
    pub fn relu(mut self, relu: bool) -> Self {
        self.0.cell = if relu { RecurrentCell::RnnRelu } else { RecurrentCell::RnnTanh };
        self
    }
}

impl RNNCell {
    /// The next state `[batch, hidden]`, from x `[batch, input]` (or without the batch) and a state; `None`: of 0.
    ///
    /// # Errors
    /// An input or a state that does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, h: Option<&Tensor>) -> Result<Tensor> {
        Ok(step(&self.settings, &self.weights, x, h.map(|h| (h, None)))?.h_n)
    }
}
