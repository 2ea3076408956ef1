//! Elementwise kernels: `map.cu`, `map_unary.cu`, `map_wide.cu`, `map_cast.cu`. The result is contiguous, from the start of its buffer.

#[cfg(test)]
mod tests;

use super::array::{Array, RANK, Type};
use super::copy;
use super::driver::Gpu;
use super::launch::{Argument, Family, Grid, Name, argument};
use super::memory::DeviceBuffer;
use crate::elementwise::{BinaryOp, CompareOp, LogicalOp, UnaryOp};
use crate::error::{Error, Result, require};
use crate::strided::{self, LoopNest};

/// Where an operand lies: in a buffer of its own, or already in the output (which has the result's shape, contiguous).
#[derive(Debug, Clone, Copy)]
pub enum Source<'a> {
    /// A view, already broadcast to the result's shape.
    Array(Array<'a>),
    /// The output's old contents.
    Output,
}

/// The kernel of `op` for elements of this type, and the number that chooses among a kernel's operations; `None` where the CPU has
/// none either, and for what is done by other means: integers' roundings (which change nothing) and the 2-byte floats' rarer
/// operations (by way of f32).
pub fn unary_kernel(op: UnaryOp, kind: Type) -> Option<(Family, Name, i32)> {
    use UnaryOp::{Abs, Neg, Relu, Sign, Square};
    if kind.is_integer() {
        let code = [Neg, Abs, Sign, Square, Relu].iter().position(|&known| known == op)?;
        let name = Name::of(&["map_integer_unary", kind.name()]);
        return Some((Family::MapUnary, name, code as i32));
    }
    let family = if op.is_wide() { Family::MapWide } else { Family::MapUnary };
    let missing = op.is_wide() && kind.size() == 2;
    (!missing).then(|| (family, Name::of(&["map", op.name(), kind.name()]), 0))
}

/// As [`unary_kernel`].
pub fn binary_kernel(op: BinaryOp, kind: Type) -> Option<(Family, Name, i32)> {
    use BinaryOp::{
        Add, FloorDivide, Fmod, Maximum, Minimum, Mul, Pow, Remainder, Sub, TruncDivide,
    };
    if kind.is_integer() {
        let known =
            [Add, Sub, Mul, Maximum, Minimum, Pow, FloorDivide, TruncDivide, Fmod, Remainder];
        let code = known.iter().position(|&known| known == op)?;
        return Some((Family::Map, Name::of(&["map_integer", kind.name()]), code as i32));
    }
    let family = if op.is_wide() { Family::MapWide } else { Family::Map };
    let missing = op.is_wide() && kind.size() == 2;
    (!missing).then(|| (family, Name::of(&["map", op.name(), kind.name()]), 0))
}

/// The kernel of a cast; to `None`: 1 where not 0.
pub fn cast_kernel(from: Type, to: Option<Type>) -> (Family, Name) {
    let to = to.map_or("bool", Type::name);
    (Family::MapCast, Name::of(&["map_cast", from.name(), to]))
}

/// What the CPU says of operations that integers don't have.
const UNDEFINED: Error = Error::Contract("map: this operation is not defined for integers");

/// `out = op(x)`; of integers neg, abs, sign, square, relu and the roundings, wrapping.
///
/// # Errors
/// [`Contract`](Error::Contract) for lengths that differ and other operations of integers; [`Cuda`](Error::Cuda).
pub fn unary(op: UnaryOp, kind: Type, x: Source<'_>, out: &mut DeviceBuffer) -> Result<()> {
    use UnaryOp::{Ceil, Floor, Round, Trunc};
    let n = out.len() / kind.size();
    if let Source::Array(x) = x {
        require(x.kind() == kind, "cuda map: an operand's type is not the result's")?;
        same_length(&x, n)?;
    }
    let Some((family, name, code)) = unary_kernel(op, kind) else {
        if kind.is_integer() && !matches!(op, Floor | Ceil | Round | Trunc) {
            return Err(UNDEFINED);
        }
        if !kind.is_integer() {
            return unary_by_single(op, kind, x, out);
        }
        return match x {
            Source::Array(x) => copy::copy(x, out),
            Source::Output => Ok(()),
        };
    };
    let from = contiguous(x, kind, out)?;
    let (to, count) = (out.address(), n as i64);
    let arguments = [argument(&to), argument(&from), argument(&count), argument(&code)];
    let used = if kind.is_integer() { 4 } else { 3 };
    // SAFETY: the kernel's arguments; both buffers have `n` elements.
    unsafe { launch(out.gpu(), family, &name, n, &arguments[..used]) }
}

