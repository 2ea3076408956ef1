//! Our side of the cases that tensors take part in, as a peer. Beside allocations (ours_heap.rs) it counts operations and how
//! often the system was asked for tensor memory.

use ferrotape::{Device, set_threads};
use ferrotape_benches::{case, operations};
use ferrotape_peer_protocol::{Heap, Run, serve, threads};

fn facts() -> String {
    format!("ferrotape {}", ferrotape::isa())
}

fn count(run: &mut Run) -> String {
    let before = Device::Cpu.memory_stats().requests;
    (0..10).for_each(|_| run());
    let requests = Device::Cpu.memory_stats().requests - before;
    format!("{} {requests}", operations(run))
}

/// Serves as the program that is timed, or as the one that counts.
pub(crate) fn answer(heap: Heap) -> std::io::Result<()> {
    set_threads(threads());
    serve(facts, |name| case(name).ok()?, count, heap)
}

#[allow(dead_code)]
fn main() -> std::io::Result<()> {
    answer(None)
}
