//! The backward pass: walks the record from its end, frees what it passes.

use ferrotape_tensor::chain::BinaryChain;
use ferrotape_tensor::{Error, ErrorKind, Meta, Result, Tensor};
use smallvec::SmallVec;

use crate::custom;
use crate::rules::{self, Cx, Derivative, Formulas};
use crate::tape::{CONSTANT, Node, Record, Tape, Variable};

impl Tape {
    /// The gradients of the scalar `y` with respect to each of `with_respect_to`; consumes the tape.
    ///
    /// # Errors
    /// `y` is no scalar, or does not depend on one of the tensors (say so with [`gradient_or_none`](Self::gradient_or_none));
    /// memory over the limit.
    pub fn gradient(self, y: &Tensor, with_respect_to: &[&Tensor]) -> Result<Vec<Tensor>> {
        let found = self.gradient_or_none(y, with_respect_to)?;
        let strict = |(place, gradient): (usize, Option<Tensor>)| {
            gradient.ok_or_else(|| {
                let message = format!("gradient: the result does not depend on tensor {place}");
                Error::new(ErrorKind::Gradient(message))
            })
        };
        found.into_iter().enumerate().map(strict).collect()
    }

    /// As [`gradient`](Self::gradient), with `None` for tensors that `y` does not depend on.
    ///
    /// # Errors
    /// `y` is no scalar; memory over the limit.
    pub fn gradient_or_none(
        self,
        y: &Tensor,
        with_respect_to: &[&Tensor],
    ) -> Result<Vec<Option<Tensor>>> {
        if y.len() != 1 || !y.dtype().is_float() {
            let message =
                format!("gradient: of a scalar float, not of {:?} {}", y.shape(), y.dtype());
            return Err(Error::new(ErrorKind::Gradient(message)));
        }
        let seed = y.ones_like()?;
        self.vector_jacobian_product(&[(y, seed)], with_respect_to)
    }

    /// `sum_i v_i^T (d y_i / d x)` for each x: the gradient of `sum_i <y_i, v_i>`. Consumes the tape.
    ///
    /// # Errors
    /// A `v` whose shape is not its `y`'s; memory over the limit.
    pub fn vector_jacobian_product(
        self,
        seeds: &[(&Tensor, Tensor)],
        with_respect_to: &[&Tensor],
    ) -> Result<Vec<Option<Tensor>>> {
        let mut record = self.into_record();
        let variable = |x: &&Tensor| record.variables.get(&x.id()).copied().unwrap_or(CONSTANT);
        let wanted: SmallVec<[Variable; 16]> = with_respect_to.iter().map(variable).collect();
        let mut table = Table::new(&mut record, &wanted);
        for (y, v) in seeds {
            if y.shape() != v.shape() {
                let message = format!("gradient: seed {:?} for a value {:?}", v.shape(), y.shape());
                return Err(Error::new(ErrorKind::Gradient(message)));
            }
            if let Some(&variable) = record.variables.get(&y.id()) {
                table.add(variable, v.clone())?;
            }
        }
        // Popping drops each node, and the tensors it kept, as soon as it is done: no recursion, no peak.
        while let Some(node) = record.nodes.as_slice().last() {
            table.pass(node, &record)?;
            record.nodes.pop();
        }
        let found = wanted.iter().map(|&variable| table.get(variable)).collect();
        record.recycle(table.0);
        Ok(found)
    }
}

/// Gradients found so far, and which variables lead to a wanted one.
struct Table(Vec<Entry>);

#[derive(Clone, Default)]
pub(crate) struct Entry {
    gradient: Option<Tensor>,
    /// It leads to a wanted one.
    needed: bool,
    wanted: bool,
}

