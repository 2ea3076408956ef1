//! Singular values and vectors by one-sided Jacobi rotations, in f64 whatever the element type. Plain loops: the order of every
//! sum is ascending, and a matrix is one thread's work.

#[cfg(test)]
mod tests;

use crate::buffer::Buffer;
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::{Error, Result, require};

/// Rounds over all pairs of vectors; some ten are enough.
const SWEEPS: usize = 40;

/// `a = u diag(s) vh` for each matrix `[rows, columns]` of `a`; `k = min(rows, columns)`, u: `[rows, k]`, s: `k` descending,
/// vh: `[k, columns]`. A matrix that is not finite gives NaN.
///
/// # Errors
/// [`Contract`](Error::Contract) if lengths differ; [`OutOfMemory`](Error::OutOfMemory).
pub fn svd<T: Float>(
    [rows, columns]: [usize; 2],
    a: &[T],
    u: &mut [T],
    s: &mut [T],
    vh: &mut [T],
) -> Result<()> {
    let k = rows.min(columns);
    if k == 0 {
        return require(u.is_empty() && s.is_empty() && vh.is_empty(), "svd: lengths");
    }
    let matrices = s.len() / k;
    let fits =
        [(s.len(), k, 1), (a.len(), rows, columns), (u.len(), rows, k), (vh.len(), k, columns)];
    let fits = fits
        .into_iter()
        .all(|(len, x, y)| x.checked_mul(y).and_then(|xy| xy.checked_mul(matrices)) == Some(len));
    require(fits, "svd: lengths")?;
    // The vectors that are turned: the columns of the matrix, or its rows if they are fewer. Then the turns.
    let long = rows.max(columns);
    let each = k.checked_mul(long + k);
    let bytes = each.and_then(|each| each.checked_mul(matrices)?.checked_mul(size_of::<f64>()));
    let mut space = Buffer::new(bytes.ok_or(Error::Contract("svd: too many elements"))?)?;
    let space = Shared::new(space.as_mut_slice::<f64>());
    let (u, s, vh) = (Shared::new(u), Shared::new(s), Shared::new(vh));
    let work = (a.len() as u64).saturating_mul(10 * k as u64);
    parallel::run(matrices, work, &|matrix| {
        // SAFETY: each matrix has its own parts.
        let (space, u, s, vh) = unsafe {
            (
                space.part(matrix * k * (long + k), k * (long + k)),
                u.part(matrix * rows * k, rows * k),
                s.part(matrix * k, k),
                vh.part(matrix * k * columns, k * columns),
            )
        };
        let a = &a[matrix * rows * columns..][..rows * columns];
        one(a, [rows, columns], space, u, s, vh);
    });
    Ok(())
}

fn one<T: Float>(
    a: &[T],
    [rows, columns]: [usize; 2],
    space: &mut [f64],
    u: &mut [T],
    s: &mut [T],
    vh: &mut [T],
) {
    let (k, long, tall) = (rows.min(columns), rows.max(columns), rows >= columns);
    let scale = a.iter().fold(0.0, |most: f64, x| most.max(x.to_f64().abs()));
    if !a.iter().all(|x| x.is_finite()) {
        return [u, s, vh].into_iter().for_each(|out| out.fill(T::NAN));
    }
    let scale = if scale > 0.0 { scale } else { 1.0 };
    let (vectors, turns) = space.split_at_mut(k * long);
    for (i, vector) in vectors.chunks_exact_mut(long).enumerate() {
        for (j, x) in vector.iter_mut().enumerate() {
            *x = a[if tall { j * columns + i } else { i * columns + j }].to_f64() / scale;
        }
    }
    turns.fill(0.0);
    turns.iter_mut().step_by(k + 1).for_each(|x| *x = 1.0);
    orthogonalise(vectors, turns, long, k);
    // Descending, equals in their order. Each vector is found by its rank, so nothing is moved.
    let length = |i: usize, vectors: &[f64]| {
        let vector = &vectors[i * long..][..long];
        dot(vector, vector).sqrt()
    };
    for i in 0..k {
        let value = length(i, vectors);
        let before = |j: &usize| {
            let other = length(*j, vectors);
            other > value || (other == value && *j < i)
        };
        let rank = (0..k).filter(before).count();
        s[rank] = T::from_f64(value * scale);
        let turn = &turns[i * k..][..k];
        let vector = &vectors[i * long..][..long];
        for j in 0..long {
            let x = T::from_f64(if value > 0.0 { vector[j] / value } else { 0.0 });
            if tall { u[j * k + rank] = x } else { vh[rank * columns + j] = x }
        }
        for j in 0..k {
            let x = T::from_f64(turn[j]);
            if tall { vh[rank * columns + j] = x } else { u[j * k + rank] = x }
        }
    }
    // Where a singular value is 0 any unit vector at right angles to the others will do.
    let mut found = vectors.len() / long;
    while found > 0 && s[found - 1] == T::ZERO {
        found -= 1;
    }
    if found < k {
        let steps = if tall { [k, 1] } else { [1, columns] };
        complete(if tall { u } else { vh }, found..k, long, steps);
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).fold(0.0, |sum, (a, b)| sum + a * b)
}

