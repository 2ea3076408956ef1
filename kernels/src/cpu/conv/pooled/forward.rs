//! Some images are convolved and pooled at a time.

use super::PooledShape;
use crate::buffer::Buffer;
use crate::cpu::conv::forward::Weights;
use crate::cpu::conv::windows::{Window, Windows};
use crate::cpu::gemm::{Activation, Dispatch};
use crate::cpu::parallel::Shared;
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
    let map = |images: usize| Buffer::new(images * image * size_of::<T>());
    // First of all: no table is larger than a map that there is memory for.
    drop(map(conv.images(map_places))?);
    let weights = Weights::new(d, conv, x.len(), weight, bias, map_len)?;
    let windows = weights.windows(x.len())?;
    let map_bytes = windows.images * image * size_of::<T>();
    let workspace = [windows.workspace[0], map_bytes];
    let windows = Windows { out_image: places, workspace, ..windows };
    let index = Shared::new(index);
    windows.each(x, out, &|Window { first, x, next, out }| {
        let images = out.len() / places;
        let mut map = map(images)?;
        let map = map.as_mut_slice::<T>();
        weights.compute(d, x, next, Activation::None, map)?;
        // SAFETY: windows are disjoint.
        let index = unsafe { index.part(first * places, out.len()) };
        max_pool2d(&shape.pool_of(images), map, out, index)
    })
}
