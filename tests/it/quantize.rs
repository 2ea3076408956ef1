//! Quantization as PyTorch has it, sums of codes as exact integers have them.

use ferrotape::io::parse_safetensors;
use ferrotape::prelude::*;
use ferrotape::{FakeQuantizeOp, QTensor, QuantizeOp, QuantizeRule};

fn words(hex: &str, digits: usize) -> Vec<u32> {
    let words = hex.as_bytes().chunks(digits).map(|word| std::str::from_utf8(word).unwrap());
    words.map(|word| u32::from_str_radix(word, 16).unwrap()).collect()
}

fn floats(hex: &str) -> Tensor {
    let floats: Vec<f32> = words(hex, 8).into_iter().map(f32::from_bits).collect();
    Tensor::from(floats)
}

fn bits(x: &Tensor) -> Vec<u32> {
    x.to_vec::<f32>().unwrap().into_iter().map(f32::to_bits).collect()
}

#[test]
fn pytorchs_codes() {
    let mut counted = [0; 3];
    for line in include_str!("../../kernels/tests/data/int8.txt").lines() {
        let fields: Vec<&str> = line.split(' ').collect();
        let shape = [2, 3, 4].map(|i| fields[i].parse::<usize>().unwrap());
        let (scale, x) = (floats(fields[5]), floats(fields[7]).reshape(shape).unwrap());
        let zeros: Vec<i32> = words(fields[6], 8).into_iter().map(|x| x as i32).collect();
        let zero = Tensor::from(zeros);
        let unsigned = fields[1] == "u8";
        let dtype = if unsigned { DType::U8 } else { DType::I8 };
        let (low, high) = (dtype.min() as i32, dtype.max() as i32);
        // One of all, said in both ways, or one a channel.
        let axes = if shape[1] == 1 { vec![None, Some(1)] } else { vec![Some(1)] };
        for axis in axes {
            let settings = QuantizeOp { axis, ..QuantizeOp::new(dtype) };
            let said = format!("{} {} {shape:?} {axis:?}", fields[0], fields[1]);
            match fields[0] {
                "quantize" => {
                    let codes = x.quantize(&scale, &zero, settings).unwrap();
                    let want: Vec<i64> = words(fields[8], 2)
                        .into_iter()
                        .map(
                            |code| if unsigned { code as i64 } else { i64::from(code as u8 as i8) },
                        )
                        .collect();
                    let codes = codes.to_dtype(DType::I64).unwrap().to_vec::<i64>().unwrap();
                    assert_eq!(codes, want, "{said}");
                    counted[0] += 1;
                }
                "dequantize" => {
                    let given = x.quantize(&scale, &zero, settings).unwrap();
                    let back = given.dequantize(&scale, &zero, axis).unwrap();
                    assert_eq!(bits(&back), words(fields[8], 8), "{said}");
                    counted[1] += 1;
                }
                _ => {
                    let settings = FakeQuantizeOp { axis, low, high };
                    let y = x.fake_quantize(&scale, &zero, settings).unwrap();
                    assert_eq!(bits(&y), words(fields[8], 8), "{said}");
                    counted[2] += 1;
                }
            }
        }
    }
    assert_eq!(counted, [60 + 54, 108, 108]);
}

fn numbers(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap()
}

#[track_caller]
fn close(got: &Tensor, want: &Tensor, tolerance: f64, said: &str) {
    assert_eq!(got.meta(), want.meta(), "{said}");
    let largest = numbers(want).into_iter().fold(1.0, |a: f64, b| a.max(b.abs()));
    for (got, want) in numbers(got).into_iter().zip(numbers(want)) {
        assert!((got - want).abs() <= tolerance * largest, "{said}: {got} for {want}");
    }
}

