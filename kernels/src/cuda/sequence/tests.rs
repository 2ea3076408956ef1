//! Bit for bit the CPU's passes, for every cell, direction, length, projection and odd size; in one launch a step and in two.

use super::*;
use crate::cpu::sequence as cpu;
use crate::cuda::testing::{Element, assert_same, download, gpu, upload};
use crate::element::Float;

/// Numbers in -1..1 that differ from call to call.
fn numbers<T: Float>(count: usize, seed: usize) -> Vec<T> {
    let value = |i: usize| ((i * 7919 + seed * 104_729 + 13) % 2003) as f64 / 1001.0 - 1.0;
    (0..count).map(|i| T::from_f64(value(i))).collect()
}

/// As stale memory: an element that is not written shows.
fn stale<T: Float>(count: usize) -> Vec<T> {
    vec![T::from_f64(77.0); count]
}

/// What a test starts from.
struct Given<'a, T> {
    gpu: &'static Gpu,
    shape: &'a SequenceShape,
    lengths: Option<&'a [i64]>,
    whole: bool,
    h0: Vec<T>,
    c0: Vec<T>,
    w_hh: Vec<T>,
    w_hr: Vec<T>,
}

fn only(on: bool, count: usize) -> usize {
    if on { count } else { 0 }
}

fn view<'a, T: Element>(buffer: &'a DeviceBuffer, len: &'a [usize; 1]) -> Array<'a> {
    Array::new(buffer, T::KIND, 0, len, &[1]).unwrap()
}

fn check<T: Element + Float>(
    gpu: &'static Gpu,
    shape: &SequenceShape,
    state: bool,
    lengths: Option<&[i64]>,
    whole: bool,
) {
    let SequenceShape { batch, hidden, output, projected, .. } = *shape;
    let gates = shape.gates();
    let cells = only(shape.cell == RecurrentCell::Lstm, batch * hidden);
    let given = Given {
        gpu,
        shape,
        lengths,
        whole,
        h0: numbers::<T>(only(state, batch * output), 2),
        c0: numbers::<T>(only(state, cells), 3),
        w_hh: numbers::<T>(gates * output, 5),
        w_hr: numbers::<T>(only(projected, output * hidden), 8),
    };
    // With biases and states, or without.
    let [y, saved] = given.forward(state);
    given.backward(&y, &saved);
}

