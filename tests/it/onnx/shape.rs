//! Shapes, pieces, elements by index.

use ferrotape::prelude::*;

use super::{Called, Node, one};

pub(super) fn call(node: &Node<'_>) -> Called {
    if let Some(made) = made(node) {
        return one(made);
    }
    if let "Concat" | "Einsum" = node.op {
        let all: Vec<&Tensor> = node.inputs.iter().flatten().collect();
        return one(match node.op {
            "Concat" => Tensor::cat(&all, node.int("axis", 1)),
            _ => Tensor::einsum(node.text("equation"), &all),
        });
    }
    let x = node.x(0)?;
    match node.op {
        "Split" => Some(split(node, x)),
        "TopK" => {
            let k = node.numbers(1)?[0] as usize;
            let largest = node.int("largest", 1) == 1;
            Some(x.topk(k, node.int("axis", -1), largest).map(|(y, index)| vec![y, index]))
        }
        _ => one(arrange(node, x).or_else(|| pick(node, x))?),
    }
}

/// Of no tensor, or of numbers.
fn made(node: &Node<'_>) -> Option<Result<Tensor>> {
    let value = || {
        let (value, kind) =
            (&node.attributes["value"]["tensor"], node.attributes["value"]["dtype"].as_str());
        let (mut shape, mut flat, mut level) = (Vec::new(), Vec::new(), value);
        while let Some(list) = level.as_array() {
            shape.push(list.len());
            level = list.first()?;
        }
        let mut open = vec![value];
        while let Some(value) = open.pop() {
            match value.as_array() {
                Some(list) => open.extend(list.iter().rev()),
                None => flat.push(value.as_f64()?),
            }
        }
        let dtype = match kind? {
            "float32" => DType::F32,
            "int32" => DType::I32,
            "int64" => DType::I64,
            _ => return None,
        };
        Some(Tensor::from_vec(flat, &shape[..]).to_dtype(dtype))
    };
    Some(match node.op {
        "Constant" => value()?,
        "ConstantOfShape" => {
            let shape: Vec<usize> = node.numbers(0)?.iter().map(|&n| n as usize).collect();
            let value = value().unwrap_or_else(|| Tensor::zeros([1], DType::F32)).unwrap();
            Tensor::full(&shape[..], value.to_f64().unwrap(), value.dtype())
        }
        "Range" => {
            let (start, limit, step) = (node.number(0)?, node.number(1)?, node.number(2)?);
            let count = ((limit - start) / step).ceil().max(0.0) as usize;
            Tensor::arange(start, step, count, node.x(0)?.dtype())
        }
        "EyeLike" => {
            let x = node.x(0)?;
            let dtype =
                if node.has("dtype") { super::dtype(node.int("dtype", 1))? } else { x.dtype() };
            let (k, shape) = (node.int("k", 0), x.shape());
            Tensor::ones(shape, dtype).triu(k).tril(k)
        }
        "Shape" => {
            let sizes: Vec<i64> = node.x(0)?.shape().iter().map(|&n| n as i64).collect();
            let end = node.has("end").then(|| node.int("end", 0));
            let shape = Tensor::from(sizes);
            shape.slice(0, Some(node.int("start", 0)), end, 1)
        }
        _ => return None,
    })
}

fn split(node: &Node<'_>, x: &Tensor) -> Result<Vec<Tensor>> {
    let axis = node.int("axis", 0);
    if let Some(sizes) = node.ints_or("split", 1) {
        let sizes: Vec<usize> = sizes.iter().map(|&n| n as usize).collect();
        return x.split_with_sizes(&sizes, axis);
    }
    let count = node.int("num_outputs", node.outputs as i64) as usize;
    x.split(x.size(axis)?.div_ceil(count), axis)
}

