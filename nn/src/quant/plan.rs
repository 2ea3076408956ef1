//! What an int8 network consists of besides its model.

use std::collections::BTreeMap;

use ferrotape_tensor::Encoding;

use super::layer::Layer;
use super::recurrent::RecurrentLayer;
use super::weights::Found;

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
    pub(super) recurrent: Vec<RecurrentLayer>,
    pub(super) joins: BTreeMap<String, Join>,
}

impl Plan {
    /// All paths of weights that are codes.
    pub(super) fn paths(&self) -> impl Iterator<Item = &str> {
        let layers = self.layers.iter().map(|layer| layer.path.as_str());
        layers.chain(self.recurrent.iter().flat_map(|layer| layer.paths.iter().map(String::as_str)))
    }

    /// The int8 layer that was found, by place.
    pub(super) fn find(&self, found: &Found) -> Option<usize> {
        let same = |layer: &Layer| {
            layer.name == found.name && layer.op == found.op && layer.seen == found.seen
        };
        self.layers.iter().position(same)
    }

    pub(super) fn layer(&self, name: &str) -> Option<usize> {
        self.layers.iter().position(|layer| layer.name == name)
    }
}
