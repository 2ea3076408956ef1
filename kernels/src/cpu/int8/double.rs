//! The formulas of [`scheme`](super::scheme) in f64, one element after another: for checks of derivatives, and for networks of f64.
//! No code is this type's alone, so there is no `quantize`.

use super::{Code, Zero};
use crate::error::{Result, require};
use crate::strided::checked_len;

/// The runs of one channel each of an array seen as `[outer, channels, inner]`.
fn in_runs(
    [_, channels, inner]: [usize; 3],
    len: usize,
    scale: &[f64],
    zero: Zero<'_>,
    mut run: impl FnMut(std::ops::Range<usize>, f64, i32),
) {
    for start in (0..len).step_by(inner.max(1)) {
        let channel = start / inner.max(1) % channels.max(1);
        let scale = scale.get(channel).or(scale.first()).copied().unwrap_or(f64::NAN);
        run(start..len.min(start + inner), scale, zero.at(channel));
    }
}

fn check(shape: [usize; 3], lens: [usize; 2], scale: &[f64], zero: Zero<'_>) -> Result<()> {
    let whole = lens[0] == lens[1] && checked_len(&shape) == Some(lens[0]);
    require(whole, "quantize: lengths differ from the shape's")?;
    require(scale.len() == 1 || scale.len() == shape[1], "quantize: wrong number of scales")?;
    match zero {
        Zero::Each(zeros) if zeros.len() != shape[1] => {
            require(false, "quantize: wrong number of zero points")
        }
        _ => Ok(()),
    }
}

/// Numbers of codes.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ.
pub fn dequantize<C: Code>(
    shape: [usize; 3],
    codes: &[C],
    scale: &[f64],
    zero: Zero<'_>,
    out: &mut [f64],
) -> Result<()> {
    check(shape, [codes.len(), out.len()], scale, zero)?;
    in_runs(shape, codes.len(), scale, zero, |run, scale, zero| {
        for (out, code) in out[run.clone()].iter_mut().zip(&codes[run]) {
            *out = (f64::from(code.to_i32()) - f64::from(zero)) * scale;
        }
    });
    Ok(())
}

/// The numbers that codes within the bounds would stand for.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if lengths differ.
///
/// ```
/// use ferrotape_kernels::cpu::int8::{Zero, double::fake_quantize};
/// let mut out = [0.0; 4];
/// fake_quantize([1, 1, 4], &[0.3, 0.75, -9.0, f64::NAN], &[0.5], Zero::All(1), [-8, 7], &mut out)?;
/// assert_eq!(out, [0.5, 1.0, -4.5, 0.0]);
/// # Ok::<(), ferrotape_kernels::Error>(())
/// ```
pub fn fake_quantize(
    shape: [usize; 3],
    x: &[f64],
    scale: &[f64],
    zero: Zero<'_>,
    [low, high]: [i32; 2],
    out: &mut [f64],
) -> Result<()> {
    check(shape, [x.len(), out.len()], scale, zero)?;
    require(low <= high, "quantize: bounds in the wrong order")?;
    in_runs(shape, x.len(), scale, zero, |run, scale, zero| {
        let by = 1.0 / scale;
        let (low, high) = (f64::from(low) - f64::from(zero), f64::from(high) - f64::from(zero));
        for (out, x) in out[run.clone()].iter_mut().zip(&x[run]) {
            let step = (x * by).round_ties_even();
            let step = if step.is_nan() { 0.0 } else { step.clamp(low, high) };
            *out = step * scale;
        }
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scheme;
    use super::*;

    #[test]
    fn the_same_as_in_f32_on_short_numbers() {
        let x: Vec<f32> = (0..120).map(|i| (i as f32 - 60.0) * 0.25).collect();
        let (scale, zeros) = ([0.5f32, 0.25, 2.0], [3, -100, 127]);
        let wide: Vec<f64> = x.iter().map(|&x| f64::from(x)).collect();
        let scales = scale.map(f64::from);
        for shape in [[2, 3, 20], [40, 3, 1], [1, 3, 40]] {
            let affine = scheme::Affine::per_channel(&scale, &zeros);
            let mut want = vec![0.0; 120];
            scheme::fake_quantize(shape, &x, &affine, &mut want).unwrap();
            let mut got = vec![0.0; 120];
            fake_quantize(shape, &wide, &scales, Zero::Each(&zeros), i8::RANGE, &mut got).unwrap();
            assert!(want.iter().zip(&got).all(|(a, b)| f64::from(*a) == *b), "{shape:?}");
            let codes: Vec<i8> = (0..120).map(|i| (i * 37) as i8).collect();
            scheme::dequantize(shape, &codes, &affine, &mut want).unwrap();
            dequantize(shape, &codes, &scales, Zero::Each(&zeros), &mut got).unwrap();
            assert!(want.iter().zip(&got).all(|(a, b)| f64::from(*a) == *b), "{shape:?}");
        }
        assert!(dequantize([1, 2, 2], &[1u8; 4], &[1.0; 3], Zero::All(0), &mut [0.0; 4]).is_err());
        let zeros = Zero::Each(&[0; 3]);
        assert!(dequantize([1, 2, 2], &[1u8; 4], &[1.0], zeros, &mut [0.0; 4]).is_err());
        assert!(dequantize([1, 2, 2], &[1u8; 3], &[1.0], Zero::All(0), &mut [0.0; 3]).is_err());
    }
}
