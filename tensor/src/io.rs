//! Files of tensors: safetensors, npy and npz, PyTorch's weights.
//!
//! No file is trusted. A reader takes a file as exactly what its format says or gives an [`Err`](crate::Error) that names the
//! file, the field and what is wrong with it; it asks for memory only after what the file announces was found to fit the file.
//!
//! Each format comes as `load_..` (reads a file), `parse_..` (reads bytes), `map_..` (the tensors lie in the mapped file, so that
//! nothing is copied and what is never touched is never read) and `save_..`, as far as it makes sense.

mod file;
mod npy;
mod npz;
mod replace;
mod safetensors;
mod source;
mod torch;
mod zip;

pub use self::file::open_file;
pub use self::npy::{load_npy, map_npy, parse_npy, save_npy};
pub use self::npz::{load_npz, parse_npz, save_npz, save_npz_compressed};
pub use self::replace::Replacement;
pub use self::safetensors::{
    load_safetensors, map_safetensors, parse_safetensors, read_safetensors, safetensors_metadata,
    save_safetensors, save_safetensors_with,
};
pub use self::torch::{load_torch, parse_torch};
