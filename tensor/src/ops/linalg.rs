//! Linear algebra made of products: composites.

use crate::apply::Operand;
use crate::error::{Error, Result};
use crate::ops::chain::{BinaryChain as _, ProductChain as _, ShapeChain as _};
use crate::ops::{look, methods};
use crate::shape::{self, Dims, IntoDims};
use crate::tensor::Tensor;

/// The tensors have these numbers of dims.
fn ranks(op: &'static str, tensors: [(&Tensor, usize); 2]) -> Result<()> {
    if tensors.iter().all(|(tensor, rank)| tensor.rank() == *rank) {
        return Ok(());
    }
    let [(a, m), (b, n)] = tensors;
    let message = format!("{:?} and {:?}: {m} and {n} dims expected", a.shape(), b.shape());
    Err(Error::shape(op, message))
}

fn product(op: &'static str, a: (&Tensor, usize), b: (&Tensor, usize)) -> Result<Tensor> {
    ranks(op, [a, b])?;
    // Only these two: a stack of matrices is not broadcast.
    if a.1 == 3 && a.0.shape()[0] != b.0.shape()[0] {
        let message = format!("{:?} x {:?}: numbers of matrices differ", a.0.shape(), b.0.shape());
        return Err(Error::shape(op, message));
    }
    a.0.matmul(b.0)
}

/// `beta x + alpha y`; with beta 0, x does not count, whatever it holds.
fn combined(op: &'static str, x: &Tensor, y: Tensor, beta: f64, alpha: f64) -> Result<Tensor> {
    if shape::broadcast(op, x.shape(), y.shape())?[..] != *y.shape() {
        let message = format!("{:?} is no broadcast of {:?}", y.shape(), x.shape());
        return Err(Error::shape(op, message));
    }
    let y = if alpha == 1.0 { y } else { y.mul(alpha)? };
    match beta {
        0.0 => Ok(y),
        1.0 => x.add(y),
        _ => x.mul(beta).add(y),
    }
}

fn kron(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    let rank = a.rank().max(b.rank());
    let size = |x: &Tensor, d: usize| (d + x.rank()).checked_sub(rank).map_or(1, |i| x.shape()[i]);
    let (mut one, mut other, mut all) = (Dims::new(), Dims::new(), Dims::new());
    for d in 0..rank {
        one.extend([size(a, d), 1]);
        other.extend([1, size(b, d)]);
        let product = size(a, d).checked_mul(size(b, d));
        all.push(product.ok_or_else(|| Error::shape("kron", "the result is too large"))?);
    }
    a.reshape(one).mul(b.reshape(other)).reshape(all)
}

fn cross(a: &Tensor, b: &Tensor, dim: Option<i64>) -> Result<Tensor> {
    let common = shape::broadcast("cross", a.shape(), b.shape())?;
    let dim = match dim {
        Some(dim) => shape::resolve_dim("cross", dim, common.len())?,
        None => common
            .iter()
            .position(|&size| size == 3)
            .ok_or_else(|| Error::shape("cross", format!("{common:?} has no dim of size 3")))?,
    };
    let vectors = [a, b].map(|x| x.expand(&common));
    let [a, b] = vectors;
    if common[dim] != 3 {
        return Err(Error::shape("cross", format!("size {} of dim {dim}: not 3", common[dim])));
    }
    let (a, b, dim) = (a?, b?, dim as i64);
    let turned = |x: &Tensor, by: i64| x.roll(by, dim);
    turned(&a, -1)?.mul(turned(&b, -2)?).sub(turned(&a, -2)?.mul(turned(&b, -1)?))
}

/// The sum over dims `m` of `a` and `n` of `b`, pairwise.
fn tensordot(a: &Tensor, b: &Tensor, m: &[i64], n: &[i64]) -> Result<Tensor> {
    let name = "tensordot";
    if m.len() != n.len() {
        return Err(Error::argument(name, format!("{} and {} dims", m.len(), n.len())));
    }
    // Checks that no dim is named twice; their order is the user's.
    for (dims, x) in [(m, a), (n, b)] {
        if !dims.is_empty() {
            shape::resolve_dims(name, dims, x.rank())?;
        }
    }
    let resolve = |dims: &[i64], rank: usize| {
        dims.iter().map(|&dim| shape::resolve_dim(name, dim, rank)).collect::<Result<Dims>>()
    };
    let (m, n) = (resolve(m, a.rank())?, resolve(n, b.rank())?);
    let (mut a, mut b) = (a.clone(), b.clone());
    for (&d, &e) in m.iter().zip(&n) {
        match (a.shape()[d], b.shape()[e]) {
            (x, y) if x == y => {}
            // A size 1 stands for all of the other's.
            (1, _) => b = b.sum_keep(e as i64)?,
            (_, 1) => a = a.sum_keep(d as i64)?,
            (x, y) => {
                let shapes = format!("{:?} and {:?}", a.shape(), b.shape());
                let message = format!("{shapes}: sizes {x} of dim {d} and {y} of dim {e} differ");
                return Err(Error::shape(name, message));
            }
        }
    }
    let free = |x: &Tensor, dims: &Dims| (0..x.rank()).filter(|d| !dims.contains(d)).collect();
    let (left, right): (Dims, Dims) = (free(&a, &m), free(&b, &n));
    let sizes = |x: &Tensor, dims: &Dims| dims.iter().map(|&d| x.shape()[d]).collect::<Dims>();
    let shape = [&sizes(&a, &left)[..], &sizes(&b, &right)].concat();
    let len = |sizes: &[usize]| shape::checked_len(name, sizes);
    let inner = len(&sizes(&a, &m))?;
    let rows = [len(&sizes(&a, &left))?, inner];
    let columns = [inner, len(&sizes(&b, &right))?];
    let a = a.permute(&[&left[..], &m].concat()[..]).reshape(rows)?;
    a.matmul(b.permute(&[&n[..], &right].concat()[..]).reshape(columns)).reshape(shape)
}

