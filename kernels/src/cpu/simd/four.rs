//! Four vectors as one: each operation is done on all four before the next.
//!
//! A long formula is a chain, each step waiting for the one before it, and a CPU looks ahead only so far for other work (some hundred
//! operations). Four chains side by side give it some at every step.

use super::Simd;

/// Four vectors of `S`, of consecutive elements.
#[derive(Debug, Clone, Copy)]
pub struct Four<S>(pub S);

/// The same method of all four. Written out: a loop would be one more thing to be optimized away in every formula.
macro_rules! each {
    ($(fn $name:ident($($arg:ident: $kind:ident),*) -> $out:ident;)*) => {$(
        #[inline(always)]
        fn $name(self, $($arg: Self::$kind),*) -> Self::$out {
            let s = self.0;
            [
                s.$name($($arg[0]),*),
                s.$name($($arg[1]),*),
                s.$name($($arg[2]),*),
                s.$name($($arg[3]),*),
            ]
        }
    )*};
}

impl<T: Copy, S: Simd<T>> Simd<T> for Four<S> {
    type V = [S::V; 4];
    type M = [S::M; 4];
    const LANES: usize = 4 * S::LANES;
    const ANY_SCALE: bool = S::ANY_SCALE;

    each! {
        fn add(a: V, b: V) -> V;
        fn sub(a: V, b: V) -> V;
        fn mul(a: V, b: V) -> V;
        fn div(a: V, b: V) -> V;
        fn fma(a: V, b: V, c: V) -> V;
        fn fnma(a: V, b: V, c: V) -> V;
        fn sqrt(a: V) -> V;
        fn max_second(a: V, b: V) -> V;
        fn min_second(a: V, b: V) -> V;
        fn within(a: V, bound: V) -> V;
        fn abs_within(a: V, bound: V) -> V;
        fn one_unless_negative(a: V, x: V) -> V;
        fn round(a: V) -> V;
        fn floor(a: V) -> V;
        fn ceil(a: V) -> V;
        fn trunc(a: V) -> V;
        fn and(a: V, b: V) -> V;
        fn or(a: V, b: V) -> V;
        fn xor(a: V, b: V) -> V;
        fn abs(a: V) -> V;
        fn neg(a: V) -> V;
        fn copysign(magnitude: V, sign: V) -> V;
        fn scale(x: V, n: V) -> V;
        fn low_bits_to_exponent(a: V) -> V;
        fn eq(a: V, b: V) -> M;
        fn lt(a: V, b: V) -> M;
        fn le(a: V, b: V) -> M;
        fn is_nan(a: V) -> M;
        fn select(mask: M, yes: V, no: V) -> V;
        fn mask_and(a: M, b: M) -> M;
        fn mask_or(a: M, b: M) -> M;
        fn mask_not(a: M) -> M;
    }

    #[inline(always)]
    fn splat(self, x: T) -> Self::V {
        [self.0.splat(x); 4]
    }

    #[inline(always)]
    unsafe fn load(self, from: *const T) -> Self::V {
        let (s, n) = (self.0, S::LANES);
        // SAFETY: the four parts of what the caller guarantees.
        unsafe {
            [s.load(from), s.load(from.add(n)), s.load(from.add(2 * n)), s.load(from.add(3 * n))]
        }
    }
    #[inline(always)]
    unsafe fn load_first(self, from: *const T, n: usize) -> Self::V {
        let part = |i: usize| {
            let start = n.min(i * S::LANES);
            // SAFETY: a part of what the caller guarantees; none of it is behind `from + n`.
            unsafe { self.0.load_first(from.add(start), (n - start).min(S::LANES)) }
        };
        [part(0), part(1), part(2), part(3)]
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut T, x: Self::V) {
        let (s, n) = (self.0, S::LANES);
        // SAFETY: as for `load`.
        unsafe {
            s.store(to, x[0]);
            s.store(to.add(n), x[1]);
            s.store(to.add(2 * n), x[2]);
            s.store(to.add(3 * n), x[3]);
        }
    }
    #[inline(always)]
    unsafe fn store_first(self, to: *mut T, x: Self::V, n: usize) {
        for (i, x) in x.into_iter().enumerate() {
            let start = n.min(i * S::LANES);
            // SAFETY: as for `load_first`.
            unsafe { self.0.store_first(to.add(start), x, (n - start).min(S::LANES)) };
        }
    }

