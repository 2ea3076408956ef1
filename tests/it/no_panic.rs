//! No wrong input makes the library panic: every operation, with operands and settings drawn at random, right and wrong alike.

mod int8;
mod methods;
mod quantize;

pub(crate) use methods::in_source;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Mutex;

use ferrotape::autograd::Tape;
use ferrotape::chain::*;
use ferrotape::*;
use ferrotape_kernels::cpu::random::Philox;

const CASES: usize = 40_000;
const DTYPES: [DType; 9] = DType::ALL;

/// Every variant of [`Op`]; compared with the source, so that a new one must be added here and in [`draw_op`].
const VARIANTS: &[&str] = &[
    "Unary",
    "Binary",
    "Compare",
    "Logical",
    "Select",
    "Reduce",
    "ArgReduce",
    "Scan",
    "Sort",
    "SearchSorted",
    "Svd",
    "Matmul",
    "Linear",
    "LinearWeight",
    "View",
    "Copy",
    "Concat",
    "Index",
    "Conv2d",
    "Conv2dInput",
    "Conv2dWeight",
    "Conv2dMaxPool2d",
    "Conv2dMaxPool2dInput",
    "Conv2dMaxPool2dWeight",
    "MaxPool2d",
    "MaxPool2dScatter",
    "MaxPool2dGather",
    "MaxPool2dIndex",
    "AvgPool2d",
    "AvgPool2dInput",
    "Quantize",
    "Dequantize",
    "FakeQuantize",
    "MatmulInteger",
    "ConvInteger",
    "Softmax",
    "LayerNorm",
    "LayerNormInput",
    "LayerNormWeight",
    "MseLoss",
    "MseLossInput",
    "CrossEntropy",
    "CrossEntropyInput",
    "Sequence",
    "SequenceBackward",
    "Int8",
    "Random",
    "Cast",
    "Transfer",
    "Assign",
];
const MORE_VARIANTS: [&str; 3] = ["Optimize", "StopGradient", "Custom"];

pub(crate) fn variants() -> impl Iterator<Item = &'static str> {
    VARIANTS.iter().copied().chain(MORE_VARIANTS)
}

pub(crate) struct Rng {
    state: u64,
    /// Where tensors are drawn.
    device: Device,
}

