//! What can be wrong with an idx file.

use std::io;
use std::path::PathBuf;

/// Why a file is not exactly one idx file. Offsets count bytes of the idx data, after inflating.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdxError {
    /// The file concerned.
    #[error("{}: {source}", path.display())]
    File {
        /// As given to [`read_idx`](super::read_idx).
        path: PathBuf,
        /// What is wrong with it.
        source: Box<IdxError>,
    },
    /// The first two bytes are not zero.
    #[error("magic at byte 0: {found:02x?}, an idx file starts with [00, 00]")]
    Magic {
        /// The two bytes.
        found: [u8; 2],
    },
    /// No such element type.
    #[error("type at byte 2: {found:02x} is none of 08, 09, 0b, 0c, 0d, 0e")]
    Kind {
        /// The type byte.
        found: u8,
    },
    /// A number of dimensions that is not read.
    #[error("number of dimensions at byte 3: {found} is not 1 to 8")]
    Rank {
        /// The byte.
        found: u8,
    },
    /// The sizes announce more than is read, or than a file of this length can hold.
    #[error(
        "sizes at byte 4: they announce {}, this file can hold {limit} bytes",
        bytes(announced)
    )]
    TooLarge {
        /// Bytes of the payload; `None` if that overflows.
        announced: Option<u64>,
        /// The most that is accepted for this file.
        limit: u64,
    },
    /// The system refused the memory for the payload.
    #[error("sizes at byte 4: no memory for the {requested} bytes that they announce")]
    OutOfMemory {
        /// Bytes of the payload.
        requested: u64,
    },
    /// The file ends too early.
    #[error("{field}: the file ends too early, at or after byte {offset}")]
    Truncated {
        /// What was being read.
        field: &'static str,
        /// Where.
        offset: u64,
    },
    /// The file goes on after the last element.
    #[error("end at byte {offset}: more bytes follow the last element")]
    TrailingBytes {
        /// Where the file should end.
        offset: u64,
    },
    /// A second gzip member, or anything else, follows the first.
    #[error("end at byte {offset}: more bytes follow the gzip member that holds the last element")]
    BytesAfterGzip {
        /// Where the idx data ends.
        offset: u64,
    },
    /// Damaged gzip data: the header, the deflate stream or the checksum is wrong.
    #[error("{field} at byte {offset}: damaged gzip data: {source}")]
    Gzip {
        /// What was being read.
        field: &'static str,
        /// Where.
        offset: u64,
        /// The decoder's words.
        source: io::Error,
    },
    /// The system failed to open or read the file.
    #[error("{field} at byte {offset}: {source}")]
    Io {
        /// What was being read.
        field: &'static str,
        /// Where.
        offset: u64,
        /// The system's words.
        source: io::Error,
    },
}

impl IdxError {
    /// Sorts the reasons for which reading `field` at `offset` fails.
    pub(super) fn io(field: &'static str, offset: u64, source: io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::UnexpectedEof => IdxError::Truncated { field, offset },
            // The decoder's kinds for a broken stream; a system call on a plain file gives neither.
            io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
                IdxError::Gzip { field, offset, source }
            }
            _ => IdxError::Io { field, offset, source },
        }
    }
}

fn bytes(announced: &Option<u64>) -> String {
    announced.map_or("2^64 bytes or more".to_owned(), |bytes| format!("{bytes} bytes"))
}
