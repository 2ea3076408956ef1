//! Every op of the table against the reference, over lengths, layouts and both float types.

use super::*;
use crate::buffer::Buffer;
use crate::cpu::copy::past;
use crate::cpu::isa::{Isa, isa};
use crate::element::Number;
use crate::elementwise::{CompareOp, LogicalOp};
use crate::reference::map as reference;

const LENGTHS: [usize; 14] = [0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 100, 257, 70_000];

/// Values with all specials among them.
fn values<T: Float>(len: usize, salt: usize) -> Vec<T> {
    let specials = [0.0, -0.0, 1.0, -1.0, f64::INFINITY, f64::NEG_INFINITY, f64::NAN, 0.5];
    (0..len)
        .map(|i| {
            let k = (i * 7919 + salt * 104_729) % 1009;
            T::from_f64(if k < 8 { specials[k] } else { (k as f64 - 500.0) / 37.0 })
        })
        .collect()
}

/// Within `bound` units of `epsilon`, relatively; special values must agree.
fn near<T: Float>(got: T, want: f64, bound: f64) -> bool {
    let (got, want) = (got.to_f64(), T::from_f64(want).to_f64());
    let epsilon = if size_of::<T>() == 4 { f32::EPSILON as f64 } else { f64::EPSILON };
    got == want
        || got.is_nan() && want.is_nan()
        || (got - want).abs() <= bound * epsilon * want.abs()
}

/// A view as the tests write it: data, offset, shape, strides.
fn view<'a, T: Pod>(
    data: &'a [T],
    offset: usize,
    shape: &'a [usize],
    strides: &'a [isize],
) -> View<'a, T> {
    View::new(data, offset, shape, strides).unwrap()
}

/// `op` of a view, and of the same values in place.
fn check_unary<T: Float>(op: UnaryOp, x: View<'_, T>) {
    let elements = reference::elements(x);
    let mut out = vec![T::ONE; elements.len()];
    unary(op, Source::View(x), &mut out).unwrap();
    for (&x, &y) in elements.iter().zip(&out) {
        let want = reference::unary(op, x.to_f64());
        assert!(near(y, want, 16.0), "{}({x:?}) = {y:?}, not {want}", op.name());
    }
    let mut place = elements;
    unary(op, Source::Output, &mut place).unwrap();
    assert!(place.iter().zip(&out).all(|(a, b)| a == b || a.is_nan() && b.is_nan()));
}

fn check_unary_all<T: Float>() {
    let data: Vec<T> = values(70_000, 1);
    for &op in UnaryOp::ALL {
        for len in LENGTHS {
            check_unary(op, view(&data, 0, &[len], &[1]));
        }
        check_unary(op, view(&data, 0, &[40, 30], &[1, 40]));
        check_unary(op, view(&data, 99, &[100], &[-1]));
        check_unary(op, view(&data, 5, &[3, 4, 5], &[0, 5, 1]));
        check_unary(op, view(&data, 5, &[], &[]));
    }
}

#[test]
fn unary_f32() {
    check_unary_all::<f32>();
}

#[test]
fn unary_f64() {
    check_unary_all::<f64>();
}

/// `op` of two views, and with either of them in the output.
fn check_binary<T: Float>(op: BinaryOp, a: View<'_, T>, b: View<'_, T>) {
    let (left, right) = (reference::elements(a), reference::elements(b));
    let want: Vec<f64> = left
        .iter()
        .zip(&right)
        .map(|(a, b)| reference::binary(op, a.to_f64(), b.to_f64()))
        .collect();
    let agree = |out: &[T], how: &str| {
        for i in 0..out.len() {
            // A difference of products may cancel: 1 - y * y is rounded once here, twice there.
            let slack = if matches!(op, BinaryOp::TanhGrad) { 1e3 } else { 4.0 };
            assert!(
                near(out[i], want[i], slack),
                "{} {how} of {:?}, {:?} = {:?}, not {}",
                op.name(),
                left[i],
                right[i],
                out[i],
                want[i],
            );
        }
    };
    let mut out = vec![T::ONE; left.len()];
    binary(op, Source::View(a), Source::View(b), &mut out).unwrap();
    agree(&out, "views");
    let mut place = left.clone();
    binary(op, Source::Output, Source::View(b), &mut place).unwrap();
    agree(&place, "first in place");
    let mut place = right.clone();
    binary(op, Source::View(a), Source::Output, &mut place).unwrap();
    agree(&place, "second in place");
}

