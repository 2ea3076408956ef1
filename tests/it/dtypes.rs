//! Every type: promotion, casts and operations of 2-byte floats as PyTorch has them (tests/data/dtypes/make.py), integers, and
//! models that train in each float type.

use std::collections::BTreeMap;

use ferrotape::autograd::Tape;
use ferrotape::io::parse_safetensors;
use ferrotape::nn::to_dtype;
use ferrotape::prelude::*;
use ferrotape::{Element, bf16, f16};

fn data() -> BTreeMap<String, Tensor> {
    parse_safetensors(include_bytes!("../data/dtypes/dtypes.safetensors")).unwrap()
}

fn named(name: &str) -> DType {
    // PyTorch's i16 is a type we lack: the next larger stands for it.
    let name = if name == "i16" { "i32" } else { name };
    DType::ALL.into_iter().find(|dtype| dtype.to_string() == name).unwrap()
}

fn wide(x: &Tensor) -> Vec<f64> {
    x.to_dtype(DType::F64).unwrap().to_vec().unwrap()
}

fn ints<T: Element + Into<i64>>(x: Result<Tensor>) -> Vec<i64> {
    x.unwrap().to_vec::<T>().unwrap().into_iter().map(Into::into).collect()
}

#[test]
fn types_promote_as_pytorch_says() {
    let text = include_str!("../data/dtypes/promotion.txt");
    for line in text.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let ones = |dtype: &str, rank: &str| {
            Tensor::ones(&[2][..rank.parse().unwrap()], named(dtype)).unwrap()
        };
        let sum = match words[..] {
            [a, "-", number, _] => ones(a, "1").add(number.parse::<f64>().unwrap()),
            [a, b, m, n, _] => ones(a, m).add(ones(b, n)),
            _ => panic!("{line}"),
        };
        assert_eq!(sum.unwrap().dtype(), named(words[words.len() - 1]), "{line}");
    }
    assert_eq!(text.lines().count(), 9 * (9 * 4 + 2));
    assert_eq!(DType::U8.promote_types(DType::I8), DType::I32);
}

#[test]
fn casts_are_pytorchs() {
    let data = data();
    for from in DType::ALL {
        for to in DType::ALL {
            let (x, y) =
                (&data[&format!("cast.{from}.{to}.in")], &data[&format!("cast.{from}.{to}.out")]);
            let got = x.to_dtype(to).unwrap();
            assert_eq!((got.dtype(), y.dtype()), (to, to));
            if to == DType::I64 {
                assert_eq!(ints::<i64>(Ok(got)), ints::<i64>(Ok(y.clone())), "{from} to {to}");
                continue;
            }
            for ((x, got), y) in wide(x).into_iter().zip(wide(&got)).zip(wide(y)) {
                let same = got.to_bits() == y.to_bits() || (got.is_nan() && y.is_nan());
                assert!(same, "{x:e} from {from} to {to}: {got:e} for {y:e}");
            }
        }
    }
}

#[test]
fn casts_to_integers_saturate_and_integers_wrap() {
    let x = Tensor::from([f64::NAN, f64::INFINITY, -1e30, 300.7, -300.7]);
    for float in [DType::F64, DType::F32, DType::BF16] {
        let x = x.to_dtype(float).unwrap();
        assert_eq!(ints::<u8>(x.to_dtype(DType::U8)), [0, 255, 0, 255, 0]);
        assert_eq!(ints::<i8>(x.to_dtype(DType::I8)), [0, 127, -128, 127, -128]);
        let (low, high) = (i64::from(i32::MIN), i64::from(i32::MAX));
        assert_eq!(ints::<i32>(x.to_dtype(DType::I32))[..3], [0, high, low]);
        assert_eq!(ints::<i64>(x.to_dtype(DType::I64))[..3], [0, i64::MAX, i64::MIN]);
    }
    let x = Tensor::from([300i64, -1, 1 << 40]);
    assert_eq!(ints::<u8>(x.to_dtype(DType::U8)), [44, 255, 0]);
    assert_eq!(ints::<i8>(x.to_dtype(DType::I8)), [44, -1, 0]);
}

