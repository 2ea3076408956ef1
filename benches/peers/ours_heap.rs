//! The same process, with its heap allocations counted.

#[path = "ours.rs"]
mod peer;

fn main() -> std::io::Result<()> {
    peer::answer(Some(ferrotape_peer_heap::count))
}
