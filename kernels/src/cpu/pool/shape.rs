//! Which elements a window sees, along each dim.

use crate::error::{Error, Result, require};

/// The sizes of a pooling over `[planes, h, w]` (planes = batch x channels).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Pool2dShape {
    /// Batch times channels.
    pub planes: usize,
    /// Input height and width.
    pub input: [usize; 2],
    /// Window height and width.
    pub kernel: [usize; 2],
    /// Stride, at least 1.
    pub stride: [usize; 2],
    /// Padding on each side (at most half the window); a padded tap never wins.
    pub padding: [usize; 2],
    /// Distance between taps, at least 1.
    pub dilation: [usize; 2],
    /// A window that hangs over the end counts, unless it starts behind the image.
    pub ceil: bool,
}

impl Pool2dShape {
    /// Output height and width: `floor((in + 2 pad - dilation (kernel - 1) - 1) / stride) + 1`, or `ceil` for `floor`, less a last
    /// window that starts in the padding at the end; `None` if the window does not fit.
    pub fn output(&self) -> Option<[usize; 2]> {
        let mut out = [0; 2];
        for (d, out) in out.iter_mut().enumerate() {
            let (stride, padding) = (self.stride[d], self.padding[d]);
            let over = if self.ceil { stride.checked_sub(1)? } else { 0 };
            let padded = padding.checked_mul(2)?.checked_add(self.input[d])?.checked_add(over)?;
            *out = padded.checked_sub(self.reach(d)?)?.checked_div(stride)?.checked_add(1)?;
            if self.ceil && (*out - 1) * stride >= self.input[d] + padding {
                *out -= 1;
            }
        }
        Some(out)
    }

    /// Elements from the first to the last tap: `dilation (kernel - 1) + 1`.
    fn reach(&self, d: usize) -> Option<usize> {
        self.dilation[d].checked_mul(self.kernel[d].checked_sub(1)?)?.checked_add(1)
    }

    /// What is wrong with it, if anything: every window must hold an element.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) in words.
    pub fn check(&self) -> Result<()> {
        for d in 0..2 {
            require(self.kernel[d] > 0, "an empty window")?;
            require(self.stride[d] > 0, "a stride of 0")?;
            require(self.dilation[d] > 0, "a dilation of 0")?;
            let reach = self.reach(d).ok_or(Error::Contract("a window beyond all sizes"))?;
            require(self.padding[d] <= reach / 2, "padding of more than half the window")?;
            require(self.input[d] > 0, "an image without elements")?;
            // Taps that far apart may step over the image.
            let near = self.padding[d] == 0 || self.dilation[d] <= self.input[d];
            require(near, "a dilation of more than the image, beside padding")?;
        }
        require(self.output().is_some(), "a window that does not fit the image")
    }
}

/// What the mean of a window is divided by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Divisor {
    /// The number of its elements.
    Elements,
    /// The number of its elements and padded places.
    Padded,
    /// This number.
    By(i64),
}

/// Windows over `[planes, h, w]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Windows {
    /// Of one size.
    Sliding(Pool2dShape),
    /// Window `i` of `o` over `n` elements reaches from `floor(i n / o)` to `ceil((i + 1) n / o)`.
    Adaptive {
        /// Batch times channels.
        planes: usize,
        /// Input height and width.
        input: [usize; 2],
        /// Output height and width.
        output: [usize; 2],
    },
}

/// The elements that a window sees along a dim.
#[derive(Debug, Clone, Copy)]
pub(super) struct Taps {
    /// The first.
    pub(super) start: usize,
    /// How many, at least 1.
    pub(super) count: usize,
    /// Their distance.
    pub(super) step: usize,
    /// How many with those in the padding, if the distance is 1.
    pub(super) padded: usize,
}

impl Taps {
    #[inline(always)]
    pub(super) fn places(self) -> impl Iterator<Item = usize> + Clone {
        (0..self.count).map(move |tap| self.start + tap * self.step)
    }
}

impl Windows {
    pub(super) fn planes(&self) -> usize {
        match self {
            Windows::Sliding(shape) => shape.planes,
            Windows::Adaptive { planes, .. } => *planes,
        }
    }

    pub(super) fn input(&self) -> [usize; 2] {
        match self {
            Windows::Sliding(shape) => shape.input,
            Windows::Adaptive { input, .. } => *input,
        }
    }

    /// Output height and width; `None` if the window does not fit.
    pub fn output(&self) -> Option<[usize; 2]> {
        match self {
            Windows::Sliding(shape) => shape.output(),
            Windows::Adaptive { output, .. } => Some(*output),
        }
    }

    /// What is wrong with them, if anything.
    ///
    /// # Errors
    /// [`Contract`](Error::Contract) in words.
    pub fn check(&self) -> Result<()> {
        match self {
            Windows::Sliding(shape) => shape.check(),
            Windows::Adaptive { input, output, .. } => (0..2).try_for_each(|d| {
                require(input[d] > 0, "an image without elements")?;
                let places = input[d].checked_mul(output[d]);
                let places = places.and_then(|places| places.checked_add(output[d]));
                require(places.is_some(), "sizes beyond counting")
            }),
        }
    }

    /// What window `at` of a checked pooling sees along dim `d`.
    #[inline(always)]
    pub(super) fn taps(&self, d: usize, at: usize) -> Taps {
        match self {
            Windows::Sliding(s) => {
                let (first, padding, step) = (at * s.stride[d], s.padding[d], s.dilation[d]);
                let hidden = padding.saturating_sub(first).div_ceil(step);
                let end = (s.input[d] + padding - first).div_ceil(step).min(s.kernel[d]);
                let padded = s.kernel[d].min(s.input[d] + 2 * padding - first);
                let start = first + hidden * step - padding;
                Taps { start, count: end - hidden, step, padded }
            }
            Windows::Adaptive { input, output, .. } => {
                let start = at * input[d] / output[d];
                let count = ((at + 1) * input[d]).div_ceil(output[d]) - start;
                Taps { start, count, step: 1, padded: count }
            }
        }
    }

    /// The number of taps of the largest window.
    pub(super) fn largest(&self) -> usize {
        let [h, w] = match self {
            Windows::Sliding(shape) => shape.kernel,
            Windows::Adaptive { input, output, .. } => {
                [0, 1].map(|d| input[d] / output[d].max(1) + 2)
            }
        };
        h.saturating_mul(w)
    }
}
