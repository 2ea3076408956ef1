//! Naive max-pooling: every tap of every window, padded ones left out.

use crate::cpu::pool::Pool2dShape;
use crate::element::Float;

/// The places in `x` and the tap numbers of output `i`'s window, in ascending tap order.
pub fn window(shape: &Pool2dShape, i: usize) -> Vec<(usize, usize)> {
    let [height, width] = shape.output().unwrap_or_default();
    let (plane, row, column) = (i / (height * width), i / width % height, i % width);
    let mut taps = Vec::new();
    for kh in 0..shape.kernel[0] {
        for kw in 0..shape.kernel[1] {
            let y = (row * shape.stride[0] + kh) as isize - shape.padding[0] as isize;
            let x = (column * shape.stride[1] + kw) as isize - shape.padding[1] as isize;
            let [h, w] = shape.input.map(|size| size as isize);
            if (0..h).contains(&y) && (0..w).contains(&x) {
                let place = (plane as isize * h + y) * w + x;
                taps.push((place as usize, kh * shape.kernel[1] + kw));
            }
        }
    }
    taps
}

/// [`max_pool2d`](crate::cpu::pool::max_pool2d) of output `i`.
pub fn max<T: Float>(shape: &Pool2dShape, x: &[T], i: usize) -> (T, u8) {
    let taps = window(shape, i);
    let mut winner = taps[0];
    for &tap in &taps {
        let (value, best) = (x[tap.0], x[winner.0]);
        if !best.is_nan() && (value.is_nan() || value > best) {
            winner = tap;
        }
    }
    (x[winner.0], winner.1 as u8)
}

/// The place in `x` of output `i`'s tap `tap`, if it lies in the image.
pub fn place(shape: &Pool2dShape, i: usize, tap: u8) -> Option<usize> {
    window(shape, i).into_iter().find(|t| t.1 == tap as usize).map(|t| t.0)
}
