//! Which taps a place reads, and which it misses: they lie in the padding or between strides.

use super::Conv2dShape;

/// Places of one dim that read the same taps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Class {
    /// The first place, the distance of neighbours, how many.
    pub(super) start: usize,
    pub(super) step: usize,
    pub(super) count: usize,
    /// For each tap: is it read?
    pub(super) taps: Vec<bool>,
}

impl Class {
    /// True if no tap is read.
    pub(super) fn is_blind(&self) -> bool {
        !self.taps.contains(&true)
    }

    /// For each tap (kh, kw): do the places in these rows and those columns read it?
    pub(super) fn and(&self, columns: &Class) -> Vec<bool> {
        let row = |y: bool| columns.taps.iter().map(move |x| y && *x);
        self.taps.iter().flat_map(|y| row(*y)).collect()
    }
}

impl Conv2dShape {
    /// The classes of output places along dim `d`.
    pub(super) fn output_classes(&self, out: usize, d: usize) -> Vec<Class> {
        classes(out, 1, self.kernel[d], |at, tap| self.reads(d, at, tap))
    }

    /// The classes of input places along dim `d`, as the input gradient gathers them.
    pub(super) fn input_classes(&self, out: usize, d: usize) -> Vec<Class> {
        classes(self.input[d], self.stride[d], self.kernel[d], |at, tap| {
            let place = (at + self.padding[d]).checked_sub(tap * self.dilation[d]);
            place.is_some_and(|p| p.is_multiple_of(self.stride[d]) && p / self.stride[d] < out)
        })
    }

    /// Does tap `tap` of output place `at` lie in the input, along dim `d`?
    pub(super) fn reads(&self, d: usize, at: usize, tap: usize) -> bool {
        let place = (at * self.stride[d] + tap * self.dilation[d]).checked_sub(self.padding[d]);
        place.is_some_and(|place| place < self.input[d])
    }
}

/// Cuts the places `phase, phase + step, ...` of each phase into classes: along them a window of
/// taps moves steadily, so equal ones are neighbours.
fn classes(
    places: usize,
    step: usize,
    taps: usize,
    reads: impl Fn(usize, usize) -> bool,
) -> Vec<Class> {
    let mut classes: Vec<Class> = Vec::new();
    for phase in 0..step.min(places) {
        for start in (phase..places).step_by(step) {
            let taps: Vec<bool> = (0..taps).map(|tap| reads(start, tap)).collect();
            match classes.last_mut() {
                Some(last) if start > phase && last.taps == taps => last.count += 1,
                _ => classes.push(Class { start, step, count: 1, taps }),
            }
        }
    }
    classes
}
