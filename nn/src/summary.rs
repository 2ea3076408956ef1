//! A model as a table.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::rc::Rc;

use ferrotape_tensor::{Error, Meta, Observer, Op, Result, Tensor, TensorId, observe};

use crate::module::{Buffer, Module, Param, Visitor};
use crate::state::Path;

/// A module in a [`Summary`]: one with parameters or buffers of its own, or without parts.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SummaryRow {
    /// Its path; empty: the model itself.
    pub path: String,
    /// Its type, without the modules' names.
    pub kind: String,
    /// What the last operation with one of its parameters gave, in a summary with a forward pass.
    pub output: Option<Vec<usize>>,
    /// Elements of its own parameters; what is tied to an earlier one counts there.
    pub parameters: usize,
    /// Those of them that are not frozen.
    pub trainable: usize,
    /// Bytes of its parameters and buffers.
    pub bytes: usize,
    /// True if a parameter is tied to an earlier one.
    pub tied: bool,
    /// True if it has parts that are modules.
    has_parts: bool,
    /// True if it has parameters or buffers.
    holds: bool,
}

/// A table of a model's modules; printed by `Display`. Made by [`ModuleExt::summary`](crate::ModuleExt::summary).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    rows: Vec<SummaryRow>,
    output: Option<Vec<usize>>,
}

impl Summary {
    /// The modules in the order of the fields.
    pub fn rows(&self) -> &[SummaryRow] {
        &self.rows
    }

    /// Elements of all parameters.
    pub fn parameters(&self) -> usize {
        self.rows.iter().map(|row| row.parameters).sum()
    }

    /// Elements of all parameters that are not frozen.
    pub fn trainable(&self) -> usize {
        self.rows.iter().map(|row| row.trainable).sum()
    }

    /// Bytes of all parameters and buffers.
    pub fn bytes(&self) -> usize {
        self.rows.iter().map(|row| row.bytes).sum()
    }

    /// What the forward pass gave, in a summary with one.
    pub fn output(&self) -> Option<&[usize]> {
        self.output.as_deref()
    }

    pub(crate) fn of<M: Module + ?Sized>(model: &M) -> Self {
        Collect::of(model).0
    }

    pub(crate) fn watching<M: Module + ?Sized>(
        model: &M,
        forward: impl FnOnce(&M) -> Result<Tensor>,
    ) -> Result<Self> {
        let (mut summary, owners) = Collect::of(model);
        let watch = Rc::new(Watch { owners: RefCell::new(owners), ..Watch::default() });
        let output = observe(watch.clone(), || forward(model))?;
        summary.output = Some(output.shape().to_vec());
        for (path, shape) in watch.shapes.take() {
            if let Some(row) = summary.rows.iter_mut().find(|row| row.path == path) {
                row.output = Some(shape);
            }
        }
        Ok(summary)
    }
}

/// Without the paths of modules: `a::b::C<d::E>` is `C<E>`. This crate's layers of `N` dims go by the names of their aliases:
/// `BatchNorm<2>` is `BatchNorm2d`.
fn short(type_name: &str) -> String {
    let mut text = String::new();
    let own = concat!(env!("CARGO_CRATE_NAME"), "::");
    let mut is_own = false;
    for part in type_name.split_inclusive(['<', '>', ',', ' ', '(', ')', '[', ']', '&', ';']) {
        match part.strip_suffix('>').filter(|dims| is_own && dims.parse::<usize>().is_ok()) {
            Some(dims) => {
                text.truncate(text.len() - 1);
                text.push_str(dims);
                text.push('d');
            }
            None => text.push_str(part.rsplit("::").next().unwrap_or(part)),
        }
        is_own = part.starts_with(own) && part.ends_with('<');
    }
    text
}

/// Goes through a model and makes its rows.
#[derive(Default)]
struct Collect {
    path: Path,
    /// The rows of the modules that are open; `None`: a name whose module has not shown up yet.
    open: Vec<Option<usize>>,
    rows: Vec<SummaryRow>,
    seen: HashSet<TensorId>,
    owners: HashMap<TensorId, String>,
}

impl Collect {
    fn of<M: Module + ?Sized>(model: &M) -> (Summary, HashMap<TensorId, String>) {
        let mut collect = Collect { open: vec![None], ..Collect::default() };
        model.visit(&mut collect);
        let mut rows = collect.rows;
        rows.retain(|row| row.holds || !row.has_parts);
        (Summary { rows, output: None }, collect.owners)
    }

    fn row(&mut self, kind: &str, path: String) -> usize {
        self.rows.push(SummaryRow {
            path,
            kind: short(kind),
            output: None,
            parameters: 0,
            trainable: 0,
            bytes: 0,
            tied: false,
            has_parts: false,
            holds: false,
        });
        self.rows.len() - 1
    }

