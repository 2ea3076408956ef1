//! What becomes of the sums: the terms of the zero points, the bias, and the output's type.

use super::dot::{Dot, PANEL};
use super::output::{Ending, Requantize, Sizes};
use super::packed::Packed;
use super::{Activations, Codes, Output, Zero};
use crate::error::Result;

/// An output's place; the borrow stands in [`Finish`].
#[derive(Debug, Clone, Copy)]
enum To {
    I32(*mut i32),
    I64(*mut i64),
    F32(*mut f32, bool),
    Codes(*mut u8, Requantize),
}

/// All that follows the raw sums of a product.
#[derive(Debug, Clone, Copy)]
pub(super) struct Finish<'a> {
    /// The activations' zero points, and what they are moved by to go with u8.
    zero: Zero<'a>,
    to_u8: i32,
    /// Rows that share a zero point and a factor: 1, or those of an image.
    group: usize,
    row_scale: Option<&'a [f32]>,
    weight_zero: Option<Zero<'a>>,
    moved: i32,
    k: usize,
    bias: Option<&'a [i32]>,
    /// Factors and bias of f32, one element or one a column.
    scale: &'a [f32],
    float_bias: Option<&'a [f32]>,
    to: To,
    stride: usize,
    /// Sums may leave i32.
    pub(super) wide: bool,
}

// SAFETY: its pointers are of an output that is borrowed exclusively for 'a; blocks write disjoint parts of it.
unsafe impl Sync for Finish<'_> {}

/// Columns that are finished together.
pub(super) const COLUMNS: usize = 4 * PANEL;

/// The bytes that a tile will be written to.
#[derive(Clone, Copy)]
pub(super) struct Lines {
    start: *const u8,
    stride: usize,
    len: usize,
}

impl Lines {
    /// Asks for the cache lines of a row, so that they arrive while their sums are made.
    #[inline(always)]
    pub(super) fn prefetch<D: Dot>(self, d: D, row: usize) {
        let start = self.start.wrapping_add(row * self.stride);
        for at in (0..self.len).step_by(64) {
            d.prefetch_write(start.wrapping_add(at));
        }
    }
}

/// What is the same for all rows of up to [`COLUMNS`] columns.
pub(super) struct Columns {
    first: usize,
    len: usize,
    /// The group of rows that `base` and `row` are of.
    group: usize,
    /// The factor of the rows.
    row: f32,
    /// What is left of the activations' zero point: the term that is not in `base`.
    zero: i32,
    /// What is added to a sum: the bias less the term of the activations' zero point.
    base: [i32; COLUMNS],
    /// The sums of the columns, that the term is made of.
    sums: [i32; COLUMNS],
    scale: [f32; COLUMNS],
    /// -0 where there is none: adding it changes nothing.
    bias: [f32; COLUMNS],
}

/// The last step, from exact sums to elements of the output.
trait Last<T>: Copy {
    /// Of the sums of the panel at `at` of `columns`, `base` added.
    fn of(self, exact: [i32; PANEL], columns: &Columns, at: usize) -> [T; PANEL];
}

/// The sums themselves.
#[derive(Clone, Copy)]
struct Exact;

impl<T: From<i32> + Default + Copy> Last<T> for Exact {
    #[inline(always)]
    fn of(self, exact: [i32; PANEL], _: &Columns, _: usize) -> [T; PANEL] {
        let mut values = [T::default(); PANEL];
        for j in 0..PANEL {
            values[j] = T::from(exact[j]);
        }
        values
    }
}

#[derive(Clone, Copy)]
struct Dequantize {
    relu: bool,
    row: f32,
    /// The zero point of the rows, if not all have the same.
    zero: i32,
}

impl Last<f32> for Dequantize {
    #[inline(always)]
    fn of(self, exact: [i32; PANEL], columns: &Columns, at: usize) -> [f32; PANEL] {
        let (scale, bias) = (&columns.scale[at..at + PANEL], &columns.bias[at..at + PANEL]);
        let sums = &columns.sums[at..at + PANEL];
        let mut floats = [0f32; PANEL];
        for j in 0..PANEL {
            let exact = exact[j].wrapping_sub(self.zero.wrapping_mul(sums[j]));
            floats[j] = exact as f32 * (self.row * scale[j]) + bias[j];
        }
        if self.relu {
            for float in &mut floats {
                // NaN stays.
                *float = if 0.0 > *float { 0.0 } else { *float };
            }
        }
        floats
    }
}

