//! What a loader draws batches from.

use ferrotape_tensor::{Error, ErrorKind, Result, Tensor};

/// Samples by number.
pub trait Dataset: Send + Sync + 'static {
    /// What a batch is.
    type Batch: Send + 'static;

    /// Number of samples.
    fn len(&self) -> usize;

    /// True without samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The samples of these numbers as one batch.
    ///
    /// # Errors
    /// A sample that can't be read, by its number.
    fn batch(&self, indices: &[usize]) -> Result<Self::Batch>;
}

/// Inputs and targets in memory: sample `i` is `inputs[i], targets[i]`.
#[derive(Debug, Clone)]
pub struct TensorDataset {
    inputs: Tensor,
    targets: Tensor,
}

impl TensorDataset {
    /// Both tensors have the samples along dim 0.
    ///
    /// # Errors
    /// Numbers of samples that differ.
    pub fn new(inputs: Tensor, targets: Tensor) -> Result<Self> {
        match (inputs.shape().first(), targets.shape().first()) {
            (Some(n), Some(m)) if n == m => Ok(TensorDataset { inputs, targets }),
            _ => {
                let message = format!(
                    "data set: inputs {:?} and targets {:?} differ in dim 0",
                    inputs.shape(),
                    targets.shape()
                );
                Err(Error::new(ErrorKind::Module(message)))
            }
        }
    }
}

/// Indices as a tensor.
pub(super) fn index_tensor(indices: &[usize]) -> Result<Tensor> {
    Tensor::from_vec(indices.iter().map(|&i| i as i64).collect(), [indices.len()])
}

impl Dataset for TensorDataset {
    type Batch = (Tensor, Tensor);

    fn len(&self) -> usize {
        self.inputs.shape().first().copied().unwrap_or(0)
    }

    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        let index = index_tensor(indices)?;
        Ok((self.inputs.index_select(0, &index)?, self.targets.index_select(0, &index)?))
    }
}