    #[inline(always)]
    fn split_exponent(self, x: Self::V) -> (Self::V, Self::V) {
        let s = self.0;
        let [(m0, e0), (m1, e1), (m2, e2), (m3, e3)] = [
            s.split_exponent(x[0]),
            s.split_exponent(x[1]),
            s.split_exponent(x[2]),
            s.split_exponent(x[3]),
        ];
        ([m0, m1, m2, m3], [e0, e1, e2, e3])
    }
    #[inline(always)]
    fn mask_bits(self, a: Self::M) -> u64 {
        let (s, n) = (self.0, S::LANES);
        s.mask_bits(a[0])
            | s.mask_bits(a[1]) << n
            | s.mask_bits(a[2]) << (2 * n)
            | s.mask_bits(a[3]) << (3 * n)
    }
    #[inline(always)]
    fn first(self, n: usize) -> Self::M {
        let part = |i: usize| self.0.first(n.saturating_sub(i * S::LANES));
        [part(0), part(1), part(2), part(3)]
    }
    #[inline(always)]
    fn fold_sum(self, a: Self::V) -> T {
        let s = self.0;
        s.fold_sum(s.add(s.add(a[0], a[2]), s.add(a[1], a[3])))
    }
    #[inline(always)]
    fn fold_max(self, a: Self::V) -> T {
        let s = self.0;
        s.fold_max(s.max_second(s.max_second(a[0], a[2]), s.max_second(a[1], a[3])))
    }
    #[inline(always)]
    unsafe fn load_columns(self, from: *const T, stride: isize) -> [Self::V; 4] {
        let part = |i: usize| {
            let column = from.wrapping_offset((i * S::LANES) as isize * stride);
            // SAFETY: a quarter of the columns that the caller guarantees.
            unsafe { self.0.load_columns(column, stride) }
        };
        let parts = [part(0), part(1), part(2), part(3)];
        let four = |j: usize| [parts[0][j], parts[1][j], parts[2][j], parts[3][j]];
        [four(0), four(1), four(2), four(3)]
    }
    #[inline(always)]
    fn unpair(self, a: Self::V, b: Self::V) -> [Self::V; 2] {
        let s = self.0;
        let pairs = [(a[0], a[1]), (a[2], a[3]), (b[0], b[1]), (b[2], b[3])];
        let [p, q, r, t] = pairs.map(|(a, b)| s.unpair(a, b));
        [[p[0], q[0], r[0], t[0]], [p[1], q[1], r[1], t[1]]]
    }
    #[inline(always)]
    unsafe fn store_bytes(self, to: *mut u8, x: Self::V, n: usize) {
        for (i, x) in x.into_iter().enumerate() {
            let start = (i * S::LANES).min(n);
            // SAFETY: the caller's guarantee, in parts.
            unsafe { self.0.store_bytes(to.add(start), x, (n - start).min(S::LANES)) }
        }
    }
    const BLOCK: usize = S::BLOCK;
    #[inline(always)]
    unsafe fn transpose(self, rows: &[*const T; 8], to: *mut T, to_stride: usize) {
        // SAFETY: the caller's guarantee.
        unsafe { self.0.transpose(rows, to, to_stride) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::isa::{Isa, Kernel, dispatch_on};
    use crate::element::Float;

    /// What one vector of `4 LANES` would give, for what formulas don't use.
    struct Lanes<'a>(&'a [f32]);

    impl Kernel<f32> for Lanes<'_> {
        type Output = ();
        #[inline(always)]
        fn run<S: Simd<f32>>(self, s: S) {
            let (four, n) = (Four(s), 4 * S::LANES);
            assert_eq!(n, <Four<S> as Simd<f32>>::LANES);
            let mut out = [0.0; 64];
            for len in 0..=n {
                // SAFETY: both have 64 elements or more, and `len <= n <= 64`.
                unsafe {
                    out = [-1.0; 64];
                    four.store(out.as_mut_ptr(), four.load_first(self.0.as_ptr(), len));
                    assert_eq!(out[..len], self.0[..len]);
                    assert!(out[len..n].iter().all(|&x| x == 0.0));
                    out = [-1.0; 64];
                    four.store_first(out.as_mut_ptr(), four.load(self.0.as_ptr()), len);
                    assert_eq!(out[..len], self.0[..len]);
                    assert!(out[len..].iter().all(|&x| x == -1.0));
                }
                let bits = if len == 64 { u64::MAX } else { (1 << len) - 1 };
                assert_eq!(four.mask_bits(four.first(len)), bits);
            }
            // SAFETY: 64 elements; columns 3 apart need 3 * 63 + 4.
            let (x, columns) =
                unsafe { (four.load(self.0.as_ptr()), four.load_columns(self.0.as_ptr(), 3)) };
            let mut lanes = self.0[..n].to_vec();
            while lanes.len() > 1 {
                let (a, b) = lanes.split_at(lanes.len() / 2);
                lanes = a.iter().zip(b).map(|(a, b)| a + b).collect();
            }
            assert_eq!(four.fold_sum(x).to_bits(), lanes[0].to_bits());
            largest_and_some(s, self.0);
            largest_and_some(four, self.0);
            for (j, column) in columns.into_iter().enumerate() {
                // SAFETY: 64 elements.
                unsafe { four.store(out.as_mut_ptr(), column) };
                assert!((0..n).all(|i| out[i] == self.0[3 * i + j]));
            }
            turns_and_bytes(s, self.0);
            columns_of_eight(s, self.0);
            columns_of_eight(four, self.0);
            let (m, e) = four.split_exponent(x);
            // SAFETY: 64 elements.
            unsafe { four.store(out.as_mut_ptr(), four.scale(m, e)) };
            assert_eq!(out[..n], self.0[..n]);
        }
    }