    /// The module that holds the parameter or buffer shown now.
    fn holder(&mut self) -> usize {
        if let Some(known) = self.open.iter().rev().find_map(|row| *row) {
            return known;
        }
        // A module that does not say what it is.
        let at = self.row("", String::new());
        if let Some(root) = self.open.first_mut() {
            *root = Some(at);
        }
        at
    }

    /// Adds a tensor to its module, once however often it is seen. Says which module, and whether it is new.
    fn hold(&mut self, tensor: &Tensor) -> (usize, bool) {
        let at = self.holder();
        let new = self.seen.insert(tensor.id());
        if let Some(row) = self.rows.get_mut(at) {
            row.holds = true;
            if new {
                row.bytes += tensor.len() * tensor.dtype().size();
            }
        }
        (at, new)
    }
}

impl<'a> Visitor<'a> for Collect {
    fn enter(&mut self, name: &str) {
        self.path.enter(name);
        self.open.push(None);
    }

    fn leave(&mut self) {
        self.path.leave();
        self.open.pop();
    }

    fn module(&mut self, type_name: &'static str) {
        if self.open.last().is_some_and(Option::is_some) {
            return;
        }
        if let Some(parent) = self.open.iter().rev().find_map(|row| *row)
            && let Some(parent) = self.rows.get_mut(parent)
        {
            parent.has_parts = true;
        }
        let at = self.row(type_name, self.path.as_str().to_string());
        if let Some(last) = self.open.last_mut() {
            *last = Some(at);
        }
    }

    fn param(&mut self, param: &'a Param) {
        let (at, new) = self.hold(param);
        if let Some(row) = self.rows.get_mut(at) {
            self.owners.entry(param.id()).or_insert_with(|| row.path.clone());
            row.tied |= !new;
            if new {
                row.parameters += param.len();
                row.trainable += if param.trainable { param.len() } else { 0 };
            }
        }
    }

    fn buffer(&mut self, buffer: &'a Buffer) {
        self.hold(buffer);
    }
}

/// Listens to a forward pass: what is computed with whose parameters.
#[derive(Default)]
struct Watch {
    /// Parameters, and views and copies of them, with their modules' paths.
    owners: RefCell<HashMap<TensorId, String>>,
    shapes: RefCell<HashMap<String, Vec<usize>>>,
    /// Of each operation under way, the module it belongs to.
    running: RefCell<Vec<Option<String>>>,
}

impl Observer for Watch {
    fn begin(&self, _: &Op, inputs: &[&Tensor]) -> Result<()> {
        let owners = self.owners.borrow();
        let owner = inputs.iter().find_map(|input| owners.get(&input.id()));
        self.running.borrow_mut().push(owner.cloned());
        Ok(())
    }

    fn end(&self, op: &Op, _: &[Meta], outcome: Result<&[Tensor], &Error>) -> Result<()> {
        let owner = self.running.borrow_mut().pop().flatten();
        if let (Some(owner), Ok(Some(output))) = (owner, outcome.map(<[Tensor]>::first)) {
            match op {
                Op::View(_) | Op::Copy | Op::Cast(_) => {
                    self.owners.borrow_mut().insert(output.id(), owner);
                }
                _ => drop(self.shapes.borrow_mut().insert(owner, output.shape().to_vec())),
            }
        }
        Ok(())
    }
}

/// With spaces between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["path", "type", "output", "parameters", "trainable", "bytes"];
        let shape = |shape: Option<&[usize]>| shape.map_or("-".into(), |s| format!("{s:?}"));
        let row = |row: &SummaryRow| {
            let path = if row.path.is_empty() { "(model)" } else { &row.path };
            let tied = if row.tied { " (tied)" } else { "" };
            [
                path.to_string(),
                row.kind.clone(),
                shape(row.output.as_deref()),
                grouped(row.parameters) + tied,
                grouped(row.trainable),
                grouped(row.bytes),
            ]
        };
        let total = [
            "total".to_string(),
            String::new(),
            shape(self.output()),
            grouped(self.parameters()),
            grouped(self.trainable()),
            grouped(self.bytes()),
        ];
        let mut lines = vec![head.map(str::to_string)];
        lines.extend(self.rows.iter().map(row));
        lines.push(total);
        let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max();
        let widths = [0, 1, 2, 3, 4, 5].map(|column| width(column).unwrap_or(0));
        let rule = "-".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
        for (at, line) in lines.iter().enumerate() {
            if at == 1 || at + 1 == lines.len() {
                writeln!(f, "{rule}")?;
            }
            let cells = line.iter().zip(widths).enumerate().map(|(column, (cell, width))| {
                if column < 3 { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
            });
            let cells: Vec<String> = cells.collect();
            writeln!(f, "{}", cells.join("  "))?;
        }
        Ok(())
    }
}