/// Within one rounding of the 2-byte type (PyTorch sums some of these in another order), or equal.
fn close(what: &str, got: &Tensor, expected: &Tensor, roundings: f64) {
    assert_eq!(got.meta(), expected.meta(), "{what}");
    let eps = got.dtype().eps().unwrap();
    for (x, y) in wide(got).into_iter().zip(wide(expected)) {
        assert!((x - y).abs() <= roundings * eps * y.abs() + 6e-8, "{what}: {x:e} for {y:e}");
    }
}

#[test]
fn operations_of_2_byte_floats_are_pytorchs() {
    let data = data();
    for name in ["f16", "bf16"] {
        let get = |key: &str| data[&format!("{name}.{key}")].clone();
        let (x, y, w) = (get("x"), get("y"), get("w"));
        let exact = [
            ("add", x.add(&y)),
            ("sub", x.sub(&y)),
            ("mul", x.mul(&y)),
            ("div", x.div(&y)),
            ("tenth", x.mul(0.1)),
            ("small", x.div(100_000.0)),
            ("sqrt", y.sqrt()),
            ("relu", x.relu()),
            ("abs", x.abs()),
            ("max", x.max(0)),
            ("maximum", x.maximum(&y)),
        ];
        for (op, got) in exact {
            close(&format!("{op} {name}"), &got.unwrap(), &get(op), 0.0);
        }
        let rounded = [
            ("exp", x.exp()),
            ("tanh", x.tanh()),
            ("sum", x.sum(1)),
            ("mean", x.mean(..)),
            ("matmul", x.matmul(&w)),
            ("softmax", x.softmax(1)),
            ("pow", y.pow(2.5)),
        ];
        for (op, got) in rounded {
            close(&format!("{op} {name}"), &got.unwrap(), &get(op), 1.0);
        }
        let inputs = [&x, &w];
        let (loss, tape) = Tape::record(|tape| {
            inputs.iter().for_each(|x| tape.watch(x));
            x.matmul(&w).tanh().mul(0.5).sum(..)
        })
        .unwrap();
        let gradients = tape.gradient(&loss, &inputs).unwrap();
        for (got, key) in gradients.iter().zip(["grad.x", "grad.w"]) {
            let (got, expected) = (got.to_dtype(DType::F64).unwrap(), get(key));
            let largest = wide(&expected).into_iter().map(f64::abs).fold(0.0, f64::max);
            let eps = x.dtype().eps().unwrap();
            for (x, y) in wide(&got).into_iter().zip(wide(&expected)) {
                assert!((x - y).abs() <= 4.0 * eps * largest, "{key} {name}: {x:e} for {y:e}");
            }
        }
        assert_eq!(gradients.map_dtype(), [x.dtype(); 2]);
    }
}

trait Types {
    fn map_dtype(&self) -> Vec<DType>;
}

impl Types for Vec<Tensor> {
    fn map_dtype(&self) -> Vec<DType> {
        self.iter().map(Tensor::dtype).collect()
    }
}

/// What a 2-byte float can't hold between the steps does not matter.
#[test]
fn sums_of_2_byte_floats_are_summed_in_f32() {
    let x = Tensor::full([100_000], 3.0, DType::F16).unwrap();
    assert_eq!(x.mean(..).unwrap().item::<f16>().unwrap(), f16::from_f64(3.0));
    assert_eq!(x.sum(..).unwrap().item::<f16>().unwrap(), f16::INFINITY);
    let x = Tensor::ones([3000], DType::BF16).unwrap();
    assert_eq!(x.sum(..).unwrap().item::<bf16>().unwrap(), bf16::from_f64(3000.0));
    let x = Tensor::from([[f16::from_f64(1.5), f16::from_f64(-2.0)]]).expand([3, 2]).unwrap();
    assert_eq!(wide(&x.exp().unwrap()).len(), 6);
    assert_eq!(x.to_string().lines().last().unwrap().trim(), "[ 1.5000, -2.0000]], f16)");
}

