//! Which instruction set runs: detected once, overridden by `FERROTAPE_ISA`, dispatched here and nowhere else.
//!
//! A kernel is a value with a generic `run`; [`dispatch`] hands it the token of the ISA in force. The token is the proof
//! that the CPU has the instructions: it can only be made here, after detection.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(target_arch = "x86_64")]
use super::int8::dot as int8;
use super::int8::dot::{self, Dot};
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
#[inline]
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

/// True if this CPU computes 512-bit operations as two halves (AMD's Zen 4), so that half a vector is half the work.
pub(crate) fn computes_halves() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::__cpuid;
        static HALVES: OnceLock<bool> = OnceLock::new();
        *HALVES.get_or_init(|| {
            let (vendor, version) = (__cpuid(0), __cpuid(1).eax);
            let family = (version >> 8 & 0xf) + (version >> 20 & 0xff);
            let amd = [vendor.ebx, vendor.edx, vendor.ecx].map(u32::to_le_bytes).concat();
            amd == b"AuthenticAMD" && family == 0x19
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
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
    /// True if AVX2's instance is the faster one even where there is AVX-512.
    const NARROW: bool = false;
    /// The computation.
    fn run<S: Simd<T>>(self, simd: S) -> Self::Output;
}

/// Runs `kernel` under the ISA in force.
#[inline]
pub fn dispatch<T, K: Kernel<T>>(kernel: K) -> K::Output
where
    Tokens: HasTokens<T>,
{
    dispatch_at(Available::in_force(), kernel)
}

/// An ISA that this CPU has: found out once, before there are several ways on, each of which would ask.
#[derive(Debug, Clone, Copy)]
pub struct Available(Isa);

impl Available {
    /// The one in force.
    #[inline]
    pub fn in_force() -> Available {
        Available(isa())
    }

    /// A given one, or the strongest below it.
    #[inline]
    pub fn below(isa: Isa) -> Available {
        Available(isa.min(strongest_cached()))
    }

    /// Which it is.
    #[inline]
    pub fn isa(self) -> Isa {
        self.0
    }
}

/// Runs `kernel` under a given ISA, or the strongest available one below it. Tests compare ISAs with it.
#[inline]
pub fn dispatch_on<T, K: Kernel<T>>(isa: Isa, kernel: K) -> K::Output
where
    Tokens: HasTokens<T>,
{
    dispatch_at(Available::below(isa), kernel)
}

/// Runs `kernel` under an ISA that is known to be there.
#[inline]
pub fn dispatch_at<T, K: Kernel<T>>(Available(isa): Available, kernel: K) -> K::Output
where
    Tokens: HasTokens<T>,
{
    count(isa);
    <Tokens as HasTokens<T>>::call(isa, kernel)
}

/// As [`dispatch_at`], but AVX2's instance in AVX-512's place, for what half a vector holds: what counts is the ISA in force.
#[inline]
pub(crate) fn dispatch_narrow<T, K: Kernel<T>>(Available(isa): Available, kernel: K) -> K::Output
where
    Tokens: HasTokens<T>,
{
    count(isa);
    <Tokens as HasTokens<T>>::call(isa.min(Isa::Avx2), kernel)
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
                    if const { (size_of::<$t>() == 4 || K::WIDE) && !K::NARROW } && isa == Isa::Avx512 {
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

/// Which instructions multiply int8: a finer choice within an [`Isa`]. All give the same integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Int8Isa {
    /// Portable Rust.
    Scalar,
    /// AVX2: widened to i16, `vpmaddwd`.
    Avx2,
    /// AVX-VNNI beside AVX2: `vpdpbusd` of 256 bits.
    AvxVnni,
    /// AVX-512 without VNNI: widened to i16, `vpmaddwd` of 512 bits.
    Avx512,
    /// AVX-512 with VNNI: `vpdpbusd` of 512 bits.
    Avx512Vnni,
}

impl Int8Isa {
    /// All of them.
    pub const ALL: [Int8Isa; 5] =
        [Int8Isa::Scalar, Int8Isa::Avx2, Int8Isa::AvxVnni, Int8Isa::Avx512, Int8Isa::Avx512Vnni];

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Int8Isa::Scalar => "scalar",
            Int8Isa::Avx2 => "avx2",
            Int8Isa::AvxVnni => "avx-vnni",
            Int8Isa::Avx512 => "avx512",
            Int8Isa::Avx512Vnni => "avx512-vnni",
        }
    }

    /// The [`Isa`] that it belongs to.
    pub fn isa(self) -> Isa {
        match self {
            Int8Isa::Scalar => Isa::Scalar,
            Int8Isa::Avx2 | Int8Isa::AvxVnni => Isa::Avx2,
            Int8Isa::Avx512 | Int8Isa::Avx512Vnni => Isa::Avx512,
        }
    }

    /// True if this CPU can run it.
    pub fn available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        let vnni = match self {
            // Tests run it in the other encoding where need be.
            Int8Isa::AvxVnni if cfg!(test) => {
                is_x86_feature_detected!("avxvnni") || is_x86_feature_detected!("avx512vnni")
            }
            Int8Isa::AvxVnni => is_x86_feature_detected!("avxvnni"),
            Int8Isa::Avx512Vnni => is_x86_feature_detected!("avx512vnni"),
            _ => true,
        };
        #[cfg(not(target_arch = "x86_64"))]
        let vnni = true;
        vnni && self.isa() <= strongest_cached()
    }

    /// The strongest that this CPU has within `isa`.
    pub fn within(isa: Isa) -> Int8Isa {
        let best = Self::ALL.into_iter().rfind(|i| i.isa() <= isa && i.available());
        best.unwrap_or(Int8Isa::Scalar)
    }
}

