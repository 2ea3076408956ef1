//! What follows the sums of a product: a call's values are checked on the host and sent along.

use super::super::array::Type;
use super::super::launch::argument;
use super::super::memory::DeviceBuffer;
use super::weights::Weights;
use super::{Rows, Values, Windows, flip, over, range, small, warps};
use crate::cpu::int8::{Ending, Requantize, Sizes, Zero};
use crate::error::{Error, Result, require};

/// As the kernels take it: `Ending` of `int8.cuh`. Addresses may be 0.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Finish {
    column_sums: u64,
    row_zeros: u64,
    weight_zeros: u64,
    row_sums: u64,
    bias: u64,
    scale: u64,
    row_scale: u64,
    float_bias: u64,
    out: u64,
    stride: i64,
    together: i64,
    columns: i32,
    k: i32,
    zero: i32,
    weight_zero: i32,
    scale_step: i32,
    to: i32,
    relu: i32,
    out_zero: i32,
    vectors: i32,
    low: f32,
    high: f32,
}

/// A call's values, on the host, and where its result goes.
#[derive(Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) zero: Zero<'a>,
    pub(super) weight_zero: Option<Zero<'a>>,
    pub(super) bias: Option<&'a [i32]>,
    pub(super) ending: Ending<'a>,
    pub(super) stride: usize,
    /// Rows that share what is given for a row.
    pub(super) together: usize,
    /// The zero points and the scales, if they lie on the device.
    pub(super) rows: Option<&'a Rows>,
}

/// Bytes of an element of the result.
fn element(ending: &Ending<'_>) -> usize {
    match ending {
        Ending::I32 | Ending::F32 { .. } => 4,
        Ending::I64 => 8,
        Ending::Codes { .. } => 1,
    }
}

/// What follows the sums, and the device memory that it reads.
pub(super) struct Prepared {
    pub(super) finish: Finish,
    /// Sums may leave i32.
    pub(super) wide: bool,
    _values: DeviceBuffer,
    _row_sums: Option<DeviceBuffer>,
}

/// Checks a call and prepares what follows its sums.
pub(super) fn prepare(
    (kind, address): (Type, u64),
    windows: &mut Windows,
    weights: &Weights,
    call: &Call<'_>,
    out: &DeviceBuffer,
    with_row_sums: bool,
) -> Result<Prepared> {
    let (columns, size) = (weights.columns(), element(&call.ending));
    let sizes = Sizes {
        rows: windows.rows as usize,
        columns,
        group: call.together.max(1),
        stride: call.stride,
        len: out.len() / size,
        k: weights.k,
        zero: call.zero,
        range: range(kind)?,
        weight_zero: call.weight_zero,
        weight_range: range(weights.kind)?,
        bias: call.bias,
    };
    let wide = sizes.check(&call.ending)?;
    let gpu = out.gpu();
    let whole = |multiple: usize| {
        out.address().is_multiple_of((multiple * size) as u64)
            && call.stride.is_multiple_of(multiple)
    };
    let vectors = whole(4) && (weights.groups == 1 || weights.n.is_multiple_of(4));
    let mut finish = Finish {
        column_sums: weights.lines.sums.address(),
        row_zeros: 0,
        weight_zeros: 0,
        row_sums: 0,
        bias: 0,
        scale: 0,
        row_scale: 0,
        float_bias: 0,
        out: out.address(),
        stride: call.stride as i64,
        together: call.together as i64,
        columns: small(columns)?,
        k: small(weights.k)?,
        zero: 0,
        weight_zero: -flip(weights.kind),
        scale_step: 0,
        to: 0,
        relu: 0,
        out_zero: 0,
        vectors: i32::from(vectors),
        low: 0.0,
        high: 0.0,
    };
    // Addresses are told from none by adding the buffer's, once it is there.
    let (mut values, mut places) = (Values::default(), [None; 6]);
    match call.zero {
        Zero::All(zero) => finish.zero = zero - flip(kind),
        Zero::Each(zeros) => {
            finish.zero = -flip(kind);
            places[0] = Some(values.integers(zeros.iter().copied()));
        }
    }
    let moved = |zero: i32| zero - flip(weights.kind);
    match call.weight_zero {
        None => (),
        Some(Zero::All(zero)) => finish.weight_zero = moved(zero),
        Some(Zero::Each(zeros)) if zeros.iter().all(|zero| moved(*zero) == 0) => {
            finish.weight_zero = 0;
        }
        Some(Zero::Each(zeros)) => {
            places[1] = Some(values.integers(zeros.iter().map(|zero| moved(*zero))));
        }
    }
    places[2] = call.bias.map(|bias| values.integers(bias.iter().copied()));
    match call.ending {
        Ending::I32 => (),
        Ending::I64 => finish.to = 1,
        Ending::F32 { scale, row_scale, bias, relu } => {
            (finish.to, finish.relu) = (2, i32::from(relu));
            finish.scale_step = i32::from(scale.len() != 1);
            places[3] = Some(values.floats(scale));
            places[4] = bias.map(|bias| values.floats(bias));
            places[5] = row_scale.map(|scales| values.floats(scales));
        }
        Ending::Codes { signed, multiplier, zero, relu } => {
            let Requantize { low, high, zero } = Requantize::new(signed, zero, relu)?;
            (finish.to, finish.low, finish.high, finish.out_zero) = (3, low, high, zero);
            finish.scale_step = i32::from(multiplier.len() != 1);
            places[3] = Some(values.floats(multiplier));
        }
    }
    let values = values.send(gpu)?;
    let address_of = |place: Option<u64>| place.map_or(0, |place| values.address() + place);
    finish.row_zeros = address_of(places[0]);
    finish.weight_zeros = address_of(places[1]);
    finish.bias = address_of(places[2]);
    finish.scale = address_of(places[3]);
    finish.float_bias = address_of(places[4]);
    finish.row_scale = address_of(places[5]);
    if let Some(rows) = call.rows {
        let count = sizes.rows / call.together.max(1);
        require(rows.rows == count, "int8: wrong number of scales of rows")?;
        finish.zero = -flip(kind);
        (finish.row_zeros, finish.row_scale) = (rows.zero.address(), rows.scale.address());
    }
    windows.zeros = finish.row_zeros;
    let mut row_sums = None;
    if with_row_sums && (finish.weight_zero != 0 || finish.weight_zeros != 0) && !out.is_empty() {
        let (units, groups) = (sizes.rows.checked_mul(weights.groups), small(weights.groups)?);
        let bytes = units.and_then(|units| units.checked_mul(4));
        let sums = DeviceBuffer::new(gpu, bytes.ok_or(Error::Contract("int8: sizes overflow"))?)?;
        finish.row_sums = sums.address();
        let arguments = [
            argument(&address),
            argument(&finish.row_sums),
            argument(&groups),
            argument(&*windows),
        ];
        // SAFETY: the kernel's arguments; the windows lie in the operand, a sum is there for each.
        unsafe { over(gpu, warps(units.unwrap_or(0)), "row_sums", &arguments)? };
        row_sums = Some(sums);
    }
    Ok(Prepared { finish, wide, _values: values, _row_sums: row_sums })
}
