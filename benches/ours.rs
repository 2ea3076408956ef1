//! What a case of `peers/cases.csv` is to us. Products of slices are the peer `sgemm`'s.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};

use ferrotape::nn::quant::QuantConfig;
use ferrotape::prelude::*;
use ferrotape_kernels::cpu::parallel;
use ferrotape_peer_protocol::{Case, Run};

use crate::{Training, data};

/// The names of all cases.
pub fn names() -> impl Iterator<Item = &'static str> {
    let lines = include_str!("peers/cases.csv").lines().skip(1);
    lines.filter_map(|line| line.split(',').next())
}

/// The case of a name, or `None` if it is not among ours.
///
/// # Errors
/// Those of the operations.
pub fn case(name: &str) -> Result<Option<Run>> {
    match Case::parse(name) {
        Some(Case::Vectors(op @ ("fork_join" | "hand_over"), _)) => Ok(team(op)),
        Some(Case::Vectors(op, n)) => vectors(op, n),
        Some(Case::Rows(op, shape)) => rows(op, shape),
        Some(Case::Tiny(op, times)) => tiny(op, times),
        Some(Case::Images(op, sizes, backward)) => images(op, &sizes, backward),
        Some(Case::Network(name, what, batch)) => network(name, what, batch),
        None => Ok(None),
    }
}

/// What an operation fails with ends the bench.
///
/// # Panics
/// Of an error.
#[allow(clippy::panic)]
pub fn done<T>(result: Result<T>) {
    if let Err(error) = result.map(black_box) {
        panic!("{error}");
    }
}

fn run<T>(mut case: impl FnMut() -> Result<T> + 'static) -> Result<Option<Run>> {
    Ok(Some(Box::new(move || done(case()))))
}

fn random(shape: &[usize], seed: u64) -> Result<Tensor> {
    Tensor::from_vec(data(shape.iter().product(), seed), shape)
}

fn vectors(op: &str, n: usize) -> Result<Option<Run>> {
    let [x, w, b] = [random(&[n], 1)?, random(&[n], 2)?, random(&[n], 3)?];
    match op {
        "add" => run(move || x.add(&w)),
        "mul" => run(move || x.mul(&w)),
        "relu" => run(move || x.relu()),
        // Given away, so that the result takes its place.
        "relu_inplace" => {
            let mut kept = Some(x);
            run(move || {
                kept = kept.take().map(|x| Ok(x).relu()).transpose()?;
                Ok(())
            })
        }
        "exp" => run(move || x.exp()),
        "tanh" => run(move || x.tanh()),
        "gelu" => run(move || x.gelu()),
        "sigmoid" => run(move || x.sigmoid()),
        "chain_tanh_xwb" => run(move || x.mul(&w).add(&b).tanh()),
        "sum" => run(move || x.sum(..)),
        _ => Ok(None),
    }
}

fn rows(op: &str, [rows, columns]: [usize; 2]) -> Result<Option<Run>> {
    let x = random(&[rows, columns], 1)?;
    match op {
        "softmax" => run(move || x.softmax(-1)),
        "layer_norm" => {
            let (weight, bias) = (random(&[columns], 2)?, random(&[columns], 3)?);
            run(move || x.layer_norm(columns, Some(&weight), Some(&bias), 1e-5))
        }
        "transpose" => run(move || x.t()?.contiguous()),
        _ => Ok(None),
    }
}

type Binary = fn(&Tensor, &Tensor) -> Result<Tensor>;

/// One small operation, or many on one tape.
fn tiny(op: &str, times: Option<usize>) -> Result<Option<Run>> {
    let (shape, op): (&[usize], Binary) = match op {
        "add_1" => (&[1], |a, b| a.add(b)),
        "add_16" => (&[16], |a, b| a.add(b)),
        "matmul_4x4" => (&[4, 4], |a, b| a.matmul(b)),
        _ => return Ok(None),
    };
    let (a, b) = (random(shape, 1)?, random(shape, 2)?);
    let Some(times) = times else {
        return run(move || op(&a, &b));
    };
    run(move || {
        Tape::record(|tape| {
            tape.watch(&a);
            tape.watch(&b);
            (0..times).try_for_each(|_| op(&a, &b).map(|y| _ = black_box(y)))
        })
    })
}

fn images(op: &str, sizes: &[usize], backward: bool) -> Result<Option<Run>> {
    match (op, sizes) {
        ("conv", &[n, c, h, w, o, k, p]) => {
            let (x, weight) = (random(&[n, c, h, w], 1)?, random(&[o, c, k, k], 2)?);
            let settings = Conv2dOp::default().padding([p, p]);
            both([x, weight], backward, move |[x, weight]| x.conv2d(weight, None, settings))
        }
        ("maxpool2", &[n, c, h, w]) => {
            let x = random(&[n, c, h, w], 1)?;
            both([x], backward, |[x]| x.max_pool2d(Pool2dOp::new([2, 2])))
        }
        _ => Ok(None),
    }
}

/// Forward, and backward to all inputs from a given gradient of the output.
fn both<const N: usize>(
    inputs: [Tensor; N],
    backward: bool,
    forward: impl Fn(&[Tensor; N]) -> Result<Tensor> + 'static,
) -> Result<Option<Run>> {
    if !backward {
        return run(move || forward(&inputs));
    }
    let seed = forward(&inputs)?.ones_like()?;
    run(move || {
        let (y, tape) = Tape::record(|tape| {
            inputs.iter().for_each(|input| tape.watch(input));
            forward(&inputs)
        })?;
        tape.vector_jacobian_product(&[(&y, seed.clone())], &inputs.each_ref())
    })
}

fn network(name: &str, what: &str, batch: usize) -> Result<Option<Run>> {
    let (name, int8) = name.strip_suffix("_int8").map_or((name, false), |name| (name, true));
    let Some(mut net) = Training::named(name, batch)? else { return Ok(None) };
    if int8 {
        let (x, net) = (net.x.clone(), net.int8(QuantConfig::default())?);
        return run(move || net.forward(&x));
    }
    match what {
        "train" => run(move || net.step()),
        "infer" => run(move || net.infer()),
        _ => Ok(None),
    }
}

/// The cost of a team of two.
fn team(what: &str) -> Option<Run> {
    match what {
        // Claimed to be worth a team, and nothing to do: what remains is the fork and the join.
        "fork_join" => {
            Some(Box::new(|| parallel::run(2, 1_000_000, &|piece| _ = black_box(piece))))
        }
        _ if parallel::threads() > 1 => Some(Box::new(hand_over)),
        _ => None,
    }
}

/// Two pieces that wait for each other: a fork and join in which a member of the team really took one. (An empty piece is mostly
/// done by the caller before anyone can claim it.)
fn hand_over() {
    let here = AtomicUsize::new(0);
    parallel::run(2, 1_000_000, &|_| {
        here.fetch_add(1, Ordering::AcqRel);
        while here.load(Ordering::Acquire) < 2 {
            std::hint::spin_loop();
        }
    });
}
