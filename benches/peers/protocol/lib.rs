//! The protocol of the processes that `bench.py` times in turns: a line in, a line out. `protocol.py` is the same for Python.
//!
//! | in | out |
//! |---|---|
//! | `time CASE COUNT` | nanoseconds of one of `COUNT` runs: the process's own time on one thread, the wall's on more |
//! | `allocations CASE` | heap allocations of one run and their bytes (of the calling thread), and what the peer counts beside; of a program that can |
//! | `facts` | what the process says of itself (versions) |
//!
//! A case that it does not know is answered by `unknown`. The first argument is the number of threads.

mod cases;

pub use cases::Case;

use std::io::{BufRead, Write};
use std::time::Instant;

use cpu_time::ProcessTime;

/// A case, ready to run; whatever it has made stays until another case is asked for.
pub type Run = Box<dyn FnMut()>;

/// What counts the heap allocations of a run and their bytes, in the programs that have such an allocator.
pub type Heap = Option<fn(&mut Run) -> [u64; 2]>;

/// How many threads the process was given: its first argument.
pub fn threads() -> usize {
    std::env::args().nth(1).and_then(|threads| threads.parse().ok()).unwrap_or(1)
}

/// Answers until the input ends: with `facts`, with the times of what `build` makes of a case's name, and with what `heap` counts of a
/// run, beside what `count` says of it.
///
/// # Errors
/// The input's or the output's.
pub fn serve(
    facts: impl Fn() -> String,
    mut build: impl FnMut(&str) -> Option<Run>,
    count: impl Fn(&mut Run) -> String,
    heap: Heap,
) -> std::io::Result<()> {
    let mut current: (String, Option<Run>) = (String::new(), None);
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        if let [_, case, ..] = *words
            && current.0 != case
        {
            // What the last case holds goes first.
            current.1 = None;
            current = (case.to_owned(), build(case));
        }
        let answer = match (words.as_slice(), &mut current.1) {
            (["facts"], _) => facts(),
            (["time", _, count], Some(run)) => count.parse().map_or_else(
                |_| "no count".to_owned(),
                |count: u32| format!("{:.2}", nanoseconds(run, count)),
            ),
            (["allocations", _], Some(run)) => match heap {
                Some(heap) => {
                    // What a first run sets up is not a step's.
                    (0..3).for_each(|_| run());
                    let [number, bytes] = heap(run);
                    format!("{number} {bytes} {}", count(run))
                }
                None => "unknown".to_owned(),
            },
            _ => "unknown".to_owned(),
        };
        let mut out = std::io::stdout().lock();
        writeln!(out, "{answer}")?;
        out.flush()?;
    }
    Ok(())
}

fn nanoseconds(run: &mut Run, count: u32) -> f64 {
    // What the other process has pushed out of the caches comes back.
    (0..count / 8).for_each(|_| run());
    let (wall, own) = (Instant::now(), ProcessTime::now());
    (0..count).for_each(|_| run());
    let time = if threads() == 1 { own.elapsed() } else { wall.elapsed() };
    time.as_nanos() as f64 / f64::from(count)
}
