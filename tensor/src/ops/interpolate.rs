//! Interpolation: along each dim in turn, a weighted sum of the elements around.

use std::str::FromStr;

use smallvec::SmallVec;

use crate::error::{Error, Result};
use crate::ops::chain::{BinaryChain, PoolChain, ShapeChain, UnaryChain};
use crate::ops::{look, methods};
use crate::tensor::Tensor;

const OP: &str = "interpolate";

/// The output's size of each dim, and the scale if one was given.
type Sizes = SmallVec<[(usize, Option<f64>); 3]>;

/// How elements between others are made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum InterpolateMode {
    /// The element before, as in old OpenCV.
    Nearest,
    /// The nearest element.
    NearestExact,
    /// Linear, 1 dim.
    Linear,
    /// Linear, 2 dims.
    Bilinear,
    /// Linear, 3 dims.
    Trilinear,
    /// Cubic convolution (Keys 1981, a = -0.75), 2 dims.
    Bicubic,
    /// The mean of the elements that an output covers.
    Area,
}

impl FromStr for InterpolateMode {
    type Err = Error;
    fn from_str(name: &str) -> Result<Self> {
        use InterpolateMode::*;
        Ok(match name {
            "nearest" => Nearest,
            "nearest-exact" => NearestExact,
            "linear" => Linear,
            "bilinear" => Bilinear,
            "trilinear" => Trilinear,
            "bicubic" => Bicubic,
            "area" => Area,
            _ => return Err(Error::argument(OP, format!("there is no mode {name:?}"))),
        })
    }
}

impl InterpolateMode {
    /// How many dims behind the channels it may have.
    fn dims(self) -> std::ops::RangeInclusive<usize> {
        match self {
            InterpolateMode::Linear => 1..=1,
            InterpolateMode::Bilinear | InterpolateMode::Bicubic => 2..=2,
            InterpolateMode::Trilinear => 3..=3,
            _ => 1..=3,
        }
    }

    fn aligns(self) -> bool {
        use InterpolateMode::*;
        matches!(self, Linear | Bilinear | Trilinear | Bicubic)
    }
}

/// The settings of [`interpolate`](Tensor::interpolate), with PyTorch's names.
#[derive(Debug, Clone, PartialEq)]
pub struct Interpolate {
    size: SmallVec<[usize; 3]>,
    scale: SmallVec<[f64; 3]>,
    mode: InterpolateMode,
    align_corners: bool,
    recompute_scale_factor: bool,
}

impl Interpolate {
    /// To these sizes; one size stands for all dims. Mode nearest.
    pub fn size(size: &[usize]) -> Self {
        Interpolate {
            size: SmallVec::from_slice(size),
            scale: SmallVec::new(),
            mode: InterpolateMode::Nearest,
            align_corners: false,
            recompute_scale_factor: false,
        }
    }

    /// To `floor(size * factor)`; one factor stands for all dims. Mode nearest.
    pub fn scale_factor(factors: &[f64]) -> Self {
        Interpolate { scale: SmallVec::from_slice(factors), ..Interpolate::size(&[]) }
    }

    /// How elements between others are made.
    pub fn mode(mut self, mode: InterpolateMode) -> Self {
        self.mode = mode;
        self
    }

    /// The first and last elements of input and output are the same places. Only for linear and cubic modes.
    pub fn align_corners(mut self, align_corners: bool) -> Self {
        self.align_corners = align_corners;
        self
    }

    /// The places of outputs follow from the two sizes, not from the scale factor.
    pub fn recompute_scale_factor(mut self, recompute: bool) -> Self {
        self.recompute_scale_factor = recompute;
        self
    }

    /// Output size and given scale of each dim.
    fn resolve(&self, input: &[usize]) -> Result<Sizes> {
        let dims = input.len();
        let count = self.size.len().max(self.scale.len());
        if count != 1 && count != dims {
            let message = format!("{count} sizes or factors for {dims} dims");
            return Err(Error::argument(OP, message));
        }
        let place = |d: usize| if count == 1 { 0 } else { d };
        (0..dims)
            .map(|d| {
                let (size, scale) = match self.scale.get(place(d)) {
                    Some(&scale) => {
                        if !(scale > 0.0 && scale.is_finite()) {
                            return Err(Error::argument(OP, format!("a scale factor of {scale}")));
                        }
                        let given = (!self.recompute_scale_factor).then_some(scale);
                        ((input[d] as f64 * scale) as usize, given)
                    }
                    None => (self.size[place(d)], None),
                };
                match size > 0 && input[d] > 0 {
                    true => Ok((size, scale)),
                    false => Err(Error::shape(OP, format!("{input:?} to size {size} in dim {d}"))),
                }
            })
            .collect()
    }
}

