//! Readers of files: hostile and broken files of every format (the numbers M01.. are those of the project's list of malformed inputs)
//! are errors that name the file and the field; none panics, hangs or asks for much more memory than the file has bytes.

mod hostile;
mod int8;
#[cfg(target_os = "linux")]
mod limits;
mod mutants;
mod numpy;
#[cfg(unix)]
mod special;
mod st;
mod table;
mod torch;
mod zipped;

use std::fs;
use std::path::PathBuf;

/// A folder of one test's own, gone at the end.
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(name: &str) -> Folder {
        let folder = std::env::temp_dir().join(format!("ferrotape-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Folder(folder)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