/// Turns pairs of vectors until all are at right angles; `turns` takes the same turns.
fn orthogonalise(vectors: &mut [f64], turns: &mut [f64], long: usize, k: usize) {
    let small = 2.0 * f64::EPSILON * (long as f64).sqrt();
    for _ in 0..SWEEPS {
        let mut turned = false;
        for i in 0..k {
            for j in i + 1..k {
                let (head, tail) = vectors.split_at_mut(j * long);
                let (a, b) = (&mut head[i * long..][..long], &mut tail[..long]);
                let (aa, bb, ab) = (dot(a, a), dot(b, b), dot(a, b));
                if ab.abs() <= small * (aa * bb).sqrt() {
                    continue;
                }
                turned = true;
                let zeta = (bb - aa) / (2.0 * ab);
                let tangent = zeta.signum() / (zeta.abs() + (1.0 + zeta * zeta).sqrt());
                let cosine = 1.0 / (1.0 + tangent * tangent).sqrt();
                let angle = [cosine, cosine * tangent];
                turn(a, b, angle);
                let (head, tail) = turns.split_at_mut(j * k);
                turn(&mut head[i * k..][..k], &mut tail[..k], angle);
            }
        }
        if !turned {
            return;
        }
    }
}

fn turn(a: &mut [f64], b: &mut [f64], [cosine, sine]: [f64; 2]) {
    for (a, b) in a.iter_mut().zip(b) {
        (*a, *b) = (cosine * *a - sine * *b, sine * *a + cosine * *b);
    }
}

/// Unit vectors at right angles to all before them, for the numbers `missing`. Element `e` of vector `v` lies at
/// `e * steps[0] + v * steps[1]`.
fn complete<T: Float>(
    out: &mut [T],
    missing: std::ops::Range<usize>,
    long: usize,
    [along, across]: [usize; 2],
) {
    for vector in missing {
        // What the others leave of an axis; the axis of which they leave most.
        let left = |out: &[T], axis: usize| {
            (0..vector).fold(1.0, |left, v| left - out[axis * along + v * across].to_f64().powi(2))
        };
        let axis = (0..long).fold(
            0,
            |best, axis| {
                if left(out, axis) > left(out, best) { axis } else { best }
            },
        );
        for e in 0..long {
            out[e * along + vector * across] = if e == axis { T::ONE } else { T::ZERO };
        }
        // Twice is enough.
        for _ in 0..2 {
            for v in 0..vector {
                let at = |e: usize, v: usize| e * along + v * across;
                let inner = (0..long)
                    .fold(0.0, |sum, e| sum + out[at(e, v)].to_f64() * out[at(e, vector)].to_f64());
                for e in 0..long {
                    let x = out[at(e, vector)].to_f64() - inner * out[at(e, v)].to_f64();
                    out[at(e, vector)] = T::from_f64(x);
                }
            }
        }
        let at = |e: usize| e * along + vector * across;
        let length = (0..long).fold(0.0, |sum, e| sum + out[at(e)].to_f64().powi(2)).sqrt();
        for e in 0..long {
            out[at(e)] = T::from_f64(out[at(e)].to_f64() / length);
        }
    }
}