impl<T: Element + Float> Given<'_, T> {
    fn same(&self, what: &str, found: &DeviceBuffer, expected: &[T]) {
        let Given { shape, lengths, whole, .. } = self;
        let what = || format!("{what} {shape:?} {lengths:?} {whole}");
        assert_same(&download::<T>(found), expected, &what);
    }

    /// y and what was saved.
    fn forward(&self, bias: bool) -> [Vec<T>; 2] {
        let Given { gpu, shape, lengths, .. } = *self;
        let SequenceShape { steps, batch, input, output, .. } = *shape;
        let (gates, width) = (shape.gates(), shape.saved());
        let x = numbers::<T>(steps * batch * input, 1);
        let w_ih = numbers::<T>(gates * input, 4);
        let biases = [numbers::<T>(gates, 6), numbers::<T>(gates, 7)];
        let [mut y, mut saved] = [steps * batch * output, steps * batch * width].map(stale::<T>);
        let lstm = shape.cell == RecurrentCell::Lstm;
        let [mut h, mut c] = [batch * output, only(lstm, batch * shape.hidden)].map(stale::<T>);
        let operands = [&x, &self.h0, &self.c0, &w_ih, &self.w_hh, &self.w_hr]
            .map(|operand| (upload(gpu, operand), [operand.len()]));
        let [x_at, h0, c0, w_ih_at, w_hh, w_hr] =
            operands.each_ref().map(|(buffer, len)| view::<T>(buffer, len));
        let biases_there = biases.each_ref().map(|bias| upload(gpu, bias));
        let (each, rows) = ([gates], [batch]);
        let lengths_there = lengths.map(|lengths| upload(gpu, lengths));
        let mut results = [&y, &saved, &h, &c].map(|result| upload(gpu, result));
        let [y_at, saved_at, h_at, c_at] = &mut results;
        let there = Forward {
            x: x_at,
            h0: bias.then_some(h0),
            c0: (bias && lstm).then_some(c0),
            w_ih: w_ih_at,
            w_hh,
            biases: bias.then(|| biases_there.each_ref().map(|bias| view::<T>(bias, &each))),
            w_hr: shape.projected.then_some(w_hr),
            lengths: lengths_there.as_ref().map(|lengths| view::<i64>(lengths, &rows)),
            y: y_at,
            saved: saved_at,
            h: h_at,
            c: lstm.then_some(c_at),
        };
        forward::run(shape, there, |kind| self.whole && kind == Type::F32).unwrap();
        let here = cpu::Forward {
            x: &x,
            h0: &self.h0,
            c0: &self.c0,
            w_ih: &w_ih,
            w_hh: &self.w_hh,
            biases: bias.then_some([&biases[0], &biases[1]]),
            w_hr: &self.w_hr,
            lengths,
            y: &mut y,
            saved: &mut saved,
            h: &mut h,
            c: &mut c,
        };
        cpu::forward(shape, here).unwrap();
        for (what, (found, expected)) in
            ["y", "saved", "h", "c"].iter().zip(results.iter().zip([&y, &saved, &h, &c]))
        {
            self.same(what, found, expected);
        }
        [y, saved]
    }

    fn backward(&self, y: &[T], saved: &[T]) {
        let Given { gpu, shape, lengths, .. } = *self;
        let (lstm, gru) = (shape.cell == RecurrentCell::Lstm, shape.cell == RecurrentCell::Gru);
        let grad = numbers::<T>(y.len(), 9);
        let last = numbers::<T>(shape.batch * shape.output, 10);
        let last_cell = numbers::<T>(only(lstm, shape.batch * shape.hidden), 11);
        let state = !self.h0.is_empty();
        let mut gates = stale::<T>(shape.steps * shape.batch * shape.gates());
        let mut before = stale::<T>(only(lengths.is_some(), y.len()));
        let mut hidden_gates = stale::<T>(only(gru, gates.len()));
        let mut states = stale::<T>(only(shape.projected, y.len()));
        let [mut dh, mut dc] = [&self.h0, &self.c0].map(|state| stale::<T>(state.len()));
        let operands =
            [&self.h0, &self.c0, &self.w_hh, &self.w_hr, y, saved, &grad, &last, &last_cell]
                .map(|operand: &[T]| (upload(gpu, operand), [operand.len()]));
        let [h0, c0, w_hh, w_hr, y_at, saved_at, grad_at, last_at, last_cell_at] =
            operands.each_ref().map(|(buffer, len)| view::<T>(buffer, len));
        let rows = [shape.batch];
        let lengths_there = lengths.map(|lengths| upload(gpu, lengths));
        let sizes = [&gates, &before, &dh, &dc, &hidden_gates, &states];
        let mut results = sizes.map(|result| upload(gpu, &stale::<T>(result.len())));
        let [gates_at, before_at, dh_at, dc_at, hidden_gates_at, states_at] = &mut results;
        let there = Backward {
            h0: state.then_some(h0),
            c0: (state && lstm).then_some(c0),
            w_hh,
            w_hr: shape.projected.then_some(w_hr),
            lengths: lengths_there.as_ref().map(|lengths| view::<i64>(lengths, &rows)),
            y: y_at,
            saved: saved_at,
            grad: grad_at,
            last: last_at,
            last_cell: lstm.then_some(last_cell_at),
            gates: gates_at,
            before: lengths.is_some().then_some(before_at),
            dh: state.then_some(dh_at),
            dc: (state && lstm).then_some(dc_at),
            hidden_gates: gru.then_some(hidden_gates_at),
            states: shape.projected.then_some(states_at),
        };
        backward::run(shape, there, |kind| self.whole && kind == Type::F32).unwrap();
        let here = cpu::Backward {
            h0: &self.h0,
            c0: &self.c0,
            w_hh: &self.w_hh,
            w_hr: &self.w_hr,
            lengths,
            y,
            saved,
            grad: &grad,
            last: &last,
            last_cell: &last_cell,
            gates: &mut gates,
            before: &mut before,
            dh: &mut dh,
            dc: &mut dc,
            hidden_gates: &mut hidden_gates,
            states: &mut states,
        };
        cpu::backward(shape, here).unwrap();
        let names = ["gates", "before", "dh", "dc", "hidden gates", "states"];
        let expected = [&gates, &before, &dh, &dc, &hidden_gates, &states];
        for (what, (found, expected)) in names.iter().zip(results.iter().zip(expected)) {
            self.same(what, found, expected);
        }
    }
}

