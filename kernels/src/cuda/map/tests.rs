//! Every row of the table has its kernel, and the CPU's bits: each type, odd lengths and layouts, in place.

use std::collections::BTreeSet;

use super::*;
use crate::cpu::map as cpu;
use crate::cuda::testing::{Element, assert_same, both, download, gpu, singles, upload, values};
use crate::reference::map::elements;
use crate::strided::View;
use crate::{Float, Half, Integer, bf16, f16};

type Layout<'a> = (usize, &'a [usize], &'a [isize]);

/// Of one operand: offset, shape, strides.
const ONE: &[Layout<'static>] = &[
    (0, &[], &[]),
    (0, &[1], &[1]),
    (1, &[3], &[1]),
    (0, &[4], &[1]),
    (3, &[5], &[1]),
    (0, &[1021], &[1]),
    (4, &[1024], &[1]),
    (0, &[0, 3], &[3, 1]),
    (0, &[40, 30], &[1, 40]),
    (99, &[100], &[-1]),
    (5, &[3, 4, 5], &[0, 5, 1]),
    (7, &[2, 1, 9], &[9, 77, 1]),
];

/// Of two: shape, strides of a, strides of b.
const TWO: &[(&[usize], &[isize], &[isize])] = &[
    (&[], &[], &[]),
    (&[0, 3], &[3, 1], &[0, 0]),
    (&[1], &[1], &[0]),
    (&[1000], &[1], &[0]),
    (&[999], &[0], &[1]),
    (&[1002], &[1], &[1]),
    (&[50, 72], &[72, 1], &[0, 1]),
    (&[50, 70], &[70, 1], &[0, 1]),
    (&[50, 72], &[72, 1], &[1, 0]),
    (&[50, 72], &[1, 0], &[73, 1]),
    (&[50, 70], &[1, 0], &[70, 1]),
    (&[300, 3], &[3, 1], &[0, 1]),
    (&[4, 8, 5, 5], &[200, 25, 5, 1], &[0, 1, 0, 0]),
    (&[4, 1, 5, 6], &[30, 7, 6, 1], &[1, 9, 0, 4]),
    (&[60, 70], &[70, 1], &[1, 60]),
    (&[60, 70], &[1, 60], &[0, 0]),
    (&[30, 20], &[-20, -1], &[20, 2]),
    (&[2, 2, 2, 2, 2, 2, 3, 2], &[1, 2, 4, 8, 16, 32, 64, 192], &[192, 96, 48, 24, 12, 6, 2, 1]),
];

/// Offsets that leave room for negative strides.
fn offsets(strides: &[isize], aligned: bool) -> usize {
    if strides.iter().any(|&stride| stride < 0) {
        1000
    } else if aligned {
        4
    } else {
        3
    }
}