/// Pairs of layouts: shape, strides of a, strides of b.
const LAYOUTS: &[(&[usize], &[isize], &[isize])] = &[
    (&[], &[], &[]),
    (&[0, 3], &[3, 1], &[0, 0]),
    (&[1000], &[1], &[0]),
    (&[1000], &[0], &[1]),
    (&[50, 70], &[70, 1], &[0, 1]),
    (&[50, 70], &[1, 0], &[70, 1]),
    (&[700, 3], &[3, 1], &[0, 1]),
    (&[700, 3], &[3, 1], &[1, 0]),
    (&[4, 8, 5, 5], &[200, 25, 5, 1], &[0, 1, 0, 0]),
    (&[4, 1, 5, 6], &[30, 7, 6, 1], &[1, 9, 0, 4]),
    (&[60, 70], &[70, 1], &[1, 60]),
    (&[60, 70], &[1, 60], &[0, 0]),
    (&[30, 20], &[-20, -1], &[20, 2]),
    (&[300, 300], &[300, 1], &[0, 1]),
    (&[300, 300], &[1, 0], &[1, 300]),
    (&[2, 2, 2, 2, 2, 2, 3, 2], &[1, 2, 4, 8, 16, 32, 64, 192], &[192, 96, 48, 24, 12, 6, 2, 1]),
];

fn check_layouts<T: Float>() {
    let (a, b): (Vec<T>, Vec<T>) = (values(100_000, 2), values(100_000, 3));
    for &op in BinaryOp::ALL {
        for &(shape, a_strides, b_strides) in LAYOUTS {
            let offset = if a_strides.iter().any(|&s| s < 0) { 1000 } else { 3 };
            check_binary(op, view(&a, offset, shape, a_strides), view(&b, 5, shape, b_strides));
        }
    }
    for len in LENGTHS {
        check_binary(BinaryOp::Add, view(&a, 1, &[len], &[1]), view(&b, 0, &[len], &[1]));
        check_binary(BinaryOp::Sub, view(&a, 1, &[len], &[1]), view(&b, 0, &[len], &[0]));
    }
}

#[test]
fn binary_f32() {
    check_layouts::<f32>();
}

#[test]
fn binary_f64() {
    check_layouts::<f64>();
}

#[test]
fn binary_of_the_output_with_itself() {
    let mut x: Vec<f32> = (0..1000).map(|i| i as f32).collect();
    binary(BinaryOp::Add, Source::Output, Source::Output, &mut x).unwrap();
    assert!(x.iter().enumerate().all(|(i, &x)| x == 2.0 * i as f32));
}

#[test]
fn of_equal_zeros_the_first_is_kept() {
    let (a, b) = ([0.0f32, -0.0, f32::NAN, 1.0], [-0.0f32, 0.0, 1.0, f32::NAN]);
    for op in [BinaryOp::Maximum, BinaryOp::Minimum] {
        let mut out = [1.0f32; 4];
        let (a, b) = (view(&a, 0, &[4], &[1]), view(&b, 0, &[4], &[1]));
        binary(op, Source::View(a), Source::View(b), &mut out).unwrap();
        assert!(out[0].is_sign_positive() && out[1].is_sign_negative());
        assert!(out[2].is_nan() && out[3].is_nan());
    }
}

