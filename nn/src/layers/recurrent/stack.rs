//! Layers and directions of a recurrent network, whatever its cell.

use std::fmt::Write as _;

use ferrotape_tensor::chain::ShapeChain;
use ferrotape_tensor::{
    DType, Error, ErrorKind, Generator, RecurrentCell, Result, SequenceOp, Tensor,
};
use smallvec::SmallVec;

use crate::ctx::Ctx;
use crate::layers::Dropout;
use crate::module::{Forward, Param, Visitor, VisitorMut};

/// PyTorch's options.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) cell: RecurrentCell,
    pub(super) input: usize,
    pub(super) hidden: usize,
    pub(super) layers: usize,
    pub(super) bias: bool,
    pub(super) batch_first: bool,
    pub(super) dropout: f64,
    pub(super) directions: usize,
    /// 0: none.
    pub(super) projection: usize,
    pub(super) dtype: DType,
}

impl Settings {
    pub(super) fn new(cell: RecurrentCell, input: usize, hidden: usize) -> Self {
        Settings {
            cell,
            input,
            hidden,
            layers: 1,
            bias: true,
            batch_first: false,
            dropout: 0.0,
            directions: 1,
            projection: 0,
            dtype: DType::F32,
        }
    }

    /// Its name in messages.
    pub(super) fn name(&self) -> &'static str {
        match self.cell {
            RecurrentCell::Lstm => "lstm",
            RecurrentCell::Gru => "gru",
            _ => "rnn",
        }
    }

    /// Features of the state and of one direction's output.
    fn output(&self) -> usize {
        if self.projection > 0 { self.projection } else { self.hidden }
    }

    pub(super) fn wrong(&self, message: String) -> Error {
        Error::new(ErrorKind::Module(format!("{}: {message}", self.name())))
    }

    /// The name of the parameter called `name` at a place in a stack.
    fn name_at(&self, place: usize, name: &str) -> Name {
        let (layer, reverse) = (place / self.directions, place % self.directions == 1);
        let mut full = Name { text: [0; 40], len: 0 };
        // There is room for every layer's name.
        let _ = write!(full, "{name}_l{layer}{}", if reverse { "_reverse" } else { "" });
        full
    }

    pub(super) fn check(&self) -> Result<()> {
        if self.input == 0 || self.hidden == 0 || self.layers == 0 {
            let message = format!(
                "input_size {}, hidden_size {}, num_layers {}: each must be at least 1",
                self.input, self.hidden, self.layers
            );
            return Err(self.wrong(message));
        }
        let gates = self.hidden.checked_mul(self.cell.gates().max(2));
        if gates.is_none() {
            return Err(self.wrong("hidden_size is too large".into()));
        }
        if self.projection >= self.hidden {
            let message =
                format!("proj_size {} must be below hidden_size {}", self.projection, self.hidden);
            return Err(self.wrong(message));
        }
        Ok(())
    }
}

/// A parameter's name: at most 9 bytes for what it is, 30 for where. No string, for a step of training asks for every name three times.
struct Name {
    text: [u8; 40],
    len: usize,
}

impl Name {
    fn as_str(&self) -> &str {
        self.text.get(..self.len).and_then(|text| str::from_utf8(text).ok()).unwrap_or_default()
    }
}

impl std::fmt::Write for Name {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let place = self.text.get_mut(self.len..).and_then(|rest| rest.get_mut(..part.len()));
        place.ok_or(std::fmt::Error)?.copy_from_slice(part.as_bytes());
        self.len += part.len();
        Ok(())
    }
}

/// The parameters of one layer in one direction.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    pub(super) ih: Param,
    pub(super) hh: Param,
    pub(super) biases: Option<[Param; 2]>,
    pub(super) hr: Option<Param>,
}

impl Weights {
    /// For `input` features, uniform within `1 / sqrt(hidden)`.
    pub(super) fn new(settings: &Settings, input: usize, rng: &mut Generator) -> Result<Weights> {
        let bound = 1.0 / (settings.hidden as f64).sqrt();
        let gates = settings.hidden * settings.cell.gates();
        let mut param = |shape: &[usize]| {
            Ok::<_, Error>(Param::new(rng.uniform(shape, -bound, bound, settings.dtype)?))
        };
        Ok(Weights {
            ih: param(&[gates, input])?,
            hh: param(&[gates, settings.output()])?,
            biases: match settings.bias {
                true => Some([param(&[gates])?, param(&[gates])?]),
                false => None,
            },
            hr: match settings.projection {
                0 => None,
                size => Some(param(&[size, settings.hidden])?),
            },
        })
    }

