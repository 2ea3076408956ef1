//! Cases of recurrent layers, fused and step by step, every result and every operand in them.

use ferrotape::prelude::*;
use ferrotape::{Op, RecurrentCell, SequenceOp, SequenceOutput, apply};

use super::Cases;
use crate::recurrent::all_settings;

pub(super) fn cases(cases: &mut Cases) {
    for settings in all_settings() {
        let operands = operands(cases, settings);
        let lengths = settings.lengths.then(|| Tensor::from([3i64, 1]));
        for fused in [true, false] {
            let lengths = lengths.clone();
            let name = format!("{settings:?}, fused: {fused}");
            cases.add(name, operands.clone(), move |x| {
                let all: Vec<&Tensor> = x.iter().chain(&lengths).collect();
                let out = if fused { settings.fused(&all)? } else { settings.decomposed(&all)? };
                joined(out)
            });
        }
    }
}

/// All results as one.
fn joined(out: SequenceOutput) -> Result<Tensor> {
    let flat = |x: &Tensor| x.flatten(0, -1)?.square();
    let mut all = vec![flat(&out.y)?, flat(&out.h_n)?];
    all.extend(out.c_n.as_ref().map(flat).transpose()?);
    Tensor::cat(&all.iter().collect::<Vec<_>>(), 0)
}

/// Two rows of three steps, with no sum near relu's kink.
fn operands(cases: &mut Cases, settings: SequenceOp) -> Vec<Tensor> {
    let (hidden, output) = (3, if settings.projection { 2 } else { 3 });
    let gates = hidden * settings.cell.gates();
    let mut shapes = vec![vec![3, 2, 2]];
    shapes.extend(settings.places().h0.map(|_| vec![2, output]));
    shapes.extend(settings.places().c0.map(|_| vec![2, hidden]));
    shapes.extend([vec![gates, 2], vec![gates, output]]);
    if settings.bias {
        shapes.extend([vec![gates], vec![gates]]);
    }
    if settings.projection {
        shapes.push(vec![output, hidden]);
    }
    shapes.iter().map(|shape| cases.any(shape)).collect()
}

/// What only the backward pass may read has no derivative, and says so; and so the backward pass itself, on a tape.
#[test]
fn what_has_no_derivative_is_an_error() {
    let settings = SequenceOp::new(RecurrentCell::Gru);
    let mut cases = Cases::new();
    let inputs = operands(&mut cases, settings);
    let given = || inputs.iter().map(Into::into).collect::<Vec<_>>();
    let (loss, tape) = Tape::record(|tape| {
        inputs.iter().for_each(|input| tape.watch(input));
        apply(&Op::Sequence(settings), &mut given())?[1].sum(..)
    })
    .unwrap();
    let error = tape.gradient(&loss, &[&inputs[0]]).unwrap_err().to_string();
    assert!(error.contains("sequence: what it saves"), "{error}");

    let out = apply(&Op::Sequence(settings), &mut given()).unwrap();
    let (w_hh, seed) = (&inputs[2], out[0].ones_like().unwrap());
    let error = Tape::record(|tape| {
        tape.watch(w_hh);
        let mut all = [w_hh, &out[0], &out[1], &seed, &out[2]].map(Into::into);
        apply(&Op::SequenceBackward(settings), &mut all).map(drop)
    })
    .map(drop)
    .unwrap_err()
    .to_string();
    assert!(error.contains("sequence_backward: has no derivative rule"), "{error}");
}
