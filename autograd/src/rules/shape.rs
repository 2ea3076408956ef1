//! Views, concatenation, selection.

use ferrotape_tensor::{Dims, IndexOp, Op, Operand, Result, Tensor, ViewOp, apply_one};

use super::{Cx, Derivative, Formulas, None_, Rule, rule, scatter};

pub(super) fn view(view: &ViewOp) -> Derivative {
    Derivative::Rule(match view {
        ViewOp::Reshape(_) => rule!([] | g, cx | g.reshape(&cx.meta(0).shape)),
        ViewOp::Permute(_) => rule!([] | g, cx | unpermute(cx, g)),
        // Un-broadcasting happens outside the rules.
        ViewOp::Expand(_) => rule!([] | g | g),
        ViewOp::Slice { .. } => rule!([] | g, cx | unslice(cx, g)),
        ViewOp::Diagonal(_) => rule!([] | g, cx | undiagonal(cx, g)),
        ViewOp::Unfold { .. } => rule!([] | g, cx | fold(cx, g)),
        _ => return Derivative::Missing,
    })
}

fn unpermute(cx: &Cx<'_>, g: &Tensor) -> Result<Tensor> {
    let Op::View(ViewOp::Permute(order)) = cx.op() else { return Err(cx.bug("does not permute")) };
    let mut inverse = Dims::from_elem(0, order.len());
    order.iter().enumerate().for_each(|(to, &from)| inverse[from] = to);
    apply_one(&Op::View(ViewOp::Permute(inverse)), &mut [Operand::Ref(g)])
}

fn unslice(cx: &Cx<'_>, g: &Tensor) -> Result<Tensor> {
    let Op::View(ViewOp::Slice { dim, start, step, .. }) = cx.op() else {
        return Err(cx.bug("does not slice"));
    };
    let size = cx.meta(0).shape[*dim];
    let op = Op::Index(IndexOp::Unslice { dim: *dim, start: *start, step: *step, size });
    apply_one(&op, &mut [Operand::Ref(g)])
}

fn undiagonal(cx: &Cx<'_>, g: &Tensor) -> Result<Tensor> {
    let Op::View(ViewOp::Diagonal(diagonal)) = cx.op() else {
        return Err(cx.bug("is no diagonal"));
    };
    let sizes = diagonal.dims.map(|d| cx.meta(0).shape[d]);
    apply_one(&Op::Index(IndexOp::Undiagonal { diagonal: *diagonal, sizes }), &mut [g.into()])
}

fn diagonal(cx: &Cx<'_>, g: &Tensor) -> Result<Tensor> {
    let Op::Index(IndexOp::Undiagonal { diagonal, .. }) = cx.op() else {
        return Err(cx.bug("is no diagonal's adjoint"));
    };
    apply_one(&Op::View(ViewOp::Diagonal(*diagonal)), &mut [g.into()])
}

fn fold(cx: &Cx<'_>, g: &Tensor) -> Result<Tensor> {
    let Op::View(ViewOp::Unfold { dim, step, .. }) = cx.op() else {
        return Err(cx.bug("does not unfold"));
    };
    let size = cx.meta(0).shape[*dim];
    apply_one(&Op::Index(IndexOp::Fold { dim: *dim, step: *step, size }), &mut [g.into()])
}

fn unfold(cx: &Cx<'_>, g: &Tensor) -> Result<Tensor> {
    let Op::Index(IndexOp::Fold { dim, step, .. }) = cx.op() else {
        return Err(cx.bug("does not fold"));
    };
    let size = cx.meta(0).shape.last().map_or(1, |&taps| taps);
    apply_one(&Op::View(ViewOp::Unfold { dim: *dim, size, step: *step }), &mut [g.into()])
}

/// Each operand gets its part of the gradient.
pub(super) const CONCAT: &Rule = &Rule { keep: &[], formulas: Formulas::Any(part) };

fn part(cx: &Cx<'_>, place: usize) -> Result<Option<Tensor>> {
    let Op::Concat(dim) = cx.op() else { return Err(cx.bug("does not concatenate")) };
    let start = (0..place).map(|before| cx.meta(before).shape[*dim]).sum();
    let length = cx.meta(place).shape[*dim];
    cx.g()?.narrow(*dim as i64, start, length).map(Some)
}

pub(super) fn index(index: &IndexOp) -> Derivative {
    Derivative::Rule(match index {
        IndexOp::Gather(_) => rule!([b] | g, cx | adjoint(cx, g, b), None_),
        IndexOp::ScatterAdd { .. } => rule!([b] | g, cx | adjoint(cx, g, b), None_),
        IndexOp::Select(_) => rule!([b] | g, cx | adjoint(cx, g, b), None_),
        IndexOp::Add { .. } => rule!([b] | g, cx | adjoint(cx, g, b), None_),
        IndexOp::Unslice { .. } => rule!([] | g, cx | slice(cx, g)),
        IndexOp::Undiagonal { .. } => rule!([] | g, cx | diagonal(cx, g)),
        IndexOp::Fold { .. } => rule!([] | g, cx | unfold(cx, g)),
        IndexOp::Scatter { how, .. } => return scatter::rule(*how),
        _ => return Derivative::Missing,
    })
}

/// Selecting and adding at the same indices are each other's adjoints.
fn adjoint(cx: &Cx<'_>, g: &Tensor, indices: &Tensor) -> Result<Tensor> {
    let Op::Index(index) = cx.op() else { return Err(cx.bug("does not select")) };
    let shape = &cx.meta(0).shape;
    let adjoint = match index {
        IndexOp::Gather(dim) => IndexOp::ScatterAdd { dim: *dim, shape: shape.clone() },
        IndexOp::ScatterAdd { dim, .. } => IndexOp::Gather(*dim),
        IndexOp::Select(dim) => IndexOp::Add { dim: *dim, size: shape[*dim] },
        IndexOp::Add { dim, .. } => IndexOp::Select(*dim),
        _ => return Err(cx.bug("does not select by indices")),
    };
    apply_one(&Op::Index(adjoint), &mut [g.into(), indices.into()])
}

fn slice(cx: &Cx<'_>, g: &Tensor) -> Result<Tensor> {
    let Op::Index(IndexOp::Unslice { dim, start, step, .. }) = cx.op() else {
        return Err(cx.bug("is no slice's adjoint"));
    };
    let length = cx.meta(0).shape[*dim];
    let op = Op::View(ViewOp::Slice { dim: *dim, start: *start, length, step: *step });
    apply_one(&op, &mut [Operand::Ref(g)])
}