impl Table {
    fn new(record: &mut Record, wanted: &[Variable]) -> Table {
        let mut entries = std::mem::take(&mut record.table);
        entries.resize(record.count as usize, Entry::default());
        for &variable in wanted.iter().filter(|&&variable| variable != CONSTANT) {
            let entry = &mut entries[variable as usize];
            (entry.needed, entry.wanted) = (true, true);
        }
        for node in record.nodes.as_slice() {
            let leads =
                record.inputs(node).iter().any(|&v| v != CONSTANT && entries[v as usize].needed);
            if leads {
                let first = node.first_output as usize;
                entries[first..first + node.outputs].iter_mut().for_each(|e| e.needed = true);
            }
        }
        Table(entries)
    }

    fn get(&self, variable: Variable) -> Option<Tensor> {
        self.0.get(variable as usize).and_then(|entry| entry.gradient.clone())
    }

    fn needs(&self, variable: Variable) -> bool {
        variable != CONSTANT && self.0[variable as usize].needed
    }

    fn add(&mut self, variable: Variable, gradient: Tensor) -> Result<()> {
        let place = &mut self.0[variable as usize].gradient;
        *place = Some(match place.take() {
            Some(sum) => Ok(sum).add(gradient)?,
            None => gradient,
        });
        Ok(())
    }

    /// Gives a node's inputs their share of its outputs' gradients.
    fn pass(&mut self, node: &Node, record: &Record) -> Result<()> {
        let (inputs, metas) = (record.inputs(node), record.metas(node));
        let first = node.first_output as usize;
        let mut outputs: SmallVec<[Option<Tensor>; 4]> = SmallVec::new();
        for v in first..first + node.outputs {
            let entry = &mut self.0[v];
            outputs.push(match entry.wanted {
                true => entry.gradient.clone(),
                false => entry.gradient.take(),
            });
        }
        let idle = outputs.iter().all(Option::is_none);
        if idle || !inputs.iter().any(|&variable| self.needs(variable)) {
            return Ok(());
        }
        let cx = Cx { node, metas, outputs: &outputs };
        if let Derivative::Custom = rules::derivative(&node.op) {
            let found = custom::backward(&cx)?;
            for (place, gradient) in found.into_iter().enumerate() {
                let variable = inputs[place];
                if let (Some(gradient), true) = (gradient, self.needs(variable)) {
                    self.add(variable, shaped(&metas[place], gradient)?)?;
                }
            }
            return Ok(());
        }
        let Derivative::Rule(rule) = rules::derivative(&node.op) else { return Ok(()) };
        if let Formulas::All(formulas) = rule.formulas {
            let mut needed: SmallVec<[bool; 9]> = SmallVec::new();
            inputs.iter().for_each(|&variable| needed.push(self.needs(variable)));
            let found = formulas(&cx, &needed)?;
            for (place, gradient) in found.into_iter().enumerate().filter(|&(i, _)| needed[i]) {
                if let Some(gradient) = gradient {
                    self.add(inputs[place], shaped(&metas[place], gradient)?)?;
                }
            }
            return Ok(());
        }
        for (place, &variable) in inputs.iter().enumerate() {
            if !self.needs(variable) {
                continue;
            }
            let gradient = match rule.formulas {
                Formulas::Each(formulas) => match formulas.get(place) {
                    Some(formula) => formula(&cx)?,
                    None => None,
                },
                Formulas::Any(formula) => formula(&cx, place)?,
                Formulas::All(_) => None,
            };
            if let Some(gradient) = gradient {
                self.add(variable, shaped(&metas[place], gradient)?)?;
            }
        }
        Ok(())
    }
}

/// Un-broadcasts and un-promotes, once for all rules.
fn shaped(meta: &Meta, gradient: Tensor) -> Result<Tensor> {
    let fits = gradient.shape() == &meta.shape[..] && gradient.dtype() == meta.dtype;
    if fits && gradient.device() == meta.device {
        return Ok(gradient);
    }
    let gradient = match gradient.dtype() == meta.dtype {
        true => gradient,
        false => gradient.to_dtype(meta.dtype)?,
    };
    let gradient = gradient.to_device(meta.device)?;
    if gradient.shape() == &meta.shape[..] { Ok(gradient) } else { gradient.sum_to(&meta.shape) }
}