/// Steps, batch, input, units.
fn all(sizes: &[(usize, usize, usize, usize)], cells: &[RecurrentCell]) {
    let Some(gpu) = gpu() else { return };
    for &(steps, batch, input, hidden) in sizes {
        let lengths: Vec<i64> = (0..batch).map(|row| (row * 5 % steps + 1) as i64).collect();
        for (&cell, reverse) in cells.iter().flat_map(|cell| [(cell, false), (cell, true)]) {
            for projected in [false, true] {
                if projected && cell != RecurrentCell::Lstm {
                    continue;
                }
                let output = if projected { hidden / 2 + 1 } else { hidden };
                let shape =
                    SequenceShape { cell, reverse, steps, batch, input, hidden, output, projected };
                for lengths in [None, Some(&lengths[..])] {
                    check::<f32>(gpu, &shape, true, lengths, false);
                    check::<f32>(gpu, &shape, lengths.is_some(), lengths, true);
                    check::<f64>(gpu, &shape, false, lengths, false);
                }
            }
        }
    }
}

use RecurrentCell::{Gru, Lstm, RnnRelu, RnnTanh};
const CELLS: [RecurrentCell; 4] = [Lstm, Gru, RnnTanh, RnnRelu];

#[test]
fn every_cell_is_the_cpus() {
    let sizes =
        [(1, 1, 1, 1), (4, 3, 2, 5), (3, 2, 0, 17), (5, 4, 3, 33), (2, 17, 1, 32), (3, 0, 2, 4)];
    all(&sizes, &CELLS);
}

#[test]
fn a_step_in_one_launch() {
    // Two blocks of k backward, tiles that are not full.
    let Some(gpu) = gpu() else { return };
    let (steps, batch, input, hidden, reverse) = (2, 9, 3, 70, false);
    let shape = SequenceShape {
        cell: Lstm,
        reverse,
        steps,
        batch,
        input,
        hidden,
        output: hidden,
        projected: false,
    };
    check::<f32>(gpu, &shape, true, None, true);
}

#[test]
fn sums_of_many_blocks_are_the_cpus() {
    // Blocks of k: 2 forward, 2 to 6 backward, the last one short; one is a multiple of vectors, one is not.
    all(&[(2, 3, 3, 300)], &[Lstm, RnnTanh]);
    all(&[(2, 9, 300, 259)], &[Gru]);
}

#[test]
fn what_does_not_fit_is_refused() {
    let Some(gpu) = gpu() else { return };
    let shape = SequenceShape {
        cell: Gru,
        reverse: false,
        steps: 1,
        batch: 1,
        input: 1,
        hidden: 1,
        output: 1,
        projected: false,
    };
    let [x, w] = [upload(gpu, &[0.5f32]), upload(gpu, &[0.5f32; 3])];
    let run = |shape: &SequenceShape, lengths: Option<&[i64]>, kind: Type| {
        let mut results = [1, 4, 1].map(|len| DeviceBuffer::new(gpu, len * kind.size()).unwrap());
        let [y, saved, h] = &mut results;
        let (one, three) = ([1], [3]);
        let x = Array::new(&x, kind, 0, &one, &[1]).unwrap();
        let w = Array::new(&w, kind, 0, &three, &[1]).unwrap();
        let there = lengths.map(|lengths| (upload(gpu, lengths), [lengths.len()]));
        let given = Forward {
            x,
            h0: Some(x),
            c0: None,
            w_ih: w,
            w_hh: w,
            biases: None,
            w_hr: None,
            lengths: there.as_ref().map(|(buffer, len)| view::<i64>(buffer, len)),
            y,
            saved,
            h,
            c: None,
        };
        super::forward(shape, given)
    };
    let f32 = Type::F32;
    assert!(run(&shape, None, f32).is_ok() && run(&shape, Some(&[1]), f32).is_ok());
    for lengths in [&[0][..], &[2], &[-1], &[], &[1, 1]] {
        assert!(run(&shape, Some(lengths), f32).is_err(), "{lengths:?}");
    }
    assert!(run(&shape, None, Type::F16).is_err() && run(&shape, None, Type::I32).is_err());
    assert!(run(&SequenceShape { steps: 0, ..shape }, None, f32).is_err());
    assert!(run(&SequenceShape { batch: 2, ..shape }, None, f32).is_err());
    assert!(run(&SequenceShape { output: 2, ..shape }, None, f32).is_err());
    assert!(run(&SequenceShape { projected: true, ..shape }, None, f32).is_err());
    assert!(run(&SequenceShape { cell: Lstm, ..shape }, None, f32).is_err());
}
