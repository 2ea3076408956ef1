//! Data: data sets, a prefetching loader, the IDX format.

mod dataset;
mod idx;
mod loader;
mod mnist;

pub use dataset::{Dataset, TensorDataset};
pub use idx::{Idx, IdxError, IdxKind, parse_idx, read_idx};
pub use loader::{DataLoader, Epoch};
pub use mnist::Mnist;