#[test]
fn uniform_numbers_stay_below_their_end() {
    let mut rng = Generator::new(1);
    for dtype in [DType::F16, DType::BF16, DType::F32, DType::F64] {
        for (low, high) in [(0.0, 1.0), (1.0, 2.0), (-3.0, 0.0), (0.0, 0.1), (-2.0, -1.0)] {
            let x = rng.uniform([20_000], low, high, dtype).unwrap();
            let x = wide(&x);
            assert!(x.iter().all(|&x| x < high), "{dtype} {low} {high}");
            assert!(x.iter().all(|&x| x >= low), "{dtype} {low} {high}");
            let mean = x.iter().sum::<f64>() / 20_000.0;
            assert!((mean - (low + high) / 2.0).abs() < 0.02 * (high - low), "{dtype} {mean}");
        }
        let same = rng.uniform([5], 0.5, 0.5, dtype).unwrap();
        assert!(wide(&same).iter().all(|&x| x == 0.5));
    }
}

#[test]
fn integers_compute() {
    let a = Tensor::from([[1i32, -2, 3], [4, 5, -6]]);
    assert_eq!(ints::<i64>(a.sum(0)), [5, 3, -3]);
    assert_eq!(ints::<i64>(a.sum(..)), [5]);
    assert_eq!(ints::<i64>(a.gt(0.0).sum(1)), [2, 2]);
    assert_eq!(ints::<i32>(a.max(1)), [3, 5]);
    assert_eq!(ints::<i32>(a.min(0)), [1, -2, -6]);
    assert_eq!(ints::<i64>(a.argmax(1)), [2, 1]);
    assert_eq!(ints::<i64>(a.argmin(0)), [0, 0, 1]);
    assert_eq!(ints::<i32>(a.matmul(a.t())), [14, -24, -24, 77]);
    assert_eq!(ints::<i32>(a.t().matmul(&a))[..3], [17, 18, -21]);
    let bytes = a.to_dtype(DType::I8).unwrap();
    assert_eq!(ints::<i8>(bytes.mul(50.0)), [50, -100, -106, -56, -6, -44]);
    assert_eq!(ints::<i8>(bytes.matmul(Tensor::from([100i8, 100, 100]))), [-56, 44]);
    assert_eq!(ints::<i8>(bytes.clamp(-2.0, 3.0)), [1, -2, 3, 3, 3, -2]);
    assert_eq!(ints::<i32>(a.floor_divide(2.0)), [0, -1, 1, 2, 2, -3]);
    assert_eq!(ints::<i32>(a.remainder(4.0)), [1, 2, 3, 0, 1, 2]);
    assert_eq!(ints::<i32>(a.fmod(4.0)), [1, -2, 3, 0, 1, -2]);
    assert_eq!(ints::<i32>(a.pow(3.0)), [1, -8, 27, 64, 125, -216]);
    assert_eq!(a.div(2.0).unwrap().to_vec::<f32>().unwrap()[..3], [0.5, -1.0, 1.5]);
    assert_eq!(a.exp().unwrap().dtype(), DType::F32);
    assert_eq!(ints::<u8>(Tensor::from([1u8, 2]).sub(2.0)), [255, 0]);
    // A comparison is right also with what the type can't hold.
    assert_eq!(
        bytes.lt(200.0).unwrap().to_vec::<bool>().unwrap(),
        [true; 6],
        "every i8 is below 200"
    );
    let (t, f) = (Tensor::from([true, true]), Tensor::from([true, false]));
    let truth = |x: Result<Tensor>| x.unwrap().to_vec::<bool>().unwrap();
    assert_eq!(truth(t.add(&f)), [true, true]);
    assert_eq!(truth(t.mul(&f)), [true, false]);
    assert_eq!(truth(t.minimum(&f)), [true, false]);
    assert_eq!(
        truth(a.max(0).logical_and(Tensor::from([0.0, 2.0, f64::NAN]))),
        [false, true, true]
    );
}