impl Rng {
    pub(crate) fn new(state: u64, device: Device) -> Rng {
        Rng { state, device }
    }
    /// A state to draw from.
    pub(crate) fn seed(&mut self) -> u64 {
        self.next() << 16 | 1
    }
    fn next(&mut self) -> u64 {
        self.state ^= self.state << 13;
        self.state ^= self.state >> 7;
        self.state ^= self.state << 17;
        self.state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 16
    }
    fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
    fn chance(&mut self, one_in: usize) -> bool {
        self.below(one_in) == 0
    }
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
    /// A setting: mostly small, sometimes absurd. Nothing between, so that nothing takes long.
    fn setting(&mut self) -> usize {
        if self.chance(12) { self.huge() } else { self.pick(&[0, 1, 1, 1, 1, 2, 2, 3, 5]) }
    }
    fn huge(&mut self) -> usize {
        let max = usize::MAX;
        self.pick(&[max, max - 1, max / 2, max / 2 + 1, max / 4, 1 << 62, 1 << 40])
    }
    fn pair(&mut self) -> [usize; 2] {
        [self.setting(), self.setting()]
    }
    fn number(&mut self) -> f64 {
        let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e300, -1e-300, 2.0, 1e19];
        if self.chance(4) { self.pick(&odd) } else { self.below(2000) as f64 / 1000.0 - 0.5 }
    }
    fn dtype(&mut self) -> DType {
        if self.chance(2) { DType::F32 } else { self.pick(&DTYPES) }
    }
    fn dim(&mut self, rank: usize) -> usize {
        if self.chance(8) { self.setting() } else { self.below(rank.max(1)) }
    }
    fn shape(&mut self, rank: usize) -> Vec<usize> {
        let mut shape: Vec<usize> = (0..rank)
            .map(|_| if self.chance(25) { 0 } else { self.pick(&[1, 1, 2, 2, 3, 4, 5, 17]) })
            .collect();
        while shape.iter().product::<usize>() > 5000 {
            let d = self.below(rank);
            shape[d] = 1;
        }
        if shape.contains(&0) && self.chance(3) {
            let d = self.below(rank);
            shape[d] = if shape[d] == 0 { 0 } else { self.huge() };
        }
        shape
    }

    /// Elements of this type and shape, in memory of any layout.
    fn tensor(&mut self, shape: &[usize], dtype: DType) -> Tensor {
        if shape.contains(&0) {
            return Tensor::zeros(shape, (dtype, self.device)).unwrap();
        }
        // A huge size is only there beside a zero.
        let shape: Vec<usize> = shape.iter().map(|&s| if s > 100 { 2 } else { s }).collect();
        let len = shape.iter().product();
        let plain = match dtype {
            DType::F32 => {
                Tensor::from_vec((0..len).map(|_| self.number() as f32).collect(), &shape[..])
            }
            DType::F64 => Tensor::from_vec((0..len).map(|_| self.number()).collect(), &shape[..]),
            DType::I64 => {
                let near = if self.chance(3) { 7 } else { 2 };
                let numbers = (0..len).map(|_| self.below(near) as i64 - i64::from(near == 7));
                Tensor::from_vec(numbers.collect(), &shape[..])
            }
            DType::U8 => {
                Tensor::from_vec((0..len).map(|_| self.below(5) as u8).collect(), &shape[..])
            }
            DType::I8 | DType::I32 | DType::F16 | DType::BF16 => {
                let plain: Vec<f64> = (0..len).map(|_| 3.0 * self.number()).collect();
                Tensor::from_vec(plain, &shape[..]).to_dtype(dtype)
            }
            _ => Tensor::from_vec((0..len).map(|_| self.chance(2)).collect(), &shape[..]),
        };
        self.laid_out(plain.to_device(self.device).unwrap())
    }

    fn laid_out(&mut self, plain: Tensor) -> Tensor {
        let rank = plain.rank();
        if rank == 0 {
            return plain;
        }
        let dim = self.below(rank) as i64;
        let other = self.below(rank) as i64;
        match self.below(6) {
            0 => plain.transpose(dim, other).copy().transpose(dim, other),
            1 => plain.flip(dim),
            2 => Tensor::cat(&[&plain, &plain], dim).narrow(
                dim,
                plain.shape()[dim as usize],
                plain.shape()[dim as usize],
            ),
            3 => plain.narrow(dim, 0, 1).expand(plain.shape()),
            _ => Ok(plain),
        }
        .unwrap()
    }

    fn any(&mut self) -> Tensor {
        let rank = self.below(6);
        let (shape, dtype) = (self.shape(rank), self.dtype());
        self.tensor(&shape, dtype)
    }
}

/// A custom operation that says one thing and may do another.
#[derive(Debug)]
struct Odd {
    announces: usize,
    gives: usize,
}

impl CustomOp for Odd {
    fn name(&self) -> &'static str {
        "odd"
    }
    fn output_metas(&self, inputs: &[Meta]) -> Result<Vec<Meta>> {
        Ok(inputs.iter().cycle().take(self.announces).cloned().collect())
    }
    fn forward(&self, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
        Ok(inputs.iter().cycle().take(self.gives).map(|&x| x.clone()).collect())
    }
    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

fn conv(rng: &mut Rng) -> Conv2dOp {
    if rng.chance(2) {
        return Conv2dOp::default().padding([1, 1]);
    }
    let op = Conv2dOp::default().stride(rng.pair()).padding(rng.pair());
    let groups = rng.pick(&[1, 1, 1, 2, 0, usize::MAX]);
    op.dilation(rng.pair()).groups(groups)
}

fn pool(rng: &mut Rng) -> Pool2dOp {
    if rng.chance(2) {
        return Pool2dOp::new([2, 2]);
    }
    let op = Pool2dOp::new(rng.pair()).stride(rng.pair()).padding(rng.pair());
    op.dilation(if rng.chance(2) { rng.pair() } else { [1, 1] }).ceil_mode(rng.chance(2))
}

fn windows(rng: &mut Rng) -> WindowsOp {
    if rng.chance(2) { WindowsOp::Adaptive(rng.pair()) } else { WindowsOp::Sliding(pool(rng)) }
}

