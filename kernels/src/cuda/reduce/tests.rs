//! The CPU's bits: each type, odd lengths, layouts and sets of dims.

use super::*;
use crate::cpu::map as cpu_map;
use crate::cpu::reduce as cpu;
use crate::cuda::testing::{Element, assert_same, both, download, gpu, singles, upload, values};
use crate::reference::map::elements;
use crate::strided::View;
use crate::{Float, Half, Integer, bf16, f16};

const OPS: [ReduceOp; 4] = [ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min];

/// Shape, strides, the dims to reduce as bits (the first dim is the lowest).
const CASES: &[(&[usize], &[isize], u32)] = &[
    (&[], &[], 0),
    (&[7], &[1], 0),
    (&[0], &[1], 1),
    (&[3, 0], &[0, 1], 2),
    (&[1], &[1], 1),
    (&[3], &[1], 1),
    (&[63], &[1], 1),
    (&[64], &[2], 1),
    (&[65], &[-1], 1),
    (&[257], &[1], 1),
    (&[1000], &[3], 1),
    (&[4097], &[1], 1),
    (&[70_000], &[1], 1),
    (&[70_000], &[0], 1),
    (&[17_000, 4], &[4, 1], 1),
    (&[17_000, 4], &[4, 1], 3),
    (&[4, 17_000], &[17_000, 1], 2),
    (&[100, 3], &[3, 1], 2),
    (&[3, 100], &[100, 1], 1),
    (&[1, 257, 5], &[9, 5, 1], 2),
    (&[33, 65], &[1, 33], 2),
    (&[33, 65], &[1, 33], 1),
    (&[40, 700], &[1, 40], 2),
    (&[9, 7000], &[1, 9], 2),
    (&[10, 17_000 / 4], &[1, 16], 2),
    (&[700, 40], &[1, 700], 1),
    (&[5, 6, 7], &[42, 7, 1], 0b101),
    (&[5, 6, 7], &[42, 7, 1], 0b010),
    (&[5, 6, 7], &[1, 5, 30], 0b011),
    (&[5, 6, 7], &[7, 35, 1], 0b110),
    (&[5, 6, 7], &[7, 35, 1], 0b011),
    (&[300, 2, 9], &[18, 9, 1], 0b101),
    (&[3, 4, 5, 6], &[120, 30, 6, 1], 0b1010),
    (&[2, 3, 2, 3, 2, 3], &[108, 36, 18, 6, 3, 1], 0b010101),
];