#[test]
fn what_integers_lack_is_said() {
    let x = Tensor::from([1i32, 0]);
    let says = |x: Result<Tensor>| x.unwrap_err().to_string();
    assert!(says(x.mean(..)).starts_with("mean: not defined for i32: cast to a float type first"));
    assert!(says(x.var(.., 1.0)).contains("not defined for i32"));
    for wrong in [x.floor_divide(0.0), x.remainder(&x), x.fmod(0.0), x.trunc_divide(&x)] {
        assert!(says(wrong).contains("divided by zero"));
    }
    let t = Tensor::from([true]);
    for wrong in [t.sub(&t), t.neg(), t.matmul(&t), t.softmax(0)] {
        assert!(says(wrong).contains("not defined for"));
    }
}

#[test]
fn every_type_is_created_and_read() {
    for dtype in DType::ALL {
        let ones = Tensor::ones([3], dtype).unwrap();
        assert_eq!(wide(&ones), [1.0; 3]);
        assert_eq!(wide(&Tensor::full([2], 1.0, dtype).unwrap()), [1.0; 2]);
        assert_eq!(wide(&Tensor::eye(2, dtype).unwrap()), [1., 0., 0., 1.]);
        assert_eq!(ones.i(0).unwrap().to_f64().unwrap(), 1.0);
        if dtype != DType::Bool {
            let x = Tensor::arange(0., 1., 5, dtype).unwrap();
            assert_eq!(wide(&x), [0., 1., 2., 3., 4.]);
            assert!(x.to_string().ends_with(&format!(", {dtype})")));
            let cat =
                Tensor::cat(&[&x, &ones], 0).flip(0).index_select(0, &Tensor::from([0i64, 7]));
            assert_eq!(wide(&cat.unwrap()), [1., 0.]);
        }
    }
    assert_eq!(Tensor::from([[1i8, 2], [3, 4]]).to_vec::<i8>().unwrap(), [1, 2, 3, 4]);
    assert_eq!(Tensor::from(f16::ONE).item::<f16>().unwrap(), f16::ONE);
    assert_eq!(Tensor::from(vec![bf16::ONE; 2]).to_vec::<bf16>().unwrap(), [bf16::ONE; 2]);
}

#[derive(Module)]
struct Net {
    conv: Conv2d,
    norm: BatchNorm2d,
    out: Linear,
}

impl Forward for Net {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let x = self.norm.forward(&self.conv.forward(x, ctx)?, ctx).relu();
        let x = x.max_pool2d(Pool2dOp::new([2, 2])).flatten(1, -1)?;
        self.out.forward(&x, ctx)
    }
}

#[test]
fn models_train_in_every_float_type() {
    for dtype in [DType::F32, DType::F64, DType::BF16, DType::F16] {
        let mut rng = Generator::new(2);
        let mut net = Net {
            conv: Conv2dConfig::new(1, 4, [3, 3]).build(&mut rng).unwrap(),
            norm: BatchNorm2d::new(4).unwrap(),
            out: Linear::new(36, 3, &mut rng).unwrap(),
        };
        to_dtype(&mut net, dtype).unwrap();
        let x = rng.normal([12, 1, 8, 8], 0., 1., dtype).unwrap();
        let y = Tensor::arange(0., 1., 12, DType::I64).remainder(3.0).unwrap();
        let mut optimizer = Adam::new(0.01);
        let mut losses = Vec::new();
        for _ in 0..20 {
            let step = value_and_grad(&net, &mut rng, |net, ctx| {
                let logits = net.forward(&x, ctx)?;
                assert_eq!(logits.dtype(), dtype);
                logits.cross_entropy(&y)
            })
            .unwrap();
            losses.push(step.loss.to_f64().unwrap());
            optimizer.step(&mut net, &step).unwrap();
        }
        assert_eq!(net.out.weight.dtype(), dtype);
        assert!(losses[19] < 0.5 * losses[0], "{dtype}: {losses:?}");
    }
}