fn arrange(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let rank = x.rank() as i64;
    Some(match node.op {
        "Expand" => {
            let shape = node.numbers(1)?;
            // Sizes of 1 keep what is there.
            x.expand_as_onnx(&shape)
        }
        "Flatten" => {
            let axis = node.int("axis", 1);
            let axis = if axis < 0 { axis + rank } else { axis } as usize;
            let [before, after] =
                [&x.shape()[..axis], &x.shape()[axis..]].map(|s| s.iter().product::<usize>());
            x.reshape([before, after])
        }
        "Reshape" => {
            let shape = node.numbers(1)?;
            let keep = node.int("allowzero", 0) == 0;
            let kept = shape
                .iter()
                .enumerate()
                .map(|(i, &n)| if n == 0 && keep { x.shape()[i] as i64 } else { n });
            x.reshape(&kept.collect::<Vec<i64>>()[..])
        }
        "Squeeze" => match node.ints_or("axes", 1) {
            Some(axes) => x.squeeze(&axes[..]),
            None => x.squeeze(..),
        },
        "Unsqueeze" => {
            let axes = node.ints_or("axes", 1)?;
            let full = rank + axes.len() as i64;
            let mut axes: Vec<i64> =
                axes.iter().map(|&a| if a < 0 { a + full } else { a }).collect();
            axes.sort_unstable();
            axes.iter().try_fold(x.clone(), |y, &axis| y.unsqueeze(axis))
        }
        "Transpose" => {
            let order = node.ints("perm").unwrap_or_else(|| (0..rank).rev().collect());
            x.permute(&order[..])
        }
        "Tile" => {
            let times: Vec<usize> = node.numbers(1)?.iter().map(|&n| n as usize).collect();
            x.tile(&times)
        }
        "Trilu" => {
            let k = node.number(1).unwrap_or(0.0) as i64;
            if node.int("upper", 1) == 1 { x.triu(k) } else { x.tril(k) }
        }
        "DepthToSpace" => depth_to_space(node, x),
        "SpaceToDepth" => space_to_depth(x, node.int("blocksize", 1) as usize),
        "Pad" => return pad(node, x),
        _ => return None,
    })
}

/// What ONNX's `Expand` does: both ways.
trait ExpandBoth {
    fn expand_as_onnx(&self, shape: &[i64]) -> Result<Tensor>;
}

