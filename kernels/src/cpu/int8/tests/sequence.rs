//! Recurrent layers of codes, bit for bit the reference on every instruction set and team; a row alone is the row in its batch.

use super::super::sequence::recurrent_under;
use super::super::{Recurrent, RecurrentForward, RecurrentWeights};
use super::{Random, available, on_teams};
use crate::cpu::isa::Int8Isa;
use crate::cpu::sequence::{RecurrentCell, SequenceShape};
use crate::error::{Error, Result};
use crate::reference::{int8 as reference, sequence};

/// A layer's weights, an input, a state and lengths.
struct Case {
    shape: SequenceShape,
    x: Vec<f32>,
    h0: Vec<f32>,
    c0: Vec<f32>,
    codes: [Vec<i8>; 2],
    scales: [Vec<f32>; 2],
    biases: Option<[Vec<f32>; 2]>,
    lengths: Option<Vec<i64>>,
}

impl Case {
    fn new(random: &mut Random, shape: SequenceShape, bias: bool, lengths: bool) -> Case {
        let SequenceShape { steps, batch, input, hidden, .. } = shape;
        let gates = shape.cell.gates() * hidden;
        let cells = if shape.cell == RecurrentCell::Lstm { batch * hidden } else { 0 };
        let mut floats =
            |n: usize, size: f32| -> Vec<f32> { (0..n).map(|_| random.float() * size).collect() };
        let (x, h0, c0) =
            (floats(steps * batch * input, 2.0), floats(batch * hidden, 1.0), floats(cells, 1.0));
        let scales = [floats(1, 0.02), floats(gates, 0.01)];
        let biases = bias.then(|| [floats(gates, 0.5), floats(gates, 0.5)]);
        let codes = [random.codes(gates * input), random.codes(gates * hidden)];
        let lengths = lengths.then(|| (0..batch).map(|_| random.below(steps) as i64 + 1).collect());
        Case { shape, x, h0, c0, codes, scales, biases, lengths }
    }

    fn layer(&self) -> Recurrent {
        let SequenceShape { cell, input, hidden, .. } = self.shape;
        let [of_input, of_state] = [0, 1].map(|i| RecurrentWeights {
            codes: &self.codes[i],
            scale: &self.scales[i],
            bias: self.biases.as_ref().map(|biases| &biases[i][..]),
        });
        Recurrent::new(cell, [input, hidden], &of_input, &of_state).unwrap()
    }

    /// y, h, c.
    fn run(&self, isa: Int8Isa, layer: &Recurrent) -> Result<[Vec<f32>; 3]> {
        let stale = |n: usize| vec![77.0; n];
        let rows = self.shape.steps * self.shape.batch;
        let (mut y, mut h) = (stale(rows * self.shape.hidden), stale(self.h0.len()));
        let mut c = stale(self.c0.len());
        let given = RecurrentForward {
            x: &self.x,
            h0: &self.h0,
            c0: &self.c0,
            lengths: self.lengths.as_deref(),
            y: &mut y,
            h: &mut h,
            c: &mut c,
        };
        recurrent_under(isa, layer, &self.shape, given)?;
        Ok([y, h, c])
    }

    fn naive(&self) -> [Vec<f32>; 3] {
        let operands = sequence::Operands {
            x: &self.x,
            h0: &self.h0,
            c0: &self.c0,
            w_ih: &[],
            w_hh: &[],
            biases: None,
            w_hr: &[],
            lengths: self.lengths.as_deref(),
        };
        let product = |which: usize, x: &[f32]| {
            let (row_scale, zero, codes) = reference::quantize_row(x, [0, 255], false).unwrap();
            let (k, n) = (x.len(), self.shape.cell.gates() * self.shape.hidden);
            let weight = |l: usize, j: usize| i32::from(self.codes[which][j * k + l]);
            let sums = reference::gemm([1, k, n], |_, l| codes[l] - zero, weight, |_| 0);
            let scales = &self.scales[which];
            let gate = |(j, sum)| {
                let scale = row_scale * if scales.len() == 1 { scales[0] } else { scales[j] };
                let bias = self.biases.as_ref().map(|biases| biases[which][j]);
                reference::dequantize_sum(sum, scale, bias, false)
            };
            sums.into_iter().enumerate().map(gate).collect()
        };
        let [y, _, h, c] =
            sequence::forward_with(&self.shape, &operands, |x| product(0, x), |h| product(1, h));
        [y, h, c]
    }

