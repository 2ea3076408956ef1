//! Printing, as PyTorch prints: four digits, aligned columns, scientific where the range is wide, edges of what is long.

use std::fmt;

use crate::dtype::DType;
use crate::tensor::Tensor;

/// Elements beyond which only the edges are printed, and how many stay at each edge.
const THRESHOLD: usize = 1000;
const EDGE: usize = 3;
const LINE: usize = 80;

impl fmt::Display for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.len() > THRESHOLD;
        // Printing is no part of a computation: whoever watches the tensor must not hear of it.
        let body = crate::no_tape(|| self.detach().and_then(|plain| render(&plain, short)));
        match body {
            Ok(body) => write!(f, "tensor({body}")?,
            Err(error) => write!(f, "tensor(<{error}>")?,
        }
        if self.is_empty() && self.rank() != 1 {
            write!(f, ", shape={:?}", self.shape())?;
        }
        write!(f, ", {})", self.dtype())
    }
}

fn render(x: &Tensor, short: bool) -> crate::Result<String> {
    if x.is_empty() {
        return Ok("[]".into());
    }
    let format = Format::of(&numbers(x, short)?, x.dtype());
    let mut out = String::new();
    block(x, short, &format, 7, &mut out)?;
    Ok(out)
}

/// The elements that will be printed.
fn numbers(x: &Tensor, short: bool) -> crate::Result<Vec<Number>> {
    if x.rank() == 0 {
        return Ok(vec![number(x)?]);
    }
    let mut all = Vec::new();
    for i in shown(x.shape()[0], short).into_iter().flatten() {
        all.extend(numbers(&x.i(i as i64)?, short)?);
    }
    Ok(all)
}

/// One element: i64 as it is, all others as f64.
#[derive(Clone, Copy)]
enum Number {
    Integer(i64),
    Float(f64),
}

fn number(x: &Tensor) -> crate::Result<Number> {
    Ok(match x.dtype() {
        DType::I64 => Number::Integer(x.item()?),
        _ => Number::Float(x.to_f64()?),
    })
}

/// Places that are printed; `None` stands for the dots.
fn shown(size: usize, short: bool) -> Vec<Option<usize>> {
    if short && size > 2 * EDGE {
        let tail = (size - EDGE..size).map(Some);
        return (0..EDGE).map(Some).chain([None]).chain(tail).collect();
    }
    (0..size).map(Some).collect()
}

fn block(
    x: &Tensor,
    short: bool,
    format: &Format,
    indent: usize,
    out: &mut String,
) -> crate::Result<()> {
    if x.rank() == 0 {
        out.push_str(format.number(number(x)?).trim_start());
        return Ok(());
    }
    out.push('[');
    let last = x.rank() == 1;
    let per_line = (LINE.saturating_sub(indent) / (format.width + 2)).max(1);
    for (n, place) in shown(x.shape()[0], short).into_iter().enumerate() {
        if n > 0 {
            out.push(',');
            match last {
                true if n % per_line != 0 => out.push(' '),
                _ => {
                    out.extend(std::iter::repeat_n('\n', if last { 1 } else { x.rank() - 1 }));
                    out.extend(std::iter::repeat_n(' ', indent + 1));
                }
            }
        }
        match place {
            None => out.push_str(if last { " ..." } else { "..." }),
            Some(i) if last => out.push_str(&format.number(number(&x.i(i as i64)?)?)),
            Some(i) => block(&x.i(i as i64)?, short, format, indent + 1, out)?,
        }
    }
    out.push(']');
    Ok(())
}

/// How one element is written.
struct Format {
    style: Style,
    width: usize,
}

#[derive(Clone, Copy, PartialEq)]
enum Style {
    Bool,
    /// Whole numbers; floats among them get a dot.
    Whole {
        dot: bool,
    },
    Fixed,
    Scientific,
}

impl Format {
    fn of(numbers: &[Number], dtype: DType) -> Format {
        if !dtype.is_float() {
            let style =
                if dtype == DType::Bool { Style::Bool } else { Style::Whole { dot: false } };
            return Format { style, width: 0 }.wide_enough_for(numbers.iter().copied());
        }
        let floats = numbers.iter().filter_map(|x| match *x {
            Number::Float(x) if x.is_finite() && x != 0.0 => Some(x),
            _ => None,
        });
        let high = floats.clone().map(f64::abs).fold(0.0, f64::max);
        let low = floats.clone().map(f64::abs).fold(f64::INFINITY, f64::min);
        let style = if high / low > 1000.0 || high > 1e8 || low < 1e-4 {
            Style::Scientific
        } else if floats.clone().all(|x| x == x.trunc()) {
            Style::Whole { dot: true }
        } else {
            Style::Fixed
        };
        // As PyTorch: zeros, NaN and infinities don't widen the columns.
        Format { style, width: 0 }.wide_enough_for(floats.map(Number::Float))
    }

    fn wide_enough_for(mut self, numbers: impl Iterator<Item = Number>) -> Format {
        self.width = numbers.map(|x| self.number(x).len()).max().unwrap_or(1);
        self
    }

    fn number(&self, x: Number) -> String {
        let text = match (self.style, x) {
            (_, Number::Integer(x)) => x.to_string(),
            (Style::Bool, Number::Float(x)) => (if x != 0.0 { "True" } else { "False" }).into(),
            (_, Number::Float(x)) if !x.is_finite() => x.to_string().to_lowercase(),
            (Style::Whole { dot }, Number::Float(x)) => {
                format!("{x:.0}{}", if dot { "." } else { "" })
            }
            (Style::Fixed, Number::Float(x)) => format!("{x:.4}"),
            (Style::Scientific, Number::Float(x)) => scientific(x),
        };
        format!("{text:>width$}", width = self.width)
    }
}

/// Four digits and an exponent of at least two.
fn scientific(x: f64) -> String {
    let text = format!("{x:.4e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}
