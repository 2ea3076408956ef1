//! AVX2 and FMA: 8 f32 or 4 f64 a vector, masks as vectors.

use std::arch::x86_64::*;

use super::Simd;

/// The proof that this CPU has AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub struct Avx2(());

impl Avx2 {
    /// # Safety
    /// - The CPU must have AVX2 and FMA.
    #[inline]
    pub(crate) unsafe fn new_unchecked() -> Self {
        Avx2(())
    }
}

macro_rules! one {
    ($(fn $name:ident($($arg:ident: $t:ty),*) -> $out:ty = $body:expr;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: $t),*) -> $out {
            // SAFETY: the token proves the instructions; values only, no memory.
            #[allow(unused_unsafe)]
            unsafe { $body }
        }
    )*};
}

/// Lane masks: 8 ones, then 8 zeros; the window that starts at `8 - n` has the first `n` lanes set.
static FIRST_F32: [i32; 16] = [-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0];

impl Simd<f32> for Avx2 {
    type V = __m256;
    type M = __m256;
    const LANES: usize = 8;

    one! {
        fn splat(x: f32) -> __m256 = _mm256_set1_ps(x);
        fn add(a: __m256, b: __m256) -> __m256 = _mm256_add_ps(a, b);
        fn sub(a: __m256, b: __m256) -> __m256 = _mm256_sub_ps(a, b);
        fn mul(a: __m256, b: __m256) -> __m256 = _mm256_mul_ps(a, b);
        fn div(a: __m256, b: __m256) -> __m256 = _mm256_div_ps(a, b);
        fn fma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fmadd_ps(a, b, c);
        fn fnma(a: __m256, b: __m256, c: __m256) -> __m256 = _mm256_fnmadd_ps(a, b, c);
        fn sqrt(a: __m256) -> __m256 = _mm256_sqrt_ps(a);
        fn max_second(a: __m256, b: __m256) -> __m256 = _mm256_max_ps(a, b);
        fn min_second(a: __m256, b: __m256) -> __m256 = _mm256_min_ps(a, b);
        fn one_unless_negative(a: __m256, x: __m256) -> __m256 =
            _mm256_blendv_ps(_mm256_set1_ps(1.0), x, _mm256_cmp_ps::<_CMP_LT_OQ>(a, _mm256_setzero_ps()));
        fn round(a: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        fn floor(a: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a);
        fn ceil(a: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(a);
        fn trunc(a: __m256) -> __m256 = _mm256_round_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(a);
        fn and(a: __m256, b: __m256) -> __m256 = _mm256_and_ps(a, b);
        fn or(a: __m256, b: __m256) -> __m256 = _mm256_or_ps(a, b);
        fn xor(a: __m256, b: __m256) -> __m256 = _mm256_xor_ps(a, b);
        fn abs(a: __m256) -> __m256 = _mm256_andnot_ps(_mm256_set1_ps(-0.0), a);
        fn neg(a: __m256) -> __m256 = _mm256_xor_ps(a, _mm256_set1_ps(-0.0));
        fn copysign(magnitude: __m256, sign: __m256) -> __m256 = _mm256_or_ps(
            _mm256_andnot_ps(_mm256_set1_ps(-0.0), magnitude),
            _mm256_and_ps(_mm256_set1_ps(-0.0), sign),
        );
        fn eq(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_EQ_OQ>(a, b);
        fn lt(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LT_OQ>(a, b);
        fn le(a: __m256, b: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_LE_OQ>(a, b);
        fn is_nan(a: __m256) -> __m256 = _mm256_cmp_ps::<_CMP_UNORD_Q>(a, a);
        fn select(mask: __m256, yes: __m256, no: __m256) -> __m256 = _mm256_blendv_ps(no, yes, mask);
        fn mask_and(a: __m256, b: __m256) -> __m256 = _mm256_and_ps(a, b);
        fn mask_or(a: __m256, b: __m256) -> __m256 = _mm256_or_ps(a, b);
        fn mask_not(a: __m256) -> __m256 = _mm256_xor_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(-1)));
        fn mask_bits(a: __m256) -> u64 = _mm256_movemask_ps(a) as u64;
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m256 {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { _mm256_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> __m256 {
        // SAFETY: `n <= 8` keeps the mask's window inside its table; masked lanes are not read.
        unsafe {
            _mm256_maskload_ps(from, _mm256_loadu_si256(FIRST_F32.as_ptr().add(8 - n).cast()))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m256) {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { _mm256_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn store_past(self, to: *mut f32, x: __m256) {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { _mm256_stream_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: __m256, n: usize) {
        // SAFETY: `n <= 8` keeps the mask's window inside its table; masked lanes are not written.
        unsafe {
            _mm256_maskstore_ps(to, _mm256_loadu_si256(FIRST_F32.as_ptr().add(8 - n).cast()), x)
        }
    }

    #[inline(always)]
    fn scale(self, x: __m256, n: __m256) -> __m256 {
        // SAFETY: the token proves AVX2; values only.
        unsafe {
            let n = _mm256_cvtps_epi32(n);
            let half = _mm256_srai_epi32::<1>(n);
            let bias = _mm256_set1_epi32(127);
            let low = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(half, bias)));
            let rest = _mm256_sub_epi32(n, half);
            let high = _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_add_epi32(rest, bias)));
            _mm256_mul_ps(_mm256_mul_ps(x, low), high)
        }
    }
    #[inline(always)]
    fn split_exponent(self, x: __m256) -> (__m256, __m256) {
        // SAFETY: the token proves AVX2; values only.
        unsafe {
            let denormal = _mm256_cmp_ps::<_CMP_LT_OQ>(x, _mm256_set1_ps(f32::MIN_POSITIVE));
            let lifted = _mm256_mul_ps(x, _mm256_set1_ps(33554432.0));
            let x = _mm256_castps_si256(_mm256_blendv_ps(x, lifted, denormal));
            let shift = _mm256_and_ps(denormal, _mm256_set1_ps(25.0));
            let exponent = _mm256_srai_epi32::<23>(_mm256_sub_epi32(
                x,
                _mm256_castps_si256(_mm256_set1_ps(0.75)),
            ));
            let m = _mm256_castsi256_ps(_mm256_sub_epi32(x, _mm256_slli_epi32::<23>(exponent)));
            (m, _mm256_sub_ps(_mm256_cvtepi32_ps(exponent), shift))
        }
    }

    #[inline(always)]
    unsafe fn load_columns(self, from: *const f32, stride: isize) -> [__m256; 4] {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe {
            let pairs = std::array::from_fn(|i| {
                let column = from.offset(i as isize * stride);
                let low = _mm256_castps128_ps256(_mm_loadu_ps(column));
                _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(column.offset(4 * stride)))
            });
            transpose_fours(pairs)
        }
    }
    #[inline(always)]
    fn unpair(self, a: __m256, b: __m256) -> [__m256; 2] {
        // SAFETY: the token proves AVX2; values only.
        unsafe {
            // Halves of both, side by side, then in order.
            let even = _mm256_castps_pd(_mm256_shuffle_ps::<0x88>(a, b));
            let odd = _mm256_castps_pd(_mm256_shuffle_ps::<0xdd>(a, b));
            let (even, odd) =
                (_mm256_permute4x64_pd::<0xd8>(even), _mm256_permute4x64_pd::<0xd8>(odd));
            [_mm256_castpd_ps(even), _mm256_castpd_ps(odd)]
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, x: __m256, n: usize) {
        // SAFETY: the token proves AVX2; the caller guarantees the first `n` bytes.
        unsafe {
            let x = _mm256_cvttps_epi32(x);
            let words =
                _mm_packs_epi32(_mm256_castsi256_si128(x), _mm256_extracti128_si256::<1>(x));
            let bytes = _mm_cvtsi128_si64(_mm_packus_epi16(words, words)).to_le_bytes();
            match n {
                8 => to.cast::<[u8; 8]>().write_unaligned(bytes),
                _ => to.copy_from_nonoverlapping(bytes.as_ptr(), n),
            }
        }
    }
    const BLOCK: usize = 8;
    #[inline(always)]
    unsafe fn transpose(self, rows: &[*const f32; 8], to: *mut f32, to_stride: usize) {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { transpose_f32(rows, to, to_stride) }
    }
    #[inline(always)]
    fn low_bits_to_exponent(self, a: __m256) -> __m256 {
        // SAFETY: the token proves the instructions; values only.
        unsafe { _mm256_castsi256_ps(_mm256_slli_epi32::<23>(_mm256_castps_si256(a))) }
    }
    #[inline(always)]
    fn first(self, n: usize) -> __m256 {
        let from = 8 - n.min(8);
        // SAFETY: `from <= 8` keeps the mask's window inside its table.
        unsafe { _mm256_loadu_ps(FIRST_F32.as_ptr().add(from).cast()) }
    }
    #[inline(always)]
    fn fold_max(self, a: __m256) -> f32 {
        // SAFETY: the token proves AVX2; values only.
        unsafe {
            let four = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
            let two = _mm_max_ps(four, _mm_movehl_ps(four, four));
            _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps::<1>(two, two)))
        }
    }
    #[inline(always)]
    fn fold_sum(self, a: __m256) -> f32 {
        // SAFETY: the token proves AVX2.
        unsafe { fold_f32(a) }
    }
}

/// The fixed fold of 8 lanes.
///
/// # Safety
/// - The CPU must have AVX.
#[inline(always)]
pub(super) unsafe fn fold_f32(a: __m256) -> f32 {
    // SAFETY: the caller guarantees AVX; values only.
    unsafe {
        let four = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps::<1>(a));
        let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
        _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
    }
}

/// Lane masks: 4 ones, then 4 zeros; the window that starts at `4 - n` has the first `n` lanes set.
static FIRST_F64: [i64; 8] = [-1, -1, -1, -1, 0, 0, 0, 0];

impl Simd<f64> for Avx2 {
    type V = __m256d;
    type M = __m256d;
    const LANES: usize = 4;

    one! {
        fn splat(x: f64) -> __m256d = _mm256_set1_pd(x);
        fn add(a: __m256d, b: __m256d) -> __m256d = _mm256_add_pd(a, b);
        fn sub(a: __m256d, b: __m256d) -> __m256d = _mm256_sub_pd(a, b);
        fn mul(a: __m256d, b: __m256d) -> __m256d = _mm256_mul_pd(a, b);
        fn div(a: __m256d, b: __m256d) -> __m256d = _mm256_div_pd(a, b);
        fn fma(a: __m256d, b: __m256d, c: __m256d) -> __m256d = _mm256_fmadd_pd(a, b, c);
        fn fnma(a: __m256d, b: __m256d, c: __m256d) -> __m256d = _mm256_fnmadd_pd(a, b, c);
        fn sqrt(a: __m256d) -> __m256d = _mm256_sqrt_pd(a);
        fn max_second(a: __m256d, b: __m256d) -> __m256d = _mm256_max_pd(a, b);
        fn min_second(a: __m256d, b: __m256d) -> __m256d = _mm256_min_pd(a, b);
        fn one_unless_negative(a: __m256d, x: __m256d) -> __m256d =
            _mm256_blendv_pd(_mm256_set1_pd(1.0), x, _mm256_cmp_pd::<_CMP_LT_OQ>(a, _mm256_setzero_pd()));
        fn round(a: __m256d) -> __m256d = _mm256_round_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        fn floor(a: __m256d) -> __m256d = _mm256_round_pd::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a);
        fn ceil(a: __m256d) -> __m256d = _mm256_round_pd::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(a);
        fn trunc(a: __m256d) -> __m256d = _mm256_round_pd::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(a);
        fn and(a: __m256d, b: __m256d) -> __m256d = _mm256_and_pd(a, b);
        fn or(a: __m256d, b: __m256d) -> __m256d = _mm256_or_pd(a, b);
        fn xor(a: __m256d, b: __m256d) -> __m256d = _mm256_xor_pd(a, b);
        fn abs(a: __m256d) -> __m256d = _mm256_andnot_pd(_mm256_set1_pd(-0.0), a);
        fn neg(a: __m256d) -> __m256d = _mm256_xor_pd(a, _mm256_set1_pd(-0.0));
        fn copysign(magnitude: __m256d, sign: __m256d) -> __m256d = _mm256_or_pd(
            _mm256_andnot_pd(_mm256_set1_pd(-0.0), magnitude),
            _mm256_and_pd(_mm256_set1_pd(-0.0), sign),
        );
        fn eq(a: __m256d, b: __m256d) -> __m256d = _mm256_cmp_pd::<_CMP_EQ_OQ>(a, b);
        fn lt(a: __m256d, b: __m256d) -> __m256d = _mm256_cmp_pd::<_CMP_LT_OQ>(a, b);
        fn le(a: __m256d, b: __m256d) -> __m256d = _mm256_cmp_pd::<_CMP_LE_OQ>(a, b);
        fn is_nan(a: __m256d) -> __m256d = _mm256_cmp_pd::<_CMP_UNORD_Q>(a, a);
        fn select(mask: __m256d, yes: __m256d, no: __m256d) -> __m256d = _mm256_blendv_pd(no, yes, mask);
        fn mask_and(a: __m256d, b: __m256d) -> __m256d = _mm256_and_pd(a, b);
        fn mask_or(a: __m256d, b: __m256d) -> __m256d = _mm256_or_pd(a, b);
        fn mask_not(a: __m256d) -> __m256d = _mm256_xor_pd(a, _mm256_castsi256_pd(_mm256_set1_epi32(-1)));
        fn mask_bits(a: __m256d) -> u64 = _mm256_movemask_pd(a) as u64;
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f64) -> __m256d {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { _mm256_loadu_pd(from) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f64, n: usize) -> __m256d {
        // SAFETY: `n <= 4` keeps the mask's window inside its table; masked lanes are not read.
        unsafe {
            _mm256_maskload_pd(from, _mm256_loadu_si256(FIRST_F64.as_ptr().add(4 - n).cast()))
        }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64, x: __m256d) {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { _mm256_storeu_pd(to, x) }
    }
    #[inline(always)]
    unsafe fn store_past(self, to: *mut f64, x: __m256d) {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { _mm256_stream_pd(to, x) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f64, x: __m256d, n: usize) {
        // SAFETY: `n <= 4` keeps the mask's window inside its table; masked lanes are not written.
        unsafe {
            _mm256_maskstore_pd(to, _mm256_loadu_si256(FIRST_F64.as_ptr().add(4 - n).cast()), x)
        }
    }

    #[inline(always)]
    fn scale(self, x: __m256d, n: __m256d) -> __m256d {
        // SAFETY: the token proves AVX2; values only.
        unsafe {
            // |n| < 2^31: the exponents are computed as 32-bit integers and widened.
            let n = _mm256_cvtpd_epi32(n);
            let half = _mm_srai_epi32::<1>(n);
            let bias = _mm_set1_epi32(1023);
            let low = _mm256_slli_epi64::<52>(_mm256_cvtepi32_epi64(_mm_add_epi32(half, bias)));
            let rest = _mm_sub_epi32(n, half);
            let high = _mm256_slli_epi64::<52>(_mm256_cvtepi32_epi64(_mm_add_epi32(rest, bias)));
            _mm256_mul_pd(_mm256_mul_pd(x, _mm256_castsi256_pd(low)), _mm256_castsi256_pd(high))
        }
    }
    #[inline(always)]
    fn split_exponent(self, x: __m256d) -> (__m256d, __m256d) {
        // SAFETY: the token proves AVX2; values only.
        unsafe {
            let denormal = _mm256_cmp_pd::<_CMP_LT_OQ>(x, _mm256_set1_pd(f64::MIN_POSITIVE));
            let lifted = _mm256_mul_pd(x, _mm256_set1_pd(18014398509481984.0));
            let x = _mm256_castpd_si256(_mm256_blendv_pd(x, lifted, denormal));
            let shift = _mm256_and_pd(denormal, _mm256_set1_pd(54.0));
            // AVX2 has no arithmetic 64-bit shift: the exponent lies in the high 32-bit halves, shift those.
            let above = _mm256_sub_epi64(x, _mm256_castpd_si256(_mm256_set1_pd(0.75)));
            let high = _mm256_shuffle_epi32::<0b11_11_01_01>(_mm256_srai_epi32::<20>(above));
            let mask = _mm256_set1_epi64x(0xffff_ffff);
            let m = _mm256_sub_epi64(x, _mm256_slli_epi64::<52>(_mm256_and_si256(high, mask)));
            let packed =
                _mm256_permutevar8x32_epi32(high, _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6));
            let exponent = _mm256_cvtepi32_pd(_mm256_castsi256_si128(packed));
            (_mm256_castsi256_pd(m), _mm256_sub_pd(exponent, shift))
        }
    }

    #[inline(always)]
    fn low_bits_to_exponent(self, a: __m256d) -> __m256d {
        // SAFETY: the token proves the instructions; values only.
        unsafe { _mm256_castsi256_pd(_mm256_slli_epi64::<52>(_mm256_castpd_si256(a))) }
    }
    #[inline(always)]
    fn first(self, n: usize) -> __m256d {
        let from = 4 - n.min(4);
        // SAFETY: `from <= 4` keeps the mask's window inside its table.
        unsafe { _mm256_loadu_pd(FIRST_F64.as_ptr().add(from).cast()) }
    }
    #[inline(always)]
    fn fold_max(self, a: __m256d) -> f64 {
        // SAFETY: the token proves AVX2; values only.
        unsafe {
            let two = _mm_max_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd::<1>(a));
            _mm_cvtsd_f64(_mm_max_sd(two, _mm_unpackhi_pd(two, two)))
        }
    }
    #[inline(always)]
    fn fold_sum(self, a: __m256d) -> f64 {
        // SAFETY: the token proves AVX2.
        unsafe { fold_f64(a) }
    }
    #[inline(always)]
    unsafe fn load_columns(self, from: *const f64, stride: isize) -> [__m256d; 4] {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe {
            let [a, b, c, d]: [__m256d; 4] =
                std::array::from_fn(|i| _mm256_loadu_pd(from.offset(i as isize * stride)));
            let (ab_low, ab_high) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            let (cd_low, cd_high) = (_mm256_unpacklo_pd(c, d), _mm256_unpackhi_pd(c, d));
            [
                _mm256_permute2f128_pd::<0x20>(ab_low, cd_low),
                _mm256_permute2f128_pd::<0x20>(ab_high, cd_high),
                _mm256_permute2f128_pd::<0x31>(ab_low, cd_low),
                _mm256_permute2f128_pd::<0x31>(ab_high, cd_high),
            ]
        }
    }
    #[inline(always)]
    fn unpair(self, a: __m256d, b: __m256d) -> [__m256d; 2] {
        // SAFETY: the token proves AVX2; values only.
        unsafe {
            let (even, odd) = (_mm256_unpacklo_pd(a, b), _mm256_unpackhi_pd(a, b));
            [_mm256_permute4x64_pd::<0xd8>(even), _mm256_permute4x64_pd::<0xd8>(odd)]
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, x: __m256d, n: usize) {
        // SAFETY: the token proves AVX2; the caller guarantees the first `n` bytes.
        unsafe {
            let x = _mm256_cvttpd_epi32(x);
            let words = _mm_packs_epi32(x, x);
            let bytes = _mm_cvtsi128_si32(_mm_packus_epi16(words, words)).to_le_bytes();
            match n {
                4 => to.cast::<[u8; 4]>().write_unaligned(bytes),
                _ => to.copy_from_nonoverlapping(bytes.as_ptr(), n),
            }
        }
    }
    const BLOCK: usize = 4;
    #[inline(always)]
    unsafe fn transpose(self, rows: &[*const f64; 8], to: *mut f64, to_stride: usize) {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { transpose_f64(rows, to, to_stride) }
    }
}

/// Transposes 8x8: halves of rows i and i + 4 share a register, so that no shuffle crosses its halves.
///
/// # Safety
/// - As [`Simd::transpose`]; the CPU must have AVX2.
#[inline(always)]
pub(super) unsafe fn transpose_f32(rows: &[*const f32; 8], to: *mut f32, to_stride: usize) {
    for half in 0..2 {
        // SAFETY: by the caller's contract.
        unsafe {
            let mut pairs = [_mm256_setzero_ps(); 4];
            for (i, pair) in pairs.iter_mut().enumerate() {
                let low = _mm256_castps128_ps256(_mm_loadu_ps(rows[i].add(4 * half)));
                *pair = _mm256_insertf128_ps::<1>(low, _mm_loadu_ps(rows[i + 4].add(4 * half)));
            }
            for (i, row) in transpose_fours(pairs).into_iter().enumerate() {
                _mm256_storeu_ps(to.add((4 * half + i) * to_stride), row);
            }
        }
    }
}

/// Transposes 4x4 in each half.
///
/// # Safety
/// - The CPU must have AVX.
#[inline(always)]
unsafe fn transpose_fours([a, b, c, d]: [__m256; 4]) -> [__m256; 4] {
    // SAFETY: the caller guarantees AVX; values only.
    unsafe {
        let (ab_low, ab_high) = (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm256_unpacklo_ps(c, d), _mm256_unpackhi_ps(c, d));
        [
            _mm256_shuffle_ps::<0x44>(ab_low, cd_low),
            _mm256_shuffle_ps::<0xee>(ab_low, cd_low),
            _mm256_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm256_shuffle_ps::<0xee>(ab_high, cd_high),
        ]
    }
}

/// Transposes 4x4, as [`transpose_f32`].
///
/// # Safety
/// - As [`Simd::transpose`]; the CPU must have AVX2.
#[inline(always)]
pub(super) unsafe fn transpose_f64(rows: &[*const f64; 8], to: *mut f64, to_stride: usize) {
    for half in 0..2 {
        // SAFETY: by the caller's contract.
        unsafe {
            let mut pairs = [_mm256_setzero_pd(); 2];
            for (i, pair) in pairs.iter_mut().enumerate() {
                let low = _mm256_castpd128_pd256(_mm_loadu_pd(rows[i].add(2 * half)));
                *pair = _mm256_insertf128_pd::<1>(low, _mm_loadu_pd(rows[i + 2].add(2 * half)));
            }
            let [a, b] = pairs;
            let to = to.add(2 * half * to_stride);
            _mm256_storeu_pd(to, _mm256_unpacklo_pd(a, b));
            _mm256_storeu_pd(to.add(to_stride), _mm256_unpackhi_pd(a, b));
        }
    }
}

/// The fixed fold of 4 lanes.
///
/// # Safety
/// - The CPU must have AVX.
#[inline(always)]
pub(super) unsafe fn fold_f64(a: __m256d) -> f64 {
    // SAFETY: the caller guarantees AVX; values only.
    unsafe {
        let two = _mm_add_pd(_mm256_castpd256_pd128(a), _mm256_extractf128_pd::<1>(a));
        _mm_cvtsd_f64(_mm_add_sd(two, _mm_unpackhi_pd(two, two)))
    }
}
