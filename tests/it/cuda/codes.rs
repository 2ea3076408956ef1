//! Quantization and int8 networks on a GPU: the CPU's bits and words; nothing of it is done by the host.

use ferrotape::nn::quant::QuantConfig;
use ferrotape::prelude::*;
use ferrotape::{FakeQuantizeOp, QuantizeOp, QuantizeRule, host_fallbacks};

use super::{bits, gpu};
use crate::quant::{Net, batches, calibrated};

/// What every operation gives on a device, by name.
fn all(device: Device) -> Result<Vec<(String, Result<Tensor>)>> {
    let mut rng = Generator::new(5);
    let mut results = Vec::new();
    let x = rng.normal([3, 5, 7], 0.0, 3.0, DType::F32)?.to_device(device)?;
    let scale = rng.uniform([5], 0.01, 0.1, DType::F32)?.to_device(device)?;
    let zero = Tensor::from([3i32, -128, 127, 0, -7]).to_device(device)?;
    let [one, none] = [Tensor::from(0.05f32), Tensor::from(4i32)].map(|x| x.to_device(device));
    let (one, none) = (one?, none?);
    let transposed = x.transpose(0, 2)?;
    for rule in [QuantizeRule::Reciprocal, QuantizeRule::Divide] {
        for (name, x, axis) in [("x", &x, 1), ("transposed", &transposed, 1)] {
            let settings = QuantizeOp::new(DType::I8).rule(rule);
            let codes = x.quantize(&scale, &zero, settings.axis(axis));
            let codes = codes?;
            let back = codes.dequantize(&scale, &zero, Some(axis));
            results.push((format!("quantize {name} {rule:?} channels"), Ok(codes)));
            results.push((format!("dequantize {name}"), back));
            let codes = x.quantize(&one, &none, QuantizeOp::new(DType::U8).rule(rule));
            let codes = codes?;
            let back = codes.dequantize(&one, &none, None);
            results.push((format!("quantize {name} {rule:?}"), Ok(codes)));
            results.push((format!("dequantize {name} whole"), back));
        }
    }
    let mixed = x.quantize(&scale, &none, QuantizeOp::new(DType::U8).axis(1));
    results.push(("one zero point".to_owned(), mixed));
    for settings in [FakeQuantizeOp::new(-128, 127), FakeQuantizeOp::new(-8, 7).axis(1)] {
        let whole = settings.axis.is_none();
        let (scale, zero) = if whole { (&one, &none) } else { (&scale, &none) };
        let ((y, loss), tape) = Tape::record(|tape| {
            tape.watch(&x);
            let y = x.fake_quantize(scale, zero, settings)?;
            let loss = y.square().sum(..)?;
            Ok((y, loss))
        })?;
        results.push((format!("fake_quantize {settings:?}"), Ok(y)));
        let gradient = tape.gradient(&loss, &[&x]);
        results.push(("its gradient".to_owned(), gradient.map(|g| g[0].clone())));
    }
    results.push(("a scale of -1".to_owned(), {
        let scale = Tensor::from(-1f32).to_device(device)?;
        x.quantize(&scale, &none, QuantizeOp::new(DType::U8))
    }));
    results.push(("a zero point of 300".to_owned(), {
        let zero = Tensor::from(300i32).to_device(device)?;
        x.quantize(&one, &zero, QuantizeOp::new(DType::U8))
    }));

    let codes = |shape: &[usize], dtype: DType, rng: &mut Generator| -> Result<Tensor> {
        let low = if dtype == DType::U8 { 0.0 } else { -128.0 };
        let x = rng.uniform(shape.to_vec(), low, low + 255.9, DType::F32)?;
        x.to_dtype(dtype)?.to_device(device)
    };
    let a = codes(&[2, 9, 33], DType::U8, &mut rng)?;
    let rows = Tensor::from_vec((0..9).map(|i| i * 20).collect::<Vec<i32>>(), [9, 1])?;
    let rows = rows.to_device(device)?;
    for (name, b) in [
        ("one matrix", codes(&[33, 6], DType::I8, &mut rng)?),
        ("a batch", codes(&[2, 33, 6], DType::U8, &mut rng)?),
        ("transposed", codes(&[6, 33], DType::I8, &mut rng)?.transpose(0, 1)?),
    ] {
        results.push((format!("matmul_integer {name}"), a.matmul_integer(&b, None, None)));
        let columns = Tensor::from_vec(vec![0i32, 1, 5, 100, 7, 9], [6])?.to_device(device)?;
        let y = a.matmul_integer(&b, Some(&rows), Some(&columns));
        results.push((format!("matmul_integer {name}, zero points"), y));
    }
    let images = codes(&[2, 4, 9, 8], DType::U8, &mut rng)?;
    let zeros = Tensor::from_vec((0..6).map(|i| i * 9 - 20).collect::<Vec<i32>>(), [6])?;
    let zeros = zeros.to_device(device)?;
    for groups in [1, 2] {
        let weight = codes(&[6, 4 / groups, 3, 2], DType::I8, &mut rng)?;
        let settings = Conv2dOp { groups, padding: [2, 1], ..Conv2dOp::default() };
        results.push((
            format!("conv_integer of {groups}"),
            images.conv_integer(&weight, Some(&none), Some(&zeros), settings),
        ));
    }
    Ok(results)
}

#[test]
fn quantization_and_integer_products_have_the_cpus_bits() -> Result<()> {
    let Some(device) = gpu() else { return Ok(()) };
    let want = all(Device::Cpu)?;
    let before = host_fallbacks();
    let got = all(device)?;
    assert_eq!(host_fallbacks(), before, "something was done by the host");
    assert_eq!(got.len(), want.len());
    for ((name, got), (_, want)) in got.iter().zip(&want) {
        match (got, want) {
            (Ok(got), Ok(want)) => assert_eq!(bits(got), bits(want), "{name}"),
            (Err(got), Err(want)) => {
                let words = |error: &Error| error.to_string().lines().next().map(str::to_owned);
                assert_eq!(words(got), words(want), "{name}");
            }
            _ => panic!("{name}: {got:?} where the CPU gives {want:?}"),
        }
    }
    assert!(want.iter().filter(|(_, result)| result.is_err()).count() >= 2);
    Ok(())
}

/// Static and dynamic networks: every operation on codes, layers of all kinds.
#[test]
fn int8_networks_have_the_cpus_bits() -> Result<()> {
    let Some(device) = gpu() else { return Ok(()) };
    let mut rng = Generator::new(7);
    let batches = batches(3, &mut rng);
    for config in [
        QuantConfig::default(),
        QuantConfig::symmetric(),
        QuantConfig::default().per_channel(false),
        QuantConfig::dynamic(),
    ] {
        let net = Net::new(&mut Generator::new(8))?;
        let mut quantized = calibrated(&net, config.clone(), &batches)?.convert(net)?;
        let want = quantized.forward(&batches[0])?;
        let there = batches[0].to_device(device)?;
        quantized.to(device)?;
        let before = host_fallbacks();
        let got = quantized.forward(&there)?;
        assert_eq!(host_fallbacks(), before, "something was done by the host");
        assert_eq!(got.device(), device);
        assert_eq!(bits(&got), bits(&want), "{config:?}");
    }
    Ok(())
}
