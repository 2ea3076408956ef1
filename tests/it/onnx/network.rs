//! Products, convolutions, pools, norms, losses.

use ferrotape::prelude::*;

use super::{Called, Node, one};

pub(super) fn call(node: &Node<'_>) -> Called {
    let x = node.x(0)?;
    match node.op {
        "LayerNormalization" => Some(layer_norm(node, x)),
        "Dropout" => dropout(node, x),
        "SoftmaxCrossEntropyLoss" => Some(cross_entropy(node, x, node.x(1)?)),
        "MaxPool" => max_pool(node, x),
        _ => one(product(node, x).or_else(|| window(node, x)).or_else(|| norm(node, x))?),
    }
}

fn product(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    Some(match node.op {
        "MatMul" => x.matmul(node.x(1)?),
        "Gemm" => gemm(node, x, node.x(1)?),
        _ => return None,
    })
}

fn gemm(node: &Node<'_>, a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let turned =
        |x: &Tensor, name: &str| if node.int(name, 0) == 1 { x.t() } else { Ok(x.clone()) };
    let (a, b) = (turned(a, "transA")?, turned(b, "transB")?);
    let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
    match node.x(2) {
        Some(c) => c.addmm(&a, &b, beta, alpha),
        None => a.mm(&b).mul(alpha),
    }
}

/// The settings of a window over `D` dims, and `x` padded where the two sides differ.
struct Window<const D: usize> {
    stride: [usize; D],
    dilation: [usize; D],
    padding: [usize; D],
    /// The sides differ: before and after each dim.
    uneven: Option<Vec<i64>>,
}

fn window_of<const D: usize>(node: &Node<'_>, kernel: &[usize]) -> Option<Window<D>> {
    let list = |name: &str| -> Option<[usize; D]> {
        node.sizes(name).unwrap_or_else(|| vec![1; D]).try_into().ok()
    };
    let (stride, dilation) = (list("strides")?, list("dilations")?);
    let input = &node.x(0)?.shape()[2..];
    let pads: Vec<i64> = match node.text("auto_pad") {
        "" | "NOTSET" => node.ints("pads").unwrap_or_else(|| vec![0; 2 * D]),
        "VALID" => vec![0; 2 * D],
        which => {
            let total = |d: usize| {
                let reach = ((kernel[d] - 1) * dilation[d] + 1) as i64;
                let outputs = input[d].div_ceil(stride[d]) as i64;
                ((outputs - 1) * stride[d] as i64 + reach - input[d] as i64).max(0)
            };
            let less = |d: usize| total(d) / 2;
            let more = |d: usize| total(d) - less(d);
            let upper = which == "SAME_UPPER";
            let before = (0..D).map(|d| if upper { less(d) } else { more(d) });
            let after = (0..D).map(|d| if upper { more(d) } else { less(d) });
            before.chain(after).collect()
        }
    };
    // PyTorch's pools, and ours, refuse more padding than half the window.
    let fits = node.op.contains("Conv") || (0..D).all(|d| 2 * pads[d] <= kernel[d] as i64);
    let even = fits && pads[..D] == pads[D..];
    let padding: Vec<usize> =
        pads[..D].iter().map(|&p| if even { p as usize } else { 0 }).collect();
    let uneven = (!even).then(|| (0..D).rev().flat_map(|d| [pads[d], pads[D + d]]).collect());
    Some(Window { stride, dilation, padding: padding.try_into().ok()?, uneven })
}

impl<const D: usize> Window<D> {
    fn pad(&self, x: &Tensor, value: f64) -> Result<Tensor> {
        match &self.uneven {
            Some(pads) => x.pad(pads, PadMode::Constant(value)),
            None => Ok(x.clone()),
        }
    }
}

fn window(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let spatial = x.rank().checked_sub(2)?;
    let all: Vec<i64> = (2..x.rank() as i64).collect();
    Some(match (node.op, spatial) {
        ("Conv", 1) => conv::<1>(node, x, |x, w, b, s| x.conv1d(w, b, s))?,
        ("Conv", 2) => conv::<2>(node, x, |x, w, b, s| x.conv2d(w, b, s))?,
        ("Conv", 3) => conv::<3>(node, x, |x, w, b, s| x.conv3d(w, b, s))?,
        ("ConvTranspose", 1 | 2) => return conv_transpose(node, x, spatial),
        ("AveragePool", 1 | 2) => return average_pool(node, x, spatial),
        ("GlobalAveragePool", _) => x.mean_keep(&all[..]),
        ("GlobalMaxPool", _) => x.max_keep(&all[..]),
        ("LRN", _) => x.local_response_norm(
            node.int("size", 1) as usize,
            node.float("alpha", 1e-4),
            node.float("beta", 0.75),
            node.float("bias", 1.0),
        ),
        _ => return None,
    })
}

