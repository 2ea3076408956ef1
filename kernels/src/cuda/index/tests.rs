//! The CPU's bits, and its errors: lines that are many, long or short, layouts of all kinds, rows of 16 bytes.

use super::*;
use crate::cpu::gather as cpu;
use crate::cpu::gather::ScatterOp;
use crate::cuda::testing::{
    Bits, Element, assert_same, both, bytes, download, gpu, upload, values,
};
use crate::strided::View;
use crate::{Float, Pod, bf16, f16};

/// Shape and strides of x, the dim, and the size of the index along it.
const CASES: &[(&[usize], &[isize], usize, usize)] = &[
    (&[7], &[1], 0, 5),
    (&[7], &[-1], 0, 1),
    (&[1], &[1], 0, 300),
    (&[40], &[2], 0, 5000),
    (&[0], &[1], 0, 0),
    (&[3, 0], &[1, 1], 0, 2),
    (&[3, 5], &[5, 1], 0, 4),
    (&[3, 5], &[5, 1], 1, 4),
    (&[3, 5], &[1, 3], 1, 9),
    (&[5, 3], &[0, 1], 0, 2),
    (&[9, 4], &[4, 1], 0, 100),
    (&[2, 300], &[1, 2], 1, 700),
    (&[11, 64], &[64, 1], 0, 90),
    (&[11, 48], &[96, 1], 0, 90),
    (&[2, 11, 48], &[528, 48, 1], 1, 70),
    (&[4, 3, 5], &[15, 5, 1], 1, 2),
    (&[4, 3, 5], &[-15, 5, -1], 2, 6),
    (&[2, 3, 2, 5], &[5, 10, 40, 1], 2, 3),
    (&[100, 90], &[90, 1], 1, 3),
];

fn index_of(len: usize, size: usize, seed: u64) -> Vec<i64> {
    let mut bits = Bits(seed);
    // Some places are favourites.
    let one = |r: u64| if r.is_multiple_of(3) { r >> 8 & 1 } else { r >> 8 };
    (0..len).map(|_| (one(bits.next()) % size.max(1) as u64) as i64).collect()
}

fn row_major(shape: &[usize]) -> Vec<isize> {
    crate::strided::row_major(shape).to_vec()
}

fn with(shape: &[usize], dim: usize, size: usize) -> Vec<usize> {
    let mut shape = shape.to_vec();
    shape[dim] = size;
    shape
}

fn offset_of(strides: &[isize]) -> usize {
    if strides.iter().any(|&stride| stride < 0) { 200 } else { 16 }
}

fn len_of(shape: &[usize]) -> usize {
    checked_len(shape).unwrap()
}

fn selections<T: Element>() {
    let Some(gpu) = gpu() else { return };
    let data: Vec<T> = values(12_000, 3);
    let there = upload(gpu, &data);
    for &(shape, strides, dim, count) in CASES {
        let (x, x_there) = both(&data, &there, (offset_of(strides), shape, strides));
        let indices = index_of(30_000, shape[dim], 5);
        let indices_there = upload(gpu, &indices);
        let (whole, name) =
            (with(shape, dim, count), || format!("{shape:?} {strides:?} {dim} {count}"));
        // Indices in another order than the result.
        let mut turned = vec![0; whole.len()];
        let mut step = 1;
        for (d, stride) in turned.iter_mut().enumerate() {
            *stride = step;
            step *= whole[d] as isize;
        }
        for places in [row_major(&whole), turned] {
            let (at, at_there) = both(&indices, &indices_there, (3, &whole, &places));
            let mut want = vec![T::default(); len_of(&whole)];
            let mut out = DeviceBuffer::new(gpu, want.len() * size_of::<T>()).unwrap();
            let done = gather(x_there, dim, at_there, &mut out);
            assert_eq!(done, cpu::gather(x, dim, at, &mut want), "{}", name());
            if done.is_ok() {
                assert_same(&download(&out), &want, &name);
            }
        }
        for (step, offset) in [(1, 0), (-2, 2 * count), (0, 1)] {
            let (shape, step) = ([count], [step]);
            let (at, at_there) = both(&indices, &indices_there, (offset, &shape, &step));
            let mut want = vec![T::default(); len_of(&whole)];
            let mut out = DeviceBuffer::new(gpu, want.len() * size_of::<T>()).unwrap();
            let done = index_select(x_there, dim, at_there, &mut out);
            assert_eq!(done, cpu::index_select(x, dim, at, &mut want), "{}", name());
            if done.is_ok() {
                assert_same(&download(&out), &want, &name);
            }
        }
    }
}

