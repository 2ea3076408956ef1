//! Files as memory.

use std::fs::File;
use std::io;
use std::sync::Arc;

/// The whole of `file` as read-only memory, for [`Buffer::from_external`](super::Buffer::from_external): pages are read from
/// the disk when they are first touched.
///
/// While the map lives, nobody may shorten the file (touching what is gone ends the process with SIGBUS) or write to it (what
/// was read before may then be seen changed). A program that replaces its files by renaming, as this library does, is safe.
///
/// # Errors
/// The system's.
pub fn map_file(file: &File) -> io::Result<Arc<dyn AsRef<[u8]> + Send + Sync>> {
    // SAFETY: a private, read-only map. That the file stays as it is while the map lives is asked of the user, in the
    // documentation here and of every function that maps; nothing in this process writes through the map.
    let map = unsafe { memmap2::Mmap::map(file)? };
    Ok(Arc::new(map))
}