fn draw_view(rng: &mut Rng, shape: &[usize]) -> ViewOp {
    let rank = shape.len();
    match rng.below(6) {
        0 if rng.chance(2) => ViewOp::Reshape(shape.iter().rev().copied().collect()),
        0 => ViewOp::Reshape((0..rng.below(5)).map(|_| rng.setting()).collect()),
        1 if rng.chance(2) => ViewOp::Permute((0..rank).rev().collect()),
        1 => ViewOp::Permute((0..rank).map(|_| rng.dim(rank)).collect()),
        2 => {
            let lead = (0..rng.below(3)).map(|_| rng.setting()).collect::<Vec<_>>();
            let rest = shape.iter().map(|&s| if s == 1 { rng.setting() } else { s });
            ViewOp::Expand(lead.into_iter().chain(rest).collect())
        }
        3 => {
            let offset = rng.pick(&[0, 0, 1, -1, 3, i64::MIN, i64::MAX]);
            ViewOp::Diagonal(Diagonal { offset, dims: [rng.dim(rank), rng.dim(rank)] })
        }
        4 => ViewOp::Unfold { dim: rng.dim(rank), size: rng.setting(), step: rng.setting() },
        _ => {
            let step = rng.pick(&[1, 1, 1, 2, -1, -2, 0, isize::MAX, isize::MIN, isize::MIN + 1]);
            let (dim, start, length) = (rng.dim(rank), rng.setting(), rng.setting());
            ViewOp::Slice { dim, start, length, step }
        }
    }
}

fn draw_index(rng: &mut Rng, shape: &[usize]) -> IndexOp {
    let dim = rng.dim(shape.len());
    match rng.below(8) {
        0 => IndexOp::Gather(dim),
        4 => {
            let diagonal =
                Diagonal { offset: rng.pick(&[0, 1, -1]), dims: [dim, rng.dim(shape.len() + 1)] };
            let size = shape.last().map_or(1, |size| size.saturating_add(1));
            let sizes = if rng.chance(3) { rng.pair() } else { [size, size] };
            IndexOp::Undiagonal { diagonal, sizes }
        }
        5 => {
            let (step, taps) = (rng.setting(), shape.last().copied().unwrap_or(1));
            let windows = shape.get(dim).copied().unwrap_or(1);
            let size = windows.saturating_sub(1).saturating_mul(step).saturating_add(taps);
            IndexOp::Fold { dim, step, size: if rng.chance(3) { rng.setting() } else { size } }
        }
        6 => {
            let all = [ScatterOp::Last, ScatterOp::Prod, ScatterOp::Max, ScatterOp::Min];
            IndexOp::Scatter { dim, how: rng.pick(&all) }
        }
        1 => {
            let mut shape: Dims = shape.iter().copied().collect();
            if let Some(size) = shape.get_mut(dim).filter(|_| rng.chance(2)) {
                *size = rng.setting();
            }
            IndexOp::ScatterAdd { dim, shape }
        }
        2 => IndexOp::Select(dim),
        3 => IndexOp::Add { dim, size: rng.setting() },
        _ => {
            let step = rng.pick(&[1, 1, 2, -1, 0, isize::MAX, isize::MIN]);
            let size = if rng.chance(2) { 50 } else { rng.setting() };
            IndexOp::Unslice { dim, start: rng.setting(), step, size }
        }
    }
}

fn draw_random(rng: &mut Rng) -> Op {
    let kind = match rng.below(3) {
        0 => RandomOp::Uniform { low: rng.number(), high: rng.number() },
        1 => RandomOp::Normal { mean: rng.number(), std: rng.number() },
        _ => RandomOp::Bernoulli { p: rng.number(), value: rng.number() },
    };
    let (seed, stream) = (rng.next(), rng.next());
    let at = Philox { seed, stream, block: rng.pick(&[0, 1, u64::MAX]) };
    let rank = rng.below(5);
    let mut shape: Dims = rng.shape(rank).into_iter().collect();
    if let Some(size) = shape.first_mut().filter(|_| rng.chance(10)) {
        *size = rng.huge();
    }
    Op::Random(kind, at, Meta { shape, dtype: rng.dtype(), device: rng.device })
}