/// What the CPU gives, in the type that is asked for.
trait Reduced: Element {
    fn all(op: ReduceOp, x: View<'_, Self>, reduced: &[bool], len: usize) -> Result<Vec<Self>>;
    fn place(op: ArgOp, x: View<'_, Self>, dim: usize, out: &mut [i64]) -> Result<()>;
}

fn line<'a, T: crate::Pod>(x: &'a [T], len: &'a [usize; 1]) -> View<'a, T> {
    View::new(x, 0, len, &[1]).unwrap()
}

fn float<T: Float>(op: ReduceOp, x: View<'_, T>, reduced: &[bool], len: usize) -> Result<Vec<T>> {
    let mut out = vec![T::ZERO; len];
    cpu::reduce(op, x, reduced, &mut out).map(|()| out)
}

/// The elements of a view of 2-byte floats as f32, of the same shape.
fn widened<T: Half>(x: View<'_, T>) -> Vec<f32> {
    singles(&elements(x))
}

macro_rules! reduced {
    (floats: $($t:ident),*) => {$(
        impl Reduced for $t {
            fn all(op: ReduceOp, x: View<'_, $t>, reduced: &[bool], len: usize) -> Result<Vec<$t>> {
                float(op, x, reduced, len)
            }
            fn place(op: ArgOp, x: View<'_, $t>, dim: usize, out: &mut [i64]) -> Result<()> {
                cpu::arg_reduce(op, x, dim, out)
            }
        }
    )*};
    (halves: $($t:ident),*) => {$(
        impl Reduced for $t {
            fn all(op: ReduceOp, x: View<'_, $t>, reduced: &[bool], len: usize) -> Result<Vec<$t>> {
                let (wide, strides) = (widened(x), crate::cuda::array::RowMajor::new(x.shape())?);
                let x = View::new(&wide, 0, x.shape(), strides.get())?;
                Ok(float(op, x, reduced, len)?.into_iter().map($t::from_single).collect())
            }
            fn place(op: ArgOp, x: View<'_, $t>, dim: usize, out: &mut [i64]) -> Result<()> {
                let (wide, strides) = (widened(x), crate::cuda::array::RowMajor::new(x.shape())?);
                cpu::arg_reduce(op, View::new(&wide, 0, x.shape(), strides.get())?, dim, out)
            }
        }
    )*};
    (integers: $($t:ident),*) => {$(
        impl Reduced for $t {
            fn all(op: ReduceOp, x: View<'_, $t>, reduced: &[bool], len: usize) -> Result<Vec<$t>> {
                let (mut wide, mut out) = (vec![0; len], vec![<$t as Integer>::ZERO; len]);
                cpu::reduce_integers(op, x, reduced, &mut wide)?;
                cpu_map::cast(line(&wide, &[len]), &mut out)?;
                Ok(out)
            }
            fn place(op: ArgOp, x: View<'_, $t>, dim: usize, out: &mut [i64]) -> Result<()> {
                cpu::arg_reduce_integers(op, x, dim, out)
            }
        }
    )*};
}
reduced!(floats: f32, f64);
reduced!(halves: f16, bf16);
reduced!(integers: i8, u8, i32, i64);

/// Values among which zeros of both signs are common, or `rough` ones; `rough` values have no NaN every so often, too, since one
/// hides all else.
fn data<T: Element>(len: usize, what: usize) -> Vec<T> {
    let all: Vec<T> = values(len, 7 + what as u64);
    let tame = |x: &T| match what {
        0 => *x,
        1 if !x.to_f64().is_finite() => T::from_f64(0.75),
        1 => T::from_f64(x.to_f64().clamp(-3.0, 3.0)),
        // Zeros are the largest.
        2 if x.to_f64() > -1.0 => T::from_f64(if x.to_f64() > 1.0 { 0.0 } else { -0.0 }),
        2 if !x.to_f64().is_finite() => T::from_f64(-0.0),
        _ => *x,
    };
    all.iter().map(tame).collect()
}

fn kept_shape(shape: &[usize], reduced: &[bool]) -> usize {
    shape.iter().zip(reduced).filter(|(_, reduced)| !**reduced).map(|(&size, _)| size).product()
}

fn check_reduce<T: Reduced>() {
    let Some(gpu) = gpu() else { return };
    for what in 0..3 {
        let data: Vec<T> = data(75_000, what);
        let there = upload(gpu, &data);
        for &(shape, strides, bits) in CASES {
            let offset = if strides.iter().any(|&stride| stride < 0) { 1000 } else { what };
            let (view, array) = both(&data, &there, (offset, shape, strides));
            let reduced: Vec<bool> = (0..shape.len()).map(|d| bits >> d & 1 == 1).collect();
            let len = kept_shape(shape, &reduced);
            for op in OPS {
                let name = || {
                    format!("{op:?} of {} {shape:?} {strides:?} {bits:b} {what}", T::KIND.name())
                };
                let mut out = DeviceBuffer::new(gpu, len * size_of::<T>()).unwrap();
                let done = reduce(op, array, &reduced, T::KIND, &mut out);
                match T::all(op, view, &reduced, len) {
                    Ok(want) => {
                        done.unwrap();
                        assert_same(&download(&out), &want, &name);
                    }
                    Err(refused) => assert_eq!(done.unwrap_err(), refused, "{}", name()),
                }
            }
            for dim in 0..shape.len() {
                let chosen: Vec<bool> = (0..shape.len()).map(|d| d == dim).collect();
                let len = kept_shape(shape, &chosen);
                for op in [ArgOp::Max, ArgOp::Min] {
                    let name = || {
                        format!(
                            "arg {op:?} of {} {shape:?} {strides:?} {dim} {what}",
                            T::KIND.name()
                        )
                    };
                    let (mut want, mut out) =
                        (vec![0i64; len], DeviceBuffer::new(gpu, len * 8).unwrap());
                    let done = arg_reduce(op, array, dim, &mut out);
                    match T::place(op, view, dim, &mut want) {
                        Ok(()) => {
                            done.unwrap();
                            assert_same(&download(&out), &want, &name);
                        }
                        Err(refused) => assert_eq!(done.unwrap_err(), refused, "{}", name()),
                    }
                }
            }
        }
    }
}

#[test]
fn reductions_of_floats() {
    check_reduce::<f32>();
    check_reduce::<f64>();
}

#[test]
fn reductions_of_halves() {
    check_reduce::<f16>();
    check_reduce::<bf16>();
}

#[test]
fn reductions_of_integers() {
    check_reduce::<i8>();
    check_reduce::<u8>();
    check_reduce::<i32>();
    check_reduce::<i64>();
}

#[test]
fn integers_in_full() {
    let Some(gpu) = gpu() else { return };
    let data: Vec<u8> = values(70_000, 1);
    let there = upload(gpu, &data);
    let (view, array) = both(&data, &there, (0, &[70_000], &[1]));
    let mut want = [0];
    cpu::reduce_integers(ReduceOp::Sum, view, &[true], &mut want).unwrap();
    let mut out = DeviceBuffer::new(gpu, 8).unwrap();
    reduce(ReduceOp::Sum, array, &[true], Type::I64, &mut out).unwrap();
    assert_eq!(download::<i64>(&out), want);
}

#[test]
fn wrong_lengths() {
    let Some(gpu) = gpu() else { return };
    let there = upload(gpu, &[1.0f32; 6]);
    let (shape, strides) = ([2, 3], [3, 1]);
    let x = Array::new(&there, Type::F32, 0, &shape, &strides).unwrap();
    let mut out = DeviceBuffer::new(gpu, 8).unwrap();
    assert!(reduce(ReduceOp::Sum, x, &[true, false], Type::F32, &mut out).is_err());
    assert!(reduce(ReduceOp::Sum, x, &[true], Type::F32, &mut out).is_err());
    assert!(arg_reduce(ArgOp::Max, x, 1, &mut out).is_err());
    assert!(arg_reduce(ArgOp::Max, x, 2, &mut out).is_err());
}