#[test]
fn pytorchs_fake_quantization_and_its_gradients() {
    let store = parse_safetensors(include_bytes!("../data/quantize.safetensors")).unwrap();
    let (mut cases, mut learned) = (0, 0);
    while let Some(x) = store.get(&format!("{cases}.x")) {
        let get = |name: &str| store.get(&format!("{cases}.{name}"));
        let [low, high, axis] = get("settings").unwrap().to_vec::<i64>().unwrap()[..] else {
            panic!("settings");
        };
        let axis = usize::try_from(axis).ok();
        let settings = FakeQuantizeOp { axis, low: low as i32, high: high as i32 };
        let (scale, zero, g) = (get("scale").unwrap(), get("zero").unwrap(), get("g").unwrap());
        let (y, tape) = Tape::record(|tape| {
            [x, scale].into_iter().for_each(|leaf| tape.watch(leaf));
            x.fake_quantize(scale, zero, settings)
        })
        .unwrap();
        let gradients = tape.vector_jacobian_product(&[(&y, g.clone())], &[x, scale]).unwrap();
        let [Some(dx), Some(dscale)] = &gradients[..] else { panic!("gradients") };
        let said = format!("case {cases}: {:?} {settings:?}", x.meta());
        // PyTorch's result has x's type: rounded once, as ours.
        assert_eq!(numbers(&y), numbers(get("y").unwrap()), "{said}");
        assert_eq!(numbers(dx), numbers(get("dx").unwrap()), "{said}");
        if let Some(want) = get("dscale") {
            // Sums of terms of either sign, that large: PyTorch's are in f32.
            let terms: f64 = numbers(g).into_iter().map(|g| g.abs() * (high - low) as f64).sum();
            close(dscale, want, 1e-7 * terms, &said);
            learned += 1;
        }
        cases += 1;
    }
    assert_eq!((cases, learned), (55, 18));
}

/// Of NaN the result is 0, the gradients are finite and that in x is 0.
#[test]
fn what_is_no_number_stands_for_zero() {
    for dtype in [DType::F32, DType::F64] {
        let x = Tensor::from([f64::NAN, f64::INFINITY, 0.2]).to_dtype(dtype).unwrap();
        let scale = Tensor::from(0.25).to_dtype(dtype).unwrap();
        let (y, tape) = Tape::record(|tape| {
            [&x, &scale].into_iter().for_each(|leaf| tape.watch(leaf));
            x.fake_quantize(&scale, 1.0, FakeQuantizeOp::new(-8, 7))
        })
        .unwrap();
        let seed = y.ones_like().unwrap();
        let found = tape.vector_jacobian_product(&[(&y, seed)], &[&x, &scale]).unwrap();
        assert_eq!(numbers(&y), [0.0, 1.5, 0.25]);
        assert_eq!(numbers(found[0].as_ref().unwrap()), [0.0, 0.0, 1.0]);
        let of_scale = numbers(found[1].as_ref().unwrap())[0];
        assert!((of_scale - 6.2).abs() < 1e-6, "{of_scale}");
        let codes = x.to_dtype(DType::F32).quantize(0.25, 1.0, QuantizeOp::new(DType::I8)).unwrap();
        assert_eq!(codes.to_vec::<i8>().unwrap(), [1, 127, 2]);
    }
}

/// Codes of a type, all of them likely.
fn codes(rng: &mut Generator, shape: &[usize], dtype: DType) -> Tensor {
    let (low, high) = (dtype.min(), dtype.max());
    let x = rng.uniform(shape, low, high + 1.0, DType::F64).unwrap();
    x.floor().unwrap().clamp(low, high).unwrap().to_dtype(dtype).unwrap()
}

fn long(x: &Tensor) -> Tensor {
    x.to_dtype(DType::I64).unwrap()
}

