//! Safe doors to the products of other libraries, for the benches. They stand in `kernels/` because calling them is `unsafe`.

mod blas;

pub use blas::{Blas, Int8Product, mkl_int8};

/// `c[m, n] = a[m, k] b[k, n]`, dense and row-major, but for operands that are stored transposed.
#[derive(Debug, Clone, Copy)]
pub struct Product {
    /// m, k, n.
    pub size: [usize; 3],
    /// True for an operand that is stored transposed.
    pub transposed: [bool; 2],
}

impl Product {
    /// Row and column strides of the operands. Inlined: a call leaves them in memory, in halves of what is read next, which
    /// took 6 of our 26 ns at n = 5.
    #[inline(always)]
    pub fn strides(&self) -> [[isize; 2]; 2] {
        let ([m, k, n], [a, b]) = (self.size.map(|size| size as isize), self.transposed);
        [if a { [1, m] } else { [k, 1] }, if b { [1, k] } else { [n, 1] }]
    }

    /// Panics unless the slices hold the matrices.
    fn check(&self, a: &[f32], b: &[f32], c: &[f32]) {
        let [m, k, n] = self.size;
        assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n, "a slice is too short");
    }
}

/// The crate `matrixmultiply`; it has the threads of `MATMUL_NUM_THREADS`.
pub fn matrixmultiply(product: Product, a: &[f32], b: &[f32], c: &mut [f32]) {
    product.check(a, b, c);
    let ([m, k, n], [sa, sb]) = (product.size, product.strides());
    let (a, b, c, ns) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), n as isize);
    // SAFETY: the slices hold the matrices with these strides, as checked.
    unsafe {
        matrixmultiply::sgemm(m, k, n, 1., a, sa[0], sa[1], b, sb[0], sb[1], 0., c, ns, 1);
    }
}

/// The crate `gemm` with its AVX-512 feature.
pub fn gemm(threads: usize, product: Product, a: &[f32], b: &[f32], c: &mut [f32]) {
    product.check(a, b, c);
    let ([m, k, n], [[ar, ac], [br, bc]]) = (product.size, product.strides());
    let (a, b, c, ns, f) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), n as isize, false);
    let team =
        if threads > 1 { gemm::Parallelism::Rayon(threads) } else { gemm::Parallelism::None };
    // SAFETY: the slices hold the matrices with these strides, as checked.
    unsafe { gemm::gemm(m, n, k, c, 1, ns, f, a, ac, ar, b, bc, br, 0., 1., f, f, f, team) }
}

#[cfg(test)]
mod tests {
    use super::*;

    type Sgemm<'a> = &'a dyn Fn(&[f32], &[f32], &mut [f32]);

    #[test]
    fn rivals_compute_the_product() {
        // a = [1 2 3; 4 5 6], b = [1 0; 2 0; 1 3], each also stored transposed.
        let a = [[1., 2., 3., 4., 5., 6.], [1., 4., 2., 5., 3., 6.]];
        let b = [[1., 0., 2., 0., 1., 3.], [1., 2., 1., 0., 0., 3.]];
        let (mkl, openblas) = (Blas::mkl(1), Blas::openblas(1));
        for (i, j) in [(0, 0), (0, 1), (1, 0)] {
            let product = Product { size: [2, 3, 2], transposed: [i == 1, j == 1] };
            let is_right = |run: Sgemm<'_>| {
                let mut c = [f32::NAN; 4];
                run(&a[i], &b[j], &mut c);
                assert_eq!(c, [8., 9., 20., 18.], "{product:?}");
            };
            is_right(&|a, b, c| matrixmultiply(product, a, b, c));
            is_right(&|a, b, c| gemm(1, product, a, b, c));
            for blas in mkl.iter().chain(&openblas) {
                is_right(&|a, b, c| blas.sgemm(product, a, b, c));
            }
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
