//! MNIST and data sets in its format (Fashion-MNIST): 28 x 28 grey images of 10 classes.

use std::path::{Path, PathBuf};

use ferrotape_tensor::chain::{BinaryChain, UnaryChain};
use ferrotape_tensor::{DType, Error, ErrorKind, Result, Tensor};

use super::dataset::{Dataset, index_tensor};
use super::idx::{IdxKind, parse_idx, read_idx};

/// Images and labels in memory, as bytes; a batch is f32 `[n, 1, h, w]`, normalised, and i64 `[n]`.
#[derive(Debug, Clone)]
pub struct Mnist {
    images: Tensor,
    labels: Tensor,
    mean: f64,
    std: f64,
}

impl Mnist {
    /// The training set of a folder with `train-images-idx3-ubyte` and `train-labels-idx1-ubyte`, with or without `.gz`.
    ///
    /// # Errors
    /// A file that is not there or not as it should be, with its path.
    pub fn train(folder: impl AsRef<Path>) -> Result<Mnist> {
        Mnist::read(folder.as_ref(), "train")
    }

    /// The test set of a folder with `t10k-images-idx3-ubyte` and `t10k-labels-idx1-ubyte`, with or without `.gz`.
    ///
    /// # Errors
    /// As [`train`](Self::train).
    pub fn test(folder: impl AsRef<Path>) -> Result<Mnist> {
        Mnist::read(folder.as_ref(), "t10k")
    }

    fn read(folder: &Path, part: &str) -> Result<Mnist> {
        let images = find(folder, &format!("{part}-images-idx3-ubyte"))?;
        let labels = find(folder, &format!("{part}-labels-idx1-ubyte"))?;
        let read = |path: &PathBuf| read_idx(path).map_err(Error::other);
        Mnist::from_idx(read(&images)?, read(&labels)?)
    }

    /// The sets of the contents of two IDX files, raw or gzip.
    ///
    /// # Errors
    /// Contents that are not as they should be.
    pub fn from_bytes(images: &[u8], labels: &[u8]) -> Result<Mnist> {
        let parse = |bytes| parse_idx(bytes).map_err(Error::other);
        Mnist::from_idx(parse(images)?, parse(labels)?)
    }

    fn from_idx(images: super::Idx, labels: super::Idx) -> Result<Mnist> {
        let refuse = |message: String| Err(Error::new(ErrorKind::Module(message)));
        if images.kind != IdxKind::U8 || images.shape.len() != 3 {
            return refuse(format!(
                "mnist: images of {:?} {:?}, u8 [n, h, w] expected",
                images.kind, images.shape
            ));
        }
        if labels.kind != IdxKind::U8 || labels.shape != images.shape[..1] {
            return refuse(format!(
                "mnist: labels of {:?} for {} images",
                labels.shape, images.shape[0]
            ));
        }
        if let Some(place) = labels.data.iter().position(|&label| label >= 10) {
            return refuse(format!(
                "mnist: label {} of image {place} is no class of 0..10",
                labels.data[place]
            ));
        }
        let shape = [images.shape[0], 1, images.shape[1], images.shape[2]];
        Ok(Mnist {
            images: Tensor::from_vec(images.data, shape)?,
            labels: Tensor::from_vec(labels.data, [shape[0]])?.to_dtype(DType::I64)?,
            mean: 0.1307,
            std: 0.3081,
        })
    }

    /// The first `count` samples.
    ///
    /// # Errors
    /// Fewer than that.
    pub fn first(&self, count: usize) -> Result<Mnist> {
        let cut = |tensor: &Tensor| tensor.narrow(0, 0, count);
        Ok(Mnist { images: cut(&self.images)?, labels: cut(&self.labels)?, ..*self })
    }

    /// All labels, `[n]` i64.
    pub fn labels(&self) -> &Tensor {
        &self.labels
    }
}

impl Dataset for Mnist {
    type Batch = (Tensor, Tensor);

    fn len(&self) -> usize {
        self.images.shape()[0]
    }

    fn batch(&self, indices: &[usize]) -> Result<(Tensor, Tensor)> {
        let index = index_tensor(indices)?;
        let images = self.images.index_select(0, &index).to_dtype(DType::F32);
        // (x / 255 - mean) / std as one multiplication and one addition.
        let (scale, shift) = (1.0 / (255.0 * self.std), -self.mean / self.std);
        Ok((images.mul(scale).add(shift)?, self.labels.index_select(0, &index)?))
    }
}

fn find(folder: &Path, name: &str) -> Result<PathBuf> {
    let plain = folder.join(name);
    let packed = folder.join(format!("{name}.gz"));
    for path in [&plain, &packed] {
        if path.is_file() {
            return Ok(path.clone());
        }
    }
    let message = format!("not found, nor {name}.gz beside it");
    Err(Error::new(ErrorKind::File { path: plain, message }))
}
