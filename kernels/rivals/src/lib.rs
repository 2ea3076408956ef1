//! Safe doors to the products of other crates, for the benches. They stand in `kernels/` because calling them is `unsafe`.

mod mkl;

pub use mkl::{Int8Product, mkl_int8};

/// `c[m, n] = a[m, k] b[k, n]`, all row-major and dense.
pub type Product = fn([usize; 3], &[f32], &[f32], &mut [f32]);

/// The rivals by name. Whichever instructions a crate was built for, it falls back to what the CPU has.
pub const RIVALS: [(&str, Product); 3] = [
    ("matrixmultiply", matrixmultiply),
    ("gemm 0.18 (AVX2)", gemm_avx2),
    ("gemm 0.19 (AVX-512)", gemm_avx512),
];

/// Panics unless the slices hold the matrices.
fn check([m, k, n]: [usize; 3], a: &[f32], b: &[f32], c: &[f32]) {
    assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n, "a slice is too short");
}

/// The crate `matrixmultiply`, one thread.
pub fn matrixmultiply([m, k, n]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    check([m, k, n], a, b, c);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    let (ks, ns) = (k as isize, n as isize);
    // SAFETY: the slices hold the matrices with these strides, as checked.
    unsafe { matrixmultiply::sgemm(m, k, n, 1.0, a, ks, 1, b, ns, 1, 0.0, c, ns, 1) }
}

/// The crate `gemm` without its AVX-512 feature, one thread.
pub fn gemm_avx2([m, k, n]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    check([m, k, n], a, b, c);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    let (ks, ns, one_thread) = (k as isize, n as isize, gemm_avx2::Parallelism::None);
    let f = false;
    // SAFETY: the slices hold the matrices with these strides, as checked.
    unsafe {
        gemm_avx2::gemm(m, n, k, c, 1, ns, f, a, 1, ks, b, 1, ns, 0., 1., f, f, f, one_thread);
    }
}

/// The crate `gemm` with its AVX-512 feature, one thread.
pub fn gemm_avx512([m, k, n]: [usize; 3], a: &[f32], b: &[f32], c: &mut [f32]) {
    check([m, k, n], a, b, c);
    let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
    let (ks, ns, one_thread) = (k as isize, n as isize, gemm_avx512::Parallelism::None);
    let f = false;
    // SAFETY: the slices hold the matrices with these strides, as checked.
    unsafe {
        gemm_avx512::gemm(m, n, k, c, 1, ns, f, a, 1, ks, b, 1, ns, 0., 1., f, f, f, one_thread);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn rivals_compute_the_product() {
        let (a, b) = ([1., 2., 3., 4., 5., 6.], [1., 0., 2., 0., 1., 3.]);
        for (name, product) in super::RIVALS {
            let mut c = [f32::NAN; 4];
            product([2, 3, 2], &a, &b, &mut c);
            assert_eq!(c, [8., 9., 20., 18.], "{name}");
        }
    }

    #[test]
    fn mkl_where_it_is_computes_the_product() {
        let Some(product) = super::mkl_int8() else { return };
        let (a, b) = ([1, 2, 3, 255, 5, 6], [1, 0, -2, 0, 1, -128]);
        let mut c = [7; 4];
        product([2, 3, 2], &a, &b, &mut c);
        assert_eq!(c, [0, -384, 255 - 10 + 6, -768]);
    }
}
