//! Random numbers.

use ferrotape_kernels::cuda::random::{self, Distribution};

use super::{kind, target};
use crate::error::Result;
use crate::execute::rows::{below, uniform_digits};
use crate::execute::{Output, told};
use crate::op::{Op, RandomOp};

pub(super) fn execute(op: &Op, outputs: &mut [Output<'_>]) -> Option<Result<()>> {
    let (Op::Random(random, at, _), [out]) = (op, outputs) else { return None };
    let dtype = out.meta.dtype;
    if !dtype.is_float() {
        return None;
    }
    let distribution = match *random {
        RandomOp::Uniform { low, high } => {
            let (top, digits) = (below(dtype, high), uniform_digits(dtype));
            Distribution::Uniform { low, range: high - low, top, digits }
        }
        RandomOp::Normal { mean, std } => Distribution::Normal { mean, std },
        RandomOp::Bernoulli { p, value } => Distribution::Bernoulli { p, value },
    };
    Some(
        target(op, out).and_then(|out| told(op, random::draw(distribution, *at, kind(dtype), out))),
    )
}