#[test]
fn lengths_and_shapes_that_differ_are_refused() {
    let x = [1.0f32; 6];
    let mut out = [0.0f32; 5];
    let (flat, table) = (view(&x, 0, &[6], &[1]), view(&x, 0, &[2, 3], &[3, 1]));
    assert!(unary(UnaryOp::Exp, Source::View(flat), &mut out).is_err());
    assert!(binary(BinaryOp::Add, Source::View(flat), Source::Output, &mut out).is_err());
    let mut out = [0.0f32; 6];
    assert!(binary(BinaryOp::Add, Source::View(flat), Source::View(table), &mut out).is_err());
    assert!(compare(CompareOp::Lt, flat, table, &mut [0; 6]).is_err());
    assert!(cast::<f32, i64>(flat, &mut [0; 5]).is_err());
}

#[test]
fn integers_wrap() {
    let x = [i64::MIN, -3, 0, 7, i64::MAX];
    let v = view(&x, 0, &[5], &[1]);
    let one = |op| {
        let mut out = [0; 5];
        unary_integer(op, v, &mut out).map(|()| out)
    };
    assert_eq!(one(UnaryOp::Neg), Ok([i64::MIN, 3, 0, -7, -i64::MAX]));
    assert_eq!(one(UnaryOp::Abs), Ok([i64::MIN, 3, 0, 7, i64::MAX]));
    assert_eq!(one(UnaryOp::Sign), Ok([-1, -1, 0, 1, 1]));
    assert_eq!(one(UnaryOp::Square), Ok([0, 9, 0, 49, 1]));
    assert_eq!(one(UnaryOp::Relu), Ok([0, 0, 0, 7, i64::MAX]));
    assert!(one(UnaryOp::Exp).is_err());
    let two = |op| {
        let mut out = [0; 5];
        binary_integer(op, v, view(&[-1i64], 0, &[5], &[0]), &mut out).map(|()| out)
    };
    assert_eq!(two(BinaryOp::Add), Ok([i64::MAX, -4, -1, 6, i64::MAX - 1]));
    assert_eq!(two(BinaryOp::Sub), Ok([i64::MIN + 1, -2, 1, 8, i64::MIN]));
    assert_eq!(two(BinaryOp::Mul), Ok([i64::MIN, 3, 0, -7, -i64::MAX]));
    assert_eq!(two(BinaryOp::Maximum), Ok([-1, -1, 0, 7, i64::MAX]));
    assert_eq!(two(BinaryOp::Minimum), Ok([i64::MIN, -3, -1, -1, -1]));
    assert!(two(BinaryOp::Div).is_err());
    assert_eq!(two(BinaryOp::FloorDivide), Ok([i64::MIN, 3, 0, -7, -i64::MAX]));
    assert_eq!(two(BinaryOp::Fmod), Ok([0; 5]));
    assert_eq!(two(BinaryOp::Pow), Ok([0, 0, 0, 0, 0]));
    let by = |op, b: i64| {
        let mut out = [0; 5];
        binary_integer(op, v, view(&[b], 0, &[5], &[0]), &mut out).map(|()| out)
    };
    assert_eq!(by(BinaryOp::FloorDivide, 2).unwrap()[1..4], [-2, 0, 3]);
    assert_eq!(by(BinaryOp::TruncDivide, 2).unwrap()[1..4], [-1, 0, 3]);
    assert_eq!(by(BinaryOp::Remainder, -4).unwrap()[1..4], [-3, 0, -1]);
    assert_eq!(by(BinaryOp::Fmod, -4).unwrap()[1..4], [-3, 0, 3]);
    assert_eq!(by(BinaryOp::Pow, 3).unwrap()[1..4], [-27, 0, 343]);
    assert_eq!(by(BinaryOp::Remainder, 0), Err(crate::Error::DivisionByZero));
}

