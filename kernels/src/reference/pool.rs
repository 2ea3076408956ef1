//! Naive pooling: every tap of every window, padded ones left out.

use crate::cpu::pool::{Divisor, Pool2dShape, Windows};
use crate::element::Float;

/// The places in `x` and the tap numbers of output `i`'s window, in ascending tap order.
pub fn window(shape: &Pool2dShape, i: usize) -> Vec<(usize, usize)> {
    let [height, width] = shape.output().unwrap_or_default();
    let (plane, row, column) = (i / (height * width), i / width % height, i % width);
    let mut taps = Vec::new();
    for kh in 0..shape.kernel[0] {
        for kw in 0..shape.kernel[1] {
            let down = row * shape.stride[0] + kh * shape.dilation[0];
            let right = column * shape.stride[1] + kw * shape.dilation[1];
            let y = down as isize - shape.padding[0] as isize;
            let x = right as isize - shape.padding[1] as isize;
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

/// The places in `x` that output `i` of any windows sees, in ascending order.
pub fn seen(windows: &Windows, i: usize) -> Vec<usize> {
    match windows {
        Windows::Sliding(shape) => window(shape, i).into_iter().map(|tap| tap.0).collect(),
        Windows::Adaptive { input: [h, w], output: [height, width], .. } => {
            let (plane, row, column) = (i / (height * width), i / width % height, i % width);
            let reach = |at: usize, n: usize, o: usize| at * n / o..((at + 1) * n).div_ceil(o);
            let rows = reach(row, *h, *height);
            let places = rows.flat_map(|y| reach(column, *w, *width).map(move |x| (y, x)));
            places.map(|(y, x)| (plane * h + y) * w + x).collect()
        }
    }
}

/// What the sum of output `i`'s window is divided by.
pub fn divisor(windows: &Windows, divisor: Divisor, i: usize) -> f64 {
    match (divisor, windows) {
        (Divisor::By(number), _) => number as f64,
        (Divisor::Padded, Windows::Sliding(s)) => {
            let [height, width] = s.output().unwrap_or_default();
            let at = [i / width % height, i % width];
            // Places of the padded image, which ends where its padding does.
            let inside = |d: usize| {
                let start = at[d] * s.stride[d];
                (start..start + s.kernel[d]).filter(|&p| p < s.input[d] + 2 * s.padding[d]).count()
            };
            (inside(0) * inside(1)) as f64
        }
        _ => seen(windows, i).len() as f64,
    }
}

/// [`average_pool2d`](crate::cpu::pool::average_pool2d) of output `i`.
pub fn average<T: Float>(windows: &Windows, by: Divisor, x: &[T], i: usize) -> T {
    let sum = seen(windows, i).into_iter().fold(T::ZERO, |sum, place| sum + x[place]);
    sum / T::from_f64(divisor(windows, by, i))
}

/// [`max_pool2d_index`](crate::cpu::pool::max_pool2d_index) of output `i`, as a place in `x`.
pub fn winner<T: Float>(windows: &Windows, x: &[T], i: usize) -> usize {
    let beats = |a: T, b: T| !b.is_nan() && (a.is_nan() || a > b);
    let places = seen(windows, i).into_iter();
    places.reduce(|best, place| if beats(x[place], x[best]) { place } else { best }).unwrap_or(0)
}
