//! Our side of the cases that tensors take part in, as a peer. Beside allocations it counts operations and how often the system was
//! asked for tensor memory.

use ferrotape::{Device, set_threads};
use ferrotape_benches::{case, operations};
use ferrotape_peer_protocol::{Run, serve, threads};

fn facts() -> String {
    format!("ferrotape {}", ferrotape::isa())
}

fn count(run: &mut Run) -> String {
    let before = Device::Cpu.memory_stats().requests;
    (0..10).for_each(|_| run());
    let requests = Device::Cpu.memory_stats().requests - before;
    format!("{} {requests}", operations(run))
}

fn main() -> std::io::Result<()> {
    set_threads(threads());
    serve(facts, |name| case(name).ok()?, count)
}
