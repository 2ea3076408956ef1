//! The MNIST network of the examples, the embedded digits, and hashes of tensors, for several topics.

use ferrotape::nn::data::Mnist;
use ferrotape::nn::state_dict;
use ferrotape::prelude::*;

/// conv(1, 32, 3, pad 1)-relu-pool2-conv(32, 64, 3, pad 1)-relu-pool2-fc(3136, 128)-relu-fc(128, 10).
#[derive(Module, Clone)]
pub(crate) struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    fc1: Linear,
    fc2: Linear,
}

impl Cnn {
    pub(crate) fn new(rng: &mut Generator) -> Cnn {
        let conv = |i, o, rng: &mut Generator| {
            Conv2dConfig::new(i, o, [3, 3]).padding([1, 1]).build(rng).unwrap()
        };
        Cnn {
            conv1: conv(1, 32, rng),
            conv2: conv(32, 64, rng),
            fc1: Linear::new(3136, 128, rng).unwrap(),
            fc2: Linear::new(128, 10, rng).unwrap(),
        }
    }
}

impl Forward for Cnn {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx<'_>) -> Result<Tensor> {
        let pool = Pool2dOp::new([2, 2]);
        let x = self.conv1.forward(x, ctx).relu().max_pool2d(pool)?;
        let x = self.conv2.forward(&x, ctx).relu().max_pool2d(pool)?;
        let x = self.fc1.forward(&x.flatten(1, -1)?, ctx).relu()?;
        self.fc2.forward(&x, ctx)
    }
}

/// The first `count` of the embedded training digits.
pub(crate) fn digits(count: usize) -> Mnist {
    let folder = crate::root().join("examples/data/mnist10k");
    Mnist::train(folder).unwrap().first(count).unwrap()
}

/// The bits of the elements, row-major; every NaN as the same one.
pub(crate) fn bits(x: &Tensor) -> Vec<u64> {
    let one_nan = |nan: bool, bits: u64| if nan { u64::MAX } else { bits };
    match x.dtype() {
        DType::F32 => {
            let all = x.to_vec::<f32>().unwrap();
            all.into_iter().map(|v| one_nan(v.is_nan(), v.to_bits().into())).collect()
        }
        DType::F64 => {
            let all = x.to_vec::<f64>().unwrap();
            all.into_iter().map(|v| one_nan(v.is_nan(), v.to_bits())).collect()
        }
        _ => {
            let all = x.to_dtype(DType::I64).to_vec_i64();
            all.into_iter().map(|v| v as u64).collect()
        }
    }
}

/// `to_vec::<i64>` at the end of a chain.
trait ToI64 {
    fn to_vec_i64(self) -> Vec<i64>;
}

impl ToI64 for Result<Tensor> {
    fn to_vec_i64(self) -> Vec<i64> {
        self.unwrap().to_vec().unwrap()
    }
}

/// FNV-1a over shapes and bits.
pub(crate) struct Hash(u64);

impl Hash {
    pub(crate) fn new() -> Hash {
        Hash(0xcbf2_9ce4_8422_2325)
    }

    pub(crate) fn number(&mut self, number: u64) {
        for byte in number.to_le_bytes() {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    pub(crate) fn tensor(&mut self, x: &Tensor) {
        x.shape().iter().for_each(|&size| self.number(size as u64));
        bits(x).into_iter().for_each(|bits| self.number(bits));
    }

    pub(crate) fn finish(&self) -> u64 {
        self.0
    }
}

/// Of all parameters and buffers.
pub(crate) fn hash_model<M: Module + ?Sized>(model: &M) -> u64 {
    let mut hash = Hash::new();
    state_dict(model).values().for_each(|tensor| hash.tensor(tensor));
    hash.finish()
}
