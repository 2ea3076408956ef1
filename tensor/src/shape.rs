//! Shapes: sizes, dims that count from the end, broadcasting, checked sizes.

use smallvec::SmallVec;

use crate::error::{Error, ErrorKind, Result};

/// Sizes or dim numbers; up to six lie inline.
pub type Dims = SmallVec<[usize; 6]>;

/// The number of elements of `shape`, checked. A zero dim gives 0 whatever the others are.
pub(crate) fn checked_len(op: &'static str, shape: &[usize]) -> Result<usize> {
    ferrotape_kernels::strided::checked_len(shape)
        .filter(|&len| len <= isize::MAX as usize)
        .ok_or_else(|| {
            Error::shape(op, format!("{shape:?} has more elements than memory can hold"))
        })
}

/// The number of elements of a shape that was checked when it was made: a zero dim may stand beside any others.
pub(crate) fn len(shape: &[usize]) -> usize {
    if shape.contains(&0) { 0 } else { shape.iter().product() }
}

/// A dim that may count from the end (`-1` is the last), as an index.
pub(crate) fn resolve_dim(op: &'static str, dim: i64, rank: usize) -> Result<usize> {
    let resolved = if dim < 0 { dim.saturating_add(rank as i64) } else { dim };
    if (0..rank as i64).contains(&resolved) {
        Ok(resolved as usize)
    } else {
        Err(Error::plain(ErrorKind::Dim { op, dim, rank }))
    }
}

/// As [`resolve_dim`], and a scalar has dim 0, as in PyTorch.
pub(crate) fn lent_dim(op: &'static str, dim: i64, rank: usize) -> Result<usize> {
    resolve_dim(op, dim, rank.max(1))
}

/// That dim `dim` is there.
pub(crate) fn check_dim(op: &'static str, dim: usize, rank: usize) -> Result<()> {
    if dim < rank {
        return Ok(());
    }
    let dim = i64::try_from(dim).unwrap_or(i64::MAX);
    Err(Error::plain(ErrorKind::Dim { op, dim, rank }))
}

/// All dims in their order.
pub(crate) fn all_dims(rank: usize) -> Dims {
    let mut dims = Dims::from_elem(0, rank);
    dims.iter_mut().enumerate().for_each(|(dim, place)| *place = dim);
    dims
}

/// Several dims, sorted; `[]` means all. Refuses one that is named twice. A scalar is lent a dim, as PyTorch does: its dim 0 or
/// -1 is no dim.
pub(crate) fn resolve_dims(op: &'static str, dims: &[i64], rank: usize) -> Result<Dims> {
    if dims.is_empty() {
        return Ok(all_dims(rank));
    }
    let mut resolved = Dims::new();
    if rank == 0 && matches!(dims, [0 | -1]) {
        return Ok(resolved);
    }
    for &dim in dims {
        resolved.push(resolve_dim(op, dim, rank)?);
    }
    resolved.sort_unstable();
    match resolved.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::argument(op, format!("dim {} is named twice", pair[0]))),
        None => Ok(resolved),
    }
}

/// The common shape of two by NumPy's rule: aligned from the right, sizes equal or 1.
pub(crate) fn broadcast(op: &'static str, a: &[usize], b: &[usize]) -> Result<Dims> {
    if a == b {
        return Ok(Dims::from_slice(a));
    }
    let rank = a.len().max(b.len());
    let size =
        |shape: &[usize], d: usize| (d + shape.len()).checked_sub(rank).map_or(1, |i| shape[i]);
    let mut sizes = Dims::from_elem(1, rank);
    for (d, place) in sizes.iter_mut().enumerate() {
        *place = match (size(a, d), size(b, d)) {
            (x, y) if x == y => x,
            (1, y) => y,
            (x, 1) => x,
            (x, y) => {
                return Err(Error::shape(
                    op,
                    format!("{a:?} and {b:?} don't broadcast: sizes {x} and {y} differ in dim {d}"),
                ));
            }
        };
    }
    Ok(sizes)
}

/// Something that names dims: one number, a list, or all of them (`..`). Negative numbers count from the end.
pub trait IntoDims {
    /// The numbers; empty for all.
    fn into_dims(self) -> SmallVec<[i64; 6]>;
    /// True for `..`: operations that take an empty list at its word ask.
    fn is_all(&self) -> bool {
        false
    }
}

impl IntoDims for i64 {
    fn into_dims(self) -> SmallVec<[i64; 6]> {
        SmallVec::from_slice(&[self])
    }
}

impl IntoDims for std::ops::RangeFull {
    fn into_dims(self) -> SmallVec<[i64; 6]> {
        SmallVec::new()
    }
    fn is_all(&self) -> bool {
        true
    }
}

