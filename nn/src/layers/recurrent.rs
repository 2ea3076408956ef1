//! Recurrent layers over whole sequences: LSTM, GRU, RNN.

mod cells;
mod stack;

pub use cells::{GRUCell, GRUCellConfig, LSTMCell, LSTMCellConfig, RNNCell, RNNCellConfig};

use ferrotape_tensor::{DType, Generator, RecurrentCell, Result, Tensor};

use crate::ctx::Ctx;
use crate::module::{Module, Visitor, VisitorMut};
use stack::{Settings, Stack};

/// The parts that all three layers share.
macro_rules! layer {
    ($(#[$doc:meta])* $layer:ident, $config:ident, $cell:expr) => {
        $(#[$doc])*
        #[derive(Debug, Clone)]
        pub struct $layer(Stack);

        #[doc = concat!("Settings of an [`", stringify!($layer), "`], under PyTorch's names.")]
        #[derive(Debug, Clone, Copy)]
        pub struct $config(Settings);

        impl $config {
            /// From `input_size` to `hidden_size` features: one layer with biases, `[steps, batch, features]`, f32.
            pub fn new(input_size: usize, hidden_size: usize) -> Self {
                $config(Settings::new($cell, input_size, hidden_size))
            }

            /// Layers, each fed with the output of the one before.
            pub fn num_layers(mut self, num_layers: usize) -> Self {
                self.0.layers = num_layers;
                self
            }

            /// With or without biases.
            pub fn bias(mut self, bias: bool) -> Self {
                self.0.bias = bias;
                self
            }

            /// Input and output are `[batch, steps, features]`; states stay `[layers, batch, features]`.
            pub fn batch_first(mut self, batch_first: bool) -> Self {
                self.0.batch_first = batch_first;
                self
            }

            /// Dropout of this probability after each layer but the last, in training; with one layer there is none.
            pub fn dropout(mut self, p: f64) -> Self {
                self.0.dropout = p;
                self
            }

            /// A second direction runs from the end; both outputs lie one after the other.
            pub fn bidirectional(mut self, bidirectional: bool) -> Self {
                self.0.directions = if bidirectional { 2 } else { 1 };
                self
            }

            /// Type of the parameters.
            pub fn dtype(mut self, dtype: DType) -> Self {
                self.0.dtype = dtype;
                self
            }

            /// The layer, its parameters uniform within `1 / sqrt(hidden_size)`.
            ///
            /// # Errors
            /// A size or number of layers of 0, a dropout that is no probability, a projection that is not smaller than
            /// `hidden_size`; memory over the limit.
            pub fn build(self, rng: &mut Generator) -> Result<$layer> {
                Ok($layer(Stack::new(self.0, rng)?))
            }
        }

        impl $layer {
            #[doc = concat!("One layer with biases, f32; see [`", stringify!($config), "`] for others.")]
            ///
            /// # Errors
            /// A size of 0; memory over the limit.
            pub fn new(input_size: usize, hidden_size: usize, rng: &mut Generator) -> Result<Self> {
                $config::new(input_size, hidden_size).build(rng)
            }
        }

        impl Module for $layer {
            fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
                visitor.module(std::any::type_name::<Self>());
                self.0.visit(visitor);
            }
            fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
                self.0.visit_mut(visitor);
            }
        }
    };
}

/// The methods of layers whose state is one tensor.
macro_rules! one_state {
    ($layer:ident) => {
        impl $layer {
            /// Output and last states, from states of 0. x: `[steps, batch, input]` (`[batch, steps, input]` if `batch_first`), or
            /// `[steps, input]` without a batch; output: the same with `directions * hidden` features; h_n: `[layers * directions, batch,
            /// hidden]`.
            ///
            /// # Errors
            /// An input that does not fit.
            #[track_caller]
            pub fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<(Tensor, Tensor)> {
                self.forward_from(x, None, ctx)
            }

            /// As [`forward`](Self::forward), from the state `h_0`, of the shape of h_n.
            ///
            /// # Errors
            /// An input or a state that does not fit.
            #[track_caller]
            pub fn forward_from(
                &self,
                x: &Tensor,
                h_0: Option<&Tensor>,
                ctx: &mut Ctx<'_>,
            ) -> Result<(Tensor, Tensor)> {
                let out = self.0.run(x, None, h_0.map(|h| (h, None)), ctx)?;
                Ok((out.y, out.h_n))
            }

            /// As [`forward_from`](Self::forward_from), of rows of different lengths (from 1 to the steps of x, in any order), as PyTorch's
            /// packed sequences: what lies beyond a row's length is not read, the output there is 0, h_n is the state at each row's
            /// end, and the opposite direction starts there. Nothing has to be sorted: results come in the order given, as with
            /// `enforce_sorted=False`.
            ///
            /// # Errors
            /// An input, a state or lengths that don't fit.
            #[track_caller]
            pub fn forward_packed(
                &self,
                x: &Tensor,
                lengths: &[usize],
                h_0: Option<&Tensor>,
                ctx: &mut Ctx<'_>,
            ) -> Result<(Tensor, Tensor)> {
                let out = self.0.run(x, Some(lengths), h_0.map(|h| (h, None)), ctx)?;
                Ok((out.y, out.h_n))
            }
        }
    };
}

