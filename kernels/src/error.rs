//! What a kernel can refuse.

/// Why a kernel or a buffer request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The device's limit, or the system, refused the memory.
    #[error("out of memory: {requested} bytes requested, {live} live, limit {limit}")]
    OutOfMemory {
        /// Bytes asked for.
        requested: usize,
        /// Bytes in live buffers when it was refused.
        live: usize,
        /// The limit in force (`usize::MAX`: none, the system refused).
        limit: usize,
    },
    /// An index in the data lies outside the dimension it selects from.
    #[error("index {index} (at position {position}) is out of range for size {size}")]
    IndexOutOfRange {
        /// The offending value.
        index: i64,
        /// Its place among the indices, in row-major order.
        position: usize,
        /// The size it must stay below.
        size: usize,
    },
    /// Numbers that are to be quantized have no range: NaN, an infinity, or a range beyond f32.
    #[error("row {row} has no codes: it holds NaN, an infinity or numbers too far apart")]
    NoRange {
        /// The first such row (or image).
        row: usize,
    },
    /// Integers were divided by zero.
    #[error("an integer divided by zero")]
    DivisionByZero,
    /// CUDA can't be used here: no driver, an old one, no such device.
    #[error("CUDA is not available: {0}")]
    NoCuda(String),
    /// The NVIDIA driver refused a call, or a fault of earlier work came to light.
    #[error("{call}: {message}")]
    Cuda {
        /// The driver's function.
        call: &'static str,
        /// Its result.
        code: u32,
        /// The driver's words for it.
        message: String,
    },
    /// A layout or a size that a GPU's kernel does not take, although it is right: the CPU's does.
    #[error("beyond what the GPU's kernels take: {0}")]
    Beyond(&'static str),
    /// The caller broke the kernel's contract (slice lengths, strides out of range).
    #[error("kernel contract broken: {0}")]
    Contract(&'static str),
}

/// A kernel's result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// `Ok` if the contract holds, else [`Error::Contract`] with `what`.
#[inline]
pub(crate) fn require(holds: bool, what: &'static str) -> Result<()> {
    if holds { Ok(()) } else { Err(Error::Contract(what)) }
}
