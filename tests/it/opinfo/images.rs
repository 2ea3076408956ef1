//! Convolutions, pools, interpolation.

use ferrotape::prelude::*;
use ferrotape::{AvgPoolOp, ConvOp, ConvTransposeOp, PoolOp};

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    let x = args.tensor(0)?;
    match op.split('/').next()? {
        "conv1d" | "conv2d" | "conv3d" => one(convolved(op, args, x)?),
        "conv_transpose1d" => {
            one(x.conv_transpose1d(args.tensor(1)?, args.tensor(2), transposed(args)?))
        }
        "conv_transpose2d" => {
            one(x.conv_transpose2d(args.tensor(1)?, args.tensor(2), transposed(args)?))
        }
        "max_pool1d" => match (max_pool(args)?, flag(args, usize::MAX, "return_indices")?) {
            (settings, false) => one(x.max_pool1d(settings)),
            (settings, true) => both(x.max_pool1d_with_indices(settings)),
        },
        "max_pool2d" => match (max_pool(args)?, flag(args, usize::MAX, "return_indices")?) {
            (settings, false) => one(x.max_pool2d(settings)),
            (settings, true) => both(x.max_pool2d_with_indices(settings)),
        },
        "avg_pool1d" => one(x.avg_pool1d(avg_pool(args)?)),
        "avg_pool2d" => one(x.avg_pool2d(avg_pool(args)?)),
        "adaptive_avg_pool1d" => one(x.adaptive_avg_pool1d(*args.get(1, "")?.sizes()?.first()?)),
        "adaptive_avg_pool2d" => one(x.adaptive_avg_pool2d(adaptive(args, x)?)),
        "adaptive_max_pool2d" => match flag(args, 2, "return_indices")? {
            false => one(x.adaptive_max_pool2d(adaptive(args, x)?)),
            true => both(x.adaptive_max_pool2d_with_indices(adaptive(args, x)?)),
        },
        "interpolate" => one(interpolated(args, x)?),
        "upsample_nearest" => one(x.upsample_nearest(target(args)?)),
        "upsample_bilinear" => one(x.upsample_bilinear(target(args)?)),
        "local_response_norm" => {
            let number = |name: &str, usual| args.get(9, name).map_or(Some(usual), Arg::number);
            let size = *args.get(1, "size")?.sizes()?.first()?;
            let (alpha, beta, k) =
                (number("alpha", 1e-4)?, number("beta", 0.75)?, number("k", 1.)?);
            one(x.local_response_norm(size, alpha, beta, k))
        }
        _ => None,
    }
}

fn both(pair: Result<(Tensor, Tensor)>) -> Called {
    Some(pair.map(|(y, index)| vec![y, index]))
}

fn flag(args: &Args, place: usize, name: &str) -> Option<bool> {
    args.get(place, name).map_or(Some(false), Arg::bool)
}

/// One size for all dims, or a list of them; an empty list is as good as none.
fn dims<const D: usize>(
    args: &Args,
    place: usize,
    name: &str,
    usual: [usize; D],
) -> Option<[usize; D]> {
    let Some(arg) = args.get(place, name) else { return Some(usual) };
    match arg.sizes()?[..] {
        [] => Some(usual),
        [all] => Some([all; D]),
        ref list => list.try_into().ok(),
    }
}

fn groups(args: &Args) -> Option<usize> {
    args.get(9, "groups").map_or(Some(1), Arg::int).map(|groups| groups as usize)
}

fn conv<const D: usize>(args: &Args) -> Option<ConvOp<D>> {
    let padding = match args.get(9, "padding") {
        Some(Arg::Text(_)) => [0; D],
        _ => dims(args, 9, "padding", [0; D])?,
    };
    let settings = ConvOp::default().stride(dims(args, 9, "stride", [1; D])?).padding(padding);
    Some(settings.dilation(dims(args, 9, "dilation", [1; D])?).groups(groups(args)?))
}

fn convolved(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let (w, b) = (args.tensor(1)?, args.tensor(2));
    let same = match args.get(9, "padding") {
        Some(Arg::Text(text)) if text != "same" && text != "valid" => return None,
        padding => matches!(padding, Some(Arg::Text(text)) if text == "same"),
    };
    Some(match (op, same) {
        ("conv1d", false) => x.conv1d(w, b, conv(args)?),
        ("conv1d", true) => x.conv1d_same(w, b, conv(args)?),
        ("conv2d", false) => x.conv2d(w, b, conv(args)?),
        ("conv2d", true) => x.conv2d_same(w, b, conv(args)?),
        (_, false) => x.conv3d(w, b, conv(args)?),
        (_, true) => x.conv3d_same(w, b, conv(args)?),
    })
}

fn transposed<const D: usize>(args: &Args) -> Option<ConvTransposeOp<D>> {
    Some(ConvTransposeOp {
        stride: dims(args, 9, "stride", [1; D])?,
        padding: dims(args, 9, "padding", [0; D])?,
        output_padding: dims(args, 9, "output_padding", [0; D])?,
        dilation: dims(args, 9, "dilation", [1; D])?,
        groups: groups(args)?,
    })
}

fn max_pool<const D: usize>(args: &Args) -> Option<PoolOp<D>> {
    let kernel = dims(args, 1, "kernel_size", [0; D])?;
    let settings = PoolOp::new(kernel).stride(dims(args, 2, "stride", kernel)?);
    let settings = settings.padding(dims(args, 3, "padding", [0; D])?);
    let settings = settings.dilation(dims(args, 4, "dilation", [1; D])?);
    Some(settings.ceil_mode(flag(args, 5, "ceil_mode")?))
}

fn avg_pool<const D: usize>(args: &Args) -> Option<AvgPoolOp<D>> {
    let kernel = dims(args, 1, "kernel_size", [0; D])?;
    let settings = AvgPoolOp::new(kernel).stride(dims(args, 2, "stride", kernel)?);
    let settings = settings.padding(dims(args, 3, "padding", [0; D])?);
    let settings = settings.ceil_mode(flag(args, 4, "ceil_mode")?);
    let include = args.get(5, "count_include_pad").map_or(Some(true), Arg::bool)?;
    let divisor = match args.get(6, "divisor_override") {
        None => None,
        Some(divisor) => Some(divisor.int()?),
    };
    Some(settings.count_include_pad(include).divisor_override(divisor))
}

/// The asked size; what is left open stays as it is.
fn adaptive(args: &Args, x: &Tensor) -> Option<[usize; 2]> {
    let size = |arg: &Arg, d: usize| match arg {
        Arg::None => Some(x.shape()[x.rank() - 2 + d]),
        size => size.int().map(|size| size as usize),
    };
    match args.get(1, "output_size")? {
        Arg::List(list) => Some([size(&list[0], 0)?, size(&list[1], 1)?]),
        both => Some([size(both, 0)?, size(both, 1)?]),
    }
}

fn target(args: &Args) -> Option<Interpolate> {
    match (args.get(1, "size"), args.get(2, "scale_factor")) {
        (Some(size), None) => Some(Interpolate::size(&size.sizes()?)),
        (None, Some(factor)) => Some(Interpolate::scale_factor(&[factor.number()?])),
        _ => None,
    }
}

fn interpolated(args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let Arg::Text(mode) = args.get(3, "mode")? else { return None };
    let settings = target(args)?.mode(mode.parse().ok()?);
    let settings = settings.align_corners(flag(args, 4, "align_corners")?);
    let settings = settings.recompute_scale_factor(flag(args, 5, "recompute_scale_factor")?);
    Some(x.interpolate(&settings))
}