#[test]
fn products_of_codes_are_exact() {
    let mut rng = Generator::new(3);
    let types = [DType::I8, DType::U8];
    // a, b, their zero points
    let shapes: [[&[usize]; 4]; 9] = [
        [&[1, 1], &[1, 1], &[], &[]],
        [&[3, 70], &[70, 5], &[], &[5]],
        [&[17, 33], &[33, 40], &[17], &[1]],
        [&[2, 3, 70], &[70, 5], &[3], &[]],
        [&[2, 3, 70], &[70, 5], &[2, 3, 1], &[5]],
        [&[2, 3, 70], &[2, 70, 5], &[2, 1, 1], &[2, 1, 5]],
        [&[4, 1, 3, 7], &[2, 7, 5], &[3], &[2, 1, 5]],
        [&[3, 7], &[4, 2, 7, 5], &[], &[5]],
        [&[3, 0], &[0, 5], &[], &[]],
    ];
    for (case, [a, b, c, d]) in shapes.into_iter().enumerate() {
        for (left, right) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let (a, b) = (codes(&mut rng, a, types[left]), codes(&mut rng, b, types[right]));
            let (c, d) = (codes(&mut rng, c, types[left]), codes(&mut rng, d, types[right]));
            let rows = if c.rank() == 1 && c.len() > 1 { c.unsqueeze(1) } else { Ok(c.clone()) };
            let exact = |a: &Tensor, c: Option<&Tensor>| match c {
                Some(c) => long(a).sub(long(c)),
                None => Ok(long(a)),
            };
            for (c, rows, d) in [
                (None, None, None),
                (Some(&c), rows.as_ref().ok(), None),
                (None, None, Some(&d)),
                (Some(&c), rows.as_ref().ok(), Some(&d)),
            ] {
                let want = exact(&a, rows).matmul(exact(&b, d)).unwrap();
                let got = a.matmul_integer(&b, c, d).unwrap();
                assert_eq!(got.dtype(), DType::I32);
                assert_eq!(numbers(&got), numbers(&want), "case {case}");
                let turned = b.transpose(-1, -2).copy().transpose(-1, -2).unwrap();
                assert_eq!(numbers(&a.matmul_integer(&turned, c, d).unwrap()), numbers(&want));
            }
        }
    }
    let vector = codes(&mut rng, &[70], DType::I8);
    let matrix = codes(&mut rng, &[70, 5], DType::U8);
    let want = long(&vector).matmul(long(&matrix)).unwrap();
    assert_eq!(numbers(&vector.matmul_integer(&matrix, None, None).unwrap()), numbers(&want));
    let got = matrix.t().unwrap().matmul_integer(&vector, None, None).unwrap();
    assert_eq!((got.shape(), numbers(&got)), (&[5][..], numbers(&want)));
    let dot = vector.matmul_integer(&vector, None, None).unwrap();
    assert_eq!((dot.rank(), numbers(&dot)), (0, numbers(&long(&vector).square().sum(..).unwrap())));
}

/// Where not all codes' sums would fit i32, those that do are right and those that don't are refused.
#[test]
fn sums_beyond_i32_are_refused() {
    for k in [65_793, 65_794, 150_000] {
        let a = Tensor::full([1, k], 255.0, DType::U8).unwrap();
        let small = Tensor::ones([k, 1], DType::U8).unwrap();
        let sum = a.matmul_integer(&small, None, None).unwrap().item::<i32>().unwrap();
        assert_eq!(sum, 255 * k as i32);
        let sum = a.matmul_integer(&a.t().unwrap(), None, None);
        let exact = 255 * 255 * k as i64;
        let image = |x: &Tensor| x.reshape([1, k, 1, 1]).unwrap();
        let convolved = image(&a).conv_integer(&image(&a), None, None, Conv2dOp::default());
        for sum in [sum, convolved] {
            match sum {
                Ok(sum) => assert_eq!(i64::from(sum.item::<i32>().unwrap()), exact),
                Err(error) => {
                    assert!(exact > i64::from(i32::MAX));
                    let words = format!("a sum is {exact}, which i32 does not hold");
                    assert!(error.to_string().contains(&words), "{error}");
                }
            }
        }
    }
}

