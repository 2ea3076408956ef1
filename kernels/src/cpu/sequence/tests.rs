//! Bit for bit the reference, for every cell, direction, length, projection and odd size.

use super::*;
use crate::cpu::simd::Scalar;
use crate::reference::sequence as reference;

/// Numbers in -1..1 that differ from call to call.
fn numbers<T: Float>(count: usize, seed: usize) -> Vec<T> {
    let value = |i: usize| ((i * 7919 + seed * 104_729 + 13) % 2003) as f64 / 1001.0 - 1.0;
    (0..count).map(|i| T::from_f64(value(i))).collect()
}

/// As stale memory: an element that is not written shows.
fn stale<T: Float>(count: usize) -> Vec<T> {
    vec![T::from_f64(77.0); count]
}

fn same<T: Float>(what: &str, shape: &SequenceShape, found: &[T], expected: &[T]) {
    assert_eq!(found.len(), expected.len(), "{what} {shape:?}");
    let differs = found.iter().zip(expected).position(|(a, b)| a != b);
    assert_eq!(differs, None, "{what} {shape:?}");
}

/// With biases and states, or without: then the states are 0.
fn check<T: Float>(shape: &SequenceShape, given: bool, lengths: Option<&[i64]>)
where
    Scalar: Simd<T, V = T>,
{
    let SequenceShape { steps, batch, input, hidden, output, .. } = *shape;
    let (gates, width) = (shape.gates(), shape.saved());
    let lstm = shape.cell == RecurrentCell::Lstm;
    let only = |on: bool, count: usize| if on { count } else { 0 };
    let cells = only(lstm, batch * hidden);
    let x = numbers::<T>(steps * batch * input, 1);
    let (mut h0, mut c0) = (numbers::<T>(batch * output, 2), numbers::<T>(cells, 3));
    if !given {
        h0.fill(T::ZERO);
        c0.fill(T::ZERO);
    }
    let (w_ih, w_hh) = (numbers::<T>(gates * input, 4), numbers::<T>(gates * output, 5));
    let (b_ih, b_hh) = (numbers::<T>(gates, 6), numbers::<T>(gates, 7));
    let w_hr = numbers::<T>(only(shape.projected, output * hidden), 8);
    let biases = given.then_some([&b_ih[..], &b_hh[..]]);
    let operands = reference::Operands {
        x: &x,
        h0: &h0,
        c0: &c0,
        w_ih: &w_ih,
        w_hh: &w_hh,
        biases,
        w_hr: &w_hr,
        lengths,
    };
    let [mut y, mut saved] = [steps * batch * output, steps * batch * width].map(stale::<T>);
    let [mut h, mut c] = [batch * output, cells].map(stale::<T>);
    let state = if given { [&h0[..], &c0] } else { [&[][..]; 2] };
    let all = Forward {
        x: &x,
        h0: state[0],
        c0: state[1],
        w_ih: &w_ih,
        w_hh: &w_hh,
        biases,
        w_hr: &w_hr,
        lengths,
        y: &mut y,
        saved: &mut saved,
        h: &mut h,
        c: &mut c,
    };
    forward(shape, all).unwrap();
    let expected = reference::forward(shape, &operands);
    for ((what, found), expected) in
        [("y", &y), ("saved", &saved), ("h", &h), ("c", &c)].into_iter().zip(&expected)
    {
        same(what, shape, found, expected);
    }

    let grad = numbers::<T>(y.len(), 9);
    let (last, last_cell) = (numbers::<T>(batch * output, 10), numbers::<T>(cells, 11));
    let mut gates = stale::<T>(steps * batch * gates);
    let mut before = stale::<T>(only(lengths.is_some(), y.len()));
    let mut hidden_gates = stale::<T>(only(shape.cell == RecurrentCell::Gru, gates.len()));
    let mut states = stale::<T>(only(shape.projected, y.len()));
    let [mut dh, mut dc] = state.map(|state| stale::<T>(state.len()));
    let all = Backward {
        h0: state[0],
        c0: state[1],
        w_hh: &w_hh,
        w_hr: &w_hr,
        lengths,
        y: &y,
        saved: &saved,
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
    backward(shape, all).unwrap();
    let seeds = [&grad[..], &last, &last_cell];
    let mut expected = reference::backward(shape, &operands, [&y, &saved], seeds);
    if lengths.is_none() {
        expected[1].clear();
    }
    if !given {
        (2..4).for_each(|gradient| expected[gradient].clear());
    }
    let found = [&gates, &before, &dh, &dc, &hidden_gates, &states];
    let names = ["gates", "before", "dh", "dc", "hidden gates", "states"];
    for ((what, found), expected) in names.into_iter().zip(found).zip(&expected) {
        same(what, shape, found, expected);
    }
}

#[test]
fn every_cell_is_the_reference() {
    use RecurrentCell::*;
    let sizes = [
        (1, 1, 1, 1),
        (4, 3, 2, 5),
        (3, 2, 0, 17),
        (4, 2, 0, 17),
        (5, 4, 3, 33),
        (2, 70, 1, 64),
        (3, 1, 300, 2),
        // Packed weights: the input's product ahead; several blocks of k.
        (9, 1, 40, 20),
        (2, 9, 270, 300),
    ];
    for (steps, batch, input, hidden) in sizes {
        let lengths: Vec<i64> = (0..batch).map(|row| (row * 5 % steps + 1) as i64).collect();
        for (cell, reverse) in
            [Lstm, Gru, RnnTanh, RnnRelu].map(|c| [(c, false), (c, true)]).concat()
        {
            for projected in [false, true] {
                if projected && cell != Lstm {
                    continue;
                }
                let output = if projected { hidden / 2 + 1 } else { hidden };
                let shape =
                    SequenceShape { cell, reverse, steps, batch, input, hidden, output, projected };
                for lengths in [None, Some(&lengths[..])] {
                    check::<f32>(&shape, true, lengths);
                    check::<f64>(&shape, false, lengths);
                }
            }
        }
    }
}

/// What both passes give, but for gradients of the first states, from those states and this gradient of y.
fn results(
    shape: &SequenceShape,
    [h0, c0]: [&[f32]; 2],
    grad: &[f32],
    w_hh: &[f32],
) -> Vec<Vec<f32>> {
    let SequenceShape { steps, batch, input, hidden, .. } = *shape;
    let (gates, width, rows) = (shape.gates(), shape.saved(), steps * batch);
    let states = numbers::<f32>(batch * hidden, 3);
    let cells = if shape.cell == RecurrentCell::Lstm { &states[..] } else { &[] };
    let (x, w_ih) = (numbers::<f32>(rows * input, 1), numbers::<f32>(gates * input, 4));
    let mut results = [rows * hidden, rows * width, states.len(), cells.len()].map(stale::<f32>);
    let [y, saved, h, c] = results.each_mut().map(|result| &mut result[..]);
    let given = Forward {
        x: &x,
        h0,
        c0,
        w_ih: &w_ih,
        w_hh,
        biases: None,
        w_hr: &[],
        lengths: None,
        y,
        saved,
        h,
        c,
    };
    forward(shape, given).unwrap();
    let of_gru = if shape.cell == RecurrentCell::Gru { rows * gates } else { 0 };
    let mut back = [rows * gates, of_gru].map(stale::<f32>);
    let [gates, hidden_gates] = back.each_mut().map(|result| &mut result[..]);
    let [mut dh, mut dc] = [h0, c0].map(|state| stale::<f32>(state.len()));
    let given = Backward {
        h0,
        c0,
        w_hh,
        w_hr: &[],
        lengths: None,
        y: &results[0],
        saved: &results[1],
        grad,
        last: &states,
        last_cell: cells,
        gates,
        before: &mut [],
        dh: &mut dh,
        dc: &mut dc,
        hidden_gates,
        states: &mut [],
    };
    backward(shape, given).unwrap();
    results.into_iter().chain(back).collect()
}

#[test]
fn nothing_is_zeros() {
    for (cell, batch) in
        [(RecurrentCell::Lstm, 9), (RecurrentCell::Gru, 9), (RecurrentCell::Gru, 1)]
    {
        let (steps, input, hidden) = (3, 2, 21);
        let (reverse, output, projected) = (false, hidden, false);
        let shape = SequenceShape { cell, reverse, steps, batch, input, hidden, output, projected };
        let mut w_hh = numbers::<f32>(shape.gates() * hidden, 5);
        // An infinite weight makes NaN of 0.
        for weight in [0.5, f32::INFINITY] {
            w_hh[7] = weight;
            let zeros = vec![0.0; steps * batch * hidden];
            let h0 = &zeros[..batch * hidden];
            let c0 = if cell == RecurrentCell::Lstm { h0 } else { &[] };
            let expected = results(&shape, [h0, c0], &zeros, &w_hh);
            let found = results(&shape, [&[]; 2], &[], &w_hh);
            let bits = |all: &[Vec<f32>]| -> Vec<u32> {
                all.concat().iter().map(|x| if x.is_nan() { 0 } else { x.to_bits() }).collect()
            };
            assert_eq!(bits(&found), bits(&expected), "{shape:?}, a weight of {weight}");
            assert_eq!(weight.is_infinite(), found[0].iter().any(|y| y.is_nan()));
        }
    }
}

#[test]
fn wrong_sizes_are_refused() {
    let cell = RecurrentCell::Gru;
    let shape = SequenceShape {
        cell,
        reverse: false,
        steps: 1,
        batch: 1,
        input: 1,
        hidden: 1,
        output: 1,
        projected: false,
    };
    let run = |shape: &SequenceShape, lengths: Option<&[i64]>| {
        let (mut y, mut saved, mut h) = ([0f32], [0f32; 4], [0f32]);
        let given = Forward {
            x: &[0.5],
            h0: &[0.5],
            c0: &[],
            w_ih: &[0.5; 3],
            w_hh: &[0.5; 3],
            biases: None,
            w_hr: &[],
            lengths,
            y: &mut y,
            saved: &mut saved,
            h: &mut h,
            c: &mut [],
        };
        forward(shape, given)
    };
    assert!(run(&shape, None).is_ok() && run(&shape, Some(&[1])).is_ok());
    for lengths in [&[0][..], &[2], &[-1], &[], &[1, 1]] {
        assert!(run(&shape, Some(lengths)).is_err(), "{lengths:?}");
    }
    assert!(run(&SequenceShape { steps: 0, ..shape }, None).is_err());
    assert!(run(&SequenceShape { batch: 2, ..shape }, None).is_err());
    assert!(run(&SequenceShape { output: 2, ..shape }, None).is_err());
    assert!(run(&SequenceShape { projected: true, ..shape }, None).is_err());
    assert!(run(&SequenceShape { cell: RecurrentCell::Lstm, ..shape }, None).is_err());
    let huge = SequenceShape { steps: usize::MAX, batch: usize::MAX, ..shape };
    assert!(run(&huge, None).is_err());
}
