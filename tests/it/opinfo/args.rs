//! PyTorch's arguments in our words.

use std::collections::BTreeMap;

use ferrotape::prelude::*;

/// An argument of a sample.
#[derive(Clone)]
pub(super) enum Arg {
    Tensor(Tensor),
    Int(i64),
    Float(f64),
    Bool(bool),
    Text(String),
    /// Start, stop and step of a slice.
    Range([Option<i64>; 3]),
    Ellipsis,
    None,
    List(Vec<Arg>),
}

/// Arguments in order, and by name.
#[derive(Default)]
pub(super) struct Args {
    pub(super) list: Vec<Arg>,
    pub(super) named: BTreeMap<String, Arg>,
}

impl Arg {
    pub(super) fn tensor(&self) -> Option<&Tensor> {
        if let Arg::Tensor(tensor) = self { Some(tensor) } else { None }
    }
    pub(super) fn int(&self) -> Option<i64> {
        if let Arg::Int(int) = self { Some(*int) } else { None }
    }
    pub(super) fn bool(&self) -> Option<bool> {
        if let Arg::Bool(bool) = self { Some(*bool) } else { None }
    }
    pub(super) fn number(&self) -> Option<f64> {
        match *self {
            Arg::Int(int) => Some(int as f64),
            Arg::Float(float) => Some(float),
            _ => None,
        }
    }
    /// One number or a list of them.
    pub(super) fn ints(&self) -> Option<Vec<i64>> {
        match self {
            Arg::List(list) => list.iter().map(Arg::int).collect(),
            one => Some(vec![one.int()?]),
        }
    }
    pub(super) fn sizes(&self) -> Option<Vec<usize>> {
        self.ints()?.into_iter().map(|size| usize::try_from(size).ok()).collect()
    }
    /// Height and width, which may be one number.
    pub(super) fn pair(&self) -> Option<[usize; 2]> {
        match self.sizes()?[..] {
            [both] => Some([both, both]),
            [h, w] => Some([h, w]),
            _ => None,
        }
    }
}

impl Args {
    /// An argument by place or by name; `None` (Python's too) if it is absent.
    pub(super) fn get(&self, place: usize, name: &str) -> Option<&Arg> {
        let found = self.list.get(place).or_else(|| self.named.get(name));
        found.filter(|arg| !matches!(arg, Arg::None))
    }
    pub(super) fn tensor(&self, place: usize) -> Option<&Tensor> {
        self.list.get(place)?.tensor()
    }
    /// True if a named argument has another value than `usual`.
    pub(super) fn asks(&self, name: &str, usual: &str) -> bool {
        match self.named.get(name) {
            None | Some(Arg::None) => false,
            Some(Arg::Text(text)) => text != usual,
            Some(Arg::Bool(bool)) => bool.to_string() != usual,
            Some(Arg::Int(int)) => int.to_string() != usual,
            Some(_) => true,
        }
    }
    /// The type that `dtype=` asks for.
    pub(super) fn dtype(&self) -> Option<DType> {
        match self.named.get("dtype")? {
            Arg::Text(name) if name == "torch.float64" => Some(DType::F64),
            Arg::Text(name) if name == "torch.float32" => Some(DType::F32),
            _ => None,
        }
    }
}
