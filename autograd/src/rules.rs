//! Derivative rules: one row an operation, a formula an input.
//!
//! A row names what the tape keeps (`a, b, c`: operands; `y, z`: results) and then, with `g` for the gradient of the first result,
//! one formula for each operand. A formula that names a tensor that is not kept does not compile. Formulas are tensor
//! expressions, so an outer tape differentiates them again. Un-broadcasting is not their business.

mod elementwise;
mod image;
mod loss;
mod norm;
mod pooled;
mod product;
mod quantize;
mod reduce;
mod scan;
mod scatter;
mod sequence;
mod shape;
mod softmax;
mod svd;

use ferrotape_tensor::{Error, ErrorKind, Meta, Op, Result, Tensor};
use smallvec::SmallVec;

use crate::tape::Node;

/// A tensor that a rule keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Slot {
    Input(usize),
    Output(usize),
    /// Every operand and every result: for custom operations.
    AllInputs,
}

/// The keep-list of custom operations.
pub(crate) const KEEP_ALL: &[Slot] = &[Slot::AllInputs];

/// One an operand.
pub(crate) type Gradients = SmallVec<[Option<Tensor>; 9]>;

type Formula = fn(&Cx<'_>) -> Result<Option<Tensor>>;

/// What the tape keeps for an operation, and its gradients.
pub struct Rule {
    pub(crate) keep: &'static [Slot],
    pub(crate) formulas: Formulas,
}

pub(crate) enum Formulas {
    /// One an operand.
    Each(&'static [Formula]),
    /// One for all, told which operand.
    Any(fn(&Cx<'_>, usize) -> Result<Option<Tensor>>),
    /// All at once, told which are needed: for work that they share.
    All(fn(&Cx<'_>, &[bool]) -> Result<Gradients>),
}

/// How an operation is differentiated.
pub enum Derivative {
    /// By this rule.
    Rule(&'static Rule),
    /// By the backward function that the custom operation brings.
    Custom,
    /// Not at all, by its nature: its results are constants to a tape.
    None,
    /// Nobody has said: an error on a tape.
    Missing,
}

/// How `op` is differentiated. Exhaustive: an operation that is added to the library must be given a place here.
pub fn derivative(op: &Op) -> Derivative {
    match op {
        Op::Unary(unary) => elementwise::unary(*unary),
        Op::Binary(binary) => elementwise::binary(*binary),
        Op::Select => Derivative::Rule(elementwise::SELECT),
        Op::Transfer(_) => Derivative::Rule(elementwise::PASS),
        Op::Cast(to) if to.is_float() => Derivative::Rule(elementwise::PASS),
        Op::Copy => Derivative::Rule(elementwise::PASS),
        Op::Reduce(reduce, _) => reduce::reduce(*reduce),
        Op::Scan(scan, _) => scan::scan(*scan),
        Op::Sort { .. } => Derivative::Rule(scan::SORT),
        Op::Svd => Derivative::Rule(svd::SVD),
        Op::Matmul | Op::Linear(_) | Op::LinearWeight => product::product(op),
        Op::View(view) => shape::view(view),
        Op::Concat(_) => Derivative::Rule(shape::CONCAT),
        Op::Index(index) => shape::index(index),
        Op::Conv2d(..) | Op::Conv2dInput(..) | Op::Conv2dWeight(..) => image::convolution(op),
        Op::Conv2dMaxPool2d(..) | Op::Conv2dMaxPool2dInput(..) | Op::Conv2dMaxPool2dWeight(..) => {
            pooled::rule(op)
        }
        Op::MaxPool2d(_) | Op::MaxPool2dScatter(..) | Op::MaxPool2dGather(_) => image::pooling(op),
        Op::AvgPool2d(..) | Op::AvgPool2dInput(..) => image::mean_pooling(op),
        Op::Dequantize { .. } => Derivative::Rule(quantize::DEQUANTIZE),
        Op::FakeQuantize(_) => Derivative::Rule(quantize::FAKE_QUANTIZE),
        Op::Softmax { log, .. } => softmax::softmax(*log),
        Op::Sequence(_) => Derivative::Rule(sequence::SEQUENCE),
        Op::LayerNorm { .. } => Derivative::Rule(norm::LAYER_NORM),
        Op::LayerNormInput { .. } => Derivative::Rule(norm::LAYER_NORM_INPUT),
        Op::LayerNormWeight { .. } => Derivative::Rule(norm::LAYER_NORM_WEIGHT),
        Op::MseLoss => Derivative::Rule(loss::MSE_LOSS),
        Op::MseLossInput => Derivative::Rule(loss::MSE_LOSS_INPUT),
        Op::CrossEntropy => Derivative::Rule(softmax::CROSS_ENTROPY),
        Op::CrossEntropyInput => Derivative::Rule(softmax::CROSS_ENTROPY_INPUT),
        Op::Custom(_) => Derivative::Custom,
        // Integers and booleans out, or cut off on purpose.
        Op::Compare(_) | Op::Logical(_) | Op::ArgReduce(..) | Op::Cast(_) => Derivative::None,
        Op::Random(..) | Op::StopGradient | Op::SearchSorted { .. } => Derivative::None,
        Op::MaxPool2dIndex(_) => Derivative::None,
        Op::Quantize(_) | Op::MatmulInteger | Op::ConvInteger(_) => Derivative::None,
        // Training sees fake quantization instead.
        Op::Int8(_) => Derivative::None,
        // Updates change values under the tape; steps belong behind the gradient.
        _ => Derivative::Missing,
    }
}

/// What a formula sees: the operation, what was kept, and the gradients of the results.
pub(crate) struct Cx<'a> {
    pub(crate) node: &'a Node,
    /// Of the operands.
    pub(crate) metas: &'a [Meta],
    pub(crate) outputs: &'a [Option<Tensor>],
}

impl<'a> Cx<'a> {
    /// The operation.
    pub(crate) fn op(&self) -> &'a Op {
        &self.node.op
    }

    /// Shape, type and device of operand `place`.
    pub(crate) fn meta(&self, place: usize) -> &'a Meta {
        &self.metas[place]
    }

    /// The gradient of the first result.
    pub(crate) fn g(&self) -> Result<&'a Tensor> {
        self.outputs.first().and_then(Option::as_ref).ok_or_else(|| self.bug("has no gradient"))
    }

    /// A kept tensor.
    pub(crate) fn kept(&self, slot: Slot) -> Result<&'a Tensor> {
        let found = self.node.kept.iter().find(|(kept, _)| *kept == slot);
        found.map(|(_, tensor)| tensor).ok_or_else(|| self.bug("did not keep what its rule needs"))
    }

    pub(crate) fn bug(&self, what: &str) -> Error {
        Error::new(ErrorKind::Gradient(format!("{}: internal: {what}", self.op().name())))
    }
}

/// A formula's value, or [`NONE`].
pub(crate) trait IntoGradient {
    fn into_gradient(self) -> Result<Option<Tensor>>;
}

impl IntoGradient for Result<Tensor> {
    fn into_gradient(self) -> Result<Option<Tensor>> {
        self.map(Some)
    }
}

impl IntoGradient for &Tensor {
    fn into_gradient(self) -> Result<Option<Tensor>> {
        Ok(Some(self.clone()))
    }
}

/// The formula of an operand that has no gradient: an index, a condition.
pub(crate) struct None_;

impl IntoGradient for None_ {
    fn into_gradient(self) -> Result<Option<Tensor>> {
        Ok(None)
    }
}

/// The slot that a name in a row stands for.
pub(crate) const fn slot(name: &str) -> Slot {
    match name.as_bytes() {
        b"a" => Slot::Input(0),
        b"b" => Slot::Input(1),
        b"c" => Slot::Input(2),
        b"y" => Slot::Output(0),
        _ => Slot::Output(1),
    }
}

/// `rule!([kept] |g, cx| formula, formula)`: a `&'static Rule`.
macro_rules! rule {
    ($keep:tt |$g:ident| $($formula:expr),+ $(,)?) => {
        crate::rules::rule!($keep |$g, cx| $($formula),+)
    };
    ($keep:tt |$g:ident, $cx:ident| $($formula:expr),+ $(,)?) => {{
        const RULE: crate::rules::Rule = crate::rules::Rule {
            keep: crate::rules::keep!($keep),
            formulas: crate::rules::Formulas::Each(&[$(
                |$cx: &crate::rules::Cx<'_>| {
                    #[allow(unused_variables)]
                    let $g = $cx.g()?;
                    crate::rules::bind!($cx $keep);
                    crate::rules::IntoGradient::into_gradient($formula)
                }
            ),+]),
        };
        &RULE
    }};
}

macro_rules! keep {
    ([$($name:ident),*]) => { &[$(crate::rules::slot(stringify!($name))),*] };
}

macro_rules! bind {
    ($cx:ident [$($name:ident),*]) => { $(
        #[allow(unused_variables)]
        let $name = $cx.kept(crate::rules::slot(stringify!($name)))?;
    )* };
}

pub(crate) use {bind, keep, rule};
