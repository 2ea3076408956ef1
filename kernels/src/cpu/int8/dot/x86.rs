//! The tokens of x86-64.

use std::arch::x86_64::*;

use super::{Dot, GROUP, PANEL, PANELS_OF_TAPS, STEP};

macro_rules! token {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy)]
        pub(crate) struct $name(());

        impl $name {
            /// The token.
            ///
            /// # Safety
            /// - The CPU must have the instructions that the type names.
            pub(crate) unsafe fn new_unchecked() -> Self {
                $name(())
            }
        }
    };
}

token!(
    /// AVX2: bytes widened to i16, `vpmaddwd`. (`vpmaddubsw` would take bytes, but its i16 sums saturate.)
    Avx2
);
token!(
    /// AVX-VNNI: `vpdpbusd` of 256 bits, encoded for CPUs without AVX-512.
    AvxVnni
);
token!(
    /// AVX-512 F, BW, DQ, VL without VNNI: bytes widened to i16, `vpmaddwd` of 512 bits.
    Avx512
);
token!(
    /// AVX-512 F, BW, DQ, VL and VNNI: `vpdpbusd` of 512 bits.
    Avx512Vnni
);

impl Dot for Avx512Vnni {
    type Sums = __m512i;
    type Weights = __m512i;
    type Group = __m512i;
    const BYTES: usize = 1;
    const ROWS: usize = 6;
    const PANELS: usize = 4;

