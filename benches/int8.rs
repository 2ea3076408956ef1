//! int8: products on each instruction set with packed weights beside our own f32 product and MKL's where it is; layers,
//! quantization, a whole network, recurrent layers; two threads. `peers/pytorch_int8.py` measures PyTorch's.

use std::time::Duration;

use ferrotape_benches::{Contender, Record, data, interleaved};
use ferrotape_kernels::Result;
use ferrotape_kernels::cpu::gemm::{self as floats, Epilogue, Matrix};
use ferrotape_kernels::cpu::int8::scheme::{Affine, Rule, dequantize, quantize, quantize_rows};
use ferrotape_kernels::cpu::int8::{
    Activations, Codes, Conv2d, Conv2dShape, Order, Output, Packed, Pool2d, Recurrent,
    RecurrentForward, RecurrentWeights, Zero, conv2d, gemm, gemm_under, max_pool2d, nchw_from_nhwc,
    nhwc_from_nchw, recurrent,
};
use ferrotape_kernels::cpu::isa::{Int8Isa, Isa, int8_isa};
use ferrotape_kernels::cpu::parallel::{set_threads, threads};
use ferrotape_kernels::cpu::peak::{fma_peak, int8_peak};
use ferrotape_kernels::cpu::sequence::{self, RecurrentCell, SequenceShape};
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
            done(floats::gemm([m, k, n], a, b, Epilogue::default(), &mut c, n));
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

fn convolution(in_channels: usize, out_channels: usize, groups: usize) -> Conv2dShape {
    Conv2dShape {
        in_channels,
        out_channels,
        kernel: [3, 3],
        stride: [1, 1],
        padding: [1, 1],
        dilation: [1, 1],
        groups,
    }
}

fn weights(n: usize, seed: u64) -> Vec<i8> {
    codes(n, seed).iter().map(|w| (i32::from(*w) - 128) as i8).collect()
}

