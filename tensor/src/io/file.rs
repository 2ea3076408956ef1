//! Opening files to read, and saying what is wrong with them.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use super::replace::Replacement;
use crate::error::{Error, ErrorKind, Result};

/// What is wrong with the bytes at hand; [`in_file`] adds the path.
pub(super) fn bad(message: impl std::fmt::Display) -> Error {
    file_error(Path::new(""), message)
}

pub(super) fn file_error(path: &Path, message: impl std::fmt::Display) -> Error {
    Error::plain(ErrorKind::File { path: path.to_path_buf(), message: message.to_string() })
}

/// `result`, its error said of the file `path`.
pub(super) fn in_file<T>(path: &Path, result: Result<T>) -> Result<T> {
    result.map_err(|error| match error.kind() {
        ErrorKind::File { message, .. } => file_error(path, message),
        _ => file_error(path, error),
    })
}

/// `result`, its error said of a field of the file.
pub(super) fn in_field<T>(field: impl std::fmt::Display, result: Result<T>) -> Result<T> {
    result.map_err(|error| bad(format!("{field}: {error}")))
}

/// Opens a regular file to read. Anything else that has a name (a folder, a device, a pipe, which would be waited on for ever) is an
/// error, and so are more links than the system follows.
///
/// # Errors
/// The system's; not a regular file.
pub fn open_file(path: impl AsRef<Path>) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    // Opening a pipe would block until someone writes to it; for a regular file the flag means nothing.
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NONBLOCK);
    let file = options.open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file")),
    }
}

/// `write` writes the file, under another name until it is whole: a reader never sees half of it. A failure leaves nothing behind.
pub(super) fn replace(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let new = Replacement::new(path)?;
    in_file(path, write(new.beside()))?;
    new.finish()
}
