//! MKL and OpenBLAS, where the machine has them. `FERROTAPE_MKL` and `FERROTAPE_OPENBLAS` name the libraries (the wheels `mkl` and
//! `scipy-openblas32` bring them); without, the loader looks for their usual names.

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use libloading::Library;

use crate::Product;

type CblasSgemm = unsafe extern "C" fn(
    layout: c_int,
    transpose_a: c_int,
    transpose_b: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: f32,
    a: *const f32,
    lda: c_int,
    b: *const f32,
    ldb: c_int,
    beta: f32,
    c: *mut f32,
    ldc: c_int,
);

/// Row-major: the left operand is u8 and the right one i8, in spite of the name.
type CblasInt8 = unsafe extern "C" fn(
    layout: c_int,
    transpose_a: c_int,
    transpose_b: c_int,
    offset_c: c_int,
    m: c_int,
    n: c_int,
    k: c_int,
    alpha: f32,
    a: *const c_void,
    lda: c_int,
    a_offset: c_char,
    b: *const c_void,
    ldb: c_int,
    b_offset: c_char,
    beta: f32,
    c: *mut i32,
    ldc: c_int,
    c_offset: *const i32,
);

const ROW_MAJOR: c_int = 101;
const PLAIN: c_int = 111;
const TRANSPOSED: c_int = 112;
const FIXED_OFFSET: c_int = 173;

/// `a[m, k] b[k, n]` of codes, all row-major and dense.
pub type Int8Product = fn([usize; 3], &[u8], &[i8], &mut [i32]);

/// A library with `cblas_sgemm`, held to a number of threads.
pub struct Blas {
    library: Library,
    sgemm: CblasSgemm,
}

impl Blas {
    /// MKL, or `None` where there is none.
    pub fn mkl(threads: usize) -> Option<Self> {
        let library = open("FERROTAPE_MKL", &["libmkl_rt.so.3", "libmkl_rt.so.2"])?;
        // SAFETY: MKL's documented signatures; layer 0 is Intel's threads, 1 none.
        unsafe {
            let layer =
                library.get::<extern "C" fn(c_int) -> c_int>(b"MKL_Set_Threading_Layer").ok()?;
            layer(c_int::from(threads == 1));
            let set = library.get::<extern "C" fn(c_int)>(b"MKL_Set_Num_Threads").ok()?;
            set(threads as c_int);
        }
        Blas::new(library, &[b"cblas_sgemm"])
    }

    /// OpenBLAS, or `None` where there is none.
    pub fn openblas(threads: usize) -> Option<Self> {
        let library = open("FERROTAPE_OPENBLAS", &["libopenblas.so.0", "libscipy_openblas.so"])?;
        for name in [&b"openblas_set_num_threads"[..], b"scipy_openblas_set_num_threads"] {
            // SAFETY: OpenBLAS's documented signature; the wheel puts its name before every other.
            if let Ok(set) = unsafe { library.get::<extern "C" fn(c_int)>(name) } {
                set(threads as c_int);
            }
        }
        Blas::new(library, &[b"cblas_sgemm", b"scipy_cblas_sgemm"])
    }

    fn new(library: Library, names: &[&[u8]]) -> Option<Self> {
        // SAFETY: the signature of CBLAS, with 32-bit integers.
        let get =
            |name: &&[u8]| unsafe { library.get::<CblasSgemm>(*name).ok().map(|found| *found) };
        let sgemm = names.iter().find_map(get)?;
        Some(Blas { library, sgemm })
    }

    /// `c = a b`.
    pub fn sgemm(&self, product: Product, a: &[f32], b: &[f32], c: &mut [f32]) {
        product.check(a, b, c);
        let [m, k, n] = product.size.map(|size| size as c_int);
        let [(ta, lda), (tb, ldb)] = [
            if product.transposed[0] { (TRANSPOSED, m) } else { (PLAIN, k) },
            if product.transposed[1] { (TRANSPOSED, k) } else { (PLAIN, n) },
        ];
        let (a, b, c) = (a.as_ptr(), b.as_ptr(), c.as_mut_ptr());
        // SAFETY: the slices hold the matrices with these strides, as checked; the library is open.
        unsafe { (self.sgemm)(ROW_MAJOR, ta, tb, m, n, k, 1., a, lda, b, ldb, 0., c, n) }
    }
}

/// What an environment variable names, or the first of these that the loader finds.
fn open(variable: &str, names: &[&str]) -> Option<Library> {
    let named = std::env::var(variable).ok();
    let mut names = named.as_deref().into_iter().chain(names.iter().copied());
    // SAFETY: what a library does when it is loaded is its own matter.
    names.find_map(|name| unsafe { Library::new(name).ok() })
}

/// MKL's `cblas_gemm_s8u8s32` on one thread, or `None` without MKL.
pub fn mkl_int8() -> Option<Int8Product> {
    int8().map(|_| int8_product as Int8Product)
}

fn int8() -> Option<CblasInt8> {
    static INT8: OnceLock<Option<(Blas, CblasInt8)>> = OnceLock::new();
    let open = || {
        let mkl = Blas::mkl(1)?;
        // SAFETY: MKL's documented signature.
        let int8 = unsafe { *mkl.library.get::<CblasInt8>(b"cblas_gemm_s8u8s32").ok()? };
        Some((mkl, int8))
    };
    INT8.get_or_init(open).as_ref().map(|(_, int8)| *int8)
}

fn int8_product([m, k, n]: [usize; 3], a: &[u8], b: &[i8], c: &mut [i32]) {
    assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n, "a slice is too short");
    let Some(gemm) = int8() else { return };
    let [mi, ki, ni] = [m, k, n].map(|size| size as c_int);
    let (a, b, c) = (a.as_ptr().cast(), b.as_ptr().cast(), c.as_mut_ptr());
    let (layout, plain, fixed, zero) = (ROW_MAJOR, PLAIN, FIXED_OFFSET, 0i32);
    // SAFETY: the slices hold the matrices with these strides, as checked; the library stays open.
    unsafe {
        gemm(layout, plain, plain, fixed, mi, ni, ki, 1., a, ki, 0, b, ni, 0, 0., c, ni, &zero);
    }
}