#[test]
fn comparisons_and_logic() {
    let (a, b): (Vec<f64>, Vec<f64>) = (values(100_000, 4), values(100_000, 5));
    for &(shape, a_strides, b_strides) in LAYOUTS {
        let (a, b) = (view(&a, 1000, shape, a_strides), view(&b, 7, shape, b_strides));
        let (left, right) = (reference::elements(a), reference::elements(b));
        for &op in CompareOp::ALL {
            let mut out = vec![9; left.len()];
            compare(op, a, b, &mut out).unwrap();
            for i in 0..out.len() {
                let want = reference::compare(op, left[i], right[i]);
                assert_eq!(out[i], want as u8, "{} {} {}", left[i], op.name(), right[i]);
            }
        }
    }
    for &op in LogicalOp::ALL {
        let (a, b) = ([0u8, 0, 1, 255], [0u8, 2, 0, 4]);
        let mut out = [9; 4];
        logical(op, view(&a, 0, &[4], &[1]), view(&b, 0, &[4], &[1]), &mut out).unwrap();
        for i in 0..4 {
            assert_eq!(out[i], reference::logical(op, a[i] != 0, b[i] != 0) as u8);
        }
    }
}

#[test]
fn selection() {
    let condition: Vec<u8> = (0..100_000).map(|i| (i % 3) as u8).collect();
    let (a, b): (Vec<i32>, Vec<i32>) = ((0..100_000).collect(), (0..100_000).map(|i| -i).collect());
    for &(shape, a_strides, b_strides) in LAYOUTS {
        let c = view(&condition, 1000, shape, a_strides);
        let (a, b) = (view(&a, 1000, shape, a_strides), view(&b, 7, shape, b_strides));
        let mut out = vec![1; a.len()];
        select(c, a, b, &mut out).unwrap();
        let (c, a, b) = (reference::elements(c), reference::elements(a), reference::elements(b));
        for i in 0..out.len() {
            assert_eq!(out[i], if c[i] != 0 { a[i] } else { b[i] });
        }
    }
}

/// `x as B` for each of `x`.
fn check_cast<A: Number, B: Number>(x: &[A], want: impl Fn(A) -> B) {
    let mut out = vec![B::default(); x.len()];
    cast(view(x, 0, &[x.len()], &[1]), &mut out).unwrap();
    for (&x, &y) in x.iter().zip(&out) {
        let want = want(x);
        assert!(y == want || y.to_f64().is_nan() && want.to_f64().is_nan(), "{x:?} as {y:?}");
    }
}

#[test]
fn casts_are_those_of_as() {
    let floats = [0.0, -0.0, 1.9, -1.9, 255.5, 256.0, -1.0, 3e9, -3e9, 1e19, -1e19, 1e39, 0.1];
    let x: Vec<f64> = floats.into_iter().chain([f64::NAN, f64::INFINITY]).collect();
    check_cast(&x, |x| x as f32);
    check_cast(&x, |x| x);
    check_cast(&x, |x| x as i64);
    check_cast(&x, |x| x as i32);
    check_cast(&x, |x| x as u8);
    let x: Vec<f32> = x.iter().map(|&x| x as f32).collect();
    check_cast(&x, |x| x as f64);
    check_cast(&x, |x| x as i64);
    check_cast(&x, |x| x as i32);
    check_cast(&x, |x| x as u8);
    let x = [
        0i64,
        -1,
        255,
        256,
        i64::MAX,
        i64::MIN,
        (1 << 54) + 3,
        16_777_217,
        (1 << 60) + (1 << 36) + 1,
    ];
    check_cast(&x, |x| x as f32);
    check_cast(&x, |x| x as f64);
    check_cast(&x, |x| x as i32);
    check_cast(&x, |x| x as u8);
    check_cast(&[0i32, -1, 300, i32::MAX], |x| x as u8);
    check_cast(&[0u8, 7, 255], |x| x as f32);
}

#[test]
fn only_zero_is_false() {
    let x = [0.0f32, -0.0, 1.0, f32::NAN, -3.0];
    let mut out = [9; 5];
    cast_to_bool(view(&x, 0, &[5], &[1]), &mut out).unwrap();
    assert_eq!(out, [0, 0, 1, 1, 1]);
}

