//! PyTorch's operations in our words, for the OpInfo cases: `None` where we have no word for the arguments.

use ferrotape::prelude::*;

use crate::opinfo::{Arg, Args};

type Called = Option<Result<Tensor>>;

impl Arg {
    fn tensor(&self) -> Option<&Tensor> {
        if let Arg::Tensor(tensor) = self { Some(tensor) } else { None }
    }
    fn int(&self) -> Option<i64> {
        if let Arg::Int(int) = self { Some(*int) } else { None }
    }
    fn bool(&self) -> Option<bool> {
        if let Arg::Bool(bool) = self { Some(*bool) } else { None }
    }
    fn number(&self) -> Option<f64> {
        match *self {
            Arg::Int(int) => Some(int as f64),
            Arg::Float(float) => Some(float),
            _ => None,
        }
    }
    /// One number or a list of them.
    fn ints(&self) -> Option<Vec<i64>> {
        match self {
            Arg::List(list) => list.iter().map(Arg::int).collect(),
            one => Some(vec![one.int()?]),
        }
    }
    fn sizes(&self) -> Option<Vec<usize>> {
        self.ints()?.into_iter().map(|size| usize::try_from(size).ok()).collect()
    }
    /// Height and width, which may be one number.
    fn pair(&self) -> Option<[usize; 2]> {
        match self.sizes()?[..] {
            [both] => Some([both, both]),
            [h, w] => Some([h, w]),
            _ => None,
        }
    }
}

impl Args {
    /// An argument by place or by name; `None` (Python's too) if it is absent.
    fn get(&self, place: usize, name: &str) -> Option<&Arg> {
        let found = self.list.get(place).or_else(|| self.named.get(name));
        found.filter(|arg| !matches!(arg, Arg::None))
    }
    fn tensor(&self, place: usize) -> Option<&Tensor> {
        self.list.get(place)?.tensor()
    }
    /// True if a named argument has another value than `usual`.
    fn asks(&self, name: &str, usual: &str) -> bool {
        match self.named.get(name) {
            None | Some(Arg::None) => false,
            Some(Arg::Text(text)) => text != usual,
            Some(Arg::Bool(bool)) => bool.to_string() != usual,
            Some(Arg::Int(int)) => int.to_string() != usual,
            Some(_) => true,
        }
    }
}

/// The outputs of operation `op`.
pub(crate) fn call(op: &str, args: &Args) -> Option<Result<Vec<Tensor>>> {
    if let ("cat" | "stack", Some(Arg::List(list))) = (op, args.list.first()) {
        let tensors: Vec<&Tensor> = list.iter().map(Arg::tensor).collect::<Option<_>>()?;
        // PyTorch's legacy: an empty vector fits beside anything.
        let ranks_differ = tensors.iter().any(|t| t.rank() != tensors[0].rank());
        if op == "cat" && ranks_differ {
            return None;
        }
        let dim = args.get(1, "dim").map_or(Some(0), Arg::int)?;
        let made =
            if op == "cat" { Tensor::cat(&tensors, dim) } else { Tensor::stack(&tensors, dim) };
        return Some(made.map(|y| vec![y]));
    }
    let op = op.strip_prefix("nn.functional.").unwrap_or(op);
    let x = args.tensor(0)?;
    let y = unary(op, args, x)
        .or_else(|| binary(op, args, x))
        .or_else(|| reduction(op, args, x))
        .or_else(|| shape(op, args, x))
        .or_else(|| selection(op, args, x))
        .or_else(|| network(op, args, x))
        .or_else(|| loss(op, args, x));
    y.map(|y| y.map(|y| vec![y]))
}

fn unary(op: &str, args: &Args, x: &Tensor) -> Called {
    if args.list.len() > 1 && op != "leaky_relu" {
        return None;
    }
    Some(match op {
        "neg" => x.neg(),
        "abs" => x.abs(),
        "sign" => x.sign(),
        "reciprocal" => x.reciprocal(),
        "square" => x.square(),
        "sqrt" => x.sqrt(),
        "rsqrt" => x.rsqrt(),
        "exp" => x.exp(),
        "expm1" => x.expm1(),
        "log" => x.log(),
        "log1p" => x.log1p(),
        "sin" => x.sin(),
        "cos" => x.cos(),
        "tanh" => x.tanh(),
        "sigmoid" => x.sigmoid(),
        "erf" => x.erf(),
        "floor" => x.floor(),
        "ceil" => x.ceil(),
        "round" => x.round(),
        "relu" => x.relu(),
        "silu" => x.silu(),
        "gelu" if !args.asks("approximate", "none") => x.gelu(),
        "softplus" => {
            let beta = args.get(1, "beta").map_or(Some(1.0), Arg::number)?;
            // Above the threshold PyTorch gives x itself: at 20 that is no difference, at less it is.
            if args.get(2, "threshold").map_or(Some(20.0), Arg::number)? < 20.0 {
                return None;
            }
            x.mul(beta).softplus().div(beta)
        }
        "leaky_relu" => {
            x.leaky_relu(args.get(1, "negative_slope").map_or(Some(0.01), Arg::number)?)
        }
        _ => return None,
    })
}

