//! 2-D convolutions and their gradients: `conv.cu`, with the bits of [`cpu::conv`](crate::cpu::conv).

use super::array::{Array, Type};
use super::launch::{Family, Grid, Name, argument};
use super::memory::DeviceBuffer;
use super::product::{Divisor, Plan, Products, Target, bias_address};
use crate::cpu::conv::Conv2dShape;
use crate::cpu::gemm::Activation;
use crate::error::{Error, Result, require};
use crate::strided::checked_len;

/// Which of the three.
#[derive(Debug, Clone, Copy)]
pub enum Convolution<'a> {
    /// `activation(conv(x, weight) + bias)`.
    Forward {
        /// `[n, c, h, w]`
        x: Array<'a>,
        /// `[o, c / groups, kh, kw]`
        weight: Array<'a>,
        /// `[o]`
        bias: Option<Array<'a>>,
        /// Last of all.
        activation: Activation,
    },
    /// The gradient with respect to x.
    Input {
        /// `[n, o, oh, ow]`
        grad: Array<'a>,
        /// `[o, c / groups, kh, kw]`
        weight: Array<'a>,
    },
    /// The gradient with respect to the weight.
    Weight {
        /// `[n, c, h, w]`
        x: Array<'a>,
        /// `[n, o, oh, ow]`
        grad: Array<'a>,
    },
}

/// As the kernel takes it.
#[repr(C)]
#[derive(Clone, Copy)]
struct Conv {
    m: i64,
    n: i64,
    k: i64,
    groups: i64,
    x_image: i64,
    y_image: i64,
    x_plane: i64,
    y_plane: i64,
    weight_row: i64,
    a_group: i64,
    b_group: i64,
    x_size: [i32; 2],
    y_size: [i32; 2],
    stride: [i32; 2],
    padding: [i32; 2],
    dilation: [i32; 2],
    a_mode: i32,
    unused: i32,
    taps: Divisor,
    tap_columns: Divisor,
    x_plane_by: Divisor,
    x_columns: Divisor,
    y_plane_by: Divisor,
    y_columns: Divisor,
    stride_by: [Divisor; 2],
    last: Divisor,
    target: Target,
}

/// The sizes of a convolution's parts.
#[derive(Clone, Copy)]
struct Sizes {
    x_plane: usize,
    y_plane: usize,
    taps: usize,
    inputs: usize,
    outputs: usize,
    y: [usize; 2],
}

/// The most that a number of places may be: they are counted by 31 bits.
const MOST: usize = (1 << 31) - (1 << 8);

impl Sizes {
    fn new(shape: &Conv2dShape) -> Option<Sizes> {
        let y = shape.output()?;
        let split = |channels: usize| {
            (shape.groups > 0 && channels.is_multiple_of(shape.groups))
                .then(|| channels / shape.groups)
        };
        let (inputs, outputs) = (split(shape.in_channels)?, split(shape.out_channels)?);
        let taps = checked_len(&shape.kernel)?;
        let (x_plane, y_plane) = (checked_len(&shape.input)?, checked_len(&y)?);
        let small = |sizes: &[usize]| checked_len(sizes).is_some_and(|len| len <= MOST);
        let reaches = (0..2).all(|d| {
            let padded =
                shape.padding[d].checked_mul(2).and_then(|p| p.checked_add(shape.input[d]));
            padded.is_some_and(|padded| padded < 1 << 30)
                && small(&[shape.kernel[d], shape.dilation[d]])
                && small(&[y[d], shape.stride[d]])
        });
        let fits = reaches
            && small(&[shape.batch, x_plane])
            && small(&[shape.batch, y_plane])
            && small(&[inputs, taps])
            && small(&[outputs, taps]);
        fits.then_some(Sizes { x_plane, y_plane, taps, inputs, outputs, y })
    }
}

/// True if the kernels can count the places of such a convolution, and have the type.
pub fn computes(shape: &Conv2dShape, kind: Type) -> bool {
    matches!(kind, Type::F32 | Type::F64) && Sizes::new(shape).is_some()
}

