//! The peaks of one core, of f32 and of int8, which benches hold products against.

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::int8::dot::{Dot, GROUP, PANEL, STEP};
use super::isa::{Int8Isa, Int8Kernel, Isa, Kernel, dispatch_int8, dispatch_on};
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

/// At least so many floating-point operations of this thread's FMAs, from registers alone, under `isa` (or the strongest available
/// one below it): what a product of as many operations is held against.
pub fn fma_burst(isa: Isa, operations: f64) {
    let mut done = 0.0;
    while done < operations {
        let (factor, term) = (black_box(0.999_f32), black_box(1e-3_f32));
        let (more, value) = dispatch_on(isa, Chains { rounds: 1_000, factor, term });
        black_box(value);
        done += more;
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

/// As [`Chains`], of steps of int8 products; stores what was done, and a value that depends on it.
struct Dots<'a> {
    rounds: usize,
    done: &'a mut (f64, i32),
}

impl Int8Kernel for Dots<'_> {
    #[inline(always)]
    fn run<D: Dot>(self, d: D) {
        let codes = [1i8; 8 * STEP];
        let mut chains = [d.zero(); CHAINS];
        // SAFETY: eight steps, and groups of up to 2 bytes each.
        let mut groups = unsafe { [d.group(codes.as_ptr().cast()); 4] };
        for (i, group) in groups.iter_mut().enumerate() {
            // SAFETY: as above.
            *group = unsafe { d.group(black_box(codes.as_ptr()).add(STEP * i).cast()) };
        }
        for _ in 0..self.rounds {
            // Read again each round: what the widening tokens multiply can't be computed beforehand.
            let from = black_box(codes.as_ptr());
            for (third, chains) in chains.chunks_exact_mut(4).enumerate() {
                // SAFETY: as above.
                let weights = unsafe { d.weights(from.add(STEP * third)) };
                for (chain, group) in chains.iter_mut().zip(groups) {
                    *chain = d.dot(*chain, group, weights);
                }
            }
        }
        let mut sums = [0; PANEL];
        let mut total = 0i32;
        for chain in chains {
            // SAFETY: a panel of sums.
            unsafe { d.store(sums.as_mut_ptr(), chain) };
            total = sums.iter().fold(total, |total, sum| total.wrapping_add(*sum));
        }
        *self.done = (2.0 * (self.rounds * CHAINS * PANEL * GROUP) as f64, total);
    }
}

/// int8 multiply-adds of this thread from registers alone under `isa` (or the strongest available one below it), in GOP/s (a
/// product and a sum are two): the best of the short runs that fit into `time`.
pub fn int8_peak(isa: Int8Isa, time: Duration) -> f64 {
    let (start, mut best) = (Instant::now(), 0f64);
    while best == 0.0 || start.elapsed() < time {
        let (mut done, begin) = ((0.0, 0), Instant::now());
        dispatch_int8(isa, Dots { rounds: black_box(20_000), done: &mut done });
        black_box(done.1);
        best = best.max(done.0 / begin.elapsed().as_secs_f64() / 1e9);
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

    #[test]
    fn dots_add_up_on_every_isa() {
        for isa in Int8Isa::ALL.into_iter().filter(|isa| isa.available()) {
            let mut done = (0.0, 0);
            dispatch_int8(isa, Dots { rounds: 10, done: &mut done });
            let steps = 10 * CHAINS * PANEL;
            assert_eq!(done.0, (2 * steps * GROUP) as f64, "{isa:?}");
            // A token that takes i16 reads each two bytes as one number: 257.
            let sums = [steps * GROUP, steps * GROUP * 257].map(|sum| sum as i32);
            assert!(sums.contains(&done.1), "{isa:?}");
            assert!(int8_peak(isa, Duration::ZERO) > 0.0);
        }
    }
}