#[test]
fn elements_are_selected() {
    selections::<f32>();
    selections::<f64>();
    selections::<f16>();
    selections::<u8>();
}

/// What the CPU's table has for a type.
trait Meets: Element {
    fn meet(
        how: Option<ScatterOp>,
        source: View<'_, Self>,
        dim: usize,
        index: View<'_, i64>,
        shape: &[usize],
        out: &mut [Self],
    ) -> Result<()>;
}

macro_rules! meets {
    ($($t:ident)*) => {$(
        impl Meets for $t {
            fn meet(
                how: Option<ScatterOp>,
                source: View<'_, $t>,
                dim: usize,
                index: View<'_, i64>,
                shape: &[usize],
                out: &mut [$t],
            ) -> Result<()> {
                match how {
                    None => cpu::scatter_add(source, dim, index, shape, out),
                    Some(ScatterOp::Last) => cpu::scatter(source, dim, index, shape, out),
                    Some(how) => cpu::scatter_reduce(how, source, dim, index, shape, out),
                }
            }
        }
    )*};
}
meets!(f32 f64);
impl Meets for i64 {
    fn meet(
        how: Option<ScatterOp>,
        source: View<'_, i64>,
        dim: usize,
        index: View<'_, i64>,
        shape: &[usize],
        out: &mut [i64],
    ) -> Result<()> {
        cpu::scatter_integers(how, source, dim, index, shape, out)
    }
}

const HOW: [Option<ScatterOp>; 5] = [
    None,
    Some(ScatterOp::Last),
    Some(ScatterOp::Prod),
    Some(ScatterOp::Max),
    Some(ScatterOp::Min),
];

fn meetings<T: Meets>() {
    let Some(gpu) = gpu() else { return };
    let data: Vec<T> = values(12_000, 9);
    let there = upload(gpu, &data);
    for &(shape, strides, dim, count) in CASES {
        let indices = index_of(12_000, count, 6);
        let indices_there = upload(gpu, &indices);
        let (x, x_there) = both(&data, &there, (offset_of(strides), shape, strides));
        let places = row_major(shape);
        let (at, at_there) = both(&indices, &indices_there, (1, shape, &places));
        // A result that is larger than the source in all dims.
        let larger: Vec<usize> =
            shape.iter().enumerate().map(|(d, &n)| if d == dim { count } else { n + 1 }).collect();
        for how in HOW {
            let name = || format!("{how:?} {shape:?} {strides:?} {dim} {count}");
            let mut want: Vec<T> = values(len_of(&larger), 4);
            let mut out = upload(gpu, &want);
            let done = scatter(how, x_there, dim, at_there, &larger, &mut out);
            assert_eq!(done, T::meet(how, x, dim, at, &larger, &mut want), "{}", name());
            if done.is_ok() {
                assert_same(&download(&out), &want, &name);
            }
        }
    }
}

#[test]
fn elements_meet_in_order() {
    meetings::<f32>();
    meetings::<f64>();
    meetings::<i64>();
}

