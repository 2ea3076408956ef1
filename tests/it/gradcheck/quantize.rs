//! Quantization. Rounding passes a gradient that no difference shows: here are numbers whose codes are all clamped, where the rule is the
//! derivative, and sums in which what rounding adds is constant. `tests/it/quantize.rs` compares the rest with PyTorch.

use ferrotape::prelude::*;
use ferrotape::{Encoding, FakeQuantizeOp, Int8Op, Op, QuantizeOp, apply};

use super::Cases;

pub(super) fn cases(cases: &mut Cases) {
    let zeros = Tensor::from([1i64, -3, 0]);
    for shape in [vec![3], vec![3, 4], vec![2, 3], vec![2, 3, 2]] {
        let axis = usize::from(shape[0] == 2);
        let settings = FakeQuantizeOp::new(-8, 7);
        let x = cases.signed(&shape).sign().unwrap().mul(40.0).unwrap();
        let x = x.add(cases.any(&shape)).unwrap();
        let scale = cases.positive(&[3]);
        let zero = zeros.clone();
        let inputs = vec![x.clone(), scale];
        cases.add(format!("fake_quantize {shape:?}, clamped"), inputs, move |x| {
            x[0].fake_quantize(&x[1], &zero, settings.axis(axis))?.square()
        });
        let scale = cases.positive(&[]);
        cases.add(format!("fake_quantize {shape:?} by one scale, clamped"), vec![x, scale], {
            move |x| x[0].fake_quantize(&x[1], 2.0, settings)?.square()
        });
        let codes = cases.any(&shape).mul(100.0).unwrap().to_dtype(DType::I8).unwrap();
        let (scale, one) = (cases.positive(&[3]), cases.positive(&[]));
        let zero = zeros.clone();
        cases.add(format!("dequantize {shape:?}"), vec![scale, one], move |x| {
            let each = codes.dequantize(&x[0], &zero, Some(axis))?;
            each.mul(codes.dequantize(&x[1], 5.0, None)?)
        });
    }
    let (codes, scale) = (Tensor::from([[70_000i32, -3, 4], [5, 6, 7]]), cases.positive(&[2]));
    cases.add("dequantize of sums", vec![scale], move |x| {
        codes.dequantize(&x[0], 0.0, Some(0))?.mul(1e-4)?.square()
    });
    let blocks = cases.positive(&[2, 2]);
    let codes = Tensor::arange(-8.0, 1.0, 16, DType::I8).unwrap().reshape([4, 4]).unwrap();
    cases.add("dequantize in blocks", vec![blocks], move |x| {
        codes.dequantize(&x[0], 0.0, None)?.square()
    });
}

/// Codes and their sums are constants to a tape.
pub(super) fn constants() -> Result<()> {
    let image = Tensor::from([[[[1f32]]]]).quantize(0.1, 0.0, QuantizeOp::new(DType::I8))?;
    let to = Encoding::new(0.1, 0, DType::I8)?;
    let encode = Op::Int8(Int8Op::Encode { to, images: false });
    apply(&encode, &mut [(&Tensor::from([1f32])).into()])?;
    image.matmul_integer(&image, None, None)?;
    image.conv_integer(&image, None, None, Conv2dOp::default()).map(drop)
}