/// A step, and how many states it has.
fn draw_optimize(rng: &mut Rng) -> (OptimizeOp, usize) {
    let (lr, weight_decay, maximize) = (rng.number(), rng.number(), rng.chance(2));
    let momentum = rng.pick(&[0.0, 0.9, f64::NAN]);
    let (eps, step) = (rng.number(), rng.pick(&[0, 1, 2, u64::MAX]));
    let moves = usize::from(momentum != 0.0);
    match rng.below(4) {
        0 => {
            let (nesterov, first) = (rng.chance(2), rng.chance(2));
            let dampening = rng.number();
            let step = SgdStep { lr, momentum, dampening, weight_decay, nesterov, first, maximize };
            (OptimizeOp::Sgd(step), moves)
        }
        1 => {
            let (beta1, beta2) = (rng.number(), rng.number());
            let (decoupled, amsgrad) = (rng.chance(2), rng.chance(2));
            let settings = AdamStep {
                lr,
                beta1,
                beta2,
                eps,
                weight_decay,
                decoupled,
                step,
                amsgrad,
                maximize,
            };
            (OptimizeOp::Adam(settings), 2 + usize::from(amsgrad))
        }
        2 => {
            let (alpha, centered) = (rng.number(), rng.chance(2));
            let step = RmsPropStep { lr, alpha, eps, weight_decay, momentum, centered, maximize };
            (OptimizeOp::RmsProp(step), 1 + usize::from(centered) + moves)
        }
        _ => {
            let lr_decay = rng.number();
            let settings = AdagradStep { lr, lr_decay, eps, weight_decay, step, maximize };
            (OptimizeOp::Adagrad(settings), 1)
        }
    }
}

/// An operation of this variant, and operands of which at least the first may fit.
pub(crate) fn draw_op(rng: &mut Rng, variant: &str) -> (Op, Vec<Tensor>) {
    let activation = rng.pick(&[Activation::None, Activation::Relu]);
    let x = rng.any();
    let shape = x.shape().to_vec();
    let rank = shape.len();
    let twin = |rng: &mut Rng| {
        let shape: Vec<usize> = shape.iter().map(|&s| if rng.chance(4) { 1 } else { s }).collect();
        rng.tensor(&shape, x.dtype())
    };
    let like = |rng: &mut Rng| rng.tensor(&shape, x.dtype());
    let dims = |rng: &mut Rng| {
        let mut dims: Dims = (0..rng.below(4)).map(|_| rng.dim(rank)).collect();
        if rng.chance(2) {
            dims.sort_unstable();
            dims.dedup();
        }
        ReduceDims { dims, keep: rng.chance(2) }
    };
    match variant {
        "Unary" => (Op::Unary(rng.pick(UnaryOp::ALL)), vec![x]),
        "Binary" => (Op::Binary(rng.pick(BinaryOp::ALL)), vec![twin(rng), x]),
        "Compare" => (Op::Compare(rng.pick(CompareOp::ALL)), vec![twin(rng), x]),
        "Logical" => {
            let dtypes = [if rng.chance(2) { DType::Bool } else { x.dtype() }; 2];
            let operands = dtypes.map(|dtype| rng.tensor(&shape, dtype));
            (Op::Logical(rng.pick(LogicalOp::ALL)), operands.into())
        }
        "Select" => (Op::Select, vec![rng.tensor(&shape, DType::Bool), twin(rng), x]),
        "Reduce" => {
            let kind = rng.pick(&[ReduceOp::Sum, ReduceOp::Prod, ReduceOp::Max, ReduceOp::Min]);
            (Op::Reduce(kind, dims(rng)), vec![x])
        }
        "ArgReduce" => {
            let kind = rng.pick(&[ArgOp::Max, ArgOp::Min]);
            (Op::ArgReduce(kind, dims(rng)), vec![x])
        }
        "Scan" => {
            let kind =
                rng.pick(&[ScanOp::Sum, ScanOp::Prod, ScanOp::Max, ScanOp::Min, ScanOp::Linear]);
            let op = Op::Scan(kind, rng.dim(rank));
            (op, if kind == ScanOp::Linear { vec![like(rng), x] } else { vec![x] })
        }
        "Sort" => (Op::Sort { dim: rng.dim(rank), descending: rng.chance(2) }, vec![x]),
        "SearchSorted" => {
            let mut shape = shape.clone();
            if let Some(last) = shape.last_mut() {
                *last = rng.pick(&[0, 1, 3]);
            }
            let sorted =
                if rng.chance(3) { shape.split_off(rank.saturating_sub(1)) } else { shape };
            let sorted = rng.tensor(&sorted, x.dtype());
            (Op::SearchSorted { right: rng.chance(2) }, vec![sorted, x])
        }
        "Svd" => (Op::Svd, vec![x]),
        "View" => (Op::View(draw_view(rng, &shape)), vec![x]),
        "Copy" => (Op::Copy, vec![x]),
        "Concat" => (Op::Concat(rng.dim(rank)), vec![like(rng), like(rng), x]),
        "Index" => {
            let index = draw_index(rng, &shape);
            match index {
                IndexOp::Unslice { .. } | IndexOp::Undiagonal { .. } | IndexOp::Fold { .. } => {
                    return (Op::Index(index), vec![x]);
                }
                IndexOp::Scatter { .. } => {
                    let numbers = rng.tensor(&shape, DType::I64);
                    return (Op::Index(index), vec![like(rng), numbers, x]);
                }
                _ => {}
            }
            let flat = matches!(index, IndexOp::Select(_) | IndexOp::Add { .. });
            let length = *rng.pick(&[Some(&3), shape.first()]).unwrap_or(&1);
            let numbers = match flat && length < 100 {
                true => rng.tensor(&[length], DType::I64),
                false => rng.tensor(&shape, DType::I64),
            };
            (Op::Index(index), vec![x, numbers])
        }
        "Quantize" | "Dequantize" | "FakeQuantize" | "MatmulInteger" | "ConvInteger" => {
            quantize::draw(rng, variant)
        }
        "Int8" => int8::draw(rng),
        "Softmax" => (Op::Softmax { dim: rng.dim(rank), log: rng.chance(2) }, vec![x]),
        "Random" => (draw_random(rng), vec![]),
        "Cast" => (Op::Cast(rng.pick(&DTYPES)), vec![x]),
        "Transfer" => (Op::Transfer(Device::best()), vec![x]),
        "Assign" => (Op::Assign, vec![like(rng), x]),
        "Optimize" => {
            let (step, states) = draw_optimize(rng);
            let mut operands: Vec<Tensor> = (0..=states).map(|_| like(rng)).collect();
            operands.push(x);
            (Op::Optimize(step), operands)
        }
        "StopGradient" => (Op::StopGradient, vec![x]),
        "Custom" => {
            let odd = Odd { announces: rng.below(3), gives: rng.below(3) };
            (Op::Custom(Rc::new(odd)), vec![x])
        }
        _ => draw_network_op(rng, variant, activation),
    }
}