/// What the CPU computes of one operand, and of two.
trait Computed: Element {
    fn one(op: UnaryOp, x: View<'_, Self>) -> Result<Vec<Self>>;
    fn two(op: BinaryOp, a: View<'_, Self>, b: View<'_, Self>) -> Result<Vec<Self>>;
}

fn float_one<T: Float>(op: UnaryOp, x: View<'_, T>) -> Result<Vec<T>> {
    let mut out = vec![T::ZERO; x.len()];
    cpu::unary(op, cpu::Source::View(x), &mut out).map(|()| out)
}

fn float_two<T: Float>(op: BinaryOp, a: View<'_, T>, b: View<'_, T>) -> Result<Vec<T>> {
    let mut out = vec![T::ZERO; a.len()];
    cpu::binary(op, cpu::Source::View(a), cpu::Source::View(b), &mut out).map(|()| out)
}

fn line<'a, T: crate::Pod>(x: &'a [T], len: &'a [usize; 1]) -> View<'a, T> {
    View::new(x, 0, len, &[1]).unwrap()
}

macro_rules! computed {
    (floats: $($t:ident),*) => {$(
        impl Computed for $t {
            fn one(op: UnaryOp, x: View<'_, $t>) -> Result<Vec<$t>> { float_one(op, x) }
            fn two(op: BinaryOp, a: View<'_, $t>, b: View<'_, $t>) -> Result<Vec<$t>> { float_two(op, a, b) }
        }
    )*};
    (halves: $($t:ident),*) => {$(
        impl Computed for $t {
            fn one(op: UnaryOp, x: View<'_, $t>) -> Result<Vec<$t>> {
                let y = float_one(op, line(&singles(&elements(x)), &[x.len()]))?;
                Ok(y.into_iter().map($t::from_single).collect())
            }
            fn two(op: BinaryOp, a: View<'_, $t>, b: View<'_, $t>) -> Result<Vec<$t>> {
                let y = float_two(op, line(&singles(&elements(a)), &[a.len()]), line(&singles(&elements(b)), &[b.len()]))?;
                Ok(y.into_iter().map($t::from_single).collect())
            }
        }
    )*};
    (integers: $($t:ident),*) => {$(
        impl Computed for $t {
            fn one(op: UnaryOp, x: View<'_, $t>) -> Result<Vec<$t>> {
                let mut out = vec![<$t as Integer>::ZERO; x.len()];
                cpu::unary_integer(op, x, &mut out).map(|()| out)
            }
            fn two(op: BinaryOp, a: View<'_, $t>, b: View<'_, $t>) -> Result<Vec<$t>> {
                let mut out = vec![<$t as Integer>::ZERO; a.len()];
                cpu::binary_integer(op, a, b, &mut out).map(|()| out)
            }
        }
    )*};
}
computed!(floats: f32, f64);
computed!(halves: f16, bf16);
computed!(integers: i8, u8, i32, i64);

fn check_unary<T: Computed>() {
    let Some(gpu) = gpu() else { return };
    let data: Vec<T> = values(70_000, 1);
    let there = upload(gpu, &data);
    let long: Layout<'_> = (0, &[70_000], &[1]);
    for &op in UnaryOp::ALL {
        for &layout in ONE.iter().chain([&long]) {
            let (view, array) = both(&data, &there, layout);
            let what = || format!("{} of {} {layout:?}", op.name(), T::KIND.name());
            let mut out = DeviceBuffer::new(gpu, view.len() * size_of::<T>()).unwrap();
            let done = unary(op, T::KIND, Source::Array(array), &mut out);
            let want = match T::one(op, view) {
                Ok(want) => want,
                Err(refused) => {
                    assert_eq!(done.unwrap_err(), refused, "{}", what());
                    continue;
                }
            };
            done.unwrap();
            assert_same(&download(&out), &want, &what);
            let mut place = upload(gpu, &elements(view));
            unary(op, T::KIND, Source::Output, &mut place).unwrap();
            assert_same(&download(&place), &want, &|| format!("{} in place", what()));
        }
    }
}

fn check_binary<T: Computed>() {
    let Some(gpu) = gpu() else { return };
    let (left, right): (Vec<T>, Vec<T>) = (values(20_000, 2), values(20_000, 3));
    // Integers are not divided by 0.
    let one = T::from_i64(1);
    let divisors: Vec<T> = right.iter().map(|&b| if b == T::default() { one } else { b }).collect();
    let right = if T::KIND.is_integer() { divisors } else { right };
    let (a, b) = (upload(gpu, &left), upload(gpu, &right));
    for &op in BinaryOp::ALL {
        for &(shape, a_strides, b_strides) in TWO {
            for aligned in [true, false] {
                let of = |strides| (offsets(strides, aligned), shape, strides);
                let (a_view, a) = both(&left, &a, of(a_strides));
                let (b_view, b) = both(&right, &b, of(b_strides));
                let what = || {
                    format!(
                        "{} of {} {shape:?} {a_strides:?} {b_strides:?}",
                        op.name(),
                        T::KIND.name()
                    )
                };
                let (a, b) = (Source::Array(a), Source::Array(b));
                let mut out = DeviceBuffer::new(gpu, a_view.len() * size_of::<T>()).unwrap();
                let done = binary(op, T::KIND, a, b, &mut out);
                let want = match T::two(op, a_view, b_view) {
                    Ok(want) => want,
                    Err(refused) => {
                        assert_eq!(done.unwrap_err(), refused, "{}", what());
                        continue;
                    }
                };
                done.unwrap();
                assert_same(&download(&out), &want, &what);
                let mut place = upload(gpu, &elements(a_view));
                binary(op, T::KIND, Source::Output, b, &mut place).unwrap();
                assert_same(&download(&place), &want, &|| format!("{} in the first", what()));
                let mut place = upload(gpu, &elements(b_view));
                binary(op, T::KIND, a, Source::Output, &mut place).unwrap();
                assert_same(&download(&place), &want, &|| format!("{} in the second", what()));
            }
        }
    }
    let mut twice = upload(gpu, &left);
    binary(BinaryOp::Add, T::KIND, Source::Output, Source::Output, &mut twice).unwrap();
    let want =
        T::two(BinaryOp::Add, line(&left, &[left.len()]), line(&left, &[left.len()])).unwrap();
    assert_same(&download(&twice), &want, &|| "the output with itself".into());
}

fn check_compare<T: Element>() {
    let Some(gpu) = gpu() else { return };
    let (left, mut right): (Vec<T>, Vec<T>) = (values(20_000, 4), values(20_000, 5));
    for i in (0..right.len()).step_by(3) {
        right[i] = left[i];
    }
    let (a, b) = (upload(gpu, &left), upload(gpu, &right));
    for &op in CompareOp::ALL {
        for &(shape, a_strides, b_strides) in TWO {
            let of = |strides| (offsets(strides, true), shape, strides);
            let (a_view, a) = both(&left, &a, of(a_strides));
            let (b_view, b) = both(&right, &b, of(b_strides));
            let mut out = DeviceBuffer::new(gpu, a_view.len()).unwrap();
            compare(op, a, b, &mut out).unwrap();
            let mut want = vec![9; a_view.len()];
            cpu::compare(op, a_view, b_view, &mut want).unwrap();
            let what = || {
                format!("{} of {} {shape:?} {a_strides:?} {b_strides:?}", op.name(), T::KIND.name())
            };
            assert_same::<u8>(&download(&out), &want, &what);
        }
    }
}

fn check_select<T: Element>() {
    let Some(gpu) = gpu() else { return };
    let conditions: Vec<u8> = (0..20_000u32).map(|i| (i * 7 % 3) as u8).collect();
    let (left, right): (Vec<T>, Vec<T>) = (values(20_000, 6), values(20_000, 7));
    let (c, a, b) = (upload(gpu, &conditions), upload(gpu, &left), upload(gpu, &right));
    for &(shape, a_strides, b_strides) in TWO {
        for c_strides in [a_strides, b_strides] {
            for aligned in [true, false] {
                let of = |strides| (offsets(strides, aligned), shape, strides);
                let (c_view, c) = both(&conditions, &c, of(c_strides));
                let (a_view, a) = both(&left, &a, of(a_strides));
                let (b_view, b) = both(&right, &b, of(b_strides));
                let mut out = DeviceBuffer::new(gpu, a_view.len() * size_of::<T>()).unwrap();
                select(c, a, b, &mut out).unwrap();
                let mut want = vec![T::default(); a_view.len()];
                cpu::select(c_view, a_view, b_view, &mut want).unwrap();
                let what = || format!("select {} {shape:?} {a_strides:?}", T::KIND.name());
                assert_same(&download(&out), &want, &what);
            }
        }
    }
}

fn check_cast<A: Element, B: Element>() {
    let Some(gpu) = gpu() else { return };
    let data: Vec<A> = values(20_000, 8);
    let there = upload(gpu, &data);
    for &layout in ONE {
        let (view, array) = both(&data, &there, layout);
        let what = || format!("{} to {} {layout:?}", A::KIND.name(), B::KIND.name());
        let mut out = DeviceBuffer::new(gpu, view.len() * size_of::<B>()).unwrap();
        cast(array, Some(B::KIND), &mut out).unwrap();
        let mut want = vec![B::default(); view.len()];
        cpu::cast(view, &mut want).unwrap();
        assert_same(&download(&out), &want, &what);
        let mut out = DeviceBuffer::new(gpu, view.len()).unwrap();
        cast(array, None, &mut out).unwrap();
        let mut want = vec![9; view.len()];
        cpu::cast_to_bool(view, &mut want).unwrap();
        assert_same::<u8>(&download(&out), &want, &what);
    }
}

macro_rules! each_type {
    ($($name:ident = $check:ident { $($test:ident: $t:ty,)* })*) => {$(
        mod $name {
            use super::*;
            $(#[test] fn $test() { $check::<$t>(); })*
        }
    )*};
}
each_type! {
    one = check_unary {
        of_f32: f32, of_f64: f64, of_f16: f16, of_bf16: bf16, of_i8: i8, of_u8: u8, of_i32: i32, of_i64: i64,
    }
    two = check_binary {
        of_f32: f32, of_f64: f64, of_f16: f16, of_bf16: bf16, of_i8: i8, of_u8: u8, of_i32: i32, of_i64: i64,
    }
    comparisons = check_compare {
        of_f32: f32, of_f64: f64, of_f16: f16, of_bf16: bf16, of_i8: i8, of_u8: u8, of_i32: i32, of_i64: i64,
    }
    selections = check_select { of_1: i8, of_2: f16, of_4: i32, of_8: i64, }
}

#[test]
fn casts() {
    fn from<A: Element>() {
        check_cast::<A, f32>();
        check_cast::<A, f64>();
        check_cast::<A, f16>();
        check_cast::<A, bf16>();
        check_cast::<A, i8>();
        check_cast::<A, u8>();
        check_cast::<A, i32>();
        check_cast::<A, i64>();
    }
    from::<f32>();
    from::<f64>();
    from::<f16>();
    from::<bf16>();
    from::<i8>();
    from::<u8>();
    from::<i32>();
    from::<i64>();
}

#[test]
fn logic() {
    let Some(gpu) = gpu() else { return };
    let (left, right): (Vec<u8>, Vec<u8>) = (0..100u8).map(|i| (i % 3, i / 3 % 3)).unzip();
    let (a, b) = (upload(gpu, &left), upload(gpu, &right));
    for &op in LogicalOp::ALL {
        let (a_view, a) = both(&left, &a, (0, &[10, 10], &[1, 10]));
        let (b_view, b) = both(&right, &b, (0, &[10, 10], &[10, 1]));
        let (mut out, mut want) = (DeviceBuffer::new(gpu, 100).unwrap(), vec![9; 100]);
        logical(op, a, b, &mut out).unwrap();
        cpu::logical(op, a_view, b_view, &mut want).unwrap();
        assert_same::<u8>(&download(&out), &want, &|| op.name().into());
    }
}

#[test]
fn what_is_wrong_is_refused() {
    let Some(gpu) = gpu() else { return };
    let (x, zeros) = (upload(gpu, &[1i32; 6]), upload(gpu, &[1i32, 2, 3, 0, 4, 5]));
    let array =
        |shape, strides| Source::Array(Array::new(&x, Type::I32, 0, shape, strides).unwrap());
    let mut out = DeviceBuffer::new(gpu, 24).unwrap();
    let zeros = Source::Array(Array::new(&zeros, Type::I32, 0, &[6], &[1]).unwrap());
    for op in [BinaryOp::FloorDivide, BinaryOp::TruncDivide, BinaryOp::Fmod, BinaryOp::Remainder] {
        let refused = binary(op, Type::I32, array(&[6], &[1]), zeros, &mut out);
        assert_eq!(refused, Err(Error::DivisionByZero), "{}", op.name());
    }
    let (six, table) = (array(&[6], &[1]), array(&[2, 3], &[3, 1]));
    assert!(binary(BinaryOp::Add, Type::I32, six, table, &mut out).is_err());
    assert!(binary(BinaryOp::Add, Type::F32, six, six, &mut out).is_err());
    assert!(unary(UnaryOp::Neg, Type::I32, array(&[5], &[1]), &mut out).is_err());
    assert!(unary(UnaryOp::Neg, Type::I32, six, &mut out).is_ok());
}

/// The names of a family's kernels.
fn kernels(family: Family) -> BTreeSet<&'static str> {
    let name = |line: &'static str| line.split(".entry ").nth(1)?.split('(').next();
    family.ptx().lines().filter_map(name).map(str::trim).collect()
}

#[test]
fn every_row_has_its_kernel_and_every_kernel_its_row() {
    let families = [Family::Map, Family::MapUnary, Family::MapWide, Family::MapCast];
    let mut found: BTreeSet<(Family, String)> = BTreeSet::new();
    for kind in Type::ALL {
        for &op in UnaryOp::ALL {
            match unary_kernel(op, kind) {
                Some((family, name, _)) => drop(found.insert((family, name.as_str().into()))),
                None if kind.is_integer() => assert!(
                    op.is_wide() || {
                        let copied =
                            [UnaryOp::Floor, UnaryOp::Ceil, UnaryOp::Round, UnaryOp::Trunc];
                        let mut out = [0i32];
                        copied.contains(&op)
                            || cpu::unary_integer(op, line(&[1], &[1]), &mut out).is_err()
                    }
                ),
                None => assert!(kind.size() == 2 && op.is_wide(), "{}", op.name()),
            }
        }
        for &op in BinaryOp::ALL {
            match binary_kernel(op, kind) {
                Some((family, name, _)) => drop(found.insert((family, name.as_str().into()))),
                None if kind.is_integer() => {
                    let mut out = [0i32];
                    assert!(
                        cpu::binary_integer(op, line(&[1], &[1]), line(&[1], &[1]), &mut out)
                            .is_err()
                    );
                }
                None => assert!(kind.size() == 2 && op.is_wide(), "{}", op.name()),
            }
        }
        for to in Type::ALL.map(Some).into_iter().chain([None]) {
            let (family, name) = cast_kernel(kind, to);
            found.insert((family, name.as_str().into()));
        }
        for part in ["map_compare", "map_select"] {
            let end = if part == "map_select" { kind.size_name() } else { kind.name() };
            found.insert((Family::Map, format!("{part}_{end}")));
        }
    }
    found.insert((Family::Map, "map_logical_u8".into()));
    let there = families
        .iter()
        .flat_map(|&family| kernels(family).into_iter().map(move |name| (family, name.to_owned())));
    assert_eq!(there.collect::<BTreeSet<_>>(), found);
}
