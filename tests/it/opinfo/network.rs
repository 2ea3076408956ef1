//! What networks are made of.

use ferrotape::prelude::*;

use super::{Arg, Args, Called, one};

pub(super) fn call(op: &str, args: &Args) -> Called {
    one(network(op, args, args.tensor(0)?)?)
}

fn network(op: &str, args: &Args, x: &Tensor) -> Option<Result<Tensor>> {
    let pair = |name: &str, usual: usize| match args.named.get(name) {
        None | Some(Arg::None) => Some([usual, usual]),
        Some(arg) => arg.pair(),
    };
    // An image without a batch is a batch of one.
    let single = x.rank() == 3;
    let images = if single { x.unsqueeze(0).ok()? } else { x.clone() };
    let batch = |y: Result<Tensor>| if single { y.squeeze(0) } else { y };
    Some(match op {
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