/// Products, convolutions, pools and losses: operands of one float type, in shapes that belong together.
fn draw_network_op(rng: &mut Rng, variant: &str, activation: Activation) -> (Op, Vec<Tensor>) {
    let dtype = rng.pick(&[DType::F32, DType::F64, DType::F16, DType::BF16]);
    let s = rng.shape(6);
    let [a, b, c] = [s[0], s[1], s[2]];
    let mut float = |shape: &[usize]| rng.tensor(shape, dtype);
    match variant {
        "Matmul" => (Op::Matmul, vec![float(&[s[3], a, b]), float(&[b, c])]),
        "Linear" => {
            let operands = vec![float(&[s[3], a, b]), float(&[c, b]), float(&[c])];
            use LinearActivation::{None, Relu, Sigmoid, Tanh};
            (Op::Linear(rng.pick(&[None, Relu, Sigmoid, Tanh])), operands)
        }
        "LayerNorm" | "LayerNormInput" | "LayerNormWeight" => {
            let eps = if rng.chance(2) { 1e-5 } else { rng.number() };
            let mut float = |shape: &[usize]| rng.tensor(shape, dtype);
            let (x, g, w) = (float(&[a, b, c]), float(&[a, b, c]), float(&[c]));
            let stats = float(&[a, b, 2]);
            match variant {
                "LayerNorm" => (Op::LayerNorm { eps }, vec![x, w.clone(), w]),
                "LayerNormInput" => (Op::LayerNormInput { eps }, vec![g, x, stats, w]),
                _ => (Op::LayerNormWeight { eps }, vec![g, x, stats]),
            }
        }
        "LinearWeight" => (Op::LinearWeight, vec![float(&[a, b]), float(&[a, c])]),
        "MseLoss" => (Op::MseLoss, vec![float(&[a, b]), float(&[a, b])]),
        "MseLossInput" => (Op::MseLossInput, vec![float(&[a, b]), float(&[a, b]), float(&[])]),
        "CrossEntropy" | "CrossEntropyInput" => {
            let mut operands = vec![float(&[a, b]), float(&[a])];
            operands.insert(1, rng.tensor(&[a], DType::I64));
            if variant == "CrossEntropy" {
                operands.truncate(2);
                return (Op::CrossEntropy, operands);
            }
            (Op::CrossEntropyInput, operands)
        }
        "MaxPool2dIndex" | "AvgPool2d" | "AvgPool2dInput" => {
            let x = float(&[a, b, 4, 6]);
            let windows = windows(rng);
            let by = rng.pick(&[0, 1, -3, i64::MAX]);
            let by = rng.pick(&[Divisor::Elements, Divisor::Padded, Divisor::By(by)]);
            match variant {
                "MaxPool2dIndex" => (Op::MaxPool2dIndex(windows), vec![x]),
                "AvgPool2d" => (Op::AvgPool2d(windows, by), vec![x]),
                _ => {
                    let y = x.window_mean(windows, by).unwrap_or(x);
                    let size = if rng.chance(4) { rng.pair() } else { [4, 6] };
                    (Op::AvgPool2dInput(windows, by, size), vec![y])
                }
            }
        }
        "Sequence" | "SequenceBackward" => draw_sequence(rng, variant, dtype),
        "Conv2dMaxPool2d" | "Conv2dMaxPool2dInput" | "Conv2dMaxPool2dWeight" => {
            let (x, w, bias) = (float(&[a, b, 5, 4]), float(&[c, b, 3, 2]), float(&[c]));
            let pool = if rng.chance(2) { pool(rng) } else { Pool2dOp::new([2, 2]) };
            let conv = conv(rng);
            let taps = x.conv2d(&w, None, conv).max_pool2d_with_taps(pool);
            let taps =
                taps.map(|(_, taps)| taps).unwrap_or_else(|_| rng.tensor(&[a, c, 1, 1], DType::U8));
            let taps = if rng.chance(4) { rng.tensor(taps.shape(), DType::U8) } else { taps };
            let g = rng.tensor(taps.shape(), dtype);
            let size = |rng: &mut Rng, is| if rng.chance(6) { rng.pair() } else { is };
            match variant {
                "Conv2dMaxPool2d" => (Op::Conv2dMaxPool2d(conv, pool), vec![x, w, bias]),
                "Conv2dMaxPool2dInput" => {
                    (Op::Conv2dMaxPool2dInput(conv, pool, size(rng, [5, 4])), vec![g, w, taps])
                }
                _ => (Op::Conv2dMaxPool2dWeight(conv, pool, size(rng, [3, 2])), vec![x, g, taps]),
            }
        }
        "MaxPool2d" | "MaxPool2dScatter" | "MaxPool2dGather" => {
            let x = float(&[a, b, 4, 6]);
            let settings = pool(rng);
            let taps = (x.max_pool2d_with_taps(settings).map(|(_, taps)| taps))
                .unwrap_or_else(|_| rng.tensor(&[a, b, 2, 3], DType::U8));
            let taps = if rng.chance(2) { rng.tensor(taps.shape(), DType::U8) } else { taps };
            let g = rng.tensor(taps.shape(), dtype);
            let size = if rng.chance(4) { rng.pair() } else { [4, 6] };
            match variant {
                "MaxPool2d" => (Op::MaxPool2d(settings), vec![x]),
                "MaxPool2dScatter" => (Op::MaxPool2dScatter(settings, size), vec![g, taps]),
                _ => (Op::MaxPool2dGather(settings), vec![x, taps]),
            }
        }
        _ => {
            let (x, w, bias) = (float(&[a, b, 5, 4]), float(&[c, b, 3, 2]), float(&[c]));
            let settings = conv(rng);
            let y = match x.conv2d(&w, None, settings) {
                Ok(y) => y,
                Err(_) => rng.any(),
            };
            let size = |rng: &mut Rng, is| if rng.chance(4) { rng.pair() } else { is };
            match variant {
                "Conv2d" => (Op::Conv2d(settings, activation), vec![x, w, bias]),
                "Conv2dInput" => (Op::Conv2dInput(settings, size(rng, [5, 4])), vec![y, w]),
                "Conv2dWeight" => (Op::Conv2dWeight(settings, size(rng, [3, 2])), vec![x, y]),
                _ => panic!("{variant}: add it to draw_op"),
            }
        }
    }
}