impl ExpandBoth for Tensor {
    fn expand_as_onnx(&self, shape: &[i64]) -> Result<Tensor> {
        let rank = shape.len().max(self.rank());
        let own =
            |d: usize| (d + self.rank()).checked_sub(rank).map_or(1, |i| self.shape()[i] as i64);
        let asked = |d: usize| (d + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
        let sizes: Vec<i64> =
            (0..rank).map(|d| if asked(d) == 1 { own(d) } else { asked(d) }).collect();
        self.expand(&sizes[..])
    }
}

fn depth_to_space(node: &Node<'_>, x: &Tensor) -> Result<Tensor> {
    let b = node.int("blocksize", 1) as usize;
    if node.text("mode") == "CRD" {
        return x.pixel_shuffle(b);
    }
    let [n, c, h, w] = x.shape().try_into().unwrap();
    let parts = x.reshape([n, b, b, c / (b * b), h, w])?;
    parts.permute([0, 3, 4, 1, 5, 2]).reshape([n, c / (b * b), h * b, w * b])
}

fn space_to_depth(x: &Tensor, b: usize) -> Result<Tensor> {
    let [n, c, h, w] = x.shape().try_into().unwrap();
    x.reshape([n, c, h / b, b, w / b, b])?.permute([0, 3, 5, 1, 2, 4]).reshape([
        n,
        c * b * b,
        h / b,
        w / b,
    ])
}

fn pad(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let pads = node.ints_or("pads", 1)?;
    let mode = match node.text("mode") {
        "" | "constant" => PadMode::Constant(node.number(2).unwrap_or(node.float("value", 0.0))),
        "reflect" => PadMode::Reflect,
        "edge" => PadMode::Replicate,
        "wrap" => PadMode::Circular,
        _ => return None,
    };
    let rank = x.rank();
    let axes = node.numbers(3).unwrap_or_else(|| (0..rank as i64).collect());
    // From the last dim on: before, after.
    let mut ours = vec![0; 2 * rank];
    for (i, axis) in axes.iter().enumerate() {
        let axis = if *axis < 0 { axis + rank as i64 } else { *axis } as usize;
        let from_last = rank - 1 - axis;
        (ours[2 * from_last], ours[2 * from_last + 1]) = (pads[i], pads[i + axes.len()]);
    }
    if !matches!(mode, PadMode::Constant(_)) {
        while ours.ends_with(&[0, 0]) {
            ours.truncate(ours.len() - 2);
        }
    }
    Some(x.pad(&ours, mode))
}

/// Negative indices count from the end of dim `axis`.
fn positive(index: &Tensor, x: &Tensor, axis: i64) -> Result<Tensor> {
    let index = index.to_dtype(DType::I64)?;
    index.lt(0.0)?.select(index.add(x.size(axis)? as f64), &index)
}

fn pick(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let axis = node.int("axis", 0);
    Some(match node.op {
        "Gather" => gather(x, node.x(1)?, axis),
        "GatherElements" => positive(node.x(1)?, x, axis).and_then(|index| x.gather(axis, &index)),
        "ScatterElements" => {
            let (index, source) = (positive(node.x(1)?, x, axis).ok()?, node.x(2)?);
            let reduce = match node.text("reduction") {
                "" | "none" => return Some(x.scatter(axis, &index, source)),
                "add" => ScatterReduce::Sum,
                "mul" => ScatterReduce::Prod,
                "max" => ScatterReduce::Amax,
                _ => ScatterReduce::Amin,
            };
            x.scatter_reduce(axis, &index, source, reduce, true)
        }
        "Compress" => compress(node, x, node.x(1)?),
        "NonZero" => x.nonzero().and_then(|places| places.t()),
        "OneHot" => return one_hot(node, x),
        "Slice" => return slice(node, x),
        "Hardmax" => hardmax(x, node.int("axis", -1)),
        _ => return None,
    })
}

fn gather(x: &Tensor, index: &Tensor, axis: i64) -> Result<Tensor> {
    let flat = positive(index, x, axis)?.reshape([index.len()])?;
    let axis = if axis < 0 { axis + x.rank() as i64 } else { axis } as usize;
    let shape = [&x.shape()[..axis], index.shape(), &x.shape()[axis + 1..]].concat();
    x.index_select(axis as i64, &flat)?.reshape(&shape[..])
}

fn compress(node: &Node<'_>, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
    let places = mask.nonzero()?.reshape([mask.sum(..)?.to_f64()? as usize])?;
    match node.has("axis") {
        true => x.index_select(node.int("axis", 0), &places),
        false => x.reshape([x.len()])?.index_select(0, &places),
    }
}

fn one_hot(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let (depth, values) = (node.number(1)? as usize, node.x(2)?);
    let made = || {
        let index = x.to_dtype(DType::I64)?;
        let index = index.lt(0.0)?.select(index.add(depth as f64), &index)?;
        let classes = Tensor::arange(0.0, 1.0, depth, DType::I64)?;
        let hot = index.unsqueeze(-1)?.eq(&classes)?;
        let axis = node.int("axis", -1);
        let numbers = values.to_dtype(DType::F64)?.to_vec::<f64>()?;
        let [off, on] = [numbers[0], numbers[1]].map(|n| Tensor::full((), n, values.dtype()));
        hot.select(on?, off?)?.movedim(-1, axis)
    };
    Some(made())
}

fn slice(node: &Node<'_>, x: &Tensor) -> Option<Result<Tensor>> {
    let (starts, ends) = (node.ints_or("starts", 1)?, node.ints_or("ends", 2)?);
    let axes = node.ints_or("axes", 3).unwrap_or_else(|| (0..starts.len() as i64).collect());
    let steps = node.numbers(4).unwrap_or_else(|| vec![1; starts.len()]);
    let mut y = x.clone();
    for (i, &axis) in axes.iter().enumerate() {
        let size = x.size(axis).unwrap() as i64;
        let place =
            |n: i64, low: i64, high: i64| (if n < 0 { n + size } else { n }).clamp(low, high);
        y = match steps[i] {
            step if step > 0 => {
                y.slice(axis, Some(place(starts[i], 0, size)), Some(place(ends[i], 0, size)), step)
            }
            // Ours has no negative steps: the same from the other end.
            step => {
                let (start, end) = (place(starts[i], 0, size - 1), place(ends[i], -1, size - 1));
                let turned = y.flip(axis);
                turned.slice(axis, Some(size - 1 - start), Some(size - 1 - end), -step)
            }
        }
        .ok()?;
    }
    Some(Ok(y))
}

fn hardmax(x: &Tensor, axis: i64) -> Result<Tensor> {
    let place = x.argmax_keep(axis)?;
    x.zeros_like()?.scatter(axis, &place, 1.0)
}
