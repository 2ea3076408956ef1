//! The FMA peak of one core, which benches hold products against.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::isa::{Isa, Kernel, dispatch_on};
use super::simd::Simd;

/// Independent chains: enough to hide the latency of two FMA units, few enough for 16 registers.
const CHAINS: usize = 12;

struct Chains {
    rounds: usize,
    factor: f32,
    term: f32,
}

impl Kernel<f32> for Chains {
    /// Floating-point operations done, and a value that depends on all of them.
    type Output = (f64, f32);

    #[inline(always)]
    fn run<S: Simd<f32>>(self, s: S) -> (f64, f32) {
        let (factor, term) = (s.splat(self.factor), s.splat(self.term));
        let mut chains = [s.splat(1.0); CHAINS];
        for _ in 0..self.rounds {
            for chain in &mut chains {
                *chain = s.fma(*chain, factor, term);
            }
        }
        let sum = chains.into_iter().fold(s.splat(0.0), |sum, chain| s.add(sum, chain));
        (2.0 * (self.rounds * CHAINS * S::LANES) as f64, s.fold_sum(sum))
    }
}

/// f32 FMAs of this thread from registers alone under `isa` (or the strongest available one below it), in GFLOP/s: the best of
/// the short runs that fit into `time`.
pub fn fma_peak(isa: Isa, time: Duration) -> f64 {
    let (start, mut best) = (Instant::now(), 0f64);
    while best == 0.0 || start.elapsed() < time {
        let (factor, term) = (black_box(0.999_f32), black_box(1e-3_f32));
        let begin = Instant::now();
        let (flops, value) = dispatch_on(isa, Chains { rounds: 50_000, factor, term });
        black_box(value);
        best = best.max(flops / begin.elapsed().as_secs_f64() / 1e9);
    }
    best
}

/// Processor time that this thread has used, where the system says: another program's share of a busy core does not count.
pub fn thread_time() -> Option<Duration> {
    #[cfg(unix)]
    {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: `time` is a timespec to write.
        let failed = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
        (failed == 0).then(|| Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
    }
    #[cfg(not(unix))]
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chains_converge_to_the_fixed_point_on_every_isa() {
        for isa in Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let chains = Chains { rounds: 100, factor: 0.5, term: 1.0 };
            let (flops, sum) = dispatch_on(isa, chains);
            let lanes = flops / (2 * 100 * CHAINS) as f64;
            assert_eq!(f64::from(sum), 2.0 * CHAINS as f64 * lanes, "{isa:?}");
            assert!(fma_peak(isa, Duration::ZERO) > 0.0);
        }
    }
}
