//! What was found out about the contents of device memory. To look at values again would be to wait for the device again.

use std::sync::{Mutex, PoisonError};

use crate::cpu::pool::Pool2dShape;

/// Something that holds of a buffer's bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fact {
    /// They are taps of this pool's windows, inside the image.
    Taps(Pool2dShape),
    /// As i64, `len` of them from `start` on lie in `0..limit`.
    Below { start: usize, len: usize, limit: usize },
}

/// The latest fact.
#[derive(Default)]
pub(super) struct Facts(Mutex<Option<Box<Fact>>>);

impl Facts {
    pub(super) fn holds(&self, fact: Fact) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_deref() == Some(&fact)
    }

    pub(super) fn note(&self, fact: Fact) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(fact));
    }

    pub(super) fn forget(&mut self) {
        *self.0.get_mut().unwrap_or_else(PoisonError::into_inner) = None;
    }
}
