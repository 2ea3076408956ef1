//! The functions of cublasLt.h that are called, looked up all at once; its numbers.

use std::ffi::{c_int, c_void};
use std::sync::OnceLock;

use libloading::Library;

use crate::cuda::array::Type;
use crate::error::{Error, Result};

pub(super) type Handle = *mut c_void;

/// `cublasLtMatmulHeuristicResult_t`
#[repr(C)]
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heuristic {
    pub(super) algorithm: [u64; 8],
    pub(super) workspace: usize,
    pub(super) state: u32,
    waves: f32,
    reserved: [c_int; 4],
}

/// `cudaDataType_t`
pub(super) const R_32F: i32 = 0;

pub(super) fn data_type(kind: Type) -> i32 {
    match kind {
        Type::F16 => 2,
        Type::BF16 => 14,
        _ => R_32F,
    }
}

/// `cublasComputeType_t`
pub(super) const COMPUTE_32F: i32 = 68;
pub(super) const COMPUTE_32F_FAST_TF32: i32 = 77;

/// `cublasLtMatmulDescAttributes_t`
pub(super) mod desc {
    pub(crate) const TRANSA: i32 = 3;
    pub(crate) const TRANSB: i32 = 4;
    pub(crate) const EPILOGUE: i32 = 7;
    pub(crate) const BIAS_POINTER: i32 = 8;
}

/// `cublasLtEpilogue_t`
pub(super) mod epilogue {
    pub(crate) const DEFAULT: u32 = 1;
    pub(crate) const RELU: u32 = 2;
    pub(crate) const BIAS: u32 = 4;
}

/// `cublasLtMatrixLayoutAttribute_t`
pub(super) mod layout {
    pub(crate) const BATCH_COUNT: i32 = 5;
    pub(crate) const BATCH_OFFSET: i32 = 6;
}

/// `cublasLtMatmulPreferenceAttributes_t`
pub(super) mod preference {
    pub(crate) const WORKSPACE: i32 = 1;
    pub(crate) const ALIGNMENTS: [i32; 4] = [5, 6, 7, 8];
}

/// `cublasStatus_t`
pub(super) const NOT_SUPPORTED: u32 = 15;

/// `Ok` for 0, else an error that names the call.
pub(super) fn check(call: &'static str, code: u32) -> Result<()> {
    let name = match code {
        0 => return Ok(()),
        1 => "NOT_INITIALIZED (a driver that is too old for it?)",
        3 => "ALLOC_FAILED",
        7 => "INVALID_VALUE",
        8 => "ARCH_MISMATCH",
        13 => "EXECUTION_FAILED",
        14 => "INTERNAL_ERROR",
        15 => "NOT_SUPPORTED",
        _ => "a status of cuBLAS",
    };
    Err(Error::Cuda { call, code, message: format!("{name} ({code})") })
}

macro_rules! functions {
    ($($name:ident = $symbol:literal ($($argument:ty),* $(,)?);)*) => {
        /// The library's functions.
        pub(super) struct Functions {
            $(pub(super) $name: unsafe extern "C" fn($($argument),*) -> u32,)*
        }

        impl Functions {
            fn find(library: &Library) -> Result<Functions, String> {
                Ok(Functions {
                    $($name: {
                        // SAFETY: the signature is that of cublasLt.h.
                        let found = unsafe { library.get::<unsafe extern "C" fn($($argument),*) -> u32>($symbol.as_bytes()) };
                        *found.map_err(|_| format!("cuBLASLt lacks {}", $symbol))?
                    },)*
                })
            }
        }
    };
}

