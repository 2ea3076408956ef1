//! The settings of recurrent layers, and which operand is what.

use ferrotape_kernels::cpu::sequence::RecurrentCell;

/// One layer and direction of a recurrent network over a whole sequence.
///
/// Operands of [`Op::Sequence`](crate::Op::Sequence), in this order: x `[steps, batch, input]`, h0 `[batch, output]` (if `state`), c0
/// `[batch, hidden]` (if `state`, LSTM), w_ih `[gates * hidden, input]`, w_hh `[gates * hidden, output]`, b_ih and b_hh `[gates * hidden]` (if
/// `bias`), w_hr `[output, hidden]` (if `projection`), lengths `[batch]`: i64 (if `lengths`). Results: y `[steps, batch, output]`, saved `[steps, batch, ..]` for the backward pass,
/// h_n `[batch, output]`, c_n `[batch, hidden]` (LSTM).
///
/// Operands of [`Op::SequenceBackward`](crate::Op::SequenceBackward): h0 (if `state`), c0 (if `state`, LSTM), w_hh, w_hr (if `projection`), y,
/// saved, and the gradients of y, of h_n and of c_n (LSTM), lengths (if `lengths`). Results: the gradients of the gates' sums
/// `[steps, batch, gates * hidden]`, the state that each step started from `[steps, batch, output]` (if `lengths`: else it is what y has one step
/// before, and h0), the gradient of h0 (if `state`), of c0 (if `state`, LSTM), of the recurrent product's sums (GRU) and of each step's state (if
/// `projection`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SequenceOp {
    /// What a step computes.
    pub cell: RecurrentCell,
    /// From the last step to the first.
    pub reverse: bool,
    /// The first states are among the operands; else they are 0.
    pub state: bool,
    /// Biases are among the operands.
    pub bias: bool,
    /// A projection is (LSTM only).
    pub projection: bool,
    /// Lengths of the rows are.
    pub lengths: bool,
}

/// Places of the operands of an [`Op::Sequence`](crate::Op::Sequence).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SequencePlaces {
    /// `[batch, output]`
    pub h0: Option<usize>,
    /// `[batch, hidden]`
    pub c0: Option<usize>,
    /// `[gates * hidden, input]`
    pub w_ih: usize,
    /// `[gates * hidden, output]`
    pub w_hh: usize,
    /// The first of both biases.
    pub biases: Option<usize>,
    /// `[output, hidden]`
    pub w_hr: Option<usize>,
    /// `[batch]`
    pub lengths: Option<usize>,
    /// How many operands there are.
    pub count: usize,
}

impl SequenceOp {
    /// Where the operands are; x is the first.
    pub fn places(&self) -> SequencePlaces {
        let mut count = 1;
        let mut take = |on: bool, places: usize| {
            let first = count;
            count += if on { places } else { 0 };
            on.then_some(first)
        };
        let h0 = take(self.state, 1);
        let c0 = take(self.state && self.cell == RecurrentCell::Lstm, 1);
        let w_ih = take(true, 2).unwrap_or_default();
        let biases = take(self.bias, 2);
        let w_hr = take(self.projection, 1);
        let lengths = take(self.lengths, 1);
        SequencePlaces { h0, c0, w_ih, w_hh: w_ih + 1, biases, w_hr, lengths, count }
    }

    /// The number of operands of the backward pass.
    pub(crate) fn backward_operands(&self) -> usize {
        let states = if self.cell == RecurrentCell::Lstm { 2 } else { 1 };
        let first = if self.state { states } else { 0 };
        4 + first + states + usize::from(self.projection) + usize::from(self.lengths)
    }
}