#[test]
fn the_last_of_any_type_stays() {
    fn check<T: Element + Pod>() {
        let Some(gpu) = gpu() else { return };
        let (data, index) = (values::<T>(3000, 1), index_of(3000, 700, 2));
        let (there, index_there) = (upload(gpu, &data), upload(gpu, &index));
        let (shape, strides) = ([3, 1000], [1, 3]);
        let (x, x_there) = both(&data, &there, (0, &shape, &strides));
        let (at, at_there) = both(&index, &index_there, (0, &shape, &[1000, 1]));
        let mut want: Vec<T> = values(2100, 8);
        let mut out = upload(gpu, &want);
        let last = Some(ScatterOp::Last);
        scatter(last, x_there, 1, at_there, &[3, 700], &mut out).unwrap();
        cpu::scatter(x, 1, at, &[3, 700], &mut want).unwrap();
        assert_same(&download(&out), &want, &|| T::KIND.name().to_owned());
        let refused = scatter(None, x_there, 1, at_there, &[3, 700], &mut out);
        assert!(matches!(refused, Err(Error::Contract(_))), "{refused:?}");
    }
    check::<i8>();
    check::<u8>();
    check::<i32>();
    check::<f16>();
    check::<bf16>();
}

fn slices<T: Element + Float>() {
    let Some(gpu) = gpu() else { return };
    let data: Vec<T> = values(12_000, 11);
    let there = upload(gpu, &data);
    for &(shape, strides, dim, count) in CASES {
        let indices = index_of(6000, count, 6);
        let indices_there = upload(gpu, &indices);
        let (x, x_there) = both(&data, &there, (offset_of(strides), shape, strides));
        let to = with(shape, dim, count);
        for (step, offset) in [(1, 0), (-2, 2 * shape[dim])] {
            let (shape, step) = ([shape[dim]], [step]);
            let (at, at_there) = both(&indices, &indices_there, (offset, &shape, &step));
            let name = || format!("{shape:?} {strides:?} {dim} {count} {step:?}");
            let mut want: Vec<T> = values(len_of(&to), 4);
            let mut out = upload(gpu, &want);
            let done = index_add(x_there, dim, at_there, &to, &mut out);
            assert_eq!(done, cpu::index_add(x, dim, at, &to, &mut want), "{}", name());
            if done.is_ok() {
                assert_same(&download(&out), &want, &name);
            }
        }
    }
}

#[test]
fn slices_are_added_in_order() {
    slices::<f32>();
    slices::<f64>();
}

/// Long ones, too: sorted by several passes, or many lines walked.
#[test]
fn many_elements_meet() {
    let Some(gpu) = gpu() else { return };
    let (data, index) = (values::<f32>(40_000, 21), index_of(40_000, 300, 22));
    let data: Vec<f32> = data.iter().map(|x| if x.is_finite() { *x } else { 1.5 }).collect();
    let (there, index_there) = (upload(gpu, &data), upload(gpu, &index));
    let cases: [(&[usize], &[usize]); 3] =
        [(&[10_000], &[70_000]), (&[5, 2000], &[5, 300]), (&[10_000, 4], &[10_000, 300])];
    for (shape, to) in cases {
        let (dim, strides) = (shape.len() - 1, row_major(shape));
        let (x, x_there) = both(&data, &there, (0, shape, &strides));
        let (at, at_there) = both(&index, &index_there, (0, shape, &strides));
        let mut want = vec![0f32; len_of(to)];
        let mut out = upload(gpu, &want);
        scatter(None, x_there, dim, at_there, to, &mut out).unwrap();
        cpu::scatter_add(x, dim, at, to, &mut want).unwrap();
        assert_same(&download(&out), &want, &|| format!("{shape:?}"));
    }
    let cases: [(&[usize], usize, usize); 3] =
        [(&[4000, 10], 0, 300), (&[2, 10, 2000], 1, 300), (&[3, 3000, 4], 1, 300)];
    for (shape, dim, size) in cases {
        let (strides, to) = (row_major(shape), with(shape, dim, size));
        let (x, x_there) = both(&data, &there, (0, shape, &strides));
        let count = [shape[dim]];
        let (at, at_there) = both(&index, &index_there, (0, &count, &[1]));
        let mut want = vec![0f32; len_of(&to)];
        let mut out = upload(gpu, &want);
        index_add(x_there, dim, at_there, &to, &mut out).unwrap();
        cpu::index_add(x, dim, at, &to, &mut want).unwrap();
        assert_same(&download(&out), &want, &|| format!("{shape:?}"));
    }
}

