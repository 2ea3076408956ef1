//! Cases made from the elementwise tables, in every layout; selections by condition; casts.

use ferrotape::prelude::*;
use ferrotape::{BinaryOp, Op, UnaryOp, ViewOp};

use super::{Cases, one};

/// 0-d, zero-size, small, and longer than any vector register.
const SHAPES: [&[usize]; 5] = [&[], &[0], &[2, 0, 3], &[2, 3], &[37]];

pub(super) fn unary(cases: &mut Cases) {
    for &op in UnaryOp::ALL {
        let apply = move |x: &Tensor| one(&Op::Unary(op), &[x]);
        use UnaryOp::*;
        let positive = matches!(op, Sqrt | Rsqrt | Log | Log2 | Log10);
        let input = |cases: &mut Cases, shape: &[usize]| match op {
            Log1p | Asin | Acos | Atanh => cases.any(shape).mul(0.8).unwrap(),
            Acosh => cases.positive(shape).add(1.0).unwrap(),
            Tan => cases.any(shape),
            _ if positive => cases.positive(shape),
            _ => cases.signed(shape),
        };
        let name = |layout: &str| format!("{op:?} {layout}");
        for shape in SHAPES {
            let x = input(cases, shape);
            cases.add(name(&format!("{shape:?}")), vec![x], move |x| apply(&x[0]));
        }
        let mut layouts = |layout: &str, view: fn(&Tensor) -> Result<Tensor>| {
            let x = input(cases, &[3, 4]);
            cases.add(name(layout), vec![x], move |x| apply(&view(&x[0])?));
        };
        layouts("transposed", |x| x.t());
        layouts("every second row, backwards", |x| {
            let view = ViewOp::Slice { dim: 0, start: 2, length: 2, step: -2 };
            one(&Op::View(view), &[x])
        });
        layouts("expanded", |x| x.unsqueeze(1)?.expand([3, 2, 4]));
        // The tracked tensor itself is strided.
        let leaf = input(cases, &[3, 4]).t().unwrap();
        cases.add(name("strided leaf"), vec![leaf], move |x| apply(&x[0]));
    }
}

pub(super) fn binary(cases: &mut Cases) {
    const PAIRS: [[&[usize]; 2]; 10] = [
        [&[2, 3], &[2, 3]],
        [&[2, 3], &[3]],
        [&[3], &[2, 3]],
        [&[2, 1], &[1, 3]],
        [&[], &[2, 3]],
        [&[2, 3], &[]],
        [&[], &[]],
        [&[0], &[1]],
        [&[2, 1, 3], &[4, 1]],
        [&[37], &[37]],
    ];
    for &op in BinaryOp::ALL {
        let apply = move |a: &Tensor, b: &Tensor| one(&Op::Binary(op), &[a, b]);
        let first = |cases: &mut Cases, shape: &[usize]| match op {
            BinaryOp::Pow => cases.positive(shape),
            _ => cases.signed(shape),
        };
        for [a, b] in PAIRS {
            let name = format!("{op:?} {a:?} {b:?}");
            let inputs = vec![first(cases, a), cases.signed(b)];
            cases.add(name, inputs, move |x| apply(&x[0], &x[1]));
        }
        let inputs = vec![first(cases, &[3, 2]), cases.signed(&[2, 3])];
        cases.add(format!("{op:?} transposed"), inputs, move |x| apply(&x[0].t()?, &x[1]));
        let inputs = vec![first(cases, &[2, 3]), cases.signed(&[3, 4]).t().unwrap()];
        cases.add(format!("{op:?} strided leaf, sliced"), inputs, move |x| {
            apply(&x[0], &x[1].i((1..3, ..))?)
        });
        // Twice the same value: both shares must be summed. Equal operands are a kink of the extremes and of
        // whole quotients.
        let x = first(cases, &[5]);
        use BinaryOp::*;
        if !matches!(op, Maximum | Minimum | TruncDivide | FloorDivide | Fmod | Remainder) {
            cases.add(format!("{op:?} with itself"), vec![x], move |x| apply(&x[0], &x[0]));
        }
    }
    let x = cases.signed(&[5]);
    cases.add("numbers", vec![x], |x| {
        let y = ((2.0 * &x[0])? + 1.0)?;
        ((y.square().add(1.0)? / 3.0)? - 0.25).pow(1.5)
    });
    let x = cases.signed(&[6]);
    cases.add("a negative base, a whole exponent", vec![x], |x| x[0].pow(3.0));
    let inputs = vec![cases.positive(&[3]), Tensor::from([0.0, 1.0, 2.0])];
    cases.add("whole exponents", inputs, |x| x[0].pow(&x[1]));
}

pub(super) fn others(cases: &mut Cases) {
    let condition = Tensor::from([[true, false, true], [false, false, true]]);
    let shapes: [[&[usize]; 2]; 5] =
        [[&[2, 3], &[2, 3]], [&[3], &[2, 1]], [&[], &[]], [&[4, 1, 1], &[3]], [&[2, 3], &[1]]];
    for [yes, no] in shapes {
        let (inputs, condition) = (vec![cases.any(yes), cases.any(no)], condition.clone());
        cases.add(format!("where {yes:?} {no:?}"), inputs, move |x| {
            condition.select(&x[0], &x[1]).square()
        });
    }
    let row = Tensor::from([true, false, true]);
    let x = cases.any(&[3, 3]);
    cases.add("where: a broadcast condition, transposed", vec![x], move |x| {
        row.select(&x[0].t()?, 2.0).sin()
    });
    let x = cases.signed(&[4]);
    cases.add("where by the value itself", vec![x], |x| {
        x[0].gt(0.0)?.select(x[0].exp(), x[0].square())
    });
    let x = cases.any(&[3, 4]);
    cases.add("contiguous", vec![x], |x| x[0].t()?.contiguous()?.square());
    let x = cases.any(&[3, 4]);
    cases.add("copy", vec![x], |x| x[0].copy()?.square());
    let x = cases.any(&[2, 0]);
    cases.add("copy of nothing", vec![x], |x| x[0].t()?.copy());
}