    /// The largest lane wherever it is, and the lanes that are larger than one of them.
    #[inline(always)]
    fn largest_and_some<T: Float, S: Simd<T>>(s: S, numbers: &[T]) {
        let mut out = [T::ZERO; 64];
        for turn in 0..S::LANES {
            let mut lanes = [T::ZERO; 64];
            for (i, lane) in lanes.iter_mut().enumerate().take(S::LANES) {
                *lane = -numbers[(i + turn) % S::LANES];
            }
            let larger = |bound: T| lanes[..S::LANES].iter().copied().filter(move |&x| x > bound);
            // SAFETY: a vector has 64 elements at most.
            let (x, count) = unsafe {
                let x = s.load(lanes.as_ptr());
                let mask = s.lt(s.splat(lanes[0]), x);
                (x, s.store_where(out.as_mut_ptr(), x, mask))
            };
            assert!(out[..count].iter().copied().eq(larger(lanes[0])));
            assert_eq!(larger(s.fold_max(x)).count(), 0);
            assert!(lanes[..S::LANES].contains(&s.fold_max(x)));
        }
    }

    /// Eight elements of columns that lie in 256 numbers.
    #[inline(always)]
    fn columns_of_eight<T: Float, S: Simd<T>>(s: S, numbers: &[T]) {
        // SAFETY: 64 columns 3 apart need 3 * 63 + 8 numbers.
        let columns = unsafe { s.load_columns_8(numbers.as_ptr(), 3) };
        let mut out = [T::ZERO; 64];
        for (j, column) in columns.into_iter().enumerate() {
            // SAFETY: a vector has 64 elements at most.
            unsafe { s.store(out.as_mut_ptr(), column) };
            assert!((0..S::LANES).all(|i| out[i] == numbers[3 * i + j]));
        }
    }

    /// Elements in turns, and bytes, of 256 numbers.
    #[inline(always)]
    fn turns_and_bytes<T: Float, S: Simd<T>>(s: S, numbers: &[T]) {
        let (four, n) = (Four(s), 4 * S::LANES);
        let mut out = [T::ZERO; 64];
        let most = 254.0;
        // SAFETY: 256 numbers; `n <= 64`.
        unsafe {
            let x = four.load(numbers.as_ptr());
            let halves = four.unpair(x, four.load(numbers.as_ptr().add(n)));
            for (i, half) in halves.into_iter().enumerate() {
                four.store(out.as_mut_ptr(), half);
                assert!((0..n).all(|j| out[j] == numbers[2 * j + i]));
            }
            for len in 0..=n {
                let mut bytes = [255; 64];
                let whole = four.trunc(four.min_second(x, four.splat(T::from_f64(most))));
                four.store_bytes(bytes.as_mut_ptr(), whole, len);
                assert!((0..len).all(|j| bytes[j] == numbers[j].to_f64().min(most) as u8));
                assert!(bytes[len..].iter().all(|&byte| byte == 255));
            }
        }
    }

    struct Doubles<'a>(&'a [f64]);

    impl Kernel<f64> for Doubles<'_> {
        type Output = ();
        const WIDE: bool = true;
        #[inline(always)]
        fn run<S: Simd<f64>>(self, s: S) {
            turns_and_bytes(s, self.0);
            columns_of_eight(s, self.0);
        }
    }

    #[test]
    fn elements_in_turns_and_bytes_of_f64() {
        let x: Vec<f64> = (0..256).map(|i| 0.3 + 1.7 * f64::from(i)).collect();
        for isa in Isa::ALL {
            dispatch_on(isa, Doubles(&x));
        }
    }

    #[test]
    fn four_vectors_are_one() {
        let x: Vec<f32> = (0..256).map(|i| 0.3 + 1.7 * i as f32).collect();
        for isa in Isa::ALL {
            dispatch_on(isa, Lanes(&x));
        }
    }
}