#[test]
fn windows_are_summed_in_order() {
    fn check<T: Element + Float>() {
        let Some(gpu) = gpu() else { return };
        let data: Vec<T> = values(5000, 31);
        let there = upload(gpu, &data);
        // Windows, taps, step, other sizes.
        for (windows, taps, step, size) in
            [(5, 3, 1, 7), (4, 5, 2, 11), (3, 2, 4, 12), (1, 1, 1, 1), (0, 3, 1, 2), (9, 1, 3, 27)]
        {
            for turned in [false, true] {
                let (shape, to) = ([2, windows, 3, taps], [2, size, 3]);
                let strides = match turned {
                    false => row_major(&shape),
                    true => vec![1, 2, 2 * windows as isize, 6 * windows as isize],
                };
                let (x, x_there) = both(&data, &there, (5, &shape, &strides));
                let mut want = vec![T::ZERO; len_of(&to)];
                let mut out = upload(gpu, &values::<T>(want.len(), 2));
                fold(x_there, 1, step, &to, &mut out).unwrap();
                let places = [3 * size as isize, 3 * step as isize, 1, 3];
                cpu::accumulate(x, &places, &mut want).unwrap();
                let name = || format!("{windows} {taps} {step} {size} {turned}");
                assert_same(&download(&out), &want, &name);
            }
        }
        let (shape, strides) = ([3, 2], [2, 1]);
        let x = Array::new(&there, T::KIND, 0, &shape, &strides).unwrap();
        let mut out = upload(gpu, &values::<T>(5, 2));
        let refused = fold(x, 0, 2, &[5], &mut out);
        assert!(matches!(refused, Err(Error::Contract(_))), "{refused:?}");
    }
    check::<f32>();
    check::<f64>();
}

#[test]
fn indices_outside_are_the_cpus_errors() {
    let Some(gpu) = gpu() else { return };
    let data: Vec<f32> = values(12_000, 41);
    let there = upload(gpu, &data);
    let cases: [(&[usize], usize); 4] =
        [(&[4, 3, 5], 1), (&[4000], 0), (&[10_000, 1], 1), (&[2, 200, 30], 1)];
    for (shape, dim) in cases {
        let strides = row_major(shape);
        let (n, size) = (len_of(shape), shape[dim]);
        for bad in [vec![n - 1], vec![n / 2, n - 1], vec![0], vec![n / 3, n / 2, n / 3 + 1]] {
            for value in [-1, size as i64, i64::MIN, i64::MAX] {
                let mut index = index_of(n, size, 1);
                bad.iter().for_each(|&at| index[at] = value);
                let index_there = upload(gpu, &index);
                let (x, x_there) = both(&data, &there, (0, shape, &strides));
                let (at, at_there) = both(&index, &index_there, (0, shape, &strides));
                let (mut want, mut out) = (data[..n].to_vec(), upload(gpu, &data[..n]));
                let refused = cpu::gather(x, dim, at, &mut want);
                assert!(matches!(refused, Err(Error::IndexOutOfRange { .. })));
                assert_eq!(gather(x_there, dim, at_there, &mut out), refused);
                for how in HOW {
                    let refused = f32::meet(how, x, dim, at, shape, &mut want);
                    assert!(refused.is_err());
                    assert_eq!(scatter(how, x_there, dim, at_there, shape, &mut out), refused);
                }
                let count = [size];
                let mut index = index_of(size, size, 1);
                bad.iter().for_each(|at| index[at % size] = value);
                let index_there = upload(gpu, &index);
                let (at, at_there) = both(&index, &index_there, (0, &count, &[1]));
                let refused = cpu::index_select(x, dim, at, &mut want);
                assert!(matches!(refused, Err(Error::IndexOutOfRange { .. })));
                assert_eq!(index_select(x_there, dim, at_there, &mut out), refused);
                let refused = cpu::index_add(x, dim, at, shape, &mut want);
                assert_eq!(index_add(x_there, dim, at_there, shape, &mut out), refused);
            }
        }
    }
    // Where nothing is moved an index of slices is looked at all the same.
    let index = upload(gpu, &[0i64, 5, 2]);
    let (count, shape, strides) = ([3], [3, 0], [1, 1]);
    let at = Array::new(&index, Type::I64, 0, &count, &[1]).unwrap();
    let x = Array::new(&there, Type::F32, 0, &shape, &strides).unwrap();
    let mut out = upload(gpu, &data[..0]);
    let outside = Err(Error::IndexOutOfRange { index: 5, position: 1, size: 3 });
    assert_eq!(index_select(x, 0, at, &mut out), outside);
    assert_eq!(index_add(x, 0, at, &[3, 0], &mut out), outside);
    assert_eq!(bytes(&download::<i64>(&index)).len(), 24);
}