    /// The row alone.
    fn row(&self, row: usize) -> Case {
        let SequenceShape { steps, batch, input, hidden, .. } = self.shape;
        let cut = |from: &[f32]| from.get(row * hidden..(row + 1) * hidden).unwrap_or(&[]).to_vec();
        let x = (0..steps).flat_map(|t| &self.x[(t * batch + row) * input..][..input]);
        Case {
            shape: SequenceShape { batch: 1, ..self.shape },
            x: x.copied().collect(),
            h0: cut(&self.h0),
            c0: cut(&self.c0),
            codes: self.codes.clone(),
            scales: self.scales.clone(),
            biases: self.biases.clone(),
            lengths: self.lengths.as_ref().map(|lengths| vec![lengths[row]]),
        }
    }
}

fn shape(cell: RecurrentCell, reverse: bool, sizes: [usize; 4]) -> SequenceShape {
    let [steps, batch, input, hidden] = sizes;
    SequenceShape { cell, reverse, steps, batch, input, hidden, output: hidden, projected: false }
}

const CELLS: [RecurrentCell; 4] =
    [RecurrentCell::Lstm, RecurrentCell::Gru, RecurrentCell::RnnTanh, RecurrentCell::RnnRelu];

#[test]
fn every_cell_is_the_reference_on_every_isa() {
    let mut random = Random::new(30);
    // The last two are more than a chunk of steps.
    for sizes in [
        [1, 1, 1, 1],
        [4, 3, 2, 5],
        [3, 2, 0, 17],
        [5, 4, 3, 33],
        [2, 70, 1, 64],
        [3, 1, 300, 2],
        [3, 0, 3, 2],
        [40, 30, 5, 50],
    ] {
        for cell in CELLS {
            for (reverse, lengths) in [(false, false), (true, false), (false, true), (true, true)] {
                let shape = shape(cell, reverse, sizes);
                let bias = random.yes();
                let case = Case::new(&mut random, shape, bias, lengths);
                let (layer, want) = (case.layer(), case.naive());
                assert_eq!((layer.cell(), layer.sizes()), (cell, [shape.input, shape.hidden]));
                for (i, (codes, scale, bias)) in layer.weights().into_iter().enumerate() {
                    assert_eq!((&codes, scale), (&case.codes[i], &case.scales[i][..]));
                    assert_eq!(bias, case.biases.as_ref().map(|biases| &biases[i][..]));
                }
                for isa in available() {
                    assert_eq!(case.run(isa, &layer).unwrap(), want, "{isa:?} {shape:?}");
                }
            }
        }
    }
}

#[test]
fn rows_do_not_depend_on_batch_or_threads() {
    for cell in [RecurrentCell::Lstm, RecurrentCell::Gru] {
        for lengths in [false, true] {
            let shape = shape(cell, lengths, [20, 45, 30, 120]);
            let case = Case::new(&mut Random::new(31), shape, true, lengths);
            let layer = case.layer();
            let isas = available();
            let want = case.run(isas[0], &layer).unwrap();
            on_teams(|| {
                for &isa in &isas[1..] {
                    assert_eq!(case.run(isa, &layer).unwrap(), want, "{isa:?}");
                }
                for row in [0, 7, 44] {
                    let [y, h, c] = case.row(row).run(isas[isas.len() - 1], &layer).unwrap();
                    let at = row * 120..(row + 1) * 120;
                    assert_eq!(h, want[1][at.clone()]);
                    assert_eq!(&c[..], want[2].get(at.clone()).unwrap_or(&[]));
                    for (t, y) in y.chunks(120).enumerate() {
                        assert_eq!(y, &want[0][t * 45 * 120..][at.clone()]);
                    }
                }
            });
        }
    }
}

