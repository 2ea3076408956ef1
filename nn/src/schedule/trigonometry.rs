//! Cosines and powers rounded from twice the digits: the same on every system, and right to the last bit but for the rarest ties.

/// A number as the sum of two, the second below half an ulp of the first.
type Double = (f64, f64);

/// Pi / 2 in three parts.
const HALF_PI: [f64; 3] =
    [std::f64::consts::FRAC_PI_2, 6.123_233_995_736_766e-17, -1.497_384_904_859_169_8e-33];

fn two_sum(a: f64, b: f64) -> Double {
    let sum = a + b;
    let part = sum - a;
    (sum, (a - (sum - part)) + (b - part))
}

fn add(a: Double, b: Double) -> Double {
    let (high, low) = two_sum(a.0, b.0);
    two_sum(high, low + (a.1 + b.1))
}

fn times(a: Double, b: Double) -> Double {
    let high = a.0 * b.0;
    let low = a.0.mul_add(b.0, -high) + (a.0 * b.1 + a.1 * b.0);
    two_sum(high, low)
}

fn over(a: Double, b: f64) -> Double {
    let high = a.0 / b;
    let rest = (-high).mul_add(b, a.0) + a.1;
    two_sum(high, rest / b)
}

/// `1 - x2 / (m (m + 1)) (1 - x2 / ((m + 2) (m + 3)) (...))`: the series of the cosine for `m` = 1, of `sin(x) / x` for 2.
fn series(x2: Double, m: f64) -> Double {
    (0..16).rev().fold((1.0, 0.0), |inner, term| {
        let m = m + 2.0 * f64::from(term);
        let (high, low) = over(times(x2, inner), m * (m + 1.0));
        add((1.0, 0.0), (-high, -low))
    })
}

/// The cosine.
pub(super) fn cos(x: f64) -> f64 {
    if !x.is_finite() {
        return f64::NAN;
    }
    let quarters = (x / HALF_PI[0]).round();
    let rest = HALF_PI.iter().fold((x, 0.0), |rest, part| {
        let (high, low) = times((quarters, 0.0), (*part, 0.0));
        add(rest, (-high, -low))
    });
    let square = times(rest, rest);
    let quarter = quarters.rem_euclid(4.0);
    let (even, negative) = (quarter == 0.0 || quarter == 2.0, quarter == 1.0 || quarter == 2.0);
    let value = if even { series(square, 1.0) } else { times(rest, series(square, 2.0)) };
    if negative { -value.0 } else { value.0 }
}

/// `base^exponent`; a whole exponent from 0 on by squaring, any other by the system.
pub(crate) fn power(base: f64, exponent: f64) -> f64 {
    if exponent.fract() != 0.0 || !(0.0..=1e6).contains(&exponent) {
        return base.powf(exponent);
    }
    let (mut result, mut square) = ((1.0, 0.0), (base, 0.0));
    let mut rest = exponent as u64;
    while rest > 0 {
        if rest & 1 == 1 {
            result = times(result, square);
        }
        square = times(square, square);
        rest >>= 1;
    }
    // Infinities leave NaN in the second part.
    if result.0.is_nan() { base.powf(exponent) } else { result.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cosines_are_the_systems_within_an_ulp() {
        for i in 0..20_000 {
            let x = f64::from(i) * 0.0123 - 40.0;
            assert!((cos(x) - x.cos()).abs() <= x.cos().abs() * 2f64.powi(-52), "{x}");
        }
        assert_eq!((cos(0.0), cos(std::f64::consts::PI)), (1.0, -1.0));
        assert_eq!(cos(std::f64::consts::FRAC_PI_2), 6.123233995736766e-17);
        assert!((cos(1e15) - 1e15f64.cos()).abs() < 1e-9);
        assert!(cos(f64::INFINITY).is_nan() && cos(f64::NAN).is_nan());
    }

    #[test]
    fn powers() {
        for (base, exponent) in [(0.3, 0.0), (0.3, 1.0), (0.7, 13.0), (1.1, 500.0), (0.5, 0.9)] {
            let expected = f64::powf(base, exponent);
            assert!((power(base, exponent) - expected).abs() <= expected * 2f64.powi(-51));
        }
        assert_eq!(
            (power(0.0, 2.0), power(0.0, 0.0), power(2.0, 1024.0)),
            (0.0, 1.0, f64::INFINITY)
        );
        assert_eq!((power(2.0, -1.0), power(2.0, 5000.0)), (0.5, f64::INFINITY));
    }
}
