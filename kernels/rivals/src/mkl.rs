//! MKL's int8 product, if the machine has the library: `libmkl_rt.so.2` or `.3` where the loader finds it (`LD_LIBRARY_PATH`), as
//! the wheel `mkl` brings it. One thread.

/// `c[m, n] = a[m, k] b[k, n]`, all row-major and dense.
pub type Int8Product = fn([usize; 3], &[u8], &[i8], &mut [i32]);

/// `cblas_gemm_s8u8s32`, or `None` without MKL.
pub fn mkl_int8() -> Option<Int8Product> {
    #[cfg(unix)]
    {
        library().map(|_| product as Int8Product)
    }
    #[cfg(not(unix))]
    None
}

#[cfg(unix)]
use std::ffi::{CStr, c_char, c_int, c_void};

/// Row-major: the left operand is u8 and the right one i8, in spite of the name.
#[cfg(unix)]
type Gemm = unsafe extern "C" fn(
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

#[cfg(unix)]
fn library() -> Option<Gemm> {
    static GEMM: std::sync::OnceLock<Option<Gemm>> = std::sync::OnceLock::new();
    *GEMM.get_or_init(|| {
        let open = |name: &CStr| {
            // SAFETY: a name; what the library does when it is loaded is its own matter.
            let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
            (!handle.is_null()).then_some(handle)
        };
        let handle = open(c"libmkl_rt.so.2").or_else(|| open(c"libmkl_rt.so.3"))?;
        let symbol = |name: &CStr| {
            // SAFETY: an open library and a name.
            let symbol = unsafe { libc::dlsym(handle, name.as_ptr()) };
            (!symbol.is_null()).then_some(symbol)
        };
        let (layer, gemm) = (symbol(c"MKL_Set_Threading_Layer")?, symbol(c"cblas_gemm_s8u8s32")?);
        // SAFETY: MKL's documented signatures; layer 1 is the sequential one.
        unsafe {
            std::mem::transmute::<*mut c_void, extern "C" fn(c_int) -> c_int>(layer)(1);
            Some(std::mem::transmute::<*mut c_void, Gemm>(gemm))
        }
    })
}

#[cfg(unix)]
fn product([m, k, n]: [usize; 3], a: &[u8], b: &[i8], c: &mut [i32]) {
    assert!(a.len() >= m * k && b.len() >= k * n && c.len() >= m * n, "a slice is too short");
    let Some(gemm) = library() else { return };
    let [mi, ki, ni] = [m, k, n].map(|size| size as c_int);
    let (a, b, c) = (a.as_ptr().cast(), b.as_ptr().cast(), c.as_mut_ptr());
    // CblasRowMajor, CblasNoTrans, CblasFixOffset.
    let (layout, plain, fixed, zero) = (101, 111, 173, 0i32);
    // SAFETY: the slices hold the matrices with these strides, as checked.
    unsafe {
        gemm(layout, plain, plain, fixed, mi, ni, ki, 1., a, ki, 0, b, ni, 0, 0., c, ni, &zero);
    }
}
