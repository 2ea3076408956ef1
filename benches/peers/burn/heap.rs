//! The same peer, with its heap allocations counted.

#[path = "main.rs"]
mod peer;

fn main() -> std::io::Result<()> {
    peer::answer(Some(ferrotape_peer_heap::count))
}