/// Writes the result row-major to the start of `out`. Operands lie row-major without gaps.
///
/// # Errors
/// [`Contract`](crate::Error::Contract) if types, layouts or lengths differ from the shape's, or [`computes`] is false;
/// [`OutOfMemory`](crate::Error::OutOfMemory) for the workspace; the driver's refusal.
pub fn conv2d(
    shape: &Conv2dShape,
    convolution: &Convolution<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let sizes = Sizes::new(shape).ok_or(Error::Contract("cuda conv2d: the sizes"))?;
    let Sizes { x_plane, y_plane, taps, inputs, outputs, y } = sizes;
    let (batch, groups) = (shape.batch, shape.groups);
    let x_len = checked_len(&[batch, shape.in_channels, x_plane]);
    let y_len = checked_len(&[batch, shape.out_channels, y_plane]);
    let weight_len = checked_len(&[shape.out_channels, inputs, taps]);
    let (a, b, lens) = match convolution {
        Convolution::Forward { x, weight, .. } => (weight, x, [weight_len, x_len, y_len]),
        Convolution::Input { grad, weight } => (weight, grad, [weight_len, y_len, x_len]),
        Convolution::Weight { x, grad } => (grad, x, [y_len, x_len, weight_len]),
    };
    let kind = a.kind();
    require(computes(shape, kind) && b.kind() == kind, "cuda conv2d: types")?;
    let fits = lens[0] == Some(a.len()) && lens[1] == Some(b.len());
    require(fits && a.is_contiguous() && b.is_contiguous(), "cuda conv2d: an operand")?;
    let count =
        lens[2].filter(|len| len.checked_mul(kind.size()).is_some_and(|len| len <= out.len()));
    let count = count.ok_or(Error::Contract("cuda conv2d: the result is too short"))?;
    if count == 0 {
        return Ok(());
    }
    let (x_image, y_image) = (shape.in_channels * x_plane, shape.out_channels * y_plane);
    // The target of planes of images.
    let planes = |plane: usize, image: usize, rows: usize| -> Result<Target> {
        Ok(Target {
            row: plane as i64,
            matrix: (rows * plane) as i64,
            group_stride: image as i64,
            row_bias: rows as i64,
            group: Divisor::new(plane)?,
            ..Target::row_major(0, 0)
        })
    };
    let (x_group, y_group) = (inputs * x_plane, outputs * y_plane);
    let weight_group = outputs * inputs * taps;
    let (name, [m, k, n], groups_at, target, line) = match convolution {
        Convolution::Forward { activation, .. } => {
            let target = planes(y_plane, y_image, outputs)?.activated(*activation);
            let sizes = [outputs, inputs * taps, batch * y_plane];
            ("conv_forward", sizes, [weight_group, x_group], target, y_plane)
        }
        Convolution::Input { .. } => {
            let sizes = [inputs, outputs * taps, batch * x_plane];
            (
                "conv_input",
                sizes,
                [weight_group, y_group],
                planes(x_plane, x_image, inputs)?,
                x_plane,
            )
        }
        Convolution::Weight { .. } => {
            let sizes = [outputs, batch * y_plane, inputs * taps];
            let target = Target::row_major(outputs, inputs * taps);
            ("conv_weight", sizes, [y_group, x_group], target, inputs * taps)
        }
    };
    let bias = match convolution {
        Convolution::Forward { bias, .. } => bias_address(*bias, kind, shape.out_channels)?,
        _ => 0,
    };
    let width = if kind == Type::F64 { 2 } else { 4 };
    let whole = line.is_multiple_of(width) && out.address().is_multiple_of(16);
    let int = |x: usize| i32::try_from(x).map_err(|_| Error::Contract("cuda conv2d: the sizes"));
    let ints = |x: [usize; 2]| -> Result<[i32; 2]> { Ok([int(x[0])?, int(x[1])?]) };
    // A size 0 divides nothing.
    let by = |d: usize| Divisor::new(d.max(1));
    let vectors = k.is_multiple_of(width)
        && a.offset().is_multiple_of(width)
        && a.buffer().address().is_multiple_of(16);
    let conv = Conv {
        m: m as i64,
        n: n as i64,
        k: k as i64,
        groups: groups as i64,
        x_image: x_image as i64,
        y_image: y_image as i64,
        x_plane: x_plane as i64,
        y_plane: y_plane as i64,
        weight_row: (inputs * taps) as i64,
        a_group: groups_at[0] as i64,
        b_group: groups_at[1] as i64,
        x_size: ints(shape.input)?,
        y_size: ints(y)?,
        stride: ints(shape.stride)?,
        padding: ints(shape.padding)?,
        dilation: ints(shape.dilation)?,
        a_mode: if vectors { 2 } else { 0 },
        unused: 0,
        taps: by(taps)?,
        tap_columns: by(shape.kernel[1])?,
        x_plane_by: by(x_plane)?,
        x_columns: by(shape.input[1])?,
        y_plane_by: by(y_plane)?,
        y_columns: by(y[1])?,
        stride_by: [by(shape.stride[0])?, by(shape.stride[1])?],
        last: Divisor::NONE,
        target: Target { vectors: i32::from(whole), ..target },
    };
    let gpu = out.gpu();
    let plan = Plan::new(gpu, Products::Gathered, kind, [m, k, n], groups);
    let workspace = plan.workspace(gpu, kind, count)?;
    let at = |x: &Array<'_>| x.buffer().address() + (x.offset() * kind.size()) as u64;
    let (a, b, c, parts) = (at(a), at(b), out.address(), workspace.address());
    let tiles = plan.tile.count(m, n);
    require(tiles <= i32::MAX as usize, "cuda conv2d: too large")?;
    let grid = Grid {
        blocks: [tiles as u32, plan.parts as u32, groups.min(1 << 15) as u32],
        threads: [plan.tile.threads, 1, 1],
        shared: 0,
    };
    let arguments = [
        argument(&a),
        argument(&b),
        argument(&bias),
        argument(&c),
        argument(&parts),
        argument(&conv),
    ];
    let name = Name::of(&[name, plan.tile.name, kind.name()]);
    // SAFETY: the kernel's arguments; operands, bias, result and workspace have the lengths that the shape asks for.
    unsafe { gpu.launch(Family::Conv, &name, grid, &arguments)? };
    if plan.parts == 1 {
        return Ok(());
    }
    let blocks = plan.parts as i64;
    let arguments =
        [argument(&parts), argument(&blocks), argument(&bias), argument(&c), argument(&conv)];
    let name = Name::of(&["conv_fold", kind.name()]);
    // SAFETY: as above. The workspace is given back to the pool while the kernel may still run: the stream orders its next use.
    unsafe { gpu.launch(Family::Conv, &name, Grid::over(count), &arguments) }
}
