//! The factors multiply to the matrix, vectors are orthonormal, values descend.

use super::*;
use crate::cpu::parallel::set_threads;
use crate::cpu::reduce::tests::data;

/// `matrices` of them, one after the other.
fn check([rows, columns]: [usize; 2], matrices: usize, a: &[f64]) {
    let k = rows.min(columns);
    let (mut u, mut s, mut vh) = (
        vec![9.0; matrices * rows * k],
        vec![9.0; matrices * k],
        vec![9.0; matrices * k * columns],
    );
    svd([rows, columns], a, &mut u, &mut s, &mut vh).unwrap();
    for matrix in 0..matrices {
        let a = &a[matrix * rows * columns..][..rows * columns];
        let u = &u[matrix * rows * k..][..rows * k];
        let s = &s[matrix * k..][..k];
        let vh = &vh[matrix * k * columns..][..k * columns];
        let scale = a.iter().fold(1e-300, |most: f64, x| most.max(x.abs()));
        assert!(s.windows(2).all(|pair| pair[0] >= pair[1]) && s.iter().all(|&s| s >= 0.0));
        for i in 0..rows {
            for j in 0..columns {
                let product: f64 = (0..k).map(|l| u[i * k + l] * s[l] * vh[l * columns + j]).sum();
                let error = (product - a[i * columns + j]).abs() / scale;
                assert!(error < 1e-13 * (rows + columns) as f64, "{rows} {columns}: {error}");
            }
        }
        for i in 0..k {
            for j in 0..k {
                let left: f64 = (0..rows).map(|l| u[l * k + i] * u[l * k + j]).sum();
                let right: f64 =
                    (0..columns).map(|l| vh[i * columns + l] * vh[j * columns + l]).sum();
                let want = f64::from(u8::from(i == j));
                let near = |x: f64| (x - want).abs() < 1e-12;
                assert!(
                    near(left) && near(right),
                    "{rows} {columns}: {i} {j} {left} {right} {s:?}"
                );
            }
        }
    }
}

#[test]
fn factors_of_any_shape() {
    for threads in [1, 3] {
        set_threads(threads);
        for shape in [[1, 1], [1, 5], [5, 1], [3, 3], [4, 7], [9, 4], [20, 20], [33, 17]] {
            let n = shape[0] * shape[1];
            for matrices in [1, 6] {
                check(shape, matrices, &data(n * matrices, n as u64, false));
            }
        }
    }
}

#[test]
fn matrices_without_full_rank() {
    for shape in [[3, 3], [5, 3], [3, 5]] {
        let n = shape[0] * shape[1];
        check(shape, 1, &vec![0.0; n]);
        check(shape, 1, &vec![2.0; n]);
        let sparse: Vec<f64> = (0..n).map(|i| f64::from(u8::from(i == n - 1))).collect();
        check(shape, 1, &sparse);
        let large: Vec<f64> = data(n, 5, false).iter().map(|x| x * 1e300).collect();
        check(shape, 1, &large);
        check(shape, 1, &large.iter().map(|x| x * 1e-300 * 1e-290).collect::<Vec<_>>());
    }
}

#[test]
fn what_is_not_finite_and_what_does_not_fit() {
    let mut out = ([0.0; 2], [0.0; 1], [0.0; 1]);
    svd([2, 1], &[1.0, f64::NAN], &mut out.0, &mut out.1, &mut out.2).unwrap();
    assert!(out.0.iter().chain(&out.1).chain(&out.2).all(|x| x.is_nan()));
    assert!(svd([2, 1], &[1.0; 3], &mut out.0, &mut out.1, &mut out.2).is_err());
    svd::<f32>([0, 3], &[], &mut [], &mut [], &mut []).unwrap();
    assert!(svd::<f32>([0, 3], &[], &mut [1.0], &mut [], &mut []).is_err());
    let (mut u, mut s, mut vh) = ([0f32; 4], [0f32; 2], [0f32; 4]);
    svd([2, 2], &[3f32, 0.0, 0.0, -4.0], &mut u, &mut s, &mut vh).unwrap();
    assert_eq!(s, [4.0, 3.0]);
}
