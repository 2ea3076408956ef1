//! A naive stable sort of one line.

use std::cmp::Ordering;

/// Where the elements of the sorted line stood: NaN largest, zeros equal, equals in their order.
pub fn argsort(x: &[f64], descending: bool) -> Vec<i64> {
    let mut order: Vec<i64> = (0..x.len() as i64).collect();
    let compare = |a: f64, b: f64| match (a.is_nan(), b.is_nan()) {
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
        (a, b) => a.cmp(&b),
    };
    order.sort_by(|&i, &j| {
        let ascending = compare(x[i as usize], x[j as usize]);
        if descending { ascending.reverse() } else { ascending }
    });
    order
}
