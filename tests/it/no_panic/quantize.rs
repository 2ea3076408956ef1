//! Quantization, products and convolutions of codes, with scales and zero points that are mostly right.

use ferrotape::*;

use super::{Rng, conv};

const CODES: [DType; 2] = [DType::I8, DType::U8];

/// One of all, or one for each of so many places.
fn parameter(rng: &mut Rng, places: Option<usize>) -> Vec<usize> {
    match places {
        Some(places) if rng.chance(2) => vec![if rng.chance(8) { rng.setting() } else { places }],
        _ => Vec::new(),
    }
}

/// Positive numbers, mostly.
fn scale(rng: &mut Rng, places: Option<usize>, dtype: DType) -> Tensor {
    let shape = parameter(rng, places);
    let raw = rng.tensor(&shape, dtype);
    if rng.chance(4) || !dtype.is_float() {
        return raw;
    }
    raw.isfinite().unwrap().select(&raw, 0.5).unwrap().clamp(0.01, 9.0).unwrap()
}

/// Small integers; sometimes none, or beyond the codes.
fn zero(rng: &mut Rng, shape: &[usize]) -> Tensor {
    let dtype = rng.pick(&[DType::I64, DType::I64, DType::U8, DType::U8, DType::I8, DType::I32]);
    let dtype = if rng.chance(20) { DType::F32 } else { dtype };
    let zero = rng.tensor(shape, dtype);
    match dtype {
        DType::I64 if rng.chance(8) => zero.mul(1e6).unwrap(),
        DType::I64 if rng.chance(2) => zero.abs().unwrap(),
        _ => zero,
    }
}

pub(super) fn draw(rng: &mut Rng, variant: &str) -> (Op, Vec<Tensor>) {
    match variant {
        "MatmulInteger" | "ConvInteger" => return draw_sums(rng, variant),
        _ => {}
    }
    let rank = rng.below(5);
    let shape = rng.shape(rank);
    let axis = (rank > 0 && rng.chance(2)).then(|| rng.dim(rank));
    let places = axis.and_then(|axis| shape.get(axis).copied());
    let float = rng.pick(&[DType::F32, DType::F32, DType::F16, DType::BF16, DType::F64]);
    let code = if rng.chance(20) { rng.dtype() } else { rng.pick(&CODES) };
    let by = match float {
        DType::F64 if variant == "Quantize" => DType::F32,
        float => float,
    };
    let by = scale(rng, places, by);
    let zeros = parameter(rng, places);
    let zero = zero(rng, &zeros);
    match variant {
        "Quantize" => {
            let rule = rng.pick(&[QuantizeRule::Reciprocal, QuantizeRule::Divide]);
            (
                Op::Quantize(QuantizeOp { axis, dtype: code, rule }),
                vec![rng.tensor(&shape, float), by, zero],
            )
        }
        "Dequantize" => (Op::Dequantize { axis }, vec![rng.tensor(&shape, code), by, zero]),
        _ => {
            let bounds = [(-8, 7), (0, 255), (-128, 127), (0, 0), (7, -8), (i32::MIN, i32::MAX)];
            let (low, high) = rng.pick(&bounds);
            let settings = FakeQuantizeOp { axis, low, high };
            (Op::FakeQuantize(settings), vec![rng.tensor(&shape, float), by, zero])
        }
    }
}

fn draw_sums(rng: &mut Rng, variant: &str) -> (Op, Vec<Tensor>) {
    let s = rng.shape(6);
    let [a, b, c] = [s[0], s[1], s[2]];
    let types = [rng.pick(&CODES), rng.pick(&CODES)];
    let (op, shapes, zeros) = match variant {
        "MatmulInteger" => {
            let shapes = [vec![s[3], a, b], vec![b, c]];
            let batched = [vec![s[3], 1, 1], vec![a, 1], vec![s[3], a, 1], vec![]];
            let columns = [vec![c], vec![1, c], vec![]];
            let zeros = [batched[rng.below(4)].clone(), columns[rng.below(3)].clone()];
            (Op::MatmulInteger, shapes, zeros)
        }
        _ => {
            let channels = parameter(rng, Some(c));
            let shapes = [vec![a, b, 5, 4], vec![c, b, 3, 2]];
            (Op::ConvInteger(conv(rng)), shapes, [vec![], channels])
        }
    };
    let mut operands: Vec<Tensor> =
        shapes.iter().zip(types).map(|(shape, dtype)| rng.tensor(shape, dtype)).collect();
    let count = rng.below(3);
    for shape in zeros.iter().take(count) {
        let zero = zero(rng, shape);
        operands.push(zero);
    }
    (op, operands)
}