layer! {
    /// Long short-term memory (Hochreiter and Schmidhuber 1997), PyTorch's `nn.LSTM`: its options, its parameters' names
    /// (`weight_ih_l0`, `weight_hh_l0`, `bias_ih_l0`, `bias_hh_l0`, `weight_hr_l0`, `.._l1`, `.._l0_reverse`), gates in the order i f g o.
    ///
    /// ```text
    /// i, f, g, o = (W_ih x + b_ih) + (W_hh h + b_hh)
    /// c = sigmoid(f) * c + sigmoid(i) * tanh(g)
    /// h = sigmoid(o) * tanh(c)                       W_hr times that with proj_size
    /// ```
    ///
    /// ```
    /// # use ferrotape_nn::{Ctx, LSTM, LSTMConfig};
    /// # use ferrotape_tensor::{DType, Generator, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let lstm = LSTMConfig::new(3, 8).num_layers(2).bidirectional(true).build(&mut Generator::new(0))?;
    /// let (y, (h_n, c_n)) = lstm.forward(&Tensor::ones([5, 2, 3], DType::F32)?, &mut Ctx::eval())?;
    /// assert_eq!((y.shape(), h_n.shape(), c_n.shape()), (&[5, 2, 16][..], &[4, 2, 8][..], &[4, 2, 8][..]));
    /// # Ok(()) }
    /// ```
    LSTM, LSTMConfig, RecurrentCell::Lstm
}

layer! {
    /// Gated recurrent unit (Cho et al. 2014), PyTorch's `nn.GRU`: its options, its parameters' names, gates in the order r z n, the
    /// reset gate after the hidden product.
    ///
    /// ```text
    /// r = sigmoid((W_ir x + b_ir) + (W_hr h + b_hr)), z likewise
    /// n = tanh((W_in x + b_in) + r * (W_hn h + b_hn))
    /// h = n + z * (h - n)
    /// ```
    GRU, GRUConfig, RecurrentCell::Gru
}

layer! {
    /// Elman's network, PyTorch's `nn.RNN`: its options and its parameters' names; `h = tanh((W_ih x + b_ih) + (W_hh h + b_hh))`, or relu.
    RNN, RNNConfig, RecurrentCell::RnnTanh
}

one_state!(GRU);
one_state!(RNN);

impl LSTMConfig {
    /// The hidden state is projected to this many features, fewer than `hidden_size` (0: none).
    pub fn proj_size(mut self, proj_size: usize) -> Self {
        self.0.projection = proj_size;
        self
    }
}

impl RNNConfig {
    /// `max(x, 0)` instead of tanh: PyTorch's `nonlinearity="relu"`.
    pub fn relu(mut self, relu: bool) -> Self {
        self.0.cell = if relu { RecurrentCell::RnnRelu } else { RecurrentCell::RnnTanh };
        self
    }
}

/// Hidden and cell state of an [`LSTM`].
type LstmState<'a> = (&'a Tensor, &'a Tensor);

impl LSTM {
    /// Output and last states `(h_n, c_n)`, from states of 0. x: `[steps, batch, input]` (`[batch, steps, input]` if `batch_first`), or
    /// `[steps, input]` without a batch; output: the same with `directions * (proj_size or hidden)` features; h_n: `[layers * directions,
    /// batch, proj_size or hidden]`, c_n: `[layers * directions, batch, hidden]`.
    ///
    /// # Errors
    /// An input that does not fit.
    #[track_caller]
    pub fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<(Tensor, (Tensor, Tensor))> {
        self.forward_from(x, None, ctx)
    }

    /// As [`forward`](Self::forward), from the states `(h_0, c_0)`, of the shapes of h_n and c_n.
    ///
    /// # Errors
    /// An input or a state that does not fit.
    #[track_caller]
    pub fn forward_from(
        &self,
        x: &Tensor,
        state: Option<LstmState<'_>>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        self.0.run(x, None, state.map(|(h, c)| (h, Some(c))), ctx)?.with_cell()
    }

    /// As [`forward_from`](Self::forward_from), of rows of different lengths (from 1 to the steps of x, in any order), as PyTorch's packed
    /// sequences: what lies beyond a row's length is not read, the output there is 0, h_n and c_n are the states at each row's end,
    /// and the opposite direction starts there.
    ///
    /// Nothing has to be sorted, whatever `enforce_sorted` says in PyTorch: results come back in the order of the rows given, as with
    /// `enforce_sorted=False`. The output has as many steps as x, as `pad_packed_sequence` gives with that `total_length`. As there, a
    /// row of no steps is an error.
    ///
    /// ```
    /// # use ferrotape_nn::{Ctx, LSTM};
    /// # use ferrotape_tensor::{DType, Generator, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let lstm = LSTM::new(3, 8, &mut Generator::new(0))?;
    /// let x = Tensor::ones([5, 2, 3], DType::F32)?;
    /// let (y, (h_n, _)) = lstm.forward_packed(&x, &[2, 5], None, &mut Ctx::eval())?;
    /// assert_eq!(y.i((4, 0))?.abs().max(..)?.to_f64()?, 0.0);
    /// assert_eq!(y.i((1, 0))?.to_vec::<f32>()?, h_n.i((0, 0))?.to_vec::<f32>()?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// An input, a state or lengths that don't fit.
    #[track_caller]
    pub fn forward_packed(
        &self,
        x: &Tensor,
        lengths: &[usize],
        state: Option<LstmState<'_>>,
        ctx: &mut Ctx<'_>,
    ) -> Result<(Tensor, (Tensor, Tensor))> {
        self.0.run(x, Some(lengths), state.map(|(h, c)| (h, Some(c))), ctx)?.with_cell()
    }
}
