//! How matrix products are computed: exactly, or by tensor cores; by our kernels, or by cuBLASLt.

use std::cell::Cell;

use super::gemm::{Checked, Product, exact};
use super::memory::DeviceBuffer;
use super::{cublaslt, gemm_tensor};
use crate::error::Result;

/// How products of f32 matrices are computed on a GPU by `matmul` and `linear`, forward and backward, on this thread, within
/// [`scope`](Self::scope). `Exact` is the default. PyTorch: `torch.set_float32_matmul_precision`.
///
/// With u = 2^-11 (`Tf32`) or 2^-8 (`Bf16`), an element of the result differs from the true one by at most
/// `(2 u + u^2 + k 2^-22) (|A| |B|)`, |A| and |B| the matrices of absolute values and k their common size; numbers too small for a
/// normal f32 (below 2^-126) count as 0.
///
/// Matrices of f16 and bf16 are widened to f32 and multiplied like those in `Exact`. Otherwise tensor cores take them as they are,
/// with sums in f32: the bound above, with u = 0, and one rounding of the result.
///
/// What it does not change: results on the CPU; f64; convolutions, sums and all else; products of at most four rows or columns, or of
/// fewer than 2^20 multiplications, which don't wait for arithmetic; GPUs before compute capability 8.0, which compute all products exactly.
///
/// The bits are the same every time on one model of GPU; on another they may differ. `Exact` has the CPU's bits everywhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Precision {
    /// In f32, in the order of sums that the CPU has: the same bits.
    #[default]
    Exact,
    /// Operands rounded to tf32: 10 binary digits after the point, f32's range.
    Tf32,
    /// Operands rounded to bf16: 7 digits, f32's range.
    Bf16,
}

/// Who multiplies matrices on a GPU, on this thread, within [`scope`](Self::scope).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MatmulBackend {
    /// Our kernels.
    #[default]
    Own,
    /// NVIDIA's cuBLASLt, found at run time; a product fails if it is not. In [`Precision::Exact`] it computes in f32, too, but in
    /// its own order: not the CPU's bits. f64 stays with our kernels.
    CublasLt,
}

/// What this thread has chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Settings {
    precision: Precision,
    backend: MatmulBackend,
}

thread_local! { static SETTINGS: Cell<Settings> = const { Cell::new(Settings { precision: Precision::Exact, backend: MatmulBackend::Own }) }; }

/// Sets back what was chosen before, also when the body panics.
struct Restore(Settings);

impl Drop for Restore {
    fn drop(&mut self) {
        SETTINGS.set(self.0);
    }
}

fn within<R>(settings: Settings, body: impl FnOnce() -> R) -> R {
    let _restore = Restore(SETTINGS.replace(settings));
    body()
}

impl Precision {
    /// Runs `body` with products on this thread computed so; then as before, also if it panics. Scopes nest.
    pub fn scope<R>(self, body: impl FnOnce() -> R) -> R {
        within(Settings { precision: self, ..SETTINGS.get() }, body)
    }

    /// What this thread computes with.
    pub fn current() -> Precision {
        SETTINGS.get().precision
    }
}

impl MatmulBackend {
    /// Runs `body` with products on this thread computed by this backend; then as before, also if it panics. Scopes nest.
    pub fn scope<R>(self, body: impl FnOnce() -> R) -> R {
        within(Settings { backend: self, ..SETTINGS.get() }, body)
    }

    /// What this thread computes with.
    pub fn current() -> MatmulBackend {
        SETTINGS.get().backend
    }
}

/// `out = activation(a b + bias)` as this thread has chosen.
///
/// # Errors
/// Those of [`gemm`](super::gemm::gemm); [`NoCuda`](crate::Error::NoCuda) if cuBLASLt was chosen and is not there.
pub fn multiply(product: &Product<'_>, out: &mut DeviceBuffer) -> Result<()> {
    let Some(checked) = Checked::new(product, out)? else { return Ok(()) };
    let Settings { precision, backend } = SETTINGS.get();
    match backend {
        MatmulBackend::CublasLt if cublaslt::computes(&checked) => {
            cublaslt::multiply(&checked, precision, out)
        }
        _ if gemm_tensor::worthwhile(&checked, precision, out.gpu()) => {
            gemm_tensor::multiply(&checked, precision, out)
        }
        _ => exact(checked, out),
    }
}

#[cfg(test)]
mod products;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_nest_and_end() {
        assert_eq!(Precision::current(), Precision::Exact);
        Precision::Tf32.scope(|| {
            MatmulBackend::CublasLt.scope(|| {
                assert_eq!(Precision::current(), Precision::Tf32);
                Precision::Bf16.scope(|| {
                    assert_eq!(Precision::current(), Precision::Bf16);
                    assert_eq!(MatmulBackend::current(), MatmulBackend::CublasLt);
                });
                assert_eq!(Precision::current(), Precision::Tf32);
            });
            assert_eq!(MatmulBackend::current(), MatmulBackend::Own);
        });
        assert_eq!(Precision::current(), Precision::Exact);
    }

    #[test]
    fn a_panic_ends_a_scope() {
        let panicked = std::panic::catch_unwind(|| Precision::Bf16.scope(|| panic!("on purpose")));
        assert!(panicked.is_err());
        assert_eq!(Precision::current(), Precision::Exact);
    }

    #[test]
    fn a_scope_is_of_one_thread() {
        Precision::Tf32.scope(|| {
            let other = std::thread::spawn(Precision::current).join().unwrap();
            assert_eq!(other, Precision::Exact);
        });
    }
}