type Convolution<const D: usize> =
    fn(&Tensor, &Tensor, Option<&Tensor>, ferrotape::ConvOp<D>) -> Result<Tensor>;

fn conv<const D: usize>(node: &Node<'_>, x: &Tensor, f: Convolution<D>) -> Option<Result<Tensor>> {
    let weight = node.x(1)?;
    conv_of::<D>(node, x, weight, |x, settings| f(x, weight, node.x(2), settings))
}

/// A convolution by `f` with the node's settings.
pub(super) fn conv_of<const D: usize>(
    node: &Node<'_>,
    x: &Tensor,
    weight: &Tensor,
    f: impl Fn(&Tensor, ferrotape::ConvOp<D>) -> Result<Tensor>,
) -> Option<Result<Tensor>> {
    let window = window_of::<D>(node, &weight.shape()[2..])?;
    let settings = ferrotape::ConvOp {
        stride: window.stride,
        padding: window.padding,
        dilation: window.dilation,
        groups: node.int("group", 1) as usize,
    };
    Some(window.pad(x, 0.0).and_then(|x| f(&x, settings)))
}

fn conv_transpose(node: &Node<'_>, x: &Tensor, spatial: usize) -> Option<Result<Tensor>> {
    // Outputs of a given shape, and paddings that differ by side, are not PyTorch's.
    let pads = node.sizes("pads").unwrap_or_else(|| vec![0; 2 * spatial]);
    if node.has("output_shape") || node.has("auto_pad") || pads[..spatial] != pads[spatial..] {
        return None;
    }
    let list =
        |name: &str, default: usize| node.sizes(name).unwrap_or_else(|| vec![default; spatial]);
    let (stride, dilation) = (list("strides", 1), list("dilations", 1));
    let (padding, output_padding) = (pads[..spatial].to_vec(), list("output_padding", 0));
    let groups = node.int("group", 1) as usize;
    let weight = node.x(1)?;
    if spatial == 1 {
        let one = |list: Vec<usize>| [list[0]];
        let settings = ConvTranspose1dOp {
            stride: one(stride),
            padding: one(padding),
            output_padding: one(output_padding),
            dilation: one(dilation),
            groups,
        };
        return Some(x.conv_transpose1d(weight, node.x(2), settings));
    }
    let two = |list: Vec<usize>| [list[0], list[1]];
    let settings = ConvTranspose2dOp {
        stride: two(stride),
        padding: two(padding),
        output_padding: two(output_padding),
        dilation: two(dilation),
        groups,
    };
    Some(x.conv_transpose2d(weight, node.x(2), settings))
}

/// With even sides, PyTorch's rule that a padding is at most half the kernel, and no dilation.
fn average_pool(node: &Node<'_>, x: &Tensor, spatial: usize) -> Option<Result<Tensor>> {
    let kernel = node.sizes("kernel_shape")?;
    let (ceil_mode, count_include_pad) =
        (node.int("ceil_mode", 0) == 1, node.int("count_include_pad", 0) == 1);
    if spatial == 1 {
        let window = window_of::<1>(node, &kernel)?;
        let settings = AvgPool1dOp {
            kernel: [kernel[0]],
            stride: window.stride,
            padding: window.padding,
            ceil_mode,
            count_include_pad,
            divisor_override: None,
        };
        return (window.uneven.is_none() && window.dilation == [1]).then(|| x.avg_pool1d(settings));
    }
    let window = window_of::<2>(node, &kernel)?;
    let settings = AvgPool2dOp {
        kernel: [kernel[0], kernel[1]],
        stride: window.stride,
        padding: window.padding,
        ceil_mode,
        count_include_pad,
        divisor_override: None,
    };
    if window.dilation != [1, 1] {
        return None;
    }
    // Taps outside count nothing: the sum of what is there over how many are there.
    let ratio = |x: &Tensor| {
        let settings = AvgPool2dOp { count_include_pad: true, ..settings };
        let sum = window.pad(x, 0.0)?.avg_pool2d(settings)?;
        sum.div(window.pad(&x.ones_like()?, 0.0)?.avg_pool2d(settings)?)
    };
    if window.uneven.is_some() && count_include_pad {
        return Some(window.pad(x, 0.0).avg_pool2d(settings));
    }
    Some(if window.uneven.is_some() { ratio(x) } else { x.avg_pool2d(settings) })
}