#[test]
fn shapes_that_do_not_fit_are_refused() {
    let Some(gpu) = gpu() else { return };
    let data: Vec<f32> = values(100, 1);
    let (there, index) = (upload(gpu, &data), upload(gpu, &[0i64; 100]));
    let x = |shape, strides| Array::new(&there, Type::F32, 0, shape, strides).unwrap();
    let at = |shape, strides| Array::new(&index, Type::I64, 0, shape, strides).unwrap();
    let mut out = upload(gpu, &data[..6]);
    let refused = |done: Result<()>| assert!(matches!(done, Err(Error::Contract(_))), "{done:?}");
    refused(gather(x(&[2, 3], &[3, 1]), 2, at(&[2, 3], &[3, 1]), &mut out));
    refused(gather(x(&[2, 3], &[3, 1]), 1, at(&[3, 2], &[2, 1]), &mut out));
    refused(gather(x(&[2, 3], &[3, 1]), 1, at(&[2, 2], &[2, 1]), &mut out));
    refused(gather(x(&[2, 3], &[3, 1]), 1, x(&[2, 3], &[3, 1]), &mut out));
    refused(index_select(x(&[2, 3], &[3, 1]), 0, at(&[2, 1], &[1, 1]), &mut out));
    refused(index_select(x(&[2, 3], &[3, 1]), 0, at(&[3], &[1]), &mut out));
    refused(index_add(x(&[2, 3], &[3, 1]), 0, at(&[3], &[1]), &[2, 3], &mut out));
    refused(index_add(x(&[2, 3], &[3, 1]), 0, at(&[2], &[1]), &[3, 3], &mut out));
    let source = x(&[2, 3], &[3, 1]);
    refused(scatter(None, source, 0, at(&[2, 2], &[2, 1]), &[2, 3], &mut out));
    refused(scatter(None, source, 0, at(&[2, 3], &[3, 1]), &[3, 2], &mut out));
    // Dims beyond what kernels take.
    let (shape, strides): (Vec<usize>, Vec<isize>) = ((0..17).map(|_| 1).collect(), vec![1; 17]);
    let mut one = upload(gpu, &data[..1]);
    gather(x(&shape, &strides), 3, at(&shape, &strides), &mut one).unwrap();
    let many: Vec<isize> = (0..17).map(|d| [1, 0][d % 2]).collect();
    let shape = vec![2; 17];
    let mut large = DeviceBuffer::new(gpu, 4 << 17).unwrap();
    let beyond = gather(x(&shape, &many), 3, at(&shape, &many), &mut large);
    assert!(matches!(beyond, Err(Error::Beyond(_))), "{beyond:?}");
}