/// A recurrent layer or its backward pass.
fn draw_sequence(rng: &mut Rng, variant: &str, dtype: DType) -> (Op, Vec<Tensor>) {
    use RecurrentCell::*;
    let cell = rng.pick(&[Lstm, Gru, RnnTanh, RnnRelu]);
    let [reverse, bias, lengths, state] =
        [rng.chance(2), rng.chance(2), rng.chance(3), rng.chance(2)];
    let projection = (cell == Lstm && rng.chance(3)) || rng.chance(30);
    let settings = SequenceOp { cell, reverse, state, bias, projection, lengths };
    let s = rng.shape(5);
    let [steps, batch, hidden] = [s[0].clamp(1, 20), s[1], s[2].clamp(1, 20)];
    let output = if projection { s[3].clamp(1, 20) } else { hidden };
    let gates = hidden * cell.gates();
    let cells = (cell == Lstm).then_some(vec![batch, hidden]);
    let w_hr = projection.then_some(vec![output, hidden]);
    let mut shapes = Vec::new();
    if variant == "Sequence" {
        shapes.push(vec![steps, batch, s[4]]);
        shapes.extend(state.then_some(vec![batch, output]));
        shapes.extend(cells.filter(|_| state));
        shapes.extend([vec![gates, s[4]], vec![gates, output]]);
        shapes.extend(std::iter::repeat_n(vec![gates], if bias { 2 } else { 0 }));
        shapes.extend(w_hr);
    } else {
        let y = vec![steps, batch, output];
        shapes.extend(state.then_some(vec![batch, output]));
        shapes.extend(cells.clone().filter(|_| state));
        shapes.push(vec![gates, output]);
        shapes.extend(w_hr);
        let saved = vec![steps, batch, cell.saved(projection) * hidden];
        shapes.extend([y.clone(), saved, y, vec![batch, output]]);
        shapes.extend(cells);
    }
    let mut operands: Vec<Tensor> = shapes.iter().map(|shape| rng.tensor(shape, dtype)).collect();
    if lengths {
        let batch = if batch > 100 { 0 } else { batch };
        let longest = if rng.chance(4) { steps + 2 } else { steps };
        let all = (0..batch).map(|_| rng.below(longest) as i64 + i64::from(longest == steps));
        let all = Tensor::from_vec(all.collect(), [batch]).to_device(rng.device);
        operands.push(all.unwrap());
    }
    let op = if variant == "Sequence" { Op::Sequence } else { Op::SequenceBackward };
    (op(settings), operands)
}