/// One dim: sizes, how far apart the outputs are in the input.
struct Axis {
    input: usize,
    output: usize,
    step: f64,
    aligned: bool,
}

impl Axis {
    fn new(input: usize, output: usize, scale: Option<f64>, aligned: bool) -> Axis {
        let step = match (aligned, scale) {
            (true, _) if output > 1 => (input - 1) as f64 / (output - 1) as f64,
            (true, _) => 0.0,
            (false, Some(scale)) => 1.0 / scale,
            (false, None) => input as f64 / output as f64,
        };
        Axis { input, output, step, aligned }
    }

    /// Where output `at` lies in the input.
    fn place(&self, at: usize) -> f64 {
        match self.aligned {
            true => self.step * at as f64,
            false => self.step * (at as f64 + 0.5) - 0.5,
        }
    }

    /// The input at or before a place, and how far behind it the place is.
    fn split(&self, place: f64) -> (i64, f64) {
        let before = (place.floor() as i64).min(self.input as i64 - 1);
        (before, (place - before as f64).clamp(0.0, 1.0))
    }

    /// The elements that output `at` is made of, and their weights; those beyond the ends are the ends.
    fn taps(&self, mode: InterpolateMode, at: usize) -> SmallVec<[(i64, f64); 4]> {
        use InterpolateMode::*;
        let mut taps: SmallVec<[(i64, f64); 4]> = match mode {
            // PyTorch rounds these places to f32 first, so that one just below a whole number is it.
            Nearest => SmallVec::from_slice(&[((self.step * at as f64) as f32 as i64, 1.0)]),
            NearestExact => {
                SmallVec::from_slice(&[((self.step * (at as f64 + 0.5)) as f32 as i64, 1.0)])
            }
            Bicubic => {
                let (before, behind) = self.split(self.place(at));
                let weights = cubic(behind);
                (0..4).map(|tap| (before - 1 + tap as i64, weights[tap])).collect()
            }
            _ => {
                let (before, behind) = self.split(self.place(at).max(0.0));
                SmallVec::from_slice(&[(before, 1.0 - behind), (before + 1, behind)])
            }
        };
        taps.iter_mut().for_each(|tap| tap.0 = tap.0.clamp(0, self.input as i64 - 1));
        taps
    }
}

/// The weights of the four elements around a place that far behind the second.
fn cubic(x: f64) -> [f64; 4] {
    const A: f64 = -0.75;
    let near = |x: f64| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let far = |x: f64| ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A;
    [far(x + 1.0), near(x), near(1.0 - x), far(2.0 - x)]
}

/// A number for each output; a size out of all bounds is an error.
fn list<T>(size: usize, number: impl Fn(usize) -> T) -> Result<Vec<T>> {
    let mut list = Vec::new();
    let fits = size <= i32::MAX as usize && list.try_reserve_exact(size).is_ok();
    if !fits {
        return Err(Error::shape(OP, format!("a size of {size} is too large")));
    }
    list.extend((0..size).map(number));
    Ok(list)
}

/// Along dim `dim`: the elements of each tap, times its weights, added tap by tap.
fn along(x: &Tensor, dim: usize, axis: &Axis, mode: InterpolateMode) -> Result<Tensor> {
    let behind = x.rank() - dim - 1;
    let count = axis.taps(mode, 0).len();
    let mut sum: Option<Tensor> = None;
    for tap in 0..count {
        let index: Vec<i64> = list(axis.output, |at| axis.taps(mode, at)[tap].0)?;
        let index = Tensor::from_vec(index, [axis.output]).to_device(x.device())?;
        let chosen = x.index_select(dim as i64, &index)?;
        if count == 1 {
            return Ok(chosen);
        }
        let weights: Vec<f64> = list(axis.output, |at| axis.taps(mode, at)[tap].1)?;
        let mut weights =
            Tensor::from_vec(weights, [axis.output]).to_device(x.device()).to_dtype(x.dtype())?;
        for _ in 0..behind {
            weights = weights.unsqueeze(-1)?;
        }
        let part = Ok(chosen).mul(weights);
        sum = Some(match sum {
            Some(sum) => Ok(sum).add(part)?,
            None => part?,
        });
    }
    sum.ok_or_else(|| Error::argument(OP, "internal: no taps"))
}