    /// With their names in the state dict, less the layer's suffix, in PyTorch's order.
    pub(super) fn named(&self) -> impl Iterator<Item = (&'static str, &Param)> {
        let biases = self.biases.iter().flat_map(|[ih, hh]| [("bias_ih", ih), ("bias_hh", hh)]);
        let weights = [("weight_ih", &self.ih), ("weight_hh", &self.hh)];
        weights.into_iter().chain(biases).chain(self.hr.iter().map(|hr| ("weight_hr", hr)))
    }

    /// As [`named`](Self::named), to change them.
    pub(super) fn named_mut(&mut self) -> impl Iterator<Item = (&'static str, &mut Param)> {
        let biases = self.biases.iter_mut().flat_map(|[ih, hh]| [("bias_ih", ih), ("bias_hh", hh)]);
        let weights = [("weight_ih", &mut self.ih), ("weight_hh", &mut self.hh)];
        weights.into_iter().chain(biases).chain(self.hr.iter_mut().map(|hr| ("weight_hr", hr)))
    }

    /// Runs `x` `[steps, batch, input]` from a state, or from 0.
    pub(super) fn run(
        &self,
        settings: &Settings,
        reverse: bool,
        x: &Tensor,
        state: Option<(&Tensor, Option<&Tensor>)>,
        lengths: Option<&Tensor>,
    ) -> Result<ferrotape_tensor::SequenceOutput> {
        let op = SequenceOp {
            cell: settings.cell,
            reverse,
            state: state.is_some(),
            bias: self.biases.is_some(),
            projection: self.hr.is_some(),
            lengths: lengths.is_some(),
        };
        let mut operands: SmallVec<[&Tensor; 9]> = SmallVec::new();
        operands.push(x);
        if let Some((h, c)) = state {
            operands.push(h);
            operands.extend(c);
        }
        operands.extend([&*self.ih, &*self.hh]);
        operands.extend(self.biases.iter().flatten().map(|bias| &**bias));
        operands.extend(self.hr.as_deref());
        operands.extend(lengths);
        op.fused(&operands)
    }
}

/// All layers and directions.
#[derive(Debug, Clone)]
pub(super) struct Stack {
    settings: Settings,
    /// Layer by layer, forward before backward.
    weights: Vec<Weights>,
}

/// What a stack gives.
pub(super) struct Output {
    pub(super) y: Tensor,
    pub(super) h_n: Tensor,
    pub(super) c_n: Option<Tensor>,
}

impl Output {
    pub(super) fn with_cell(self) -> Result<(Tensor, (Tensor, Tensor))> {
        match self.c_n {
            Some(c_n) => Ok((self.y, (self.h_n, c_n))),
            None => Err(Error::new(ErrorKind::Module("lstm: internal: no cell state".into()))),
        }
    }
}

impl Stack {
    pub(super) fn new(settings: Settings, rng: &mut Generator) -> Result<Stack> {
        settings.check()?;
        Dropout::new(settings.dropout)?;
        let wide = settings.output() * settings.directions;
        let input = |layer: usize| if layer == 0 { settings.input } else { wide };
        let weights = (0..settings.layers)
            .flat_map(|layer| (0..settings.directions).map(move |_| layer))
            .map(|layer| Weights::new(&settings, input(layer), rng))
            .collect::<Result<Vec<_>>>()?;
        Ok(Stack { settings, weights })
    }