/// `op` of 2-byte floats: widened, computed, rounded.
fn unary_by_single(op: UnaryOp, kind: Type, x: Source<'_>, out: &mut DeviceBuffer) -> Result<()> {
    let n = out.len() / kind.size();
    let mut wide = DeviceBuffer::new(out.gpu(), n * Type::F32.size())?;
    widen(x, kind, out, &mut wide)?;
    unary(op, Type::F32, Source::Output, &mut wide)?;
    cast(Array::new(&wide, Type::F32, 0, &[n], &[1])?, Some(kind), out)
}

/// An operand (or the output's contents) as f32.
fn widen(x: Source<'_>, kind: Type, out: &DeviceBuffer, wide: &mut DeviceBuffer) -> Result<()> {
    match x {
        Source::Array(x) => cast(x, Some(Type::F32), wide),
        Source::Output => {
            let n = out.len() / kind.size();
            cast(Array::new(out, kind, 0, &[n], &[1])?, Some(Type::F32), wide)
        }
    }
}

/// The address of the operand's elements, one after another: where they are, or in the output.
fn contiguous(x: Source<'_>, kind: Type, out: &mut DeviceBuffer) -> Result<u64> {
    match x {
        Source::Array(x) if x.is_contiguous() => {
            Ok(x.buffer().address() + (x.offset() * kind.size()) as u64)
        }
        Source::Array(x) => copy::copy(x, out).map(|()| out.address()),
        Source::Output => Ok(out.address()),
    }
}

/// An operand of a loop nest.
#[derive(Clone, Copy)]
struct Operand<'a> {
    /// Of the first element.
    address: u64,
    size: usize,
    strides: &'a [isize],
}