/// The means of the windows that cover 1, 2 or 3 dims.
fn area(x: &Tensor, size: &[usize]) -> Result<Tensor> {
    match *size {
        [l] => x.adaptive_avg_pool1d(l),
        [h, w] => x.adaptive_avg_pool2d([h, w]),
        [d, h, w] => {
            // Planes first: the mean of a box is the mean of the means of its planes.
            let [n, c] = [0, 1].map(|d| x.shape()[d]);
            let planes = x.flatten(0, 1).adaptive_avg_pool2d([h, w])?;
            let lines = planes.flatten(2, 3).transpose(1, 2)?;
            lines.adaptive_avg_pool1d(d).transpose(1, 2).reshape([n, c, d, h, w])
        }
        _ => Err(Error::argument(OP, "1 to 3 dims behind the channels")),
    }
}

fn interpolate(x: &Tensor, settings: &Interpolate) -> Result<Tensor> {
    let mode = settings.mode;
    let dims = x.rank().saturating_sub(2);
    if !x.dtype().is_float() {
        return Err(Error::unsupported(OP, x.dtype()));
    }
    if !mode.dims().contains(&dims) {
        let message = format!("input {:?}, mode {mode:?}: wrong number of dims", x.shape());
        return Err(Error::shape(OP, message));
    }
    if settings.align_corners && !mode.aligns() {
        return Err(Error::argument(OP, format!("mode {mode:?} aligns no corners")));
    }
    let sizes = settings.resolve(&x.shape()[2..])?;
    if mode == InterpolateMode::Area {
        let size: SmallVec<[usize; 3]> = sizes.iter().map(|size| size.0).collect();
        return area(x, &size);
    }
    let mut y = x.clone();
    for (d, (output, scale)) in sizes.into_iter().enumerate() {
        let input = x.shape()[2 + d];
        let linear = mode.aligns() && mode != InterpolateMode::Bicubic;
        if linear && input == output {
            continue;
        }
        let axis = Axis::new(input, output, scale, settings.align_corners);
        y = along(&y, 2 + d, &axis, mode)?;
    }
    Ok(y)
}

methods! {
    /// Interpolation, on `Result<Tensor>`.
    trait InterpolateChain;

    /// Other sizes behind the channels, PyTorch's `interpolate`. x: `[n, c, l]`, `[n, c, h, w]` or `[n, c, d, h, w]`.
    ///
    /// ```
    /// # use ferrotape_tensor::{Tensor, Interpolate, InterpolateMode};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let x = Tensor::from([[[0f32, 2.]]]);
    /// let linear = Interpolate::size(&[3]).mode(InterpolateMode::Linear).align_corners(true);
    /// assert_eq!(x.interpolate(&linear)?.to_vec::<f32>()?, [0., 1., 2.]);
    /// assert_eq!(x.interpolate(&Interpolate::scale_factor(&[2.0]))?.to_vec::<f32>()?, [0., 0., 2., 2.]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// A mode that doesn't suit the number of dims, sizes of 0, factors that aren't positive.
    fn interpolate(x, settings: &Interpolate) -> Tensor { interpolate(look(OP, &x)?, settings) }

    /// `interpolate` in mode nearest: PyTorch's `upsample_nearest`.
    ///
    /// # Errors
    /// As [`interpolate`](Tensor::interpolate).
    fn upsample_nearest(x, settings: Interpolate) -> Tensor {
        interpolate(look(OP, &x)?, &settings.mode(InterpolateMode::Nearest))
    }

    /// `interpolate` in mode bilinear with aligned corners: PyTorch's `upsample_bilinear`.
    ///
    /// # Errors
    /// As [`interpolate`](Tensor::interpolate).
    fn upsample_bilinear(x, settings: Interpolate) -> Tensor {
        let settings = settings.mode(InterpolateMode::Bilinear).align_corners(true);
        interpolate(look(OP, &x)?, &settings)
    }
}