impl Last<u8> for Requantize {
    #[inline(always)]
    fn of(self, exact: [i32; PANEL], columns: &Columns, at: usize) -> [u8; PANEL] {
        let scale = &columns.scale[at..at + PANEL];
        let mut codes = [0i32; PANEL];
        for j in 0..PANEL {
            codes[j] = self.code(exact[j] as f32 * scale[j]);
        }
        let mut bytes = [0u8; PANEL];
        for j in 0..PANEL {
            bytes[j] = codes[j] as u8;
        }
        bytes
    }
}

impl<'a> Finish<'a> {
    /// For the `[rows, columns]` results of products with `packed`, which may be several beside each other; each `group` rows
    /// (of which there are whole ones) share what is given for a row. Checks all it is given.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn new(
        [rows, columns]: [usize; 2],
        group: usize,
        a: &Activations<'a>,
        packed: &Packed,
        weight_zero: Option<Zero<'a>>,
        bias: Option<&'a [i32]>,
        output: Output<'a>,
        stride: usize,
    ) -> Result<Self> {
        let codes = |signed, multiplier, zero, relu| -> Result<_> {
            let ending = Ending::Codes { signed, multiplier, zero, relu };
            Ok((ending, Requantize::new(signed, zero, relu)?))
        };
        let len = output.len();
        let (to, ending) = match output {
            Output::I32(out) => (To::I32(out.as_mut_ptr()), Ending::I32),
            Output::I64(out) => (To::I64(out.as_mut_ptr()), Ending::I64),
            Output::F32 { out, scale, row_scale, bias, relu } => {
                let ending = Ending::F32 { scale, row_scale, bias, relu };
                (To::F32(out.as_mut_ptr(), relu), ending)
            }
            Output::U8 { out, multiplier, zero, relu } => {
                let (ending, requantize) = codes(false, multiplier, zero, relu)?;
                (To::Codes(out.as_mut_ptr(), requantize), ending)
            }
            Output::I8 { out, multiplier, zero, relu } => {
                let (ending, requantize) = codes(true, multiplier, zero, relu)?;
                (To::Codes(out.as_mut_ptr().cast(), requantize), ending)
            }
        };
        let sizes = Sizes {
            rows,
            columns,
            group,
            stride,
            len,
            k: packed.k,
            zero: a.zero,
            range: a.codes.range(),
            weight_zero,
            weight_range: packed.range,
            bias,
        };
        let wide = sizes.check(&ending)?;
        let (scale, row_scale, float_bias): (&[f32], _, _) = match ending {
            Ending::I32 | Ending::I64 => (&[], None, None),
            Ending::F32 { scale, row_scale, bias, .. } => (scale, row_scale, bias),
            Ending::Codes { multiplier, .. } => (multiplier, None, None),
        };
        let (to_u8, moved, k) = (a.codes.to_u8(), packed.moved, packed.k);
        let weight_zero = weight_zero.or((moved != 0).then_some(Zero::All(0)));
        let zero = a.zero;
        Ok(Finish {
            zero,
            to_u8,
            group,
            row_scale,
            weight_zero,
            moved,
            k,
            bias,
            scale,
            float_bias,
            to,
            stride,
            wide,
        })
    }

    /// The finish of columns `start .. start + len` alone: a group of a convolution.
    pub(super) fn columns(&self, start: usize, len: usize) -> Self {
        let cut = |slice: &'a [f32]| slice.get(start..start + len).unwrap_or(slice);
        let cut = |slice: &'a [f32]| if slice.len() == 1 { slice } else { cut(slice) };
        let to = match self.to {
            To::I32(to) => To::I32(to.wrapping_add(start)),
            To::I64(to) => To::I64(to.wrapping_add(start)),
            To::F32(to, relu) => To::F32(to.wrapping_add(start), relu),
            To::Codes(to, requantize) => To::Codes(to.wrapping_add(start), requantize),
        };
        let weight_zero = match self.weight_zero {
            Some(Zero::Each(zeros)) => zeros.get(start..start + len).map(Zero::Each),
            zero => zero,
        };
        Finish {
            bias: self.bias.and_then(|bias| bias.get(start..start + len)),
            scale: cut(self.scale),
            float_bias: self.float_bias.map(cut),
            weight_zero,
            to,
            ..*self
        }
    }

    /// True for what only the tiles of groups do: sums of rows, or beyond i32.
    pub(super) fn needs_groups(&self) -> bool {
        self.wide || self.needs_row_sums()
    }

    /// True if the rows' own sums are needed.
    pub(super) fn needs_row_sums(&self) -> bool {
        let zero = |zero: i32| zero + self.moved == 0;
        match self.weight_zero {
            None => false,
            Some(Zero::All(one)) => !zero(one),
            Some(Zero::Each(zeros)) => !zeros.iter().all(|one| zero(*one)),
        }
    }

    /// What the rows of some columns share.
    #[inline(always)]
    pub(super) fn prepare(&self, packed: &Packed, first: usize, len: usize) -> Columns {
        let mut columns = Columns {
            first,
            len,
            group: usize::MAX,
            row: 1.0,
            zero: 0,
            base: [0; COLUMNS],
            sums: [0; COLUMNS],
            scale: [0.0; COLUMNS],
            bias: [-0.0; COLUMNS],
        };
        match (self.zero, self.wide) {
            (_, true) => {}
            (Zero::All(zero), _) => self.base(packed, &mut columns, zero + self.to_u8),
            // Floats take the term as they are made, row by row.
            (Zero::Each(_), _) => self.base(packed, &mut columns, 0),
        }
        columns.sums[..len].copy_from_slice(&packed.sums()[first..first + len]);
        for j in 0..len {
            columns.scale[j] = match self.scale {
                [] => 0.0,
                [one] => *one,
                many => many[first + j],
            };
            columns.bias[j] = self.float_bias.map_or(-0.0, |bias| bias[first + j]);
        }
        columns
    }

    /// `bias - zero * sum of the column`, in the arithmetic of i32, which wraps: the result fits.
    #[inline(always)]
    fn base(&self, packed: &Packed, columns: &mut Columns, zero: i32) {
        let sums = &packed.sums()[columns.first..columns.first + columns.len];
        for (base, sum) in columns.base.iter_mut().zip(sums) {
            *base = sum.wrapping_mul(zero).wrapping_neg();
        }
        if let Some(bias) = self.bias {
            for (base, bias) in columns.base.iter_mut().zip(&bias[columns.first..][..columns.len]) {
                *base = base.wrapping_add(*bias);
            }
        }
    }

    /// Where the output's rows from `row` on, columns `first .. first + len` (at most [`COLUMNS`] of them), lie.
    #[inline(always)]
    pub(super) fn lines(&self, row: usize, first: usize, len: usize) -> Lines {
        let (start, size) = match self.to {
            To::I32(to) => (to.cast::<u8>(), 4),
            To::I64(to) => (to.cast(), 8),
            To::F32(to, _) => (to.cast(), 4),
            To::Codes(to, _) => (to, 1),
        };
        let start = start.wrapping_add((row * self.stride + first) * size);
        Lines { start, stride: self.stride * size, len: len.min(COLUMNS) * size }
    }

    /// Writes rows of raw sums from `row` on. `row_sums` are those of their codes as u8.
    ///
    /// # Safety
    /// - The rows and the columns must lie in the output; nobody else writes there.
    #[inline(always)]
    pub(super) unsafe fn rows(
        &self,
        packed: &Packed,
        columns: &mut Columns,
        sums: &mut [[i32; COLUMNS]],
        row: usize,
        row_sums: Option<&[i32]>,
    ) {
        let same = matches!((self.zero, self.row_scale), (Zero::All(_), None));
        if row_sums.is_none() && same {
            // SAFETY: the caller's contract.
            unsafe { self.store(columns, sums, row) };
            return;
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            let group = (row + r) / self.group;
            if columns.group != group {
                columns.group = group;
                columns.row = self.row_factor(group);
                if let Zero::Each(zeros) = self.zero {
                    let zero = zeros[group] + self.to_u8;
                    match self.to {
                        To::F32(..) => columns.zero = zero,
                        _ => self.base(packed, columns, zero),
                    }
                }
            }
            if let Some(row_sums) = row_sums {
                let zero = self.zero.at(group) + self.to_u8;
                let rest = row_sums[r].wrapping_sub((self.k as i32).wrapping_mul(zero));
                for (j, sum) in sums[..columns.len].iter_mut().enumerate() {
                    let weight_zero = self.weight_zero_at(columns.first + j);
                    *sum = sum.wrapping_sub(weight_zero.wrapping_mul(rest));
                }
            }
            // SAFETY: the caller's contract.
            unsafe { self.store(columns, std::slice::from_ref(sums), row + r) };
        }
    }

    /// Finishes and writes rows that have the same `base`.
    ///
    /// # Safety
    /// - As for [`rows`](Self::rows).
    #[inline(always)]
    unsafe fn store(&self, columns: &Columns, sums: &[[i32; COLUMNS]], row: usize) {
        // SAFETY: the caller's contract.
        unsafe {
            match self.to {
                To::I32(to) => self.store_as(Exact, to, columns, sums, row),
                To::I64(to) => self.store_as(Exact, to, columns, sums, row),
                To::F32(to, relu) => {
                    let last = Dequantize { relu, row: columns.row, zero: columns.zero };
                    self.store_as(last, to, columns, sums, row);
                }
                To::Codes(to, requantize) => self.store_as(requantize, to, columns, sums, row),
            }
        }
    }

    /// Panel by panel: what the rows share is read once.
    #[inline(always)]
    unsafe fn store_as<T: Copy, L: Last<T>>(
        &self,
        last: L,
        to: *mut T,
        columns: &Columns,
        sums: &[[i32; COLUMNS]],
        row: usize,
    ) {
        let stride = self.stride;
        for at in (0..columns.len.min(COLUMNS)).step_by(PANEL) {
            let len = (columns.len - at).min(PANEL);
            for (r, sums) in sums.iter().enumerate() {
                let mut exact = [0; PANEL];
                for j in 0..PANEL {
                    exact[j] = sums[at + j].wrapping_add(columns.base[at + j]);
                }
                let values = last.of(exact, columns, at);
                let place = (row + r) * stride + columns.first + at;
                // SAFETY: the caller's contract: `len` elements from here on are this block's.
                unsafe { put(to.add(place), values, len) };
            }
        }
    }

    /// The factor of a group of rows.
    #[inline(always)]
    fn row_factor(&self, group: usize) -> f32 {
        self.row_scale.map_or(1.0, |scales| scales[group])
    }

    #[inline(always)]
    fn weight_zero_at(&self, column: usize) -> i32 {
        self.weight_zero.map_or(0, |zero| zero.at(column) + self.moved)
    }

    /// As [`rows`](Self::rows), one row of sums beyond i32. Rare, and so not fast.
    ///
    /// # Safety
    /// - As for [`rows`](Self::rows).
    #[inline(never)]
    pub(super) unsafe fn wide_row(
        &self,
        packed: &Packed,
        columns: &Columns,
        sums: &[i64],
        row: usize,
        row_sum: Option<i32>,
    ) {
        let group = row / self.group;
        let (zero, factor) = (i64::from(self.zero.at(group) + self.to_u8), self.row_factor(group));
        let rest = row_sum.map_or(0, |sum| i64::from(sum) - self.k as i64 * zero);
        for (j, sum) in sums[..columns.len].iter().enumerate() {
            let column = columns.first + j;
            let bias = self.bias.map_or(0, |bias| i64::from(bias[column]));
            let exact = sum - zero * i64::from(packed.sums()[column]) + bias
                - i64::from(self.weight_zero_at(column)) * rest;
            let place = row * self.stride + column;
            // SAFETY: the caller's contract.
            unsafe {
                match self.to {
                    To::I32(to) => *to.add(place) = exact as i32,
                    To::I64(to) => *to.add(place) = exact,
                    To::F32(to, relu) => {
                        let scaled = exact as f32 * (factor * columns.scale[j]);
                        let float = self.float_bias.map_or(scaled, |bias| scaled + bias[column]);
                        *to.add(place) = if relu && 0.0 > float { 0.0 } else { float };
                    }
                    To::Codes(to, requantize) => {
                        *to.add(place) = requantize.code(exact as f32 * columns.scale[j]) as u8;
                    }
                }
            }
        }
    }
}

/// Stores the first `len` of `values`.
///
/// # Safety
/// - `to .. to + len` must be writable.
#[inline(always)]
unsafe fn put<T: Copy>(to: *mut T, values: [T; PANEL], len: usize) {
    // SAFETY: by the caller's contract; unaligned.
    unsafe {
        if len == PANEL {
            to.cast::<[T; PANEL]>().write_unaligned(values);
        } else {
            for (j, &value) in values.iter().enumerate().take(len) {
                *to.add(j) = value;
            }
        }
    }
}

/// How activations are made u8: in bytes, exclusive or with this.
pub(super) fn flip(codes: Codes<'_>) -> u8 {
    codes.to_u8() as u8
}