impl<'a> Operand<'a> {
    fn of(x: Array<'a>) -> Operand<'a> {
        let size = x.kind().size();
        let address = x.buffer().address() + (x.offset() * size) as u64;
        Operand { address, size, strides: x.strides() }
    }
}

/// How operands lie in one nest of loops, as the kernels take it (`frames.cuh`).
#[repr(C)]
#[derive(Clone, Copy)]
struct Nest<const N: usize> {
    rank: i32,
    whole: i32,
    size: [u32; RANK],
    stride: [[i64; N]; RANK],
}

impl<const N: usize> Nest<N> {
    fn new(shape: &[usize], operands: [Operand<'_>; N], out: Operand<'_>) -> Result<Nest<N>> {
        let loops = LoopNest::new(shape, operands.map(|operand| operand.strides));
        let mut nest = Nest { rank: 0, whole: 0, size: [0; RANK], stride: [[0; N]; RANK] };
        let rank = loops.shape.len();
        if rank > 1 || loops.inner_strides() != [1; N] {
            if rank > RANK {
                return Err(Error::Beyond("more than 16 dims that don't lie together"));
            }
            nest.rank = rank as i32;
        }
        for (d, (&size, strides)) in
            loops.shape.iter().zip(loops.strides.iter()).enumerate().take(RANK)
        {
            // By the outermost size nothing is divided.
            if d > 0 && u32::try_from(size).is_err() {
                return Err(Error::Beyond("a dim of more than 2^32 - 1"));
            }
            nest.size[d] = u32::try_from(size).unwrap_or(u32::MAX);
            nest.stride[d] = strides.map(|stride| stride as i64);
        }
        let rows_fit = rank == 1 || loops.inner() % GROUP == 0;
        let neat = (0..N).all(|k| {
            let outer = loops.strides.iter().rev().skip(1);
            let steps = outer.map(|strides| strides[k]).all(|step| step % GROUP as isize == 0);
            match loops.inner_strides()[k] {
                0 => true,
                1 => operands[k].is_aligned() && steps,
                _ => false,
            }
        });
        if rows_fit && neat && out.is_aligned() {
            let single = |k: &usize| loops.inner_strides()[*k] == 0;
            nest.whole = (0..N).filter(single).fold(1, |bits, k| bits | 1 << (8 + k));
        }
        Ok(nest)
    }
}

/// Neighbours that a thread loads and stores at once.
const GROUP: usize = 4;

impl Operand<'_> {
    /// True if a group of its elements may be moved at once.
    fn is_aligned(&self) -> bool {
        self.address.is_multiple_of((self.size * GROUP).min(16) as u64)
    }
}

/// `out = op(a, b)`; integers wrap.
///
/// # Errors
/// [`Contract`](Error::Contract) for shapes or types that differ and for operations that integers don't have;
/// [`DivisionByZero`](Error::DivisionByZero); [`Cuda`](Error::Cuda).
pub fn binary(
    op: BinaryOp,
    kind: Type,
    a: Source<'_>,
    b: Source<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    use BinaryOp::{FloorDivide, Fmod, Remainder, TruncDivide};
    let n = out.len() / kind.size();
    for x in [a, b] {
        if let Source::Array(x) = x {
            require(x.kind() == kind, "cuda map: an operand's type is not the result's")?;
            same_length(&x, n)?;
        }
    }
    let Some((family, name, code)) = binary_kernel(op, kind) else {
        if kind.is_integer() {
            return Err(UNDEFINED);
        }
        return binary_by_single(op, kind, a, b, out);
    };
    let shape = match (a, b) {
        (Source::Array(a), Source::Array(b)) => same_shape(&a, &b)?,
        (Source::Array(x), Source::Output) | (Source::Output, Source::Array(x)) => x.shape(),
        (Source::Output, Source::Output) => &[n],
    };
    let rows = strided::row_major(shape);
    let result = Operand { address: out.address(), size: kind.size(), strides: &rows };
    let place = |x| match x {
        Source::Array(x) => Operand::of(x),
        Source::Output => result,
    };
    let divides = matches!(op, FloorDivide | TruncDivide | Fmod | Remainder);
    let mut fault = None;
    if kind.is_integer() && divides {
        let mut buffer = DeviceBuffer::new(out.gpu(), 4)?;
        buffer.zero()?;
        fault = Some(buffer);
    }
    let fault_address = fault.as_ref().map_or(0, DeviceBuffer::address);
    let used = if kind.is_integer() { 2 } else { 0 };
    let extra = [argument(&code), argument(&fault_address)];
    // SAFETY: the kernel's arguments; operands and output have `n` elements.
    unsafe {
        pairs(out.gpu(), (family, name), shape, [place(a), place(b)], result, n, &extra[..used])?;
    }
    match fault {
        Some(fault) => {
            let mut found = [0; 4];
            fault.download(0, &mut found)?;
            if found == [0; 4] { Ok(()) } else { Err(Error::DivisionByZero) }
        }
        None => Ok(()),
    }
}

/// `op` of 2-byte floats: widened, computed, rounded.
fn binary_by_single(
    op: BinaryOp,
    kind: Type,
    a: Source<'_>,
    b: Source<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let n = out.len() / kind.size();
    let mut wide = [
        DeviceBuffer::new(out.gpu(), n * Type::F32.size())?,
        DeviceBuffer::new(out.gpu(), n * Type::F32.size())?,
    ];
    for (x, wide) in [a, b].into_iter().zip(&mut wide) {
        widen(x, kind, out, wide)?;
    }
    let [mut left, right] = wide;
    let dense = [n];
    let right = Source::Array(Array::new(&right, Type::F32, 0, &dense, &[1])?);
    binary(op, Type::F32, Source::Output, right, &mut left)?;
    cast(Array::new(&left, Type::F32, 0, &[n], &[1])?, Some(kind), out)
}

/// `out = op(a, b)` as 0 or 1.
///
/// # Errors
/// [`Contract`](Error::Contract) for shapes or types that differ; [`Cuda`](Error::Cuda).
pub fn compare(op: CompareOp, a: Array<'_>, b: Array<'_>, out: &mut DeviceBuffer) -> Result<()> {
    let code = CompareOp::ALL.iter().position(|&known| known == op).unwrap_or(0) as i32;
    to_bool(Name::of(&["map_compare", a.kind().name()]), code, a, b, out)
}

/// `out = op(a, b)` on booleans (any nonzero byte is true), as 0 or 1.
///
/// # Errors
/// As [`compare`].
pub fn logical(op: LogicalOp, a: Array<'_>, b: Array<'_>, out: &mut DeviceBuffer) -> Result<()> {
    require(a.kind() == Type::U8, "cuda map: logic is of booleans")?;
    let code = LogicalOp::ALL.iter().position(|&known| known == op).unwrap_or(0) as i32;
    to_bool(Name::of(&["map_logical_u8"]), code, a, b, out)
}

/// A kernel of two operands of one type, with a number, to bytes.
fn to_bool(
    name: Name,
    code: i32,
    a: Array<'_>,
    b: Array<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    require(a.kind() == b.kind(), "cuda map: the operands' types differ")?;
    let (shape, n) = (same_shape(&a, &b)?, out.len());
    same_length(&a, n)?;
    let result = Operand { address: out.address(), size: 1, strides: &[] };
    let operands = [Operand::of(a), Operand::of(b)];
    // SAFETY: the kernel's arguments; operands and output have `n` elements.
    unsafe { pairs(out.gpu(), (Family::Map, name), shape, operands, result, n, &[argument(&code)]) }
}

/// `out = condition ? a : b`; only the size of elements matters.
///
/// # Errors
/// As [`compare`].
pub fn select(
    condition: Array<'_>,
    a: Array<'_>,
    b: Array<'_>,
    out: &mut DeviceBuffer,
) -> Result<()> {
    let size = a.kind().size();
    require(condition.kind() == Type::U8, "cuda map: a condition is of booleans")?;
    require(b.kind().size() == size, "cuda map: the operands' types differ")?;
    let (shape, n) = (same_shape(&a, &b)?, out.len() / size);
    same_shape(&condition, &a)?;
    same_length(&a, n)?;
    let result = Operand { address: out.address(), size, strides: &[] };
    let operands = [Operand::of(condition), Operand::of(a), Operand::of(b)];
    let nest = Nest::new(shape, operands, result)?;
    let (count, [c, a_at, b_at]) = (n as i64, operands.map(|operand| operand.address));
    let arguments = [
        argument(&result.address),
        argument(&c),
        argument(&a_at),
        argument(&b_at),
        argument(&nest),
        argument(&count),
    ];
    let name = Name::of(&["map_select", a.kind().size_name()]);
    // SAFETY: the kernel's arguments; operands and output have `n` elements.
    unsafe { launch(out.gpu(), Family::Map, &name, n, &arguments) }
}

/// `out = x as to`, to `None` as 0 or 1: floats to integers are cut and kept in range, NaN gives 0; integers to shorter ones wrap.
///
/// # Errors
/// [`Contract`](Error::Contract) for lengths that differ; [`Cuda`](Error::Cuda).
pub fn cast(x: Array<'_>, to: Option<Type>, out: &mut DeviceBuffer) -> Result<()> {
    let n = out.len() / to.map_or(1, Type::size);
    same_length(&x, n)?;
    let gathered;
    let dense = [n];
    let x = if x.is_contiguous() {
        x
    } else {
        let mut buffer = DeviceBuffer::new(out.gpu(), n * x.kind().size())?;
        copy::copy(x, &mut buffer)?;
        gathered = buffer;
        Array::new(&gathered, x.kind(), 0, &dense, &[1])?
    };
    let (family, name) = cast_kernel(x.kind(), to);
    let (address, target, count) = (Operand::of(x).address, out.address(), n as i64);
    let arguments = [argument(&target), argument(&address), argument(&count)];
    // SAFETY: the kernel's arguments; both buffers have `n` elements.
    unsafe { launch(out.gpu(), family, &name, n, &arguments) }
}

/// A kernel of two operands in a nest of loops; `extra` follows the usual arguments.
///
/// # Safety
/// The kernel takes these arguments; operands and output have `n` elements.
unsafe fn pairs(
    gpu: &Gpu,
    (family, name): (Family, Name),
    shape: &[usize],
    operands: [Operand<'_>; 2],
    out: Operand<'_>,
    n: usize,
    extra: &[Argument<'_>],
) -> Result<()> {
    let nest = Nest::new(shape, operands, out)?;
    let (count, [a, b]) = (n as i64, operands.map(|operand| operand.address));
    let usual =
        [argument(&out.address), argument(&a), argument(&b), argument(&nest), argument(&count)];
    let mut arguments = [usual[0]; 7];
    for (place, argument) in arguments.iter_mut().zip(usual.iter().chain(extra)) {
        *place = *argument;
    }
    let used = (usual.len() + extra.len()).min(arguments.len());
    // SAFETY: the caller's duty.
    unsafe { launch(gpu, family, &name, n, &arguments[..used]) }
}

/// Puts a kernel over `n` elements on the stream.
///
/// # Safety
/// As [`Gpu::launch`].
unsafe fn launch(
    gpu: &Gpu,
    family: Family,
    name: &Name,
    n: usize,
    arguments: &[Argument<'_>],
) -> Result<()> {
    if n == 0 {
        return Ok(());
    }
    // SAFETY: the caller's duty.
    unsafe { gpu.launch(family, name, Grid::over(n.div_ceil(GROUP)), arguments) }
}

/// The result's length against an operand's.
fn same_length(x: &Array<'_>, len: usize) -> Result<()> {
    require(x.len() == len, "map: an operand's length is not the result's")
}

fn same_shape<'a>(a: &Array<'a>, b: &Array<'_>) -> Result<&'a [usize]> {
    require(a.shape() == b.shape(), "map: the operands' shapes differ")?;
    Ok(a.shape())
}
