//! Data: data sets, a prefetching loader, samplers, the IDX format, CSV.

mod csv;
mod dataset;
mod idx;
mod loader;
mod mnist;
mod position;
mod sample;
mod sampler;

pub use csv::{parse_csv, read_csv};
pub use dataset::{Dataset, TensorDataset};
pub use idx::{Idx, IdxError, IdxKind, parse_idx, read_idx};
pub use loader::{DataLoader, Epoch};
pub use mnist::Mnist;
pub use position::Position;
pub use sample::{BadSample, Cause, Collated, Samples};
pub use sampler::{
    RandomSampler, Sampler, SequentialSampler, SubsetRandomSampler, WeightedRandomSampler,
};
