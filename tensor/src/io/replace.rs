//! Files that are written whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::file::file_error;
use crate::error::Result;

/// How the name ends under which a file is written.
const TEMPORARY: &str = ".ferrotape.tmp";
/// Names that are tried.
const NAMES: u32 = 1000;

/// A file on its way to its place: written beside it under another name, flushed and renamed, so that a reader never sees half a
/// file, whatever instant the process is killed at. Dropped before [`finish`](Self::finish), it leaves nothing behind.
///
/// What killed processes left in the folder is removed by the next file that is written there: each holds a lock on its own until
/// it is done or dead. (Where the file system knows no locks, it stays.)
///
/// ```
/// # use ferrotape_tensor::io::Replacement;
/// # use std::io::Write;
/// # let path = std::env::temp_dir().join(format!("ferrotape-doc-replacement-{}", std::process::id()));
/// let new = Replacement::new(&path)?;
/// write!(new.file(), "all of it")?;
/// new.finish()?;
/// assert_eq!(std::fs::read_to_string(&path)?, "all of it");
/// # std::fs::remove_file(path)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Replacement {
    path: PathBuf,
    beside: PathBuf,
    file: File,
    /// It has the name `beside`.
    unfinished: bool,
}

impl Replacement {
    /// Begins the file that is to be `path`.
    ///
    /// # Errors
    /// The file system's.
    pub fn new(path: impl AsRef<Path>) -> Result<Replacement> {
        let path = path.as_ref();
        let fail = |error: io::Error| file_error(path, format!("not saved: {error}"));
        sweep(folder_of(path));
        let name = path.file_name().ok_or_else(|| fail(io::ErrorKind::InvalidFilename.into()))?;
        for number in 0..NAMES {
            let mut beside = std::ffi::OsString::from(".");
            beside.push(name);
            beside.push(format!(".{}-{number}{TEMPORARY}", std::process::id()));
            let beside = path.with_file_name(beside);
            match OpenOptions::new().write(true).create_new(true).open(&beside) {
                Ok(file) => {
                    // It may be swept away before it is locked; then the name may already be another's.
                    if !cfg!(unix) || file.lock().is_err() || is_at(&file, &beside) {
                        return Ok(Replacement {
                            path: path.into(),
                            beside,
                            file,
                            unfinished: true,
                        });
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fail(error)),
            }
        }
        Err(fail(io::ErrorKind::AlreadyExists.into()))
    }

    /// Where to write.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// The name of the file until it is finished.
    pub(super) fn beside(&self) -> &Path {
        &self.beside
    }

    /// Flushes the file to the disk, and puts it in its place.
    ///
    /// # Errors
    /// The file system's, with the path; it says whether the file is in its place.
    pub fn finish(mut self) -> Result<()> {
        let renamed = self.file.sync_all().and_then(|()| fs::rename(&self.beside, &self.path));
        renamed.map_err(|error| file_error(&self.path, format!("not saved: {error}")))?;
        self.unfinished = false;
        sync_folder(&self.path).map_err(|error| {
            let message = format!("saved, but the folder is not flushed: {error}");
            file_error(&self.path, message)
        })
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        if self.unfinished {
            // The write's own error is what matters; the litter may already be gone.
            let _ = fs::remove_file(&self.beside);
        }
    }
}

fn folder_of(path: &Path) -> &Path {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new("."))
}

/// Makes what the folder of `path` says of it last.
fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(not(unix)) {
        return Ok(());
    }
    File::open(folder_of(path))?.sync_all()
}

/// Removes what killed processes left: nobody holds its lock. While this holds it, the name stays that file's, since whoever
/// renames or removes it holds the lock too. What fails is left for the next.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let ours = name.as_encoded_bytes();
        if !ours.starts_with(b".") || !ours.ends_with(TEMPORARY.as_bytes()) {
            continue;
        }
        let path = entry.path();
        if let Ok(file) = super::open_file(&path)
            && file.try_lock().is_ok()
            && is_at(&file, &path)
        {
            let _ = fs::remove_file(&path);
        }
    }
}

/// Whether `path` is the name of this open file.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(open), Ok(named)) => (open.dev(), open.ino()) == (named.dev(), named.ino()),
        _ => false,
    }
}

/// Unknown: nothing is swept.
#[cfg(not(unix))]
fn is_at(_: &File, _: &Path) -> bool {
    false
}
