//! What an int8 network consists of besides its model.

use std::collections::BTreeMap;

use ferrotape_tensor::Encoding;

use super::layer::Layer;

/// A sum or concatenation that stays codes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Join {
    pub(super) to: Encoding,
    /// A relu follows and is part of it.
    pub(super) relu: bool,
}

/// What an int8 network consists of besides its model.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) layers: Vec<Layer>,
    pub(super) joins: BTreeMap<String, Join>,
}

impl Plan {
    pub(super) fn layer(&self, name: &str) -> Option<usize> {
        self.layers.iter().position(|layer| layer.name == name)
    }
}
