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
        if self.is_empty() {
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
fn numbers(x: &Tensor, short: bool) -> crate::Result<Vec<f64>> {
    if x.rank() == 0 {
        return Ok(vec![x.to_f64()?]);
    }
    let mut all = Vec::new();
    for i in shown(x.shape()[0], short).into_iter().flatten() {
        all.extend(numbers(&x.i(i as i64)?, short)?);
    }
    Ok(all)
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
        out.push_str(format.number(x.to_f64()?).trim_start());
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
            None => out.push_str("..."),
            Some(i) if last => out.push_str(&format.number(x.i(i as i64)?.to_f64()?)),
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
    fn of(numbers: &[f64], dtype: DType) -> Format {
        let finite = || numbers.iter().copied().filter(|x| x.is_finite());
        let style = if dtype == DType::Bool {
            Style::Bool
        } else if !dtype.is_float() {
            Style::Whole { dot: false }
        } else {
            let nonzero = || finite().map(f64::abs).filter(|&x| x > 0.0);
            let (high, low) =
                (nonzero().fold(0.0, f64::max), nonzero().fold(f64::INFINITY, f64::min));
            let wide = high / low > 1000.0 || high > 1e8 || low < 1e-4;
            match finite().all(|x| x == x.trunc()) {
                true if high <= 1e8 => Style::Whole { dot: true },
                _ if high > 0.0 && wide => Style::Scientific,
                _ => Style::Fixed,
            }
        };
        let mut format = Format { style, width: 0 };
        format.width = numbers.iter().map(|&x| format.number(x).len()).max().unwrap_or(1);
        format
    }

    fn number(&self, x: f64) -> String {
        let text = match self.style {
            Style::Bool => (if x != 0.0 { "true" } else { "false" }).to_string(),
            _ if !x.is_finite() => format!("{x}").to_lowercase(),
            Style::Whole { dot } => format!("{x:.0}{}", if dot { "." } else { "" }),
            Style::Fixed => format!("{x:.4}"),
            Style::Scientific => {
                let text = format!("{x:.4e}");
                let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
                let exponent: i32 = exponent.parse().unwrap_or(0);
                format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
            }
        };
        format!("{text:>width$}", width = self.width)
    }
}
