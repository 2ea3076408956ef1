//! What was recorded, in order, in memory that is used again.

use ferrotape_tensor::{Op, Tensor};
use smallvec::SmallVec;

use super::Variable;
use crate::rules::Slot;

/// One recorded operation.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) op: Op,
    /// Where its inputs begin among those of all nodes, and how many they are.
    pub(super) first_input: usize,
    pub(super) input_count: usize,
    pub(crate) kept: SmallVec<[(Slot, Tensor); 3]>,
    pub(crate) first_output: Variable,
    pub(crate) outputs: usize,
}

impl Node {
    /// Of an operation without operands, which keeps nothing.
    fn blank() -> Node {
        let (op, kept) = (Op::Matmul, SmallVec::new());
        Node { op, first_input: 0, input_count: 0, kept, first_output: 0, outputs: 0 }
    }
}

/// Nodes in order. Those that are done with stay as blanks, and the next ones are written over them: a node is large, and if a new one were
/// moved here, wide loads would wait for the many small stores that made it.
#[derive(Debug, Default)]
pub(crate) struct Nodes {
    all: Vec<Node>,
    len: usize,
}

impl Nodes {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Nodes that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.all.capacity()
    }

    pub(crate) fn as_slice(&self) -> &[Node] {
        &self.all[..self.len]
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Node> {
        self.all[..self.len].get_mut(place)
    }

    /// A blank one at the end.
    #[inline(always)]
    pub(super) fn add(&mut self) -> &mut Node {
        let place = self.len;
        if place == self.all.len() {
            self.all.push(Node::blank());
        }
        self.len += 1;
        &mut self.all[place]
    }

    /// Drops the last one, and with it what it kept.
    pub(crate) fn pop(&mut self) {
        let Some(last) = self.len.checked_sub(1) else { return };
        self.len = last;
        let node = &mut self.all[last];
        // Only these hold anything.
        node.op = Op::Matmul;
        match node.kept.spilled() {
            true => node.kept = SmallVec::new(),
            false => node.kept.clear(),
        }
    }

    /// Drops all.
    pub(super) fn clear(&mut self) {
        (0..self.len).for_each(|_| self.pop());
    }
}