    #[inline(always)]
    fn zero(self) -> __m512i {
        // SAFETY: the token proves AVX-512; values only.
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> __m512i {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe { _mm512_loadu_si512(from.cast()) }
    }
    #[inline(always)]
    unsafe fn group(self, from: *const u8) -> __m512i {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe { _mm512_set1_epi32(from.cast::<i32>().read_unaligned()) }
    }
    #[inline(always)]
    fn dot(self, sums: __m512i, group: __m512i, weights: __m512i) -> __m512i {
        // SAFETY: the token proves AVX-512 VNNI; values only.
        unsafe { _mm512_dpbusd_epi32(sums, group, weights) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32, sums: __m512i) {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe { _mm512_storeu_si512(to.cast(), sums) }
    }

    const PREFETCHES: bool = true;
    #[inline(always)]
    fn prefetch(self, at: *const i8) {
        // SAFETY: a hint, which never faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(at) }
    }
    #[inline(always)]
    fn prefetch_write(self, at: *const u8) {
        // SAFETY: a hint, which never faults.
        unsafe { _mm_prefetch::<_MM_HINT_ET0>(at.cast()) }
    }

    const TAPS: bool = true;
    #[inline(always)]
    unsafe fn taps(
        self,
        sums: [__m512i; PANELS_OF_TAPS],
        taps: [*const u8; GROUP],
        weights: *const i8,
        len: usize,
    ) -> [__m512i; PANELS_OF_TAPS] {
        // SAFETY: the token proves AVX-512 BW and VNNI; the caller guarantees the memory, of which the mask reads `len` bytes.
        unsafe {
            let mask = if len >= 64 { u64::MAX } else { (1 << len) - 1 };
            let load = |tap: *const u8| _mm512_maskz_loadu_epi8(mask, tap.cast());
            let [a, b, c, d] = [load(taps[0]), load(taps[1]), load(taps[2]), load(taps[3])];
            let (low, high) = (_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b));
            let (low_2, high_2) = (_mm512_unpacklo_epi8(c, d), _mm512_unpackhi_epi8(c, d));
            let weights = |i: usize| _mm512_loadu_si512(weights.add(i * STEP).cast());
            [
                _mm512_dpbusd_epi32(sums[0], _mm512_unpacklo_epi16(low, low_2), weights(0)),
                _mm512_dpbusd_epi32(sums[1], _mm512_unpackhi_epi16(low, low_2), weights(1)),
                _mm512_dpbusd_epi32(sums[2], _mm512_unpacklo_epi16(high, high_2), weights(2)),
                _mm512_dpbusd_epi32(sums[3], _mm512_unpackhi_epi16(high, high_2), weights(3)),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store_taps(self, to: *mut i32, sums: [__m512i; PANELS_OF_TAPS]) {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe {
            // The 128-bit lanes are a matrix, which is transposed.
            let [a, b, c, d] = sums;
            let (even, odd) =
                (_mm512_shuffle_i32x4::<0x88>(a, b), _mm512_shuffle_i32x4::<0xdd>(a, b));
            let (even_2, odd_2) =
                (_mm512_shuffle_i32x4::<0x88>(c, d), _mm512_shuffle_i32x4::<0xdd>(c, d));
            for (i, sums) in [
                _mm512_shuffle_i32x4::<0x88>(even, even_2),
                _mm512_shuffle_i32x4::<0x88>(odd, odd_2),
                _mm512_shuffle_i32x4::<0xdd>(even, even_2),
                _mm512_shuffle_i32x4::<0xdd>(odd, odd_2),
            ]
            .into_iter()
            .enumerate()
            {
                _mm512_storeu_si512(to.add(i * PANEL).cast(), sums);
            }
        }
    }
}

macro_rules! vnni_of_256_bits {
    ($name:ident, $dot:ident) => {
        impl Dot for $name {
            type Sums = [__m256i; 2];
            type Weights = [__m256i; 2];
            type Group = __m256i;
            const BYTES: usize = 1;
            const ROWS: usize = 6;
            const PANELS: usize = 1;

            #[inline(always)]
            fn zero(self) -> [__m256i; 2] {
                // SAFETY: the token proves AVX2; values only.
                unsafe { [_mm256_setzero_si256(); 2] }
            }
            #[inline(always)]
            unsafe fn weights(self, from: *const i8) -> [__m256i; 2] {
                // SAFETY: the token proves AVX2; the caller guarantees the memory.
                unsafe {
                    [_mm256_loadu_si256(from.cast()), _mm256_loadu_si256(from.add(STEP / 2).cast())]
                }
            }
            #[inline(always)]
            unsafe fn group(self, from: *const u8) -> __m256i {
                // SAFETY: the token proves AVX2; the caller guarantees the memory.
                unsafe { _mm256_set1_epi32(from.cast::<i32>().read_unaligned()) }
            }
            #[inline(always)]
            fn dot(
                self,
                sums: [__m256i; 2],
                group: __m256i,
                weights: [__m256i; 2],
            ) -> [__m256i; 2] {
                // SAFETY: the token proves VNNI; values only.
                unsafe { [$dot(sums[0], group, weights[0]), $dot(sums[1], group, weights[1])] }
            }
            #[inline(always)]
            unsafe fn store(self, to: *mut i32, sums: [__m256i; 2]) {
                // SAFETY: the token proves AVX2; the caller guarantees the memory.
                unsafe {
                    _mm256_storeu_si256(to.cast(), sums[0]);
                    _mm256_storeu_si256(to.add(PANEL / 2).cast(), sums[1]);
                }
            }
        }
    };
}
vnni_of_256_bits!(AvxVnni, _mm256_dpbusd_avx_epi32);

#[cfg(test)]
token!(
    /// Stands in for [`AvxVnni`] in tests on CPUs that have the same instruction in AVX-512's encoding alone.
    Avx512Vnni256
);
#[cfg(test)]
vnni_of_256_bits!(Avx512Vnni256, _mm256_dpbusd_epi32);

/// A lane holds half a column's sum: that of the first two or of the last two of each four places in k.
impl Dot for Avx512 {
    type Sums = [__m512i; 2];
    type Weights = [__m512i; 2];
    type Group = __m512i;
    const BYTES: usize = 2;
    const ROWS: usize = 6;
    const PANELS: usize = 2;

    #[inline(always)]
    fn zero(self) -> [__m512i; 2] {
        // SAFETY: the token proves AVX-512; values only.
        unsafe { [_mm512_setzero_si512(); 2] }
    }
    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> [__m512i; 2] {
        // SAFETY: the token proves AVX-512 BW; the caller guarantees the memory.
        unsafe {
            [
                _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.cast())),
                _mm512_cvtepi8_epi16(_mm256_loadu_si256(from.add(STEP / 2).cast())),
            ]
        }
    }
    #[inline(always)]
    unsafe fn group(self, from: *const u8) -> __m512i {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe { _mm512_set1_epi64(from.cast::<i64>().read_unaligned()) }
    }
    #[inline(always)]
    fn dot(self, sums: [__m512i; 2], group: __m512i, weights: [__m512i; 2]) -> [__m512i; 2] {
        // SAFETY: the token proves AVX-512 BW; values only.
        unsafe {
            [
                _mm512_add_epi32(sums[0], _mm512_madd_epi16(group, weights[0])),
                _mm512_add_epi32(sums[1], _mm512_madd_epi16(group, weights[1])),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32, sums: [__m512i; 2]) {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
            let low = _mm512_permutex2var_epi32(sums[0], even, sums[1]);
            let high = _mm512_permutex2var_epi32(sums[0], odd, sums[1]);
            _mm512_storeu_si512(to.cast(), _mm512_add_epi32(low, high));
        }
    }
}

/// As for [`Avx512`]: a lane holds half a column's sum.
impl Dot for Avx2 {
    type Sums = [__m256i; 4];
    type Weights = [__m256i; 4];
    type Group = __m256i;
    const BYTES: usize = 2;
    const ROWS: usize = 2;
    const PANELS: usize = 1;

    #[inline(always)]
    fn zero(self) -> [__m256i; 4] {
        // SAFETY: the token proves AVX2; values only.
        unsafe { [_mm256_setzero_si256(); 4] }
    }
    #[inline(always)]
    unsafe fn weights(self, from: *const i8) -> [__m256i; 4] {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe {
            [
                _mm256_cvtepi8_epi16(_mm_loadu_si128(from.cast())),
                _mm256_cvtepi8_epi16(_mm_loadu_si128(from.add(16).cast())),
                _mm256_cvtepi8_epi16(_mm_loadu_si128(from.add(32).cast())),
                _mm256_cvtepi8_epi16(_mm_loadu_si128(from.add(48).cast())),
            ]
        }
    }
    #[inline(always)]
    unsafe fn group(self, from: *const u8) -> __m256i {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { _mm256_set1_epi64x(from.cast::<i64>().read_unaligned()) }
    }
    #[inline(always)]
    fn dot(self, sums: [__m256i; 4], group: __m256i, weights: [__m256i; 4]) -> [__m256i; 4] {
        // SAFETY: the token proves AVX2; values only.
        unsafe {
            [
                _mm256_add_epi32(sums[0], _mm256_madd_epi16(group, weights[0])),
                _mm256_add_epi32(sums[1], _mm256_madd_epi16(group, weights[1])),
                _mm256_add_epi32(sums[2], _mm256_madd_epi16(group, weights[2])),
                _mm256_add_epi32(sums[3], _mm256_madd_epi16(group, weights[3])),
            ]
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut i32, sums: [__m256i; 4]) {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe {
            // hadd works in 128-bit halves: columns 0 1 4 5 2 3 6 7.
            let first = _mm256_hadd_epi32(sums[0], sums[1]);
            let second = _mm256_hadd_epi32(sums[2], sums[3]);
            let order = _mm256_permute4x64_epi64::<0b11_01_10_00>;
            _mm256_storeu_si256(to.cast(), order(first));
            _mm256_storeu_si256(to.add(PANEL / 2).cast(), order(second));
        }
    }
}
