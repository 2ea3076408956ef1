//! int8 products: ours on each instruction set with packed weights, our own f32 product, and MKL's where it is.
//! `peers/pytorch_int8.py` measures PyTorch's.

use std::time::Duration;

use ferrotape_benches::{Contender, Record, data, interleaved};
use ferrotape_kernels::Result;
use ferrotape_kernels::cpu::gemm::{Epilogue, Matrix, gemm};
use ferrotape_kernels::cpu::int8::scheme::{Affine, dequantize, quantize};
use ferrotape_kernels::cpu::int8::{
    Activations, Codes, Conv2d, Conv2dShape, Order, Output, Packed, Zero, conv2d, gemm_under,
};
use ferrotape_kernels::cpu::isa::{Int8Isa, Isa};
use ferrotape_kernels::cpu::parallel::set_threads;
use ferrotape_kernels::cpu::peak::{fma_peak, int8_peak};
use ferrotape_rivals::mkl_int8;

/// m, k, n.
const SHAPES: [[usize; 3]; 6] = [
    [256, 256, 256],
    [512, 512, 512],
    [1024, 1024, 1024],
    [2048, 2048, 2048],
    [64, 784, 128],
    [1, 1024, 1024],
];

/// What a wrong call fails with ends the bench.
#[allow(clippy::panic)]
fn done(result: Result<()>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// Codes from numbers in -1..1.
fn codes(n: usize, seed: u64) -> Vec<u8> {
    data(n, seed).iter().map(|x| (128.0 + 127.0 * x) as u8).collect()
}

/// All backends of a shape in turns, one table a shape.
fn products(record: &mut Record) -> Result<(), Box<dyn std::error::Error>> {
    for [m, k, n] in SHAPES {
        let (a, w) = (codes(m * k, 1), codes(k * n, 2));
        let weight: Vec<i8> = w.iter().map(|w| (i32::from(*w) - 128) as i8).collect();
        let signed: Vec<i8> = a.iter().map(|a| (i32::from(*a) - 128) as i8).collect();
        let packed = Packed::new(Order::InOut, k, n, &weight)?;
        let (packed, a, signed, weight) = (&packed, &a, &signed, &weight);
        let multiplier = [1e-4];
        let mut contenders = Vec::new();
        let isas = || Int8Isa::ALL.into_iter().filter(|isa| isa.available());
        let best = isas().next_back().unwrap_or(Int8Isa::Scalar);
        for isa in isas() {
            if isa == Int8Isa::Scalar && m * k * n > 100_000_000 {
                continue;
            }
            let mut c = vec![0; m * n];
            let codes = Codes::U8(a);
            contenders.push(Contender::new(format!("{} u8 -> i32", isa.name()), move || {
                let a = Activations { codes, stride: k, zero: Zero::All(0) };
                done(gemm_under(isa, m, &a, packed, None, None, Output::I32(&mut c), n));
            }));
        }
        for (name, codes, zero) in
            [("u8 -> u8", Codes::U8(a), 128), ("i8 -> u8", Codes::I8(signed), 3)]
        {
            let mut c = vec![0; m * n];
            contenders.push(Contender::new(format!("{} {name}", best.name()), move || {
                let a = Activations { codes, stride: k, zero: Zero::All(zero) };
                let output =
                    Output::U8 { out: &mut c, multiplier: &multiplier, zero: 128, relu: false };
                done(gemm_under(best, m, &a, packed, None, None, output, n));
            }));
        }
        let (floats, float_weights, mut c) = (data(m * k, 1), data(k * n, 2), vec![0.0; m * n]);
        contenders.push(Contender::new("our f32", move || {
            let matrix = |data, columns: usize| Matrix {
                data,
                offset: 0,
                row_stride: columns as isize,
                column_stride: 1,
            };
            let (a, b) = (matrix(&floats, k), matrix(&float_weights, n));
            done(gemm([m, k, n], a, b, Epilogue::default(), &mut c, n));
        }));
        if let Some(product) = mkl_int8() {
            let mut c = vec![0; m * n];
            contenders.push(Contender::new("MKL u8 -> i32", move || {
                product([m, k, n], a, weight, &mut c);
            }));
        }
        let case = format!("{m}x{k}x{n}");
        let time = Duration::from_millis(10);
        let (peak, fma) = (int8_peak(best, time), fma_peak(best.isa(), time));
        let times = interleaved(&mut contenders, Duration::from_millis(4), 15);
        println!("\n{case} (GOP/s; peak of {}: {peak:.0}; FMA {fma:.0})", best.name());
        for (contender, time) in contenders.iter().zip(times) {
            let rate = 2.0 * (m * k * n) as f64 / time / 1e9;
            println!("{:<24}{rate:>10.1}{:>8.0}%", contender.name, 100.0 * rate / peak);
            record.row(["int8", &case, &contender.name], 1, rate, "GOP/s")?;
        }
        record.row(["int8_peak", &case, best.name()], 1, peak, "GOP/s")?;
    }
    Ok(())
}

/// The second convolution of a digits network, and quantization of a million numbers.
fn others(record: &mut Record) -> Result<(), Box<dyn std::error::Error>> {
    let convolution = |in_channels, out_channels, groups| Conv2dShape {
        in_channels,
        out_channels,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups,
    };
    let cases = [
        ("conv 64x28x28x1 -> 32", convolution(1, 32, 1), 28),
        ("conv 64x14x14x32 -> 64", convolution(32, 64, 1), 14),
        ("depthwise 64x14x14x64", convolution(64, 64, 64), 14),
    ];
    println!("\nus");
    for (name, shape, side) in cases {
        let k = shape.in_channels / shape.groups * 9;
        let weight: Vec<i8> =
            codes(shape.out_channels * k, 3).iter().map(|w| (i32::from(*w) - 128) as i8).collect();
        let conv = Conv2d::new(&shape, &weight)?;
        let x = codes(64 * side * side * shape.in_channels, 4);
        let mut out = vec![0; 64 * side * side * shape.out_channels];
        let run = || {
            let output = Output::U8 { out: &mut out, multiplier: &[1e-3], zero: 0, relu: true };
            done(conv2d(&conv, 64, [side, side], Codes::U8(&x), Zero::All(10), None, None, output));
        };
        let times = interleaved(&mut [Contender::new(name, run)], Duration::from_millis(4), 15);
        println!("{name:<24}{:>10.1}", times[0] * 1e6);
        record.row(["int8", name, "ferrotape"], 1, times[0] * 1e6, "us")?;
    }
    let (n, affine) = (1 << 20, Affine::per_tensor(&0.01, 128));
    let x = data(n, 5);
    let (mut to, mut back) = (vec![0u8; n], vec![0.0; n]);
    let codes = codes(n, 6);
    let mut contenders = [
        Contender::new("quantize 2^20", || done(quantize([1, 1, n], &x, &affine, &mut to))),
        Contender::new("dequantize 2^20", || {
            done(dequantize([1, 1, n], &codes, &affine, &mut back));
        }),
    ];
    let times = interleaved(&mut contenders, Duration::from_millis(4), 15);
    println!("\nGB/s");
    for (contender, time) in contenders.iter().zip(times) {
        let rate = 5.0 * n as f64 / time / 1e9;
        println!("{:<24}{rate:>10.1}", contender.name);
        record.row(["int8", &contender.name, "ferrotape"], 1, rate, "GB/s")?;
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    set_threads(1);
    let mut record = Record::open()?;
    println!("instruction set: {}", Int8Isa::within(Isa::Avx512).name());
    products(&mut record)?;
    others(&mut record)
}