fn binary(op: &str, args: &Args, x: &Tensor) -> Called {
    let op = op.strip_suffix(".binary").unwrap_or(op);
    if op == "clamp" {
        let bound = |place, name| args.get(place, name).map(|arg| arg.tensor());
        let x = match bound(1, "min") {
            Some(low) => x.maximum(low?),
            None => Ok(x.clone()),
        };
        return Some(match bound(2, "max") {
            Some(high) => x.minimum(high?),
            None => x,
        });
    }
    let other = args.tensor(1)?;
    let alpha = args.get(9, "alpha").map_or(Some(1.0), Arg::number)?;
    let scaled = || if alpha == 1.0 { Ok(other.clone()) } else { other.mul(alpha) };
    Some(match op {
        "add" => x.add(scaled()),
        "sub" => x.sub(scaled()),
        "rsub" if alpha == 1.0 => other.sub(x),
        "rsub" => other.sub(x.mul(alpha)),
        "mul" => x.mul(other),
        "div.no_rounding_mode" => x.div(other),
        "pow" => x.pow(other),
        "maximum" | "max" | "clamp_min" => x.maximum(other),
        "minimum" | "min" | "clamp_max" => x.minimum(other),
        "eq" => x.eq(other),
        "ne" => x.ne(other),
        "lt" => x.lt(other),
        "le" => x.le(other),
        "gt" => x.gt(other),
        "ge" => x.ge(other),
        "where" => other.select(x, args.tensor(2)?),
        "matmul" | "mm" | "bmm" | "mv" | "dot" => x.matmul(other),
        "__rmatmul__" => other.matmul(x),
        _ => return None,
    })
}

fn reduction(op: &str, args: &Args, x: &Tensor) -> Called {
    let keep = args.get(2, "keepdim").map_or(Some(false), Arg::bool)?;
    let place = if op == "var.unbiased" { 9 } else { 1 };
    let dims = args.get(place, "dim").map_or(Some(Vec::new()), Arg::ints)?;
    // PyTorch lends a scalar one dim; we don't.
    if x.rank() == 0 && !dims.is_empty() {
        return None;
    }
    let dims = &dims[..];
    let again = |y: Result<Tensor>| if keep { y.reshape(kept(x, dims)) } else { y };
    Some(match op {
        "sum" => x.sum_with(dims, keep),
        "mean" => again(x.mean(dims)),
        "amax" => again(x.max(dims)),
        "amin" => again(x.min(dims)),
        "argmax" | "argmin" => {
            let arg = |x: &Tensor, dim| if op == "argmax" { x.argmax(dim) } else { x.argmin(dim) };
            match dims {
                [] => arg(&x.flatten(0, -1).ok()?, 0),
                [dim] => again(arg(x, *dim)),
                _ => return None,
            }
        }
        "var" | "var.unbiased" => {
            let unbiased = args.get(if op == "var" { 9 } else { 1 }, "unbiased");
            let unbiased = unbiased.map_or(Some(true), Arg::bool)?;
            let usual = f64::from(u8::from(unbiased));
            let correction = args.get(9, "correction").map_or(Some(usual), Arg::number)?;
            again(x.var(dims, correction))
        }
        "logsumexp" => {
            let keep = args.get(2, "keepdim")?.bool()?;
            match dims {
                [dim] if keep => x.logsumexp(*dim).unsqueeze(*dim),
                [dim] => x.logsumexp(*dim),
                _ => return None,
            }
        }
        "softmax" | "softmax.with_dtype" | "log_softmax" | "log_softmax.with_dtype" => {
            let [dim] = dims else { return None };
            let x = match op.ends_with("with_dtype") {
                true => x.to_dtype(DType::F64).ok()?,
                false => x.clone(),
            };
            if op.starts_with("log") { x.log_softmax(*dim) } else { x.softmax(*dim) }
        }
        _ => return None,
    })
}

/// The shape of `x` with these dims (none: all) of size 1.
fn kept(x: &Tensor, dims: &[i64]) -> Vec<usize> {
    let rank = x.rank() as i64;
    let reduced =
        |d: usize| dims.is_empty() || dims.iter().any(|&dim| (dim + rank) % rank == d as i64);
    x.shape().iter().enumerate().map(|(d, &size)| if reduced(d) { 1 } else { size }).collect()
}