/// Makes some operands wrong.
pub(crate) fn spoil(rng: &mut Rng, operands: &mut Vec<Tensor>) {
    match rng.below(8) {
        0 => drop(operands.pop()),
        1 => operands.push(rng.any()),
        2 | 3 if !operands.is_empty() => {
            let place = rng.below(operands.len());
            operands[place] = rng.any();
        }
        _ => {}
    }
}

/// Applies `op` with operands lent, given, changed or no tensors at all; says whether all were tensors.
fn call(rng: &mut Rng, op: &Op, tensors: &[Tensor]) -> (Result<Outputs>, bool) {
    let update = matches!(op, Op::Assign | Op::Optimize(_));
    let mut own = tensors.to_vec();
    let mut operands: Vec<Operand<'_>> = Vec::new();
    for (i, tensor) in own.iter_mut().enumerate() {
        operands.push(match rng.below(40) {
            0 => Operand::Scalar(rng.number()),
            1 => Operand::Failed(Error::other("broken before")),
            2 => Operand::Mut(tensor),
            _ if update && i != 1 => Operand::Mut(tensor),
            n if n % 4 == 0 => tensor.copy().into(),
            _ => Operand::Ref(tensor),
        });
    }
    let plain = operands.iter().all(|operand| operand.tensor().is_some());
    (apply(op, &mut operands), plain)
}

/// The backward pass through `op`, where it has a rule.
fn backward(op: &Op, tensors: &[Tensor]) -> Result<()> {
    let metas: Vec<Meta> = tensors.iter().map(Tensor::meta).collect();
    if output_metas(op, &metas)?.iter().any(|y| y.shape.iter().any(|&size| size > 1 << 20)) {
        return Ok(());
    }
    let (sum, tape) = Tape::record(|tape| {
        tensors.iter().for_each(|x| tape.watch(x));
        let mut operands: Vec<Operand<'_>> = tensors.iter().map(Operand::Ref).collect();
        apply(op, &mut operands)?.into_iter().next().ok_or_else(|| Error::other("none")).sum(..)
    })?;
    tape.gradient_or_none(&sum, &tensors.iter().collect::<Vec<_>>()).map(drop)
}