impl<const N: usize> IntoDims for [i64; N] {
    fn into_dims(self) -> SmallVec<[i64; 6]> {
        SmallVec::from_slice(&self)
    }
}

impl IntoDims for &[i64] {
    fn into_dims(self) -> SmallVec<[i64; 6]> {
        SmallVec::from_slice(self)
    }
}

impl IntoDims for &[usize] {
    fn into_dims(self) -> SmallVec<[i64; 6]> {
        self.iter().map(|&d| i64::try_from(d).unwrap_or(i64::MAX)).collect()
    }
}

/// Several dims, sorted; a scalar has dim 0. `..` means all, an empty list none.
pub(crate) fn named_dims(op: &'static str, dims: impl IntoDims, rank: usize) -> Result<Dims> {
    match (dims.is_all(), dims.into_dims()) {
        (true, _) => Ok(all_dims(rank)),
        (false, dims) if dims.is_empty() => Ok(Dims::new()),
        (false, dims) => resolve_dims(op, &dims, rank.max(1)),
    }
}

/// Something that names a shape of which some sizes may be -1, where the operation says what that means: numbers of any usual type.
pub trait IntoSizes {
    /// The numbers.
    fn into_sizes(self) -> SmallVec<[i128; 6]>;
}

macro_rules! sizes {
    ($($t:ty),*) => {$(
        impl IntoSizes for $t {
            fn into_sizes(self) -> SmallVec<[i128; 6]> { SmallVec::from_iter([self as i128]) }
        }
        impl<const N: usize> IntoSizes for [$t; N] {
            fn into_sizes(self) -> SmallVec<[i128; 6]> { self.iter().map(|&size| size as i128).collect() }
        }
        impl IntoSizes for &[$t] {
            fn into_sizes(self) -> SmallVec<[i128; 6]> { self.iter().map(|&size| size as i128).collect() }
        }
        impl IntoSizes for Vec<$t> {
            fn into_sizes(self) -> SmallVec<[i128; 6]> { (&self[..]).into_sizes() }
        }
    )*};
}
sizes!(usize, i64, i32);

impl IntoSizes for () {
    fn into_sizes(self) -> SmallVec<[i128; 6]> {
        SmallVec::new()
    }
}
impl IntoSizes for Dims {
    fn into_sizes(self) -> SmallVec<[i128; 6]> {
        (&self[..]).into_sizes()
    }
}
impl IntoSizes for &Dims {
    fn into_sizes(self) -> SmallVec<[i128; 6]> {
        (&self[..]).into_sizes()
    }
}

/// Sizes of which one may be -1: what `len` elements leave for it.
pub(crate) fn with_rest(op: &'static str, sizes: &[i128], len: usize) -> Result<Dims> {
    let wrong = |what: &str| Error::shape(op, format!("{sizes:?} for {len} elements: {what}"));
    let mut resolved = Dims::new();
    if !sizes.contains(&-1) {
        for &size in sizes {
            resolved.push(usize::try_from(size).map_err(|_| wrong("a size is negative"))?);
        }
        return Ok(resolved);
    }
    let others = sizes.iter().filter(|&&size| size != -1);
    if others.clone().count() + 1 < sizes.len() {
        return Err(wrong("only one size can be -1"));
    }
    let known = others.clone().try_fold(1i128, |known, &size| known.checked_mul(size));
    let rest = match known {
        Some(known @ 1..) if len as i128 % known == 0 => len as i128 / known,
        _ => return Err(wrong("the size -1 can't be told")),
    };
    for &size in sizes {
        let size = if size == -1 { rest } else { size };
        resolved.push(usize::try_from(size).map_err(|_| wrong("a size is negative"))?);
    }
    Ok(resolved)
}

/// Something that names a shape: a number, an array, a slice or a vector of sizes.
pub trait IntoShape {
    /// The sizes.
    fn into_shape(self) -> Dims;
}

impl IntoShape for usize {
    fn into_shape(self) -> Dims {
        Dims::from_slice(&[self])
    }
}

impl IntoShape for () {
    fn into_shape(self) -> Dims {
        Dims::new()
    }
}

impl<const N: usize> IntoShape for [usize; N] {
    fn into_shape(self) -> Dims {
        Dims::from_slice(&self)
    }
}

impl IntoShape for &[usize] {
    fn into_shape(self) -> Dims {
        Dims::from_slice(self)
    }
}

impl IntoShape for Vec<usize> {
    fn into_shape(self) -> Dims {
        Dims::from_vec(self)
    }
}

impl IntoShape for Dims {
    fn into_shape(self) -> Dims {
        self
    }
}

impl IntoShape for &Dims {
    fn into_shape(self) -> Dims {
        self.clone()
    }
}
