//! AVX-512: 16 f32 or 8 f64 a vector, masks in registers.

use std::arch::x86_64::*;

use super::Simd;

/// The proof that this CPU has AVX-512 F, BW, DQ and VL, AVX2 and FMA.
#[derive(Debug, Clone, Copy)]
pub struct Avx512(());

impl Avx512 {
    /// # Safety
    /// - The CPU must have AVX-512 F, BW, DQ, VL, AVX2 and FMA.
    #[inline]
    pub(crate) unsafe fn new_unchecked() -> Self {
        Avx512(())
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

/// What `vfixupimm` makes of each class of number, four bits each, from the lowest: quiet NaN and signalling one (2: itself, quiet),
/// zero, 1, -infinity, infinity, negative, positive; 10 is 1, 0 leaves the other operand.
const ONE_UNLESS_NEGATIVE: i32 = 0xa0a0_aa22_u32 as i32;

impl Simd<f32> for Avx512 {
    type V = __m512;
    type M = __mmask16;
    const LANES: usize = 16;
    const ANY_SCALE: bool = true;

    one! {
        fn splat(x: f32) -> __m512 = _mm512_set1_ps(x);
        fn add(a: __m512, b: __m512) -> __m512 = _mm512_add_ps(a, b);
        fn sub(a: __m512, b: __m512) -> __m512 = _mm512_sub_ps(a, b);
        fn mul(a: __m512, b: __m512) -> __m512 = _mm512_mul_ps(a, b);
        fn div(a: __m512, b: __m512) -> __m512 = _mm512_div_ps(a, b);
        fn fma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fmadd_ps(a, b, c);
        fn fnma(a: __m512, b: __m512, c: __m512) -> __m512 = _mm512_fnmadd_ps(a, b, c);
        fn sqrt(a: __m512) -> __m512 = _mm512_sqrt_ps(a);
        fn max_second(a: __m512, b: __m512) -> __m512 = _mm512_max_ps(a, b);
        fn min_second(a: __m512, b: __m512) -> __m512 = _mm512_min_ps(a, b);
        // Of the smaller magnitude: with the sign of `a`, and with none.
        fn within(a: __m512, bound: __m512) -> __m512 = _mm512_range_ps::<0b0010>(a, bound);
        fn abs_within(a: __m512, bound: __m512) -> __m512 = _mm512_range_ps::<0b1010>(a, bound);
        fn one_unless_negative(a: __m512, x: __m512) -> __m512 = _mm512_fixupimm_ps::<0>(x, a, _mm512_set1_epi32(ONE_UNLESS_NEGATIVE));
        fn round(a: __m512) -> __m512 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        fn floor(a: __m512) -> __m512 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a);
        fn ceil(a: __m512) -> __m512 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(a);
        fn trunc(a: __m512) -> __m512 = _mm512_roundscale_ps::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(a);
        fn and(a: __m512, b: __m512) -> __m512 = _mm512_and_ps(a, b);
        fn or(a: __m512, b: __m512) -> __m512 = _mm512_or_ps(a, b);
        fn xor(a: __m512, b: __m512) -> __m512 = _mm512_xor_ps(a, b);
        fn abs(a: __m512) -> __m512 = _mm512_abs_ps(a);
        fn neg(a: __m512) -> __m512 = _mm512_xor_ps(a, _mm512_set1_ps(-0.0));
        fn copysign(magnitude: __m512, sign: __m512) -> __m512 =
            _mm512_castsi512_ps(_mm512_ternarylogic_epi32::<0xd8>(_mm512_castps_si512(magnitude), _mm512_castps_si512(sign), _mm512_set1_epi32(i32::MIN)));
        fn eq(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b);
        fn lt(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b);
        fn le(a: __m512, b: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b);
        fn is_nan(a: __m512) -> __mmask16 = _mm512_cmp_ps_mask::<_CMP_UNORD_Q>(a, a);
        fn select(mask: __mmask16, yes: __m512, no: __m512) -> __m512 = _mm512_mask_blend_ps(mask, no, yes);
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f32) -> __m512 {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe { _mm512_loadu_ps(from) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f32, n: usize) -> __m512 {
        // SAFETY: the token proves AVX-512; masked lanes are not read, the caller guarantees the first `n`.
        unsafe { _mm512_maskz_loadu_ps(first_f32(n), from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32, x: __m512) {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe { _mm512_storeu_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn store_past(self, to: *mut f32, x: __m512) {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe { _mm512_stream_ps(to, x) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f32, x: __m512, n: usize) {
        // SAFETY: the token proves AVX-512; masked lanes are not written, the caller guarantees the first `n`.
        unsafe { _mm512_mask_storeu_ps(to, first_f32(n), x) }
    }

    #[inline(always)]
    fn scale(self, x: __m512, n: __m512) -> __m512 {
        // SAFETY: the token proves AVX-512 F and DQ; values only.
        unsafe { _mm512_scalef_ps(x, n) }
    }
    #[inline(always)]
    fn split_exponent(self, x: __m512) -> (__m512, __m512) {
        // SAFETY: the token proves AVX-512 F; values only.
        unsafe {
            let m = _mm512_getmant_ps::<_MM_MANT_NORM_P75_1P5, _MM_MANT_SIGN_SRC>(x);
            // getexp(x) is the exponent of x's own [1, 2) mantissa; where m < 1 that mantissa was halved.
            let e = _mm512_getexp_ps(x);
            let halved = _mm512_cmp_ps_mask::<_CMP_LT_OQ>(m, _mm512_set1_ps(1.0));
            (m, _mm512_mask_add_ps(e, halved, e, _mm512_set1_ps(1.0)))
        }
    }

    #[inline(always)]
    fn mask_and(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a & b
    }
    #[inline(always)]
    fn mask_or(self, a: __mmask16, b: __mmask16) -> __mmask16 {
        a | b
    }
    #[inline(always)]
    fn mask_not(self, a: __mmask16) -> __mmask16 {
        !a
    }
    #[inline(always)]
    fn mask_bits(self, a: __mmask16) -> u64 {
        a as u64
    }

    #[inline(always)]
    unsafe fn store_where(self, to: *mut f32, x: __m512, mask: __mmask16) -> usize {
        // SAFETY: the token proves the instructions; the caller guarantees the memory.
        unsafe { _mm512_storeu_ps(to, _mm512_maskz_compress_ps(mask, x)) };
        mask.count_ones() as usize
    }

    #[inline(always)]
    unsafe fn load_columns(self, from: *const f32, stride: isize) -> [__m512; 4] {
        // SAFETY: the token proves the instructions; the caller guarantees the memory.
        unsafe {
            // Four columns that are four apart share a register, so that no shuffle crosses its quarters.
            let a = load_four_quarters(from, 4 * stride);
            let b = load_four_quarters(from.wrapping_offset(stride), 4 * stride);
            let c = load_four_quarters(from.wrapping_offset(2 * stride), 4 * stride);
            let d = load_four_quarters(from.wrapping_offset(3 * stride), 4 * stride);
            transpose_quarters([a, b, c, d])
        }
    }
    /// One load of a column where two rounds of fours take two: a cache line is visited twice, not four times, and soon. Columns that are a
    /// power of two apart share a set of L1, which has fewer places than there are columns.
    #[inline(always)]
    unsafe fn load_columns_8(self, from: *const f32, stride: isize) -> [__m512; 8] {
        // SAFETY: the token proves the instructions; the caller guarantees the memory.
        unsafe {
            let low = load_eight_columns(from, stride);
            join_eights([low, load_eight_columns(from.wrapping_offset(8 * stride), stride)])
        }
    }
    #[inline(always)]
    unsafe fn load_columns_16(self, from: *const f32, stride: isize) -> [[__m512; 8]; 2] {
        // SAFETY: as above.
        unsafe {
            let behind = from.wrapping_offset(8 * stride);
            let low = load_eight_columns(from, stride);
            let next_low = load_eight_columns(from.wrapping_add(8), stride);
            let high = load_eight_columns(behind, stride);
            let next_high = load_eight_columns(behind.wrapping_add(8), stride);
            [join_eights([low, high]), join_eights([next_low, next_high])]
        }
    }
    #[inline(always)]
    fn unpair(self, a: __m512, b: __m512) -> [__m512; 2] {
        // SAFETY: the token proves AVX-512 F; values only.
        unsafe {
            let even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
            let odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
            [_mm512_permutex2var_ps(a, even, b), _mm512_permutex2var_ps(a, odd, b)]
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, x: __m512, n: usize) {
        // SAFETY: the token proves AVX-512 BW and VL; masked lanes are not written, the caller guarantees the first `n`.
        unsafe {
            let bytes = _mm512_cvtepi32_epi8(_mm512_cvttps_epi32(x));
            match n {
                16 => _mm_storeu_si128(to.cast(), bytes),
                _ => _mm_mask_storeu_epi8(to.cast(), first_f32(n), bytes),
            }
        }
    }
    const BLOCK: usize = 8;
    #[inline(always)]
    unsafe fn transpose(self, rows: &[*const f32; 8], to: *mut f32, to_stride: usize) {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { super::avx2::transpose_f32(rows, to, to_stride) }
    }
    #[inline(always)]
    fn low_bits_to_exponent(self, a: __m512) -> __m512 {
        // SAFETY: the token proves the instructions; values only.
        unsafe { _mm512_castsi512_ps(_mm512_slli_epi32::<23>(_mm512_castps_si512(a))) }
    }
    #[inline(always)]
    fn first(self, n: usize) -> __mmask16 {
        first_f32(n.min(16))
    }
    #[inline(always)]
    fn fold_max(self, a: __m512) -> f32 {
        // SAFETY: the token proves AVX-512 F; values only.
        unsafe { _mm512_reduce_max_ps(a) }
    }
    #[inline(always)]
    fn fold_sum(self, a: __m512) -> f32 {
        // SAFETY: the token proves AVX-512 DQ and AVX2; values only.
        unsafe {
            let half = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps::<1>(a));
            super::avx2::fold_f32(half)
        }
    }
}

/// Eight elements of each of eight columns; in quarters: elements 0 to 3 of columns 0 to 3, 4 to 7 of them, the same of columns 4 to 7.
///
/// # Safety
/// - The CPU must have AVX-512 F, and the elements must be readable.
#[inline(always)]
unsafe fn load_eight_columns(from: *const f32, stride: isize) -> [__m512; 4] {
    // SAFETY: by the caller's contract.
    unsafe {
        let a = _mm512_castpd_ps(load_pair(from, 4 * stride));
        let b = _mm512_castpd_ps(load_pair(from.wrapping_offset(stride), 4 * stride));
        let c = _mm512_castpd_ps(load_pair(from.wrapping_offset(2 * stride), 4 * stride));
        let d = _mm512_castpd_ps(load_pair(from.wrapping_offset(3 * stride), 4 * stride));
        transpose_quarters([a, b, c, d])
    }
}

/// Four elements, and three times four more, each `apart` from the ones before.
///
/// # Safety
/// - The CPU must have AVX-512 F, and the elements must be readable.
#[inline(always)]
unsafe fn load_four_quarters(from: *const f32, apart: isize) -> __m512 {
    // SAFETY: by the caller's contract.
    unsafe {
        let x = _mm512_castps128_ps512(_mm_loadu_ps(from));
        let x = _mm512_insertf32x4::<1>(x, _mm_loadu_ps(from.wrapping_offset(apart)));
        let x = _mm512_insertf32x4::<2>(x, _mm_loadu_ps(from.wrapping_offset(2 * apart)));
        _mm512_insertf32x4::<3>(x, _mm_loadu_ps(from.wrapping_offset(3 * apart)))
    }
}

/// 32 bytes, and 32 more, so many elements `apart` from them.
///
/// # Safety
/// - The CPU must have AVX-512 F, and the elements must be readable.
#[inline(always)]
unsafe fn load_pair<T>(from: *const T, apart: isize) -> __m512d {
    // SAFETY: by the caller's contract.
    unsafe {
        let low = _mm512_castpd256_pd512(_mm256_loadu_pd(from.cast()));
        _mm512_insertf64x4::<1>(low, _mm256_loadu_pd(from.wrapping_offset(apart).cast()))
    }
}

/// The rows of sixteen columns, eight of which are in `low`, eight in `high`.
///
/// # Safety
/// - The CPU must have AVX-512 F.
#[inline(always)]
unsafe fn join_eights([low, high]: [[__m512; 4]; 2]) -> [__m512; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (low, high);
    // SAFETY: the caller guarantees the instructions; values only.
    unsafe {
        [
            _mm512_shuffle_f32x4::<0x88>(a, e),
            _mm512_shuffle_f32x4::<0x88>(b, f),
            _mm512_shuffle_f32x4::<0x88>(c, g),
            _mm512_shuffle_f32x4::<0x88>(d, h),
            _mm512_shuffle_f32x4::<0xdd>(a, e),
            _mm512_shuffle_f32x4::<0xdd>(b, f),
            _mm512_shuffle_f32x4::<0xdd>(c, g),
            _mm512_shuffle_f32x4::<0xdd>(d, h),
        ]
    }
}

/// Transposes 4x4 in each quarter.
///
/// # Safety
/// - The CPU must have AVX-512 F.
#[inline(always)]
unsafe fn transpose_quarters([a, b, c, d]: [__m512; 4]) -> [__m512; 4] {
    // SAFETY: the caller guarantees the instructions; values only.
    unsafe {
        let (ab_low, ab_high) = (_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
        let (cd_low, cd_high) = (_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
        [
            _mm512_shuffle_ps::<0x44>(ab_low, cd_low),
            _mm512_shuffle_ps::<0xee>(ab_low, cd_low),
            _mm512_shuffle_ps::<0x44>(ab_high, cd_high),
            _mm512_shuffle_ps::<0xee>(ab_high, cd_high),
        ]
    }
}

/// The mask of the first `n` lanes.
#[inline(always)]
fn first_f32(n: usize) -> __mmask16 {
    ((1u32 << n) - 1) as u16
}

impl Simd<f64> for Avx512 {
    type V = __m512d;
    type M = __mmask8;
    const LANES: usize = 8;

    one! {
        fn splat(x: f64) -> __m512d = _mm512_set1_pd(x);
        fn add(a: __m512d, b: __m512d) -> __m512d = _mm512_add_pd(a, b);
        fn sub(a: __m512d, b: __m512d) -> __m512d = _mm512_sub_pd(a, b);
        fn mul(a: __m512d, b: __m512d) -> __m512d = _mm512_mul_pd(a, b);
        fn div(a: __m512d, b: __m512d) -> __m512d = _mm512_div_pd(a, b);
        fn fma(a: __m512d, b: __m512d, c: __m512d) -> __m512d = _mm512_fmadd_pd(a, b, c);
        fn fnma(a: __m512d, b: __m512d, c: __m512d) -> __m512d = _mm512_fnmadd_pd(a, b, c);
        fn sqrt(a: __m512d) -> __m512d = _mm512_sqrt_pd(a);
        fn max_second(a: __m512d, b: __m512d) -> __m512d = _mm512_max_pd(a, b);
        fn min_second(a: __m512d, b: __m512d) -> __m512d = _mm512_min_pd(a, b);
        fn one_unless_negative(a: __m512d, x: __m512d) -> __m512d =
            _mm512_mask_blend_pd(_mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, _mm512_setzero_pd()), _mm512_set1_pd(1.0), x);
        fn round(a: __m512d) -> __m512d = _mm512_roundscale_pd::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a);
        fn floor(a: __m512d) -> __m512d = _mm512_roundscale_pd::<{ _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC }>(a);
        fn ceil(a: __m512d) -> __m512d = _mm512_roundscale_pd::<{ _MM_FROUND_TO_POS_INF | _MM_FROUND_NO_EXC }>(a);
        fn trunc(a: __m512d) -> __m512d = _mm512_roundscale_pd::<{ _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC }>(a);
        fn and(a: __m512d, b: __m512d) -> __m512d = _mm512_and_pd(a, b);
        fn or(a: __m512d, b: __m512d) -> __m512d = _mm512_or_pd(a, b);
        fn xor(a: __m512d, b: __m512d) -> __m512d = _mm512_xor_pd(a, b);
        fn abs(a: __m512d) -> __m512d = _mm512_abs_pd(a);
        fn neg(a: __m512d) -> __m512d = _mm512_xor_pd(a, _mm512_set1_pd(-0.0));
        fn copysign(magnitude: __m512d, sign: __m512d) -> __m512d =
            _mm512_castsi512_pd(_mm512_ternarylogic_epi64::<0xd8>(_mm512_castpd_si512(magnitude), _mm512_castpd_si512(sign), _mm512_set1_epi64(i64::MIN)));
        fn eq(a: __m512d, b: __m512d) -> __mmask8 = _mm512_cmp_pd_mask::<_CMP_EQ_OQ>(a, b);
        fn lt(a: __m512d, b: __m512d) -> __mmask8 = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(a, b);
        fn le(a: __m512d, b: __m512d) -> __mmask8 = _mm512_cmp_pd_mask::<_CMP_LE_OQ>(a, b);
        fn is_nan(a: __m512d) -> __mmask8 = _mm512_cmp_pd_mask::<_CMP_UNORD_Q>(a, a);
        fn select(mask: __mmask8, yes: __m512d, no: __m512d) -> __m512d = _mm512_mask_blend_pd(mask, no, yes);
    }

    #[inline(always)]
    unsafe fn load(self, from: *const f64) -> __m512d {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe { _mm512_loadu_pd(from) }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const f64, n: usize) -> __m512d {
        // SAFETY: the token proves AVX-512; masked lanes are not read, the caller guarantees the first `n`.
        unsafe { _mm512_maskz_loadu_pd(first_f64(n), from) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f64, x: __m512d) {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe { _mm512_storeu_pd(to, x) }
    }
    #[inline(always)]
    unsafe fn store_past(self, to: *mut f64, x: __m512d) {
        // SAFETY: the token proves AVX-512; the caller guarantees the memory.
        unsafe { _mm512_stream_pd(to, x) }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut f64, x: __m512d, n: usize) {
        // SAFETY: the token proves AVX-512; masked lanes are not written, the caller guarantees the first `n`.
        unsafe { _mm512_mask_storeu_pd(to, first_f64(n), x) }
    }

    #[inline(always)]
    fn scale(self, x: __m512d, n: __m512d) -> __m512d {
        // SAFETY: the token proves AVX-512 F and DQ; values only.
        unsafe { _mm512_scalef_pd(x, n) }
    }
    #[inline(always)]
    fn split_exponent(self, x: __m512d) -> (__m512d, __m512d) {
        // SAFETY: the token proves AVX-512 F; values only.
        unsafe {
            let m = _mm512_getmant_pd::<_MM_MANT_NORM_P75_1P5, _MM_MANT_SIGN_SRC>(x);
            // getexp(x) is the exponent of x's own [1, 2) mantissa; where m < 1 that mantissa was halved.
            let e = _mm512_getexp_pd(x);
            let halved = _mm512_cmp_pd_mask::<_CMP_LT_OQ>(m, _mm512_set1_pd(1.0));
            (m, _mm512_mask_add_pd(e, halved, e, _mm512_set1_pd(1.0)))
        }
    }

    #[inline(always)]
    fn mask_and(self, a: __mmask8, b: __mmask8) -> __mmask8 {
        a & b
    }
    #[inline(always)]
    fn mask_or(self, a: __mmask8, b: __mmask8) -> __mmask8 {
        a | b
    }
    #[inline(always)]
    fn mask_not(self, a: __mmask8) -> __mmask8 {
        !a
    }
    #[inline(always)]
    fn mask_bits(self, a: __mmask8) -> u64 {
        a as u64
    }

    #[inline(always)]
    unsafe fn load_columns(self, from: *const f64, stride: isize) -> [__m512d; 4] {
        // SAFETY: the token proves the instructions; the caller guarantees the memory.
        unsafe {
            let a = load_pair(from, 4 * stride);
            let b = load_pair(from.wrapping_offset(stride), 4 * stride);
            let c = load_pair(from.wrapping_offset(2 * stride), 4 * stride);
            let d = load_pair(from.wrapping_offset(3 * stride), 4 * stride);
            let (ab_low, ab_high) = (_mm512_unpacklo_pd(a, b), _mm512_unpackhi_pd(a, b));
            let (cd_low, cd_high) = (_mm512_unpacklo_pd(c, d), _mm512_unpackhi_pd(c, d));
            let low = _mm512_setr_epi64(0, 1, 8, 9, 4, 5, 12, 13);
            let high = _mm512_setr_epi64(2, 3, 10, 11, 6, 7, 14, 15);
            [
                _mm512_permutex2var_pd(ab_low, low, cd_low),
                _mm512_permutex2var_pd(ab_high, low, cd_high),
                _mm512_permutex2var_pd(ab_low, high, cd_low),
                _mm512_permutex2var_pd(ab_high, high, cd_high),
            ]
        }
    }
    #[inline(always)]
    fn unpair(self, a: __m512d, b: __m512d) -> [__m512d; 2] {
        // SAFETY: the token proves AVX-512 F; values only.
        unsafe {
            let even = _mm512_setr_epi64(0, 2, 4, 6, 8, 10, 12, 14);
            let odd = _mm512_add_epi64(even, _mm512_set1_epi64(1));
            [_mm512_permutex2var_pd(a, even, b), _mm512_permutex2var_pd(a, odd, b)]
        }
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, x: __m512d, n: usize) {
        // SAFETY: the token proves AVX-512 BW and VL; masked lanes are not written, the caller guarantees the first `n`.
        unsafe {
            let bytes = _mm256_cvtepi32_epi8(_mm512_cvttpd_epi32(x));
            match n {
                8 => _mm_storel_epi64(to.cast(), bytes),
                _ => _mm_mask_storeu_epi8(to.cast(), first_f64(n).into(), bytes),
            }
        }
    }
    const BLOCK: usize = 4;
    #[inline(always)]
    unsafe fn transpose(self, rows: &[*const f64; 8], to: *mut f64, to_stride: usize) {
        // SAFETY: the token proves AVX2; the caller guarantees the memory.
        unsafe { super::avx2::transpose_f64(rows, to, to_stride) }
    }
    #[inline(always)]
    fn low_bits_to_exponent(self, a: __m512d) -> __m512d {
        // SAFETY: the token proves the instructions; values only.
        unsafe { _mm512_castsi512_pd(_mm512_slli_epi64::<52>(_mm512_castpd_si512(a))) }
    }
    #[inline(always)]
    fn first(self, n: usize) -> __mmask8 {
        first_f64(n.min(8))
    }
    #[inline(always)]
    fn fold_max(self, a: __m512d) -> f64 {
        // SAFETY: the token proves AVX-512 F; values only.
        unsafe { _mm512_reduce_max_pd(a) }
    }
    #[inline(always)]
    fn fold_sum(self, a: __m512d) -> f64 {
        // SAFETY: the token proves AVX-512 DQ and AVX2; values only.
        unsafe {
            let half = _mm256_add_pd(_mm512_castpd512_pd256(a), _mm512_extractf64x4_pd::<1>(a));
            super::avx2::fold_f64(half)
        }
    }
}

/// The mask of the first `n` lanes.
#[inline(always)]
fn first_f64(n: usize) -> __mmask8 {
    ((1u32 << n) - 1) as u8
}