    pub(super) fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        for (place, weights) in self.weights.iter().enumerate() {
            for (name, param) in weights.named() {
                visitor.enter(self.settings.name_at(place, name).as_str());
                visitor.param(param);
                visitor.leave();
            }
        }
    }

    pub(super) fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        for (place, weights) in self.weights.iter_mut().enumerate() {
            for (name, param) in weights.named_mut() {
                visitor.enter(self.settings.name_at(place, name).as_str());
                visitor.param(param);
                visitor.leave();
            }
        }
    }

    /// Runs the layers. Without a batch, x is `[steps, input]` and states `[layers * directions, ..]`.
    #[track_caller]
    pub(super) fn run(
        &self,
        x: &Tensor,
        lengths: Option<&[usize]>,
        state: Option<(&Tensor, Option<&Tensor>)>,
        ctx: &mut Ctx<'_>,
    ) -> Result<Output> {
        let here = std::panic::Location::caller();
        self.run_layers(x, lengths, state, ctx).map_err(|error| error.at(here))
    }

    fn run_layers(
        &self,
        x: &Tensor,
        lengths: Option<&[usize]>,
        state: Option<(&Tensor, Option<&Tensor>)>,
        ctx: &mut Ctx<'_>,
    ) -> Result<Output> {
        let settings = &self.settings;
        let batched = x.rank() == 3;
        if !(batched || x.rank() == 2) || x.shape().last() != Some(&settings.input) {
            let order = if settings.batch_first { "batch, steps" } else { "steps, batch" };
            let message = format!(
                "input {:?}: [{order}, {}] or [steps, {}] expected",
                x.shape(),
                settings.input,
                settings.input
            );
            return Err(settings.wrong(message));
        }
        let mut y = match (batched, settings.batch_first) {
            (false, _) => x.unsqueeze(1)?,
            (true, true) => x.transpose(0, 1)?,
            (true, false) => x.clone(),
        };
        let batch = y.shape()[1];
        let states = States::new(settings, state, batched, batch)?;
        let lengths = match lengths {
            Some(lengths) => Some(self.lengths(lengths, batch)?.to_device(x.device())?),
            None => None,
        };
        let (mut last, mut last_cells) = (SmallVec::<[_; 2]>::new(), SmallVec::<[_; 2]>::new());
        for layer in 0..settings.layers {
            let mut outputs: SmallVec<[Tensor; 2]> = SmallVec::new();
            for direction in 0..settings.directions {
                let place = layer * settings.directions + direction;
                let weights = &self.weights[place];
                let state = states.at(place)?;
                let state = state.as_ref().map(|(h, c)| (h, c.as_ref()));
                let out = weights.run(settings, direction == 1, &y, state, lengths.as_ref())?;
                outputs.push(out.y);
                last.push(out.h_n);
                last_cells.extend(out.c_n);
            }
            y = match &outputs[..] {
                [one] => one.clone(),
                all => Tensor::cat(&all.iter().collect::<Vec<_>>(), 2)?,
            };
            if layer + 1 < settings.layers {
                y = Dropout::new(settings.dropout)?.forward(&y, ctx)?;
            }
        }
        let y = match (batched, settings.batch_first) {
            (false, _) => y.squeeze(1)?,
            (true, true) => y.transpose(0, 1)?,
            (true, false) => y,
        };
        let joined = |all: &[Tensor]| {
            let joined = match all {
                [one] => one.unsqueeze(0),
                all => Tensor::stack(&all.iter().collect::<Vec<_>>(), 0),
            };
            if batched { joined } else { joined.squeeze(1) }
        };
        let c_n = if last_cells.is_empty() { None } else { Some(joined(&last_cells)?) };
        Ok(Output { y, h_n: joined(&last)?, c_n })
    }

    fn lengths(&self, lengths: &[usize], batch: usize) -> Result<Tensor> {
        if lengths.len() != batch {
            let message = format!("{} lengths for a batch of {batch}", lengths.len());
            return Err(self.settings.wrong(message));
        }
        let lengths = lengths.iter().map(|&length| i64::try_from(length).unwrap_or(i64::MAX));
        Tensor::from_vec(lengths.collect(), [batch])
    }
}

/// The initial states, `[layers * directions, batch, ..]`, if they are given.
struct States(Option<(Tensor, Option<Tensor>)>);

impl States {
    fn new(
        settings: &Settings,
        state: Option<(&Tensor, Option<&Tensor>)>,
        batched: bool,
        batch: usize,
    ) -> Result<States> {
        let Some((h, c)) = state else { return Ok(States(None)) };
        let count = settings.layers * settings.directions;
        let fit = |what: &str, state: &Tensor, size: usize| {
            let whole = [count, batch, size];
            let expected = if batched { &whole[..] } else { &[count, size] };
            if state.shape() != expected {
                let message = format!("{what} {:?}: {expected:?} expected", state.shape());
                return Err(settings.wrong(message));
            }
            state.reshape(whole)
        };
        let h = fit("h_0", h, settings.output())?;
        let c = c.map(|c| fit("c_0", c, settings.hidden)).transpose()?;
        Ok(States(Some((h, c))))
    }

    /// Of layer and direction `place`.
    fn at(&self, place: usize) -> Result<Option<(Tensor, Option<Tensor>)>> {
        let slice = |x: &Tensor| {
            let [batch, size] = [x.size(1)?, x.size(2)?];
            x.narrow(0, place, 1).reshape([batch, size])
        };
        let Some((h, c)) = &self.0 else { return Ok(None) };
        Ok(Some((slice(h)?, c.as_ref().map(slice).transpose()?)))
    }
}
