//! What can go wrong, in words that say what differs and where.

use std::fmt;
use std::panic::Location;
use std::path::PathBuf;

use crate::device::Device;
use crate::dtype::DType;

/// A library-wide result.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// An error: its [kind](ErrorKind), and the line of the caller that asked.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    location: Option<&'static Location<'static>>,
}

/// What went wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Shapes that don't fit the operation.
    #[error("{op}: {message}")]
    Shape {
        /// The operation.
        op: &'static str,
        /// What differs.
        message: String,
    },
    /// Element types that don't fit the operation.
    #[error("{op}: {message}")]
    DType {
        /// The operation.
        op: &'static str,
        /// What differs.
        message: String,
    },
    /// Operands on different devices.
    #[error("{op}: operands on {first} and {second}")]
    Device {
        /// The operation.
        op: &'static str,
        /// One device.
        first: Device,
        /// The other.
        second: Device,
    },
    /// A dimension that the tensor does not have.
    #[error("{op}: dim {dim} is out of range for {rank} dims")]
    Dim {
        /// The operation.
        op: &'static str,
        /// The dimension asked for.
        dim: i64,
        /// How many there are.
        rank: usize,
    },
    /// An index outside its dimension.
    #[error("{op}: index {index} is out of range for size {size}{}", of_dim(*dim))]
    Index {
        /// The operation.
        op: &'static str,
        /// The index.
        index: i64,
        /// The size it must stay below.
        size: usize,
        /// The dim that has it, if there are several.
        dim: Option<usize>,
    },
    /// A target that names a class which is not there.
    #[error("{op}: the target of row {row} is class {class}, there are {classes} classes")]
    Class {
        /// The operation.
        op: &'static str,
        /// The row, in row-major order of the target.
        row: usize,
        /// The class that it names.
        class: i64,
        /// How many there are.
        classes: usize,
    },
    /// A setting out of its range.
    #[error("{op}: {message}")]
    Argument {
        /// The operation.
        op: &'static str,
        /// What is wrong.
        message: String,
    },
    /// The device's memory limit, or the system, refused.
    #[error("out of memory: {requested} bytes requested, {live} live, limit {limit}")]
    OutOfMemory {
        /// Bytes asked for.
        requested: usize,
        /// Bytes in live buffers.
        live: usize,
        /// The limit in force (`usize::MAX`: none, the system refused).
        limit: usize,
    },
    /// CUDA is not there, or its driver reports a fault.
    #[error("{op}: {message}")]
    Cuda {
        /// The operation, or the call that met the fault.
        op: &'static str,
        /// What was looked for, or the driver's words.
        message: String,
    },
    /// A tensor that a tape watches met an operation where that tape does not listen: its gradient would be lost.
    #[error(
        "{op}: operand {operand} is tracked by a tape that is not active here (another thread, or its recording has ended): \
         its gradient would be lost; use it inside the recording, detach() it, or wrap the work in no_tape"
    )]
    TrackedElsewhere {
        /// The operation.
        op: &'static str,
        /// Which operand.
        operand: usize,
    },
    /// A derivative was asked for that can't be given.
    #[error("{0}")]
    Gradient(String),
    /// A module, an optimizer or a state dict that does not fit.
    #[error("{0}")]
    Module(String),
    /// A file that can't be read or written, or says something impossible.
    #[error("{}{message}", of_file(path))]
    File {
        /// The file; empty for what lay in memory.
        path: PathBuf,
        /// What is wrong, and where.
        message: String,
    },
    /// A kernel's contract was broken: a bug in this library.
    #[error("{op}: internal: {message}")]
    Internal {
        /// The operation.
        op: &'static str,
        /// What the kernel said.
        message: String,
    },
    /// Another crate's error, from a custom operation or a data set.
    #[error(transparent)]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

fn of_dim(dim: Option<usize>) -> String {
    dim.map(|dim| format!(" of dim {dim}")).unwrap_or_default()
}

fn of_file(path: &std::path::Path) -> String {
    if path.as_os_str().is_empty() { String::new() } else { format!("{}: ", path.display()) }
}

impl Error {
    /// An error of this kind; the location is that of the caller.
    #[track_caller]
    pub fn new(kind: ErrorKind) -> Self {
        Error(Box::new(Inner { kind, location: Some(Location::caller()) }))
    }

    /// Wraps another crate's error.
    pub fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Error(Box::new(Inner { kind: ErrorKind::Other(error.into()), location: None }))
    }

    /// What went wrong.
    pub fn kind(&self) -> &ErrorKind {
        &self.0.kind
    }

    /// The line that asked, if known.
    pub fn location(&self) -> Option<&'static Location<'static>> {
        self.0.location
    }

    /// The same error, said of the line `location`: public methods put their caller's line here.
    pub fn at(mut self, location: &'static Location<'static>) -> Self {
        self.0.location = Some(location);
        self
    }

    pub(crate) fn shape(op: &'static str, message: impl Into<String>) -> Self {
        Error::plain(ErrorKind::Shape { op, message: message.into() })
    }

    pub(crate) fn dtype(op: &'static str, message: impl Into<String>) -> Self {
        Error::plain(ErrorKind::DType { op, message: message.into() })
    }

    pub(crate) fn argument(op: &'static str, message: impl Into<String>) -> Self {
        Error::plain(ErrorKind::Argument { op, message: message.into() })
    }

    pub(crate) fn unsupported(op: &'static str, dtype: DType) -> Self {
        Error::dtype(op, format!("not defined for {dtype}"))
    }

    /// Without a location: the public method that is on its way adds its caller's.
    pub(crate) fn plain(kind: ErrorKind) -> Self {
        Error(Box::new(Inner { kind, location: None }))
    }

    /// The same error, if it is one of an index: one of dim `dim`.
    pub(crate) fn of_dim(mut self, dim: usize) -> Self {
        if let ErrorKind::Index { dim: of, .. } = &mut self.0.kind {
            *of = Some(dim);
        }
        self
    }

    /// True where a GPU's kernel refused what the CPU's takes.
    pub(crate) fn is_beyond_kernels(&self) -> bool {
        let ErrorKind::Other(error) = self.kind() else { return false };
        matches!(error.downcast_ref(), Some(ferrotape_kernels::Error::Beyond(_)))
    }

    /// A kernel's refusal in the words of operation `op`.
    pub(crate) fn from_kernel(op: &'static str, error: ferrotape_kernels::Error) -> Self {
        use ferrotape_kernels::Error as Kernel;
        Error::plain(match error {
            Kernel::OutOfMemory { requested, live, limit } => {
                ErrorKind::OutOfMemory { requested, live, limit }
            }
            Kernel::IndexOutOfRange { index, size, .. } => {
                ErrorKind::Index { op, index, size, dim: None }
            }
            Kernel::NoCuda(_) | Kernel::Cuda { .. } => {
                ErrorKind::Cuda { op, message: error.to_string() }
            }
            Kernel::DivisionByZero | Kernel::NoRange { .. } => {
                ErrorKind::Argument { op, message: error.to_string() }
            }
            Kernel::Beyond(_) => return Error::other(error),
            other => ErrorKind::Internal { op, message: other.to_string() },
        })
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.kind.fmt(f)?;
        match self.0.location {
            Some(at) => write!(f, " (at {}:{}:{})", at.file(), at.line(), at.column()),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.kind {
            ErrorKind::Other(error) => Some(error.as_ref()),
            _ => None,
        }
    }
}
