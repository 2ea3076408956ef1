//! Sums of products in Einstein's notation.

use crate::error::{Error, Result};
use crate::ops::chain::{BinaryChain as _, ProductChain as _, ShapeChain as _};
use crate::shape::{self, Dims};
use crate::tensor::Tensor;

/// A label: a letter, or a dim that the ellipsis stands for, counted from the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Label {
    Rest(usize),
    Letter(char),
}

/// A tensor and what its dims are called.
struct Term {
    x: Tensor,
    labels: Vec<Label>,
}

fn wrong(equation: &str, what: impl std::fmt::Display) -> Error {
    Error::argument("einsum", format!("{equation:?}: {what}"))
}

/// The labels of `text`, its ellipsis as `rest` dims.
fn labels(equation: &str, text: &str, rest: usize) -> Result<Vec<Label>> {
    let mut labels = Vec::new();
    let parts: Vec<&str> = text.split("...").collect();
    if parts.len() > 2 {
        return Err(wrong(equation, format!("more than one ellipsis in {text:?}")));
    }
    for (i, part) in parts.iter().enumerate() {
        if i > 0 {
            labels.extend((0..rest).rev().map(Label::Rest));
        }
        for letter in part.chars().filter(|c| !c.is_whitespace()) {
            if !letter.is_ascii_alphabetic() {
                return Err(wrong(equation, format!("{letter:?} is no letter")));
            }
            labels.push(Label::Letter(letter));
        }
    }
    Ok(labels)
}

/// An operand under its labels; dims that share one become their diagonal.
fn term(equation: &str, number: usize, text: &str, x: &Tensor) -> Result<Term> {
    let named = text.replace("...", "").chars().filter(|c| !c.is_whitespace()).count();
    let fits = if text.contains("...") { named <= x.rank() } else { named == x.rank() };
    if !fits {
        let message = format!("{text:?} does not fit operand {number} of shape {:?}", x.shape());
        return Err(wrong(equation, message));
    }
    let mut labels = labels(equation, text, x.rank() - named)?;
    let mut x = x.clone();
    while let Some((first, second)) = repeated(&labels) {
        let label = labels[first];
        if x.shape()[first] != x.shape()[second] {
            let sizes = [x.shape()[first], x.shape()[second]];
            let message = format!("{label:?} of operand {number} is {sizes:?} long");
            return Err(wrong(equation, message));
        }
        x = x.diagonal(0, first as i64, second as i64)?;
        labels.remove(second);
        labels.remove(first);
        labels.push(label);
    }
    Ok(Term { x, labels })
}

/// The places of a label that stands twice.
fn repeated(labels: &[Label]) -> Option<(usize, usize)> {
    let second = |i: usize| labels.iter().skip(i + 1).position(|l| *l == labels[i]);
    (0..labels.len()).find_map(|i| second(i).map(|j| (i, i + 1 + j)))
}

/// The output's labels where the equation does not say: the ellipsis, then every letter that stands once, in order.
fn implicit(inputs: &[&str], rest: usize) -> Vec<Label> {
    let text: String = inputs.concat();
    let mut letters: Vec<char> = text.chars().filter(|c| c.is_ascii_alphabetic()).collect();
    letters.retain(|letter| text.matches(*letter).count() == 1);
    letters.sort_unstable();
    (0..rest).rev().map(Label::Rest).chain(letters.into_iter().map(Label::Letter)).collect()
}

/// The common sizes of labels; a size 1 gives way to another, and that dim goes.
fn unite(equation: &str, terms: &mut [Term]) -> Result<()> {
    let mut sizes: Vec<(Label, usize)> = Vec::new();
    for term in terms.iter() {
        for (&label, &size) in term.labels.iter().zip(term.x.shape()) {
            match sizes.iter_mut().find(|(known, _)| *known == label) {
                None => sizes.push((label, size)),
                Some((_, known)) if *known == size || size == 1 => {}
                Some((_, known @ 1)) => *known = size,
                Some((_, known)) => {
                    let message =
                        format!("{label:?} is {known} long in one operand, {size} in another");
                    return Err(wrong(equation, message));
                }
            }
        }
    }
    for term in terms {
        let narrow = |d: &usize| {
            let size = sizes.iter().find(|(label, _)| *label == term.labels[*d]);
            term.x.shape()[*d] == 1 && size.is_some_and(|(_, size)| *size != 1)
        };
        let gone: Vec<usize> = (0..term.labels.len()).filter(narrow).collect();
        for &d in gone.iter().rev() {
            term.x = term.x.squeeze(d as i64)?;
            term.labels.remove(d);
        }
    }
    Ok(())
}

impl Term {
    /// Summed over the labels that nobody asks for any more.
    fn summed(self, wanted: impl Fn(&Label) -> bool) -> Result<Term> {
        let gone: Vec<i64> = (0..self.labels.len())
            .filter(|&d| !wanted(&self.labels[d]))
            .map(|d| d as i64)
            .collect();
        if gone.is_empty() {
            return Ok(self);
        }
        let x = self.x.sum(&gone[..])?;
        Ok(Term { x, labels: self.labels.into_iter().filter(wanted).collect() })
    }

    /// The dims in the order of these labels, of which it has all.
    fn ordered(&self, labels: &[Label]) -> Result<Tensor> {
        let place = |label: &Label| self.labels.iter().position(|own| own == label);
        let order: Dims = labels.iter().filter_map(place).collect();
        self.x.permute(&order[..])
    }

