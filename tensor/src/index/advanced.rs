//! Elements chosen by index tensors and masks.

use crate::dtype::DType;
use crate::error::{Error, Result};
use crate::ops::chain::BinaryChain as _;
use crate::shape::{self, Dims};
use crate::tensor::Tensor;

/// `x` at the places that the tensors name, each from a dim of `x` on; errors speak of the number beside it.
pub(super) fn choose(x: &Tensor, tensors: &[(usize, usize, &Tensor)]) -> Result<Tensor> {
    let indices = indices(x, tensors)?;
    if let [(dim, own, index)] = &indices[..] {
        let y = x.index_select(*dim as i64, &index.flatten(0, -1)?);
        let y = y.map_err(|error| error.of_dim(*own))?;
        return y.reshape(spread(x.shape(), *dim, 1, index.shape()));
    }
    let mut common = Dims::new();
    for (_, _, index) in &indices {
        common = shape::broadcast("index", &common, index.shape())?;
    }
    // The chosen dims side by side, where the first stands if they already are, else first.
    let chosen: Dims = indices.iter().map(|(dim, ..)| *dim).collect();
    let together = chosen.windows(2).all(|pair| pair[0] + 1 == pair[1]);
    let front = if together { chosen.first().copied().unwrap_or(0) } else { 0 };
    let mut order: Dims = (0..x.rank()).filter(|d| !chosen.contains(d)).collect();
    order.insert_many(front, chosen.iter().copied());
    let x = x.permute(&order[..])?;

    // One place in all of them; a table of each dim's places refuses an index that leaves it.
    let mut places = Tensor::zeros(&common, (DType::I64, x.device()))?;
    let mut stride = 1.0;
    for (d, (_, own, index)) in indices.iter().enumerate().rev() {
        let size = x.shape()[front + d];
        let flat = index.flatten(0, -1)?;
        let table = Tensor::arange(0.0, stride, size, (DType::I64, x.device()))?;
        let place = table.index_select(0, &flat).map_err(|error| error.of_dim(*own))?;
        places = places.add(place.reshape(index.shape()))?;
        stride *= size as f64;
    }
    let flat = x.flatten(front as i64, (front + chosen.len() - 1) as i64)?;
    let y = flat.index_select(front as i64, &places.flatten(0, -1)?)?;
    y.reshape(spread(x.shape(), front, chosen.len(), &common))
}

/// `shape` with `count` dims from `dim` on replaced by others.
fn spread(shape: &[usize], dim: usize, count: usize, others: &[usize]) -> Dims {
    [&shape[..dim], others, &shape[dim + count..]].concat().into_iter().collect()
}

/// One i64 tensor of non-negative numbers a dim: masks become the places where they are true.
fn indices(x: &Tensor, tensors: &[(usize, usize, &Tensor)]) -> Result<Vec<(usize, usize, Tensor)>> {
    let mut indices = Vec::new();
    for &(dim, own, tensor) in tensors {
        // As in PyTorch, the numbers may lie elsewhere.
        let tensor = &tensor.to_device(x.device())?;
        match tensor.dtype() {
            DType::Bool => {
                let sizes = &x.shape()[dim..dim + tensor.rank()];
                if tensor.rank() == 0 || tensor.shape() != sizes {
                    let message = format!("a mask {:?} for dims {sizes:?}", tensor.shape());
                    return Err(Error::shape("index", message));
                }
                let places = tensor.nonzero()?;
                for d in 0..tensor.rank() {
                    let column = places.narrow(1, d, 1)?.squeeze(1)?;
                    indices.push((dim + d, own + d, column));
                }
            }
            DType::I64 | DType::I32 => {
                let size = x.shape()[dim] as f64;
                indices.push((dim, own, tensor.lt(0.0).select(tensor.add(size), tensor)?));
            }
            other => {
                let message = format!("an index of {other}: i64, i32 or bool is expected");
                return Err(Error::dtype("index", message));
            }
        }
    }
    Ok(indices)
}
