//! The largest error of f32 functions over all 2^32 inputs, in units in the last place, and a hash of all results:
//! `cargo run --release -p ferrotape-kernels --example ulp_scan [exp tanh ..]`. Under each `FERROTAPE_ISA` the hash must be the same.
//!
//! What is right is our f64 of the function, which the tests compare with std's.

use std::ops::Range;

use ferrotape_kernels::cpu::map::{Source, unary};
use ferrotape_kernels::elementwise::UnaryOp;
use ferrotape_kernels::strided::View;

const FUNCTIONS: [(&str, UnaryOp); 6] = [
    ("exp", UnaryOp::Exp),
    ("tanh", UnaryOp::Tanh),
    ("sigmoid", UnaryOp::Sigmoid),
    ("gelu", UnaryOp::Gelu),
    ("log", UnaryOp::Log),
    ("erf", UnaryOp::Erf),
];

/// Inputs at a time.
const BLOCK: usize = 1 << 16;

/// What was found so far.
#[derive(Default)]
struct Worst {
    distance: f64,
    at: f32,
    /// Special values that are wrong.
    wrong: u64,
    hash: u64,
}

impl Worst {
    fn add(&mut self, x: &[f32], got: &[f32], want: &[f64]) {
        for ((&x, &got), &want) in x.iter().zip(got).zip(want) {
            let rounded = want as f32;
            let bits = if got.is_nan() { f32::NAN.to_bits() } else { got.to_bits() };
            self.hash = (self.hash ^ u64::from(bits)).wrapping_mul(0x0100_0000_01b3);
            if !got.is_finite() || !rounded.is_finite() {
                let overflows = got.abs() == f32::MAX || rounded.abs() == f32::MAX;
                let same = got == rounded || got.is_nan() && rounded.is_nan() || overflows;
                self.wrong += u64::from(!same);
                continue;
            }
            let exponent = ((want.abs().to_bits() >> 52) as i32 - 1023).max(-126);
            let unit = f64::from_bits(((exponent - 23 + 1023) as u64) << 52);
            let distance = (f64::from(got) - want).abs() / unit;
            if distance > self.distance {
                (self.distance, self.at) = (distance, x);
            }
        }
    }
}

/// All inputs with these bits.
fn scan(op: UnaryOp, bits: Range<u64>) -> Result<Worst, ferrotape_kernels::Error> {
    let mut worst = Worst::default();
    let (mut got, mut want) = (vec![0f32; BLOCK], vec![0f64; BLOCK]);
    for start in bits.step_by(BLOCK) {
        let x: Vec<f32> = (0..BLOCK as u32).map(|i| f32::from_bits(start as u32 + i)).collect();
        let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        unary(op, Source::View(View::new(&x, 0, &[BLOCK], &[1])?), &mut got)?;
        unary(op, Source::View(View::new(&wide, 0, &[BLOCK], &[1])?), &mut want)?;
        worst.add(&x, &got, &want);
    }
    Ok(worst)
}

fn main() -> Result<(), ferrotape_kernels::Error> {
    let names: Vec<String> = std::env::args().skip(1).collect();
    for (name, op) in FUNCTIONS {
        if names.is_empty() || names.iter().any(|wish| wish == name) {
            let worst = scan(op, 0..1 << 32)?;
            let Worst { distance, at, wrong, hash } = worst;
            println!(
                "{name:<8} {distance:.3} ULP at {at:e}, {wrong} special values wrong, hash {hash:016x}"
            );
        }
    }
    Ok(())
}
