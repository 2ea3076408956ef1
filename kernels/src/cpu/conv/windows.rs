//! Images a few at a time, so that what is made of them stays in the cache: one window after the other, or several at a time.

use std::sync::OnceLock;

use crate::buffer::Buffer;
use crate::cpu::parallel::{self, Shared};
use crate::element::Float;
use crate::error::Result;

/// Places that are computed at a time: few enough padded images to stay in the second level of the cache.
const PLACES: usize = 784;

/// Elements of padded images that are kept at a time.
const ELEMENTS: usize = 1 << 17;

/// Bytes of workspace that threads with windows of their own may have together.
const WORKSPACE: usize = 64 << 20;

/// Windows for each thread from which on a thread has windows of its own; fewer are shared out in parts.
const SHARE: usize = 4;

/// How many images, of so many places and padded elements each, are computed at a time.
pub(super) fn window(batch: usize, places: usize, elements: usize) -> usize {
    let by_places = PLACES.div_ceil(places.max(1));
    by_places.min(ELEMENTS / elements.max(1)).clamp(1, batch.max(1))
}

/// Some images: the first one's number, their elements in the input, those of the images that come next, and their elements in the output.
pub(super) struct Window<'a, T> {
    pub(super) first: usize,
    pub(super) x: &'a [T],
    pub(super) next: &'a [T],
    pub(super) out: &'a mut [T],
}

/// A batch that is gone through in windows.
#[derive(Debug, Clone, Copy)]
pub(super) struct Windows {
    pub(super) batch: usize,
    /// Images at a time, at least 1.
    pub(super) images: usize,
    /// Elements of an image in the input and in the output.
    pub(super) image: usize,
    pub(super) out_image: usize,
    /// An estimate of all the work, in nanoseconds of one core.
    pub(super) work: u64,
    /// Bytes of the buffers that a window takes.
    pub(super) workspace: [usize; 2],
}

impl Windows {
    /// Runs `body` for every window; `x` may be empty.
    ///
    /// # Errors
    /// What `body` returns, of one of the windows for which it fails.
    pub(super) fn each<T: Float>(
        &self,
        x: &[T],
        out: &mut [T],
        body: &(impl Fn(Window<'_, T>) -> Result<()> + Sync),
    ) -> Result<()> {
        let &Windows { images, image, out_image, work, .. } = self;
        let count = self.batch.div_ceil(images);
        let part = |window: usize| {
            let [from, to] = [window, window + 1].map(|at| (at * images * image).min(x.len()));
            &x[from..to]
        };
        if !self.has_room(count) {
            for (index, out) in out.chunks_mut((images * out_image).max(1)).enumerate() {
                let (x, next) = (part(index), part(index + 1));
                body(Window { first: index * images, x, next, out })?;
            }
            return Ok(());
        }
        let (out, failure) = (Shared::new(out), OnceLock::new());
        parallel::run(count, work, &|index| {
            if failure.get().is_some() {
                return;
            }
            // SAFETY: windows are disjoint.
            let out = unsafe { out.part(index * images * out_image, images * out_image) };
            let window = Window { first: index * images, x: part(index), next: &[], out };
            if let Err(error) = body(window) {
                let _ = failure.set(error);
            }
        });
        failure.into_inner().map_or(Ok(()), Err)
    }

    /// True if every thread has windows enough, and there is memory for all of them at a time: it is taken and given back here, so that a
    /// window seldom has to ask the system, and what one thread can compute hardly fails with many.
    fn has_room(&self, count: usize) -> bool {
        let threads = parallel::threads();
        if threads < 2 || count < SHARE * threads {
            return false;
        }
        let all = self.workspace[0].saturating_add(self.workspace[1]).saturating_mul(threads);
        let buffers = self.workspace.into_iter().filter(|&bytes| bytes > 0);
        let buffers = (0..threads).flat_map(|_| buffers.clone()).map(Buffer::new);
        all <= WORKSPACE && buffers.collect::<Result<Vec<_>>>().is_ok()
    }
}