fn max_pool(node: &Node<'_>, x: &Tensor) -> Called {
    let kernel = node.sizes("kernel_shape")?;
    let ceil_mode = node.int("ceil_mode", 0) == 1;
    // Indices are those of the flat tensor there, of the image here.
    if node.outputs > 1 {
        return None;
    }
    match *kernel {
        [kernel] => {
            let Window { stride, dilation, padding, uneven } = window_of::<1>(node, &[kernel])?;
            let settings =
                ferrotape::Pool1dOp { kernel: [kernel], stride, padding, dilation, ceil_mode };
            uneven.is_none().then(|| x.max_pool1d(settings).map(|y| vec![y]))
        }
        [rows, columns] => {
            let kernel = [rows, columns];
            let window = window_of::<2>(node, &kernel)?;
            let (stride, padding, dilation) = (window.stride, window.padding, window.dilation);
            let settings = ferrotape::Pool2dOp { kernel, stride, padding, dilation, ceil_mode };
            if !x.dtype().is_float() {
                return None;
            }
            one(window.pad(x, f64::NEG_INFINITY).and_then(|x| x.max_pool2d(settings)))
        }
        _ => None,
    }
}

fn norm(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let eps = node.float("epsilon", 1e-5);
    Some(match node.op {
        // Before opset 13 all dims from `axis` on were one.
        "Softmax" | "LogSoftmax" => {
            let (old, log) = (node.opset < 13, node.op == "LogSoftmax");
            let axis = node.int("axis", if old { 1 } else { -1 });
            let softmax =
                |x: &Tensor, axis| if log { x.log_softmax(axis) } else { x.softmax(axis) };
            if !old {
                return Some(softmax(x, axis));
            }
            let axis = if axis < 0 { axis + x.rank() as i64 } else { axis };
            let rows = x.shape()[..axis as usize].iter().product::<usize>();
            let flat = x.reshape([rows, x.len() / rows.max(1)]).and_then(|x| softmax(&x, 1));
            flat.reshape(x.shape())
        }
        "BatchNormalization" if node.int("training_mode", 0) == 0 && node.outputs == 1 => {
            x.batch_norm(node.x(3)?, node.x(4)?, node.x(1), node.x(2), eps)
        }
        "InstanceNormalization" => x.instance_norm(node.x(1), node.x(2), eps),
        "GroupNormalization" => {
            x.group_norm(node.int("num_groups", 1) as usize, node.x(1), node.x(2), eps)
        }
        "MeanVarianceNormalization" => {
            let axes = node.ints("axes").unwrap_or_else(|| vec![0, 2, 3]);
            let deviation = x.std_keep(&axes[..], 0.0).add(1e-9);
            x.sub(x.mean_keep(&axes[..])).div(deviation)
        }
        "NegativeLogLikelihoodLoss" => return nll(node, x),
        _ => return None,
    })
}

fn layer_norm(node: &Node<'_>, x: &Tensor) -> Result<Vec<Tensor>> {
    let axis = node.int("axis", -1);
    let axis = if axis < 0 { axis + x.rank() as i64 } else { axis };
    let eps = node.float("epsilon", 1e-5);
    let y = x.layer_norm(&x.shape()[axis as usize..], node.x(1), node.x(2), eps)?;
    let dims: Vec<i64> = (axis..x.rank() as i64).collect();
    let (variance, mean) = x.var_mean_keep(&dims[..], 0.0)?;
    Ok(vec![y, mean, variance.add(eps).rsqrt()?])
}

fn dropout(node: &Node<'_>, x: &Tensor) -> Called {
    // What is dropped in training is not ours to reproduce.
    if node.number(2).is_some_and(|training| training != 0.0) {
        return None;
    }
    Some(x.eq(x).map(|mask| vec![x.clone(), mask]))
}

fn reduction(node: &Node<'_>) -> Reduction {
    match node.text("reduction") {
        "none" => Reduction::None,
        "sum" => Reduction::Sum,
        _ => Reduction::Mean,
    }
}

fn nll(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let settings = NLLLoss {
        weight: node.x(2),
        ignore_index: node.int("ignore_index", -100),
        reduction: reduction(node),
    };
    Some(node.x(1)?.to_dtype(DType::I64).and_then(|target| x.nll_loss_with(&target, settings)))
}

fn cross_entropy(node: &Node<'_>, x: &Tensor, target: &Tensor) -> Result<Vec<Tensor>> {
    let settings = CrossEntropyLoss {
        weight: node.x(2),
        ignore_index: node.int("ignore_index", -100),
        reduction: reduction(node),
        ..CrossEntropyLoss::default()
    };
    let loss = x.cross_entropy_with(&target.to_dtype(DType::I64)?, settings)?;
    Ok(vec![loss, x.log_softmax(1)?])
}