/// Times `contenders` in turns and prints and records microseconds, or GB/s where `bytes` says how many move.
fn report(
    record: &mut Record,
    contenders: &mut [Contender<'_>],
    bytes: Option<f64>,
) -> Result<(), Box<dyn std::error::Error>> {
    let times = interleaved(contenders, Duration::from_millis(4), 15);
    for (contender, time) in contenders.iter().zip(times) {
        let (value, unit) = match bytes {
            Some(bytes) => (bytes / time / 1e9, "GB/s"),
            None => (time * 1e6, "us"),
        };
        println!("{:<36}{value:>10.1} {unit}", contender.name);
        record.row(["int8", &contender.name, "ferrotape"], threads(), value, unit)?;
    }
    Ok(())
}

/// Convolutions of a digits network and a depthwise one, layers of few products, pooling.
fn layers(record: &mut Record) -> Result<(), Box<dyn std::error::Error>> {
    println!();
    for (name, shape, side) in [
        ("conv 64x28x28x1 -> 32", convolution(1, 32, 1), 28),
        ("conv 64x14x14x32 -> 64", convolution(32, 64, 1), 14),
        ("depthwise 64x14x14x64", convolution(64, 64, 64), 14),
    ] {
        let k = shape.in_channels / shape.groups * 9;
        let conv = Conv2d::new(&shape, &weights(shape.out_channels * k, 3))?;
        let x = codes(64 * side * side * shape.in_channels, 4);
        let mut out = vec![0; 64 * side * side * shape.out_channels];
        let run = || {
            let output = Output::U8 { out: &mut out, multiplier: &[1e-3], zero: 0, relu: true };
            done(conv2d(&conv, 64, [side, side], Codes::U8(&x), Zero::All(10), None, None, output));
        };
        report(record, &mut [Contender::new(name, run)], None)?;
    }
    for [m, k, n] in [[1, 3136, 128], [64, 3136, 128], [1, 128, 10], [64, 128, 10]] {
        let packed = Packed::new(Order::OutIn, k, n, &weights(k * n, 5))?;
        let (a, x) = (codes(m * k, 6), data(m * k, 7));
        let (mut out, mut floats) = (vec![0; m * n], vec![0.0; m * n]);
        let (mut to, mut scales, mut zeros) = (vec![0u8; m * k], vec![0.0; m], vec![0; m]);
        let fixed = || {
            let a = Activations { codes: Codes::U8(&a), stride: k, zero: Zero::All(7) };
            let output = Output::U8 { out: &mut out, multiplier: &[1e-4], zero: 3, relu: false };
            done(gemm_under(int8_isa(), m, &a, &packed, None, None, output, n));
        };
        let dynamic = || {
            let rule = Rule::Reciprocal;
            done(quantize_rows([m, k], &x, rule, &mut to, &mut scales, &mut zeros));
            let a = Activations { codes: Codes::U8(&to), stride: k, zero: Zero::Each(&zeros) };
            let output = Output::F32 {
                out: &mut floats,
                scale: &[1e-3],
                row_scale: Some(&scales),
                bias: None,
                relu: false,
            };
            done(gemm_under(int8_isa(), m, &a, &packed, None, None, output, n));
        };
        let mut both = [
            Contender::new(format!("linear {m}x{k}x{n}"), fixed),
            Contender::new(format!("dynamic linear {m}x{k}x{n}"), dynamic),
        ];
        report(record, &mut both, None)?;
    }
    let pool = Pool2d { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
    for (name, shape) in
        [("max pool 64x28x28x32", [64, 28, 28, 32]), ("max pool 64x14x14x64", [64, 14, 14, 64])]
    {
        let x = codes(shape.iter().product(), 8);
        let mut out = vec![0u8; x.len() / 4];
        let bytes = 1.25 * x.len() as f64;
        let run = || done(max_pool2d(&pool, shape, &x, &mut out));
        report(record, &mut [Contender::new(name, run)], Some(bytes))?;
    }
    Ok(())
}

/// Numbers to codes and back.
fn quantization(record: &mut Record) -> Result<(), Box<dyn std::error::Error>> {
    let (n, affine) = (1 << 20, Affine::per_tensor(&0.01, 128));
    let (x, from) = (data(n, 5), codes(n, 6));
    let (mut to, mut back, mut rows) = (vec![0u8; n], vec![0.0; n], vec![0u8; n]);
    let (mut scales, mut zeros) = (vec![0.0; 1024], vec![0; 1024]);
    let mut contenders = [
        Contender::new("quantize 2^20", || done(quantize([1, 1, n], &x, &affine, &mut to))),
        Contender::new("dequantize 2^20", || {
            done(dequantize([1, 1, n], &from, &affine, &mut back));
        }),
        Contender::new("quantize rows 1024x1024", || {
            let rule = Rule::Reciprocal;
            done(quantize_rows([1024, 1024], &x, rule, &mut rows, &mut scales, &mut zeros));
        }),
    ];
    println!();
    report(record, &mut contenders, Some(5.0 * n as f64))?;
    for shape in [[64, 1, 784], [64, 3, 784], [64, 64, 196]] {
        let len = shape.iter().product();
        let (x, from) = (data(len, 5), codes(len, 6));
        let (mut to, mut back) = (vec![0u8; len], vec![0.0; len]);
        let [batch, channels, places] = shape;
        let name = |way| format!("{way} {batch}x{channels}x{places}");
        let mut contenders = [
            Contender::new(name("quantize to NHWC"), || {
                done(nhwc_from_nchw(shape, &x, &affine, &mut to));
            }),
            Contender::new(name("dequantize to NCHW"), || {
                done(nchw_from_nhwc(shape, &from, &affine, &mut back));
            }),
        ];
        report(record, &mut contenders, Some(5.0 * len as f64))?;
    }
    Ok(())
}

/// A digits network on codes, the layers that PyTorch's is made of in `peers/pytorch_int8.py`: two convolutions with ReLU and
/// pooling, two linear layers.
struct Network {
    convolutions: [Conv2d; 2],
    linears: [Packed; 2],
    /// Codes between the layers.
    between: [Vec<u8>; 6],
    out: Vec<f32>,
}

impl Network {
    fn new(batch: usize) -> Result<Network> {
        let conv = |i, o| Conv2d::new(&convolution(i, o, 1), &weights(9 * i * o, 3));
        let linear = |i, o| Packed::new(Order::OutIn, i, o, &weights(i * o, 4));
        let places = [784, 784 * 32, 196 * 32, 196 * 64, 49 * 64, 128];
        Ok(Network {
            convolutions: [conv(1, 32)?, conv(32, 64)?],
            linears: [linear(3136, 128)?, linear(128, 10)?],
            between: places.map(|n| vec![0; batch * n]),
            out: vec![0.0; batch * 10],
        })
    }

    fn run(&mut self, batch: usize, x: &[f32]) -> Result<()> {
        let [input, first, second, third, fourth, fifth] = &mut self.between;
        let pool = Pool2d { kernel: [2, 2], stride: [2, 2], padding: [0, 0] };
        let zero = Zero::All(0);
        fn relu(out: &mut [u8]) -> Output<'_> {
            Output::U8 { out, multiplier: &[1e-3], zero: 0, relu: true }
        }
        nhwc_from_nchw([batch, 1, 784], x, &Affine::per_tensor(&0.01, 0), input)?;
        let [one, two] = &self.convolutions;
        conv2d(one, batch, [28, 28], Codes::U8(input), zero, None, None, relu(first))?;
        max_pool2d(&pool, [batch, 28, 28, 32], first, second)?;
        conv2d(two, batch, [14, 14], Codes::U8(second), zero, None, None, relu(third))?;
        max_pool2d(&pool, [batch, 14, 14, 64], third, fourth)?;
        let [one, two] = &self.linears;
        let a = |codes, stride| Activations { codes: Codes::U8(codes), stride, zero };
        gemm(batch, &a(fourth, 3136), one, None, None, relu(fifth), 128)?;
        let (out, bias) = (&mut self.out[..], None);
        let output = Output::F32 { out, scale: &[1e-3], row_scale: None, bias, relu: false };
        gemm(batch, &a(fifth, 128), two, None, None, output, 10)
    }
}

/// The digits network of codes at batch 1 and 64.
fn networks(record: &mut Record) -> Result<(), Box<dyn std::error::Error>> {
    println!();
    for batch in [1, 64] {
        let (mut network, x) = (Network::new(batch)?, data(batch * 784, 1));
        let run = || done(network.run(batch, &x));
        let name = format!("int8 MNIST CNN b{batch}");
        report(record, &mut [Contender::new(name, run)], None)?;
    }
    Ok(())
}

/// Recurrent layers of codes beside those of f32.
fn recurrent_layers(record: &mut Record) -> Result<(), Box<dyn std::error::Error>> {
    println!();
    for [steps, batch, input, hidden] in [[32, 32, 128, 256], [32, 1, 128, 256], [12, 132, 1, 32]] {
        for (name, cell) in [("LSTM", RecurrentCell::Lstm), ("GRU", RecurrentCell::Gru)] {
            let gates = cell.gates() * hidden;
            let cells = if name == "LSTM" { batch * hidden } else { 0 };
            let (codes, of_state) = (weights(gates * input, 1), weights(gates * hidden, 2));
            let scale = vec![1e-3; gates];
            let weights = |codes| RecurrentWeights { codes, scale: &scale, bias: Some(&scale) };
            let layer =
                Recurrent::new(cell, [input, hidden], &weights(&codes), &weights(&of_state))?;
            let (reverse, output, projected) = (false, hidden, false);
            let shape =
                SequenceShape { cell, reverse, steps, batch, input, hidden, output, projected };
            let (x, h0, c0) =
                (data(steps * batch * input, 3), data(batch * hidden, 4), data(cells, 5));
            let results = || (vec![0.0; steps * batch * hidden], h0.clone(), c0.clone());
            let (mut y, mut h, mut c) = results();
            let of_codes = || {
                let (y, h, c) = (&mut y[..], &mut h[..], &mut c[..]);
                let f = RecurrentForward { x: &x, h0: &h0, c0: &c0, lengths: None, y, h, c };
                done(recurrent(&layer, &shape, f));
            };
            let (w_ih, w_hh) = (data(gates * input, 1), data(gates * hidden, 2));
            let mut saved = vec![0.0; steps * batch * cell.saved(false) * hidden];
            let (mut y, mut h, mut c) = results();
            let of_floats = || {
                done(sequence::forward(
                    &shape,
                    sequence::Forward {
                        x: &x,
                        h0: &h0,
                        c0: &c0,
                        w_ih: &w_ih,
                        w_hh: &w_hh,
                        biases: Some([&scale, &scale]),
                        w_hr: &[],
                        lengths: None,
                        y: &mut y,
                        saved: &mut saved,
                        h: &mut h,
                        c: &mut c,
                    },
                ));
            };
            let sizes = format!("{steps}x{batch}x{input} -> {hidden}");
            let mut both = [
                Contender::new(format!("int8 {name} {sizes}"), of_codes),
                Contender::new(format!("f32 {name} {sizes}"), of_floats),
            ];
            report(record, &mut both, None)?;
        }
    }
    Ok(())
}

/// A large product and the network on two threads, by the clock on the wall.
fn two_threads(record: &mut Record) -> Result<(), Box<dyn std::error::Error>> {
    set_threads(2);
    println!("\n2 threads");
    let n = 1024;
    let packed = Packed::new(Order::OutIn, n, n, &weights(n * n, 2))?;
    let (a, mut out) = (codes(n * n, 1), vec![0; n * n]);
    let run = || {
        let a = Activations { codes: Codes::U8(&a), stride: n, zero: Zero::All(7) };
        let output = Output::U8 { out: &mut out, multiplier: &[1e-4], zero: 3, relu: false };
        done(gemm(n, &a, &packed, None, None, output, n));
    };
    report(record, &mut [Contender::new("product 1024x1024x1024", run)], None)?;
    networks(record)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    set_threads(1);
    let mut record = Record::open()?;
    println!("instruction set: {}", Int8Isa::within(Isa::Avx512).name());
    // A word of the command line runs a part alone.
    let part = |name: &str| {
        let mut parts = std::env::args().skip(1).filter(|word| !word.starts_with('-')).peekable();
        parts.peek().is_none() || parts.any(|part| part == name)
    };
    if part("products") {
        products(&mut record)?;
    }
    if part("layers") {
        layers(&mut record)?;
        quantization(&mut record)?;
        networks(&mut record)?;
        recurrent_layers(&mut record)?;
    }
    if part("threads") {
        two_threads(&mut record)?;
    }
    Ok(())
}
