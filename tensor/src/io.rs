//! Files of tensors.

mod safetensors;

pub use self::safetensors::{load_safetensors, parse_safetensors, save_safetensors};