#[test]
fn convolutions_of_codes_are_exact() {
    let mut rng = Generator::new(4);
    let plain = Conv2dOp::default();
    let settings = [
        plain,
        plain.padding([1, 2]).stride([2, 1]),
        plain.dilation([2, 3]).padding([2, 2]),
        plain.groups(2),
        plain.groups(6).padding([1, 1]),
    ];
    let types = [DType::I8, DType::U8];
    for (number, settings) in settings.into_iter().enumerate() {
        for (left, right) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let x = codes(&mut rng, &[3, 6, 9, 11], types[left]);
            let w = codes(&mut rng, &[12, 6 / settings.groups, 3, 2], types[right]);
            let zero = codes(&mut rng, &[1], types[left]);
            for w_zero in [codes(&mut rng, &[12], types[right]), codes(&mut rng, &[], types[right])]
            {
                let column = if w_zero.rank() == 1 {
                    w_zero.reshape([12, 1, 1, 1])
                } else {
                    Ok(w_zero.clone())
                };
                let float =
                    |x: &Tensor, zero: &Tensor| long(x).sub(long(zero))?.to_dtype(DType::F64);
                let want = float(&x, &zero)
                    .conv2d(&float(&w, &column.unwrap()).unwrap(), None, settings)
                    .unwrap();
                let got = x.conv_integer(&w, Some(&zero), Some(&w_zero), settings).unwrap();
                assert_eq!(got.shape(), want.shape());
                assert_eq!(numbers(&got), numbers(&want), "{number} {left} {right}");
            }
            let float = |x: &Tensor| x.to_dtype(DType::F64).unwrap();
            let want = float(&x).conv2d(&float(&w), None, settings).unwrap();
            let turned = x.transpose(1, 3).copy().transpose(1, 3).unwrap();
            for x in [&x, &turned] {
                let got = x.conv_integer(&w, None, None, settings).unwrap();
                assert_eq!(numbers(&got), numbers(&want));
            }
        }
    }
}

/// A scale for each block is that scale for each of its elements.
#[test]
fn blocks() {
    let mut rng = Generator::new(5);
    let x = rng.normal([4, 6, 2], 0.0, 30.0, DType::F32).unwrap();
    for parts in [[2, 1, 1], [4, 3, 2], [1, 6, 1], [2, 2, 2]] {
        let scale = rng.uniform(parts, 0.1, 1.0, DType::F32).unwrap();
        let zero = codes(&mut rng, &parts, DType::U8);
        let each = |of: &Tensor| {
            let mut all = of.clone();
            for (d, part) in parts.iter().enumerate() {
                all = all.repeat_interleave(x.shape()[d] / part, Some(d as i64)).unwrap();
            }
            all
        };
        let (scales, zeros) = (each(&scale), each(&zero).to_dtype(DType::F32).unwrap());
        let want = x.mul(scales.reciprocal()).round().add(&zeros).unwrap();
        let want = want.clamp(0.0, 255.0).unwrap();
        let got = x.quantize(&scale, &zero, QuantizeOp::new(DType::U8)).unwrap();
        assert_eq!(numbers(&got), numbers(&want), "{parts:?}");
        let back = want.sub(&zeros).mul(&scales).unwrap();
        assert_eq!(numbers(&got.dequantize(&scale, &zero, None).unwrap()), numbers(&back));
        let fake = x.fake_quantize(&scale, &zero, FakeQuantizeOp::new(0, 255)).unwrap();
        assert_eq!(numbers(&fake), numbers(&back), "{parts:?}");
    }
}

