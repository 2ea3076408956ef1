//! Counts heap allocations, by an allocator that every program has which names this crate: those that are timed do not.

use ferrotape_peer_protocol::Run;

/// The heap allocations of one run on the calling thread, and their bytes.
pub fn count(run: &mut Run) -> [u64; 2] {
    let info = allocation_counter::measure(run);
    [info.count_total, info.bytes_total]
}