/// Vectors are taken four together, one by one and in part: every element's bits must be those it has alone.
#[test]
fn a_result_does_not_depend_on_its_place() {
    let mut x: Vec<f32> = values(300, 5);
    x.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 88.9, -104.2, 1e-40, -14.3]);
    for &op in UnaryOp::ALL {
        let mut out = vec![1.0; x.len()];
        unary(op, Source::Slice(&x), &mut out).unwrap();
        for (x, y) in x.iter().zip(out) {
            let mut alone = [1.0];
            unary(op, Source::Slice(&[*x]), &mut alone).unwrap();
            let same = alone[0].to_bits() == y.to_bits() || alone[0].is_nan() && y.is_nan();
            assert!(same, "{}({x:e}) = {:e}, {y:e} among others", op.name(), alone[0]);
        }
    }
}

/// Results so large that they are written past the caches, in memory that begins with a cache line, and what must not be: exact ones
/// against the reference, those of a formula against short parts.
fn check_large<T: Float>(len: usize) {
    let same =
        |x: T, y: T| x.to_f64().to_bits() == y.to_f64().to_bits() || x.is_nan() && y.is_nan();
    let (a, b) = (values::<T>(len, 1), values::<T>(len, 2));
    let mut buffer = Buffer::new(len * size_of::<T>()).unwrap();
    let out = buffer.as_mut_slice::<T>();
    let large = isa() > Isa::Scalar;
    assert_eq!(past::suits(out.as_ptr(), len, 1), large);
    assert!(!past::suits(out[1..].as_ptr(), len, 1) && !past::suits(out.as_ptr(), len, 0));
    let (shape, one) = ([len], T::from_f64(0.75));
    let exact = |op, out: &[T], x: &dyn Fn(usize) -> [T; 2]| {
        let want = |i| T::from_f64(reference::binary(op, x(i)[0].to_f64(), x(i)[1].to_f64()));
        assert!((0..len).all(|i| same(out[i], want(i))), "{}", op.name());
    };
    binary(BinaryOp::Sub, Source::Slice(&a), Source::View(view(&b, 0, &shape, &[1])), out).unwrap();
    exact(BinaryOp::Sub, out, &|i| [a[i], b[i]]);
    binary(BinaryOp::Mul, Source::One(&one), Source::Slice(&b), out).unwrap();
    exact(BinaryOp::Mul, out, &|i| [one, b[i]]);
    binary(BinaryOp::Mul, Source::Output, Source::Slice(&a), out).unwrap();
    exact(BinaryOp::Mul, out, &|i| [T::from_f64(one.to_f64() * b[i].to_f64()), a[i]]);
    unary(UnaryOp::Relu, Source::Slice(&a), out).unwrap();
    assert!(
        (0..len).all(|i| out[i] == T::from_f64(reference::unary(UnaryOp::Relu, a[i].to_f64()))
            || a[i].is_nan())
    );
    unary(UnaryOp::Exp, Source::View(view(&a, 0, &shape, &[1])), out).unwrap();
    let mut part = [T::ZERO; 1000];
    for (x, y) in a.chunks(1000).zip(out.chunks(1000)) {
        let part = &mut part[..x.len()];
        unary(UnaryOp::Exp, Source::Slice(x), part).unwrap();
        assert!(part.iter().zip(y).all(|(&x, &y)| same(x, y)));
    }
    // Not where a cache line begins.
    binary(BinaryOp::Sub, Source::Slice(&a[1..]), Source::Slice(&b[1..]), &mut out[1..]).unwrap();
    exact(BinaryOp::Sub, out, &|i| if i == 0 { [out[0], T::ZERO] } else { [a[i], b[i]] });
}

#[test]
fn results_past_the_caches() {
    // A team writes as usual.
    parallel::serial(|| {
        check_large::<f32>((12 << 20) + 300);
        check_large::<f64>((6 << 20) + 77);
    });
}