#[test]
fn a_quantized_tensor_is_its_parts() {
    let mut rng = Generator::new(6);
    let x = rng.normal([5, 7], 0.0, 1.0, DType::F32).unwrap();
    let scale = rng.uniform([7], 0.01, 0.1, DType::F32).unwrap();
    let settings = QuantizeOp::new(DType::U8).axis(1);
    let zero = Tensor::full([7], 100.0, DType::I64).unwrap();
    let one = QTensor::quantize(&x, Tensor::from([0.5f32]), 3.0, QuantizeOp::new(DType::I8));
    assert_eq!((one.as_ref().unwrap().scale().rank(), one.unwrap().bytes()), (0, 43));
    let q = QTensor::quantize(&x, &scale, &zero, settings).unwrap();
    assert_eq!((q.shape(), q.dtype(), q.axis(), q.bytes()), (&[5, 7][..], DType::U8, Some(1), 91));
    assert_eq!(numbers(q.codes()), numbers(&x.quantize(&scale, &zero, settings).unwrap()));
    let back = q.dequantize().unwrap();
    let fake = x.fake_quantize(&scale, &zero, FakeQuantizeOp::new(0, 255).axis(1)).unwrap();
    assert_eq!(bits(&back), bits(&fake));
    let parts = (q.codes().clone(), q.scale().clone(), q.zero_point().clone());
    let again = QTensor::from_parts(parts.0.clone(), parts.1, parts.2.clone(), q.axis()).unwrap();
    assert_eq!(bits(&again.dequantize().unwrap()), bits(&back));
    let wrong = QTensor::from_parts(parts.0.clone(), scale.clone(), parts.2.clone(), Some(0));
    says(
        wrong,
        "QTensor: codes [5, 7], axis Some(0), scale [7]: one of all, or one for each place of the axis",
    );
    let wrong = QTensor::from_parts(x, scale.clone(), parts.2.clone(), Some(1));
    says(
        wrong,
        "QTensor: codes of f32, scale of f32, zero point of i32: i8 or u8, f32, i32 expected",
    );
    let wrong = QTensor::from_parts(parts.0.clone(), scale.clone(), Tensor::from(-1i32), Some(1));
    says(wrong, "QTensor: zero point 0 is -1: a code from 0 to 255 expected");
    let wrong = QTensor::from_parts(parts.0, scale, parts.2, Some(2));
    says(wrong, "QTensor: dim 2 is out of range for 2 dims");
}

#[track_caller]
fn says<T: std::fmt::Debug>(result: Result<T>, words: &str) {
    let said = result.unwrap_err().to_string();
    assert!(said.starts_with(words), "{said}");
}