fn shape(op: &str, args: &Args, x: &Tensor) -> Called {
    let list = || args.get(1, "shape")?.ints();
    let int = |place: usize, name: &str| args.get(place, name)?.int();
    // PyTorch lends a scalar one dim; we don't.
    let lent = x.rank() == 0 && args.list.len() > 1;
    Some(match op {
        "reshape" | "view" => {
            let mut to = list()?;
            let rest: i64 = to.iter().filter(|&&size| size >= 0).product();
            // We have no -1; its meaning is plain.
            let hidden = x.len() as i64 / rest.max(1);
            to.iter_mut().filter(|size| **size < 0).for_each(|size| *size = hidden);
            x.reshape(to.iter().map(|&size| size as usize).collect::<Vec<_>>())
        }
        "expand" | "broadcast_to" => x.expand(args.get(1, "size")?.sizes()?),
        "permute" => x.permute(&list()?[..]),
        "transpose" if !lent => x.transpose(int(1, "dim0")?, int(2, "dim1")?),
        "t" if x.rank() == 2 => x.t(),
        "unsqueeze" => x.unsqueeze(int(1, "dim")?),
        "squeeze" if !lent && args.list.len() > 1 => x.squeeze(int(1, "dim")?),
        "flatten" => {
            let dim = |place, name, usual| args.get(place, name).map_or(Some(usual), Arg::int);
            x.flatten(dim(1, "start_dim", 0)?, dim(2, "end_dim", -1)?)
        }
        "narrow" => {
            let size = |place: usize| usize::try_from(args.list.get(place)?.int()?).ok();
            x.narrow(int(1, "dim")?, size(2)?, size(3)?)
        }
        "flip" => match &args.get(1, "dims")?.ints()?[..] {
            // Ours means all of them, PyTorch's none.
            [] => return None,
            dims => x.flip(dims),
        },
        _ => return None,
    })
}

fn selection(op: &str, args: &Args, x: &Tensor) -> Called {
    // PyTorch lends a scalar one dim; we don't.
    if x.rank() == 0 {
        return None;
    }
    let dim = || args.list.get(1)?.int();
    let index = || args.tensor(2).filter(|index| index.dtype() == DType::I64);
    Some(match op {
        "gather" => x.gather(dim()?, index()?),
        "index_select" => x.index_select(dim()?, index()?),
        "scatter_add" if index()?.shape() == args.tensor(3)?.shape() => {
            x.scatter_add(dim()?, index()?, args.tensor(3)?)
        }
        "index_add" => {
            let alpha = args.get(9, "alpha").map_or(Some(1.0), Arg::number)?;
            x.index_add(dim()?, index()?, args.tensor(3)?.mul(alpha))
        }
        "select" => {
            let (dim, at) = (dim()?, args.list.get(2)?.int()?);
            let axis = if dim < 0 { dim + x.rank() as i64 } else { dim } as usize;
            let mut indices = vec![ferrotape::Index::Range(0, None); axis];
            indices.push(ferrotape::Index::At(at));
            x.i(&indices[..])
        }
        _ => return None,
    })
}

fn network(op: &str, args: &Args, x: &Tensor) -> Called {
    let pair = |name: &str, usual: usize| match args.named.get(name) {
        None | Some(Arg::None) => Some([usual, usual]),
        Some(arg) => arg.pair(),
    };
    // An image without a batch is a batch of one.
    let single = x.rank() == 3;
    let images = if single { x.unsqueeze(0).ok()? } else { x.clone() };
    let batch = |y: Result<Tensor>| if single { y.squeeze(0) } else { y };
    Some(match op {
        "linear" => {
            let weight = args.tensor(1).filter(|w| w.rank() == 2)?;
            x.linear(weight, args.tensor(2))
        }
        "conv2d" => {
            let groups = args.named.get("groups").map_or(Some(1), Arg::int)? as usize;
            let weight = args.tensor(1)?;
            let padding = match args.named.get("padding") {
                Some(Arg::Text(text)) if text == "valid" => [0, 0],
                Some(Arg::Text(_)) => return None,
                _ => pair("padding", 0)?,
            };
            let settings = Conv2dOp::default().stride(pair("stride", 1)?).padding(padding);
            let settings = settings.dilation(pair("dilation", 1)?).groups(groups);
            batch(images.conv2d(weight, args.tensor(2), settings))
        }
        "max_pool2d" => {
            let asks = |name: &str| args.asks(name, "false");
            if asks("ceil_mode") || asks("return_indices") || pair("dilation", 1)? != [1, 1] {
                return None;
            }
            let kernel = args.get(1, "kernel_size")?.pair()?;
            let stride = match args.get(2, "stride") {
                Some(stride) => stride.pair()?,
                None => kernel,
            };
            let settings = Pool2dOp::new(kernel).stride(stride).padding(pair("padding", 0)?);
            batch(images.max_pool2d(settings))
        }
        _ => return None,
    })
}

fn loss(op: &str, args: &Args, x: &Tensor) -> Called {
    let target = args.tensor(1)?;
    let options = ["weight", "pos_weight", "ignore_index", "label_smoothing"];
    if options.iter().any(|name| args.asks(name, "")) || args.asks("reduction", "mean") {
        return None;
    }
    Some(match op {
        "mse_loss" => x.mse_loss(target),
        "binary_cross_entropy_with_logits" => x.bce_with_logits(target),
        "cross_entropy" if x.rank() == 2 && target.dtype() == DType::I64 => x.cross_entropy(target),
        _ => return None,
    })
}
