//! Every operation, with operands of every type, odd shape and layout, right and wrong alike, drawn as in `no_panic`: what a GPU gives
//! has the CPU's bits, and what it refuses it refuses in the CPU's words.

use std::collections::BTreeMap;

use ferrotape::prelude::*;
use ferrotape::{Op, Operand, Outputs, apply, host_fallbacks};

use super::{bits, gpu};
use crate::no_panic::{Rng, draw_op, spoil, variants};

/// Operations that the host computes, or some of them.
const BY_THE_HOST: &[&str] = &[
    // Of f64, or with sums beyond i32; of int8 the recurrent layers.
    "Int8",
    "Quantize",
    "Dequantize",
    "FakeQuantize",
    "MatmulInteger",
    "ConvInteger",
    // Small matrices, one after another.
    "Svd",
    // Nobody asks a GPU for them: there the expressions that they stand for are computed.
    "Conv2dMaxPool2d",
    "Conv2dMaxPool2dInput",
    "Conv2dMaxPool2dWeight",
    "Linear", // with a sigmoid or a hyperbolic tangent
    "LinearWeight",
    "MseLoss",
    "MseLossInput",
    // Of sizes, or of layouts, that kernels can't count through: only absurd ones, and more than 16 dims.
    "Conv2d",
    "Conv2dInput",
    "Conv2dWeight",
    "Index",
];

/// How many are drawn.
fn cases() -> usize {
    let named = std::env::var("FERROTAPE_TEST_DRAWS").ok();
    named.and_then(|count| count.parse().ok()).unwrap_or(6_000)
}

/// What an operation drawn from this state gives on `device`, or says: an operation's results, and operands that it changed.
fn outcome(
    state: u64,
    variant: &str,
    device: Device,
) -> (Op, std::result::Result<Vec<Tensor>, String>) {
    let mut rng = Rng::new(state, device);
    let (op, mut tensors) = draw_op(&mut rng, variant);
    spoil(&mut rng, &mut tensors);
    let update = matches!(op, Op::Assign | Op::Optimize(_));
    let operand =
        |(i, tensor)| if update && i != 1 { Operand::Mut(tensor) } else { Operand::Ref(tensor) };
    let mut operands: Vec<Operand<'_>> = tensors.iter_mut().enumerate().map(operand).collect();
    let given: Result<Outputs> = apply(&op, &mut operands);
    drop(operands);
    let changed = tensors.into_iter().filter(|_| update);
    let all = given.map(|outputs| outputs.into_iter().chain(changed).collect());
    (op, all.map_err(|error| words(&error)))
}

/// An error's first line without the caller's place, wherever it happened.
fn words(error: &ferrotape::Error) -> String {
    let text = error.to_string().replace("cuda:0", "cpu");
    // How much memory was asked for depends on the pool's blocks.
    if text.contains("out of memory") {
        return "out of memory".to_owned();
    }
    text.split(" (at ").next().unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

#[test]
fn drawn_operations_give_the_cpus_bits_or_words() {
    let name = "cuda::drawn::drawn_operations_give_the_cpus_bits_or_words";
    crate::child::alone(name, || {
        let Some(gpu) = gpu() else { return };
        for device in [Device::Cpu, gpu] {
            device.set_memory_limit(Some(1 << 30));
        }
        let names: Vec<&str> = variants().filter(|&name| name != "Transfer").collect();
        let mut counts: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
        let mut differences = Vec::new();
        let mut seeds = Rng::new(0xd1b5_4a32_d192_ed03, Device::Cpu);
        for case in 0..cases() {
            let name = names[case % names.len()];
            let state = seeds.seed();
            let (op, want) = outcome(state, name, Device::Cpu);
            let before = host_fallbacks();
            let (_, got) = outcome(state, name, gpu);
            let count = counts.entry(name).or_default();
            count[usize::from(want.is_ok())] += 1;
            // What the CPU refuses, too, needs no kernel.
            count[2] += if want.is_ok() { host_fallbacks() - before } else { 0 };
            let same = match (&want, &got) {
                (Ok(want), Ok(got)) => {
                    let small = |all: &[Tensor]| all.iter().all(|y| y.len() < 100_000);
                    got.len() == want.len()
                        && (!small(want) || want.iter().zip(got).all(|(a, b)| bits(a) == bits(b)))
                }
                (Err(want), Err(got)) => want == got,
                _ => false,
            };
            if !same {
                differences.push(format!("{op:?} from {state:#x}:\n  {want:?}\n  {got:?}"));
            }
        }
        for (name, [err, ok, fallbacks]) in &counts {
            println!("{name:18} ok {ok:5} err {err:5} by the host {fallbacks:5}");
        }
        differences.truncate(20);
        assert!(differences.is_empty(), "{}", differences.join("\n"));
        let by_host = counts.iter().filter(|(_, count)| count[2] > 0).map(|(name, _)| *name);
        let by_host: Vec<&str> = by_host.filter(|name| !BY_THE_HOST.contains(name)).collect();
        assert!(by_host.is_empty(), "the host computed {by_host:?}");
    });
}