functions! {
    create = "cublasLtCreate" (*mut Handle);
    desc_create = "cublasLtMatmulDescCreate" (*mut Handle, c_int, c_int);
    desc_set = "cublasLtMatmulDescSetAttribute" (Handle, c_int, *const c_void, usize);
    desc_destroy = "cublasLtMatmulDescDestroy" (Handle);
    layout_create = "cublasLtMatrixLayoutCreate" (*mut Handle, c_int, u64, u64, i64);
    layout_set = "cublasLtMatrixLayoutSetAttribute" (Handle, c_int, *const c_void, usize);
    layout_destroy = "cublasLtMatrixLayoutDestroy" (Handle);
    preference_create = "cublasLtMatmulPreferenceCreate" (*mut Handle);
    preference_set = "cublasLtMatmulPreferenceSetAttribute" (Handle, c_int, *const c_void, usize);
    preference_destroy = "cublasLtMatmulPreferenceDestroy" (Handle);
    heuristic = "cublasLtMatmulAlgoGetHeuristic" (
        Handle, Handle, Handle, Handle, Handle, Handle, Handle, c_int, *mut Heuristic, *mut c_int,
    );
    matmul = "cublasLtMatmul" (
        Handle, Handle, *const c_void, *const c_void, Handle, *const c_void, Handle, *const c_void, *const c_void, Handle,
        *mut c_void, Handle, *const c_void, *mut c_void, usize, Handle,
    );
}

/// What it may be called, the newest first.
#[cfg(windows)]
const NAMES: &[&str] = &["cublasLt64_13.dll", "cublasLt64_12.dll"];
#[cfg(not(windows))]
const NAMES: &[&str] = &["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so"];

fn load(names: &[&str]) -> Result<Functions, String> {
    // SAFETY: loading the library runs its initialisers, which is what a program that asks for cuBLASLt asks for.
    let Some(library) = names.iter().find_map(|name| unsafe { Library::new(*name) }.ok()) else {
        return Err(format!("no cuBLASLt: looked for {}", names.join(", ")));
    };
    let functions = Functions::find(&library)?;
    // It stays loaded.
    std::mem::forget(library);
    Ok(functions)
}

impl Functions {
    /// The library's, loaded when first asked for.
    pub(super) fn loaded() -> Result<&'static Functions> {
        static FUNCTIONS: OnceLock<Result<Functions, String>> = OnceLock::new();
        let found = FUNCTIONS.get_or_init(|| load(NAMES));
        found.as_ref().map_err(|why| Error::NoCuda(why.clone()))
    }

    pub(super) fn set<T: Copy>(&self, desc: Handle, which: i32, value: &T) -> Result<()> {
        let from = std::ptr::from_ref(value).cast();
        // SAFETY: a descriptor that exists; the value has the attribute's type.
        let code = unsafe { (self.desc_set)(desc, which, from, size_of::<T>()) };
        check("cublasLtMatmulDescSetAttribute", code)
    }

    pub(super) fn set_layout<T: Copy>(&self, layout: Handle, which: i32, value: &T) -> Result<()> {
        let from = std::ptr::from_ref(value).cast();
        // SAFETY: as above.
        let code = unsafe { (self.layout_set)(layout, which, from, size_of::<T>()) };
        check("cublasLtMatrixLayoutSetAttribute", code)
    }

    pub(super) fn set_preference<T: Copy>(&self, to: Handle, which: i32, value: &T) -> Result<()> {
        let from = std::ptr::from_ref(value).cast();
        // SAFETY: as above.
        let code = unsafe { (self.preference_set)(to, which, from, size_of::<T>()) };
        check("cublasLtMatmulPreferenceSetAttribute", code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_library_is_told_by_name() {
        let told = load(&["libnosuch.so.13", "libnosuch.so"]).err().unwrap();
        assert_eq!(told, "no cuBLASLt: looked for libnosuch.so.13, libnosuch.so");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_missing_function_is_told_by_name() {
        let told = load(&["libc.so.6"]).err().unwrap();
        assert_eq!(told, "cuBLASLt lacks cublasLtCreate");
    }

    #[test]
    fn statuses_have_words() {
        let told = check("cublasLtMatmul", 15).unwrap_err().to_string();
        assert_eq!(told, "cublasLtMatmul: NOT_SUPPORTED (15)");
    }
}