#[test]
fn what_does_not_fit_is_named() {
    let x = Tensor::from([[1f32, 2.], [3., 4.]]);
    let i8 = QuantizeOp::new(DType::I8);
    let (one, two) = (Tensor::from([0.5f32, -1.0]), Tensor::from([0i64, 1 << 40]));
    says(
        x.quantize(0.0, 0.0, i8),
        "quantize: the scale is 0.0: a positive, finite number expected",
    );
    says(x.quantize(f64::NAN, 0.0, i8), "quantize: the scale is NaN");
    says(x.quantize(1e-40, 0.0, i8), "quantize: the scale is 1e-40");
    assert!(x.quantize(1e-40, 0.0, i8.rule(QuantizeRule::Divide)).is_ok());
    says(x.quantize(&one, 0.0, i8.axis(0)), "quantize: scale 1 is -1.0: a positive, finite");
    says(
        x.quantize(0.1, &two, i8.axis(0)),
        "quantize: zero point 1 is 1099511627776: a code from -128 to 127",
    );
    says(x.quantize(0.1, 0.5, i8), "quantize: the zero point is 0.5: a code expected");
    says(
        x.quantize(0.1, -1.0, QuantizeOp::new(DType::U8)),
        "quantize: the zero point is -1: a code from 0 to 255",
    );
    says(x.quantize(0.1, 0.0, i8.axis(2)), "quantize: dim 2 is out of range for 2 dims");
    says(
        x.quantize(0.1, 0.0, QuantizeOp::new(DType::I32)),
        "quantize: codes of i32: i8 or u8 expected",
    );
    says(
        x.to_dtype(DType::F64).quantize(0.1, 0.0, i8),
        "quantize: not defined for f64: cast to f32 first",
    );
    let three = Tensor::from([0.1f32, 0.2, 0.3]);
    says(x.quantize(&three, 0.0, i8.axis(0)), "quantize: scale of shape [3]: [] or [2] expected");
    says(
        x.quantize(&three, 0.0, i8),
        "quantize: input [2, 2], scale [3], zero point []: one of all,",
    );
    says(x.dequantize(0.1, 0.0, None), "dequantize: codes of f32: i8 or u8 expected");
    says(
        x.fake_quantize(0.1, 9.0, FakeQuantizeOp::new(-8, 7)),
        "fake_quantize: the zero point is 9: a code from -8 to 7",
    );
    says(
        x.fake_quantize(0.1, 0.0, FakeQuantizeOp::new(7, -8)),
        "fake_quantize: codes from 7 to -8: at most 65535 steps up",
    );
    let codes = x.quantize(0.1, 0.0, i8).unwrap();
    says(
        codes.fake_quantize(0.1, 0.0, FakeQuantizeOp::new(-8, 7)),
        "fake_quantize: not defined for i8",
    );
    says(codes.matmul_integer(&x, None, None), "matmul_integer: codes of f32: i8 or u8 expected");
    let row = codes.narrow(0, 0, 1).unwrap();
    says(
        codes.matmul_integer(&row, None, None),
        "matmul_integer: [2, 2] x [1, 2]: inner sizes 2 and 1 differ",
    );
    let zeros = Tensor::from([0i32, 200]);
    says(
        codes.matmul_integer(&codes, Some(&zeros), None),
        "matmul_integer: zero point 1 is 200: a code from -128 to 127",
    );
    let zeros = Tensor::from([0i32, 0, 0]);
    says(
        codes.matmul_integer(&codes, None, Some(&zeros)),
        "matmul_integer: zero points of shape [3] for columns: one, or [1, 2], expected",
    );
    let image = codes.reshape([1, 1, 2, 2]).unwrap();
    says(
        image.conv_integer(&image, None, Some(&zeros), Conv2dOp::default()),
        "conv_integer: zero point of shape [3]: [] or [1] expected",
    );
    says(codes.requantize(0.1, 0.0, i8), "requantize: sums of i8: i32 expected");
    let sums = codes.matmul_integer(&codes, None, None);
    says(
        sums.requantize(f64::INFINITY, 0.0, i8),
        "requantize: multiplier 0 is inf: a finite number expected",
    );
}

/// Activations and weights as codes, their product, and codes again: what is lost is rounding.
#[test]
fn a_product_of_codes_is_near_the_product() {
    let mut rng = Generator::new(7);
    let (x, w) = (
        rng.uniform([9, 50], 0.0, 1.0, DType::F32).unwrap(),
        rng.uniform([50, 8], -1.0, 1.0, DType::F32).unwrap(),
    );
    let (x_scale, x_zero) = (1.0 / 255.0, 0.0);
    let w_scale = w.abs().amax(0).div(127.0).unwrap();
    let by_column = QuantizeOp::new(DType::I8).axis(1);
    let a = x.quantize(x_scale, x_zero, QuantizeOp::new(DType::U8)).unwrap();
    let b = w.quantize(&w_scale, 0.0, by_column).unwrap();
    let sums = a.matmul_integer(&b, None, None).unwrap();
    let want = x.matmul(&w).unwrap();
    let scale = w_scale.mul(x_scale).unwrap();
    let floats = sums.dequantize(&scale, 0.0, Some(1)).unwrap();
    close(&floats, &want, 0.01, "dequantized");
    let y_scale = 0.1;
    let codes = sums.requantize(scale.div(y_scale), 3.0, by_column).unwrap();
    close(&codes.dequantize(y_scale, 3.0, None).unwrap(), &want, 0.02, "requantized");
}