/// The one in force: the strongest within [`isa`].
pub fn int8_isa() -> Int8Isa {
    static ISA: OnceLock<Int8Isa> = OnceLock::new();
    *ISA.get_or_init(|| Int8Isa::within(isa()))
}

/// A computation written once over a [`Dot`] token. As for [`Kernel`]: `run` and all it calls must be `#[inline(always)]`.
pub(crate) trait Int8Kernel {
    /// The computation.
    fn run<D: Dot>(self, dot: D);
}

/// Runs `kernel` under `isa` if the CPU has it, else under the strongest below.
#[inline]
pub(crate) fn dispatch_int8<K: Int8Kernel>(isa: Int8Isa, kernel: K) {
    let isa = if isa.available() { isa } else { Int8Isa::within(isa.isa()) };
    count(isa.isa());
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(
            enable = "avx512vnni,avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt"
        )]
        fn avx512_vnni<K: Int8Kernel>(kernel: K, token: int8::Avx512Vnni) {
            kernel.run(token)
        }
        #[target_feature(
            enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt"
        )]
        fn avx512<K: Int8Kernel>(kernel: K, token: int8::Avx512) {
            kernel.run(token)
        }
        #[target_feature(enable = "avxvnni,avx2,fma")]
        fn avx_vnni<K: Int8Kernel>(kernel: K, token: int8::AvxVnni) {
            kernel.run(token)
        }
        #[target_feature(enable = "avx2,fma")]
        fn avx2<K: Int8Kernel>(kernel: K, token: int8::Avx2) {
            kernel.run(token)
        }
        #[cfg(test)]
        if isa == Int8Isa::AvxVnni && !is_x86_feature_detected!("avxvnni") {
            #[target_feature(enable = "avx512vnni,avx512vl,avx2,fma")]
            fn avx512_vnni_256<K: Int8Kernel>(kernel: K, token: int8::Avx512Vnni256) {
                kernel.run(token)
            }
            // SAFETY: `isa` is available, and so AVX-512 VNNI is; CPUs that have it have VL.
            return unsafe { avx512_vnni_256(kernel, int8::Avx512Vnni256::new_unchecked()) };
        }
        // SAFETY: `isa` is available: its instructions were detected on this CPU.
        unsafe {
            match isa {
                Int8Isa::Scalar => {}
                Int8Isa::Avx2 => return avx2(kernel, int8::Avx2::new_unchecked()),
                Int8Isa::AvxVnni => return avx_vnni(kernel, int8::AvxVnni::new_unchecked()),
                Int8Isa::Avx512 => return avx512(kernel, int8::Avx512::new_unchecked()),
                Int8Isa::Avx512Vnni => {
                    return avx512_vnni(kernel, int8::Avx512Vnni::new_unchecked());
                }
            }
        }
    }
    scalar_int8(kernel)
}

#[inline(never)]
fn scalar_int8<K: Int8Kernel>(kernel: K) {
    kernel.run(dot::Scalar)
}