fn bilinear(a: &Tensor, b: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let (x, y) = (a.shape(), b.shape());
    let wrong = || {
        let shapes = format!("inputs {x:?} and {y:?}, weight {:?}", weight.shape());
        Error::shape("bilinear", format!("{shapes}: [.., i], [.., j], [out, i, j] expected"))
    };
    let (Some((&i, lead)), Some((&j, other))) = (x.split_last(), y.split_last()) else {
        return Err(wrong());
    };
    let &[out, m, n] = weight.shape() else { return Err(wrong()) };
    if lead != other || (m, n) != (i, j) {
        return Err(wrong());
    }
    let rows = shape::checked_len("bilinear", lead)?;
    let wide = shape::checked_len("bilinear", &[out, j])?;
    let weight = weight.permute([1, 0, 2]).reshape([i, wide]);
    let half = a.reshape([rows, i]).matmul(weight).reshape([rows, out, j]);
    let sum = half.matmul(b.reshape([rows, j, 1])).reshape([lead, &[out]].concat())?;
    match bias {
        Some(bias) => sum.add(bias),
        None => Ok(sum),
    }
}

methods! {
    /// Linear algebra, on `Result<Tensor>`.
    trait LinalgChain;

    /// The product of two matrices: PyTorch's `mm`, [`matmul`](Tensor::matmul) without its liberties.
    fn mm(x, other: &Tensor) -> Tensor { product("mm", (look("mm", &x)?, 2), (other, 2)) }

    /// The products of two stacks of as many matrices: PyTorch's `bmm`.
    fn bmm(x, other: &Tensor) -> Tensor { product("bmm", (look("bmm", &x)?, 3), (other, 3)) }

    /// A matrix times a vector: PyTorch's `mv`.
    fn mv(x, vector: &Tensor) -> Tensor { product("mv", (look("mv", &x)?, 2), (vector, 1)) }

    /// The sum of the products of two vectors' elements: PyTorch's `dot`.
    fn dot(x, other: &Tensor) -> Tensor { product("dot", (look("dot", &x)?, 1), (other, 1)) }

    /// `y[i][j] = x[i] other[j]` of vectors: PyTorch's `outer`.
    fn outer(x, other: &Tensor) -> Tensor {
        let x = look("outer", &x)?;
        ranks("outer", [(x, 1), (other, 1)])?;
        x.unsqueeze(1).mul(other)
    }

    /// `beta x + alpha a b`, a and b matrices, x broadcast: PyTorch's `addmm`.
    fn addmm(x, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Tensor {
        let y = product("addmm", (a, 2), (b, 2))?;
        combined("addmm", look("addmm", &x)?, y, beta, alpha)
    }

    /// `beta x + alpha a b`, a a matrix, b a vector, x broadcast: PyTorch's `addmv`.
    fn addmv(x, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Tensor {
        let y = product("addmv", (a, 2), (b, 1))?;
        combined("addmv", look("addmv", &x)?, y, beta, alpha)
    }

    /// `beta x + alpha a b`, a and b stacks of matrices, x broadcast: PyTorch's `baddbmm`.
    fn baddbmm(x, a: &Tensor, b: &Tensor, beta: f64, alpha: f64) -> Tensor {
        let y = product("baddbmm", (a, 3), (b, 3))?;
        combined("baddbmm", look("baddbmm", &x)?, y, beta, alpha)
    }

    /// The Kronecker product: every element of `x` times all of `other`. PyTorch's `kron`.
    fn kron(x, other: &Tensor) -> Tensor { kron(look("kron", &x)?, other) }

    /// The vector product along a dim of size 3, by default the first such; the others broadcast. PyTorch's `cross`.
    fn cross(x, other: &Tensor, dim: Option<i64>) -> Tensor { cross(look("cross", &x)?, other, dim) }

    /// The sum over pairs of dims, `dims` of `x` and `others` of `other`, one by one in this order; what is left of `x` comes first. PyTorch's
    /// `tensordot`, whose `dims=n` is the last n of the one and the first n of the other.
    ///
    /// ```
    /// # use ferrotape_tensor::{DType, Tensor};
    /// # fn main() -> ferrotape_tensor::Result<()> {
    /// let (a, b) = (Tensor::ones([2, 3, 4], DType::F32)?, Tensor::ones([4, 5, 2], DType::F32)?);
    /// assert_eq!(a.tensordot(&b, [0, 2], [2, 0])?.shape(), [3, 5]);
    /// # Ok(()) }
    /// ```
    fn tensordot(x, other: &Tensor, dims: impl IntoDims, others: impl IntoDims) -> Tensor {
        tensordot(look("tensordot", &x)?, other, &dims.into_dims(), &others.into_dims())
    }

    /// `x weight other + bias`: `y[.., o] = sum over i, j of x[.., i] weight[o, i, j] other[.., j]`. PyTorch's `nn.functional.bilinear`.
    fn bilinear(x, other: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Tensor {
        bilinear(look("bilinear", &x)?, other, weight, bias)
    }
}

/// A product whose weight may be a vector, and of integers: PyTorch's `linear` allows both.
pub(super) fn plain_linear(
    x: Operand<'_>,
    weight: &Tensor,
    bias: Option<&Tensor>,
) -> Result<Tensor> {
    let y = match weight.rank() {
        1 => look("linear", &x)?.matmul(weight)?,
        _ => look("linear", &x)?.matmul(weight.t())?,
    };
    match bias {
        Some(bias) => y.add(bias),
        None => Ok(y),
    }
}
