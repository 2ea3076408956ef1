//! Weights in the one layout that every instruction set reads.
//!
//! Columns in panels of 16; a panel is a run of steps of 64 bytes, each 16 columns times 4 neighbours in k. What is missing at
//! the ends is 0. Beside them stands the sum of each column, which zero points of the activations are multiplied with.

use super::Code;
use super::dot::{GROUP, PANEL, STEP};
use crate::buffer::Buffer;
use crate::error::{Error, Result, require};

/// The largest k: sums of codes alone (not of products) stay within i32.
pub const MAX_K: usize = 1 << 23;

/// How a weight matrix lies, row-major.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Order {
    /// `[n, k]`: a row holds the weights of one output, as in PyTorch's `Linear`.
    OutIn,
    /// `[k, n]`.
    InOut,
}

/// Packed weights of a product `[m, k] x [k, n]`. Codes of u8 are kept as i8 with all zero points moved by 128.
#[derive(Debug)]
pub struct Packed {
    pub(super) k: usize,
    pub(super) n: usize,
    /// Bytes from panel to panel.
    pub(super) panel: usize,
    /// What was added to the caller's codes: 0 or -128.
    pub(super) moved: i32,
    pub(super) range: [i32; 2],
    codes: Buffer,
    sums: Buffer,
}

impl Packed {
    /// Packs `weight`, whose codes stand in `order`.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) if `weight` is not `k * n` long or k is beyond [`MAX_K`];
    /// [`OutOfMemory`](Error::OutOfMemory).
    pub fn new<C: Code>(order: Order, k: usize, n: usize, weight: &[C]) -> Result<Packed> {
        require(k.checked_mul(n) == Some(weight.len()), "int8: wrong length of the weight")?;
        let [row, column] = match order {
            Order::OutIn => [1, k],
            Order::InOut => [n, 1],
        };
        Self::from_fn(k, n, k, |l, j| Some(weight[l * row + j * column]))
    }

    /// Packs `code(l, j)` for `l < places`, `j < n`; `None` is no weight at all. `k` is how many of the places are weights.
    pub(super) fn from_fn<C: Code>(
        places: usize,
        n: usize,
        k: usize,
        code: impl Fn(usize, usize) -> Option<C>,
    ) -> Result<Packed> {
        require(places <= MAX_K, "int8: k is too large")?;
        let moved = if C::RANGE[0] == 0 { -128 } else { 0 };
        // A step of room between panels: their starts don't fall into the same cache sets.
        let panel = (places.div_ceil(GROUP) + 1) * STEP;
        let panels = n.div_ceil(PANEL);
        let bytes = panels.checked_mul(panel).ok_or(Error::Contract("int8: sizes overflow"))?;
        let mut codes = Buffer::zeroed(bytes)?;
        let mut sums = Buffer::zeroed(panels * PANEL * size_of::<i32>())?;
        let totals = sums.as_mut_slice::<i32>();
        let packed = codes.as_mut_slice::<i8>();
        for (p, panel) in packed.chunks_exact_mut(panel).enumerate() {
            let columns = PANEL.min(n - p * PANEL);
            for (s, step) in panel.chunks_exact_mut(STEP).enumerate() {
                for (i, byte) in step.iter_mut().enumerate() {
                    let (l, j) = (s * GROUP + i % GROUP, i / GROUP);
                    let inside = l < places && j < columns;
                    let Some(code) = inside.then(|| code(l, p * PANEL + j)).flatten() else {
                        continue;
                    };
                    let code = code.to_i32() + moved;
                    *byte = code as i8;
                    totals[p * PANEL + j] += code;
                }
            }
        }
        Ok(Packed { k, n, panel, moved, range: C::RANGE, codes, sums })
    }

    /// The code at `l`, `j` as an i8; 0 where there is none.
    pub(super) fn code(&self, l: usize, j: usize) -> i8 {
        let at = j / PANEL * self.panel + l / GROUP * STEP + j % PANEL * GROUP + l % GROUP;
        self.codes().get(at).copied().unwrap_or(0)
    }

    /// The codes as [`new`](Self::new) takes them, as i8.
    pub fn codes_out_in(&self) -> Vec<i8> {
        (0..self.n).flat_map(|j| (0..self.k).map(move |l| self.code(l, j))).collect()
    }

    /// Places in k.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns: outputs.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.codes.len() + self.sums.len()
    }

    /// The steps.
    pub(super) fn codes(&self) -> &[i8] {
        self.codes.as_slice()
    }

    /// The sum of each column, in whole panels.
    pub(super) fn sums(&self) -> &[i32] {
        self.sums.as_slice()
    }
}
