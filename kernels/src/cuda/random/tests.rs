//! Bit for bit the CPU's numbers.

use super::*;
use crate::cpu::random::{normal, uniform};
use crate::cuda::testing::{Element, assert_same, download, gpu};

const LENGTHS: [usize; 8] = [0, 1, 2, 3, 4, 5, 1023, 70_001];

fn places() -> [Philox; 3] {
    [
        Philox { seed: 0, stream: 0, block: 0 },
        Philox { seed: 0x0123_4567_89ab_cdef, stream: 0xfedc_ba98_7654_3210, block: 77 },
        Philox { seed: 5, stream: 1, block: u64::MAX - 10 },
    ]
}

/// Numbers drawn there equal those of `here`, which get standard ones.
fn check<T: Element + Float>(
    distribution: Distribution,
    fill: impl Fn(Philox, &mut [T]),
    here: impl Fn(T) -> T,
) {
    let Some(gpu) = gpu() else { return };
    for at in places() {
        for n in LENGTHS {
            let mut want = vec![T::ZERO; n];
            fill(at, &mut want);
            want.iter_mut().for_each(|x| *x = here(*x));
            let mut out = DeviceBuffer::new(gpu, n * size_of::<T>()).unwrap();
            draw(distribution, at, T::KIND, &mut out).unwrap();
            assert_same(&download::<T>(&out), &want, &|| format!("{distribution:?} {at:?} {n}"));
        }
    }
}

fn both_types<T: Element + Float>() {
    let f = T::from_f64;
    let uniforms = |at: Philox, out: &mut [T]| uniform(at, out).unwrap();
    let normals = |at: Philox, out: &mut [T]| normal(at, out).unwrap();
    let plain = Distribution::Uniform { low: 0.0, range: 1.0, top: 1.0, digits: None };
    check::<T>(plain, uniforms, |x| x);
    let cut = Distribution::Uniform { low: -1.5, range: 2.75, top: 1.0, digits: Some(256.0) };
    check::<T>(cut, uniforms, |x| {
        let x = T::from_i64((x * f(256.0)).to_i64()) * f(1.0 / 256.0);
        let y = x.mul_add(f(2.75), f(-1.5));
        if y > f(1.0) { f(1.0) } else { y }
    });
    check::<T>(Distribution::Normal { mean: 0.3, std: 1.7 }, normals, |x| {
        x.mul_add(f(1.7), f(0.3))
    });
    check::<T>(Distribution::Bernoulli { p: 0.3, value: 2.5 }, uniforms, |x| {
        if x < f(0.3) { f(2.5) } else { f(0.0) }
    });
}

#[test]
fn numbers_are_the_cpus() {
    both_types::<f32>();
    both_types::<f64>();
}

#[test]
fn integers_are_refused() {
    let Some(gpu) = gpu() else { return };
    let mut out = DeviceBuffer::new(gpu, 8).unwrap();
    let at = Philox { seed: 0, stream: 0, block: 0 };
    let bell = Distribution::Normal { mean: 0.0, std: 1.0 };
    assert!(draw(bell, at, Type::I32, &mut out).is_err());
}
