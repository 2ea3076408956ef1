//! Which instruction set runs: detected once, overridden by `FERROTAPE_ISA`, dispatched here and nowhere else.
//!
//! A kernel is a value with a generic `run`; [`dispatch`] hands it the token of the ISA in force. The token is the proof
//! that the CPU has the instructions: it can only be made here, after detection.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(target_arch = "x86_64")]
use super::simd::{Avx2, Avx512};
use super::simd::{Scalar, Simd};

/// The instruction sets the kernels are instantiated for, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Isa {
    /// Portable Rust.
    Scalar,
    /// AVX2 and FMA: 8 f32 a vector.
    Avx2,
    /// AVX-512 F, BW, DQ, VL: 16 f32 a vector.
    Avx512,
}

impl Isa {
    /// All of them, weakest first.
    pub const ALL: [Isa; 3] = [Isa::Scalar, Isa::Avx2, Isa::Avx512];

    /// The name that `FERROTAPE_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Scalar => "scalar",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// True if this CPU can run it.
    pub fn available(self) -> bool {
        self <= strongest()
    }
}

/// The strongest set that this CPU has.
pub fn strongest() -> Isa {
    #[cfg(target_arch = "x86_64")]
    {
        let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
        let avx512 = avx2
            && is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl");
        if avx512 {
            return Isa::Avx512;
        }
        if avx2 {
            return Isa::Avx2;
        }
    }
    Isa::Scalar
}

/// The set in force: the strongest available, or `FERROTAPE_ISA` = `scalar`, `avx2` or `avx512` if the CPU has it (an unknown
/// name or one beyond the CPU falls back to the strongest available). Fixed at first use.
pub fn isa() -> Isa {
    static ISA: OnceLock<Isa> = OnceLock::new();
    *ISA.get_or_init(|| {
        let strongest = strongest();
        match std::env::var("FERROTAPE_ISA") {
            Ok(name) => Isa::ALL
                .into_iter()
                .find(|i| name.eq_ignore_ascii_case(i.name()) && *i <= strongest)
                .unwrap_or(strongest),
            Err(_) => strongest,
        }
    })
}

/// True if the ISA in force comes with the conversions of 16-bit floats: a vector form of what plain loops compute too.
#[cfg(target_arch = "x86_64")]
pub(crate) fn has_f16c() -> bool {
    isa() >= Isa::Avx2 && is_x86_feature_detected!("f16c")
}

/// How often each ISA's kernels were dispatched to, in the order of [`Isa::ALL`]: shows which ones ran.
pub fn dispatch_counts() -> [u64; 3] {
    [0, 1, 2].map(|i| COUNTS[i].load(Ordering::Relaxed))
}

static COUNTS: [AtomicU64; 3] = [const { AtomicU64::new(0) }; 3];

/// A computation written once over a [`Simd`] token.
///
/// Mark `run` and everything it calls `#[inline(always)]`: it must be inlined into the function that has the target
/// features, or every vector operation becomes a call. Closures don't inherit the features: use functions.
pub trait Kernel<T> {
    /// What it returns.
    type Output;
    /// True if f64 is worth an instance for AVX-512. Else AVX2's runs: most are bound by memory, and instances cost compile time.
    const WIDE: bool = false;
    /// The computation.
    fn run<S: Simd<T>>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` under the ISA in force.
#[inline]
pub fn dispatch<T, K: Kernel<T>>(kernel: K) -> K::Output
where
    Tokens: HasTokens<T>,
{
    dispatch_on(isa(), kernel)
}

/// Runs `kernel` under a given ISA, or the strongest available one below it. Tests compare ISAs with it.
#[inline]
pub fn dispatch_on<T, K: Kernel<T>>(isa: Isa, kernel: K) -> K::Output
where
    Tokens: HasTokens<T>,
{
    let isa = isa.min(strongest_cached());
    count(isa);
    <Tokens as HasTokens<T>>::call(isa, kernel)
}

/// Counting every dispatch exactly would cost a contended add; a relaxed load and store is enough to show what ran.
#[inline]
fn count(isa: Isa) {
    let counter = &COUNTS[isa as usize];
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

#[inline]
fn strongest_cached() -> Isa {
    static STRONGEST: OnceLock<Isa> = OnceLock::new();
    *STRONGEST.get_or_init(strongest)
}

/// The set of tokens; [`HasTokens`] says for which elements all of them compute.
pub struct Tokens(());

/// Elements for which every ISA's token implements [`Simd`].
pub trait HasTokens<T> {
    /// Calls `kernel` with the token of `isa`.
    fn call<K: Kernel<T>>(isa: Isa, kernel: K) -> K::Output;
}

/// One instance without target features: an FMA is a call of the C library, which runs the instruction where the CPU has it.
#[inline(never)]
fn scalar<T, K: Kernel<T>>(kernel: K) -> K::Output
where
    Scalar: Simd<T>,
{
    kernel.run(Scalar)
}

macro_rules! has_tokens {
    ($($t:ty),*) => {$(
        impl HasTokens<$t> for Tokens {
            #[inline]
            fn call<K: Kernel<$t>>(isa: Isa, kernel: K) -> K::Output {
                #[cfg(target_arch = "x86_64")]
                {
                    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
                    fn avx512<K: Kernel<$t>>(kernel: K, token: Avx512) -> K::Output { kernel.run(token) }
                    #[target_feature(enable = "avx2,fma")]
                    fn avx2<K: Kernel<$t>>(kernel: K, token: Avx2) -> K::Output { kernel.run(token) }
                    if const { size_of::<$t>() == 4 || K::WIDE } && isa == Isa::Avx512 {
                        // SAFETY: `isa` never exceeds what `strongest` detected on this CPU, and any CPU with
                        // AVX-512 BW, DQ and VL has bmi1, bmi2, lzcnt and popcnt.
                        return unsafe { avx512(kernel, Avx512::new_unchecked()) };
                    }
                    if isa >= Isa::Avx2 {
                        // SAFETY: as above: AVX2 and FMA were detected.
                        return unsafe { avx2(kernel, Avx2::new_unchecked()) };
                    }
                }
                let _ = isa;
                scalar(kernel)
            }
        }
    )*};
}
has_tokens!(f32, f64);