    fn size(&self, label: &Label) -> usize {
        let place = self.labels.iter().position(|own| own == label);
        place.map_or(1, |place| self.x.shape()[place])
    }

    /// The product with another, summed over what both have and nobody wants.
    fn times(self, other: Term, wanted: impl Fn(&Label) -> bool) -> Result<Term> {
        let (a, b) = (self.summed(|label| wanted(label) || other.labels.contains(label))?, other);
        let b = b.summed(|label| wanted(label) || a.labels.contains(label))?;
        let both = |label: &&Label| b.labels.contains(label);
        let pick = |from: &[Label], f: &dyn Fn(&&Label) -> bool| {
            from.iter().filter(f).copied().collect::<Vec<Label>>()
        };
        let batch = pick(&a.labels, &|l| both(l) && wanted(l));
        let inner = pick(&a.labels, &|l| both(l) && !wanted(l));
        let left = pick(&a.labels, &|l| !both(l));
        let right = pick(&b.labels, &|l| !a.labels.contains(l));
        let sizes =
            |of: &Term, labels: &[Label]| labels.iter().map(|l| of.size(l)).collect::<Dims>();
        let len = |sizes: &[usize]| shape::checked_len("einsum", sizes);
        let (stack, rows, columns) = (sizes(&a, &batch), sizes(&a, &left), sizes(&b, &right));
        let x = a.ordered(&[&batch[..], &left, &inner].concat())?;
        let labels = [&batch[..], &left, &right].concat();
        let shape = [&stack[..], &rows, &columns].concat();
        if inner.is_empty() {
            let y = b.ordered(&[&batch[..], &right].concat())?;
            let wide = [&stack[..], &rows, &vec![1; columns.len()]].concat();
            let tall = [&stack[..], &vec![1; rows.len()], &columns].concat();
            return Ok(Term { x: x.reshape(wide).mul(y.reshape(tall))?, labels });
        }
        let y = b.ordered(&[&batch[..], &inner, &right].concat())?;
        let k = len(&sizes(&a, &inner))?;
        let (n, m, o) = (len(&stack)?, len(&rows)?, len(&columns)?);
        let x = if batch.is_empty() { x.reshape([m, k]) } else { x.reshape([n, m, k]) };
        let y = if batch.is_empty() { y.reshape([k, o]) } else { y.reshape([n, k, o]) };
        Ok(Term { x: x.matmul(y).reshape(shape)?, labels })
    }
}

fn einsum(equation: &str, operands: &[&Tensor]) -> Result<Tensor> {
    let (inputs, output) = match equation.split_once("->") {
        Some((inputs, output)) => (inputs, Some(output)),
        None => (equation, None),
    };
    let inputs: Vec<&str> = inputs.split(',').collect();
    if inputs.len() != operands.len() {
        let message = format!("{} terms for {} operands", inputs.len(), operands.len());
        return Err(wrong(equation, message));
    }
    let pairs = inputs.iter().zip(operands).enumerate();
    let terms = pairs.map(|(i, (text, x))| term(equation, i, text, x));
    let mut terms = terms.collect::<Result<Vec<Term>>>()?;
    let given = |label: &Label| terms.iter().any(|term| term.labels.contains(label));
    let rest = (0..).take_while(|&i| given(&Label::Rest(i))).count();
    let output = match output {
        None => implicit(&inputs, rest),
        Some(text) => labels(equation, text, rest)?,
    };
    if let Some((first, _)) = repeated(&output) {
        return Err(wrong(equation, format!("{:?} stands twice in the result", output[first])));
    }
    if let Some(label) = output.iter().find(|label| !given(label)) {
        return Err(wrong(equation, format!("{label:?} of the result is in no operand")));
    }
    unite(equation, &mut terms)?;
    let mut rest = terms.into_iter().collect::<std::collections::VecDeque<_>>();
    let Some(mut product) = rest.pop_front() else {
        return Err(wrong(equation, "no operands"));
    };
    while let Some(next) = rest.pop_front() {
        let wanted = |label: &Label| {
            output.contains(label) || rest.iter().any(|term| term.labels.contains(label))
        };
        product = product.times(next, wanted)?;
    }
    product.summed(|label| output.contains(label))?.ordered(&output)
}

impl Tensor {
    /// The sum of products that an equation says: PyTorch's `einsum`. Every dim of every operand has a letter; what is not in the result is
    /// summed over; `...` stands for further dims, which broadcast; a letter twice in one operand is its diagonal. Without `->` the result
    /// has the dims of the ellipsis and every letter that stands once, in alphabetical order. From left to right, by matrix products.
    ///
    /// ```
    /// # use ferrotape_tensor::Tensor;
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (a, b) = (Tensor::from([[1f32, 2.], [3., 4.]]), Tensor::from([5f32, 6.]));
    /// assert_eq!(Tensor::einsum("ij,j->i", &[&a, &b])?.to_vec::<f32>()?, [17., 39.]);
    /// assert_eq!(Tensor::einsum("ii", &[&a])?.item::<f32>()?, 5.);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// An equation that can't be read, or does not fit the operands, in words.
    #[track_caller]
    pub fn einsum(equation: &str, operands: &[&Tensor]) -> Result<Tensor> {
        let here = std::panic::Location::caller();
        einsum(equation, operands).map_err(|error| error.at(here))
    }
}
