//! What the benches share: data, interleaved timing, tables, the record.

mod networks;
mod ours;
mod profile;

pub use networks::Training;
pub use ours::{case, done, names};
pub use profile::{operations, profile};

use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use ferrotape_kernels::cpu::parallel::threads;
use ferrotape_kernels::cpu::peak::thread_time;

/// True if every bench is to run once only (`cargo bench -- --test`).
pub fn once() -> bool {
    std::env::args().any(|argument| argument == "--test")
}

/// `n` numbers in -1..1, the same every time.
pub fn data(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

/// Something to be timed beside its rivals.
pub struct Contender<'a> {
    /// Its name in tables and in the record.
    pub name: String,
    /// One run of it.
    pub run: Box<dyn FnMut() + 'a>,
}

impl<'a> Contender<'a> {
    /// With a name.
    pub fn new(name: impl Into<String>, run: impl FnMut() + 'a) -> Self {
        Contender { name: name.into(), run: Box::new(run) }
    }
}

/// Median seconds of one run of each contender. They take turns in rounds, so that a slow moment of the machine hits all of
/// them; a turn is as many runs as fit into `turn`. Under [`once`] each runs once.
pub fn interleaved(contenders: &mut [Contender<'_>], turn: Duration, rounds: usize) -> Vec<f64> {
    interleaved_by(
        if threads() == 1 { Clock::Thread } else { Clock::Wall },
        contenders,
        turn,
        rounds,
    )
}

/// What a run's seconds are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Clock {
    /// This thread's processor time, where the system tells it: a busy machine does not count.
    Thread,
    /// The clock on the wall.
    Wall,
}

/// [`interleaved`] by this clock.
pub fn interleaved_by(
    clock: Clock,
    contenders: &mut [Contender<'_>],
    turn: Duration,
    rounds: usize,
) -> Vec<f64> {
    let seconds = |contender: &mut Contender<'_>, count| seconds(clock, contender, count);
    let mut counts = Vec::new();
    for contender in contenders.iter_mut() {
        let first = seconds(contender, 1);
        // The first run is cold: a second one says how many fit.
        let warm = if once() || first > 0.2 { first } else { seconds(contender, 1) };
        counts.push((turn.as_secs_f64() / warm.max(1e-9)).clamp(1.0, 1e6) as usize);
    }
    let rounds = if once() { 0 } else { rounds };
    let mut times = vec![Vec::with_capacity(rounds); contenders.len()];
    for round in 0..rounds {
        for ((contender, &count), times) in contenders.iter_mut().zip(&counts).zip(&mut times) {
            // What takes long alone gets few samples.
            if round < 3 || count > 1 || times[0] < 0.1 {
                times.push(seconds(contender, count) / count as f64);
            }
        }
    }
    times.iter_mut().map(|times| median(times)).collect()
}

/// Seconds of `count` runs.
fn seconds(clock: Clock, contender: &mut Contender<'_>, count: usize) -> f64 {
    let (wall, cpu) = (Instant::now(), thread_time());
    for _ in 0..count {
        (contender.run)();
    }
    let wall = wall.elapsed();
    match (cpu, thread_time()) {
        (Some(from), Some(to)) if clock == Clock::Thread => (to - from).as_secs_f64(),
        _ => wall.as_secs_f64(),
    }
}

fn median(times: &mut [f64]) -> f64 {
    times.sort_by(f64::total_cmp);
    times.get(times.len() / 2).copied().unwrap_or(f64::NAN)
}

/// Where medians go when asked for: `FERROTAPE_BENCH_RECORD=<cpu>/<date>` names `benches/record/<cpu>/<date>.csv`.
#[derive(Debug, Default)]
pub struct Record(Option<std::fs::File>);

impl Record {
    /// Opens the file for more rows, if one is asked for.
    ///
    /// # Errors
    /// It can't be made.
    pub fn open() -> std::io::Result<Record> {
        let Some(name) = std::env::var_os("FERROTAPE_BENCH_RECORD").filter(|_| !once()) else {
            return Ok(Record(None));
        };
        let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("record").join(name);
        path.set_extension("csv");
        path.parent().map_or(Ok(()), std::fs::create_dir_all)?;
        let new = !path.exists();
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        if new {
            writeln!(file, "bench,case,contender,threads,value,unit")?;
        }
        Ok(Record(Some(file)))
    }

    /// One row.
    ///
    /// # Errors
    /// It can't be written.
    pub fn row(
        &mut self,
        [bench, case, contender]: [&str; 3],
        threads: usize,
        value: f64,
        unit: &str,
    ) -> std::io::Result<()> {
        match &mut self.0 {
            Some(file) => writeln!(file, "{bench},{case},{contender},{threads},{value:.4},{unit}"),
            None => Ok(()),
        }
    }
}
