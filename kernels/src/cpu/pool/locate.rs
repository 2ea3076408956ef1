//! Where the maximum of each window lies, for windows of any size.

use super::Planes;
use super::shape::Windows;
use crate::cpu::parallel::Shared;
use crate::element::Float;
use crate::error::Result;

/// `index = row * width + column` of the maximum of each window (NaN wins, then the lowest index).
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ or a window does not fit.
pub fn max_pool2d_index<T: Float>(windows: &Windows, x: &[T], index: &mut [i64]) -> Result<()> {
    let planes = Planes::new(windows, x.len(), index.len())?;
    let index = Shared::new(index);
    planes.run(&|(start, len), (to, places)| {
        // SAFETY: pieces are disjoint.
        let index = unsafe { index.part(to, places) };
        let inputs = x[start..start + len].chunks_exact(planes.input_plane);
        for (x, index) in inputs.zip(index.chunks_exact_mut(planes.output_plane)) {
            for (row, index) in index.chunks_exact_mut(planes.output[1]).enumerate() {
                for (column, index) in index.iter_mut().enumerate() {
                    *index = winner(windows, row, column, x) as i64;
                }
            }
        }
    });
    Ok(())
}

fn winner<T: Float>(windows: &Windows, row: usize, column: usize, x: &[T]) -> usize {
    let (rows, columns) = (windows.taps(0, row), windows.taps(1, column));
    let width = windows.input()[1];
    let mut winner = rows.start * width + columns.start;
    let mut best = x[winner];
    for y in rows.places() {
        for place in columns.places().map(|column| y * width + column) {
            if super::windows::beats(x[place], best) {
                (winner, best) = (place, x[place]);
            }
        }
    }
    winner
}
