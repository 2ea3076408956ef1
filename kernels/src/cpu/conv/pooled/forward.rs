//! Some images are convolved and pooled at a time.

use super::PooledShape;
use crate::buffer::Buffer;
use crate::cpu::conv::forward::{Weights, windows};
use crate::cpu::gemm::{Activation, Dispatch};
use crate::cpu::pool::max_pool2d;
use crate::element::Float;
use crate::error::{Result, require};

/// [`conv2d_max_pool2d`](super::conv2d_max_pool2d) under a given ISA.
pub(super) fn compute<T: Float>(
    d: Dispatch,
    shape: &PooledShape,
    x: &[T],
    weight: &[T],
    bias: Option<&[T]>,
    (out, index): (&mut [T], &mut [u8]),
) -> Result<()> {
    let map_len = shape.map_len()?;
    crate::cpu::pool::check_max_pool(&shape.pool, map_len, out.len())?;
    require(index.len() == out.len(), "conv2d_max_pool2d: length of the index")?;
    let conv = &shape.conv;
    let map_places = conv.check(x.len(), weight.len(), map_len)?;
    if out.is_empty() {
        return Ok(());
    }
    let (image, places) = (shape.image_map(), out.len() / conv.batch);
    let images = conv.images(map_places);
    // First of all: no table is larger than a map that there is memory for.
    let mut map = Buffer::new(images * image * size_of::<T>())?;
    let mut weights = Weights::new(d, conv, x.len(), weight, bias, map_len)?;
    let parts = windows(x, x.len() / conv.batch * images, out, places * images);
    for ((x, next, out), index) in parts.zip(index.chunks_mut(places * images)) {
        let images = out.len() / places;
        let map = &mut map.as_mut_slice::<T>()[..images * image];
        weights.compute(d, x, next, Activation::None, map)?;
        max_pool2d(&shape.pool_of(images), map, out, index)?;
    }
    Ok(())
}