#[test]
fn numbers_without_codes_are_named_where_they_count() {
    let shape = shape(RecurrentCell::Lstm, false, [3, 2, 4, 5]);
    let mut case = Case::new(&mut Random::new(32), shape, true, false);
    case.lengths = Some(vec![3, 1]);
    let layer = case.layer();
    let run = |case: &Case| case.run(Int8Isa::Scalar, &layer);
    let want = run(&case).unwrap();
    // Step 1 of row 1 is beyond its length.
    case.x[(2 + 1) * 4 + 2] = f32::NAN;
    assert_eq!(run(&case).unwrap(), want);
    case.x[(2 * 2) * 4 + 1] = f32::INFINITY;
    assert_eq!(run(&case), Err(Error::NoRange { row: 4 }));
    case.lengths = None;
    assert_eq!(run(&case), Err(Error::NoRange { row: 3 }));
    case.lengths = Some(vec![2, 1]);
    case.h0[5] = f32::NAN;
    assert_eq!(run(&case), Err(Error::NoRange { row: 1 }));
}

#[test]
fn wrong_layers_and_calls_are_errors() {
    let right = RecurrentWeights { codes: &[1; 6], scale: &[1.0], bias: None };
    let state = RecurrentWeights { codes: &[1; 3], scale: &[1.0; 3], bias: Some(&[0.5; 3]) };
    let new = |sizes, a: &_, b: &_| Recurrent::new(RecurrentCell::Gru, sizes, a, b);
    let layer = new([2, 1], &right, &state).unwrap();
    assert!(layer.bytes() >= 9);
    for wrong in [
        RecurrentWeights { codes: &[1; 5], ..right },
        RecurrentWeights { scale: &[1.0; 2], ..right },
        RecurrentWeights { bias: Some(&[1.0; 2]), ..right },
    ] {
        assert!(new([2, 1], &wrong, &state).is_err(), "{wrong:?}");
    }
    assert!(new([2, 0], &right, &state).is_err());
    assert!(new([2, usize::MAX], &right, &state).is_err());
    let call = |shape: &SequenceShape, lens: [usize; 6], lengths: Option<&[i64]>| {
        let [x, h0, c0, y, h, c] = lens.map(|len| vec![0.5; len]);
        let (mut y, mut h, mut c) = (y, h, c);
        let given =
            RecurrentForward { x: &x, h0: &h0, c0: &c0, lengths, y: &mut y, h: &mut h, c: &mut c };
        recurrent_under(Int8Isa::Scalar, &layer, shape, given)
    };
    let shape = shape(RecurrentCell::Gru, false, [2, 1, 2, 1]);
    let lens = [4, 1, 0, 2, 1, 0];
    assert_eq!(call(&shape, lens, None), Ok(()));
    assert_eq!(call(&shape, lens, Some(&[2])), Ok(()));
    for place in 0..6 {
        let mut wrong = lens;
        wrong[place] += 1;
        assert!(call(&shape, wrong, None).is_err(), "{place}");
    }
    assert!(call(&shape, lens, Some(&[3])).is_err());
    let lstm = SequenceShape { cell: RecurrentCell::Lstm, ..shape };
    assert!(call(&lstm, [4, 1, 1, 2, 1, 1], None).is_err());
    assert!(call(&SequenceShape { input: 1, ..shape }, [2, 1, 0, 2, 1, 0], None).is_err());
    assert!(call(&SequenceShape { steps: usize::MAX, ..shape }, lens, None).is_err());
}
