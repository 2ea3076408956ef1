//! Naive scans of one line.

use crate::cpu::scan::ScanOp;

/// Running sums or products: a chain in f64.
pub fn scan(op: ScanOp, x: &[f64]) -> Vec<f64> {
    (1..=x.len())
        .map(|end| match op {
            ScanOp::Sum => x[..end].iter().fold(0.0, |s, x| s + x),
            _ => x[..end].iter().product(),
        })
        .collect()
}

/// `s[i] = a[i] * s[i - 1] + b[i]`
pub fn linear(a: &[f64], b: &[f64]) -> Vec<f64> {
    let mut s = 0.0;
    let mut all = Vec::new();
    for (a, b) in a.iter().zip(b) {
        s = a * s + b;
        all.push(s);
    }
    all
}

/// Running extremes and their indices.
pub fn extremes(op: ScanOp, x: &[f64]) -> (Vec<f64>, Vec<i64>) {
    let best = |end: usize| {
        let nan = x[..end].iter().rposition(|x| x.is_nan());
        let beats = |a: f64, b: f64| if op == ScanOp::Max { a > b } else { a < b };
        let last = (0..end).rev().find(|&i| !x[..end].iter().any(|&other| beats(other, x[i])));
        nan.or(last).map_or(0, |i| i)
    };
    let places: Vec<usize> = (1..=x.len()).map(best).collect();
    (places.iter().map(|&i| x[i]).collect(), places.iter().map(|&i| i as i64).collect())
}
