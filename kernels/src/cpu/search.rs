//! Binary search in sorted rows.

use crate::cpu::parallel::{self, Shared};
use crate::element::Number;
use crate::error::{Result, require};

/// Values that make a piece worth handing out.
const PIECE: usize = 4_096;

/// For each of `values`, `per_row` of them for each row of `n` in `sorted` (all of them, if there is but one row): how many
/// elements of the row are smaller (`right`: smaller or equal). NaN comes after all.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths don't fit.
pub fn search_sorted<T: Number>(
    sorted: &[T],
    n: usize,
    values: &[T],
    per_row: usize,
    right: bool,
    out: &mut [i64],
) -> Result<()> {
    let rows = values.len() / per_row.max(1);
    let fits = values.len() == out.len() && rows.checked_mul(per_row) == Some(values.len());
    require(fits && (sorted.len() == n || n.checked_mul(rows) == Some(sorted.len())), "search")?;
    let one = sorted.len() == n;
    let work = (values.len() as u64).saturating_mul(10);
    let out = Shared::new(out);
    parallel::run(values.len().div_ceil(PIECE), work, &|piece| {
        // SAFETY: pieces are disjoint.
        let out = unsafe { out.part(piece * PIECE, PIECE) };
        for (i, place) in out.iter_mut().enumerate() {
            let at = piece * PIECE + i;
            let first = if one { 0 } else { at / per_row * n };
            let (row, value) = (&sorted[first..first + n], values[at]);
            // A comparison with NaN is false: a NaN is passed by nothing but the end.
            let beyond = |x: T| if right { x > value } else { x >= value };
            *place = passed(row, |x| !beyond(x)) as i64;
        }
    });
    Ok(())
}

/// How many elements of a row, sorted so that those come first, are `before`. What it gives of a row that is not sorted every device must
/// give, so its steps are written out.
fn passed<T: Number>(row: &[T], before: impl Fn(T) -> bool) -> usize {
    let (mut base, mut size) = (0, row.len());
    while size > 1 {
        let half = size / 2;
        if before(row[base + half]) {
            base += half;
        }
        size -= half;
    }
    base + usize::from(row.get(base).is_some_and(|&x| before(x)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_is_smaller() {
        let sorted: Vec<f64> = (0..40).map(|i| f64::from(i / 3)).collect();
        let values = [-1.0, 0.0, 0.5, 5.0, 13.0, 14.0, f64::INFINITY, f64::NAN];
        for n in [0, 1, 2, 17, 40] {
            let row = &sorted[..n];
            for right in [false, true] {
                let mut out = [-1; 8];
                search_sorted(row, n, &values, 8, right, &mut out).unwrap();
                let want = values.map(|v| match v.is_nan() {
                    true => n as i64,
                    false => row.iter().filter(|&&x| x < v || (right && x == v)).count() as i64,
                });
                assert_eq!(out, want, "{n} {right}");
            }
        }
        let (rows, values) = ([1i64, 3, 5, 2, 4, 6], [3i64, 6, 3, 7]);
        let mut out = [0; 4];
        search_sorted(&rows, 3, &values, 2, false, &mut out).unwrap();
        assert_eq!(out, [1, 3, 1, 3]);
        assert!(search_sorted(&rows, 3, &values, 3, false, &mut out).is_err());
        assert!(search_sorted(&rows, 4, &values, 2, false, &mut out).is_err());
    }

    #[test]
    fn many_values() {
        let sorted: Vec<i64> = (0..100).map(|i| 10 * i).collect();
        let values: Vec<i64> = (0..10_001).map(|i| i % 1100).collect();
        let mut out = vec![0; values.len()];
        search_sorted(&sorted, 100, &values, values.len(), false, &mut out).unwrap();
        let want = |v: &i64| ((v + 9) / 10).min(100);
        assert!(out.iter().zip(&values).all(|(got, v)| *got == want(v)));
    }
}
