//! Operations on codes with packed weights: encodings and shapes that are mostly right.

use std::sync::Arc;

use ferrotape::*;

use super::{Rng, conv};

fn encoding(rng: &mut Rng) -> Encoding {
    let dtype = if rng.chance(20) { rng.dtype() } else { rng.pick(&[DType::U8, DType::I8]) };
    let scale =
        if rng.chance(12) { rng.number() as f32 } else { rng.pick(&[0.5, 0.01, 3.0, 1e-6]) };
    let zero_point =
        if rng.chance(12) { rng.pick(&[-129, 256, i32::MAX]) } else { rng.pick(&[0, 1, 127]) };
    Encoding { scale, zero_point, dtype }
}

fn codes(rng: &mut Rng, shape: &[usize], of: &Encoding) -> Tensor {
    let dtype = if rng.chance(20) { rng.dtype() } else { of.dtype };
    rng.tensor(shape, dtype)
}

/// Weights of `[out, in]` or of a convolution; `None` if what was drawn is none.
fn weights(rng: &mut Rng, images: bool, sizes: [usize; 2]) -> Option<Arc<Int8Weights>> {
    let [outputs, inputs] = sizes;
    let shape = if images { vec![outputs, inputs, 3, 2] } else { vec![outputs, inputs] };
    let codes = rng.tensor(&shape, DType::I8).to_device(Device::Cpu).ok()?;
    let scale = if rng.chance(2) { vec![0.1] } else { vec![0.2; outputs] };
    let zero = if rng.chance(2) { vec![0] } else { vec![3; outputs] };
    let made = match images {
        true => Int8Weights::conv2d(&codes, conv(rng), &scale, &zero),
        false => Int8Weights::linear(&codes, &scale, &zero),
    };
    made.ok().map(Arc::new)
}

fn recurrent(rng: &mut Rng) -> Option<(Op, Vec<Tensor>)> {
    let cell = rng.pick(&[RecurrentCell::Lstm, RecurrentCell::Gru, RecurrentCell::RnnTanh]);
    let (input, hidden) = (rng.pick(&[1, 3, 5]), rng.pick(&[1, 2, 4]));
    let (steps, batch) = (rng.pick(&[0, 1, 3]), rng.pick(&[0, 1, 2]));
    let mut settings = SequenceOp::new(cell);
    (settings.reverse, settings.lengths) = (rng.chance(2), rng.chance(2));
    let gates = cell.gates() * hidden;
    let mut of = |columns: usize| {
        let codes = rng.tensor(&[gates, columns], DType::I8).to_device(Device::Cpu).ok()?;
        Some(Int8RecurrentWeights { codes, scale: vec![0.1; gates], bias: vec![0.5; gates] })
    };
    let layer = Int8Recurrent::new(&settings, [&of(input)?, &of(hidden)?]).ok()?;
    let mut operands = vec![rng.tensor(&[steps, batch, input], DType::F32)];
    let states = 1 + usize::from(cell == RecurrentCell::Lstm);
    operands.extend((0..states).map(|_| rng.tensor(&[batch, hidden], DType::F32)));
    if settings.lengths {
        operands.push(rng.tensor(&[batch], DType::I64));
    }
    Some((Op::Int8(Int8Op::Recurrent(Arc::new(layer))), operands))
}

pub(super) fn draw(rng: &mut Rng) -> (Op, Vec<Tensor>) {
    let images = rng.chance(2);
    let (rank, other) = (if images { 4 } else { rng.below(4) }, encoding(rng));
    let (shape, from) = (rng.shape(rank), encoding(rng));
    let (op, operands) = match rng.below(8) {
        0 => {
            let dtype = if rng.chance(20) { rng.dtype() } else { DType::F32 };
            (Int8Op::Encode { to: from, images }, vec![rng.tensor(&shape, dtype)])
        }
        1 => (Int8Op::Decode { from, images }, vec![codes(rng, &shape, &from)]),
        2 | 3 => {
            let inputs = shape.last().copied().unwrap_or(1).min(20);
            let outputs = rng.pick(&[1, 2, 17]);
            let Some(weights) = weights(rng, images, [outputs, inputs]) else { return draw(rng) };
            let bias = vec![rng.number() as f32; if rng.chance(8) { 3 } else { outputs }];
            let bias = rng.chance(2).then_some(&bias[..]);
            let relu = rng.chance(2);
            if rng.chance(3) {
                let Ok(layer) = Int8Dynamic::new(weights, bias, relu) else { return draw(rng) };
                (Int8Op::Dynamic(Arc::new(layer)), vec![rng.tensor(&shape, DType::F32)])
            } else {
                let to = rng.chance(2).then_some(other);
                let Ok(call) = Int8Call::new(weights, from, bias, to, relu) else {
                    return draw(rng);
                };
                (Int8Op::Layer(Arc::new(call)), vec![codes(rng, &shape, &from)])
            }
        }
        4 => {
            let pool = Pool2dOp::new(rng.pair()).stride(rng.pair()).padding(rng.pair());
            (Int8Op::MaxPool2d(pool), vec![codes(rng, &shape, &from)])
        }
        5 => {
            let add = Int8Op::Add { a: from, b: other, to: encoding(rng), relu: rng.chance(2) };
            (add, vec![codes(rng, &shape, &from), codes(rng, &shape, &other)])
        }
        6 => match recurrent(rng) {
            Some(drawn) => return drawn,
            None => return draw(rng),
        },
        _ => {
            let mut wider = shape.clone();
            if let Some(last) = wider.last_mut() {
                *last = rng.pick(&[0, 1, 5]);
            }
            let cat = Int8Op::Concat { from: vec![from, other], to: encoding(rng) };
            (cat, vec![codes(rng, &shape, &from), codes(rng, &wider, &other)])
        }
    };
    (Op::Int8(op), operands)
}