/// What can be read of results must be what was announced.
fn inspect(op: &Op, tensors: &[Tensor], outcome: &Result<Outputs>, plain: bool) {
    let Ok(outputs) = outcome else {
        let message = outcome.as_ref().unwrap_err().to_string();
        let ours = ["internal", "operand is missing", "nowhere to write"];
        assert!(!ours.iter().any(|fault| message.contains(fault)), "{message}");
        return;
    };
    let metas: Vec<Meta> = tensors.iter().map(Tensor::meta).collect();
    assert!(!plain || outputs.iter().map(Tensor::meta).eq(output_metas(op, &metas).unwrap()));
    for y in outputs.iter().filter(|y| y.len() < 10_000) {
        assert_eq!(y.to_dtype(DType::F64).unwrap().to_vec::<f64>().unwrap().len(), y.len());
    }
}

#[test]
fn every_variant_of_op_is_drawn() {
    let path = crate::root().join("tensor/src/op.rs");
    let source = std::fs::read_to_string(path).unwrap();
    let body = source.split("pub enum Op {").nth(1).unwrap().split("\n}").next().unwrap();
    let names = body.lines().filter_map(|line| {
        let name = line.strip_prefix("    ").filter(|name| name.starts_with(char::is_uppercase));
        name.map(|name| name.split(|c: char| !c.is_alphanumeric()).next().unwrap_or(name))
    });
    let (found, drawn): (Vec<&str>, Vec<&str>) = (names.collect(), variants().collect());
    assert_eq!(found, drawn, "tensor/src/op.rs and the variants drawn here");
}

#[test]
fn no_operation_panics() {
    // Wrong sizes must meet the limit before they meet the machine.
    Device::Cpu.set_memory_limit(Some(1 << 30));
    static PLACE: Mutex<String> = Mutex::new(String::new());
    std::panic::set_hook(Box::new(|panic| {
        *PLACE.lock().unwrap() = panic.location().map_or(String::new(), ToString::to_string);
    }));
    let mut rng = Rng::new(0x9e37_79b9_7f4a_7c15, Device::Cpu);
    let (one, two) = (Tensor::from([1f32, 2.]), Tensor::from([3f32]));
    let mut counts: BTreeMap<&str, [usize; 2]> = BTreeMap::new();
    let mut panics = BTreeMap::new();
    let names: Vec<&str> = variants().collect();
    for case in 0..CASES {
        let name = names[case % names.len()];
        let before = rng.state;
        let told = catch_unwind(AssertUnwindSafe(|| {
            let (op, mut tensors) = draw_op(&mut rng, name);
            spoil(&mut rng, &mut tensors);
            let (outcome, plain) = call(&mut rng, &op, &tensors);
            inspect(&op, &tensors, &outcome, plain);
            let _ = backward(&op, &tensors);
            (outcome.is_ok(), op)
        }));
        match told {
            Ok((ok, _)) => counts.entry(name).or_default()[usize::from(ok)] += 1,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().cloned();
                let text = text.or_else(|| panic.downcast_ref::<&str>().map(|s| s.to_string()));
                let place = PLACE.lock().unwrap().clone();
                panics
                    .entry(format!("{name}: {text:?} at {place}"))
                    .or_insert(describe(before, name));
            }
        }
        assert_eq!((&one + &two).unwrap().to_vec::<f32>().unwrap(), [4., 5.]);
    }
    let _ = std::panic::take_hook();
    Device::Cpu.set_memory_limit(None);
    assert!(panics.is_empty(), "{} panics: {panics:#?}", panics.len());
    for (name, [err, ok]) in counts {
        println!("{name:18} ok {ok:5} err {err:5}");
        assert!(ok > 50 && err > 50, "{name}: {ok} right and {err} wrong calls: draw more of both");
    }
}

/// The case again, in words.
fn describe(state: u64, name: &str) -> String {
    let mut rng = Rng::new(state, Device::Cpu);
    let drawn = catch_unwind(AssertUnwindSafe(|| {
        let (op, mut tensors) = draw_op(&mut rng, name);
        spoil(&mut rng, &mut tensors);
        let metas: Vec<_> = tensors.iter().map(|t| (t.meta(), t.layout().clone())).collect();
        format!("{op:?} of {metas:?}")
    }));
    drawn.unwrap_or_else(|_| "while it was drawn".to_string())
}
